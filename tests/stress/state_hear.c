/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon tells a simulated client: it is taken as libhugebus takes it, and compared with what was promised. */
#include "tests/stress/state_client.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"

#define ANSWER(client, type, body, ...)                                                                                \
	({                                                                                                             \
		body msg_ = __VA_ARGS__;                                                                               \
		client_send(client, &msg_, type, sizeof(msg_), 0, NULL, 0);                                             \
	})

/* ---- replies ---- */

static void link_up(const struct world *w, struct client *client)
{
	client->link = LINK_UP;
	client->boot_number = w->boot_number;
}

static void on_hello(struct world *w, struct client *client, const struct hbus_msg_reply *reply)
{
	static const struct hbus_token zero;
	bool is_back = memcmp(&client->token, &zero, sizeof(zero)) != 0;

	if (reply->status != 0)
		return;
	client->was_given_up |= is_back && client->id != reply->value[0];
	client->token = reply->token;
	client->id = reply->value[0];
	if (is_back)
		client_resume(w, client);
	else
		link_up(w, client);
}

static void on_ring_reply(struct world *w, struct client *client, const struct call *done,
			  const struct hbus_msg_reply *reply)
{
	struct client_ring *ring = &client->rings[done->ring];
	struct client_topic *topic = done->item >= 0 ? &ring->topics[done->item] : NULL;

	switch (done->type) {
	case HBUS_MSG_RING_CREATE: /* a grant is no reply */
	case HBUS_MSG_RING_CLOSE:
		client_ring_forget(ring);
		break;
	case HBUS_MSG_RING_MAPPED:
		if (reply->status != 0) {
			client_ring_forget(ring);
			break;
		}
		ring->stage = RING_RUNS;
		ring->ran_at = w->step;
		ring->topics[0].is_said = true;
		ring->topics[0].id = (uint32_t)reply->value[0];
		break;
	case HBUS_MSG_RING_TOPIC_ADD:
		topic->is_called = false;
		topic->is_said = reply->status == 0;
		if (reply->status != 0)
			topic->name = -1;
		else if (topic->id && topic->id != reply->value[0])
			world_fail(w, "topic %s had number %u and has %llu", world_topics[topic->name], topic->id,
				   (unsigned long long)reply->value[0]);
		else
			topic->id = (uint32_t)reply->value[0];
		break;
	case HBUS_MSG_RING_OFFER:
		if (reply->status != 0 && ring->stage == RING_RUNS)
			ring->stage = RING_CLOSES; /* taken out of use; the next publish takes another */
		break;
	default:
		break;
	}
}

static void check_reads(struct world *w, const struct client *client, const struct client_sub *sub,
			const struct client_filter *filter);

static void on_filter_reply(struct world *w, struct client *client, const struct call *done,
			    const struct hbus_msg_reply *reply)
{
	struct client_sub *sub = &client->subs[done->sub];
	struct client_filter *filter = &sub->filters[done->item];

	filter->is_called = false;
	if (done->type == HBUS_MSG_SUB_FILTER_REMOVE || reply->status != 0) {
		filter->text = -1;
		return;
	}
	filter->is_confirmed = true;
	if (filter->confirmed_at == 0)
		filter->confirmed_at = w->step;
	filter->covers_from = reply->value[2];
	if (sub->stage == SUB_RUNS && !client->is_tainted)
		check_reads(w, client, sub, filter);
}

static void on_sub_reply(struct world *w, struct client *client, const struct call *done,
			 const struct hbus_msg_reply *reply)
{
	struct client_sub *sub = &client->subs[done->sub];
	bool is_fine = reply->status == 0 || reply->status == HBUS_E_EXISTS;

	switch (done->type) {
	case HBUS_MSG_SUB_OPEN:
		sub->is_called = false;
		sub->is_opened = is_fine;
		if (!is_fine)
			client_sub_forget(sub);
		break;
	case HBUS_MSG_SUB_SLOTS:
		sub->memfd_said[done->item] = is_fine;
		if (!is_fine && done->item == 0)
			sub->stage = SUB_CLOSES;
		break;
	case HBUS_MSG_SUB_FILTER_ADD:
	case HBUS_MSG_SUB_FILTER_REMOVE:
		if (done->item >= 0)
			on_filter_reply(w, client, done, reply);
		break;
	case HBUS_MSG_SUB_CLOSE:
		client_sub_forget(sub);
		break;
	default:
		break;
	}
}

static void on_grant(struct world *w, struct client *client, const struct call *done, const struct frame *frame)
{
	const struct hbus_msg_ring_grant *grant = (const void *)frame->bytes;
	struct client_ring *ring = &client->rings[done->ring];

	for (uint32_t i = 0; i < 2; i++)
		if (frame->objects[i].kind != OBJECT_RING_WRITE || frame->objects[i].part != i ||
		    frame->objects[i].id != grant->geometry.ring_id)
			world_fail(w, "a grant with the wrong memory");
	ring->geometry = grant->geometry;
	ring->token = grant->token;
	ring->stage = RING_MAPPED;
	world_memory(w, grant->geometry.ring_id)->uid = client->uid;
	CALL(w, client, HBUS_MSG_RING_MAPPED, done->ring, -1, -1, struct hbus_msg_ring,
	     {.ring_id = grant->geometry.ring_id});
}

static void on_reply(struct world *w, struct client *client, const struct frame *frame)
{
	const struct hbus_msg_reply *reply = (const void *)frame->bytes;
	struct call done = {0};

	for (int i = 0; i < WORLD_CALLS && !done.serial; i++) {
		if (client->calls[i].serial != reply->header.serial || reply->header.serial == 0)
			continue;
		done = client->calls[i];
		client->calls[i].serial = 0;
	}
	if (!done.serial) {
		if (reply->header.serial && !client->is_tainted)
			world_fail(w, "a reply that nobody waits for");
	} else if (reply->header.type == HBUS_MSG_RING_GRANT) {
		on_grant(w, client, &done, frame);
	} else if (done.type == HBUS_MSG_HELLO) {
		on_hello(w, client, reply);
	} else if (done.type == HBUS_MSG_RESUMED) {
		link_up(w, client);
	} else if (done.ring >= 0) {
		on_ring_reply(w, client, &done, reply);
	} else if (done.sub >= 0) {
		on_sub_reply(w, client, &done, reply);
	}
}

/* ---- gates ---- */

static struct client_ring *find_ring(struct client *client, uint64_t ring_id)
{
	for (int i = 0; i < WORLD_RINGS; i++)
		if (client->rings[i].stage >= RING_MAPPED && client->rings[i].geometry.ring_id == ring_id)
			return &client->rings[i];
	return NULL;
}

static struct client_gate *find_gate(struct client_ring *ring, uint32_t idx)
{
	for (int i = 0; i < WORLD_GATES; i++)
		if (ring->gates[i].gate_id && ring->gates[i].idx == idx)
			return &ring->gates[i];
	return NULL;
}

static void install(struct world *w, struct client_ring *ring, const struct hbus_msg_gate_add *msg,
		    const struct frame *frame)
{
	for (int i = 0; i < WORLD_GATES; i++) {
		if (ring->gates[i].gate_id)
			continue;
		ring->gates[i] = (struct client_gate){.gate_id = msg->gate_id, .idx = msg->attach_idx,
						      .slots = frame->objects[0], .slot_idx = msg->slot_idx};
		return;
	}
	world_fail(w, "a ring with more than %d gates", WORLD_GATES);
}

static void on_gate_add(struct world *w, struct client *client, const struct frame *frame)
{
	const struct hbus_msg_gate_add *msg = (const void *)frame->bytes;
	struct client_ring *ring = find_ring(client, msg->ring_id);
	struct client_gate *gate = ring ? find_gate(ring, msg->attach_idx) : NULL;
	int status = ring ? 0 : HBUS_E_NOT_FOUND;

	if (frame->objects[0].kind != OBJECT_SLOTS)
		world_fail(w, "a gate without slots");
	/* Of a subscriber that died before its gate was known to be there. */
	if (!gate && msg->slot_idx >= msg->n_slots)
		status = HBUS_E_INVALID;
	if (msg->n_slots > 0 && (msg->attach_idx < HBUS_RING_GATES_MAX) != !!(msg->flags & HBUS_GATE_RELIABLE))
		world_fail(w, "a gate at a place of the other kind");
	if (gate && gate->gate_id != msg->gate_id) {
		if (!gate->is_unclaimed && !client->is_tainted)
			world_fail(w, "two gates at place %u of ring %llx", msg->attach_idx,
				   (unsigned long long)msg->ring_id);
		gate->gate_id = 0;
		gate = NULL;
	}
	if (status == 0 && !gate)
		install(w, ring, msg, frame);
	if (gate)
		gate->is_unclaimed = false;
	ANSWER(client, HBUS_MSG_GATE_ADDED, struct hbus_msg_gate,
	       {.ring_id = msg->ring_id, .gate_id = msg->gate_id, .attach_idx = msg->attach_idx, .status = status});
}

static void on_gate_remove(struct client *client, const struct hbus_msg_gate *msg)
{
	struct client_ring *ring = find_ring(client, msg->ring_id);
	struct client_gate *gate;
	int status = HBUS_E_NOT_FOUND;

	if (msg->gate_id == 0) {
		for (int i = 0; ring && i < WORLD_GATES; i++)
			if (ring->gates[i].is_unclaimed)
				ring->gates[i].gate_id = 0;
		return;
	}
	gate = ring ? find_gate(ring, msg->attach_idx) : NULL;
	if (gate && gate->gate_id == msg->gate_id) {
		gate->gate_id = 0;
		status = 0;
	}
	ANSWER(client, HBUS_MSG_GATE_REMOVED, struct hbus_msg_gate,
	       {.ring_id = msg->ring_id, .gate_id = msg->gate_id, .attach_idx = msg->attach_idx, .status = status});
}

/* ---- rings that are shown ---- */

static struct client_sub *find_sub(struct client *client, uint32_t id, int *ret_idx)
{
	for (int i = 0; i < WORLD_SUBS; i++) {
		if (client->subs[i].stage == SUB_FREE || client->subs[i].id != id)
			continue;
		*ret_idx = i;
		return &client->subs[i];
	}
	return NULL;
}

static struct client_held *find_held(struct client_sub *sub, uint64_t ring_id)
{
	for (int i = 0; i < WORLD_HELD; i++)
		if (sub->held[i].ring_id == ring_id)
			return &sub->held[i];
	return NULL;
}

bool client_matches(const struct client_filter *filter, int topic)
{
	return filter->text >= 0 && topic >= 0 && hbus_topic_matches(world_filters[filter->text], world_topics[topic]);
}

static struct client_ring *ring_of(struct world *w, uint64_t ring_id, struct client **ret_owner)
{
	for (int i = 0; i < WORLD_CLIENTS; i++) {
		struct client_ring *ring = w->clients[i].process ? find_ring(&w->clients[i], ring_id) : NULL;

		*ret_owner = &w->clients[i];
		if (ring)
			return ring;
	}
	return NULL;
}

bool client_has_gate(struct world *w, uint64_t ring_id, uint64_t gate_id)
{
	struct client *owner;
	const struct client_ring *ring = ring_of(w, ring_id, &owner);

	if (!ring || owner->is_tainted)
		return true;
	for (int i = 0; i < WORLD_GATES; i++)
		if (ring->gates[i].gate_id == gate_id)
			return true;
	return false;
}

/* Who subscribes reads every running ring that has what he asks for when the reply comes: also one that he was just leaving. */
static void check_reads(struct world *w, const struct client *client, const struct client_sub *sub,
			const struct client_filter *filter)
{
	for (int i = 0; i < WORLD_HELD; i++) {
		const struct client_held *held = &sub->held[i];
		struct client *owner;
		const struct client_ring *ring = held->ring_id ? ring_of(w, held->ring_id, &owner) : NULL;

		if (!ring || ring->stage != RING_RUNS || !held->is_ended || !held->is_unwanted || owner->is_tainted ||
		    owner->link != LINK_UP || client->boot_number != owner->boot_number)
			continue;
		for (int k = 0; k < WORLD_TOPICS; k++)
			if (ring->topics[k].is_said && client_matches(filter, ring->topics[k].name))
				world_fail(w, "subscriber %u has subscribed, and is to leave ring %llx", sub->id,
					   (unsigned long long)held->ring_id);
	}
}

static bool has_met(const struct client_sub *sub, uint64_t ring_id)
{
	for (size_t i = 0; i < sub->n_met; i++)
		if (sub->met[i] == ring_id)
			return true;
	return false;
}

/* Where it begins is what was promised: from the first event for who subscribed before the ring was asked for. */
static void check_start(struct world *w, const struct client_sub *sub, const struct client_ring *ring, uint32_t flags)
{
	bool is_promised = false, may_be = false;

	for (int i = 0; i < WORLD_FILTERS; i++) {
		const struct client_filter *filter = &sub->filters[i];

		is_promised |= client_matches(filter, ring->topics[0].name) && filter->confirmed_at &&
			       filter->confirmed_at < ring->asked_at && !filter->is_going;
	}
	for (int i = 0; i < WORLD_N_FILTERS; i++) {
		const struct client_filter filter = {.text = i};

		for (int k = 0; k < WORLD_TOPICS; k++)
			may_be |= sub->first_said[i] && client_matches(&filter, ring->topics[k].name) &&
				  (ring->ran_at == 0 || sub->first_said[i] <= ring->ran_at);
	}
	if (is_promised && !(flags & HBUS_OPENED_FROM_START))
		world_fail(w, "subscriber %u subscribed before ring %llx was made, and does not get its first event", sub->id,
			   (unsigned long long)ring->geometry.ring_id);
	/* Of a ring that its publisher could not bring back, the topics are not known here any more. */
	if (!may_be && ring->stage == RING_RUNS && (flags & HBUS_OPENED_FROM_START))
		world_fail(w, "subscriber %u gets events of ring %llx from before it subscribed", sub->id,
			   (unsigned long long)ring->geometry.ring_id);
}

static void check_opened(struct world *w, struct client *client, const struct client_sub *sub,
			 const struct hbus_msg_ring_opened *msg, const struct frame *frame)
{
	uint64_t ring_id = msg->geometry.ring_id;
	const struct memory *memory = world_memory(w, ring_id);
	struct client *owner;
	struct client_ring *ring = ring_of(w, ring_id, &owner);

	for (uint32_t i = 0; i < 2; i++)
		if (frame->objects[i].kind != OBJECT_RING_READ || frame->objects[i].part != i ||
		    frame->objects[i].id != ring_id)
			world_fail(w, "a reader is sent memory that is not for reading this ring");
	if (!memory || !memory->is_sealed || memory->uid != msg->publisher_uid)
		world_fail(w, "ring %llx is shown as it is not", (unsigned long long)ring_id);
	for (int i = 0; i < WORLD_HELD; i++)
		if (!(msg->flags & HBUS_OPENED_NO_SLOT) && sub->held[i].ring_id && sub->held[i].has_slot &&
		    sub->held[i].ring_id != ring_id && sub->held[i].memfd_idx == msg->memfd_idx &&
		    sub->held[i].slot_idx == msg->slot_idx)
			world_fail(w, "one slot for two rings: %llx and %llx", (unsigned long long)ring_id,
				   (unsigned long long)sub->held[i].ring_id);
	if (!ring || owner->is_tainted || client->is_tainted)
		return;
	if (memcmp(&ring->geometry, &msg->geometry, sizeof(ring->geometry)) != 0)
		world_fail(w, "ring %llx is shown with another geometry", (unsigned long long)ring_id);
	if (!has_met(sub, ring_id))
		check_start(w, sub, ring, msg->flags);
}

static void take_ring(struct world *w, struct client *client, int sub_idx, const struct hbus_msg_ring_opened *msg)
{
	struct client_sub *sub = &client->subs[sub_idx];
	struct client_held *held = find_held(sub, 0);
	uint32_t n_held = 1, n_slots = 0;

	if (!held)
		world_fail(w, "a subscriber with %d rings", WORLD_HELD);
	*held = (struct client_held){msg->geometry.ring_id, msg->gate_id, msg->memfd_idx, msg->slot_idx, msg->attach_idx,
				     !(msg->flags & HBUS_OPENED_NO_SLOT), false, false};
	if (sub->n_met < sizeof(sub->met) / sizeof(sub->met[0]))
		sub->met[sub->n_met++] = msg->geometry.ring_id;
	for (int i = 0; i < WORLD_HELD; i++)
		n_held += sub->held[i].ring_id != 0;
	for (uint32_t i = 0; i < sub->n_memfds; i++)
		n_slots += client_slots_of(i);
	if (n_held * 2 > n_slots && sub->n_memfds < HBUS_SLOT_MEMFDS_MAX)
		say_slots(w, client, sub_idx, sub->n_memfds++);
	w->n_opened++;
}

static void on_opened(struct world *w, struct client *client, const struct frame *frame)
{
	const struct hbus_msg_ring_opened *msg = (const void *)frame->bytes;
	int idx = -1, status = HBUS_E_NOT_FOUND;
	struct client_sub *sub = find_sub(client, msg->sub_id, &idx);

	if (sub && sub->stage == SUB_RUNS) {
		const struct client_held *held = find_held(sub, msg->geometry.ring_id);

		check_opened(w, client, sub, msg, frame);
		status = 0;
		if (held && held->gate_id != msg->gate_id)
			status = HBUS_E_EXISTS;
		else if (!held)
			take_ring(w, client, idx, msg);
	}
	ANSWER(client, HBUS_MSG_RING_ACCEPT, struct hbus_msg_ring_accept,
	       {.ring_id = msg->geometry.ring_id, .sub_id = msg->sub_id, .status = status});
}

static void on_ended(struct world *w, struct client *client, const struct hbus_msg_ring_event *msg)
{
	int idx = -1;
	struct client *owner;
	const struct client_ring *ring = ring_of(w, msg->ring_id, &owner);
	struct client_sub *sub = find_sub(client, msg->sub_id, &idx);
	struct client_held *held = sub ? find_held(sub, msg->ring_id) : NULL;

	if (!sub)
		return;
	if (sub->stage == SUB_CLOSES)
		say_done(w, client, sub, msg->ring_id);
	else if (held) {
		held->is_ended = true;
		held->is_unwanted = msg->flags == 0 && ring && ring->stage == RING_RUNS;
	}
}

/* It was to be left and is wanted again: in time, or its thread has left it and SUB_RING_DONE is under way. */
static void on_live(struct world *w, struct client *client, const struct hbus_msg_ring_event *msg)
{
	int idx = -1;
	struct client_sub *sub = find_sub(client, msg->sub_id, &idx);
	struct client_held *held = sub && sub->stage == SUB_RUNS ? find_held(sub, msg->ring_id) : NULL;
	struct hbus_msg_ring_accept answer = {.ring_id = msg->ring_id, .sub_id = msg->sub_id};

	if (!(msg->flags & HBUS_LIVE_STAYS) || !held)
		return;
	/* It might not read it for a while, or its publisher has given up its gate: it leaves, and gets it anew. */
	if (held->is_ended && (!held->is_unwanted || world_random(w, 8) == 0))
		answer.status = HBUS_E_BUSY;
	else
		held->is_ended = false;
	held->is_unwanted = false;
	client_send(client, &answer, HBUS_MSG_RING_ACCEPT, sizeof(answer), msg->header.serial, NULL, 0);
}

static void on_interest(struct client *client, const struct hbus_msg_interest *msg)
{
	for (int i = 0; i < WORLD_RINGS; i++)
		for (int k = 0; k < WORLD_TOPICS; k++) {
			struct client_topic *topic = &client->rings[i].topics[k];

			if (client->rings[i].stage != RING_FREE && topic->name >= 0 &&
			    strcmp(world_topics[topic->name], msg->name) == 0)
				topic->is_wanted = msg->is_wanted != 0;
		}
}

bool client_hear(struct world *w, struct client *client)
{
	struct frame *frame = client->conn ? queue_pop(&client->conn->to_client) : NULL;

	if (!frame) {
		if (!client->conn || !client->conn->is_closed)
			return false;
		client_link_lost(client);
		return true;
	}
	switch (((const struct hbus_msg_header *)(const void *)frame->bytes)->type) {
	case HBUS_MSG_REPLY:
	case HBUS_MSG_RING_GRANT:
		on_reply(w, client, frame);
		break;
	case HBUS_MSG_RING_OPENED:
		on_opened(w, client, frame);
		break;
	case HBUS_MSG_RING_ENDED:
		on_ended(w, client, (const void *)frame->bytes);
		break;
	case HBUS_MSG_RING_LIVE:
		on_live(w, client, (const void *)frame->bytes);
		break;
	case HBUS_MSG_GATE_ADD:
		on_gate_add(w, client, frame);
		break;
	case HBUS_MSG_GATE_REMOVE:
		on_gate_remove(client, (const void *)frame->bytes);
		break;
	case HBUS_MSG_INTEREST:
		on_interest(client, (const void *)frame->bytes);
		break;
	default:
		break;
	}
	free(frame);
	return true;
}
