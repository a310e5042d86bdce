// SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
/*
 * The filter in the driver: what is ours and wanted goes to the AF_XDP socket of its queue, what
 * is ours and unwanted is dropped here, what is not ours goes on to the kernel.
 *
 * filter_abi.h has the order of the verdict and the layout of each map, README.md the rest. The
 * file must hold exactly one program: DPDK's net_af_xdp attaches the first of the object.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>

#include "filter_abi.h"
#include "lately.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"
#include "mqttsn.bpf.h"
#include "stack.bpf.h"
#include "tap.bpf.h"

/* Tries to move a bucket that other CPUs move too; the rest of a race counts as too fast. */
#define HBUS_BUCKET_TRIES 4

/* One bit for each reason that XDP drops for. */
#define HBUS_DROPS_REDIRECT 0U
#define HBUS_DROPS_PASS 0U
#define HBUS_DROPS_NONE 0U
#define HBUS_DROPS_DROP 1U
#define HBUS_DROP_BIT(number, name, text, action, meaning) | HBUS_DROPS_##action << (number)
#define HBUS_DROP_MASK (0U HBUS_REASONS(HBUS_DROP_BIT))

/* ---- route ----------------------------------------------------------------------------- */

/* Return: the index of the best route, or HBUS_ROUTES_MAX. */
static __always_inline __u32 hbus_route_look_up(const struct hbus_filter_config *config,
					       const struct hbus_flow *flow)
{
	bool is_ipv4 = flow->family == HBUS_FAMILY_IPV4;
	__u32 classes = config->classes_used >> HBUS_CLASS_BITS_OFF(flow->family);
	struct hbus_route_key key = {
		.prefix_bits = HBUS_ROUTE_KEY_FIXED_BITS + (is_ipv4 ? 32 : 128),
		.family = flow->family,
	};
	__u32 best_idx = HBUS_ROUTES_MAX;
	__u32 best_len = 0;

	__builtin_memcpy(key.addr, flow->dst, sizeof(key.addr));
#pragma unroll
	for (int class = HBUS_ROUTE_CLASSES - 1; class >= 0; class--) {
		const struct hbus_route_val *val;

		if (!(classes & (1U << class)))
			continue;
		key.route_class = (__u8)class;
		key.vlan = class & HBUS_ROUTE_EXACT_VLAN ? flow->vlan : 0;
		key.port = class & HBUS_ROUTE_EXACT_PORT ? flow->port : 0;
		val = bpf_map_lookup_elem(&hbus_routes, &key);
		if (!val)
			continue;
		/* Strictly longer: on ties the higher class, which came first, stays. */
		if (best_idx == HBUS_ROUTES_MAX || val->prefix_len > best_len) {
			best_idx = val->route_idx;
			best_len = val->prefix_len;
		}
	}
	return best_idx;
}

/* Only what matched is remembered: what did not may be anything. */
static __always_inline __u32 hbus_route_of(const struct hbus_filter_config *config,
					   const struct hbus_flow *flow)
{
	struct hbus_lately wanted;
	struct hbus_lately *lately;
	__u32 idx;

	hbus_lately_init(&wanted, config->generation, flow->dst,
			 HBUS_LATELY_REST(flow->family, flow->vlan, flow->port));
	lately = hbus_lately_find(&hbus_flows, &wanted);
	if (hbus_lately_is(lately, &wanted))
		return lately->found;
	idx = hbus_route_look_up(config, flow);
	if (lately && idx < HBUS_ROUTES_MAX) {
		wanted.found = idx;
		*lately = wanted;
	}
	return idx;
}

/* ---- source ---------------------------------------------------------------------------- */

static __always_inline __u32 hbus_source_look_up(const struct hbus_filter_config *config,
						 const struct hbus_flow *flow)
{
	struct hbus_source_key key = {
		.prefix_bits = HBUS_SOURCE_KEY_FIXED_BITS +
			       (flow->family == HBUS_FAMILY_IPV4 ? 32 : 128),
		.family = flow->family,
	};
	const struct hbus_source_val *val;

	__builtin_memcpy(key.addr, flow->src, sizeof(key.addr));
	val = bpf_map_lookup_elem(&hbus_sources, &key);
	return val ? val->action : config->source_default;
}

static __always_inline __u32 hbus_source_action(const struct hbus_filter_config *config,
						const struct hbus_flow *flow)
{
	struct hbus_lately wanted;
	struct hbus_lately *lately;

	if (!(config->flags & HBUS_CONFIG_HAS_SOURCES))
		return config->source_default;
	hbus_lately_init(&wanted, config->generation, flow->src, HBUS_LATELY_REST(flow->family, 0, 0));
	lately = hbus_lately_find(&hbus_senders, &wanted);
	if (hbus_lately_is(lately, &wanted))
		return lately->found;
	wanted.found = hbus_source_look_up(config, flow);
	if (lately)
		*lately = wanted;
	return wanted.found;
}

/* ---- rate ------------------------------------------------------------------------------ */

static __always_inline void hbus_bucket_key_init(struct hbus_bucket_key *key,
						 const struct hbus_filter_config *config,
						 const struct hbus_flow *flow)
{
	__u64 half[2];

	if (flow->family == HBUS_FAMILY_IPV4) {
		half[0] = 0;
		__builtin_memcpy(&half[1], flow->src, sizeof(half[1]));
		/* The address behind 00 00 ff ff: it stands in the low half of this word. */
		half[1] = half[1] << 32 | 0xffff0000U;
	} else {
		__builtin_memcpy(half, flow->src, sizeof(half));
		half[0] &= config->bucket_mask[0];
		half[1] &= config->bucket_mask[1];
	}
	__builtin_memcpy(key, half, sizeof(*key));
}

/* One packet out of @bucket. Return: whether it may go. */
static __always_inline bool hbus_bucket_take(struct hbus_bucket *bucket, __u64 now,
					     __u64 interval, __u64 window)
{
	/* volatile: this clang has no relaxed atomic load for BPF, and the word must be read once. */
	__u64 seen = *(const volatile __u64 *)&bucket->full_at;

#pragma unroll
	for (int i = 0; i < HBUS_BUCKET_TRIES; i++) {
		__u64 next = hbus_bucket_next(seen, now, interval, window);
		__u64 found;

		if (next == 0)
			return false;
		found = __sync_val_compare_and_swap(&bucket->full_at, seen, next);
		if (found == seen)
			return true;
		seen = found;
	}
	return false;
}

static __always_inline bool hbus_rate_permits(const struct hbus_filter_config *config,
					      const struct hbus_flow *flow)
{
	__u64 interval = config->bucket_interval;
	struct hbus_bucket_key key;
	struct hbus_bucket *bucket;
	struct hbus_bucket first;
	__u64 now;

	if (interval == 0)
		return true;
	hbus_bucket_key_init(&key, config, flow);
	now = bpf_ktime_get_ns() * HBUS_BUCKET_UNITS_PER_NS;
	bucket = bpf_map_lookup_elem(&hbus_buckets, &key);
	if (!bucket) {
		first.full_at = now + interval;
		if (bpf_map_update_elem(&hbus_buckets, &key, &first, BPF_NOEXIST) == 0)
			return true;
		/* Another CPU was first; or there is no entry to be had, which is a refusal. */
		bucket = bpf_map_lookup_elem(&hbus_buckets, &key);
		if (!bucket)
			return false;
	}
	return hbus_bucket_take(bucket, now, interval, config->bucket_window);
}

/* ---- verdict --------------------------------------------------------------------------- */

/* Steps 5 to 8, for a frame of route @idx. */
static __always_inline __u32 hbus_judge_routed(struct xdp_md *ctx,
					       const struct hbus_filter_config *config,
					       const struct hbus_flow *flow, __u32 idx)
{
	const struct hbus_route_info *info = bpf_map_lookup_elem(&hbus_route_info, &idx);
	__u32 action;

	if (!info)
		return HBUS_REASON_UNKNOWN_PORT;
	if (flow->has_bad_length)
		return HBUS_REASON_BAD_LENGTH;
	if (!(info->flags & HBUS_ROUTE_WANTED))
		return HBUS_REASON_NO_INTEREST;
	if (info->flags & HBUS_ROUTE_MQTTSN && hbus_sn_is_quiet(ctx, flow))
		return HBUS_REASON_NO_INTEREST;
	action = hbus_source_action(config, flow);
	if (action == HBUS_SOURCE_DENY)
		return HBUS_REASON_SOURCE_DENIED;
	if (action != HBUS_SOURCE_TRUST && !hbus_rate_permits(config, flow))
		return HBUS_REASON_RATE_LIMITED;
	return HBUS_REASON_ACCEPTED;
}

/* @ret_idx: the frame's route, left alone when it has none. */
static __always_inline __u32 hbus_judge(struct xdp_md *ctx, __u32 frame_size, __u32 *ret_idx)
{
	const struct hbus_filter_config *config;
	struct hbus_flow flow = {};
	__u32 zero = 0;
	__u32 reason, idx;

	config = bpf_map_lookup_elem(&hbus_config, &zero);
	if (!config)
		return HBUS_REASON_UNKNOWN_PORT;
	reason = hbus_parse(ctx, frame_size, &flow);
	if (reason != HBUS_REASON_ACCEPTED) {
		if (config->flags & HBUS_CONFIG_HAS_STACK &&
		    (reason == HBUS_REASON_NOT_IP || reason == HBUS_REASON_NOT_UDP) &&
		    hbus_is_for_stack(ctx))
			return HBUS_REASON_STACK;
		if (config->flags & HBUS_CONFIG_HAS_TAP && reason == HBUS_REASON_NOT_UDP &&
		    hbus_is_tapped(ctx, frame_size, config))
			return HBUS_REASON_TAPPED;
		return reason;
	}
	idx = hbus_route_of(config, &flow);
	if (idx >= HBUS_ROUTES_MAX)
		return HBUS_REASON_UNKNOWN_PORT;
	*ret_idx = idx;
	return hbus_judge_routed(ctx, config, &flow, idx);
}

static __always_inline void hbus_count(__u32 reason, __u64 n_bytes)
{
	struct hbus_reason_stats *stats = bpf_map_lookup_elem(&hbus_stats, &reason);

	if (!stats)
		return;
	stats->packets++;
	stats->bytes += n_bytes;
}

static __always_inline void hbus_count_route(__u32 idx, __u32 reason, __u64 n_bytes)
{
	struct hbus_route_stats *stats = bpf_map_lookup_elem(&hbus_rt_stats, &idx);

	if (!stats)
		return;
	/* Sums of comparisons: offsets that differ by path would take CAP_PERFMON. */
	stats->accepted += reason == HBUS_REASON_ACCEPTED;
	stats->accepted_bytes += reason == HBUS_REASON_ACCEPTED ? n_bytes : 0;
	stats->bad_length += reason == HBUS_REASON_BAD_LENGTH;
	stats->no_interest += reason == HBUS_REASON_NO_INTEREST;
	stats->source_denied += reason == HBUS_REASON_SOURCE_DENIED;
	stats->rate_limited += reason == HBUS_REASON_RATE_LIMITED;
	stats->no_socket += reason == HBUS_REASON_NO_SOCKET;
}

static __always_inline int hbus_action_of(__u32 reason)
{
	if (reason == HBUS_REASON_ACCEPTED || reason == HBUS_REASON_STACK || reason == HBUS_REASON_TAPPED)
		return XDP_REDIRECT;
	return HBUS_DROP_MASK >> reason & 1 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int hbus_xdp(struct xdp_md *ctx)
{
	__u32 frame_size = (__u32)bpf_xdp_get_buff_len(ctx);
	__u32 idx = HBUS_ROUTES_MAX;
	__u32 reason;

	/* Never so; it ties the stamp to the program, which is how the loader knows it again. */
	if (hbus_stamp.abi_version != HBUS_FILTER_ABI_VERSION)
		return XDP_PASS;

	reason = hbus_judge(ctx, frame_size, &idx);
	/* Without a socket on this queue the last argument comes back: the kernel's, then. */
	if (hbus_action_of(reason) == XDP_REDIRECT &&
	    bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_PASS) != XDP_REDIRECT)
		reason = HBUS_REASON_NO_SOCKET;

	hbus_count(reason, frame_size);
	if (idx < HBUS_ROUTES_MAX)
		hbus_count_route(idx, reason, frame_size);
	return hbus_action_of(reason);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
