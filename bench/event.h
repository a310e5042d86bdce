/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The content of an event. One file for the bus and for the bare cores beside it: the same instructions write and read
 * the words of both, so that a ratio tells of what is between them.
 */
#pragma once

#include <stdint.h>
#include <string.h>

/* Every 8 bytes of event i hold i: written whole, read whole, and a gap or a torn event shows. @size: a multiple of 8. */
static inline void bench_event_fill(unsigned char *event, unsigned int size, uint64_t value)
{
	for (unsigned int i = 0; i < size; i += 8)
		memcpy(event + i, &value, 8);
}

static inline uint64_t bench_event_sum(const unsigned char *event, unsigned int size)
{
	uint64_t total = 0, word;

	for (unsigned int i = 0; i < size; i += 8) {
		memcpy(&word, event + i, 8);
		total += word;
	}
	return total;
}
