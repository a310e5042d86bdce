/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same checks as in ebpf/stack.bpf.h, at the same offsets; a test holds the two together.
 */
#include "dataplane/tcp/claim.h"

#include <string.h>

enum {
	ETHERNET_SIZE = 14,
	ARP_SIZE = 28,
	IPV4_SIZE = 20,
	IPV6_SIZE = 40,
	ICMPV6_SIZE = 24,            /* of those that are looked at */
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,
};

static uint16_t load_be16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/* The three below. Return: the address that the packet is for, or NULL: not for a stack. */
static const uint8_t *arp_target(const uint8_t *arp, size_t size)
{
	static const uint8_t ipv4_over_ethernet[] = { 0, 1, 8, 0, 6, 4 };

	if (size < ARP_SIZE || memcmp(arp, ipv4_over_ethernet, sizeof(ipv4_over_ethernet)) != 0)
		return NULL;
	return arp + 24;
}

static const uint8_t *ipv4_target(const uint8_t *ip, size_t size)
{
	uint32_t header_size, total_size;

	if (size < IPV4_SIZE)
		return NULL;
	/* What hbus_net_parse() calls BAD_HEADER or TRUNCATED is not NOT_UDP. */
	header_size = (ip[0] & 0x0fu) * 4;
	total_size = load_be16(ip + 2);
	if (ip[0] >> 4 != 4 || header_size < IPV4_SIZE || total_size < header_size ||
	    size < header_size)
		return NULL;
	if ((load_be16(ip + 6) & 0x3fff) != 0)
		return NULL;
	if (ip[9] == HBUS_STACK_TCP)
		return ip + 16;
	if (ip[9] == HBUS_STACK_ICMP && header_size == IPV4_SIZE && size > IPV4_SIZE &&
	    ip[IPV4_SIZE] == HBUS_STACK_ICMP_ECHO)
		return ip + 16;
	return NULL;
}

static const uint8_t *ipv6_target(const uint8_t *ip, size_t size)
{
	const uint8_t *icmp = ip + IPV6_SIZE;

	if (size < IPV6_SIZE || ip[0] >> 4 != 6)
		return NULL;
	if (ip[6] == HBUS_STACK_TCP)
		return ip + 24;
	if (ip[6] != HBUS_STACK_ICMPV6 || size < IPV6_SIZE + ICMPV6_SIZE)
		return NULL;
	if (icmp[0] == HBUS_STACK_ICMPV6_SOLICIT)
		return icmp + 8;
	if (icmp[0] == HBUS_STACK_ICMPV6_ADVERT || icmp[0] == HBUS_STACK_ICMPV6_ECHO)
		return ip + 24;
	return NULL;
}

int hbus_claim_look(const struct hbus_claim *claim, uint16_t port_id, const uint8_t *frame,
		    size_t size)
{
	const uint8_t *target = NULL;
	uint8_t family = HBUS_FAMILY_IPV4;
	size_t left = size - ETHERNET_SIZE;
	uint16_t ethertype;

	if (size < ETHERNET_SIZE)
		return -1;
	ethertype = load_be16(frame + 12);
	if (ethertype == HBUS_STACK_ETHERTYPE_ARP)
		target = arp_target(frame + ETHERNET_SIZE, left);
	else if (ethertype == ETHERTYPE_IPV4)
		target = ipv4_target(frame + ETHERNET_SIZE, left);
	else if (ethertype == ETHERTYPE_IPV6)
		target = ipv6_target(frame + ETHERNET_SIZE, left);
	if (!target)
		return -1;
	if (ethertype == ETHERTYPE_IPV6)
		family = HBUS_FAMILY_IPV6;
	for (uint32_t i = 0; i < claim->n; i++)
		if (claim->at[i].port_id == port_id && claim->at[i].family == family &&
		    memcmp(claim->at[i].addr, target, family == HBUS_FAMILY_IPV4 ? 4 : 16) == 0)
			return (int)i;
	return -1;
}
