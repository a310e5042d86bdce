/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of MQTT over TCP needs neither lwIP nor a port: addresses as they are written, checksums,
 * neighbours.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "dataplane/tcp/acks.h"
#include "dataplane/tcp/address.h"
#include "dataplane/tcp/neighbour.h"
#include "dataplane/tcp/sums.h"
#include "ebpf/filter_abi.h"
#include "tests/unit/frames.h"

/* ---- addresses ------------------------------------------------------------------------- */

Test(tcp_address, is_read_with_prefix_and_interface)
{
	struct hbus_tcp_address a;

	cr_assert_eq(hbus_tcp_address_parse("192.0.2.9/24", &a), 0);
	cr_assert(a.family == HBUS_FAMILY_IPV4 && a.prefix_len == 24 && a.iface[0] == '\0');
	cr_assert_eq(memcmp(a.addr, (uint8_t[16]){ 192, 0, 2, 9 }, 16), 0);
	cr_assert_eq(hbus_tcp_address_parse("2001:db8::9/128%net_memif0", &a), 0);
	cr_assert(a.family == HBUS_FAMILY_IPV6 && a.prefix_len == 128);
	cr_assert_eq(memcmp(a.addr, (uint8_t[16]){ 0x20, 1, 0x0d, 0xb8, [15] = 9 }, 16), 0);
	cr_assert_str_eq(a.iface, "net_memif0");
}

Test(tcp_address, that_is_no_hosts_is_refused)
{
	static const char *const bad[] = {
		"",		"192.0.2.9",	"192.0.2.9/",	 "192.0.2.9/33",   "192.0.2.9/-1",
		"192.0.2.9/24x", "192.0.2/24",	"0.0.0.0/0",	 "127.0.0.1/8",	   "224.0.0.1/4",
		"255.255.255.255/32", "0.1.2.3/8", "::/0",	 "::1/128",	   "ff02::1/64",
		"fd77::9/129",	"fd77::g/64",	"192.0.2.9/24%", "x/24",	   "/24",
	};
	struct hbus_tcp_address a = { .prefix_len = 77 };
	char longest[300];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_lt(hbus_tcp_address_parse(bad[i], &a), 0, "%s", bad[i]);
	memset(longest, '1', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	cr_assert_lt(hbus_tcp_address_parse(longest, &a), 0);
	memcpy(longest, "192.0.2.9/24%", 13);
	longest[13 + 64] = '\0';
	cr_assert_lt(hbus_tcp_address_parse(longest, &a), 0);
	longest[13 + 63] = '\0';
	cr_assert_eq(a.prefix_len, 77, "written although refused");
	cr_assert_eq(hbus_tcp_address_parse(longest, &a), 0);
}

/* ---- checksums ------------------------------------------------------------------------- */

/* A UDP frame made into a TCP one: the payload of it is the segment. */
static struct frame tcp_frame(bool is_v6, uint32_t payload_size)
{
	struct frame f;
	uint8_t segment[1500] = { 0 }, *ip, *tcp;
	uint32_t size = 20 + payload_size, sum;

	for (uint32_t i = 0; i < size; i++)
		segment[i] = (uint8_t)(i * 7);
	frame_link(&f, NULL, NULL, 0, is_v6 ? 0x86dd : 0x0800);
	if (is_v6)
		frame_ipv6_udp(&f, NULL, 0, 1, segment, size);
	else
		frame_ipv4_udp(&f, 0, 1, segment, size);
	ip = f.bytes + f.ip_off;
	ip[is_v6 ? 6 : 9] = 6;
	frame_put16(ip + (is_v6 ? 4 : 2), (is_v6 ? 0 : 20) + size);
	f.size -= 8;
	tcp = f.bytes + f.udp_off;
	memcpy(tcp, segment, size);
	frame_put16(tcp + 16, 0);
	sum = frame_sum(6 + size, ip + (is_v6 ? 8 : 12), is_v6 ? 32 : 8);
	frame_put16(tcp + 16, ~frame_sum(sum, tcp, size) & 0xffff);
	return f;
}

static void leave_to_hardware(struct frame *f, bool is_v6)
{
	uint8_t *ip = f->bytes + f->ip_off;
	uint32_t size = f->size - f->udp_off;

	frame_put16(f->bytes + f->udp_off + 16,
		    frame_sum(6 + size, ip + (is_v6 ? 8 : 12), is_v6 ? 32 : 8));
}

Test(tcp_sums, are_judged_and_finished_for_both_families_and_all_sizes)
{
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		for (uint32_t size = 0; size < 70; size++) {
			struct frame f = tcp_frame(is_v6, size), spoilt = f;

			cr_assert_eq(hbus_sums_tcp(f.bytes, f.size), 0, "IPv%d, %u", is_v6 ? 6 : 4, size);
			spoilt.bytes[spoilt.size - 1] ^= 0x10;
			cr_assert_eq(hbus_sums_tcp(spoilt.bytes, spoilt.size), HBUS_SUMS_BAD);
			spoilt = f;
			leave_to_hardware(&spoilt, is_v6);
			cr_assert_eq(hbus_sums_tcp(spoilt.bytes, spoilt.size), HBUS_SUMS_UNFINISHED);
			hbus_sums_finish(spoilt.bytes, spoilt.size);
			cr_assert_eq(memcmp(spoilt.bytes, f.bytes, f.size), 0);
		}
	}
}

Test(tcp_sums, do_not_count_what_lies_behind_the_packet)
{
	struct frame f = tcp_frame(false, 5);

	memset(f.bytes + f.size, 0xaa, 20);
	cr_assert_eq(hbus_sums_tcp(f.bytes, f.size + 20), 0);
}

Test(tcp_sums, see_a_segment_that_is_cut)
{
	struct frame f = tcp_frame(true, 30), g = tcp_frame(false, 30);

	cr_assert_eq(hbus_sums_tcp(f.bytes, f.size - 1), HBUS_SUMS_SHORT);
	cr_assert_eq(hbus_sums_tcp(g.bytes, g.size - 1), HBUS_SUMS_SHORT);
	/* Of other protocols nothing is said. */
	g.bytes[g.ip_off + 9] = 17;
	cr_assert_eq(hbus_sums_tcp(g.bytes, g.size), 0);
}

/* ---- acknowledgements --------------------------------------------------------------------- */

static void set_ack(struct frame *f, uint32_t ack, uint16_t window)
{
	uint8_t *tcp = f->bytes + f->udp_off;

	tcp[12] = 0x50;
	tcp[13] = 0x10;
	frame_put16(tcp + 8, ack >> 16);
	frame_put16(tcp + 10, ack & 0xffff);
	frame_put16(tcp + 14, window);
}

Test(tcp_acks, are_replaced_by_those_that_say_more)
{
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		struct frame before = tcp_frame(is_v6, 0), after = before, data = tcp_frame(is_v6, 1);

		set_ack(&before, 0xfffffff0, 100);
		set_ack(&after, 5, 90);
		cr_assert(hbus_ack_replaces(after.bytes, after.size, before.bytes, before.size, false));
		cr_assert_not(hbus_ack_replaces(before.bytes, before.size, after.bytes, after.size, true), "back");
		/* The same number: a repetition, or more room. */
		set_ack(&after, 0xfffffff0, 100);
		cr_assert_not(hbus_ack_replaces(after.bytes, after.size, before.bytes, before.size, true));
		set_ack(&after, 0xfffffff0, 101);
		cr_assert(hbus_ack_replaces(after.bytes, after.size, before.bytes, before.size, true));
		cr_assert_not(hbus_ack_replaces(after.bytes, after.size, before.bytes, before.size, false));
		/* Data, another flag, another connection. */
		set_ack(&data, 5, 90);
		cr_assert_not(hbus_ack_replaces(data.bytes, data.size, before.bytes, before.size, true));
		cr_assert_not(hbus_ack_replaces(data.bytes, data.size, data.bytes, data.size, true));
		for (uint32_t at = 0; at < before.size; at++) {
			bool may_differ = at >= before.udp_off + 14 || (at >= before.udp_off + 8 && at < before.udp_off + 12) ||
					  (at >= before.ip_off + !is_v6 && at < before.udp_off - (is_v6 ? 32 : 8) && at != before.ip_off + (is_v6 ? 6 : 9));

			set_ack(&after, 5, 90);
			after.bytes[at] ^= 4;
			cr_assert(may_differ || !hbus_ack_replaces(after.bytes, after.size, before.bytes, before.size, true), "byte %u", at);
			after.bytes[at] ^= 4;
		}
	}
}

/* ---- neighbours ------------------------------------------------------------------------ */

static const uint64_t secret[2] = { 1, 2 };
static const uint8_t here[6] = { 2, 0, 0, 0, 0, 1 }, there[6] = { 2, 0, 0, 0, 0, 2 };

static struct hbus_neighbours *new_table(void)
{
	struct hbus_neighbours *table;

	cr_assert_eq(hbus_neighbours_new(secret, &table), 0);
	return table;
}

Test(neighbours, are_found_where_they_were_heard)
{
	struct hbus_neighbours *table = new_table();
	const uint8_t ip[16] = { 10, 0, 0, 1 };

	cr_assert_null(hbus_neighbours_find(table, HBUS_FAMILY_IPV4, ip));
	hbus_neighbours_hear(table, HBUS_FAMILY_IPV4, ip, here, 0);
	cr_assert_eq(memcmp(hbus_neighbours_find(table, HBUS_FAMILY_IPV4, ip), here, 6), 0);
	cr_assert_null(hbus_neighbours_find(table, HBUS_FAMILY_IPV6, ip));
	hbus_neighbours_free(table);
}

Test(neighbours, move_only_when_their_old_place_is_silent)
{
	struct hbus_neighbours *table = new_table();
	const uint8_t ip[16] = { 10, 0, 0, 1 };

	hbus_neighbours_hear(table, HBUS_FAMILY_IPV4, ip, here, 1000);
	hbus_neighbours_hear(table, HBUS_FAMILY_IPV4, ip, there, 1000 + HBUS_NEIGHBOUR_MOVE_MS - 1);
	cr_assert_eq(memcmp(hbus_neighbours_find(table, HBUS_FAMILY_IPV4, ip), here, 6), 0);
	hbus_neighbours_hear(table, HBUS_FAMILY_IPV4, ip, there, 1000 + HBUS_NEIGHBOUR_MOVE_MS);
	cr_assert_eq(memcmp(hbus_neighbours_find(table, HBUS_FAMILY_IPV4, ip), there, 6), 0);
	hbus_neighbours_free(table);
}

Test(neighbours, heard_last_stay_when_there_are_too_many)
{
	struct hbus_neighbours *table = new_table();
	uint8_t ip[16] = { 0 };
	uint32_t n_found = 0;

	for (uint32_t i = 0; i < 3 * HBUS_NEIGHBOURS_MAX; i++) {
		memcpy(ip, &i, sizeof(i));
		hbus_neighbours_hear(table, HBUS_FAMILY_IPV6, ip, here, i);
		cr_assert_not_null(hbus_neighbours_find(table, HBUS_FAMILY_IPV6, ip));
	}
	for (uint32_t i = 0; i < 3 * HBUS_NEIGHBOURS_MAX; i++) {
		memcpy(ip, &i, sizeof(i));
		n_found += hbus_neighbours_find(table, HBUS_FAMILY_IPV6, ip) != NULL;
	}
	cr_assert_eq(n_found, HBUS_NEIGHBOURS_MAX);
	hbus_neighbours_free(table);
}

Test(neighbours, are_learned_from_frames_of_hosts_only)
{
	struct hbus_neighbours *table = new_table();
	struct frame f = tcp_frame(false, 0);
	const uint8_t ip[16] = { 10, 0, 0, 1 }, group[16] = { 224, 0, 0, 1 };

	f.bytes[6] |= 1; /* a group's Ethernet address */
	hbus_neighbours_learn(table, f.bytes, f.size, 5);
	cr_assert_null(hbus_neighbours_find(table, HBUS_FAMILY_IPV4, ip));
	f.bytes[6] &= 0xfe;
	hbus_neighbours_learn(table, f.bytes, 30, 5);
	cr_assert_null(hbus_neighbours_find(table, HBUS_FAMILY_IPV4, ip));
	hbus_neighbours_learn(table, f.bytes, f.size, 5);
	cr_assert_eq(memcmp(hbus_neighbours_find(table, HBUS_FAMILY_IPV4, ip), f.bytes + 6, 6), 0);
	memcpy(f.bytes + f.ip_off + 12, group, 4);
	hbus_neighbours_learn(table, f.bytes, f.size, 5);
	cr_assert_null(hbus_neighbours_find(table, HBUS_FAMILY_IPV4, group));
	hbus_neighbours_free(table);
}
