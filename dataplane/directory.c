/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Routes sit in an array of places that a search walks (changes are rare), topics in an array with
 * a search tree over their names.
 */
#include "dataplane/directory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct batch_topic {
	struct hbus_route_match match; /* of the batch route */
	uint16_t number;
	struct hbus_directory_topic *topic;
};

struct hbus_directory {
	struct hbus_directory_topic **topics;
	uint32_t n_topics;
	void *names;                   /* tree of topics by name */
	struct hbus_directory_route *routes;
	uint32_t n_routes;             /* places that were ever used */
	struct batch_topic *batch_topics;
	uint32_t n_batch_topics;
	struct hbus_plan_source *sources;
	uint32_t n_sources;
	uint32_t source_default;
	struct hbus_rate rate;
};

int hbus_directory_new(struct hbus_directory **ret_directory)
{
	struct hbus_directory *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	/* Memory that is never touched costs nothing. */
	d->topics = calloc(HBUS_DIRECTORY_TOPICS_MAX, sizeof(struct hbus_directory_topic *));
	d->routes = calloc(HBUS_PLAN_ROUTES_MAX, sizeof(*d->routes));
	d->batch_topics = calloc(HBUS_DIRECTORY_BATCH_TOPICS_MAX, sizeof(*d->batch_topics));
	d->sources = calloc(HBUS_PLAN_SOURCES_MAX, sizeof(*d->sources));
	d->source_default = HBUS_SOURCE_ALLOW;
	if (!d->topics || !d->routes || !d->batch_topics || !d->sources) {
		hbus_directory_free(d);
		return -ENOMEM;
	}
	*ret_directory = d;
	return 0;
}

static void keep_topic(void *topic)
{
	(void)topic;
}

struct hbus_directory *hbus_directory_free(struct hbus_directory *d)
{
	if (!d)
		return NULL;
	tdestroy(d->names, keep_topic);
	for (uint32_t i = 0; i < d->n_topics; i++)
		free(d->topics[i]);
	free(d->topics);
	free(d->routes);
	free(d->batch_topics);
	free(d->sources);
	free(d);
	return NULL;
}

/* ---- topics ---------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	const struct hbus_directory_topic *left = a, *right = b;

	return strcmp(left->name, right->name);
}

static int add_topic(struct hbus_directory *d, const char *name,
		     struct hbus_directory_topic **ret_topic)
{
	struct hbus_directory_topic *topic;

	if (d->n_topics == HBUS_DIRECTORY_TOPICS_MAX)
		return HBUS_DIRECTORY_FULL;
	topic = calloc(1, sizeof(*topic));
	if (!topic)
		return -ENOMEM;
	snprintf(topic->name, sizeof(topic->name), "%s", name);
	topic->counter_idx = d->n_topics + 1;
	if (!tsearch(topic, &d->names, compare_names)) {
		free(topic);
		return -ENOMEM;
	}
	d->topics[d->n_topics++] = topic;
	*ret_topic = topic;
	return 0;
}

static struct hbus_directory_topic *find_topic(const struct hbus_directory *d, const char *name)
{
	struct hbus_directory_topic wanted, **found;

	snprintf(wanted.name, sizeof(wanted.name), "%s", name);
	found = tfind(&wanted, (void *const *)&d->names, compare_names);
	return found ? *found : NULL;
}

static int get_topic(struct hbus_directory *d, const char *name,
		     struct hbus_directory_topic **ret_topic)
{
	*ret_topic = find_topic(d, name);
	return *ret_topic ? 0 : add_topic(d, name, ret_topic);
}

int hbus_directory_interest(struct hbus_directory *d, const char *name, bool is_wanted)
{
	struct hbus_directory_topic *topic = find_topic(d, name);

	if (!topic)
		return HBUS_DIRECTORY_UNKNOWN;
	topic->is_wanted = is_wanted;
	topic->is_told = true;
	return 0;
}

const struct hbus_directory_topic *hbus_directory_next_unnamed(struct hbus_directory *d,
							       uint32_t *cursor)
{
	while (*cursor < d->n_topics) {
		const struct hbus_directory_topic *topic = d->topics[(*cursor)++];

		if (topic->topic == 0 && topic->n_uses > 0 && !topic->is_pseudo)
			return topic;
	}
	return NULL;
}

void hbus_directory_name(struct hbus_directory *d, uint32_t counter_idx, uint32_t topic)
{
	if (counter_idx > 0 && counter_idx <= d->n_topics)
		d->topics[counter_idx - 1]->topic = topic;
}

uint32_t hbus_directory_n_topics(const struct hbus_directory *d)
{
	return d->n_topics;
}

const struct hbus_directory_topic *hbus_directory_topic(const struct hbus_directory *d,
							uint32_t counter_idx)
{
	return d->topics[counter_idx - 1];
}

/* ---- routes ---------------------------------------------------------------------------- */

static int make_match(const struct hbus_route *route, struct hbus_route_match *ret_match)
{
	struct hbus_route_match match = { .family = route->family,
					  .prefix_len = route->prefix_len,
					  .vlan = route->vlan,
					  .port = route->port };
	uint8_t bits = route->family == HBUS_FAMILY_IPV4 ? 32 : 128;

	if ((route->family != HBUS_FAMILY_IPV4 && route->family != HBUS_FAMILY_IPV6) ||
	    route->prefix_len > bits ||
	    (route->vlan > HBUS_ROUTE_VLAN_MAX && route->vlan != HBUS_VLAN_ANY))
		return HBUS_DIRECTORY_INVALID;
	memcpy(match.addr, route->address, bits / 8);
	for (uint32_t bit = route->prefix_len; bit < bits; bit++)
		match.addr[bit / 8] &= (uint8_t)~(0x80 >> bit % 8);
	*ret_match = match;
	return 0;
}

static bool is_same_match(const struct hbus_route_match *a, const struct hbus_route_match *b)
{
	return a->family == b->family && a->prefix_len == b->prefix_len && a->vlan == b->vlan &&
	       a->port == b->port && memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

/* The place of a route, or a free one, or NULL. */
static struct hbus_directory_route *find_place(struct hbus_directory *d,
					       const struct hbus_route_match *match)
{
	struct hbus_directory_route *vacant = NULL;

	for (uint32_t i = 0; i < d->n_routes; i++) {
		struct hbus_directory_route *place = &d->routes[i];

		if (place->is_used && is_same_match(&place->match, match))
			return place;
		if (!place->is_used && !vacant)
			vacant = place;
	}
	if (!vacant && d->n_routes < HBUS_PLAN_ROUTES_MAX)
		vacant = &d->routes[d->n_routes];
	return vacant;
}

/* A name for the counters of such a route that no topic can have: a topic holds no '#'. */
static void name_pseudo(const struct hbus_route_match *match, const char *what, char *ret_name,
			size_t size)
{
	char address[INET6_ADDRSTRLEN] = "?", vlan[16] = "";

	inet_ntop(match->family == HBUS_FAMILY_IPV4 ? AF_INET : AF_INET6, match->addr, address,
		  sizeof(address));
	if (match->vlan != HBUS_VLAN_ANY)
		snprintf(vlan, sizeof(vlan), " vlan %u", match->vlan);
	snprintf(ret_name, size, "#%s %s/%u port %u%s", what, address, match->prefix_len, match->port,
		 vlan);
}

static void leave(struct hbus_directory_topic *topic)
{
	if (topic)
		topic->n_uses--;
}

static int set_route(struct hbus_directory *d, const struct hbus_route_match *match,
		     bool is_batch, const char *name)
{
	struct hbus_directory_route *place = find_place(d, match);
	struct hbus_directory_topic *topic;
	char batch_name[256];
	int r;

	if (!place)
		return HBUS_DIRECTORY_FULL;
	if (place->is_used && place->is_gateway)
		return HBUS_DIRECTORY_INVALID;
	if (is_batch) {
		name_pseudo(match, "batch", batch_name, sizeof(batch_name));
		name = batch_name;
	}
	r = get_topic(d, name, &topic);
	if (r != 0)
		return r;
	topic->is_pseudo = is_batch;
	topic->n_uses++;
	leave(place->is_used ? place->topic : NULL);
	*place = (struct hbus_directory_route){ .is_used = true, .is_batch = is_batch, .match = *match,
						.topic = topic };
	if (place == &d->routes[d->n_routes])
		d->n_routes++;
	return 0;
}

static int remove_route(struct hbus_directory *d, const struct hbus_route_match *match)
{
	struct hbus_directory_route *place = find_place(d, match);

	if (!place || !place->is_used || place->is_gateway)
		return HBUS_DIRECTORY_UNKNOWN;
	leave(place->topic);
	place->is_used = false;
	return 0;
}

static uint32_t find_batch_topic(const struct hbus_directory *d,
				 const struct hbus_route_match *match, uint16_t number)
{
	uint32_t i = 0;

	while (i < d->n_batch_topics && (d->batch_topics[i].number != number ||
					 !is_same_match(&d->batch_topics[i].match, match)))
		i++;
	return i;
}

static int set_batch_topic(struct hbus_directory *d, const struct hbus_route_match *match,
			   uint16_t number, const char *name)
{
	uint32_t i = find_batch_topic(d, match, number);
	struct hbus_directory_topic *topic;
	int r;

	if (i == HBUS_DIRECTORY_BATCH_TOPICS_MAX)
		return HBUS_DIRECTORY_FULL;
	r = get_topic(d, name, &topic);
	if (r != 0)
		return r;
	topic->n_uses++;
	if (i == d->n_batch_topics)
		d->n_batch_topics++;
	else
		leave(d->batch_topics[i].topic);
	d->batch_topics[i] = (struct batch_topic){ *match, number, topic };
	return 0;
}

static int remove_batch_topic(struct hbus_directory *d, const struct hbus_route_match *match,
			      uint16_t number)
{
	uint32_t i = find_batch_topic(d, match, number);

	if (i == d->n_batch_topics)
		return HBUS_DIRECTORY_UNKNOWN;
	leave(d->batch_topics[i].topic);
	d->batch_topics[i] = d->batch_topics[--d->n_batch_topics];
	return 0;
}

int hbus_directory_route(struct hbus_directory *d, const struct hbus_route *route, bool is_set)
{
	struct hbus_route_match match;
	int r = make_match(route, &match);

	if (r != 0)
		return r;
	if (memchr(route->topic, '\0', sizeof(route->topic)) == NULL ||
	    (is_set && route->kind != HBUS_ROUTE_KIND_BATCH && route->topic[0] == '\0'))
		return HBUS_DIRECTORY_INVALID;
	if (route->kind == HBUS_ROUTE_KIND_BATCH_TOPIC) {
		if (route->number > UINT16_MAX)
			return HBUS_DIRECTORY_INVALID;
		return is_set ? set_batch_topic(d, &match, (uint16_t)route->number, route->topic)
			      : remove_batch_topic(d, &match, (uint16_t)route->number);
	}
	if (route->kind != HBUS_ROUTE_KIND_TOPIC && route->kind != HBUS_ROUTE_KIND_BATCH)
		return HBUS_DIRECTORY_INVALID;
	return is_set ? set_route(d, &match, route->kind == HBUS_ROUTE_KIND_BATCH, route->topic)
		      : remove_route(d, &match);
}

int hbus_directory_gateway(struct hbus_directory *d, const struct hbus_route_match *match)
{
	struct hbus_directory_route *place = find_place(d, match);
	struct hbus_directory_topic *topic;
	char name[256];
	int r;

	if (!place)
		return HBUS_DIRECTORY_FULL;
	if (place->is_used)
		return HBUS_DIRECTORY_INVALID;
	name_pseudo(match, "mqttsn", name, sizeof(name));
	r = get_topic(d, name, &topic);
	if (r != 0)
		return r;
	topic->is_pseudo = topic->is_wanted = true;
	topic->n_uses++;
	*place = (struct hbus_directory_route){ .is_used = true, .is_gateway = true, .match = *match,
						.topic = topic };
	if (place == &d->routes[d->n_routes])
		d->n_routes++;
	return 0;
}

int hbus_directory_use(struct hbus_directory *d, const char *name, uint32_t *ret_counter_idx,
		       bool *ret_is_new)
{
	struct hbus_directory_topic *topic;
	int r = get_topic(d, name, &topic);

	if (r != 0)
		return r;
	*ret_is_new = !topic->is_of_gateway;
	topic->n_uses += *ret_is_new;
	topic->is_of_gateway = true;
	*ret_counter_idx = topic->counter_idx;
	return 0;
}

void hbus_directory_unuse(struct hbus_directory *d, const char *name)
{
	struct hbus_directory_topic *topic = find_topic(d, name);

	if (!topic || !topic->is_of_gateway)
		return;
	topic->is_of_gateway = false;
	topic->n_uses--;
}

uint32_t hbus_directory_n_routes(const struct hbus_directory *d)
{
	return d->n_routes;
}

const struct hbus_directory_route *hbus_directory_route_at(const struct hbus_directory *d,
							   uint32_t route_idx)
{
	return &d->routes[route_idx];
}

bool hbus_directory_route_is_wanted(const struct hbus_directory *d, uint32_t route_idx)
{
	const struct hbus_directory_route *route = &d->routes[route_idx];

	if (!route->is_batch)
		return route->topic->is_wanted;
	for (uint32_t i = 0; i < d->n_batch_topics; i++)
		if (d->batch_topics[i].topic->is_wanted &&
		    is_same_match(&d->batch_topics[i].match, &route->match))
			return true;
	return false;
}

/* ---- sources --------------------------------------------------------------------------- */

static uint32_t find_source(const struct hbus_directory *d, const struct hbus_plan_source *source)
{
	uint32_t i = 0;

	while (i < d->n_sources && (d->sources[i].family != source->family ||
				    d->sources[i].prefix_len != source->prefix_len ||
				    memcmp(d->sources[i].addr, source->addr, sizeof(source->addr))))
		i++;
	return i;
}

static void set_defaults(struct hbus_directory *d, const struct hbus_source_rule *rule)
{
	d->source_default = rule->is_deny ? HBUS_SOURCE_DENY : HBUS_SOURCE_ALLOW;
	d->rate.packets_per_s = rule->rate < HBUS_RATE_PPS_MAX ? rule->rate : HBUS_RATE_PPS_MAX;
	d->rate.burst = rule->burst < HBUS_BURST_MAX ? rule->burst : HBUS_BURST_MAX;
	if (d->rate.burst == 0)
		d->rate.burst = 1;
}

int hbus_directory_source(struct hbus_directory *d, const struct hbus_source_rule *rule)
{
	struct hbus_route as_route = { .family = rule->family, .prefix_len = rule->prefix_len };
	struct hbus_plan_source source = { .family = rule->family, .prefix_len = rule->prefix_len };
	struct hbus_route_match match;
	uint32_t i;

	if (rule->family == 0) {
		set_defaults(d, rule);
		return 0;
	}
	memcpy(as_route.address, rule->address, sizeof(as_route.address));
	if (make_match(&as_route, &match) != 0)
		return HBUS_DIRECTORY_INVALID;
	memcpy(source.addr, match.addr, sizeof(source.addr));
	source.action = rule->is_deny ? HBUS_SOURCE_DENY : HBUS_SOURCE_ALLOW;

	i = find_source(d, &source);
	if (rule->is_removed) {
		if (i == d->n_sources)
			return HBUS_DIRECTORY_UNKNOWN;
		d->sources[i] = d->sources[--d->n_sources];
		return 0;
	}
	if (i == HBUS_PLAN_SOURCES_MAX)
		return HBUS_DIRECTORY_FULL;
	d->sources[i] = source;
	if (i == d->n_sources)
		d->n_sources++;
	return 0;
}

uint32_t hbus_directory_n_sources(const struct hbus_directory *d)
{
	return d->n_sources;
}

const struct hbus_plan_source *hbus_directory_source_at(const struct hbus_directory *d,
							uint32_t source_idx)
{
	return &d->sources[source_idx];
}

uint32_t hbus_directory_source_default(const struct hbus_directory *d)
{
	return d->source_default;
}

struct hbus_rate hbus_directory_rate(const struct hbus_directory *d)
{
	return d->rate;
}

/* ---- plans ----------------------------------------------------------------------------- */

static struct hbus_plan_topic plan_topic(const struct hbus_directory_topic *topic)
{
	return (struct hbus_plan_topic){ .topic = topic->topic,
					 .counter_idx = topic->counter_idx,
					 .is_wanted = topic->is_wanted };
}

/* The batch routes among the plan's, so that each batch topic looks at few. */
struct batch_routes {
	uint32_t idx[HBUS_PLAN_BATCH_ROUTES_MAX];
	uint32_t n;
};

static void find_batch_routes(const struct hbus_plan_input *input, struct batch_routes *found)
{
	found->n = 0;
	for (uint32_t i = 0; i < input->n_routes; i++)
		if (input->routes[i].is_batch && found->n < HBUS_PLAN_BATCH_ROUTES_MAX)
			found->idx[found->n++] = i;
}

/* Batch topics whose route is not there (yet) are left out. */
static void collect_batch_topics(const struct hbus_directory *d, struct hbus_plan_input *input,
				 struct hbus_plan_batch_topic *batch_topics)
{
	struct batch_routes routes;

	find_batch_routes(input, &routes);
	for (uint32_t i = 0; i < d->n_batch_topics; i++) {
		const struct batch_topic *from = &d->batch_topics[i];
		uint32_t k = 0;

		while (k < routes.n &&
		       !is_same_match(&input->routes[routes.idx[k]].match, &from->match))
			k++;
		if (k == routes.n)
			continue;
		batch_topics[input->n_batch_topics++] = (struct hbus_plan_batch_topic){
			routes.idx[k], from->number, plan_topic(from->topic)
		};
	}
	input->batch_topics = batch_topics;
}

static void collect_routes(const struct hbus_directory *d, struct hbus_plan_input *input,
			   struct hbus_plan_route *routes)
{
	for (uint32_t i = 0; i < d->n_routes; i++) {
		const struct hbus_directory_route *from = &d->routes[i];

		if (from->is_used)
			routes[input->n_routes++] = (struct hbus_plan_route){
				.match = from->match, .is_batch = from->is_batch,
				.is_gateway = from->is_gateway, .topic = plan_topic(from->topic)
			};
	}
	input->routes = routes;
}

int hbus_directory_plan(const struct hbus_directory *d, struct hbus_plan **ret_plan)
{
	struct hbus_plan_input input = { .sources = d->sources, .n_sources = d->n_sources,
					 .source_default = d->source_default, .rate = d->rate };
	struct hbus_plan_route *routes = calloc(d->n_routes + 1, sizeof(*routes));
	struct hbus_plan_batch_topic *batch_topics =
		calloc(d->n_batch_topics + 1, sizeof(*batch_topics));
	int r = -ENOMEM;

	if (routes && batch_topics) {
		collect_routes(d, &input, routes);
		collect_batch_topics(d, &input, batch_topics);
		r = hbus_plan_new(&input, ret_plan);
	}
	free(routes);
	free(batch_topics);
	return r;
}
