/* SPDX-License-Identifier: BSD-3-Clause */
/* Who is expected when, and how much of the time is spent on looking. */
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/mqtt/rhythm.h"
#include "tests/unit/random.h"

static const char who[64];

/* As the loop does: looks when it is told to, and hears at @heard_us. Return: whether it was looking then. */
static bool wait_and_hear(struct hbus_rhythms *rhythms, const void *speaker, uint64_t now_us, uint64_t heard_us,
			  uint64_t *spent_us)
{
	uint64_t begin_us, end_us, spent = 0;
	bool is_awake = false;

	while (hbus_rhythm_next(rhythms, now_us, &begin_us, &end_us) && begin_us <= heard_us) {
		cr_assert_gt(end_us, now_us);
		begin_us = begin_us > now_us ? begin_us : now_us;
		now_us = end_us < heard_us ? end_us : heard_us;
		spent += now_us - begin_us;
		hbus_rhythm_spent(rhythms, now_us - begin_us);
		is_awake = now_us == heard_us;
		if (is_awake)
			break;
	}
	hbus_rhythm_heard(rhythms, speaker, heard_us);
	*spent_us += spent;
	return is_awake;
}

Test(rhythm, of_a_regular_speaker_is_met_nearly_always)
{
	struct hbus_rhythms rhythms = { .paid_us = 5000000 };
	uint64_t now = 5000000, spent = 0, begin = now;
	unsigned int n_met = 0;
	struct test_random random;

	test_random_init(&random, "rhythm");
	for (int i = 0; i < 1000; i++) {
		uint64_t heard = begin + 1000u * (uint64_t)(i + 1) + test_random_below(&random, 40);

		n_met += wait_and_hear(&rhythms, who, now, heard, &spent);
		now = heard;
	}
	cr_assert_gt(n_met, 980);
	cr_assert_lt(spent, (now - begin) / HBUS_RHYTHM_SHARE);
}

Test(rhythm, survives_a_pause_of_the_machine)
{
	struct hbus_rhythms rhythms = { 0 };
	uint64_t begin, end, now = 1000000;

	for (int i = 0; i < 20; i++)
		hbus_rhythm_heard(&rhythms, who, now += 1000);
	hbus_rhythm_heard(&rhythms, who, now += 1600);
	hbus_rhythm_heard(&rhythms, who, now += 400);
	cr_assert(hbus_rhythm_next(&rhythms, now, &begin, &end));
	cr_assert(begin <= now + 1000 && now + 1000 < end);
}

Test(rhythm, of_one_that_has_gone_is_looked_for_once)
{
	struct hbus_rhythms rhythms = { 0 };
	uint64_t begin, end, now = 1000000;

	for (int i = 0; i < 20; i++)
		hbus_rhythm_heard(&rhythms, who, now += 1000);
	cr_assert(hbus_rhythm_next(&rhythms, now, &begin, &end));
	cr_assert_not(hbus_rhythm_next(&rhythms, end, &begin, &end));
	cr_assert_not(hbus_rhythm_next(&rhythms, end + 1000000, &begin, &end));
}

Test(rhythm, is_not_seen_in_random_times)
{
	struct hbus_rhythms rhythms = { .paid_us = 1000000 };
	uint64_t now = 1000000, spent = 0;
	struct test_random random;

	test_random_init(&random, "rhythm");
	for (int i = 0; i < 5000; i++) {
		uint64_t heard = now + HBUS_RHYTHM_BURST_US + test_random_below(&random, 4000);

		(void)wait_and_hear(&rhythms, who, now, heard, &spent);
		now = heard;
	}
	cr_assert_lt(spent, (now - 1000000) / 50);
}

Test(rhythm, of_several_is_met_and_a_burst_counts_once)
{
	struct hbus_rhythms rhythms = { .paid_us = 1000000 };
	uint64_t now = 1000000, spent = 0;
	unsigned int n_met = 0;

	for (int i = 0; i < 400; i++) {
		uint64_t at = 1000000 + 1000u * (uint64_t)(i + 1);

		n_met += wait_and_hear(&rhythms, who, now, at, &spent);
		hbus_rhythm_heard(&rhythms, who, at + 20);
		n_met += wait_and_hear(&rhythms, who + 1, at, at + 330, &spent);
		now = at + 330;
	}
	cr_assert_gt(n_met, 780);
}

Test(rhythm, has_a_bound_whatever_is_expected)
{
	struct hbus_rhythms rhythms = { .paid_us = 1000000 };
	uint64_t now = 1000000, begin = now, spent = 0;

	/* Ten who come each millisecond, one every 100 us: there is always somebody to look for. */
	for (unsigned int i = 0; i < 20000; i++) {
		(void)wait_and_hear(&rhythms, who + i % 10, now, now + 100, &spent);
		now += 100;
	}
	cr_assert_gt(spent, (now - begin) / HBUS_RHYTHM_SHARE / 2);
	cr_assert_leq(spent, (now - begin) / HBUS_RHYTHM_SHARE);
}

Test(rhythm, of_those_who_are_known_is_not_lost_to_a_crowd)
{
	struct hbus_rhythms rhythms = { 0 };
	uint64_t begin, end, now = 1000000;
	static const char crowd[1000];

	for (int i = 0; i < 50; i++) {
		now += 1000;
		hbus_rhythm_heard(&rhythms, who, now);
		for (size_t k = 0; k < sizeof(crowd); k += 50)
			hbus_rhythm_heard(&rhythms, crowd + (k + (size_t)i) % sizeof(crowd), now + k / 4);
	}
	cr_assert(hbus_rhythm_next(&rhythms, now + 250, &begin, &end));
	cr_assert(begin <= now + 1000 && now + 1000 < end);
}

/* A day of idling saves up no more than a moment of looking. */
Test(rhythm, what_was_not_used_is_not_saved_up)
{
	struct hbus_rhythms rhythms = { .paid_us = 1000000 };
	uint64_t now = 1000000, day = 86400000000, begin_us, end_us, spent = 0;

	for (int i = 0; i < 40; i++)
		hbus_rhythm_heard(&rhythms, who, now += 1000);
	now += day;
	hbus_rhythm_heard(&rhythms, who, now);
	for (int i = 0; i < 40; i++)
		hbus_rhythm_heard(&rhythms, who, now += 1000);
	/* It is late each time, so that all that may be spent is. */
	while (spent < 1000000 && hbus_rhythm_next(&rhythms, now, &begin_us, &end_us)) {
		hbus_rhythm_spent(&rhythms, 100);
		spent += 100;
	}
	cr_assert_lt(spent, 100000);
}
