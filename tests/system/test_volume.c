/* SPDX-License-Identifier: BSD-3-Clause */
/* Many events through one ring, and positions near the ends of 32, 63 and 64 bits. */
#include <stdatomic.h>

#include "bus.h"

#define RUN 500u

static uint64_t n_wanted;
static size_t event_size;

static void publish_runs(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 4u << 20, 0, 20000);
	_Atomic uint32_t *may_begin = context;
	static unsigned char run[RUN * 64];
	uint64_t n = 0;
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "volume", NULL, NULL, &topic));
	*may_begin = 1;
	while (*may_begin != 2)
		bus_sleep_ms(1);
	while (n < n_wanted) {
		for (uint64_t i = 0; i < RUN; i++)
			memcpy(run + i * event_size, &(uint64_t){n + i}, 8);
		OK(hbus_publish_run(publisher, topic, run, event_size, RUN));
		n += RUN;
	}
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static uint64_t read_spans(struct hbus_subscriber *sub, uint64_t next)
{
	struct hbus_span spans[64];
	int n = hbus_poll_spans(sub, spans, 64);

	CHECK(n >= 0);
	for (int i = 0; i < n; i++) {
		CHECK_EQ(spans[i].size, event_size);
		CHECK_EQ(spans[i].sequence, next);
		for (size_t j = 0; j < spans[i].n_events; j++) {
			uint64_t number;

			memcpy(&number, spans[i].data + j * spans[i].stride, 8);
			if (number != next)
				CHECK_EQ(number, next);
			next++;
		}
	}
	return next;
}

static void pass_through_one_ring(uint64_t n_events, size_t size)
{
	_Atomic uint32_t *may_begin = bus_shared(4096);
	struct hbus_subscriber *sub;
	uint64_t next = 0, begin_ms;
	struct hbus_loss loss;
	struct hbus *bus;
	pid_t pid;

	n_wanted = n_events;
	event_size = size;
	pid = bus_fork(publish_runs, (void *)(uintptr_t)may_begin);
	while (*may_begin != 1)
		bus_sleep_ms(1);
	bus = bus_open();
	sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "volume");
	*may_begin = 2;
	begin_ms = bus_now_ms();
	while (next < n_wanted) {
		uint64_t before = next;

		next = read_spans(sub, next);
		if (next == before)
			CHECK_EQ(hbus_wait(sub, 20000), 1);
	}
	CHECK_EQ(next, n_wanted);
	CHECK_EQ(hbus_next_loss(sub, &loss), 0);
	printf("# %llu events of %zu B in %llu ms\n", (unsigned long long)n_wanted, size,
	       (unsigned long long)(bus_now_ms() - begin_ms));
	bus_join(pid);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

static void ten_million_events_pass_through_one_ring(void)
{
	pass_through_one_ring(5000000, 8);
	pass_through_one_ring(5000000, 64);
}

static void a_hundred_million_events_pass_through_one_ring(void)
{
	pass_through_one_ring(100000000, 64);
}

/* -- positions -- */

#define CAPACITY 65536u

static void pass_by(uint64_t start)
{
	struct hbus_publisher_options options = {.struct_size = sizeof(options), .capacity = CAPACITY, .timeout_ms = 5000,
						 .start_position = start};
	struct hbus_subscriber *reliable, *lossy, *late;
	struct hbus_publisher *publisher = NULL;
	uint64_t n = 0, n_lossy = 0, n_lost = 0, numbers[64];
	struct hbus_publisher_info info;
	struct hbus *bus = bus_open();
	unsigned char payload[104];
	struct hbus_loss loss;
	hbus_topic_t topic;

	OK(hbus_publisher_open(bus, &options, &publisher));
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	reliable = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	lossy = bus_subscriber(bus, 0, HBUS_START_LATEST, "t");
	/* Six times round; the reliable one is a few events behind, the lossy one looks now and then. */
	while (n < 6 * CAPACITY / 112) {
		uint64_t n_before = n;

		for (int i = 0; i < 40; i++) {
			bus_fill(payload, 100, n++);
			OK(hbus_publish(publisher, topic, payload, 100));
		}
		CHECK_EQ(bus_collect(reliable, numbers, 40, 1000), 40);
		for (int i = 0; i < 40; i++)
			CHECK_EQ(numbers[i], n_before + (uint64_t)i);
		if (n % 1600 == 0)
			n_lossy += bus_collect(lossy, numbers, 64, 0);
	}
	OK(hbus_publisher_info(publisher, &info));
	CHECK_EQ(info.sequence, n);
	CHECK(info.position - start > 5 * CAPACITY);
	CHECK_EQ(hbus_next_loss(reliable, &loss), 0);
	for (size_t got = 1; got > 0; n_lossy += got)
		got = bus_collect(lossy, numbers, 64, 0);
	while (hbus_next_loss(lossy, &loss) == 1) {
		CHECK_EQ(loss.reason, HBUS_LOSS_LAPPED);
		n_lost += loss.n_events;
	}
	CHECK(n_lost > 0);
	CHECK_EQ(n_lossy + n_lost, n);
	/* Gates hold where the numbers turn over, too: fill, see that it is full, go on. */
	while (hbus_try_publish(publisher, topic, payload, 100) == 0)
		CHECK(++n < 20 * CAPACITY);
	CHECK(bus_collect(reliable, numbers, 1, 1000) == 1 || true);
	late = bus_subscriber(bus, 0, HBUS_START_EARLIEST, "t");
	CHECK_EQ(hbus_wait(late, 1000), 1);
	hbus_subscriber_close(late);
	hbus_subscriber_close(lossy);
	hbus_subscriber_close(reliable);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void positions_pass_the_ends_of_32_63_and_64_bits(void)
{
	pass_by((1ull << 32) - 3 * CAPACITY);
	pass_by((1ull << 63) - 3 * CAPACITY);
	pass_by(0 - 3ull * CAPACITY);
	pass_by(0 - CAPACITY / 32ull);
}

static const struct bus_case cases[] = {
	{"ten_million_events_pass_through_one_ring", ten_million_events_pass_through_one_ring},
	{"a_hundred_million_events_pass_through_one_ring", a_hundred_million_events_pass_through_one_ring},
	{"positions_pass_the_ends_of_32_63_and_64_bits", positions_pass_the_ends_of_32_63_and_64_bits},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
