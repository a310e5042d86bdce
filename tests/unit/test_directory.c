/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The directory: routes, batch topics and interest in any order, what is refused, and the plans
 * that come of it.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>

#include "dataplane/directory.h"

static struct hbus_directory *directory;

static void setup(void)
{
	cr_assert_eq(hbus_directory_new(&directory), 0);
}

static void teardown(void)
{
	directory = hbus_directory_free(directory);
}

TestSuite(directory, .init = setup, .fini = teardown);

static struct hbus_route route(uint16_t kind, uint16_t port, uint32_t number, const char *topic)
{
	struct hbus_route r = { .family = 4, .prefix_len = 8, .port = port, .vlan = HBUS_VLAN_ANY,
				.kind = kind, .number = number, .address = { 10 } };

	snprintf(r.topic, sizeof(r.topic), "%s", topic);
	return r;
}

static int set(uint16_t kind, uint16_t port, uint32_t number, const char *topic)
{
	struct hbus_route r = route(kind, port, number, topic);

	return hbus_directory_route(directory, &r, true);
}

static int unset(uint16_t kind, uint16_t port, uint32_t number)
{
	struct hbus_route r = route(kind, port, number, "");

	return hbus_directory_route(directory, &r, false);
}

/* Gives every topic in use its own index as its number, as the control does. */
static uint32_t name_all(void)
{
	const struct hbus_directory_topic *topic;
	uint32_t cursor = 0, n = 0;

	while ((topic = hbus_directory_next_unnamed(directory, &cursor)) != NULL) {
		hbus_directory_name(directory, topic->counter_idx, topic->counter_idx);
		n++;
	}
	return n;
}

static struct hbus_plan *plan(void)
{
	struct hbus_plan *p = NULL;

	cr_assert_eq(hbus_directory_plan(directory, &p), 0);
	return p;
}

static const struct hbus_plan_path *look(const struct hbus_plan *p, uint16_t port)
{
	const uint8_t address[4] = { 10, 1, 2, 3 };
	uint32_t idx;

	return hbus_route_lookup(p->routes, 4, address, 0, port, &idx) ? &p->paths[idx] : NULL;
}

Test(directory, plans_a_route_with_its_topic_and_interest)
{
	struct hbus_plan *p;

	cr_assert_eq(set(HBUS_ROUTE_KIND_TOPIC, 5001, 0, "a/b"), 0);
	cr_assert_eq(name_all(), 1);
	p = plan();
	cr_assert_eq(look(p, 5001)->topic.topic, 1);
	cr_assert_not(look(p, 5001)->topic.is_wanted);
	cr_assert_null(look(p, 5002));
	hbus_plan_free(p);
	cr_assert_eq(hbus_directory_interest(directory, "a/b", true), 0);
	cr_assert_eq(hbus_directory_interest(directory, "a/c", true), HBUS_DIRECTORY_UNKNOWN);
	p = plan();
	cr_assert(look(p, 5001)->topic.is_wanted);
	cr_assert(hbus_directory_route_is_wanted(directory, 0));
	hbus_plan_free(p);
}

Test(directory, lets_routes_share_a_topic)
{
	struct hbus_plan *p;

	set(HBUS_ROUTE_KIND_TOPIC, 5001, 0, "a");
	set(HBUS_ROUTE_KIND_TOPIC, 5002, 0, "a");
	cr_assert_eq(name_all(), 1);
	cr_assert_eq(hbus_directory_n_topics(directory), 1);
	p = plan();
	cr_assert_eq(look(p, 5001)->topic.counter_idx, look(p, 5002)->topic.counter_idx);
	hbus_plan_free(p);
}

Test(directory, forgets_a_route_and_keeps_its_topic_for_the_next)
{
	struct hbus_plan *p;

	set(HBUS_ROUTE_KIND_TOPIC, 5001, 0, "a");
	name_all();
	cr_assert_eq(unset(HBUS_ROUTE_KIND_TOPIC, 5001, 0), 0);
	cr_assert_eq(unset(HBUS_ROUTE_KIND_TOPIC, 5001, 0), HBUS_DIRECTORY_UNKNOWN);
	p = plan();
	cr_assert_null(look(p, 5001));
	hbus_plan_free(p);
	set(HBUS_ROUTE_KIND_TOPIC, 5009, 0, "a");
	cr_assert_eq(hbus_directory_n_routes(directory), 1, "the place is used again");
	cr_assert_eq(name_all(), 0, "the topic has its number still");
	p = plan();
	cr_assert_eq(look(p, 5009)->topic.topic, 1);
	hbus_plan_free(p);
}

Test(directory, changes_the_topic_of_a_route)
{
	struct hbus_plan *p;

	set(HBUS_ROUTE_KIND_TOPIC, 5001, 0, "a");
	set(HBUS_ROUTE_KIND_TOPIC, 5001, 0, "b");
	cr_assert_eq(hbus_directory_n_routes(directory), 1);
	cr_assert_eq(name_all(), 1, "nothing leads to a any more");
	p = plan();
	cr_assert_eq(look(p, 5001)->topic.counter_idx, 2);
	hbus_plan_free(p);
}

Test(directory, joins_batch_topics_and_their_route_in_any_order)
{
	struct hbus_plan *p;

	set(HBUS_ROUTE_KIND_BATCH_TOPIC, 6000, 7, "seven");
	p = plan();
	cr_assert_null(look(p, 6000));
	hbus_plan_free(p);
	set(HBUS_ROUTE_KIND_BATCH, 6000, 0, "");
	set(HBUS_ROUTE_KIND_BATCH_TOPIC, 6000, 3, "three");
	set(HBUS_ROUTE_KIND_BATCH_TOPIC, 6001, 1, "elsewhere");
	cr_assert_eq(name_all(), 3);
	hbus_directory_interest(directory, "seven", true);
	cr_assert(hbus_directory_route_is_wanted(directory, 0));
	p = plan();
	cr_assert_eq(look(p, 6000)->numbers->n_numbers, 8);
	cr_assert(look(p, 6000)->topic.is_wanted);
	cr_assert(look(p, 6000)->numbers->topics[7].is_wanted);
	cr_assert(look(p, 6000)->numbers->topics[3].is_listed);
	cr_assert_not(look(p, 6000)->numbers->topics[3].is_wanted);
	cr_assert_not(look(p, 6000)->numbers->topics[4].is_listed);
	hbus_plan_free(p);
	unset(HBUS_ROUTE_KIND_BATCH_TOPIC, 6000, 7);
	cr_assert_not(hbus_directory_route_is_wanted(directory, 0));
}

Test(directory, refuses_what_is_not_a_route)
{
	struct hbus_route r = route(HBUS_ROUTE_KIND_TOPIC, 5001, 0, "a");

	r.family = 5;
	cr_assert_eq(hbus_directory_route(directory, &r, true), HBUS_DIRECTORY_INVALID);
	r = route(HBUS_ROUTE_KIND_TOPIC, 5001, 0, "a");
	r.prefix_len = 33;
	cr_assert_eq(hbus_directory_route(directory, &r, true), HBUS_DIRECTORY_INVALID);
	r = route(HBUS_ROUTE_KIND_TOPIC, 5001, 0, "");
	cr_assert_eq(hbus_directory_route(directory, &r, true), HBUS_DIRECTORY_INVALID);
	r = route(9, 5001, 0, "a");
	cr_assert_eq(hbus_directory_route(directory, &r, true), HBUS_DIRECTORY_INVALID);
	cr_assert_eq(set(HBUS_ROUTE_KIND_BATCH_TOPIC, 6000, 65536, "a"), HBUS_DIRECTORY_INVALID);
	cr_assert_eq(hbus_directory_n_topics(directory), 0);
	cr_assert_eq(hbus_directory_n_routes(directory), 0);
}

Test(directory, cuts_an_address_to_its_prefix)
{
	struct hbus_route r = route(HBUS_ROUTE_KIND_TOPIC, 5001, 0, "a");

	r.address[3] = 9;
	cr_assert_eq(hbus_directory_route(directory, &r, true), 0);
	cr_assert_eq(hbus_directory_route_at(directory, 0)->match.addr[3], 0);
}

Test(directory, holds_as_many_routes_as_the_filter_and_not_one_more)
{
	struct hbus_route r = route(HBUS_ROUTE_KIND_TOPIC, 0, 0, "a");

	r.prefix_len = 32;
	for (uint32_t i = 0; i < HBUS_PLAN_ROUTES_MAX; i++) {
		r.address[2] = (uint8_t)(i >> 8);
		r.address[3] = (uint8_t)i;
		/* Only the last ones are looked for among the others: a search walks them all. */
		if (i < HBUS_PLAN_ROUTES_MAX - 2 && i % 8 != 0)
			continue;
		cr_assert_eq(hbus_directory_route(directory, &r, true), 0);
	}
	for (uint16_t port = 1; hbus_directory_n_routes(directory) < HBUS_PLAN_ROUTES_MAX; port++) {
		r.port = port;
		cr_assert_eq(hbus_directory_route(directory, &r, true), 0);
	}
	r.port = 65535;
	cr_assert_eq(hbus_directory_route(directory, &r, true), HBUS_DIRECTORY_FULL);
	r.port = 1;
	cr_assert_eq(hbus_directory_route(directory, &r, true), 0, "one that is there may change");
	hbus_plan_free(plan());
}

Test(directory, follows_source_rules_and_their_default)
{
	struct hbus_source_rule rule = { .family = 4, .prefix_len = 24, .is_deny = 1,
					 .address = { 10, 0, 0, 77 } };
	const uint8_t inside[4] = { 10, 0, 0, 1 }, outside[4] = { 10, 0, 1, 1 };
	struct hbus_plan *p;

	cr_assert_eq(hbus_directory_source(directory, &rule), 0);
	p = plan();
	cr_assert_eq(hbus_plan_judge_source(p, 4, inside), HBUS_SOURCE_DENY);
	cr_assert_eq(hbus_plan_judge_source(p, 4, outside), HBUS_SOURCE_ALLOW);
	hbus_plan_free(p);
	rule.is_removed = 1;
	cr_assert_eq(hbus_directory_source(directory, &rule), 0);
	cr_assert_eq(hbus_directory_source(directory, &rule), HBUS_DIRECTORY_UNKNOWN);
	rule = (struct hbus_source_rule){ .is_deny = 1, .rate = 500, .burst = 0 };
	cr_assert_eq(hbus_directory_source(directory, &rule), 0);
	p = plan();
	cr_assert_eq(hbus_plan_judge_source(p, 4, outside), HBUS_SOURCE_DENY);
	cr_assert_eq(p->rate.packets_per_s, 500);
	cr_assert_eq(p->rate.burst, 1, "a bucket without room lets nothing pass");
	hbus_plan_free(p);
}
