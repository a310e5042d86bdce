/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A daemon has come back: say again what this member holds
 *
 * Nothing of it touches the data path. Everything is sent without waiting; the replies come in order, and
 * the one to RESUMED brings the link up. Runs under bus->lock.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/client/control.h"
#include "ctl/client/counter_set.h"
#include "ctl/client/handlers.h"
#include "ctl/client/publisher.h"
#include "ctl/client/steering.h"
#include "ctl/client/subscriber.h"

/* Without memory, or when the socket breaks, the link is lost and everything begins anew. */
static bool say(struct hbus *bus, union hbus_msg *message, const int *fds, unsigned int n_fds, hbus_reply_fn fn,
		void *context)
{
	struct hbus_call *call;

	if (!fn)
		return hbus_request_locked(bus, message, fds, n_fds);
	call = hbus_call_new(fn, context);
	if (call && hbus_call_start_locked(bus, message, fds, n_fds, call) == 0)
		return true;
	hbus_link_lost_locked(bus);
	return false;
}

static struct hbus_pub_ring *find_ring(struct hbus *bus, const void *ring)
{
	struct hbus_pub_ring *at = bus->pub_rings;

	while (at && at != ring)
		at = at->next;
	return at;
}

/* A daemon that does not know the ring (it lost its journal) will never show it to anybody: take a new one. */
static void on_offer_reply(struct hbus *bus, struct hbus_call *call)
{
	struct hbus_pub_ring *ring = find_ring(bus, call->context);

	if (ring && !call->is_lost && call->reply.reply.status != 0)
		/* relaxed: the word is all that is told */
		atomic_store_explicit(&ring->is_refused, 1, memory_order_relaxed);
	free(call);
}

static bool offer_ring(struct hbus *bus, struct hbus_pub_ring *ring)
{
	int fds[2] = {ring->header_fd, ring->data_fd};
	union hbus_msg message;

	hbus_wire_init(&message, HBUS_MSG_RING_OFFER, 0);
	message.ring_offer.geometry = (struct hbus_wire_geometry){
		.ring_id = ring->geometry.ring_id,
		.capacity = ring->geometry.capacity,
		.start = ring->geometry.start,
		.layout_version = HBUS_LAYOUT_VERSION,
		.layout_hash = HBUS_LAYOUT_HASH,
		.is_huge = ring->geometry.is_huge,
		.is_isolated = ring->geometry.is_isolated,
	};
	message.ring_offer.token = ring->token;
	if (!say(bus, &message, fds, 2, on_offer_reply, ring))
		return false;
	for (uint32_t i = 0; i < ring->n_topics; i++) {
		const struct hbus_pub_topic *topic = &ring->topics[i];
		struct hbus_msg_ring_topic_add *add = &message.ring_topic_add;

		hbus_wire_init(&message, HBUS_MSG_RING_TOPIC_ADD, 0);
		add->ring_id = ring->geometry.ring_id;
		hbus_wire_put_string(add->name, sizeof(add->name), topic->name);
		hbus_wire_put_string(add->type, sizeof(add->type), topic->type);
		hbus_wire_put_string(add->content_type, sizeof(add->content_type), topic->content_type);
		if (!say(bus, &message, NULL, 0, NULL, NULL))
			return false;
	}
	return true;
}

static bool say_slots(struct hbus *bus, struct hbus_subscriber *sub)
{
	union hbus_msg message;

	for (uint32_t i = 0; i < sub->n_slot_memfds; i++) {
		hbus_wire_init(&message, HBUS_MSG_SUB_SLOTS, 0);
		message.sub_slots.sub_id = sub->sub_id;
		message.sub_slots.memfd_idx = i;
		message.sub_slots.n_slots = sub->slots[i].n_slots;
		if (!say(bus, &message, &sub->slots[i].fd, 1, NULL, NULL))
			return false;
	}
	return true;
}

static bool say_filters(struct hbus *bus, struct hbus_subscriber *sub)
{
	union hbus_msg message;

	for (const struct hbus_filter *filter = sub->filters; filter; filter = filter->next) {
		hbus_wire_init(&message, HBUS_MSG_SUB_FILTER_ADD, 0);
		message.sub_filter.sub_id = sub->sub_id;
		message.sub_filter.covers_from = filter->covers_from;
		hbus_wire_put_string(message.sub_filter.filter, sizeof(message.sub_filter.filter), filter->text);
		if (!say(bus, &message, NULL, 0, NULL, NULL))
			return false;
	}
	return true;
}

static bool say_held(struct hbus *bus, struct hbus_subscriber *sub)
{
	union hbus_msg message;

	for (const struct hbus_attached *at = sub->held; at; at = at->held_next) {
		hbus_wire_init(&message, HBUS_MSG_SUB_HELD, 0);
		message.sub_held.ring_id = at->ring_id;
		message.sub_held.gate_id = at->gate_id;
		message.sub_held.sub_id = sub->sub_id;
		message.sub_held.memfd_idx = at->memfd_idx;
		message.sub_held.slot_idx = at->slot_idx;
		message.sub_held.attach_idx = at->attach_idx;
		if (!say(bus, &message, NULL, 0, NULL, NULL))
			return false;
	}
	return true;
}

static bool resume_sub(struct hbus *bus, struct hbus_subscriber *sub)
{
	union hbus_msg message;

	hbus_wire_init(&message, HBUS_MSG_SUB_OPEN, 0);
	message.sub_open.sub_id = sub->sub_id;
	message.sub_open.flags = HBUS_SUB_DOORBELL | (sub->flags & HBUS_SUB_FLAG_RELIABLE ? HBUS_SUB_RELIABLE : 0);
	message.sub_open.stall_ms = sub->stall_ms;
	return say(bus, &message, NULL, 0, NULL, NULL) && say_slots(bus, sub) && say_filters(bus, sub) &&
	       say_held(bus, sub);
}

static void on_resumed(struct hbus *bus, struct hbus_call *call)
{
	if (!call->is_lost) {
		hbus_steering_settle(bus);
		hbus_link_up_locked(bus);
	}
	free(call);
}

void hbus_resume_locked(struct hbus *bus)
{
	union hbus_msg message;

	bus->link = HBUS_LINK_RESUMING;
	hbus_steering_begin(bus);
	for (struct hbus_pub_ring *ring = bus->pub_rings; ring; ring = ring->next)
		if (ring->is_announced && !offer_ring(bus, ring))
			return;
	for (struct hbus_subscriber *sub = bus->subscribers; sub; sub = sub->next)
		if (sub->is_opened && !sub->is_closing && !resume_sub(bus, sub))
			return;
	for (struct hbus_counter_set *set = bus->counter_sets; set; set = set->next)
		if (!hbus_counter_set_offer(bus, set))
			return;
	hbus_wire_init(&message, HBUS_MSG_RESUMED, 0);
	say(bus, &message, NULL, 0, on_resumed, NULL);
}
