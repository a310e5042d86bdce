/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Whether a frame is TCP that is read passively: the last paragraph but one of the verdict in filter_abi.h. It is asked
 * only about frames that hbus_parse() has found to be NOT_UDP, and only when there are ports to read.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "cursor.bpf.h"
#include "filter_abi.h"
#include "parse.bpf.h"

struct hbus_tcp_ports {
	__be16 source;
	__be16 destination;
};

static __always_inline bool hbus_has_tap(const struct hbus_filter_config *config, __be16 port)
{
	bool has = false;

#pragma unroll
	for (__u32 i = 0; i < HBUS_TAP_PORTS_MAX; i++)
		has |= config->tap_ports[i] == port;
	return has && port != 0;
}

static __always_inline bool hbus_is_own(const struct hbus_filter_config *config, const struct ethhdr *eth)
{
	__u8 difference = 0;

#pragma unroll
	for (__u32 i = 0; i < ETH_ALEN; i++)
		difference |= config->own_mac[i] ^ eth->h_dest[i];
	return difference == 0;
}

/* Moves @cur to the TCP header. */
static __always_inline bool hbus_skip_ip(struct hbus_cursor *cur, __be16 proto)
{
	const struct ipv6hdr *ipv6;
	const struct iphdr *ip;

	if (proto == bpf_htons(ETH_P_IPV6))
		return hbus_cursor_take(cur, sizeof(*ipv6), (const void **)&ipv6) && ipv6->version == 6 &&
		       ipv6->nexthdr == IPPROTO_TCP;
	if (proto != bpf_htons(ETH_P_IP) || !hbus_cursor_take(cur, sizeof(*ip), (const void **)&ip))
		return false;
	return ip->protocol == IPPROTO_TCP && !(ip->frag_off & bpf_htons(HBUS_IPV4_FRAGMENT_MASK)) && ip->ihl >= 5 &&
	       hbus_cursor_skip(cur, ip->ihl * 4U - sizeof(*ip));
}

static __noinline bool hbus_is_tapped(struct xdp_md *ctx, __u32 frame_size, const struct hbus_filter_config *config)
{
	struct hbus_cursor cur = hbus_cursor_of(ctx, frame_size);
	const struct ethhdr *eth = (const void *)(unsigned long)ctx->data;
	struct hbus_flow flow = {};
	struct hbus_tcp_ports ports;
	__be16 proto = 0;

	if (!config || (const void *)(eth + 1) > (const void *)(unsigned long)ctx->data_end || hbus_is_own(config, eth))
		return false;
	return hbus_parse_link(&cur, &flow, &proto) == HBUS_REASON_ACCEPTED && hbus_skip_ip(&cur, proto) &&
	       hbus_cursor_copy(&cur, sizeof(ports), &ports) && hbus_has_tap(config, ports.destination);
}
