/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets and wills that wait for the bus to hear of a topic or a filter. */
#include "tests/unit/mqtt_kit.h"

static void begin(void)
{
	kit_begin();
	kit_is_slow_bus = true;
}

TestSuite(mqtt_wait, .init = begin, .fini = kit_end);

Test(mqtt_wait, a_publisher_waits_with_what_it_says_next_and_nobody_else_does)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5);

	publish(c, "new", "1", 2, 1);
	cr_assert(hbus_mqtt_is_waiting(c->conn));
	publish(c, "new", "2", 2, 2);
	SAY(c, 0xc0, 0);
	HEARS_NOTHING(c);
	SAY(d, 0xc0, 0);
	HEARS(d, "PINGRESP");
	answer("T new", 0);
	HEARS(c, "PUBACK #1");
	HEARS(c, "PUBACK #2");
	HEARS(c, "PINGRESP");
	cr_assert_eq(kit_n_resumed, 1);
	cr_assert_eq(kit_n_events, 2);
	cr_assert_eq(counters->publishes_in, 2);
	cr_assert_eq(counters->waits, 1);
}

Test(mqtt_wait, several_publishers_wait_for_one_answer)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V3);

	publish(c, "new", "1", 2, 1);
	publish(d, "new", "2", 2, 1);
	publish(d, "other", "3", 2, 2);
	answer("T new", 0);
	HEARS(c, "PUBACK #1");
	HEARS(d, "PUBACK #1");
	HEARS_NOTHING(d);
	cr_assert(hbus_mqtt_is_waiting(d->conn));
	answer("T other", 0);
	HEARS(d, "PUBACK #2");
	cr_assert_eq(kit_n_resumed, 2);
}

Test(mqtt_wait, a_topic_that_is_not_to_be_had_is_refused_with_its_reason)
{
	struct kit_client *c = connected("c", V5);

	publish(c, "new", "1", 2, 1);
	publish(c, "new", "2", 4, 2);
	answer("T new", HBUS_MQTT_NOT_AUTHORIZED);
	HEARS(c, "PUBACK #1 87");
	HEARS(c, "PUBREC #2 87");
	cr_assert_eq(kit_n_asked, 0);
	cr_assert_eq(counters->publishes_bus_refused, 2);
}

Test(mqtt_wait, an_alias_stays_what_it_was_made)
{
	struct kit_client *c = connected("c", V5);

	publish_with(c, "new", "1", 0, 0, "\x23\0\1", 3);
	publish_with(c, "", "2", 0, 0, "\x23\0\1", 3);
	answer("T new", 0);
	cr_assert_eq(kit_n_events, 2);
	cr_assert_str_eq(kit_events[1].topic, "new");
	IS_OPEN(c);
}

Test(mqtt_wait, what_is_held_is_bounded)
{
	struct kit_client *c = connected("c", V5);
	static char large[60000];

	memset(large, 'x', sizeof(large) - 1);
	publish(c, "new", "1", 2, 1);
	for (int i = 0; i < 100 && c->conn; i++)
		publish(c, "new", large, 0, 0);
	HEARS(c, "DISCONNECT 95");
	IS_CLOSED(c);
	answer("T new", 0);
	cr_assert_eq(kit_n_events, 0);
}

Test(mqtt_wait, who_hangs_up_while_waiting_leaves_nothing)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5);

	publish(c, "new", "1", 2, 1);
	subscribe(d, 1, "f", 0);
	hang_up(c);
	hang_up(d);
	answer("T new", 0);
	answer("F f", 0);
	cr_assert_eq(kit_n_events, 0);
	cr_assert(counters->sessions_now == 0 && counters->subscriptions_now == 0);
	cr_assert_eq(kit_n_filters, 0);
}

static void subscribe_three(struct kit_client *c)
{
	static struct kit_packet p;

	packet_begin(&p);
	hbus_mqtt_put_u16(&p.w, 7);
	put_props(c, &p, NULL, 0);
	put_str(&p, "a");
	hbus_mqtt_put_u8(&p.w, 0);
	put_str(&p, "b/#");
	hbus_mqtt_put_u8(&p.w, 1);
	put_str(&p, "c");
	hbus_mqtt_put_u8(&p.w, 2);
	packet_say(c, 0x82, &p);
}

Test(mqtt_wait, subscribe_is_acknowledged_once_when_all_its_filters_were_answered)
{
	struct kit_client *c = connected("c", V5);

	subscribe_three(c);
	SAY(c, 0xc0, 0);
	answer("F a", 0);
	answer("F b/#", HBUS_MQTT_NOT_AUTHORIZED);
	HEARS_NOTHING(c);
	answer("F c", 0);
	HEARS(c, "SUBACK #7 00 87 02");
	HEARS(c, "PINGRESP");
	cr_assert_eq(counters->subscriptions_now, 2);
	cr_assert_eq(counters->subscriptions_refused, 1);
	cr_assert_eq(kit_n_filters, 2);
}

Test(mqtt_wait, a_refused_filter_gives_nothing_that_was_retained)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5), *p = connected("p", V5);

	kit_is_slow_bus = false;
	publish(p, "r/1", "kept", 3, 1);
	kit_is_slow_bus = true;
	subscribe(c, 1, "r/#", 0);
	subscribe(d, 1, "$share/g/r/#", 0);
	cr_assert(hbus_mqtt_is_waiting(d->conn), "the same filter is still asked for");
	answer("F r/#", HBUS_MQTT_NOT_AUTHORIZED);
	HEARS(c, "SUBACK #1 87");
	HEARS(d, "SUBACK #1 87");
	HEARS_NOTHING(c);
	cr_assert(counters->subscriptions_now == 0 && kit_n_filters == 0);
	subscribe(c, 2, "r/#", 0);
	answer("F r/#", 0);
	HEARS(c, "SUBACK #2 00");
	HEARS(c, "PUBLISH r/1 q0 r1 d0 kept");
}

Test(mqtt_wait, only_the_last_answer_about_a_filter_counts)
{
	struct kit_client *c = connected("c", V5), *d = connected("d", V5);

	subscribe(c, 1, "f", 0);
	hang_up(c);
	cr_assert_eq(kit_n_filters, 0, "nobody wants it any more");
	subscribe(d, 1, "f", 0);
	answer("F f", HBUS_MQTT_QUOTA);
	HEARS_NOTHING(d);
	answer("F f", 0);
	HEARS(d, "SUBACK #1 00");
}

Test(mqtt_wait, a_will_waits_too)
{
	const struct kit_will will = { .topic = "w", .payload = "gone" };
	struct kit_client *c = connected("c", (struct kit_hello){ .version = 5, .will = &will });
	struct kit_client *d = connected("d", (struct kit_hello){ .version = 4, .will = &will });

	hang_up(c);
	hang_up(d);
	cr_assert_eq(counters->wills, 0);
	answer("T w", 0);
	cr_assert_eq(counters->wills, 2);
	cr_assert_eq(kit_n_events, 2);
	cr_assert_eq(counters->message_bytes_now, 0);
}

Test(mqtt_wait, a_will_that_is_refused_is_forgotten)
{
	const struct kit_will will = { .topic = "w", .payload = "gone" };
	struct kit_client *c = connected("c", (struct kit_hello){ .version = 5, .will = &will });

	hang_up(c);
	answer("T w", HBUS_MQTT_NOT_AUTHORIZED);
	cr_assert(counters->wills == 0 && counters->message_bytes_now == 0);
}

Test(mqtt_wait, who_waits_is_not_silent)
{
	struct kit_client *c = connected("c", (struct kit_hello){ .version = 5, .keep_alive = 10 });

	publish(c, "new", "1", 2, 1);
	pass(60000);
	IS_OPEN(c);
	answer("T new", 0);
	HEARS(c, "PUBACK #1");
	pass(14000);
	IS_OPEN(c);
	pass(16000);
	HEARS(c, "DISCONNECT 8d");
	IS_CLOSED(c);
}
