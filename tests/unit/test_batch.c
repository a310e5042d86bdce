/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The batched format: what is good, every way to be bad, and the counts of a sender's sequence,
 * compared at random with a tracker that remembers every number.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/batch.h"
#include "tests/unit/guard.h"

enum { ROOM = 70000, SENDER = 77 };

struct bytes {
	uint8_t at[ROOM];
	size_t size;
};

static void put(struct bytes *b, uint64_t value, int n)
{
	while (n-- > 0)
		b->at[b->size++] = (uint8_t)(value >> 8 * n);
}

static void begin(struct bytes *b, uint32_t n_events, uint64_t sender, uint64_t sequence)
{
	b->size = 0;
	put(b, HBUS_BATCH_MAGIC, 4);
	put(b, n_events, 2);
	put(b, 0, 2);
	put(b, sender, 8);
	put(b, sequence, 8);
}

static void add(struct bytes *b, uint32_t number, const char *text)
{
	put(b, number, 2);
	put(b, strlen(text), 2);
	memcpy(b->at + b->size, text, strlen(text));
	b->size += strlen(text);
}

static bool is_good(const uint8_t *bytes, size_t size)
{
	struct hbus_batch batch;

	return hbus_batch_parse(guard_copy(bytes, size), size, &batch);
}

static void three_events(struct bytes *b)
{
	begin(b, 3, SENDER, 9);
	add(b, 1, "21.5");
	add(b, 65535, "");
	add(b, 2, "closed");
}

Test(batch, hands_out_its_events_in_order)
{
	static struct bytes b;
	struct hbus_batch batch;
	struct hbus_batch_event e;
	const uint8_t *cursor;

	three_events(&b);
	cr_assert(hbus_batch_parse(b.at, b.size, &batch));
	cr_assert_eq(batch.sender, SENDER);
	cr_assert_eq(batch.sequence, 9);
	cr_assert_eq(batch.n_events, 3);
	cursor = batch.entries;
	e = hbus_batch_next(&cursor);
	cr_assert(e.number == 1 && e.payload_size == 4 && memcmp(e.payload, "21.5", 4) == 0);
	e = hbus_batch_next(&cursor);
	cr_assert(e.number == 65535 && e.payload_size == 0);
	e = hbus_batch_next(&cursor);
	cr_assert(e.number == 2 && memcmp(e.payload, "closed", 6) == 0);
	cr_assert_eq(cursor, b.at + b.size);
}

Test(batch, accepts_a_sign_of_life)
{
	static struct bytes b;

	begin(&b, 0, SENDER, 1);
	cr_assert(is_good(b.at, b.size));
}

Test(batch, refuses_every_truncation_and_any_byte_left_over)
{
	static struct bytes b;

	three_events(&b);
	for (size_t size = 0; size < b.size; size++)
		cr_assert_not(is_good(b.at, size), "cut to %zu bytes", size);
	cr_assert(is_good(b.at, b.size));
	put(&b, 0, 1);
	cr_assert_not(is_good(b.at, b.size));
}

Test(batch, refuses_another_magic_version_or_reserved_field)
{
	for (int i = 0; i < 8; i++) {
		static struct bytes b;

		three_events(&b);
		b.at[i] ^= 1;
		cr_assert_not(is_good(b.at, b.size), "byte %d", i);
	}
}

Test(batch, refuses_an_event_that_crosses_the_end)
{
	static struct bytes b;

	begin(&b, 1, SENDER, 1);
	add(&b, 1, "21.5");
	b.at[HBUS_BATCH_HEADER_SIZE + 3] = 5;
	cr_assert_not(is_good(b.at, b.size));
	b.at[HBUS_BATCH_HEADER_SIZE + 2] = 255;
	cr_assert_not(is_good(b.at, b.size));
}

/* The header of a second event lies behind the end that the first one crosses. */
Test(batch, looks_at_no_byte_behind_an_event_that_crosses_the_end)
{
	static struct bytes b;

	begin(&b, 2, SENDER, 9);
	put(&b, 1, 2);
	put(&b, 3, 2);
	put(&b, 0, 2);
	cr_assert_not(is_good(b.at, b.size));
}

Test(batch, holds_as_many_events_as_its_limit_and_not_one_more)
{
	static struct bytes b;

	begin(&b, HBUS_BATCH_N_EVENTS_MAX, SENDER, 1);
	for (uint32_t i = 0; i < HBUS_BATCH_N_EVENTS_MAX; i++)
		add(&b, i, "x");
	cr_assert(is_good(b.at, b.size));
	put(&b, 0, 4);
	b.at[5]++;
	cr_assert_not(is_good(b.at, b.size));
}

Test(batch, survives_random_damage)
{
	const char *given = getenv("HBUS_TEST_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) : 31u;
	uint32_t n_good = 0;

	fprintf(stderr, "seed %u\n", seed);
	for (int round = 0; round < 100000; round++) {
		static struct bytes b;
		struct hbus_batch batch;
		uint8_t *copy;

		three_events(&b);
		for (int n = rand_r(&seed) % 3; n > 0; n--)
			b.at[4 + (size_t)rand_r(&seed) % (b.size - 4)] = (uint8_t)(rand_r(&seed) % 8);
		copy = malloc(b.size);
		memcpy(copy, b.at, b.size);
		if (hbus_batch_parse(copy, b.size, &batch)) {
			const uint8_t *cursor = batch.entries;

			for (uint32_t i = 0; i < batch.n_events; i++)
				(void)hbus_batch_next(&cursor);
			cr_assert_eq(cursor, copy + b.size);
			n_good++;
		}
		free(copy);
	}
	cr_assert_gt(n_good, 1000);
}

/* ---- the tracker ----------------------------------------------------------------------------- */

static struct hbus_batch_tracker *tracker;
static const struct hbus_batch_counters *counters;

static void setup(void)
{
	cr_assert_eq(hbus_batch_tracker_new(12345, &tracker), 0);
	counters = hbus_batch_tracker_counters(tracker);
}

static void teardown(void)
{
	tracker = hbus_batch_tracker_free(tracker);
}

TestSuite(tracker, .init = setup, .fini = teardown);

static void expect(uint64_t sequence, enum hbus_batch_verdict verdict)
{
	enum hbus_batch_verdict got = hbus_batch_tracker_see(tracker, SENDER, sequence);

	cr_assert_eq(got, verdict, "%llu: got %d, not %d", (unsigned long long)sequence, got,
		     verdict);
	cr_assert_eq(counters->n_datagrams,
		     counters->n_accepted + counters->n_duplicates + counters->n_stale);
}

Test(tracker, counts_nothing_when_all_come_in_order)
{
	for (uint64_t i = 100; i < 1000; i++)
		expect(i, HBUS_BATCH_ACCEPTED);
	cr_assert_eq(counters->n_accepted, 900);
	cr_assert_eq(counters->n_missing + counters->n_gaps + counters->n_reordered, 0);
}

Test(tracker, counts_a_gap_and_takes_it_back_when_the_late_ones_come)
{
	expect(1, HBUS_BATCH_ACCEPTED);
	expect(5, HBUS_BATCH_ACCEPTED);
	cr_assert_eq(counters->n_gaps, 1);
	cr_assert_eq(counters->n_missing, 3);
	expect(3, HBUS_BATCH_ACCEPTED);
	expect(2, HBUS_BATCH_ACCEPTED);
	cr_assert_eq(counters->n_missing, 1);
	cr_assert_eq(counters->n_reordered, 2);
	expect(3, HBUS_BATCH_DUPLICATE);
	expect(5, HBUS_BATCH_DUPLICATE);
	expect(1, HBUS_BATCH_DUPLICATE);
	cr_assert_eq(counters->n_duplicates, 3);
	cr_assert_eq(counters->n_missing, 1);
}

Test(tracker, moves_the_beginning_back_for_an_older_one)
{
	expect(10, HBUS_BATCH_ACCEPTED);
	expect(7, HBUS_BATCH_ACCEPTED);
	cr_assert_eq(counters->n_missing, 2);
	expect(9, HBUS_BATCH_ACCEPTED);
	cr_assert_eq(counters->n_missing, 1);
	cr_assert_eq(counters->n_reordered, 2);
	cr_assert_eq(counters->n_gaps, 0);
}

Test(tracker, remembers_exactly_its_window)
{
	expect(1000, HBUS_BATCH_ACCEPTED);
	expect(1000 + HBUS_BATCH_WINDOW, HBUS_BATCH_ACCEPTED);
	expect(1001, HBUS_BATCH_ACCEPTED);
	expect(1001, HBUS_BATCH_DUPLICATE);
	expect(1000, HBUS_BATCH_STALE);
	cr_assert_eq(counters->n_missing, HBUS_BATCH_WINDOW - 2);
	expect(1000 + HBUS_BATCH_WINDOW * 3, HBUS_BATCH_ACCEPTED);
	expect(1000 + HBUS_BATCH_WINDOW * 2 + 1, HBUS_BATCH_ACCEPTED);
	expect(1000 + HBUS_BATCH_WINDOW * 2, HBUS_BATCH_STALE);
}

Test(tracker, holds_across_the_wrap)
{
	expect(UINT64_MAX - 1, HBUS_BATCH_ACCEPTED);
	expect(1, HBUS_BATCH_ACCEPTED);
	cr_assert_eq(counters->n_missing, 2);
	expect(UINT64_MAX, HBUS_BATCH_ACCEPTED);
	expect(0, HBUS_BATCH_ACCEPTED);
	expect(0, HBUS_BATCH_DUPLICATE);
	cr_assert_eq(counters->n_missing, 0);
	cr_assert_eq(counters->n_restarts, 0);
}

Test(tracker, tells_a_gap_from_a_restart_by_its_limit)
{
	expect(5, HBUS_BATCH_ACCEPTED);
	expect(5 + HBUS_BATCH_GAP_MAX, HBUS_BATCH_ACCEPTED);
	cr_assert_eq(counters->n_missing, HBUS_BATCH_GAP_MAX - 1);
	cr_assert_eq(counters->n_restarts, 0);
	expect(5 + HBUS_BATCH_GAP_MAX * 2 + 1, HBUS_BATCH_ACCEPTED);
	cr_assert_eq(counters->n_missing, HBUS_BATCH_GAP_MAX - 1);
	cr_assert_eq(counters->n_restarts, 1);
}

Test(tracker, follows_a_sender_that_counts_anew_with_its_old_id)
{
	expect(1000, HBUS_BATCH_ACCEPTED);
	for (uint64_t i = 1; i < HBUS_BATCH_RESTART_RUN; i++)
		expect(i, HBUS_BATCH_STALE);
	expect(HBUS_BATCH_RESTART_RUN, HBUS_BATCH_ACCEPTED);
	expect(HBUS_BATCH_RESTART_RUN + 1, HBUS_BATCH_ACCEPTED);
	cr_assert_eq(counters->n_restarts, 1);
	cr_assert_eq(counters->n_missing, 0);
}

Test(tracker, does_not_take_scattered_late_ones_for_a_restart)
{
	expect(1000, HBUS_BATCH_ACCEPTED);
	for (uint64_t i = 0; i < 100; i++) {
		expect(i, HBUS_BATCH_STALE);
		expect(1001 + i, HBUS_BATCH_ACCEPTED);
	}
	cr_assert_eq(counters->n_restarts, 0);
	cr_assert_eq(counters->n_stale, 100);
}

Test(tracker, forgets_the_sender_not_heard_for_longest_when_one_more_comes)
{
	for (uint64_t id = 0; id < HBUS_BATCH_N_SENDERS_MAX; id++)
		hbus_batch_tracker_see(tracker, id, 50);
	cr_assert_eq(counters->n_forgotten, 0);
	/* Sender 0 is heard again, so 1 is the oldest when one more comes. */
	cr_assert_eq(hbus_batch_tracker_see(tracker, 0, 50), HBUS_BATCH_DUPLICATE);
	hbus_batch_tracker_see(tracker, HBUS_BATCH_N_SENDERS_MAX, 50);
	cr_assert_eq(counters->n_forgotten, 1);
	cr_assert_eq(hbus_batch_tracker_see(tracker, 0, 50), HBUS_BATCH_DUPLICATE);
	cr_assert_eq(hbus_batch_tracker_see(tracker, 2, 50), HBUS_BATCH_DUPLICATE);
	cr_assert_eq(hbus_batch_tracker_see(tracker, 1, 50), HBUS_BATCH_ACCEPTED);
	cr_assert_eq(counters->n_forgotten, 2);
	cr_assert_eq(counters->n_senders, HBUS_BATCH_N_SENDERS_MAX + 2);
}

/* Remembers every number of one sender within a small range. */
enum { RANGE = 4096, N_RANDOM_SENDERS = 3 };

struct oracle {
	bool came[RANGE];
	uint64_t newest, lowest, n_accepted;
	bool has_any;
};

static enum hbus_batch_verdict oracle_see(struct oracle *o, uint64_t s)
{
	if (o->has_any && s <= o->newest && o->newest - s >= HBUS_BATCH_WINDOW)
		return HBUS_BATCH_STALE;
	if (o->came[s])
		return HBUS_BATCH_DUPLICATE;
	if (!o->has_any || s > o->newest)
		o->newest = s;
	if (!o->has_any || s < o->lowest)
		o->lowest = s;
	o->has_any = true;
	o->came[s] = true;
	o->n_accepted++;
	return HBUS_BATCH_ACCEPTED;
}

Test(tracker, agrees_with_one_that_remembers_every_number)
{
	const char *given = getenv("HBUS_TEST_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) : 99u;
	static struct oracle oracles[N_RANDOM_SENDERS];
	uint64_t n_missing = 0;

	fprintf(stderr, "seed %u\n", seed);
	for (int i = 0; i < 20000; i++) {
		uint32_t id = (uint32_t)rand_r(&seed) % N_RANDOM_SENDERS;
		uint64_t middle = 100 + (uint64_t)i / 6;
		uint64_t s = middle + (uint64_t)rand_r(&seed) % 90;

		cr_assert_eq(hbus_batch_tracker_see(tracker, id, s), oracle_see(&oracles[id], s));
	}
	for (int id = 0; id < N_RANDOM_SENDERS; id++)
		n_missing += oracles[id].newest - oracles[id].lowest + 1 - oracles[id].n_accepted;
	cr_assert_eq(counters->n_missing, n_missing);
	cr_assert_gt(counters->n_reordered, 1000);
	cr_assert_gt(counters->n_duplicates, 1000);
	cr_assert_eq(counters->n_restarts, 0);
}
