/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Routes, interest, sources and rates as the loader sets them and the XDP program obeys them.
 * Without CAP_BPF each test is skipped.
 */
#include <stdio.h>
#include <time.h>

#include "tests/unit/filter_kit.h"
#include "tests/unit/random.h"

TestSuite(filter_rules, .init = kit_init, .fini = kit_deinit, .timeout = 60);

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- routes -------------------------------------------------------------------------------- */

Test(filter_rules, prefer_prefix_then_vlan_then_port)
{
	static const uint16_t tpid = 0x8100, tag = 7;
	struct frame f = kit_tagged(&tpid, &tag, 1);

	/* From the least to the most specific; each takes the frame from the one before. */
	const struct hbus_route_match matches[] = {
		kit_match("0.0.0.0", 0, HBUS_VLAN_ANY, HBUS_PORT_ANY),
		kit_match("0.0.0.0", 0, HBUS_VLAN_ANY, KIT_PORT),
		kit_match("0.0.0.0", 0, 7, HBUS_PORT_ANY),
		kit_match("0.0.0.0", 0, 7, KIT_PORT),
		kit_match("10.0.0.0", 8, HBUS_VLAN_ANY, HBUS_PORT_ANY),
		kit_match("10.0.0.0", 31, HBUS_VLAN_ANY, KIT_PORT), /* does not cover 10.0.0.2 */
		kit_match("10.0.0.2", 31, HBUS_VLAN_ANY, KIT_PORT),
		kit_match("10.0.0.2", 32, HBUS_VLAN_ANY, HBUS_PORT_ANY),
		kit_match("10.0.0.2", 32, 7, HBUS_PORT_ANY),
		kit_match("10.0.0.2", 32, 7, KIT_PORT),
	};

	for (uint32_t i = 0; i < 10; i++) {
		kit_route(i, matches[i], 1);
		cr_assert_eq(kit_route_of(&f, 10), i == 5 ? 4 : i, "after route %u", i);
	}
	/* And back: a longer prefix that does not fit does not hide a shorter one. */
	for (uint32_t i = 10; i > 0; i--) {
		uint32_t want = i - 1 == 5 ? 4 : i - 1;

		cr_assert_eq(kit_route_of(&f, 10), want, "with route %u the last", i - 1);
		cr_assert_eq(hbus_filter_route_del(kit_filter, i - 1), 0);
	}
	cr_assert_eq(kit_route_of(&f, 10), HBUS_ROUTES_MAX);
	cr_assert_eq(hbus_filter_n_routes(kit_filter), 0);
}

Test(filter_rules, ignore_address_bits_beyond_the_prefix)
{
	struct frame f = kit_ipv4();

	kit_route(0, kit_match("10.0.255.255", 16, HBUS_VLAN_ANY, KIT_PORT), 1);
	cr_assert_eq(kit_route_of(&f, 1), 0);
}

Test(filter_rules, refuse_routes_that_cannot_be)
{
	struct hbus_route_match good = kit_match("10.0.0.0", 8, 7, KIT_PORT);
	struct hbus_route_match bad[4] = { good, good, good, good };

	bad[0].family = 5;
	bad[1].prefix_len = 33;
	bad[2].vlan = 4095;
	bad[3].reserved = 1;
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(hbus_filter_route_set(kit_filter, 0, &bad[i], 1, 0), -EINVAL, "%zu", i);
	bad[0] = kit_match("fd00::", 129, 7, KIT_PORT);
	cr_assert_eq(hbus_filter_route_set(kit_filter, 0, &bad[0], 1, 0), -EINVAL);
	cr_assert_eq(hbus_filter_route_set(kit_filter, HBUS_ROUTES_MAX, &good, 1, 0), -EINVAL);
	cr_assert_eq(hbus_filter_route_set(kit_filter, 0, &good, 1, 1U << 31), -EINVAL);
	cr_assert_eq(hbus_filter_route_del(kit_filter, 0), -ENOENT);
	cr_assert_eq(hbus_filter_route_del(kit_filter, HBUS_ROUTES_MAX), -ENOENT);
}

Test(filter_rules, refuse_one_match_for_two_routes)
{
	struct hbus_route_match match = kit_match("10.0.0.0", 8, 7, KIT_PORT);
	struct hbus_route_match longer = kit_match("10.0.0.0", 9, 7, KIT_PORT);

	kit_route(3, match, 1);
	cr_assert_eq(hbus_filter_route_set(kit_filter, 4, &match, 1, 0), HBUS_FILTER_CONFLICT);
	cr_assert_eq(hbus_filter_route_set(kit_filter, 3, &match, 2, 0), 0);
	cr_assert_eq(hbus_filter_route_set(kit_filter, 4, &longer, 1, 0), 0);
	cr_assert_eq(hbus_filter_n_routes(kit_filter), 2);
}

Test(filter_rules, change_a_route_in_place)
{
	struct hbus_route_match match;
	struct hbus_route_info info;
	struct frame f = kit_ipv4();

	kit_route(0, kit_match("10.0.0.2", 32, HBUS_VLAN_ANY, KIT_PORT), 1);
	cr_assert_eq(kit_route_of(&f, 1), 0);
	kit_route(0, kit_match("10.0.0.3", 32, HBUS_VLAN_ANY, HBUS_PORT_ANY), 2);
	cr_assert_eq(kit_route_of(&f, 1), HBUS_ROUTES_MAX);
	kit_ip(&f)[19] = 3;
	cr_assert_eq(kit_route_of(&f, 1), 0);
	cr_assert_eq(hbus_filter_route_get(kit_filter, 0, &match, &info), 0);
	cr_assert_eq(match.addr[3], 3);
	cr_assert_eq(info.topic, 2);
	cr_assert_eq(hbus_filter_route_get(kit_filter, 1, &match, &info), -ENOENT);
}

Test(filter_rules, start_the_counters_of_a_new_route_at_0)
{
	struct hbus_route_match match = kit_match("10.0.0.2", 32, HBUS_VLAN_ANY, KIT_PORT);
	struct hbus_route_stats stats;
	struct frame f = kit_ipv4();

	kit_route(0, match, 1);
	kit_run_many(&f, 5);
	cr_assert_eq(hbus_filter_route_del(kit_filter, 0), 0);
	cr_assert_eq(hbus_filter_route_stats_read(kit_filter, 0, 1, &stats), 0);
	cr_assert_eq(stats.accepted, 5);
	kit_route(0, match, 1);
	cr_assert_eq(hbus_filter_route_stats_read(kit_filter, 0, 1, &stats), 0);
	cr_assert_eq(stats.accepted, 0);
}

static void route_number(uint32_t idx, uint32_t number)
{
	struct hbus_route_match match = kit_match("10.0.0.0", 32, HBUS_VLAN_ANY, KIT_PORT);

	frame_put16(match.addr + 2, number);
	kit_route(idx, match, idx + 1);
}

Test(filter_rules, hold_as_many_routes_as_their_limit_and_change_them_there)
{
	struct hbus_route_match one_more = kit_match("10.1.0.0", 32, 0, KIT_PORT);
	struct frame f = kit_ipv4();

	for (uint32_t i = 0; i < HBUS_ROUTES_MAX; i++)
		route_number(i, i);
	cr_assert_eq(hbus_filter_n_routes(kit_filter), HBUS_ROUTES_MAX);
	cr_assert_eq(hbus_filter_route_set(kit_filter, HBUS_ROUTES_MAX, &one_more, 1, 0), -EINVAL);
	frame_put16(kit_ip(&f) + 18, HBUS_ROUTES_MAX - 1);
	cr_assert_eq(kit_route_of(&f, HBUS_ROUTES_MAX), HBUS_ROUTES_MAX - 1);

	route_number(HBUS_ROUTES_MAX - 1, HBUS_ROUTES_MAX);
	cr_assert_eq(kit_route_of(&f, HBUS_ROUTES_MAX), HBUS_ROUTES_MAX);
	frame_put16(kit_ip(&f) + 18, HBUS_ROUTES_MAX);
	cr_assert_eq(kit_route_of(&f, HBUS_ROUTES_MAX), HBUS_ROUTES_MAX - 1);
}

/* ---- interest ------------------------------------------------------------------------------ */

static void want(uint32_t route_idx, bool is_wanted)
{
	struct hbus_route_match match;
	struct hbus_route_info info;

	cr_assert_eq(hbus_filter_route_get(kit_filter, route_idx, &match, &info), 0);
	info.flags = is_wanted ? info.flags | HBUS_ROUTE_WANTED : info.flags & ~HBUS_ROUTE_WANTED;
	cr_assert_eq(hbus_filter_route_set(kit_filter, route_idx, &match, info.topic, info.flags), 0);
}

Test(filter_rules, drop_what_nobody_wants_until_somebody_does)
{
	struct frame f = kit_ipv4();
	struct hbus_route_stats stats;

	kit_route_all();
	want(0, false);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_NO_INTEREST);
	want(0, true);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_ACCEPTED);
	cr_assert_eq(hbus_filter_route_stats_read(kit_filter, 0, 1, &stats), 0);
	cr_assert_eq(stats.no_interest, 1);
	cr_assert_eq(stats.accepted, 1);
}

/* ---- sources ------------------------------------------------------------------------------- */

static void source(const char *prefix, uint8_t prefix_len, uint32_t action)
{
	struct hbus_route_match at = kit_match(prefix, prefix_len, 0, 0);

	cr_assert_eq(hbus_filter_source_set(kit_filter, at.family, at.addr, prefix_len, action), 0);
}

static void source_del(const char *prefix, uint8_t prefix_len)
{
	struct hbus_route_match at = kit_match(prefix, prefix_len, 0, 0);

	cr_assert_eq(hbus_filter_source_del(kit_filter, at.family, at.addr, prefix_len), 0);
}

Test(filter_rules, let_the_longest_source_prefix_decide)
{
	struct frame f = kit_ipv4();

	kit_route_all();
	source("10.0.0.0", 8, HBUS_SOURCE_DENY);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_SOURCE_DENIED);
	source("10.0.0.0", 24, HBUS_SOURCE_ALLOW);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_ACCEPTED);
	source("10.0.0.1", 32, HBUS_SOURCE_DENY);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_SOURCE_DENIED);
	kit_set_source_ipv4(&f, 0x0a000002);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_ACCEPTED);
	source("10.0.0.0", 24, HBUS_SOURCE_DENY);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_SOURCE_DENIED);
	source_del("10.0.0.0", 24);
	source_del("10.0.0.0", 8);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_ACCEPTED);
}

Test(filter_rules, deny_by_default_where_told)
{
	struct frame f = kit_ipv4(), g = kit_ipv6(NULL, 0);

	kit_route_all();
	cr_assert_eq(hbus_filter_source_default_set(kit_filter, HBUS_SOURCE_DENY), 0);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_SOURCE_DENIED);
	cr_assert_eq(kit_judge(&g), HBUS_REASON_SOURCE_DENIED);
	source("fd00::", 16, HBUS_SOURCE_ALLOW);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_SOURCE_DENIED);
	cr_assert_eq(kit_judge(&g), HBUS_REASON_ACCEPTED);
	source_del("fd00::", 16);
	cr_assert_eq(kit_judge(&g), HBUS_REASON_SOURCE_DENIED);
	cr_assert_eq(hbus_filter_source_default_set(kit_filter, HBUS_SOURCE_ALLOW), 0);
	cr_assert_eq(kit_judge(&g), HBUS_REASON_ACCEPTED);
}

Test(filter_rules, keep_source_families_apart)
{
	struct frame f = kit_ipv4(), g = kit_ipv6(NULL, 0);

	kit_route_all();
	source("::", 0, HBUS_SOURCE_DENY);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_ACCEPTED);
	cr_assert_eq(kit_judge(&g), HBUS_REASON_SOURCE_DENIED);
}

Test(filter_rules, refuse_source_rules_that_cannot_be)
{
	uint8_t addr[16] = { 10 };

	cr_assert_eq(hbus_filter_source_set(kit_filter, 4, addr, 33, HBUS_SOURCE_DENY), -EINVAL);
	cr_assert_eq(hbus_filter_source_set(kit_filter, 5, addr, 8, HBUS_SOURCE_DENY), -EINVAL);
	cr_assert_eq(hbus_filter_source_set(kit_filter, 4, addr, 8, 9), -EINVAL);
	cr_assert_eq(hbus_filter_source_del(kit_filter, 4, addr, 8), -ENOENT);
	cr_assert_eq(hbus_filter_source_default_set(kit_filter, 9), -EINVAL);
}

Test(filter_rules, hold_as_many_source_rules_as_their_limit_and_not_one_more)
{
	uint8_t addr[16] = { 10 };

	for (uint32_t i = 0; i < HBUS_SOURCES_MAX; i++) {
		frame_put16(addr + 2, i);
		cr_assert_eq(hbus_filter_source_set(kit_filter, 4, addr, 32, HBUS_SOURCE_DENY), 0);
	}
	addr[1] = 1;
	cr_assert_eq(hbus_filter_source_set(kit_filter, 4, addr, 32, HBUS_SOURCE_DENY),
		     HBUS_FILTER_FULL);
}

/* ---- rates --------------------------------------------------------------------------------- */

/* How many of @n frames at once are accepted. */
static uint64_t accepted_of(const struct frame *f, uint32_t n)
{
	uint64_t before = kit_count(HBUS_REASON_ACCEPTED);

	kit_run_many(f, n);
	return kit_count(HBUS_REASON_ACCEPTED) - before;
}

/* At most the burst and what the time since @start has earned at @rate. */
static uint64_t most_of(uint32_t burst, uint32_t rate, uint64_t start)
{
	return burst + (now_ns() - start) * rate / 1000000000 + 1;
}

Test(filter_rules, permit_a_burst_and_then_the_rate)
{
	const uint32_t rate = 1000, burst = 50, n_wanted = 250;
	struct frame f = kit_ipv4();
	uint64_t start, n_accepted, n_most;

	kit_route_all();
	cr_assert_eq(hbus_filter_rate_set(kit_filter, rate, burst, 64), 0);
	start = now_ns();
	n_accepted = accepted_of(&f, 60);
	cr_assert_geq(n_accepted, burst);
	/* Far more than may pass: what passes is what time has earned. */
	while (n_accepted < n_wanted && now_ns() - start < 20000000000)
		n_accepted += accepted_of(&f, 20);
	n_most = most_of(burst, rate, start);
	cr_assert_leq(n_accepted, n_most, "%lu of at most %lu", n_accepted, n_most);
	cr_assert_geq(n_accepted, n_wanted, "%lu", n_accepted);
}

Test(filter_rules, fill_a_bucket_to_its_burst_and_no_further)
{
	struct frame f = kit_ipv4();
	uint64_t start, n_accepted;

	kit_route_all();
	start = now_ns();
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, 10, 64), 0);
	n_accepted = accepted_of(&f, 100);
	cr_assert_geq(n_accepted, 10);
	cr_assert_leq(n_accepted, most_of(10, 1, start));
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 0, 0, 0), 0);
	cr_assert_eq(accepted_of(&f, 100), 100);
}

Test(filter_rules, give_each_source_a_bucket_of_its_own)
{
	struct frame f = kit_ipv4(), g = kit_ipv4(), h = kit_ipv6(NULL, 0);

	kit_route_all();
	kit_set_source_ipv4(&g, 0x0a000063);
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, 3, 64), 0);
	accepted_of(&f, 100);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_RATE_LIMITED);
	cr_assert_geq(accepted_of(&g, 100), 3);
	cr_assert_geq(accepted_of(&h, 100), 3);
}

Test(filter_rules, let_ipv6_sources_of_one_prefix_share_a_bucket)
{
	struct frame f = kit_ipv6(NULL, 0);

	kit_route_all();
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, 3, 64), 0);
	accepted_of(&f, 100);
	kit_ip(&f)[8 + 15] = 99;
	cr_assert_eq(kit_judge(&f), HBUS_REASON_RATE_LIMITED);
	kit_ip(&f)[8 + 7] = 1;
	cr_assert_eq(kit_judge(&f), HBUS_REASON_ACCEPTED);
}

Test(filter_rules, let_a_shorter_ipv6_prefix_share_a_bucket_too)
{
	struct frame f = kit_ipv6(NULL, 0);

	kit_route_all();
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, 3, 47), 0);
	accepted_of(&f, 100);
	kit_ip(&f)[8 + 7] = 99;
	kit_ip(&f)[8 + 5] ^= 1;
	cr_assert_eq(kit_judge(&f), HBUS_REASON_RATE_LIMITED);
	kit_ip(&f)[8 + 5] ^= 2;
	cr_assert_eq(kit_judge(&f), HBUS_REASON_ACCEPTED);
}

Test(filter_rules, exempt_trusted_sources_from_the_rate)
{
	struct frame f = kit_ipv4();

	kit_route_all();
	source("10.0.0.1", 32, HBUS_SOURCE_TRUST);
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, 1, 64), 0);
	cr_assert_eq(accepted_of(&f, 1000), 1000);
}

Test(filter_rules, spend_no_tokens_on_what_nobody_wants)
{
	struct frame f = kit_ipv4();

	kit_route_all();
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, 3, 64), 0);
	want(0, false);
	kit_run_many(&f, 100);
	want(0, true);
	cr_assert_geq(accepted_of(&f, 3), 3);
}

Test(filter_rules, refuse_rates_that_cannot_be)
{
	cr_assert_eq(hbus_filter_rate_set(kit_filter, HBUS_RATE_PPS_MAX + 1, 1, 64), -EINVAL);
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, 0, 64), -EINVAL);
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, HBUS_BURST_MAX + 1, 64), -EINVAL);
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, 1, 0), -EINVAL);
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, 1, 129), -EINVAL);
	cr_assert_eq(hbus_filter_rate_set(kit_filter, HBUS_RATE_PPS_MAX, HBUS_BURST_MAX, 128), 0);
}

/* Descriptor of the map of buckets, -1 without CAP_SYS_ADMIN: a look at what the program keeps. */
static int buckets_fd(void)
{
	struct bpf_prog_info info = { 0 };
	uint32_t ids[32] = { 0 }, len = sizeof(info);

	info.nr_map_ids = 32;
	info.map_ids = (uintptr_t)ids;
	cr_assert_eq(bpf_obj_get_info_by_fd(hbus_filter_prog_fd(kit_filter), &info, &len), 0);
	for (uint32_t i = 0; i < info.nr_map_ids; i++) {
		struct bpf_map_info map = { 0 };
		int fd = bpf_map_get_fd_by_id(ids[i]);

		len = sizeof(map);
		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &map, &len) == 0 &&
		    strcmp(map.name, "hbus_buckets") == 0)
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

static uint32_t n_buckets(int fd)
{
	struct hbus_bucket_key key, next;
	uint32_t n = 0;

	for (int ret = bpf_map_get_next_key(fd, NULL, &next); ret == 0 && n <= HBUS_BUCKETS_MAX;
	     ret = bpf_map_get_next_key(fd, &key, &next)) {
		key = next;
		n++;
	}
	return n;
}

Test(filter_rules, keep_a_fixed_memory_and_a_steady_source_under_a_flood_of_forged_ones)
{
	/* ::ffff:10.0.0.1, the steady one */
	const struct hbus_bucket_key key = { { [10] = 0xff, 0xff, 10, 0, 0, 1 } };
	struct frame f = kit_ipv4(), steady = kit_ipv4();
	const uint32_t n_sources = 200000, burst = 400;
	struct hbus_bucket bucket;
	uint32_t n_lost = 0;
	int fd = buckets_fd();

	if (fd < 0)
		cr_skip_test("needs CAP_SYS_ADMIN to see the buckets");
	kit_route_all();
	/* What is pushed out has a full bucket again: the steady one must not get around its rate. */
	cr_assert_eq(hbus_filter_rate_set(kit_filter, 1, burst, 64), 0);
	for (uint32_t i = 0; i < n_sources; i++) {
		if (i % 1000 == 0) {
			cr_assert_eq(kit_judge(&steady), HBUS_REASON_ACCEPTED);
		} else if (i % 1000 == 999 && bpf_map_lookup_elem(fd, &key, &bucket) < 0) {
			n_lost++;
		}
		kit_set_source_ipv4(&f, 0xc0000000U + i);
		kit_run(f.bytes, f.size);
	}
	cr_assert_eq(n_lost, 0, "forgotten %u times", n_lost);
	cr_assert_eq(kit_count(HBUS_REASON_ACCEPTED), n_sources + n_sources / 1000);
	cr_assert_leq(n_buckets(fd), HBUS_BUCKETS_MAX);
	cr_assert_geq(n_buckets(fd), HBUS_BUCKETS_MAX / 2);
	close(fd);
}

/* ---- objects ------------------------------------------------------------------------------- */

/* Copies the object with @size bytes at @at_magic from the stamp's magic replaced. */
static void copy_object(char path[32], size_t at_magic, const void *bytes, size_t size)
{
	static char image[1 << 20];
	FILE *file = fopen(HBUS_XDP_OBJECT, "rb");
	size_t image_size;
	char *magic;
	int fd;

	cr_assert_not_null(file);
	image_size = fread(image, 1, sizeof(image), file);
	fclose(file);
	magic = memmem(image, image_size, HBUS_FILTER_MAGIC, sizeof(HBUS_FILTER_MAGIC));
	cr_assert_not_null(magic);
	memcpy(magic + at_magic, bytes, size);
	strcpy(path, "/tmp/hbus_xdp.XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, image, image_size), (ssize_t)image_size);
	close(fd);
}

Test(filter_rules, refuse_an_object_of_another_abi_and_one_that_is_not_ours)
{
	const uint32_t other_abi = HBUS_FILTER_ABI_VERSION + 1;
	struct hbus_filter_error error = { "" };
	struct hbus_filter *filter = NULL;
	char path[32], named[32];

	snprintf(named, sizeof(named), "map layout %u", other_abi);
	copy_object(path, offsetof(struct hbus_filter_stamp, abi_version), &other_abi, 4);
	cr_assert_eq(hbus_filter_load(path, &filter, &error), HBUS_FILTER_ABI);
	cr_assert_not_null(strstr(error.text, named), "%s", error.text);
	unlink(path);
	copy_object(path, 0, "H", 1);
	cr_assert_eq(hbus_filter_load(path, &filter, &error), HBUS_FILTER_FOREIGN);
	unlink(path);
	cr_assert_eq(hbus_filter_load("/nonexistent", &filter, &error), -ENOENT);
	cr_assert_null(filter);
}
