/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any frame under any few rules: the XDP program, compiled natively, and the worker in C say the same
 *
 * What XDP accepts C publishes, to the same route; what XDP turns away C turns away for the same reason. The frame is
 * judged twice, so that what the worker remembers of a flow is judged too. It lies before a page that cannot be
 * touched, and for the worker in memory of exactly its size. The rate is left out: it has a clock of its own.
 *
 * With a TCP stack in the ingress, what the claim in C takes is what XDP gives to the stack.
 *
 * An input is: number of routes (3 bits: 0..3 in effect) and of sources, whether there is a stack, then for each route 5 bytes (family, wanted and
 * address; length of prefix; VLAN; port; a byte of the address), for each source 3, then the frame.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Both have one of this name. */
#define hbus_route_lookup hbus_xdp_route_lookup
#include "ebpf/hbus_xdp.bpf.c"
#undef hbus_route_lookup

#include "dataplane/tcp/claim.h"
#include "dataplane/worker.h"

enum { ROUTES_MAX = 3, SOURCES_MAX = 2, FRAME_MAX = 4096, PAGE = 4096, NEVER = -1 };
/* Within 32 bits: so wide are the pointers in the context. */
#define FRAME_AREA ((void *)0x20000000)

static uint8_t *area;
static struct hbus_filter_config config;
static struct hbus_route_key route_keys[ROUTES_MAX];
static struct hbus_route_val route_vals[ROUTES_MAX];
static struct hbus_route_info route_infos[ROUTES_MAX];
static struct hbus_source_key source_keys[SOURCES_MAX];
static struct hbus_source_val source_vals[SOURCES_MAX];
static struct hbus_route_stats route_stats[ROUTES_MAX];
static struct hbus_reason_stats reason_stats[HBUS_REASONS_MAX];
static struct hbus_lately flows[HBUS_LATELY_MAX], senders[HBUS_LATELY_MAX];
static uint32_t n_routes, n_sources;
/* Two that differ in one bit, and one of the other family. */
static const struct hbus_claim stack = {
	.at = { { 0, HBUS_FAMILY_IPV4, { 10, 0, 0, 2 } }, { 0, HBUS_FAMILY_IPV4, { 10, 0, 0, 3 } },
		{ 0, HBUS_FAMILY_IPV6, { 0xfd, [15] = 2 } } },
	.n = 3,
};

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

/* ---- the kernel -------------------------------------------------------------------------- */

/* The longest prefix of all, bit by bit. Return: its index or NEVER. */
static int find_longest(const void *keys, size_t key_size, uint32_t n, const void *wanted)
{
	uint32_t best_len = 0, wanted_len;
	int best = NEVER;

	memcpy(&wanted_len, wanted, sizeof(wanted_len));
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *key = (const uint8_t *)keys + i * key_size, *bits = key + 4;
		const uint8_t *wanted_bits = (const uint8_t *)wanted + 4;
		uint32_t len, at = 0;

		memcpy(&len, key, sizeof(len));
		while (at < len && !((bits[at / 8] ^ wanted_bits[at / 8]) & 0x80 >> at % 8))
			at++;
		if (at < len || len > wanted_len || (best != NEVER && len <= best_len))
			continue;
		best = (int)i;
		best_len = len;
	}
	return best;
}

static const struct hbus_claim_address *find_owned(const struct hbus_stack_key *key)
{
	for (uint32_t i = 0; i < stack.n; i++)
		if (stack.at[i].family == key->family && memcmp(stack.at[i].addr, key->addr, sizeof(key->addr)) == 0)
			return &stack.at[i];
	return NULL;
}

void *bpf_map_lookup_elem(const void *map, const void *key)
{
	uint32_t idx;
	int found;

	if (map == (const void *)&hbus_routes) {
		found = find_longest(route_keys, sizeof(route_keys[0]), n_routes, key);
		return found == NEVER ? NULL : &route_vals[found];
	}
	if (map == (const void *)&hbus_sources) {
		found = find_longest(source_keys, sizeof(source_keys[0]), n_sources, key);
		return found == NEVER ? NULL : &source_vals[found];
	}
	if (map == (const void *)&hbus_stack)
		return (void *)(uintptr_t)find_owned(key);
	memcpy(&idx, key, sizeof(idx));
	if (map == (const void *)&hbus_config)
		return &config;
	if (map == (const void *)&hbus_route_info)
		return idx < n_routes ? &route_infos[idx] : NULL;
	if (map == (const void *)&hbus_rt_stats)
		return idx < n_routes ? &route_stats[idx] : NULL;
	if (map == (const void *)&hbus_stats)
		return idx < HBUS_REASONS_MAX ? &reason_stats[idx] : NULL;
	if (map == (const void *)&hbus_flows)
		return idx < HBUS_LATELY_MAX ? &flows[idx] : NULL;
	if (map == (const void *)&hbus_senders)
		return idx < HBUS_LATELY_MAX ? &senders[idx] : NULL;
	return NULL;
}

long bpf_map_update_elem(const void *map, const void *key, const void *value, __u64 flags)
{
	(void)map;
	(void)key;
	(void)value;
	(void)flags;
	abort(); /* only buckets are made, and there is no rate */
}

long bpf_redirect_map(const void *map, __u64 key, __u64 flags)
{
	(void)flags;
	require(map == (const void *)&xsks_map && key == 0);
	return XDP_REDIRECT;
}

__u64 bpf_ktime_get_ns(void)
{
	return 1;
}

__u64 bpf_ktime_get_coarse_ns(void)
{
	return bpf_ktime_get_ns();
}

__u64 bpf_xdp_get_buff_len(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

long bpf_xdp_load_bytes(struct xdp_md *ctx, __u32 off, void *to, __u32 size)
{
	uint64_t frame_size = ctx->data_end - ctx->data;

	if ((uint64_t)off + size > frame_size)
		return -1;
	memcpy(to, (const uint8_t *)(uintptr_t)ctx->data + off, size);
	return 0;
}

/* ---- the rules ---------------------------------------------------------------------------- */

struct input {
	const uint8_t *at, *end;
};

static uint8_t next(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

/* Of a small world, in which much overlaps: 10.0.0.x, fd00::x, and the frame's own whatever they are. */
static void take_addr(uint8_t addr[16], uint8_t family, uint8_t last, uint32_t prefix_len)
{
	memset(addr, 0, 16);
	addr[0] = family == HBUS_FAMILY_IPV4 ? 10 : 0xfd;
	addr[family == HBUS_FAMILY_IPV4 ? 3 : 15] = last;
	for (uint32_t bit = prefix_len; bit < 128; bit++)
		addr[bit / 8] &= (uint8_t)~(0x80 >> bit % 8);
}

static void take_route(struct input *in, struct hbus_plan_route *route, uint32_t i)
{
	uint8_t bits = next(in), len = next(in), vlan = next(in), port = next(in), last = next(in);
	struct hbus_route_match *match = &route->match;
	uint8_t route_class;

	*route = (struct hbus_plan_route){
		.topic = { .topic = i + 1, .counter_idx = i + 1, .is_wanted = bits & 2 } };
	match->family = bits & 1 ? HBUS_FAMILY_IPV6 : HBUS_FAMILY_IPV4;
	match->prefix_len = (uint8_t)(len % (match->family == HBUS_FAMILY_IPV4 ? 33 : 129));
	match->vlan = vlan % 4 == 3 ? HBUS_VLAN_ANY : vlan % 4;
	match->port = port % 2 ? (uint16_t)(5000 + port % 4) : HBUS_PORT_ANY;
	take_addr(match->addr, match->family, last, match->prefix_len);
	route_class = (uint8_t)((match->vlan != HBUS_VLAN_ANY ? HBUS_ROUTE_EXACT_VLAN : 0) |
				(match->port != HBUS_PORT_ANY ? HBUS_ROUTE_EXACT_PORT : 0));
	route_keys[i] = (struct hbus_route_key){
		.prefix_bits = HBUS_ROUTE_KEY_FIXED_BITS + match->prefix_len,
		.family = match->family,
		.route_class = route_class,
		.vlan = match->vlan == HBUS_VLAN_ANY ? 0 : bpf_htons(match->vlan),
		.port = bpf_htons(match->port),
	};
	memcpy(route_keys[i].addr, match->addr, sizeof(match->addr));
	route_vals[i] = (struct hbus_route_val){ .route_idx = i, .prefix_len = match->prefix_len };
	route_infos[i] = (struct hbus_route_info){ .topic = i + 1, .flags = bits & 2 ? HBUS_ROUTE_WANTED : 0 };
	config.classes_used |= HBUS_CLASS_BIT(match->family, route_class);
}

static void take_source(struct input *in, struct hbus_plan_source *source, uint32_t i)
{
	uint8_t bits = next(in), len = next(in), last = next(in);

	*source = (struct hbus_plan_source){ .family = bits & 1 ? HBUS_FAMILY_IPV6 : HBUS_FAMILY_IPV4,
					     .action = (bits >> 1) % 3 };
	source->prefix_len = (uint8_t)(len % (source->family == HBUS_FAMILY_IPV4 ? 33 : 129));
	take_addr(source->addr, source->family, last, source->prefix_len);
	source_keys[i] = (struct hbus_source_key){ .prefix_bits = HBUS_SOURCE_KEY_FIXED_BITS + source->prefix_len,
						   .family = source->family };
	memcpy(source_keys[i].addr, source->addr, sizeof(source->addr));
	source_vals[i] = (struct hbus_source_val){ .action = source->action };
	config.flags |= HBUS_CONFIG_HAS_SOURCES;
}

/* NULL: rules that contradict each other, which nobody can install. */
static struct hbus_plan *take_rules(struct input *in)
{
	struct hbus_plan_route routes[ROUTES_MAX] = { 0 };
	struct hbus_plan_source sources[SOURCES_MAX] = { 0 };
	struct hbus_plan_input input = { .routes = routes, .sources = sources };
	uint8_t head = next(in);
	struct hbus_plan *plan = NULL;

	config = (struct hbus_filter_config){ .generation = hbus_generation_next(config.generation) };
	n_routes = (head & 7) % (ROUTES_MAX + 1);
	n_sources = (head >> 3 & 3) % (SOURCES_MAX + 1);
	config.flags |= head >> 6 & 1 ? HBUS_CONFIG_HAS_STACK : 0;
	config.source_default = input.source_default = head >> 5 & 1 ? HBUS_SOURCE_DENY : HBUS_SOURCE_ALLOW;
	for (uint32_t i = 0; i < n_routes; i++)
		take_route(in, &routes[i], i);
	for (uint32_t i = 0; i < n_sources; i++)
		take_source(in, &sources[i], i);
	input.n_routes = n_routes;
	input.n_sources = n_sources;
	return hbus_plan_new(&input, &plan) == 0 ? plan : NULL;
}

/* ---- the two ------------------------------------------------------------------------------ */

struct verdict {
	uint32_t reason;
	int route; /* or NEVER */
};

static struct verdict judge_in_xdp(const uint8_t *bytes, uint32_t size)
{
	uint8_t *frame = area + FRAME_MAX - size;
	struct xdp_md ctx = { .data = (__u32)(uintptr_t)frame, .data_end = (__u32)(uintptr_t)(frame + size) };
	struct verdict verdict = { .reason = HBUS_REASONS_MAX, .route = NEVER };
	int action;

	memcpy(frame, bytes, size);
	memset(reason_stats, 0, sizeof(reason_stats));
	memset(route_stats, 0, sizeof(route_stats));
	action = hbus_xdp(&ctx);
	for (uint32_t i = 0; i < HBUS_REASONS_MAX; i++) {
		if (reason_stats[i].packets == 0)
			continue;
		require(verdict.reason == HBUS_REASONS_MAX && reason_stats[i].packets == 1 && reason_stats[i].bytes == size);
		verdict.reason = i;
	}
	require(verdict.reason < HBUS_N_REASONS);
	for (uint32_t i = 0; i < n_routes; i++)
		if (route_stats[i].accepted)
			verdict.route = (int)i;
	require((verdict.route != NEVER) == (verdict.reason == HBUS_REASON_ACCEPTED));
	require((action == XDP_REDIRECT) ==
		(verdict.reason == HBUS_REASON_ACCEPTED || verdict.reason == HBUS_REASON_STACK));
	return verdict;
}

static struct hbus_counter_cell cells[HBUS_N_WORKER_CELLS];
static int published;

static enum hbus_reason publish(struct hbus_sink *sink, uint32_t topic, const uint8_t *payload, uint32_t payload_size)
{
	(void)sink;
	for (uint32_t i = 0; i < payload_size; i++) /* all of it can be read */
		published = payload[i];
	published = (int)topic - 1;
	return HBUS_REASON_ACCEPTED;
}

static void commit(struct hbus_sink *sink)
{
	(void)sink;
}

static struct verdict judge_in_c(struct hbus_worker *worker, const struct hbus_plan *plan, const uint8_t *bytes, uint32_t size)
{
	static uint64_t now_ns;
	struct verdict verdict = { .reason = HBUS_REASONS_MAX };
	uint64_t before[HBUS_N_REASONS];
	uint8_t *copy = malloc(size ? size : 1);
	bool is_owned;

	memcpy(copy, bytes, size);
	for (uint32_t i = 0; i < HBUS_N_REASONS; i++)
		before[i] = hbus_counter_get(&cells[HBUS_CELL_FRAMES + i]);
	published = NEVER;
	is_owned = config.flags & HBUS_CONFIG_HAS_STACK && hbus_claim_find(&stack, 0, copy, size) >= 0;
	hbus_worker_begin(worker, plan, 1, now_ns += 1000);
	hbus_worker_frame(worker, copy, size, HBUS_WORKER_TRUST_IP | HBUS_WORKER_TRUST_UDP);
	hbus_worker_commit(worker);
	free(copy);
	for (uint32_t i = 0; i < HBUS_N_REASONS; i++) {
		if (hbus_counter_get(&cells[HBUS_CELL_FRAMES + i]) == before[i])
			continue;
		require(verdict.reason == HBUS_REASONS_MAX);
		verdict.reason = i;
	}
	verdict.route = published;
	/* The poll loop asks first, XDP last: they agree only when what is owned is nothing else. */
	require(!is_owned || verdict.reason == HBUS_REASON_NOT_IP || verdict.reason == HBUS_REASON_NOT_UDP);
	if (is_owned)
		verdict.reason = HBUS_REASON_STACK;
	return verdict;
}

static void prepare(struct hbus_worker *worker)
{
	static struct hbus_sink sink = { publish, commit };

	area = mmap(FRAME_AREA, FRAME_MAX + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	require(area == FRAME_AREA && mprotect(area + FRAME_MAX, PAGE, PROT_NONE) == 0);
	require(hbus_worker_init(worker, cells, &sink, 1) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hbus_worker worker;
	struct input in = { data, data + size };
	struct verdict in_xdp, in_c;
	struct hbus_plan *plan;
	uint32_t frame_size;

	if (!area)
		prepare(&worker);
	plan = take_rules(&in);
	frame_size = (uint32_t)(in.end - in.at);
	if (!plan || frame_size < 14 || frame_size > FRAME_MAX) {
		hbus_plan_free(plan);
		return 0;
	}
	/* Twice: the second time both remember what they have looked up. */
	for (int i = 0; i < 2; i++) {
		in_xdp = judge_in_xdp(in.at, frame_size);
		in_c = judge_in_c(&worker, plan, in.at, frame_size);
		require(in_c.reason == in_xdp.reason && in_c.route == in_xdp.route);
	}
	hbus_plan_free(plan);
	return 0;
}
