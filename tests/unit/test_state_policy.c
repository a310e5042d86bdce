/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's state machine: who may what, how much of it, and what is refused. */
#include "tests/unit/state_kit.h"

TestSuite(state_policy, .init = kit_begin, .fini = kit_end);

/* ---- limits ---- */

Test(state_policy, the_sixty_fifth_reliable_reader_of_a_ring_gets_no_gate)
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

Test(state_policy, a_reader_without_a_free_slot_waits_for_the_next_memfd)
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

Test(state_policy, quotas_refuse_one_ring_more)
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

Test(state_policy, a_ring_that_cannot_be_made_or_sealed_leaves_nothing)
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

Test(state_policy, users_do_not_see_each_other_until_a_rule_says_so)
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

Test(state_policy, to_hold_publishers_back_is_a_right_of_its_own)
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

Test(state_policy, a_reader_that_new_rules_deny_is_told_to_leave)
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

/* A reader that may read its ring again, was asked to stay in it, and lost its connection before it had answered. */
static struct hbus_msg_ring_opened revoked_and_asked_to_stay(struct sim_client *pub, struct sim_client *sub,
							     struct hbus_msg_ring_grant *ret_grant)
{
	struct hbus_msg_ring_opened opened = pair(pub, sub, HBUS_SUB_RELIABLE, ret_grant);
	const struct hbus_msg_gate *removal;

	set_rule("a/#", false, ALICE, HBUS_RIGHT_SUBSCRIBE);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_ENDED));
	removal = sim_next(pub, HBUS_MSG_GATE_REMOVE);
	cr_assert_not_null(removal);
	answer(pub, HBUS_MSG_GATE_REMOVED, removal->ring_id, removal->gate_id, removal->attach_idx, 0);
	sim.config.rules[0].is_allowed = true;
	hbus_state_configure(sim.state, &sim.config, sim.now_ns);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_LIVE));
	sim_hangup(&sim, sub);
	return opened;
}

static void subscribe_anew(struct sim_client *sub, const struct hbus_token *token)
{
	come_back(sub, token);
	open_sub(sub, HBUS_SUB_RELIABLE);
	filter(sub, HBUS_MSG_SUB_FILTER_ADD, "#");
}

Test(state_policy, who_holds_a_ring_that_it_might_not_read_is_told_so_again_and_then_asked)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	struct hbus_msg_ring_grant grant;
	struct hbus_msg_ring_opened opened = revoked_and_asked_to_stay(pub, sub, &grant);
	const struct hbus_msg_ring_event *ended, *live;

	subscribe_anew(sub, &token);
	say_held(sub, &opened);
	cr_assert_null(sim_next(pub, HBUS_MSG_GATE_ADD), "it has neither gate nor place");
	say_resumed(sub);
	ended = sim_next(sub, HBUS_MSG_RING_ENDED);
	cr_assert_not_null(ended, "it may not have heard so the first time");
	cr_assert_eq(ended->flags, HBUS_ENDED_REVOKED);
	live = sim_next(sub, HBUS_MSG_RING_LIVE);
	cr_assert_not_null(live);
	cr_assert_eq(live->flags, HBUS_LIVE_STAYS);
	sim_message(&sim, sub, &(struct hbus_msg_ring_accept){.ring_id = grant.geometry.ring_id, .sub_id = SUB, .status = HBUS_E_BUSY},
		    HBUS_MSG_RING_ACCEPT, sizeof(struct hbus_msg_ring_accept), live->header.serial, 0);
	say_ring(sub, HBUS_MSG_SUB_RING_DONE, grant.geometry.ring_id, SUB);
	accept_gate(pub);
	cr_assert_not_null(sim_next(sub, HBUS_MSG_RING_OPENED));
}

Test(state_policy, who_does_not_hold_the_ring_any_more_gets_it_with_a_new_gate_and_nothing_is_left)
{
	struct sim_client *pub = join(ALICE), *sub = join(ALICE);
	struct hbus_token token = token_of(sub);
	const struct hbus_msg_ring_opened *again;
	struct hbus_msg_ring_grant grant;

	revoked_and_asked_to_stay(pub, sub, &grant);
	subscribe_anew(sub, &token);
	say_resumed(sub);
	accept_gate(pub);
	again = sim_next(sub, HBUS_MSG_RING_OPENED);
	cr_assert_not_null(again);
	cr_assert_neq(again->attach_idx, HBUS_ATTACH_NONE);
	cr_assert_eq(LIST_FIRST(&hbus_ring_find(sim.state, grant.geometry.ring_id)->attachments)->stay_serial, 0);
	accept_ring(sub, grant.geometry.ring_id, 0);
}

Test(state_policy, a_ring_carries_only_topics_with_the_same_readers)
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
Test(state_policy, new_rules_that_tell_a_rings_topics_apart_show_it_to_those_alone_who_may_read_all)
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

Test(state_policy, a_reader_of_one_topic_leaves_the_ring_when_new_rules_deny_it_another_of_it)
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

Test(state_policy, only_admins_are_told_routes)
{
	struct sim_client *client = sim_connect(&sim, ALICE);

	hello_with(client, HBUS_CLIENT_WANTS_ROUTES, NULL);
	cr_assert_eq(status_of(client, 1), HBUS_E_DENIED);
	client = sim_connect(&sim, 77);
	hello_with(client, HBUS_CLIENT_WANTS_ROUTES, NULL);
	cr_assert_not_null(sim_next(client, HBUS_MSG_SOURCE_RULE));
}

/* ---- names ---- */

/* They go into the journal and to readers as JSON: one that cannot would keep the journal from being written again. */
Test(state_policy, types_that_are_not_text_are_refused_and_leave_nothing)
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
