/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's state machine on the test's clock: who is told what, in which order, and who waits. */
#include <criterion/criterion.h>

#include "ctl/daemon/state_int.h"
#include "tests/unit/sim.h"

#define ALICE 1000
#define BOB 1001

static struct sim sim;

static void hello_with(struct sim_client *client, uint32_t flags, const struct hbus_token *token)
{
	struct hbus_msg_hello msg = { .major = HBUS_PROTO_MAJOR, .flags = flags, .name = "test" };

	if (token)
		msg.token = *token;
	sim_message(&sim, client, &msg, HBUS_MSG_HELLO, sizeof(msg), 0, 0);
}

static struct sim_client *join(uid_t uid)
{
	struct sim_client *client = sim_connect(&sim, uid);

	hello_with(client, HBUS_CLIENT_WANTS_INTEREST, NULL);
	cr_assert_not_null(sim_next(client, HBUS_MSG_REPLY));
	return client;
}

static struct hbus_token token_of(const struct sim_client *client)
{
	const struct hbus_msg_reply *reply = (const void *)client->inbox[0].bytes;

	return reply->token;
}

static int status_of(struct sim_client *client, uint32_t serial)
{
	const struct hbus_msg_reply *reply = sim_reply(client, serial);

	return reply ? reply->status : 1;
}

static struct hbus_msg_ring_grant grant_ring(struct sim_client *client, const char *topic)
{
	struct hbus_msg_ring_create msg = { .capacity = 65536 };
	const struct hbus_msg_ring_grant *grant;

	strcpy(msg.first_topic, topic);
	sim_message(&sim, client, &msg, HBUS_MSG_RING_CREATE, sizeof(msg), 0, 0);
	grant = sim_next(client, HBUS_MSG_RING_GRANT);
	cr_assert_not_null(grant);
	return *grant;
}

static uint32_t say_ring(struct sim_client *client, enum hbus_msg_type type, uint64_t ring_id,
			 uint32_t sub_id)
{
	return SIM_REQUEST(&sim, client, type, 0, struct hbus_msg_ring,
			   { .ring_id = ring_id, .sub_id = sub_id });
}

/* A ring that runs; nobody subscribes yet. */
static struct hbus_msg_ring_grant open_ring(struct sim_client *client, const char *topic)
{
	struct hbus_msg_ring_grant grant = grant_ring(client, topic);
	uint32_t serial = say_ring(client, HBUS_MSG_RING_MAPPED, grant.geometry.ring_id, 0);

	cr_assert_eq(status_of(client, serial), 0);
	return grant;
}

static void open_sub(struct sim_client *client, uint32_t flags)
{
	uint32_t serial = SIM_REQUEST(&sim, client, HBUS_MSG_SUB_OPEN, 0, struct hbus_msg_sub_open,
				      { .sub_id = 1, .flags = flags });

	cr_assert_eq(status_of(client, serial), 0);
	serial = SIM_REQUEST(&sim, client, HBUS_MSG_SUB_SLOTS, 1, struct hbus_msg_sub_slots,
			     { .sub_id = 1, .n_slots = 4 });
	cr_assert_eq(status_of(client, serial), 0);
}

static uint32_t filter(struct sim_client *client, enum hbus_msg_type type, const char *text)
{
	struct hbus_msg_sub_filter msg = { .sub_id = 1 };

	strcpy(msg.filter, text);
	return sim_message(&sim, client, &msg, type, sizeof(msg), 0, 0);
}

static uint32_t add_topic(struct sim_client *client, uint64_t ring_id, const char *name)
{
	struct hbus_msg_ring_topic_add msg = { .ring_id = ring_id };

	strcpy(msg.name, name);
	return sim_message(&sim, client, &msg, HBUS_MSG_RING_TOPIC_ADD, sizeof(msg), 0, 0);
}

static struct hbus_msg_gate_add gate_add(struct sim_client *client)
{
	const struct hbus_msg_gate_add *add = sim_next(client, HBUS_MSG_GATE_ADD);

	cr_assert_not_null(add, "no GATE_ADD");
	return *add;
}

static void answer(struct sim_client *client, enum hbus_msg_type type, uint64_t ring_id,
		   uint64_t gate_id, uint32_t attach_idx, int status)
{
	struct hbus_msg_gate msg = { .ring_id = ring_id, .gate_id = gate_id,
				     .attach_idx = attach_idx, .status = status };

	sim_message(&sim, client, &msg, type, sizeof(msg), 1, 0);
}

static void accept_gate(struct sim_client *client)
{
	struct hbus_msg_gate_add add = gate_add(client);

	answer(client, HBUS_MSG_GATE_ADDED, add.ring_id, add.gate_id, add.attach_idx, 0);
}

static void accept_ring(struct sim_client *client, uint64_t ring_id, int status)
{
	SIM_REQUEST(&sim, client, HBUS_MSG_RING_ACCEPT, 0, struct hbus_msg_ring_accept,
		    { .ring_id = ring_id, .sub_id = 1, .status = status });
}

/* A publisher's ring and a subscriber that has it. */
static struct hbus_msg_ring_opened pair(struct sim_client *pub, struct sim_client *sub,
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

static struct hbus_state_counts counts(void)
{
	struct hbus_state_counts c;

	hbus_state_count(sim.state, &c);
	return c;
}

static void setup(void)
{
	sim_init(&sim);
}

static void teardown(void)
{
	sim_deinit(&sim);
}

TestSuite(state, .init = setup, .fini = teardown);

/* ---- the order of things ---- */

Test(state, hello_comes_first_and_once)
{
	struct sim_client *client = sim_connect(&sim, ALICE);

	SIM_REQUEST(&sim, client, HBUS_MSG_RESUMED, 0, struct hbus_msg_simple, { { 0 } });
	cr_assert(client->is_disconnected);
	client = join(ALICE);
	hello_with(client, 0, NULL);
	cr_assert(client->is_disconnected);
	cr_assert_eq(counts().n_protocol_errors, 2);
	cr_assert_eq(counts().n_members, 0);
}

Test(state, another_major_version_is_refused)
{
	struct sim_client *client = sim_connect(&sim, ALICE);
	struct hbus_msg_hello msg = { .major = HBUS_PROTO_MAJOR + 1 };

	sim_message(&sim, client, &msg, HBUS_MSG_HELLO, sizeof(msg), 0, 0);
	cr_assert_eq(status_of(client, 1), HBUS_E_VERSION);
	cr_assert(client->is_disconnected);
}

Test(state, a_daemon_that_stops_ends_nothing_for_those_who_live_on)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	size_t n_told;

	pair(pub, sub, HBUS_SUB_RELIABLE, &grant);
	n_told = pub->n_inbox + sub->n_inbox;
	hbus_state_free(sim.state);
	sim_start(&sim, 2);
	cr_assert_eq(pub->n_inbox + sub->n_inbox, n_told);
}

Test(state, a_new_ring_is_announced_only_when_its_gates_are_installed)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_ring_opened *opened;
	uint32_t serial;

	open_sub(sub, HBUS_SUB_RELIABLE);
	cr_assert_eq(status_of(sub, filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/+")), 0);
	grant = grant_ring(pub, "a/b");
	serial = say_ring(pub, HBUS_MSG_RING_MAPPED, grant.geometry.ring_id, 0);
	cr_assert_null(sim_reply(pub, serial));
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	accept_gate(pub);
	cr_assert_eq(status_of(pub, serial), 0);
	opened = sim_next(sub, HBUS_MSG_RING_OPENED);
	cr_assert_not_null(opened);
	cr_assert_eq(opened->flags, HBUS_OPENED_FROM_START);
	cr_assert_lt(opened->attach_idx, HBUS_RING_GATES_MAX);
}

Test(state, the_reply_to_a_filter_follows_the_rings_that_exist)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	const struct hbus_msg_ring_opened *opened;
	const struct hbus_msg_topic_match *match;
	uint32_t serial;

	open_ring(pub, "a/b");
	open_ring(pub, "x");
	open_sub(sub, 0);
	serial = filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/#");
	cr_assert_null(sim_reply(sub, serial));
	accept_gate(pub);
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD));
	match = sim_next(sub, HBUS_MSG_TOPIC_MATCH);
	cr_assert_not_null(match);
	cr_assert_str_eq(match->name, "a/b");
	opened = sim_next(sub, HBUS_MSG_RING_OPENED);
	cr_assert_not_null(opened);
	cr_assert_eq(opened->flags, 0);
	cr_assert_geq(opened->attach_idx, HBUS_RING_GATES_MAX);
	cr_assert_eq(sim_reply(sub, serial)->value[0], 1);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_REPLY));
}

Test(state, a_publisher_that_does_not_answer_holds_up_lossy_readers_for_a_second)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	const struct hbus_msg_ring_opened *opened;
	struct hbus_msg_gate_add add;
	uint32_t serial;

	open_ring(pub, "a/b");
	open_sub(sub, 0);
	serial = filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/b");
	add = gate_add(pub);
	sim_tick(&sim, 999);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	sim_tick(&sim, 1);
	opened = sim_next(sub, HBUS_MSG_RING_OPENED);
	cr_assert_not_null(opened);
	cr_assert_eq(opened->flags, HBUS_OPENED_NO_SLOT);
	cr_assert_eq(status_of(sub, serial), 0);
	answer(pub, HBUS_MSG_GATE_ADDED, add.ring_id, add.gate_id, add.attach_idx, 0);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_LIVE));
}

Test(state, a_publisher_that_does_not_answer_never_opens_for_reliable_readers)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	uint32_t serial;

	open_ring(pub, "a/b");
	open_sub(sub, HBUS_SUB_RELIABLE);
	serial = filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/b");
	sim_tick(&sim, 2499);
	cr_assert_null(sim_reply(sub, serial));
	sim_tick(&sim, 1);
	cr_assert_eq(sim_reply(sub, serial)->value[0], 0);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	accept_gate(pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	cr_assert_eq(counts().n_pending, 0);
}

/* The daemon may be killed between any two messages, and a ring whose numbers nobody explains is not read. */
Test(state, what_a_ring_carries_is_told_before_the_ring_is_opened)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_ring_topics *topics;
	size_t n_matches = 0, n_topics = 0;

	pair(pub, sub, 0, &grant);
	for (size_t i = 0; i < sub->n_inbox; i++) {
		const struct hbus_msg_header *header = (const void *)sub->inbox[i].bytes;

		n_matches += header->type == HBUS_MSG_TOPIC_MATCH;
		n_topics += header->type == HBUS_MSG_RING_TOPICS;
		if (header->type != HBUS_MSG_RING_OPENED)
			continue;
		cr_assert_eq(n_matches, 1);
		cr_assert_eq(n_topics, 1);
	}
	sub->n_read = 0;
	topics = sim_next(sub, HBUS_MSG_RING_TOPICS);
	cr_assert_eq(topics->ring_id, grant.geometry.ring_id);
	cr_assert_eq(topics->n_ids, 1);
}

Test(state, topics_of_a_ring_are_told_before_the_publisher_may_use_them)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_topic_skip *skip;
	uint32_t serial;

	pair(pub, sub, 0, &grant);
	serial = add_topic(pub, grant.geometry.ring_id, "x");
	cr_assert_eq(status_of(pub, serial), 0);
	skip = sim_next(sub, HBUS_MSG_TOPIC_SKIP);
	cr_assert_not_null(skip);
	cr_assert_eq(skip->n_ids, 1);
	cr_assert_eq(skip->ids[0], sim_reply(pub, serial)->value[0]);
	/* Asked for later, it is said again. */
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "x");
	cr_assert_str_eq(((const struct hbus_msg_topic_match *)sim_next(sub, HBUS_MSG_TOPIC_MATCH))->name,
			 "x");
	filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, "x");
	cr_assert_not_null(sim_next(sub, HBUS_MSG_TOPIC_SKIP));
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_ENDED));
}

Test(state, a_topic_that_brings_a_reader_waits_until_it_has_mapped_the_ring)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant = open_ring(pub, "a");
	uint32_t serial;

	open_sub(sub, HBUS_SUB_RELIABLE);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "b");
	serial = add_topic(pub, grant.geometry.ring_id, "b");
	accept_gate(pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	cr_assert_null(sim_reply(pub, serial));
	accept_ring(sub, grant.geometry.ring_id, 0);
	cr_assert_eq(status_of(pub, serial), 0);
}

/* ---- leaving ---- */

Test(state, a_slot_is_used_again_only_after_reader_and_publisher_are_done_with_it)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened opened = pair(pub, sub, 0, &grant);
	const struct hbus_msg_gate *removal;
	uint32_t serial = filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, "a/+");

	cr_assert_null(sim_reply(sub, serial));
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_REMOVE));
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	cr_assert_eq(removal->gate_id, opened.gate_id);
	cr_assert_eq(counts().n_attachments, 1);
	cr_assert_null(sim_reply(sub, serial));
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	cr_assert_eq(counts().n_attachments, 0);
	cr_assert_eq(status_of(sub, serial), 0);
}

Test(state, closing_a_subscriber_replies_when_all_is_over)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_gate *removal;
	uint32_t serial;

	pair(pub, sub, HBUS_SUB_DOORBELL, &grant);
	serial = SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_CLOSE, 0, struct hbus_msg_sub_close, { .sub_id = 1 });
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	cr_assert_null(sim_reply(sub, serial));
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	cr_assert_eq(status_of(sub, serial), 0);
	cr_assert_eq(counts().n_subscribers, 0);
}

Test(state, a_filter_that_comes_back_while_its_ring_is_being_left_gets_it_again)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_gate *removal;

	pair(pub, sub, 0, &grant);
	filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, "a/+");
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/b");
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	accept_gate(pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
}

Test(state, what_a_publisher_sent_before_its_end_is_kept_for_those_who_have_not_mapped_it)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_ring_event *ended;

	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	grant = grant_ring(pub, "a");
	say_ring(pub, HBUS_MSG_RING_MAPPED, grant.geometry.ring_id, 0);
	accept_gate(pub);
	sim_die(&sim, pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	ended = sim_next(sub, HBUS_MSG_RING_ENDED);
	cr_assert_not_null(ended);
	cr_assert_eq(ended->flags, HBUS_ENDED_PUBLISHER_DIED);
	cr_assert_eq(sim.n_rings_gone, 0);
	accept_ring(sub, grant.geometry.ring_id, 0);
	cr_assert_eq(sim.n_rings_gone, 1);
	cr_assert_eq(counts().n_rings, 1);
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	cr_assert_eq(counts().n_rings, 0);
	cr_assert_eq(counts().n_topics, 0);
}

Test(state, the_memory_of_an_ended_ring_is_kept_for_five_seconds_at_most)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;

	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	grant = grant_ring(pub, "a");
	say_ring(pub, HBUS_MSG_RING_MAPPED, grant.geometry.ring_id, 0);
	accept_gate(pub);
	say_ring(pub, HBUS_MSG_RING_CLOSE, grant.geometry.ring_id, 0);
	sim_tick(&sim, 4999);
	cr_assert_eq(sim.n_rings_gone, 0);
	sim_tick(&sim, 1);
	cr_assert_eq(sim.n_rings_gone, 1);
}

Test(state, the_death_of_a_reader_takes_its_gates_out)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_gate *removal;

	pair(pub, sub, HBUS_SUB_RELIABLE | HBUS_SUB_DOORBELL, &grant);
	sim_die(&sim, sub);
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	cr_assert_eq(counts().n_subscribers, 0);
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	cr_assert_eq(counts().n_attachments, 0);
}

Test(state, a_gate_that_is_installed_for_a_reader_that_died_meanwhile_is_taken_out)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	const struct hbus_msg_gate *removal;
	struct hbus_msg_gate_add add;

	open_ring(pub, "a");
	open_sub(sub, HBUS_SUB_RELIABLE);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a");
	add = gate_add(pub);
	sim_die(&sim, sub);
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_REMOVE));
	answer(pub, HBUS_MSG_GATE_ADDED, add.ring_id, add.gate_id, add.attach_idx, 0);
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	cr_assert_eq(counts().n_attachments, 0);
}

Test(state, a_slot_that_was_given_back_is_used_for_the_next_ring)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;

	SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_OPEN, 0, struct hbus_msg_sub_open, { .sub_id = 1 });
	SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_SLOTS, 1, struct hbus_msg_sub_slots,
		    { .sub_id = 1, .n_slots = 1 });
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	for (int i = 0; i < 3; i++) {
		grant = grant_ring(pub, "a");
		say_ring(pub, HBUS_MSG_RING_MAPPED, grant.geometry.ring_id, 0);
		accept_gate(pub);
		cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
		accept_ring(sub, grant.geometry.ring_id, 0);
		say_ring(pub, HBUS_MSG_RING_CLOSE, grant.geometry.ring_id, 0);
		say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
		cr_assert_eq(counts().n_rings, 0);
	}
}

Test(state, a_number_that_comes_again_for_another_topic_is_told_again)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_topic_match *match;
	uint32_t id;

	pair(pub, sub, 0, &grant);
	id = sim.state->next_topic_id;
	say_ring(pub, HBUS_MSG_RING_CLOSE, grant.geometry.ring_id, 0);
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	cr_assert_eq(counts().n_topics, 0);
	sim.state->next_topic_id = HBUS_TOPIC_ID_MAX; /* as after 2^24 topics */
	cr_assert_eq(id, 1);
	grant = grant_ring(pub, "a/other");
	say_ring(pub, HBUS_MSG_RING_MAPPED, grant.geometry.ring_id, 0);
	accept_gate(pub);
	match = sim_next(sub, HBUS_MSG_TOPIC_MATCH);
	cr_assert_not_null(match);
	cr_assert_eq(match->topic_id, id);
	cr_assert_str_eq(match->name, "a/other");
}

/* ---- limits ---- */

Test(state, the_sixty_fifth_reliable_reader_of_a_ring_gets_no_gate)
{
	struct sim_client *pub = join(0), *sub = join(0);
	uint32_t last = 0;

	open_ring(pub, "a");
	for (uint32_t i = 1; i <= 65; i++) {
		SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_OPEN, 0, struct hbus_msg_sub_open,
			    { .sub_id = i, .flags = HBUS_SUB_RELIABLE });
		SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_SLOTS, 1, struct hbus_msg_sub_slots,
			    { .sub_id = i, .n_slots = 1 });
		last = SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_FILTER_ADD, 0, struct hbus_msg_sub_filter,
				   { .sub_id = i, .filter = "a" });
		if (i <= 64) {
			cr_assert_null(sim_reply(sub, last));
			accept_gate(pub);
		}
		cr_assert_eq(status_of(sub, last), 0);
	}
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD));
}

Test(state, a_reader_without_a_free_slot_waits_for_the_next_memfd)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);

	SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_OPEN, 0, struct hbus_msg_sub_open, { .sub_id = 1 });
	SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_SLOTS, 1, struct hbus_msg_sub_slots,
		    { .sub_id = 1, .n_slots = 1 });
	open_ring(pub, "a");
	open_ring(pub, "b");
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	accept_gate(pub);
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD));
	SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_SLOTS, 1, struct hbus_msg_sub_slots,
		    { .sub_id = 1, .memfd_idx = 1, .n_slots = 2 });
	cr_assert_eq(gate_add(pub).n_slots, 2);
}

Test(state, quotas_refuse_one_ring_more)
{
	struct hbus_msg_ring_create msg = { .capacity = 65536, .first_topic = "a" };
	struct sim_client *pub;
	uint32_t serial;

	sim.config.quota.limits.max[HBUS_QUOTA_RINGS] = 2;
	hbus_state_configure(sim.state, &sim.config, sim.now_ns);
	pub = join(ALICE);
	open_ring(pub, "a");
	open_ring(pub, "b");
	serial = sim_message(&sim, pub, &msg, HBUS_MSG_RING_CREATE, sizeof(msg), 0, 0);
	cr_assert_eq(status_of(pub, serial), HBUS_E_QUOTA);
	cr_assert_eq(counts().n_rings, 2);
}

Test(state, a_ring_that_cannot_be_made_or_sealed_leaves_nothing)
{
	struct hbus_msg_ring_create msg = { .capacity = 65536, .first_topic = "a" };
	struct sim_client *pub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	uint32_t serial;

	sim.ring_status = HBUS_E_NO_HUGEPAGES;
	serial = sim_message(&sim, pub, &msg, HBUS_MSG_RING_CREATE, sizeof(msg), 0, 0);
	cr_assert_eq(status_of(pub, serial), HBUS_E_NO_HUGEPAGES);
	sim.ring_status = 0;
	grant = grant_ring(pub, "a");
	sim.ring_status = HBUS_E_BAD_FD;
	serial = say_ring(pub, HBUS_MSG_RING_MAPPED, grant.geometry.ring_id, 0);
	cr_assert_eq(status_of(pub, serial), HBUS_E_BAD_FD);
	cr_assert_eq(counts().n_rings, 0);
	cr_assert_eq(counts().n_topics, 0);
	cr_assert_eq(sim.n_rings_gone, 1);
}

/* ---- policy ---- */

static void set_rule(const char *text, bool is_allowed, uint32_t id, uint32_t rights)
{
	struct hbus_policy_rule *rule;

	sim.config.rules = realloc(sim.config.rules, (sim.config.n_rules + 1) * sizeof(*rule));
	rule = &sim.config.rules[sim.config.n_rules++];
	*rule = (struct hbus_policy_rule){ is_allowed, HBUS_SUBJECT_UID, id, rights, "" };
	strcpy(rule->filter, text);
	hbus_state_configure(sim.state, &sim.config, sim.now_ns);
}

Test(state, users_do_not_see_each_other_until_a_rule_says_so)
{
	struct sim_client *pub = join(ALICE), *sub = join(BOB);
	uint32_t serial;

	open_ring(pub, "a");
	open_sub(sub, 0);
	serial = filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a");
	cr_assert_eq(status_of(sub, serial), HBUS_E_DENIED);
	serial = filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	cr_assert_eq(status_of(sub, serial), 0);
	cr_assert_eq(sim_reply(sub, serial)->value[1], 1);
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD));
	set_rule("a", true, BOB, HBUS_RIGHT_SUBSCRIBE);
	accept_gate(pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
}

Test(state, to_hold_publishers_back_is_a_right_of_its_own)
{
	struct sim_client *pub = join(ALICE), *sub = join(BOB);

	set_rule("a", true, BOB, HBUS_RIGHT_SUBSCRIBE);
	open_ring(pub, "a");
	open_sub(sub, HBUS_SUB_RELIABLE);
	cr_assert_eq(status_of(sub, filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a")), HBUS_E_DENIED);
	set_rule("a", true, BOB, HBUS_RIGHT_RELIABLE);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a");
	accept_gate(pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
}

Test(state, a_reader_that_new_rules_deny_is_told_to_leave)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_ring_event *ended;
	const struct hbus_msg_gate *removal;

	pair(pub, sub, HBUS_SUB_RELIABLE, &grant);
	set_rule("a/#", false, ALICE, HBUS_RIGHT_SUBSCRIBE);
	ended = sim_next(sub, HBUS_MSG_RING_ENDED);
	cr_assert_not_null(ended);
	cr_assert_eq(ended->flags, HBUS_ENDED_REVOKED);
	/* It holds nobody back, also if it never answers; its slot is its own until it does. */
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	cr_assert_eq(counts().n_attachments, 1);
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	cr_assert_eq(counts().n_attachments, 0);
}

Test(state, a_ring_carries_only_topics_with_the_same_readers)
{
	struct sim_client *pub = join(ALICE);
	struct hbus_msg_ring_grant grant;

	set_rule("secret/#", true, BOB, HBUS_RIGHT_SUBSCRIBE);
	grant = open_ring(pub, "a");
	cr_assert_eq(status_of(pub, add_topic(pub, grant.geometry.ring_id, "b")), 0);
	cr_assert_eq(status_of(pub, add_topic(pub, grant.geometry.ring_id, "secret/x")),
		     HBUS_E_POLICY);
	cr_assert_eq(counts().n_topics, 2);
}

/* Whoever maps the ring sees all that is in it. */
Test(state, new_rules_that_tell_a_rings_topics_apart_show_it_to_those_alone_who_may_read_all)
{
	struct sim_client *pub = join(ALICE), *bob = join(BOB);
	struct hbus_msg_ring_grant grant;

	set_rule("a/#", true, BOB, HBUS_RIGHT_SUBSCRIBE);
	grant = open_ring(pub, "a/b");
	cr_assert_eq(status_of(pub, add_topic(pub, grant.geometry.ring_id, "a/c")), 0);
	set_rule("a/c", false, BOB, HBUS_RIGHT_SUBSCRIBE);
	open_sub(bob, 0);
	cr_assert_eq(status_of(bob, filter(bob, HBUS_MSG_SUB_FILTER_ADD, "a/b")), HBUS_E_DENIED);
	cr_assert_eq(status_of(bob, filter(bob, HBUS_MSG_SUB_FILTER_ADD, "+/b")), 0);
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD), "a/c lies in it too");
	cr_assert_null(sim_next(bob, HBUS_MSG_RING_OPENED));
	set_rule("a/c", true, BOB, HBUS_RIGHT_SUBSCRIBE);
	sim.config.rules[1].is_allowed = true;
	hbus_state_configure(sim.state, &sim.config, sim.now_ns);
	accept_gate(pub);
	cr_assert_not_null(sim_next(bob, HBUS_MSG_RING_OPENED));
}

Test(state, a_reader_of_one_topic_leaves_the_ring_when_new_rules_deny_it_another_of_it)
{
	struct sim_client *pub = join(ALICE), *bob = join(BOB);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_ring_event *ended;

	set_rule("a/#", true, BOB, HBUS_RIGHT_SUBSCRIBE);
	grant = open_ring(pub, "a/b");
	cr_assert_eq(status_of(pub, add_topic(pub, grant.geometry.ring_id, "a/c")), 0);
	open_sub(bob, 0);
	filter(bob, HBUS_MSG_SUB_FILTER_ADD, "a/b");
	accept_gate(pub);
	cr_assert_not_null(sim_next(bob, HBUS_MSG_RING_OPENED));
	set_rule("a/c", false, BOB, HBUS_RIGHT_SUBSCRIBE);
	ended = sim_next(bob, HBUS_MSG_RING_ENDED);
	cr_assert_not_null(ended);
	cr_assert_eq(ended->flags, HBUS_ENDED_REVOKED);
}

Test(state, only_admins_are_told_routes)
{
	struct sim_client *client = sim_connect(&sim, ALICE);

	hello_with(client, HBUS_CLIENT_WANTS_ROUTES, NULL);
	cr_assert_eq(status_of(client, 1), HBUS_E_DENIED);
	client = sim_connect(&sim, 77);
	hello_with(client, HBUS_CLIENT_WANTS_ROUTES, NULL);
	cr_assert_not_null(sim_next(client, HBUS_MSG_SOURCE_RULE));
}

/* ---- interest ---- */

Test(state, a_publisher_hears_of_the_first_and_the_last_who_want_its_topic)
{
	struct sim_client *pub = join(ALICE), *one = join(ALICE), *two = join(ALICE);
	const struct hbus_msg_interest *interest;

	open_ring(pub, "a");
	interest = sim_next(pub, HBUS_MSG_INTEREST);
	cr_assert_not_null(interest);
	cr_assert_eq(interest->is_wanted, 0);
	open_sub(one, 0);
	open_sub(two, 0);
	filter(one, HBUS_MSG_SUB_FILTER_ADD, "a");
	accept_gate(pub);
	interest = sim_next(pub, HBUS_MSG_INTEREST);
	cr_assert_eq(interest->is_wanted, 1);
	filter(two, HBUS_MSG_SUB_FILTER_ADD, "#");
	accept_gate(pub);
	sim_die(&sim, one);
	cr_assert_null(sim_next(pub, HBUS_MSG_INTEREST));
	filter(two, HBUS_MSG_SUB_FILTER_REMOVE, "#");
	interest = sim_next(pub, HBUS_MSG_INTEREST);
	cr_assert_not_null(interest);
	cr_assert_eq(interest->is_wanted, 0);
}

/* ---- hangups ---- */

static void come_back(struct sim_client *client, const struct hbus_token *token)
{
	sim_reconnect(&sim, client, ALICE);
	hello_with(client, 0, token);
	cr_assert_eq(status_of(client, client->next_serial), 0);
}

static uint32_t say_sub_again(struct sim_client *sub, uint32_t flags,
			      const struct hbus_msg_ring_opened *opened)
{
	open_sub(sub, flags);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/+");
	if (opened)
		SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_HELD, 0, struct hbus_msg_sub_held,
			    { .ring_id = opened->geometry.ring_id, .gate_id = opened->gate_id,
			      .sub_id = 1, .memfd_idx = opened->memfd_idx,
			      .slot_idx = opened->slot_idx, .attach_idx = opened->attach_idx });
	return SIM_REQUEST(&sim, sub, HBUS_MSG_RESUMED, 0, struct hbus_msg_simple, { { 0 } });
}

Test(state, a_member_that_hung_up_has_a_second_to_come_back)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;

	pair(pub, sub, 0, &grant);
	sim_hangup(&sim, pub);
	sim_tick(&sim, 999);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	sim_tick(&sim, 1);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
}

Test(state, a_reader_that_comes_back_keeps_its_rings)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened opened = pair(pub, sub, 0, &grant);

	sim_hangup(&sim, sub);
	come_back(sub, &token);
	cr_assert_eq(status_of(sub, say_sub_again(sub, 0, &opened)), 0);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_REMOVE));
	cr_assert_eq(counts().n_attachments, 1);
	sim_tick(&sim, 5000);
	cr_assert_eq(counts().n_members, 2);
}

Test(state, a_reader_that_lost_the_message_gets_its_ring_again)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	struct hbus_msg_ring_grant grant;
	const struct hbus_msg_ring_opened *opened;

	cr_assert_eq(pair(pub, sub, HBUS_SUB_DOORBELL, &grant).has_doorbell, 1);
	sim_hangup(&sim, sub);
	come_back(sub, &token);
	say_sub_again(sub, HBUS_SUB_DOORBELL, NULL);
	opened = sim_next(sub, HBUS_MSG_RING_OPENED);
	cr_assert_not_null(opened);
	cr_assert_eq(opened->has_doorbell, 1);
	cr_assert_eq(counts().n_attachments, 1);
}

Test(state, a_reader_that_comes_back_is_told_its_topics_again)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened opened = pair(pub, sub, 0, &grant);

	add_topic(pub, grant.geometry.ring_id, "x");
	while (sim_next(pub, HBUS_MSG_INTEREST))
		;
	sim_hangup(&sim, sub);
	come_back(sub, &token);
	say_sub_again(sub, 0, &opened);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_TOPIC_MATCH));
	cr_assert_eq(((const struct hbus_msg_topic_skip *)sim_next(sub, HBUS_MSG_TOPIC_SKIP))->n_ids, 1);
	/* That is no news for the publisher; and the account is still right. */
	cr_assert_null(sim_next(pub, HBUS_MSG_INTEREST));
	sim_die(&sim, sub);
	cr_assert_eq(((const struct hbus_msg_interest *)sim_next(pub, HBUS_MSG_INTEREST))->is_wanted, 0);
}

Test(state, a_filter_that_is_not_said_again_is_gone)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened opened = pair(pub, sub, 0, &grant);

	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "other");
	while (sim_next(pub, HBUS_MSG_INTEREST))
		;
	sim_hangup(&sim, sub);
	come_back(sub, &token);
	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "other");
	SIM_REQUEST(&sim, sub, HBUS_MSG_SUB_HELD, 0, struct hbus_msg_sub_held,
		    { .ring_id = opened.geometry.ring_id, .gate_id = opened.gate_id, .sub_id = 1,
		      .memfd_idx = opened.memfd_idx, .slot_idx = opened.slot_idx,
		      .attach_idx = opened.attach_idx });
	SIM_REQUEST(&sim, sub, HBUS_MSG_RESUMED, 0, struct hbus_msg_simple, { { 0 } });
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	cr_assert_eq(((const struct hbus_msg_interest *)sim_next(pub, HBUS_MSG_INTEREST))->is_wanted, 0);
}

Test(state, nobody_comes_back_with_another_users_token)
{
	struct sim_client *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	uint64_t id = sub->id;

	open_sub(sub, 0);
	sim_hangup(&sim, sub);
	sim_reconnect(&sim, sub, BOB);
	hello_with(sub, 0, &token);
	cr_assert_neq(sub->id, id);
	cr_assert_eq(counts().n_members, 2);
}

Test(state, nobody_comes_back_with_half_a_token)
{
	struct sim_client *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	uint64_t id = sub->id;

	open_sub(sub, 0);
	sim_hangup(&sim, sub);
	token.bytes[15] ^= 1;
	sim_reconnect(&sim, sub, ALICE);
	hello_with(sub, 0, &token);
	cr_assert_neq(sub->id, id);
}

/* ---- restarts ---- */

static void save(void *context, const struct hbus_journal_record *record)
{
	(void)context;
	sim.records[sim.n_records++] = *record;
}

/* The daemon is killed; the next one reads its journal. */
static void restart(void)
{
	sim.n_records = 0;
	hbus_state_save(sim.state, save, NULL);
	for (size_t i = 0; i < sim.n_clients; i++)
		sim.clients[i]->member = NULL;
	hbus_state_free(sim.state);
	sim_start(&sim, 2);
	for (size_t i = 0; i < sim.n_records; i++)
		cr_assert(hbus_state_restore(sim.state, &sim.records[i]), "record %zu", i);
	hbus_state_restored(sim.state, sim.now_ns);
}

static uint32_t offer(struct sim_client *pub, const struct hbus_msg_ring_grant *grant)
{
	return SIM_REQUEST(&sim, pub, HBUS_MSG_RING_OFFER, 2, struct hbus_msg_ring_offer,
			   { .geometry = grant->geometry, .token = grant->token });
}

static void bring_back(struct sim_client *pub, const struct hbus_token *token,
		       const struct hbus_msg_ring_grant *grant)
{
	come_back(pub, token);
	cr_assert_eq(sim_reply(pub, offer(pub, grant))->value[0], 1);
	cr_assert_eq(status_of(pub, add_topic(pub, grant->geometry.ring_id, "a/b")), 0);
	SIM_REQUEST(&sim, pub, HBUS_MSG_RESUMED, 0, struct hbus_msg_simple, { { 0 } });
}

Test(state, after_a_restart_publishers_and_readers_meet_as_they_were)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token pub_token = token_of(pub), sub_token = token_of(sub);
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened opened = pair(pub, sub, 0, &grant);
	uint64_t topic_id = hbus_member_id(pub->member);

	topic_id = ((const struct hbus_msg_reply *)sim_reply(pub, add_topic(pub, grant.geometry.ring_id,
									     "a/b")))->value[0];
	restart();
	cr_assert(counts().is_restarting);
	bring_back(pub, &pub_token, &grant);
	cr_assert_eq(sim_reply(pub, add_topic(pub, grant.geometry.ring_id, "a/b"))->value[0], topic_id);
	come_back(sub, &sub_token);
	say_sub_again(sub, 0, &opened);
	cr_assert_eq(gate_add(pub).gate_id, opened.gate_id);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	cr_assert_not(counts().is_restarting);
	cr_assert_eq(counts().n_attachments, 1);
}

Test(state, a_new_reader_of_a_restored_ring_waits_until_all_who_hold_it_are_back)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE), *late;
	struct hbus_token pub_token = token_of(pub);
	struct hbus_msg_ring_grant grant;
	uint32_t serial;

	pair(pub, sub, 0, &grant);
	restart();
	bring_back(pub, &pub_token, &grant);
	late = join(ALICE);
	open_sub(late, 0);
	serial = filter(late, HBUS_MSG_SUB_FILTER_ADD, "a/b");
	cr_assert_null(sim_reply(late, serial));
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD));
	sim_tick(&sim, 2000); /* sub does not come back */
	accept_gate(pub);
	cr_assert_eq(sim_reply(late, serial)->value[0], 1);
	cr_assert_not_null(sim_next(late, HBUS_MSG_RING_OPENED));
}

/* It was stopped, say, and its place was given up. It still reads the ring: it must not meet it twice, or end with it. */
Test(state, a_reader_that_comes_back_late_reads_on)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token pub_token = token_of(pub), sub_token = token_of(sub);
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened opened = pair(pub, sub, HBUS_SUB_RELIABLE, &grant);

	restart();
	bring_back(pub, &pub_token, &grant);
	sim_tick(&sim, 3000);
	cr_assert_not(counts().is_restarting);
	come_back(sub, &sub_token);
	say_sub_again(sub, HBUS_SUB_RELIABLE, &opened);
	cr_assert_eq(gate_add(pub).gate_id, opened.gate_id);
	cr_assert_eq(counts().n_attachments, 1);
	for (size_t i = 0; i < sub->n_inbox; i++) {
		const struct hbus_msg_header *header = (const void *)sub->inbox[i].bytes;

		cr_assert_neq(header->type, HBUS_MSG_RING_ENDED);
		cr_assert_neq(header->type, HBUS_MSG_RING_OPENED);
	}
}

Test(state, a_late_reader_whose_place_was_given_away_reads_on_without_a_gate)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE), *other;
	struct hbus_token pub_token = token_of(pub), sub_token = token_of(sub);
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened opened = pair(pub, sub, HBUS_SUB_RELIABLE, &grant);

	restart();
	bring_back(pub, &pub_token, &grant);
	sim_tick(&sim, 3000);
	other = join(ALICE);
	open_sub(other, HBUS_SUB_RELIABLE);
	filter(other, HBUS_MSG_SUB_FILTER_ADD, "a/b");
	cr_assert_eq(gate_add(pub).attach_idx, opened.attach_idx);
	come_back(sub, &sub_token);
	say_sub_again(sub, HBUS_SUB_RELIABLE, &opened);
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD));
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	cr_assert_eq(counts().n_attachments, 2);
}

/* Its readers must not leave the ring: when it goes on it publishes into it, before it hears anything. */
Test(state, a_publisher_that_comes_back_late_finds_its_readers)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token pub_token = token_of(pub), sub_token = token_of(sub);
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened opened = pair(pub, sub, 0, &grant);

	restart();
	come_back(sub, &sub_token);
	say_sub_again(sub, 0, &opened);
	sim_tick(&sim, 4000);
	cr_assert_not(counts().is_restarting);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	bring_back(pub, &pub_token, &grant);
	cr_assert_eq(gate_add(pub).gate_id, opened.gate_id);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_OPENED));
}

Test(state, a_ring_that_nobody_brings_back_ends_after_five_seconds)
{
	struct sim_client *pub = join(ALICE);

	open_ring(pub, "a");
	restart();
	sim_tick(&sim, 4999);
	cr_assert_eq(counts().n_rings, 1);
	sim_tick(&sim, 1);
	cr_assert_eq(counts().n_rings, 0);
	cr_assert_eq(counts().n_members, 0);
	cr_assert_eq(counts().n_topics, 0);
}

Test(state, a_publisher_that_lives_is_waited_for_until_it_ends)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token pub_token = token_of(pub), sub_token = token_of(sub);
	uint64_t pub_id = pub->id;
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened opened = pair(pub, sub, 0, &grant);

	sim.lives = 1;
	restart();
	cr_assert_eq(sim.n_watched, 1);
	come_back(sub, &sub_token);
	say_sub_again(sub, 0, &opened);
	sim_tick(&sim, 600000);
	cr_assert_not(counts().is_restarting);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	bring_back(pub, &pub_token, &grant);
	cr_assert_eq(gate_add(pub).gate_id, opened.gate_id);
	restart();
	come_back(sub, &sub_token);
	say_sub_again(sub, 0, &opened);
	sim_tick(&sim, 600000);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	hbus_state_died(sim.state, pub_id, NULL, sim.now_ns);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
}

/* Its events carry the number: a reader that comes later must not be told another. */
Test(state, a_topic_of_a_publisher_that_stays_away_keeps_its_number)
{
	struct sim_client *pub = join(ALICE), *other;
	struct hbus_token pub_token = token_of(pub);
	struct hbus_msg_ring_grant grant = open_ring(pub, "a/b");
	uint64_t id = sim_reply(pub, add_topic(pub, grant.geometry.ring_id, "a/b"))->value[0];
	uint64_t second = sim_reply(pub, add_topic(pub, grant.geometry.ring_id, "a/c"))->value[0];

	sim.lives = 1;
	restart();
	sim_tick(&sim, 3000);
	cr_assert_not(counts().is_restarting);
	cr_assert_eq(counts().n_topics, 2);
	other = join(ALICE);
	open_ring(other, "z");
	come_back(pub, &pub_token);
	cr_assert_eq(status_of(pub, offer(pub, &grant)), 0);
	cr_assert_eq(sim_reply(pub, add_topic(pub, grant.geometry.ring_id, "a/b"))->value[0], id);
	cr_assert_eq(sim_reply(pub, add_topic(pub, grant.geometry.ring_id, "a/c"))->value[0], second);
	SIM_REQUEST(&sim, pub, HBUS_MSG_RESUMED, 0, struct hbus_msg_simple, { { 0 } });
	hbus_state_died(sim.state, pub->id, pub, sim.now_ns);
	cr_assert_eq(counts().n_topics, 1);
}

/* The journal says that the ring carried it; the rules say now that it must not. */
Test(state, a_topic_that_new_rules_deny_does_not_come_back_with_its_ring)
{
	struct sim_client *pub = join(ALICE);
	struct hbus_token pub_token = token_of(pub);
	struct hbus_msg_ring_grant grant = open_ring(pub, "a/b");

	cr_assert_eq(status_of(pub, add_topic(pub, grant.geometry.ring_id, "a/c")), 0);
	restart();
	set_rule("a/c", false, ALICE, HBUS_RIGHT_PUBLISH);
	come_back(pub, &pub_token);
	cr_assert_eq(status_of(pub, offer(pub, &grant)), 0);
	cr_assert_eq(status_of(pub, add_topic(pub, grant.geometry.ring_id, "a/b")), 0);
	cr_assert_eq(status_of(pub, add_topic(pub, grant.geometry.ring_id, "a/c")), HBUS_E_DENIED);
	SIM_REQUEST(&sim, pub, HBUS_MSG_RESUMED, 0, struct hbus_msg_simple, { { 0 } });
	cr_assert_not(counts().is_restarting);
	cr_assert_eq(counts().n_topics, 1);
}

/* The daemon that comes back has other rules: the second topic stays in the ring, and shuts out who may read the first alone. */
Test(state, a_topic_that_has_other_readers_after_a_restart_stays_in_its_ring)
{
	struct sim_client *pub = join(ALICE), *bob;
	struct hbus_token pub_token = token_of(pub);
	struct hbus_msg_ring_grant grant = open_ring(pub, "a/b");

	cr_assert_eq(status_of(pub, add_topic(pub, grant.geometry.ring_id, "a/c")), 0);
	restart();
	set_rule("a/b", true, BOB, HBUS_RIGHT_SUBSCRIBE);
	come_back(pub, &pub_token);
	cr_assert_eq(status_of(pub, offer(pub, &grant)), 0);
	cr_assert_eq(status_of(pub, add_topic(pub, grant.geometry.ring_id, "a/b")), 0);
	cr_assert_eq(status_of(pub, add_topic(pub, grant.geometry.ring_id, "a/c")), 0);
	SIM_REQUEST(&sim, pub, HBUS_MSG_RESUMED, 0, struct hbus_msg_simple, { { 0 } });
	cr_assert_not(counts().is_restarting);
	bob = join(BOB);
	open_sub(bob, 0);
	filter(bob, HBUS_MSG_SUB_FILTER_ADD, "a/b");
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD));
	cr_assert_null(sim_next(bob, HBUS_MSG_RING_OPENED));
}

Test(state, a_publisher_that_ended_while_there_was_no_daemon_has_no_more_time_than_others)
{
	struct sim_client *pub = join(ALICE);

	open_ring(pub, "a");
	sim.lives = 0;
	restart();
	sim_tick(&sim, 1999);
	cr_assert_eq(counts().n_rings, 1);
	sim_tick(&sim, 1);
	cr_assert_eq(counts().n_rings, 0);
	cr_assert_eq(counts().n_members, 0);
}

Test(state, a_ring_is_taken_back_only_with_its_owners_token)
{
	struct sim_client *pub = join(ALICE);
	struct hbus_token token = token_of(pub);
	struct hbus_msg_ring_grant grant = open_ring(pub, "a");

	restart();
	come_back(pub, &token);
	grant.token.bytes[15] ^= 1;
	cr_assert_eq(status_of(pub, offer(pub, &grant)), HBUS_E_NOT_FOUND);
	grant.token.bytes[15] ^= 1;
	grant.geometry.capacity *= 2;
	cr_assert_eq(status_of(pub, offer(pub, &grant)), HBUS_E_INVALID);
	grant.geometry.capacity /= 2;
	sim.ring_status = HBUS_E_BAD_FD;
	cr_assert_eq(status_of(pub, offer(pub, &grant)), HBUS_E_BAD_FD);
	sim.ring_status = 0;
	cr_assert_eq(status_of(pub, offer(pub, &grant)), 0);
}

Test(state, a_reader_cannot_claim_what_policy_denies)
{
	struct sim_client *pub = join(ALICE), *sub = join(BOB);
	struct hbus_token pub_token = token_of(pub), sub_token;
	struct hbus_msg_ring_grant grant = open_ring(pub, "a/b");
	struct hbus_msg_ring_opened claim = { .geometry = grant.geometry, .gate_id = 99,
					      .attach_idx = HBUS_RING_GATES_MAX };

	open_sub(sub, 0);
	sub_token = token_of(sub);
	restart();
	sim_reconnect(&sim, sub, BOB);
	hello_with(sub, 0, &sub_token);
	say_sub_again(sub, 0, &claim);
	bring_back(pub, &pub_token, &grant);
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD));
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
}

/* They go into the journal and to readers as JSON: one that cannot would keep the journal from being written again. */
Test(state, types_that_are_not_text_are_refused_and_leave_nothing)
{
	static const char *const bad[] = { "\xff\xfe", "a\nb", "\xc0\x80", "\x1b[31m" };
	struct sim_client *client = join(77);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hbus_msg_topic topic = { .name = "kept" };
		struct hbus_msg_ring_create ring = { .capacity = 65536, .first_topic = "kept" };
		uint32_t serial;

		strcpy(i % 2 ? topic.content_type : topic.type, bad[i]);
		strcpy(i % 2 ? ring.type : ring.content_type, bad[i]);
		serial = sim_message(&sim, client, &topic, HBUS_MSG_TOPIC_DECLARE, sizeof(topic), 0, 0);
		cr_assert_eq(status_of(client, serial), HBUS_E_NAME);
		serial = sim_message(&sim, client, &ring, HBUS_MSG_RING_CREATE, sizeof(ring), 0, 0);
		cr_assert_eq(status_of(client, serial), HBUS_E_NAME);
	}
	cr_assert_eq(counts().n_topics, 0);
	cr_assert_eq(counts().n_rings, 0);
}

Test(state, declared_topics_and_routes_survive)
{
	struct sim_client *admin = join(77);
	struct hbus_msg_topic topic = { .name = "kept", .type = "t" };
	struct hbus_msg_route route = { .route = { .family = 4, .port = 5, .kind = HBUS_ROUTE_TOPIC,
						   .vlan = HBUS_ROUTE_VLAN_ANY, .topic = "kept" } };
	uint32_t serial = sim_message(&sim, admin, &topic, HBUS_MSG_TOPIC_DECLARE, sizeof(topic), 0, 0);

	cr_assert_eq(status_of(admin, serial), 0);
	serial = sim_message(&sim, admin, &route, HBUS_MSG_ROUTE_ADD, sizeof(route), 0, 0);
	cr_assert_eq(status_of(admin, serial), 0);
	restart();
	cr_assert_eq(counts().n_topics, 1);
	cr_assert_eq(counts().n_routes, 1);
	admin = join(77);
	serial = sim_message(&sim, admin, &route, HBUS_MSG_ROUTE_REMOVE, sizeof(route), 0, 0);
	cr_assert_eq(status_of(admin, serial), 0);
	serial = sim_message(&sim, admin, &topic, HBUS_MSG_TOPIC_REMOVE, sizeof(topic), 0, 0);
	cr_assert_eq(status_of(admin, serial), 0);
	cr_assert_eq(counts().n_topics, 0);
	cr_assert_eq(counts().n_routes, 0);
}
