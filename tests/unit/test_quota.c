/* SPDX-License-Identifier: BSD-3-Clause */
/* Quotas: the last unit that fits and the first that does not, shares, the request bucket. */
#include <criterion/criterion.h>
#include <string.h>

#include "ctl/daemon/quota.h"

#define RINGS HBUS_QUOTA_RINGS
#define SECOND 1000000000ull

static struct hbus_quota quota;
static struct hbus_quota_override override_7 = { .uid = 7 };

static void setup(uint64_t total, uint64_t max)
{
	struct hbus_quota_config config;

	for (size_t i = 0; i < HBUS_QUOTA_N_KINDS; i++) {
		config.total[i] = total;
		config.limits.max[i] = max;
		override_7.limits.max[i] = 2;
	}
	config.limits.requests_per_s = 10;
	config.limits.request_burst = 3;
	override_7.limits.requests_per_s = override_7.limits.request_burst = 1;
	config.overrides = &override_7;
	config.n_overrides = 1;
	hbus_quota_init(&quota, &config);
}

static void drop(struct hbus_account *account)
{
	hbus_account_release(account, RINGS, account->used[RINGS]);
	hbus_account_put(account);
}

Test(quota, grants_the_last_unit_of_the_limit_and_refuses_the_next)
{
	struct hbus_account *a;

	setup(1000, 10);
	a = hbus_quota_get(&quota, 1);
	cr_assert_eq(hbus_account_charge(a, RINGS, 11), HBUS_QUOTA_OVER_LIMIT);
	cr_assert_eq(a->used[RINGS], 0);
	cr_assert_eq(hbus_account_charge(a, RINGS, 9), 0);
	cr_assert_eq(hbus_account_charge(a, RINGS, 2), HBUS_QUOTA_OVER_LIMIT);
	cr_assert_eq(hbus_account_charge(a, RINGS, 1), 0);
	cr_assert_eq(hbus_account_charge(a, RINGS, 1), HBUS_QUOTA_OVER_LIMIT);
	cr_assert_eq(hbus_account_charge(a, RINGS, 0), 0);
	hbus_account_release(a, RINGS, 1);
	cr_assert_eq(hbus_account_charge(a, RINGS, 1), 0);
	/* A sum that would wrap is refused, not granted. */
	cr_assert_eq(hbus_account_charge(a, RINGS, UINT64_MAX), HBUS_QUOTA_OVER_LIMIT);
	drop(a);
	hbus_quota_deinit(&quota);
}

Test(quota, kinds_are_counted_apart)
{
	struct hbus_account *a;

	setup(1000, 1);
	a = hbus_quota_get(&quota, 1);
	cr_assert_eq(hbus_account_charge(a, RINGS, 1), 0);
	cr_assert_eq(hbus_account_charge(a, HBUS_QUOTA_TOPICS, 1), 0);
	hbus_account_release(a, HBUS_QUOTA_TOPICS, 1);
	drop(a);
}

Test(quota, an_override_replaces_the_default_for_its_uid)
{
	struct hbus_account *a;

	setup(1000, 100);
	a = hbus_quota_get(&quota, 7);
	cr_assert_eq(hbus_account_charge(a, RINGS, 2), 0);
	cr_assert_eq(hbus_account_charge(a, RINGS, 1), HBUS_QUOTA_OVER_LIMIT);
	drop(a);
}

Test(quota, the_kth_uid_that_takes_all_it_can_gets_its_share)
{
	struct hbus_account *accounts[9];

	setup(2520, UINT64_MAX);
	for (uint64_t k = 1; k <= 9; k++) {
		struct hbus_account *a = accounts[k - 1] = hbus_quota_get(&quota, (uid_t)k + 100);
		uint64_t n = 0;

		while (hbus_account_charge(a, RINGS, 1) == 0)
			n++;
		cr_assert_eq(n, 2520 / (k * (k + 1)), "uid number %llu got %llu",
			     (unsigned long long)k, (unsigned long long)n);
		cr_assert_eq(hbus_account_limit(a, RINGS), n);
		cr_assert_eq(hbus_account_charge(a, RINGS, 1), HBUS_QUOTA_OVER_SHARE);
	}
	for (int i = 0; i < 9; i++)
		drop(accounts[i]);
	cr_assert_eq(quota.used[RINGS], 0);
	cr_assert_eq(quota.n_holders[RINGS], 0);
	hbus_quota_deinit(&quota);
}

Test(quota, what_is_forced_counts_and_may_exceed)
{
	struct hbus_account *a, *b;

	setup(10, 100);
	a = hbus_quota_get(&quota, 1);
	b = hbus_quota_get(&quota, 2);
	hbus_account_force(a, RINGS, 12);
	cr_assert_eq(hbus_account_charge(a, RINGS, 1), HBUS_QUOTA_OVER_SHARE);
	cr_assert_eq(hbus_account_charge(b, RINGS, 1), HBUS_QUOTA_OVER_SHARE);
	hbus_account_release(a, RINGS, 12);
	cr_assert_eq(hbus_account_charge(b, RINGS, 5), 0);
	drop(a);
	drop(b);
}

Test(quota, less_than_what_is_held_takes_nothing_away_but_gives_nothing_more)
{
	struct hbus_quota_config config;
	struct hbus_account *a;

	setup(1000, 10);
	a = hbus_quota_get(&quota, 1);
	cr_assert_eq(hbus_account_charge(a, RINGS, 10), 0);
	config = quota.config;
	config.limits.max[RINGS] = 5;
	hbus_quota_configure(&quota, &config);
	cr_assert_eq(hbus_account_charge(a, RINGS, 1), HBUS_QUOTA_OVER_LIMIT);
	hbus_account_release(a, RINGS, 6);
	cr_assert_eq(hbus_account_charge(a, RINGS, 1), 0);
	cr_assert_eq(hbus_account_charge(a, RINGS, 1), HBUS_QUOTA_OVER_LIMIT);
	drop(a);
}

Test(quota, requests_come_from_a_bucket)
{
	struct hbus_account *a;
	uint64_t now = UINT64_MAX - SECOND; /* the clock wraps within the test */

	setup(10, 10);
	a = hbus_quota_get(&quota, 1);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(hbus_account_take_request(a, now), 0);
	cr_assert_eq(hbus_account_take_request(a, now), SECOND / 10);
	now += SECOND / 10 - 1;
	cr_assert_eq(hbus_account_take_request(a, now), 1);
	now += 1;
	cr_assert_eq(hbus_account_take_request(a, now), 0);
	cr_assert_neq(hbus_account_take_request(a, now), 0);
	now += 1000 * SECOND;
	for (int i = 0; i < 3; i++)
		cr_assert_eq(hbus_account_take_request(a, now), 0);
	cr_assert_neq(hbus_account_take_request(a, now), 0);
	hbus_account_put(a);
}

Test(quota, work_is_paid_for_and_debt_has_a_limit)
{
	struct hbus_account *a;

	setup(10, 10);
	a = hbus_quota_get(&quota, 1);
	cr_assert_eq(hbus_account_take_request(a, 0), 0);
	hbus_account_spend(a, 4);
	/* Two were left: two are owed, and the next one costs one. */
	cr_assert_eq(hbus_account_take_request(a, 0), 3 * SECOND / 10);
	cr_assert_eq(hbus_account_take_request(a, 3 * SECOND / 10 - 1), 1);
	cr_assert_eq(hbus_account_take_request(a, 3 * SECOND / 10), 0);
	hbus_account_spend(a, UINT64_MAX);
	cr_assert_eq(hbus_account_take_request(a, 3 * SECOND / 10), 5 * SECOND + SECOND / 10);
	cr_assert_eq(hbus_account_take_request(a, 100 * SECOND), 0);
	hbus_account_put(a);
}

Test(quota, accounts_are_shared_by_reference_and_freed_with_the_last)
{
	struct hbus_account *a, *b;

	setup(10, 10);
	a = hbus_quota_get(&quota, 1);
	b = hbus_quota_get(&quota, 1);
	cr_assert_eq(a, b);
	hbus_account_put(a);
	cr_assert_not_null(quota.accounts);
	hbus_account_put(b);
	cr_assert_null(quota.accounts);
	hbus_account_put(NULL);
}

Test(quota, one_uid_has_so_much_of_each_round)
{
	struct hbus_account *greedy, *other;

	setup(10, 10);
	greedy = hbus_quota_get(&quota, 1);
	other = hbus_quota_get(&quota, 2);
	cr_assert(hbus_account_has_time(greedy, 1));
	hbus_account_use_time(greedy, HBUS_QUOTA_ROUND_NS - 1);
	cr_assert(hbus_account_has_time(greedy, 1));
	hbus_account_use_time(greedy, 1);
	cr_assert_not(hbus_account_has_time(greedy, 1));
	cr_assert(hbus_account_has_time(other, 1));
	cr_assert(hbus_account_has_time(greedy, 2));
	hbus_account_put(greedy);
	hbus_account_put(other);
}
