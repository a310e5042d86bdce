/* SPDX-License-Identifier: BSD-3-Clause */
/* The MQTT-SN engine on the MQTT engine: publishing and subscribing, what is lost on the way, gateways. */
#include "tests/unit/mqttsn_kit.h"

TestSuite(mqttsn, .init = kit_init, .fini = kit_deinit);

Test(mqttsn, a_client_connects_registers_and_publishes)
{
	connect_and_register(1, "one", "a/b");
	say_publish(1, QOS_0, 1, 0, "zero");
	expect_published("a/b q0 r0 zero");
	say_publish(1, QOS_1, 1, 7, "one");
	expect_published("a/b q1 r0 one");
	expect(1, "PUBACK i1 #7 c0");
	say_publish(1, QOS_2, 1, 8, "two");
	expect(1, "PUBREC #8");
	say_publish(1, QOS_2 | 0x80, 1, 8, "two");
	expect(1, "PUBREC #8");
	say_id(1, HBUS_SN_PUBREL, 8);
	expect(1, "PUBCOMP #8");
	expect_published("a/b q2 r0 two");
	expect_published("");
	say(1, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	expect(1, "DISCONNECT");
	expect_silence(1);
	cr_assert_eq(counters->clients_now, 0);
	cr_assert_eq(counters->topics_now, 0);
}

Test(mqttsn, a_name_registered_twice_keeps_its_identifier)
{
	connect_and_register(1, "one", "a/b");
	say_register(1, 2, "c/d");
	expect(1, "REGACK i2 #2 c0");
	say_register(1, 3, "a/b");
	expect(1, "REGACK i1 #3 c0");
	say_register(1, 4, "a/#");
	expect(1, "REGACK i0 #4 c3");
}

Test(mqttsn, an_unknown_topic_is_refused_at_every_qos)
{
	connect_client(1, CLEAN, "one");
	say_publish(1, QOS_0, 9, 0, "x");
	expect(1, "PUBACK i9 #0 c2");
	say_publish(1, QOS_2, 9, 3, "x");
	expect(1, "PUBACK i9 #3 c2");
	expect_published("");
	cr_assert_eq(counters->publishes_unknown, 2);
}

Test(mqttsn, the_acknowledgement_waits_for_the_bus_and_says_when_it_refuses)
{
	connect_and_register(1, "one", "a/b");
	kit_bus_reason = HBUS_MQTT_QUOTA;
	say_publish(1, QOS_1, 1, 7, "x");
	expect(1, "PUBACK i1 #7 c1");
	say_publish(1, QOS_2, 1, 8, "x");
	expect(1, "PUBACK i1 #8 c1");
	kit_bus_reason = HBUS_MQTT_NOT_AUTHORIZED;
	say_publish(1, QOS_1, 1, 9, "x");
	expect(1, "PUBACK i1 #9 c3");
}

Test(mqttsn, strangers_are_told_to_connect)
{
	say_publish(5, QOS_0, 1, 0, "x");
	expect(5, "DISCONNECT");
	say(5, HBUS_SN_PINGREQ, NULL, 0, NULL);
	expect(5, "DISCONNECT");
	say(5, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	expect_silence(5);
	cr_assert_eq(counters->in_stranger, 3);
	cr_assert_eq(counters->clients_now, 0);
}

Test(mqttsn, topics_are_predefined_or_short_without_registration)
{
	cr_assert_eq(hbus_sn_predefine(sn, 77, "plant/alarm"), 0);
	cr_assert_eq(hbus_sn_predefine(sn, 77, "other"), -17);
	cr_assert_eq(hbus_sn_predefine(sn, 0, "other"), -22);
	connect_client(1, CLEAN, "one");
	say_publish(1, QOS_1 | PREDEFINED, 77, 1, "a");
	expect(1, "PUBACK i77 #1 c0");
	expect_published("plant/alarm q1 r0 a");
	say_publish(1, QOS_0 | SHORT, 't' << 8 | '1', 0, "b");
	expect_published("t1 q0 r0 b");
	say_publish(1, QOS_0 | SHORT, 't' << 8 | '#', 0, "b");
	expect(1, "PUBACK i29731 #0 c2");
}

Test(mqttsn, qos_minus_1_needs_no_connection)
{
	cr_assert_eq(hbus_sn_predefine(sn, 77, "plant/alarm"), 0);
	say_publish(9, QOS_MINUS_1 | PREDEFINED, 77, 0, "a");
	say_publish(9, QOS_MINUS_1 | SHORT | RETAIN, 'x' << 8 | 'y', 0, "b");
	expect_published("plant/alarm q0 r0 a");
	expect_published("xy q0 r1 b");
	expect_silence(9);
	say_publish(9, QOS_MINUS_1, 1, 0, "c");
	cr_assert_eq(counters->in_malformed, 1);
	cr_assert_eq(counters->clients_now, 0);
}

Test(mqttsn, a_subscriber_gets_what_others_publish_under_the_identifier_it_was_told)
{
	connect_and_register(1, "one", "a/b");
	connect_client(2, CLEAN, "two");
	say_subscribe(2, QOS_1, 5, "a/b");
	expect(2, "SUBACK q1 i1 #5 c0");
	say_publish(1, QOS_1, 1, 7, "hello");
	settle();
	expect(2, "PUBLISH k0 i1 q1 r0 d0 #1 hello");
	say_ack(2, HBUS_SN_PUBACK, 1, 1, 0);
	expect_silence(2);
	say(2, HBUS_SN_UNSUBSCRIBE, BYTES(0, 0, 6), "a/b");
	expect(2, "UNSUBACK #6");
	say_publish(1, QOS_0, 1, 0, "again");
	settle();
	expect_silence(2);
}

Test(mqttsn, a_wildcard_subscriber_is_told_each_name_before_its_first_message)
{
	connect_client(2, CLEAN, "two");
	say_subscribe(2, QOS_2, 5, "a/+");
	expect(2, "SUBACK q2 i0 #5 c0");
	bus_event("a/x", "1", 0);
	bus_event("a/x", "2", 0);
	bus_event("a/y", "3", 2);
	expect(2, "REGISTER i1 #1 a/x");
	expect_silence(2);
	say_ack(2, HBUS_SN_REGACK, 1, 1, 0);
	expect(2, "PUBLISH k0 i1 q0 r0 d0 #0 1");
	expect(2, "PUBLISH k0 i1 q0 r0 d0 #0 2");
	expect(2, "REGISTER i2 #2 a/y");
	say_ack(2, HBUS_SN_REGACK, 2, 2, 0);
	expect(2, "PUBLISH k0 i2 q2 r0 d0 #1 3");
	say_id(2, HBUS_SN_PUBREC, 1);
	expect(2, "PUBREL #1");
	say_id(2, HBUS_SN_PUBREC, 1);
	expect(2, "PUBREL #1");
	say_id(2, HBUS_SN_PUBCOMP, 1);
	expect_silence(2);
}

Test(mqttsn, names_of_two_letters_and_predefined_ones_are_not_registered)
{
	cr_assert_eq(hbus_sn_predefine(sn, 77, "plant/alarm"), 0);
	connect_client(2, CLEAN, "two");
	say_subscribe(2, QOS_0, 5, "#");
	expect(2, "SUBACK q0 i0 #5 c0");
	bus_event("ab", "1", 0);
	bus_event("plant/alarm", "2", 0);
	expect(2, "PUBLISH k2 i24930 q0 r0 d0 #0 1");
	expect(2, "PUBLISH k1 i77 q0 r0 d0 #0 2");
}

Test(mqttsn, subscriptions_take_every_kind_of_topic)
{
	cr_assert_eq(hbus_sn_predefine(sn, 77, "plant/alarm"), 0);
	connect_client(2, CLEAN, "two");
	say(2, HBUS_SN_SUBSCRIBE, BYTES(PREDEFINED, 0, 1, 0, 77), NULL);
	expect(2, "SUBACK q0 i77 #1 c0");
	say(2, HBUS_SN_SUBSCRIBE, BYTES(PREDEFINED, 0, 2, 0, 78), NULL);
	expect(2, "SUBACK q0 i0 #2 c2");
	say(2, HBUS_SN_SUBSCRIBE, BYTES(SHORT, 0, 3), "zz");
	expect(2, "SUBACK q0 i31354 #3 c0");
	bus_event("plant/alarm", "a", 0);
	bus_event("zz", "b", 0);
	expect(2, "PUBLISH k1 i77 q0 r0 d0 #0 a");
	expect(2, "PUBLISH k2 i31354 q0 r0 d0 #0 b");
	say(2, HBUS_SN_UNSUBSCRIBE, BYTES(PREDEFINED, 0, 4, 0, 77), NULL);
	expect(2, "UNSUBACK #4");
	bus_event("plant/alarm", "a", 0);
	expect_silence(2);
}

Test(mqttsn, retained_messages_come_with_the_subscription)
{
	connect_and_register(1, "one", "a/b");
	say_publish(1, QOS_1 | RETAIN, 1, 7, "kept");
	connect_client(2, CLEAN, "two");
	say_subscribe(2, QOS_1, 5, "a/b");
	expect(2, "SUBACK q1 i1 #5 c0");
	expect(2, "PUBLISH k0 i1 q1 r1 d0 #1 kept");
}

/* The bus answers when it has heard of the topic: until then the MQTT engine keeps what was said last. */
Test(mqttsn, what_was_said_last_is_published_though_the_client_has_gone)
{
	connect_and_register(1, "hasty", "a/b");
	kit_bus_reason = HBUS_MQTT_PENDING;
	say_publish(1, QOS_0, 1, 0, "last words");
	cr_assert_str_eq(kit_asked, "a/b");
	say(1, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	expect(1, "DISCONNECT");
	cr_assert_eq(counters->clients_now, 0);
	tick(100);
	connect_client(1, CLEAN, "other");
	kit_bus_reason = 0;
	hbus_mqtt_topic_answer(mqtt, "a/b");
	hbus_sn_settle(sn);
	expect_published("a/b q0 r0 last words");
	expect_silence(1);
	say(1, HBUS_SN_PINGREQ, NULL, 0, NULL);
	expect(1, "PINGRESP");
}

Test(mqttsn, what_the_bus_never_answers_is_forgotten_in_the_end)
{
	connect_and_register(1, "hasty", "a/b");
	kit_bus_reason = HBUS_MQTT_PENDING;
	say_publish(1, QOS_1, 1, 5, "last words");
	say(1, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	expect(1, "DISCONNECT");
	cr_assert_eq(hbus_mqtt_counters(mqtt)->conns_now, 1);
	tick(11000);
	cr_assert_eq(hbus_mqtt_counters(mqtt)->conns_now, 0);
}

/* ---- lost messages --------------------------------------------------------------------------------- */

Test(mqttsn, what_is_not_acknowledged_is_sent_again_and_then_the_client_is_given_up)
{
	connect_client(1, CLEAN, "deaf");
	say_subscribe(1, QOS_1, 1, "a/b");
	expect(1, "SUBACK q1 i1 #1 c0");
	bus_event("a/b", "x", 1);
	expect(1, "PUBLISH k0 i1 q1 r0 d0 #1 x");
	for (uint32_t i = 0; i < config.retries_max; i++) {
		tick(config.retry_ms);
		expect(1, "PUBLISH k0 i1 q1 r0 d1 #1 x");
	}
	tick(config.retry_ms);
	cr_assert_eq(counters->clients_lost, 1);
	cr_assert_eq(counters->clients_now, 0);
}

Test(mqttsn, a_client_that_has_lost_an_identifier_is_told_it_again)
{
	connect_client(1, CLEAN, "amnesiac");
	say_subscribe(1, QOS_1, 1, "a/b");
	expect(1, "SUBACK q1 i1 #1 c0");
	bus_event("a/b", "x", 1);
	expect(1, "PUBLISH k0 i1 q1 r0 d0 #1 x");
	say_ack(1, HBUS_SN_PUBACK, 1, 1, HBUS_SN_INVALID_TOPIC);
	expect(1, "REGISTER i1 #1 a/b");
	say_ack(1, HBUS_SN_REGACK, 1, 1, 0);
	expect(1, "PUBLISH k0 i1 q1 r0 d1 #1 x");
	say_ack(1, HBUS_SN_PUBACK, 1, 1, HBUS_SN_INVALID_TOPIC);
	expect_silence(1);
	cr_assert_eq(counters->dropped_refused, 1);
}

Test(mqttsn, a_client_that_refuses_a_name_does_not_get_its_messages)
{
	connect_client(1, CLEAN, "picky");
	say_subscribe(1, QOS_1, 1, "#");
	expect(1, "SUBACK q1 i0 #1 c0");
	bus_event("a/b", "x", 1);
	expect(1, "REGISTER i1 #1 a/b");
	say_ack(1, HBUS_SN_REGACK, 1, 1, HBUS_SN_CONGESTION);
	expect_silence(1);
	tick(config.retry_ms);
	expect(1, "REGISTER i1 #1 a/b");
	say_ack(1, HBUS_SN_REGACK, 1, 1, HBUS_SN_NOT_SUPPORTED);
	bus_event("c/d", "y", 1);
	expect(1, "REGISTER i1 #2 c/d");
}

Test(mqttsn, answers_to_nothing_are_counted)
{
	connect_client(1, CLEAN, "liar");
	say_ack(1, HBUS_SN_PUBACK, 1, 9, 0);
	say_ack(1, HBUS_SN_REGACK, 1, 9, 0);
	say_id(1, HBUS_SN_PUBREC, 9);
	say_id(1, HBUS_SN_PUBCOMP, 9);
	expect_silence(1);
	cr_assert_eq(counters->duplicates, 4);
}

/* ---- gateways, forwarders ---------------------------------------------------------------------------- */

Test(mqttsn, gateways_are_found)
{
	say(3, HBUS_SN_SEARCHGW, BYTES(0), NULL);
	expect(3, "GWINFO c1");
	cr_assert_eq(counters->clients_now, 0);
}

Test(mqttsn, a_gateway_advertises_when_told_to)
{
	struct hbus_sn_peer everybody = { 0 };

	config.advertise_s = 900;
	kit_deinit();
	kit_start();
	tick(1);
	tick(899000);
	tick(1000);
	cr_assert_eq(kit_n_outs, 2);
	cr_assert_str_eq(kit_outs[0].line, "ADVERTISE c1 900s");
	cr_assert(hbus_sn_peer_is_same(&kit_outs[1].peer, &everybody));
}

Test(mqttsn, nodes_behind_a_forwarder_are_clients_of_their_own)
{
	const uint8_t first[] = { 5, 0xfe, 0, 'n', '1', 9, 4, CLEAN, 1, 0, 60, 'o', 'n', 'e' };
	const uint8_t second[] = { 5, 0xfe, 0, 'n', '2', 9, 4, CLEAN, 1, 0, 60, 't', 'w', 'o' };

	say_bytes(1, first, sizeof(first));
	say_bytes(1, second, sizeof(second));
	cr_assert_eq(counters->clients_now, 2);
	cr_assert_eq(kit_outs[1].peer.node_size, 2);
	cr_assert_eq(memcmp(kit_outs[1].peer.node, "n2", 2), 0);
	say_bytes(1, BYTES(2, 0xfe, 2, 0x16));
	say_bytes(1, BYTES(9, 0xfe, 0, 1, 2));
	say_bytes(1, BYTES(3, 0xfe, 0));
	cr_assert_eq(counters->in_malformed, 3);
}

/* ---- what poll loops are told -------------------------------------------------------------------------- */

Test(mqttsn, registration_waits_until_poll_loops_can_publish)
{
	kit_number = HBUS_SN_NAME_PENDING;
	connect_client(1, CLEAN, "fast");
	say_register(1, 1, "a/b");
	tick(10);
	say_register(1, 1, "a/b");
	expect_silence(1);
	kit_number = 42;
	tick(2);
	expect(1, "REGACK i1 #1 c0");
	expect_silence(1);
	cr_assert_eq(kit_path_id, 1);
	cr_assert_eq(kit_path_number, 42);
	say(1, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	cr_assert_eq(kit_n_paths, 0);
	cr_assert_eq(kit_n_names, 0);
}

Test(mqttsn, registration_does_not_wait_for_ever)
{
	kit_number = HBUS_SN_NAME_PENDING;
	connect_client(1, CLEAN, "slow");
	say_register(1, 1, "a/b");
	tick(config.register_wait_ms + 5);
	expect(1, "REGACK i1 #1 c0");
	say_publish(1, QOS_0, 1, 0, "by the engine");
	expect_published("a/b q0 r0 by the engine");
}
