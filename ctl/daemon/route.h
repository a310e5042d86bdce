/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Routes as plain values: are they possible, and do two stand at the same place?
 *
 * Two routes stand at the same place when they match the same destination, port and VLAN; there is
 * either one topic route or one batch route at a place, and below a batch route one topic a number.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ctl/proto/proto.h"

/** hbus_route_check() - NULL, or a sentence that says what is wrong. Checks the topic's name too. */
const char *hbus_route_check(const struct hbus_wire_route *route);

bool hbus_route_same_match(const struct hbus_wire_route *a, const struct hbus_wire_route *b);
/** Same match, and both at the place itself or the same number below it. */
bool hbus_route_same_place(const struct hbus_wire_route *a, const struct hbus_wire_route *b);

/** A number for tables: equal for routes at the same place, mostly different for others. */
uint64_t hbus_route_place_key(const struct hbus_wire_route *route);

/** hbus_prefix_check() - is this an address of @family without bits beyond @prefix_len? */
const char *hbus_prefix_check(const uint8_t address[16], uint32_t family, uint32_t prefix_len);
