/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Payload in and out of a ring
 *
 * A lossy reader may copy bytes while the publisher overwrites them; it finds out afterwards (intent) and
 * throws the copy away. ThreadSanitizer would report that as a race, rightly and uselessly, so these two
 * functions, and no others, are exempt from it.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define HBUS_RACY __attribute__((no_sanitize_thread, noinline))
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HBUS_RACY __attribute__((no_sanitize("thread"), noinline))
#endif
#endif

#ifdef HBUS_RACY
static HBUS_RACY __attribute__((unused)) void hbus_copy_in(void *to, const void *from, size_t n)
{
	volatile unsigned char *out = to; /* keeps the compiler from calling the intercepted memcpy */
	const unsigned char *in = from;

	for (size_t i = 0; i < n; i++)
		out[i] = in[i];
}

static inline void hbus_copy_in_words(void *to, const void *from, size_t n)
{
	hbus_copy_in(to, from, n);
}

static inline void hbus_copy_in_large(void *to, const void *from, size_t n)
{
	hbus_copy_in(to, from, n);
}

static HBUS_RACY __attribute__((unused)) void hbus_copy_out(void *to, const void *from, size_t n)
{
	unsigned char *out = to;
	const volatile unsigned char *in = from;

	for (size_t i = 0; i < n; i++)
		out[i] = in[i];
}
#else
static inline void hbus_copy_in(void *to, const void *from, size_t n)
{
	memcpy(to, from, n);
}

#if defined(__x86_64__)
/* Not left to the compiler, which would make one load of the two. */
#define HBUS_COPY_PAIR(at)                                                                                               \
	"movq " #at "(%1,%2), %%xmm0\n\tmovhps 8+" #at "(%1,%2), %%xmm0\n\tmovups %%xmm0, " #at "(%0,%2)\n\t"

/* 16 bytes at @at by two loads and one store. */
static inline void hbus_copy_pair(unsigned char *to, const unsigned char *from, size_t at)
{
	__asm__ __volatile__(HBUS_COPY_PAIR(0) : : "r"(to), "r"(from), "r"(at) : "xmm0", "memory");
}

static inline void hbus_copy_line(unsigned char *to, const unsigned char *from, size_t at)
{
	__asm__ __volatile__(HBUS_COPY_PAIR(48) HBUS_COPY_PAIR(32) HBUS_COPY_PAIR(16) HBUS_COPY_PAIR(0)
			     : : "r"(to), "r"(from), "r"(at) : "xmm0", "memory");
}
#else
static inline void hbus_copy_pair(unsigned char *to, const unsigned char *from, size_t at)
{
	uint64_t low, high;

	memcpy(&low, from + at, 8);
	memcpy(&high, from + at + 8, 8);
	memcpy(to + at, &low, 8);
	memcpy(to + at + 8, &high, 8);
	atomic_signal_fence(memory_order_seq_cst); /* keeps a loop from becoming a call of memcpy() */
}

static inline void hbus_copy_line(unsigned char *to, const unsigned char *from, size_t at)
{
	for (size_t i = 64; i > 0; i -= 16)
		hbus_copy_pair(to, from, at + i - 16);
}
#endif

/* What is left over when whole lines are copied, from the end. Return: how many bytes those are. */
static inline size_t hbus_copy_in_rest(unsigned char *out, const unsigned char *in, size_t n)
{
	if (__builtin_expect(n % 8 != 0, 0)) {
		if (n & 1) {
			n -= 1;
			out[n] = in[n];
		}
		if (n & 2) {
			n -= 2;
			memcpy(out + n, in + n, 2);
		}
		if (n & 4) {
			n -= 4;
			memcpy(out + n, in + n, 4);
		}
	}
	if (n % 16 != 0) {
		n -= 8;
		memcpy(out + n, in + n, 8);
	}
	while (n % 64 != 0) {
		n -= 16;
		hbus_copy_pair(out, in, n);
	}
	return n;
}

/*
 * For what the caller has most likely just written: loads of 8 bytes, which find their bytes in a store that is still
 * under way, where wider ones would wait for it and all before it; and stores of 16, of which only so many can
 * be under way. From the end to the beginning: stores reach the cache in order, and readers poll the header's line,
 * which must not be taken away while the next line is still on its way. @to: 8-byte aligned.
 */
static inline void hbus_copy_in_words(void *to, const void *from, size_t n)
{
	const unsigned char *in = from;
	unsigned char *out = to;

	if (n % 64 != 0)
		n = hbus_copy_in_rest(out, in, n);
	while (n > 0) {
		n -= 64;
		hbus_copy_line(out, in, n);
	}
}

#define HBUS_COPY_PIECE 4096u

/* Each line is taken by a store of its own before it is filled, as in hbus_ring_pub_own(). @to: 8-byte aligned. */
static inline void hbus_copy_in_large(void *to, const void *from, size_t n)
{
	const unsigned char *in = from;
	unsigned char *out = to;

	while (n > 0) {
		size_t piece = n < HBUS_COPY_PIECE ? n : HBUS_COPY_PIECE;

		for (size_t i = 0; i + 8 <= piece; i += 64) {
			memset(out + i, 0, 8);
			atomic_signal_fence(memory_order_seq_cst); /* keeps the stores from being left out */
		}
		memcpy(out, in, piece);
		in += piece;
		out += piece;
		n -= piece;
	}
}

static inline void hbus_copy_out(void *to, const void *from, size_t n)
{
	memcpy(to, from, n);
}
#endif
