/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's state machine and clients that come back as they were, to the same daemon or to the next one. */
#include "tests/unit/state_kit.h"

TestSuite(state_restart, .init = kit_begin, .fini = kit_end);

static uint32_t say_sub_again(struct sim_client *sub, uint32_t flags,
			      const struct hbus_msg_ring_opened *opened)
{
	open_sub(sub, flags);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "a/+");
	if (opened)
		say_held(sub, opened);
	return say_resumed(sub);
}

/* ---- hangups ---- */

Test(state_restart, a_member_that_hung_up_has_a_second_to_come_back)
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

Test(state_restart, a_reader_that_comes_back_keeps_its_rings)
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

Test(state_restart, a_reader_that_lost_the_message_gets_its_ring_again)
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

Test(state_restart, a_reader_that_comes_back_is_told_its_topics_again)
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

Test(state_restart, a_filter_that_is_not_said_again_is_gone)
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
	say_held(sub, &opened);
	say_resumed(sub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	cr_assert_eq(((const struct hbus_msg_interest *)sim_next(pub, HBUS_MSG_INTEREST))->is_wanted, 0);
}

Test(state_restart, nobody_comes_back_with_another_users_token)
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

Test(state_restart, nobody_comes_back_with_half_a_token)
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

static void bring_back(struct sim_client *pub, const struct hbus_token *token,
		       const struct hbus_msg_ring_grant *grant)
{
	come_back(pub, token);
	cr_assert_eq(sim_reply(pub, offer(pub, grant))->value[0], 1);
	cr_assert_eq(status_of(pub, add_topic(pub, grant->geometry.ring_id, "a/b")), 0);
	say_resumed(pub);
}

Test(state_restart, after_a_restart_publishers_and_readers_meet_as_they_were)
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

Test(state_restart, a_new_reader_of_a_restored_ring_waits_until_all_who_hold_it_are_back)
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
Test(state_restart, a_reader_that_comes_back_late_reads_on)
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

Test(state_restart, a_late_reader_whose_place_was_given_away_reads_on_without_a_gate)
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
Test(state_restart, a_publisher_that_comes_back_late_finds_its_readers)
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

Test(state_restart, a_ring_that_nobody_brings_back_ends_after_five_seconds)
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

Test(state_restart, a_publisher_that_lives_is_waited_for_until_it_ends)
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
Test(state_restart, a_topic_of_a_publisher_that_stays_away_keeps_its_number)
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
	say_resumed(pub);
	hbus_state_died(sim.state, pub->id, pub, sim.now_ns);
	cr_assert_eq(counts().n_topics, 1);
}

/* The journal says that the ring carried it; the rules say now that it must not. */
Test(state_restart, a_topic_that_new_rules_deny_does_not_come_back_with_its_ring)
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
	say_resumed(pub);
	cr_assert_not(counts().is_restarting);
	cr_assert_eq(counts().n_topics, 1);
}

/* The daemon that comes back has other rules: the second topic stays in the ring, and shuts out who may read the first alone. */
Test(state_restart, a_topic_that_has_other_readers_after_a_restart_stays_in_its_ring)
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
	say_resumed(pub);
	cr_assert_not(counts().is_restarting);
	bob = join(BOB);
	open_sub(bob, 0);
	filter(bob, HBUS_MSG_SUB_FILTER_ADD, "a/b");
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD));
	cr_assert_null(sim_next(bob, HBUS_MSG_RING_OPENED));
}

/* Where daemons come and go faster than a restart takes, those who have ended would add up in journal and quotas. */
Test(state_restart, who_ended_while_there_was_no_daemon_is_not_waited_for)
{
	struct sim_client *pub = join(ALICE), *sub = join(BOB);

	open_ring(pub, "a");
	open_sub(sub, 0);
	sim.lives = 0;
	restart();
	cr_assert_eq(counts().n_rings, 0);
	cr_assert_eq(counts().n_members, 0);
	cr_assert_not(counts().is_restarting);
}

Test(state_restart, a_subscriber_that_lives_and_does_not_come_is_waited_for_as_long_as_a_restart_takes)
{
	struct sim_client *pub = join(ALICE), *sub = join(BOB);

	open_ring(pub, "a");
	open_sub(sub, 0);
	sim.lives = 1;
	restart();
	cr_assert_eq(sim.n_watched, 1);
	cr_assert_eq(counts().n_members, 2);
	sim_tick(&sim, 2000);
	cr_assert_eq(counts().n_members, 1);
	cr_assert_eq(counts().n_rings, 1);
}

Test(state_restart, a_ring_is_taken_back_only_with_its_owners_token)
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

Test(state_restart, a_reader_cannot_claim_what_policy_denies)
{
	struct sim_client *pub = join(ALICE), *sub = join(BOB);
	struct hbus_token pub_token = token_of(pub), sub_token;
	struct hbus_msg_ring_grant grant = open_ring(pub, "a/b");
	struct hbus_msg_ring_opened claim = { .geometry = grant.geometry, .gate_id = 99,
					      .attach_idx = HBUS_RING_GATES_MAX };

	open_sub(sub, 0);
	sub_token = token_of(sub);
	restart();
	come_back_as(sub, &sub_token, BOB);
	say_sub_again(sub, 0, &claim);
	bring_back(pub, &pub_token, &grant);
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD));
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
}

Test(state_restart, declared_topics_and_routes_survive)
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
