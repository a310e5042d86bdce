/* SPDX-License-Identifier: BSD-3-Clause */
/* The ways to publish: batches, reservations, runs, attributes, time-outs, wrong use. */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "bus.h"

#define SMALL_RING 65536u

static struct hbus *bus;
static struct hbus_publisher *publisher;
static struct hbus_subscriber *sub;
static hbus_topic_t topic;

static void open_all(uint64_t capacity, uint32_t publisher_flags, int timeout_ms, uint32_t subscriber_flags)
{
	bus = bus_open();
	publisher = bus_publisher(bus, capacity, publisher_flags, timeout_ms);
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	sub = bus_subscriber(bus, subscriber_flags, HBUS_START_LATEST, "t");
}

static void close_all(void)
{
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static int publish_number(uint64_t number, size_t size)
{
	return bus_publish_number(publisher, topic, number, size);
}

static void a_batch_appears_whole_or_not_at_all(void)
{
	open_all(0, 0, 0, 0);
	OK(hbus_batch_begin(publisher));
	CHECK_EQ(hbus_batch_begin(publisher), HBUS_E_BUSY);
	for (uint64_t i = 0; i < 10; i++)
		OK(publish_number(i, 32));
	bus_expect_quiet(sub);
	OK(hbus_batch_commit(publisher));
	bus_expect_numbers(sub, 0, 10);
	OK(hbus_batch_begin(publisher));
	for (uint64_t i = 0; i < 10; i++)
		OK(publish_number(100 + i, 32));
	OK(hbus_batch_abort(publisher));
	CHECK_EQ(hbus_batch_commit(publisher), HBUS_E_BUSY);
	OK(publish_number(10, 32));
	bus_expect_numbers(sub, 10, 1);
	bus_expect_quiet(sub);
	close_all();
}

static void a_batch_beyond_its_limit_stays_open(void)
{
	uint64_t n = 0;
	int r;

	open_all(SMALL_RING, 0, 0, 0);
	OK(hbus_batch_begin(publisher));
	while ((r = publish_number(n, 1000)) == 0)
		n++;
	CHECK_EQ(r, HBUS_E_TOO_LARGE);
	CHECK_EQ(n, SMALL_RING / 8 / 1008);
	OK(hbus_batch_commit(publisher));
	bus_expect_numbers(sub, 0, n);
	close_all();
}

static void an_event_of_one_eighth_fits_and_one_byte_more_does_not(void)
{
	open_all(SMALL_RING, 0, 0, 0);
	OK(publish_number(0, SMALL_RING / 8 - 8));
	CHECK_EQ(publish_number(1, SMALL_RING / 8 - 7), HBUS_E_TOO_LARGE);
	CHECK(strstr(hbus_error_text(), "8184"));
	bus_expect_numbers(sub, 0, 1);
	OK(hbus_publish(publisher, topic, NULL, 0));
	CHECK_EQ(hbus_wait(sub, 1000), 1);
	close_all();
}

static void a_size_that_wraps_around_is_too_large(void)
{
	struct hbus_attributes attributes = {.has_key = 1, .extra = "x", .extra_size = 1};
	void *room = NULL;

	open_all(0, HBUS_PUB_TIMESTAMP, 0, 0);
	for (size_t size = SIZE_MAX - 64; size != 0; size++) {
		CHECK_EQ(hbus_publish(publisher, topic, "x", size), HBUS_E_TOO_LARGE);
		CHECK_EQ(hbus_publish_with(publisher, topic, "x", size, &attributes), HBUS_E_TOO_LARGE);
		CHECK_EQ(hbus_publish_run(publisher, topic, "x", size, 1), HBUS_E_TOO_LARGE);
		CHECK_EQ(hbus_reserve(publisher, topic, size, &room), HBUS_E_TOO_LARGE);
	}
	CHECK(!room);
	OK(publish_number(0, 100));
	bus_expect_numbers(sub, 0, 1);
	close_all();
}

static void a_reservation_is_filled_in_place(void)
{
	void *room = NULL, *second = NULL;

	open_all(0, HBUS_PUB_TIMESTAMP, 0, 0);
	OK(hbus_reserve(publisher, topic, 100, &room));
	CHECK_EQ((uintptr_t)room % 8, 0);
	CHECK_EQ(hbus_reserve(publisher, topic, 100, &second), HBUS_E_BUSY);
	CHECK_EQ(publish_number(1, 8), HBUS_E_BUSY);
	bus_expect_quiet(sub);
	bus_fill(room, 100, 0);
	CHECK_EQ(hbus_commit(publisher, 101), HBUS_E_INVALID);
	OK(hbus_commit(publisher, 100));
	bus_expect_numbers(sub, 0, 1);
	OK(hbus_reserve(publisher, topic, 100, &room));
	bus_fill(room, 8, 1);
	OK(hbus_commit(publisher, 8));
	bus_expect_numbers(sub, 1, 1);
	OK(hbus_reserve(publisher, topic, 100, &room));
	OK(hbus_abort(publisher));
	CHECK_EQ(hbus_abort(publisher), HBUS_E_BUSY);
	CHECK_EQ(hbus_commit(publisher, 1), HBUS_E_BUSY);
	bus_expect_quiet(sub);
	OK(hbus_batch_begin(publisher));
	OK(publish_number(2, 8));
	OK(hbus_reserve(publisher, topic, 16, &room));
	bus_fill(room, 16, 3);
	CHECK_EQ(hbus_batch_commit(publisher), HBUS_E_BUSY);
	OK(hbus_commit(publisher, 16));
	bus_expect_quiet(sub);
	OK(hbus_batch_commit(publisher));
	bus_expect_numbers(sub, 2, 2);
	close_all();
}

/* Without a time stamp a reservation goes a quick way, but where a block ends. */
static void reservations_may_be_shorter_than_asked_for(void)
{
	void *room = NULL, *second = NULL;

	open_all(0, 0, 0, 0);
	for (uint64_t i = 0; i < 5000; i++) {
		size_t size = 8 + i % 8 * 8;

		OK(hbus_reserve(publisher, topic, i % 4 == 2 ? size : 2000, &room));
		CHECK_EQ(publish_number(i, 8), HBUS_E_BUSY);
		memset(room, 0xff, i % 4 == 2 ? size : 2000);
		if (i % 3 == 1) {
			OK(hbus_abort(publisher));
			OK(hbus_reserve(publisher, topic, 64, &room));
		}
		if (i % 5 == 0) {
			CHECK_EQ(hbus_commit_run(publisher, 1), HBUS_E_INVALID);
			CHECK_EQ(hbus_commit(publisher, 2001), HBUS_E_INVALID);
		}
		CHECK_EQ(hbus_reserve(publisher, topic, size, &second), HBUS_E_BUSY);
		CHECK_EQ(hbus_batch_begin(publisher), HBUS_E_BUSY);
		bus_fill(room, size, i);
		OK(hbus_commit(publisher, size));
		bus_expect_numbers(sub, i, 1);
		if (i % 512 == 4) /* shorter: what was written behind it is not taken for the next one */
			bus_expect_quiet(sub);
	}
	CHECK_EQ(hbus_commit(publisher, 0), HBUS_E_BUSY);
	CHECK_EQ(hbus_commit(publisher, SIZE_MAX), HBUS_E_BUSY);
	close_all();
}

#define BY_HANDLER UINT64_C(0x5151515151515151)
#define BY_PROGRAM UINT64_C(0x4242424242424242)
static hbus_topic_t handlers_topic;
static uint64_t n_by_handler;

static void publish_in_handler(int signal_number)
{
	uint64_t value = BY_HANDLER;

	(void)signal_number;
	n_by_handler += hbus_publish(publisher, handlers_topic, &value, sizeof(value)) == 0;
}

/* A handler is refused, or its event comes before or after: never does it take another to its own topic. */
static void a_handler_that_publishes_takes_no_event_along(void)
{
	struct itimerval often = {.it_interval.tv_usec = 100, .it_value.tv_usec = 100}, never = {0};
	uint64_t value = BY_PROGRAM, begin_ms, seen = 0;
	struct hbus_event event;
	void *room;

	open_all(0, 0, 0, 0);
	OK(hbus_publisher_topic(publisher, "handler", NULL, NULL, &handlers_topic));
	OK(hbus_subscribe(sub, "handler"));
	signal(SIGALRM, publish_in_handler);
	begin_ms = bus_now_ms();
	setitimer(ITIMER_REAL, &often, NULL);
	while (bus_now_ms() - begin_ms < 400) {
		for (unsigned int i = 0; i < 200; i++) {
			OK(hbus_publish(publisher, topic, &value, sizeof(value)));
			OK(hbus_reserve(publisher, topic, sizeof(value), &room));
			memcpy(room, &value, sizeof(value));
			OK(hbus_commit(publisher, sizeof(value)));
		}
		while (hbus_poll(sub, &event, 1) == 1) {
			bool is_handlers = strcmp(event.topic, "handler") == 0;

			CHECK(memcmp(event.data, is_handlers ? &(uint64_t){BY_HANDLER} : &(uint64_t){BY_PROGRAM}, 8) == 0);
			seen += is_handlers;
		}
	}
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_DFL);
	CHECK(n_by_handler > 0);
	CHECK(seen > 0);
	close_all();
}

static void a_run_is_filled_in_place(void)
{
	unsigned char *room = NULL;

	for (unsigned int flags = 0; flags < 2; flags++) {
		open_all(0, flags ? HBUS_PUB_TIMESTAMP : 0, 0, 0);
		CHECK_EQ(hbus_reserve_run(publisher, topic, 16, 0, (void **)&room), HBUS_E_INVALID);
		CHECK_EQ(hbus_reserve_run(publisher, topic, SIZE_MAX, 2, (void **)&room), HBUS_E_TOO_LARGE);
		CHECK_EQ(hbus_reserve_run(publisher, topic, 1 << 20, 1 << 20, (void **)&room), HBUS_E_TOO_LARGE);
		CHECK_EQ(hbus_commit_run(publisher, 1), HBUS_E_BUSY);
		OK(hbus_reserve_run(publisher, topic, 20, 10, (void **)&room));
		CHECK_EQ((uintptr_t)room % 8, 0);
		CHECK_EQ(hbus_commit(publisher, 20), HBUS_E_INVALID);
		CHECK_EQ(hbus_commit_run(publisher, 11), HBUS_E_INVALID);
		for (uint64_t i = 0; i < 10; i++)
			bus_fill(room + i * 24, 20, i);
		bus_expect_quiet(sub);
		OK(hbus_commit_run(publisher, 7));
		bus_expect_numbers(sub, 0, 7);
		OK(hbus_reserve_run(publisher, topic, 16, 3, (void **)&room));
		OK(hbus_commit_run(publisher, 0));
		OK(hbus_reserve_run(publisher, topic, 16, 3, (void **)&room));
		OK(hbus_abort(publisher));
		bus_expect_quiet(sub);
		OK(hbus_batch_begin(publisher));
		OK(publish_number(7, 8));
		OK(hbus_reserve_run(publisher, topic, 16, 3, (void **)&room));
		for (uint64_t i = 0; i < 3; i++)
			bus_fill(room + i * 16, 16, 8 + i);
		OK(hbus_commit_run(publisher, 3));
		bus_expect_quiet(sub);
		OK(hbus_batch_commit(publisher));
		bus_expect_numbers(sub, 7, 4);
		close_all();
	}
}

static void a_run_is_read_event_by_event_however_small_the_polls(void)
{
	uint64_t numbers[100];
	struct hbus_subscriber_info info;
	struct hbus_event events[7];
	uint64_t next = 0, values[3 * 5];

	open_all(0, 0, 0, HBUS_SUB_FLAG_RELIABLE);
	for (uint64_t i = 0; i < 100; i++)
		numbers[i] = i;
	OK(hbus_publish_run(publisher, topic, numbers, 8, 100));
	while (next < 100) {
		int n = hbus_poll(sub, events, 1 + next % 7);

		CHECK(n > 0);
		for (int i = 0; i < n; i++, next++) {
			CHECK(memcmp(events[i].data, &next, 8) == 0);
			CHECK_EQ(events[i].sequence, next);
		}
		CHECK_EQ(hbus_release(sub), 0);
	}
	CHECK_EQ(hbus_poll(sub, events, 7), 0);
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_delivered, 100);
	/* Events whose size is not a multiple of 8: packed by the caller, padded in the ring. */
	for (unsigned char i = 0; i < 15; i++)
		((unsigned char *)values)[i] = i;
	OK(hbus_publish_run(publisher, topic, values, 5, 3));
	CHECK_EQ(hbus_poll(sub, events, 7), 3);
	for (unsigned char i = 0; i < 15; i++)
		CHECK_EQ(((const unsigned char *)events[i / 5].data)[i % 5], i);
	OK(hbus_publish_run(publisher, topic, values, 0, 3));
	CHECK_EQ(hbus_poll(sub, events, 7), 3);
	CHECK_EQ(events[2].size, 0);
	close_all();
}

static void spans_join_events_of_one_size(void)
{
	struct hbus_span spans[8];
	uint64_t run[20], value;

	open_all(0, 0, 0, HBUS_SUB_FLAG_RELIABLE);
	for (uint64_t i = 0; i < 10; i++)
		OK(publish_number(i, 24));
	for (uint64_t i = 0; i < 20; i++)
		run[i] = 10 + i;
	OK(hbus_publish_run(publisher, topic, run, 8, 20));
	OK(publish_number(30, 16));
	CHECK_EQ(hbus_poll_spans(sub, spans, 8), 3);
	CHECK_EQ(spans[0].n_events, 10);
	CHECK_EQ(spans[1].n_events, 20);
	CHECK_EQ(spans[2].n_events, 1);
	for (uint64_t i = 0, n = 0; i < 3; i++)
		for (size_t j = 0; j < spans[i].n_events; j++, n++) {
			memcpy(&value, spans[i].data + j * spans[i].stride, 8);
			CHECK_EQ(value, n);
			CHECK_EQ(spans[i].sequence + j, n);
		}
	CHECK_EQ(hbus_release(sub), 0);
	/* One span at a time. */
	OK(publish_number(31, 16));
	OK(publish_number(32, 8));
	CHECK_EQ(hbus_poll_spans(sub, spans, 1), 1);
	CHECK_EQ(spans[0].sequence, 31);
	CHECK_EQ(hbus_poll_spans(sub, spans, 1), 1);
	CHECK_EQ(spans[0].sequence, 32);
	CHECK_EQ(hbus_poll_spans(sub, spans, 1), 0);
	close_all();
}

static void attributes_travel_with_the_event(void)
{
	struct hbus_attributes attributes = {.time_ns = 42, .key = 7, .has_key = 1, .extra = "color=red", .extra_size = 9};
	struct hbus_event event;
	struct timespec now;

	open_all(0, 0, 0, 0);
	OK(hbus_publish_with(publisher, topic, "x", 1, &attributes));
	CHECK_EQ(hbus_poll(sub, &event, 1), 1);
	CHECK_EQ(event.time_ns, 42);
	CHECK_EQ(event.has_key, 1);
	CHECK_EQ(event.key, 7);
	CHECK_EQ(event.extra_size, 9);
	CHECK(memcmp(event.extra, "color=red", 9) == 0);
	CHECK_EQ(event.size, 1);
	CHECK_EQ(*(const char *)event.data, 'x');
	attributes = (struct hbus_attributes){0};
	OK(hbus_publish_with(publisher, topic, "y", 1, &attributes));
	CHECK_EQ(hbus_poll(sub, &event, 1), 1);
	CHECK_EQ(event.time_ns, 0);
	CHECK_EQ(event.has_key, 0);
	CHECK(event.extra == NULL);
	hbus_publisher_close(publisher);
	publisher = bus_publisher(bus, 0, HBUS_PUB_TIMESTAMP, 0);
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	OK(hbus_publish(publisher, topic, "z", 1));
	CHECK_EQ(hbus_wait(sub, 1000), 1);
	CHECK_EQ(hbus_poll(sub, &event, 1), 1);
	clock_gettime(CLOCK_REALTIME, &now);
	CHECK(event.time_ns <= (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	CHECK(event.time_ns > ((uint64_t)now.tv_sec - 10) * 1000000000u);
	close_all();
}

static void a_full_ring_times_out_and_goes_on_when_it_is_read(void)
{
	uint64_t n = 0, begin_ms;
	int r;

	open_all(SMALL_RING, 0, 200, HBUS_SUB_FLAG_RELIABLE);
	begin_ms = bus_now_ms();
	while ((r = publish_number(n, 1000)) == 0)
		n++;
	CHECK_EQ(r, HBUS_FULL);
	CHECK(bus_now_ms() - begin_ms >= 200);
	CHECK(bus_now_ms() - begin_ms < 1500);
	CHECK(n >= 60);
	begin_ms = bus_now_ms();
	CHECK_EQ(hbus_try_publish(publisher, topic, "x", 1), HBUS_FULL);
	CHECK(bus_now_ms() - begin_ms < 50);
	bus_expect_numbers(sub, 0, n);
	CHECK_EQ(hbus_wait(sub, 0), 0);
	OK(publish_number(n, 1000));
	bus_expect_numbers(sub, n, 1);
	close_all();
}

static void with_never_wait_a_full_ring_is_said_at_once(void)
{
	uint64_t n = 0, begin_ms;
	int r;

	open_all(SMALL_RING, HBUS_PUB_NEVER_WAIT, 200, HBUS_SUB_FLAG_RELIABLE);
	begin_ms = bus_now_ms();
	while ((r = publish_number(n, 1000)) == 0)
		n++;
	CHECK_EQ(r, HBUS_FULL);
	CHECK(bus_now_ms() - begin_ms < 150);
	bus_expect_numbers(sub, 0, n);
	OK(publish_number(n, 1000));
	close_all();
}

static void wrong_use_is_refused_with_a_sentence(void)
{
	hbus_topic_t none;

	open_all(0, 0, 0, 0);
	CHECK_EQ(hbus_publish(publisher, 0, "x", 1), HBUS_E_INVALID);
	CHECK_EQ(hbus_publish(publisher, topic + 1, "x", 1), HBUS_E_INVALID);
	CHECK_EQ(hbus_publish(publisher, UINT32_MAX, "x", 1), HBUS_E_INVALID);
	CHECK(strlen(hbus_error_text()) > 10);
	CHECK_EQ(hbus_publisher_topic(publisher, "a/+", NULL, NULL, &none), HBUS_E_NAME);
	CHECK_EQ(hbus_publisher_topic(publisher, "", NULL, NULL, &none), HBUS_E_NAME);
	CHECK_EQ(hbus_subscribe(sub, "a/#/b"), HBUS_E_NAME);
	CHECK_EQ(hbus_batch_commit(publisher), HBUS_E_BUSY);
	CHECK_EQ(hbus_dispatch(bus), HBUS_E_BUSY);
	for (int error = HBUS_E_BAD_FD; error <= HBUS_E_INVALID; error++)
		CHECK(strcmp(hbus_strerror(error), hbus_strerror(-1)) != 0);
	close_all();
}

static void publish_from_handler(int signal_number)
{
	(void)signal_number;
	(void)publish_number(UINT64_MAX, 64);
}

static void a_signal_handler_that_publishes_never_breaks_the_ring(void)
{
	uint64_t until_ms = bus_now_ms() + 1000, numbers[512], n = 0, next = 0;
	struct itimerval every_ms = {{0, 500}, {0, 500}};
	struct sigaction action = {.sa_handler = publish_from_handler, .sa_flags = SA_RESTART};

	open_all(0, 0, 0, HBUS_SUB_FLAG_RELIABLE);
	sigaction(SIGVTALRM, &action, NULL);
	setitimer(ITIMER_VIRTUAL, &every_ms, NULL);
	while (bus_now_ms() < until_ms) {
		size_t got;

		for (int i = 0; i < 200; i++)
			if (publish_number(n, 64) == 0)
				n++;
		got = bus_collect(sub, numbers, 512, 0);
		for (size_t i = 0; i < got; i++)
			if (numbers[i] != UINT64_MAX)
				CHECK_EQ(numbers[i], next++);
	}
	setitimer(ITIMER_VIRTUAL, &(struct itimerval){0}, NULL);
	CHECK(n > 1000);
	for (size_t got = 1; got > 0;) {
		got = bus_collect(sub, numbers, 512, 0);
		for (size_t i = 0; i < got; i++)
			if (numbers[i] != UINT64_MAX)
				CHECK_EQ(numbers[i], next++);
	}
	CHECK_EQ(next, n);
	close_all();
}

static void use_all_in_child(void *context)
{
	struct hbus_event event;
	struct hbus_loss loss;
	struct hbus *again = NULL;

	(void)context;
	CHECK_EQ(hbus_publish(publisher, topic, "x", 1), HBUS_E_FORKED);
	CHECK_EQ(hbus_batch_begin(publisher), HBUS_E_FORKED);
	CHECK_EQ(hbus_poll(sub, &event, 1), HBUS_E_FORKED);
	CHECK_EQ(hbus_wait(sub, 10), HBUS_E_FORKED);
	CHECK_EQ(hbus_release(sub), HBUS_E_FORKED);
	CHECK_EQ(hbus_next_loss(sub, &loss), HBUS_E_FORKED);
	CHECK_EQ(hbus_fd(sub), HBUS_E_FORKED);
	CHECK_EQ(hbus_subscribe(sub, "x"), HBUS_E_FORKED);
	CHECK_EQ(hbus_topic_declare(bus, "x", NULL, NULL), HBUS_E_FORKED);
	CHECK_EQ(hbus_is_connected(bus), HBUS_E_FORKED);
	close_all();
	OK(hbus_open(bus_address, NULL, &again));
	publisher = bus_publisher(again, 0, 0, 0);
	OK(hbus_publisher_topic(publisher, "child", NULL, NULL, &topic));
	OK(hbus_publish(publisher, topic, "from the child", 14));
	hbus_publisher_close(publisher);
	hbus_close(again);
}

static void a_forked_child_may_only_close_and_open_anew(void)
{
	struct hbus_event event;

	open_all(0, 0, 0, HBUS_SUB_FLAG_RELIABLE);
	OK(hbus_subscribe(sub, "child"));
	for (uint64_t i = 0; i < 20; i++) {
		OK(publish_number(i, 64));
		bus_join(bus_fork(use_all_in_child, NULL));
		bus_expect_numbers(sub, i, 1);
		CHECK_EQ(hbus_wait(sub, 2000), 1);
		CHECK_EQ(hbus_poll(sub, &event, 1), 1);
		CHECK(strcmp(event.topic, "child") == 0);
	}
	close_all();
}

static void *wake_all(void *context)
{
	(void)context;
	bus_sleep_ms(10);
	CHECK(hbus_publisher_wake(publisher) >= 0);
	return NULL;
}

static void with_deferred_wakes_another_thread_wakes(void)
{
	pthread_t thread;

	open_all(0, HBUS_PUB_DEFER_WAKE, 0, 0);
	CHECK_EQ(hbus_publisher_wake(publisher), 0);
	for (uint64_t i = 0; i < 5; i++) {
		CHECK_EQ(pthread_create(&thread, NULL, wake_all, NULL), 0);
		OK(publish_number(i, 64));
		bus_expect_numbers(sub, i, 1);
		pthread_join(thread, NULL);
	}
	close_all();
}

static void an_isolated_ring_works_without_membarrier(void)
{
	open_all(0, HBUS_PUB_ISOLATED | HBUS_PUB_SMALL_PAGES, 0, HBUS_SUB_FLAG_RELIABLE);
	for (uint64_t i = 0; i < 2000; i++) {
		OK(publish_number(i, 64));
		bus_expect_numbers(sub, i, 1);
	}
	close_all();
}

static void positions_beyond_2_to_the_32_and_63_behave(void)
{
	static const uint64_t borders[] = {1ull << 32, 1ull << 63, 0};

	bus = bus_open();
	for (int i = 0; i < 3; i++) {
		struct hbus_publisher_options options = {.struct_size = sizeof(options), .capacity = SMALL_RING,
							 .start_position = borders[i] - 4 * SMALL_RING};
		struct hbus_publisher_info info;

		OK(hbus_publisher_open(bus, &options, &publisher));
		OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
		sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
		for (uint64_t n = 0; n < 10000; n++) {
			OK(publish_number(n, 100));
			bus_expect_numbers(sub, n, 1);
		}
		OK(hbus_publisher_info(publisher, &info));
		CHECK((int64_t)(info.position - borders[i]) > 0);
		hbus_subscriber_close(sub);
		hbus_publisher_close(publisher);
	}
	hbus_close(bus);
}

static const struct bus_case cases[] = {
	{"a_batch_appears_whole_or_not_at_all", a_batch_appears_whole_or_not_at_all},
	{"a_batch_beyond_its_limit_stays_open", a_batch_beyond_its_limit_stays_open},
	{"an_event_of_one_eighth_fits_and_one_byte_more_does_not", an_event_of_one_eighth_fits_and_one_byte_more_does_not},
	{"a_size_that_wraps_around_is_too_large", a_size_that_wraps_around_is_too_large},
	{"a_reservation_is_filled_in_place", a_reservation_is_filled_in_place},
	{"reservations_may_be_shorter_than_asked_for", reservations_may_be_shorter_than_asked_for},
	{"a_handler_that_publishes_takes_no_event_along", a_handler_that_publishes_takes_no_event_along},
	{"a_run_is_filled_in_place", a_run_is_filled_in_place},
	{"a_run_is_read_event_by_event_however_small_the_polls", a_run_is_read_event_by_event_however_small_the_polls},
	{"spans_join_events_of_one_size", spans_join_events_of_one_size},
	{"attributes_travel_with_the_event", attributes_travel_with_the_event},
	{"a_full_ring_times_out_and_goes_on_when_it_is_read", a_full_ring_times_out_and_goes_on_when_it_is_read},
	{"with_never_wait_a_full_ring_is_said_at_once", with_never_wait_a_full_ring_is_said_at_once},
	{"wrong_use_is_refused_with_a_sentence", wrong_use_is_refused_with_a_sentence},
	{"a_signal_handler_that_publishes_never_breaks_the_ring", a_signal_handler_that_publishes_never_breaks_the_ring},
	{"a_forked_child_may_only_close_and_open_anew", a_forked_child_may_only_close_and_open_anew},
	{"with_deferred_wakes_another_thread_wakes", with_deferred_wakes_another_thread_wakes},
	{"an_isolated_ring_works_without_membarrier", an_isolated_ring_works_without_membarrier},
	{"positions_beyond_2_to_the_32_and_63_behave", positions_beyond_2_to_the_32_and_63_behave},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
