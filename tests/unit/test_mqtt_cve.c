/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has felled other brokers: the shapes behind published reports about mosquitto and NanoMQ. Each is said to
 * an engine in which another client lives on; afterwards that one is answered, and nothing is left over.
 */
#include "tests/unit/mqtt_kit.h"

static struct kit_client *witness;

static void begin(void)
{
	kit_begin();
	witness = connected("witness", V5);
	subscribe(witness, 1, "alive", 0);
	hear(witness);
}

static void end(void)
{
	struct kit_client *p;

	kit_denies = false;
	for (struct kit_client *c = kit_clients; c; c = c->next)
		if (c != witness)
			hang_up(c);
	p = connected("last", V3);
	publish(p, "alive", "still", 0, 0);
	settle();
	HEARS(witness, "PUBLISH alive q0 r0 d0 still");
	hang_up(p);
	hang_up(witness);
	pass(1000);
	cr_assert(counters->conns_now == 0 && counters->sessions_now == 0 && counters->subscriptions_now == 0);
	cr_assert_eq(counters->message_bytes_now, 0);
	kit_end();
}

TestSuite(mqtt_cve, .init = begin, .fini = end);

/* CVE-2017-7651, CVE-2023-0809: memory for a large packet of somebody who has not been let in. */
Test(mqtt_cve, a_large_first_packet_gets_no_memory)
{
	struct kit_client *c = client(), *d = client();

	SAY(c, 0x10, 0xff, 0xff, 0xff, 0x7f);
	IS_CLOSED(c);
	SAY(d, 0x30, 0xff, 0xff, 0x3f);
	IS_CLOSED(d);
	cr_assert_eq(counters->connect_too_large, 2);
}

/* CVE-2017-7652, CVE-2017-7653, CVE-2018-20145 and their kind: UTF-8 that is none, U+0000, surrogates. */
Test(mqtt_cve, bad_utf8_ends_its_sender)
{
	static const char *const bad[] = { "\xff", "a\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct kit_client *c = connected("c", V5), *d = connected("d", V5);

		publish(c, bad[i], "x", 0, 0);
		HEARS(c, "DISCONNECT 81");
		subscribe(d, 1, bad[i], 0);
		HEARS(d, "DISCONNECT 81");
	}
	cr_assert_eq(counters->malformed, 10);
}

/* CVE-2018-12543: a name that begins with '$' and is not $SYS. */
Test(mqtt_cve, a_name_that_begins_with_a_dollar_is_refused)
{
	struct kit_client *c = connected("c", V5);

	publish(c, "$test/x", "x", 2, 1);
	HEARS(c, "PUBACK #1 87");
	publish(c, "$", "x", 2, 2);
	HEARS(c, "PUBACK #2 87");
	subscribe(c, 3, "$", 0);
	HEARS(c, "SUBACK #3 00");
}

/* CVE-2019-11778: a will delay longer than the session's life, and the session taken up again. */
Test(mqtt_cve, a_will_delay_beyond_the_sessions_end_fires_at_the_end_once)
{
	const struct kit_will will = { .topic = "w", .payload = "gone", .props = "\x18\0\0\0\x64", .props_size = 5 };
	struct kit_hello h = { .version = 5, .is_persistent = true, .props = "\x11\0\0\0\x05", .props_size = 5, .will = &will };
	struct kit_client *c = connected("c", h);

	hang_up(c);
	pass(4000);
	c = connected("c", h);
	hang_up(c);
	pass(5000);
	cr_assert_eq(counters->wills, 1);
	pass(200000);
	cr_assert_eq(counters->wills, 1);
}

/* CVE-2019-11779: tens of thousands of '/' in a filter or name, for whoever recurses by level. */
Test(mqtt_cve, a_name_of_nothing_but_slashes_is_refused)
{
	static char slashes[65001];
	struct kit_client *c = connected("c", V5);

	memset(slashes, '/', sizeof(slashes) - 1);
	subscribe(c, 1, slashes, 0);
	HEARS(c, "SUBACK #1 8f");
	publish(c, slashes, "x", 2, 2);
	HEARS(c, "PUBACK #2 90");
	unsubscribe(c, 3, slashes);
	HEARS(c, "UNSUBACK #3 11");
	IS_OPEN(c);
}

/* CVE-2021-28166: a client sends what only servers send. */
Test(mqtt_cve, packets_of_a_server_end_a_client)
{
	static const uint8_t first[] = { 0x20, 0x90, 0xb0, 0xd0 };

	for (size_t i = 0; i < sizeof(first); i++) {
		struct kit_client *c = connected("c", V5);

		SAY(c, first[i], 3, 0, 0, 0);
		cr_assert(strncmp(hear(c), "DISCONNECT 8", 12) == 0, "%s", c->line);
		IS_CLOSED(c);
	}
}

/* CVE-2021-34431, CVE-2023-3592, CVE-2023-33657: CONNECT that fails late leaks what came before. A sanitizer looks. */
Test(mqtt_cve, a_connect_that_fails_anywhere_leaves_nothing)
{
	const struct kit_will bad_props = { .topic = "w", .payload = "x", .props = "\x18\0\0\0\1\x24\1", .props_size = 7 };
	const struct kit_will bad_topic = { .topic = "w/#", .payload = "x", .props = "\x26\0\1k\0\1v", .props_size = 7 };
	const struct kit_will dollar = { .topic = "$SYS/w", .payload = "x" };
	const struct kit_will *wills[] = { &bad_props, &bad_topic, &dollar };

	for (size_t i = 0; i < 3; i++) {
		struct kit_client *c = client();

		hello(c, "c", (struct kit_hello){ .version = 5, .will = wills[i], .user = "u", .password = "p" });
		cr_assert(strncmp(hear(c), "CONNACK sp0 ", 12) == 0 && strcmp(c->line + 12, "80") >= 0, "%s", c->line);
		IS_CLOSED(c);
	}
	hello(client(), "c", V5_PROPS("\x15\0\3abc\x16\0\3def"));
	cr_assert_eq(counters->sessions_now, 1);
}

/* CVE-2021-34432: PUBLISH with a topic of length zero, and without an alias. */
Test(mqtt_cve, an_empty_topic_ends_its_sender)
{
	struct kit_client *c = connected("c", V3), *d = connected("d", V5), *e = connected("e", V5);

	SAY(c, 0x30, 2, 0, 0);
	IS_CLOSED(c);
	SAY(d, 0x30, 3, 0, 0, 0);
	HEARS(d, "DISCONNECT 82");
	SAY(e, 0x30, 6, 0, 0, 3, 0x23, 0, 9);
	HEARS(e, "DISCONNECT 82");
}

/* CVE-2021-41039: CONNECT full of user properties costs time for each pair of them. Here: as many as fit. */
Test(mqtt_cve, thousands_of_user_properties_are_read_once)
{
	static uint8_t props[250000];
	struct kit_client *c = connected("c", V5);
	static struct kit_packet p;
	size_t n = 0;

	while (n + 5 <= 60000) {
		memcpy(props + n, "\x26\0\0\0\0", 5);
		n += 5;
	}
	packet_begin(&p);
	put_str(&p, "t");
	hbus_mqtt_put_u16(&p.w, 1);
	put_props(c, &p, props, n);
	packet_say(c, 0x32, &p);
	HEARS(c, "PUBACK #1");
	cr_assert_eq(kit_n_events, 1);
}

/* CVE-2023-28366: the same QoS 2 identifier again and again, never released. */
Test(mqtt_cve, repeated_qos_2_identifiers_take_no_memory)
{
	struct kit_client *c = connected("c", V5);

	for (int i = 0; i < 10000; i++) {
		publish(c, "t", "a payload that would add up", (uint8_t)(i ? 12 : 4), 7);
		HEARS(c, "PUBREC #7");
	}
	cr_assert_eq(kit_n_events, 1);
	cr_assert_eq(counters->publishes_duplicate, 9999);
	cr_assert_eq(counters->message_bytes_now, 0);
}

/* CVE-2024-8376: subscribe, unsubscribe and leave in all orders, the same filter several times in a packet. */
Test(mqtt_cve, subscribing_and_leaving_in_any_order_frees_once)
{
	static const char *const filters[] = { "a", "a", "$share/g/a", "$share/g/a", "#", "a/+", "$share/h/a" };

	for (unsigned int round = 0; round < 300; round++) {
		struct kit_client *c = connected("c", round & 1 ? V5 : V3_PERSISTENT);

		for (unsigned int i = 0; i < 7; i++) {
			if (round >> i & 1)
				subscribe(c, (uint16_t)(1 + i), filters[(i * round) % 7], 0);
			else
				unsubscribe(c, (uint16_t)(1 + i), filters[(i + round) % 7]);
		}
		publish(c, "a", "x", 0, 0);
		settle();
		if (round % 3 == 0)
			SAY(c, 0xe0, 0);
		else
			hang_up(c);
	}
	connected("c", V3);
}

/* NanoMQ 1154, 2268: SUBSCRIBE that ends where a filter's options should stand. */
Test(mqtt_cve, a_subscribe_without_options_is_malformed)
{
	struct kit_client *c = connected("c", V3), *d = connected("d", V5), *e = connected("e", V5);

	SAY(c, 0x82, 5, 0, 1, 0, 1, 'a');
	IS_CLOSED(c);
	SAY(d, 0x82, 6, 0, 1, 0, 0, 1, 'a');
	HEARS(d, "DISCONNECT 81");
	SAY(e, 0x82, 6, 0, 1, 0, 0, 9, 'a');
	HEARS(e, "DISCONNECT 81");
}

/* NanoMQ 1153, 2270: PUBLISH with QoS that ends before its packet identifier or its properties. */
Test(mqtt_cve, a_publish_cut_short_is_malformed)
{
	struct kit_client *c = connected("c", V3), *d = connected("d", V5), *e = connected("e", V5), *f = connected("f", V5);

	SAY(c, 0x32, 3, 0, 1, 'a');
	IS_CLOSED(c);
	SAY(d, 0x32, 4, 0, 1, 'a', 0);
	HEARS(d, "DISCONNECT 81");
	SAY(e, 0x32, 5, 0, 1, 'a', 0, 1);
	HEARS(e, "DISCONNECT 81");
	SAY(f, 0x32, 8, 0, 1, 'a', 0, 1, 9, 0x26, 0);
	HEARS(f, "DISCONNECT 81");
}

/* NanoMQ 1042, 1169, 1181: lengths of properties that lie, in CONNECT too. */
Test(mqtt_cve, lengths_of_properties_that_lie_are_malformed)
{
	struct kit_client *c = client(), *d = client(), *e = client(), *f = client();

	SAY(c, 0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0x7f, 0x11, 0, 0);
	IS_CLOSED(c);
	SAY(d, 0x10, 15, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 4, 0x26, 0xff, 0xff, 'a');
	IS_CLOSED(d);
	SAY(e, 0x10, 15, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff);
	IS_CLOSED(e);
	SAY(f, 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 0xc6, 0, 0, 0, 0, 0);
	IS_CLOSED(f);
	cr_assert_eq(counters->malformed, 4);
}

/* NanoMQ 1810: a subscription identifier in a client's PUBLISH, for whoever copies it to the subscriber. */
Test(mqtt_cve, a_subscription_identifier_from_a_client_is_a_protocol_error)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5);

	subscribe_with(d, 1, "TTT", 0, "\x0b\x05", 2);
	HEARS(d, "SUBACK #1 00");
	publish_with(c, "TTT", "", 0, 0, "\x0b\x07", 2);
	HEARS(c, "DISCONNECT 82");
	HEARS_NOTHING(d);
}

/* NanoMQ 2114 and others: who is sent to is taken over, or hangs up, in the middle of it. */
Test(mqtt_cve, take_over_in_the_middle_of_sending_is_clean)
{
	struct kit_client *c, *p = connected("p", V3);

	for (int i = 0; i < 50; i++) {
		c = connected("same", (struct kit_hello){ .version = 5, .is_persistent = true, .props = "\x11\0\0\0\x05\x21\0\1",
							  .props_size = 8 });
		subscribe(c, 1, "t", 2);
		publish(p, "t", "x", 2, 1);
		settle();
		if (i % 2)
			hang_up(c);
		pass(2000);
	}
	pass(10000);
	cr_assert_eq(counters->message_bytes_now, 0);
}
