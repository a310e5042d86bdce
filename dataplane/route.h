/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Routes: which destination of a packet is which target.
 *
 * A table is immutable. The control thread builds a new one and swaps the pointer by RCU; the
 * lcores look up in whatever table they loaded at the start of their burst. Nothing here knows
 * of RCU, topics or DPDK: a target is a number that the caller chose.
 *
 * The match order is the order of specificity: the longest destination prefix, then an exact
 * VLAN before any VLAN, then an exact port before any port. A longer prefix that has no route
 * for this VLAN and port does not hide a shorter one that has.
 *
 * Each family keeps one hash table for each prefix length that is in use, and only those are
 * probed, so a lookup costs at most four probes for each length that occurs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ebpf/filter_abi.h"

struct hbus_route_table;

/* ---- limits ---------------------------------------------------------------------------- */

/* The XDP program's maps hold HBUS_ROUTES_MAX of them. */
#define HBUS_ROUTE_N_MAX 65536U
#define HBUS_ROUTE_VLAN_MAX 4094U

/* ---- conditions: what hbus_route_table_new() finds wrong with a route --------------------- */

#define HBUS_ROUTE_TOO_MANY 1
#define HBUS_ROUTE_DUPLICATE 2
#define HBUS_ROUTE_BAD_FAMILY 3
#define HBUS_ROUTE_BAD_PREFIX 4 /* longer than an address, or bits set beyond its length */
#define HBUS_ROUTE_BAD_VLAN 5

/* ---- types and functions ----------------------------------------------------------------- */

struct hbus_route_entry {
	struct hbus_route_match match;
	uint32_t target;
};

/**
 * hbus_route_table_new() - build a table
 * @n: number of routes; 0 makes a table in which nothing matches
 * @ret_bad_idx: may be NULL; on a condition the index of the route at fault
 *
 * Copies the routes. Free with hbus_route_table_free().
 * Return: 0, -ENOMEM, or a condition above.
 */
int hbus_route_table_new(const struct hbus_route_entry *routes, size_t n, size_t *ret_bad_idx,
			 struct hbus_route_table **ret_table);

/* Accepts NULL and returns NULL. The caller has made sure that no lcore still looks. */
struct hbus_route_table *hbus_route_table_free(struct hbus_route_table *table);

/**
 * hbus_route_lookup() - the target of a packet
 * @family: 4 or 6
 * @addr: destination address, 4 or 16 bytes
 * @vlan: outer VLAN id, 0 for none
 * @port: destination port, host order
 *
 * Thread: any number of readers. No allocation, lock or system call.
 * Return: false when no route matches.
 */
bool hbus_route_lookup(const struct hbus_route_table *table, uint8_t family, const uint8_t *addr,
		       uint16_t vlan, uint16_t port, uint32_t *ret_target);
