/* SPDX-License-Identifier: BSD-3-Clause */
/* What MQTT 5.0 adds, by the standard's groups of normative statements. */
#include "tests/unit/mqtt_kit.h"

TestSuite(mqtt_v5, .init = kit_begin, .fini = kit_end);

#define LIMITS " receive_max=64 packet_max=262144 alias_max=16"

/* -- CONNECT and CONNACK (3.1, 3.2) -- */

Test(mqtt_v5, says_its_limits_in_connack)
{
	struct kit_client *c = client();

	hello(c, "a", V5);
	HEARS(c, "CONNACK sp0 00" LIMITS);
}

Test(mqtt_v5, gives_an_identifier_and_says_which)
{
	struct kit_client *c = client(), *d = client();
	char first[64];

	hello(c, "", V5);
	cr_assert_eq(sscanf(hear(c), "CONNACK sp0 00" LIMITS " 12=%63s", first), 1, "%s", c->line);
	cr_assert_eq(strlen(first), 21);
	hello(d, "", V5);
	hear(d);
	cr_assert_null(strstr(d->line, first));
	cr_assert_eq(counters->sessions_now, 2);
}

Test(mqtt_v5, cuts_a_session_expiry_to_its_limit_and_says_so)
{
	struct kit_client *c = client(), *d = client();

	hello(c, "a", V5_PROPS("\x11\xff\xff\xff\xff"));
	HEARS(c, "CONNACK sp0 00 session=604800" LIMITS);
	hello(d, "b", V5_PROPS(LIVES_100));
	HEARS(d, "CONNACK sp0 00" LIMITS);
}

Test(mqtt_v5, sets_a_keep_alive_where_the_client_asks_for_too_long_a_one)
{
	struct kit_client *c = client();

	kit_end();
	kit_defaults();
	config.keep_alive_max_s = 60;
	kit_start();
	c = client();
	hello(c, "a", (struct kit_hello){ .version = 5, .keep_alive = 0 });
	HEARS(c, "CONNACK sp0 00" LIMITS " keep_alive=60");
	pass(90000);
	HEARS(c, "DISCONNECT 8d");
	IS_CLOSED(c);
}

Test(mqtt_v5, refuses_to_connect_with_a_reason)
{
	struct kit_client *c = client(), *d = client(), *e = client(), *f = client();
	static char long_id[HBUS_MQTT_CLIENT_ID_MAX + 2];

	hello(c, "a", (struct kit_hello){ .version = 5, .user = "u", .password = "no" });
	HEARS(c, "CONNACK sp0 86");
	IS_CLOSED(c);
	memset(long_id, 'x', HBUS_MQTT_CLIENT_ID_MAX + 1);
	hello(d, long_id, V5);
	HEARS(d, "CONNACK sp0 85");
	SAY(e, 0x10, 10, 0, 4, 'M', 'Q', 'T', 'T', 6, 2, 0, 0);
	HEARS(e, "CONNACK sp0 84");
	hello(f, "a", V5_PROPS("\x21\0\0"));
	HEARS(f, "CONNACK sp0 82");
	long_id[HBUS_MQTT_CLIENT_ID_MAX] = '\0';
	connected(long_id, V5);
}

Test(mqtt_v5, refuses_enhanced_authentication)
{
	struct kit_client *c = client(), *d = connected("d", V5);

	hello(c, "a", V5_PROPS("\x15\0\5SCRAM"));
	HEARS(c, "CONNACK sp0 8c");
	IS_CLOSED(c);
	SAY(d, 0xf0, 2, 0x18, 0);
	HEARS(d, "DISCONNECT 82");
	IS_CLOSED(d);
}

static const char slow_principal[HBUS_MQTT_PRINCIPAL_MAX] = "slow";

Test(mqtt_v5, waits_for_a_slow_answer_about_a_client_and_keeps_what_it_says_meanwhile)
{
	struct kit_client *c = client();

	hello(c, "a", (struct kit_hello){ .version = 5, .user = "slow" });
	HEARS_NOTHING(c);
	cr_assert(hbus_mqtt_is_waiting(c->conn));
	subscribe(c, 1, "t", 0);
	publish(c, "t", "early", 2, 2);
	HEARS_NOTHING(c);
	cr_assert_eq(kit_n_events, 0);
	cr_assert(hbus_mqtt_authenticated(c->conn, 0, slow_principal));
	HEARS(c, "CONNACK sp0 00" LIMITS);
	HEARS(c, "SUBACK #1 00");
	HEARS(c, "PUBACK #2");
	settle();
	HEARS(c, "PUBLISH t q0 r0 d0 early");
}

Test(mqtt_v5, refuses_after_a_slow_answer_and_does_not_wait_for_ever)
{
	struct kit_client *c = client(), *d = client(), *e = client();

	hello(c, "a", (struct kit_hello){ .version = 5, .user = "slow" });
	hello(d, "b", (struct kit_hello){ .version = 5, .user = "slow" });
	hello(e, "c", (struct kit_hello){ .version = 5, .user = "slow" });
	publish(c, "t", "early", 2, 2);
	hbus_mqtt_authenticated(c->conn, HBUS_MQTT_BAD_LOGIN, slow_principal);
	HEARS(c, "CONNACK sp0 86");
	IS_CLOSED(c);
	hang_up(d);
	pass(config.connect_timeout_ms);
	IS_CLOSED(e);
	cr_assert_eq(kit_n_events, 0);
	cr_assert_eq(counters->conns_now, 0);
}

/* -- DISCONNECT (3.14), malformed packets (4.13) -- */

Test(mqtt_v5, says_why_it_disconnects)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5), *e = connected("e", V5);

	SAY(c, 0x82, 2, 0, 1);
	HEARS(c, "DISCONNECT 81");
	IS_CLOSED(c);
	hello(d, "d", V5);
	HEARS(d, "DISCONNECT 82");
	SAY(e, 0x30, 0xff, 0xff, 0xff, 0x7f);
	HEARS(e, "DISCONNECT 95");
	cr_assert(counters->malformed == 1 && counters->protocol_errors == 1 && counters->packets_too_large == 1);
}

Test(mqtt_v5, closes_only_the_session_that_sent_something_malformed)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5);

	SAY(c, 0x00, 0);
	HEARS(c, "DISCONNECT 81");
	SAY(d, 0xc0, 0);
	HEARS(d, "PINGRESP");
}

Test(mqtt_v5, says_that_a_session_was_taken_over)
{
	struct kit_client *c = connected("a", V5), *d = client();

	hello(d, "a", V5);
	HEARS(c, "DISCONNECT 8e");
	IS_CLOSED(c);
	HEARS(d, "CONNACK sp0 00" LIMITS);
}

Test(mqtt_v5, says_goodbye_when_it_shuts_down)
{
	struct kit_client *c = connected("a", V5), *d = connected("b", V3);

	hbus_mqtt_shutdown(engine);
	HEARS(c, "DISCONNECT 8b");
	IS_CLOSED(c);
	IS_CLOSED(d);
}

Test(mqtt_v5, lets_disconnect_change_the_session_expiry_but_not_from_zero)
{
	struct kit_client *c = connected("c", V5_PROPS(LIVES_100)), *d = connected("d", V5);

	SAY(c, 0xe0, 7, 0, 5, 0x11, 0, 0, 0, 5);
	IS_CLOSED(c);
	pass(4999);
	cr_assert_eq(counters->sessions_now, 2);
	pass(1);
	cr_assert_eq(counters->sessions_now, 1);
	SAY(d, 0xe0, 7, 0, 5, 0x11, 0, 0, 0, 5);
	HEARS(d, "DISCONNECT 82");
}

/* -- sessions (4.1) -- */

Test(mqtt_v5, keeps_a_session_as_long_as_it_was_asked_to)
{
	struct kit_client *c = connected("c", V5_PROPS(LIVES_100)), *p = connected("p", V5);

	subscribe(c, 1, "t", 1);
	hang_up(c);
	publish(p, "t", "x", 2, 1);
	settle();
	pass(99999);
	c = client();
	hello(c, "c", V5_PERSISTENT(LIVES_100));
	HEARS(c, "CONNACK sp1 00" LIMITS);
	HEARS(c, "PUBLISH t q1 r0 d0 #1 x");
	hang_up(c);
	pass(100000);
	c = client();
	hello(c, "c", V5_PERSISTENT(LIVES_100));
	HEARS(c, "CONNACK sp0 00" LIMITS);
}

/* -- wills (3.1.2.5, 3.1.3.2) -- */

static const struct kit_will late_will = { "w", "gone", 0, false, "\x18\0\0\0\x0a", 5 };

Test(mqtt_v5, delays_a_will_and_forgets_it_when_the_client_comes_back)
{
	struct kit_client *c = connected("c", V5), *lost;
	const struct kit_hello h = { .version = 5, .is_persistent = true, .props = LIVES_100, .props_size = 5,
				     .will = &late_will };

	subscribe(c, 1, "w", 0);
	hear(c);
	lost = connected("lost", h);
	hang_up(lost);
	pass(9999);
	lost = connected("lost", h);
	hang_up(lost);
	pass(9999);
	settle();
	HEARS_NOTHING(c);
	pass(1);
	settle();
	HEARS(c, "PUBLISH w q0 r0 d0 gone");
	cr_assert_eq(counters->wills, 1);
}

Test(mqtt_v5, publishes_a_delayed_will_when_the_session_ends_before)
{
	struct kit_client *c = connected("c", V5), *lost;

	subscribe(c, 1, "w", 0);
	hear(c);
	lost = connected("a", (struct kit_hello){ .version = 5, .will = &late_will });
	hang_up(lost);
	settle();
	HEARS(c, "PUBLISH w q0 r0 d0 gone");
	lost = connected("b", (struct kit_hello){ .version = 5, .props = "\x11\0\0\0\x03", .props_size = 5,
						  .will = &late_will });
	hang_up(lost);
	pass(3000);
	settle();
	HEARS(c, "PUBLISH w q0 r0 d0 gone");
}

Test(mqtt_v5, publishes_the_will_on_disconnect_with_will_message)
{
	const struct kit_will will = { "w", "gone", 0, false, NULL, 0 };
	struct kit_client *c = connected("c", V5), *leaves;

	subscribe(c, 1, "w", 0);
	hear(c);
	leaves = connected("a", (struct kit_hello){ .version = 5, .will = &will });
	SAY(leaves, 0xe0, 1, 4);
	settle();
	HEARS(c, "PUBLISH w q0 r0 d0 gone");
	leaves = connected("a", (struct kit_hello){ .version = 5, .will = &will });
	SAY(leaves, 0xe0, 1, 0);
	settle();
	HEARS_NOTHING(c);
}

Test(mqtt_v5, carries_the_properties_of_a_will_but_not_its_delay)
{
	const struct kit_will will = { "w", "gone", 0, false,
				       "\x18\0\0\0\0\x01\x01\x02\0\0\0\x09\x26\0\1k\0\1v", 19 };
	struct kit_client *c = connected("c", V5), *lost;

	subscribe(c, 1, "w", 0);
	hear(c);
	lost = connected("a", (struct kit_hello){ .version = 5, .will = &will });
	hang_up(lost);
	settle();
	HEARS(c, "PUBLISH w q0 r0 d0 gone expiry=9 utf8=1 k=v");
}

Test(mqtt_v5, refuses_a_will_that_could_not_be_published)
{
	const struct kit_will secret = { "secret/w", "x", 0, false, NULL, 0 };
	const struct kit_will wild = { "a/#", "x", 0, false, NULL, 0 };
	const struct kit_will bad = { "w", "\xff", 0, false, "\1\1", 2 };
	struct kit_client *c = client(), *d = client(), *e = client();

	kit_denies = true;
	hello(c, "c", (struct kit_hello){ .version = 5, .will = &secret });
	kit_denies = false;
	HEARS(c, "CONNACK sp0 87");
	hello(d, "d", (struct kit_hello){ .version = 5, .will = &wild });
	HEARS(d, "CONNACK sp0 90");
	hello(e, "e", (struct kit_hello){ .version = 5, .will = &bad });
	HEARS(e, "CONNACK sp0 99");
	cr_assert_eq(counters->sessions_now, 0);
}

/* -- PUBLISH (3.3) and its properties -- */

Test(mqtt_v5, carries_every_property_of_a_message_to_v5_and_none_to_v3)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V3);
	static const char props[] = "\x01\x01\x03\0\x0atext/plain\x08\0\3r/1\x09\0\2id\x26\0\1a\0\1b\x26\0\1a\0\1c";

	subscribe(c, 1, "t", 0);
	subscribe(d, 1, "t", 0);
	hear(c);
	hear(d);
	publish_with(c, "t", "x", 0, 0, props, sizeof(props) - 1);
	settle();
	HEARS(c, "PUBLISH t q0 r0 d0 x utf8=1 03=text/plain 08=r/1 09=id a=b a=c");
	HEARS(d, "PUBLISH t q0 r0 d0 x");
}

Test(mqtt_v5, answers_a_request_by_its_response_topic)
{
	struct kit_client *asks = connected("asks", V5), *answers = connected("answers", V5);

	subscribe(asks, 1, "reply/asks", 0);
	subscribe(answers, 1, "do", 0);
	hear(asks);
	hear(answers);
	publish_with(asks, "do", "2+2", 0, 0, "\x08\0\x0areply/asks\x09\0\2#7", 18);
	settle();
	HEARS(answers, "PUBLISH do q0 r0 d0 2+2 08=reply/asks 09=#7");
	publish_with(answers, "reply/asks", "4", 0, 0, "\x09\0\2#7", 5);
	settle();
	HEARS(asks, "PUBLISH reply/asks q0 r0 d0 4 09=#7");
}

Test(mqtt_v5, closes_on_properties_that_a_client_may_not_send)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5), *e = connected("e", V5);

	publish_with(c, "t", "x", 0, 0, "\x0b\1", 2);
	HEARS(c, "DISCONNECT 82");
	publish_with(d, "t", "x", 0, 0, "\x08\0\3a/+", 6);
	HEARS(d, "DISCONNECT 82");
	publish_with(e, "t+", "x", 0, 0, NULL, 0);
	HEARS(e, "DISCONNECT 90");
}

Test(mqtt_v5, says_why_a_message_was_not_taken)
{
	struct kit_client *c = connected("c", V5);

	kit_denies = true;
	publish(c, "secret/a", "x", 2, 1);
	HEARS(c, "PUBACK #1 87");
	publish(c, "secret/a", "x", 4, 2);
	HEARS(c, "PUBREC #2 87");
	kit_denies = false;
	publish(c, "a\x01", "x", 2, 3);
	HEARS(c, "PUBACK #3 90");
	publish_with(c, "a", "\xff", 2, 4, "\1\1", 2);
	HEARS(c, "PUBACK #4 99");
	kit_bus_reason = HBUS_MQTT_QUOTA;
	publish(c, "a", "x", 4, 5);
	kit_bus_reason = 0;
	HEARS(c, "PUBREC #5 97");
	/* What was refused is no longer in flight. */
	ack(c, HBUS_MQTT_PUBREL, 5);
	HEARS(c, "PUBCOMP #5 92");
	IS_OPEN(c);
	cr_assert_eq(kit_n_events, 0);
	cr_assert(counters->publishes_denied == 2 && counters->publishes_bad_payload == 1);
}

Test(mqtt_v5, takes_utf8_where_it_is_promised)
{
	struct kit_client *c = connected("c", V5);

	publish_with(c, "a", "gr\xc3\xbc\xc3\x9f", 2, 4, "\1\1", 2);
	HEARS(c, "PUBACK #4");
	publish_with(c, "a", "\xff", 2, 4, "\1\0", 2);
	HEARS(c, "PUBACK #4");
}

/* -- message expiry (3.3.2.3.3) -- */

Test(mqtt_v5, counts_the_expiry_down_and_drops_what_has_expired)
{
	struct kit_client *c = connected("c", V5_PROPS(LIVES_100)), *p = connected("p", V5);

	subscribe(c, 1, "t", 1);
	hang_up(c);
	publish_with(p, "t", "long", 2, 1, "\2\0\0\0\x3c", 5);
	publish_with(p, "t", "short", 2, 2, "\2\0\0\0\x0a", 5);
	settle();
	pass(15000);
	c = connected("c", V5_PERSISTENT(LIVES_100));
	HEARS(c, "PUBLISH t q1 r0 d0 #1 long expiry=45");
	HEARS_NOTHING(c);
	cr_assert_eq(counters->dropped_expired, 1);
}

Test(mqtt_v5, goes_on_with_a_message_that_was_begun_before_it_expired)
{
	struct kit_client *c = connected("c", V5_PROPS(LIVES_100)), *p = connected("p", V5);

	subscribe(c, 1, "t", 1);
	publish_with(p, "t", "x", 2, 1, "\2\0\0\0\x0a", 5);
	settle();
	hang_up(c);
	pass(15000);
	c = connected("c", V5_PERSISTENT(LIVES_100));
	HEARS(c, "PUBLISH t q1 r0 d1 #1 x expiry=0");
}

Test(mqtt_v5, forgets_a_retained_message_that_expires)
{
	struct kit_client *c = connected("c", V5);

	publish_with(c, "t", "x", 1, 0, "\2\0\0\0\x0a", 5);
	pass(4000);
	subscribe(c, 1, "t", 0);
	HEARS(c, "SUBACK #1 00");
	HEARS(c, "PUBLISH t q0 r1 d0 x expiry=6");
	pass(6000);
	cr_assert_eq(counters->retained_now, 0);
	cr_assert_eq(counters->message_bytes_now, 0);
}

Test(mqtt_v5, takes_the_age_of_an_event_off_its_expiry)
{
	struct kit_client *c = connected("c", V5);
	struct hbus_mqtt_message m = { .topic = "t", .has_expiry = true, .expiry_s = 10, .age_ms = 4000 };

	subscribe(c, 1, "t", 0);
	hear(c);
	hbus_mqtt_event(engine, &m);
	HEARS(c, "PUBLISH t q0 r0 d0  expiry=6");
	m.age_ms = 10000;
	hbus_mqtt_event(engine, &m);
	HEARS_NOTHING(c);
}

/* -- topic aliases (3.3.2.3.4) -- */

Test(mqtt_v5, takes_topics_by_alias)
{
	struct kit_client *c = connected("c", V5);

	publish_with(c, "one", "a", 0, 0, "\x23\0\1", 3);
	publish_with(c, "", "b", 0, 0, "\x23\0\1", 3);
	publish_with(c, "two", "c", 0, 0, "\x23\0\1", 3);
	publish_with(c, "", "d", 0, 0, "\x23\0\1", 3);
	cr_assert_eq(kit_n_events, 4);
	cr_assert_str_eq(kit_events[1].topic, "one");
	cr_assert_str_eq(kit_events[3].topic, "two");
	cr_assert_eq(kit_events[1].message.props.size, 0, "an alias is not carried");
}

Test(mqtt_v5, closes_on_aliases_that_mean_nothing)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5), *e = connected("e", V5), *f = connected("f", V5);

	publish_with(c, "t", "x", 0, 0, "\x23\0\0", 3);
	HEARS(c, "DISCONNECT 94");
	publish_with(d, "t", "x", 0, 0, "\x23\0\x11", 3);
	HEARS(d, "DISCONNECT 94");
	publish_with(e, "", "x", 0, 0, "\x23\0\1", 3);
	HEARS(e, "DISCONNECT 82");
	publish(f, "", "x", 0, 0);
	HEARS(f, "DISCONNECT 82");
}

Test(mqtt_v5, gives_aliases_as_many_as_the_client_takes)
{
	struct kit_client *c = connected("c", V5_PROPS("\x22\0\2"));

	subscribe(c, 1, "#", 0);
	hear(c);
	for (int i = 0; i < 2; i++) {
		publish(c, "first", "x", 0, 0);
		publish(c, "second", "x", 0, 0);
		publish(c, "third", "x", 0, 0);
	}
	settle();
	HEARS(c, "PUBLISH first q0 r0 d0 x alias=1");
	HEARS(c, "PUBLISH second q0 r0 d0 x alias=2");
	HEARS(c, "PUBLISH third q0 r0 d0 x");
	HEARS(c, "PUBLISH  q0 r0 d0 x alias=1");
	HEARS(c, "PUBLISH  q0 r0 d0 x alias=2");
	HEARS(c, "PUBLISH third q0 r0 d0 x");
}

/* -- flow control (4.9), packet sizes (3.1.2.11.4) -- */

Test(mqtt_v5, has_no_more_in_flight_than_the_client_takes)
{
	struct kit_client *c = connected("c", V5_PROPS("\x21\0\2")), *p = connected("p", V5);

	subscribe(c, 1, "t", 2);
	hear(c);
	publish(p, "t", "a", 2, 1);
	publish(p, "t", "b", 4, 2);
	publish(p, "t", "c", 2, 3);
	publish(p, "t", "d", 2, 4);
	settle();
	HEARS(c, "PUBLISH t q1 r0 d0 #1 a");
	HEARS(c, "PUBLISH t q2 r0 d0 #2 b");
	HEARS_NOTHING(c);
	ack(c, HBUS_MQTT_PUBREC, 2);
	HEARS(c, "PUBREL #2");
	HEARS_NOTHING(c);
	ack(c, HBUS_MQTT_PUBCOMP, 2);
	HEARS(c, "PUBLISH t q1 r0 d0 #3 c");
	ack(c, HBUS_MQTT_PUBACK, 1);
	HEARS(c, "PUBLISH t q1 r0 d0 #4 d");
	HEARS_NOTHING(c);
}

Test(mqtt_v5, gives_the_place_of_a_refused_qos_2_message_back)
{
	struct kit_client *c = connected("c", V5_PROPS("\x21\0\1")), *p = connected("p", V5);

	subscribe(c, 1, "t", 2);
	hear(c);
	publish(p, "t", "a", 4, 1);
	publish(p, "t", "b", 4, 2);
	settle();
	HEARS(c, "PUBLISH t q2 r0 d0 #1 a");
	SAY(c, 0x50, 3, 0, 1, 0x80);
	HEARS(c, "PUBLISH t q2 r0 d0 #2 b");
}

Test(mqtt_v5, closes_a_client_that_exceeds_the_servers_receive_maximum)
{
	struct kit_client *c = connected("c", V5);

	for (uint16_t i = 1; i <= config.receive_max; i++)
		publish(c, "t", "x", 4, i);
	for (uint16_t i = 1; i <= config.receive_max; i++)
		cr_assert(strncmp(hear(c), "PUBREC", 6) == 0);
	publish(c, "t", "x", 2, 1000);
	HEARS(c, "PUBACK #1000");
	publish(c, "t", "x", 4, 2000);
	HEARS(c, "DISCONNECT 93");
	cr_assert_eq(counters->receive_max_exceeded, 1);
	cr_assert_eq(kit_n_events, config.receive_max + 1u);
}

Test(mqtt_v5, closes_a_client_that_takes_not_even_a_connack)
{
	struct kit_client *c = client();

	hello(c, "c", V5_PROPS("\x27\0\0\0\x0f"));
	HEARS_NOTHING(c);
	IS_CLOSED(c);
	cr_assert_eq(counters->sessions_now, 0);
}

Test(mqtt_v5, drops_for_one_client_what_is_too_large_for_it_and_acknowledges_it_itself)
{
	struct kit_client *c = connected("c", V5_PROPS("\x27\0\0\0\x20\x21\0\1")), *d = connected("d", V5);
	const char large[] = "12345678901234567890123456789";

	subscribe(c, 1, "t", 1);
	subscribe(d, 1, "t", 1);
	hear(c);
	hear(d);
	publish(d, "t", large, 2, 1);
	publish(d, "t", "small", 2, 2);
	HEARS(d, "PUBACK #1");
	HEARS(d, "PUBACK #2");
	settle();
	HEARS(d, "PUBLISH t q1 r0 d0 #1 12345678901234567890123456789");
	HEARS(c, "PUBLISH t q1 r0 d0 #2 small");
	cr_assert_eq(counters->dropped_too_large, 1);
}

/* -- subscriptions (3.8) -- */

Test(mqtt_v5, gives_the_identifiers_of_all_subscriptions_that_match)
{
	struct kit_client *c = connected("c", V5);

	subscribe_with(c, 1, "a/#", 0, "\x0b\1", 2);
	subscribe_with(c, 2, "a/b", 1, "\x0b\x80\1", 3);
	subscribe(c, 3, "a/+", 0);
	for (int i = 0; i < 3; i++)
		hear(c);
	publish(c, "a/b", "x", 2, 1);
	HEARS(c, "PUBACK #1");
	settle();
	hear(c);
	cr_assert(strstr(c->line, "PUBLISH a/b q1 r0 d0 #1 x") && strstr(c->line, " sub=1") && strstr(c->line, " sub=128"),
		  "%s", c->line);
	HEARS_NOTHING(c);
}

Test(mqtt_v5, does_not_send_a_no_local_subscriber_its_own)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5);

	subscribe(c, 1, "t", 4);
	hear(c);
	publish(c, "t", "mine", 0, 0);
	publish(d, "t", "yours", 0, 0);
	settle();
	HEARS(c, "PUBLISH t q0 r0 d0 yours");
	HEARS_NOTHING(c);
}

Test(mqtt_v5, takes_the_client_of_another_gateway_for_somebody_else)
{
	struct kit_client *c = connected("c", V5);
	struct hbus_mqtt_message m = { .topic = "t", .payload = "x", .payload_size = 1 };

	subscribe(c, 1, "t", 4);
	hear(c);
	publish(c, "t", "mine", 0, 0);
	m.origin = kit_events[0].message.origin;
	settle();
	HEARS_NOTHING(c);
	m.origin.engine++;
	hbus_mqtt_event(engine, &m);
	HEARS(c, "PUBLISH t q0 r0 d0 x");
}

Test(mqtt_v5, retains_what_the_client_of_another_gateway_retains)
{
	struct kit_client *c = connected("c", V5);
	struct hbus_mqtt_message m = { .topic = "t", .payload = "x", .payload_size = 1, .is_retain = true,
				       .origin = { 1, 1, 1 } };

	hbus_mqtt_event(engine, &m);
	subscribe(c, 1, "t", 0);
	HEARS(c, "SUBACK #1 00");
	HEARS(c, "PUBLISH t q0 r1 d0 x");
}

Test(mqtt_v5, sends_what_was_begun_again_before_promised_retained_messages)
{
	struct kit_client *c = connected("c", V5_PROPS(LIVES_100 "\x21\0\1")), *p = connected("p", V5);

	publish(p, "r/1", "old", 1 | 2, 1);
	settle();
	subscribe(c, 1, "t", 1);
	hear(c);
	publish(p, "t", "begun", 2, 2);
	settle();
	HEARS(c, "PUBLISH t q1 r0 d0 #1 begun");
	subscribe(c, 2, "r/+", 1);
	HEARS(c, "SUBACK #2 01");
	HEARS_NOTHING(c);
	hang_up(c);
	c = connected("c", V5_PERSISTENT(LIVES_100));
	HEARS(c, "PUBLISH t q1 r0 d1 #1 begun");
	HEARS(c, "PUBLISH r/1 q1 r1 d0 #2 old");
}

Test(mqtt_v5, keeps_the_retain_flag_where_asked_to)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5);

	subscribe(c, 1, "t", 8);
	subscribe(d, 1, "t", 0);
	hear(c);
	hear(d);
	publish(c, "t", "x", 1, 0);
	settle();
	HEARS(c, "PUBLISH t q0 r1 d0 x");
	HEARS(d, "PUBLISH t q0 r0 d0 x");
}

Test(mqtt_v5, handles_retained_messages_as_each_subscription_asks)
{
	struct kit_client *c = connected("c", V5);

	publish(c, "t", "x", 1, 0);
	subscribe(c, 1, "t", 0x20);
	HEARS(c, "SUBACK #1 00");
	HEARS_NOTHING(c);
	subscribe(c, 2, "t", 0x10);
	HEARS(c, "SUBACK #2 00");
	HEARS_NOTHING(c);
	subscribe(c, 3, "t", 0);
	HEARS(c, "SUBACK #3 00");
	HEARS(c, "PUBLISH t q0 r1 d0 x");
	subscribe(c, 4, "+", 0x10);
	HEARS(c, "SUBACK #4 00");
	HEARS(c, "PUBLISH t q0 r1 d0 x");
}

Test(mqtt_v5, says_for_each_filter_what_became_of_it)
{
	struct kit_client *c = connected("c", V5);

	subscribe(c, 1, "a/#/b", 0);
	HEARS(c, "SUBACK #1 8f");
	kit_denies = true;
	subscribe(c, 2, "secret/#", 0);
	kit_denies = false;
	HEARS(c, "SUBACK #2 87");
	unsubscribe(c, 3, "a");
	HEARS(c, "UNSUBACK #3 11");
	subscribe(c, 4, "a", 2);
	unsubscribe(c, 5, "a");
	HEARS(c, "SUBACK #4 02");
	HEARS(c, "UNSUBACK #5 00");
}

/* -- shared subscriptions (4.8.2) -- */

Test(mqtt_v5, judges_the_names_of_shared_subscriptions)
{
	struct kit_client *c = connected("c", V5);

	subscribe(c, 1, "$share/g", 0);
	HEARS(c, "SUBACK #1 8f");
	subscribe(c, 2, "$share//t", 0);
	HEARS(c, "SUBACK #2 8f");
	subscribe(c, 3, "$share/g+/t", 0);
	HEARS(c, "SUBACK #3 8f");
	subscribe(c, 4, "$share/g/", 0);
	HEARS(c, "SUBACK #4 8f");
	subscribe(c, 5, "$share/g/t", 4);
	HEARS(c, "DISCONNECT 82");
	cr_assert_eq(kit_n_filters, 0);
}

Test(mqtt_v5, gives_each_group_one_copy_and_no_retained_messages)
{
	struct kit_client *c = connected("c", V5);

	publish(c, "t", "old", 1, 0);
	subscribe(c, 1, "$share/g/t", 0);
	subscribe(c, 2, "$share/h/t", 0);
	subscribe(c, 3, "t", 0x20);
	for (int i = 1; i <= 3; i++)
		hear(c);
	HEARS_NOTHING(c);
	settle();
	publish(c, "t", "x", 0, 0);
	settle();
	for (int i = 0; i < 3; i++)
		HEARS(c, "PUBLISH t q0 r0 d0 x");
	HEARS_NOTHING(c);
}

Test(mqtt_v5, prefers_members_who_are_there_and_can_take_more)
{
	struct kit_client *away = connected("away", V5_PROPS(LIVES_100)), *full = connected("full", V5_PROPS("\x21\0\1")),
			  *free_one = connected("free", V5), *p = connected("p", V5);

	subscribe(away, 1, "$share/g/t", 1);
	subscribe(full, 1, "$share/g/t", 1);
	subscribe(free_one, 1, "$share/g/t", 1);
	hear(full);
	hear(free_one);
	hang_up(away);
	for (uint16_t i = 1; i <= 6; i++)
		publish(p, "t", "x", 2, i);
	settle();
	HEARS(full, "PUBLISH t q1 r0 d0 #1 x");
	HEARS_NOTHING(full);
	for (int i = 0; i < 5; i++)
		cr_assert(strncmp(hear(free_one), "PUBLISH", 7) == 0, "%d", i);
	HEARS_NOTHING(free_one);
}

Test(mqtt_v5, moves_shared_messages_to_other_members_when_a_session_ends)
{
	struct kit_client *c = connected("c", V5), *d, *p = connected("p", V5);

	subscribe(c, 1, "$share/g/t", 2);
	hear(c);
	publish(p, "t", "one", 2, 1);
	publish(p, "t", "two", 4, 2);
	settle();
	HEARS(c, "PUBLISH t q1 r0 d0 #1 one");
	HEARS(c, "PUBLISH t q2 r0 d0 #2 two");
	d = connected("d", V5);
	subscribe(d, 1, "$share/g/t", 2);
	hear(d);
	hang_up(c);
	HEARS(d, "PUBLISH t q1 r0 d0 #1 one");
	HEARS_NOTHING(d);
	cr_assert_eq(counters->shared_moved, 1);
	cr_assert_eq(counters->dropped_session, 1, "QoS 2 that was begun goes to nobody else");
}

Test(mqtt_v5, keeps_shared_messages_for_a_member_who_will_come_back)
{
	struct kit_client *c = connected("c", V5_PROPS(LIVES_100)), *p = connected("p", V5);

	subscribe_with(c, 1, "$share/g/t", 1, "\x0b\7", 2);
	hang_up(c);
	publish(p, "t", "x", 2, 1);
	settle();
	c = connected("c", V5_PERSISTENT(LIVES_100));
	HEARS(c, "PUBLISH t q1 r0 d0 #1 x sub=7");
}
