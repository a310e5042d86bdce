/* SPDX-License-Identifier: BSD-3-Clause */
/* The judge. See judge.h. */
#include "tests/torture/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* After the end of an outage it takes a moment until everybody is back, */
#define GRACE_NS UINT64_C(1000000000)
/* and who has not met a ring of before the outage meets it when all who have are back: 2 s. */
#define RETURN_NS UINT64_C(3500000000)

/* A ring that came while somebody was not there to introduce it or to meet it, and went before that could be made up for. */
static bool came_and_went(const struct span *spans, unsigned int n, uint64_t created_ns, uint64_t ended_ns)
{
	for (unsigned int i = 0; i < n && ended_ns; i++)
		if (spans[i].from_ns <= ended_ns && spans[i].until_ns + GRACE_NS >= created_ns &&
		    ended_ns <= spans[i].until_ns + RETURN_NS)
			return true;
	return false;
}

static void show(const struct ledger_publisher *publisher, const struct ledger_view *view, const struct verdict *verdict,
		 const char *what)
{
	if (verdict->is_quiet)
		return;
	fprintf(stderr,
		"torture: %s: ring %" PRIx64 " acknowledged %" PRIu64 " received %" PRIu64 " told lost %" PRIu64
		" first %u next %" PRIu64 ", %s, lived %.3f to %.3f s, first event %.3f s\n",
		what, publisher->ring_id, publisher->acked, view->received, view->lost, view->first_missing, view->next,
		publisher->has_finished ? "finished" : "killed", (double)publisher->created_ns / 1e9,
		(double)publisher->ended_ns / 1e9, (double)view->first_event_ns / 1e9);
}

/*
 * A subscriber that was there before the publisher's ring, and is there until everything is drained, must know of
 * every event: received or told lost. Of a publisher that was killed, one event more than acked may be there (or
 * one batch: it was committed, and the kill came before the ledger's word).
 */
static void judge_pair(const struct ledger_publisher *publisher, const struct ledger_view *view, bool is_excused,
		       struct verdict *verdict)
{
	uint64_t known = view->received + view->lost, missing = view->first_missing;

	verdict->n_pairs++;
	if (known == 0 && publisher->acked > 0) {
		if (is_excused)
			verdict->excused++;
		else {
			show(publisher, view, verdict, "met by nobody");
			verdict->lost_acked += publisher->acked;
		}
		return;
	}
	if (missing > 0) {
		show(publisher, view, verdict, "met too late");
		verdict->late++;
		verdict->lost_acked += missing;
		known += missing;
	}
	if (known + view->unreported < publisher->acked) {
		show(publisher, view, verdict, "not read to the end");
		verdict->lost_acked += publisher->acked - known - view->unreported;
	}
	if (known > publisher->acked + (publisher->has_finished ? 0 : 16))
		verdict->too_many += known - publisher->acked;
}

static uint64_t largest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Of a ring whose topic a restless subscriber wants at the end. What was due before it gave the topic up it has judged itself. */
static void judge_restless(const struct ledger_publisher *publisher, const struct ledger_view *view, bool is_excused,
			   struct verdict *verdict)
{
	uint64_t known = largest(view->next, view->due_from);

	verdict->n_pairs++;
	if (known < publisher->acked && view->next == 0 && is_excused) {
		verdict->excused++;
	} else if (known < publisher->acked) {
		show(publisher, view, verdict, "wanted again and not read to the end");
		verdict->lost_acked += publisher->acked - known;
	}
	if (view->next > publisher->acked + (publisher->has_finished ? 0 : 16))
		verdict->too_many += view->next - publisher->acked;
}

/* Has it wanted the ring's topic until the end, and was the ring there then? */
static bool wants_to_the_end(const struct ledger_subscriber *subscriber, const struct ledger_publisher *publisher)
{
	uint64_t since_ns = subscriber->wanted_since_ns[publisher->topic];

	return since_ns && (!publisher->ended_ns || publisher->ended_ns > since_ns);
}

static const struct ledger_view *view_of(const struct ledger_subscriber *subscriber, uint32_t i)
{
	static const struct ledger_view nothing;

	return i >= subscriber->begin && i < subscriber->end ? &subscriber->view[i] : &nothing;
}

static void judge_subscriber(const struct ledger *ledger, const struct ledger_subscriber *subscriber, uint32_t begin,
			     uint32_t end, const struct span *outages, unsigned int n_outages, struct verdict *verdict)
{
	for (uint32_t i = begin; i < end; i++) {
		const struct ledger_publisher *publisher = &ledger->publisher[i];
		const struct ledger_view *view = view_of(subscriber, i);
		bool is_excused;

		verdict->received += view->received;
		verdict->told_lost += view->lost;
		verdict->torn += view->torn;
		verdict->disordered += view->disordered;
		verdict->unreported += view->unreported;
		verdict->passed_over += view->passed_over;
		verdict->lost_acked += view->undelivered;
		if (!subscriber->has_finished || !publisher->ring_id)
			continue;
		if (subscriber->is_restless ? !wants_to_the_end(subscriber, publisher)
					    : subscriber->subscribed_ns > publisher->created_ns)
			continue;
		is_excused = came_and_went(outages, n_outages, publisher->created_ns, publisher->ended_ns) ||
			     came_and_went(subscriber->away, subscriber->n_aways, publisher->created_ns, publisher->ended_ns);
		if (subscriber->is_restless)
			judge_restless(publisher, view, is_excused, verdict);
		else
			judge_pair(publisher, view, is_excused, verdict);
		verdict->n_ingress += i >= LEDGER_PUBLISHERS_MAX;
	}
}

/* What is known of a ring of the ingress: as much as any subscriber knows, and whose it was. */
static void complete_ingress(struct ledger *ledger, uint32_t i, const struct span *ingresses, unsigned int n_ingresses)
{
	struct ledger_publisher *ring = &ledger->publisher[i];
	uint32_t n = ledger->n_subscribers;
	uint64_t sent_ns = ring->sent_ns;

	ring->created_ns = 0; /* nobody subscribed before that */
	for (unsigned int k = 0; k < n_ingresses && sent_ns; k++) {
		if (sent_ns < ingresses[k].from_ns || sent_ns > ingresses[k].until_ns)
			continue;
		ring->created_ns = ingresses[k].from_ns;
		ring->ended_ns = ingresses[k].until_ns;
		break;
	}
	for (uint32_t s = 0; s < n; s++) {
		const struct ledger_view *view = view_of(&ledger->subscriber[s], i);

		if (view->next > ring->acked)
			ring->acked = view->next;
	}
}

static void add_rings(const struct ledger *ledger, uint32_t begin, uint32_t end, struct verdict *verdict)
{
	for (uint32_t i = begin; i < end; i++) {
		verdict->acked += ledger->publisher[i].acked;
		if (ledger->publisher[i].slowest_ms > verdict->slowest_ms)
			verdict->slowest_ms = ledger->publisher[i].slowest_ms;
	}
}

void judge(struct ledger *ledger, const struct span *outages, unsigned int n_outages, const struct span *ingresses,
	   unsigned int n_ingresses, struct verdict *ret_verdict)
{
	uint32_t n_publishers = ledger->n_publishers, n_subscribers = ledger->n_subscribers;
	uint32_t end = LEDGER_PUBLISHERS_MAX;
	struct verdict verdict = {.is_quiet = ret_verdict->is_quiet};

	while (end < LEDGER_RINGS_MAX && ledger->publisher[end].ring_id)
		complete_ingress(ledger, end++, ingresses, n_ingresses);
	add_rings(ledger, 0, n_publishers, &verdict);
	add_rings(ledger, LEDGER_PUBLISHERS_MAX, end, &verdict);
	for (uint32_t i = 0; i < n_subscribers; i++) {
		const struct ledger_subscriber *subscriber = &ledger->subscriber[i];

		verdict.errors += subscriber->errors;
		verdict.n_calls += subscriber->n_calls;
		verdict.n_awaited += subscriber->n_awaited;
		verdict.n_unpromised += subscriber->n_unpromised;
		judge_subscriber(ledger, subscriber, 0, n_publishers, outages, n_outages, &verdict);
		if (!subscriber->is_restless) /* it asks for the publishers' topics only */
			judge_subscriber(ledger, subscriber, LEDGER_PUBLISHERS_MAX, end, outages, n_outages, &verdict);
	}
	*ret_verdict = verdict;
}

unsigned int verdict_faults(const struct verdict *v)
{
	return (v->lost_acked > 0) + (v->torn > 0) + (v->disordered > 0) + (v->unreported > 0) + (v->too_many > 0) +
	       (v->errors > 0) + (v->late > 0);
}
