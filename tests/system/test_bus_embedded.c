/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus inside one process: opened more than once, ended with the last, and opened again. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "bus.h"

static struct hbus *open_embedded(void)
{
	struct hbus *bus = NULL;
	int r = hbus_open("embedded:", NULL, &bus);

	if (r == HBUS_E_NOT_FOUND)
		bus_skip(hbus_error_text());
	OK(r);
	return bus;
}

static void exchange(struct hbus *from, struct hbus *to, uint64_t n)
{
	static atomic_uint n_names;
	struct hbus_subscriber *sub;
	struct hbus_publisher *publisher = bus_publisher(from, 0, 0, 0);
	uint64_t numbers[64];
	hbus_topic_t topic;
	char name[32];

	snprintf(name, sizeof(name), "t/%u", n_names++);
	sub = bus_subscriber(to, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, name);
	OK(hbus_publisher_topic(publisher, name, NULL, NULL, &topic));
	for (uint64_t i = 0; i < n; i++)
		OK(hbus_publish(publisher, topic, &i, sizeof(i)));
	for (uint64_t next = 0; next < n;) {
		size_t got = bus_collect(sub, numbers, n - next < 64 ? n - next : 64, 1000);

		CHECK(got > 0);
		for (size_t i = 0; i < got; i++)
			CHECK_EQ(numbers[i], next++);
	}
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
}

static void a_process_has_a_bus_of_its_own(void)
{
	struct hbus *one = open_embedded(), *two;

	exchange(one, one, 1000);
	two = open_embedded();
	exchange(one, two, 1000);
	hbus_close(one);
	exchange(two, two, 1000);
	hbus_close(two);
	for (int i = 0; i < 10; i++) {
		one = open_embedded();
		exchange(one, one, 100);
		hbus_close(one);
	}
}

static void *open_and_close(void *context)
{
	(void)context;
	for (int i = 0; i < 10; i++) {
		struct hbus *bus = open_embedded();

		exchange(bus, bus, 10);
		hbus_close(bus);
	}
	return NULL;
}

static void threads_open_and_close_it_as_they_like(void)
{
	pthread_t threads[4];

	hbus_close(open_embedded());
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static void use_in_child(void *context)
{
	struct hbus *bus;

	hbus_close(context);
	bus = open_embedded();
	exchange(bus, bus, 100);
	hbus_close(bus);
}

static void a_child_has_another(void)
{
	struct hbus *bus = open_embedded();

	exchange(bus, bus, 100);
	bus_join(bus_fork(use_in_child, bus));
	exchange(bus, bus, 100);
	hbus_close(bus);
}

static const struct bus_case cases[] = {
	{"a_process_has_a_bus_of_its_own", a_process_has_a_bus_of_its_own},
	{"threads_open_and_close_it_as_they_like", threads_open_and_close_it_as_they_like},
	{"a_child_has_another", a_child_has_another},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
