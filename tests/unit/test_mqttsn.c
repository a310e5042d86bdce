/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MQTT-SN engine on the MQTT engine: every message of a client's life.
 */
#include "tests/unit/mqttsn_kit.h"

enum { QOS_0 = 0, QOS_1 = 0x20, QOS_2 = 0x40, QOS_MINUS_1 = 0x60, RETAIN = 0x10, WILL = 0x08, CLEAN = 0x04 };
enum { PREDEFINED = 1, SHORT = 2 };

TestSuite(mqttsn, .init = kit_init, .fini = kit_deinit);

static void connect_and_register(uint32_t n, const char *id, const char *topic)
{
	connect_client(n, CLEAN, id);
	say_register(n, 1, topic);
	expect(n, "REGACK i1 #1 c0");
}

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

/* ---- wills ------------------------------------------------------------------------------------- */

static void connect_with_will(uint32_t n)
{
	say_connect(n, CLEAN | WILL, 10, "mortal");
	expect(n, "WILLTOPICREQ");
	say(n, HBUS_SN_WILLTOPIC, BYTES(QOS_1 | RETAIN), "will/topic");
	expect(n, "WILLMSGREQ");
	say(n, HBUS_SN_WILLTOPIC, BYTES(QOS_1 | RETAIN), "will/topic");
	expect(n, "WILLMSGREQ");
	say(n, HBUS_SN_WILLMSG, NULL, 0, "gone");
	expect(n, "CONNACK c0");
}

Test(mqttsn, a_will_is_published_when_the_client_falls_silent)
{
	connect_with_will(1);
	tick(14000);
	expect_silence(1);
	tick(2000);
	expect(1, "DISCONNECT");
	expect_published("will/topic q1 r1 gone");
	cr_assert_eq(counters->clients_lost, 1);
}

Test(mqttsn, a_will_is_not_published_after_a_goodbye)
{
	connect_with_will(1);
	say(1, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	expect(1, "DISCONNECT");
	tick(100000);
	expect_published("");
}

Test(mqttsn, a_will_changes_while_connected)
{
	connect_with_will(1);
	say(1, HBUS_SN_WILLMSGUPD, NULL, 0, "new");
	expect(1, "WILLMSGRESP c0");
	say(1, HBUS_SN_WILLTOPICUPD, BYTES(QOS_0), "other/topic");
	expect(1, "WILLTOPICRESP c0");
	say(1, HBUS_SN_WILLTOPICUPD, BYTES(QOS_0), "wild/#");
	expect(1, "WILLTOPICRESP c2");
	tick(20000);
	expect_published("other/topic q0 r0 new");
}

Test(mqttsn, an_empty_will_topic_is_no_will)
{
	connect_with_will(1);
	say(1, HBUS_SN_WILLTOPICUPD, NULL, 0, NULL);
	expect(1, "WILLTOPICRESP c0");
	say_connect(2, CLEAN | WILL, 10, "other");
	expect(2, "WILLTOPICREQ");
	say(2, HBUS_SN_WILLTOPIC, NULL, 0, NULL);
	expect(2, "CONNACK c0");
	tick(20000);
	expect_published("");
	cr_assert_eq(counters->clients_lost, 2);
}

/* Connects as @id with a session that is kept, and says its will. */
static void connect_with_kept_will(uint32_t n, const char *id, const char *will)
{
	say_connect(n, WILL, 10, id);
	expect(n, "WILLTOPICREQ");
	say(n, HBUS_SN_WILLTOPIC, BYTES(QOS_1), "will/topic");
	expect(n, "WILLMSGREQ");
	say(n, HBUS_SN_WILLMSG, NULL, 0, will);
	expect(n, "CONNACK c0");
}

static void say_goodbye(uint32_t n)
{
	say(n, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	expect(n, "DISCONNECT");
}

Test(mqttsn, a_will_outlives_the_connection_of_a_session_that_is_not_clean)
{
	connect_with_kept_will(1, "steady", "gone");
	say(1, HBUS_SN_WILLMSGUPD, NULL, 0, "gone again");
	expect(1, "WILLMSGRESP c0");
	say_goodbye(1);
	/* Nothing is asked, and it is there, from wherever the client comes; also a second time. */
	for (uint32_t n = 2; n < 4; n++) {
		say_connect(n, 0, 10, "steady");
		expect(n, "CONNACK c0");
		tick(20000);
		expect(n, "DISCONNECT");
		expect_published("will/topic q1 r0 gone again");
	}
	cr_assert_eq(counters->wills_now, 1);
}

Test(mqttsn, a_kept_will_ends_with_a_clean_session_an_empty_topic_and_an_update)
{
	connect_with_kept_will(1, "clean", "1");
	connect_with_kept_will(2, "empty", "2");
	connect_with_kept_will(3, "update", "3");
	cr_assert_eq(counters->wills_now, 3);
	connect_client(1, CLEAN, "clean");
	say_connect(2, WILL, 10, "empty");
	expect(2, "WILLTOPICREQ");
	say(2, HBUS_SN_WILLTOPIC, NULL, 0, NULL);
	expect(2, "CONNACK c0");
	say(3, HBUS_SN_WILLTOPICUPD, NULL, 0, NULL);
	expect(3, "WILLTOPICRESP c0");
	cr_assert_eq(counters->wills_now, 0);
	for (uint32_t n = 1; n < 4; n++) {
		say_goodbye(n);
		say_connect(n, 0, 10, n == 1 ? "clean" : n == 2 ? "empty" : "update");
		expect(n, "CONNACK c0");
	}
	tick(20000);
	expect_published("");
}

Test(mqttsn, kept_wills_are_as_many_as_clients_and_the_oldest_goes_first)
{
	static const char *const ids[] = { "renewed", "oldest", "renewed", "a", "b", "c" };

	config.clients_max = 4;
	kit_deinit();
	kit_start();
	for (uint32_t i = 0; i < 6; i++) {
		connect_with_kept_will(i, ids[i], i == 2 ? "new" : "will");
		say_goodbye(i);
	}
	cr_assert_eq(counters->wills_now, 4);
	cr_assert_eq(counters->wills_limited, 1);
	say_connect(7, 0, 10, "oldest");
	expect(7, "CONNACK c0");
	say_connect(8, 0, 10, "renewed");
	expect(8, "CONNACK c0");
	tick(20000);
	expect_published("will/topic q1 r0 new");
	cr_assert_eq(counters->clients_lost, 2);
}

Test(mqttsn, who_does_not_finish_its_will_is_forgotten)
{
	say_connect(1, CLEAN | WILL, 10, "slow");
	expect(1, "WILLTOPICREQ");
	say_publish(1, QOS_0, 1, 0, "x");
	tick(config.handshake_ms + 10);
	cr_assert_eq(counters->clients_now, 0);
	cr_assert_eq(counters->handshakes_late, 1);
	cr_assert_eq(counters->in_unexpected, 1);
}

/* ---- keep-alive and sleep ------------------------------------------------------------------------ */

Test(mqttsn, pings_keep_alive_and_so_does_what_poll_loops_hear)
{
	connect_client(1, CLEAN, "one");
	for (int i = 0; i < 5; i++) {
		tick(60000);
		say(1, HBUS_SN_PINGREQ, NULL, 0, NULL);
		expect(1, "PINGRESP");
	}
	for (int i = 0; i < 5; i++) {
		tick(60000);
		kit_heard_ms = kit_now_ms;
	}
	expect_silence(1);
	tick(91000);
	expect(1, "DISCONNECT");
}

static void fall_asleep(uint32_t n, uint8_t seconds)
{
	say(n, HBUS_SN_DISCONNECT, BYTES(0, seconds), NULL);
	expect(n, "DISCONNECT");
}

Test(mqttsn, a_sleeping_client_gets_its_messages_when_it_asks)
{
	connect_client(1, CLEAN, "sleeper");
	say_subscribe(1, QOS_1, 1, "a/b");
	expect(1, "SUBACK q1 i1 #1 c0");
	fall_asleep(1, 100);
	cr_assert_eq(counters->asleep_now, 1);
	bus_event("a/b", "1", 0);
	bus_event("a/b", "2", 1);
	bus_event("a/b", "3", 1);
	expect_silence(1);
	tick(90000);
	say(1, HBUS_SN_PINGREQ, NULL, 0, "sleeper");
	expect(1, "PUBLISH k0 i1 q0 r0 d0 #0 1");
	expect(1, "PUBLISH k0 i1 q1 r0 d0 #1 2");
	expect_silence(1);
	say_ack(1, HBUS_SN_PUBACK, 1, 1, 0);
	expect(1, "PUBLISH k0 i1 q1 r0 d0 #2 3");
	say_ack(1, HBUS_SN_PUBACK, 1, 2, 0);
	expect(1, "PINGRESP");
	cr_assert_eq(counters->asleep_now, 1);
	tick(90000);
	say(1, HBUS_SN_PINGREQ, NULL, 0, "sleeper");
	expect(1, "PINGRESP");
	say_connect(1, 0, 60, "sleeper");
	expect(1, "CONNACK c0");
	cr_assert_eq(counters->asleep_now, 0);
}

Test(mqttsn, a_sleeping_client_that_connects_gets_what_waited)
{
	connect_client(1, 0, "sleeper");
	say_subscribe(1, QOS_1, 1, "a/b");
	expect(1, "SUBACK q1 i1 #1 c0");
	fall_asleep(1, 100);
	bus_event("a/b", "0", 0);
	bus_event("a/b", "1", 1);
	bus_event("a/b", "2", 0);
	say_connect(1, 0, 60, "sleeper");
	expect(1, "CONNACK c0");
	expect(1, "PUBLISH k0 i1 q0 r0 d0 #0 0");
	expect(1, "PUBLISH k0 i1 q0 r0 d0 #0 2");
	expect(1, "PUBLISH k0 i1 q1 r0 d1 #1 1");
	say_ack(1, HBUS_SN_PUBACK, 1, 1, 0);
	expect_silence(1);
	cr_assert_eq(counters->queued_now, 0);
	cr_assert_eq(counters->queued_bytes_now, 0);
	/* A clean one begins with nothing. */
	fall_asleep(1, 100);
	bus_event("a/b", "3", 0);
	connect_client(1, CLEAN, "sleeper");
	expect_silence(1);
	cr_assert_eq(counters->queued_now, 0);
}

Test(mqttsn, a_sleeping_client_that_never_comes_is_given_up)
{
	connect_with_will(1);
	fall_asleep(1, 20);
	tick(29000);
	cr_assert_eq(counters->clients_now, 1);
	tick(2000);
	cr_assert_eq(counters->clients_now, 0);
	expect_silence(1);
	expect_published("will/topic q1 r1 gone");
	say(1, HBUS_SN_PINGREQ, NULL, 0, "mortal");
	expect(1, "DISCONNECT");
}

Test(mqttsn, who_falls_asleep_half_way_gets_the_message_again)
{
	connect_client(1, CLEAN, "sleeper");
	say_subscribe(1, QOS_2, 1, "a/b");
	expect(1, "SUBACK q2 i1 #1 c0");
	fall_asleep(1, 200);
	bus_event("a/b", "1", 2);
	say(1, HBUS_SN_PINGREQ, NULL, 0, "sleeper");
	expect(1, "PUBLISH k0 i1 q2 r0 d0 #1 1");
	for (uint32_t i = 0; i < config.retries_max; i++) {
		tick(config.retry_ms);
		expect(1, "PUBLISH k0 i1 q2 r0 d1 #1 1");
	}
	tick(config.retry_ms);
	expect_silence(1);
	cr_assert_eq(counters->asleep_now, 1);
	say(1, HBUS_SN_PINGREQ, NULL, 0, "sleeper");
	expect(1, "PUBLISH k0 i1 q2 r0 d1 #1 1");
	say_id(1, HBUS_SN_PUBREC, 1);
	expect(1, "PUBREL #1");
	fall_asleep(1, 200);
	say(1, HBUS_SN_PINGREQ, NULL, 0, "sleeper");
	expect(1, "PUBREL #1");
	say_id(1, HBUS_SN_PUBCOMP, 1);
	expect(1, "PINGRESP");
}

Test(mqttsn, a_queue_for_a_sleeper_is_bounded)
{
	config.queue_max = 4;
	kit_deinit();
	kit_start();
	connect_client(1, CLEAN, "sleeper");
	say_subscribe(1, QOS_0, 1, "a/b");
	expect(1, "SUBACK q0 i1 #1 c0");
	fall_asleep(1, 100);
	for (int i = 0; i < 10; i++)
		bus_event("a/b", "x", 0);
	cr_assert_eq(counters->dropped_queue, 6);
	cr_assert_eq(counters->queued_now, 4);
	say(1, HBUS_SN_PINGREQ, NULL, 0, "sleeper");
	for (int i = 0; i < 4; i++)
		expect(1, "PUBLISH k0 i1 q0 r0 d0 #0 x");
	expect(1, "PINGRESP");
	cr_assert_eq(counters->queued_bytes_now, 0);
}

/* ---- sessions ------------------------------------------------------------------------------------ */

Test(mqttsn, a_session_that_is_not_clean_survives_its_client)
{
	connect_client(1, 0, "steady");
	say_subscribe(1, QOS_1, 1, "a/b");
	expect(1, "SUBACK q1 i1 #1 c0");
	say(1, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	expect(1, "DISCONNECT");
	bus_event("a/b", "missed", 1);
	connect_client(2, 0, "steady");
	expect(2, "REGISTER i1 #1 a/b");
	say_ack(2, HBUS_SN_REGACK, 1, 1, 0);
	expect(2, "PUBLISH k0 i1 q1 r0 d0 #1 missed");
}

Test(mqttsn, a_client_that_moves_takes_its_session_along)
{
	connect_client(1, 0, "mover");
	say_subscribe(1, QOS_1, 1, "a/b");
	expect(1, "SUBACK q1 i1 #1 c0");
	bus_event("a/b", "1", 1);
	expect(1, "PUBLISH k0 i1 q1 r0 d0 #1 1");
	connect_client(2, 0, "mover");
	expect(1, "DISCONNECT");
	cr_assert_eq(counters->clients_moved, 1);
	cr_assert_eq(counters->clients_now, 1);
	expect(2, "REGISTER i1 #1 a/b");
	say_ack(2, HBUS_SN_REGACK, 1, 1, 0);
	expect(2, "PUBLISH k0 i1 q1 r0 d1 #1 1");
	say_publish(1, QOS_0, 1, 0, "from the old address");
	expect(1, "DISCONNECT");
	expect_published("");
}

Test(mqttsn, a_connect_said_again_changes_nothing)
{
	connect_client(1, 0, "one");
	say_register(1, 1, "a/b");
	expect(1, "REGACK i1 #1 c0");
	connect_client(1, 0, "one");
	say_publish(1, QOS_1, 1, 2, "x");
	expect(1, "PUBACK i1 #2 c0");
	cr_assert_eq(counters->clients_now, 1);
	cr_assert_eq(kit_n_paths, 1);
}

Test(mqttsn, an_identifier_of_64_bytes_is_taken_and_no_more)
{
	char id[HBUS_SN_ID_MAX + 2];

	memset(id, 'x', sizeof(id));
	id[HBUS_SN_ID_MAX] = '\0';
	connect_client(1, CLEAN, id);
	id[HBUS_SN_ID_MAX] = 'x';
	id[HBUS_SN_ID_MAX + 1] = '\0';
	say_connect(2, CLEAN, 60, id);
	expect(2, "CONNACK c3");
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

/* ---- limits ------------------------------------------------------------------------------------------ */

Test(mqttsn, clients_are_limited_in_all_and_by_address)
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

Test(mqttsn, identifiers_of_a_client_are_limited)
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

Test(mqttsn, a_message_longer_than_a_datagram_is_dropped_and_the_next_one_goes)
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

/* ---- bytes ------------------------------------------------------------------------------------------------ */

Test(mqttsn, lengths_that_lie_are_malformed)
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

Test(mqttsn, a_length_of_three_octets_is_as_good)
{
	connect_client(1, CLEAN, "one");
	say_bytes(1, BYTES(1, 0, 4, HBUS_SN_PINGREQ));
	expect(1, "PINGRESP");
	cr_assert_eq(counters->in_malformed, 0);
}

Test(mqttsn, messages_of_255_bytes_and_of_256_are_read_back)
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
