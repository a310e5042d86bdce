/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon has room for at all, whatever quotas say, and one more: a sentence, and all goes on. */
#include <stdio.h>

#include "tests/unit/state_kit.h"

TestSuite(state_limits, .init = kit_begin, .fini = kit_end);

static uint32_t offer_counters(struct sim_client *client, unsigned int number)
{
	struct hbus_msg_counters_offer msg = { .name = "" };

	snprintf(msg.name, sizeof(msg.name), "set %u", number);
	return sim_message(&sim, client, &msg, HBUS_MSG_COUNTERS_OFFER, sizeof(msg), 0, 1);
}

static uint32_t create_ring(struct sim_client *client)
{
	return SIM_REQUEST(&sim, client, HBUS_MSG_RING_CREATE, 0, struct hbus_msg_ring_create,
			   { .capacity = HBUS_RING_CAPACITY_MIN, .first_topic = "a/b" });
}

/* As if there were @n; @count is what it was again afterwards. */
#define WITH_COUNT(count, n, ...)                                                                  \
	do {                                                                                       \
		typeof(count) was_ = (count);                                                      \
		(count) = (typeof(count))(n);                                                      \
		__VA_ARGS__;                                                                       \
		(count) = was_;                                                                    \
	} while (0)

Test(state_limits, counter_sets_of_the_living_fill_the_bus_and_those_of_the_dead_make_room)
{
	struct sim_client *dead = join(ALICE), *owner = join(ALICE), *late = join(BOB);
	uint32_t serial;

	cr_assert_eq(status_of(dead, offer_counters(dead, 0)), 0);
	for (unsigned int i = 1; i < HBUS_COUNTER_SETS_MAX; i++)
		cr_assert_eq(status_of(owner, offer_counters(owner, i)), 0, "set %u", i);
	serial = offer_counters(late, 0);
	cr_assert_eq(status_of(late, serial), HBUS_E_LIMIT);
	cr_assert(strstr(sim_reply(late, serial)->text, "as many counter sets as it can"));
	sim_die(&sim, dead);
	cr_assert_eq(status_of(late, offer_counters(late, 1)), 0);
	cr_assert_eq(status_of(late, offer_counters(late, 2)), HBUS_E_LIMIT);
}

Test(state_limits, one_client_more_than_the_bus_takes_is_refused_with_a_sentence)
{
	struct sim_client *first = join(ALICE), *late = NULL;
	const char *text = "";

	WITH_COUNT(sim.state->members.n, HBUS_MEMBERS_MAX, late = sim_connect(&sim, BOB));
	cr_assert_null(late->member);
	cr_assert_eq(hbus_state_refusal(sim.state, &text), HBUS_E_LIMIT);
	cr_assert(strstr(text, "as many clients as it can"));
	sim_reconnect(&sim, late, BOB);
	cr_assert_not_null(late->member);
	grant_ring(first, "a/b");
}

Test(state_limits, one_ring_more_than_a_client_or_the_bus_may_have_is_refused_with_a_sentence)
{
	struct sim_client *client = join(ALICE);
	uint32_t of_the_client = 0, of_the_bus = 0;

	WITH_COUNT(client->member->n_rings, HBUS_RINGS_PER_MEMBER_MAX, of_the_client = create_ring(client));
	WITH_COUNT(sim.state->rings.n, HBUS_RINGS_MAX, of_the_bus = create_ring(client));
	cr_assert_eq(status_of(client, of_the_client), HBUS_E_LIMIT);
	cr_assert_eq(status_of(client, of_the_bus), HBUS_E_LIMIT);
	cr_assert(strstr(sim_reply(client, of_the_bus)->text, "no more rings"));
	cr_assert_eq(counts().n_rings, 0);
	grant_ring(client, "a/b");
}

/* Who may read so many has to learn what it misses: its library refuses the ring and reports it. */
Test(state_limits, one_ring_more_than_a_subscriber_may_read_is_shown_to_it_and_far_too_many_are_an_error)
{
	struct sim_client *pub = join(ALICE), *reader = join(ALICE);
	struct hbus_msg_ring_grant grant = open_ring(pub, "a/b");
	const struct hbus_msg_ring_opened *opened;
	struct hbus_subscriber_state *sub;
	uint32_t serial = 0;

	open_sub(reader, 0);
	sub = hbus_sub_find(reader->member, SUB);
	cr_assert_not_null(sub);
	WITH_COUNT(sub->n_attachments, HBUS_ATTACHMENTS_MAX, serial = filter(reader, HBUS_MSG_SUB_FILTER_ADD, "a/b"));
	cr_assert_eq(status_of(reader, serial), HBUS_E_LIMIT);
	cr_assert(strstr(sim_reply(reader, serial)->text, "more rings than a subscriber can have"));
	cr_assert_null(sim_next(reader, HBUS_MSG_RING_OPENED));
	cr_assert_eq(counts().n_attachments, 0);
	sub->n_attachments += HBUS_RINGS_PER_SUBSCRIBER_MAX;
	serial = filter(reader, HBUS_MSG_SUB_FILTER_ADD, "a/+");
	accept_gate(pub);
	opened = sim_next(reader, HBUS_MSG_RING_OPENED);
	cr_assert_not_null(opened);
	cr_assert_eq(opened->geometry.ring_id, grant.geometry.ring_id);
	accept_ring(reader, grant.geometry.ring_id, HBUS_E_LIMIT);
	sub->n_attachments -= HBUS_RINGS_PER_SUBSCRIBER_MAX;
	cr_assert_eq(status_of(reader, serial), 0);
	answer(pub, HBUS_MSG_GATE_REMOVED, grant.geometry.ring_id, opened->gate_id, opened->attach_idx, 0);
	cr_assert_eq(counts().n_attachments, 0);
}
