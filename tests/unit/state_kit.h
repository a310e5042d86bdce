/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What tests of the daemon's state machine say to it, and what they read in its answers
 *
 * One simulated daemon a test (sim.h), begun and ended by kit_begin() and kit_end(); each client has one subscriber, SUB.
 */
#pragma once

#include <criterion/criterion.h>

#include "ctl/daemon/state_int.h"
#include "tests/unit/sim.h"

#define ALICE 1000
#define BOB 1001
#define SUB 1 /* a client's only subscriber */

static struct sim sim;

static inline void hello_with(struct sim_client *client, uint32_t flags, const struct hbus_token *token)
{
	struct hbus_msg_hello msg = { .major = HBUS_PROTO_MAJOR, .flags = flags, .name = "test" };

	if (token)
		msg.token = *token;
	sim_message(&sim, client, &msg, HBUS_MSG_HELLO, sizeof(msg), 0, 0);
}

static inline struct sim_client *join(uid_t uid)
{
	struct sim_client *client = sim_connect(&sim, uid);

	hello_with(client, HBUS_CLIENT_WANTS_INTEREST, NULL);
	cr_assert_not_null(sim_next(client, HBUS_MSG_REPLY));
	return client;
}

static inline struct hbus_token token_of(const struct sim_client *client)
{
	const struct hbus_msg_reply *reply = (const void *)client->inbox[0].bytes;

	return reply->token;
}

static inline int status_of(struct sim_client *client, uint32_t serial)
{
	const struct hbus_msg_reply *reply = sim_reply(client, serial);

	return reply ? reply->status : 1;
}

static inline struct hbus_msg_ring_grant grant_ring(struct sim_client *client, const char *topic)
{
	struct hbus_msg_ring_create msg = { .capacity = HBUS_RING_CAPACITY_MIN };
	const struct hbus_msg_ring_grant *grant;

	strcpy(msg.first_topic, topic);
	sim_message(&sim, client, &msg, HBUS_MSG_RING_CREATE, sizeof(msg), 0, 0);
	grant = sim_next(client, HBUS_MSG_RING_GRANT);
	cr_assert_not_null(grant);
	return *grant;
}

static inline uint32_t say_ring(struct sim_client *client, enum hbus_msg_type type, uint64_t ring_id,
				uint32_t sub_id)
{
	return SIM_REQUEST(&sim, client, type, 0, struct hbus_msg_ring,
			   { .ring_id = ring_id, .sub_id = sub_id });
}

/* Its publisher has the ring; it is told so when those who wait for it have their gates. */
static inline struct hbus_msg_ring_grant map_ring(struct sim_client *client, const char *topic)
{
	struct hbus_msg_ring_grant grant = grant_ring(client, topic);

	say_ring(client, HBUS_MSG_RING_MAPPED, grant.geometry.ring_id, 0);
	return grant;
}

/* A ring that runs; nobody subscribes yet. */
static inline struct hbus_msg_ring_grant open_ring(struct sim_client *client, const char *topic)
{
	struct hbus_msg_ring_grant grant = map_ring(client, topic);

	cr_assert_eq(status_of(client, client->next_serial), 0);
	return grant;
}

static inline void open_sub_of(struct sim_client *client, uint32_t flags, uint32_t n_slots)
{
	uint32_t serial = SIM_REQUEST(&sim, client, HBUS_MSG_SUB_OPEN, 0, struct hbus_msg_sub_open,
				      { .sub_id = SUB, .flags = flags });

	cr_assert_eq(status_of(client, serial), 0);
	serial = SIM_REQUEST(&sim, client, HBUS_MSG_SUB_SLOTS, 1, struct hbus_msg_sub_slots,
			     { .sub_id = SUB, .n_slots = n_slots });
	cr_assert_eq(status_of(client, serial), 0);
}

static inline void open_sub(struct sim_client *client, uint32_t flags)
{
	open_sub_of(client, flags, 4);
}

static inline uint32_t filter(struct sim_client *client, enum hbus_msg_type type, const char *text)
{
	struct hbus_msg_sub_filter msg = { .sub_id = SUB };

	strcpy(msg.filter, text);
	return sim_message(&sim, client, &msg, type, sizeof(msg), 0, 0);
}

static inline uint32_t add_topic(struct sim_client *client, uint64_t ring_id, const char *name)
{
	struct hbus_msg_ring_topic_add msg = { .ring_id = ring_id };

	strcpy(msg.name, name);
	return sim_message(&sim, client, &msg, HBUS_MSG_RING_TOPIC_ADD, sizeof(msg), 0, 0);
}

static inline struct hbus_msg_gate_add gate_add(struct sim_client *client)
{
	const struct hbus_msg_gate_add *add = sim_next(client, HBUS_MSG_GATE_ADD);

	cr_assert_not_null(add, "no GATE_ADD");
	return *add;
}

static inline void answer(struct sim_client *client, enum hbus_msg_type type, uint64_t ring_id,
			  uint64_t gate_id, uint32_t attach_idx, int status)
{
	struct hbus_msg_gate msg = { .ring_id = ring_id, .gate_id = gate_id,
				     .attach_idx = attach_idx, .status = status };

	sim_message(&sim, client, &msg, type, sizeof(msg), 1, 0);
}

static inline void accept_gate(struct sim_client *client)
{
	struct hbus_msg_gate_add add = gate_add(client);

	answer(client, HBUS_MSG_GATE_ADDED, add.ring_id, add.gate_id, add.attach_idx, 0);
}

static inline void accept_ring(struct sim_client *client, uint64_t ring_id, int status)
{
	SIM_REQUEST(&sim, client, HBUS_MSG_RING_ACCEPT, 0, struct hbus_msg_ring_accept,
		    { .ring_id = ring_id, .sub_id = SUB, .status = status });
}

/* A publisher's ring and a subscriber that has it. */
static inline struct hbus_msg_ring_opened pair(struct sim_client *pub, struct sim_client *sub,
					       uint32_t flags, struct hbus_msg_ring_grant *ret_grant)
{
	const struct hbus_msg_ring_opened *opened;

	*ret_grant = open_ring(pub, "a/b");
	open_sub(sub, flags);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/+");
	accept_gate(pub);
	opened = sim_next(sub, HBUS_MSG_RING_OPENED);
	cr_assert_not_null(opened);
	accept_ring(sub, ret_grant->geometry.ring_id, 0);
	return *opened;
}

static inline struct hbus_state_counts counts(void)
{
	struct hbus_state_counts c;

	hbus_state_count(sim.state, &c);
	return c;
}

static inline void kit_begin(void)
{
	sim_init(&sim);
}

static inline void kit_end(void)
{
	sim_deinit(&sim);
}

/* -- rules -- */

static inline void set_rule(const char *text, bool is_allowed, uint32_t id, uint32_t rights)
{
	struct hbus_policy_rule *rule;

	sim.config.rules = realloc(sim.config.rules, (sim.config.n_rules + 1) * sizeof(*rule));
	rule = &sim.config.rules[sim.config.n_rules++];
	*rule = (struct hbus_policy_rule){ is_allowed, HBUS_SUBJECT_UID, id, rights, "" };
	strcpy(rule->filter, text);
	hbus_state_configure(sim.state, &sim.config, sim.now_ns);
}

/* -- who comes back, and to which daemon -- */

static inline void come_back_as(struct sim_client *client, const struct hbus_token *token, uid_t uid)
{
	sim_reconnect(&sim, client, uid);
	hello_with(client, HBUS_CLIENT_WANTS_INTEREST, token);
	cr_assert_eq(status_of(client, client->next_serial), 0);
}

static inline void come_back(struct sim_client *client, const struct hbus_token *token)
{
	come_back_as(client, token, ALICE);
}

static inline void say_held(struct sim_client *client, const struct hbus_msg_ring_opened *opened)
{
	SIM_REQUEST(&sim, client, HBUS_MSG_SUB_HELD, 0, struct hbus_msg_sub_held,
		    { .ring_id = opened->geometry.ring_id, .gate_id = opened->gate_id, .sub_id = SUB,
		      .memfd_idx = opened->memfd_idx, .slot_idx = opened->slot_idx,
		      .attach_idx = opened->attach_idx });
}

static inline uint32_t say_resumed(struct sim_client *client)
{
	return SIM_REQUEST(&sim, client, HBUS_MSG_RESUMED, 0, struct hbus_msg_simple, { { 0 } });
}

static inline void save(void *context, const struct hbus_journal_record *record)
{
	(void)context;
	sim.records[sim.n_records++] = *record;
}

/* The daemon is killed; the next one reads its journal. */
static inline void restart(void)
{
	sim.n_records = 0;
	hbus_state_save(sim.state, save, NULL);
	for (size_t i = 0; i < sim.n_clients; i++)
		sim.clients[i]->member = NULL;
	hbus_state_free(sim.state);
	sim_start(&sim, 2);
	sim.n_rings_gone = 0;
	for (size_t i = 0; i < sim.n_records; i++)
		cr_assert(hbus_state_restore(sim.state, &sim.records[i]), "record %zu", i);
	hbus_state_restored(sim.state, sim.now_ns);
}

static inline uint32_t offer(struct sim_client *pub, const struct hbus_msg_ring_grant *grant)
{
	return SIM_REQUEST(&sim, pub, HBUS_MSG_RING_OFFER, 2, struct hbus_msg_ring_offer,
			   { .geometry = grant->geometry, .token = grant->token });
}
