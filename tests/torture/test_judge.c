/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The judge on doctored ledgers: it lets a right one pass, and finds each kind of wrong under its own name. One pair of
 * publisher and subscriber, a ring of the ingress with two subscribers, and one thing changed at a time.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/torture/fair.h"
#include "tests/torture/judge.h"

#define N_ACKED 1000u
#define RING LEDGER_PUBLISHERS_MAX

static struct ledger *ledger;
static const struct span ingress = {.from_ns = 100, .until_ns = 9000};
static struct span outage = {.from_ns = 20000, .until_ns = 30000};

static void subscriber_reads(struct ledger_subscriber *subscriber, uint32_t i, uint64_t n)
{
	subscriber->view[i] = (struct ledger_view){.first_event_ns = 300, .next = n, .received = n};
	if (subscriber->end == 0)
		subscriber->begin = i;
	subscriber->end = i + 1;
}

/* All is well. */
static void doctor_begin(void)
{
	memset(ledger->publisher, 0, sizeof(ledger->publisher[0]));
	memset(&ledger->publisher[RING], 0, sizeof(ledger->publisher[0]));
	ledger->n_publishers = 1;
	ledger->n_subscribers = 2;
	ledger->publisher[0].ring_id = 1;
	ledger->publisher[0].created_ns = 200;
	ledger->publisher[0].acked = N_ACKED;
	ledger->publisher[0].ended_ns = 900;
	ledger->publisher[0].has_finished = 1;
	ledger->publisher[RING].ring_id = 2;
	ledger->publisher[RING].sent_ns = 250;
	for (int i = 0; i < 2; i++) {
		struct ledger_subscriber *subscriber = &ledger->subscriber[i];

		subscriber->subscribed_ns = 50;
		subscriber->has_finished = 1;
		subscriber->is_restless = 0;
		subscriber->errors = subscriber->begin = subscriber->end = subscriber->n_aways = 0;
		subscriber_reads(subscriber, 0, N_ACKED);
		subscriber_reads(subscriber, RING, 700);
	}
}

static struct ledger_view *view_of(int subscriber, uint32_t ring)
{
	return &ledger->subscriber[subscriber].view[ring];
}

static void all_is_well(void)
{
}

static void one_is_missing(void)
{
	view_of(0, 0)->received--;
}

static void the_last_are_missing(void)
{
	view_of(1, 0)->received -= 10;
	view_of(1, 0)->next -= 10;
}

static void a_ring_was_never_met(void)
{
	memset(view_of(0, 0), 0, sizeof(struct ledger_view));
}

static void a_ring_was_never_met_while_the_daemon_was_dead(void)
{
	outage = (struct span){.from_ns = 150, .until_ns = 1000};
	memset(view_of(0, 0), 0, sizeof(struct ledger_view));
}

static void a_ring_came_and_went_while_its_subscriber_was_between_two_daemons(void)
{
	ledger->subscriber[0].n_aways = 1;
	ledger->subscriber[0].away[0] = (struct span){.from_ns = 150, .until_ns = 1000};
	memset(view_of(0, 0), 0, sizeof(struct ledger_view));
}

static void a_ring_that_outlived_the_outage_was_never_met(void)
{
	outage = (struct span){.from_ns = 150, .until_ns = 1000};
	ledger->publisher[0].ended_ns = UINT64_C(10000000000);
	memset(view_of(0, 0), 0, sizeof(struct ledger_view));
}

static void a_ring_was_met_late(void)
{
	view_of(0, 0)->first_missing = 5;
	view_of(0, 0)->received -= 5;
}

static void a_loss_was_told(void)
{
	view_of(0, 0)->received -= 5;
	view_of(0, 0)->lost += 5;
}

static void one_is_torn(void)
{
	view_of(0, 0)->torn++;
}

static void two_are_in_the_wrong_order(void)
{
	view_of(1, RING)->disordered++;
}

static void a_gap_was_not_reported(void)
{
	view_of(0, RING)->unreported += 3;
	view_of(0, RING)->received -= 3;
}

static void one_came_twice(void)
{
	view_of(0, 0)->received++;
}

static void the_killed_had_committed_one_more(void)
{
	ledger->publisher[0].has_finished = 0;
	view_of(0, 0)->received++;
	view_of(1, 0)->received++;
}

static void one_witness_of_the_ingress_knows_less(void)
{
	view_of(0, RING)->received -= 20;
	view_of(0, RING)->next -= 20;
}

static void a_witness_of_the_ingress_came_later(void)
{
	ledger->subscriber[0].subscribed_ns = 150;
	view_of(0, RING)->received -= 20;
	view_of(0, RING)->first_missing = 20;
}

static void a_ring_was_refused(void)
{
	ledger->subscriber[0].errors++;
}

/* The first subscriber has given the topic up and asked for it again. */
static void is_restless(void)
{
	ledger->subscriber[0].is_restless = 1;
	ledger->subscriber[0].wanted_since_ns[0] = 500;
}

static void what_a_restless_one_did_not_want_it_need_not_have(void)
{
	is_restless();
	view_of(0, 0)->received -= 20;
	view_of(0, 0)->passed_over = 20;
}

static void a_restless_one_was_not_given_what_was_due(void)
{
	is_restless();
	view_of(0, 0)->undelivered = 3;
}

static void a_restless_one_misses_the_last(void)
{
	is_restless();
	view_of(0, 0)->next -= 10;
	view_of(0, 0)->due_from = N_ACKED - 5;
}

static void a_restless_one_came_back_too_late_for_the_last(void)
{
	is_restless();
	view_of(0, 0)->next -= 10;
	view_of(0, 0)->due_from = N_ACKED;
}

static void a_restless_one_wants_nothing_in_the_end(void)
{
	is_restless();
	ledger->subscriber[0].wanted_since_ns[0] = 0;
	memset(view_of(0, 0), 0, sizeof(struct ledger_view));
}

static void a_restless_one_asked_when_the_ring_was_over(void)
{
	is_restless();
	ledger->subscriber[0].wanted_since_ns[0] = 1000;
	memset(view_of(0, 0), 0, sizeof(struct ledger_view));
}

static void a_restless_one_has_never_met_a_ring_that_came_later(void)
{
	is_restless();
	ledger->subscriber[0].wanted_since_ns[0] = 100;
	memset(view_of(0, 0), 0, sizeof(struct ledger_view));
}

static void a_restless_one_was_given_one_that_nobody_published(void)
{
	is_restless();
	view_of(0, 0)->next++;
}

enum found { NOTHING, LOST, TORN, ORDER, GAP, MANY, LATE, ERRORS };

static const struct {
	void (*doctor)(void);
	const char *name;
	enum found found;
} cases[] = {
#define CASE(doctor, found) {doctor, #doctor, found}
	CASE(all_is_well, NOTHING),
	CASE(one_is_missing, LOST),
	CASE(the_last_are_missing, LOST),
	CASE(a_ring_was_never_met, LOST),
	CASE(a_ring_was_never_met_while_the_daemon_was_dead, NOTHING),
	CASE(a_ring_came_and_went_while_its_subscriber_was_between_two_daemons, NOTHING),
	CASE(a_ring_that_outlived_the_outage_was_never_met, LOST),
	CASE(a_ring_was_met_late, LATE),
	CASE(a_loss_was_told, NOTHING),
	CASE(one_is_torn, TORN),
	CASE(two_are_in_the_wrong_order, ORDER),
	CASE(a_gap_was_not_reported, GAP),
	CASE(one_came_twice, MANY),
	CASE(the_killed_had_committed_one_more, NOTHING),
	CASE(one_witness_of_the_ingress_knows_less, LOST),
	CASE(a_witness_of_the_ingress_came_later, NOTHING),
	CASE(a_ring_was_refused, ERRORS),
	CASE(what_a_restless_one_did_not_want_it_need_not_have, NOTHING),
	CASE(a_restless_one_was_not_given_what_was_due, LOST),
	CASE(a_restless_one_misses_the_last, LOST),
	CASE(a_restless_one_came_back_too_late_for_the_last, NOTHING),
	CASE(a_restless_one_wants_nothing_in_the_end, NOTHING),
	CASE(a_restless_one_asked_when_the_ring_was_over, NOTHING),
	CASE(a_restless_one_has_never_met_a_ring_that_came_later, LOST),
	CASE(a_restless_one_was_given_one_that_nobody_published, MANY),
};
#define N_CASES (sizeof(cases) / sizeof(cases[0]))

static bool is_as_expected(enum found wanted, const struct verdict *v)
{
	const uint64_t found[] = {verdict_faults(v), v->lost_acked, v->torn, v->disordered, v->unreported, v->too_many, v->late,
				  v->errors};

	return wanted == NOTHING ? found[NOTHING] == 0 : found[wanted] > 0;
}

/* A CPU was late by 6 ms at the second look, which was not known at the first: the clock stands, and goes on from there. */
static bool the_fair_clock_never_goes_back(void)
{
	struct fair_clock clock = {0};
	uint64_t first = fair_clock_ns(&clock, 1004, 0), second = fair_clock_ns(&clock, 1006, 6);

	return first == 1004 && second == 1004 && fair_clock_ns(&clock, 1020, 6) == 1014 && fair_clock_ns(&clock, 1030, 6) == 1024;
}

static bool who_waits_for_a_cpu_has_not_stood_still_and_who_sleeps_has(void)
{
	return fair_is_wedge(2001, 0, 2000) && !fair_is_wedge(2000, 0, 2000) && !fair_is_wedge(2500, 600, 2000) &&
	       fair_is_wedge(2700, 600, 2000) && !fair_is_wedge(0, UINT64_MAX, 2000);
}

static bool say(bool is_right, size_t number, const char *name)
{
	printf("%s %zu - %s\n", is_right ? "ok" : "not ok", number, name);
	return is_right;
}

int main(void)
{
	bool is_fine = true;

	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ledger == MAP_FAILED) {
		perror("test_judge");
		return 1;
	}
	printf("TAP version 13\n1..%zu\n", N_CASES + 2);
	for (size_t i = 0; i < N_CASES; i++) {
		struct verdict verdict = {.is_quiet = true};
		outage = (struct span){.from_ns = UINT64_C(50000000000), .until_ns = UINT64_C(50000000001)};
		doctor_begin();
		cases[i].doctor();
		judge(ledger, &outage, 1, &ingress, 1, &verdict);
		is_fine &= say(is_as_expected(cases[i].found, &verdict), i + 1, cases[i].name);
	}
	is_fine &= say(the_fair_clock_never_goes_back(), N_CASES + 1, "the_fair_clock_never_goes_back");
	is_fine &= say(who_waits_for_a_cpu_has_not_stood_still_and_who_sleeps_has(), N_CASES + 2,
		       "who_waits_for_a_cpu_has_not_stood_still_and_who_sleeps_has");
	return is_fine ? 0 : 1;
}
