/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Lookups made lately: what a trie has said of the flows and senders that came last.
 *
 * A lookup in a trie is a call and a walk, and a return costs a kernel with its mitigations more than all the
 * arithmetic here. An array of the CPU's own needs no call (from Linux 6.10 on), and nobody else writes it. What
 * would push others out is only remembered in their place: the trie stays right for everybody.
 */
#pragma once

#include <stdbool.h>

#include "filter_abi.h"
#include "maps.bpf.h"

#define HBUS_LATELY_FACTOR 0x9e3779b97f4a7c15ULL

static __always_inline void hbus_lately_init(struct hbus_lately *wanted, __u64 generation, const __u8 *addr,
					     __u64 rest)
{
	wanted->generation = generation;
	__builtin_memcpy(wanted->addr, addr, sizeof(wanted->addr));
	wanted->rest = rest;
}

/* The place in @map for @wanted, whosever it is now. */
static __always_inline struct hbus_lately *hbus_lately_find(void *map, const struct hbus_lately *wanted)
{
	__u64 mixed = (wanted->addr[0] ^ wanted->addr[1]) * HBUS_LATELY_FACTOR ^ wanted->rest;
	__u32 place = mixed * HBUS_LATELY_FACTOR >> (64 - HBUS_LATELY_BITS);

	return bpf_map_lookup_elem(map, &place);
}

static __always_inline bool hbus_lately_is(const struct hbus_lately *lately, const struct hbus_lately *wanted)
{
	return lately && lately->generation == wanted->generation && lately->addr[0] == wanted->addr[0] &&
	       lately->addr[1] == wanted->addr[1] && lately->rest == wanted->rest;
}
