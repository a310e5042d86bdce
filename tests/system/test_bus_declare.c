/* SPDX-License-Identifier: BSD-3-Clause */
/* What a poll loop asks of its publisher: topics that another thread declares, one time for a batch. */
#include <pthread.h>
#include <stdatomic.h>

#include "bus.h"

enum { N_TOPICS = 300 };

/* Between the two threads: numbers of topics, shown one by one. */
static hbus_topic_t topics[N_TOPICS];
static _Atomic int n_shown, is_over;
static uint64_t n_published;

static void *publish_all_the_time(void *context)
{
	struct hbus_publisher *publisher = context;
	unsigned char payload[8];
	int last = 0;

	while (last < N_TOPICS || !atomic_load_explicit(&is_over, memory_order_acquire)) {
		last = atomic_load_explicit(&n_shown, memory_order_acquire);
		OK(hbus_batch_begin(publisher));
		for (int i = 0; i < last; i += 1 + last / 16) {
			bus_fill(payload, sizeof(payload), n_published);
			OK(hbus_publish(publisher, topics[i], payload, sizeof(payload)));
			n_published++;
		}
		OK(hbus_batch_commit(publisher));
	}
	return NULL;
}

static void topics_are_declared_while_another_thread_publishes(void)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, HBUS_PUB_TIMESTAMP, -1);
	struct hbus_subscriber *sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "d/#");
	uint64_t numbers[256], next = 0;
	pthread_t thread;
	char name[32];
	size_t n;

	CHECK_EQ(pthread_create(&thread, NULL, publish_all_the_time, publisher), 0);
	for (int i = 0; i < N_TOPICS; i++) {
		snprintf(name, sizeof(name), "d/%d", i);
		OK(hbus_publisher_topic(publisher, name, NULL, NULL, &topics[i]));
		atomic_store_explicit(&n_shown, i + 1, memory_order_release);
		n = bus_collect(sub, numbers, 256, 0);
		for (size_t k = 0; k < n; k++)
			CHECK_EQ(numbers[k], next++);
	}
	atomic_store_explicit(&is_over, 1, memory_order_release);
	do {
		n = bus_collect(sub, numbers, 256, 500);
		for (size_t k = 0; k < n; k++)
			CHECK_EQ(numbers[k], next++);
	} while (n > 0);
	pthread_join(thread, NULL);
	CHECK_EQ(next, n_published);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void a_batch_has_one_time(void)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, HBUS_PUB_TIMESTAMP, 0);
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "t");
	struct hbus_event events[4];
	hbus_topic_t topic;
	int n = 0;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	for (int batch = 0; batch < 2; batch++) {
		OK(hbus_batch_begin(publisher));
		OK(hbus_publish(publisher, topic, "a", 1));
		bus_sleep_ms(2);
		OK(hbus_publish(publisher, topic, "b", 1));
		OK(hbus_batch_commit(publisher));
	}
	CHECK_EQ(hbus_wait(sub, 1000), 1);
	n = hbus_poll(sub, events, 4);
	CHECK_EQ(n, 4);
	CHECK(events[0].time_ns != 0);
	CHECK_EQ(events[0].time_ns, events[1].time_ns);
	CHECK_EQ(events[2].time_ns, events[3].time_ns);
	CHECK(events[2].time_ns > events[0].time_ns);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static const struct bus_case cases[] = {
	{"topics_are_declared_while_another_thread_publishes", topics_are_declared_while_another_thread_publishes},
	{"a_batch_has_one_time", a_batch_has_one_time},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
