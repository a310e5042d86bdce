/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients that say what libhugebus says, when it says it; ctl/client is the original. See state_client.h. */
#include "tests/stress/state_client.h"

#include <stdlib.h>
#include <string.h>

/* ---- saying ---- */

void client_send(struct client *client, void *msg, enum hbus_msg_type type, size_t size, uint32_t serial,
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

void client_call(struct world *w, struct client *client, void *msg, enum hbus_msg_type type, size_t size,
		 const struct object *objects, size_t n, int ring, int sub, int item)
{
	uint32_t serial = ++client->serial;

	for (size_t i = 0; i < WORLD_CALLS; i++) {
		if (client->calls[i].serial != 0)
			continue;
		client->calls[i] = (struct call){serial, (uint16_t)type, ring, sub, item};
		client_send(client, msg, type, size, serial, objects, n);
		return;
	}
	world_fail(w, "a client waits for %d replies", WORLD_CALLS);
}

void say_hello(struct world *w, struct client *client)
{
	struct hbus_msg_hello msg = {.major = HBUS_PROTO_MAJOR, .flags = HBUS_CLIENT_WANTS_INTEREST,
				     .token = client->token, .name = "simulated"};

	client->link = LINK_GREETING;
	client_call(w, client, &msg, HBUS_MSG_HELLO, sizeof(msg), NULL, 0, -1, -1, -1);
}

void say_topic(struct world *w, struct client *client, int ring, int item)
{
	struct client_ring *at = &client->rings[ring];
	struct hbus_msg_ring_topic_add msg = {.ring_id = at->geometry.ring_id};

	strcpy(msg.name, world_topics[at->topics[item].name]);
	at->topics[item].is_called = true;
	client_call(w, client, &msg, HBUS_MSG_RING_TOPIC_ADD, sizeof(msg), NULL, 0, ring, -1, item);
}

void say_open(struct world *w, struct client *client, int sub)
{
	struct client_sub *at = &client->subs[sub];

	at->is_called = true;
	CALL(w, client, HBUS_MSG_SUB_OPEN, -1, sub, -1, struct hbus_msg_sub_open, {.sub_id = at->id, .flags = at->flags});
}

uint32_t client_slots_of(uint32_t memfd)
{
	return (uint32_t)WORLD_SLOTS_FIRST << memfd;
}

static struct object slots_object(const struct client *client, const struct client_sub *sub, uint32_t memfd)
{
	return (struct object){OBJECT_SLOTS, memfd, client->process << 16 | sub->id};
}

void say_slots(struct world *w, struct client *client, int sub, uint32_t memfd)
{
	struct client_sub *at = &client->subs[sub];
	struct hbus_msg_sub_slots msg = {.sub_id = at->id, .memfd_idx = memfd, .n_slots = client_slots_of(memfd)};
	struct object object = slots_object(client, at, memfd);

	client_call(w, client, &msg, HBUS_MSG_SUB_SLOTS, sizeof(msg), &object, 1, -1, sub, (int)memfd);
}

void say_filter(struct world *w, struct client *client, enum hbus_msg_type type, int sub, int item)
{
	struct client_filter *filter = &client->subs[sub].filters[item];
	struct hbus_msg_sub_filter msg = {.sub_id = client->subs[sub].id};

	if (type == HBUS_MSG_SUB_FILTER_ADD && client->link == LINK_RESUMING)
		msg.covers_from = filter->covers_from;
	strcpy(msg.filter, world_filters[filter->text]);
	filter->is_called = client->link == LINK_UP;
	client_call(w, client, &msg, type, sizeof(msg), NULL, 0, -1, sub, client->link == LINK_UP ? item : -1);
}

void say_done(struct world *w, struct client *client, const struct client_sub *sub, uint64_t ring_id)
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

	client_call(w, client, &msg, HBUS_MSG_RING_OFFER, sizeof(msg), objects, 2, ring, -1, -1);
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

void client_resume(struct world *w, struct client *client)
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

void client_ring_forget(struct client_ring *ring)
{
	memset(ring, 0, sizeof(*ring));
	for (int i = 0; i < WORLD_TOPICS; i++) {
		ring->topics[i].name = -1;
		ring->topics[i].is_wanted = -1;
	}
}

void client_sub_forget(struct client_sub *sub)
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
		client_ring_forget(ring);
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
		client_sub_forget(sub);
		break;
	default:
		break;
	}
}

void client_link_lost(struct client *client)
{
	struct call lost[WORLD_CALLS];

	if (client->conn)
		client->conn->client = NULL;
	client->conn = NULL;
	client->link = LINK_DOWN;
	for (int i = 0; i < WORLD_RINGS; i++)
		for (int k = 0; k < WORLD_GATES; k++)
			client->rings[i].gates[k].is_unclaimed = true;
	for (int i = 0; i < WORLD_SUBS; i++)
		for (int k = 0; k < WORLD_HELD; k++)
			if (client->subs[i].held[k].is_unwanted) /* it may be wanted by then */
				client->subs[i].held[k].is_ended = client->subs[i].held[k].is_unwanted = false;
	memcpy(lost, client->calls, sizeof(lost));
	memset(client->calls, 0, sizeof(client->calls));
	for (int i = 0; i < WORLD_CALLS; i++)
		if (lost[i].serial)
			call_lost(client, &lost[i]);
}

void client_drop_link(struct client *client)
{
	if (client->conn)
		client_link_lost(client);
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
		client_ring_forget(&client->rings[i]);
	for (int i = 0; i < WORLD_SUBS; i++)
		client_sub_forget(&client->subs[i]);
}
