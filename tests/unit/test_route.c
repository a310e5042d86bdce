/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Routes: the match order, what is refused, the limit, and agreement with a matcher that tries
 * every route.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/route.h"

enum { NOTHING = -1, N_RANDOM = 300 };

static struct hbus_route_entry route(const char *prefix, uint8_t prefix_len, uint16_t vlan,
			       uint16_t port, uint32_t target)
{
	struct hbus_route_entry r = { .match = { .prefix_len = prefix_len, .vlan = vlan, .port = port },
				.target = target };
	bool is_v6 = strchr(prefix, ':');

	r.match.family = is_v6 ? HBUS_FAMILY_IPV6 : HBUS_FAMILY_IPV4;
	cr_assert_eq(inet_pton(is_v6 ? AF_INET6 : AF_INET, prefix, r.match.addr), 1);
	return r;
}

static struct hbus_route_table *build(const struct hbus_route_entry *routes, size_t n)
{
	struct hbus_route_table *table = NULL;

	cr_assert_eq(hbus_route_table_new(routes, n, NULL, &table), 0);
	return table;
}

static int64_t look(const struct hbus_route_table *table, const char *address, uint16_t vlan,
		    uint16_t port)
{
	bool is_v6 = strchr(address, ':');
	uint8_t bytes[16];
	uint32_t target;

	cr_assert_eq(inet_pton(is_v6 ? AF_INET6 : AF_INET, address, bytes), 1);
	if (!hbus_route_lookup(table, is_v6 ? HBUS_FAMILY_IPV6 : HBUS_FAMILY_IPV4, bytes, vlan,
			       port, &target))
		return NOTHING;
	return target;
}

Test(route, matches_nothing_in_an_empty_table)
{
	struct hbus_route_table *table = build(NULL, 0);

	cr_assert_eq(look(table, "10.0.0.1", 0, 5000), NOTHING);
	cr_assert_eq(look(table, "fd00::1", 0, 5000), NOTHING);
	hbus_route_table_free(table);
}

Test(route, prefers_prefix_then_vlan_then_port)
{
	const struct hbus_route_entry routes[] = {
		route("0.0.0.0", 0, HBUS_VLAN_ANY, HBUS_PORT_ANY, 1),
		route("10.0.0.0", 8, HBUS_VLAN_ANY, HBUS_PORT_ANY, 2),
		route("10.0.0.0", 8, HBUS_VLAN_ANY, 5000, 3),
		route("10.0.0.0", 8, 7, HBUS_PORT_ANY, 4),
		route("10.0.0.0", 8, 7, 5000, 5),
		route("10.1.2.3", 32, HBUS_VLAN_ANY, HBUS_PORT_ANY, 6),
	};
	struct hbus_route_table *table = build(routes, 6);

	cr_assert_eq(look(table, "11.0.0.1", 7, 5000), 1);
	cr_assert_eq(look(table, "10.0.0.1", 0, 1), 2);
	cr_assert_eq(look(table, "10.0.0.1", 0, 5000), 3);
	cr_assert_eq(look(table, "10.0.0.1", 7, 1), 4);
	cr_assert_eq(look(table, "10.0.0.1", 7, 5000), 5);
	cr_assert_eq(look(table, "10.1.2.3", 7, 5000), 6);
	hbus_route_table_free(table);
}

Test(route, falls_back_to_a_shorter_prefix_that_fits)
{
	const struct hbus_route_entry routes[] = {
		route("10.1.0.0", 16, HBUS_VLAN_ANY, 6000, 1),
		route("10.0.0.0", 8, 9, 5000, 2),
		route("0.0.0.0", 0, HBUS_VLAN_ANY, 5000, 3),
	};
	struct hbus_route_table *table = build(routes, 3);

	cr_assert_eq(look(table, "10.1.0.1", 9, 5000), 2);
	cr_assert_eq(look(table, "10.1.0.1", 0, 5000), 3);
	cr_assert_eq(look(table, "10.1.0.1", 0, 7000), NOTHING);
	hbus_route_table_free(table);
}

Test(route, keeps_untagged_apart_from_any_vlan)
{
	const struct hbus_route_entry routes[] = { route("10.0.0.0", 8, 0, 5000, 1) };
	struct hbus_route_table *table = build(routes, 1);

	cr_assert_eq(look(table, "10.0.0.1", 0, 5000), 1);
	cr_assert_eq(look(table, "10.0.0.1", 1, 5000), NOTHING);
	cr_assert_eq(look(table, "10.0.0.1", 4095, 5000), NOTHING);
	hbus_route_table_free(table);
}

Test(route, keeps_the_families_apart)
{
	const struct hbus_route_entry routes[] = {
		route("::", 0, HBUS_VLAN_ANY, 5000, 6),
		route("fd00::2", 128, HBUS_VLAN_ANY, 5000, 7),
		route("fd00::", 65, HBUS_VLAN_ANY, 5000, 8),
	};
	struct hbus_route_table *table = build(routes, 3);

	cr_assert_eq(look(table, "10.0.0.1", 0, 5000), NOTHING);
	cr_assert_eq(look(table, "fd00::2", 0, 5000), 7);
	cr_assert_eq(look(table, "fd00::3", 0, 5000), 8);
	cr_assert_eq(look(table, "fd00::8000:0:0:1", 0, 5000), 6);
	hbus_route_table_free(table);
}

Test(route, says_which_route_is_wrong)
{
	struct hbus_route_entry good = route("10.0.0.0", 8, HBUS_VLAN_ANY, 1, 0);
	struct hbus_route_entry cases[6];
	static const int conditions[] = { HBUS_ROUTE_BAD_FAMILY, HBUS_ROUTE_BAD_PREFIX,
					  HBUS_ROUTE_BAD_PREFIX, HBUS_ROUTE_BAD_VLAN,
					  HBUS_ROUTE_DUPLICATE,	 HBUS_ROUTE_BAD_PREFIX };

	for (size_t i = 0; i < 6; i++)
		cases[i] = good;
	cases[0].match.family = 5;
	cases[1].match.prefix_len = 33;
	cases[2].match.addr[1] = 1;
	cases[3].match.vlan = 4095;
	cases[5] = route("fd00::", 64, 0, 1, 0);
	cases[5].match.addr[15] = 1;
	for (size_t i = 0; i < 6; i++) {
		const struct hbus_route_entry routes[] = { good, cases[i] };
		struct hbus_route_table *table = NULL;
		size_t bad_idx = 99;

		cr_assert_eq(hbus_route_table_new(routes, 2, &bad_idx, &table), conditions[i]);
		cr_assert_eq(bad_idx, 1);
		cr_assert_null(table);
	}
}

Test(route, holds_as_many_as_its_limit_and_not_one_more)
{
	struct hbus_route_entry *routes = calloc(HBUS_ROUTE_N_MAX + 1, sizeof(*routes));
	struct hbus_route_table *table = NULL;
	size_t bad_idx;
	uint32_t target;

	for (uint32_t i = 0; i <= HBUS_ROUTE_N_MAX; i++) {
		routes[i] = route("10.0.0.0", 32, HBUS_VLAN_ANY, 5000, i);
		routes[i].match.addr[1] = (uint8_t)(i >> 16);
		routes[i].match.addr[2] = (uint8_t)(i >> 8);
		routes[i].match.addr[3] = (uint8_t)i;
	}
	cr_assert_eq(hbus_route_table_new(routes, HBUS_ROUTE_N_MAX + 1, &bad_idx, &table),
		     HBUS_ROUTE_TOO_MANY);
	table = build(routes, HBUS_ROUTE_N_MAX);
	for (uint32_t i = 0; i < HBUS_ROUTE_N_MAX; i++) {
		cr_assert(hbus_route_lookup(table, 4, routes[i].match.addr, 3, 5000, &target));
		cr_assert_eq(target, i);
	}
	cr_assert_not(hbus_route_lookup(table, 4, routes[HBUS_ROUTE_N_MAX].match.addr, 3, 5000,
					&target));
	hbus_route_table_free(table);
	free(routes);
}

/* ---- against the naive matcher ------------------------------------------------------------- */

static bool has_prefix(const uint8_t *addr, const struct hbus_route_match *match)
{
	for (uint32_t bit = 0; bit < match->prefix_len; bit++)
		if ((addr[bit / 8] ^ match->addr[bit / 8]) & 0x80 >> bit % 8)
			return false;
	return true;
}

static int64_t naive(const struct hbus_route_entry *routes, size_t n, uint8_t family,
		     const uint8_t *addr, uint16_t vlan, uint16_t port)
{
	int64_t best = NOTHING, best_rank = -1;

	for (size_t i = 0; i < n; i++) {
		const struct hbus_route_match *m = &routes[i].match;
		int64_t rank = m->prefix_len * 4 + (m->vlan != HBUS_VLAN_ANY) * 2 +
			       (m->port != HBUS_PORT_ANY);

		if (m->family != family || !has_prefix(addr, m) ||
		    (m->vlan != HBUS_VLAN_ANY && m->vlan != vlan) ||
		    (m->port != HBUS_PORT_ANY && m->port != port) || rank <= best_rank)
			continue;
		best_rank = rank;
		best = routes[i].target;
	}
	return best;
}

/* Few distinct bits, so that prefixes nest and collide. */
static void random_address(unsigned int *seed, uint8_t *addr)
{
	memset(addr, 0, 16);
	for (int i = 0; i < 16; i++)
		if (rand_r(seed) % 3 == 0)
			addr[i] = (uint8_t)(1u << rand_r(seed) % 8);
}

static struct hbus_route_entry random_route(unsigned int *seed, uint32_t target)
{
	struct hbus_route_entry r = { .target = target };
	uint32_t len_max;

	r.match.family = rand_r(seed) % 2 ? HBUS_FAMILY_IPV4 : HBUS_FAMILY_IPV6;
	len_max = r.match.family == HBUS_FAMILY_IPV4 ? 32 : 128;
	r.match.prefix_len = (uint8_t)((uint32_t)rand_r(seed) % (len_max + 1));
	random_address(seed, r.match.addr);
	for (uint32_t bit = r.match.prefix_len; bit < 128; bit++)
		r.match.addr[bit / 8] &= (uint8_t)~(0x80 >> bit % 8);
	r.match.vlan = rand_r(seed) % 2 ? HBUS_VLAN_ANY : (uint16_t)(rand_r(seed) % 3);
	r.match.port = (uint16_t)(rand_r(seed) % 3);
	return r;
}

static size_t random_routes(unsigned int *seed, struct hbus_route_entry *routes)
{
	size_t n = 0;

	while (n < N_RANDOM) {
		struct hbus_route_table *table;

		routes[n] = random_route(seed, (uint32_t)n);
		if (hbus_route_table_new(routes, n + 1, NULL, &table) != 0)
			continue;
		hbus_route_table_free(table);
		n++;
	}
	return n;
}

Test(route, agrees_with_a_matcher_that_tries_every_route)
{
	const char *given = getenv("HBUS_TEST_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) : 4711u;
	uint32_t n_found = 0;

	fprintf(stderr, "seed %u\n", seed);
	for (int round = 0; round < 10; round++) {
		struct hbus_route_entry routes[N_RANDOM];
		size_t n = random_routes(&seed, routes);
		struct hbus_route_table *table = build(routes, n);

		for (int i = 0; i < 5000; i++) {
			uint8_t family = rand_r(&seed) % 2 ? 4 : 6, addr[16];
			uint16_t vlan = (uint16_t)(rand_r(&seed) % 4);
			uint16_t port = (uint16_t)(rand_r(&seed) % 4);
			uint32_t target = 0;
			int64_t want;
			bool found;

			random_address(&seed, addr);
			want = naive(routes, n, family, addr, vlan, port);
			found = hbus_route_lookup(table, family, addr, vlan, port, &target);
			cr_assert_eq(found ? (int64_t)target : NOTHING, want);
			n_found += found;
		}
		hbus_route_table_free(table);
	}
	cr_assert_gt(n_found, 10000);
}
