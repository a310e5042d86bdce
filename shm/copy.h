/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Payload in and out of a ring
 *
 * A lossy reader may copy bytes while the publisher overwrites them; it finds out afterwards (intent) and
 * throws the copy away. ThreadSanitizer would report that as a race, rightly and uselessly, so these two
 * functions, and no others, are exempt from it.
 */
#pragma once

#include <stddef.h>
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

static inline void hbus_copy_out(void *to, const void *from, size_t n)
{
	memcpy(to, from, n);
}
#endif
