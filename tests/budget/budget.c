/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One publish and one poll after another, for callgrind to count; budget.py reads what it counts
 *
 *	budget [--plant]	with --plant each operation wastes a hundred instructions: that must be found
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else /* budget.py says that there is no valgrind */
#define CALLGRIND_ZERO_STATS ((void)0)
#define CALLGRIND_TOGGLE_COLLECT ((void)0)
#define CALLGRIND_DUMP_STATS_AT(text) ((void)(text))
#endif

#include "ctl/client/hugebus.h"

#define ROUND 64u /* events published, then read: no block is entered but now and then, as in life */
#define ROUNDS 40u
#define RUN 128u
#define TRIES_MAX 5000u

static struct hbus *bus;
static struct hbus_publisher *publisher;
static struct hbus_subscriber *subscriber;
static hbus_topic_t topic;
static unsigned char data[RUN * 64];
static bool is_planted;

typedef int (*step_fn)(unsigned int size);

static void waste(void)
{
	if (!is_planted)
		return;
	for (unsigned int i = 0; i < 50; i++)
		__asm__ __volatile__("");
}

static int publish_singles(unsigned int size)
{
	for (unsigned int i = 0; i < ROUND; i++) {
		waste();
		if (hbus_publish(publisher, topic, data, size))
			return -1;
	}
	return ROUND;
}

static int publish_batch(unsigned int size)
{
	if (hbus_batch_begin(publisher) || publish_singles(size) < 0 || hbus_batch_commit(publisher))
		return -1;
	return ROUND;
}

static int publish_run(unsigned int size)
{
	waste();
	return hbus_publish_run(publisher, topic, data, size, RUN) ? -1 : (int)RUN;
}

static int publish_in_place(unsigned int size)
{
	for (unsigned int i = 0; i < ROUND; i++) {
		void *room;

		waste();
		if (hbus_reserve(publisher, topic, size, &room) || hbus_commit(publisher, size))
			return -1;
	}
	return ROUND;
}

static int publish_run_in_place(unsigned int size)
{
	void *room;

	waste();
	return hbus_reserve_run(publisher, topic, size, RUN, &room) || hbus_commit_run(publisher, RUN) ? -1 : (int)RUN;
}

static int poll_singles(unsigned int size)
{
	struct hbus_event event;

	(void)size;
	for (unsigned int i = 0; i < ROUND; i++) {
		waste();
		if (hbus_poll(subscriber, &event, 1) != 1)
			return -1;
	}
	return ROUND;
}

static int poll_many(unsigned int size)
{
	struct hbus_event events[ROUND];
	int n;

	(void)size;
	n = hbus_poll(subscriber, events, ROUND);
	for (int i = 0; i < n; i++)
		waste();
	return n;
}

static int poll_spans(unsigned int size)
{
	struct hbus_span spans[4];
	int n = hbus_poll_spans(subscriber, spans, 4), n_events = 0;

	(void)size;
	for (int i = 0; i < n; i++)
		n_events += (int)spans[i].n_events;
	for (int i = 0; i < n_events; i++)
		waste();
	return n_events;
}

static int poll_nothing(unsigned int size)
{
	struct hbus_event event;

	(void)size;
	for (unsigned int i = 0; i < ROUND; i++) {
		waste();
		if (hbus_poll(subscriber, &event, 1) != 0)
			return -1;
	}
	return ROUND;
}

/* What the step left behind is read, or what it needs is written, uncounted. */
static int drain(void)
{
	struct hbus_span spans[4];

	while (hbus_poll_spans(subscriber, spans, 4) > 0)
		;
	return 0;
}

static int count(const char *name, step_fn before, step_fn step, unsigned int size)
{
	unsigned int n_counted = 0;
	char text[64];

	CALLGRIND_ZERO_STATS;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		int n;

		if (before && before(size) < 0)
			return fprintf(stderr, "%s: what comes before failed\n", name), 1;
		CALLGRIND_TOGGLE_COLLECT;
		n = step(size);
		CALLGRIND_TOGGLE_COLLECT;
		if (n <= 0)
			return fprintf(stderr, "%s failed (%d, round %u): %s\n", name, n, i, hbus_error_text()), 1;
		n_counted += (unsigned int)n;
		drain();
	}
	snprintf(text, sizeof(text), "%s %u", name, n_counted);
	CALLGRIND_DUMP_STATS_AT(text);
	return 0;
}

/* The topic's name has come, and barriers work: a fence at each commit is not what is to be counted. */
static int warm_up(void)
{
	struct hbus_span spans[4];
	unsigned int n = 0;

	for (unsigned int i = 0; i < TRIES_MAX && n < ROUNDS; i++) {
		if (publish_run(64) < 0 || hbus_wait(subscriber, 10) < 0)
			return -1;
		while (hbus_poll_spans(subscriber, spans, 4) > 0)
			n++;
	}
	return n < ROUNDS ? -1 : 0;
}

static int open_all(void)
{
	struct hbus_publisher_options publisher_options = {.struct_size = sizeof(publisher_options)};
	struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = HBUS_SUB_FLAG_RELIABLE};

	return hbus_open("embedded:", NULL, &bus) || hbus_subscriber_open(bus, &options, &subscriber) ||
	       hbus_subscribe(subscriber, "budget") ||
	       hbus_publisher_open(bus, &publisher_options, &publisher) ||
	       hbus_publisher_topic(publisher, "budget", NULL, NULL, &topic);
}

int main(int argc, char **argv)
{
	int n_failed = 0;

	is_planted = argc > 1 && strcmp(argv[1], "--plant") == 0;
	if (open_all()) {
		fprintf(stderr, "budget: %s\n", hbus_error_text());
		return 1;
	}
	if (warm_up()) {
		fprintf(stderr, "budget: no event came\n");
		return 1;
	}
	n_failed += count("publish.8", NULL, publish_singles, 8);
	n_failed += count("publish.64", NULL, publish_singles, 64);
	n_failed += count("publish.batch.64", NULL, publish_batch, 64);
	n_failed += count("publish.run.64", NULL, publish_run, 64);
	n_failed += count("publish.in-place.64", NULL, publish_in_place, 64);
	n_failed += count("publish.run-in-place.64", NULL, publish_run_in_place, 64);
	n_failed += count("poll.1.64", publish_singles, poll_singles, 64);
	n_failed += count("poll.64.64", publish_singles, poll_many, 64);
	n_failed += count("poll.spans.64", publish_singles, poll_spans, 64);
	n_failed += count("poll.spans.run.64", publish_run, poll_spans, 64);
	n_failed += count("poll.nothing", NULL, poll_nothing, 0);
	hbus_subscriber_close(subscriber);
	hbus_publisher_close(publisher);
	hbus_close(bus);
	return n_failed > 0;
}
