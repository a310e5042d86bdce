/* SPDX-License-Identifier: BSD-3-Clause */
/* Passive MQTT: streams out of segments that come torn, twice, late, or never, and messages out of streams. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/passive/feed.h"
#include "dataplane/passive/flow.h"
#include "dataplane/passive/reader.h"
#include "tests/unit/random.h"

#define STREAM_MAX 65536u
#define WAIT_NS 1000u

static const uint64_t secret[2] = { 1, 2 };

/* ---- flows ----------------------------------------------------------------------------- */

/* What a reader saw; missing bytes are marked as such. */
struct seen {
	uint8_t data[STREAM_MAX];
	uint8_t is_there[STREAM_MAX];
	size_t size;
	unsigned int n_open, n_close;
	enum hbus_flow_end end;
};

static void *seen_open(void *context, const struct hbus_tcp_key *key)
{
	struct seen *seen = context;

	(void)key;
	seen->n_open++;
	return seen;
}

static void seen_bytes(void *context, void *stream, const uint8_t *data, size_t size)
{
	struct seen *seen = stream;

	(void)context;
	cr_assert_leq(seen->size + size, STREAM_MAX);
	memcpy(seen->data + seen->size, data, size);
	memset(seen->is_there + seen->size, 1, size);
	seen->size += size;
}

static void seen_hole(void *context, void *stream, uint64_t size)
{
	struct seen *seen = stream;

	(void)context;
	cr_assert_leq(seen->size + size, STREAM_MAX);
	seen->size += size;
}

static void seen_close(void *context, void *stream, enum hbus_flow_end end)
{
	struct seen *seen = stream;

	(void)context;
	seen->n_close++;
	seen->end = end;
}

static struct hbus_flows *new_flows(struct seen *seen, uint32_t flows_max, uint32_t bytes_max)
{
	struct hbus_flow_limits limits = { flows_max, bytes_max, (uint64_t)bytes_max * 4, WAIT_NS };
	struct hbus_flow_reader reader = { seen, seen_open, seen_bytes, seen_hole, seen_close };
	struct hbus_flows *flows;

	cr_assert_eq(hbus_flows_new(&limits, &reader, secret, &flows), 0);
	return flows;
}

static void give(struct hbus_flows *flows, uint16_t port, uint32_t seq, uint32_t flags, const void *data, uint32_t size,
		 uint64_t now)
{
	/* Of exact size, so that a sanitizer sees what reads beyond it. */
	uint8_t *copy = malloc(size ? size : 1);
	struct hbus_tcp_segment segment = { .key = { .source_port = port, .port = 1883, .family = HBUS_FAMILY_IPV4 },
					    .data = copy, .size = size, .seq = seq, .flags = flags };

	if (size)
		memcpy(copy, data, size);
	hbus_flows_segment(flows, &segment, now);
	free(copy);
}

static struct seen seen;
static uint8_t stream[STREAM_MAX];

static void make_stream(uint64_t seed)
{
	struct test_random random = { seed };

	for (size_t i = 0; i < STREAM_MAX; i++)
		stream[i] = (uint8_t)test_random_next(&random);
	memset(&seen, 0, sizeof(seen));
}

/* Random parts of a stream, overlapping, shuffled within a window, some twice; each byte at least once unless it is lost. */
static void play(uint64_t seed, uint32_t isn, unsigned int lose_percent)
{
	enum { PARTS = 600, SIZE = 40000 };
	struct { uint32_t at, size; bool is_lost; } parts[PARTS], swap;
	struct hbus_flows *flows = new_flows(&seen, 4, 1u << 20);
	struct test_random random = { seed };
	uint8_t was_given[SIZE] = { 0 };
	uint32_t n = 0, at = 0;

	make_stream(seed);
	while (at < SIZE) {
		uint32_t size = 1 + test_random_below(&random, 200), back = test_random_below(&random, 50);

		parts[n].at = back < at ? at - back : at;
		parts[n].size = size < SIZE - parts[n].at ? size : SIZE - parts[n].at;
		parts[n].is_lost = test_random_below(&random, 100) < lose_percent;
		if (parts[n].at + parts[n].size > at)
			at = parts[n].at + parts[n].size;
		if (++n == PARTS - 1 && at < SIZE) {
			parts[n].at = at;
			parts[n].size = SIZE - at;
			parts[n++].is_lost = false;
			break;
		}
	}
	for (uint32_t i = 0; i + 1 < n; i++) {
		uint32_t other = i + test_random_below(&random, n - i < 8 ? n - i : 8);

		swap = parts[i];
		parts[i] = parts[other];
		parts[other] = swap;
	}
	give(flows, 5, isn, HBUS_TCP_SYN, NULL, 0, 1);
	for (uint32_t i = 0; i < n; i++) {
		if (parts[i].is_lost)
			continue;
		memset(was_given + parts[i].at, 1, parts[i].size);
		for (uint32_t twice = test_random_below(&random, 10) == 0 ? 2 : 1; twice-- > 0;)
			give(flows, 5, isn + 1 + parts[i].at, HBUS_TCP_ACK, stream + parts[i].at, parts[i].size, 1);
	}
	give(flows, 5, isn + 1 + SIZE, HBUS_TCP_ACK | HBUS_TCP_FIN, NULL, 0, 1);
	hbus_flows_tick(flows, UINT64_MAX);
	/* What came is there, in its place; what did not is a hole. */
	for (uint32_t i = 0; i < seen.size; i++) {
		cr_assert_eq(seen.is_there[i], was_given[i], "seed %lu: byte %u", (unsigned long)seed, i);
		cr_assert(!seen.is_there[i] || seen.data[i] == stream[i], "seed %lu: byte %u", (unsigned long)seed, i);
	}
	for (uint32_t i = (uint32_t)seen.size; i < SIZE; i++)
		cr_assert_eq(was_given[i], 0, "seed %lu: byte %u came and was not handed on", (unsigned long)seed, i);
	cr_assert_eq(hbus_flows_counters(flows)->n_waiting_bytes, 0);
	hbus_flows_free(flows);
	cr_assert_eq(seen.n_open, 1);
	cr_assert_eq(seen.n_close, 1);
}

Test(passive, any_order_gives_the_same_stream)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		play(seed, (uint32_t)seed * 77777, 0);
		cr_assert_eq(seen.size, 40000);
		cr_assert_eq(seen.end, HBUS_FLOW_FIN);
	}
}

Test(passive, numbers_wrap)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		play(seed, UINT32_MAX - (uint32_t)seed * 999, 0);
		cr_assert_eq(seen.size, 40000);
	}
}

Test(passive, what_is_lost_is_a_hole_of_its_size)
{
	for (uint64_t seed = 1; seed <= 60; seed++)
		play(seed, (uint32_t)seed, 10);
}

Test(passive, hole_is_given_up_after_its_time_and_not_before)
{
	struct hbus_flows *flows = new_flows(&seen, 4, 1000);

	make_stream(1);
	give(flows, 5, 0, HBUS_TCP_SYN, NULL, 0, 10);
	give(flows, 5, 11, 0, stream + 10, 10, 100);
	hbus_flows_tick(flows, 100 + WAIT_NS - 1);
	cr_assert_eq(seen.size, 0);
	hbus_flows_tick(flows, 100 + WAIT_NS);
	cr_assert_eq(seen.size, 20);
	cr_assert_eq(hbus_flows_counters(flows)->n_hole_bytes, 10);
	hbus_flows_free(flows);
}

Test(passive, what_waits_is_bounded)
{
	struct hbus_flows *flows = new_flows(&seen, 4, 1000);

	make_stream(1);
	give(flows, 5, 0, HBUS_TCP_SYN, NULL, 0, 1);
	for (uint32_t at = 10; at + 100 < 20000; at += 200) {
		give(flows, 5, 1 + at, 0, stream + at, 100, 1);
		cr_assert_leq(hbus_flows_counters(flows)->n_waiting_bytes, 1000);
	}
	hbus_flows_free(flows);
}

/* Pairs of segments the wrong way round: more bytes have waited than may wait at once, and none was given up. */
Test(passive, what_has_waited_makes_room_again)
{
	struct hbus_flows *flows = new_flows(&seen, 4, 1000);

	make_stream(1);
	give(flows, 5, 0, HBUS_TCP_SYN, NULL, 0, 1);
	for (uint32_t at = 0; at + 200 <= 20000; at += 200) {
		give(flows, 5, 1 + at + 100, 0, stream + at + 100, 100, 1);
		give(flows, 5, 1 + at, 0, stream + at, 100, 1);
	}
	cr_assert_eq(seen.size, 20000);
	cr_assert_eq(hbus_flows_counters(flows)->n_holes, 0);
	hbus_flows_free(flows);
}

Test(passive, silent_flow_makes_room_for_a_new_one)
{
	struct hbus_flows *flows = new_flows(&seen, 3, 1000);

	memset(&seen, 0, sizeof(seen));
	for (uint16_t port = 1; port <= 5; port++)
		give(flows, port, 0, HBUS_TCP_SYN, NULL, 0, port);
	cr_assert_eq(hbus_flows_counters(flows)->n_forgotten, 2);
	cr_assert_eq(hbus_flows_counters(flows)->n_open, 3);
	hbus_flows_free(flows);
	cr_assert_eq(seen.n_close, 5);
}

Test(passive, new_connection_of_the_same_ports_begins_anew)
{
	struct hbus_flows *flows = new_flows(&seen, 4, 1000);

	make_stream(1);
	give(flows, 5, 100, HBUS_TCP_SYN, NULL, 0, 1);
	give(flows, 5, 101, 0, stream, 50, 1);
	give(flows, 5, 100, HBUS_TCP_SYN, NULL, 0, 1); /* only repeated */
	cr_assert_eq(seen.n_open, 1);
	give(flows, 5, 90, HBUS_TCP_SYN, NULL, 0, 1);
	cr_assert_eq(seen.n_open, 2);
	cr_assert_eq(seen.end, HBUS_FLOW_REPLACED);
	give(flows, 5, 91, 0, stream, 50, 1);
	cr_assert_eq(seen.size, 100);
	hbus_flows_free(flows);
}

Test(passive, late_syn_still_is_the_beginning)
{
	struct hbus_flows *flows = new_flows(&seen, 4, 1000);

	make_stream(1);
	give(flows, 5, 151, 0, stream + 50, 50, 1);
	give(flows, 5, 101, 0, stream, 50, 1);
	cr_assert_eq(seen.size, 0);
	give(flows, 5, 100, HBUS_TCP_SYN, NULL, 0, 1);
	cr_assert_eq(seen.size, 100);
	cr_assert_eq(memcmp(seen.data, stream, 100), 0);
	cr_assert_eq(seen.n_open, 1);
	cr_assert_eq(hbus_flows_counters(flows)->n_midstream, 0);
	hbus_flows_free(flows);
}

Test(passive, flow_without_syn_begins_after_its_time)
{
	struct hbus_flows *flows = new_flows(&seen, 4, 1000);

	make_stream(1);
	give(flows, 5, 151, 0, stream + 50, 50, 10);
	hbus_flows_tick(flows, 10 + WAIT_NS - 1);
	cr_assert_eq(seen.size, 0);
	hbus_flows_tick(flows, 10 + WAIT_NS);
	cr_assert_eq(seen.size, 50);
	cr_assert_eq(hbus_flows_counters(flows)->n_midstream, 1);
	hbus_flows_free(flows);
}

Test(passive, reset_ends_a_flow_only_within_its_window)
{
	struct hbus_flows *flows = new_flows(&seen, 4, 1000);

	memset(&seen, 0, sizeof(seen));
	give(flows, 5, 100, HBUS_TCP_SYN, NULL, 0, 1);
	give(flows, 5, 100 + HBUS_FLOW_WINDOW * 2, HBUS_TCP_RST, NULL, 0, 1);
	cr_assert_eq(seen.n_close, 0);
	cr_assert_eq(hbus_flows_counters(flows)->n_out_of_window, 1);
	give(flows, 5, 101, HBUS_TCP_RST, NULL, 0, 1);
	cr_assert_eq(seen.end, HBUS_FLOW_RESET);
	hbus_flows_free(flows);
}

/* ---- messages -------------------------------------------------------------------------- */

static char heard[4096];

static void hear(void *context, const struct hbus_mqtt_message *message)
{
	(void)context;
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%s=%.*s;", message->topic, (int)message->payload_size,
		 (const char *)message->payload);
}

static struct hbus_tap_shared shared;

static struct hbus_mqtt_tap *new_tap(void)
{
	heard[0] = '\0';
	shared = (struct hbus_tap_shared){ .publish = hear, .packet_max = 1000, .kept_max = 100000 };
	return hbus_mqtt_tap_new(&shared);
}

#define CONNECT_3 "\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01" "a"
#define CONNECT_5 "\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01" "a"
#define GIVE(tap, text) hbus_mqtt_tap_bytes(tap, (const uint8_t *)(text), sizeof(text) - 1)

Test(passive, messages_are_read_however_the_bytes_are_cut)
{
	static const char text[] = CONNECT_3 "\x30\x06\0\x01t" "abc" "\x32\x08\0\x01u\0\x07" "def" "\xc0\0" "\xe0\0";

	for (size_t step = 1; step < sizeof(text); step++) {
		struct hbus_mqtt_tap *tap = new_tap();

		for (size_t at = 0; at < sizeof(text) - 1; at += step) {
			size_t n = sizeof(text) - 1 - at;

			hbus_mqtt_tap_bytes(tap, (const uint8_t *)text + at, n < step ? n : step);
		}
		cr_assert_str_eq(heard, "t=abc;u=def;", "steps of %zu", step);
		cr_assert_eq(shared.counters.n_published, 2);
		hbus_mqtt_tap_free(tap);
		cr_assert_eq(shared.counters.n_kept_bytes, 0);
	}
}

Test(passive, qos_2_comes_once_until_it_is_released)
{
	struct hbus_mqtt_tap *tap = new_tap();

	GIVE(tap, CONNECT_3 "\x34\x06\0\x01t\0\x09" "x" "\x3c\x06\0\x01t\0\x09" "x");
	cr_assert_str_eq(heard, "t=x;");
	cr_assert_eq(shared.counters.n_repeated, 1);
	GIVE(tap, "\x62\x02\0\x09" "\x34\x06\0\x01t\0\x09" "y");
	cr_assert_str_eq(heard, "t=x;t=y;");
	hbus_mqtt_tap_free(tap);
}

Test(passive, topic_aliases_of_version_5)
{
	struct hbus_mqtt_tap *tap = new_tap();

	GIVE(tap, CONNECT_5 "\x30\x08\0\x01t\x03\x23\0\x01" "a" "\x30\x07\0\0\x03\x23\0\x01" "b" "\x30\x07\0\0\x03\x23\0\x02" "c");
	cr_assert_str_eq(heard, "t=a;t=b;");
	cr_assert_eq(shared.counters.n_bad_alias, 1);
	hbus_mqtt_tap_free(tap);
}

Test(passive, hole_in_a_packet_costs_that_packet)
{
	struct hbus_mqtt_tap *tap = new_tap();

	GIVE(tap, CONNECT_3 "\x30\x06\0\x01t" "a");
	hbus_mqtt_tap_hole(tap, 2);
	GIVE(tap, "\x30\x04\0\x01t" "z");
	cr_assert_str_eq(heard, "t=z;");
	cr_assert_eq(shared.counters.n_torn, 1);
	cr_assert_eq(shared.counters.n_lost, 0);
	hbus_mqtt_tap_free(tap);
}

Test(passive, what_follows_a_hole_in_a_packet_is_no_packet_of_its_own)
{
	struct hbus_mqtt_tap *tap = new_tap();

	GIVE(tap, CONNECT_3 "\x30\x0c\0\x01t" "a");
	hbus_mqtt_tap_hole(tap, 2);
	GIVE(tap, "\x30\x04\0\x01t" "x" "\x30\x04\0\x01t" "z"); /* the first six still belong to the torn one */
	cr_assert_str_eq(heard, "t=z;");
	cr_assert_eq(shared.counters.n_torn, 1);
	cr_assert_eq(shared.counters.n_lost, 0);
	hbus_mqtt_tap_free(tap);
}

Test(passive, hole_beyond_a_packet_costs_the_stream)
{
	struct hbus_mqtt_tap *tap = new_tap();

	GIVE(tap, CONNECT_3 "\x30\x06\0\x01t" "a");
	hbus_mqtt_tap_hole(tap, 3);
	GIVE(tap, "\x30\x04\0\x01t" "z");
	cr_assert_str_eq(heard, "");
	cr_assert_eq(shared.counters.n_lost, 1);
	hbus_mqtt_tap_free(tap);
}

Test(passive, version_3_1_is_read_as_3_1_1)
{
	struct hbus_mqtt_tap *tap = new_tap();

	GIVE(tap, "\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01" "a" "\x32\x08\0\x01u\0\x07" "def");
	cr_assert_str_eq(heard, "u=def;");
	cr_assert_eq(shared.counters.n_not_mqtt, 0);
	hbus_mqtt_tap_free(tap);
	tap = new_tap();
	GIVE(tap, "\x10\x0f\0\x06MQIsdp\x02\x02\0\x3c\0\x01" "a" "\x32\x08\0\x01u\0\x07" "def");
	cr_assert_str_eq(heard, "");
	cr_assert_eq(shared.counters.n_not_mqtt, 1);
	hbus_mqtt_tap_free(tap);
}

Test(passive, what_is_not_mqtt_is_left)
{
	struct hbus_mqtt_tap *tap = new_tap();

	GIVE(tap, "GET / HTTP/1.1\r\n");
	cr_assert_eq(shared.counters.n_not_mqtt, 1);
	hbus_mqtt_tap_free(tap);
}

Test(passive, packets_and_topics_beyond_the_limits_are_counted)
{
	struct hbus_mqtt_tap *tap = new_tap();

	GIVE(tap, CONNECT_3 "\x30\x05\0\x02t+" "x" "\x30\xe9\x07");
	cr_assert_eq(shared.counters.n_bad_topic, 1);
	cr_assert_eq(shared.counters.n_too_large, 1);
	cr_assert_str_eq(heard, "");
	hbus_mqtt_tap_free(tap);
}

/* ---- the feed -------------------------------------------------------------------------- */

/* An Ethernet frame with a TCP segment of @size bytes to port 1883. */
static size_t make_frame(uint8_t *frame, uint32_t seq, uint8_t flags, const uint8_t *data, size_t size)
{
	size_t total = 20 + 20 + size;

	memset(frame, 0, 54);
	frame[12] = 0x08;
	frame[14] = 0x45;
	frame[16] = (uint8_t)(total >> 8);
	frame[17] = (uint8_t)total;
	frame[23] = 6;
	frame[36] = 1883 >> 8;
	frame[37] = 1883 & 0xff;
	for (int i = 0; i < 4; i++)
		frame[38 + i] = (uint8_t)(seq >> (24 - 8 * i));
	frame[46] = 5 << 4;
	frame[47] = flags;
	memcpy(frame + 54, data, size);
	return 14 + total;
}

static enum hbus_reason offer(struct hbus_feed *feed, const uint8_t *frame, size_t size)
{
	struct hbus_packet packet;

	cr_assert_eq(hbus_net_parse(frame, size, &packet), HBUS_REASON_NOT_UDP);
	return hbus_feed_offer(feed, &packet);
}

Test(passive, feed_cuts_long_segments_and_loses_no_byte)
{
	static uint8_t frame[20000];
	struct hbus_feed *feed = aligned_alloc(64, sizeof(*feed));
	const struct hbus_tcp_segment *segment;
	uint16_t port = 1883;
	uint32_t next = 1001;
	size_t got = 0;

	make_stream(3);
	memset(feed, 0, sizeof(*feed));
	cr_assert_eq(hbus_feed_init(feed, &port, 1, false), 0);
	cr_assert_eq(offer(feed, frame, make_frame(frame, 1000, HBUS_TCP_SYN | HBUS_TCP_FIN, stream, 10000)), HBUS_REASON_TAPPED);
	while ((segment = hbus_feed_take(feed))) {
		cr_assert_eq(!!(segment->flags & HBUS_TCP_SYN), got == 0);
		cr_assert_eq(!!(segment->flags & HBUS_TCP_FIN), got + segment->size == 10000);
		cr_assert_eq(segment->seq + (got == 0 ? 1 : 0), next);
		cr_assert_eq(memcmp(segment->data, stream + got, segment->size), 0);
		next += segment->size;
		got += segment->size;
		hbus_feed_done(feed);
	}
	cr_assert_eq(got, 10000);
	hbus_feed_deinit(feed);
	free(feed);
}

Test(passive, full_feed_drops_and_counts)
{
	static uint8_t frame[200];
	struct hbus_feed *feed = aligned_alloc(64, sizeof(*feed));
	uint16_t port = 1883;
	size_t size;

	memset(feed, 0, sizeof(*feed));
	cr_assert_eq(hbus_feed_init(feed, &port, 1, false), 0);
	size = make_frame(frame, 1, 0, (const uint8_t *)"x", 1);
	for (unsigned int i = 0; i < HBUS_FEED_SLOTS; i++)
		cr_assert_eq(offer(feed, frame, size), HBUS_REASON_TAPPED);
	cr_assert_eq(offer(feed, frame, size), HBUS_REASON_RING_FULL);
	cr_assert_eq(feed->n_overruns, 1);
	cr_assert_not_null(hbus_feed_take(feed));
	hbus_feed_done(feed);
	cr_assert_eq(offer(feed, frame, size), HBUS_REASON_TAPPED);
	hbus_feed_deinit(feed);
	free(feed);
}

Test(passive, feed_refuses_what_is_not_for_a_broker_or_lies_about_its_length)
{
	static uint8_t frame[200];
	struct hbus_feed *feed = aligned_alloc(64, sizeof(*feed));
	uint16_t port = 1884;
	size_t size;

	memset(feed, 0, sizeof(*feed));
	cr_assert_eq(hbus_feed_init(feed, &port, 1, false), 0);
	size = make_frame(frame, 1, 0, (const uint8_t *)"x", 1);
	cr_assert_eq(offer(feed, frame, size), HBUS_REASON_NOT_UDP);
	feed->ports[0] = 1883;
	frame[46] = 15 << 4;          /* a header longer than the packet */
	cr_assert_eq(offer(feed, frame, size), HBUS_REASON_BAD_LENGTH);
	frame[46] = 4 << 4;           /* shorter than a header */
	cr_assert_eq(offer(feed, frame, size), HBUS_REASON_BAD_LENGTH);
	frame[46] = 5 << 4;
	frame[17] = 20 + 19;          /* a packet too short for a header */
	cr_assert_eq(offer(feed, frame, size), HBUS_REASON_BAD_LENGTH);
	frame[17] = 200;              /* a packet longer than the frame */
	cr_assert_eq(offer(feed, frame, size), HBUS_REASON_TRUNCATED);
	frame[17] = 20 + 20 + 1;
	frame[20] = 0x20;             /* the first of several fragments, and a later one */
	cr_assert_eq(offer(feed, frame, size), HBUS_REASON_FRAGMENT);
	frame[20] = 0;
	frame[21] = 1;
	cr_assert_eq(offer(feed, frame, size), HBUS_REASON_FRAGMENT);
	cr_assert_null(hbus_feed_take(feed));
	hbus_feed_deinit(feed);
	free(feed);
}

/* IPv6 with a header of options in front of TCP is read; with more headers than are walked, or in fragments, it is counted. */
Test(passive, feed_reads_behind_extension_headers_and_counts_what_it_cannot)
{
	static uint8_t frame[200];
	struct hbus_feed *feed = aligned_alloc(64, sizeof(*feed));
	uint16_t port = 1883;
	const struct hbus_tcp_segment *segment;
	struct hbus_packet packet;

	memset(feed, 0, sizeof(*feed));
	cr_assert_eq(hbus_feed_init(feed, &port, 1, false), 0);
	frame[12] = 0x86;
	frame[13] = 0xdd;
	frame[14] = 0x60;
	frame[19] = 8 + 20 + 3;       /* payload */
	frame[20] = 60;               /* destination options */
	frame[54] = 6;                /* then TCP */
	frame[62 + 2] = 1883 >> 8;
	frame[62 + 3] = 1883 & 0xff;
	frame[62 + 12] = 5 << 4;
	memcpy(frame + 82, "abc", 3);
	cr_assert_eq(offer(feed, frame, 85), HBUS_REASON_TAPPED);
	segment = hbus_feed_take(feed);
	cr_assert_not_null(segment);
	cr_assert_eq(segment->size, 3);
	cr_assert_arr_eq(segment->data, "abc", 3);
	hbus_feed_done(feed);
	frame[54] = 44;               /* then a fragment */
	cr_assert_eq(hbus_net_parse(frame, 85, &packet), HBUS_REASON_FRAGMENT);
	frame[54] = 60;               /* then more of the same, to the end */
	frame[19] = 66;
	frame[62] = frame[70] = frame[78] = 60;
	cr_assert_eq(hbus_net_parse(frame, 120, &packet), HBUS_REASON_EXT_HEADERS);
	hbus_feed_deinit(feed);
	free(feed);
}
