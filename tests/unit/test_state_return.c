/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's state machine and clients whose links break, who come back, and who have changed their minds meanwhile. */
#include "tests/unit/state_kit.h"

TestSuite(state_return, .init = kit_begin, .fini = kit_end);

static uint64_t topic_id(struct sim_client *client, uint64_t ring_id, const char *name)
{
	const struct hbus_msg_reply *reply = sim_reply(client, add_topic(client, ring_id, name));

	cr_assert_not_null(reply);
	cr_assert_eq(reply->status, 0);
	return reply->value[0];
}

/* A filter that is said again: it was first said at @covers_from. */
static void say_filter_again(struct sim_client *client, const char *text, uint64_t covers_from)
{
	struct hbus_msg_sub_filter msg = { .sub_id = SUB, .covers_from = covers_from };

	strcpy(msg.filter, text);
	sim_message(&sim, client, &msg, HBUS_MSG_SUB_FILTER_ADD, sizeof(msg), 0, 0);
}

static void accept_gates(struct sim_client *client)
{
	const struct hbus_msg_gate_add *add;

	while ((add = sim_next(client, HBUS_MSG_GATE_ADD)))
		answer(client, HBUS_MSG_GATE_ADDED, add->ring_id, add->gate_id, add->attach_idx, 0);
}

static void say_done(struct sim_client *client, uint64_t ring_id)
{
	say_ring(client, HBUS_MSG_SUB_RING_DONE, ring_id, SUB);
}

/* A reader with this ring. */
static struct hbus_msg_ring_opened read_ring(struct sim_client *pub, struct sim_client *sub)
{
	const struct hbus_msg_ring_opened *opened;

	accept_gates(pub);
	opened = sim_next(sub, HBUS_MSG_RING_OPENED);
	cr_assert_not_null(opened);
	accept_ring(sub, opened->geometry.ring_id, 0);
	return *opened;
}

static const struct hbus_msg_ring_event *ended(struct sim_client *sub)
{
	return sim_next(sub, HBUS_MSG_RING_ENDED);
}

/* With its ring, that carries "a". */
static void bring_back(struct sim_client *pub, const struct hbus_token *token, const struct hbus_msg_ring_grant *grant)
{
	come_back(pub, token);
	offer(pub, grant);
	topic_id(pub, grant->geometry.ring_id, "a");
	say_resumed(pub);
}

/* ---- the daemon dies ---- */

Test(state_return, a_publisher_that_comes_back_late_finds_its_topics_under_their_numbers)
{
	struct sim_client *pub = join(ALICE), *other = join(ALICE);
	struct hbus_token token = token_of(pub), other_token = token_of(other);
	struct hbus_msg_ring_grant grant = map_ring(pub, "a");
	uint64_t id = topic_id(pub, grant.geometry.ring_id, "b");

	open_sub(other, 0);
	restart();
	come_back(other, &other_token);
	say_resumed(other);
	sim_tick(&sim, 2500);
	come_back(pub, &token);
	offer(pub, &grant);
	topic_id(pub, grant.geometry.ring_id, "a");
	cr_assert_eq(topic_id(pub, grant.geometry.ring_id, "b"), id);
	say_resumed(pub);
	cr_assert_not_null(hbus_topic_find(sim.state, "b"));
}

Test(state_return, the_numbers_of_a_publisher_that_does_not_come_back_are_free_in_the_end)
{
	struct sim_client *pub = join(ALICE);

	map_ring(pub, "a");
	restart();
	cr_assert_not_null(hbus_topic_find(sim.state, "a"));
	sim_tick(&sim, 5000);
	sim_tick(&sim, 5000);
	cr_assert_null(hbus_topic_find(sim.state, "a"));
}

Test(state_return, memory_that_a_new_daemon_never_held_is_not_given_back)
{
	struct sim_client *pub = join(ALICE);

	map_ring(pub, "a");
	restart();
	sim_tick(&sim, 5000);
	sim_tick(&sim, 5000);
	cr_assert_eq(sim.n_rings_gone, 0);
}

Test(state_return, the_slot_of_a_ring_that_is_no_more_is_no_other_rings_until_its_reader_is_done)
{
	struct sim_client *old = join(ALICE), *fresh = join(ALICE), *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	struct hbus_msg_ring_opened held, next;

	open_sub(sub, HBUS_SUB_RELIABLE);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	map_ring(old, "a");
	held = read_ring(old, sub);
	restart();
	come_back(sub, &token);
	open_sub(sub, HBUS_SUB_RELIABLE);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	sim_tick(&sim, 6000); /* its publisher is dead */
	say_held(sub, &held);
	say_resumed(sub);
	cr_assert_not_null(ended(sub));
	fresh = join(ALICE);
	map_ring(fresh, "b");
	next = read_ring(fresh, sub);
	cr_assert(next.memfd_idx != held.memfd_idx || next.slot_idx != held.slot_idx, "the slot is still in use");
	say_done(sub, held.geometry.ring_id);
	map_ring(fresh, "c");
	next = read_ring(fresh, sub);
	cr_assert_eq(next.slot_idx, held.slot_idx);
}

Test(state_return, a_ring_that_nobody_asks_for_any_more_is_left_after_a_restart)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token pub_token = token_of(pub), token = token_of(sub);
	struct hbus_msg_ring_grant grant = map_ring(pub, "a");
	struct hbus_msg_ring_opened held;

	open_sub(sub, HBUS_SUB_RELIABLE);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	held = read_ring(pub, sub);
	restart();
	come_back(sub, &token); /* unsubscribed while no daemon ran: the filter is not said again */
	open_sub(sub, HBUS_SUB_RELIABLE);
	say_held(sub, &held);
	say_resumed(sub);
	cr_assert_null(ended(sub), "before its publisher is back nobody knows what it carries");
	bring_back(pub, &pub_token, &grant);
	cr_assert_not_null(ended(sub));
}

Test(state_return, of_two_filters_the_older_decides_where_a_ring_begins)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token pub_token = token_of(pub), token = token_of(sub);
	struct hbus_msg_ring_grant grant;
	uint64_t covers;
	const struct hbus_msg_ring_opened *opened;

	open_sub(sub, 0);
	covers = sim_reply(sub, filter(sub, HBUS_MSG_SUB_FILTER_ADD, "+"))->value[2];
	grant = map_ring(pub, "a");
	restart(); /* before the ring was shown */
	come_back(sub, &token);
	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#"); /* new: said for the first time */
	say_filter_again(sub, "+", covers);
	say_resumed(sub);
	bring_back(pub, &pub_token, &grant);
	accept_gates(pub);
	opened = sim_next(sub, HBUS_MSG_RING_OPENED);
	cr_assert_not_null(opened);
	cr_assert(opened->flags & HBUS_OPENED_FROM_START);
}

/* ---- a link breaks ---- */

Test(state_return, who_did_not_hear_that_a_ring_is_over_is_told_again)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	struct hbus_msg_ring_opened held;

	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	map_ring(pub, "a");
	held = read_ring(pub, sub);
	sim_hangup(&sim, sub);
	sim_die(&sim, pub);
	come_back(sub, &token);
	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	say_held(sub, &held);
	say_resumed(sub);
	cr_assert_not_null(ended(sub));
	cr_assert_null(ended(sub), "once");
}

Test(state_return, who_did_not_hear_that_it_shall_leave_is_told_again)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	struct hbus_msg_ring_opened held;

	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	map_ring(pub, "a");
	held = read_ring(pub, sub);
	filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, "#");
	sim_hangup(&sim, sub);
	come_back(sub, &token);
	open_sub(sub, 0);
	say_held(sub, &held);
	say_resumed(sub);
	cr_assert_not_null(ended(sub));
	cr_assert_null(ended(sub), "once");
}

Test(state_return, a_topic_does_not_wait_for_a_reader_that_comes_back_with_the_ring)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	struct hbus_msg_ring_grant grant = map_ring(pub, "a");
	const struct hbus_msg_ring_opened *opened;
	struct hbus_msg_ring_opened held;
	uint32_t serial;

	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "b");
	serial = add_topic(pub, grant.geometry.ring_id, "b");
	accept_gates(pub);
	opened = sim_next(sub, HBUS_MSG_RING_OPENED);
	cr_assert_not_null(opened);
	held = *opened;
	sim_hangup(&sim, sub); /* with the answer */
	cr_assert_null(sim_reply(pub, serial));
	come_back(sub, &token);
	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "b");
	say_held(sub, &held);
	say_resumed(sub);
	cr_assert_not_null(sim_reply(pub, serial));
}

/* ---- slots and rights ---- */

Test(state_return, a_ring_that_waits_for_a_slot_gets_the_next_that_is_free)
{
	struct sim_client *pub = join(ALICE), *other = join(ALICE), *sub = join(ALICE);
	struct hbus_msg_ring_opened first;

	open_sub_of(sub, 0, 1);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	map_ring(pub, "a");
	first = read_ring(pub, sub);
	map_ring(other, "b");
	accept_gates(other);
	cr_assert_null(sim_next(sub, HBUS_MSG_RING_OPENED));
	sim_die(&sim, pub);
	say_done(sub, first.geometry.ring_id);
	accept_gates(other);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
}

static struct hbus_policy_rule *allow_all(void)
{
	struct hbus_policy_rule *rules = calloc(1, sizeof(*rules));

	rules[0] = (struct hbus_policy_rule){ .is_allowed = true, .subject = HBUS_SUBJECT_ANY,
					      .rights = HBUS_RIGHT_SUBSCRIBE | HBUS_RIGHT_RELIABLE, .filter = "#" };
	sim.config.rules = rules;
	sim.config.n_rules = 1;
	hbus_state_configure(sim.state, &sim.config, sim.now_ns);
	return rules;
}

Test(state_return, who_may_not_hold_publishers_back_any_more_leaves)
{
	struct hbus_policy_rule *rules = allow_all();
	struct sim_client *pub = join(ALICE), *sub = join(BOB);
	const struct hbus_msg_ring_event *end;

	open_sub(sub, HBUS_SUB_RELIABLE);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	map_ring(pub, "a");
	read_ring(pub, sub);
	rules[0].rights = HBUS_RIGHT_SUBSCRIBE;
	hbus_state_configure(sim.state, &sim.config, sim.now_ns);
	end = ended(sub);
	cr_assert_not_null(end);
	cr_assert_eq(end->flags, HBUS_ENDED_REVOKED);
	cr_assert_not_null(sim_next(pub, HBUS_MSG_GATE_REMOVE));
}

Test(state_return, new_rules_end_no_reader_of_a_ring_whose_topics_are_not_known_yet)
{
	struct sim_client *pub, *sub;
	struct hbus_token pub_token, token;
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened held;

	allow_all();
	pub = join(ALICE);
	sub = join(BOB);
	pub_token = token_of(pub);
	token = token_of(sub);
	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a");
	grant = map_ring(pub, "a");
	held = read_ring(pub, sub);
	restart();
	come_back_as(sub, &token, BOB);
	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a");
	say_held(sub, &held);
	say_resumed(sub);
	strcpy(sim.config.rules[0].filter, "a"); /* reload: it may still read this topic */
	hbus_state_configure(sim.state, &sim.config, sim.now_ns);
	cr_assert_null(ended(sub));
	bring_back(pub, &pub_token, &grant);
	cr_assert_null(ended(sub));
}

Test(state_return, who_leaves_what_an_earlier_daemon_ended_and_asks_again_gets_it)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token pub_token = token_of(pub), token = token_of(sub);
	struct hbus_msg_ring_grant grant = map_ring(pub, "a");
	struct hbus_msg_ring_opened held;
	const struct hbus_msg_gate *removal;

	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	held = read_ring(pub, sub);
	filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, "#");
	cr_assert_not_null(ended(sub));
	restart();
	bring_back(pub, &pub_token, &grant);
	come_back(sub, &token);
	open_sub(sub, 0);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a"); /* asked for meanwhile */
	say_held(sub, &held); /* not read to its end yet */
	say_resumed(sub);
	accept_gates(pub);
	say_done(sub, held.geometry.ring_id);
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	while (removal && removal->gate_id != held.gate_id)
		removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	accept_gates(pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
}

Test(state_return, a_ring_that_is_only_granted_keeps_its_topic)
{
	struct sim_client *pub = join(ALICE);
	struct hbus_token token = token_of(pub);
	const struct hbus_msg_reply *reply;
	uint64_t ring_id;

	map_ring(pub, "a");
	restart();
	come_back(pub, &token);
	ring_id = grant_ring(pub, "b").geometry.ring_id;
	cr_assert_eq(status_of(pub, add_topic(pub, ring_id, "b")), HBUS_E_NOT_FOUND);
	reply = sim_reply(pub, say_ring(pub, HBUS_MSG_RING_MAPPED, ring_id, 0));
	cr_assert_not_null(reply);
	cr_assert_eq(reply->status, 0);
	cr_assert_neq(reply->value[0], 0);
}
