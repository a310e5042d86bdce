/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every limit of the engine, met and exceeded by one; each has a counter. And the shapes with which
 * brokers were brought down: half-open connections, floods of QoS 2, of retained messages and of
 * filters, very deep names, clients that fight, and those that never read.
 */
#include <malloc.h>
#include <sys/resource.h>

#include "dataplane/mqtt/received.h"
#include "tests/unit/mqtt_kit.h"

TestSuite(mqtt_limits, .init = kit_defaults, .fini = kit_end);

/* -- before CONNECT -- */

Test(mqtt_limits, takes_4_kib_before_connect_and_not_one_more)
{
	struct kit_client *c, *d;
	static char password[8192];
	/* Fixed header 3, protocol and flags 10, identifier 3, user 3, length of the password 2. */
	const size_t overhead = 3 + 10 + 3 + 3 + 2;

	kit_start();
	c = client();
	memset(password, 'p', config.connect_packet_max - overhead);
	hello(c, "c", (struct kit_hello){ .version = 4, .user = "u", .password = password });
	HEARS(c, "CONNACK sp0 00");
	d = client();
	memset(password, 'p', config.connect_packet_max - overhead + 1);
	hello(d, "d", (struct kit_hello){ .version = 4, .user = "u", .password = password });
	HEARS_NOTHING(d);
	IS_CLOSED(d);
	cr_assert_eq(counters->connect_too_large, 1);
}

Test(mqtt_limits, closes_a_claim_of_256_mib_on_its_fifth_byte)
{
	struct kit_client *c;

	kit_start();
	c = client();
	SAY(c, 0x10, 0xff, 0xff, 0xff);
	IS_OPEN(c);
	SAY(c, 0x7f);
	IS_CLOSED(c);
}

Test(mqtt_limits, holds_little_for_connections_that_never_say_connect)
{
	static struct kit_client half[1000];
	size_t before;

	kit_start();
	before = mallinfo2().uordblks;
	for (size_t i = 0; i < 1000; i++) {
		half[i].conn = hbus_mqtt_accept(engine, &half[i]);
		SAY(&half[i], 0x10, 0x80, 0x1f, 0, 4, 'M');
	}
	cr_assert_lt(mallinfo2().uordblks - before, 1 << 20, "1 KiB each");
	pass(config.connect_timeout_ms);
	cr_assert_eq(counters->conns_now, 0);
	cr_assert_eq(counters->connect_timeouts, 1000);
}

Test(mqtt_limits, takes_as_many_connections_and_sessions_as_its_limits)
{
	struct kit_client *c, *extra;

	config.conns_max = 3;
	config.sessions_max = 2;
	kit_start();
	c = connected("a", V5_PROPS(LIVES_100));
	connected("b", V5);
	extra = client();
	hello(extra, "c", V5);
	HEARS(extra, "CONNACK sp0 97");
	IS_CLOSED(extra);
	connected("b", V5_PERSISTENT("")); /* a third connection, no third session */
	hang_up(c);
	extra = client();
	hello(extra, "c", V3);
	HEARS(extra, "CONNACK sp0 03");
	cr_assert_eq(counters->connects_limited, 2);
	client();
	client();
	cr_assert_null(client()->conn);
	cr_assert_eq(counters->connects_limited, 3);
}

/* -- packets -- */

Test(mqtt_limits, takes_a_packet_at_its_limit_and_not_one_byte_more)
{
	struct kit_client *c, *d;
	static char text[1024];

	config.packet_max = 1000;
	kit_start();
	c = connected("c", V3);
	memset(text, 'x', 1000 - 3 - 3);
	publish(c, "t", text, 0, 0);
	IS_OPEN(c);
	memset(text, 'x', 1000 - 3 - 3 + 1);
	d = connected("d", V3);
	publish(d, "t", text, 0, 0);
	IS_CLOSED(d);
	cr_assert_eq(counters->packets_too_large, 1);
	cr_assert_eq(kit_n_events, 1);
}

/* -- clients that do not read -- */

Test(mqtt_limits, closes_a_client_whose_backlog_is_over_the_limit)
{
	struct kit_client *c, *p;

	config.backlog_max = 5000;
	config.backlog_high = 5000;
	kit_start();
	c = connected("c", V3);
	p = connected("p", V3);
	c->is_slow = true;
	for (int i = 0; i < 2500 && c->conn; i++)
		SAY(c, 0xc0, 0);
	IS_OPEN(c);
	SAY(c, 0xc0, 0);
	IS_CLOSED(c);
	cr_assert_eq(counters->slow_readers, 1);
	SAY(p, 0xc0, 0);
	HEARS(p, "PINGRESP");
}

Test(mqtt_limits, queues_for_a_slow_reader_and_goes_on_when_it_reads)
{
	struct kit_client *c, *p;
	int n = 0;

	config.backlog_high = 100;
	kit_start();
	c = connected("c", V3);
	p = connected("p", V3);
	subscribe(c, 1, "t", 1);
	hear(c);
	c->is_slow = true;
	for (uint16_t i = 1; i <= 100; i++)
		publish(p, "t", "0123456789", 2, i);
	settle();
	while (strcmp(hear(c), "") != 0)
		n++;
	cr_assert_lt(n, 10);
	c->is_slow = false;
	c->unsent = 0;
	hbus_mqtt_writable(c->conn);
	while (strcmp(hear(c), "") != 0)
		n++;
	cr_assert_eq(n, 100);
	IS_OPEN(c);
}

Test(mqtt_limits, closes_a_client_that_leaves_bytes_unread_for_too_long)
{
	struct kit_client *c, *p;

	config.backlog_high = 100;
	kit_start();
	c = connected("c", V3);
	p = connected("p", V3);
	subscribe(c, 1, "t", 0);
	c->is_slow = true;
	for (int i = 0; i < 20; i++)
		publish(p, "t", "0123456789", 0, 0);
	settle();
	pass(config.stall_ms - 1);
	IS_OPEN(c);
	pass(1);
	IS_CLOSED(c);
	cr_assert_eq(counters->slow_readers, 1);
}

Test(mqtt_limits, drops_qos_0_when_a_queue_is_full_and_disconnects_who_was_promised_more)
{
	struct kit_client *c, *p;

	config.queue_max = 10;
	kit_start();
	c = connected("c", V5_PROPS("\x21\0\1"));
	p = connected("p", V5);
	subscribe(c, 1, "t", 1);
	hear(c);
	for (uint16_t i = 1; i <= 11; i++)
		publish(p, "t", "x", 2, i);
	publish(p, "t", "zero", 0, 0);
	settle();
	HEARS(c, "PUBLISH t q1 r0 d0 #1 x");
	IS_OPEN(c);
	cr_assert_eq(counters->dropped_queue, 1);
	publish(p, "t", "one more", 2, 12);
	settle();
	HEARS(c, "DISCONNECT 97");
	cr_assert_eq(counters->queue_overflows, 1);
	cr_assert_eq(counters->message_bytes_now, 0);
}

Test(mqtt_limits, drops_the_newest_for_a_client_that_is_away_by_number_and_by_bytes)
{
	struct kit_client *c, *p;

	config.queue_max = 5;
	config.queue_bytes_max = 4000;
	kit_start();
	c = connected("c", V5_PROPS(LIVES_100));
	p = connected("p", V5);
	subscribe(c, 1, "+", 1);
	hang_up(c);
	for (uint16_t i = 1; i <= 7; i++)
		publish(p, "t", "x", 2, i);
	settle();
	cr_assert_eq(counters->dropped_queue, 2);
	c = connected("c", V5_PERSISTENT(LIVES_100));
	for (uint16_t i = 1; i <= 5; i++) {
		cr_assert(strncmp(hear(c), "PUBLISH", 7) == 0);
		ack(c, HBUS_MQTT_PUBACK, i);
	}
	hang_up(c);
	for (uint16_t i = 1; i <= 5; i++) {
		char kib[1025] = "";

		memset(kib, 'x', 1024);
		publish(p, "t", kib, 2, i);
	}
	settle();
	cr_assert_eq(counters->dropped_queue, 2 + 2, "each takes a bit more than a KiB of 4000 bytes");
}

Test(mqtt_limits, bounds_the_memory_of_all_messages)
{
	struct kit_client *c, *p;
	char kib[1025] = "";

	config.message_bytes_max = 10000;
	kit_start();
	c = connected("c", V5_PROPS(LIVES_100));
	p = connected("p", V5);
	subscribe(c, 1, "+", 1);
	hang_up(c);
	memset(kib, 'x', 1024);
	for (uint16_t i = 1; i <= 20; i++)
		publish(p, "t", kib, 2, i);
	settle();
	cr_assert_leq(counters->message_bytes_now, 10000);
	cr_assert_eq(counters->dropped_memory, 20 - counters->message_bytes_now / 1100);
}

/* -- QoS 2 states (a broker leaked memory by identifiers that were never released) -- */

Test(mqtt_limits, lets_a_3_1_1_client_use_every_identifier_of_qos_2)
{
	struct kit_client *c;

	kit_start();
	c = connected("c", V3);
	for (uint32_t id = 1; id <= 65535; id++) {
		publish(c, "t", "x", 4, (uint16_t)id);
		cr_assert(strncmp(hear(c), "PUBREC", 6) == 0, "%u", id);
		settle();
	}
	cr_assert_eq(counters->publishes_in, 65535);
	for (uint32_t id = 1; id <= 65535; id += 2) {
		publish(c, "t", "again", 0xc, (uint16_t)id);
		cr_assert(strncmp(hear(c), "PUBREC", 6) == 0);
	}
	cr_assert_eq(counters->publishes_duplicate, 32768);
	cr_assert_eq(counters->publishes_in, 65535, "none of them is published twice");
	for (uint32_t id = 1; id <= 65535; id++) {
		SAY(c, 0x62, 2, (uint8_t)(id >> 8), (uint8_t)id);
		cr_assert(strncmp(hear(c), "PUBCOMP", 7) == 0);
	}
	publish(c, "t", "x", 4, 7);
	HEARS(c, "PUBREC #7");
	cr_assert_eq(counters->publishes_in, 65536, "a released identifier is a new message's");
	cr_assert(c->conn);
}

Test(mqtt_limits, holds_no_more_qos_2_states_than_there_is_memory_for)
{
	struct kit_client *c;
	unsigned int id = 1;

	config.message_bytes_max = 4 * HBUS_MQTT_RECEIVED_BYTES;
	kit_start();
	for (int i = 0; i < 2; i++) {
		c = connected(i ? "d" : "c", V3);
		for (id = 1; c->conn && id <= 1000; id++) {
			publish(c, "t", "x", 4, (uint16_t)id);
			settle();
		}
		cr_assert_eq(id, i ? HBUS_MQTT_RECEIVED_FEW + 2u : 1001);
	}
	cr_assert_eq(counters->receive_max_exceeded, 1);
}

Test(mqtt_limits, gives_back_the_memory_of_qos_2_states)
{
	config.message_bytes_max = 4 * HBUS_MQTT_RECEIVED_BYTES;
	kit_start();
	for (int i = 0; i < 3; i++) {
		char name[] = { 'c', (char)('0' + i), '\0' };
		struct kit_client *c = connected(name, V3);

		for (uint16_t id = 1; id <= 100; id++) {
			publish(c, "t", "x", 4, id);
			settle();
		}
		for (uint16_t id = 1; id <= 100; id++)
			ack(c, HBUS_MQTT_PUBREL, id);
		IS_OPEN(c);
	}
	cr_assert_eq(counters->receive_max_exceeded, 0);
}

/* -- retained messages -- */

Test(mqtt_limits, holds_retained_messages_by_number_and_bytes_and_says_no_to_one_more)
{
	struct kit_client *c;
	char name[16];

	config.retained_max = 10;
	kit_start();
	c = connected("c", V5);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "t/%d", i);
		publish(c, name, "x", 1 | 2, 1);
		HEARS(c, "PUBACK #1");
	}
	publish(c, "t/10", "x", 1 | 2, 1);
	HEARS(c, "PUBACK #1 97");
	publish(c, "t/9", "instead", 1 | 2, 1);
	HEARS(c, "PUBACK #1");
	publish(c, "t/9", "", 1 | 2, 1);
	HEARS(c, "PUBACK #1");
	publish(c, "t/10", "x", 1 | 2, 1);
	HEARS(c, "PUBACK #1");
	cr_assert(counters->retained_now == 10 && counters->retained_refused == 1);
}

Test(mqtt_limits, counts_what_a_retained_message_costs_beyond_its_payload)
{
	struct kit_client *c;
	char name[16];

	config.retained_bytes_max = 100000;
	kit_start();
	c = connected("c", V5);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "t/%d", i);
		publish(c, name, "x", 1, 0);
	}
	cr_assert_lt(counters->retained_now, 100000 / 200);
	cr_assert_leq(counters->retained_bytes_now, 100000);
	cr_assert_eq(counters->retained_refused, 1000 - counters->retained_now);
}

Test(mqtt_limits, gives_back_what_retained_messages_cost)
{
	struct kit_client *c;

	kit_start();
	c = connected("c", V5);
	publish(c, "t/1", "x", 1, 0);
	publish(c, "t/2", "something longer", 1, 0);
	publish(c, "t/1", "instead", 1, 0);
	cr_assert_gt(counters->retained_bytes_now, 0);
	publish(c, "t/1", "", 1, 0);
	publish(c, "t/2", "", 1, 0);
	cr_assert_eq(counters->retained_now, 0);
	cr_assert_eq(counters->retained_bytes_now, 0);
}

Test(mqtt_limits, gives_a_slow_reader_all_retained_messages_beyond_its_queue)
{
	struct kit_client *c, *p;
	char name[16];
	int n = 0;

	config.queue_max = 10;
	config.backlog_high = 1000;
	kit_start();
	p = connected("p", V5);
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "t/%d", i);
		publish(p, name, "x", 1, 0);
	}
	c = connected("c", V5);
	c->is_slow = true;
	subscribe(c, 1, "#", 0);
	HEARS(c, "SUBACK #1 00");
	while (n < 2000) {
		int before = n;

		while (strcmp(hear(c), "") != 0)
			n++;
		cr_assert_gt(n, before);
		cr_assert_lt(n - before, 200);
		c->unsent = 0;
		hbus_mqtt_writable(c->conn);
	}
	cr_assert_eq(counters->snapshot_now, 0);
}

Test(mqtt_limits, refuses_a_subscription_rather_than_promise_too_many_retained_messages)
{
	struct kit_client *c;
	char name[16];

	config.snapshot_max = 10;
	kit_start();
	c = connected("c", V5);
	for (int i = 0; i < 11; i++) {
		snprintf(name, sizeof(name), "t/%d", i);
		publish(c, name, "x", 1, 0);
	}
	subscribe(c, 1, "#", 0);
	HEARS(c, "SUBACK #1 97");
	HEARS_NOTHING(c);
	cr_assert(counters->snapshots_refused == 1 && counters->subscriptions_now == 0 && counters->snapshot_now == 0);
	subscribe(c, 2, "#", 0x20);
	HEARS(c, "SUBACK #2 00");
}

/* -- subscriptions -- */

Test(mqtt_limits, holds_so_many_subscriptions_of_a_session_and_not_one_more)
{
	struct kit_client *c;
	char name[16];

	kit_start();
	c = connected("c", V5);
	for (uint32_t i = 0; i < config.subscriptions_max; i++) {
		snprintf(name, sizeof(name), "%u", i);
		subscribe_with(c, 1, name, 0, "\x0b\7", 2);
		HEARS(c, "SUBACK #1 00");
	}
	subscribe(c, 1, "one more", 0);
	HEARS(c, "SUBACK #1 97");
	subscribe(c, 1, "0", 1);
	HEARS(c, "SUBACK #1 01");
	cr_assert_eq(counters->subscriptions_refused, 1);
}

Test(mqtt_limits, bounds_the_levels_of_all_filters)
{
	struct kit_client *c;

	config.filter_nodes_max = 4;
	kit_start();
	c = connected("c", V5);
	subscribe(c, 1, "a/b/c/d", 0);
	HEARS(c, "SUBACK #1 00");
	subscribe(c, 1, "a/b/c/e", 0);
	HEARS(c, "SUBACK #1 97");
	subscribe(c, 1, "a/b", 0);
	HEARS(c, "SUBACK #1 00");
}

/* A broker's stack overflowed on 65535 levels; another recursed exponentially on "+/+/+/...". */
Test(mqtt_limits, refuses_very_deep_names_and_filters_on_a_small_stack)
{
	const struct rlimit small = { 256 << 10, 256 << 10 };
	struct kit_client *c;
	static char deep[65001];

	setrlimit(RLIMIT_STACK, &small);
	kit_start();
	c = connected("c", V5);
	memset(deep, '/', 65000);
	publish(c, deep, "x", 2, 1);
	HEARS(c, "PUBACK #1 90");
	subscribe(c, 1, deep, 0);
	HEARS(c, "SUBACK #1 8f");
	for (size_t i = 0; i < sizeof(deep) - 1; i += 2)
		deep[i] = '+';
	subscribe(c, 1, deep, 0);
	HEARS(c, "SUBACK #1 8f");
	deep[2 * HBUS_TOPIC_LEVELS_MAX - 1] = '\0';
	subscribe(c, 1, deep, 0);
	HEARS(c, "SUBACK #1 00");
	publish(c, "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", "x", 0, 0);
	settle();
	HEARS(c, "PUBLISH 1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16 q0 r0 d0 x");
}

/* -- shapes from public advisories, as whole connections -- */

struct shape {
	const char *what;
	uint8_t bytes[32];
	size_t size;
};

#define SHAPE(what, ...) { what, { __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }) }

Test(mqtt_limits, closes_on_every_malformed_shape_and_serves_the_others)
{
	static const struct shape shapes[] = {
		SHAPE("PUBLISH with QoS 1 that ends before its identifier", 0x32, 3, 0, 1, 't'),
		SHAPE("PUBLISH of nothing", 0x30, 0),
		SHAPE("PUBLISH whose topic ends beyond it", 0x30, 4, 0, 200, 'a', 'b'),
		SHAPE("PUBLISH whose properties end beyond it", 0x30, 5, 0, 1, 't', 200, 1),
		SHAPE("PUBLISH with a property length of five bytes", 0x30, 8, 0, 1, 't', 0x80, 0x80, 0x80, 0x80, 1),
		SHAPE("SUBSCRIBE without an options byte", 0x82, 6, 0, 1, 0, 0, 1, 'a'),
		SHAPE("SUBSCRIBE of nothing", 0x82, 0),
		SHAPE("SUBSCRIBE with the wrong flags", 0x80, 7, 0, 1, 0, 0, 1, 'a', 0),
		SHAPE("UNSUBSCRIBE of nothing", 0xa2, 3, 0, 1, 0),
		SHAPE("UNSUBSCRIBE whose filter ends beyond it", 0xa2, 6, 0, 1, 0, 0, 9, 'a'),
		SHAPE("PUBACK of one byte", 0x40, 1, 1),
		SHAPE("PUBREL with the wrong flags", 0x60, 2, 0, 1),
		SHAPE("a remaining length of five bytes", 0x30, 0xff, 0xff, 0xff, 0xff, 1),
		SHAPE("a reserved packet type", 0x00, 0),
		SHAPE("CONNACK from a client", 0x20, 3, 0, 0, 0),
		SHAPE("PINGREQ with a body", 0xc0, 1, 0),
		SHAPE("AUTH out of nothing", 0xf0, 0),
		SHAPE("U+0000 in a topic", 0x30, 5, 0, 2, 'a', 0, 0),
		SHAPE("a surrogate in a topic", 0x30, 6, 0, 3, 0xed, 0xa0, 0x80, 0),
		SHAPE("an overlong slash in a topic", 0x30, 5, 0, 2, 0xc0, 0xaf, 0),
		SHAPE("a user property cut in its value", 0x30, 9, 0, 1, 't', 5, 0x26, 0, 1, 'a', 0),
		SHAPE("DISCONNECT with a server's property", 0xe0, 7, 0, 5, 0x1c, 0, 2, 'a', 'b'),
	};
	struct kit_client *other;

	kit_start();
	other = connected("other", V5);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct kit_client *c = connected("c", V5);

		say(c, shapes[i].bytes, shapes[i].size);
		cr_assert_null(c->conn, "%s", shapes[i].what);
		cr_assert(strncmp(hear(c), "DISCONNECT 8", 12) == 0, "%s: %s", shapes[i].what, c->line);
	}
	SAY(other, 0xc0, 0);
	HEARS(other, "PINGRESP");
	cr_assert_eq(kit_n_events, 0);
}

/* Properties of CONNECT and of the will were leaked when CONNECT was refused late. */
Test(mqtt_limits, leaks_nothing_when_connect_is_refused_at_any_byte)
{
	static const uint8_t whole[] = { 0x10, 53, 0, 4, 'M', 'Q', 'T', 'T', 5, 0xc6, 0, 60, 13, 0x26, 0, 1, 'k', 0, 1, 'v',
					 0x11, 0, 0, 0, 9, 0x21, 0, 1, 'c', 7, 0x26, 0, 1, 'a', 0, 1, 'b', 0, 1, 'w', 0, 2,
					 'h', 'i', 0, 4, 'u', 's', 'e', 'r', 0, 4, 'p', 'a', 's', 's' };

	kit_start();
	for (size_t cut = 0; cut < sizeof(whole) - 2; cut++) {
		struct kit_client *c = client();
		uint8_t bytes[sizeof(whole)];

		memcpy(bytes, whole, sizeof(whole));
		bytes[1] = (uint8_t)cut;
		say(c, bytes, cut + 2);
		IS_CLOSED(c);
	}
	cr_assert(counters->sessions_now == 0 && counters->message_bytes_now == 0 && counters->conns_now == 0);
}
