/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is in the maps of a filter: routes, interest, source rules, rate, counters.
 *
 * The handle remembers the routes and the configuration, so that a change costs the system calls
 * for what changes and no search. Order of writes is such that the program never sees half a
 * change: a route's flags stand before the trie shows the route, a class is looked up before it
 * has its first route and as long as it has one.
 */
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>

#include "ebpf/loader_pvt.h"

#define HBUS_NS_PER_S 1000000000U

/* ---- small things ---------------------------------------------------------------------- */

static bool hbus_family_is_valid(uint8_t family, uint8_t prefix_len)
{
	return (family == HBUS_FAMILY_IPV4 && prefix_len <= 32) ||
	       (family == HBUS_FAMILY_IPV6 && prefix_len <= 128);
}

static size_t hbus_addr_size(uint8_t family)
{
	return family == HBUS_FAMILY_IPV4 ? 4 : 16;
}

/* Copies @prefix_len bits of @addr; the rest of @ret_addr is 0. */
static void hbus_addr_mask(uint8_t ret_addr[16], const uint8_t *addr, uint8_t family,
			   uint8_t prefix_len)
{
	size_t n_whole = prefix_len / 8U;
	unsigned int n_rest = prefix_len % 8U;

	memset(ret_addr, 0, 16);
	memcpy(ret_addr, addr, n_whole);
	if (n_rest != 0 && n_whole < hbus_addr_size(family))
		ret_addr[n_whole] = (uint8_t)(addr[n_whole] & (0xff00U >> n_rest));
}

static int hbus_map_set(const struct hbus_filter *filter, enum hbus_filter_map map,
			const void *key, const void *value)
{
	return bpf_map_update_elem(filter->map_fds[map], key, value, BPF_ANY) < 0 ? -errno : 0;
}

static int hbus_map_del(const struct hbus_filter *filter, enum hbus_filter_map map, const void *key)
{
	return bpf_map_delete_elem(filter->map_fds[map], key) < 0 ? -errno : 0;
}

static int hbus_map_get(const struct hbus_filter *filter, enum hbus_filter_map map,
			const void *key, void *ret_value)
{
	return bpf_map_lookup_elem(filter->map_fds[map], key, ret_value) < 0 ? -errno : 0;
}

/* Puts @config into the kernel as a new generation, and into the handle when that went well. */
static int hbus_config_renew(struct hbus_filter *filter, struct hbus_filter_config config)
{
	uint32_t zero = 0;
	int ret;

	config.generation = hbus_generation_next(filter->config.generation);
	ret = hbus_map_set(filter, HBUS_FILTER_MAP_CONFIG, &zero, &config);
	if (ret == 0)
		filter->config = config;
	return ret;
}

static int hbus_config_set(struct hbus_filter *filter, const struct hbus_filter_config *config)
{
	return memcmp(config, &filter->config, sizeof(*config)) ? hbus_config_renew(filter, *config) : 0;
}

/* A trie has changed: CPUs forget what they have looked up in it. Not before, or they would learn the old again. */
static int hbus_lookups_end(struct hbus_filter *filter)
{
	return hbus_config_renew(filter, filter->config);
}

/* A trie that is full says so with ENOSPC. */
static int hbus_full_or(int ret)
{
	return ret == -ENOSPC ? HBUS_FILTER_FULL : ret;
}

/* ---- keys of routes -------------------------------------------------------------------- */

static uint8_t hbus_route_class(const struct hbus_route_match *match)
{
	return (uint8_t)((match->vlan != HBUS_VLAN_ANY ? HBUS_ROUTE_EXACT_VLAN : 0U) |
			 (match->port != HBUS_PORT_ANY ? HBUS_ROUTE_EXACT_PORT : 0U));
}

static bool hbus_route_match_is_valid(const struct hbus_route_match *match)
{
	return hbus_family_is_valid(match->family, match->prefix_len) && match->reserved == 0 &&
	       (match->vlan == HBUS_VLAN_ANY || match->vlan <= 4094);
}

static void hbus_route_key_init(struct hbus_route_key *key, const struct hbus_route_match *match)
{
	*key = (struct hbus_route_key){
		.prefix_bits = HBUS_ROUTE_KEY_FIXED_BITS + match->prefix_len,
		.family = match->family,
		.route_class = hbus_route_class(match),
		.vlan = match->vlan == HBUS_VLAN_ANY ? 0 : htons(match->vlan),
		.port = htons(match->port),
	};
	hbus_addr_mask(key->addr, match->addr, match->family, match->prefix_len);
}

static void hbus_route_match_of_key(struct hbus_route_match *match,
				    const struct hbus_route_key *key)
{
	bool is_exact_vlan = key->route_class & HBUS_ROUTE_EXACT_VLAN;

	*match = (struct hbus_route_match){
		.family = key->family,
		.prefix_len = (uint8_t)(key->prefix_bits - HBUS_ROUTE_KEY_FIXED_BITS),
		.vlan = is_exact_vlan ? ntohs(key->vlan) : HBUS_VLAN_ANY,
		.port = ntohs(key->port),
	};
	memcpy(match->addr, key->addr, sizeof(match->addr));
}

/* Return: the route index that has exactly @key, or HBUS_ROUTES_MAX. */
static uint32_t hbus_route_idx_of(const struct hbus_filter *filter,
				  const struct hbus_route_key *key)
{
	struct hbus_route_val val;

	if (hbus_map_get(filter, HBUS_FILTER_MAP_ROUTES, key, &val) < 0)
		return HBUS_ROUTES_MAX;
	/* The lookup finds the longest prefix up to that of the key: as long means the same. */
	return val.prefix_len + HBUS_ROUTE_KEY_FIXED_BITS == key->prefix_bits ? val.route_idx :
										HBUS_ROUTES_MAX;
}

/* ---- classes --------------------------------------------------------------------------- */

static uint32_t *hbus_class_count(struct hbus_filter *filter, const struct hbus_route_match *match)
{
	return &filter->n_by_class[match->family == HBUS_FAMILY_IPV6][hbus_route_class(match)];
}

/* Has the program look up the classes that have routes, and that of @coming (may be NULL). */
static int hbus_classes_set(struct hbus_filter *filter, const struct hbus_route_match *coming)
{
	struct hbus_filter_config config = filter->config;

	config.classes_used = 0;
	for (uint32_t class = 0; class < HBUS_ROUTE_CLASSES; class++) {
		if (filter->n_by_class[0][class] > 0)
			config.classes_used |= HBUS_CLASS_BIT(HBUS_FAMILY_IPV4, class);
		if (filter->n_by_class[1][class] > 0)
			config.classes_used |= HBUS_CLASS_BIT(HBUS_FAMILY_IPV6, class);
	}
	if (coming)
		config.classes_used |= HBUS_CLASS_BIT(coming->family, hbus_route_class(coming));
	return hbus_config_set(filter, &config);
}

/* ---- routes ---------------------------------------------------------------------------- */

static int hbus_route_stats_clear(struct hbus_filter *filter, uint32_t route_idx)
{
	struct hbus_route_stats *zeros = calloc((size_t)filter->n_cpus, sizeof(*zeros));
	int ret;

	if (!zeros)
		return -ENOMEM;
	ret = hbus_map_set(filter, HBUS_FILTER_MAP_ROUTE_STATS, &route_idx, zeros);
	free(zeros);
	return ret;
}

static int hbus_route_insert(struct hbus_filter *filter, uint32_t route_idx,
			     const struct hbus_route_match *match, const struct hbus_route_key *key)
{
	struct hbus_route_val val = {
		.route_idx = route_idx,
		.prefix_len = match->prefix_len,
	};
	int ret = hbus_classes_set(filter, match);

	if (ret == 0)
		ret = hbus_map_set(filter, HBUS_FILTER_MAP_ROUTES, key, &val);
	if (ret == 0)
		ret = hbus_lookups_end(filter);
	if (ret < 0) {
		(void)hbus_classes_set(filter, NULL);
		return ret;
	}
	++*hbus_class_count(filter, match);
	return 0;
}

static int hbus_route_remove(struct hbus_filter *filter, const struct hbus_route_match *match)
{
	struct hbus_route_key key;
	int ret;

	hbus_route_key_init(&key, match);
	ret = hbus_map_del(filter, HBUS_FILTER_MAP_ROUTES, &key);
	if (ret < 0)
		return ret;
	--*hbus_class_count(filter, match);
	ret = hbus_lookups_end(filter);
	return ret < 0 ? ret : hbus_classes_set(filter, NULL);
}

static int hbus_route_add(struct hbus_filter *filter, uint32_t route_idx,
			  const struct hbus_route_match *match, const struct hbus_route_key *key,
			  const struct hbus_route_info *info)
{
	struct hbus_filter_route *route = &filter->routes[route_idx];
	int ret = hbus_route_stats_clear(filter, route_idx);

	if (ret == 0)
		ret = hbus_map_set(filter, HBUS_FILTER_MAP_ROUTE_INFO, &route_idx, info);
	if (ret == 0)
		ret = hbus_route_insert(filter, route_idx, match, key);
	if (ret < 0)
		return hbus_full_or(ret);
	*route = (struct hbus_filter_route){ .match = *match, .info = *info, .is_used = true };
	filter->n_routes++;
	return 0;
}

/* The new match is there before the old one goes, if they differ at all. */
static int hbus_route_change(struct hbus_filter *filter, uint32_t route_idx,
			     const struct hbus_route_match *match, const struct hbus_route_key *key,
			     const struct hbus_route_info *info)
{
	struct hbus_filter_route *route = &filter->routes[route_idx];
	struct hbus_route_match old = route->match;
	struct hbus_route_key old_key;
	int ret;

	hbus_route_key_init(&old_key, &old);
	if (memcmp(&old_key, key, sizeof(old_key)) == 0)
		goto info;
	ret = hbus_route_insert(filter, route_idx, match, key);
	if (ret < 0)
		return hbus_full_or(ret);
	route->match = *match;
	ret = hbus_route_remove(filter, &old);
	if (ret < 0)
		return ret;
info:
	ret = hbus_map_set(filter, HBUS_FILTER_MAP_ROUTE_INFO, &route_idx, info);
	if (ret == 0)
		route->info = *info;
	return ret;
}

int hbus_filter_route_set(struct hbus_filter *filter, uint32_t route_idx,
			  const struct hbus_route_match *match, uint32_t topic, uint32_t flags)
{
	const struct hbus_route_info info = { .topic = topic, .flags = flags };
	struct hbus_route_key key;
	uint32_t other_idx;

	if (route_idx >= HBUS_ROUTES_MAX || !hbus_route_match_is_valid(match) ||
	    (flags & ~(HBUS_ROUTE_WANTED | HBUS_ROUTE_BATCH | HBUS_ROUTE_MQTTSN)) != 0)
		return -EINVAL;
	hbus_route_key_init(&key, match);
	other_idx = hbus_route_idx_of(filter, &key);
	if (other_idx != HBUS_ROUTES_MAX && other_idx != route_idx)
		return HBUS_FILTER_CONFLICT;
	if (filter->routes[route_idx].is_used)
		return hbus_route_change(filter, route_idx, match, &key, &info);
	return hbus_route_add(filter, route_idx, match, &key, &info);
}

int hbus_filter_route_del(struct hbus_filter *filter, uint32_t route_idx)
{
	int ret;

	if (route_idx >= HBUS_ROUTES_MAX || !filter->routes[route_idx].is_used)
		return -ENOENT;
	ret = hbus_route_remove(filter, &filter->routes[route_idx].match);
	if (ret < 0)
		return ret;
	filter->routes[route_idx].is_used = false;
	filter->n_routes--;
	return 0;
}

int hbus_filter_route_get(const struct hbus_filter *filter, uint32_t route_idx,
			  struct hbus_route_match *ret_match, struct hbus_route_info *ret_info)
{
	const struct hbus_filter_route *route;

	if (route_idx >= HBUS_ROUTES_MAX || !filter->routes[route_idx].is_used)
		return -ENOENT;
	route = &filter->routes[route_idx];
	*ret_match = route->match;
	*ret_info = route->info;
	return 0;
}

uint32_t hbus_filter_n_routes(const struct hbus_filter *filter)
{
	return filter->n_routes;
}

/* ---- adoption -------------------------------------------------------------------------- */

static int hbus_route_adopt(struct hbus_filter *filter, const struct hbus_route_key *key)
{
	struct hbus_filter_route *route;
	struct hbus_route_match match;
	struct hbus_route_val val;
	int ret = hbus_map_get(filter, HBUS_FILTER_MAP_ROUTES, key, &val);

	if (ret < 0)
		return ret;
	if (val.route_idx >= HBUS_ROUTES_MAX)
		return -EBADMSG;
	hbus_route_match_of_key(&match, key);
	++*hbus_class_count(filter, &match);
	route = &filter->routes[val.route_idx];
	/* Two matches of one index: an owner was killed between the new one and the old one's end. */
	if (route->is_used)
		return hbus_route_remove(filter, &match);
	ret = hbus_map_get(filter, HBUS_FILTER_MAP_ROUTE_INFO, &val.route_idx, &route->info);
	if (ret < 0)
		return ret;
	route->match = match;
	route->is_used = true;
	filter->n_routes++;
	return 0;
}

int hbus_filter_rules_adopt(struct hbus_filter *filter)
{
	int fd = filter->map_fds[HBUS_FILTER_MAP_ROUTES];
	struct hbus_route_key *keys = calloc(HBUS_ROUTE_KEYS_MAX, sizeof(*keys));
	uint32_t zero = 0;
	uint32_t n = 0;
	int ret;

	if (!keys)
		return -ENOMEM;
	/* All keys first: one that is removed on the way would send the walk back to its start. */
	while (n < HBUS_ROUTE_KEYS_MAX &&
	       bpf_map_get_next_key(fd, n == 0 ? NULL : &keys[n - 1], &keys[n]) == 0)
		n++;
	ret = hbus_map_get(filter, HBUS_FILTER_MAP_CONFIG, &zero, &filter->config);
	for (uint32_t i = 0; ret == 0 && i < n; i++)
		ret = hbus_route_adopt(filter, &keys[i]);
	free(keys);
	return ret;
}

/* ---- sources --------------------------------------------------------------------------- */

static int hbus_source_key_init(struct hbus_source_key *key, uint8_t family, const uint8_t *addr,
				uint8_t prefix_len)
{
	if (!hbus_family_is_valid(family, prefix_len))
		return -EINVAL;
	*key = (struct hbus_source_key){
		.prefix_bits = HBUS_SOURCE_KEY_FIXED_BITS + prefix_len,
		.family = family,
	};
	hbus_addr_mask(key->addr, addr, family, prefix_len);
	return 0;
}

static int hbus_has_sources_set(struct hbus_filter *filter, bool has_sources)
{
	struct hbus_filter_config config = filter->config;

	config.flags = has_sources ? config.flags | HBUS_CONFIG_HAS_SOURCES :
				     config.flags & ~HBUS_CONFIG_HAS_SOURCES;
	return hbus_config_set(filter, &config);
}

int hbus_filter_source_set(struct hbus_filter *filter, uint8_t family, const uint8_t *addr,
			   uint8_t prefix_len, uint32_t action)
{
	const struct hbus_source_val val = { .action = action };
	struct hbus_source_key key;
	int ret = hbus_source_key_init(&key, family, addr, prefix_len);

	if (ret < 0 || action > HBUS_SOURCE_TRUST)
		return -EINVAL;
	ret = hbus_map_set(filter, HBUS_FILTER_MAP_SOURCES, &key, &val);
	if (ret < 0)
		return hbus_full_or(ret);
	ret = hbus_lookups_end(filter);
	return ret < 0 ? ret : hbus_has_sources_set(filter, true);
}

int hbus_filter_source_del(struct hbus_filter *filter, uint8_t family, const uint8_t *addr,
			   uint8_t prefix_len)
{
	struct hbus_source_key key, any;
	int ret = hbus_source_key_init(&key, family, addr, prefix_len);

	if (ret == 0)
		ret = hbus_map_del(filter, HBUS_FILTER_MAP_SOURCES, &key);
	if (ret == 0)
		ret = hbus_lookups_end(filter);
	if (ret < 0)
		return ret;
	if (bpf_map_get_next_key(filter->map_fds[HBUS_FILTER_MAP_SOURCES], NULL, &any) < 0 &&
	    errno == ENOENT)
		return hbus_has_sources_set(filter, false);
	return 0;
}

int hbus_filter_source_default_set(struct hbus_filter *filter, uint32_t action)
{
	struct hbus_filter_config config = filter->config;

	if (action > HBUS_SOURCE_TRUST)
		return -EINVAL;
	config.source_default = action;
	return hbus_config_set(filter, &config);
}

int hbus_filter_rate_set(struct hbus_filter *filter, uint32_t packets_per_s, uint32_t burst,
			 uint8_t ipv6_prefix_len)
{
	struct hbus_filter_config config = filter->config;
	uint8_t ones[16], mask[16];

	config.bucket_interval = 0;
	config.bucket_window = 0;
	if (packets_per_s > 0) {
		if (packets_per_s > HBUS_RATE_PPS_MAX || burst == 0 || burst > HBUS_BURST_MAX ||
		    ipv6_prefix_len == 0 || ipv6_prefix_len > 128)
			return -EINVAL;
		memset(ones, 0xff, sizeof(ones));
		hbus_addr_mask(mask, ones, HBUS_FAMILY_IPV6, ipv6_prefix_len);
		memcpy(config.bucket_mask, mask, sizeof(config.bucket_mask));
		config.bucket_interval = (uint64_t)HBUS_NS_PER_S * HBUS_BUCKET_UNITS_PER_NS /
					 packets_per_s;
		config.bucket_window = config.bucket_interval * burst;
	}
	return hbus_config_set(filter, &config);
}

/* ---- TCP stack ------------------------------------------------------------------------- */

static int hbus_has_stack_set(struct hbus_filter *filter, bool has_stack)
{
	struct hbus_filter_config config = filter->config;

	config.flags = has_stack ? config.flags | HBUS_CONFIG_HAS_STACK :
				   config.flags & ~HBUS_CONFIG_HAS_STACK;
	return hbus_config_set(filter, &config);
}

int hbus_filter_stack_add(struct hbus_filter *filter, uint8_t family, const uint8_t *addr)
{
	struct hbus_stack_key key = { .family = family };
	uint32_t one = 1;
	int ret;

	if (family != HBUS_FAMILY_IPV4 && family != HBUS_FAMILY_IPV6)
		return -EINVAL;
	memcpy(key.addr, addr, hbus_addr_size(family));
	ret = hbus_map_set(filter, HBUS_FILTER_MAP_STACK, &key, &one);
	if (ret < 0)
		return hbus_full_or(ret);
	return hbus_has_stack_set(filter, true);
}

int hbus_filter_stack_end(struct hbus_filter *filter)
{
	return hbus_has_stack_set(filter, false);
}

/* ---- passive MQTT ---------------------------------------------------------------------- */

int hbus_filter_tap_set(struct hbus_filter *filter, const uint16_t *ports, uint32_t n, const uint8_t own_mac[6])
{
	struct hbus_filter_config config = filter->config;
	int ret;

	if (n > HBUS_TAP_PORTS_MAX)
		return HBUS_FILTER_FULL;
	config.flags &= ~HBUS_CONFIG_HAS_TAP;
	ret = hbus_config_set(filter, &config);
	if (ret != 0 || n == 0)
		return ret;
	memset(config.tap_ports, 0, sizeof(config.tap_ports));
	for (uint32_t i = 0; i < n; i++)
		config.tap_ports[i] = htons(ports[i]);
	memcpy(config.own_mac, own_mac, sizeof(config.own_mac));
	ret = hbus_config_set(filter, &config);
	if (ret != 0)
		return ret;
	/* Last: the program reads word by word. */
	config.flags |= HBUS_CONFIG_HAS_TAP;
	return hbus_config_set(filter, &config);
}

/* ---- MQTT-SN --------------------------------------------------------------------------- */

int hbus_filter_sn_quiet_set(struct hbus_filter *filter, const struct hbus_sn_quiet_key *key,
			     bool is_quiet)
{
	const struct hbus_sn_quiet_val never = { 0 };
	int ret;

	if (!is_quiet) {
		ret = hbus_map_del(filter, HBUS_FILTER_MAP_SN_QUIET, key);
		return ret == -ENOENT ? 0 : ret;
	}
	if (bpf_map_update_elem(filter->map_fds[HBUS_FILTER_MAP_SN_QUIET], key, &never,
				BPF_NOEXIST) == 0 || errno == EEXIST)
		return 0;
	return errno == E2BIG ? HBUS_FILTER_FULL : -errno;
}

int hbus_filter_sn_quiet_seen(const struct hbus_filter *filter, const struct hbus_sn_quiet_key *key,
			      uint64_t *ret_seen_ns)
{
	struct hbus_sn_quiet_val val;
	int ret = hbus_map_get(filter, HBUS_FILTER_MAP_SN_QUIET, key, &val);

	if (ret == 0)
		*ret_seen_ns = val.seen_at;
	return ret;
}

/* ---- counters -------------------------------------------------------------------------- */

/*
 * Reads @n entries from @first on of per-CPU array @map, each of @n_words 64-bit counters, and sums
 * them up into @ret_sums.
 */
static int hbus_counters_sum(const struct hbus_filter *filter, enum hbus_filter_map map,
			     uint32_t first, uint32_t n, size_t n_words, uint64_t *ret_sums)
{
	size_t n_cpus = (size_t)filter->n_cpus;
	uint64_t *values = calloc(n_cpus * n_words, sizeof(*values));
	int ret = 0;

	if (!values)
		return -ENOMEM;
	memset(ret_sums, 0, n * n_words * sizeof(*ret_sums));
	for (uint32_t i = 0; i < n; i++) {
		uint32_t key = first + i;

		ret = hbus_map_get(filter, map, &key, values);
		if (ret < 0)
			break;
		for (size_t word = 0; word < n_cpus * n_words; word++)
			ret_sums[i * n_words + word % n_words] += values[word];
	}
	free(values);
	return ret;
}

int hbus_filter_stats_read(const struct hbus_filter *filter,
			   struct hbus_reason_stats ret_stats[HBUS_REASONS_MAX])
{
	uint64_t sums[HBUS_REASONS_MAX][2];
	int ret = hbus_counters_sum(filter, HBUS_FILTER_MAP_STATS, 0, HBUS_REASONS_MAX, 2,
				    &sums[0][0]);

	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < HBUS_REASONS_MAX; i++)
		ret_stats[i] = (struct hbus_reason_stats){
			.packets = sums[i][0],
			.bytes = sums[i][1],
		};
	return 0;
}

int hbus_filter_route_stats_read(const struct hbus_filter *filter, uint32_t first_idx, uint32_t n,
				 struct hbus_route_stats *ret_stats)
{
	const size_t n_words = sizeof(*ret_stats) / sizeof(uint64_t);

	if (first_idx > HBUS_ROUTES_MAX || n > HBUS_ROUTES_MAX - first_idx)
		return -EINVAL;
	/* A struct of nothing but 64-bit counters: summed word by word. */
	return hbus_counters_sum(filter, HBUS_FILTER_MAP_ROUTE_STATS, first_idx, n, n_words,
				 (uint64_t *)ret_stats);
}
