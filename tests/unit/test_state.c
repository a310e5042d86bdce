/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's state machine on the test's clock: who is told what, in which order, and who waits. */
#include "tests/unit/state_kit.h"

TestSuite(state, .init = kit_begin, .fini = kit_end);

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

	/* Who asks may be who has to poll before it can say that it is done: it is answered at once. */
	cr_assert_eq(status_of(sub, serial), 0);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_REMOVE));
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	cr_assert_eq(removal->gate_id, opened.gate_id);
	cr_assert_eq(counts().n_attachments, 1);
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	cr_assert_eq(counts().n_attachments, 0);
}

static uint32_t leave_and_ask_again(struct sim_client *sub)
{
	filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, "a/+");
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	return filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/+");
}

static void say_it_stays(struct sim_client *sub, uint64_t ring_id, uint32_t serial, int status)
{
	struct hbus_msg_ring_accept msg = { .ring_id = ring_id, .sub_id = SUB, .status = status };

	sim_message(&sim, sub, &msg, HBUS_MSG_RING_ACCEPT, sizeof(msg), serial, 0);
}

Test(state, who_subscribes_again_before_it_has_left_stays_and_is_answered_when_that_is_sure)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	const struct hbus_msg_ring_event *live;
	struct hbus_msg_ring_grant grant;
	uint32_t serial;

	pair(pub, sub, 0, &grant);
	serial = leave_and_ask_again(sub);
	live = sim_next(sub, HBUS_MSG_RING_LIVE);
	cr_assert_not_null(live);
	cr_assert_eq(live->ring_id, grant.geometry.ring_id);
	cr_assert_eq(live->flags, HBUS_LIVE_STAYS);
	cr_assert_null(sim_reply(sub, serial));
	/* Of a RING_OPENED of before: says nothing about whether it has left since. */
	say_it_stays(sub, grant.geometry.ring_id, live->header.serial + 1, 0);
	cr_assert_null(sim_reply(sub, serial));
	say_it_stays(sub, grant.geometry.ring_id, live->header.serial, 0);
	cr_assert_eq(status_of(sub, serial), 0);
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_REMOVE));
	cr_assert_eq(counts().n_attachments, 1);
}

Test(state, who_had_left_when_it_subscribed_again_is_answered_when_the_ring_is_open_anew)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	const struct hbus_msg_gate *removal;
	struct hbus_msg_ring_grant grant;
	uint32_t serial;

	pair(pub, sub, 0, &grant);
	serial = leave_and_ask_again(sub);
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	cr_assert_null(sim_reply(sub, serial));
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	cr_assert_null(sim_reply(sub, serial));
	accept_gate(pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	cr_assert_eq(status_of(sub, serial), 0);
}

Test(state, who_cannot_stay_is_answered_and_gets_the_ring_anew_when_it_has_left)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	const struct hbus_msg_ring_event *live;
	const struct hbus_msg_gate *removal;
	struct hbus_msg_ring_grant grant;
	uint32_t serial;

	pair(pub, sub, HBUS_SUB_RELIABLE, &grant);
	serial = leave_and_ask_again(sub);
	live = sim_next(sub, HBUS_MSG_RING_LIVE);
	cr_assert_not_null(live);
	say_it_stays(sub, grant.geometry.ring_id, live->header.serial, HBUS_E_BUSY);
	cr_assert_eq(status_of(sub, serial), 0);
	/* It has noted its place once: not again for a filter that comes later. */
	cr_assert_eq(status_of(sub, filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#")), 0);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_LIVE));
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	accept_gate(pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
}

Test(state, a_reply_waits_also_for_the_gate_of_a_reader_that_has_just_gone)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	const struct hbus_msg_gate *removal;
	struct hbus_msg_ring_grant grant;
	uint32_t serial;

	pair(pub, sub, 0, &grant);
	filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, "a/+");
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	serial = filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/+");
	cr_assert_null(sim_reply(sub, serial));
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	accept_gate(pub);
	cr_assert_eq(status_of(sub, serial), 0);
	cr_assert_eq(counts().n_attachments, 1);
}

Test(state, who_asks_again_after_a_reply_that_could_not_wait_longer_waits_all_the_same)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	const struct hbus_msg_gate *removal;
	struct hbus_msg_ring_grant grant;
	uint32_t serial;

	pair(pub, sub, 0, &grant);
	filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, "a/+");
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, 1);
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	serial = filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/+");
	sim_tick(&sim, 2600);
	cr_assert_eq(status_of(sub, serial), 0);
	filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, "a/+");
	serial = filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/+");
	cr_assert_null(sim_reply(sub, serial));
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	cr_assert_null(sim_reply(sub, serial));
	accept_gate(pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	cr_assert_eq(status_of(sub, serial), 0);
}

Test(state, who_subscribes_and_leaves_again_and_again_is_answered_each_time)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_grant grant;
	uint32_t first, second;

	pair(pub, sub, 0, &grant);
	first = leave_and_ask_again(sub);
	second = leave_and_ask_again(sub);
	cr_assert_eq(status_of(sub, first), 0);
	cr_assert_null(sim_reply(sub, second));
	sim_die(&sim, sub);
	cr_assert_not_null(sim_next(pub, HBUS_MSG_GATE_REMOVE));
}

Test(state, a_topic_added_to_a_ring_that_is_being_left_waits_for_who_wants_it)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	const struct hbus_msg_ring_event *live;
	struct hbus_msg_ring_grant grant;
	uint32_t serial;

	pair(pub, sub, 0, &grant);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "b");
	filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, "a/+");
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	serial = add_topic(pub, grant.geometry.ring_id, "b");
	live = sim_next(sub, HBUS_MSG_RING_LIVE);
	cr_assert_not_null(live);
	cr_assert_null(sim_reply(pub, serial));
	say_it_stays(sub, grant.geometry.ring_id, live->header.serial, 0);
	cr_assert_eq(status_of(pub, serial), 0);
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
