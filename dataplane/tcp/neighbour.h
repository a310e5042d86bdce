/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Neighbours: from which Ethernet address each IP address was last heard.
 *
 * The stack answers where it is spoken from, be that the peer or a router, so it needs no routes, and
 * Debian's lwIP with its ten ARP entries can serve a thousand peers. An address that is heard from
 * elsewhere moves only when its old place has been silent for a while, so that one forged frame does
 * not take it away. The table is of fixed size; in a full row the one that was silent longest goes.
 *
 * One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* ---- limits ---------------------------------------------------------------------------- */

#define HBUS_NEIGHBOURS_MAX 8192U
#define HBUS_NEIGHBOURS_ROW 8U
/* How long the old place must have been silent before an address moves. */
#define HBUS_NEIGHBOUR_MOVE_MS 5000U

/* ---- types ----------------------------------------------------------------------------- */

struct hbus_neighbours;

/* ---- functions ------------------------------------------------------------------------- */

/* @secret: unpredictable. Return: 0 or -ENOMEM. The caller owns *ret_table. */
int hbus_neighbours_new(const uint64_t secret[2], struct hbus_neighbours **ret_table);
/* Accepts NULL and returns NULL. */
struct hbus_neighbours *hbus_neighbours_free(struct hbus_neighbours *table);

/* @ip: 16 bytes, IPv4 in the first four, the others 0. */
void hbus_neighbours_hear(struct hbus_neighbours *table, uint8_t family, const uint8_t ip[16],
			  const uint8_t mac[6], uint64_t now_ms);
/* Return: six bytes, good until the next hbus_neighbours_hear(), or NULL. */
const uint8_t *hbus_neighbours_find(const struct hbus_neighbours *table, uint8_t family,
				    const uint8_t ip[16]);

/* Learns from a frame that is the stack's: its source, if that is a host. */
void hbus_neighbours_learn(struct hbus_neighbours *table, const uint8_t *frame, uint32_t size,
			   uint64_t now_ms);
