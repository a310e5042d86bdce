/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The maps of one port. None is pinned: a pin is one per bpffs, so a second port would share the
 * first one's sockets. The loader finds them by the program's map ids; names are part of the ABI.
 */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "filter_abi.h"

/* Receive queue -> AF_XDP socket. DPDK's net_af_xdp looks for exactly this name. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, HBUS_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} xsks_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hbus_filter_config);
} hbus_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, HBUS_ROUTE_KEYS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hbus_route_key);
	__type(value, struct hbus_route_val);
} hbus_routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HBUS_ROUTES_MAX);
	__type(key, __u32);
	__type(value, struct hbus_route_info);
} hbus_route_info SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HBUS_ROUTES_MAX);
	__type(key, __u32);
	__type(value, struct hbus_route_stats);
} hbus_rt_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, HBUS_SOURCES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hbus_source_key);
	__type(value, struct hbus_source_val);
} hbus_sources SEC(".maps");

/* Each CPU's own, so that an entry is never half one's and half another's. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HBUS_LATELY_MAX);
	__type(key, __u32);
	__type(value, struct hbus_lately);
} hbus_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HBUS_LATELY_MAX);
	__type(key, __u32);
	__type(value, struct hbus_lately);
} hbus_senders SEC(".maps");

/* Allocated whole at load: a flood of forged sources evicts entries, it does not take memory. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, HBUS_BUCKETS_MAX);
	__type(key, struct hbus_bucket_key);
	__type(value, struct hbus_bucket);
} hbus_buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HBUS_STACK_ADDRS_MAX);
	__type(key, struct hbus_stack_key);
	__type(value, __u32);
} hbus_stack SEC(".maps");

/* Takes memory as it fills: few clients publish what nobody wants. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HBUS_SN_QUIET_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hbus_sn_quiet_key);
	__type(value, struct hbus_sn_quiet_val);
} hbus_sn_quiet SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HBUS_REASONS_MAX);
	__type(key, __u32);
	__type(value, struct hbus_reason_stats);
} hbus_stats SEC(".maps");

/* volatile: or the compiler folds the value and the map that carries it is not in the program. */
const volatile struct hbus_filter_stamp hbus_stamp SEC(".rodata.stamp") = {
	.magic = HBUS_FILTER_MAGIC,
	.abi_version = HBUS_FILTER_ABI_VERSION,
};
