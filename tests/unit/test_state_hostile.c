/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's state machine and clients that lie: strings, sizes, numbers, other people's rings and slots. */
#include "tests/unit/state_kit.h"

TestSuite(state_hostile, .init = kit_begin, .fini = kit_end);

static uint32_t create_ring(struct sim_client *client, uint64_t capacity)
{
	return SIM_REQUEST(&sim, client, HBUS_MSG_RING_CREATE, 0, struct hbus_msg_ring_create,
			   { .capacity = capacity, .first_topic = "a/b" });
}

/* A frame that is checked as it came, without the sender's own header. */
static const char *check(void *msg, enum hbus_msg_type type, size_t size)
{
	*(struct hbus_msg_header *)msg = (struct hbus_msg_header){ HBUS_PROTO_MAGIC, (uint16_t)type, (uint16_t)size, 1, 0 };
	return hbus_msg_check(msg, size, 0);
}

Test(state_hostile, a_string_that_does_not_end_in_its_field_is_refused)
{
	struct hbus_msg_hello hello_msg = { .major = HBUS_PROTO_MAJOR };
	struct hbus_msg_sub_filter filter = { .sub_id = 1 };

	cr_assert_null(check(&hello_msg, HBUS_MSG_HELLO, sizeof(hello_msg)));
	memset(hello_msg.name, 'x', sizeof(hello_msg.name));
	cr_assert_not_null(check(&hello_msg, HBUS_MSG_HELLO, sizeof(hello_msg)));
	cr_assert_null(check(&filter, HBUS_MSG_SUB_FILTER_ADD, sizeof(filter)));
	memset(filter.filter, 'x', sizeof(filter.filter));
	cr_assert_not_null(check(&filter, HBUS_MSG_SUB_FILTER_ADD, sizeof(filter)));
	filter.filter[sizeof(filter.filter) - 1] = '\0';
	cr_assert_null(check(&filter, HBUS_MSG_SUB_FILTER_ADD, sizeof(filter)));
}

Test(state_hostile, reserved_bytes_in_use_are_refused)
{
	struct hbus_msg_list list = { .kind = 1 };

	cr_assert_null(check(&list, HBUS_MSG_LIST, sizeof(list)));
	list.reserved = 1u << 31;
	cr_assert_not_null(check(&list, HBUS_MSG_LIST, sizeof(list)));
}

Test(state_hostile, a_message_shorter_or_longer_than_its_type_is_refused)
{
	union {
		struct hbus_msg_list list;
		char room[sizeof(struct hbus_msg_list) + 8];
	} msg = { .room = { 0 } };

	cr_assert_not_null(check(&msg, HBUS_MSG_LIST, sizeof(msg.list) - 1));
	cr_assert_not_null(check(&msg, HBUS_MSG_LIST, sizeof(msg.list) + 8));
	cr_assert_not_null(check(&msg, HBUS_MSG_LIST, sizeof(struct hbus_msg_header) - 1));
	cr_assert_null(check(&msg, HBUS_MSG_LIST, sizeof(msg.list)));
}

Test(state_hostile, nobody_speaks_for_the_ring_of_another_client)
{
	struct sim_client *owner = join(ALICE), *other = join(ALICE);
	struct hbus_msg_ring_grant grant = grant_ring(owner, "a/b");
	uint64_t id = grant.geometry.ring_id;

	cr_assert_eq(status_of(other, say_ring(other, HBUS_MSG_RING_MAPPED, id, 0)), HBUS_E_NOT_FOUND);
	cr_assert_eq(status_of(other, say_ring(other, HBUS_MSG_RING_CLOSE, id, 0)), HBUS_E_NOT_FOUND);
	cr_assert_eq(counts().n_rings, 1);
	cr_assert_eq(status_of(owner, say_ring(owner, HBUS_MSG_RING_MAPPED, id, 0)), 0);
}

Test(state_hostile, a_ring_has_a_power_of_two_of_bytes_within_its_limits)
{
	struct sim_client *client = join(ALICE);

	cr_assert_eq(status_of(client, create_ring(client, HBUS_RING_CAPACITY_MIN * 3)), HBUS_E_INVALID);
	cr_assert_eq(status_of(client, create_ring(client, HBUS_RING_CAPACITY_MIN / 2)), HBUS_E_INVALID);
	cr_assert_eq(status_of(client, create_ring(client, HBUS_RING_CAPACITY_MAX * 2)), HBUS_E_INVALID);
	cr_assert_eq(sim.n_rings_made, 0);
	grant_ring(client, "a/b");
}

/* Each limit in turn refuses, and what was charged before it has to come back. */
Test(state_hostile, a_ring_that_is_refused_for_one_quota_costs_nothing_of_the_others)
{
	struct sim_client *client = join(ALICE);
	struct hbus_account *account = hbus_state_account(client->member);
	const enum hbus_quota_kind kinds[] = { HBUS_QUOTA_RINGS, HBUS_QUOTA_BYTES, HBUS_QUOTA_FDS };
	uint64_t before[HBUS_QUOTA_N_KINDS];

	memcpy(before, account->used, sizeof(before));
	for (size_t i = 0; i < 3; i++) {
		uint64_t limit = account->limits.max[kinds[i]];

		account->limits.max[kinds[i]] = account->used[kinds[i]];
		cr_assert_eq(status_of(client, create_ring(client, HBUS_RING_CAPACITY_MIN)), HBUS_E_QUOTA);
		account->limits.max[kinds[i]] = limit;
		cr_assert_eq(memcmp(before, account->used, sizeof(before)), 0, "after the refusal for %s",
			     hbus_quota_kind_name(kinds[i]));
	}
}

Test(state_hostile, the_daemon_gives_up_its_way_to_write_before_others_may_read)
{
	struct sim_client *client = join(ALICE);
	uint64_t id = grant_ring(client, "a/b").geometry.ring_id;
	const struct hbus_ring *ring = hbus_ring_find(sim.state, id);

	cr_assert_not_null(ring->write_fds[0]);
	cr_assert_eq(status_of(client, say_ring(client, HBUS_MSG_RING_MAPPED, id, 0)), 0);
	cr_assert_null(ring->write_fds[0]);
	cr_assert_null(ring->write_fds[1]);
	cr_assert_not_null(ring->read_fds[0]);
}

Test(state_hostile, a_slot_that_is_in_use_or_behind_the_last_is_not_given)
{
	uint64_t used[1] = { 0 };
	struct hbus_subscriber_state sub = { .memfds = { { .fd = sim_fd(), .n_slots = 4, .used = used } } };

	cr_assert_not(hbus_slot_take_this(&sub, 0, 4));
	cr_assert_not(hbus_slot_take_this(&sub, 0, UINT32_MAX));
	cr_assert_not(hbus_slot_take_this(&sub, 1, 0), "a memfd that was never sent");
	cr_assert_not(hbus_slot_take_this(&sub, HBUS_SLOT_MEMFDS_MAX, 0));
	cr_assert(hbus_slot_take_this(&sub, 0, 3));
	cr_assert_not(hbus_slot_take_this(&sub, 0, 3), "twice");
	cr_assert_eq(sub.memfds[0].n_used, 1);
	hbus_fd_put(sub.memfds[0].fd);
}
