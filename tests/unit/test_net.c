/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Header parsing: each reason of refusal, each border beside it, every truncation, and random
 * damage in buffers of exactly the frame's size (so that a sanitizer sees one byte too far).
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/net.h"
#include "tests/unit/frames.h"

static const char PAYLOAD[] = "12345 degrees";
enum { PAYLOAD_SIZE = sizeof(PAYLOAD) - 1, PORT = 5001 };

struct outcome {
	enum hbus_reason reason;
	struct hbus_packet packet;
	const uint8_t *payload;
	uint32_t payload_size;
};

/* All steps in their order, on a copy whose size is exact. The caller frees the copy. */
static struct outcome judge_copy(uint8_t *copy, size_t size, unsigned int trust)
{
	struct outcome o = { 0 };

	o.reason = hbus_net_parse(copy, size, &o.packet);
	if (o.reason == HBUS_REASON_ACCEPTED)
		o.reason = hbus_net_check_length(&o.packet, &o.payload, &o.payload_size);
	if (o.reason == HBUS_REASON_ACCEPTED)
		o.reason = hbus_net_check_sums(&o.packet, trust);
	return o;
}

static enum hbus_reason judge_bytes(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	enum hbus_reason reason;

	memcpy(copy, bytes, size);
	reason = judge_copy(copy, size, 0).reason;
	free(copy);
	return reason;
}

static enum hbus_reason judge(const struct frame *f)
{
	return judge_bytes(f->bytes, f->size);
}

static struct frame ipv4(void)
{
	struct frame f;

	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, PORT, PAYLOAD, PAYLOAD_SIZE);
	return f;
}

static struct frame ipv6(const uint8_t *kinds, uint32_t n_kinds)
{
	struct frame f;

	frame_link(&f, NULL, NULL, 0, 0x86dd);
	frame_ipv6_udp(&f, kinds, n_kinds, PORT, PAYLOAD, PAYLOAD_SIZE);
	return f;
}

static struct frame tagged(const uint16_t *tpids, const uint16_t *tags, uint32_t n_tags)
{
	struct frame f;

	frame_link(&f, tpids, tags, n_tags, 0x0800);
	frame_ipv4_udp(&f, 0, PORT, PAYLOAD, PAYLOAD_SIZE);
	return f;
}

static void expect(const struct frame *f, enum hbus_reason reason)
{
	enum hbus_reason got = judge(f);

	cr_assert_eq(got, reason, "got %s, not %s", hbus_reason_name(got),
		     hbus_reason_name(reason));
}

Test(net, finds_everything_in_a_plain_ipv4_datagram)
{
	struct frame f = ipv4();
	struct outcome o = judge_copy(f.bytes, f.size, 0);

	cr_assert_eq(o.reason, HBUS_REASON_ACCEPTED);
	cr_assert_eq(o.packet.family, HBUS_FAMILY_IPV4);
	cr_assert_eq(o.packet.vlan, 0);
	cr_assert_eq(o.packet.port, PORT);
	cr_assert_eq(o.packet.source_port, 40000);
	cr_assert_eq(memcmp(o.packet.source, "\x0a\0\0\1", 4), 0);
	cr_assert_eq(memcmp(o.packet.destination, "\x0a\0\0\2", 4), 0);
	cr_assert_eq(o.payload_size, PAYLOAD_SIZE);
	cr_assert_eq(memcmp(o.payload, PAYLOAD, PAYLOAD_SIZE), 0);
}

Test(net, finds_everything_in_a_plain_ipv6_datagram)
{
	struct frame f = ipv6(NULL, 0);
	struct outcome o = judge_copy(f.bytes, f.size, 0);

	cr_assert_eq(o.reason, HBUS_REASON_ACCEPTED);
	cr_assert_eq(o.packet.family, HBUS_FAMILY_IPV6);
	cr_assert_eq(o.packet.port, PORT);
	cr_assert_eq(o.packet.source[15], 1);
	cr_assert_eq(o.packet.destination[15], 2);
	cr_assert_eq(memcmp(o.payload, PAYLOAD, PAYLOAD_SIZE), 0);
}

Test(net, accepts_an_empty_datagram)
{
	struct frame f;
	struct outcome o;

	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, PORT, "", 0);
	o = judge_copy(f.bytes, f.size, 0);
	cr_assert_eq(o.reason, HBUS_REASON_ACCEPTED);
	cr_assert_eq(o.payload_size, 0);
}

Test(net, takes_the_outer_vlan_and_refuses_a_third_tag)
{
	const uint16_t tpids[] = { 0x88a8, 0x8100, 0x8100 };
	const uint16_t tags[] = { 0x6064, 0x00c8, 1 };
	struct frame f = tagged(tpids, tags, 2);

	cr_assert_eq(judge_copy(f.bytes, f.size, 0).packet.vlan, 0x64);
	f = tagged(tpids + 1, tags, 1);
	cr_assert_eq(judge_copy(f.bytes, f.size, 0).packet.vlan, 0x64);
	expect(&f, HBUS_REASON_ACCEPTED);
	f = tagged(tpids, tags, 3);
	expect(&f, HBUS_REASON_TOO_MANY_TAGS);
}

Test(net, reads_a_priority_tag_as_no_vlan)
{
	const uint16_t tpid = 0x8100, tag = 0xe000;
	struct frame f = tagged(&tpid, &tag, 1);

	cr_assert_eq(judge_copy(f.bytes, f.size, 0).packet.vlan, 0);
	expect(&f, HBUS_REASON_ACCEPTED);
}

Test(net, leaves_what_is_not_ip)
{
	struct frame f = ipv4();

	frame_put16(f.bytes + 12, 0x0806);
	expect(&f, HBUS_REASON_NOT_IP);
	f = ipv6(NULL, 0);
	frame_put16(f.bytes + 12, 0x0800);
	expect(&f, HBUS_REASON_BAD_HEADER);
}

Test(net, walks_over_ipv4_options)
{
	for (uint32_t size = 4; size <= 40; size += 4) {
		struct frame f;
		struct outcome o;

		frame_link(&f, NULL, NULL, 0, 0x0800);
		frame_ipv4_udp(&f, size, PORT, PAYLOAD, PAYLOAD_SIZE);
		o = judge_copy(f.bytes, f.size, 0);
		cr_assert_eq(o.reason, HBUS_REASON_ACCEPTED);
		cr_assert_eq(memcmp(o.payload, PAYLOAD, PAYLOAD_SIZE), 0);
	}
}

Test(net, refuses_an_impossible_ipv4_header)
{
	struct frame f = ipv4();

	f.bytes[f.ip_off] = 0x55;
	expect(&f, HBUS_REASON_BAD_HEADER);
	f = ipv4();
	f.bytes[f.ip_off] = 0x44;
	expect(&f, HBUS_REASON_BAD_HEADER);
	f = ipv4();
	frame_put16(f.bytes + f.ip_off + 2, 19);
	expect(&f, HBUS_REASON_BAD_HEADER);
	f = ipv4();
	frame_put16(f.bytes + f.ip_off + 2, 27);
	expect(&f, HBUS_REASON_TRUNCATED);
}

Test(net, tells_fragments_from_what_may_not_be_fragmented)
{
	static const uint16_t fragments[] = { 0x2000, 0x0001, 0x1fff, 0x3fff };
	struct frame f = ipv4();

	frame_put16(f.bytes + f.ip_off + 6, 0x4000);
	frame_seal_ipv4(&f);
	expect(&f, HBUS_REASON_ACCEPTED);
	for (size_t i = 0; i < sizeof(fragments) / sizeof(fragments[0]); i++) {
		frame_put16(f.bytes + f.ip_off + 6, fragments[i]);
		frame_seal_ipv4(&f);
		expect(&f, HBUS_REASON_FRAGMENT);
	}
	f.bytes[f.ip_off + 9] = 6;
	expect(&f, HBUS_REASON_NOT_UDP);
}

Test(net, walks_over_as_many_extension_headers_as_agreed)
{
	static const uint8_t kinds[] = { 0, 60, 43, 60, 60 };
	struct frame f;

	for (uint32_t n = 0; n <= HBUS_IPV6_EXT_MAX; n++) {
		struct outcome o;

		f = ipv6(kinds, n);
		o = judge_copy(f.bytes, f.size, 0);
		cr_assert_eq(o.reason, HBUS_REASON_ACCEPTED);
		cr_assert_eq(memcmp(o.payload, PAYLOAD, PAYLOAD_SIZE), 0);
	}
	f = ipv6(kinds, HBUS_IPV6_EXT_MAX + 1);
	expect(&f, HBUS_REASON_EXT_HEADERS);
}

Test(net, judges_extension_headers_by_kind)
{
	static const struct {
		uint8_t kind;
		enum hbus_reason reason;
	} cases[] = {
		{ 44, HBUS_REASON_FRAGMENT }, { 50, HBUS_REASON_NOT_UDP },
		{ 51, HBUS_REASON_NOT_UDP },  { 135, HBUS_REASON_NOT_UDP },
		{ 6, HBUS_REASON_NOT_UDP },   { 58, HBUS_REASON_NOT_UDP },
		{ 59, HBUS_REASON_NOT_UDP },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const uint8_t kinds[] = { 60, cases[i].kind };
		struct frame f = ipv6(kinds, 2);

		expect(&f, cases[i].reason);
		f = ipv6(kinds + 1, 1);
		expect(&f, cases[i].reason);
	}
}

Test(net, refuses_a_routing_header_with_segments_left)
{
	const uint8_t kind = 43;
	struct frame f = ipv6(&kind, 1);

	expect(&f, HBUS_REASON_ACCEPTED);
	f.bytes[f.ip_off + 40 + 3] = 1;
	expect(&f, HBUS_REASON_EXT_HEADERS);
}

Test(net, refuses_an_extension_header_that_crosses_the_end)
{
	const uint8_t kind = 60;
	struct frame f = ipv6(&kind, 1);

	f.bytes[f.ip_off + 41] = 3;
	expect(&f, HBUS_REASON_TRUNCATED);
	f.bytes[f.ip_off + 41] = 255;
	expect(&f, HBUS_REASON_TRUNCATED);
}

Test(net, refuses_lengths_that_contradict_each_other)
{
	struct frame f = ipv4();

	/* The frame is shorter than the IP header claims. */
	f.size--;
	expect(&f, HBUS_REASON_BAD_LENGTH);
	/* UDP below its header, beyond the IP packet, and exactly at its borders. */
	f = ipv4();
	frame_put16(f.bytes + f.udp_off + 4, 7);
	expect(&f, HBUS_REASON_BAD_LENGTH);
	frame_put16(f.bytes + f.udp_off + 4, 0);
	expect(&f, HBUS_REASON_BAD_LENGTH);
	frame_put16(f.bytes + f.udp_off + 4, 8 + PAYLOAD_SIZE + 1);
	expect(&f, HBUS_REASON_BAD_LENGTH);
	frame_put16(f.bytes + f.udp_off + 4, 8 + PAYLOAD_SIZE - 1);
	frame_seal_udp(&f);
	expect(&f, HBUS_REASON_ACCEPTED);
	frame_put16(f.bytes + f.udp_off + 4, 8);
	frame_seal_udp(&f);
	expect(&f, HBUS_REASON_ACCEPTED);
	f = ipv6(NULL, 0);
	f.size--;
	expect(&f, HBUS_REASON_BAD_LENGTH);
	frame_put16(f.bytes + f.ip_off + 4, 7);
	expect(&f, HBUS_REASON_TRUNCATED);
}

Test(net, ignores_the_padding_of_a_short_frame)
{
	struct frame f;
	struct outcome o;

	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, PORT, "1", 1);
	f.size = 60;
	memset(f.bytes + 43, 0xff, 17);
	o = judge_copy(f.bytes, f.size, 0);
	cr_assert_eq(o.reason, HBUS_REASON_ACCEPTED);
	cr_assert_eq(o.payload_size, 1);
}

Test(net, finds_every_flipped_bit_under_a_checksum)
{
	struct frame f = ipv4();
	uint32_t checked_off[] = { f.ip_off + 12, f.udp_off + 8 + PAYLOAD_SIZE };

	for (uint32_t bit = checked_off[0] * 8; bit < checked_off[1] * 8; bit++) {
		/* Flips in the UDP length are found as lengths; a checksum of 0 means none. */
		if (bit / 8 >= f.udp_off + 4 && bit / 8 < f.udp_off + 8)
			continue;
		f.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		expect(&f, HBUS_REASON_BAD_CHECKSUM);
		f.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	expect(&f, HBUS_REASON_ACCEPTED);
}

/* The sums are taken in words of eight bytes: every size of a header and of a datagram is another last word. */
Test(net, sums_headers_and_payloads_of_every_size)
{
	uint8_t payload[200];
	struct frame f;

	for (uint32_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 151 + 77);
	for (uint32_t i = 0; i < sizeof(payload) * 11; i++) {
		uint32_t size = i % sizeof(payload), options_size = i / sizeof(payload) * 4;
		uint32_t last;

		frame_link(&f, NULL, NULL, 0, 0x0800);
		frame_ipv4_udp(&f, options_size, PORT, payload, size);
		expect(&f, HBUS_REASON_ACCEPTED);
		last = f.size - 1;
		f.bytes[last] ^= 0x10;
		/* With no payload the last byte is the checksum's own. */
		expect(&f, HBUS_REASON_BAD_CHECKSUM);
		f.bytes[last] ^= 0x10;
		f.bytes[f.ip_off + 19 + options_size] ^= 0x01;
		expect(&f, HBUS_REASON_BAD_CHECKSUM);
	}
}

Test(net, takes_udp_checksum_zero_as_none_over_ipv4_only)
{
	struct frame f = ipv4();

	frame_put16(f.bytes + f.udp_off + 6, 0);
	expect(&f, HBUS_REASON_ACCEPTED);
	f = ipv6(NULL, 0);
	frame_put16(f.bytes + f.udp_off + 6, 0);
	expect(&f, HBUS_REASON_BAD_CHECKSUM);
}

Test(net, accepts_a_udp_checksum_that_sums_to_zero_and_travels_as_ones)
{
	struct frame f;
	uint32_t sum;

	frame_link(&f, NULL, NULL, 0, 0x86dd);
	frame_ipv6_udp(&f, NULL, 0, PORT, "\0\0", 2);
	sum = frame_get16(f.bytes + f.udp_off + 6);
	frame_put16(f.bytes + f.udp_off + 8, sum);
	frame_seal_udp(&f);
	cr_assert_eq(frame_get16(f.bytes + f.udp_off + 6), 0xffff);
	expect(&f, HBUS_REASON_ACCEPTED);
}

Test(net, trusts_checksums_when_told)
{
	struct frame f = ipv4();

	f.bytes[f.udp_off + 6] ^= 0x10;
	cr_assert_eq(judge_copy(f.bytes, f.size, 0).reason, HBUS_REASON_BAD_CHECKSUM);
	cr_assert_eq(judge_copy(f.bytes, f.size, HBUS_NET_TRUST_IP).reason,
		     HBUS_REASON_BAD_CHECKSUM);
	cr_assert_eq(judge_copy(f.bytes, f.size, HBUS_NET_TRUST_UDP).reason,
		     HBUS_REASON_ACCEPTED);
	f = ipv4();
	f.bytes[f.ip_off + 10] ^= 0x10;
	cr_assert_eq(judge_copy(f.bytes, f.size, HBUS_NET_TRUST_UDP).reason,
		     HBUS_REASON_BAD_CHECKSUM);
	cr_assert_eq(judge_copy(f.bytes, f.size, HBUS_NET_TRUST_IP).reason,
		     HBUS_REASON_ACCEPTED);
}

/* A frame cut anywhere is truncated up to its UDP header and of bad length behind it. */
static void expect_truncations(const struct frame *f)
{
	for (uint32_t size = 0; size < f->size; size++) {
		enum hbus_reason got = judge_bytes(f->bytes, size);

		cr_assert_eq(got, size < f->udp_off + 8 ? HBUS_REASON_TRUNCATED
							: HBUS_REASON_BAD_LENGTH,
			     "cut to %u bytes: %s", size, hbus_reason_name(got));
	}
}

Test(net, refuses_every_truncation)
{
	static const uint16_t tpids[] = { 0x88a8, 0x8100 }, tags[] = { 100, 200 };
	static const uint8_t kinds[] = { 0, 43, 60, 60 };
	struct frame f = ipv4();

	expect_truncations(&f);
	f = tagged(tpids, tags, 2);
	expect_truncations(&f);
	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 40, PORT, PAYLOAD, PAYLOAD_SIZE);
	expect_truncations(&f);
	f = ipv6(kinds, 4);
	expect_truncations(&f);
}

/* What is accepted must lie within the frame, whatever was done to it. */
Test(net, survives_random_damage)
{
	const char *given = getenv("HBUS_TEST_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) : 20u;
	static const uint8_t kinds[] = { 0, 43, 60, 60 };
	uint32_t n_accepted = 0;

	fprintf(stderr, "seed %u\n", seed);
	for (uint32_t round = 0; round < 100000; round++) {
		struct frame f = round % 2 ? ipv6(kinds, round / 2 % 5) : ipv4();
		uint32_t n_hits = (uint32_t)rand_r(&seed) % 4, size;
		struct outcome o;
		uint8_t *copy;

		for (uint32_t i = 0; i < n_hits; i++)
			f.bytes[12 + (uint32_t)rand_r(&seed) % (f.size - 12)] =
				(uint8_t)rand_r(&seed);
		size = rand_r(&seed) % 4 ? f.size : (uint32_t)rand_r(&seed) % (f.size + 1);
		copy = malloc(size ? size : 1);
		memcpy(copy, f.bytes, size);
		o = judge_copy(copy, size, HBUS_NET_TRUST_IP | HBUS_NET_TRUST_UDP);
		cr_assert_lt(o.reason, HBUS_N_REASONS);
		if (o.reason == HBUS_REASON_ACCEPTED) {
			n_accepted++;
			cr_assert(o.payload >= copy && o.payload_size <= size);
			cr_assert_leq((size_t)(o.payload - copy), size - o.payload_size);
		}
		free(copy);
	}
	cr_assert_gt(n_accepted, 1000);
}
