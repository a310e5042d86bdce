/* SPDX-License-Identifier: BSD-3-Clause */
/* The timer wheel: never early, never late, in order, compared at random with a plain list. */
#include <criterion/criterion.h>

#include "dataplane/mqtt/wheel.h"
#include "tests/unit/random.h"

enum { N = 64 };

static struct hbus_wheel wheel;
static struct hbus_timer timers[N];
static uint64_t fired_at[N];
static unsigned int n_fired;
static uint64_t last_deadline;

static void fire(void *context, struct hbus_timer *timer)
{
	(void)context;
	cr_assert_not(hbus_timer_is_set(timer));
	cr_assert_geq(wheel.now_ms, timer->deadline_ms);
	cr_assert_geq(timer->deadline_ms, last_deadline);
	last_deadline = timer->deadline_ms;
	fired_at[timer - timers] = wheel.now_ms;
	n_fired++;
}

static void advance(uint64_t now_ms)
{
	hbus_wheel_advance(&wheel, now_ms, fire, NULL);
}

static void begin(uint64_t now_ms)
{
	memset(timers, 0, sizeof(timers));
	memset(fired_at, 0, sizeof(fired_at));
	n_fired = 0;
	last_deadline = 0;
	hbus_wheel_init(&wheel, now_ms);
}

Test(wheel, fires_at_its_deadline_on_every_level)
{
	for (unsigned int shift = 0; shift < 40; shift++) {
		begin(12345);
		hbus_wheel_set(&wheel, &timers[0], 12345 + (UINT64_C(1) << shift));
		advance(12345 + (UINT64_C(1) << shift) - 1);
		cr_assert_eq(n_fired, 0, "2^%u ms", shift);
		advance(12345 + (UINT64_C(1) << shift));
		cr_assert_eq(n_fired, 1, "2^%u ms", shift);
		cr_assert_eq(hbus_wheel_next(&wheel), HBUS_WHEEL_NEVER);
	}
}

Test(wheel, fires_what_is_overdue_at_the_next_millisecond)
{
	begin(1000);
	hbus_wheel_set(&wheel, &timers[0], 3);
	cr_assert_eq(hbus_wheel_next(&wheel), 1001);
	advance(1001);
	cr_assert_eq(n_fired, 1);
}

Test(wheel, forgets_what_is_cancelled_and_moves_what_is_set_again)
{
	begin(0);
	hbus_wheel_set(&wheel, &timers[0], 500);
	hbus_wheel_set(&wheel, &timers[1], 500);
	hbus_wheel_set(&wheel, &timers[2], 500);
	hbus_wheel_cancel(&wheel, &timers[1]);
	hbus_wheel_set(&wheel, &timers[0], 900);
	advance(600);
	cr_assert(n_fired == 1 && fired_at[2] == 500);
	advance(100000);
	cr_assert(n_fired == 2 && fired_at[0] == 900);
}

static void cancel_the_next(void *context, struct hbus_timer *timer)
{
	(void)context;
	n_fired++;
	for (int i = 0; i < 3; i++)
		if (&timers[i] != timer)
			hbus_wheel_cancel(&wheel, &timers[i]);
}

Test(wheel, lets_what_fires_cancel_its_neighbours)
{
	begin(0);
	for (int i = 0; i < 3; i++)
		hbus_wheel_set(&wheel, &timers[i], 7);
	hbus_wheel_advance(&wheel, 10, cancel_the_next, NULL);
	cr_assert_eq(n_fired, 1);
	cr_assert_eq(hbus_wheel_next(&wheel), HBUS_WHEEL_NEVER);
}

static uint64_t oracle_next(const uint64_t *deadlines)
{
	uint64_t best = HBUS_WHEEL_NEVER;

	for (int i = 0; i < N; i++)
		best = deadlines[i] && deadlines[i] < best ? deadlines[i] : best;
	return best;
}

Test(wheel, agrees_with_a_plain_list_over_years)
{
	struct test_random random;
	uint64_t deadlines[N] = { 0 };

	test_random_init(&random, "wheel");
	for (int round = 0; round < 20; round++) {
		/* Near the end of the top level's range, too. */
		uint64_t now = (UINT64_C(1) << 36) * (unsigned int)round - 5000 * (round > 0);

		begin(now);
		memset(deadlines, 0, sizeof(deadlines));
		for (int step = 0; step < 2000; step++) {
			uint32_t i = test_random_below(&random, N);
			uint64_t ahead = test_random_next(&random) >> (26 + test_random_below(&random, 38));

			if (test_random_below(&random, 3)) {
				hbus_wheel_set(&wheel, &timers[i], now + 1 + ahead);
				deadlines[i] = now + 1 + ahead;
			} else {
				hbus_wheel_cancel(&wheel, &timers[i]);
				deadlines[i] = 0;
			}
			if (oracle_next(deadlines) != HBUS_WHEEL_NEVER)
				cr_assert_leq(hbus_wheel_next(&wheel), oracle_next(deadlines));
			else
				cr_assert_eq(hbus_wheel_next(&wheel), HBUS_WHEEL_NEVER);
			now += test_random_next(&random) >> (30 + test_random_below(&random, 34));
			last_deadline = 0;
			advance(now);
			for (uint32_t k = 0; k < N; k++) {
				if (!deadlines[k] || deadlines[k] > now) {
					cr_assert_eq(hbus_timer_is_set(&timers[k]), deadlines[k] != 0);
					continue;
				}
				cr_assert_eq(fired_at[k], deadlines[k]);
				deadlines[k] = 0;
			}
		}
	}
}
