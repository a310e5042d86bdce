/* SPDX-License-Identifier: BSD-3-Clause */
/* A reader that has caught up looks away only while that pays. The clock is the test's. */
#include <criterion/criterion.h>

#include "ctl/client/linger.h"

/* Decisions of one who sees @with events for each time it lingers, and @without for each time it does not. */
struct life {
	struct hbus_linger linger;
	uint64_t now_ns, n_events, n_lingered, n_not;
};

static void live(struct life *life, unsigned int n_times, uint64_t with, uint64_t ns_with, uint64_t without,
		 uint64_t ns_without)
{
	struct hbus_linger *linger = &life->linger;

	for (unsigned int i = 0; i < n_times; i++) {
		bool lingers;

		/* As hbus_linger_caught_up() does, with another clock. */
		if (linger->phase == HBUS_LINGER_ON && life->n_events - linger->last_events < HBUS_LINGER_FEW)
			hbus_linger_stop(linger, life->now_ns, life->n_events);
		linger->last_events = life->n_events;
		if (linger->n_left == 0)
			hbus_linger_decide(linger, life->now_ns, life->n_events);
		linger->n_left--;
		lingers = linger->phase != HBUS_LINGER_WITHOUT;
		life->n_lingered += lingers;
		life->n_not += !lingers;
		life->n_events += lingers ? with : without;
		life->now_ns += lingers ? ns_with : ns_without;
	}
}

Test(client_linger, who_answers_each_event_is_hardly_ever_held_up)
{
	struct life life = {.now_ns = 1000};

	live(&life, 100000, 1, 2200, 1, 200);
	cr_assert_lt(life.n_lingered, 100000 / 4000);
	cr_assert_gt(life.n_lingered, 0, "it goes on trying");
}

Test(client_linger, who_answers_many_at_once_is_not_held_up_either)
{
	struct life life = {.now_ns = 1000};

	/* A window of 16 events: as many come, however long one waits. */
	live(&life, 100000, 16, 2200, 16, 300);
	cr_assert_lt(life.n_lingered, 100000 / 400);
}

Test(client_linger, a_stream_that_gains_by_it_gets_it_nearly_always)
{
	struct life life = {.now_ns = 1000};

	live(&life, 100000, 400, 2500, 3, 90);
	cr_assert_gt(life.n_lingered, 100000 * 9 / 10);
	cr_assert_gt(life.n_not, 0, "it looks whether that is still so");
}

Test(client_linger, a_stream_that_is_as_fast_without_goes_without)
{
	struct life life = {.now_ns = 1000};

	live(&life, 100000, 20, 2000, 2, 200);
	cr_assert_lt(life.n_lingered, 100000 / 400);
}

Test(client_linger, it_stops_at_once_when_the_stream_does)
{
	struct life life = {.now_ns = 1000};

	live(&life, 10000, 400, 2500, 3, 90);
	life.n_lingered = 0;
	live(&life, 100, 1, 2200, 1, 200);
	cr_assert_leq(life.n_lingered, 1);
}

Test(client_linger, it_looks_away_for_no_longer_than_it_says)
{
	uint64_t before = hbus_linger_now_ns(), shortest = UINT64_MAX;

	for (int i = 0; i < 100; i++) {
		uint64_t now;

		hbus_linger_pass();
		now = hbus_linger_now_ns();
		shortest = now - before < shortest ? now - before : shortest;
		before = now;
	}
	cr_assert_geq(shortest, HBUS_LINGER_NS);
	cr_assert_lt(shortest, 20 * HBUS_LINGER_NS, "the shortest of a hundred: nobody was in the way");
}
