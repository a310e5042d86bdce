/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the XDP program says to a frame: every reason, every border, every truncation. Without
 * CAP_BPF each test is skipped.
 */
#include <linux/capability.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "tests/unit/filter_kit.h"
#include "tests/unit/random.h"

TestSuite(filter, .init = kit_init, .fini = kit_deinit, .timeout = 60);

#define expect(f, reason_)                                                                        \
	do {                                                                                      \
		uint32_t got = kit_judge(f);                                                      \
		cr_assert_eq(got, (uint32_t)(reason_), "%s instead of %s", hbus_reason_name(got), \
			     hbus_reason_name(reason_));                                          \
	} while (0)

/* ---- the table of reasons ------------------------------------------------------------------ */

Test(filter_reasons, have_a_name_and_an_action_each)
{
	for (uint32_t i = 0; i < HBUS_N_REASONS; i++) {
		cr_assert_not_null(hbus_reason_name(i), "a hole at %u", i);
		for (uint32_t j = 0; j < i; j++)
			cr_assert_str_neq(hbus_reason_name(i), hbus_reason_name(j));
	}
	cr_assert_null(hbus_reason_name(HBUS_N_REASONS));
	cr_assert_eq(hbus_reason_action(HBUS_REASON_ACCEPTED), HBUS_ACTION_REDIRECT);
	cr_assert_eq(hbus_reason_action(HBUS_REASON_UNKNOWN_PORT), HBUS_ACTION_PASS);
	cr_assert_eq(hbus_reason_action(HBUS_REASON_NO_INTEREST), HBUS_ACTION_DROP);
	cr_assert_eq(hbus_reason_action(HBUS_REASON_RING_FULL), HBUS_ACTION_NONE);
	cr_assert_eq(hbus_reason_action(HBUS_N_REASONS), HBUS_ACTION_NONE);
}

/* ---- rights -------------------------------------------------------------------------------- */

Test(filter, loads_with_cap_bpf_and_cap_net_admin_alone)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	struct hbus_filter_error error = { "" };
	struct hbus_filter *filter = NULL;

	data[CAP_TO_INDEX(CAP_NET_ADMIN)].permitted |= CAP_TO_MASK(CAP_NET_ADMIN);
	data[CAP_TO_INDEX(CAP_BPF)].permitted |= CAP_TO_MASK(CAP_BPF);
	data[0].effective = data[0].permitted;
	data[1].effective = data[1].permitted;
	cr_assert_eq(syscall(SYS_capset, &header, data), 0, "%s", strerror(errno));
	cr_assert_eq(hbus_filter_load(HBUS_XDP_OBJECT, &filter, &error), 0, "%s", error.text);
	hbus_filter_free(filter);
}

/* ---- link ---------------------------------------------------------------------------------- */

Test(filter, passes_everything_before_it_has_routes)
{
	struct frame v4 = kit_ipv4(), v6 = kit_ipv6(NULL, 0);

	expect(&v4, HBUS_REASON_UNKNOWN_PORT);
	expect(&v6, HBUS_REASON_UNKNOWN_PORT);
}

Test(filter, redirects_what_is_routed_and_wanted)
{
	struct frame v4 = kit_ipv4(), v6 = kit_ipv6(NULL, 0);

	kit_route_all();
	cr_assert_eq(kit_route_of(&v4, 2), 0);
	cr_assert_eq(kit_route_of(&v6, 2), 1);
}

Test(filter, passes_other_protocols_than_ip)
{
	static const uint16_t types[] = { 0x0806, 0x88cc, 0x9100, 0x0000, 0x05dc, 0xffff };
	struct frame f = kit_ipv4();

	kit_route_all();
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		frame_put16(f.bytes + 12, types[i]);
		expect(&f, HBUS_REASON_NOT_IP);
	}
}

Test(filter, looks_behind_two_tags_and_no_further)
{
	static const uint16_t q[] = { 0x8100, 0x8100, 0x8100 };
	static const uint16_t ad[] = { 0x88a8, 0x8100, 0x88a8 };
	static const uint16_t tags[] = { 0x6007, 9, 11 };

	kit_route_all();
	for (uint32_t n = 0; n <= 3; n++) {
		struct frame a = kit_tagged(q, tags, n), b = kit_tagged(ad, tags, n);

		expect(&a, n <= 2 ? HBUS_REASON_ACCEPTED : HBUS_REASON_TOO_MANY_TAGS);
		expect(&b, n <= 2 ? HBUS_REASON_ACCEPTED : HBUS_REASON_TOO_MANY_TAGS);
	}
}

Test(filter, takes_the_vlan_from_the_outer_tag)
{
	static const uint16_t tpids[] = { 0x88a8, 0x8100 };
	struct frame plain = kit_ipv4();
	struct frame one = kit_tagged(tpids, (const uint16_t[]){ 0xf007 }, 1);
	struct frame two = kit_tagged(tpids, (const uint16_t[]){ 7, 9 }, 2);
	struct frame inner = kit_tagged(tpids, (const uint16_t[]){ 9, 7 }, 2);
	struct frame priority = kit_tagged(tpids, (const uint16_t[]){ 0xe000, 7 }, 2);

	kit_route(0, kit_match("0.0.0.0", 0, 7, KIT_PORT), 1);
	kit_route(1, kit_match("0.0.0.0", 0, 0, KIT_PORT), 1);
	cr_assert_eq(kit_route_of(&plain, 2), 1);
	cr_assert_eq(kit_route_of(&one, 2), 0);
	cr_assert_eq(kit_route_of(&two, 2), 0);
	cr_assert_eq(kit_route_of(&inner, 2), HBUS_ROUTES_MAX);
	cr_assert_eq(kit_route_of(&priority, 2), 1);
}

/* ---- IPv4 ---------------------------------------------------------------------------------- */

Test(filter, skips_ipv4_options)
{
	kit_route_all();
	for (uint32_t size = 0; size <= 40; size += 4) {
		struct frame f;

		frame_link(&f, NULL, NULL, 0, 0x0800);
		frame_ipv4_udp(&f, size, KIT_PORT, kit_payload, KIT_PAYLOAD_SIZE);
		expect(&f, HBUS_REASON_ACCEPTED);
	}
}

Test(filter, passes_impossible_ipv4_headers)
{
	static const uint8_t firsts[] = { 0x35, 0x55, 0x65, 0x05, 0xf5, 0x40, 0x44 };
	struct frame f = kit_ipv4();

	kit_route_all();
	for (size_t i = 0; i < sizeof(firsts); i++) {
		kit_ip(&f)[0] = firsts[i];
		expect(&f, HBUS_REASON_BAD_HEADER);
	}
	f = kit_ipv4();
	frame_put16(kit_ip(&f) + 2, 19);
	expect(&f, HBUS_REASON_BAD_HEADER);
	frame_put16(kit_ip(&f) + 2, 20);
	expect(&f, HBUS_REASON_TRUNCATED);
	frame_put16(kit_ip(&f) + 2, 27);
	expect(&f, HBUS_REASON_TRUNCATED);
	frame_put16(kit_ip(&f) + 2, 28);
	expect(&f, HBUS_REASON_BAD_LENGTH);
}

Test(filter, passes_other_transports)
{
	struct frame f = kit_ipv4(), g = kit_ipv6(NULL, 0);

	kit_route_all();
	for (uint32_t proto = 0; proto < 256; proto++) {
		if (proto == 17)
			continue;
		kit_ip(&f)[9] = (uint8_t)proto;
		expect(&f, HBUS_REASON_NOT_UDP);
	}
	kit_ip(&g)[6] = 6;
	expect(&g, HBUS_REASON_NOT_UDP);
	kit_ip(&g)[6] = 58;
	expect(&g, HBUS_REASON_NOT_UDP);
	kit_ip(&g)[6] = 59;
	expect(&g, HBUS_REASON_NOT_UDP);
}

Test(filter, passes_ipv4_fragments)
{
	static const uint16_t fields[] = { 0x2000, 0x2001, 0x0001, 0x1fff, 0x3fff, 0x6000 };
	struct frame f = kit_ipv4();

	kit_route_all();
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		frame_put16(kit_ip(&f) + 6, fields[i]);
		expect(&f, HBUS_REASON_FRAGMENT);
	}
	frame_put16(kit_ip(&f) + 6, 0x4000);
	expect(&f, HBUS_REASON_ACCEPTED);
	frame_put16(kit_ip(&f) + 6, 0x8000);
	expect(&f, HBUS_REASON_ACCEPTED);
}

/* ---- IPv6 ---------------------------------------------------------------------------------- */

Test(filter, walks_four_extension_headers)
{
	static const uint8_t kinds[] = { 0, 60, 43, 60, 60 };

	kit_route_all();
	for (uint32_t n = 0; n <= 5; n++) {
		struct frame f = kit_ipv6(kinds, n);

		expect(&f, n <= 4 ? HBUS_REASON_ACCEPTED : HBUS_REASON_EXT_HEADERS);
	}
}

Test(filter, passes_extension_headers_that_it_does_not_walk)
{
	static const uint8_t kinds[] = { 50, 51, 135, 139, 140 };

	kit_route_all();
	for (size_t i = 0; i < sizeof(kinds); i++) {
		struct frame f = kit_ipv6(kinds + i, 1);

		expect(&f, HBUS_REASON_NOT_UDP);
	}
}

Test(filter, passes_ipv6_fragments_wherever_their_header_stands)
{
	static const uint8_t kinds[] = { 60, 60, 44 };

	kit_route_all();
	for (uint32_t n = 1; n <= 3; n++) {
		struct frame f = kit_ipv6(kinds + 3 - n, n);

		expect(&f, HBUS_REASON_FRAGMENT);
	}
}

Test(filter, passes_source_routed_packets_on_their_way)
{
	struct frame f = kit_ipv6((const uint8_t[]){ 43 }, 1);

	kit_route_all();
	expect(&f, HBUS_REASON_ACCEPTED);
	kit_ip(&f)[40 + 3] = 1;
	expect(&f, HBUS_REASON_EXT_HEADERS);
}

Test(filter, passes_extension_headers_that_cross_the_end)
{
	struct frame f = kit_ipv6((const uint8_t[]){ 60 }, 1);

	kit_route_all();
	/* 28 bytes of payload: a header of 32 crosses, one of 24 leaves no room for UDP. */
	kit_ip(&f)[41] = 3;
	expect(&f, HBUS_REASON_TRUNCATED);
	kit_ip(&f)[41] = 2;
	expect(&f, HBUS_REASON_TRUNCATED);
	kit_ip(&f)[41] = 255;
	expect(&f, HBUS_REASON_TRUNCATED);
}

Test(filter, passes_impossible_ipv6_headers)
{
	struct frame f = kit_ipv6(NULL, 0);

	kit_route_all();
	kit_ip(&f)[0] = 0x50;
	expect(&f, HBUS_REASON_BAD_HEADER);
	kit_ip(&f)[0] = 0x60;
	frame_put16(kit_ip(&f) + 4, 0); /* a jumbogram, or nothing */
	expect(&f, HBUS_REASON_TRUNCATED);
	frame_put16(kit_ip(&f) + 4, 7);
	expect(&f, HBUS_REASON_TRUNCATED);
	frame_put16(kit_ip(&f) + 4, 8);
	expect(&f, HBUS_REASON_BAD_LENGTH);
}

/* ---- lengths ------------------------------------------------------------------------------- */

Test(filter, drops_lengths_that_contradict_each_other)
{
	struct frame f = kit_ipv4();
	uint8_t *udp_len = f.bytes + f.udp_off + 4;

	kit_route_all();
	for (uint32_t len = 0; len < 8; len++) {
		frame_put16(udp_len, len);
		expect(&f, HBUS_REASON_BAD_LENGTH);
	}
	frame_put16(udp_len, 8 + KIT_PAYLOAD_SIZE + 1);
	expect(&f, HBUS_REASON_BAD_LENGTH);
	frame_put16(udp_len, 8 + KIT_PAYLOAD_SIZE - 1);
	expect(&f, HBUS_REASON_ACCEPTED);
	frame_put16(udp_len, 8);
	expect(&f, HBUS_REASON_ACCEPTED);
	frame_put16(udp_len, 8 + KIT_PAYLOAD_SIZE);
	frame_put16(kit_ip(&f) + 2, 20 + 8 + KIT_PAYLOAD_SIZE + 1);
	expect(&f, HBUS_REASON_BAD_LENGTH);
	frame_put16(kit_ip(&f) + 2, 0xffff);
	expect(&f, HBUS_REASON_BAD_LENGTH);
}

Test(filter, allows_padding_behind_the_packet)
{
	struct frame f = kit_ipv4();

	kit_route_all();
	f.size = 1500;
	expect(&f, HBUS_REASON_ACCEPTED);
}

Test(filter, drops_bad_lengths_only_where_a_route_makes_them_ours)
{
	struct frame f = kit_ipv4();

	frame_put16(f.bytes + f.udp_off + 4, 3);
	expect(&f, HBUS_REASON_UNKNOWN_PORT);
}

/* Every prefix of a frame: not ours before its UDP header is whole, not right before all of it is. */
static void judge_prefixes(struct frame f)
{
	uint32_t size = f.size;

	for (f.size = 14; f.size <= size; f.size++)
		expect(&f, f.size < f.udp_off + 8 ? HBUS_REASON_TRUNCATED :
			   f.size < size	  ? HBUS_REASON_BAD_LENGTH :
						    HBUS_REASON_ACCEPTED);
}

Test(filter, judges_each_truncation)
{
	struct frame options, tagged_v6;

	frame_link(&options, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&options, 40, KIT_PORT, kit_payload, KIT_PAYLOAD_SIZE);
	frame_link(&tagged_v6, (const uint16_t[]){ 0x88a8, 0x8100 }, (const uint16_t[]){ 1, 2 }, 2,
		   0x86dd);
	frame_ipv6_udp(&tagged_v6, (const uint8_t[]){ 0, 43, 60, 60 }, 4, KIT_PORT, kit_payload,
		       KIT_PAYLOAD_SIZE);
	kit_route_all();
	judge_prefixes(kit_ipv4());
	judge_prefixes(kit_ipv6(NULL, 0));
	judge_prefixes(kit_tagged((const uint16_t[]){ 0x88a8, 0x8100 }, (const uint16_t[]){ 1, 2 }, 2));
	judge_prefixes(options);
	judge_prefixes(tagged_v6);
}

/* ---- sockets ------------------------------------------------------------------------------- */

Test(filter, passes_wanted_frames_to_the_kernel_while_there_is_no_socket)
{
	struct frame f = kit_ipv4();
	struct hbus_route_stats stats;
	uint32_t queue = 0;

	kit_route_all();
	cr_assert_eq(bpf_map_delete_elem(hbus_filter_sockets_fd(kit_filter), &queue), 0);
	expect(&f, HBUS_REASON_NO_SOCKET);
	cr_assert_eq(hbus_filter_route_stats_read(kit_filter, 0, 1, &stats), 0);
	cr_assert_eq(stats.no_socket, 1);
	cr_assert_eq(stats.accepted, 0);
}

/* ---- counters ------------------------------------------------------------------------------ */

Test(filter, counts_each_of_many_random_frames_once)
{
	struct hbus_reason_stats stats[HBUS_REASONS_MAX];
	struct hbus_route_stats routes[2];
	struct test_random random;
	uint64_t n_bytes = 0, n_counted = 0, n_counted_bytes = 0, n_routed = 0;
	const uint32_t n = 20000;

	test_random_init(&random, "filter");
	kit_route_all();
	for (uint32_t i = 0; i < n; i++) {
		struct frame f = i % 2 ? kit_ipv4() : kit_ipv6((const uint8_t[]){ 60 }, 1);

		for (uint32_t hits = test_random_below(&random, 4); hits > 0; hits--)
			f.bytes[test_random_below(&random, f.size)] =
				(uint8_t)test_random_next(&random);
		f.size = 14 + test_random_below(&random, f.size - 13);
		kit_run(f.bytes, f.size);
		n_bytes += f.size;
	}
	cr_assert_eq(hbus_filter_stats_read(kit_filter, stats), 0);
	for (uint32_t i = 0; i < HBUS_REASONS_MAX; i++) {
		n_counted += stats[i].packets;
		n_counted_bytes += stats[i].bytes;
	}
	cr_assert_eq(n_counted, n);
	cr_assert_eq(n_counted_bytes, n_bytes);

	cr_assert_eq(hbus_filter_route_stats_read(kit_filter, 0, 2, routes), 0);
	for (uint32_t i = 0; i < 2; i++)
		n_routed += routes[i].accepted + routes[i].bad_length;
	cr_assert_gt(n_routed, 0);
	cr_assert_eq(n_routed, stats[HBUS_REASON_ACCEPTED].packets +
				       stats[HBUS_REASON_BAD_LENGTH].packets);
}
