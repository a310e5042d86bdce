/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Token buckets by source, for ports in front of which no XDP program runs.
 *
 * The arithmetic is that of ebpf/filter_abi.h. The memory is fixed: sets of a few sources, in
 * which a new source takes the place of the one whose bucket is fullest, that is the one that
 * loses least by being forgotten.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ebpf/filter_abi.h"

struct hbus_buckets;

/* How much each source may send. Zero is no limit. */
struct hbus_rate {
	uint64_t packets_per_s;      /* at most HBUS_RATE_PPS_MAX */
	uint64_t burst;              /* 1..HBUS_BURST_MAX */
};

/* @secret: anything that a source cannot guess. Return: 0 or -ENOMEM. */
int hbus_buckets_new(uint64_t secret, struct hbus_buckets **ret_buckets);

/* Accepts NULL and returns NULL. */
struct hbus_buckets *hbus_buckets_free(struct hbus_buckets *buckets);

/**
 * hbus_buckets_take() - let one packet of a source pass, or not
 * @source: 4 or 16 bytes by @family; IPv6 sources share a bucket by their first 64 bits
 * @now_ns: of a clock that does not go back
 *
 * Thread: the owner. No allocation, lock or system call.
 */
bool hbus_buckets_take(struct hbus_buckets *buckets, const struct hbus_rate *rate,
		       uint8_t family, const uint8_t *source, uint64_t now_ns);
