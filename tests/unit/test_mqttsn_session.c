/* SPDX-License-Identifier: BSD-3-Clause */
/* The MQTT-SN engine on the MQTT engine: wills, keep-alive and sleep, sessions that outlive their connection. */
#include "tests/unit/mqttsn_kit.h"

TestSuite(mqttsn_session, .init = kit_init, .fini = kit_deinit);

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

Test(mqttsn_session, a_will_is_published_when_the_client_falls_silent)
{
	connect_with_will(1);
	tick(14000);
	expect_silence(1);
	tick(2000);
	expect(1, "DISCONNECT");
	expect_published("will/topic q1 r1 gone");
	cr_assert_eq(counters->clients_lost, 1);
}

Test(mqttsn_session, a_will_is_not_published_after_a_goodbye)
{
	connect_with_will(1);
	say(1, HBUS_SN_DISCONNECT, NULL, 0, NULL);
	expect(1, "DISCONNECT");
	tick(100000);
	expect_published("");
}

Test(mqttsn_session, a_will_changes_while_connected)
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

Test(mqttsn_session, an_empty_will_topic_is_no_will)
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

Test(mqttsn_session, a_will_outlives_the_connection_of_a_session_that_is_not_clean)
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

Test(mqttsn_session, a_kept_will_ends_with_a_clean_session_an_empty_topic_and_an_update)
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

Test(mqttsn_session, kept_wills_are_as_many_as_clients_and_the_oldest_goes_first)
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

Test(mqttsn_session, who_does_not_finish_its_will_is_forgotten)
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

Test(mqttsn_session, pings_keep_alive_and_so_does_what_poll_loops_hear)
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

Test(mqttsn_session, a_sleeping_client_gets_its_messages_when_it_asks)
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

Test(mqttsn_session, a_sleeping_client_that_connects_gets_what_waited)
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

Test(mqttsn_session, a_sleeping_client_that_never_comes_is_given_up)
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

Test(mqttsn_session, who_falls_asleep_half_way_gets_the_message_again)
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

Test(mqttsn_session, a_queue_for_a_sleeper_is_bounded)
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

Test(mqttsn_session, a_session_that_is_not_clean_survives_its_client)
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

Test(mqttsn_session, a_client_that_moves_takes_its_session_along)
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

Test(mqttsn_session, a_connect_said_again_changes_nothing)
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

Test(mqttsn_session, an_identifier_of_64_bytes_is_taken_and_no_more)
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
