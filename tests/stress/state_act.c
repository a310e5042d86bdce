/* SPDX-License-Identifier: BSD-3-Clause */
/* What a program does with the library of a simulated client: rings, topics, subscribers, filters; chance decides. */
#include "tests/stress/state_client.h"

#include <string.h>

/* ---- what a program does with the library ---- */

static void make_ring(struct world *w, struct client *client, int ring)
{
	struct hbus_msg_ring_create msg = {.capacity = HBUS_RING_CAPACITY_MIN};
	struct client_ring *at = &client->rings[ring];

	client_ring_forget(at);
	at->stage = RING_ASKED;
	at->asked_at = w->step;
	at->topics[0].name = (int)world_random(w, WORLD_N_TOPICS);
	strcpy(msg.first_topic, world_topics[at->topics[0].name]);
	client_call(w, client, &msg, HBUS_MSG_RING_CREATE, sizeof(msg), NULL, 0, ring, -1, -1);
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
		/* Many subscribe to the same again. */
		if (filter->last > 0 && world_random(w, 2))
			text = filter->last - 1;
		for (int i = 0; i < WORLD_FILTERS; i++)
			may_begin &= client->subs[sub].filters[i].text != text;
		if (!may_begin)
			return;
		*filter = (struct client_filter){.text = text, .last = text + 1};
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

	client_sub_forget(at);
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
		/* One thread polls, another may subscribe meanwhile. */
		if (held->ring_id && world_random(w, held->is_ended ? 3 : 10) == 0 && (held->is_ended || may_begin))
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
			client_ring_forget(&client->rings[i]);
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
