/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * JSON text written straight into a buffer
 *
 * For what is printed once an event; whatever is printed once a command is built with jansson.
 */
#pragma once

#include <stddef.h>

#include "ctl/cli/text.h"

/**
 * hbus_json_add_string() - append @data as a JSON string with its quotes
 * @data: UTF-8; a byte that is not becomes U+FFFD
 */
void hbus_json_add_string(struct hbus_text *text, const void *data, size_t size);
