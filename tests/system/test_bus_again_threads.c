/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread polls, another gives filters up and asks for them again: from when on the first gets what is published
 *
 * The second publishes one event right after hbus_subscribe() has returned, and waits for its arrival at the first, which
 * polls without end, sleeps in hbus_wait() or in epoll, or does something else for a while.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "again.h"

/* An event that comes later than this was not announced by a wake-up. */
#define LATE_MS 30u

static const char *const topics[] = {"t/a", "t/b", NULL};

enum way { POLLS, WAITS, WAITS_SHORTLY, LOOKS, SLEEPS_IN_EPOLL, SLEEPS_ARMED_AGAIN, RESTS };

struct how {
	enum way way;
	unsigned int rounds;
	const char *filter;
	const char *kept;   /* another filter, which stays; or NULL */
	uint32_t flags;
	bool is_elsewhere;  /* the publisher is a process of its own */
	bool is_filtered_between; /* an event while nobody wants its topic */
};

struct play {
	const struct how *how;
	struct hbus *bus;
	struct hbus_subscriber *sub;
	struct again_source source;
	struct again_seen seen;
	atomic_bool is_over;
};

static void sleep_in_epoll(struct play *play, int epoll_fd, bool is_again)
{
	struct epoll_event event;

	while (again_poll(play->sub, &play->seen) > 0)
		;
	if ((is_again ? hbus_fd_arm_again(play->sub) : hbus_fd_arm(play->sub)) == 0)
		CHECK(epoll_wait(epoll_fd, &event, 1, 10 * (int)AGAIN_PATIENCE_MS) >= 0);
}

static void look(struct play *play, int epoll_fd)
{
	switch (play->how->way) {
	case POLLS:
		if (again_poll(play->sub, &play->seen) == 0)
			sched_yield();
		break;
	case WAITS:
		if (again_poll(play->sub, &play->seen) == 0)
			CHECK(hbus_wait(play->sub, -1) >= 0);
		break;
	case WAITS_SHORTLY:
		if (again_poll(play->sub, &play->seen) == 0)
			CHECK(hbus_wait(play->sub, 1) >= 0);
		break;
	case LOOKS:
		if (hbus_wait(play->sub, 0) == 1)
			again_poll(play->sub, &play->seen);
		break;
	case SLEEPS_IN_EPOLL:
	case SLEEPS_ARMED_AGAIN:
		sleep_in_epoll(play, epoll_fd, play->how->way == SLEEPS_ARMED_AGAIN);
		break;
	case RESTS:
		bus_sleep_ms(400);
		while (again_poll(play->sub, &play->seen) > 0)
			;
		break;
	}
}

static void *own(void *context)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct play *play = context;
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	CHECK(epoll_fd >= 0);
	CHECK_EQ(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, hbus_fd(play->sub), &event), 0);
	/* A(play.is_over): pairs with R(play.is_over) in rounds(). */
	while (!atomic_load_explicit(&play->is_over, memory_order_acquire))
		look(play, epoll_fd);
	close(epoll_fd);
	return NULL;
}

static bool has_come(struct play *play, uint64_t number)
{
	/* A(again.last_must): pairs with R(again.last_must) in again_account(). */
	return atomic_load_explicit(&play->seen.last_must, memory_order_acquire) == number + 1;
}

/* Return: whether it came soon. */
static bool await(struct play *play, uint64_t number)
{
	uint64_t begin_ms = bus_now_ms();

	while (!has_come(play, number)) {
		CHECK(bus_now_ms() - begin_ms < AGAIN_PATIENCE_MS);
		if (bus_now_ms() - begin_ms > 1)
			bus_sleep_ms(1);
		else
			sched_yield();
	}
	return bus_now_ms() - begin_ms <= LATE_MS;
}

static void begin(struct play *play, const struct how *how)
{
	*play = (struct play){.how = how};
	if (how->is_elsewhere)
		again_source_open(&play->source, NULL, topics);
	play->bus = bus_open();
	if (!how->is_elsewhere)
		again_source_open(&play->source, play->bus, topics);
	play->sub = bus_subscriber(play->bus, how->flags, HBUS_START_LATEST, how->filter);
	if (how->kept)
		OK(hbus_subscribe(play->sub, how->kept));
}

static void end(struct play *play)
{
	hbus_subscriber_close(play->sub);
	again_source_close(&play->source);
	hbus_close(play->bus);
}

static void rounds(const struct how *how)
{
	unsigned int n_late = 0;
	struct play play;
	pthread_t owner;

	begin(&play, how);
	CHECK_EQ(pthread_create(&owner, NULL, own, &play), 0);
	for (unsigned int i = 0; i < how->rounds; i++) {
		for (unsigned int n = i % 7 == 6 ? 2 : 1; n > 0; n--) {
			OK(hbus_unsubscribe(play.sub, how->filter));
			if (how->is_filtered_between)
				again_publish(&play.source, 0, how->kept ? MAY : MUST_NOT);
			OK(hbus_subscribe(play.sub, how->filter));
		}
		n_late += !await(&play, again_publish(&play.source, 0, MUST));
	}
	if (how->way != RESTS)
		CHECK(n_late <= how->rounds / 4);
	/* R(play.is_over): nothing; the event wakes who sleeps. */
	atomic_store_explicit(&play.is_over, true, memory_order_release);
	again_publish(&play.source, 0, MUST);
	pthread_join(owner, NULL);
	CHECK_EQ(play.seen.n_stale, 0);
	CHECK(!play.seen.is_disordered);
	end(&play);
}

#define CASE_OF(name, ...)                                 \
	static void name(void)                             \
	{                                                  \
		static const struct how how = {__VA_ARGS__}; \
		rounds(&how);                              \
	}

CASE_OF(while_the_owner_polls, .way = POLLS, .rounds = 2000, .filter = "t/a", .is_elsewhere = true)
CASE_OF(while_a_reliable_owner_polls, .way = POLLS, .rounds = 2000, .filter = "t/a", .flags = HBUS_SUB_FLAG_RELIABLE)
CASE_OF(while_the_owner_waits, .way = WAITS, .rounds = 1000, .filter = "t/#", .is_elsewhere = true)
CASE_OF(while_a_reliable_owner_waits, .way = WAITS, .rounds = 1000, .filter = "t/a", .flags = HBUS_SUB_FLAG_RELIABLE,
	.is_filtered_between = true)
CASE_OF(while_the_owner_sleeps_in_epoll, .way = SLEEPS_IN_EPOLL, .rounds = 1000, .filter = "t/a", .is_elsewhere = true,
	.is_filtered_between = true)
CASE_OF(while_a_reliable_owner_sleeps_in_epoll, .way = SLEEPS_ARMED_AGAIN, .rounds = 1000, .filter = "t/a",
	.flags = HBUS_SUB_FLAG_RELIABLE)
CASE_OF(while_the_owner_does_something_else, .way = RESTS, .rounds = 1, .filter = "t/a", .is_elsewhere = true)
CASE_OF(while_a_reliable_owner_does_something_else, .way = RESTS, .rounds = 1, .filter = "t/a", .flags = HBUS_SUB_FLAG_RELIABLE)
CASE_OF(of_two_filters_while_the_owner_polls, .way = POLLS, .rounds = 2000, .filter = "t/a", .kept = "t/b",
	.is_filtered_between = true, .is_elsewhere = true)
CASE_OF(of_two_filters_while_the_owner_waits, .way = WAITS_SHORTLY, .rounds = 2000, .filter = "t/a", .kept = "t/b",
	.is_filtered_between = true)
CASE_OF(of_two_filters_while_the_owner_looks, .way = LOOKS, .rounds = 2000, .filter = "t/a", .kept = "t/b",
	.is_filtered_between = true)
CASE_OF(of_two_filters_while_the_owner_sleeps_in_epoll, .way = SLEEPS_IN_EPOLL, .rounds = 2000, .filter = "t/a", .kept = "t/b",
	.is_filtered_between = true)

/* -- the topic that comes and goes is published without pause -- */

#define FLOOD_MAX 8000000u
#define FLOOD_MS 300u

struct flood {
	struct play play;
	_Atomic uint64_t n_begun, n_done; /* numbers 1..n; an event's number is its sequence + 1 */
	_Atomic uint64_t n_seen_to;       /* the reader knows of this one, or was told that it is lost */
	atomic_uchar *is_seen;            /* by number */
};

static bool is_over(struct play *play)
{
	/* A(play.is_over): pairs with R(play.is_over) in flood(). */
	return atomic_load_explicit(&play->is_over, memory_order_acquire);
}

static void *publish_without_pause(void *context)
{
	struct flood *flood = context;
	struct again_source *source = &flood->play.source;

	for (uint64_t number = 1; number < FLOOD_MAX && !is_over(&flood->play); number++) {
		/* R(flood.n_begun), R(flood.n_done): around the event. */
		atomic_store_explicit(&flood->n_begun, number, memory_order_release);
		OK(hbus_publish(source->publisher, source->topic[0], &number, sizeof(number)));
		atomic_store_explicit(&flood->n_done, number, memory_order_release);
		if (number % 32 == 0) /* so that who reads keeps up */
			for (int i = 0; i < 4; i++)
				sched_yield();
	}
	return NULL;
}

static void mark(struct flood *flood, uint64_t from, uint64_t n)
{
	CHECK(from + n <= FLOOD_MAX);
	for (uint64_t i = 0; i < n; i++) /* relaxed: shown by the next one */
		atomic_store_explicit(&flood->is_seen[from + i], 1, memory_order_relaxed);
	/* R(flood.n_seen_to): what was marked before. */
	atomic_store_explicit(&flood->n_seen_to, from + n - 1, memory_order_release);
}

static void read_some(struct flood *flood, struct hbus_subscriber *sub)
{
	struct hbus_event events[64];
	uint64_t sequences[64];
	struct hbus_loss loss;
	int n = hbus_poll(sub, events, 64);

	CHECK(n >= 0);
	for (int i = 0; i < n; i++)
		sequences[i] = events[i].sequence;
	while (hbus_next_loss(sub, &loss) == 1)
		mark(flood, loss.first_sequence + 1, loss.n_events);
	if (hbus_release(sub) != 0)
		return;
	for (int i = 0; i < n; i++)
		mark(flood, sequences[i] + 1, 1);
	if (n == 0)
		CHECK(hbus_wait(sub, flood->play.how->way == WAITS_SHORTLY ? 1 : 0) >= 0);
}

static void *read_without_pause(void *context)
{
	struct flood *flood = context;

	while (!is_over(&flood->play))
		read_some(flood, flood->play.sub);
	return NULL;
}

/* What was published while the filter was there, from the first event that was begun after hbus_subscribe() had returned. */
static void one_stay(struct flood *flood)
{
	uint64_t from, until, deadline_ms = bus_now_ms() + AGAIN_PATIENCE_MS, n_missing = 0;

	OK(hbus_subscribe(flood->play.sub, flood->play.how->filter));
	/* A(flood.n_begun), A(flood.n_done): pair with R in publish_without_pause(). */
	from = atomic_load_explicit(&flood->n_begun, memory_order_acquire) + 1;
	while ((until = atomic_load_explicit(&flood->n_done, memory_order_acquire)) < from + 100 && bus_now_ms() < deadline_ms)
		sched_yield();
	/* A(flood.n_seen_to): pairs with R in mark(). */
	while (atomic_load_explicit(&flood->n_seen_to, memory_order_acquire) < until) {
		CHECK(bus_now_ms() < deadline_ms);
		sched_yield();
	}
	OK(hbus_unsubscribe(flood->play.sub, flood->play.how->filter));
	for (uint64_t number = from; number <= until; number++) /* relaxed: shown by n_seen_to */
		n_missing += !atomic_load_explicit(&flood->is_seen[number], memory_order_relaxed);
	CHECK_EQ(n_missing, 0);
}

static void flood(const struct how *how)
{
	uint64_t until_ms = bus_now_ms() + FLOOD_MS;
	struct flood flood = {.is_seen = calloc(FLOOD_MAX, 1)};
	pthread_t reader, publisher;

	CHECK(flood.is_seen != NULL);
	begin(&flood.play, how);
	OK(hbus_unsubscribe(flood.play.sub, how->filter));
	CHECK_EQ(pthread_create(&reader, NULL, read_without_pause, &flood), 0);
	CHECK_EQ(pthread_create(&publisher, NULL, publish_without_pause, &flood), 0);
	while (bus_now_ms() < until_ms)
		one_stay(&flood);
	/* R(play.is_over): nothing. */
	atomic_store_explicit(&flood.play.is_over, true, memory_order_release);
	pthread_join(publisher, NULL);
	pthread_join(reader, NULL);
	end(&flood.play);
	free(flood.is_seen);
}

#define FLOOD_OF(name, ...)                                \
	static void name(void)                             \
	{                                                  \
		static const struct how how = {__VA_ARGS__}; \
		flood(&how);                               \
	}

FLOOD_OF(of_a_flood_to_a_lossy_one, .filter = "t/a")
FLOOD_OF(of_a_flood_to_a_reliable_one, .filter = "t/a", .flags = HBUS_SUB_FLAG_RELIABLE)
FLOOD_OF(of_a_flood_beside_another_filter, .filter = "t/a", .kept = "t/b")
FLOOD_OF(of_a_flood_beside_another_filter_to_one_that_waits, .way = WAITS_SHORTLY, .filter = "t/a", .kept = "t/b")
FLOOD_OF(of_a_flood_beside_another_filter_to_a_reliable_one, .filter = "t/a", .kept = "t/b", .flags = HBUS_SUB_FLAG_RELIABLE)

static const struct bus_case cases[] = {
	{"while_the_owner_polls", while_the_owner_polls},
	{"while_a_reliable_owner_polls", while_a_reliable_owner_polls},
	{"while_the_owner_waits", while_the_owner_waits},
	{"while_a_reliable_owner_waits", while_a_reliable_owner_waits},
	{"while_the_owner_sleeps_in_epoll", while_the_owner_sleeps_in_epoll},
	{"while_a_reliable_owner_sleeps_in_epoll", while_a_reliable_owner_sleeps_in_epoll},
	{"while_the_owner_does_something_else", while_the_owner_does_something_else},
	{"while_a_reliable_owner_does_something_else", while_a_reliable_owner_does_something_else},
	{"of_two_filters_while_the_owner_polls", of_two_filters_while_the_owner_polls},
	{"of_two_filters_while_the_owner_waits", of_two_filters_while_the_owner_waits},
	{"of_two_filters_while_the_owner_looks", of_two_filters_while_the_owner_looks},
	{"of_two_filters_while_the_owner_sleeps_in_epoll", of_two_filters_while_the_owner_sleeps_in_epoll},
	{"of_a_flood_to_a_lossy_one", of_a_flood_to_a_lossy_one},
	{"of_a_flood_to_a_reliable_one", of_a_flood_to_a_reliable_one},
	{"of_a_flood_beside_another_filter", of_a_flood_beside_another_filter},
	{"of_a_flood_beside_another_filter_to_one_that_waits", of_a_flood_beside_another_filter_to_one_that_waits},
	{"of_a_flood_beside_another_filter_to_a_reliable_one", of_a_flood_beside_another_filter_to_a_reliable_one},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
