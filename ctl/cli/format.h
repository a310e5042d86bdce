/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Output formats of `hugebus sub -F`: the letters are mosquitto_sub's where it has them
 *
 *   %t topic  %p payload  %x %X payload in hex  %l payload bytes  %i RING:SEQUENCE
 *   %r ring  %s sequence
 *   %I time (RFC 3339)  %U time (seconds since 1970), both "-" without one  %% percent
 *   \n \t \r \0 \\ as in C
 *
 * Pure functions.
 */
#pragma once

#include "ctl/cli/text.h"
#include "ctl/client/hugebus.h"

/** hbus_format_check() - Return: NULL, or a sentence that says what is wrong */
const char *hbus_format_check(const char *format);

/** hbus_format_event() - append one event in a format that passed its check, without a newline */
void hbus_format_event(struct hbus_text *text, const char *format, const struct hbus_event *event);
