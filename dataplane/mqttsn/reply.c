/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Written byte by byte, in network order.
 */
#include "dataplane/mqttsn/reply.h"

#include <string.h>

enum { IPV4_SIZE = 20, IPV6_SIZE = 40, UDP_SIZE = 8, PROTO_UDP = 17, HOPS = 64, TAG_SIZE = 4 };

struct cursor {
	uint8_t *at;
};

static void put(struct cursor *cursor, const void *bytes, size_t size)
{
	memcpy(cursor->at, bytes, size);
	cursor->at += size;
}

static void put16(struct cursor *cursor, size_t value)
{
	*cursor->at++ = (uint8_t)(value >> 8);
	*cursor->at++ = (uint8_t)value;
}

/* RFC 1071, over 16-bit words in network order. */
static uint32_t add_sum(uint32_t sum, const uint8_t *bytes, size_t size)
{
	for (; size >= 2; bytes += 2, size -= 2)
		sum += (uint32_t)(bytes[0] << 8 | bytes[1]);
	return size > 0 ? sum + (uint32_t)(bytes[0] << 8) : sum;
}

static uint16_t end_sum(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put_link(struct cursor *cursor, const struct hbus_sn_peer *peer,
		     const struct hbus_sn_link *link)
{
	put(cursor, link->peer_mac, sizeof(link->peer_mac));
	put(cursor, link->local_mac, sizeof(link->local_mac));
	put(cursor, link->tags, (size_t)link->n_tags * TAG_SIZE);
	put16(cursor, peer->family == HBUS_FAMILY_IPV4 ? 0x0800 : 0x86dd);
}

static void put_ipv4(struct cursor *cursor, const struct hbus_sn_peer *peer,
		     const struct hbus_sn_link *link, size_t udp_size)
{
	uint8_t *ip = cursor->at;

	put(cursor, "\x45\x00", 2);
	put16(cursor, IPV4_SIZE + udp_size);
	put(cursor, "\0\0\x40\0", 4); /* whole, and to stay so */
	*cursor->at++ = HOPS;
	*cursor->at++ = PROTO_UDP;
	put16(cursor, 0);
	put(cursor, link->local_addr, 4);
	put(cursor, peer->addr, 4);
	cursor->at = ip + 10;
	put16(cursor, end_sum(add_sum(0, ip, IPV4_SIZE)));
	cursor->at = ip + IPV4_SIZE;
}

static void put_ipv6(struct cursor *cursor, const struct hbus_sn_peer *peer,
		     const struct hbus_sn_link *link, size_t udp_size)
{
	put(cursor, "\x60\0\0\0", 4);
	put16(cursor, udp_size);
	*cursor->at++ = PROTO_UDP;
	*cursor->at++ = HOPS;
	put(cursor, link->local_addr, 16);
	put(cursor, peer->addr, 16);
}

static void put_udp_sum(uint8_t *udp, size_t udp_size, const struct hbus_sn_peer *peer,
			const struct hbus_sn_link *link)
{
	size_t addr_size = peer->family == HBUS_FAMILY_IPV4 ? 4 : 16;
	uint32_t sum = (uint32_t)udp_size + PROTO_UDP;
	uint16_t result;

	sum = add_sum(sum, link->local_addr, addr_size);
	sum = add_sum(sum, peer->addr, addr_size);
	result = end_sum(add_sum(sum, udp, udp_size));
	/* 0 would mean that there is none. */
	result = result ? result : 0xffff;
	udp[6] = (uint8_t)(result >> 8);
	udp[7] = (uint8_t)result;
}

size_t hbus_sn_reply(uint8_t room[HBUS_SN_FRAME_MAX], const struct hbus_sn_peer *peer,
		     const struct hbus_sn_link *link, const uint8_t *message, size_t message_size)
{
	uint8_t wrapping[3 + HBUS_SN_NODE_MAX], *udp;
	size_t wrapping_size = 0, udp_size;
	struct cursor cursor = { room };

	if (peer->node_size > 0)
		wrapping_size = hbus_sn_wrap(wrapping, peer->node, peer->node_size);
	if (message_size + wrapping_size > HBUS_SN_MESSAGE_MAX)
		return 0;
	udp_size = UDP_SIZE + wrapping_size + message_size;
	put_link(&cursor, peer, link);
	if (peer->family == HBUS_FAMILY_IPV4)
		put_ipv4(&cursor, peer, link, udp_size);
	else
		put_ipv6(&cursor, peer, link, udp_size);
	udp = cursor.at;
	put16(&cursor, link->local_port);
	put16(&cursor, peer->port);
	put16(&cursor, udp_size);
	put16(&cursor, 0);
	put(&cursor, wrapping, wrapping_size);
	put(&cursor, message, message_size);
	put_udp_sum(udp, udp_size, peer, link);
	return (size_t)(cursor.at - room);
}
