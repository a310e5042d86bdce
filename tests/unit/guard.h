/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes that end where a page begins that nobody may touch: one byte read too far is a SIGSEGV, with any compiler
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { GUARD_ROOM = 1 << 20, GUARD_PAGE = 65536 /* the largest of any of our machines */ };

/* A copy of @size bytes, at most GUARD_ROOM; good until the next call. */
static inline uint8_t *guard_copy(const void *data, size_t size)
{
	static uint8_t *end;

	if (!end) {
		uint8_t *base = mmap(NULL, GUARD_ROOM + GUARD_PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (base == MAP_FAILED || mprotect(base + GUARD_ROOM, GUARD_PAGE, PROT_NONE) < 0)
			abort();
		end = base + GUARD_ROOM;
	}
	if (size > GUARD_ROOM)
		abort();
	if (size > 0)
		memcpy(end - size, data, size);
	return end - size;
}
