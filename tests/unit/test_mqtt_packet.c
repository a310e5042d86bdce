/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MQTT on the wire: data representations, properties, framing and every packet a client sends. Each
 * input is copied to memory of exactly its size, so that a sanitizer sees a read beyond it.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/frame.h"
#include "dataplane/mqtt/packet.h"
#include "tests/unit/guard.h"
#include "tests/unit/random.h"

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static uint8_t *exact(const void *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	memcpy(copy, data, size);
	return copy;
}

static bool varint_is(uint32_t value, const uint8_t *bytes, size_t size)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(bytes, size);
	uint8_t room[8];
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(room, sizeof(room));

	hbus_mqtt_put_varint(&writer, value);
	return hbus_mqtt_get_varint(&reader) == value && !reader.is_bad && hbus_mqtt_left(&reader) == 0 &&
	       (size_t)(writer.at - room) == size && memcmp(room, bytes, size) == 0 &&
	       hbus_mqtt_varint_size(value) == size;
}

static bool varint_is_bad(const uint8_t *bytes, size_t size)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(bytes, size);

	hbus_mqtt_get_varint(&reader);
	return reader.is_bad;
}

Test(mqtt_codec, reads_and_writes_varints_at_every_border)
{
	cr_assert(varint_is(0, BYTES(0)));
	cr_assert(varint_is(127, BYTES(0x7f)));
	cr_assert(varint_is(128, BYTES(0x80, 1)));
	cr_assert(varint_is(16383, BYTES(0xff, 0x7f)));
	cr_assert(varint_is(16384, BYTES(0x80, 0x80, 1)));
	cr_assert(varint_is(2097152, BYTES(0x80, 0x80, 0x80, 1)));
	cr_assert(varint_is(HBUS_MQTT_VARINT_MAX, BYTES(0xff, 0xff, 0xff, 0x7f)));
}

Test(mqtt_codec, refuses_varints_that_are_cut_overlong_or_of_five_bytes)
{
	cr_assert(varint_is_bad(BYTES(0x80)));
	cr_assert(varint_is_bad(BYTES(0x80, 0)));
	cr_assert(varint_is_bad(BYTES(0x80, 0x80, 0x80, 0x80, 1)));
	cr_assert(varint_is_bad(BYTES(0xff, 0xff, 0xff, 0xff)));
}

Test(mqtt_codec, reads_nothing_that_is_cut_by_a_byte)
{
	static const uint8_t bytes[] = { 0, 2, 'a' };

	for (size_t size = 0; size < 4; size++) {
		struct hbus_mqtt_reader reader = hbus_mqtt_reader(guard_copy(bytes, size < 3 ? size : 3), size < 3 ? size : 3);

		if (size < 3)
			(void)hbus_mqtt_get_u32(&reader);
		else
			cr_assert_eq(hbus_mqtt_get_string(&reader).size, 0);
		cr_assert(reader.is_bad, "%zu bytes", size);
	}
}

Test(mqtt_codec, refuses_ill_formed_utf8_and_the_null_character)
{
	cr_assert(hbus_mqtt_is_utf8(BYTES('a', 0xc3, 0xa4, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80)));
	cr_assert(hbus_mqtt_is_utf8(BYTES(0xef, 0xbb, 0xbf)), "a byte order mark is a character");
	cr_assert_not(hbus_mqtt_is_utf8(BYTES('a', 0, 'b')));
	cr_assert_not(hbus_mqtt_is_utf8(BYTES(0xc0, 0x80)), "overlong");
	cr_assert_not(hbus_mqtt_is_utf8(BYTES(0xe0, 0x80, 0xaf)), "overlong");
	cr_assert_not(hbus_mqtt_is_utf8(BYTES(0xed, 0xa0, 0x80)), "surrogate");
	cr_assert_not(hbus_mqtt_is_utf8(BYTES(0xf4, 0x90, 0x80, 0x80)), "beyond U+10FFFF");
	cr_assert_not(hbus_mqtt_is_utf8(BYTES(0xe2, 0x82)), "cut");
	cr_assert_not(hbus_mqtt_is_utf8(BYTES(0x80)));
}

Test(mqtt_codec, writes_nothing_beyond_its_room)
{
	uint8_t room[4] = { 0, 0, 0, 9 };
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(room, 3);

	hbus_mqtt_put_binary(&writer, "ab", 2);
	cr_assert(writer.is_over);
	cr_assert_eq(room[3], 9);
}

/* -- properties -- */

static uint8_t props_of(unsigned int where, const uint8_t *bytes, size_t size, struct hbus_mqtt_props *props)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(bytes, size);

	return hbus_mqtt_get_props(&reader, where, props);
}

Test(mqtt_props, come_with_their_values)
{
	struct hbus_mqtt_props props;

	cr_assert_eq(props_of(HBUS_MQTT_CONNECT, BYTES(12, 0x11, 0, 0, 1, 0, 0x21, 0, 7, 0x27, 0, 1, 0), &props),
		     HBUS_MQTT_MALFORMED, "cut");
	cr_assert_eq(props_of(HBUS_MQTT_CONNECT, BYTES(13, 0x11, 0, 0, 1, 0, 0x21, 0, 7, 0x27, 0, 1, 0, 0), &props), 0);
	cr_assert_eq(hbus_mqtt_number(&props, HBUS_MQTT_P_SESSION_EXPIRY, 0), 256);
	cr_assert_eq(hbus_mqtt_number(&props, HBUS_MQTT_P_RECEIVE_MAX, 0), 7);
	cr_assert_eq(hbus_mqtt_number(&props, HBUS_MQTT_P_MAX_PACKET, 0), 65536);
	cr_assert_eq(hbus_mqtt_number(&props, HBUS_MQTT_P_TOPIC_ALIAS_MAX, 5), 5);
}

Test(mqtt_props, are_refused_in_the_wrong_packet_twice_or_out_of_range)
{
	struct hbus_mqtt_props props;

	cr_assert_eq(props_of(HBUS_MQTT_PUBLISH, BYTES(3, 0x21, 0, 7), &props), HBUS_MQTT_MALFORMED);
	cr_assert_eq(props_of(HBUS_MQTT_PUBLISH, BYTES(2, 0x7e, 0), &props), HBUS_MQTT_MALFORMED);
	cr_assert_eq(props_of(HBUS_MQTT_PUBLISH, BYTES(2, 0x04, 0), &props), HBUS_MQTT_MALFORMED);
	cr_assert_eq(props_of(HBUS_MQTT_PUBLISH, BYTES(4, 1, 0, 1, 0), &props), HBUS_MQTT_PROTOCOL_ERROR);
	cr_assert_eq(props_of(HBUS_MQTT_PUBLISH, BYTES(2, 1, 2), &props), HBUS_MQTT_PROTOCOL_ERROR);
	cr_assert_eq(props_of(HBUS_MQTT_CONNECT, BYTES(3, 0x21, 0, 0), &props), HBUS_MQTT_PROTOCOL_ERROR);
	cr_assert_eq(props_of(HBUS_MQTT_CONNECT, BYTES(5, 0x27, 0, 0, 0, 0), &props), HBUS_MQTT_PROTOCOL_ERROR);
	cr_assert_eq(props_of(HBUS_MQTT_SUBSCRIBE, BYTES(2, 0x0b, 0), &props), HBUS_MQTT_PROTOCOL_ERROR);
	cr_assert_eq(props_of(HBUS_MQTT_PUBLISH, BYTES(200, 1, 1), &props), HBUS_MQTT_MALFORMED);
}

Test(mqtt_props, carry_what_is_the_publishers_and_leave_the_rest_out)
{
	struct hbus_mqtt_props props, again;
	struct hbus_mqtt_span carried;
	static const uint8_t bytes[] = { 21, 0x23, 0, 3, 0x26, 0, 1, 'a', 0, 1, 'b', 2, 0, 0, 0, 9, 0x26, 0, 1, 'a', 0, 0 };
	uint8_t room[64];

	cr_assert_eq(props_of(HBUS_MQTT_PUBLISH,
			      BYTES(22, 0x23, 0, 3, 0x26, 0, 1, 'a', 0, 1, 'b', 2, 0, 0, 0, 9, 0x26, 0, 1, 'a', 0, 0),
			      &props), HBUS_MQTT_MALFORMED);
	cr_assert_eq(props_of(HBUS_MQTT_PUBLISH, bytes, sizeof(bytes), &props), 0);
	carried = hbus_mqtt_carry(&props, room);
	cr_assert_eq(carried.size, 13);
	cr_assert_arr_eq(carried.data, "\x26\0\1a\0\1b\x26\0\1a\0\0", 13);
	cr_assert(hbus_mqtt_check_carried(carried.data, carried.size, &again));
	cr_assert_not(hbus_mqtt_check_carried(props.raw.data, props.raw.size, &again));
	cr_assert_not(hbus_mqtt_check_carried(carried.data, carried.size - 1, &again));
}

/* -- packets -- */

static uint8_t connect_of(const uint8_t *bytes, size_t size, struct hbus_mqtt_connect *ret)
{
	uint8_t *body = exact(bytes, size);
	uint8_t reason = hbus_mqtt_parse_connect(body, size, ret);

	free(body);
	return reason;
}

#define V3_HEAD 0, 4, 'M', 'Q', 'T', 'T', 4
#define V5_HEAD 0, 4, 'M', 'Q', 'T', 'T', 5

Test(mqtt_packet, reads_a_whole_connect)
{
	struct hbus_mqtt_connect c;
	const uint8_t body[] = { V5_HEAD, 0xee, 0, 60, 0, 0, 1, 'c', 5, 0x18, 0, 0, 0, 4, 0, 1, 'w', 0, 2, 'h', 'i',
				 0, 1, 'u', 0, 1, 'p' };

	cr_assert_eq(hbus_mqtt_parse_connect(body, sizeof(body), &c), 0);
	cr_assert(c.is_clean && c.has_will && c.has_user && c.has_password && c.will_retain);
	cr_assert(c.will_qos == 1 && c.keep_alive == 60 && c.version == 5);
	cr_assert(c.client_id.size == 1 && c.will_topic.size == 1 && c.will_payload.size == 2);
	cr_assert_eq(hbus_mqtt_number(&c.will_props, HBUS_MQTT_P_WILL_DELAY, 0), 4);
	for (size_t size = 0; size < sizeof(body); size++)
		cr_assert_neq(connect_of(body, size, &c), 0, "cut to %zu", size);
}

Test(mqtt_packet, refuses_connect_flags_that_contradict_each_other)
{
	struct hbus_mqtt_connect c;

	cr_assert_eq(connect_of(BYTES(V3_HEAD, 0x02, 0, 0, 0, 1, 'c'), &c), 0);
	cr_assert_eq(connect_of(BYTES(V3_HEAD, 0x03, 0, 0, 0, 1, 'c'), &c), HBUS_MQTT_MALFORMED, "reserved");
	cr_assert_eq(connect_of(BYTES(V3_HEAD, 0x0a, 0, 0, 0, 1, 'c'), &c), HBUS_MQTT_MALFORMED, "will QoS");
	cr_assert_eq(connect_of(BYTES(V3_HEAD, 0x22, 0, 0, 0, 1, 'c'), &c), HBUS_MQTT_MALFORMED, "will retain");
	cr_assert_eq(connect_of(BYTES(V3_HEAD, 0x1e, 0, 0, 0, 1, 'c', 0, 1, 'w', 0, 0), &c), HBUS_MQTT_MALFORMED);
	cr_assert_eq(connect_of(BYTES(V3_HEAD, 0x42, 0, 0, 0, 1, 'c', 0, 1, 'p'), &c), HBUS_MQTT_MALFORMED);
	cr_assert_eq(connect_of(BYTES(V5_HEAD, 0x42, 0, 0, 0, 0, 1, 'c', 0, 1, 'p'), &c), 0);
	cr_assert_eq(connect_of(BYTES(V3_HEAD, 0x02, 0, 0, 0, 1, 'c', 0), &c), HBUS_MQTT_MALFORMED, "left over");
}

Test(mqtt_packet, tells_another_protocol_by_its_name_or_level)
{
	struct hbus_mqtt_connect c;

	cr_assert_eq(connect_of(BYTES(0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 0, 0, 1, 'c'), &c),
		     HBUS_MQTT_BAD_VERSION);
	cr_assert_eq(connect_of(BYTES(0, 4, 'M', 'Q', 'T', 'T', 6, 2, 0, 0), &c), HBUS_MQTT_BAD_VERSION);
	cr_assert_eq(c.version, 6);
	cr_assert_eq(connect_of(BYTES(0, 4, 'M', 'Q', 'T'), &c), HBUS_MQTT_MALFORMED);
}

static uint8_t publish_of(uint8_t version, uint8_t flags, const uint8_t *bytes, size_t size,
			  struct hbus_mqtt_publish *ret)
{
	uint8_t *body = exact(bytes, size);
	uint8_t reason = hbus_mqtt_parse_publish(version, flags, body, size, ret);

	free(body);
	return reason;
}

/* The shapes with which public advisories broke brokers. */
Test(mqtt_packet, refuses_a_publish_that_lies_about_its_parts)
{
	struct hbus_mqtt_publish p;

	cr_assert_eq(publish_of(4, 0, BYTES(0, 1, 't'), &p), 0);
	cr_assert_eq(p.payload.size, 0);
	cr_assert_eq(publish_of(4, 2, BYTES(0, 1, 't'), &p), HBUS_MQTT_MALFORMED, "QoS 1 without an identifier");
	cr_assert_eq(publish_of(4, 2, BYTES(0, 1, 't', 0), &p), HBUS_MQTT_MALFORMED, "half an identifier");
	cr_assert_eq(publish_of(4, 2, BYTES(0, 1, 't', 0, 0), &p), HBUS_MQTT_MALFORMED, "identifier 0");
	cr_assert_eq(publish_of(4, 0, BYTES(0, 9, 't'), &p), HBUS_MQTT_MALFORMED, "topic longer than the packet");
	cr_assert_eq(publish_of(4, 0, BYTES(0xff, 0xff), &p), HBUS_MQTT_MALFORMED);
	cr_assert_eq(publish_of(4, 0, BYTES(0), &p), HBUS_MQTT_MALFORMED);
	cr_assert_eq(publish_of(4, 6, BYTES(0, 1, 't', 0, 1), &p), HBUS_MQTT_MALFORMED, "QoS 3");
	cr_assert_eq(publish_of(4, 8, BYTES(0, 1, 't'), &p), HBUS_MQTT_MALFORMED, "DUP with QoS 0");
	cr_assert_eq(publish_of(5, 0, BYTES(0, 1, 't'), &p), HBUS_MQTT_MALFORMED, "no properties");
	cr_assert_eq(publish_of(5, 0, BYTES(0, 1, 't', 5), &p), HBUS_MQTT_MALFORMED);
	cr_assert_eq(publish_of(5, 0, BYTES(0, 1, 't', 0xff, 0xff, 0xff, 0x7f), &p), HBUS_MQTT_MALFORMED);
	cr_assert_eq(publish_of(4, 0, BYTES(0, 2, 0xc0, 0x80), &p), HBUS_MQTT_MALFORMED, "overlong UTF-8");
	cr_assert_eq(publish_of(4, 0, BYTES(0, 1, 0), &p), HBUS_MQTT_MALFORMED, "U+0000");
}

static uint8_t subscribe_of(uint8_t version, const uint8_t *bytes, size_t size)
{
	struct hbus_mqtt_subscribe s;
	uint8_t *body = exact(bytes, size);
	uint8_t reason = hbus_mqtt_parse_subscribe(version, body, size, &s);

	free(body);
	return reason;
}

static uint8_t unsubscribe_of(uint8_t version, const uint8_t *bytes, size_t size)
{
	struct hbus_mqtt_subscribe s;
	uint8_t *body = exact(bytes, size);
	uint8_t reason = hbus_mqtt_parse_unsubscribe(version, body, size, &s);

	free(body);
	return reason;
}

Test(mqtt_packet, refuses_a_subscribe_without_options_or_filters)
{
	cr_assert_eq(subscribe_of(4, BYTES(0, 1, 0, 1, 'a', 2)), 0);
	cr_assert_eq(subscribe_of(4, BYTES(0, 1, 0, 1, 'a')), HBUS_MQTT_MALFORMED, "no options");
	cr_assert_eq(subscribe_of(4, BYTES(0, 1)), HBUS_MQTT_PROTOCOL_ERROR, "no filter");
	cr_assert_eq(subscribe_of(4, BYTES(0, 0, 0, 1, 'a', 0)), HBUS_MQTT_MALFORMED, "identifier 0");
	cr_assert_eq(subscribe_of(4, BYTES(0, 1, 0, 1, 'a', 3)), HBUS_MQTT_MALFORMED, "QoS 3");
	cr_assert_eq(subscribe_of(4, BYTES(0, 1, 0, 1, 'a', 4)), HBUS_MQTT_MALFORMED, "3.1.1 has no options");
	cr_assert_eq(subscribe_of(5, BYTES(0, 1, 0, 0, 1, 'a', 0x2c)), 0);
	cr_assert_eq(subscribe_of(5, BYTES(0, 1, 0, 0, 1, 'a', 0x30)), HBUS_MQTT_MALFORMED, "retain handling 3");
	cr_assert_eq(subscribe_of(5, BYTES(0, 1, 0, 0, 1, 'a', 0x40)), HBUS_MQTT_MALFORMED, "reserved bit");
	cr_assert_eq(subscribe_of(4, BYTES(0, 1, 0xff, 0xff, 'a', 0)), HBUS_MQTT_MALFORMED);
	cr_assert_eq(unsubscribe_of(4, BYTES(0, 1, 0, 1, 'a', 0, 1, 'b')), 0);
	cr_assert_eq(unsubscribe_of(4, BYTES(0, 1)), HBUS_MQTT_PROTOCOL_ERROR);
	cr_assert_eq(unsubscribe_of(4, BYTES(0, 1, 0, 1, 'a', 0)), HBUS_MQTT_MALFORMED);
}

Test(mqtt_packet, reads_acknowledgements_of_every_length)
{
	struct hbus_mqtt_ack a;

	cr_assert_eq(hbus_mqtt_parse_ack(4, HBUS_MQTT_PUBACK, BYTES(1, 2), &a), 0);
	cr_assert_eq(a.packet_id, 258);
	cr_assert_eq(hbus_mqtt_parse_ack(4, HBUS_MQTT_PUBACK, BYTES(1, 2, 0), &a), HBUS_MQTT_MALFORMED);
	cr_assert_eq(hbus_mqtt_parse_ack(5, HBUS_MQTT_PUBACK, BYTES(1, 2, 0x97), &a), 0);
	cr_assert_eq(a.reason, HBUS_MQTT_QUOTA);
	cr_assert_eq(hbus_mqtt_parse_ack(5, HBUS_MQTT_PUBREC, BYTES(1, 2, 0x10, 4, 0x1f, 0, 1, 'x'), &a), 0);
	cr_assert_eq(hbus_mqtt_parse_ack(5, HBUS_MQTT_PUBREL, BYTES(1, 2, 0x10), &a), HBUS_MQTT_PROTOCOL_ERROR);
	cr_assert_eq(hbus_mqtt_parse_ack(5, HBUS_MQTT_PUBACK, BYTES(0, 0), &a), HBUS_MQTT_MALFORMED);
	cr_assert_eq(hbus_mqtt_parse_ack(4, HBUS_MQTT_PUBACK, BYTES(1), &a), HBUS_MQTT_MALFORMED);
}

Test(mqtt_packet, asks_for_the_flags_that_each_type_must_have)
{
	cr_assert(hbus_mqtt_check_flags(0x10) && hbus_mqtt_check_flags(0x82) && hbus_mqtt_check_flags(0x62));
	cr_assert_not(hbus_mqtt_check_flags(0x80) || hbus_mqtt_check_flags(0x60) || hbus_mqtt_check_flags(0xa0));
	cr_assert_not(hbus_mqtt_check_flags(0x11) || hbus_mqtt_check_flags(0xc1) || hbus_mqtt_check_flags(0x42));
	cr_assert(hbus_mqtt_check_flags(0x3b));
}

/* -- framing -- */

Test(mqtt_frame, gives_the_same_packets_however_the_stream_is_cut)
{
	static uint8_t stream[4000];
	struct test_random random;
	size_t size = 0, n_packets = 0;

	test_random_init(&random, "mqtt_frame");
	while (size < 3000) {
		uint32_t n = test_random_below(&random, 4) ? test_random_below(&random, 20) : 700;

		stream[size++] = 0x30;
		if (n >= 128)
			stream[size++] = (uint8_t)(n | 0x80);
		stream[size++] = (uint8_t)(n >= 128 ? n >> 7 : n);
		memset(stream + size, (int)n_packets++, n);
		size += n;
	}
	for (int round = 0; round < 200; round++) {
		struct hbus_mqtt_frame frame = { 0 };
		struct hbus_mqtt_whole whole;
		size_t n_got = 0;

		for (size_t at = 0, n; at < size; at += n) {
			const uint8_t *data;
			uint8_t *copy;
			size_t left;

			n = 1 + test_random_below(&random, round % 2 ? 5 : 900);
			left = n = n < size - at ? n : size - at;
			data = copy = exact(stream + at, n);
			while (left > 0 || frame.is_in_body) {
				int r = hbus_mqtt_frame_next(&frame, &data, &left, 1000, &whole);

				if (r == HBUS_MQTT_FRAME_MORE)
					break;
				cr_assert_eq(r, 0);
				for (size_t i = 0; i < whole.size; i++)
					cr_assert_eq(whole.body[i], (uint8_t)n_got);
				n_got++;
			}
			free(copy);
		}
		hbus_mqtt_frame_deinit(&frame);
		cr_assert_eq(n_got, n_packets);
	}
}

Test(mqtt_frame, judges_a_length_before_it_allocates)
{
	struct hbus_mqtt_frame frame = { 0 };
	struct hbus_mqtt_whole whole;
	const uint8_t huge[] = { 0x10, 0xff, 0xff, 0xff, 0x7f, 1 }, *data = huge;
	size_t size = sizeof(huge);

	cr_assert_eq(hbus_mqtt_frame_next(&frame, &data, &size, 4096, &whole), HBUS_MQTT_TOO_LARGE);
	cr_assert_null(frame.body);
}

Test(mqtt_frame, refuses_a_length_of_five_bytes_and_one_over_the_limit)
{
	struct hbus_mqtt_frame frame = { 0 };
	struct hbus_mqtt_whole whole;
	const uint8_t five[] = { 0x10, 0x80, 0x80, 0x80, 0x80, 1 }, *data = five;
	const uint8_t exactly[] = { 0x30, 3, 0, 1, 'a' }, *fits = exactly;
	size_t size = sizeof(five);

	cr_assert_eq(hbus_mqtt_frame_next(&frame, &data, &size, 1 << 30, &whole), HBUS_MQTT_MALFORMED);
	memset(&frame, 0, sizeof(frame));
	size = sizeof(exactly);
	cr_assert_eq(hbus_mqtt_frame_next(&frame, &fits, &size, 5, &whole), 0);
	fits = exactly;
	size = sizeof(exactly);
	cr_assert_eq(hbus_mqtt_frame_next(&frame, &fits, &size, 4, &whole), HBUS_MQTT_TOO_LARGE);
}

Test(mqtt_frame, allocates_by_what_has_come_not_by_what_is_claimed)
{
	struct hbus_mqtt_frame frame = { 0 };
	struct hbus_mqtt_whole whole;
	const uint8_t claim[] = { 0x30, 0xff, 0xff, 0x7f, 1, 2, 3 }, *data = claim;
	size_t size = sizeof(claim);

	cr_assert_eq(hbus_mqtt_frame_next(&frame, &data, &size, 1 << 22, &whole), HBUS_MQTT_FRAME_MORE);
	cr_assert_eq(frame.room, 256);
	hbus_mqtt_frame_deinit(&frame);
}
