/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who has sent a message, and how an answer gets back.
 *
 * A peer is an address, a port, a VLAN, and behind a forwarder a wireless node: what a client is known
 * by. A link is what else a frame needs to get there; it is learnt from each frame anew.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/mqttsn/packet.h"

/* Compared and hashed as bytes: what is not used is 0. */
struct hbus_sn_peer {
	uint8_t addr[16];            /* IPv4: the first four */
	uint16_t port;               /* host order, as all below */
	uint16_t vlan;               /* 0: none */
	uint8_t family;              /* HBUS_FAMILY_* */
	uint8_t node_size;           /* 0: it speaks for itself */
	uint8_t node[HBUS_SN_NODE_MAX];
	uint8_t zero[2];
};
_Static_assert(sizeof(struct hbus_sn_peer) == 40, "no padding, and whole words");

struct hbus_sn_link {
	uint8_t peer_mac[6];
	uint8_t local_mac[6];
	uint8_t local_addr[16];
	uint8_t tags[8];             /* VLAN tags as they stand in the frame */
	uint16_t local_port;
	uint8_t n_tags;
	uint8_t loop_idx;            /* of the poll loop that received it */
	uint16_t queue_idx;          /* among the queues of that loop */
};

static inline bool hbus_sn_peer_is_same(const struct hbus_sn_peer *a, const struct hbus_sn_peer *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Keyed, so that nobody can choose addresses that collide. */
static inline uint64_t hbus_sn_peer_hash(const struct hbus_sn_peer *peer, uint64_t secret)
{
	uint64_t words[sizeof(*peer) / 8], hash = secret;

	memcpy(words, peer, sizeof(words));
	for (unsigned int i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		unsigned __int128 product =
			(unsigned __int128)(hash ^ words[i]) * (secret | 1) + words[i];

		hash = (uint64_t)product ^ (uint64_t)(product >> 64);
	}
	return hash ^ hash >> 32;
}
