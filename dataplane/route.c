/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Immutable route tables: one open-addressing hash table for each prefix length in use.
 * Built by the control thread, read by lcores, never changed in between.
 */
#include "dataplane/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An address as two words in host order; an IPv4 address sits in the top 32 bits of hi. */
struct address {
	uint64_t hi;
	uint64_t lo;
};

struct slot {
	struct address addr;
	uint32_t service;            /* vlan << 16 | port, wildcards in their own encoding */
	uint32_t target;
	bool is_used;
};

/* Which of the four kinds of service occur at a length, so that the others are not probed. */
enum {
	KIND_VLAN_ANY = 1u << 1,
	KIND_PORT_ANY = 1u << 0,
	N_KINDS = 4,
};

/* How a kind of service is asked for: what it keeps of VLAN and port, and what it puts there. */
struct probe {
	uint32_t keep;
	uint32_t set;
};

struct level {
	struct address mask;
	struct slot *slots;
	uint32_t slots_mask;         /* size - 1, the size is a power of two */
	uint32_t kinds;              /* bit k: routes of kind k exist */
	uint32_t n_probes;
	struct probe probes[N_KINDS]; /* in the match order: exact VLAN first, in it exact port first */
};

/* Levels in the order of the search: the longest prefix first. */
struct family {
	uint32_t n_levels;
	struct level levels[129];
};

struct hbus_route_table {
	struct family v4;
	struct family v6;
};

static uint64_t load_be64(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return __builtin_bswap64(word);
}

static inline struct address load_address(uint8_t family, const uint8_t *bytes)
{
	uint32_t word;

	if (family == HBUS_FAMILY_IPV6)
		return (struct address){ load_be64(bytes), load_be64(bytes + 8) };
	memcpy(&word, bytes, sizeof(word));
	return (struct address){ (uint64_t)__builtin_bswap32(word) << 32, 0 };
}

static struct address prefix_mask(uint32_t len)
{
	struct address mask = { 0, 0 };

	if (len >= 64)
		mask.hi = UINT64_MAX;
	else if (len > 0)
		mask.hi = UINT64_MAX << (64 - len);
	if (len >= 128)
		mask.lo = UINT64_MAX;
	else if (len > 64)
		mask.lo = UINT64_MAX << (128 - len);
	return mask;
}

static uint32_t make_service(uint16_t vlan, uint16_t port)
{
	return (uint32_t)vlan << 16 | port;
}

static uint32_t route_kind(const struct hbus_route_entry *route)
{
	return (route->match.vlan == HBUS_VLAN_ANY ? KIND_VLAN_ANY : 0u) |
	       (route->match.port == HBUS_PORT_ANY ? KIND_PORT_ANY : 0u);
}

/* Chains depend on the routes alone, which the administrator chose, so no secret is needed. */
static inline uint32_t hash(struct address addr, uint32_t service)
{
	uint64_t word = addr.hi * 0x9e3779b97f4a7c15u;

	word ^= (addr.lo + service) * 0xc2b2ae3d27d4eb4fu;
	word ^= word >> 32;
	word *= 0xd6e8feb86659fd93u;
	return (uint32_t)(word >> 32);
}

/* The slot that holds the key, or the free one where it belongs: a table is half empty. */
static inline struct slot *find_slot(const struct level *level, struct address addr, uint32_t service)
{
	uint32_t idx = hash(addr, service);

	for (;; idx++) {
		struct slot *slot = &level->slots[idx & level->slots_mask];

		if (!slot->is_used)
			return slot;
		if (slot->service == service && slot->addr.hi == addr.hi &&
		    slot->addr.lo == addr.lo)
			return slot;
	}
}

static int check_route(const struct hbus_route_entry *route)
{
	struct address addr, mask;

	if (route->match.family != HBUS_FAMILY_IPV4 && route->match.family != HBUS_FAMILY_IPV6)
		return HBUS_ROUTE_BAD_FAMILY;
	if (route->match.prefix_len > (route->match.family == HBUS_FAMILY_IPV4 ? 32 : 128))
		return HBUS_ROUTE_BAD_PREFIX;
	if (route->match.vlan > HBUS_ROUTE_VLAN_MAX && route->match.vlan != HBUS_VLAN_ANY)
		return HBUS_ROUTE_BAD_VLAN;

	addr = load_address(route->match.family, route->match.addr);
	mask = prefix_mask(route->match.prefix_len);
	if ((addr.hi & ~mask.hi) != 0 || (addr.lo & ~mask.lo) != 0)
		return HBUS_ROUTE_BAD_PREFIX;
	return 0;
}

static int level_init(struct level *level, uint32_t prefix_len, size_t n_routes)
{
	uint32_t size = 2;

	while (size < n_routes * 2)
		size *= 2;
	level->slots = calloc(size, sizeof(*level->slots));
	if (!level->slots)
		return -ENOMEM;
	level->slots_mask = size - 1;
	level->mask = prefix_mask(prefix_len);
	return 0;
}

static int level_insert(struct level *level, const struct hbus_route_entry *route)
{
	struct address addr = load_address(route->match.family, route->match.addr);
	uint32_t service = make_service(route->match.vlan, route->match.port);
	struct slot *slot = find_slot(level, addr, service);

	if (slot->is_used)
		return HBUS_ROUTE_DUPLICATE;
	*slot = (struct slot){ addr, service, route->target, true };
	level->kinds |= 1u << route_kind(route);
	return 0;
}

/* Kinds in rising order are the match order. */
static void level_finish(struct level *level)
{
	for (uint32_t kind = 0; kind < N_KINDS; kind++) {
		uint32_t any = make_service(kind & KIND_VLAN_ANY ? 0xffff : 0,
					    kind & KIND_PORT_ANY ? 0xffff : 0);

		if (!(level->kinds & 1u << kind))
			continue;
		level->probes[level->n_probes++] = (struct probe){
			.keep = ~any,
			.set = make_service(HBUS_VLAN_ANY, HBUS_PORT_ANY) & any,
		};
	}
}

/* Makes the levels of one family, empty, and tells which level a prefix length has. */
static int family_init(struct family *family, uint8_t number, const struct hbus_route_entry *routes,
		       size_t n, struct level *ret_by_len[static 129])
{
	size_t counts[129] = { 0 };

	for (size_t i = 0; i < n; i++)
		if (routes[i].match.family == number)
			counts[routes[i].match.prefix_len]++;

	for (uint32_t len = 129; len-- > 0;) {
		struct level *level = &family->levels[family->n_levels];

		if (counts[len] == 0)
			continue;
		if (level_init(level, len, counts[len]) < 0)
			return -ENOMEM;
		ret_by_len[len] = level;
		family->n_levels++;
	}
	return 0;
}

static int table_fill(struct hbus_route_table *table, const struct hbus_route_entry *routes,
		      size_t n, size_t *ret_bad_idx)
{
	struct level *v4[129], *v6[129];
	int r;

	r = family_init(&table->v4, HBUS_FAMILY_IPV4, routes, n, v4);
	if (r == 0)
		r = family_init(&table->v6, HBUS_FAMILY_IPV6, routes, n, v6);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct level **by_len = routes[i].match.family == HBUS_FAMILY_IPV4 ? v4 : v6;

		*ret_bad_idx = i;
		r = level_insert(by_len[routes[i].match.prefix_len], &routes[i]);
	}
	for (uint32_t i = 0; i < table->v4.n_levels; i++)
		level_finish(&table->v4.levels[i]);
	for (uint32_t i = 0; i < table->v6.n_levels; i++)
		level_finish(&table->v6.levels[i]);
	return r;
}

int hbus_route_table_new(const struct hbus_route_entry *routes, size_t n, size_t *ret_bad_idx,
			 struct hbus_route_table **ret_table)
{
	struct hbus_route_table *table;
	size_t bad_idx = 0;
	int r = 0;

	if (n > HBUS_ROUTE_N_MAX) {
		bad_idx = HBUS_ROUTE_N_MAX;
		r = HBUS_ROUTE_TOO_MANY;
	}
	for (size_t i = 0; i < n && r == 0; i++) {
		bad_idx = i;
		r = check_route(&routes[i]);
	}
	if (r > 0)
		goto bad;

	table = calloc(1, sizeof(*table));
	if (!table)
		return -ENOMEM;
	r = table_fill(table, routes, n, &bad_idx);
	if (r == 0) {
		*ret_table = table;
		return 0;
	}
	hbus_route_table_free(table);
bad:
	if (r > 0 && ret_bad_idx)
		*ret_bad_idx = bad_idx;
	return r;
}

static void family_deinit(struct family *family)
{
	for (uint32_t i = 0; i < family->n_levels; i++)
		free(family->levels[i].slots);
}

struct hbus_route_table *hbus_route_table_free(struct hbus_route_table *table)
{
	if (!table)
		return NULL;
	family_deinit(&table->v4);
	family_deinit(&table->v6);
	free(table);
	return NULL;
}

static inline bool level_lookup(const struct level *level, struct address addr, uint32_t service,
				uint32_t *ret_target)
{
	addr.hi &= level->mask.hi;
	addr.lo &= level->mask.lo;

	for (uint32_t i = 0; i < level->n_probes; i++) {
		const struct probe *probe = &level->probes[i];
		const struct slot *slot = find_slot(level, addr, (service & probe->keep) | probe->set);

		if (slot->is_used) {
			*ret_target = slot->target;
			return true;
		}
	}
	return false;
}

bool hbus_route_lookup(const struct hbus_route_table *table, uint8_t family, const uint8_t *addr,
		       uint16_t vlan, uint16_t port, uint32_t *ret_target)
{
	const struct family *levels = family == HBUS_FAMILY_IPV4 ? &table->v4 : &table->v6;
	struct address key = load_address(family, addr);
	uint32_t service = make_service(vlan, port);

	for (uint32_t i = 0; i < levels->n_levels; i++)
		if (level_lookup(&levels->levels[i], key, service, ret_target))
			return true;
	return false;
}
