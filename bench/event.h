/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The content of an event. One file for the bus and for the bare cores beside it: the same instructions write and read
 * the words of both, so that a ratio tells of what is between them.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#define BENCH_EVENT_INLINE static inline __attribute__((always_inline))

/* @fn(..., size), inlined for each size that is measured: a program knows the size of its own types when it is compiled. */
#define BENCH_EVENT_BY_SIZE(fn, size, ...)                                                                                \
	do {                                                                                                              \
		switch (size) {                                                                                           \
		case 8: return fn(__VA_ARGS__, 8);                                                                        \
		case 56: return fn(__VA_ARGS__, 56);                                                                      \
		case 64: return fn(__VA_ARGS__, 64);                                                                      \
		case 256: return fn(__VA_ARGS__, 256);                                                                    \
		case 1024: return fn(__VA_ARGS__, 1024);                                                                  \
		default: return fn(__VA_ARGS__, size);                                                                    \
		}                                                                                                         \
	} while (0)

BENCH_EVENT_INLINE void bench_event_fill_words(unsigned char *event, uint64_t value, unsigned int size)
{
	for (unsigned int i = 0; i < size; i += 8)
		memcpy(event + i, &value, 8);
}

BENCH_EVENT_INLINE uint64_t bench_event_sum_words(const unsigned char *event, unsigned int size)
{
	uint64_t total = 0, word;

	for (unsigned int i = 0; i < size; i += 8) {
		memcpy(&word, event + i, 8);
		total += word;
	}
	return total;
}

/* Every 8 bytes of event i hold i: written whole, read whole, and a gap or a torn event shows. @size: a multiple of 8. */
BENCH_EVENT_INLINE void bench_event_fill(unsigned char *event, unsigned int size, uint64_t value)
{
	BENCH_EVENT_BY_SIZE(bench_event_fill_words, size, event, value);
}

BENCH_EVENT_INLINE uint64_t bench_event_sum(const unsigned char *event, unsigned int size)
{
	BENCH_EVENT_BY_SIZE(bench_event_sum_words, size, event);
}
