/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two sorted lists: the keys that the filters have, and those that they should have.
 */
#include "dataplane/mqttsn/quiet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ebpf/loader.h"

struct keys {
	struct hbus_sn_quiet_key *at;
	uint32_t n;
};

struct hbus_sn_quiet {
	const struct hbus_ports *ports;
	const struct hbus_sn_paths *paths;   /* while it follows */
	struct keys have, want;
	uint64_t generation;
	bool has_filters;
};

int hbus_sn_quiet_new(const struct hbus_ports *ports, struct hbus_sn_quiet **ret_quiet)
{
	struct hbus_sn_quiet *quiet = calloc(1, sizeof(*quiet));

	if (!quiet)
		return -ENOMEM;
	quiet->ports = ports;
	/* Memory that is never touched costs nothing. */
	quiet->have.at = calloc(HBUS_SN_QUIET_MAX, sizeof(*quiet->have.at));
	quiet->want.at = calloc(HBUS_SN_QUIET_MAX, sizeof(*quiet->want.at));
	for (unsigned int i = 0; i < ports->n; i++)
		quiet->has_filters |= ports->at[i].filter != NULL;
	if (!quiet->have.at || !quiet->want.at) {
		hbus_sn_quiet_free(quiet);
		return -ENOMEM;
	}
	*ret_quiet = quiet;
	return 0;
}

struct hbus_sn_quiet *hbus_sn_quiet_free(struct hbus_sn_quiet *quiet)
{
	if (!quiet)
		return NULL;
	free(quiet->have.at);
	free(quiet->want.at);
	free(quiet);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct hbus_sn_quiet_key));
}

static void add(void *context, const struct hbus_sn_peer *peer, uint8_t kind, uint16_t topic_id,
		uint32_t number)
{
	struct hbus_sn_quiet *quiet = context;
	struct hbus_sn_quiet_key *key = &quiet->want.at[quiet->want.n];

	if (quiet->want.n == HBUS_SN_QUIET_MAX || !hbus_sn_paths_can_publish(quiet->paths, number) ||
	    hbus_sn_paths_is_wanted(quiet->paths, number))
		return;
	*key = (struct hbus_sn_quiet_key){ .port = htons(peer->port), .vlan = htons(peer->vlan),
					   .topic_id = htons(topic_id), .family = peer->family,
					   .kind = kind };
	memcpy(key->addr, peer->addr, sizeof(key->addr));
	quiet->want.n++;
}

static unsigned int set_all(const struct hbus_sn_quiet *quiet, const struct hbus_sn_quiet_key *key,
			    bool is_quiet)
{
	unsigned int n_failed = 0;

	for (unsigned int i = 0; i < quiet->ports->n; i++)
		if (quiet->ports->at[i].filter)
			n_failed += hbus_filter_sn_quiet_set(quiet->ports->at[i].filter, key, is_quiet) != 0;
	return n_failed;
}

unsigned int hbus_sn_quiet_follow(struct hbus_sn_quiet *quiet, const struct hbus_sn_paths *paths)
{
	uint64_t generation = hbus_sn_paths_generation(paths);
	unsigned int n_failed = 0;
	struct keys old = quiet->have;
	uint32_t i = 0, k = 0;

	if (!quiet->has_filters || generation == quiet->generation)
		return 0;
	quiet->generation = generation;
	quiet->paths = paths;
	quiet->want.n = 0;
	hbus_sn_paths_each(paths, add, quiet);
	qsort(quiet->want.at, quiet->want.n, sizeof(*quiet->want.at), compare);
	while (i < old.n || k < quiet->want.n) {
		int order = i == old.n		 ? 1 :
			    k == quiet->want.n ? -1 :
						   compare(&old.at[i], &quiet->want.at[k]);

		if (order < 0)
			n_failed += set_all(quiet, &old.at[i], false);
		else if (order > 0)
			n_failed += set_all(quiet, &quiet->want.at[k], true);
		i += order <= 0;
		k += order >= 0;
	}
	quiet->have = quiet->want;
	quiet->want = old;
	return n_failed;
}

uint64_t hbus_sn_quiet_seen_ns(const struct hbus_sn_quiet *quiet, const struct hbus_sn_peer *peer)
{
	uint64_t latest = 0;

	for (uint32_t i = 0; i < quiet->have.n; i++) {
		const struct hbus_sn_quiet_key *key = &quiet->have.at[i];

		if (key->port != htons(peer->port) || key->family != peer->family ||
		    key->vlan != htons(peer->vlan) || memcmp(key->addr, peer->addr, sizeof(key->addr)) != 0)
			continue;
		for (unsigned int p = 0; p < quiet->ports->n; p++) {
			uint64_t seen_ns = 0;

			if (quiet->ports->at[p].filter &&
			    hbus_filter_sn_quiet_seen(quiet->ports->at[p].filter, key, &seen_ns) == 0 &&
			    seen_ns > latest)
				latest = seen_ns;
		}
	}
	return latest;
}
