/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two filters, one verdict: what the XDP program and the poll loop's C say to the same frames and
 * the same routes, beside a matcher that simply tries every route. Without CAP_BPF each test is
 * skipped.
 */
#include <stdio.h>

#include "dataplane/mqttsn/door.h"
#include "dataplane/net.h"
#include "dataplane/route.h"
#include "dataplane/tcp/claim.h"
#include "tests/unit/filter_kit.h"
#include "tests/unit/random.h"

TestSuite(filter_agree, .init = kit_init, .fini = kit_deinit, .timeout = 60);

enum { N_FRAMES = 20000, N_STACK_FRAMES = 6000, N_ROUNDS = 20, N_ROUTES = 60, N_LOOKUPS = 300, NOTHING = -1 };

/* ---- headers --------------------------------------------------------------------------------- */

/* Steps 1 to 5 with a route for everything at KIT_PORT, in C, on a copy of exactly @size bytes. */
static uint32_t judge_in_c(const uint8_t *bytes, uint32_t size)
{
	struct hbus_packet packet;
	const uint8_t *payload;
	uint32_t payload_size;
	uint8_t *copy = malloc(size);
	uint32_t reason;

	memcpy(copy, bytes, size);
	reason = hbus_net_parse(copy, size, &packet);
	if (reason == HBUS_REASON_ACCEPTED && packet.port != KIT_PORT)
		reason = HBUS_REASON_UNKNOWN_PORT;
	else if (reason == HBUS_REASON_ACCEPTED)
		reason = hbus_net_check_length(&packet, &payload, &payload_size);
	free(copy);
	return reason;
}

static struct frame random_frame(struct test_random *random)
{
	static const uint16_t tpids[] = { 0x8100, 0x88a8 };
	static const uint8_t kinds[] = { 0, 43, 60, 44, 50, 51, 135, 139, 140, 17, 6, 59 };
	uint16_t some_tpids[3], some_tags[3];
	uint8_t some_kinds[6];
	uint32_t n_tags = test_random_below(random, 4), n_kinds = test_random_below(random, 7);
	bool is_v6 = test_random_below(random, 2);
	struct frame f;

	for (uint32_t i = 0; i < 3; i++) {
		some_tpids[i] = tpids[test_random_below(random, 2)];
		some_tags[i] = (uint16_t)test_random_next(random);
	}
	/* Mostly headers that are walked, or none would be walked far. */
	for (uint32_t i = 0; i < 6; i++)
		some_kinds[i] = kinds[test_random_below(random, test_random_below(random, 3) ? 3 : 12)];
	frame_link(&f, some_tpids, some_tags, n_tags, is_v6 ? 0x86dd : 0x0800);
	if (is_v6)
		frame_ipv6_udp(&f, some_kinds, n_kinds, KIT_PORT, kit_payload, KIT_PAYLOAD_SIZE);
	else
		frame_ipv4_udp(&f, n_kinds * 4, KIT_PORT, kit_payload, KIT_PAYLOAD_SIZE);
	return f;
}

/* Spoils up to three bytes of the headers, and sometimes cuts or pads. */
static void spoil(struct frame *f, struct test_random *random)
{
	for (uint32_t n = test_random_below(random, 4); n > 0; n--) {
		uint32_t at = 12 + test_random_below(random, f->size - 12);

		/* Small values are lengths, counts and kinds; others are noise. */
		f->bytes[at] = (uint8_t)(test_random_below(random, 2) ?
						 test_random_below(random, 70) :
						 test_random_next(random));
	}
	if (test_random_below(random, 3) == 0)
		f->size = 14 + test_random_below(random, f->size - 13);
	else if (test_random_below(random, 8) == 0)
		f->size += test_random_below(random, 40);
}

Test(filter_agree, on_the_headers_of_spoilt_frames)
{
	uint32_t n_by_reason[HBUS_REASONS_MAX] = { 0 };
	struct test_random random;

	test_random_init(&random, "filter_agree");
	kit_route_all();
	for (uint32_t i = 0; i < N_FRAMES; i++) {
		struct frame f = random_frame(&random);
		uint32_t in_c, in_xdp;

		spoil(&f, &random);
		in_c = judge_in_c(f.bytes, f.size);
		in_xdp = kit_judge(&f);
		if (in_c != in_xdp)
			for (uint32_t at = 0; at < f.size; at++)
				fprintf(stderr, "%02x%s", f.bytes[at], at + 1 < f.size ? "" : "\n");
		cr_assert_eq(in_c, in_xdp, "frame %u: C says %s, XDP says %s", i,
			     hbus_reason_name(in_c), hbus_reason_name(in_xdp));
		n_by_reason[in_c]++;
	}
	/* The frames were worth judging: no reason of theirs is rare. */
	for (uint32_t reason = HBUS_REASON_ACCEPTED; reason <= HBUS_REASON_BAD_LENGTH; reason++)
		cr_assert_gt(n_by_reason[reason], 20, "%u times %s", n_by_reason[reason],
			     hbus_reason_name(reason));
}

/* The IP packet ends somewhere in its extension headers, the frame goes on. */
Test(filter_agree, on_extension_headers_that_cross_the_end_of_their_packet)
{
	static const uint8_t kinds[] = { 0, 60, 43, 60 };

	kit_route_all();
	for (uint32_t n_kinds = 1; n_kinds <= 4; n_kinds++) {
		for (uint32_t ip_size = 0; ip_size <= n_kinds * 8 + 24; ip_size++) {
			for (uint8_t n_more = 0; n_more < 3; n_more++) {
				struct frame f;

				frame_link(&f, NULL, NULL, 0, 0x86dd);
				frame_ipv6_udp(&f, kinds, n_kinds, KIT_PORT, kit_payload, KIT_PAYLOAD_SIZE);
				frame_put16(kit_ip(&f) + 4, ip_size);
				kit_ip(&f)[40 + (n_kinds - 1) * 8 + 1] = n_more;
				f.size += 64;
				cr_assert_eq(judge_in_c(f.bytes, f.size), kit_judge(&f), "%u headers, %u bytes, %u more", n_kinds,
					     ip_size, n_more);
			}
		}
	}
}

/* ---- what a TCP stack owns -------------------------------------------------------------------- */

/* Addresses of which one differs from that of the frames in its last bit only. */
static const struct hbus_claim stack = {
	.at = {
		{ 0, HBUS_FAMILY_IPV4, { 10, 0, 0, 2 } },
		{ 0, HBUS_FAMILY_IPV4, { 10, 0, 0, 7 } },
		{ 0, HBUS_FAMILY_IPV6, { 0xfd, [15] = 2 } },
		{ 1, HBUS_FAMILY_IPV4, { 10, 0, 0, 3 } },
	},
	.n = 4,
};

static void own_addresses(void)
{
	for (uint32_t i = 0; i < stack.n; i++)
		if (stack.at[i].port_id == 0)
			cr_assert_eq(hbus_filter_stack_add(kit_filter, stack.at[i].family,
							   stack.at[i].addr), 0);
}

static uint32_t judge_with_stack(const uint8_t *bytes, uint32_t size)
{
	uint32_t reason = judge_in_c(bytes, size);
	uint8_t *copy = malloc(size);
	bool is_owned;

	memcpy(copy, bytes, size);
	is_owned = hbus_claim_find(&stack, 0, copy, size) >= 0;
	free(copy);
	/* The poll loop asks first, XDP last: they agree only when what is owned is nothing else. */
	cr_assert(!is_owned || reason == HBUS_REASON_NOT_IP || reason == HBUS_REASON_NOT_UDP,
		  "owned, but %s", hbus_reason_name(reason));
	return is_owned ? HBUS_REASON_STACK : reason;
}

static struct frame frame_arp(const uint8_t target[4])
{
	static const uint8_t begin[] = { 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1 };
	struct frame f;

	frame_link(&f, NULL, NULL, 0, 0x0806);
	memcpy(f.bytes + f.size, begin, sizeof(begin));
	memcpy(f.bytes + f.size + 24, target, 4);
	f.size += 28;
	return f;
}

/* The UDP frames of the kit made into another protocol; what is behind the IP header is noise. */
static struct frame frame_of_protocol(bool is_v6, uint8_t protocol, uint8_t first)
{
	struct frame f = is_v6 ? kit_ipv6(NULL, 0) : kit_ipv4();

	kit_ip(&f)[is_v6 ? 6 : 9] = protocol;
	f.size += 40;
	f.bytes[f.udp_off] = first;
	memcpy(f.bytes + f.udp_off + 8, (const uint8_t[16]){ 0xfd, [15] = 2 }, 16);
	return f;
}

static struct frame random_stack_frame(struct test_random *random)
{
	static const uint8_t firsts[] = { 8, 128, 135, 136, 0, 133, 3 };
	static const uint8_t protocols[] = { 6, 1, 58, 6, 17, 2 };
	uint8_t target[4] = { 10, 0, 0, (uint8_t)(2 + test_random_below(random, 2)) };

	if (test_random_below(random, 4) == 0)
		return frame_arp(target);
	return frame_of_protocol(test_random_below(random, 2),
				 protocols[test_random_below(random, 6)],
				 firsts[test_random_below(random, 7)]);
}

Test(filter_agree, on_what_a_tcp_stack_owns)
{
	uint32_t n_owned = 0;
	struct test_random random;

	test_random_init(&random, "filter_agree");
	kit_route_all();
	own_addresses();
	for (uint32_t i = 0; i < N_STACK_FRAMES; i++) {
		struct frame f = test_random_below(&random, 4) ? random_stack_frame(&random) :
								 random_frame(&random);
		uint32_t in_c, in_xdp;

		if (test_random_below(&random, 2))
			spoil(&f, &random);
		in_c = judge_with_stack(f.bytes, f.size);
		in_xdp = kit_judge(&f);
		if (in_c != in_xdp)
			for (uint32_t at = 0; at < f.size; at++)
				fprintf(stderr, "%02x%s", f.bytes[at], at + 1 < f.size ? "" : "\n");
		cr_assert_eq(in_c, in_xdp, "frame %u: C says %s, XDP says %s", i,
			     hbus_reason_name(in_c), hbus_reason_name(in_xdp));
		n_owned += in_c == HBUS_REASON_STACK;
	}
	cr_assert(n_owned > N_STACK_FRAMES / 8 && n_owned < N_STACK_FRAMES * 3 / 4, "%u owned", n_owned);
}

Test(filter_agree, that_the_kernel_keeps_what_no_stack_owns)
{
	struct frame tcp = frame_of_protocol(false, 6, 0), arp = frame_arp((const uint8_t[4]){ 10, 0, 0, 2 });

	kit_route_all();
	cr_assert_eq(kit_judge(&tcp), HBUS_REASON_NOT_UDP);
	own_addresses();
	cr_assert_eq(kit_judge(&tcp), HBUS_REASON_STACK);
	cr_assert_eq(kit_judge(&arp), HBUS_REASON_STACK);
	kit_ip(&tcp)[19] = 3;
	arp.bytes[arp.size - 1] = 3;
	cr_assert_eq(kit_judge(&tcp), HBUS_REASON_NOT_UDP);
	cr_assert_eq(kit_judge(&arp), HBUS_REASON_NOT_IP);
	kit_ip(&tcp)[19] = 2;
	cr_assert_eq(hbus_filter_stack_end(kit_filter), 0);
	cr_assert_eq(kit_judge(&tcp), HBUS_REASON_NOT_UDP);
}

/* ---- what is read passively ------------------------------------------------------------------- */

Test(filter_agree, that_tcp_to_others_is_tapped_and_the_rest_is_the_kernels)
{
	static const uint16_t ports[] = { 1883, 8883 };
	struct frame v4 = frame_of_protocol(false, 6, 0), v6 = frame_of_protocol(true, 6, 0), other;
	uint8_t own[6] = { 2, 9, 9, 9, 9, 9 };

	kit_route_all();
	frame_put16(v4.bytes + v4.udp_off + 2, 1883);
	frame_put16(v6.bytes + v6.udp_off + 2, 8883);
	cr_assert_eq(kit_judge(&v4), HBUS_REASON_NOT_UDP);
	cr_assert_eq(hbus_filter_tap_set(kit_filter, ports, 2, own), 0);
	cr_assert_eq(kit_judge(&v4), HBUS_REASON_TAPPED);
	cr_assert_eq(kit_judge(&v6), HBUS_REASON_TAPPED);
	/* Another port, another protocol, a fragment, the interface's own. */
	other = v4;
	frame_put16(other.bytes + other.udp_off + 2, 1884);
	cr_assert_eq(kit_judge(&other), HBUS_REASON_NOT_UDP);
	frame_put16(other.bytes + other.udp_off + 2, 0);
	cr_assert_eq(kit_judge(&other), HBUS_REASON_NOT_UDP);
	other = v4;
	kit_ip(&other)[9] = 2;
	cr_assert_eq(kit_judge(&other), HBUS_REASON_NOT_UDP);
	other = v4;
	kit_ip(&other)[6] = 0x20;
	cr_assert_eq(kit_judge(&other), HBUS_REASON_NOT_UDP);
	memcpy(own, v4.bytes, 6);
	cr_assert_eq(hbus_filter_tap_set(kit_filter, ports, 2, own), 0);
	cr_assert_eq(kit_judge(&v4), HBUS_REASON_NOT_UDP);
	own[5] ^= 1;
	cr_assert_eq(hbus_filter_tap_set(kit_filter, ports, 2, own), 0);
	cr_assert_eq(kit_judge(&v4), HBUS_REASON_TAPPED);
	/* What a stack owns is the stack's. */
	own_addresses();
	cr_assert_eq(kit_judge(&v4), HBUS_REASON_STACK);
	cr_assert_eq(hbus_filter_stack_end(kit_filter), 0);
	cr_assert_eq(hbus_filter_tap_set(kit_filter, NULL, 0, NULL), 0);
	cr_assert_eq(kit_judge(&v4), HBUS_REASON_NOT_UDP);
}

/* ---- routes ---------------------------------------------------------------------------------- */

static bool has_prefix(const uint8_t *addr, const struct hbus_route_match *match)
{
	for (uint32_t bit = 0; bit < match->prefix_len; bit++)
		if ((addr[bit / 8] ^ match->addr[bit / 8]) & 0x80 >> bit % 8)
			return false;
	return true;
}

static int64_t match_naively(const struct hbus_route_entry *routes, uint32_t n, uint8_t family,
			     const uint8_t *addr, uint16_t vlan, uint16_t port)
{
	int64_t best = NOTHING, best_rank = -1;

	for (uint32_t i = 0; i < n; i++) {
		const struct hbus_route_match *m = &routes[i].match;
		int64_t rank = m->prefix_len * 4 + (m->vlan != HBUS_VLAN_ANY) * 2 +
			       (m->port != HBUS_PORT_ANY);

		if (m->family != family || rank <= best_rank || !has_prefix(addr, m) ||
		    (m->vlan != HBUS_VLAN_ANY && m->vlan != vlan) ||
		    (m->port != HBUS_PORT_ANY && m->port != port))
			continue;
		best_rank = rank;
		best = routes[i].target;
	}
	return best;
}

/* Addresses, VLANs and ports of a small world, in which much overlaps. */
static void random_addr(struct test_random *random, uint8_t addr[16], uint8_t family)
{
	memset(addr, 0, 16);
	addr[0] = test_random_below(random, 2) ? 10 : 0xfd;
	for (uint32_t i = 1; i < (family == HBUS_FAMILY_IPV4 ? 4 : 16); i++)
		addr[i] = (uint8_t)(test_random_below(random, 2) * 0x81);
}

static void mask_addr(uint8_t addr[16], uint32_t prefix_len)
{
	for (uint32_t bit = prefix_len; bit < 128; bit++)
		addr[bit / 8] &= (uint8_t)~(0x80 >> bit % 8);
}

static uint16_t random_vlan(struct test_random *random)
{
	return (uint16_t)test_random_below(random, 3);
}

static uint16_t random_port(struct test_random *random)
{
	return (uint16_t)(KIT_PORT + test_random_below(random, 3));
}

static struct hbus_route_match random_match(struct test_random *random)
{
	struct hbus_route_match m = { 0 };

	m.family = test_random_below(random, 2) ? HBUS_FAMILY_IPV4 : HBUS_FAMILY_IPV6;
	m.prefix_len = (uint8_t)test_random_below(random, m.family == HBUS_FAMILY_IPV4 ? 33 : 129);
	m.vlan = test_random_below(random, 2) ? HBUS_VLAN_ANY : random_vlan(random);
	m.port = test_random_below(random, 2) ? HBUS_PORT_ANY : random_port(random);
	random_addr(random, m.addr, m.family);
	mask_addr(m.addr, m.prefix_len);
	return m;
}

/* Changes routes of the filter at random, as a living system does. Return: how many there are. */
static uint32_t change_routes(struct test_random *random, struct hbus_route_entry *ret_routes)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < 2 * N_ROUTES; i++) {
		struct hbus_route_match m = random_match(random);
		uint32_t idx = test_random_below(random, N_ROUTES);
		int ret;

		if (test_random_below(random, 4) == 0) {
			ret = hbus_filter_route_del(kit_filter, idx);
			cr_assert(ret == 0 || ret == -ENOENT, "%d", ret);
			continue;
		}
		ret = hbus_filter_route_set(kit_filter, idx, &m, 1, HBUS_ROUTE_WANTED);
		cr_assert(ret == 0 || ret == HBUS_FILTER_CONFLICT, "%d", ret);
	}
	for (uint32_t idx = 0; idx < N_ROUTES; idx++) {
		struct hbus_route_info info;

		if (hbus_filter_route_get(kit_filter, idx, &ret_routes[n].match, &info) == 0)
			ret_routes[n++].target = idx;
	}
	cr_assert_eq(n, hbus_filter_n_routes(kit_filter));
	return n;
}

/* @priority: the upper bits of a tag, which are no part of its id. */
static struct frame frame_to(uint8_t family, const uint8_t *addr, uint16_t vlan, uint16_t port, uint16_t priority)
{
	static const uint16_t tpid = 0x8100;
	uint16_t tag = (uint16_t)(priority << 12 | vlan);
	struct frame f;
	bool is_v4 = family == HBUS_FAMILY_IPV4;

	frame_link(&f, &tpid, &tag, tag ? 1 : 0, is_v4 ? 0x0800 : 0x86dd);
	if (is_v4)
		frame_ipv4_udp(&f, 0, port, kit_payload, KIT_PAYLOAD_SIZE);
	else
		frame_ipv6_udp(&f, NULL, 0, port, kit_payload, KIT_PAYLOAD_SIZE);
	memcpy(kit_ip(&f) + (is_v4 ? 16 : 24), addr, is_v4 ? 4 : 16);
	return f;
}

Test(filter_agree, on_the_routes_of_random_frames)
{
	struct hbus_route_entry routes[N_ROUTES];
	uint32_t n_found = 0, n_not = 0;
	struct test_random random;

	test_random_init(&random, "filter_agree");
	for (uint32_t round = 0; round < N_ROUNDS; round++) {
		uint32_t n = change_routes(&random, routes);
		struct hbus_route_table *table = NULL;

		cr_assert_eq(hbus_route_table_new(routes, n, NULL, &table), 0);
		for (uint32_t i = 0; i < N_LOOKUPS; i++) {
			uint8_t family = test_random_below(&random, 2) ? 4 : 6, addr[16];
			uint16_t vlan = random_vlan(&random), port = random_port(&random);
			int64_t want, in_c = NOTHING, in_xdp = NOTHING;
			uint32_t target;
			struct frame f;

			random_addr(&random, addr, family);
			want = match_naively(routes, n, family, addr, vlan, port);
			if (hbus_route_lookup(table, family, addr, vlan, port, &target))
				in_c = target;
			f = frame_to(family, addr, vlan, port, (uint16_t)test_random_below(&random, 16));
			target = kit_route_of(&f, N_ROUTES);
			if (target != HBUS_ROUTES_MAX)
				in_xdp = target;
			cr_assert_eq(in_c, want, "round %u: C %d, naively %d", round, (int)in_c,
				     (int)want);
			cr_assert_eq(in_xdp, want, "round %u: XDP %d, naively %d", round,
				     (int)in_xdp, (int)want);
			n_found += want != NOTHING;
			n_not += want == NOTHING;
		}
		hbus_route_table_free(table);
	}
	cr_assert_gt(n_found, 500, "%u", n_found);
	cr_assert_gt(n_not, 500, "%u", n_not);
}

/* ---- MQTT-SN ---------------------------------------------------------------------------------- */

enum { N_SN_FRAMES = 12000, N_SN_PEERS = 6, N_SN_IDS = 6, N_SN_NUMBERS = 40 };

static struct hbus_sn_paths *sn_paths;

static struct hbus_sn_peer sn_peer(uint32_t n)
{
	struct hbus_sn_peer peer = { .port = (uint16_t)(4000 + n % 2), .family = n % 3 ? 4 : 6,
				     .vlan = n & 1 ? 7 : 0 };

	peer.addr[0] = (uint8_t)(10 + n);
	return peer;
}

/* As the gateway does it: what can be published and nobody wants. */
static void set_quiet(void *context, const struct hbus_sn_peer *peer, uint8_t kind, uint16_t topic_id,
		      uint32_t number)
{
	struct hbus_sn_quiet_key key = { .port = __builtin_bswap16(peer->port),
					 .vlan = __builtin_bswap16(peer->vlan),
					 .topic_id = __builtin_bswap16(topic_id),
					 .family = peer->family, .kind = kind };
	bool is_quiet = hbus_sn_paths_can_publish(sn_paths, number) &&
			!hbus_sn_paths_is_wanted(sn_paths, number);

	(void)context;
	memcpy(key.addr, peer->addr, sizeof(key.addr));
	cr_assert_eq(hbus_filter_sn_quiet_set(kit_filter, &key, is_quiet), 0);
}

static void change_sn_topics(struct test_random *random)
{
	for (uint32_t number = 1; number < N_SN_NUMBERS; number++)
		hbus_sn_paths_topic(sn_paths, number, test_random_below(random, 5) > 0,
				    test_random_below(random, 2));
	hbus_sn_paths_each(sn_paths, set_quiet, NULL);
}

/* A message that is mostly a PUBLISH. Return: its size. */
static uint32_t random_message(struct test_random *random, uint8_t *room)
{
	static const uint8_t flags[] = { 0, 0, 0, 0x61, 0x62, 0x60, 1, 2, 3, 0x20, 0x40, 0x10, 0x80, 0x71, 4 };
	uint8_t fixed[5] = { flags[test_random_below(random, sizeof(flags))] };
	uint8_t data[300] = { 0 };
	uint32_t size;

	fixed[2] = (uint8_t)test_random_below(random, N_SN_IDS + 2);
	size = (uint32_t)hbus_sn_build(room, 400, test_random_below(random, 9) ? HBUS_SN_PUBLISH : 0x16,
				       fixed, sizeof(fixed), data,
				       test_random_below(random, 4) ? test_random_below(random, 5) :
								      test_random_below(random, 300));
	/* Three octets of length where one is enough; lengths that lie; and cut heads. */
	if (test_random_below(random, 6) == 0 && size < 200) {
		memmove(room + 2, room, size);
		size += 2;
		room[0] = 1;
		room[1] = 0;
		room[2] = (uint8_t)size;
	}
	if (test_random_below(random, 10) == 0)
		room[test_random_below(random, 4)] = (uint8_t)test_random_below(random, 12);
	if (test_random_below(random, 10) == 0)
		size = test_random_below(random, size + 1);
	return size;
}

static struct frame sn_frame(const struct hbus_sn_peer *peer, const uint8_t *message, uint32_t size)
{
	static const uint16_t tpid = 0x8100;
	bool is_v4 = peer->family == 4;
	struct frame f;

	frame_link(&f, &tpid, &peer->vlan, peer->vlan ? 1 : 0, is_v4 ? 0x0800 : 0x86dd);
	if (is_v4)
		frame_ipv4_udp(&f, 0, KIT_PORT, message, size);
	else
		frame_ipv6_udp(&f, NULL, 0, KIT_PORT, message, size);
	memcpy(kit_ip(&f) + (is_v4 ? 12 : 8), peer->addr, is_v4 ? 4 : 16);
	frame_put16(kit_ip(&f) + (is_v4 ? 20 : 40), peer->port);
	return f;
}

/* ACCEPTED or NO_INTEREST; *ret_is_common: a client's PUBLISH to everybody's identifier. */
static uint32_t judge_sn_in_c(const struct frame *f, bool *ret_is_common)
{
	struct hbus_sn_door door = { .paths = sn_paths };
	struct hbus_sn_publish_head head;
	struct hbus_sn_verdict verdict;
	struct hbus_packet packet;
	const uint8_t *payload;
	uint32_t size;

	cr_assert_eq(hbus_net_parse(f->bytes, f->size, &packet), HBUS_REASON_ACCEPTED);
	cr_assert_eq(hbus_net_check_length(&packet, &payload, &size), HBUS_REASON_ACCEPTED);
	verdict = hbus_sn_door_judge(&door, &packet, payload, size, 1);
	*ret_is_common = hbus_sn_publish_head(payload, size, &head) && (head.flags & 0x60) == 0 &&
			 (head.flags & 3) != 0;
	return verdict.number && !verdict.is_wanted ? HBUS_REASON_NO_INTEREST : HBUS_REASON_ACCEPTED;
}

Test(filter_agree, on_what_mqttsn_clients_publish_and_nobody_wants)
{
	struct hbus_route_match any = { .family = HBUS_FAMILY_IPV4, .vlan = HBUS_VLAN_ANY, .port = KIT_PORT };
	uint32_t n_quiet = 0, n_loud = 0, n_up = 0;
	struct test_random random;

	test_random_init(&random, "filter_agree");
	cr_assert_eq(hbus_sn_paths_new(test_random_next(&random), N_SN_IDS, &sn_paths), 0);
	cr_assert_eq(hbus_filter_route_set(kit_filter, 0, &any, 0, HBUS_ROUTE_WANTED | HBUS_ROUTE_MQTTSN), 0);
	any.family = HBUS_FAMILY_IPV6;
	cr_assert_eq(hbus_filter_route_set(kit_filter, 1, &any, 0, HBUS_ROUTE_WANTED | HBUS_ROUTE_MQTTSN), 0);
	for (uint32_t n = 0; n < N_SN_PEERS - 2; n++) {
		struct hbus_sn_peer peer = sn_peer(n);

		hbus_sn_paths_open(sn_paths, &peer);
		for (uint16_t id = 1; id <= N_SN_IDS; id++)
			hbus_sn_paths_set(sn_paths, &peer, id, test_random_below(&random, N_SN_NUMBERS));
	}
	for (uint16_t id = 1; id < 4; id++) {
		hbus_sn_paths_common_set(sn_paths, HBUS_SN_KIND_PREDEFINED, id, id);
		hbus_sn_paths_common_set(sn_paths, HBUS_SN_KIND_SHORT, id, id + 10U);
	}
	for (uint32_t i = 0; i < N_SN_FRAMES; i++) {
		struct hbus_sn_peer peer = sn_peer(test_random_below(&random, N_SN_PEERS));
		uint8_t message[400];
		uint32_t size, in_c, in_xdp;
		struct frame f;
		bool is_common;

		if (i % 1000 == 0)
			change_sn_topics(&random);
		size = random_message(&random, message);
		f = sn_frame(&peer, message, size);
		in_c = judge_sn_in_c(&f, &is_common);
		in_xdp = kit_judge(&f);
		/* What XDP lets up because it does not know, C drops for the same reason. */
		if (is_common && in_c == HBUS_REASON_NO_INTEREST) {
			cr_assert_eq(in_xdp, HBUS_REASON_ACCEPTED);
			n_up++;
			continue;
		}
		cr_assert_eq(in_c, in_xdp, "frame %u: C says %s, XDP says %s", i, hbus_reason_name(in_c),
			     hbus_reason_name(in_xdp));
		n_quiet += in_c == HBUS_REASON_NO_INTEREST;
		n_loud += in_c == HBUS_REASON_ACCEPTED;
	}
	cr_assert_gt(n_quiet, 500, "%u", n_quiet);
	cr_assert_gt(n_loud, 500, "%u", n_loud);
	cr_assert_gt(n_up, 20, "%u", n_up);
	sn_paths = hbus_sn_paths_free(sn_paths);
}

Test(filter_agree, on_a_dropped_publish_being_a_sign_of_life)
{
	const struct hbus_route_match any = { .family = HBUS_FAMILY_IPV4, .vlan = HBUS_VLAN_ANY,
					      .port = KIT_PORT };
	const uint8_t publish[] = { 8, HBUS_SN_PUBLISH, 0, 0, 3, 0, 0, 'x' };
	struct hbus_sn_quiet_key key = { .port = __builtin_bswap16(4001), .topic_id = __builtin_bswap16(3),
					 .family = 4, .addr = { 11 } };
	struct hbus_sn_peer peer = { .addr = { 11 }, .port = 4001, .family = 4 };
	uint64_t seen_ns = 1;
	struct frame f = sn_frame(&peer, publish, sizeof(publish));

	cr_assert_eq(hbus_filter_route_set(kit_filter, 0, &any, 0, HBUS_ROUTE_WANTED | HBUS_ROUTE_MQTTSN), 0);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_ACCEPTED);
	cr_assert_eq(hbus_filter_sn_quiet_set(kit_filter, &key, true), 0);
	cr_assert_eq(hbus_filter_sn_quiet_seen(kit_filter, &key, &seen_ns), 0);
	cr_assert_eq(seen_ns, 0);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_NO_INTEREST);
	cr_assert_eq(hbus_filter_sn_quiet_seen(kit_filter, &key, &seen_ns), 0);
	cr_assert_gt(seen_ns, 0);
	cr_assert_eq(hbus_filter_sn_quiet_set(kit_filter, &key, true), 0);
	cr_assert_eq(hbus_filter_sn_quiet_set(kit_filter, &key, false), 0);
	cr_assert_eq(hbus_filter_sn_quiet_set(kit_filter, &key, false), 0);
	cr_assert_eq(kit_judge(&f), HBUS_REASON_ACCEPTED);
}
