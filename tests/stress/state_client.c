/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients that say what libhugebus says, when it says it; ctl/client is the original. */
#include "tests/stress/state_world.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"

/* ---- saying ---- */

static void send_frame(struct client *client, void *msg, enum hbus_msg_type type, size_t size, uint32_t serial,
		       const struct object *objects, size_t n)
{
	struct frame *frame;

	if (!client->conn || client->conn->is_closed)
		return;
	*(struct hbus_msg_header *)msg =
		(struct hbus_msg_header){HBUS_PROTO_MAGIC, (uint16_t)type, (uint16_t)size, serial, (uint32_t)n};
	frame = calloc(1, sizeof(*frame));
	memcpy(frame->bytes, msg, size);
	frame->size = size;
	frame->n_fds = n;
	for (size_t i = 0; i < n; i++)
		frame->objects[i] = objects[i];
	queue_push(&client->conn->to_daemon, frame);
}

#define ANSWER(client, type, body, ...)                                                                                \
	({                                                                                                             \
		body msg_ = __VA_ARGS__;                                                                               \
		send_frame(client, &msg_, type, sizeof(msg_), 0, NULL, 0);                                             \
	})

/* A request whose reply matters. */
static void call(struct world *w, struct client *client, void *msg, enum hbus_msg_type type, size_t size,
		 const struct object *objects, size_t n, int ring, int sub, int item)
{
	uint32_t serial = ++client->serial;

	for (size_t i = 0; i < WORLD_CALLS; i++) {
		if (client->calls[i].serial != 0)
			continue;
		client->calls[i] = (struct call){serial, (uint16_t)type, ring, sub, item};
		send_frame(client, msg, type, size, serial, objects, n);
		return;
	}
	world_fail(w, "a client waits for %d replies", WORLD_CALLS);
}

#define CALL(w, client, type, ring, sub, item, body, ...)                                                              \
	({                                                                                                             \
		body msg_ = __VA_ARGS__;                                                                               \
		call(w, client, &msg_, type, sizeof(msg_), NULL, 0, ring, sub, item);                                  \
	})

static void say_hello(struct world *w, struct client *client)
{
	struct hbus_msg_hello msg = {.major = HBUS_PROTO_MAJOR, .flags = HBUS_CLIENT_WANTS_INTEREST,
				     .token = client->token, .name = "simulated"};

	client->link = LINK_GREETING;
	call(w, client, &msg, HBUS_MSG_HELLO, sizeof(msg), NULL, 0, -1, -1, -1);
}

static void say_topic(struct world *w, struct client *client, int ring, int item)
{
	struct client_ring *at = &client->rings[ring];
	struct hbus_msg_ring_topic_add msg = {.ring_id = at->geometry.ring_id};

	strcpy(msg.name, world_topics[at->topics[item].name]);
	at->topics[item].is_called = true;
	call(w, client, &msg, HBUS_MSG_RING_TOPIC_ADD, sizeof(msg), NULL, 0, ring, -1, item);
}

static void say_open(struct world *w, struct client *client, int sub)
{
	struct client_sub *at = &client->subs[sub];

	at->is_called = true;
	CALL(w, client, HBUS_MSG_SUB_OPEN, -1, sub, -1, struct hbus_msg_sub_open, {.sub_id = at->id, .flags = at->flags});
}

static uint32_t slots_of(uint32_t memfd)
{
	return WORLD_SLOTS_FIRST << memfd;
}

static struct object slots_object(const struct client *client, const struct client_sub *sub, uint32_t memfd)
{
	return (struct object){OBJECT_SLOTS, memfd, client->process << 16 | sub->id};
}

static void say_slots(struct world *w, struct client *client, int sub, uint32_t memfd)
{
	struct client_sub *at = &client->subs[sub];
	struct hbus_msg_sub_slots msg = {.sub_id = at->id, .memfd_idx = memfd, .n_slots = slots_of(memfd)};
	struct object object = slots_object(client, at, memfd);

	call(w, client, &msg, HBUS_MSG_SUB_SLOTS, sizeof(msg), &object, 1, -1, sub, (int)memfd);
}

static void say_filter(struct world *w, struct client *client, enum hbus_msg_type type, int sub, int item)
{
	struct client_filter *filter = &client->subs[sub].filters[item];
	struct hbus_msg_sub_filter msg = {.sub_id = client->subs[sub].id};

	if (type == HBUS_MSG_SUB_FILTER_ADD && client->link == LINK_RESUMING)
		msg.covers_from = filter->covers_from;
	strcpy(msg.filter, world_filters[filter->text]);
	filter->is_called = client->link == LINK_UP;
	call(w, client, &msg, type, sizeof(msg), NULL, 0, -1, sub, client->link == LINK_UP ? item : -1);
}

static void say_done(struct world *w, struct client *client, const struct client_sub *sub, uint64_t ring_id)
{
	if (client->conn)
		CALL(w, client, HBUS_MSG_SUB_RING_DONE, -1, -1, -1, struct hbus_msg_ring,
		     {.ring_id = ring_id, .sub_id = sub->id});
}

/* ---- coming back ---- */

static void resume_ring(struct world *w, struct client *client, int ring)
{
	struct client_ring *at = &client->rings[ring];
	struct hbus_msg_ring_offer msg = {.geometry = at->geometry, .token = at->token};
	const struct object objects[2] = {{OBJECT_RING_WRITE, 0, at->geometry.ring_id},
					  {OBJECT_RING_WRITE, 1, at->geometry.ring_id}};

	call(w, client, &msg, HBUS_MSG_RING_OFFER, sizeof(msg), objects, 2, ring, -1, -1);
	for (int i = 0; i < WORLD_TOPICS; i++)
		if (at->topics[i].name >= 0 && at->topics[i].is_said)
			say_topic(w, client, ring, i);
}

static void resume_sub(struct world *w, struct client *client, int sub)
{
	struct client_sub *at = &client->subs[sub];

	say_open(w, client, sub);
	for (uint32_t i = 0; i < at->n_memfds; i++)
		say_slots(w, client, sub, i);
	for (int i = 0; i < WORLD_FILTERS; i++)
		if (at->filters[i].text >= 0 && !at->filters[i].is_going)
			say_filter(w, client, HBUS_MSG_SUB_FILTER_ADD, sub, i);
	for (int i = 0; i < WORLD_HELD; i++)
		if (at->held[i].ring_id)
			CALL(w, client, HBUS_MSG_SUB_HELD, -1, -1, -1, struct hbus_msg_sub_held,
			     {.ring_id = at->held[i].ring_id, .gate_id = at->held[i].gate_id, .sub_id = at->id,
			      .memfd_idx = at->held[i].memfd_idx, .slot_idx = at->held[i].slot_idx,
			      .attach_idx = at->held[i].attach_idx});
}

static void resume(struct world *w, struct client *client)
{
	client->link = LINK_RESUMING;
	for (int i = 0; i < WORLD_RINGS; i++)
		if (client->rings[i].stage == RING_RUNS)
			resume_ring(w, client, i);
	for (int i = 0; i < WORLD_SUBS; i++)
		if ((client->subs[i].stage == SUB_RUNS || client->subs[i].stage == SUB_OPENS) && client->subs[i].is_opened)
			resume_sub(w, client, i);
	CALL(w, client, HBUS_MSG_RESUMED, -1, -1, -1, struct hbus_msg_simple, {{0}});
}

/* ---- what becomes of a ring and a subscriber ---- */

static void ring_forget(struct client_ring *ring)
{
	memset(ring, 0, sizeof(*ring));
	for (int i = 0; i < WORLD_TOPICS; i++) {
		ring->topics[i].name = -1;
		ring->topics[i].is_wanted = -1;
	}
}

static void sub_forget(struct client_sub *sub)
{
	memset(sub, 0, sizeof(*sub));
	for (int i = 0; i < WORLD_FILTERS; i++)
		sub->filters[i].text = -1;
}

/* The answer will not come. What is asked again and what is not: as no_retry says in ctl/client. */
static void call_lost(struct client *client, const struct call *lost)
{
	struct client_ring *ring = lost->ring >= 0 ? &client->rings[lost->ring] : NULL;
	struct client_sub *sub = lost->sub >= 0 ? &client->subs[lost->sub] : NULL;

	switch (lost->type) {
	case HBUS_MSG_RING_CREATE:
	case HBUS_MSG_RING_MAPPED:
	case HBUS_MSG_RING_CLOSE:
		ring_forget(ring);
		break;
	case HBUS_MSG_RING_TOPIC_ADD:
		ring->topics[lost->item].is_called = false;
		break;
	case HBUS_MSG_SUB_OPEN:
		sub->is_called = false;
		break;
	case HBUS_MSG_SUB_FILTER_ADD:
	case HBUS_MSG_SUB_FILTER_REMOVE:
		if (lost->item >= 0)
			sub->filters[lost->item].is_called = false;
		break;
	case HBUS_MSG_SUB_CLOSE:
		sub_forget(sub);
		break;
	default:
		break;
	}
}

static void link_lost(struct client *client)
{
	struct call lost[WORLD_CALLS];

	if (client->conn)
		client->conn->client = NULL;
	client->conn = NULL;
	client->link = LINK_DOWN;
	for (int i = 0; i < WORLD_RINGS; i++)
		for (int k = 0; k < WORLD_GATES; k++)
			client->rings[i].gates[k].is_unclaimed = true;
	memcpy(lost, client->calls, sizeof(lost));
	memset(client->calls, 0, sizeof(client->calls));
	for (int i = 0; i < WORLD_CALLS; i++)
		if (lost[i].serial)
			call_lost(client, &lost[i]);
}

void client_drop_link(struct client *client)
{
	if (client->conn)
		link_lost(client);
}

void client_die(struct world *w, struct client *client)
{
	if (client->conn)
		client->conn->client = NULL;
	for (struct conn *conn = w->conns; conn; conn = conn->next)
		if (conn->process == client->process)
			conn->is_process_alive = false;
	memset(client, 0, sizeof(*client));
	w->n_deaths++;
}

void client_begin(struct world *w, struct client *client, uid_t uid)
{
	memset(client, 0, sizeof(*client));
	client->process = ++w->next_process;
	client->uid = uid;
	for (int i = 0; i < WORLD_RINGS; i++)
		ring_forget(&client->rings[i]);
	for (int i = 0; i < WORLD_SUBS; i++)
		sub_forget(&client->subs[i]);
}

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
		resume(w, client);
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
		ring_forget(ring);
		break;
	case HBUS_MSG_RING_MAPPED:
		if (reply->status != 0) {
			ring_forget(ring);
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

static void on_filter_reply(struct world *w, struct client_filter *filter, const struct call *done,
			    const struct hbus_msg_reply *reply)
{
	filter->is_called = false;
	if (done->type == HBUS_MSG_SUB_FILTER_REMOVE || reply->status != 0) {
		filter->text = -1;
		return;
	}
	filter->is_confirmed = true;
	if (filter->confirmed_at == 0)
		filter->confirmed_at = w->step;
	filter->covers_from = reply->value[2];
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
			sub_forget(sub);
		break;
	case HBUS_MSG_SUB_SLOTS:
		sub->memfd_said[done->item] = is_fine;
		if (!is_fine && done->item == 0)
			sub->stage = SUB_CLOSES;
		break;
	case HBUS_MSG_SUB_FILTER_ADD:
	case HBUS_MSG_SUB_FILTER_REMOVE:
		if (done->item >= 0)
			on_filter_reply(w, &sub->filters[done->item], done, reply);
		break;
	case HBUS_MSG_SUB_CLOSE:
		sub_forget(sub);
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
	if (!may_be && (flags & HBUS_OPENED_FROM_START))
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
				     !(msg->flags & HBUS_OPENED_NO_SLOT), false};
	if (sub->n_met < sizeof(sub->met) / sizeof(sub->met[0]))
		sub->met[sub->n_met++] = msg->geometry.ring_id;
	for (int i = 0; i < WORLD_HELD; i++)
		n_held += sub->held[i].ring_id != 0;
	for (uint32_t i = 0; i < sub->n_memfds; i++)
		n_slots += slots_of(i);
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
	struct client_sub *sub = find_sub(client, msg->sub_id, &idx);
	struct client_held *held = sub ? find_held(sub, msg->ring_id) : NULL;

	if (!sub)
		return;
	if (sub->stage == SUB_CLOSES)
		say_done(w, client, sub, msg->ring_id);
	else if (held)
		held->is_ended = true;
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
		link_lost(client);
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

/* ---- what a program does with the library ---- */

static void make_ring(struct world *w, struct client *client, int ring)
{
	struct hbus_msg_ring_create msg = {.capacity = HBUS_RING_CAPACITY_MIN};
	struct client_ring *at = &client->rings[ring];

	ring_forget(at);
	at->stage = RING_ASKED;
	at->asked_at = w->step;
	at->topics[0].name = (int)world_random(w, WORLD_N_TOPICS);
	strcpy(msg.first_topic, world_topics[at->topics[0].name]);
	call(w, client, &msg, HBUS_MSG_RING_CREATE, sizeof(msg), NULL, 0, ring, -1, -1);
}

static void close_ring(struct world *w, struct client *client, int ring)
{
	for (int i = 0; i < WORLD_CALLS; i++)
		if (client->calls[i].serial && client->calls[i].ring == ring)
			return; /* one thread: it is in another call */
	client->rings[ring].stage = RING_CLOSES;
	CALL(w, client, HBUS_MSG_RING_CLOSE, ring, -1, -1, struct hbus_msg_ring,
	     {.ring_id = client->rings[ring].geometry.ring_id});
}

static bool has_topic(const struct client_ring *ring, int name)
{
	for (int i = 0; i < WORLD_TOPICS; i++)
		if (ring->topics[i].name == name)
			return true;
	return false;
}

static void ring_act(struct world *w, struct client *client, int ring, bool may_begin)
{
	struct client_ring *at = &client->rings[ring];
	int item = (int)world_random(w, WORLD_TOPICS), name = (int)world_random(w, WORLD_N_TOPICS);
	struct client_topic *topic = &at->topics[item];

	if (at->stage == RING_CLOSES) /* refused by a daemon that does not know it */
		close_ring(w, client, ring);
	else if (at->stage == RING_FREE && may_begin)
		make_ring(w, client, ring);
	else if (at->stage != RING_RUNS)
		return;
	else if (topic->name >= 0 && !topic->is_said && !topic->is_called)
		say_topic(w, client, ring, item);
	else if (topic->name < 0 && may_begin && !has_topic(at, name)) {
		*topic = (struct client_topic){.name = name, .is_wanted = -1};
		say_topic(w, client, ring, item);
	} else if (may_begin && world_random(w, 6) == 0)
		close_ring(w, client, ring);
}

static void give_back(struct world *w, struct client *client, struct client_sub *sub, struct client_held *held)
{
	if (!held->is_ended && sub->n_left < WORLD_HELD)
		sub->left[sub->n_left++] = held->ring_id;
	say_done(w, client, sub, held->ring_id);
	held->ring_id = 0;
}

static void close_sub(struct world *w, struct client *client, int sub)
{
	struct client_sub *at = &client->subs[sub];

	for (int i = 0; i < WORLD_CALLS; i++)
		if (client->calls[i].serial && client->calls[i].sub == sub)
			return;
	at->stage = SUB_CLOSES;
	for (int i = 0; i < WORLD_HELD; i++)
		if (at->held[i].ring_id && at->held[i].is_ended)
			say_done(w, client, at, at->held[i].ring_id);
	CALL(w, client, HBUS_MSG_SUB_CLOSE, -1, sub, -1, struct hbus_msg_sub_close, {.sub_id = at->id});
}

static void filter_act(struct world *w, struct client *client, int sub, int item, bool may_begin)
{
	struct client_filter *filter = &client->subs[sub].filters[item];
	int text = (int)world_random(w, WORLD_N_FILTERS);

	if (filter->is_called)
		return;
	if (filter->text < 0) {
		for (int i = 0; i < WORLD_FILTERS; i++)
			may_begin &= client->subs[sub].filters[i].text != text;
		if (!may_begin)
			return;
		*filter = (struct client_filter){.text = text};
		if (!client->subs[sub].first_said[text])
			client->subs[sub].first_said[text] = w->step;
		say_filter(w, client, HBUS_MSG_SUB_FILTER_ADD, sub, item);
	} else if (filter->is_going || (may_begin && filter->is_confirmed && world_random(w, 4) == 0)) {
		filter->is_going = true;
		say_filter(w, client, HBUS_MSG_SUB_FILTER_REMOVE, sub, item);
	} else if (!filter->is_confirmed) {
		say_filter(w, client, HBUS_MSG_SUB_FILTER_ADD, sub, item);
	}
}

static void open_sub(struct world *w, struct client *client, int sub)
{
	struct client_sub *at = &client->subs[sub];

	sub_forget(at);
	at->stage = SUB_OPENS;
	at->id = ++client->next_sub;
	at->flags = world_random(w, 4);
	at->n_memfds = 1;
	say_open(w, client, sub);
}

/* It was said to be opened; its slots come next, then it belongs to the program. */
static void go_on_opening(struct world *w, struct client *client, int sub)
{
	struct client_sub *at = &client->subs[sub];

	if (at->is_called)
		return;
	if (!at->is_opened) {
		say_open(w, client, sub);
		return;
	}
	at->stage = SUB_RUNS;
	say_slots(w, client, sub, 0);
}

static void sub_act(struct world *w, struct client *client, int sub, bool may_begin)
{
	struct client_sub *at = &client->subs[sub];
	struct client_held *held = &at->held[world_random(w, WORLD_HELD)];

	for (int i = 0; i < WORLD_HELD && !held->is_ended; i++)
		if (at->held[i].ring_id && at->held[i].is_ended)
			held = &at->held[i];
	switch (at->stage) {
	case SUB_FREE:
		if (may_begin)
			open_sub(w, client, sub);
		break;
	case SUB_OPENS:
		go_on_opening(w, client, sub);
		break;
	case SUB_RUNS:
		if (held->ring_id && (held->is_ended || (may_begin && world_random(w, 10) == 0)))
			give_back(w, client, at, held);
		else if (may_begin && world_random(w, 40) == 0)
			close_sub(w, client, sub);
		else
			filter_act(w, client, sub, (int)world_random(w, WORLD_FILTERS), may_begin);
		break;
	case SUB_CLOSES:
		break;
	}
}

static void connect_again(struct world *w, struct client *client)
{
	static const struct hbus_token zero;

	client->conn = world_connect(w, client);
	if (memcmp(&client->token, &zero, sizeof(zero)) == 0)
		for (int i = 0; i < WORLD_RINGS; i++)
			ring_forget(&client->rings[i]);
	say_hello(w, client);
}

void client_act(struct world *w, struct client *client, bool may_begin)
{
	if (client->link == LINK_DOWN) {
		if (w->state && !client->conn)
			connect_again(w, client);
	} else if (client->link == LINK_UP) {
		if (world_random(w, 2))
			ring_act(w, client, (int)world_random(w, WORLD_RINGS), may_begin);
		else
			sub_act(w, client, (int)world_random(w, WORLD_SUBS), may_begin);
	}
}
