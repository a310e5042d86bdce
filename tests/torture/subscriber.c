/* SPDX-License-Identifier: BSD-3-Clause */
/* A subscriber under torture: checks every byte, every order and every report, and writes it all down. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/client/hugebus.h"
#include "tests/torture/roles.h"

#define EVENTS 64u
#define DRAIN_QUIET_NS 1500000000u

static struct ledger_view *view_of_ring(struct ledger *ledger, struct ledger_subscriber *me, uint64_t ring_id)
{
	uint32_t n = atomic_load_explicit(&ledger->n_publishers, memory_order_acquire);

	for (uint32_t i = n; i > 0; i--)
		if (atomic_load_explicit(&ledger->publisher[i - 1].ring_id, memory_order_acquire) == ring_id)
			return &me->view[i - 1];
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
	if (kept->size < PAYLOAD_MIN || head->size != kept->size || head->publisher >= LEDGER_PUBLISHERS_MAX)
		return false;
	for (uint32_t i = PAYLOAD_MIN; i < head->size; i++)
		if (kept->bytes[i] != payload_byte(head->publisher, head->sequence, i))
			return false;
	return true;
}

static void account(struct ledger *ledger, struct ledger_subscriber *me, const struct kept *kept)
{
	struct payload head;
	struct ledger_view *view;

	memcpy(&head, kept->bytes, sizeof(head));
	if (!is_whole(kept, &head) || head.sequence != kept->sequence) {
		view = view_of_ring(ledger, me, kept->ring_id);
		if (view)
			view->torn++;
		else
			atomic_fetch_add_explicit(&me->errors, 1, memory_order_relaxed);
		fprintf(stderr, "torture: torn event: ring %llu sequence %llu size %zu, content of publisher %u sequence %llu size %u\n",
			(unsigned long long)kept->ring_id, (unsigned long long)kept->sequence, kept->size, head.publisher,
			(unsigned long long)head.sequence, head.size);
		return;
	}
	view = &me->view[head.publisher];
	if (view->received == 0 && view->lost == 0) {
		view->first_event_ns = ledger_now_ns();
		view->next = head.sequence;
		view->first_missing = (uint32_t)head.sequence;
	}
	if (head.sequence < view->next)
		view->disordered++;
	else if (head.sequence > view->next)
		view->unreported += (uint32_t)(head.sequence - view->next);
	view->next = head.sequence + 1;
	view->received++;
}

static void take_reports(struct ledger *ledger, struct ledger_subscriber *me, struct hbus_subscriber *subscriber)
{
	struct hbus_loss loss;

	while (hbus_next_loss(subscriber, &loss) == 1) {
		struct ledger_view *view = view_of_ring(ledger, me, loss.ring_id);

		if (loss.reason == HBUS_LOSS_CORRUPT || loss.reason == HBUS_LOSS_REFUSED || !view) {
			fprintf(stderr, "torture: report of reason %u on ring %llu\n", loss.reason, (unsigned long long)loss.ring_id);
			atomic_fetch_add_explicit(&me->errors, 1, memory_order_relaxed);
			continue;
		}
		if (view->received == 0 && view->lost == 0) {
			view->first_event_ns = ledger_now_ns();
			view->next = loss.first_sequence;
			view->first_missing = (uint32_t)loss.first_sequence;
		}
		if (loss.first_sequence != view->next)
			view->disordered++;
		view->lost += loss.n_events;
		view->next = loss.first_sequence + loss.n_events;
	}
}

static int poll_once(struct ledger *ledger, struct ledger_subscriber *me, struct hbus_subscriber *subscriber)
{
	static struct kept kept[EVENTS];
	struct hbus_event events[EVENTS];
	int n = hbus_poll(subscriber, events, EVENTS), r;

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
	r = hbus_release(subscriber);
	if (r == 0)
		for (int i = 0; i < n; i++)
			account(ledger, me, &kept[i]);
	return n;
}

int role_subscriber(struct ledger *ledger, uint32_t idx, const char *socket, bool is_reliable)
{
	struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = is_reliable ? HBUS_SUB_FLAG_RELIABLE : 0,
						  .stall_ms = 500};
	struct hbus_options bus_options = {.struct_size = sizeof(bus_options), .name = "torture-sub", .connect_timeout_ms = 20000};
	struct ledger_subscriber *me = &ledger->subscriber[idx];
	struct hbus_subscriber *subscriber;
	uint64_t quiet_since = 0;
	struct hbus *bus;
	int r = 0;

	if (hbus_open(socket, &bus_options, &bus) || hbus_subscriber_open(bus, &options, &subscriber))
		return 3;
	for (int i = 0; (r = hbus_subscribe(subscriber, "torture/#")) != 0 && i < 100; i++)
		if (r != HBUS_E_DISCONNECTED && r != HBUS_E_TIMEOUT)
			return 3;
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
		if (n > 0 || !drains)
			quiet_since = now;
		else if (now - quiet_since > DRAIN_QUIET_NS)
			break;
		if (n == 0 && hbus_wait(subscriber, 100) < 0)
			return 1;
	}
	hbus_subscriber_close(subscriber);
	hbus_close(bus);
	atomic_store_explicit(&me->has_finished, 1, memory_order_release);
	return 0;
}
