/* SPDX-License-Identifier: BSD-3-Clause */
/* The checksum of IP and UDP, for who looks at every packet. Bytes in, no state: any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/*
 * The one's complement sum does not mind in which byte order it is taken, nor in words of which
 * size (RFC 1071): so words of 8 bytes are added as the host sees them, with the carry brought
 * round, and only the last word needs care.
 */
static inline uint64_t hbus_sum_load(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

static inline uint64_t hbus_sum_add(uint64_t sum, uint64_t word)
{
	sum += word;
	return sum + (sum < word);
}

/* @size: at least 8, so that the last word can be read from before the end. */
static inline uint64_t hbus_sum_add_bytes(uint64_t sum, const uint8_t *bytes, uint32_t size)
{
	uint32_t n_last = size % 8;
	const uint8_t *last = bytes + size - 8;

	for (; bytes <= last; bytes += 8)
		sum = hbus_sum_add(sum, hbus_sum_load(bytes));
	return n_last ? hbus_sum_add(sum, hbus_sum_load(last) >> (64 - 8 * n_last)) : sum;
}

/*
 * A range that contains its own checksum sums to all ones, in 16 bits: 2^16 is 1 modulo 65535. To 0 only nothing but
 * zeroes would sum, and no range is that: a header of IPv4 begins with its version, a pseudo header has its protocol.
 */
static inline bool hbus_sum_is_good(uint64_t sum)
{
	return sum % 0xffff == 0;
}
