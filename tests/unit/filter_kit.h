/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The XDP program under the kernel's test run: no interface, no traffic, each frame judged once.
 *
 * A socket that never receives stands in the map of sockets, so that a redirect can succeed.
 */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_xdp.h>

#include "ebpf/loader.h"
#include "tests/unit/frames.h"

enum { KIT_PORT = 5001, KIT_PAYLOAD_SIZE = 12, KIT_UMEM_SIZE = 1 << 16 };

static struct hbus_filter *kit_filter;
static int kit_socket = -1;

static inline int kit_quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

/* Enough of an AF_XDP socket for the map to take it. */
static inline int kit_socket_open(void)
{
	struct xdp_umem_reg umem = { .len = KIT_UMEM_SIZE, .chunk_size = 2048 };
	int n_entries = 16;
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	void *memory = mmap(NULL, KIT_UMEM_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	umem.addr = (uintptr_t)memory;
	if (fd < 0 || memory == MAP_FAILED ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof(umem)) < 0 ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &n_entries, sizeof(n_entries)) < 0 ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &n_entries, sizeof(n_entries)) < 0 ||
	    setsockopt(fd, SOL_XDP, XDP_RX_RING, &n_entries, sizeof(n_entries)) < 0)
		return -1;
	return fd;
}

static inline void kit_init(void)
{
	struct hbus_filter_error error = { "" };
	uint32_t queue = 0;
	int ret;

	libbpf_set_print(kit_quiet);
	ret = hbus_filter_load(HBUS_XDP_OBJECT, &kit_filter, &error);
	/* Not EACCES: that is the verifier's word on the program. */
	if (ret == -EPERM)
		cr_skip_test("needs CAP_BPF and CAP_NET_ADMIN: %s", error.text);
	cr_assert_eq(ret, 0, "%d: %s", ret, error.text);
	kit_socket = kit_socket_open();
	if (kit_socket < 0)
		cr_skip_test("needs AF_XDP sockets (CAP_NET_RAW): %s", strerror(errno));
	cr_assert_eq(bpf_map_update_elem(hbus_filter_sockets_fd(kit_filter), &queue, &kit_socket,
					 BPF_ANY), 0, "%s", strerror(errno));
}

static inline void kit_deinit(void)
{
	kit_filter = hbus_filter_free(kit_filter);
	if (kit_socket >= 0)
		close(kit_socket);
}

/* The XDP action on @size bytes. */
static inline uint32_t kit_run(const uint8_t *bytes, uint32_t size)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bytes, .data_size_in = size);

	cr_assert_eq(bpf_prog_test_run_opts(hbus_filter_prog_fd(kit_filter), &opts), 0, "%s",
		     strerror(errno));
	return opts.retval;
}

/* One by one: the kernel's own repeat waits for a grace period of RCU, tens of milliseconds. */
static inline void kit_run_many(const struct frame *f, uint32_t n)
{
	while (n-- > 0)
		kit_run(f->bytes, f->size);
}

static inline uint64_t kit_count(uint32_t reason)
{
	struct hbus_reason_stats stats[HBUS_REASONS_MAX];

	cr_assert_eq(hbus_filter_stats_read(kit_filter, stats), 0);
	return stats[reason].packets;
}

static inline uint32_t kit_action_of(uint32_t reason)
{
	switch (hbus_reason_action(reason)) {
	case HBUS_ACTION_REDIRECT:
		return XDP_REDIRECT;
	case HBUS_ACTION_PASS:
		return XDP_PASS;
	default:
		return XDP_DROP;
	}
}

/*
 * Judges one frame. Return: the reason it was counted under. That it was counted once, with all of
 * its bytes, and treated as its reason says, is checked here for every frame of every test.
 */
static inline uint32_t kit_judge_bytes(const uint8_t *bytes, uint32_t size)
{
	struct hbus_reason_stats before[HBUS_REASONS_MAX], after[HBUS_REASONS_MAX];
	uint32_t reason = HBUS_REASONS_MAX;
	uint32_t action;

	cr_assert_eq(hbus_filter_stats_read(kit_filter, before), 0);
	action = kit_run(bytes, size);
	cr_assert_eq(hbus_filter_stats_read(kit_filter, after), 0);
	for (uint32_t i = 0; i < HBUS_REASONS_MAX; i++) {
		if (after[i].packets == before[i].packets)
			continue;
		cr_assert_eq(reason, HBUS_REASONS_MAX, "counted as %u and as %u", reason, i);
		cr_assert_eq(after[i].packets - before[i].packets, 1);
		cr_assert_eq(after[i].bytes - before[i].bytes, size);
		reason = i;
	}
	cr_assert_lt(reason, HBUS_N_REASONS, "not counted");
	cr_assert_eq(action, kit_action_of(reason), "action %u for %s", action,
		     hbus_reason_name(reason));
	return reason;
}

static inline uint32_t kit_judge(const struct frame *f)
{
	return kit_judge_bytes(f->bytes, f->size);
}

/* ---- frames ------------------------------------------------------------------------------ */

static const uint8_t kit_payload[KIT_PAYLOAD_SIZE] = "hello, world";

static inline struct frame kit_ipv4(void)
{
	struct frame f;

	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, KIT_PORT, kit_payload, KIT_PAYLOAD_SIZE);
	return f;
}

static inline struct frame kit_ipv6(const uint8_t *kinds, uint32_t n_kinds)
{
	struct frame f;

	frame_link(&f, NULL, NULL, 0, 0x86dd);
	frame_ipv6_udp(&f, kinds, n_kinds, KIT_PORT, kit_payload, KIT_PAYLOAD_SIZE);
	return f;
}

static inline struct frame kit_tagged(const uint16_t *tpids, const uint16_t *tags, uint32_t n_tags)
{
	struct frame f;

	frame_link(&f, tpids, tags, n_tags, 0x0800);
	frame_ipv4_udp(&f, 0, KIT_PORT, kit_payload, KIT_PAYLOAD_SIZE);
	return f;
}

static inline uint8_t *kit_ip(struct frame *f)
{
	return f->bytes + f->ip_off;
}

static inline void kit_set_source_ipv4(struct frame *f, uint32_t addr)
{
	uint8_t *at = kit_ip(f) + 12;

	frame_put16(at, addr >> 16);
	frame_put16(at + 2, addr & 0xffff);
}

/* ---- routes ------------------------------------------------------------------------------ */

static inline struct hbus_route_match kit_match(const char *prefix, uint8_t prefix_len,
						uint16_t vlan, uint16_t port)
{
	bool is_v6 = strchr(prefix, ':');
	struct hbus_route_match match = {
		.family = is_v6 ? HBUS_FAMILY_IPV6 : HBUS_FAMILY_IPV4,
		.prefix_len = prefix_len,
		.vlan = vlan,
		.port = port,
	};

	cr_assert_eq(inet_pton(is_v6 ? AF_INET6 : AF_INET, prefix, match.addr), 1);
	return match;
}

static inline void kit_route(uint32_t idx, struct hbus_route_match match, uint32_t topic)
{
	cr_assert_eq(hbus_filter_route_set(kit_filter, idx, &match, topic, HBUS_ROUTE_WANTED), 0);
}

/* Everything at KIT_PORT, IPv4 by route 0 to topic 1, IPv6 by route 1 to topic 2. */
static inline void kit_route_all(void)
{
	kit_route(0, kit_match("0.0.0.0", 0, HBUS_VLAN_ANY, KIT_PORT), 1);
	kit_route(1, kit_match("::", 0, HBUS_VLAN_ANY, KIT_PORT), 2);
}

/* The route that accepts @f, or HBUS_ROUTES_MAX when none does. Looks at routes 0 to @n - 1. */
static inline uint32_t kit_route_of(const struct frame *f, uint32_t n)
{
	struct hbus_route_stats *before = calloc(n, sizeof(*before));
	struct hbus_route_stats *after = calloc(n, sizeof(*after));
	uint32_t found = HBUS_ROUTES_MAX;
	uint32_t reason;

	cr_assert_eq(hbus_filter_route_stats_read(kit_filter, 0, n, before), 0);
	reason = kit_judge(f);
	cr_assert_eq(hbus_filter_route_stats_read(kit_filter, 0, n, after), 0);
	for (uint32_t i = 0; i < n; i++) {
		if (after[i].accepted == before[i].accepted)
			continue;
		cr_assert_eq(found, HBUS_ROUTES_MAX);
		cr_assert_eq(after[i].accepted - before[i].accepted, 1);
		cr_assert_eq(after[i].accepted_bytes - before[i].accepted_bytes, f->size);
		found = i;
	}
	cr_assert_eq(found == HBUS_ROUTES_MAX, reason != HBUS_REASON_ACCEPTED);
	free(before);
	free(after);
	return found;
}
