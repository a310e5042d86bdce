/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * SipHash-1-3: a keyed hash for tables whose keys come from strangers
 *
 * With a random key nobody outside can construct collisions. Not for authentication.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hbus_siphash_rotl(uint64_t x, unsigned int n)
{
	return x << n | x >> (64 - n);
}

static inline void hbus_siphash_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = hbus_siphash_rotl(v[1], 13) ^ v[0];
	v[3] = hbus_siphash_rotl(v[3], 16) ^ v[2];
	v[0] = hbus_siphash_rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = hbus_siphash_rotl(v[1], 17) ^ v[2];
	v[3] = hbus_siphash_rotl(v[3], 21) ^ v[0];
	v[2] = hbus_siphash_rotl(v[2], 32);
}

static inline void hbus_siphash_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	hbus_siphash_round(v);
	v[0] ^= word;
}

/** hbus_siphash() - hash of @len bytes under the 128-bit @key. */
static inline uint64_t hbus_siphash(const uint64_t key[2], const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t last = (uint64_t)len << 56, word;
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
			  key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573 };

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		hbus_siphash_word(v, word);
	}
	word = 0;
	memcpy(&word, p, len);
	hbus_siphash_word(v, last | word);
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		hbus_siphash_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
