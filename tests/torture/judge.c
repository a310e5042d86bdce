/* SPDX-License-Identifier: BSD-3-Clause */
/* The judge. See judge.h. */
#include "tests/torture/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool overlaps(const struct outage *outages, unsigned int n, uint64_t from_ns, uint64_t until_ns)
{
	for (unsigned int i = 0; i < n; i++)
		if (outages[i].from_ns <= until_ns && outages[i].until_ns + 1000000000u >= from_ns)
			return true;
	return false;
}

/*
 * A subscriber that was there before the publisher's ring, and is there until everything is drained, must know of
 * every event: received or told lost. Of a publisher that was killed, one event more than acked may be there (or
 * one batch: it was committed, and the kill came before the ledger's word).
 */
static void show(const struct ledger_publisher *publisher, const struct ledger_view *view, const char *what)
{
	fprintf(stderr,
		"torture: %s: ring %" PRIx64 " acknowledged %" PRIu64 " received %" PRIu64 " told lost %" PRIu64
		" first %u next %" PRIu64 ", %s, lived %.3f to %.3f s, first event %.3f s\n",
		what, publisher->ring_id, publisher->acked, view->received, view->lost, view->first_missing, view->next,
		publisher->has_finished ? "finished" : "killed", (double)publisher->created_ns / 1e9,
		(double)publisher->ended_ns / 1e9, (double)view->first_event_ns / 1e9);
}

static void judge_pair(const struct ledger_publisher *publisher, const struct ledger_view *view, bool is_excused,
		       struct verdict *verdict)
{
	uint64_t known = view->received + view->lost, missing = view->first_missing;

	verdict->n_pairs++;
	if (known == 0 && publisher->acked > 0) {
		if (is_excused)
			verdict->excused++;
		else {
			show(publisher, view, "met by nobody");
			verdict->lost_acked += publisher->acked;
		}
		return;
	}
	if (missing > 0) {
		show(publisher, view, "met too late");
		verdict->late++;
		verdict->lost_acked += missing;
		known += missing;
	}
	if (known + view->unreported < publisher->acked) {
		show(publisher, view, "not read to the end");
		verdict->lost_acked += publisher->acked - known - view->unreported;
	}
	if (known > publisher->acked + (publisher->has_finished ? 0 : 16))
		verdict->too_many += known - publisher->acked;
}

static void judge_subscriber(const struct ledger *ledger, const struct ledger_subscriber *subscriber, uint32_t n_publishers,
			     const struct outage *outages, unsigned int n_outages, struct verdict *verdict)
{
	verdict->errors += subscriber->errors;
	for (uint32_t i = 0; i < n_publishers; i++) {
		const struct ledger_publisher *publisher = &ledger->publisher[i];
		const struct ledger_view *view = &subscriber->view[i];
		uint64_t until = view->first_event_ns ? view->first_event_ns : UINT64_MAX;

		verdict->received += view->received;
		verdict->told_lost += view->lost;
		verdict->torn += view->torn;
		verdict->disordered += view->disordered;
		verdict->unreported += view->unreported;
		if (!subscriber->has_finished || !publisher->ring_id || subscriber->subscribed_ns > publisher->created_ns)
			continue;
		if (until == UINT64_MAX && publisher->ended_ns)
			until = publisher->ended_ns;
		judge_pair(publisher, view, overlaps(outages, n_outages, publisher->created_ns, until), verdict);
	}
}

void judge(const struct ledger *ledger, const struct outage *outages, unsigned int n_outages, struct verdict *ret_verdict)
{
	uint32_t n_publishers = ledger->n_publishers, n_subscribers = ledger->n_subscribers;
	struct verdict verdict = {0};

	for (uint32_t i = 0; i < n_publishers; i++) {
		verdict.acked += ledger->publisher[i].acked;
		if (ledger->publisher[i].slowest_ms > verdict.slowest_ms)
			verdict.slowest_ms = ledger->publisher[i].slowest_ms;
	}
	for (uint32_t i = 0; i < n_subscribers; i++)
		judge_subscriber(ledger, &ledger->subscriber[i], n_publishers, outages, n_outages, &verdict);
	*ret_verdict = verdict;
}

unsigned int verdict_faults(const struct verdict *v)
{
	return (v->lost_acked > 0) + (v->torn > 0) + (v->disordered > 0) + (v->unreported > 0) + (v->too_many > 0) +
	       (v->errors > 0) + (v->late > 0);
}
