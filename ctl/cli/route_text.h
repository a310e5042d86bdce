/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Routes as people write them: ADDRESS[/PREFIX]:PORT
 *
 *   10.0.0.0/8:5000   10.0.0.1:5000   [2001:db8::]/32:5000   0.0.0.0:5000 and [::]:5000 (all)
 *   *:5000 (all of IPv4)   10.0.0.1:* (any port)
 *
 * Pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctl/client/hugebus.h"

#define HBUS_ROUTE_TEXT_SIZE 80

/**
 * hbus_route_text_parse() - the destination of a route: address, family, prefix and port
 * @ret_route: only these four are written
 *
 * 0.0.0.0 and :: without a prefix are all addresses of their family, as for a socket that listens.
 * Return: NULL, or a sentence that says what is wrong.
 */
const char *hbus_route_text_parse(const char *text, struct hbus_route *ret_route);

/** hbus_route_text_parse_vlan() - 1..4094, "any", or "none" (untagged) */
bool hbus_route_text_parse_vlan(const char *text, uint16_t *ret_vlan);

/**
 * hbus_route_text_format() - the destination, as it can be given to add and remove. Return: @text.
 */
const char *hbus_route_text_format(const struct hbus_route *route, char text[HBUS_ROUTE_TEXT_SIZE]);

/** hbus_route_text_format_vlan() - "any", "none" or the number. Return: @text. */
const char *hbus_route_text_format_vlan(uint16_t vlan, char text[HBUS_ROUTE_TEXT_SIZE]);
