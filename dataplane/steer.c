/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filter's own memory of its routes is what they are compared with; of sources and limits we
 * keep what we last set.
 */
#include "dataplane/steer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/log.h"
#include "ebpf/loader.h"

enum { IPV6_BUCKET_BITS = 64 };

struct hbus_steer {
	const struct hbus_port *port;
	struct hbus_plan_source *sources; /* as they are set */
	uint32_t n_sources;
	uint32_t n_routes;                /* places that were ever set */
	uint32_t source_default;
	struct hbus_rate rate;
	bool is_away;                     /* the filter, when it was last looked for */
};

int hbus_steer_new(const struct hbus_port *port, struct hbus_steer **ret_steer)
{
	struct hbus_steer *steer = calloc(1, sizeof(*steer));

	if (!steer)
		return -ENOMEM;
	steer->port = port;
	steer->source_default = HBUS_SOURCE_ALLOW;
	steer->sources = calloc(HBUS_PLAN_SOURCES_MAX, sizeof(*steer->sources));
	if (!steer->sources) {
		free(steer);
		return -ENOMEM;
	}
	*ret_steer = steer;
	return 0;
}

struct hbus_steer *hbus_steer_free(struct hbus_steer *steer)
{
	if (!steer)
		return NULL;
	free(steer->sources);
	free(steer);
	return NULL;
}

/* Return: 1 when @r says that something failed. */
static unsigned int check(const struct hbus_steer *steer, int r, const char *what)
{
	if (r == 0)
		return 0;
	hbus_log("filter of %s: %s: %s", steer->port->iface, what,
		r == HBUS_FILTER_FULL	    ? "the table is full"
		: r == HBUS_FILTER_CONFLICT ? "two routes match the same"
					    : strerror(-r));
	return 1;
}

/* ---- sources --------------------------------------------------------------------------- */

static bool is_same_place(const struct hbus_plan_source *a, const struct hbus_plan_source *b)
{
	return a->family == b->family && a->prefix_len == b->prefix_len &&
	       memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

static const struct hbus_plan_source *find(const struct hbus_plan_source *sources, uint32_t n,
					   const struct hbus_plan_source *wanted)
{
	for (uint32_t i = 0; i < n; i++)
		if (is_same_place(&sources[i], wanted))
			return &sources[i];
	return NULL;
}

static bool is_listed(const struct hbus_directory *directory,
		      const struct hbus_plan_source *source)
{
	for (uint32_t i = 0; i < hbus_directory_n_sources(directory); i++)
		if (is_same_place(hbus_directory_source_at(directory, i), source))
			return true;
	return false;
}

static unsigned int remove_sources(struct hbus_steer *steer,
				   const struct hbus_directory *directory)
{
	unsigned int n_failed = 0;

	for (uint32_t i = steer->n_sources; i-- > 0;) {
		struct hbus_plan_source *source = &steer->sources[i];

		if (is_listed(directory, source))
			continue;
		n_failed += check(steer,
				  hbus_filter_source_del(steer->port->filter, source->family,
							 source->addr, source->prefix_len),
				  "remove a source rule");
		*source = steer->sources[--steer->n_sources];
	}
	return n_failed;
}

static unsigned int add_source(struct hbus_steer *steer, const struct hbus_plan_source *source)
{
	const struct hbus_plan_source *known = find(steer->sources, steer->n_sources, source);

	if (known && known->action == source->action)
		return 0;
	if (check(steer,
		  hbus_filter_source_set(steer->port->filter, source->family, source->addr,
					 source->prefix_len, source->action),
		  "set a source rule"))
		return 1;
	if (known)
		steer->sources[known - steer->sources].action = source->action;
	else
		steer->sources[steer->n_sources++] = *source;
	return 0;
}

static unsigned int set_defaults(struct hbus_steer *steer, const struct hbus_directory *directory)
{
	uint32_t action = hbus_directory_source_default(directory);
	struct hbus_rate rate = hbus_directory_rate(directory);
	unsigned int n_failed = 0;

	if (action != steer->source_default) {
		n_failed += check(steer,
				  hbus_filter_source_default_set(steer->port->filter, action),
				  "set the default for sources");
		steer->source_default = action;
	}
	if (rate.packets_per_s != steer->rate.packets_per_s || rate.burst != steer->rate.burst) {
		n_failed += check(steer,
				  hbus_filter_rate_set(steer->port->filter,
						       (uint32_t)rate.packets_per_s,
						       (uint32_t)rate.burst, IPV6_BUCKET_BITS),
				  "limit the rate");
		steer->rate = rate;
	}
	return n_failed;
}

/* ---- routes ---------------------------------------------------------------------------- */

static bool has_route(const struct hbus_directory *directory, uint32_t route_idx)
{
	return route_idx < hbus_directory_n_routes(directory) &&
	       hbus_directory_route_at(directory, route_idx)->is_used;
}

static unsigned int add_route(struct hbus_steer *steer, const struct hbus_directory *directory,
			      uint32_t route_idx)
{
	const struct hbus_directory_route *route = hbus_directory_route_at(directory, route_idx);
	bool is_wanted = hbus_directory_route_is_wanted(directory, route_idx);
	uint32_t flags = (is_wanted ? HBUS_ROUTE_WANTED : 0) |
			 (route->is_batch ? HBUS_ROUTE_BATCH : 0) |
			 (route->is_gateway ? HBUS_ROUTE_MQTTSN : 0);
	uint32_t topic = route->is_batch || route->is_gateway ? 0 : route->topic->counter_idx;
	struct hbus_route_match match;
	struct hbus_route_info info;

	if (hbus_filter_route_get(steer->port->filter, route_idx, &match, &info) == 0 &&
	    info.topic == topic && info.flags == flags &&
	    memcmp(&match, &route->match, sizeof(match)) == 0)
		return 0;
	return check(steer,
		     hbus_filter_route_set(steer->port->filter, route_idx, &route->match, topic,
					   flags),
		     "set a route");
}

unsigned int hbus_steer_remove(struct hbus_steer *steer, const struct hbus_directory *directory)
{
	unsigned int n_failed = remove_sources(steer, directory);

	for (uint32_t i = 0; i < steer->n_routes; i++) {
		struct hbus_route_match match;
		struct hbus_route_info info;

		if (has_route(directory, i) ||
		    hbus_filter_route_get(steer->port->filter, i, &match, &info) != 0)
			continue;
		n_failed += check(steer, hbus_filter_route_del(steer->port->filter, i),
				  "remove a route");
	}
	return n_failed;
}

unsigned int hbus_steer_add(struct hbus_steer *steer, const struct hbus_directory *directory)
{
	unsigned int n_failed = set_defaults(steer, directory);

	for (uint32_t i = 0; i < hbus_directory_n_sources(directory); i++)
		n_failed += add_source(steer, hbus_directory_source_at(directory, i));
	for (uint32_t i = 0; i < hbus_directory_n_routes(directory); i++)
		if (has_route(directory, i))
			n_failed += add_route(steer, directory, i);
	if (steer->n_routes < hbus_directory_n_routes(directory))
		steer->n_routes = hbus_directory_n_routes(directory);
	return n_failed;
}

void hbus_steer_replace(struct hbus_steer *steer, const char *path)
{
	struct hbus_filter_error error = { "" };

	if (hbus_filter_replace(steer->port->filter, path, &error) == 0)
		hbus_log("%s: filter replaced by %s", steer->port->iface, path);
	else
		hbus_log("%s: the old filter goes on: %s", steer->port->iface, error.text);
}

void hbus_steer_check(struct hbus_steer *steer)
{
	struct hbus_filter_error error = { "" };
	bool is_away = hbus_filter_check(steer->port->filter, &error) != 0;

	if (is_away == steer->is_away)
		return;
	steer->is_away = is_away;
	if (is_away)
		hbus_log("%s: %s: no more packets come in from there; start the ingress again", steer->port->iface,
			 error.text);
	else
		hbus_log("%s: the filter is in its place again", steer->port->iface);
}

void hbus_steer_tap(struct hbus_steer *steer, const uint16_t *ports, uint32_t n, const uint8_t own_mac[6])
{
	(void)check(steer, hbus_filter_tap_set(steer->port->filter, ports, n, own_mac), "passive ports");
}

void hbus_steer_dry(struct hbus_steer *steer)
{
	(void)hbus_filter_stack_end(steer->port->filter);
	(void)hbus_filter_tap_set(steer->port->filter, NULL, 0, NULL);
	for (uint32_t i = 0; i < steer->n_routes; i++)
		(void)hbus_filter_route_del(steer->port->filter, i);
}
