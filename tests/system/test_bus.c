/* SPDX-License-Identifier: BSD-3-Clause */
/* Publishing and subscribing through a daemon: what arrives, in which order, under which name. */
#include "bus.h"

#define N 1000

static void publish_numbers(struct hbus_publisher *publisher, hbus_topic_t topic, uint64_t from, uint64_t n, size_t size)
{
	unsigned char payload[4096];

	for (uint64_t i = from; i < from + n; i++) {
		bus_fill(payload, size, i);
		OK(hbus_publish(publisher, topic, payload, size));
	}
}

static void what_is_published_arrives(void)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	struct hbus_subscriber *sub;
	struct hbus_event event;
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "a/b", NULL, NULL, &topic));
	sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "a/b");
	OK(hbus_publish(publisher, topic, "hello", 5));
	CHECK_EQ(hbus_wait(sub, 1000), 1);
	CHECK_EQ(hbus_poll(sub, &event, 1), 1);
	CHECK_EQ(event.size, 5);
	CHECK(memcmp(event.data, "hello", 5) == 0);
	CHECK(strcmp(event.topic, "a/b") == 0);
	CHECK_EQ(event.topic_id, topic);
	CHECK_EQ(event.sequence, 0);
	CHECK_EQ(hbus_release(sub), 0);
	bus_expect_quiet(sub);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void two_buses_in_one_process_meet(void)
{
	struct hbus *one = bus_open(), *two = bus_open();
	struct hbus_publisher *publisher = bus_publisher(one, 0, 0, 0);
	struct hbus_subscriber *sub = bus_subscriber(two, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "#");
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	publish_numbers(publisher, topic, 0, N, 64);
	bus_expect_numbers(sub, 0, N);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(one);
	hbus_close(two);
}

static void a_publisher_that_comes_later_is_read_from_its_first_event(void)
{
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "later/+");
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "later/x", NULL, NULL, &topic));
	publish_numbers(publisher, topic, 0, N, 24);
	bus_expect_numbers(sub, 0, N);
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

static void latest_begins_with_what_comes_next(void)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	struct hbus_subscriber *sub;
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	publish_numbers(publisher, topic, 0, 100, 16);
	sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	publish_numbers(publisher, topic, 100, 100, 16);
	bus_expect_numbers(sub, 100, 100);
	bus_expect_quiet(sub);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void earliest_begins_with_what_the_ring_still_holds(void)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	struct hbus_subscriber *sub;
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	publish_numbers(publisher, topic, 0, 100, 16);
	sub = bus_subscriber(bus, 0, HBUS_START_EARLIEST, "t");
	bus_expect_numbers(sub, 0, 100);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void a_position_is_resumed_to_the_event(void)
{
	struct hbus_subscriber_options options = {.struct_size = sizeof(options), .start = HBUS_START_POSITIONS};
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	struct hbus_publisher_info info;
	struct hbus_subscriber *sub;
	uint64_t run[10];
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	publish_numbers(publisher, topic, 0, 100, 16);
	for (uint64_t i = 0; i < 10; i++)
		run[i] = 100 + i;
	OK(hbus_publish_run(publisher, topic, run, 8, 10));
	publish_numbers(publisher, topic, 110, 10, 16);
	OK(hbus_publisher_info(publisher, &info));
	CHECK_EQ(info.sequence, 120);
	for (uint64_t from = 0; from < 120; from += 13) {
		OK(hbus_subscriber_open(bus, &options, &sub));
		OK(hbus_subscriber_resume_from(sub, info.ring_id, from));
		OK(hbus_subscribe(sub, "t"));
		CHECK_EQ(hbus_subscriber_resume_from(sub, info.ring_id, from), HBUS_E_BUSY);
		bus_expect_numbers(sub, from, 120 - from);
		hbus_subscriber_close(sub);
	}
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void filters_choose_and_the_rest_is_counted(void)
{
	static const char *const names[] = {"s/1/t", "s/2/t", "s/1/h", "x"};
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "s/+/t");
	struct hbus_subscriber_info info;
	struct hbus_event event;
	hbus_topic_t topics[4];

	for (int i = 0; i < 4; i++)
		OK(hbus_publisher_topic(publisher, names[i], NULL, NULL, &topics[i]));
	for (int round = 0; round < 10; round++)
		for (int i = 0; i < 4; i++)
			OK(hbus_publish(publisher, topics[i], names[i], strlen(names[i])));
	for (int i = 0; i < 20; i++) {
		CHECK_EQ(hbus_wait(sub, 1000), 1);
		CHECK_EQ(hbus_poll(sub, &event, 1), 1);
		CHECK(strcmp(event.topic, names[i % 2]) == 0);
		CHECK(memcmp(event.data, names[i % 2], event.size) == 0);
	}
	bus_expect_quiet(sub);
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_delivered, 20);
	CHECK_EQ(info.n_filtered, 20);
	CHECK_EQ(info.n_lost, 0);
	CHECK_EQ(info.n_rings, 1);
	OK(hbus_subscribe(sub, "x"));
	OK(hbus_publish(publisher, topics[3], "x", 1));
	CHECK_EQ(hbus_wait(sub, 1000), 1);
	CHECK_EQ(hbus_poll(sub, &event, 1), 1);
	CHECK(strcmp(event.topic, "x") == 0);
	OK(hbus_unsubscribe(sub, "x"));
	CHECK_EQ(hbus_unsubscribe(sub, "x"), HBUS_E_NOT_FOUND);
	OK(hbus_publish(publisher, topics[3], "x", 1));
	bus_expect_quiet(sub);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void unsubscribing_the_last_filter_leaves_the_ring(void)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	struct hbus_subscriber *sub;
	struct hbus_subscriber_info info;
	struct hbus_publisher_info publisher_info = {0};
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	publish_numbers(publisher, topic, 0, 10, 16);
	bus_expect_numbers(sub, 0, 10);
	OK(hbus_unsubscribe(sub, "t"));
	for (int i = 0; i < 100; i++) {
		bus_expect_quiet(sub);
		OK(hbus_subscriber_info(sub, &info));
		OK(hbus_publisher_info(publisher, &publisher_info));
		if (info.n_rings == 0 && publisher_info.n_gates == 0)
			break;
	}
	CHECK_EQ(info.n_rings, 0);
	CHECK_EQ(publisher_info.n_gates, 0);
	CHECK_EQ(info.n_delivered, 10);
	OK(hbus_subscribe(sub, "t"));
	publish_numbers(publisher, topic, 10, 10, 16);
	bus_expect_numbers(sub, 10, 10);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void publish_and_exit(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	publish_numbers(publisher, topic, 0, N, 32);
	if (context) /* properly; else it just dies */
		hbus_publisher_close(publisher);
}

static void what_was_published_arrives_when_the_publisher_has_exited(void)
{
	struct hbus *bus = bus_open();
	int properly = 1;

	for (int i = 0; i < 10; i++) {
		struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "#");
		struct hbus_subscriber_info info;

		bus_join(bus_fork(publish_and_exit, i % 2 ? &properly : NULL));
		bus_expect_numbers(sub, 0, N);
		for (int j = 0; j < 40; j++) {
			bus_expect_quiet(sub);
			OK(hbus_subscriber_info(sub, &info));
			if (info.n_rings == 0)
				break;
		}
		CHECK_EQ(info.n_rings, 0);
		CHECK_EQ(info.n_delivered, N);
		hbus_subscriber_close(sub);
	}
	hbus_close(bus);
}

static void topics_of_one_publisher_share_a_ring(void)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "many/#");
	struct hbus_publisher_info info;
	uint64_t numbers[300];
	hbus_topic_t topics[100], again;
	char name[32];

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		OK(hbus_publisher_topic(publisher, name, NULL, NULL, &topics[i]));
	}
	OK(hbus_publisher_topic(publisher, "many/7", NULL, NULL, &again));
	CHECK_EQ(again, topics[7]);
	for (uint64_t i = 0; i < 300; i++)
		publish_numbers(publisher, topics[i % 100], i, 1, 8);
	CHECK_EQ(bus_collect(sub, numbers, 300, 1000), 300);
	for (uint64_t i = 0; i < 300; i++)
		CHECK_EQ(numbers[i], i);
	OK(hbus_publisher_info(publisher, &info));
	CHECK_EQ(info.n_rings, 1);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static const struct bus_case cases[] = {
	{"what_is_published_arrives", what_is_published_arrives},
	{"two_buses_in_one_process_meet", two_buses_in_one_process_meet},
	{"a_publisher_that_comes_later_is_read_from_its_first_event",
	 a_publisher_that_comes_later_is_read_from_its_first_event},
	{"latest_begins_with_what_comes_next", latest_begins_with_what_comes_next},
	{"earliest_begins_with_what_the_ring_still_holds", earliest_begins_with_what_the_ring_still_holds},
	{"a_position_is_resumed_to_the_event", a_position_is_resumed_to_the_event},
	{"filters_choose_and_the_rest_is_counted", filters_choose_and_the_rest_is_counted},
	{"unsubscribing_the_last_filter_leaves_the_ring", unsubscribing_the_last_filter_leaves_the_ring},
	{"what_was_published_arrives_when_the_publisher_has_exited",
	 what_was_published_arrives_when_the_publisher_has_exited},
	{"topics_of_one_publisher_share_a_ring", topics_of_one_publisher_share_a_ring},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
