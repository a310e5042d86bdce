/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Token buckets: the rate, the burst, independence of sources, and a table that is too small.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/bucket.h"

static struct hbus_buckets *buckets;
static const uint8_t FIRST[4] = { 10, 0, 0, 1 }, SECOND[4] = { 10, 0, 0, 2 };

static void setup(void)
{
	cr_assert_eq(hbus_buckets_new(99, &buckets), 0);
}

static void teardown(void)
{
	buckets = hbus_buckets_free(buckets);
}

TestSuite(bucket, .init = setup, .fini = teardown);

static uint32_t take(const struct hbus_rate *rate, const uint8_t *source, uint64_t from_ns,
		     uint64_t step_ns, uint32_t n)
{
	uint32_t n_taken = 0;

	for (uint32_t i = 0; i < n; i++)
		n_taken += hbus_buckets_take(buckets, rate, HBUS_FAMILY_IPV4, source,
					     from_ns + i * step_ns);
	return n_taken;
}

Test(bucket, limits_nothing_without_a_rate)
{
	const struct hbus_rate rate = { 0 };

	cr_assert_eq(take(&rate, FIRST, 1000, 0, 1000), 1000);
}

Test(bucket, lets_a_burst_pass_and_then_the_rate)
{
	const struct hbus_rate rate = { .packets_per_s = 1000, .burst = 10 };

	cr_assert_eq(take(&rate, FIRST, 1000000000, 0, 100), 10);
	/* Ten times the rate for one second. */
	cr_assert_eq(take(&rate, FIRST, 1000000000, 100000, 10000), 999);
	/* A pause fills the bucket, and no more than fills it. */
	cr_assert_eq(take(&rate, FIRST, 9000000000, 0, 100), 10);
}

Test(bucket, keeps_sources_apart)
{
	const struct hbus_rate rate = { .packets_per_s = 1, .burst = 5 };

	cr_assert_eq(take(&rate, FIRST, 1000, 0, 100), 5);
	cr_assert_eq(take(&rate, SECOND, 1000, 0, 100), 5);
}

Test(bucket, counts_ipv6_sources_by_their_network)
{
	const struct hbus_rate rate = { .packets_per_s = 1, .burst = 1 };
	uint8_t source[16] = { 0xfd, 1 };

	cr_assert(hbus_buckets_take(buckets, &rate, HBUS_FAMILY_IPV6, source, 1000));
	source[15] = 9;
	cr_assert_not(hbus_buckets_take(buckets, &rate, HBUS_FAMILY_IPV6, source, 1000));
	source[7] = 1;
	cr_assert(hbus_buckets_take(buckets, &rate, HBUS_FAMILY_IPV6, source, 1000));
}

Test(bucket, forgets_the_fullest_when_there_are_too_many_sources)
{
	const struct hbus_rate rate = { .packets_per_s = 1, .burst = 2 };
	uint32_t n_refused = 0;

	/* Everybody sends once; the one who sent twice has the emptiest bucket of its set. */
	cr_assert_eq(take(&rate, FIRST, 1000000000, 0, 2), 2);
	for (uint32_t i = 0; i < HBUS_BUCKETS_MAX * 2; i++) {
		const uint8_t source[4] = { 11, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };

		n_refused += take(&rate, source, 1000000000, 0, 1) == 0;
	}
	cr_assert_eq(n_refused, 0);
	cr_assert_eq(take(&rate, FIRST, 1000000000, 0, 1), 0);
}
