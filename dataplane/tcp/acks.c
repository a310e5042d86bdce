/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frames are lwIP's own: no tags, no options of IP.
 */
#include "dataplane/tcp/acks.h"

#include <stddef.h>
#include <string.h>

enum {
	ETHERNET_SIZE = 14,
	IPV4_SIZE = 20,
	IPV6_SIZE = 40,
	TCP_SIZE = 20,
	TCP = 6,
	ACK_OFF = 8,
	FLAGS_OFF = 13,
	WINDOW_OFF = 14,
	ACK = 0x10,
};

/* Return: the TCP header, or NULL: it does more than to acknowledge. */
static const uint8_t *bare_ack(const uint8_t *frame, uint32_t size)
{
	const uint8_t *ip = frame + ETHERNET_SIZE, *tcp = NULL;

	if (size == ETHERNET_SIZE + IPV4_SIZE + TCP_SIZE && frame[12] == 0x08 && frame[13] == 0x00 &&
	    ip[0] == 0x45 && ip[9] == TCP)
		tcp = ip + IPV4_SIZE;
	else if (size == ETHERNET_SIZE + IPV6_SIZE + TCP_SIZE && frame[12] == 0x86 &&
		 frame[13] == 0xdd && ip[6] == TCP)
		tcp = ip + IPV6_SIZE;
	return tcp && tcp[12] == TCP_SIZE / 4 << 4 && tcp[FLAGS_OFF] == ACK ? tcp : NULL;
}

static uint32_t load_be32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t load_be16(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 8 | bytes[1];
}

/* Ethernet and IP addresses, ports and the number of the next byte. */
static bool are_of_one(const uint8_t *frame, const uint8_t *before, uint32_t size)
{
	uint32_t addresses_size = size == ETHERNET_SIZE + IPV4_SIZE + TCP_SIZE ? 8 : 32;

	return memcmp(frame, before, ETHERNET_SIZE) == 0 &&
	       memcmp(frame + size - TCP_SIZE - addresses_size, before + size - TCP_SIZE - addresses_size,
		      addresses_size + ACK_OFF) == 0;
}

bool hbus_ack_replaces(const uint8_t *frame, uint32_t size, const uint8_t *before, uint32_t before_size,
		       bool has_replaced)
{
	const uint8_t *tcp = bare_ack(frame, size), *tcp_before = bare_ack(before, before_size);
	int32_t more;

	if (!tcp || !tcp_before || size != before_size || !are_of_one(frame, before, size))
		return false;
	more = (int32_t)(load_be32(tcp + ACK_OFF) - load_be32(tcp_before + ACK_OFF));
	if (more != 0)
		return more > 0;
	return has_replaced && load_be16(tcp + WINDOW_OFF) > load_be16(tcp_before + WINDOW_OFF);
}
