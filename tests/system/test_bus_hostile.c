/* SPDX-License-Identifier: BSD-3-Clause */
/* Peers that write what they like into what is theirs: they harm nobody else. */
#include <pthread.h>
#include <stdatomic.h>

#include "bus.h"
#include "ctl/client/publisher.h"
#include "ctl/client/subscriber.h"

#define SMALL_RING 65536u

static struct hbus *bad_bus, *good_bus, *reader_bus;
static struct hbus_publisher *bad, *good;
static hbus_topic_t bad_topic, good_topic;

static void open_all(void)
{
	bad_bus = bus_open();
	good_bus = bus_open();
	reader_bus = bus_open();
	bad = bus_publisher(bad_bus, SMALL_RING, 0, 1000);
	good = bus_publisher(good_bus, SMALL_RING, 0, 1000);
	OK(hbus_publisher_topic(bad, "bad", NULL, NULL, &bad_topic));
	OK(hbus_publisher_topic(good, "good", NULL, NULL, &good_topic));
}

static void close_all(void)
{
	hbus_publisher_close(bad);
	hbus_publisher_close(good);
	hbus_close(bad_bus);
	hbus_close(good_bus);
	hbus_close(reader_bus);
}

/* Writes a header word where the next one would come. */
static void put_word(uint64_t word)
{
	struct hbus_ring_pub *pub = &bad->rings[0]->pub;

	atomic_store_explicit((_Atomic uint64_t *)(void *)(pub->data + (pub->tail & pub->mask)), word, memory_order_release);
}

/* Events of the good publisher; those of the bad one are counted. */
static size_t read_good(struct hbus_subscriber *sub, uint64_t *next, int wait_ms)
{
	struct hbus_event events[32];
	size_t n = 0;

	for (;;) {
		int got = hbus_poll(sub, events, 32);

		CHECK(got >= 0);
		for (int i = 0; i < got; i++) {
			uint64_t number;

			if (strcmp(events[i].topic, "good") != 0)
				continue;
			CHECK(bus_is_filled(events[i].data, events[i].size, &number));
			CHECK_EQ(number, (*next)++);
			n++;
		}
		if (got == 0 && hbus_wait(sub, wait_ms) != 1)
			return n;
	}
}

static void a_word_that_is_not_one_costs_its_ring_only(void)
{
	static const uint64_t words[] = {1, UINT64_MAX, 0xb5ull << 56 | 1ull << 24 | 0xffffff,
					 0xb508ull << 48 | 1ull << 24 | 16 /* a run of no events */};

	open_all();
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct hbus_subscriber *sub = bus_subscriber(reader_bus, i % 2 ? HBUS_SUB_FLAG_RELIABLE : 0, 0, "#");
		struct hbus_subscriber_info info;
		struct hbus_loss loss;
		uint64_t next = 0;

		put_word(0);
		OK(bus_publish_number(bad, bad_topic, 1, 40));
		put_word(words[i]);
		for (uint64_t n = 0; n < 50; n++)
			OK(bus_publish_number(good, good_topic, n, 40));
		CHECK_EQ(read_good(sub, &next, 20), 50);
		CHECK_EQ(hbus_next_loss(sub, &loss), 1);
		CHECK_EQ(loss.reason, HBUS_LOSS_CORRUPT);
		CHECK_EQ(loss.ring_id, bad->rings[0]->geometry.ring_id);
		CHECK_EQ(loss.n_events, 0);
		OK(hbus_subscriber_info(sub, &info));
		CHECK_EQ(info.n_rings, 1);
		CHECK_EQ(info.n_delivered, 51);
		hbus_subscriber_close(sub);
		put_word(0);
	}
	close_all();
}

static void a_topic_that_nobody_named_is_skipped_after_a_second(void)
{
	struct hbus_subscriber *sub;
	struct hbus_loss loss;
	uint64_t next = 0, begin_ms;
	struct hbus_event event;

	open_all();
	sub = bus_subscriber(reader_bus, HBUS_SUB_FLAG_RELIABLE, 0, "#");
	bad->pages[0]->place[77] = 1u << 24 | 4711;
	OK(hbus_publish(bad, 77, "x", 1));
	OK(bus_publish_number(bad, bad_topic, 1, 40));
	for (uint64_t n = 0; n < 50; n++)
		OK(bus_publish_number(good, good_topic, n, 40));
	begin_ms = bus_now_ms();
	CHECK_EQ(read_good(sub, &next, 20), 50);
	CHECK(bus_now_ms() - begin_ms < 900);
	CHECK_EQ(hbus_wait(sub, 3000), 1);
	CHECK(bus_now_ms() - begin_ms >= 900);
	CHECK_EQ(hbus_poll(sub, &event, 1), 1);
	CHECK(strcmp(event.topic, "bad") == 0);
	CHECK_EQ(hbus_next_loss(sub, &loss), 1);
	CHECK_EQ(loss.reason, HBUS_LOSS_UNNAMED);
	/* From now on without waiting. */
	OK(hbus_publish(bad, 77, "x", 1));
	OK(bus_publish_number(bad, bad_topic, 2, 40));
	CHECK_EQ(hbus_wait(sub, 500), 1);
	CHECK_EQ(hbus_next_loss(sub, &loss), 0);
	hbus_subscriber_close(sub);
	close_all();
}

static atomic_bool must_stop;

static void *scribble(void *context)
{
	struct hbus_pub_ring *ring = bad->rings[0];
	unsigned int seed = 1;

	(void)context;
	while (!must_stop) {
		uint64_t random = (uint64_t)rand_r(&seed) << 32 ^ (uint64_t)rand_r(&seed) << 11 ^ (uint64_t)rand_r(&seed);
		uint64_t *words = random & 64 ? ring->data : ring->header;
		uint64_t n_words = (random & 64 ? ring->geometry.capacity : 4096) / 8;

		if (random & 128)
			random = 0xb5ull << 56 | (random & 0x0f0000000000ffull) | (uint64_t)bad_topic << 24;
		words[(random >> 20) % n_words] = random;
		if (random % 64 == 0)
			bus_publish_number(bad, bad_topic, random, 40);
	}
	return NULL;
}

static void readers_survive_a_publisher_that_scribbles(void)
{
	uint64_t until_ms = bus_now_ms() + 3000, next = 0, n = 0, n_touched = 0;
	struct hbus_subscriber *steady, *sub;
	pthread_t thread;
	int n_rounds = 0;

	open_all();
	steady = bus_subscriber(reader_bus, HBUS_SUB_FLAG_RELIABLE, 0, "#");
	CHECK_EQ(pthread_create(&thread, NULL, scribble, NULL), 0);
	while (bus_now_ms() < until_ms) {
		struct hbus_span spans[8];

		for (int i = 0; i < 100; i++)
			OK(bus_publish_number(good, good_topic, n++, 40));
		read_good(steady, &next, 0);
		/* New ones meet whatever stands there now. */
		sub = bus_subscriber(reader_bus, n_rounds % 2 ? HBUS_SUB_FLAG_RELIABLE : 0, (uint32_t)(n_rounds / 2 % 2), "#");
		for (int i = 0; i < 20; i++) {
			int got = hbus_poll_spans(sub, spans, 8);

			CHECK(got >= 0);
			for (int j = 0; j < got; j++) { /* touch it all */
				for (size_t k = 0; k < spans[j].n_events && k < 1000; k++)
					for (size_t l = 0; l < spans[j].size; l += 64)
						n_touched += spans[j].data[k * spans[j].stride + l];
			}
			hbus_release(sub);
		}
		hbus_subscriber_close(sub);
		n_rounds++;
	}
	must_stop = true;
	pthread_join(thread, NULL);
	while (read_good(steady, &next, 50) > 0)
		;
	CHECK_EQ(next, n);
	CHECK(n_rounds > 5);
	printf("# sum of what was touched: %llu\n", (unsigned long long)n_touched);
	hbus_subscriber_close(steady);
	close_all();
}

static void *scribble_cursors(void *context)
{
	struct hbus_subscriber *sub = context;
	unsigned int seed = 2;

	while (!must_stop)
		for (uint32_t i = 0; i < sub->slots[0].n_slots; i++) {
			uint64_t random = (uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed);

			atomic_store_explicit(&sub->slots[0].slots[i].cursor, random % 3 ? random : random % 100000,
					      memory_order_release);
			atomic_store_explicit(&sub->slots[0].slots[i].waiting, (uint32_t)random, memory_order_relaxed);
		}
	return NULL;
}

static void a_subscriber_with_false_cursors_cheats_only_itself(void)
{
	struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = HBUS_SUB_FLAG_RELIABLE,
						  .stall_ms = 300};
	struct hbus_subscriber *liar = NULL, *honest;
	uint64_t until_ms = bus_now_ms() + 2500, next = 0, n = 0;
	pthread_t thread;

	open_all();
	honest = bus_subscriber(reader_bus, HBUS_SUB_FLAG_RELIABLE, 0, "good");
	OK(hbus_subscriber_open(bad_bus, &options, &liar));
	OK(hbus_subscribe(liar, "good"));
	CHECK_EQ(pthread_create(&thread, NULL, scribble_cursors, liar), 0);
	while (bus_now_ms() < until_ms) {
		for (int i = 0; i < 500; i++)
			OK(bus_publish_number(good, good_topic, n++, 40));
		read_good(honest, &next, 0);
	}
	must_stop = true;
	pthread_join(thread, NULL);
	while (read_good(honest, &next, 50) > 0)
		;
	CHECK_EQ(next, n);
	CHECK(n > 5000);
	hbus_subscriber_close(liar);
	hbus_subscriber_close(honest);
	close_all();
}

static const struct bus_case cases[] = {
	{"a_word_that_is_not_one_costs_its_ring_only", a_word_that_is_not_one_costs_its_ring_only},
	{"a_topic_that_nobody_named_is_skipped_after_a_second", a_topic_that_nobody_named_is_skipped_after_a_second},
	{"readers_survive_a_publisher_that_scribbles", readers_survive_a_publisher_that_scribbles},
	{"a_subscriber_with_false_cursors_cheats_only_itself", a_subscriber_with_false_cursors_cheats_only_itself},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
