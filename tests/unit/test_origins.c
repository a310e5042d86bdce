/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections by address: as many as an address may have, and room again when one ends. */
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/mqtt/origins.h"

static struct hbus_origins *origins;
static const uint64_t SECRET[2] = { 1, 2 };

static void setup(void)
{
	cr_assert_eq(hbus_origins_new(3, SECRET, &origins), 0);
}

static void teardown(void)
{
	origins = hbus_origins_free(origins);
}

TestSuite(origins, .init = setup, .fini = teardown);

Test(origins, an_address_has_as_many_as_it_may_and_others_theirs)
{
	static const uint8_t one[4] = { 10, 0, 0, 1 }, other[4] = { 10, 0, 0, 2 };
	struct hbus_origin *held[4];

	for (int i = 0; i < 3; i++)
		cr_assert(hbus_origins_enter(origins, false, one, &held[i]));
	cr_assert_not(hbus_origins_enter(origins, false, one, &held[3]));
	cr_assert_null(held[3]);
	cr_assert(hbus_origins_enter(origins, false, other, &held[3]));
	hbus_origins_leave(origins, held[1]);
	cr_assert(hbus_origins_enter(origins, false, one, &held[1]));
	cr_assert_not(hbus_origins_enter(origins, false, one, &held[1]));
}

Test(origins, hosts_of_one_ipv6_network_are_one)
{
	static const uint8_t first[16] = { 0xfd, 7, [15] = 1 }, second[16] = { 0xfd, 7, [15] = 2 },
			     elsewhere[16] = { 0xfd, 7, [7] = 1, [15] = 1 };
	struct hbus_origin *held;

	cr_assert(hbus_origins_enter(origins, true, first, &held));
	cr_assert(hbus_origins_enter(origins, true, second, &held));
	cr_assert(hbus_origins_enter(origins, true, second, &held));
	cr_assert_not(hbus_origins_enter(origins, true, first, &held));
	cr_assert(hbus_origins_enter(origins, true, elsewhere, &held));
	cr_assert(hbus_origins_enter(origins, false, first, &held), "an IPv4 address of the same bytes is another");
}

/* Many more than there are lists. */
Test(origins, a_hundred_thousand_addresses_are_told_apart)
{
	enum { N = 100000, STEP = 1000 };
	static struct hbus_origin *held[N];
	struct hbus_origin *more;

	for (uint32_t i = 0; i < N; i++)
		cr_assert(hbus_origins_enter(origins, false, (const uint8_t *)&i, &held[i]));
	for (uint32_t i = 0; i < N; i += STEP) {
		cr_assert(hbus_origins_enter(origins, false, (const uint8_t *)&i, &more));
		cr_assert_eq(more, held[i]);
		cr_assert(hbus_origins_enter(origins, false, (const uint8_t *)&i, &more));
		cr_assert_not(hbus_origins_enter(origins, false, (const uint8_t *)&i, &more));
	}
	for (uint32_t i = 0; i < N; i++)
		hbus_origins_leave(origins, held[i]);
	for (uint32_t i = 0; i < N; i += STEP) {
		cr_assert(hbus_origins_enter(origins, false, (const uint8_t *)&i, &more));
		cr_assert_eq(more, held[i], "the two of above are there still");
		cr_assert_not(hbus_origins_enter(origins, false, (const uint8_t *)&i, &more));
	}
}

Test(origins, without_a_limit_nothing_is_counted)
{
	struct hbus_origin *origin;

	for (int i = 0; i < 10; i++) {
		cr_assert(hbus_origins_enter(NULL, false, (const uint8_t *)"abcd", &origin));
		cr_assert_null(origin);
		hbus_origins_leave(NULL, origin);
	}
}
