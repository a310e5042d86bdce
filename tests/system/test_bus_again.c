/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that polls gives a filter up and asks for it again: from when on it gets what is published. */
#include <stdatomic.h>

#include "again.h"

#define ROUNDS 200u

static const char *const topics[] = {"t/a", "t/b", NULL};

struct how {
	const char *filter;
	const char *kept;    /* another filter, which stays; or NULL */
	uint32_t flags;      /* HBUS_SUB_FLAG_* */
	uint32_t start;
	uint32_t stall_ms;
	uint32_t open_flags; /* HBUS_OPEN_* */
	bool is_elsewhere;   /* the publisher is a process of its own */
};

struct play {
	const struct how *how;
	struct hbus *bus;
	struct hbus_subscriber *sub;
	struct again_source source;
	struct again_seen seen;
};

static void begin(struct play *play, const struct how *how)
{
	struct hbus_subscriber_options sub_options = {.struct_size = sizeof(sub_options), .flags = how->flags, .start = how->start,
						      .stall_ms = how->stall_ms};
	struct hbus_options options = {.struct_size = sizeof(options), .flags = how->open_flags};

	*play = (struct play){.how = how};
	if (how->is_elsewhere)
		again_source_open(&play->source, NULL, topics);
	OK(hbus_open(bus_address, &options, &play->bus));
	if (!how->is_elsewhere)
		again_source_open(&play->source, play->bus, topics);
	OK(hbus_subscriber_open(play->bus, &sub_options, &play->sub));
	OK(hbus_subscribe(play->sub, how->filter));
	if (how->kept)
		OK(hbus_subscribe(play->sub, how->kept));
}

/* Whether all is as at the first subscribe: one ring, gated if it should be, and nothing told that was not so. */
static void check_what_stays(struct play *play)
{
	struct hbus_publisher_info publisher = {.n_gates = play->how->flags & HBUS_SUB_FLAG_RELIABLE ? 1 : 0};
	struct hbus_subscriber_info info;
	struct hbus_loss loss;

	OK(hbus_release(play->sub));
	OK(hbus_subscriber_info(play->sub, &info));
	CHECK_EQ(info.n_rings, 1);
	CHECK_EQ(info.n_lost, 0);
	CHECK_EQ(info.n_delivered, play->seen.n_events);
	CHECK_EQ(hbus_next_loss(play->sub, &loss), 0);
	if (!play->how->is_elsewhere)
		OK(hbus_publisher_info(play->source.publisher, &publisher));
	CHECK_EQ(publisher.n_gates, play->how->flags & HBUS_SUB_FLAG_RELIABLE ? 1 : 0);
	CHECK(play->how->start == HBUS_START_EARLIEST || !play->seen.is_disordered); /* what is still there comes again */
}

static void end(struct play *play)
{
	hbus_subscriber_close(play->sub);
	again_source_close(&play->source);
	hbus_close(play->bus);
}

static void expect(struct play *play, uint64_t number)
{
	uint64_t until_ms = bus_now_ms() + AGAIN_PATIENCE_MS;

	/* relaxed: this thread writes it */
	while (atomic_load_explicit(&play->seen.last_must, memory_order_relaxed) != number + 1) {
		CHECK(bus_now_ms() < until_ms);
		if (again_poll(play->sub, &play->seen) == 0)
			CHECK(hbus_wait(play->sub, 20) >= 0);
	}
	CHECK_EQ(again_poll(play->sub, &play->seen), 0);
}

static void go_and_come(struct play *play, bool is_published_between)
{
	OK(hbus_unsubscribe(play->sub, play->how->filter));
	if (is_published_between)
		again_publish(&play->source, 0, MUST_NOT);
	OK(hbus_subscribe(play->sub, play->how->filter));
}

/* An event in the caller's hands stays as it is until the next poll, whatever becomes of its ring. */
static void hold_one_meanwhile(struct play *play)
{
	uint64_t number = again_publish(&play->source, 0, MUST), word;
	uint64_t until_ms = bus_now_ms() + AGAIN_PATIENCE_MS;
	struct hbus_event event;
	int n;

	while ((n = hbus_poll(play->sub, &event, 1)) == 0 && bus_now_ms() < until_ms)
		CHECK(hbus_wait(play->sub, 20) >= 0);
	CHECK_EQ(n, 1);
	go_and_come(play, true);
	CHECK(bus_is_filled(event.data, event.size, &word));
	again_account(&play->seen, &event);
	CHECK_EQ(play->seen.last_number, number);
	OK(hbus_release(play->sub));
}

static void expect_nothing_for(struct play *play, int ms)
{
	uint64_t n_events = play->seen.n_events;

	hbus_wait(play->sub, ms);
	again_poll(play->sub, &play->seen);
	CHECK_EQ(play->seen.n_events, n_events);
}

static void one_round(struct play *play, unsigned int round)
{
	switch (round % 7) {
	case 0:
		go_and_come(play, false);
		break;
	case 1:
		go_and_come(play, true);
		break;
	case 2: /* one stands unread, one is published between */
		again_publish(&play->source, 0, MAY);
		go_and_come(play, true);
		break;
	case 3:
		go_and_come(play, true);
		go_and_come(play, round % 2);
		break;
	case 4:
		hold_one_meanwhile(play);
		break;
	case 5: /* the ring is left before it is asked for again */
		OK(hbus_unsubscribe(play->sub, play->how->filter));
		expect_nothing_for(play, round / 7 % 3);
		OK(hbus_subscribe(play->sub, play->how->filter));
		break;
	case 6: /* it is left just now */
		OK(hbus_unsubscribe(play->sub, play->how->filter));
		again_poll(play->sub, &play->seen);
		OK(hbus_subscribe(play->sub, play->how->filter));
		break;
	}
	expect(play, again_publish(&play->source, 0, MUST));
}

static void rounds(const struct how *how)
{
	struct play play;

	begin(&play, how);
	for (unsigned int i = 0; i < ROUNDS; i++)
		one_round(&play, i);
	if (how->start == HBUS_START_LATEST && !how->kept)
		CHECK_EQ(play.seen.n_stale, 0);
	check_what_stays(&play);
	end(&play);
}

#define CASE_OF(name, ...)                                 \
	static void name(void)                             \
	{                                                  \
		static const struct how how = {__VA_ARGS__}; \
		rounds(&how);                              \
	}

CASE_OF(a_lossy_one, .filter = "t/a")
CASE_OF(a_reliable_one, .filter = "t/a", .flags = HBUS_SUB_FLAG_RELIABLE)
CASE_OF(a_lossy_one_of_a_publisher_elsewhere, .filter = "t/a", .is_elsewhere = true)
CASE_OF(a_reliable_one_of_a_publisher_elsewhere, .filter = "t/a", .flags = HBUS_SUB_FLAG_RELIABLE, .is_elsewhere = true)
CASE_OF(a_wildcard, .filter = "t/#", .is_elsewhere = true)
CASE_OF(one_that_its_publisher_does_not_wake, .filter = "t/a", .flags = HBUS_SUB_FLAG_NO_OWN_WAKE)
CASE_OF(a_reliable_one_that_its_publisher_does_not_wake, .filter = "t/a",
	.flags = HBUS_SUB_FLAG_NO_OWN_WAKE | HBUS_SUB_FLAG_RELIABLE)
CASE_OF(one_that_reads_from_the_earliest, .filter = "t/a", .start = HBUS_START_EARLIEST, .is_elsewhere = true)
CASE_OF(one_without_a_control_thread, .filter = "t/a", .open_flags = HBUS_OPEN_NO_THREAD, .is_elsewhere = true)
CASE_OF(a_reliable_one_without_a_control_thread, .filter = "t/a", .flags = HBUS_SUB_FLAG_RELIABLE,
	.open_flags = HBUS_OPEN_NO_THREAD, .is_elsewhere = true)
CASE_OF(one_beside_a_filter_that_stays, .filter = "t/a", .kept = "t/b", .is_elsewhere = true)
CASE_OF(one_under_a_wildcard_that_stays, .filter = "t/a", .kept = "+/a")

/* As many as fit while nobody polls, without to wait. The subscriber must get each of them. Return: how many. */
static uint64_t fill_the_ring(struct play *play)
{
	unsigned char bytes[24];
	uint64_t n = 0;

	for (;; n++) {
		CHECK(n < AGAIN_RING);
		bus_fill(bytes, sizeof(bytes), n);
		if (hbus_try_publish(play->source.publisher, play->source.topic[0], bytes, sizeof(bytes)) != 0)
			break;
	}
	CHECK(n > AGAIN_RING / 64);
	return n;
}

/* Its gate is there when hbus_subscribe() returns: a publisher that does not wait is told so, rather than to overwrite. */
static void a_reliable_one_is_waited_for_from_then_on(void)
{
	static const struct how how = {.filter = "t/a", .flags = HBUS_SUB_FLAG_RELIABLE};
	struct play play;

	begin(&play, &how);
	for (unsigned int round = 0; round < 10; round++) {
		go_and_come(&play, round % 2);
		bus_expect_numbers(play.sub, 0, fill_the_ring(&play));
		bus_expect_quiet(play.sub);
	}
	CHECK_EQ(bus_take_losses(play.sub, HBUS_LOSS_EVICTED), 0);
	end(&play);
}

/* Its publisher has given its gate up while it wanted nothing: it gets another, and every event from where it asked again. */
static void a_reliable_one_that_was_dropped_meanwhile(void)
{
	static const struct how how = {.filter = "t/a", .flags = HBUS_SUB_FLAG_RELIABLE, .stall_ms = 50};
	struct play play;

	begin(&play, &how);
	for (unsigned int round = 0; round < 5; round++) {
		OK(hbus_unsubscribe(play.sub, "t/a"));
		for (uint64_t i = 0; i < AGAIN_RING / 16; i++)
			again_publish(&play.source, 0, MUST_NOT);
		OK(hbus_subscribe(play.sub, "t/a"));
		expect(&play, again_publish(&play.source, 0, MUST));
		bus_expect_numbers(play.sub, 0, fill_the_ring(&play));
		bus_expect_quiet(play.sub);
	}
	CHECK_EQ(play.seen.n_stale, 0);
	CHECK_EQ(bus_take_losses(play.sub, HBUS_LOSS_EVICTED), 0);
	end(&play);
}

/* The publisher is back when the subscriber is: they are of one process. */
static void across_a_restart_of_the_daemon(void)
{
	static const struct how how = {.filter = "t/a", .flags = HBUS_SUB_FLAG_RELIABLE};
	struct play play;

	begin(&play, &how);
	for (unsigned int round = 0; round < 8; round++) {
		if (round % 2)
			OK(hbus_unsubscribe(play.sub, "t/a"));
		if (round % 4 > 1)
			again_poll(play.sub, &play.seen);
		bus_daemon_kill();
		bus_daemon_start();
		if (round % 2 == 0)
			OK(hbus_unsubscribe(play.sub, "t/a"));
		again_publish(&play.source, 0, MAY);
		OK(hbus_subscribe(play.sub, "t/a"));
		expect(&play, again_publish(&play.source, 0, MUST));
	}
	check_what_stays(&play);
	end(&play);
}

static const struct bus_case cases[] = {
	{"a_lossy_one", a_lossy_one},
	{"a_reliable_one", a_reliable_one},
	{"a_lossy_one_of_a_publisher_elsewhere", a_lossy_one_of_a_publisher_elsewhere},
	{"a_reliable_one_of_a_publisher_elsewhere", a_reliable_one_of_a_publisher_elsewhere},
	{"a_wildcard", a_wildcard},
	{"one_that_its_publisher_does_not_wake", one_that_its_publisher_does_not_wake},
	{"a_reliable_one_that_its_publisher_does_not_wake", a_reliable_one_that_its_publisher_does_not_wake},
	{"one_that_reads_from_the_earliest", one_that_reads_from_the_earliest},
	{"one_without_a_control_thread", one_without_a_control_thread},
	{"a_reliable_one_without_a_control_thread", a_reliable_one_without_a_control_thread},
	{"one_beside_a_filter_that_stays", one_beside_a_filter_that_stays},
	{"one_under_a_wildcard_that_stays", one_under_a_wildcard_that_stays},
	{"a_reliable_one_is_waited_for_from_then_on", a_reliable_one_is_waited_for_from_then_on},
	{"a_reliable_one_that_was_dropped_meanwhile", a_reliable_one_that_was_dropped_meanwhile},
	{"across_a_restart_of_the_daemon", across_a_restart_of_the_daemon},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
