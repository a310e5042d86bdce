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

#define HBUS_SN_PEER_WORDS (sizeof(struct hbus_sn_peer) / 8)

static inline bool hbus_sn_peer_is_same(const struct hbus_sn_peer *a, const struct hbus_sn_peer *b)
{
	uint64_t left[HBUS_SN_PEER_WORDS], right[HBUS_SN_PEER_WORDS], difference = 0;

	memcpy(left, a, sizeof(left));
	memcpy(right, b, sizeof(right));
	for (unsigned int i = 0; i < HBUS_SN_PEER_WORDS; i++)
		difference |= left[i] ^ right[i];
	return difference == 0;
}

static inline uint64_t hbus_sn_peer_mix(uint64_t hash, uint64_t word, uint64_t secret)
{
	/* Odd, and with bits all over whatever the secret is. */
	uint64_t factor = (secret ^ 0x9e3779b97f4a7c15U) | 1;
	unsigned __int128 product = (unsigned __int128)(hash ^ word) * factor + word;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/*
 * A peer that speaks for itself over IPv4 is two of these words, the others are 0: to build them in registers
 * spares reading back as one word what was written byte by byte, which stalls. (Hosts are little-endian.)
 */
#define HBUS_SN_PEER_ADDR 0U         /* the word of an IPv4 address */
#define HBUS_SN_PEER_REST 2U         /* that of port, VLAN, family and the size of the node */

static inline uint64_t hbus_sn_peer_rest(uint16_t port, uint16_t vlan, uint8_t family)
{
	return (uint64_t)port | (uint64_t)vlan << 16 | (uint64_t)family << 32;
}

/* Of a peer whose other words are 0. */
static inline uint64_t hbus_sn_peer_hash_words(uint64_t addr, uint64_t rest, uint64_t secret)
{
	uint64_t hash = hbus_sn_peer_mix(hbus_sn_peer_mix(secret, addr, secret), rest, secret);

	return hash ^ hash >> 32;
}

/* Keyed, so that nobody can choose addresses that collide. Only words that can differ are looked at. */
static inline uint64_t hbus_sn_peer_hash(const struct hbus_sn_peer *peer, uint64_t secret)
{
	uint64_t words[HBUS_SN_PEER_WORDS], hash = secret;

	memcpy(words, peer, sizeof(words));
	hash = hbus_sn_peer_mix(hash, words[HBUS_SN_PEER_ADDR], secret);
	hash = hbus_sn_peer_mix(hash, words[HBUS_SN_PEER_REST], secret);
	if (words[1])
		hash = hbus_sn_peer_mix(hash, words[1], secret);
	for (unsigned int i = 3; peer->node_size > 0 && i < HBUS_SN_PEER_WORDS; i++)
		hash = hbus_sn_peer_mix(hash, words[i], secret);
	return hash ^ hash >> 32;
}
