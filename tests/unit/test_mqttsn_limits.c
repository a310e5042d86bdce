/* SPDX-License-Identifier: BSD-3-Clause */
/* The MQTT-SN engine on the MQTT engine: one more than its limits, and bytes that lie. */
#include "tests/unit/mqttsn_kit.h"

TestSuite(mqttsn_limits, .init = kit_init, .fini = kit_deinit);

/* ---- limits ------------------------------------------------------------------------------------------ */

Test(mqttsn_limits, clients_are_limited_in_all_and_by_address)
{
	config.clients_max = 4;
	config.clients_per_address_max = 2;
	kit_deinit();
	kit_start();
	for (uint32_t i = 0; i < 4; i++) {
		char id[] = { (char)('a' + i), '\0' };

		connect_client(i, CLEAN, id);
	}
	say_connect(9, CLEAN, 60, "e");
	expect(9, "CONNACK c1");
	say(0, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	connect_client(9, CLEAN, "e");
	say(9, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	/* The same address, other ports. */
	for (uint32_t i = 0; i < 3; i++) {
		const struct hbus_sn_link link = { 0 };
		struct hbus_sn_peer peer = peer_of(1);
		uint8_t connect[] = { 7, 4, CLEAN, 1, 0, 60, (uint8_t)('p' + i) };

		peer.port = (uint16_t)(i + 1);
		hbus_sn_input(sn, &peer, &link, connect, sizeof(connect));
	}
	cr_assert_eq(counters->clients_now, 4);
	cr_assert_eq(counters->connects_limited, 3);
}

Test(mqttsn_limits, identifiers_of_a_client_are_limited)
{
	config.topic_ids_max = 3;
	kit_deinit();
	kit_start();
	connect_client(1, CLEAN, "greedy");
	say_register(1, 1, "t/1");
	say_register(1, 2, "t/2");
	say_register(1, 3, "t/3");
	say_register(1, 4, "t/4");
	expect(1, "REGACK i1 #1 c0");
	expect(1, "REGACK i2 #2 c0");
	expect(1, "REGACK i3 #3 c0");
	expect(1, "REGACK i0 #4 c1");
	connect_and_register(2, "other", "t/5");
	/* A message whose name has no place is dropped, and the next goes on. */
	say_subscribe(1, QOS_1, 5, "u/+");
	expect(1, "SUBACK q1 i0 #5 c0");
	bus_event("u/1", "x", 1);
	bus_event("t/1", "y", 0);
	say_subscribe(1, QOS_1, 6, "t/1");
	expect(1, "SUBACK q1 i1 #6 c0");
	bus_event("t/1", "z", 1);
	expect(1, "PUBLISH k0 i1 q1 r0 d0 #2 z");
}

Test(mqttsn_limits, a_message_longer_than_a_datagram_is_dropped_and_the_next_one_goes)
{
	static char large[HBUS_SN_MESSAGE_MAX];

	memset(large, 'x', sizeof(large) - 1);
	connect_client(1, CLEAN, "small");
	say_subscribe(1, QOS_2, 1, "a/b");
	expect(1, "SUBACK q2 i1 #1 c0");
	bus_event("a/b", large, 1);
	bus_event("a/b", large, 2);
	bus_event("a/b", "ok", 1);
	expect(1, "PUBLISH k0 i1 q1 r0 d0 #3 ok");
	cr_assert_eq(counters->dropped_too_large, 2);
}

/* ---- bytes ------------------------------------------------------------------------------------------------ */

Test(mqttsn_limits, lengths_that_lie_are_malformed)
{
	connect_client(1, CLEAN, "one");
	say_bytes(1, BYTES(3, HBUS_SN_PINGREQ));
	say_bytes(1, BYTES(1, 0, 3, HBUS_SN_PINGREQ));
	say_bytes(1, BYTES(1));
	say_bytes(1, BYTES(0, 0));
	say_bytes(1, BYTES(2, 0x03));
	say_bytes(1, BYTES(2, 0xff));
	say_bytes(1, BYTES(6, HBUS_SN_PUBLISH, 0, 0, 1, 0));
	say_bytes(1, BYTES(8, HBUS_SN_PUBREL, 0, 1, 2, 3, 4, 5));
	say_bytes(1, BYTES(7, HBUS_SN_CONNECT, CLEAN, 2, 0, 60, 'x'));
	say_bytes(1, BYTES(6, HBUS_SN_CONNECT, CLEAN, 1, 0, 60));
	say_bytes(1, BYTES(7, HBUS_SN_PUBLISH, QOS_1, 0, 1, 0, 0));
	say_bytes(1, BYTES(7, HBUS_SN_PUBLISH, 3, 0, 1, 0, 0));
	cr_assert_eq(counters->in_malformed, 12);
	expect_silence(1);
	cr_assert_eq(counters->clients_now, 1);
}

Test(mqttsn_limits, a_length_of_three_octets_is_as_good)
{
	connect_client(1, CLEAN, "one");
	say_bytes(1, BYTES(1, 0, 4, HBUS_SN_PINGREQ));
	expect(1, "PINGRESP");
	cr_assert_eq(counters->in_malformed, 0);
}

Test(mqttsn_limits, messages_of_255_bytes_and_of_256_are_read_back)
{
	for (size_t n = 240; n < 260; n++) {
		uint8_t room[300], data[300] = { 0 };
		size_t size = hbus_sn_build(room, sizeof(room), HBUS_SN_PUBLISH, BYTES(0, 0, 1, 0, 0),
					    data, n);
		struct hbus_sn_publish_head head;
		struct hbus_sn_message message;

		cr_assert_eq(size, n + 7 + (n + 7 > 255 ? 2 : 0));
		cr_assert(hbus_sn_parse(room, size, &message));
		cr_assert_eq(message.data_size, n);
		cr_assert(hbus_sn_publish_head(room, size, &head));
		cr_assert_eq(head.topic_id, 1);
		cr_assert_eq(size - head.head_size, n);
		cr_assert_eq(hbus_sn_build(room, size - 1, HBUS_SN_PUBLISH, BYTES(0, 0, 1, 0, 0), data, n),
			     0);
	}
}
