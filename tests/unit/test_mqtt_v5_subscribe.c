/* SPDX-License-Identifier: BSD-3-Clause */
/* What MQTT 5.0 adds to subscribing, by the standard's groups: options, identifiers, shared subscriptions. */
#include "tests/unit/mqtt_kit.h"

TestSuite(mqtt_v5_subscribe, .init = kit_begin, .fini = kit_end);

/* -- subscriptions (3.8) -- */

Test(mqtt_v5_subscribe, gives_the_identifiers_of_all_subscriptions_that_match)
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

Test(mqtt_v5_subscribe, does_not_send_a_no_local_subscriber_its_own)
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

Test(mqtt_v5_subscribe, takes_the_client_of_another_gateway_for_somebody_else)
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

Test(mqtt_v5_subscribe, retains_what_the_client_of_another_gateway_retains)
{
	struct kit_client *c = connected("c", V5);
	struct hbus_mqtt_message m = { .topic = "t", .payload = "x", .payload_size = 1, .is_retain = true,
				       .origin = { 1, 1, 1 } };

	hbus_mqtt_event(engine, &m);
	subscribe(c, 1, "t", 0);
	HEARS(c, "SUBACK #1 00");
	HEARS(c, "PUBLISH t q0 r1 d0 x");
}

Test(mqtt_v5_subscribe, sends_what_was_begun_again_before_promised_retained_messages)
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

Test(mqtt_v5_subscribe, keeps_the_retain_flag_where_asked_to)
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

Test(mqtt_v5_subscribe, handles_retained_messages_as_each_subscription_asks)
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

Test(mqtt_v5_subscribe, says_for_each_filter_what_became_of_it)
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

Test(mqtt_v5_subscribe, judges_the_names_of_shared_subscriptions)
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

Test(mqtt_v5_subscribe, gives_each_group_one_copy_and_no_retained_messages)
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

Test(mqtt_v5_subscribe, prefers_members_who_are_there_and_can_take_more)
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

Test(mqtt_v5_subscribe, moves_shared_messages_to_other_members_when_a_session_ends)
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

Test(mqtt_v5_subscribe, keeps_shared_messages_for_a_member_who_will_come_back)
{
	struct kit_client *c = connected("c", V5_PROPS(LIVES_100)), *p = connected("p", V5);

	subscribe_with(c, 1, "$share/g/t", 1, "\x0b\7", 2);
	hang_up(c);
	publish(p, "t", "x", 2, 1);
	settle();
	c = connected("c", V5_PERSISTENT(LIVES_100));
	HEARS(c, "PUBLISH t q1 r0 d0 #1 x sub=7");
}
