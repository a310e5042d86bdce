/* SPDX-License-Identifier: BSD-3-Clause */
/* Many of everything: processes, topics, rings; nothing is lost, order holds, nothing gets slow. */
#include <unistd.h>

#include "bus.h"

#define PUBLISHERS 8
#define SUBSCRIBERS 8
#define TOPICS 4
#define EVENTS 20000u /* of each publisher */

struct event {
	uint64_t publisher;
	uint64_t number;
	uint64_t topic;
};

static int go[2], ready[2];

static void tell(int fd)
{
	CHECK_EQ(write(fd, "x", 1), 1);
}

static void hear(int fd)
{
	char byte;

	CHECK_EQ(read(fd, &byte, 1), 1);
}

static void publish_all(void *context)
{
	struct event event = {.publisher = (uintptr_t)context};
	struct hbus_publisher *publisher = bus_publisher(bus_open(), 262144, HBUS_PUB_SMALL_PAGES, 20000);
	hbus_topic_t topics[TOPICS];
	char name[16];

	for (int i = 0; i < TOPICS; i++) {
		snprintf(name, sizeof(name), "topic/%d", i);
		OK(hbus_publisher_topic(publisher, name, NULL, NULL, &topics[i]));
	}
	tell(ready[1]);
	hear(go[0]);
	for (; event.number < EVENTS; event.number++) {
		event.topic = (event.number + event.publisher) % TOPICS;
		OK(hbus_publish(publisher, topics[event.topic], &event, sizeof(event)));
	}
	hbus_publisher_close(publisher);
}

/* Subscriber i reads all topics when it is even, else one of them. Those below half are reliable. */
static void read_all(void *context)
{
	uint64_t index = (uintptr_t)context, next[PUBLISHERS] = {0}, n = 0, n_lost = 0;
	uint64_t n_all = (uint64_t)PUBLISHERS * EVENTS, n_wanted = index % 2 ? n_all / TOPICS : n_all;
	uint64_t n_before = 0, last_ms = bus_now_ms();
	bool is_reliable = index < SUBSCRIBERS / 2;
	struct hbus_subscriber_info info = {0};
	struct hbus_subscriber *sub;
	struct hbus_loss loss;
	char filter[16];

	snprintf(filter, sizeof(filter), index % 2 ? "topic/%d" : "topic/+", (int)(index / 2 % TOPICS));
	sub = bus_subscriber(bus_open(), is_reliable ? HBUS_SUB_FLAG_RELIABLE : 0, HBUS_START_LATEST, filter);
	tell(ready[1]);
	while (info.n_delivered + info.n_filtered + info.n_lost < n_all) {
		struct hbus_event events[64];
		int got = hbus_poll(sub, events, 64);

		CHECK(got >= 0);
		for (int i = 0; i < got; i++) {
			struct event event;

			memcpy(&event, events[i].data, sizeof(event));
			if (!is_reliable && hbus_release(sub) == HBUS_LAPPED)
				break;
			CHECK(event.publisher < PUBLISHERS);
			CHECK(event.number >= next[event.publisher]);
			if (is_reliable && index % 2 == 0)
				CHECK_EQ(event.number, next[event.publisher]);
			next[event.publisher] = event.number + 1;
			CHECK_EQ(events[i].topic[6] - '0', event.topic);
			n++;
			if (!is_reliable)
				break; /* one at a time: the check above was for this one */
		}
		/*
		 * The last events of a ring may be of other topics: they are counted, and end no wait. How long it takes until
		 * all publishers are there, before the first event, is the machine's business.
		 */
		OK(hbus_subscriber_info(sub, &info));
		if (n_before == 0 || info.n_delivered + info.n_filtered + info.n_lost > n_before)
			last_ms = bus_now_ms();
		n_before = info.n_delivered + info.n_filtered + info.n_lost;
		CHECK(bus_now_ms() - last_ms < 10000);
		if (got == 0 && n_before < n_all)
			hbus_wait(sub, 50);
	}
	while (hbus_next_loss(sub, &loss) == 1)
		n_lost += loss.n_events;
	CHECK_EQ(info.n_lost, n_lost);
	CHECK_EQ(info.n_delivered + info.n_filtered + info.n_lost, n_all);
	if (is_reliable) {
		CHECK_EQ(info.n_lost, 0);
		CHECK_EQ(n, n_wanted);
		CHECK_EQ(info.n_delivered, n_wanted);
	}
}

static void eight_publishers_and_eight_subscribers_account_for_every_event(void)
{
	pid_t pids[PUBLISHERS + SUBSCRIBERS];

	CHECK_EQ(pipe(go), 0);
	CHECK_EQ(pipe(ready), 0);
	for (uintptr_t i = 0; i < SUBSCRIBERS; i++) {
		pids[i] = bus_fork(read_all, (void *)i);
		hear(ready[0]);
	}
	for (uintptr_t i = 0; i < PUBLISHERS; i++) {
		pids[SUBSCRIBERS + i] = bus_fork(publish_all, (void *)i);
		hear(ready[0]);
	}
	for (int i = 0; i < PUBLISHERS; i++)
		tell(go[1]);
	for (int i = 0; i < PUBLISHERS + SUBSCRIBERS; i++)
		bus_join(pids[i]);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* One thread publishes and reads: what is measured is the search among the idle ones. */
static void one_active_ring_among_a_thousand_is_found_at_once(void)
{
	enum { RINGS = 1000, ROUNDS = 2000 };
	static struct hbus_publisher *publishers[RINGS];
	static uint64_t spans_us[ROUNDS];
	struct hbus *bus, *publisher_bus;
	struct hbus_subscriber *sub;
	hbus_topic_t topic = 0;

	bus_may_open_files(8192);
	bus = bus_open();
	publisher_bus = bus_open();
	sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "#");
	for (int i = 0; i < RINGS; i++) {
		publishers[i] = bus_publisher(publisher_bus, 65536, HBUS_PUB_SMALL_PAGES, 0);
		if (hbus_publisher_topic(publishers[i], "t", NULL, NULL, &topic) == HBUS_E_QUOTA)
			bus_skip("the quota of this user does not allow 1000 rings");
		CHECK(topic != 0);
	}
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin_us = bus_now_us(), number = (uint64_t)i;
		struct hbus_event event;

		OK(hbus_publish(publishers[RINGS / 2], topic, &number, sizeof(number)));
		while (hbus_poll(sub, &event, 1) == 0)
			CHECK(bus_now_us() - begin_us < 1000000);
		spans_us[i] = bus_now_us() - begin_us;
		CHECK_EQ(*(const uint64_t *)event.data, number);
	}
	qsort(spans_us, ROUNDS, sizeof(spans_us[0]), compare);
	printf("# 1000 rings, one active: p50 %llu us, p99 %llu us\n", (unsigned long long)spans_us[ROUNDS / 2],
	       (unsigned long long)spans_us[ROUNDS * 99 / 100]);
	CHECK(spans_us[ROUNDS / 2] < 200);
	for (int i = 0; i < RINGS; i++)
		hbus_publisher_close(publishers[i]);
	hbus_subscriber_close(sub);
	hbus_close(bus);
	hbus_close(publisher_bus);
}

static void ten_thousand_topics_take_one_ring(void)
{
	enum { NUMBER = 10000 };
	static hbus_topic_t topics[NUMBER];
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	struct hbus_subscriber *sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "n/+/x");
	struct hbus_publisher_info info;
	char name[32];

	for (int i = 0; i < NUMBER; i++) {
		snprintf(name, sizeof(name), "n/%d/%c", i, i % 2 ? 'x' : 'y');
		if (hbus_publisher_topic(publisher, name, NULL, NULL, &topics[i]) == HBUS_E_QUOTA)
			bus_skip("the quota of this user does not allow 10000 topics");
		CHECK(topics[i] != 0);
	}
	OK(hbus_publisher_info(publisher, &info));
	CHECK_EQ(info.n_rings, 1);
	for (uint64_t i = 0; i < NUMBER; i++) {
		struct hbus_event event;

		OK(hbus_publish(publisher, topics[i], &i, sizeof(i)));
		if (i % 2 == 0)
			continue;
		CHECK_EQ(hbus_wait(sub, 2000), 1);
		CHECK_EQ(hbus_poll(sub, &event, 1), 1);
		CHECK(memcmp(event.data, &i, sizeof(i)) == 0);
		snprintf(name, sizeof(name), "n/%d/x", (int)i);
		CHECK(strcmp(event.topic, name) == 0);
	}
	/* And all of them once more after a restart. */
	bus_daemon_kill();
	bus_daemon_start();
	OK(hbus_publisher_topic(publisher, "n/new/x", NULL, NULL, &topics[0]));
	OK(hbus_publish(publisher, topics[0], "x", 1));
	CHECK_EQ(hbus_wait(sub, 2000), 1);
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

static const struct bus_case cases[] = {
	{"eight_publishers_and_eight_subscribers_account_for_every_event",
	 eight_publishers_and_eight_subscribers_account_for_every_event},
	{"one_active_ring_among_a_thousand_is_found_at_once", one_active_ring_among_a_thousand_is_found_at_once},
	{"ten_thousand_topics_take_one_ring", ten_thousand_topics_take_one_ring},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
