/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine with MQTT 3.1.1 clients, by the standard's groups of normative statements. */
#include "tests/unit/mqtt_kit.h"

TestSuite(mqtt_v3, .init = kit_begin, .fini = kit_end);

/* -- CONNECT (3.1, 3.2) -- */

Test(mqtt_v3, accepts_a_connect_and_answers_pings)
{
	struct kit_client *c = client();

	hello(c, "a", V3);
	HEARS(c, "CONNACK sp0 00");
	SAY(c, 0xc0, 0);
	HEARS(c, "PINGRESP");
	SAY(c, 0xe0, 0);
	IS_CLOSED(c);
	cr_assert_eq(counters->sessions_now, 0);
}

Test(mqtt_v3, takes_nothing_before_connect_and_connect_only_once)
{
	struct kit_client *c = client(), *d = client(), *e = connected("e", V3);

	SAY(c, 0xc0, 0);
	IS_CLOSED(c);
	HEARS_NOTHING(c);
	SAY(d, 0x11, 0);
	IS_CLOSED(d);
	hello(e, "e", V3);
	IS_CLOSED(e);
	cr_assert_eq(counters->protocol_errors, 3);
}

Test(mqtt_v3, refuses_levels_that_it_does_not_speak)
{
	struct kit_client *c = client(), *d = client();

	SAY(c, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 3, 2, 0, 0, 0, 0);
	HEARS(c, "CONNACK sp0 01");
	IS_CLOSED(c);
	SAY(d, 0x10, 12, 0, 4, 'M', 'Q', 'X', 'T', 4, 2, 0, 0, 0, 0);
	IS_CLOSED(d);
}

Test(mqtt_v3, gives_an_identifier_to_a_clean_client_without_one_and_refuses_any_other)
{
	struct kit_client *c = client(), *d = client(), *e = client();

	hello(c, "", V3);
	HEARS(c, "CONNACK sp0 00");
	hello(d, "", V3);
	HEARS(d, "CONNACK sp0 00");
	IS_OPEN(c);
	hello(e, "", V3_PERSISTENT);
	HEARS(e, "CONNACK sp0 02");
	IS_CLOSED(e);
}

Test(mqtt_v3, refuses_a_wrong_password)
{
	struct kit_client *c = client();

	hello(c, "a", (struct kit_hello){ .version = 4, .user = "u", .password = "no" });
	HEARS(c, "CONNACK sp0 04");
	IS_CLOSED(c);
}

Test(mqtt_v3, closes_a_connection_that_does_not_say_connect_in_time)
{
	struct kit_client *c = client();

	SAY(c, 0x10);
	pass(config.connect_timeout_ms - 1);
	IS_OPEN(c);
	pass(1);
	IS_CLOSED(c);
	cr_assert_eq(counters->connect_timeouts, 1);
}

Test(mqtt_v3, closes_a_silent_client_after_one_and_a_half_keep_alive_intervals)
{
	struct kit_client *c = connected("a", (struct kit_hello){ .version = 4, .keep_alive = 10 });

	pass(10000);
	SAY(c, 0xc0, 0);
	pass(14999);
	IS_OPEN(c);
	pass(1);
	IS_CLOSED(c);
	cr_assert_eq(counters->keep_alive_timeouts, 1);
}

Test(mqtt_v3, keeps_a_client_without_keep_alive_for_ever)
{
	struct kit_client *c = connected("a", V3);

	pass(UINT64_C(10000) * 86400 * 365);
	IS_OPEN(c);
}

/* -- sessions (3.1.2.4, 4.1) and take-over (3.1.4) -- */

Test(mqtt_v3, lets_the_second_connection_take_the_session_over)
{
	struct kit_client *c = connected("a", V3_PERSISTENT), *d = client();

	subscribe(c, 1, "t", 0);
	HEARS(c, "SUBACK #1 00");
	hello(d, "a", V3_PERSISTENT);
	IS_CLOSED(c);
	HEARS(d, "CONNACK sp1 00");
	publish(d, "t", "x", 0, 0);
	settle();
	HEARS(d, "PUBLISH t q0 r0 d0 x");
	cr_assert_eq(counters->takeovers, 1);
}

Test(mqtt_v3, does_not_let_another_principal_take_a_session_over)
{
	struct kit_client *c = connected("a", (struct kit_hello){ .version = 4, .user = "ann" }), *d = client();

	hello(d, "a", (struct kit_hello){ .version = 4, .user = "bob" });
	HEARS(d, "CONNACK sp0 05");
	IS_OPEN(c);
	cr_assert_eq(counters->takeovers_refused, 1);
}

Test(mqtt_v3, refuses_take_overs_that_come_too_often)
{
	struct kit_client *c = connected("a", V3), *d;

	for (int i = 0; i < HBUS_MQTT_TAKEOVERS_MAX; i++)
		c = connected("a", V3);
	d = client();
	hello(d, "a", V3);
	HEARS(d, "CONNACK sp0 03");
	IS_OPEN(c);
	pass(HBUS_MQTT_TAKEOVER_WINDOW_MS);
	connected("a", V3);
	IS_CLOSED(c);
}

Test(mqtt_v3, forgets_a_clean_session_and_keeps_another_with_its_messages)
{
	struct kit_client *c = connected("keep", V3_PERSISTENT), *d = connected("clean", V3), *e = connected("e", V3);

	subscribe(c, 1, "t", 1);
	subscribe(d, 1, "t", 1);
	hang_up(c);
	hang_up(d);
	publish(e, "t", "one", 2, 1);
	publish(e, "t", "zero", 0, 0);
	settle();
	cr_assert_eq(counters->dropped_offline, 1);
	c = client();
	hello(c, "keep", V3_PERSISTENT);
	HEARS(c, "CONNACK sp1 00");
	HEARS(c, "PUBLISH t q1 r0 d0 #1 one");
	HEARS_NOTHING(c);
	d = client();
	hello(d, "clean", V3_PERSISTENT);
	HEARS(d, "CONNACK sp0 00");
	HEARS_NOTHING(d);
}

Test(mqtt_v3, discards_the_old_session_on_a_clean_connect)
{
	struct kit_client *c = connected("a", V3_PERSISTENT);

	subscribe(c, 1, "t", 1);
	hang_up(c);
	cr_assert_eq(kit_n_filters, 1);
	c = connected("a", V3);
	cr_assert_eq(kit_n_filters, 0);
	hang_up(c);
	c = client();
	hello(c, "a", V3_PERSISTENT);
	HEARS(c, "CONNACK sp0 00");
}

Test(mqtt_v3, ends_a_session_when_nobody_comes_back_for_it)
{
	struct kit_client *c = connected("a", V3_PERSISTENT);

	subscribe(c, 1, "t", 1);
	hang_up(c);
	pass(UINT64_C(1000) * config.session_expiry_max_s - 1);
	cr_assert_eq(counters->sessions_now, 1);
	pass(1);
	cr_assert_eq(counters->sessions_now, 0);
	cr_assert_eq(kit_n_filters, 0);
}

/* -- QoS (4.3, 4.4) -- */

Test(mqtt_v3, acknowledges_each_qos_by_its_protocol)
{
	struct kit_client *c = connected("a", V3);

	publish(c, "t", "0", 0, 0);
	HEARS_NOTHING(c);
	publish(c, "t", "1", 2, 7);
	HEARS(c, "PUBACK #7");
	publish(c, "t", "2", 4, 8);
	HEARS(c, "PUBREC #8");
	ack(c, HBUS_MQTT_PUBREL, 8);
	HEARS(c, "PUBCOMP #8");
	cr_assert_eq(kit_n_events, 3);
}

Test(mqtt_v3, publishes_a_qos_2_message_once_however_often_it_is_sent)
{
	struct kit_client *c = connected("a", V3_PERSISTENT);

	publish(c, "t", "x", 4, 8);
	publish(c, "t", "x", 12, 8);
	hang_up(c);
	c = connected("a", V3_PERSISTENT);
	publish(c, "t", "x", 12, 8);
	HEARS(c, "PUBREC #8");
	cr_assert_eq(kit_n_events, 1);
	cr_assert_eq(counters->publishes_duplicate, 2);
	ack(c, HBUS_MQTT_PUBREL, 8);
	HEARS(c, "PUBCOMP #8");
	publish(c, "t", "y", 4, 8);
	cr_assert_eq(kit_n_events, 2, "the identifier is free again");
}

Test(mqtt_v3, answers_a_pubrel_of_nothing)
{
	struct kit_client *c = connected("a", V3);

	ack(c, HBUS_MQTT_PUBREL, 9);
	HEARS(c, "PUBCOMP #9");
}

Test(mqtt_v3, delivers_at_the_lower_of_both_qos)
{
	struct kit_client *c = connected("c", V3), *p = connected("p", V3);

	subscribe(c, 1, "0", 0);
	subscribe(c, 2, "1", 1);
	subscribe(c, 3, "2", 2);
	HEARS(c, "SUBACK #1 00");
	HEARS(c, "SUBACK #2 01");
	HEARS(c, "SUBACK #3 02");
	publish(p, "0", "a", 4, 1);
	publish(p, "1", "b", 4, 2);
	publish(p, "2", "c", 4, 3);
	publish(p, "2", "d", 2, 4);
	publish(p, "2", "e", 0, 0);
	settle();
	HEARS(c, "PUBLISH 0 q0 r0 d0 a");
	HEARS(c, "PUBLISH 1 q1 r0 d0 #1 b");
	HEARS(c, "PUBLISH 2 q2 r0 d0 #2 c");
	HEARS(c, "PUBLISH 2 q1 r0 d0 #3 d");
	HEARS(c, "PUBLISH 2 q0 r0 d0 e");
}

Test(mqtt_v3, sends_again_what_was_not_acknowledged_in_order_with_dup)
{
	struct kit_client *c = connected("c", V3_PERSISTENT), *p = connected("p", V3);

	subscribe(c, 1, "t", 2);
	hear(c);
	publish(p, "t", "a", 2, 1);
	publish(p, "t", "b", 4, 2);
	publish(p, "t", "c", 4, 3);
	publish(p, "t", "d", 2, 4);
	settle();
	HEARS(c, "PUBLISH t q1 r0 d0 #1 a");
	HEARS(c, "PUBLISH t q2 r0 d0 #2 b");
	HEARS(c, "PUBLISH t q2 r0 d0 #3 c");
	HEARS(c, "PUBLISH t q1 r0 d0 #4 d");
	ack(c, HBUS_MQTT_PUBREC, 2);
	HEARS(c, "PUBREL #2");
	hang_up(c);
	publish(p, "t", "e", 2, 5);
	settle();
	c = client();
	hello(c, "c", V3_PERSISTENT);
	HEARS(c, "CONNACK sp1 00");
	HEARS(c, "PUBREL #2");
	HEARS(c, "PUBLISH t q1 r0 d1 #1 a");
	HEARS(c, "PUBLISH t q2 r0 d1 #3 c");
	HEARS(c, "PUBLISH t q1 r0 d1 #4 d");
	HEARS(c, "PUBLISH t q1 r0 d0 #5 e");
	ack(c, HBUS_MQTT_PUBCOMP, 2);
	ack(c, HBUS_MQTT_PUBACK, 1);
	ack(c, HBUS_MQTT_PUBACK, 4);
	ack(c, HBUS_MQTT_PUBREC, 3);
	HEARS(c, "PUBREL #3");
	ack(c, HBUS_MQTT_PUBREC, 3);
	HEARS(c, "PUBREL #3");
	ack(c, HBUS_MQTT_PUBCOMP, 3);
	ack(c, HBUS_MQTT_PUBACK, 5);
	hang_up(c);
	c = connected("c", V3_PERSISTENT);
	HEARS_NOTHING(c);
	cr_assert_eq(counters->message_bytes_now, 0);
}

Test(mqtt_v3, closes_a_client_that_acknowledges_by_the_wrong_protocol)
{
	struct kit_client *c = connected("c", V3);

	subscribe(c, 1, "t", 2);
	publish(c, "t", "a", 4, 1);
	settle();
	ack(c, HBUS_MQTT_PUBACK, 1);
	IS_CLOSED(c);
}

Test(mqtt_v3, closes_a_client_that_completes_what_it_has_not_received)
{
	struct kit_client *c = connected("c", V3);

	subscribe(c, 1, "t", 2);
	hear(c);
	publish(c, "t", "a", 4, 1);
	settle();
	HEARS(c, "PUBREC #1");
	HEARS(c, "PUBLISH t q2 r0 d0 #1 a");
	ack(c, HBUS_MQTT_PUBCOMP, 1);
	IS_CLOSED(c);
}

Test(mqtt_v3, uses_no_packet_identifier_twice_at_a_time_across_the_wrap)
{
	struct kit_client *c = connected("c", V3), *p = connected("p", V3);
	unsigned int id;

	subscribe(c, 1, "t", 1);
	hear(c);
	publish(p, "t", "stays", 2, 1);
	settle();
	HEARS(c, "PUBLISH t q1 r0 d0 #1 stays");
	for (uint32_t i = 0; i < 65535 + 20; i++) {
		publish(p, "t", "x", 2, 1);
		p->out_size = p->out_at = 0;
		settle();
		cr_assert_eq(sscanf(hear(c), "PUBLISH t q1 r0 d0 #%u x", &id), 1, "%u: %s", i, c->line);
		cr_assert(id > 1 && id <= 65535);
		ack(c, HBUS_MQTT_PUBACK, (uint16_t)id);
	}
}

/* -- retained messages (3.3.1.3) -- */

Test(mqtt_v3, gives_retained_messages_to_new_subscriptions_only)
{
	struct kit_client *c = connected("c", V3), *p = connected("p", V3);

	subscribe(c, 1, "#", 1);
	hear(c);
	publish(p, "a/b", "old", 1 | 2, 1);
	publish(p, "a/b", "new", 1 | 2, 2);
	settle();
	HEARS(c, "PUBLISH a/b q1 r0 d0 #1 old");
	HEARS(c, "PUBLISH a/b q1 r0 d0 #2 new");
	subscribe(c, 2, "a/+", 0);
	HEARS(c, "SUBACK #2 00");
	HEARS(c, "PUBLISH a/b q0 r1 d0 new");
	subscribe(c, 3, "a/+", 1);
	HEARS(c, "SUBACK #3 01");
	HEARS(c, "PUBLISH a/b q1 r1 d0 #3 new");
	publish(p, "a/b", "", 1, 0);
	settle();
	HEARS(c, "PUBLISH a/b q0 r0 d0 ");
	subscribe(c, 4, "a/b", 0);
	HEARS(c, "SUBACK #4 00");
	HEARS_NOTHING(c);
	cr_assert_eq(counters->retained_now, 0);
	cr_assert_eq(counters->retained_bytes_now, 0);
}

Test(mqtt_v3, gives_a_message_published_before_the_subscription_once_not_twice)
{
	struct kit_client *c = connected("c", V3), *p = connected("p", V3), *other = connected("o", V3);

	subscribe(other, 1, "t", 0);
	publish(p, "t", "x", 1, 0);
	subscribe(c, 1, "t", 0); /* the event is still on its way through the bus */
	settle();
	HEARS(c, "SUBACK #1 00");
	HEARS(c, "PUBLISH t q0 r1 d0 x");
	HEARS_NOTHING(c);
}

/* -- wills (3.1.2.5) -- */

Test(mqtt_v3, publishes_the_will_of_a_client_that_is_lost_but_not_of_one_that_leaves)
{
	const struct kit_will will = { "w", "gone", 1, true, NULL, 0 };
	struct kit_client *c = connected("c", V3), *lost, *leaves;

	subscribe(c, 1, "w", 1);
	hear(c);
	leaves = connected("leaves", (struct kit_hello){ .version = 4, .will = &will });
	SAY(leaves, 0xe0, 0);
	settle();
	HEARS_NOTHING(c);
	lost = connected("lost", (struct kit_hello){ .version = 4, .will = &will });
	hang_up(lost);
	settle();
	HEARS(c, "PUBLISH w q1 r0 d0 #1 gone");
	cr_assert(counters->wills == 1 && counters->retained_now == 1);
}

Test(mqtt_v3, publishes_no_will_that_policy_has_come_to_deny)
{
	const struct kit_will will = { "secret/w", "gone", 1, false, NULL, 0 };
	struct kit_client *lost = connected("lost", (struct kit_hello){ .version = 4, .will = &will });

	kit_denies = true;
	hang_up(lost);
	cr_assert_eq(kit_n_events, 0);
	cr_assert_eq(counters->wills, 0);
	cr_assert_eq(counters->publishes_denied, 1);
}

Test(mqtt_v3, publishes_the_will_on_silence_take_over_and_protocol_errors)
{
	const struct kit_will will = { "w", "gone", 0, false, NULL, 0 };
	const struct kit_hello h = { .version = 4, .will = &will, .keep_alive = 1 };
	struct kit_client *c = connected("c", V3), *bad;

	subscribe(c, 1, "w", 0);
	hear(c);
	connected("a", h);
	pass(1500);
	settle();
	HEARS(c, "PUBLISH w q0 r0 d0 gone");
	bad = connected("b", h);
	SAY(bad, 0x30, 0);
	settle();
	HEARS(c, "PUBLISH w q0 r0 d0 gone");
	connected("d", h);
	connected("d", V3);
	settle();
	HEARS(c, "PUBLISH w q0 r0 d0 gone");
	cr_assert_eq(counters->wills, 3);
}

/* -- topics and filters (4.7), SUBSCRIBE (3.8), UNSUBSCRIBE (3.10) -- */

Test(mqtt_v3, matches_wildcards_and_keeps_dollar_names_apart)
{
	struct kit_client *c = connected("c", V3);
	const struct hbus_mqtt_message sys = { .topic = "$SYS/up", .payload = "1", .payload_size = 1 };

	subscribe(c, 1, "#", 0);
	subscribe(c, 2, "+/up", 0);
	HEARS(c, "SUBACK #1 00");
	HEARS(c, "SUBACK #2 00");
	hbus_mqtt_event(engine, &sys);
	HEARS_NOTHING(c);
	subscribe(c, 3, "$SYS/#", 0);
	HEARS(c, "SUBACK #3 00");
	hbus_mqtt_event(engine, &sys);
	HEARS(c, "PUBLISH $SYS/up q0 r0 d0 1");
	publish(c, "/", "x", 0, 0);
	settle();
	HEARS(c, "PUBLISH / q0 r0 d0 x");
}

Test(mqtt_v3, sends_one_copy_for_overlapping_subscriptions_at_their_highest_qos)
{
	struct kit_client *c = connected("c", V3);

	subscribe(c, 1, "a/#", 0);
	subscribe(c, 2, "a/+", 1);
	subscribe(c, 3, "a/b", 0);
	for (int i = 0; i < 3; i++)
		hear(c);
	publish(c, "a/b", "x", 4, 1);
	HEARS(c, "PUBREC #1");
	settle();
	HEARS(c, "PUBLISH a/b q1 r0 d0 #1 x");
	HEARS_NOTHING(c);
}

Test(mqtt_v3, answers_each_filter_of_a_subscribe)
{
	struct kit_client *c = connected("c", V3);

	kit_denies = true;
	SAY(c, 0x82, 30, 0, 5, 0, 1, 'a', 2, 0, 2, 'a', '+', 1, 0, 6, 's', 'e', 'c', 'r', 'e', 't', 0, 0, 3, '#', '/', 'a', 0, 0, 1,
	    '#', 1);
	HEARS(c, "SUBACK #5 02 80 80 80 01");
	kit_denies = false;
	IS_OPEN(c);
	cr_assert_eq(counters->subscriptions_refused, 3);
	cr_assert_eq(counters->subscriptions_now, 2);
}

Test(mqtt_v3, unsubscribes_and_answers_even_when_there_was_nothing)
{
	struct kit_client *c = connected("c", V3);

	subscribe(c, 1, "a", 0);
	HEARS(c, "SUBACK #1 00");
	unsubscribe(c, 2, "a");
	HEARS(c, "UNSUBACK #2");
	unsubscribe(c, 3, "a");
	HEARS(c, "UNSUBACK #3");
	publish(c, "a", "x", 0, 0);
	settle();
	HEARS_NOTHING(c);
	cr_assert_eq(kit_n_filters, 0);
}

Test(mqtt_v3, asks_the_bus_once_for_a_filter_of_many_clients)
{
	struct kit_client *c = connected("c", V3), *d = connected("d", V3);

	subscribe(c, 1, "a/#", 0);
	subscribe(d, 1, "a/#", 1);
	cr_assert_eq(kit_n_filters, 1);
	hang_up(c);
	cr_assert_eq(kit_n_filters, 1);
	unsubscribe(d, 2, "a/#");
	cr_assert_eq(kit_n_filters, 0);
}

Test(mqtt_v3, closes_on_wildcards_in_a_name_and_on_names_without_a_character)
{
	struct kit_client *c = connected("c", V3), *d = connected("d", V3), *e = connected("e", V3);

	publish(c, "a/+", "x", 0, 0);
	IS_CLOSED(c);
	publish(d, "", "x", 0, 0);
	IS_CLOSED(d);
	subscribe(e, 1, "", 0);
	IS_CLOSED(e);
	cr_assert_eq(kit_n_events, 0);
}

Test(mqtt_v3, acknowledges_and_drops_what_may_not_be_published)
{
	struct kit_client *c = connected("c", V3);
	char deep[64] = "";

	kit_denies = true;
	publish(c, "secret/a", "x", 2, 1);
	HEARS(c, "PUBACK #1");
	publish(c, "$SYS/a", "x", 2, 2);
	HEARS(c, "PUBACK #2");
	for (unsigned int i = 0; i < HBUS_TOPIC_LEVELS_MAX; i++)
		strcat(deep, "/");
	publish(c, deep, "x", 2, 3);
	HEARS(c, "PUBACK #3");
	kit_denies = false;
	cr_assert_eq(kit_n_events, 0);
	cr_assert(counters->publishes_denied == 2 && counters->publishes_bad_topic == 1);
}

Test(mqtt_v3, hangs_up_when_the_bus_cannot_take_a_message_now)
{
	struct kit_client *c = connected("c", V3);

	kit_bus_reason = HBUS_MQTT_QUOTA;
	publish(c, "a", "x", 2, 1);
	kit_bus_reason = 0;
	HEARS_NOTHING(c);
	IS_CLOSED(c);
}

Test(mqtt_v3, shares_a_subscription_among_its_members)
{
	struct kit_client *c = connected("c", V3), *d = connected("d", V3);
	int n_c = 0, n_d = 0;

	subscribe(c, 1, "$share/g/t", 0);
	subscribe(d, 1, "$share/g/t", 0);
	hear(c);
	hear(d);
	for (int i = 0; i < 10; i++)
		publish(c, "t", "x", 0, 0);
	settle();
	while (strcmp(hear(c), "") != 0)
		n_c++;
	while (strcmp(hear(d), "") != 0)
		n_d++;
	cr_assert(n_c == 5 && n_d == 5, "%d and %d", n_c, n_d);
}

Test(mqtt_v3, delivers_what_local_processes_publish)
{
	struct kit_client *c = connected("c", V3);
	const struct hbus_mqtt_message m = { .topic = "a/b", .payload = "raw", .payload_size = 3, .qos = 2 };

	subscribe(c, 1, "a/b", 1);
	hear(c);
	hbus_mqtt_event(engine, &m);
	HEARS(c, "PUBLISH a/b q1 r0 d0 #1 raw");
}
