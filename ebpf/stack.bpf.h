/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Whether a frame is for a TCP stack of the ingress: the last paragraph of the verdict in
 * filter_abi.h. It is asked only about frames that hbus_parse() has found to be NOT_IP or NOT_UDP, so
 * that routed UDP pays nothing for it.
 *
 * Every offset is a constant, since a frame with a VLAN tag or with extension headers is none.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>

#include "filter_abi.h"
#include "maps.bpf.h"

#define HBUS_STACK_FRAGMENT_MASK 0x3fff

struct hbus_arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_size;
	__u8 protocol_size;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender_ip[4];
	__u8 target_mac[6];
	__u8 target_ip[4];
};

struct hbus_icmpv6 {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 reserved;
	__u8 target[16]; /* of neighbour solicitations */
};

static __always_inline bool hbus_arp_owner(const void *begin, const void *end,
					   struct hbus_stack_key *key)
{
	const struct hbus_arp *arp = begin;

	if ((const void *)(arp + 1) > end)
		return false;
	if (arp->hardware != bpf_htons(1) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_size != 6 || arp->protocol_size != 4)
		return false;
	key->family = HBUS_FAMILY_IPV4;
	__builtin_memcpy(key->addr, arp->target_ip, sizeof(arp->target_ip));
	return true;
}

static __always_inline bool hbus_ipv4_owner(const void *begin, const void *end,
					    struct hbus_stack_key *key)
{
	const struct iphdr *ip = begin;
	const __u8 *icmp_type = (const void *)(ip + 1);

	if ((const void *)(ip + 1) > end || ip->frag_off & bpf_htons(HBUS_STACK_FRAGMENT_MASK))
		return false;
	if (ip->protocol == HBUS_STACK_ICMP) {
		if (ip->ihl != 5 || (const void *)(icmp_type + 1) > end ||
		    *icmp_type != HBUS_STACK_ICMP_ECHO)
			return false;
	} else if (ip->protocol != HBUS_STACK_TCP) {
		return false;
	}
	key->family = HBUS_FAMILY_IPV4;
	__builtin_memcpy(key->addr, &ip->daddr, sizeof(ip->daddr));
	return true;
}

static __always_inline bool hbus_ipv6_owner(const void *begin, const void *end,
					    struct hbus_stack_key *key)
{
	const struct ipv6hdr *ip = begin;
	const struct hbus_icmpv6 *icmp = (const void *)(ip + 1);

	if ((const void *)(ip + 1) > end)
		return false;
	key->family = HBUS_FAMILY_IPV6;
	__builtin_memcpy(key->addr, &ip->daddr, sizeof(ip->daddr));
	if (ip->nexthdr == HBUS_STACK_TCP)
		return true;
	if (ip->nexthdr != HBUS_STACK_ICMPV6 || (const void *)(icmp + 1) > end)
		return false;
	if (icmp->type == HBUS_STACK_ICMPV6_SOLICIT)
		__builtin_memcpy(key->addr, icmp->target, sizeof(icmp->target));
	return icmp->type == HBUS_STACK_ICMPV6_SOLICIT || icmp->type == HBUS_STACK_ICMPV6_ADVERT ||
	       icmp->type == HBUS_STACK_ICMPV6_ECHO;
}

static __noinline bool hbus_is_for_stack(struct xdp_md *ctx)
{
	const void *end = (const void *)(unsigned long)ctx->data_end;
	const struct ethhdr *eth = (const void *)(unsigned long)ctx->data;
	struct hbus_stack_key key = {};
	bool has_owner = false;

	if ((const void *)(eth + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(HBUS_STACK_ETHERTYPE_ARP))
		has_owner = hbus_arp_owner(eth + 1, end, &key);
	else if (eth->h_proto == bpf_htons(ETH_P_IP))
		has_owner = hbus_ipv4_owner(eth + 1, end, &key);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		has_owner = hbus_ipv6_owner(eth + 1, end, &key);
	return has_owner && bpf_map_lookup_elem(&hbus_stack, &key);
}
