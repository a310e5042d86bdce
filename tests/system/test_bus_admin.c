/* SPDX-License-Identifier: BSD-3-Clause */
/* Topics, routes, lists, counters, and what steers an ingress. */
#include <pthread.h>
#include <stdatomic.h>

#include "bus.h"

struct found {
	const char *name;
	int n;
	struct hbus_row row;
};

static int find_row(const struct hbus_row *row, void *context)
{
	struct found *found = context;

	if (strcmp(row->name, found->name) == 0 || strcmp(row->route.topic, found->name) == 0) {
		found->row = *row;
		found->n++;
	}
	return 0;
}

static struct found list(struct hbus *bus, uint32_t kind, const char *name)
{
	struct found found = {.name = name};

	OK(hbus_list(bus, kind, find_row, &found));
	return found;
}

static int stop_at_first(const struct hbus_row *row, void *context)
{
	(void)row;
	return ++*(int *)context == 3 ? 42 : 0;
}

static void topics_are_declared_listed_and_removed(void)
{
	struct hbus *bus = bus_open();
	char name[32];
	int n = 0;

	OK(hbus_topic_declare(bus, "a/b", "com.example.reading", "application/json"));
	OK(hbus_topic_declare(bus, "a/b", "com.example.reading", "application/json"));
	CHECK_EQ(list(bus, HBUS_ROW_TOPIC, "a/b").n, 1);
	CHECK(strcmp(list(bus, HBUS_ROW_TOPIC, "a/b").row.text, "com.example.reading|application/json") == 0);
	CHECK_EQ(hbus_topic_declare(bus, "a/+", NULL, NULL), HBUS_E_NAME);
	bus_daemon_kill();
	bus_daemon_start();
	CHECK_EQ(list(bus, HBUS_ROW_TOPIC, "a/b").n, 1);
	OK(hbus_topic_remove(bus, "a/b"));
	CHECK_EQ(list(bus, HBUS_ROW_TOPIC, "a/b").n, 0);
	CHECK(hbus_topic_remove(bus, "a/b") < 0);
	for (int i = 0; i < 200; i++) { /* more than a page */
		snprintf(name, sizeof(name), "page/%d", i);
		OK(hbus_topic_declare(bus, name, NULL, NULL));
	}
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "page/%d", i);
		CHECK_EQ(list(bus, HBUS_ROW_TOPIC, name).n, 1);
	}
	CHECK_EQ(hbus_list(bus, HBUS_ROW_TOPIC, stop_at_first, &n), 42);
	CHECK_EQ(n, 3);
	hbus_close(bus);
}

static void counters_are_seen_by_others(void)
{
	struct hbus *bus = bus_open(), *other = bus_open();
	struct hbus_counter *counters = NULL;
	struct found found;

	CHECK_EQ(hbus_counters_create(bus, "test", 4097, &counters), HBUS_E_LIMIT);
	CHECK_EQ(hbus_counters_create(bus, "test", 0, &counters), HBUS_E_INVALID);
	OK(hbus_counters_create(bus, "test", 2, &counters));
	strcpy(counters[0].name, "packets.received");
	counters[0].value = 12345;
	found = list(other, HBUS_ROW_COUNTER, "packets.received");
	CHECK_EQ(found.n, 1);
	CHECK_EQ(found.row.value[0], 12345);
	bus_daemon_kill();
	bus_daemon_start();
	for (int i = 0; i < 100 && hbus_is_connected(bus) != 1; i++)
		bus_sleep_ms(20);
	counters[0].value++;
	CHECK_EQ(list(other, HBUS_ROW_COUNTER, "packets.received").row.value[0], 12346);
	hbus_close(bus);
	hbus_close(other);
}

/* -- what an ingress hears -- */

static atomic_int n_routes, n_wanted;
static _Atomic uint32_t last_topic;

static void on_route(void *context, const struct hbus_route *route, int is_set)
{
	(void)context;
	CHECK(route->family == 4);
	n_routes += is_set ? 1 : -1;
}

static void on_interest(void *context, hbus_topic_t topic, const char *name, int is_wanted)
{
	(void)context;
	CHECK(strcmp(name, "wanted") == 0);
	atomic_store_explicit(&last_topic, topic, memory_order_relaxed); /* relaxed: n_wanted orders it */
	n_wanted += is_wanted ? 1 : -1;
}

static bool becomes(atomic_int *value, int wanted)
{
	for (int i = 0; i < 300 && *value != wanted; i++)
		bus_sleep_ms(10);
	return *value == wanted;
}

static struct hbus *open_ingress(void)
{
	struct hbus_options options = {.struct_size = sizeof(options),
				       .flags = HBUS_OPEN_WANTS_INTEREST | HBUS_OPEN_WANTS_ROUTES};
	struct hbus *bus = NULL;

	OK(hbus_open(bus_address, &options, &bus));
	return bus;
}

static struct hbus_route route_number(uint8_t number)
{
	struct hbus_route route = {.family = 4, .prefix_len = 32, .address = {10, 0, 0, number}, .port = 5000,
				   .vlan = HBUS_VLAN_ANY, .kind = HBUS_ROUTE_KIND_TOPIC};

	strcpy(route.topic, "wanted");
	return route;
}

static void routes_reach_an_ingress_and_survive_a_restart(void)
{
	struct hbus *bus = bus_open(), *ingress;
	struct hbus_route routes[3] = {route_number(1), route_number(2), route_number(3)};

	CHECK_EQ(hbus_set_route_handler(bus, on_route, NULL), HBUS_E_INVALID);
	OK(hbus_route_add(bus, &routes[0]));
	ingress = open_ingress();
	bus_sleep_ms(20); /* they come before the handler is there */
	OK(hbus_set_route_handler(ingress, on_route, NULL));
	CHECK(becomes(&n_routes, 1));
	OK(hbus_route_add(bus, &routes[1]));
	OK(hbus_route_add(bus, &routes[2]));
	CHECK(becomes(&n_routes, 3));
	OK(hbus_route_remove(bus, &routes[1]));
	CHECK(becomes(&n_routes, 2));
	CHECK(hbus_route_remove(bus, &routes[1]) < 0);
	CHECK_EQ(list(bus, HBUS_ROW_ROUTE, "wanted").n, 2);
	bus_daemon_kill();
	bus_daemon_start();
	OK(hbus_route_remove(bus, &routes[2]));
	CHECK(becomes(&n_routes, 1));
	bus_sleep_ms(300);
	CHECK_EQ(n_routes, 1); /* what was known is not told again */
	routes[0].family = 5;
	CHECK_EQ(hbus_route_add(bus, &routes[0]), HBUS_E_INVALID);
	hbus_close(ingress);
	hbus_close(bus);
}

static void interest_comes_with_the_first_subscriber_and_goes_with_the_last(void)
{
	struct hbus *bus = bus_open(), *ingress = open_ingress();
	struct hbus_publisher *publisher = bus_publisher(ingress, 0, 0, 0);
	struct hbus_subscriber *one, *two;
	hbus_topic_t topic;

	OK(hbus_set_interest_handler(ingress, on_interest, NULL));
	OK(hbus_publisher_topic(publisher, "wanted", NULL, NULL, &topic));
	bus_sleep_ms(100);
	n_wanted = 0; /* it may be told that nobody wants it yet */
	one = bus_subscriber(bus, 0, 0, "wanted");
	CHECK(becomes(&n_wanted, 1));
	CHECK_EQ(atomic_load_explicit(&last_topic, memory_order_relaxed), topic); /* relaxed: as above */
	two = bus_subscriber(bus, 0, 0, "#");
	hbus_subscriber_close(one);
	bus_sleep_ms(100);
	CHECK_EQ(n_wanted, 1);
	hbus_subscriber_close(two);
	CHECK(becomes(&n_wanted, 0));
	hbus_publisher_close(publisher);
	hbus_close(ingress);
	hbus_close(bus);
}

static const struct bus_case cases[] = {
	{"topics_are_declared_listed_and_removed", topics_are_declared_listed_and_removed},
	{"counters_are_seen_by_others", counters_are_seen_by_others},
	{"routes_reach_an_ingress_and_survive_a_restart", routes_reach_an_ingress_and_survive_a_restart},
	{"interest_comes_with_the_first_subscriber_and_goes_with_the_last",
	 interest_comes_with_the_first_subscriber_and_goes_with_the_last},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
