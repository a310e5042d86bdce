/* SPDX-License-Identifier: BSD-3-Clause */
/* A subscriber under torture: checks every byte, every order and every report, and writes it all down. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client/bus.h"
#include "tests/torture/restless.h"
#include "tests/torture/roles.h"

#define EVENTS 64u
#define DRAIN_QUIET_NS 1500000000u

/* What is planted need not be told one by one. */
static bool is_silent;

static struct ledger_view *touch(struct ledger_subscriber *me, uint32_t i)
{
	uint32_t begin = atomic_load_explicit(&me->begin, memory_order_relaxed);

	if (me->end == 0 || i < begin)
		atomic_store_explicit(&me->begin, i, memory_order_relaxed);
	if (i >= me->end)
		atomic_store_explicit(&me->end, i + 1, memory_order_relaxed);
	return &me->view[i];
}

/* NULL: no publisher says that it is its own. */
static struct ledger_view *view_of_publisher(struct ledger *ledger, struct ledger_subscriber *me, uint64_t ring_id)
{
	uint32_t n = atomic_load_explicit(&ledger->n_publishers, memory_order_acquire);

	for (uint32_t i = n; i > 0; i--)
		if (atomic_load_explicit(&ledger->publisher[i - 1].ring_id, memory_order_acquire) == ring_id)
			return touch(me, i - 1);
	return NULL;
}

/* Whoever meets a ring first enters it: no lock, since each may be killed at any moment. NULL: no more room. */
static struct ledger_view *view_of_ingress(struct ledger *ledger, struct ledger_subscriber *me, uint64_t ring_id,
					   uint64_t sent_ns)
{
	static uint64_t last_ring_id;
	static uint32_t last;
	uint64_t nobody = 0;

	if (last_ring_id == ring_id && (sent_ns == 0 || ledger->publisher[last].sent_ns))
		return touch(me, last);
	for (uint32_t i = LEDGER_PUBLISHERS_MAX; i < LEDGER_RINGS_MAX; i++) {
		struct ledger_publisher *entry = &ledger->publisher[i];
		uint64_t seen = 0;

		if (!atomic_compare_exchange_strong_explicit(&entry->ring_id, &seen, ring_id, memory_order_acq_rel,
							     memory_order_acquire) && seen != ring_id)
			continue;
		if (sent_ns)
			atomic_compare_exchange_strong_explicit(&entry->sent_ns, &nobody, sent_ns,
								memory_order_relaxed, memory_order_relaxed);
		last = i;
		last_ring_id = ring_id;
		return touch(me, i);
	}
	return NULL;
}

/* A copy of the event, checked only after the library said that it was whole to the end. */
struct kept {
	uint64_t ring_id;
	uint64_t sequence;
	size_t size;
	unsigned char bytes[PAYLOAD_MAX];
};

static bool is_whole(const struct kept *kept, const struct payload *head)
{
	uint32_t begin = head->publisher == PAYLOAD_OF_INGRESS ? PACKET_MIN : PAYLOAD_MIN;

	if (kept->size < begin || head->size != kept->size || kept->size > PAYLOAD_MAX)
		return false;
	if (head->publisher != PAYLOAD_OF_INGRESS && head->publisher >= LEDGER_PUBLISHERS_MAX)
		return false;
	for (uint32_t i = begin; i < head->size; i++)
		if (kept->bytes[i] != payload_byte(head->publisher, head->sequence, i))
			return false;
	return true;
}

static void is_torn(struct ledger *ledger, struct ledger_subscriber *me, const struct kept *kept, const struct payload *head)
{
	struct ledger_view *view = view_of_publisher(ledger, me, kept->ring_id);

	if (!view)
		view = view_of_ingress(ledger, me, kept->ring_id, 0);
	if (view)
		view->torn++;
	if (!is_silent)
		fprintf(stderr,
			"torture: torn event: ring %llu sequence %llu size %zu, content of publisher %u sequence %llu size %u\n",
			(unsigned long long)kept->ring_id, (unsigned long long)kept->sequence, kept->size, head->publisher,
			(unsigned long long)head->sequence, head->size);
}

static void is_disordered(struct ledger_view *view, const char *what, uint64_t expected, uint64_t found)
{
	static unsigned int n_said;

	view->disordered++;
	if (is_silent || n_said++ >= 3)
		return;
	fprintf(stderr, "torture: subscriber (pid %d): %s %llu where %llu was to come; received %llu, told lost %llu\n", (int)getpid(),
		what, (unsigned long long)found, (unsigned long long)expected, (unsigned long long)view->received,
		(unsigned long long)view->lost);
}

/* The first that is known of a ring. */
static void meet(const struct ledger_subscriber *me, struct ledger_view *view, uint64_t sequence)
{
	if (view->received > 0 || view->lost > 0)
		return;
	view->first_event_ns = ledger_now_ns();
	if (me->is_restless)
		return; /* what came before is passed over, or missing */
	view->next = sequence;
	view->first_missing = (uint32_t)sequence;
}

/* What stands between what is known and @sequence did not come. */
static void did_not_come(const struct ledger *ledger, struct ledger_subscriber *me, struct ledger_view *view, uint64_t sequence)
{
	uint64_t n = sequence - view->next;

	if (me->is_restless)
		n -= restless_pass_over(ledger, me, view, sequence);
	view->unreported += (uint32_t)n;
}

static void in_order(const struct ledger *ledger, struct ledger_subscriber *me, struct ledger_view *view, uint64_t sequence)
{
	meet(me, view, sequence);
	if (sequence < view->next)
		is_disordered(view, "event", view->next, sequence);
	else if (sequence > view->next)
		did_not_come(ledger, me, view, sequence);
	view->next = sequence + 1;
	view->received++;
}

/* Packets may be lost before they are events, so of their numbers only the order counts. */
static void account_packet(struct ledger *ledger, struct ledger_subscriber *me, const struct kept *kept,
			   const struct payload *head)
{
	struct ledger_view *view;
	uint64_t sent_ns;

	memcpy(&sent_ns, kept->bytes + PAYLOAD_MIN, sizeof(sent_ns));
	view = view_of_ingress(ledger, me, kept->ring_id, sent_ns);
	if (!view) {
		atomic_fetch_add_explicit(&me->errors, 1, memory_order_relaxed);
		return;
	}
	if (head->sequence < view->last_sent)
		is_disordered(view, "packet", view->last_sent, head->sequence);
	view->last_sent = head->sequence + 1;
	in_order(ledger, me, view, kept->sequence);
	atomic_fetch_add_explicit(&me->n_packets, 1, memory_order_relaxed);
}

static void account(struct ledger *ledger, struct ledger_subscriber *me, const struct kept *kept)
{
	struct payload head;

	memcpy(&head, kept->bytes, sizeof(head));
	if (!is_whole(kept, &head)) {
		is_torn(ledger, me, kept, &head);
	} else if (head.publisher == PAYLOAD_OF_INGRESS) {
		account_packet(ledger, me, kept, &head);
	} else {
		struct ledger_view *view = touch(me, head.publisher);

		/* The library's number and the publisher's own. */
		if (head.sequence != kept->sequence)
			is_disordered(view, "content", kept->sequence, head.sequence);
		in_order(ledger, me, view, kept->sequence);
	}
}

static void take_reports(struct ledger *ledger, struct ledger_subscriber *me, struct hbus_subscriber *subscriber)
{
	struct hbus_loss loss;

	while (hbus_next_loss(subscriber, &loss) == 1) {
		struct ledger_view *view = view_of_publisher(ledger, me, loss.ring_id);

		/* A publisher enters its ring before its first event. */
		if (!view)
			view = view_of_ingress(ledger, me, loss.ring_id, 0);
		if ((loss.reason != HBUS_LOSS_LAPPED && loss.reason != HBUS_LOSS_EVICTED) || !view) {
			fprintf(stderr, "torture: report of reason %u on ring %llu\n", loss.reason, (unsigned long long)loss.ring_id);
			atomic_fetch_add_explicit(&me->errors, 1, memory_order_relaxed);
			continue;
		}
		meet(me, view, loss.first_sequence);
		if (me->is_restless && loss.first_sequence > view->next) {
			did_not_come(ledger, me, view, loss.first_sequence);
			view->next = loss.first_sequence;
		}
		if (loss.first_sequence != view->next)
			is_disordered(view, "report of loss", view->next, loss.first_sequence);
		view->lost += loss.n_events;
		view->next = loss.first_sequence + loss.n_events;
	}
}

/* As a library would that forgets one now and then. */
static bool is_dropped_by_plant(const struct ledger *ledger)
{
	static unsigned int n;

	return atomic_load_explicit(&ledger->plant, memory_order_relaxed) == PLANT_GAP && n++ % 500 == 499;
}

static int poll_once(struct ledger *ledger, struct ledger_subscriber *me, struct hbus_subscriber *subscriber)
{
	static struct kept kept[EVENTS];
	struct hbus_event events[EVENTS];
	int n, r;

	ledger_enter(&me->where, CALL_POLL);
	n = hbus_poll(subscriber, events, EVENTS);
	ledger_enter(&me->where, CALL_OWN);
	if (n <= 0) {
		take_reports(ledger, me, subscriber);
		return n;
	}
	for (int i = 0; i < n; i++) {
		kept[i].ring_id = events[i].ring_id;
		kept[i].sequence = events[i].sequence;
		kept[i].size = events[i].size;
		memcpy(kept[i].bytes, events[i].data, events[i].size < PAYLOAD_MAX ? events[i].size : PAYLOAD_MAX);
	}
	/* Losses before this batch were reported by the poll that found them. */
	take_reports(ledger, me, subscriber);
	ledger_enter(&me->where, CALL_RELEASE);
	r = hbus_release(subscriber);
	ledger_enter(&me->where, CALL_OWN);
	if (r == 0)
		for (int i = 0; i < n; i++)
			if (!is_dropped_by_plant(ledger))
				account(ledger, me, &kept[i]);
	return n;
}

/* A ring that comes and goes while its link is down was never offered to it. */
static void note_link(struct ledger_subscriber *me, struct hbus *bus, uint64_t now_ns)
{
	static uint64_t up_ns;
	static uint32_t last_links;
	static bool is_away;
	uint32_t n = atomic_load_explicit(&me->n_aways, memory_order_relaxed), n_links;
	bool is_up;

	pthread_mutex_lock(&bus->lock);
	n_links = bus->n_links;
	is_up = bus->link == HBUS_LINK_CONNECTED;
	pthread_mutex_unlock(&bus->lock);
	if (up_ns == 0 || (is_up && !is_away && n_links == last_links)) {
		up_ns = now_ns;
		last_links = n_links;
		return;
	}
	if (!is_away && n == LEDGER_AWAYS_MAX)
		return;
	n += !is_away;
	is_away = !is_up;
	me->away[n - 1] = (struct span){.from_ns = up_ns, .until_ns = now_ns};
	atomic_store_explicit(&me->n_aways, n, memory_order_relaxed);
	last_links = n_links;
	if (is_up)
		up_ns = now_ns;
}

static int subscribe(struct ledger_subscriber *me, struct hbus_subscriber *subscriber, const char *filter)
{
	int r = 0;

	ledger_enter(&me->where, CALL_SUBSCRIBE);
	for (int i = 0; i < 100; i++) {
		r = hbus_subscribe(subscriber, filter);
		if (r != HBUS_E_DISCONNECTED && r != HBUS_E_TIMEOUT)
			break;
	}
	return r;
}

int role_subscriber(struct ledger *ledger, uint32_t idx, const char *socket, bool is_reliable, uint64_t seed)
{
	struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = is_reliable ? HBUS_SUB_FLAG_RELIABLE : 0,
						  .stall_ms = 500};
	struct hbus_options bus_options = {.struct_size = sizeof(bus_options), .name = "torture-sub", .connect_timeout_ms = 20000};
	struct ledger_subscriber *me = &ledger->subscriber[idx];
	static struct restless restless;
	struct hbus_subscriber *subscriber;
	uint64_t quiet_since = 0;
	struct hbus *bus;
	int r = 0;

	/* It does not poll while it asks, which takes long when the daemon is dead. */
	if (me->is_restless)
		options.stall_ms = RESTLESS_STALL_MS;
	is_silent = atomic_load_explicit(&ledger->plant, memory_order_relaxed) != PLANT_NOTHING;
	ledger_enter(&me->where, CALL_OPEN);
	r = hbus_open(socket, &bus_options, &bus);
	if (r)
		return role_outside("subscriber", idx, r);
	ledger_enter(&me->where, CALL_SUBSCRIBER_OPEN);
	r = hbus_subscriber_open(bus, &options, &subscriber);
	if (r)
		return role_outside("subscriber", idx, r);
	r = me->is_restless ? restless_begin(&restless, ledger, me, subscriber, seed) : subscribe(me, subscriber, "torture/#");
	if (r)
		return role_outside("subscriber", idx, r);
	atomic_store_explicit(&me->subscribed_ns, ledger_now_ns(), memory_order_release);
	for (;;) {
		bool drains = atomic_load_explicit(&ledger->must_drain, memory_order_acquire);
		int n = poll_once(ledger, me, subscriber);
		uint64_t now = ledger_now_ns();

		if (n < 0) {
			fprintf(stderr, "torture: subscriber %u: %s\n", idx, hbus_error_text());
			return 1;
		}
		atomic_store_explicit(&me->last_poll_ns, now, memory_order_relaxed);
		note_link(me, bus, now);
		if (me->is_restless)
			restless_step(&restless, n == 0);
		if (n > 0 || !drains || restless.phase != RESTLESS_RESTS)
			quiet_since = now;
		else if (now - quiet_since > DRAIN_QUIET_NS)
			break;
		ledger_enter(&me->where, CALL_WAIT);
		if (n == 0 && hbus_wait(subscriber, me->is_restless ? RESTLESS_WAIT_MS : 100) < 0)
			return 1;
	}
	if (me->is_restless)
		restless_end(&restless);
	ledger_enter(&me->where, CALL_CLOSE);
	hbus_subscriber_close(subscriber);
	hbus_close(bus);
	atomic_store_explicit(&me->has_finished, 1, memory_order_release);
	return 0;
}
