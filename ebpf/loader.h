/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filter of one network interface: find it, steer it, read it, replace it, clean up after it.
 *
 * DPDK's net_af_xdp loads and attaches the program (xdp_prog=); this library finds what it attached
 * and keeps the maps by descriptors of its own. Nothing is pinned. It also loads and attaches by
 * itself, for tests and for programs that use AF_XDP without DPDK.
 *
 * Thread: a handle belongs to one thread at a time. Nothing here is for the poll loop: every call
 * is a system call or more. What changes takes effect for the next frame, without a pause.
 *
 * Rights: CAP_BPF and CAP_NET_ADMIN. Reaching programs and maps that another process made (a stale
 * program, or a filter opened from outside the process that runs the port) asks for CAP_SYS_ADMIN.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ebpf/filter_abi.h"

struct hbus_filter;

/* ---- conditions (> 0) ------------------------------------------------------------------ */

#define HBUS_FILTER_NONE 1     /* no XDP program is attached */
#define HBUS_FILTER_FOREIGN 2  /* another program than ours (or than this handle's) is attached */
#define HBUS_FILTER_ABI 3      /* ours, of another version of the map layout */
#define HBUS_FILTER_FULL 4     /* a table is at its limit */
#define HBUS_FILTER_CONFLICT 5 /* another route index has exactly this match */
#define HBUS_FILTER_BUSY 6     /* a living process claims the interface */

/* ---- types ----------------------------------------------------------------------------- */

#define HBUS_FILTER_ERROR_MAX 256

/* A sentence about what went wrong, for those who ask (NULL is allowed wherever it is taken). */
struct hbus_filter_error {
	char text[HBUS_FILTER_ERROR_MAX];
};

/* ---- handle ---------------------------------------------------------------------------- */

/**
 * hbus_filter_open() - take the filter that is attached to an interface
 * @ifindex: of the interface, in this network namespace
 *
 * Routes, rules and counters are found as they are. The caller frees with hbus_filter_free().
 * Return: 0, HBUS_FILTER_NONE, HBUS_FILTER_FOREIGN, HBUS_FILTER_ABI, or -errno.
 */
int hbus_filter_open(unsigned int ifindex, struct hbus_filter **ret_filter,
		     struct hbus_filter_error *error);

/**
 * hbus_filter_load() - load the program into the kernel without attaching it
 * @path: of hbus_xdp.bpf.o
 *
 * Return: 0, HBUS_FILTER_FOREIGN or HBUS_FILTER_ABI when the object is not this version's filter,
 * or -errno.
 */
int hbus_filter_load(const char *path, struct hbus_filter **ret_filter,
		     struct hbus_filter_error *error);

/* Lets go of the program and its maps; what is attached stays attached. Return: NULL. */
struct hbus_filter *hbus_filter_free(struct hbus_filter *filter);

/* Descriptors borrowed from @filter. The second is the map of sockets by receive queue. */
int hbus_filter_prog_fd(const struct hbus_filter *filter);
int hbus_filter_sockets_fd(const struct hbus_filter *filter);
/* Id of the kernel for the program, as `bpftool prog` shows it. */
uint32_t hbus_filter_prog_id(const struct hbus_filter *filter);

/* ---- attachment ------------------------------------------------------------------------ */

/**
 * hbus_filter_attach() - attach to an interface that has no program
 *
 * In the driver where the driver can, as net_af_xdp does it.
 * Return: 0, HBUS_FILTER_FOREIGN when there is a program already, or -errno.
 */
int hbus_filter_attach(struct hbus_filter *filter, unsigned int ifindex,
		       struct hbus_filter_error *error);

/**
 * hbus_filter_check() - whether the program of this handle is still the attached one
 *
 * Cheap enough for every second.
 * Return: 0, HBUS_FILTER_NONE, HBUS_FILTER_FOREIGN, or -errno.
 */
int hbus_filter_check(const struct hbus_filter *filter, struct hbus_filter_error *error);

/**
 * hbus_filter_replace() - put the program of another object in place of the attached one
 *
 * The new program works on the old maps, sockets included: routes, rules, counters and packets under
 * way stay. The exchange is one step in the kernel; on failure the old program goes on.
 * Return: as hbus_filter_load() and hbus_filter_check().
 */
int hbus_filter_replace(struct hbus_filter *filter, const char *path,
			struct hbus_filter_error *error);

/* Detaches the program of this handle, and no other. Return: as hbus_filter_check(). */
int hbus_filter_detach(struct hbus_filter *filter, struct hbus_filter_error *error);

/* ---- who owns an interface ------------------------------------------------------------- */

/**
 * hbus_filter_claim() - say that this process drives the filter of an interface
 *
 * The claim is a name in the network namespace's own space, so it ends with the last process that
 * holds @ret_fd (close-on-exec; the caller closes it) and needs no file. With it in hand what a
 * killed owner left may be removed by hbus_filter_remove(). A claim by another uid that is not root
 * is no claim, it only cannot be taken: -EADDRINUSE.
 * Return: 0, HBUS_FILTER_BUSY, or -errno.
 */
int hbus_filter_claim(unsigned int ifindex, int *ret_fd, struct hbus_filter_error *error);

/**
 * hbus_filter_remove() - detach a hugebus filter from an interface, whoever attached it
 *
 * For the holder of the claim. Ours is what is named so and carries the stamp of filter_abi.h in
 * read-only data that the kernel has frozen; of any version.
 * Return: 0, HBUS_FILTER_NONE when there was none, HBUS_FILTER_FOREIGN when the program is another
 * (it is named in @error and not touched), or -errno.
 */
int hbus_filter_remove(unsigned int ifindex, struct hbus_filter_error *error);

/* ---- routes ---------------------------------------------------------------------------- */

/**
 * hbus_filter_route_set() - let a route exist, or change it
 * @route_idx: 0..HBUS_ROUTES_MAX-1, chosen by the caller
 * @flags: HBUS_ROUTE_*
 *
 * A changed match takes the place of the old one without a moment in which neither holds. A new
 * route starts its counters at 0.
 * Return: 0, HBUS_FILTER_CONFLICT, HBUS_FILTER_FULL, -EINVAL, or -errno.
 */
int hbus_filter_route_set(struct hbus_filter *filter, uint32_t route_idx,
			  const struct hbus_route_match *match, uint32_t topic, uint32_t flags);

/* Its counters stay readable until the index is used again. Return: 0, -ENOENT, -errno. */
int hbus_filter_route_del(struct hbus_filter *filter, uint32_t route_idx);

/* Return: 0 with the route of @route_idx, or -ENOENT. */
int hbus_filter_route_get(const struct hbus_filter *filter, uint32_t route_idx,
			  struct hbus_route_match *ret_match, struct hbus_route_info *ret_info);

uint32_t hbus_filter_n_routes(const struct hbus_filter *filter);

/* ---- sources --------------------------------------------------------------------------- */

/**
 * hbus_filter_source_set() - let a source rule exist, or change it
 * @addr: 4 or 16 bytes by @family, network order; bits beyond @prefix_len are ignored
 * @action: HBUS_SOURCE_*
 *
 * Return: 0, HBUS_FILTER_FULL, -EINVAL, or -errno.
 */
int hbus_filter_source_set(struct hbus_filter *filter, uint8_t family, const uint8_t *addr,
			   uint8_t prefix_len, uint32_t action);

/* Return: 0, -ENOENT, -EINVAL, or -errno. */
int hbus_filter_source_del(struct hbus_filter *filter, uint8_t family, const uint8_t *addr,
			   uint8_t prefix_len);

/* What holds for sources that no rule names: HBUS_SOURCE_ALLOW at first. */
int hbus_filter_source_default_set(struct hbus_filter *filter, uint32_t action);

/**
 * hbus_filter_rate_set() - limit each source
 * @packets_per_s: 0 = no limit, at most HBUS_RATE_PPS_MAX
 * @burst: packets a source may send at once after a pause, 1..HBUS_BURST_MAX
 * @ipv6_prefix_len: IPv6 sources with these bits in common share one bucket, 1..128; 64 is what
 *	one customer usually has to choose from
 */
int hbus_filter_rate_set(struct hbus_filter *filter, uint32_t packets_per_s, uint32_t burst,
			 uint8_t ipv6_prefix_len);

/* ---- TCP stack ------------------------------------------------------------------------- */

/**
 * hbus_filter_stack_add() - let frames for an address go to a TCP stack of this process
 * @addr: 4 or 16 bytes by @family, network order
 *
 * What that is stands in filter_abi.h. It begins at once.
 * Return: 0, HBUS_FILTER_FULL, -EINVAL, or -errno.
 */
int hbus_filter_stack_add(struct hbus_filter *filter, uint8_t family, const uint8_t *addr);

/* From now on the kernel gets them all again. */
int hbus_filter_stack_end(struct hbus_filter *filter);

/* ---- passive MQTT ---------------------------------------------------------------------- */

/**
 * hbus_filter_tap_set() - let TCP that was sent to others be read
 * @ports: of brokers, host order; none with @n = 0: the kernel gets all again
 * @own_mac: of the interface: what is sent to it is left alone
 *
 * Return: 0, HBUS_FILTER_FULL, or -errno.
 */
int hbus_filter_tap_set(struct hbus_filter *filter, const uint16_t *ports, uint32_t n, const uint8_t own_mac[6]);

/* ---- MQTT-SN --------------------------------------------------------------------------- */

/**
 * hbus_filter_sn_quiet_set() - drop a PUBLISH that nobody wants, or let it pass again
 *
 * Said again, it changes nothing. Thread: one at a time, beside any other function here.
 * Return: 0, HBUS_FILTER_FULL, or -errno.
 */
int hbus_filter_sn_quiet_set(struct hbus_filter *filter, const struct hbus_sn_quiet_key *key,
			     bool is_quiet);
/* When one was last dropped, in ns of CLOCK_MONOTONIC; 0: never. Return: 0 or -errno. */
int hbus_filter_sn_quiet_seen(const struct hbus_filter *filter, const struct hbus_sn_quiet_key *key,
			      uint64_t *ret_seen_ns);

/* ---- counters (sums over all CPUs, since the filter was loaded) -------------------------- */

int hbus_filter_stats_read(const struct hbus_filter *filter,
			   struct hbus_reason_stats ret_stats[HBUS_REASONS_MAX]);

/* Counters of @n routes from @first_idx on, used or not. */
int hbus_filter_route_stats_read(const struct hbus_filter *filter, uint32_t first_idx, uint32_t n,
				 struct hbus_route_stats *ret_stats);
