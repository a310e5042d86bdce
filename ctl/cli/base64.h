/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Base64 (RFC 4648, section 4): the standard alphabet, with padding
 *
 * Pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctl/cli/text.h"

/** hbus_base64_encode() - append the encoding of @size bytes */
void hbus_base64_encode(struct hbus_text *text, const void *data, size_t size);

/**
 * hbus_base64_decode() - append the bytes that @encoded stands for
 *
 * Strict: no blanks, padding required, unused bits zero. False leaves @text as it was.
 */
bool hbus_base64_decode(struct hbus_text *text, const char *encoded, size_t size);
