/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Where connections come from: how many each address has, so that one of them cannot have all.
 *
 * An IPv6 host has a network of 64 bits to itself, so there that is what is counted. What has no address (a Unix
 * socket) is not. Thread: the caller's, or under his lock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* -- types -- */

struct hbus_origins;
struct hbus_origin;           /* an address that has connections */

/* -- functions -- */

/* @max: connections of one address, from 1. @secret: unpredictable. Return: 0 or -ENOMEM. */
int hbus_origins_new(uint32_t max, const uint64_t secret[2], struct hbus_origins **ret_origins);
/* Those that are still there are forgotten. Accepts NULL and returns NULL. */
struct hbus_origins *hbus_origins_free(struct hbus_origins *origins);

/*
 * One more connection of @addr, 16 bytes or, unless @is_ipv6, 4. @ret_origin: for hbus_origins_leave(); NULL without a
 * limit (@origins is NULL). Return: false when it has as many as it may; then nothing is counted.
 */
bool hbus_origins_enter(struct hbus_origins *origins, bool is_ipv6, const uint8_t *addr, struct hbus_origin **ret_origin);
/* Accepts NULL. */
void hbus_origins_leave(struct hbus_origins *origins, struct hbus_origin *origin);
