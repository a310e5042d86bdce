/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Load: payloads that count, and the clock that says how many are due
 *
 * A payload is its decimal number, then a space and dots up to the wished size: printable, one
 * line. A number that is longer than the size is written whole. Pure but for memory.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct hbus_load {
	char *data;
	size_t size;	 /* of the next payload */
	size_t size_min; /* what was wished */
	size_t n_digits;
};

/** hbus_load_init() - the first payload has the number @first. Exits when there is no memory. */
void hbus_load_init(struct hbus_load *load, uint64_t first, size_t size);

/** hbus_load_next() - the payload in load->data, load->size becomes the next one's */
void hbus_load_next(struct hbus_load *load);

void hbus_load_deinit(struct hbus_load *load);

/**
 * hbus_load_due() - how many events are due
 * @rate: events in 1000 s, not 0
 * @elapsed_ns: since the first event, which is due at 0
 */
uint64_t hbus_load_due(uint64_t rate, uint64_t elapsed_ns);

/** hbus_load_due_at() - when (since the first event) event number @n, from 0, is due */
uint64_t hbus_load_due_at(uint64_t rate, uint64_t n);
