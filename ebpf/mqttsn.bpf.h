/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The head of an MQTT-SN message: is it a PUBLISH that nobody wants?
 *
 * dataplane/mqttsn/packet.h reads the same head; a test holds the two together. What this cannot tell goes
 * up to the poll loop.
 */
#pragma once

#include "maps.bpf.h"
#include "parse.bpf.h"

#define HBUS_SN_HEAD_SHORT 7U
#define HBUS_SN_HEAD_LONG 9U
#define HBUS_SN_LONG 0x01
#define HBUS_SN_TYPE_PUBLISH 0x0c
#define HBUS_SN_FLAGS_NOT_PLAIN 0x1c /* retain, will, clean session */
#define HBUS_SN_FLAGS_QOS 0x60
#define HBUS_SN_FLAGS_KIND 0x03

/* Return: the flags and the topic identifier (network order), or false. */
static __always_inline bool hbus_sn_head(struct xdp_md *ctx, const struct hbus_flow *flow, __u8 *ret_flags,
					 __be16 *ret_topic_id)
{
	__u8 head[HBUS_SN_HEAD_SHORT] = {};
	__u32 claimed;

	if (flow->payload_size < HBUS_SN_HEAD_SHORT ||
	    bpf_xdp_load_bytes(ctx, flow->payload_off, head, sizeof(head)) < 0)
		return false;
	claimed = head[0];
	if (head[0] == HBUS_SN_LONG) {
		claimed = (__u32)head[1] << 8 | head[2];
		/* Read again from two octets on: the rest stands where it does behind a short length. */
		if (flow->payload_size < HBUS_SN_HEAD_LONG ||
		    bpf_xdp_load_bytes(ctx, flow->payload_off + 2, head, sizeof(head)) < 0)
			return false;
	}
	*ret_flags = head[2];
	__builtin_memcpy(ret_topic_id, head + 3, sizeof(*ret_topic_id));
	return claimed == flow->payload_size && head[1] == HBUS_SN_TYPE_PUBLISH;
}

static __always_inline bool hbus_sn_is_quiet(struct xdp_md *ctx, const struct hbus_flow *flow)
{
	struct hbus_sn_quiet_key key = {};
	struct hbus_sn_quiet_val *val;
	__u8 flags, qos;

	if (!hbus_sn_head(ctx, flow, &flags, &key.topic_id) || flags & HBUS_SN_FLAGS_NOT_PLAIN)
		return false;
	qos = flags & HBUS_SN_FLAGS_QOS;
	key.kind = flags & HBUS_SN_FLAGS_KIND;
	if (qos == 0 && key.kind == 0) {
		key.family = flow->family;
		key.port = flow->src_port;
		key.vlan = flow->vlan;
		__builtin_memcpy(key.addr, flow->src, sizeof(key.addr));
	} else if (qos != HBUS_SN_FLAGS_QOS || key.kind == 0 || key.kind == HBUS_SN_FLAGS_KIND) {
		return false;
	}
	val = bpf_map_lookup_elem(&hbus_sn_quiet, &key);
	if (!val)
		return false;
	/* A sign of life for the gateway, to the tick: the clock itself costs more than all the rest. */
	val->seen_at = bpf_ktime_get_coarse_ns();
	return true;
}
