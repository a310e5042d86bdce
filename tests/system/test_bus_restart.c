/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens between the end of one daemon and the return of everybody to the next. */
#include <poll.h>
#include <signal.h>

#include "bus.h"

static struct hbus *open_without_thread(void)
{
	struct hbus_options options = {.struct_size = sizeof(options), .flags = HBUS_OPEN_NO_THREAD};
	struct hbus *bus = NULL;

	OK(hbus_open(bus_address, &options, &bus));
	return bus;
}

static void dispatch_for(struct hbus *bus, unsigned int ms)
{
	uint64_t until_ms = bus_now_ms() + ms;

	while (bus_now_ms() < until_ms) {
		struct pollfd waiter = {.fd = hbus_control_fd(bus), .events = POLLIN};

		poll(&waiter, 1, 5);
		OK(hbus_dispatch(bus));
	}
}

static void publish_numbers(struct hbus_publisher *publisher, hbus_topic_t topic, uint64_t from, uint64_t n)
{
	for (uint64_t i = from; i < from + n; i++)
		OK(hbus_publish(publisher, topic, &i, sizeof(i)));
}

static void wait_attached(struct hbus_subscriber *sub)
{
	struct hbus_subscriber_info info = {0};

	while (info.n_rings == 0)
		OK(hbus_subscriber_info(sub, &info));
}

/* The subscriber comes back only after a new publisher has begun: it has subscribed before, so it gets all. */
static void a_subscriber_that_comes_back_late_misses_nothing(void)
{
	for (int round = 0; round < 4; round++) {
		struct hbus *slow = open_without_thread(), *bus;
		struct hbus_subscriber *sub = bus_subscriber(slow, round % 2 ? HBUS_SUB_FLAG_RELIABLE : 0,
							     HBUS_START_LATEST, "t/#");
		struct hbus_publisher *publisher;
		hbus_topic_t topic;

		bus_daemon_kill();
		bus_daemon_start();
		bus = bus_open();
		publisher = bus_publisher(bus, 0, 0, 0);
		OK(hbus_publisher_topic(publisher, "t/new", NULL, NULL, &topic));
		publish_numbers(publisher, topic, 0, 100);
		dispatch_for(slow, 200);
		publish_numbers(publisher, topic, 100, 100);
		bus_expect_numbers(sub, 0, 200);
		hbus_publisher_close(publisher);
		hbus_subscriber_close(sub);
		hbus_close(bus);
		hbus_close(slow);
	}
}

static void a_publisher_that_comes_back_late_is_read_without_a_gap(void)
{
	struct hbus *slow = open_without_thread(), *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "#");
	struct hbus_publisher *publisher = bus_publisher(slow, 0, 0, 0);
	hbus_topic_t topic, second;
	uint64_t n = 0;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	wait_attached(sub);
	for (int round = 0; round < 4; round++, n += 200) {
		publish_numbers(publisher, topic, n, 50);
		bus_daemon_kill();
		publish_numbers(publisher, topic, n + 50, 50);
		bus_daemon_start();
		publish_numbers(publisher, topic, n + 100, 50);
		dispatch_for(slow, 400);
		publish_numbers(publisher, topic, n + 150, 50);
		bus_expect_numbers(sub, n, 200);
	}
	OK(hbus_publisher_topic(publisher, "u", NULL, NULL, &second));
	publish_numbers(publisher, second, 0, 10);
	bus_expect_numbers(sub, 0, 10);
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(bus);
	hbus_close(slow);
}

/* Longer than the daemon waits for those of whom it does not know whether they live. */
static void a_publisher_that_lives_and_stays_away_keeps_its_readers(void)
{
	struct hbus *slow = open_without_thread(), *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "#");
	struct hbus_publisher *publisher = bus_publisher(slow, 0, 0, 0);
	struct hbus_subscriber_info info;
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	wait_attached(sub);
	publish_numbers(publisher, topic, 0, 50);
	bus_expect_numbers(sub, 0, 50);
	bus_daemon_kill();
	bus_daemon_start();
	CHECK_EQ(hbus_wait(sub, 5600), 0);
	publish_numbers(publisher, topic, 50, 50);
	dispatch_for(slow, 200);
	publish_numbers(publisher, topic, 100, 50);
	bus_expect_numbers(sub, 50, 100);
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_rings, 1);
	CHECK_EQ(info.n_lost, 0);
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(bus);
	hbus_close(slow);
}

static void a_daemon_that_dies_again_and_again_costs_nothing(void)
{
	struct hbus *publisher_bus = bus_open(), *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	struct hbus_publisher *publisher = bus_publisher(publisher_bus, 0, 0, 0);
	struct hbus_subscriber_info info;
	hbus_topic_t topic;
	uint64_t n = 0;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	for (unsigned int round = 0; round < 25; round++) {
		publish_numbers(publisher, topic, n, 100);
		bus_daemon_kill();
		bus_daemon_start();
		bus_sleep_ms(round % 5 * 7); /* in the middle of coming back, too */
		bus_expect_numbers(sub, n, 100);
		n += 100;
	}
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_rings, 1);
	CHECK_EQ(info.n_delivered, n);
	CHECK_EQ(info.n_lost, 0);
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(bus);
	hbus_close(publisher_bus);
}

/* A daemon that has lost its journal refuses the ring, which the publisher hears at once. */
static void lose_the_journal(struct hbus *bus)
{
	bus_daemon_kill();
	bus_daemon_forget();
	bus_daemon_start();
	while (!hbus_is_connected(bus))
		bus_sleep_ms(1);
}

static uint64_t ring_of(struct hbus_publisher *publisher)
{
	struct hbus_publisher_info info;

	OK(hbus_publisher_info(publisher, &info));
	return info.ring_id;
}

/* Publishes until the ring is another. Return: how long the longest publish took, in ms. */
static uint64_t publish_into_another_ring(struct hbus_publisher *publisher, hbus_topic_t topic)
{
	uint64_t before = ring_of(publisher), longest = 0;

	while (ring_of(publisher) == before) {
		uint64_t begin = bus_now_ms(), took;

		publish_numbers(publisher, topic, 0, 1);
		took = bus_now_ms() - begin;
		longest = took > longest ? took : longest;
		bus_sleep_ms(1);
	}
	return longest;
}

/* It may stop it for a moment, not for as long as a call waits: 2.5 s for one that is away, 10 s for one that stands still. */
static void a_daemon_that_stands_still_holds_no_publisher_whose_ring_it_has_refused(void)
{
	struct hbus *bus = bus_open(), *reader_bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	struct hbus_subscriber *sub = bus_subscriber(reader_bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "#");
	uint64_t begin;
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	for (int round = 0; round < 2; round++) {
		lose_the_journal(bus);
		if (round == 0)
			kill(bus_daemon_pid(), SIGSTOP);
		else
			bus_daemon_kill();
		begin = bus_now_ms();
		publish_numbers(publisher, topic, 0, 1000);
		CHECK(bus_now_ms() - begin < 1000);
		if (round == 0)
			kill(bus_daemon_pid(), SIGCONT);
		else
			bus_daemon_start();
		CHECK(publish_into_another_ring(publisher, topic) < 2000);
	}
	while (bus_collect(sub, (uint64_t[1000]){0}, 1000, 200) > 0)
		;
	publish_numbers(publisher, topic, 0, 500);
	bus_expect_numbers(sub, 0, 500);
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(reader_bus);
	hbus_close(bus);
}

#define MANY_TOPICS 200u

/* Killed while a new ring is given its topics: none of them may be forgotten over that. */
static void topics_outlive_a_daemon_that_dies_while_they_move(void)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	hbus_topic_t topic[MANY_TOPICS];
	char name[16];

	for (unsigned int i = 0; i < MANY_TOPICS; i++) {
		snprintf(name, sizeof(name), "t/%u", i);
		OK(hbus_publisher_topic(publisher, name, NULL, NULL, &topic[i]));
	}
	for (unsigned int round = 0; round < 8; round++) {
		pid_t killer;

		lose_the_journal(bus);
		killer = fork();
		if (killer == 0) {
			bus_sleep_ms(1 + round);
			kill(bus_daemon_pid(), SIGKILL);
			_exit(0);
		}
		publish_numbers(publisher, topic[0], 0, 1);
		bus_join(killer);
		for (unsigned int i = 0; i < MANY_TOPICS; i++)
			publish_numbers(publisher, topic[i], 0, 1);
	}
	lose_the_journal(bus);
	publish_into_another_ring(publisher, topic[0]);
	for (unsigned int i = 0; i < MANY_TOPICS; i++)
		publish_numbers(publisher, topic[i], 0, 1);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void closing_while_no_daemon_is_there_is_quick(void)
{
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	uint64_t begin_ms;
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	wait_attached(sub);
	bus_daemon_kill();
	publish_numbers(publisher, topic, 0, 10);
	bus_expect_numbers(sub, 0, 10);
	begin_ms = bus_now_ms();
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(bus);
	CHECK(bus_now_ms() - begin_ms < 500);
}

static const struct bus_case cases[] = {
	{"a_subscriber_that_comes_back_late_misses_nothing", a_subscriber_that_comes_back_late_misses_nothing},
	{"a_publisher_that_comes_back_late_is_read_without_a_gap", a_publisher_that_comes_back_late_is_read_without_a_gap},
	{"a_publisher_that_lives_and_stays_away_keeps_its_readers", a_publisher_that_lives_and_stays_away_keeps_its_readers},
	{"a_daemon_that_dies_again_and_again_costs_nothing", a_daemon_that_dies_again_and_again_costs_nothing},
	{"a_daemon_that_stands_still_holds_no_publisher_whose_ring_it_has_refused",
	 a_daemon_that_stands_still_holds_no_publisher_whose_ring_it_has_refused},
	{"topics_outlive_a_daemon_that_dies_while_they_move", topics_outlive_a_daemon_that_dies_while_they_move},
	{"closing_while_no_daemon_is_there_is_quick", closing_while_no_daemon_is_there_is_quick},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
