/* SPDX-License-Identifier: BSD-3-Clause */
/* What MQTT 5.0 adds to publishing, by the standard's groups: properties, expiry, aliases, flow control. */
#include "tests/unit/mqtt_kit.h"

TestSuite(mqtt_v5_publish, .init = kit_begin, .fini = kit_end);

/* -- PUBLISH (3.3) and its properties -- */

Test(mqtt_v5_publish, carries_every_property_of_a_message_to_v5_and_none_to_v3)
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

Test(mqtt_v5_publish, answers_a_request_by_its_response_topic)
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

Test(mqtt_v5_publish, closes_on_properties_that_a_client_may_not_send)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5), *e = connected("e", V5);

	publish_with(c, "t", "x", 0, 0, "\x0b\1", 2);
	HEARS(c, "DISCONNECT 82");
	publish_with(d, "t", "x", 0, 0, "\x08\0\3a/+", 6);
	HEARS(d, "DISCONNECT 82");
	publish_with(e, "t+", "x", 0, 0, NULL, 0);
	HEARS(e, "DISCONNECT 90");
}

Test(mqtt_v5_publish, says_why_a_message_was_not_taken)
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

Test(mqtt_v5_publish, takes_utf8_where_it_is_promised)
{
	struct kit_client *c = connected("c", V5);

	publish_with(c, "a", "gr\xc3\xbc\xc3\x9f", 2, 4, "\1\1", 2);
	HEARS(c, "PUBACK #4");
	publish_with(c, "a", "\xff", 2, 4, "\1\0", 2);
	HEARS(c, "PUBACK #4");
}

/* -- message expiry (3.3.2.3.3) -- */

Test(mqtt_v5_publish, counts_the_expiry_down_and_drops_what_has_expired)
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

Test(mqtt_v5_publish, goes_on_with_a_message_that_was_begun_before_it_expired)
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

Test(mqtt_v5_publish, forgets_a_retained_message_that_expires)
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

Test(mqtt_v5_publish, takes_the_age_of_an_event_off_its_expiry)
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

Test(mqtt_v5_publish, takes_topics_by_alias)
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

Test(mqtt_v5_publish, closes_on_aliases_that_mean_nothing)
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

Test(mqtt_v5_publish, gives_aliases_as_many_as_the_client_takes)
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

Test(mqtt_v5_publish, has_no_more_in_flight_than_the_client_takes)
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

Test(mqtt_v5_publish, gives_the_place_of_a_refused_qos_2_message_back)
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

Test(mqtt_v5_publish, closes_a_client_that_exceeds_the_servers_receive_maximum)
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

Test(mqtt_v5_publish, closes_a_client_that_takes_not_even_a_connack)
{
	struct kit_client *c = client();

	hello(c, "c", V5_PROPS("\x27\0\0\0\x0f"));
	HEARS_NOTHING(c);
	IS_CLOSED(c);
	cr_assert_eq(counters->sessions_now, 0);
}

Test(mqtt_v5_publish, drops_for_one_client_what_is_too_large_for_it_and_acknowledges_it_itself)
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
