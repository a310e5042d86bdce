/* SPDX-License-Identifier: BSD-3-Clause */
/* Sleeping, waking, descriptors and threads: who waits is woken, and soon. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bus.h"

#define SMALL_RING 65536u

static struct hbus_publisher *open_publisher(struct hbus *bus, const char *name, uint32_t flags, hbus_topic_t *ret_topic)
{
	struct hbus_publisher *publisher = bus_publisher(bus, SMALL_RING, flags | HBUS_PUB_SMALL_PAGES, 5000);

	OK(hbus_publisher_topic(publisher, name, NULL, NULL, ret_topic));
	return publisher;
}

static void publish_number(struct hbus_publisher *publisher, hbus_topic_t topic, uint64_t number)
{
	OK(bus_publish_number(publisher, topic, number, 32));
}

static void expect_one(struct hbus_subscriber *sub, uint64_t number)
{
	struct hbus_event event;
	uint64_t got;

	CHECK_EQ(hbus_poll(sub, &event, 1), 1);
	CHECK(bus_is_filled(event.data, event.size, &got));
	CHECK_EQ(got, number);
}

/* Who wants the processor too makes some of them late, at random; what is late by itself is so each time. */
#define TRIES_MAX 8

/* Never too early. Return: whether it was not too late either. */
static bool waits_for(struct hbus_subscriber *sub, int span_ms)
{
	uint64_t begin_ms = bus_now_ms(), took_ms;

	CHECK_EQ(hbus_wait(sub, span_ms), 0);
	took_ms = bus_now_ms() - begin_ms;
	CHECK(took_ms + 1 >= (uint64_t)span_ms);
	return took_ms <= (uint64_t)span_ms + 100;
}

static void a_time_out_is_kept(void)
{
	static const int spans_ms[] = {0, 1, 20, 49, 50, 51, 120};
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "#");
	hbus_topic_t topic;
	struct hbus_publisher *publisher = open_publisher(bus, "t", 0, &topic);

	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 7; i++) {
			int n_tries = 1;

			while (!waits_for(sub, spans_ms[i]))
				CHECK(++n_tries <= TRIES_MAX);
		}
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

struct late {
	struct hbus *bus;
	struct hbus_publisher *publisher;
	hbus_topic_t topic;
	uint64_t number;
	uint64_t at_ms;
	unsigned int after_ms; /* 0 = 30 */
};

static void *publish_late(void *context)
{
	struct late *late = context;

	bus_sleep_ms(late->after_ms ? late->after_ms : 30);
	if (!late->publisher)
		late->publisher = open_publisher(late->bus, "t", 0, &late->topic);
	late->at_ms = bus_now_ms();
	publish_number(late->publisher, late->topic, late->number);
	return NULL;
}

static void sleepers_are_woken(uint32_t publisher_flags, uint64_t most_ms)
{
	struct late late = {.bus = bus_open()};
	struct hbus_subscriber *sub = bus_subscriber(late.bus, 0, HBUS_START_LATEST, "t");
	pthread_t thread;
	int n_late = 0;

	/* The first time a new ring wakes it, then events do. */
	if (publisher_flags)
		late.publisher = open_publisher(late.bus, "t", publisher_flags, &late.topic);
	for (late.number = 0; late.number < 10; late.number++) {
		CHECK_EQ(pthread_create(&thread, NULL, publish_late, &late), 0);
		while (hbus_wait(sub, -1) != 1)
			;
		pthread_join(thread, NULL);
		n_late += bus_now_ms() - late.at_ms > most_ms;
		expect_one(sub, late.number);
	}
	CHECK(n_late <= 5);
	hbus_publisher_close(late.publisher);
	hbus_subscriber_close(sub);
	hbus_close(late.bus);
}

static void a_sleeper_is_woken_by_an_event_and_by_a_new_ring(void)
{
	sleepers_are_woken(0, 30);
}

static long n_sleeps(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

/* Twenty sleeps a second are what a blocked subscriber would cost; it is woken as soon by a new ring, then by an event. */
static void who_is_blocked_for_long_sleeps_long(void)
{
	struct late late = {.bus = bus_open(), .after_ms = 900};
	struct hbus_subscriber *sub = bus_subscriber(late.bus, 0, HBUS_START_LATEST, "t");
	pthread_t thread;
	int n_soon = 0;

	for (late.number = 0; n_soon < 2; late.number++) {
		long before = n_sleeps();

		CHECK(late.number < TRIES_MAX);

		CHECK_EQ(pthread_create(&thread, NULL, publish_late, &late), 0);
		while (hbus_wait(sub, -1) != 1)
			;
		CHECK(n_sleeps() - before <= 13); /* 18 if all were of 50 ms */
		pthread_join(thread, NULL);
		n_soon += bus_now_ms() - late.at_ms <= 30;
		expect_one(sub, late.number);
	}
	hbus_publisher_close(late.publisher);
	hbus_subscriber_close(sub);
	hbus_close(late.bus);
}

static void a_sleeper_on_an_isolated_ring_is_woken(void)
{
	sleepers_are_woken(HBUS_PUB_ISOLATED, 30);
}

static void without_membarrier_fences_do(void)
{
	setenv("HBUS_NO_MEMBARRIER", "1", 1);
	sleepers_are_woken(0, 30);
}

static void do_nothing(int signal_number)
{
	(void)signal_number;
}

static void a_signal_ends_a_wait(void)
{
	struct sigaction action = {.sa_handler = do_nothing};
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "#");
	uint64_t begin_ms = bus_now_ms();
	pid_t self = getpid(), pid;

	sigaction(SIGUSR1, &action, NULL);
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 20; i++) { /* one can come between two sleeps */
			bus_sleep_ms(7);
			kill(self, SIGUSR1);
		}
		_exit(0);
	}
	CHECK_EQ(hbus_wait(sub, 5000), 0);
	CHECK(bus_now_ms() - begin_ms < 1000);
	bus_join(pid);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

/* -- the descriptor -- */

static bool is_readable(int fd, int timeout_ms)
{
	struct pollfd waiter = {.fd = fd, .events = POLLIN};

	return poll(&waiter, 1, timeout_ms) > 0;
}

static void drain(struct hbus_subscriber *sub)
{
	struct hbus_event events[16];

	while (hbus_poll(sub, events, 16) > 0)
		;
}

static void the_descriptor_becomes_readable_when_events_come(void)
{
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "t");
	hbus_topic_t topic;
	struct hbus_publisher *publisher = open_publisher(bus, "t", 0, &topic);
	int fd = hbus_fd(sub);

	CHECK(fd >= 0);
	CHECK(is_readable(fd, 0));
	do { /* the ring is still coming */
		drain(sub);
	} while (hbus_fd_arm(sub) == 1 || is_readable(fd, 50));
	for (uint64_t i = 0; i < 100; i++) {
		publish_number(publisher, topic, i);
		CHECK(is_readable(fd, 1000));
		expect_one(sub, i);
		if (i % 2) { /* between the last look and arming */
			publish_number(publisher, topic, 1000 + i);
			CHECK_EQ(hbus_fd_arm(sub), 1);
			expect_one(sub, 1000 + i);
		}
		CHECK_EQ(hbus_fd_arm(sub), 0);
		CHECK(!is_readable(fd, 0));
	}
	hbus_publisher_close(publisher);
	publisher = open_publisher(bus, "t", 0, &topic); /* a ring that comes */
	publish_number(publisher, topic, 7);
	for (int i = 0; i < 100 && !is_readable(fd, 50); i++)
		;
	for (;;) {
		struct hbus_event event;

		if (hbus_poll(sub, &event, 1) == 1)
			break;
		if (hbus_fd_arm(sub) == 0)
			CHECK(is_readable(fd, 1000));
	}
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

static void own_publishers_do_not_wake_who_polls_anyway(void)
{
	struct hbus *bus = bus_open(), *other = bus_open();
	struct hbus_subscriber *sub =
		bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE | HBUS_SUB_FLAG_NO_OWN_WAKE, HBUS_START_LATEST, "#");
	hbus_topic_t mine, theirs;
	struct hbus_publisher *own = open_publisher(bus, "mine", 0, &mine);
	struct hbus_publisher *foreign = open_publisher(other, "theirs", 0, &theirs);
	int fd = hbus_fd(sub);

	do { /* the rings are still coming */
		drain(sub);
	} while (hbus_fd_arm(sub) == 1 || is_readable(fd, 50));
	for (uint64_t i = 0; i < 100; i++) {
		publish_number(own, mine, i);
		CHECK(!is_readable(fd, 0));
		expect_one(sub, i);
		drain(sub);
		CHECK_EQ(hbus_fd_arm_again(sub), 0);
		if (i % 3)
			continue;
		/* Still armed for the other program's ring. */
		publish_number(foreign, theirs, 1000 + i);
		CHECK(is_readable(fd, 1000));
		expect_one(sub, 1000 + i);
		drain(sub);
		publish_number(foreign, theirs, 2000 + i);
		CHECK_EQ(hbus_fd_arm(sub), 1);
		expect_one(sub, 2000 + i);
		drain(sub);
		CHECK_EQ(hbus_fd_arm(sub), 0);
		CHECK(!is_readable(fd, 0));
	}
	hbus_publisher_close(own);
	hbus_publisher_close(foreign);
	hbus_subscriber_close(sub);
	hbus_close(other);
	hbus_close(bus);
}

static void short_lived_publishers_leave_no_descriptors(void)
{
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "t");
	uint64_t numbers[4];
	int low, high;

	for (uint64_t i = 0; i < 100; i++) {
		struct hbus *other = bus_open();
		hbus_topic_t topic;
		struct hbus_publisher *publisher = open_publisher(other, "t", 0, &topic);

		publish_number(publisher, topic, i);
		hbus_publisher_close(publisher);
		hbus_close(other);
		CHECK_EQ(bus_collect(sub, numbers, 1, 1000), 1);
		CHECK_EQ(numbers[0], i);
	}
	for (int i = 0; i < 50; i++)
		hbus_wait(sub, 10);
	low = dup(0);
	close(low);
	CHECK(low < 60);
	high = hbus_fd(sub);
	CHECK(high >= 0);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

/* -- many rings -- */

static void many_rings_are_slept_on_by_doorbells(void)
{
	enum { RINGS = 150 };
	struct hbus *bus = bus_open(), *publisher_bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "many/#");
	struct hbus_publisher *publishers[RINGS];
	struct hbus_subscriber_info info;
	hbus_topic_t topics[RINGS];
	char name[32];

	for (int i = 0; i < RINGS; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		publishers[i] = open_publisher(publisher_bus, name, 0, &topics[i]);
	}
	for (uint64_t i = 0; i < 3 * RINGS; i++) {
		struct late late = {.publisher = publishers[i % RINGS], .topic = topics[i % RINGS], .number = i};
		pthread_t thread;

		if (i % 50 == 0) {
			CHECK_EQ(pthread_create(&thread, NULL, publish_late, &late), 0);
		} else {
			publish_number(late.publisher, late.topic, i);
		}
		CHECK_EQ(hbus_wait(sub, 1000), 1);
		expect_one(sub, i);
		if (i % 50 == 0)
			pthread_join(thread, NULL);
	}
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_rings, RINGS);
	for (int i = 0; i < RINGS; i++)
		hbus_publisher_close(publishers[i]);
	for (int i = 0; i < 100 && info.n_rings > 0; i++) {
		hbus_wait(sub, 20);
		OK(hbus_subscriber_info(sub, &info));
	}
	CHECK_EQ(info.n_rings, 0);
	CHECK_EQ(info.n_delivered, 3 * RINGS);
	hbus_subscriber_close(sub);
	hbus_close(publisher_bus);
	hbus_close(bus);
}

/* -- without a control thread -- */

static void a_bus_without_a_thread_is_driven_by_its_caller(void)
{
	struct hbus_options options = {.struct_size = sizeof(options), .flags = HBUS_OPEN_NO_THREAD};
	struct hbus *bus = NULL, *other = bus_open();
	struct hbus_subscriber *sub;
	struct hbus_publisher *publisher;
	hbus_topic_t topic;

	OK(hbus_open(bus_address, &options, &bus));
	CHECK(hbus_control_fd(bus) >= 0);
	OK(hbus_dispatch(bus));
	sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	publisher = open_publisher(other, "t", 0, &topic);
	for (uint64_t i = 0; i < 200; i++) {
		publish_number(publisher, topic, i);
		CHECK_EQ(hbus_wait(sub, 1000), 1);
		expect_one(sub, i);
	}
	hbus_publisher_close(publisher);
	publisher = open_publisher(bus, "t", 0, &topic); /* both ends in one thread */
	for (uint64_t i = 0; i < 200; i++) {
		publish_number(publisher, topic, i);
		CHECK_EQ(hbus_wait(sub, 1000), 1);
		expect_one(sub, i);
	}
	bus_daemon_kill();
	publish_number(publisher, topic, 1);
	CHECK_EQ(hbus_wait(sub, 1000), 1);
	expect_one(sub, 1);
	bus_daemon_start();
	for (int i = 0; i < 100 && hbus_is_connected(bus) != 1; i++) {
		struct pollfd waiter = {.fd = hbus_control_fd(bus), .events = POLLIN};

		poll(&waiter, 1, 50);
		OK(hbus_dispatch(bus));
	}
	CHECK_EQ(hbus_is_connected(bus), 1);
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(bus);
	hbus_close(other);
}

/* -- threads -- */

static atomic_bool must_stop, readers_stopped;

static void *publish_until_told(void *context)
{
	struct hbus *bus = context;
	hbus_topic_t topic;
	struct hbus_publisher *publisher = open_publisher(bus, "t", 0, &topic);

	for (uint64_t i = 0; !readers_stopped; i++) {
		publish_number(publisher, topic, i);
		if (i % 256 == 0)
			bus_sleep_ms(1);
	}
	hbus_publisher_close(publisher);
	return NULL;
}

static void *come_and_go(void *context)
{
	struct hbus *bus = context;
	uint64_t numbers[64];

	for (int i = 0; !must_stop; i++) {
		struct hbus_subscriber *sub = bus_subscriber(bus, i % 2 ? HBUS_SUB_FLAG_RELIABLE : 0,
							     i % 3 ? HBUS_START_LATEST : HBUS_START_EARLIEST, "t");

		CHECK(bus_collect(sub, numbers, 64, 2000) == 64);
		hbus_subscriber_close(sub);
	}
	return NULL;
}

static void handles_of_several_threads_share_a_bus(void)
{
	struct hbus *bus = bus_open();
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, i < 2 ? publish_until_told : come_and_go, bus), 0);
	bus_sleep_ms(1500);
	must_stop = true;
	pthread_join(threads[2], NULL);
	pthread_join(threads[3], NULL);
	readers_stopped = true;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	hbus_close(bus);
}

static void closing_in_the_middle_of_traffic_is_safe(void)
{
	for (int i = 0; i < 20; i++) {
		struct hbus *bus = bus_open(), *other = bus_open();
		struct hbus_subscriber *sub = bus_subscriber(bus, i % 2 ? HBUS_SUB_FLAG_RELIABLE : 0, 0, "#");
		hbus_topic_t topic;
		struct hbus_publisher *publisher = open_publisher(other, "t", 0, &topic);
		struct hbus_event events[8];

		for (uint64_t n = 0; n < 100; n++)
			publish_number(publisher, topic, n);
		CHECK(hbus_poll(sub, events, 8) >= 0);
		if (i % 3 == 0) {
			hbus_publisher_close(publisher);
			hbus_close(other);
		}
		hbus_subscriber_close(sub);
		hbus_close(bus);
		if (i % 3 != 0) {
			for (uint64_t n = 0; n < 5000; n++)
				publish_number(publisher, topic, n);
			hbus_publisher_close(publisher);
			hbus_close(other);
		}
	}
}

static const struct bus_case cases[] = {
	{"a_time_out_is_kept", a_time_out_is_kept},
	{"a_sleeper_is_woken_by_an_event_and_by_a_new_ring", a_sleeper_is_woken_by_an_event_and_by_a_new_ring},
	{"who_is_blocked_for_long_sleeps_long", who_is_blocked_for_long_sleeps_long},
	{"a_sleeper_on_an_isolated_ring_is_woken", a_sleeper_on_an_isolated_ring_is_woken},
	{"without_membarrier_fences_do", without_membarrier_fences_do},
	{"a_signal_ends_a_wait", a_signal_ends_a_wait},
	{"the_descriptor_becomes_readable_when_events_come", the_descriptor_becomes_readable_when_events_come},
	{"own_publishers_do_not_wake_who_polls_anyway", own_publishers_do_not_wake_who_polls_anyway},
	{"short_lived_publishers_leave_no_descriptors", short_lived_publishers_leave_no_descriptors},
	{"many_rings_are_slept_on_by_doorbells", many_rings_are_slept_on_by_doorbells},
	{"a_bus_without_a_thread_is_driven_by_its_caller", a_bus_without_a_thread_is_driven_by_its_caller},
	{"handles_of_several_threads_share_a_bus", handles_of_several_threads_share_a_bus},
	{"closing_in_the_middle_of_traffic_is_safe", closing_in_the_middle_of_traffic_is_safe},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
