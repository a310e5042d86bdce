/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any sequence of messages, hangups, deaths and passing time against the daemon's state machine
 *
 * The input is a program: each step takes an operation, a client, and small numbers that become ring
 * ids, subscriber ids, topics and so on, so that most messages mean something. Half of the gates and
 * rings that the daemon asks for are answered as an honest client does. At the end everybody goes, and
 * nothing may be left; the accounts assert that by themselves.
 */
#include <stdint.h>
#include <stdio.h>

#include "tests/unit/sim.h"

#define N_CLIENTS 5

struct program {
	const uint8_t *data;
	size_t size;
	struct sim *sim;
	struct sim_client *clients[N_CLIENTS];
	struct hbus_token tokens[N_CLIENTS];
	struct hbus_msg_ring_grant grants[8];
	struct hbus_msg_ring_opened opened[8];
	size_t n_grants, n_opened;
	uint32_t boot_number;
};

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static uint8_t next(struct program *p)
{
	if (p->size == 0)
		return 0;
	p->size--;
	return *p->data++;
}

static void topic_of(struct program *p, char *topic, bool is_filter)
{
	static const char *const names[] = { "a", "a/b", "a/c", "b", "$x", "b/c/d", "a#", "" };
	static const char *const filters[] = { "a", "a/b", "#", "+/c", "$x", "a/#", "+", "b/+/d" };
	uint8_t i = next(p);

	if (is_filter && (i & 0x80))
		strcpy(topic, filters[i & 7]);
	else
		strcpy(topic, names[i & 7]);
}

/* What an honest client does with what it was sent. */
static void answer(struct program *p, struct sim_client *client, size_t idx)
{
	while (client->member && client->n_read < client->n_inbox) {
		struct sim_message copy = client->inbox[client->n_read++];
		const struct hbus_msg_header *header = (const void *)copy.bytes;

		if (header->type == HBUS_MSG_REPLY) {
			const struct hbus_msg_reply *reply = (const void *)copy.bytes;

			if (reply->request_type == HBUS_MSG_HELLO && reply->status == 0)
				p->tokens[idx] = reply->token;
		} else if (header->type == HBUS_MSG_GATE_ADD) {
			const struct hbus_msg_gate_add *add = (const void *)copy.bytes;
			struct hbus_msg_gate gate = { .ring_id = add->ring_id,
						      .gate_id = add->gate_id,
						      .attach_idx = add->attach_idx };

			sim_message(p->sim, client, &gate, HBUS_MSG_GATE_ADDED, sizeof(gate),
				    header->serial, 0);
		} else if (header->type == HBUS_MSG_GATE_REMOVE) {
			struct hbus_msg_gate gate = *(const struct hbus_msg_gate *)(const void *)copy.bytes;

			sim_message(p->sim, client, &gate, HBUS_MSG_GATE_REMOVED, sizeof(gate),
				    header->serial, 0);
		} else if (header->type == HBUS_MSG_RING_GRANT) {
			p->grants[p->n_grants++ % 8] = *(const struct hbus_msg_ring_grant *)(const void *)copy.bytes;
		} else if (header->type == HBUS_MSG_RING_OPENED) {
			p->opened[p->n_opened++ % 8] = *(const struct hbus_msg_ring_opened *)(const void *)copy.bytes;
		}
	}
}

static void ring_message(struct program *p, struct sim_client *client, enum hbus_msg_type type)
{
	const struct hbus_msg_ring_grant *grant = &p->grants[next(p) % 8];
	struct hbus_msg_ring msg = { .ring_id = grant->geometry.ring_id };

	if (type == HBUS_MSG_SUB_RING_DONE)
		msg.sub_id = next(p) % 3;
	sim_message(p->sim, client, &msg, type, sizeof(msg), 0, 0);
}

static void sub_message(struct program *p, struct sim_client *client, enum hbus_msg_type type)
{
	uint32_t id = next(p) % 3;
	struct hbus_msg_sub_filter filter = { .sub_id = id };

	switch (type) {
	case HBUS_MSG_SUB_OPEN:
		SIM_REQUEST(p->sim, client, type, 0, struct hbus_msg_sub_open,
			    { .sub_id = id, .flags = next(p) % 4 });
		break;
	case HBUS_MSG_SUB_SLOTS:
		SIM_REQUEST(p->sim, client, type, 1, struct hbus_msg_sub_slots,
			    { .sub_id = id, .memfd_idx = next(p) % 9, .n_slots = next(p) % 4 });
		break;
	case HBUS_MSG_SUB_CLOSE:
		SIM_REQUEST(p->sim, client, type, 0, struct hbus_msg_sub_close, { .sub_id = id });
		break;
	default:
		topic_of(p, filter.filter, true);
		sim_message(p->sim, client, &filter, type, sizeof(filter), 0, 0);
		break;
	}
}

static void hello(struct program *p, struct sim_client *client, size_t idx)
{
	struct hbus_msg_hello msg = { .major = HBUS_PROTO_MAJOR, .flags = next(p) % 4 };

	if (next(p) & 1)
		msg.token = p->tokens[next(p) & 1 ? idx : next(p) % N_CLIENTS];
	sim_message(p->sim, client, &msg, HBUS_MSG_HELLO, sizeof(msg), 0, 0);
}

static void held(struct program *p, struct sim_client *client)
{
	const struct hbus_msg_ring_opened *opened = &p->opened[next(p) % 8];

	SIM_REQUEST(p->sim, client, HBUS_MSG_SUB_HELD, 0, struct hbus_msg_sub_held,
		    { .ring_id = opened->geometry.ring_id, .gate_id = opened->gate_id,
		      .sub_id = opened->sub_id, .memfd_idx = opened->memfd_idx,
		      .slot_idx = opened->slot_idx, .attach_idx = opened->attach_idx });
}

static void accept_ring(struct program *p, struct sim_client *client)
{
	const struct hbus_msg_ring_opened *opened = &p->opened[next(p) % 8];

	SIM_REQUEST(p->sim, client, HBUS_MSG_RING_ACCEPT, 0, struct hbus_msg_ring_accept,
		    { .ring_id = opened->geometry.ring_id, .sub_id = opened->sub_id,
		      .status = next(p) % 4 == 0 });
}

static void offer(struct program *p, struct sim_client *client)
{
	const struct hbus_msg_ring_grant *grant = &p->grants[next(p) % 8];

	SIM_REQUEST(p->sim, client, HBUS_MSG_RING_OFFER, 2, struct hbus_msg_ring_offer,
		    { .geometry = grant->geometry, .token = grant->token });
}

static void create(struct program *p, struct sim_client *client)
{
	struct hbus_msg_ring_create msg = { .flags = next(p) % 8 };

	topic_of(p, msg.first_topic, false);
	sim_message(p->sim, client, &msg, HBUS_MSG_RING_CREATE, sizeof(msg), 0, 0);
}

static void topic_add(struct program *p, struct sim_client *client)
{
	struct hbus_msg_ring_topic_add msg = {
		.ring_id = p->grants[next(p) % 8].geometry.ring_id };

	topic_of(p, msg.name, false);
	sim_message(p->sim, client, &msg, HBUS_MSG_RING_TOPIC_ADD, sizeof(msg), 0, 0);
}

static void declare(struct program *p, struct sim_client *client)
{
	enum hbus_msg_type type = next(p) & 1 ? HBUS_MSG_TOPIC_DECLARE : HBUS_MSG_TOPIC_REMOVE;
	struct hbus_msg_topic msg = { .flags = 0 };

	topic_of(p, msg.name, false);
	sim_message(p->sim, client, &msg, type, sizeof(msg), 0, 0);
}

static void route(struct program *p, struct sim_client *client)
{
	enum hbus_msg_type type = next(p) & 1 ? HBUS_MSG_ROUTE_ADD : HBUS_MSG_ROUTE_REMOVE;
	struct hbus_msg_route msg = {
		.route = { .family = 4, .port = next(p) % 2, .kind = next(p) % 4 } };

	if (msg.route.kind != HBUS_ROUTE_BATCH)
		topic_of(p, msg.route.topic, false);
	if (msg.route.kind == HBUS_ROUTE_BATCH_TOPIC)
		msg.route.number = next(p) % 2;
	sim_message(p->sim, client, &msg, type, sizeof(msg), 0, 0);
}

static void garbage(struct program *p, struct sim_client *client)
{
	_Alignas(8) char frame[HBUS_MSG_SIZE_MAX + 8] = { 0 };
	size_t size = (size_t)next(p) * 5 % sizeof(frame);
	int fds[4] = { -1 };
	size_t n_fds = next(p) % 5;

	for (size_t i = 0; i < size && i < 40; i++)
		frame[i] = (char)next(p);
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	client->member = hbus_state_message(p->sim->state, client->member, frame, size, fds, n_fds,
					    p->sim->now_ns);
}

static void simple(struct program *p, struct sim_client *client, enum hbus_msg_type type)
{
	struct hbus_msg_simple msg;

	sim_message(p->sim, client, &msg, type, sizeof(msg), 0, 0);
}

static void list(struct program *p, struct sim_client *client)
{
	SIM_REQUEST(p->sim, client, HBUS_MSG_LIST, 0, struct hbus_msg_list,
		    { .kind = next(p) % 11, .cursor = next(p) % 3 });
}

/* The administrator changes the rules, the topics and the quotas. */
static void configure(struct program *p)
{
	struct hbus_config *config = &p->sim->config;
	uint8_t dice = next(p);

	if (!config->rules) {
		config->rules = calloc(2, sizeof(*config->rules));
		config->topics = calloc(1, sizeof(*config->topics));
		require(config->rules && config->topics);
	}
	config->rules[0] = (struct hbus_policy_rule){ dice & 1, HBUS_SUBJECT_UID, 1000,
						      HBUS_RIGHT_SUBSCRIBE | HBUS_RIGHT_RELIABLE, "a/#" };
	config->rules[1] = (struct hbus_policy_rule){ dice & 2, HBUS_SUBJECT_ANY, 0,
						      dice >> 4, "a/+" };
	config->n_rules = dice >> 2 & 3;
	config->n_rules = config->n_rules > 2 ? 2 : config->n_rules;
	strcpy(config->topics[0].name, "b");
	config->topics[0].is_hot = dice & 0x40;
	config->n_topics = dice >> 7;
	config->quota.limits.max[HBUS_QUOTA_RINGS] = dice & 0x20 ? 2 : 4096;
	hbus_state_configure(p->sim->state, config, p->sim->now_ns);
}

static void connected_step(struct program *p, struct sim_client *client, size_t idx, uint8_t op)
{
	switch (op) {
	case 0: hello(p, client, idx); break;
	case 1: create(p, client); break;
	case 2: ring_message(p, client, HBUS_MSG_RING_MAPPED); break;
	case 3: topic_add(p, client); break;
	case 4: ring_message(p, client, HBUS_MSG_RING_CLOSE); break;
	case 5: offer(p, client); break;
	case 6: sub_message(p, client, HBUS_MSG_SUB_OPEN); break;
	case 7: sub_message(p, client, HBUS_MSG_SUB_SLOTS); break;
	case 8: case 9: sub_message(p, client, HBUS_MSG_SUB_FILTER_ADD); break;
	case 10: sub_message(p, client, HBUS_MSG_SUB_FILTER_REMOVE); break;
	case 11: sub_message(p, client, HBUS_MSG_SUB_CLOSE); break;
	case 12: held(p, client); break;
	case 13: ring_message(p, client, HBUS_MSG_SUB_RING_DONE); break;
	case 14: route(p, client); break;
	case 15: list(p, client); break;
	case 16: SIM_REQUEST(p->sim, client, HBUS_MSG_COUNTERS_OFFER, 1,
			     struct hbus_msg_counters_offer, { .name = "c" }); break;
	case 17: simple(p, client, HBUS_MSG_RESUMED); break;
	case 18: case 19: accept_ring(p, client); break;
	case 20: declare(p, client); break;
	case 21: garbage(p, client); break;
	case 22: sim_hangup(p->sim, client); break;
	case 23: sim_die(p->sim, client); break;
	case 24: simple(p, client, HBUS_MSG_RELOAD); break;
	case 25: configure(p); break;
	default: answer(p, client, idx); break;
	}
}

static void restore(void *context, const struct hbus_journal_record *record)
{
	struct sim *sim = context;

	sim->records[sim->n_records++ % SIM_RECORDS_MAX] = *record;
}

/* The daemon is killed and starts again with what its journal says. */
static void restart(struct program *p)
{
	struct sim *sim = p->sim;

	sim->n_records = 0;
	hbus_state_save(sim->state, restore, sim);
	for (size_t i = 0; i < N_CLIENTS; i++)
		p->clients[i]->member = NULL;
	hbus_state_free(sim->state);
	sim_start(sim, ++p->boot_number);
	for (size_t kind = HBUS_RECORD_TOPIC; kind <= HBUS_RECORD_ROUTE; kind++)
		for (size_t i = 0; i < sim->n_records && i < SIM_RECORDS_MAX; i++)
			if (sim->records[i].kind == kind)
				hbus_state_restore(sim->state, &sim->records[i]);
	hbus_state_restored(sim->state, sim->now_ns);
	sim->n_records = 0;
}

static void step(struct program *p)
{
	uint8_t op = next(p), who = next(p);
	size_t idx = who % N_CLIENTS;
	struct sim_client *client = p->clients[idx];

	if (op == 0xff)
		restart(p);
	else if (op >= 0xf8)
		sim_tick(p->sim, (uint64_t)(op & 7) * 300);
	else if (client->member)
		connected_step(p, client, idx, op % 32);
	else {
		sim_reconnect(p->sim, client, who & 0x80 ? 0 : 1000 + (who >> 6 & 1));
		if (client->member)
			hello(p, client, idx);
	}
}

static void leave(struct program *p)
{
	struct hbus_state_counts counts;

	for (size_t i = 0; i < N_CLIENTS; i++)
		if (p->clients[i]->member)
			sim_die(p->sim, p->clients[i]);
	sim_tick(p->sim, 10000);
	sim_tick(p->sim, 10000);
	hbus_state_count(p->sim->state, &counts);
	if (counts.n_members + counts.n_rings + counts.n_subscribers + counts.n_attachments +
	    counts.n_pending)
		fprintf(stderr, "left: members %zu rings %zu subscribers %zu attachments %zu pending %zu\n",
			counts.n_members, counts.n_rings, counts.n_subscribers,
			counts.n_attachments, counts.n_pending);
	require(counts.n_members == 0 && counts.n_rings == 0 && counts.n_subscribers == 0);
	require(counts.n_attachments == 0 && counts.n_pending == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	struct program p = { .data = data, .size = size, .sim = sim, .boot_number = 1 };

	require(sim != NULL);
	sim_init(sim);
	for (size_t i = 0; i < N_CLIENTS; i++)
		p.clients[i] = sim_connect(sim, i < 2 ? 0 : 1000);
	while (p.size > 0)
		step(&p);
	leave(&p);
	sim_deinit(sim);
	free(sim);
	return 0;
}
