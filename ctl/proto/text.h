/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Strings in fixed arrays
 */
#pragma once

#include <stddef.h>
#include <string.h>

/** hbus_text_copy() - as much of @from as fits, terminated and padded with zeroes. */
static inline void hbus_text_copy(char *to, size_t size, const char *from)
{
	size_t len = strlen(from);

	if (len > size - 1)
		len = size - 1;
	memcpy(to, from, len);
	memset(to + len, 0, size - len);
}
