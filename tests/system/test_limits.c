/* SPDX-License-Identifier: BSD-3-Clause */
/* Named limits, each met and then passed by one: the error that docs/LIMITS.md names, and all goes on. */
#include <sys/wait.h>

#include "bus.h"
#include "ctl/client/counter_set.h"
#include "ctl/client/publisher.h"
#include "ctl/daemon/config.h"
#include "ctl/daemon/policy.h"
#include "ctl/daemon/quota.h"
#include "ctl/proto/proto.h"
#include "shm/counters.h"
#include "shm/layout.h"

static struct hbus *bus;

static void names_of_topics(void)
{
	char name[HBUS_TOPIC_NAME_MAX + 2];

	bus = bus_open();
	memset(name, 'n', sizeof(name));
	name[HBUS_TOPIC_NAME_MAX] = '\0';
	OK(hbus_topic_declare(bus, name, NULL, NULL));
	name[HBUS_TOPIC_NAME_MAX] = 'n';
	name[HBUS_TOPIC_NAME_MAX + 1] = '\0';
	CHECK_EQ(hbus_topic_declare(bus, name, NULL, NULL), HBUS_E_NAME);
	for (uint32_t i = 0; i < HBUS_TOPIC_LEVELS_MAX; i++)
		memcpy(name + 2 * i, "l/", 3);
	name[2 * HBUS_TOPIC_LEVELS_MAX - 1] = '\0';
	OK(hbus_topic_declare(bus, name, NULL, NULL));
	memcpy(name + 2 * HBUS_TOPIC_LEVELS_MAX - 1, "/l", 3);
	CHECK_EQ(hbus_topic_declare(bus, name, NULL, NULL), HBUS_E_NAME);
	hbus_close(bus);
}

static int ring_status(uint64_t capacity)
{
	struct hbus_publisher_options options = {.struct_size = sizeof(options), .capacity = capacity,
						 .flags = HBUS_PUB_SMALL_PAGES};
	struct hbus_publisher *publisher = NULL;
	int r = hbus_publisher_open(bus, &options, &publisher);
	hbus_topic_t topic;

	if (r == 0) {
		r = hbus_publisher_topic(publisher, "t", NULL, NULL, &topic);
		hbus_publisher_close(publisher);
	}
	return r;
}

static void sizes_of_rings(void)
{
	bus = bus_open();
	CHECK_EQ(ring_status(HBUS_RING_CAPACITY_MIN), 0);
	CHECK_EQ(ring_status(HBUS_RING_CAPACITY_MIN / 2), HBUS_E_INVALID);
	CHECK_EQ(ring_status(HBUS_RING_CAPACITY_MIN * 3), HBUS_E_INVALID);
	CHECK_EQ(ring_status(HBUS_RING_CAPACITY_MAX), 0);
	CHECK_EQ(ring_status(HBUS_RING_CAPACITY_MAX * 2ull), HBUS_E_LIMIT);
	hbus_close(bus);
}

static void sizes_of_events(void)
{
	uint64_t most = hbus_record_max(65536) - HBUS_RECORD_HEADER;
	static char payload[65536];
	struct hbus_publisher *publisher;
	hbus_topic_t topic;

	bus = bus_open();
	publisher = bus_publisher(bus, 65536, 0, 0);
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	OK(hbus_publish(publisher, topic, payload, most));
	CHECK_EQ(hbus_publish(publisher, topic, payload, most + 1), HBUS_E_TOO_LARGE);
	OK(hbus_publish(publisher, topic, payload, most));
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void subscribers_of_a_client(void)
{
	struct hbus_subscriber *subs[HBUS_SUBSCRIBERS_PER_CLIENT_MAX], *one_more = NULL;

	bus_may_open_files(4096);
	bus = bus_open();
	for (uint32_t i = 0; i < HBUS_SUBSCRIBERS_PER_CLIENT_MAX; i++)
		subs[i] = bus_subscriber(bus, 0, HBUS_START_LATEST, NULL);
	CHECK_EQ(hbus_subscriber_open(bus, NULL, &one_more), HBUS_E_LIMIT);
	hbus_subscriber_close(subs[0]);
	OK(hbus_subscriber_open(bus, NULL, &subs[0]));
	for (uint32_t i = 0; i < HBUS_SUBSCRIBERS_PER_CLIENT_MAX; i++)
		hbus_subscriber_close(subs[i]);
	hbus_close(bus);
}

static void filters_of_a_subscriber(void)
{
	struct hbus_subscriber *sub;
	char filter[32];

	bus = bus_open();
	sub = bus_subscriber(bus, 0, HBUS_START_LATEST, NULL);
	for (uint32_t i = 0; i < HBUS_FILTERS_PER_SUBSCRIBER_MAX; i++) {
		snprintf(filter, sizeof(filter), "f/%u/+", i);
		OK(hbus_subscribe(sub, filter));
	}
	CHECK_EQ(hbus_subscribe(sub, "one/more"), HBUS_E_LIMIT);
	OK(hbus_unsubscribe(sub, "f/0/+"));
	OK(hbus_subscribe(sub, "one/more"));
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

/* The 65th reliable and the 257th of all attach too: they poll, and nobody waits for them. */
static void attach_to_one_ring(uint32_t flags, uint32_t most)
{
	struct hbus_subscriber *subs[HBUS_RING_WAKERS_MAX + 2];
	struct hbus_publisher_info info;
	struct hbus_publisher *publisher;
	struct hbus *other;
	hbus_topic_t topic;

	bus_may_open_files(4096);
	bus = bus_open();
	other = bus_open();
	publisher = bus_publisher(bus, 65536, 0, 1000);
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	for (uint32_t i = 0; i <= most; i++)
		subs[i] = bus_subscriber(i % 2 ? bus : other, flags, HBUS_START_LATEST, "t");
	OK(hbus_publisher_info(publisher, &info));
	CHECK_EQ(flags ? info.n_gates : info.n_wakers, most);
	OK(hbus_publish(publisher, topic, "everybody", 9));
	for (uint32_t i = 0; i <= most; i++) {
		struct hbus_event event;

		CHECK_EQ(hbus_wait(subs[i], 2000), 1);
		CHECK_EQ(hbus_poll(subs[i], &event, 1), 1);
		hbus_subscriber_close(subs[i]);
	}
	hbus_publisher_close(publisher);
	hbus_close(other);
	hbus_close(bus);
}

static void reliable_subscribers_of_a_ring(void)
{
	attach_to_one_ring(HBUS_SUB_FLAG_RELIABLE, HBUS_RING_GATES_MAX);
}

static void woken_subscribers_of_a_ring(void)
{
	attach_to_one_ring(0, HBUS_RING_WAKERS_MAX - HBUS_RING_GATES_MAX);
}

static void rings_of_a_publisher(void)
{
	struct hbus_publisher *publisher;
	char config[8192] = "policy = ( ", name[32];
	hbus_topic_t topic;

	for (uint32_t i = 0; i <= HBUS_PUBLISHER_RINGS_MAX; i++)
		snprintf(config + strlen(config), sizeof(config) - strlen(config),
			 "%s{ uid = %u; filter = \"p%u/#\"; allow = [ \"subscribe\" ]; }\n", i ? ", " : "", 60000 + i, i);
	strcat(config, " );\n");
	bus_daemon_configure(config, 0);
	bus = bus_open();
	publisher = bus_publisher(bus, 65536, 0, 0);
	for (uint32_t i = 0; i < HBUS_PUBLISHER_RINGS_MAX; i++) {
		snprintf(name, sizeof(name), "p%u/t", i);
		OK(hbus_publisher_topic(publisher, name, NULL, NULL, &topic));
	}
	snprintf(name, sizeof(name), "p%u/t", HBUS_PUBLISHER_RINGS_MAX);
	CHECK_EQ(hbus_publisher_topic(publisher, name, NULL, NULL, &topic), HBUS_E_LIMIT);
	OK(hbus_publisher_topic(publisher, "p0/u", NULL, NULL, &topic));
	OK(hbus_publish(publisher, topic, "x", 1));
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void counters(void)
{
	struct hbus_counter *cells;

	bus = bus_open();
	CHECK_EQ(hbus_counters_create(bus, "many", HBUS_COUNTERS_MAX + 1, &cells), HBUS_E_LIMIT);
	OK(hbus_counters_create(bus, "many", HBUS_COUNTERS_MAX, &cells));
	hbus_close(bus);
}

/* -- the configuration file -- */

static void print_rule(FILE *file, uint32_t i)
{
	fprintf(file, "{ uid = %u; filter = \"#\"; allow = [ \"subscribe\" ]; }", i);
}

static void print_user(FILE *file, uint32_t i)
{
	fprintf(file, "{ uid = %u; topics = 7; }", i);
}

static void print_topic(FILE *file, uint32_t i)
{
	fprintf(file, "{ name = \"t/%u\"; }", i);
}

static void print_route(FILE *file, uint32_t i)
{
	fprintf(file, "{ to = \"10.1.%u.%u\"; port = 5000; topic = \"t\"; }", i / 256 % 256, i % 256);
}

typedef void (*print_fn)(FILE *file, uint32_t i);

static int check_config(const char *before, print_fn print, uint32_t n, const char *after)
{
	const char *daemon = getenv("HUGEBUSD"), *build = getenv("HBUS_BUILD");
	char path[512], config[300], command[1200];
	int status;
	FILE *file;

	snprintf(config, sizeof(config), "%.200s.conf", bus_address);
	snprintf(path, sizeof(path), "%.400s/ctl/daemon/hugebusd", build ? build : "build");
	file = fopen(config, "w");
	CHECK(file);
	fputs(before, file);
	for (uint32_t i = 0; i < n; i++) {
		fputs(i ? ",\n" : "", file);
		print(file, i);
	}
	fputs(after, file);
	CHECK_EQ(fclose(file), 0);
	snprintf(command, sizeof(command), "'%s' --config %s --check-config >/dev/null 2>%s.err", daemon ? daemon : path, config, config);
	status = system(command);
	if (WEXITSTATUS(status) != 0) {
		snprintf(command, sizeof(command), "sed 's/^/# /' %s.err; grep -q 'conf:[0-9]' %s.err", config, config);
		CHECK_EQ(system(command), 0); /* file and line */
	}
	return WEXITSTATUS(status);
}

static void expect_most(const char *before, print_fn print, uint32_t most, const char *after)
{
	CHECK_EQ(check_config(before, print, most, after), 0);
	CHECK(check_config(before, print, most + 1, after) != 0);
}

static void entries_of_the_configuration(void)
{
	expect_most("policy = ( ", print_rule, HBUS_POLICY_RULES_MAX, " );\n");
	expect_most("quotas = { users = ( ", print_user, HBUS_QUOTA_OVERRIDES_MAX, " ); };\n");
	expect_most("topics = ( ", print_topic, HBUS_CONFIG_TOPICS_MAX, " );\n");
	expect_most("topics = ( { name = \"t\"; } );\nroutes = ( ", print_route,
		    HBUS_CONFIG_ROUTES_MAX, " );\n");
}

static const struct bus_case cases[] = {
	{"names_of_topics", names_of_topics},
	{"sizes_of_rings", sizes_of_rings},
	{"sizes_of_events", sizes_of_events},
	{"subscribers_of_a_client", subscribers_of_a_client},
	{"filters_of_a_subscriber", filters_of_a_subscriber},
	{"reliable_subscribers_of_a_ring", reliable_subscribers_of_a_ring},
	{"woken_subscribers_of_a_ring", woken_subscribers_of_a_ring},
	{"rings_of_a_publisher", rings_of_a_publisher},
	{"counters", counters},
	{"entries_of_the_configuration", entries_of_the_configuration},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
