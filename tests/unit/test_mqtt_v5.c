/* SPDX-License-Identifier: BSD-3-Clause */
/* What MQTT 5.0 adds to a connection, by the standard's groups of normative statements: CONNECT to DISCONNECT, wills. */
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
