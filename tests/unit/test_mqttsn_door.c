/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The poll loop's side of the MQTT-SN gateway: paths, mailboxes, frames, and the way of a datagram
 * through a worker.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "dataplane/mqttsn/reply.h"
#include "dataplane/worker.h"
#include "tests/unit/frames.h"
#include "tests/unit/random.h"

enum { PORT = 1883, IDS = 8, WANTED = 5, UNWANTED = 6, UNREADY = 7 };

/* ---- paths ------------------------------------------------------------------------------------ */

static struct hbus_sn_paths *paths;

static struct hbus_sn_peer peer_of(uint32_t n)
{
	struct hbus_sn_peer peer = { .addr = { 10, 0, (uint8_t)(n >> 8), (uint8_t)n }, .port = 4000,
				     .family = 4 };

	return peer;
}

static uint32_t find(uint32_t n, uint8_t flags, uint16_t topic_id, bool *ret_is_wanted)
{
	const struct hbus_sn_publish_head head = { .flags = flags, .topic_id = topic_id };
	struct hbus_sn_peer peer = peer_of(n);
	bool is_wanted_too = false;
	uint32_t number = hbus_sn_paths_find(paths, &peer, &head, 77, ret_is_wanted), addr;

	/* The short way says the same. */
	memcpy(&addr, peer.addr, sizeof(addr));
	cr_assert_eq(hbus_sn_paths_find_ipv4(paths, addr, peer.port, &head, 77, &is_wanted_too), number);
	cr_assert(number == 0 || is_wanted_too == *ret_is_wanted);
	return number;
}

static void make_paths(void)
{
	struct hbus_sn_peer peer = peer_of(1);

	cr_assert_eq(hbus_sn_paths_new(3, IDS, &paths), 0);
	hbus_sn_paths_topic(paths, WANTED, true, true);
	hbus_sn_paths_topic(paths, UNWANTED, true, false);
	hbus_sn_paths_topic(paths, UNREADY, false, true);
	hbus_sn_paths_open(paths, &peer);
	hbus_sn_paths_set(paths, &peer, 1, WANTED);
	hbus_sn_paths_set(paths, &peer, 2, UNWANTED);
	hbus_sn_paths_set(paths, &peer, 3, UNREADY);
	hbus_sn_paths_common_set(paths, HBUS_SN_KIND_PREDEFINED, 9, WANTED);
}

static void free_paths(void)
{
	paths = hbus_sn_paths_free(paths);
}

TestSuite(mqttsn_paths, .init = make_paths, .fini = free_paths);

Test(mqttsn_paths, say_what_stands_behind_an_identifier_of_a_peer)
{
	struct hbus_sn_peer peer = peer_of(1);
	bool is_wanted = false;

	cr_assert_eq(find(1, 0, 1, &is_wanted), WANTED);
	cr_assert(is_wanted);
	cr_assert_eq(find(1, 0, 2, &is_wanted), UNWANTED);
	cr_assert_not(is_wanted);
	cr_assert_eq(find(1, 0, 3, &is_wanted), 0);
	cr_assert_eq(find(1, 0, 4, &is_wanted), 0);
	cr_assert_eq(find(1, 0, 0, &is_wanted), 0);
	cr_assert_eq(find(1, 0, IDS + 1, &is_wanted), 0);
	cr_assert_eq(find(1, 0, 65535, &is_wanted), 0);
	cr_assert_eq(find(2, 0, 1, &is_wanted), 0);
	cr_assert_eq(hbus_sn_paths_heard_ns(paths, &peer), 77);
}

Test(mqttsn_paths, give_common_identifiers_to_peers_and_at_qos_minus_1_to_anybody)
{
	bool is_wanted;

	cr_assert_eq(find(1, 1, 9, &is_wanted), WANTED);
	cr_assert_eq(find(2, 1, 9, &is_wanted), 0);
	cr_assert_eq(find(2, 0x61, 9, &is_wanted), WANTED);
	cr_assert_eq(find(2, 0x62, 9, &is_wanted), 0);
}

Test(mqttsn_paths, of_closed_peers_are_not_found_and_their_memory_waits)
{
	struct hbus_sn_peer peer = peer_of(1);
	bool is_wanted;

	hbus_sn_paths_close(paths, &peer);
	cr_assert_eq(find(1, 0, 1, &is_wanted), 0);
	cr_assert(hbus_sn_paths_retire(paths));
	hbus_sn_paths_reclaim(paths);
	cr_assert_not(hbus_sn_paths_retire(paths));
	hbus_sn_paths_close(paths, &peer);
	hbus_sn_paths_open(paths, &peer);
	cr_assert_eq(find(1, 0, 1, &is_wanted), 0, "a new path knows nothing of the old one");
}

Test(mqttsn_paths, of_many_peers_are_told_apart)
{
	bool is_wanted;

	for (uint32_t n = 2; n < 40000; n++) {
		struct hbus_sn_peer peer = peer_of(n);

		hbus_sn_paths_open(paths, &peer);
		hbus_sn_paths_set(paths, &peer, 1, n % 2 ? WANTED : UNWANTED);
	}
	for (uint32_t n = 2; n < 40000; n += 3) {
		struct hbus_sn_peer peer = peer_of(n);

		hbus_sn_paths_close(paths, &peer);
	}
	for (uint32_t n = 2; n < 40000; n++)
		cr_assert_eq(find(n, 0, 1, &is_wanted), n % 3 == 2 ? 0 : n % 2 ? WANTED : UNWANTED);
}

/* ---- mailboxes ---------------------------------------------------------------------------------- */

Test(mqttsn_mailbox, holds_so_many_and_keeps_their_order_round_and_round)
{
	struct hbus_sn_mailbox box = { 0 };
	uint64_t in = 0, out = 0;
	struct test_random random;

	test_random_init(&random, "mqttsn_mailbox");
	cr_assert_eq(hbus_sn_mailbox_init(&box, 8, 16), 0);
	while (out < 100000) {
		for (uint32_t n = test_random_below(&random, 10); n > 0; n--) {
			uint64_t *slot = hbus_sn_mailbox_reserve(&box);

			cr_assert_eq(slot != NULL, in - out < 8);
			if (!slot)
				break;
			*slot = in++;
			hbus_sn_mailbox_commit(&box);
		}
		for (uint32_t n = test_random_below(&random, 10); n > 0; n--) {
			const uint64_t *slot = hbus_sn_mailbox_peek(&box);

			cr_assert_eq(slot != NULL, in != out);
			if (!slot)
				break;
			cr_assert_eq(*slot, out++);
			hbus_sn_mailbox_release(&box);
		}
		cr_assert_eq(hbus_sn_mailbox_is_empty(&box), in == out);
	}
	hbus_sn_mailbox_deinit(&box);
}

/* ---- frames out ----------------------------------------------------------------------------------- */

static void expect_frame(const struct hbus_sn_peer *peer, const struct hbus_sn_link *link, size_t size)
{
	uint8_t room[HBUS_SN_FRAME_MAX], message[HBUS_SN_MESSAGE_MAX];
	size_t wrapping = peer->node_size ? 3U + peer->node_size : 0;
	struct hbus_packet packet;
	const uint8_t *payload;
	uint32_t payload_size;
	size_t frame_size;

	for (size_t i = 0; i < size; i++)
		message[i] = (uint8_t)(i * 7 + size);
	frame_size = hbus_sn_reply(room, peer, link, message, size);
	cr_assert_eq(hbus_net_parse(room, frame_size, &packet), HBUS_REASON_ACCEPTED);
	cr_assert_eq(hbus_net_check_length(&packet, &payload, &payload_size), HBUS_REASON_ACCEPTED);
	cr_assert_eq(hbus_net_check_sums(&packet, 0), HBUS_REASON_ACCEPTED, "%zu bytes", size);
	cr_assert_eq(payload + payload_size, room + frame_size, "nothing behind it");
	cr_assert_eq(payload_size, size + wrapping);
	cr_assert_eq(memcmp(payload + wrapping, message, size), 0);
	cr_assert_eq(packet.family, peer->family);
	cr_assert_eq(packet.port, peer->port);
	cr_assert_eq(packet.source_port, link->local_port);
	cr_assert_eq(packet.vlan, peer->vlan);
	cr_assert_eq(memcmp(packet.destination, peer->addr, peer->family == 4 ? 4 : 16), 0);
	cr_assert_eq(memcmp(packet.source, link->local_addr, peer->family == 4 ? 4 : 16), 0);
	cr_assert_eq(memcmp(room, link->peer_mac, 6), 0);
	cr_assert_eq(memcmp(room + 6, link->local_mac, 6), 0);
	if (wrapping)
		cr_assert_eq(memcmp(payload + 3, peer->node, peer->node_size), 0);
}

Test(mqttsn_reply, is_what_our_own_parser_finds_good)
{
	struct hbus_sn_peer peer = { .addr = { 192, 0, 2, 9, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
				     .port = 40001, .family = 4 };
	struct hbus_sn_link link = { .peer_mac = { 2, 0, 0, 0, 0, 1 }, .local_mac = { 2, 0, 0, 0, 0, 2 },
				     .local_addr = { 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 },
				     .tags = { 0x81, 0, 0, 7, 0x81, 0, 0, 9 }, .local_port = 1883 };

	for (size_t size = 2; size < 600; size++) {
		for (uint8_t family = 4; family <= 6; family += 2) {
			peer.family = family;
			link.n_tags = (uint8_t)(size % 3);
			peer.vlan = link.n_tags ? 7 : 0;
			peer.node_size = size % 5 == 0 ? (uint8_t)(size % 17) : 0;
			expect_frame(&peer, &link, size);
		}
	}
}

Test(mqttsn_reply, longer_than_a_message_may_be_is_none)
{
	uint8_t room[HBUS_SN_FRAME_MAX], message[HBUS_SN_MESSAGE_MAX + 1] = { 0 };
	const struct hbus_sn_peer peer = { .family = 4, .node_size = 1 };
	const struct hbus_sn_link link = { 0 };

	cr_assert_eq(hbus_sn_reply(room, &peer, &link, message, HBUS_SN_MESSAGE_MAX), 0);
	cr_assert_gt(hbus_sn_reply(room, &peer, &link, message, HBUS_SN_MESSAGE_MAX - 4), 0);
}

/* ---- a worker with a door -------------------------------------------------------------------------- */

struct notes {
	struct hbus_sink sink;
	uint32_t n, topic;
	char last[64];
};

static enum hbus_reason notes_publish(struct hbus_sink *sink, uint32_t topic, const uint8_t *payload,
				      uint32_t payload_size)
{
	struct notes *notes = (struct notes *)sink;

	notes->n++;
	notes->topic = topic;
	snprintf(notes->last, sizeof(notes->last), "%.*s", (int)payload_size, (const char *)payload);
	return HBUS_REASON_ACCEPTED;
}

static void notes_commit(struct hbus_sink *sink)
{
	(void)sink;
}

static struct notes notes;
static struct hbus_counter_cell cells[HBUS_N_WORKER_CELLS];
static struct hbus_worker worker;
static struct hbus_plan *plan;
static struct hbus_sn_door door;
static struct hbus_plan_input input;
static struct hbus_plan_source source;

static void make_worker(void)
{
	static struct hbus_plan_route route = { .match = { .family = HBUS_FAMILY_IPV4, .vlan = HBUS_VLAN_ANY,
							   .port = PORT },
						.is_gateway = true,
						.topic = { .counter_idx = 1, .is_wanted = true } };

	make_paths();
	notes = (struct notes){ .sink = { notes_publish, notes_commit } };
	input = (struct hbus_plan_input){ .routes = &route, .n_routes = 1, .sources = &source };
	cr_assert_eq(hbus_worker_init(&worker, cells, &notes.sink, 7), 0);
	cr_assert_eq(hbus_plan_new(&input, &plan), 0);
	cr_assert_eq(hbus_sn_door_init(&door, paths, 3), 0);
	door.queue_idx = 2;
	worker.door = &door;
}

static void free_worker(void)
{
	hbus_sn_door_deinit(&door);
	hbus_worker_deinit(&worker);
	plan = hbus_plan_free(plan);
	free_paths();
}

TestSuite(mqttsn_worker, .init = make_worker, .fini = free_worker);

static uint64_t reason_count(enum hbus_reason reason)
{
	return hbus_counter_get(&cells[HBUS_CELL_FRAMES + reason]);
}

/* From peer @n. Return: the reason of the frame. */
static enum hbus_reason take(uint32_t n, const void *message, uint32_t size, bool spoils_sum)
{
	static const uint16_t tpid = 0x8100, tag = 0;
	struct hbus_sn_peer peer = peer_of(n);
	uint64_t before[HBUS_N_REASONS];
	struct frame f;

	frame_link(&f, &tpid, &tag, 0, 0x0800);
	frame_ipv4_udp(&f, 0, PORT, message, size);
	memcpy(f.bytes + f.ip_off + 12, peer.addr, 4);
	frame_put16(f.bytes + f.udp_off, peer.port);
	frame_seal_ipv4(&f);
	frame_seal_udp(&f);
	if (spoils_sum)
		f.bytes[f.size - 1] ^= 1;
	for (unsigned int i = 0; i < HBUS_N_REASONS; i++)
		before[i] = reason_count(i);
	hbus_worker_begin(&worker, plan, 1, 1000);
	hbus_worker_frame(&worker, f.bytes, f.size, 0);
	hbus_worker_commit(&worker);
	for (unsigned int i = 0; i < HBUS_N_REASONS; i++)
		if (reason_count(i) != before[i])
			return i;
	cr_assert_fail("not counted");
	return 0;
}

static enum hbus_reason publish(uint32_t n, uint8_t flags, uint16_t topic_id, const char *text)
{
	uint8_t message[128] = { (uint8_t)(7 + strlen(text)), HBUS_SN_PUBLISH, flags,
				 (uint8_t)(topic_id >> 8), (uint8_t)topic_id };

	memcpy(message + 7, text, strlen(text));
	return take(n, message, message[0], false);
}

Test(mqttsn_worker, publishes_what_the_paths_know)
{
	cr_assert_eq(publish(1, 0, 1, "21.5"), HBUS_REASON_ACCEPTED);
	cr_assert_eq(notes.topic, WANTED);
	cr_assert_str_eq(notes.last, "21.5");
	cr_assert_eq(publish(9, 0x61, 9, "anybody"), HBUS_REASON_ACCEPTED);
	cr_assert_str_eq(notes.last, "anybody");
	cr_assert_eq(notes.n, 2);
	cr_assert_null(hbus_sn_mailbox_peek(&door.inbox));
	cr_assert_eq(hbus_counter_get(&cells[HBUS_CELL_MQTTSN_PUBLISHED]), 2);
	cr_assert_eq(hbus_counter_get(&cells[HBUS_CELL_EVENTS_PUBLISHED]), 2);
}

Test(mqttsn_worker, drops_what_nobody_wants)
{
	cr_assert_eq(publish(1, 0, 2, "x"), HBUS_REASON_NO_INTEREST);
	cr_assert_eq(notes.n, 0);
	cr_assert_null(hbus_sn_mailbox_peek(&door.inbox));
}

Test(mqttsn_worker, passes_everything_else_to_the_gateway_with_the_way_back)
{
	const struct { uint32_t n; uint8_t flags; uint16_t topic_id; } others[] = {
		{ 1, 0x20, 1 },  /* QoS 1 */
		{ 1, 0x10, 2 },  /* retained, though nobody wants it now */
		{ 1, 0, 3 },     /* a topic without a ring yet */
		{ 1, 0, 4 },     /* an identifier that was not given */
		{ 2, 0, 1 },     /* a stranger */
		{ 9, 0x60, 1 },  /* QoS -1 with an identifier of nobody */
	};
	struct hbus_sn_peer peer;
	const struct hbus_sn_letter *letter;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		cr_assert_eq(publish(others[i].n, others[i].flags, others[i].topic_id, "x"),
			     HBUS_REASON_ACCEPTED);
		letter = hbus_sn_mailbox_peek(&door.inbox);
		peer = peer_of(others[i].n);
		cr_assert_not_null(letter);
		cr_assert(hbus_sn_peer_is_same(&letter->peer, &peer));
		cr_assert_eq(letter->size, 8);
		cr_assert_eq(letter->link.loop_idx, 3);
		cr_assert_eq(letter->link.queue_idx, 2);
		cr_assert_eq(letter->link.local_port, PORT);
		hbus_sn_mailbox_release(&door.inbox);
	}
	cr_assert_eq(notes.n, 0);
}

Test(mqttsn_worker, refuses_lengths_that_lie_and_sums_that_are_wrong)
{
	const uint8_t publish_1[] = { 8, HBUS_SN_PUBLISH, 0, 0, 1, 0, 0, 'x' };

	cr_assert_eq(take(1, "\x09\x16", 2, false), HBUS_REASON_MALFORMED);
	cr_assert_eq(take(1, "\x02", 1, false), HBUS_REASON_MALFORMED);
	cr_assert_eq(take(1, "", 0, false), HBUS_REASON_MALFORMED);
	cr_assert_eq(take(1, "\x01\0\x05\x16", 4, false), HBUS_REASON_MALFORMED);
	cr_assert_eq(take(1, "\x01\x16\0", 3, false), HBUS_REASON_MALFORMED);
	cr_assert_eq(take(1, "\x05\xfe\0n", 4, false), HBUS_REASON_MALFORMED);
	cr_assert_eq(take(1, publish_1, sizeof(publish_1), true), HBUS_REASON_BAD_CHECKSUM);
	cr_assert_eq(notes.n, 0);
	cr_assert_null(hbus_sn_mailbox_peek(&door.inbox));
	cr_assert_eq(take(1, publish_1, sizeof(publish_1), false), HBUS_REASON_ACCEPTED);
	cr_assert_eq(notes.n, 1);
}

Test(mqttsn_worker, judges_the_source_of_what_it_publishes_and_of_what_it_passes)
{
	source = (struct hbus_plan_source){ .addr = { 10 }, .family = 4, .prefix_len = 8,
					    .action = HBUS_SOURCE_DENY };
	input.n_sources = 1;
	hbus_plan_free(plan);
	cr_assert_eq(hbus_plan_new(&input, &plan), 0);
	cr_assert_eq(publish(1, 0, 1, "x"), HBUS_REASON_SOURCE_DENIED);
	cr_assert_eq(publish(1, 0x20, 1, "x"), HBUS_REASON_SOURCE_DENIED);
	cr_assert_eq(publish(1, 0, 2, "x"), HBUS_REASON_NO_INTEREST);
}

Test(mqttsn_worker, drops_and_counts_when_the_gateway_is_behind)
{
	/* From so many that none has more than its share. */
	for (uint32_t i = 0; i < HBUS_SN_INBOX_SLOTS; i++)
		cr_assert_eq(publish(100 + i % 16, 0, 1, "x"), HBUS_REASON_ACCEPTED);
	cr_assert_eq(publish(2, 0, 1, "x"), HBUS_REASON_GATEWAY_FULL);
	cr_assert_eq(publish(1, 0, 1, "fast"), HBUS_REASON_ACCEPTED);
	cr_assert_str_eq(notes.last, "fast");
	hbus_sn_mailbox_release(&door.inbox);
	cr_assert_eq(publish(2, 0, 1, "x"), HBUS_REASON_ACCEPTED);
}

Test(mqttsn_worker, who_floods_fills_his_share_and_leaves_room_for_others)
{
	for (unsigned int round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < HBUS_SN_INBOX_SHARE; i++)
			cr_assert_eq(publish(2, 0, 1, "x"), HBUS_REASON_ACCEPTED);
		for (uint32_t i = 0; i < 100; i++)
			cr_assert_eq(publish(2, 0, 1, "x"), HBUS_REASON_GATEWAY_FULL);
		cr_assert_eq(publish(3, 0, 1, "x"), HBUS_REASON_ACCEPTED);
		cr_assert_not_null(hbus_sn_mailbox_peek(&door.inbox));
		hbus_sn_mailbox_release(&door.inbox);
		cr_assert_eq(publish(2, 0, 1, "x"), HBUS_REASON_ACCEPTED);
		cr_assert_eq(publish(2, 0, 1, "x"), HBUS_REASON_GATEWAY_FULL);
		while (hbus_sn_mailbox_peek(&door.inbox))
			hbus_sn_mailbox_release(&door.inbox);
	}
}

Test(mqttsn_worker, without_a_gateway_has_no_ring_for_it)
{
	worker.door = NULL;
	cr_assert_eq(publish(1, 0, 1, "x"), HBUS_REASON_NO_RING);
}
