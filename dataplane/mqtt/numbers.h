/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Numbers to pointers, for who reads files that name things by numbers
 *
 * Zero it before use. The numbers may be anybody's; one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hbus_mqtt_number {
	uint64_t number;
	void *value; /* NULL = a free place */
};

struct hbus_mqtt_numbers {
	struct hbus_mqtt_number *slots;
	size_t n_slots, n; /* n_slots: a power of two */
	uint64_t secret[2];
};

/* Return: NULL when there is none. */
void *hbus_mqtt_numbers_find(const struct hbus_mqtt_numbers *numbers, uint64_t number);
/* @number: not there; @value: not NULL. Return: false without memory. */
bool hbus_mqtt_numbers_add(struct hbus_mqtt_numbers *numbers, uint64_t number, void *value);
/* Return: what was there, or NULL. */
void *hbus_mqtt_numbers_remove(struct hbus_mqtt_numbers *numbers, uint64_t number);
void hbus_mqtt_numbers_deinit(struct hbus_mqtt_numbers *numbers);
