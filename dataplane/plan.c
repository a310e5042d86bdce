/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Builds plans. Source rules use the route table too: a rule is a route by source address for any
 * VLAN and any port.
 */
#include "dataplane/plan.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static int build_routes(struct hbus_plan *plan, const struct hbus_plan_input *input)
{
	struct hbus_route_entry *entries = calloc(input->n_routes + 1, sizeof(*entries));
	int r;

	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < input->n_routes; i++)
		entries[i] = (struct hbus_route_entry){ input->routes[i].match, (uint32_t)i };
	r = hbus_route_table_new(entries, input->n_routes, NULL, &plan->routes);
	free(entries);
	return r;
}

static int build_sources(struct hbus_plan *plan, const struct hbus_plan_input *input)
{
	struct hbus_route_entry *entries;
	int r;

	plan->source_default = input->source_default;
	plan->judges_sources = input->n_sources > 0 || input->source_default == HBUS_SOURCE_DENY ||
			       (input->source_default == HBUS_SOURCE_ALLOW && input->rate.packets_per_s > 0);
	if (input->n_sources == 0)
		return 0;
	entries = calloc(input->n_sources, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < input->n_sources; i++) {
		const struct hbus_plan_source *source = &input->sources[i];

		entries[i].match.family = source->family;
		entries[i].match.prefix_len = source->prefix_len;
		entries[i].match.vlan = HBUS_VLAN_ANY;
		entries[i].match.port = HBUS_PORT_ANY;
		memcpy(entries[i].match.addr, source->addr, sizeof(source->addr));
		entries[i].target = source->action;
	}
	r = hbus_route_table_new(entries, input->n_sources, NULL, &plan->sources);
	free(entries);
	return r;
}

static bool is_batch_path(const struct hbus_plan_input *input, uint32_t route_idx)
{
	return route_idx < input->n_routes && input->routes[route_idx].is_batch;
}

/* How many topics the array of a batch route must hold. */
static int size_numbers(const struct hbus_plan_input *input, size_t *n_numbers)
{
	size_t n_batch_routes = 0;

	for (size_t i = 0; i < input->n_routes; i++)
		n_batch_routes += input->routes[i].is_batch;
	if (n_batch_routes > HBUS_PLAN_BATCH_ROUTES_MAX)
		return -EINVAL;
	for (size_t i = 0; i < input->n_batch_topics; i++) {
		const struct hbus_plan_batch_topic *topic = &input->batch_topics[i];

		if (!is_batch_path(input, topic->route_idx))
			return -EINVAL;
		if (n_numbers[topic->route_idx] < (size_t)topic->number + 1)
			n_numbers[topic->route_idx] = (size_t)topic->number + 1;
	}
	return 0;
}

static int build_numbers(struct hbus_plan *plan, const struct hbus_plan_input *input,
			 const size_t *n_numbers)
{
	for (size_t i = 0; i < input->n_routes; i++) {
		struct hbus_plan_numbers *numbers;

		if (!input->routes[i].is_batch)
			continue;
		numbers = calloc(1, sizeof(*numbers) + n_numbers[i] * sizeof(*numbers->topics));
		if (!numbers)
			return -ENOMEM;
		numbers->n_numbers = (uint32_t)n_numbers[i];
		plan->paths[i].numbers = numbers;
	}
	for (size_t i = 0; i < input->n_batch_topics; i++) {
		const struct hbus_plan_batch_topic *topic = &input->batch_topics[i];
		struct hbus_plan_path *path = &plan->paths[topic->route_idx];

		path->numbers->topics[topic->number] = topic->topic;
		path->numbers->topics[topic->number].is_listed = true;
		path->topic.is_wanted |= topic->topic.is_wanted;
	}
	return 0;
}

static int build_paths(struct hbus_plan *plan, const struct hbus_plan_input *input)
{
	size_t *n_numbers = calloc(input->n_routes + 1, sizeof(*n_numbers));
	int r;

	if (!n_numbers)
		return -ENOMEM;
	for (size_t i = 0; i < input->n_routes; i++) {
		plan->paths[i].topic = input->routes[i].topic;
		plan->paths[i].is_gateway = input->routes[i].is_gateway;
		if (input->routes[i].is_batch)
			plan->paths[i].topic.is_wanted = false;
	}
	r = size_numbers(input, n_numbers);
	if (r == 0)
		r = build_numbers(plan, input, n_numbers);
	free(n_numbers);
	return r;
}

int hbus_plan_new(const struct hbus_plan_input *input, struct hbus_plan **ret_plan)
{
	static _Atomic uint64_t n_plans;
	struct hbus_plan *plan;
	int r;

	if (input->n_routes > HBUS_PLAN_ROUTES_MAX || input->n_sources > HBUS_PLAN_SOURCES_MAX)
		return HBUS_ROUTE_TOO_MANY;
	plan = calloc(1, sizeof(*plan) + input->n_routes * sizeof(*plan->paths));
	if (!plan)
		return -ENOMEM;
	/* relaxed: what is asked for is a number that nobody else has */
	plan->number = 1 + atomic_fetch_add_explicit(&n_plans, 1, memory_order_relaxed);
	plan->n_paths = input->n_routes;
	plan->rate = input->rate;
	r = build_routes(plan, input);
	if (r == 0)
		r = build_sources(plan, input);
	if (r == 0)
		r = build_paths(plan, input);
	if (r != 0) {
		hbus_plan_free(plan);
		return r;
	}
	*ret_plan = plan;
	return 0;
}

struct hbus_plan *hbus_plan_free(struct hbus_plan *plan)
{
	if (!plan)
		return NULL;
	for (size_t i = 0; i < plan->n_paths; i++)
		free(plan->paths[i].numbers);
	hbus_route_table_free(plan->sources);
	hbus_route_table_free(plan->routes);
	free(plan);
	return NULL;
}

uint32_t hbus_plan_judge_source(const struct hbus_plan *plan, uint8_t family,
				const uint8_t *source)
{
	uint32_t action;

	if (plan->sources &&
	    hbus_route_lookup(plan->sources, family, source, 0, HBUS_PORT_ANY, &action))
		return action;
	return plan->source_default;
}
