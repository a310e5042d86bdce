/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * From a frame to what the filter judges by: steps 1 to 3 of the verdict in filter_abi.h.
 *
 * The poll loop in C parses the same frames with code of its own; a test holds the two together.
 * Headers are packed structs read field by field: frames are not aligned to anything.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>

#include "cursor.bpf.h"
#include "filter_abi.h"

#define HBUS_VLAN_ID_MASK 0x0fff
#define HBUS_IPV4_FRAGMENT_MASK 0x3fff /* offset and "more to come", not "do not" */

#define HBUS_NEXT_HOP_BY_HOP 0
#define HBUS_NEXT_ROUTING 43
#define HBUS_NEXT_FRAGMENT 44
#define HBUS_NEXT_DEST_OPTIONS 60

/* What is left to say about a frame once its headers are read. */
struct hbus_flow {
	__u8 family;
	bool has_bad_length; /* the lengths of IP and UDP contradict each other or the frame */
	__be16 vlan;	     /* id of the outer tag, 0 = none */
	__be16 port;
	__be16 src_port;
	__u32 payload_off;  /* of UDP, from the first byte of the frame */
	__u32 payload_size; /* valid unless has_bad_length */
	__u8 src[16]; /* IPv4: the first four bytes, the others 0 */
	__u8 dst[16];
};

struct hbus_vlan_tag {
	__be16 tci;
	__be16 proto;
};

struct hbus_ext_header {
	__u8 next;
	__u8 n_more_units; /* of 8 bytes, beyond the first */
	__u8 type;
	__u8 segments_left;
	__u8 rest[4];
};

static __always_inline bool hbus_is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* @ret_proto: the type behind the last tag. */
static __always_inline __u32 hbus_parse_link(struct hbus_cursor *cur, struct hbus_flow *flow,
					     __be16 *ret_proto)
{
	const struct ethhdr *eth;
	__be16 proto;

	if (!hbus_cursor_take(cur, sizeof(*eth), (const void **)&eth))
		return HBUS_REASON_TRUNCATED;
	proto = eth->h_proto;

#pragma unroll
	for (__u32 i = 0; i < HBUS_VLAN_TAGS_MAX; i++) {
		const struct hbus_vlan_tag *tag;

		if (!hbus_is_vlan(proto))
			break;
		if (!hbus_cursor_take(cur, sizeof(*tag), (const void **)&tag))
			return HBUS_REASON_TRUNCATED;
		if (i == 0)
			flow->vlan = tag->tci & bpf_htons(HBUS_VLAN_ID_MASK);
		proto = tag->proto;
	}
	if (hbus_is_vlan(proto))
		return HBUS_REASON_TOO_MANY_TAGS;
	*ret_proto = proto;
	return HBUS_REASON_ACCEPTED;
}

/*
 * @ret_left: bytes that the header claims from where the cursor then is
 * @ret_has_moved: by a variable size, so that from here on bytes are to be copied
 */
static __always_inline __u32 hbus_parse_ipv4(struct hbus_cursor *cur, struct hbus_flow *flow,
					     __u32 *ret_left, bool *ret_has_moved)
{
	const struct iphdr *ip;
	__u32 header_len, total_len;

	if (!hbus_cursor_take(cur, sizeof(*ip), (const void **)&ip))
		return HBUS_REASON_TRUNCATED;
	header_len = ip->ihl * 4U;
	total_len = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header_len < sizeof(*ip) || total_len < header_len)
		return HBUS_REASON_BAD_HEADER;
	*ret_has_moved = header_len > sizeof(*ip);
	if (*ret_has_moved && !hbus_cursor_skip(cur, header_len - sizeof(*ip)))
		return HBUS_REASON_TRUNCATED;
	if (ip->protocol != IPPROTO_UDP)
		return HBUS_REASON_NOT_UDP;
	if (ip->frag_off & bpf_htons(HBUS_IPV4_FRAGMENT_MASK))
		return HBUS_REASON_FRAGMENT;

	flow->family = HBUS_FAMILY_IPV4;
	__builtin_memcpy(flow->src, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(flow->dst, &ip->daddr, sizeof(ip->daddr));
	*ret_left = total_len - header_len;
	return HBUS_REASON_ACCEPTED;
}

static __always_inline bool hbus_is_walked(__u8 next)
{
	return next == HBUS_NEXT_HOP_BY_HOP || next == HBUS_NEXT_ROUTING ||
	       next == HBUS_NEXT_DEST_OPTIONS;
}

/* Walks extension headers from @next up to UDP; takes what it walks from *@left. */
static __noinline __u32 hbus_parse_ipv6_ext(struct hbus_cursor *cur, __u8 next, __u32 *left)
{
#pragma unroll
	for (__u32 i = 0; i <= HBUS_IPV6_EXT_MAX; i++) {
		struct hbus_ext_header ext;
		__u32 rest;

		if (next == IPPROTO_UDP)
			return HBUS_REASON_ACCEPTED;
		if (next == HBUS_NEXT_FRAGMENT)
			return HBUS_REASON_FRAGMENT;
		if (!hbus_is_walked(next))
			return HBUS_REASON_NOT_UDP;
		if (i == HBUS_IPV6_EXT_MAX)
			break;

		if (!hbus_cursor_copy(cur, sizeof(ext), &ext) || *left < sizeof(ext))
			return HBUS_REASON_TRUNCATED;
		*left -= sizeof(ext);
		rest = ext.n_more_units * 8U;
		if (!hbus_cursor_skip(cur, rest) || *left < rest)
			return HBUS_REASON_TRUNCATED;
		*left -= rest;
		if (next == HBUS_NEXT_ROUTING && ext.segments_left != 0)
			break;
		next = ext.next;
	}
	return HBUS_REASON_EXT_HEADERS;
}

static __always_inline __u32 hbus_parse_ipv6(struct hbus_cursor *cur, struct hbus_flow *flow,
					     __u32 *ret_left, bool *ret_has_moved)
{
	const struct ipv6hdr *ip;
	struct hbus_cursor walk;
	__u32 left, reason;

	if (!hbus_cursor_take(cur, sizeof(*ip), (const void **)&ip))
		return HBUS_REASON_TRUNCATED;
	if (ip->version != 6)
		return HBUS_REASON_BAD_HEADER;

	flow->family = HBUS_FAMILY_IPV6;
	__builtin_memcpy(flow->src, &ip->saddr, sizeof(flow->src));
	__builtin_memcpy(flow->dst, &ip->daddr, sizeof(flow->dst));
	left = bpf_ntohs(ip->payload_len);
	*ret_left = left;
	if (ip->nexthdr == IPPROTO_UDP)
		return HBUS_REASON_ACCEPTED;
	*ret_has_moved = true;
	/* On copies: what a function has seen the address of stays in memory for all other frames too. */
	walk = *cur;
	reason = hbus_parse_ipv6_ext(&walk, ip->nexthdr, &left);
	*cur = walk;
	*ret_left = left;
	return reason;
}

static __always_inline bool hbus_take_udp(struct hbus_cursor *cur, bool has_moved,
					  struct udphdr *ret_udp)
{
	const struct udphdr *udp;

	if (has_moved)
		return hbus_cursor_copy(cur, sizeof(*ret_udp), ret_udp);
	if (!hbus_cursor_take(cur, sizeof(*udp), (const void **)&udp))
		return false;
	*ret_udp = *udp;
	return true;
}

/* @left: bytes that IP claims from the cursor on. */
static __always_inline __u32 hbus_parse_udp(struct hbus_cursor *cur, struct hbus_flow *flow,
					    __u32 left, bool has_moved)
{
	bool is_cut = !hbus_cursor_has(cur, left);
	struct udphdr udp;
	__u32 udp_len;

	if (!hbus_take_udp(cur, has_moved, &udp) || left < sizeof(udp))
		return HBUS_REASON_TRUNCATED;
	udp_len = bpf_ntohs(udp.len);
	flow->port = udp.dest;
	flow->src_port = udp.source;
	flow->payload_off = cur->off;
	flow->payload_size = udp_len - sizeof(udp);
	flow->has_bad_length = is_cut || udp_len < sizeof(udp) || udp_len > left;
	return HBUS_REASON_ACCEPTED;
}

/* Return: ACCEPTED with @flow (zeroed by the caller) filled, or why the frame is not ours. */
static __always_inline __u32 hbus_parse(struct xdp_md *ctx, __u32 frame_size,
					struct hbus_flow *flow)
{
	struct hbus_cursor cur = hbus_cursor_of(ctx, frame_size);
	bool has_moved = false;
	__be16 proto = 0;
	__u32 left = 0;
	__u32 reason;

	reason = hbus_parse_link(&cur, flow, &proto);
	if (reason != HBUS_REASON_ACCEPTED)
		return reason;
	if (proto == bpf_htons(ETH_P_IP))
		reason = hbus_parse_ipv4(&cur, flow, &left, &has_moved);
	else if (proto == bpf_htons(ETH_P_IPV6))
		reason = hbus_parse_ipv6(&cur, flow, &left, &has_moved);
	else
		reason = HBUS_REASON_NOT_IP;
	if (reason != HBUS_REASON_ACCEPTED)
		return reason;
	return hbus_parse_udp(&cur, flow, left, has_moved);
}
