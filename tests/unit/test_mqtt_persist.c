/* SPDX-License-Identifier: BSD-3-Clause */
/* What an engine remembers over a restart, and what it makes of a damaged memory. */
#include "ctl/proto/siphash.h"
#include "tests/unit/mqtt_kit.h"
#include "tests/unit/random.h"

TestSuite(mqtt_persist, .init = kit_begin, .fini = kit_end);

#define WALL 1700000000000u

static uint8_t *saved;
static size_t saved_size;

static void save(void)
{
	free(saved);
	cr_assert_eq(hbus_mqtt_save(engine, WALL, &saved, &saved_size), 0);
}

/* Another engine, @ms later. */
static int restart(uint64_t ms)
{
	int r;

	kit_end();
	kit_defaults();
	config.secret[0] = 1234;
	kit_start();
	r = hbus_mqtt_load(engine, saved, saved_size, WALL + ms);
	return r;
}

Test(mqtt_persist, retained_messages_and_their_properties_are_there_again)
{
	struct kit_client *p = connected("p", V5), *c;

	publish_with(p, "r/1", "one", 3, 1, "\x26\0\1k\0\1v", 7);
	publish(p, "r/2", "two", 1, 0);
	publish_with(p, "r/3", "short", 1, 0, "\x02\0\0\0\x05", 5);
	publish_with(p, "r/4", "long", 1, 0, "\x02\0\0\0\x64", 5);
	save();
	cr_assert_eq(restart(6000), 0);
	cr_assert_eq(counters->retained_now, 3);
	c = connected("c", V5);
	subscribe(c, 1, "r/1", 1);
	HEARS(c, "SUBACK #1 01");
	HEARS(c, "PUBLISH r/1 q1 r1 d0 #1 one k=v");
	subscribe(c, 2, "r/4", 0);
	HEARS(c, "SUBACK #2 00");
	HEARS(c, "PUBLISH r/4 q0 r1 d0 long expiry=94");
	free(saved);
	saved = NULL;
}

Test(mqtt_persist, sessions_keep_their_subscriptions_and_what_waits_for_them)
{
	struct kit_client *c = connected("c", V3_PERSISTENT), *p = connected("p", V3);

	subscribe(c, 1, "t/#", 1);
	subscribe(c, 2, "$share/g/s", 1);
	hear(c), hear(c);
	publish(p, "t/1", "sent", 2, 1);
	settle();
	HEARS(c, "PUBLISH t/1 q1 r0 d0 #1 sent");
	hang_up(c);
	publish(p, "t/2", "waits", 2, 2);
	publish(p, "s", "shared", 2, 3);
	settle();
	save();
	cr_assert_eq(restart(0), 0);
	cr_assert(counters->sessions_now == 1 && counters->subscriptions_now == 2 && kit_n_filters == 2);
	p = connected("p", V3);
	publish(p, "t/3", "new", 2, 1);
	settle();
	c = client();
	hello(c, "c", V3_PERSISTENT);
	HEARS(c, "CONNACK sp1 00");
	HEARS(c, "PUBLISH t/1 q1 r0 d1 #1 sent");
	HEARS(c, "PUBLISH t/2 q1 r0 d0 #2 waits");
	HEARS(c, "PUBLISH s q1 r0 d0 #3 shared");
	HEARS(c, "PUBLISH t/3 q1 r0 d0 #4 new");
	HEARS_NOTHING(c);
	free(saved);
	saved = NULL;
}

Test(mqtt_persist, qos_2_goes_on_where_it_was_both_ways)
{
	struct kit_client *c = connected("c", V3_PERSISTENT);

	subscribe(c, 1, "t", 2);
	hear(c);
	publish(c, "t", "x", 4, 9);
	HEARS(c, "PUBREC #9");
	settle();
	HEARS(c, "PUBLISH t q2 r0 d0 #1 x");
	ack(c, HBUS_MQTT_PUBREC, 1);
	HEARS(c, "PUBREL #1");
	save();
	cr_assert_eq(restart(0), 0);
	c = client();
	hello(c, "c", V3_PERSISTENT);
	HEARS(c, "CONNACK sp1 00");
	HEARS(c, "PUBREL #1");
	ack(c, HBUS_MQTT_PUBCOMP, 1);
	publish(c, "t", "x", 4 | 8, 9);
	HEARS(c, "PUBREC #9");
	cr_assert(counters->publishes_duplicate == 1 && kit_n_events == 0, "it was published before the restart");
	ack(c, HBUS_MQTT_PUBREL, 9);
	HEARS(c, "PUBCOMP #9");
	free(saved);
	saved = NULL;
}

Test(mqtt_persist, sessions_end_when_they_would_have_and_clean_ones_are_not_kept)
{
	struct kit_client *c = connected("c", V5_PROPS(LIVES_100));

	connected("clean", V3);
	connected("online", V5_PROPS(LIVES_100));
	hang_up(c);
	pass(40000);
	save();
	cr_assert_eq(restart(50000), 0);
	cr_assert_eq(counters->sessions_now, 2);
	pass(9999);
	cr_assert_eq(counters->sessions_now, 2);
	pass(1);
	cr_assert_eq(counters->sessions_now, 1, "c's 100 s are over");
	cr_assert_eq(restart(1000000), 0);
	cr_assert_eq(counters->sessions_now, 1, "who was connected to the end begins to be away now");
	pass(99999);
	cr_assert_eq(counters->sessions_now, 1);
	pass(1);
	cr_assert_eq(counters->sessions_now, 0);
	free(saved);
	saved = NULL;
}

Test(mqtt_persist, a_session_stays_its_owners)
{
	struct kit_client *c = connected("c", (struct kit_hello){ .version = 4, .is_persistent = true, .user = "ann" });

	hang_up(c);
	save();
	cr_assert_eq(restart(0), 0);
	c = client();
	hello(c, "c", (struct kit_hello){ .version = 4, .is_persistent = true, .user = "bob" });
	HEARS(c, "CONNACK sp0 05");
	c = client();
	hello(c, "c", (struct kit_hello){ .version = 4, .is_persistent = true, .user = "ann" });
	HEARS(c, "CONNACK sp1 00");
	free(saved);
	saved = NULL;
}

Test(mqtt_persist, one_message_for_many_sessions_is_kept_once)
{
	struct kit_client *p = connected("p", V3);
	char id[16];
	size_t size;

	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "c%d", i);
		subscribe(connected(id, V3_PERSISTENT), 1, "t", 1);
	}
	save();
	size = saved_size;
	for (struct kit_client *c = kit_clients; c; c = c->next)
		if (c != p)
			hang_up(c);
	publish(p, "t", "0123456789012345678901234567890123456789012345678901234567890123456789", 2, 1);
	settle();
	save();
	cr_assert_lt(saved_size - size, 100 * 24 + 200);
	cr_assert_eq(restart(0), 0);
	cr_assert_lt(counters->message_bytes_now, 1000);
	free(saved);
	saved = NULL;
}

static void fill(void)
{
	struct kit_client *c = connected("c", V5_PERSISTENT(LIVES_100)), *p = connected("p", V5);

	subscribe_with(c, 1, "t/#", 2, "\x0b\x07", 2);
	publish(p, "t/1", "one", 5, 1);
	publish(c, "t/2", "two", 4, 2);
	settle();
	hang_up(c);
	publish(p, "t/3", "three", 3, 3);
	settle();
	save();
}

Test(mqtt_persist, a_torn_or_rotten_file_is_refused_and_nothing_of_it_taken)
{
	fill();
	for (size_t size = 0; size < saved_size; size++) {
		uint8_t *copy = kit_copy(saved, size);

		cr_assert_eq(hbus_mqtt_load(engine, copy, size, WALL), -1, "%zu bytes", size);
		free(copy);
	}
	kit_end();
	kit_start();
	for (size_t i = 0; i < saved_size; i++) {
		saved[i] ^= 0x10;
		cr_assert_eq(hbus_mqtt_load(engine, saved, saved_size, WALL), -1, "byte %zu", i);
		saved[i] ^= 0x10;
	}
	cr_assert(counters->sessions_now == 0 && counters->retained_now == 0);
	free(saved);
	saved = NULL;
}

/* With a good check: somebody else may have written it. */
Test(mqtt_persist, no_content_does_harm)
{
	static const uint64_t key[2] = { 0x6873756765627573, 0x7374617465636865 };
	struct test_random random;

	test_random_init(&random, "mqtt_persist");
	fill();
	for (int round = 0; round < 3000; round++) {
		uint8_t *copy = kit_copy(saved, saved_size);
		uint64_t check;
		size_t n = saved_size - 8;

		for (uint64_t i = 1 + test_random_below(&random, 4); i > 0; i--)
			copy[16 + test_random_below(&random, n - 16)] = (uint8_t)test_random_below(&random, 256);
		check = hbus_siphash(key, copy, n);
		for (int i = 0; i < 8; i++)
			copy[n + (size_t)i] = (uint8_t)(check >> (56 - 8 * i));
		kit_end();
		kit_defaults();
		kit_start();
		(void)hbus_mqtt_load(engine, copy, saved_size, WALL);
		hello(client(), "c", V3_PERSISTENT);
		pass(1000);
		free(copy);
	}
	free(saved);
	saved = NULL;
}
