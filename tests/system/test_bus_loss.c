/* SPDX-License-Identifier: BSD-3-Clause */
/* Readers that are too slow for what they are promised: exactly that is lost, and they are told. */
#include "bus.h"

#define SMALL_RING 65536u

static struct hbus *bus;
static struct hbus_publisher *publisher;
static hbus_topic_t topic;

static void open_publisher(int timeout_ms)
{
	bus = bus_open();
	publisher = bus_publisher(bus, SMALL_RING, 0, timeout_ms);
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
}

static int publish_number(uint64_t number, size_t size)
{
	return bus_publish_number(publisher, topic, number, size);
}

static void a_lossy_reader_that_falls_behind_knows_what_it_lost(void)
{
	struct hbus_subscriber_info info;
	struct hbus_subscriber *sub;
	uint64_t n_published = 0, n_read = 0, n_lost = 0, last = 0;

	open_publisher(0);
	sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "t");
	for (int round = 0; round < 200; round++) {
		struct hbus_event events[16];
		int n;

		for (int i = 0; i < 40 * (round % 20); i++)
			OK(publish_number(n_published++, 100));
		n = hbus_poll(sub, events, 1 + round % 16);
		for (int i = 0; i < n; i++) {
			uint64_t number;

			CHECK(bus_is_filled(events[i].data, events[i].size, &number));
			CHECK_EQ(number, events[i].sequence);
			CHECK(n_read == 0 || number > last);
			last = number;
			n_read++;
		}
		CHECK_EQ(hbus_release(sub), 0);
		n_lost += bus_take_losses(sub, HBUS_LOSS_LAPPED);
	}
	for (;;) {
		uint64_t numbers[64];
		size_t n = bus_collect(sub, numbers, 64, 10);

		n_read += n;
		if (n == 0)
			break;
	}
	n_lost += bus_take_losses(sub, HBUS_LOSS_LAPPED);
	OK(hbus_subscriber_info(sub, &info));
	CHECK(n_lost > 0);
	CHECK_EQ(info.n_delivered, n_read);
	CHECK_EQ(info.n_lost, n_lost);
	CHECK_EQ(n_read + n_lost, n_published);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void events_overwritten_in_the_readers_hands_count_as_lost(void)
{
	struct hbus_subscriber_info info;
	struct hbus_subscriber *sub;
	struct hbus_event events[64];
	uint64_t n_published = 0, n_lost, numbers[2000];
	size_t n_read;

	open_publisher(0);
	sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "t");
	for (int i = 0; i < 50; i++)
		OK(publish_number(n_published++, 100));
	CHECK_EQ(hbus_poll(sub, events, 20), 20);
	for (int i = 0; i < 1000; i++)
		OK(publish_number(n_published++, 100));
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_delivered, 20);
	CHECK_EQ(hbus_release(sub), HBUS_LAPPED);
	CHECK_EQ(hbus_release(sub), 0);
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_delivered, 0);
	n_read = bus_collect(sub, numbers, 2000, 10);
	n_lost = bus_take_losses(sub, HBUS_LOSS_LAPPED);
	CHECK(n_lost >= 50);
	CHECK_EQ(n_read + n_lost, n_published);
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_delivered, n_read);
	CHECK_EQ(info.n_lost, n_lost);
	/* The same inside a run that was cut. */
	for (uint64_t i = 0; i < 100; i++)
		numbers[i] = n_published + i;
	OK(hbus_publish_run(publisher, topic, numbers, 8, 100));
	n_published += 100;
	CHECK_EQ(hbus_poll(sub, events, 30), 30);
	CHECK_EQ(hbus_release(sub), 0);
	CHECK_EQ(hbus_poll(sub, events, 30), 30);
	CHECK_EQ(events[0].sequence, n_published - 70);
	for (int i = 0; i < 1000; i++)
		OK(publish_number(n_published++, 100));
	CHECK_EQ(hbus_release(sub), HBUS_LAPPED);
	n_read += 30 + bus_collect(sub, numbers, 2000, 10);
	n_lost += bus_take_losses(sub, HBUS_LOSS_LAPPED);
	CHECK_EQ(n_read + n_lost, n_published);
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_delivered, n_read);
	CHECK_EQ(info.n_lost, n_lost);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

/* The newest checkpoint lies in what the reader holds: it must not get again what it was told is lost. */
static void what_was_told_lost_does_not_come_again(void)
{
	static struct hbus_event events[2000];
	struct hbus_subscriber_info info;
	struct hbus_subscriber *sub;
	void *room;

	open_publisher(0);
	sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "t");
	for (uint64_t i = 0; i < 580; i++)
		OK(publish_number(i, 100));
	CHECK_EQ(hbus_poll(sub, events, 2000), 580);
	/* The first of them is to be overwritten; nothing new is there yet. */
	OK(hbus_reserve(publisher, topic, 1000, &room));
	CHECK_EQ(hbus_release(sub), HBUS_LAPPED);
	CHECK_EQ(bus_take_losses(sub, HBUS_LOSS_LAPPED), 580);
	CHECK_EQ(hbus_poll(sub, events, 2000), 0);
	OK(hbus_commit(publisher, 1000));
	CHECK_EQ(hbus_poll(sub, events, 2000), 1);
	CHECK_EQ(events[0].sequence, 580);
	CHECK_EQ(hbus_release(sub), 0);
	CHECK_EQ(bus_take_losses(sub, HBUS_LOSS_LAPPED), 0);
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_delivered, 1);
	CHECK_EQ(info.n_lost, 580);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

/* The name of a topic lies in its socket for longer than who forges topics is waited for. */
static void who_has_no_time_for_its_messages_misses_nothing(void)
{
	struct hbus_options options = {.struct_size = sizeof(options), .flags = HBUS_OPEN_NO_THREAD};
	struct hbus *slow = NULL;
	struct hbus_subscriber *sub;
	struct hbus_event event;
	hbus_topic_t second;
	uint64_t until_ms;

	open_publisher(0);
	OK(hbus_open(bus_address, &options, &slow));
	sub = bus_subscriber(slow, 0, HBUS_START_LATEST, "#");
	OK(publish_number(0, 100));
	while (hbus_poll(sub, &event, 1) != 1)
		OK(hbus_dispatch(slow));
	CHECK_EQ(hbus_release(sub), 0);
	OK(hbus_publisher_topic(publisher, "u", NULL, NULL, &second));
	OK(hbus_publish(publisher, second, "x", 1));
	until_ms = bus_now_ms() + 1100;
	while (bus_now_ms() < until_ms) {
		CHECK_EQ(hbus_poll(sub, &event, 1), 0);
		bus_sleep_ms(5);
	}
	CHECK_EQ(hbus_wait(sub, 1000), 1);
	CHECK_EQ(hbus_poll(sub, &event, 1), 1);
	CHECK(strcmp(event.topic, "u") == 0);
	CHECK_EQ(bus_take_losses(sub, HBUS_LOSS_UNNAMED), 0);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(slow);
	hbus_close(bus);
}

/* Reads on, and expects each event from @from to the last; what is told lost is older. */
static void expect_all_since(struct hbus_subscriber *sub, uint64_t from, uint64_t n_published)
{
	struct hbus_event events[64];
	uint64_t next = 0;
	int n;

	while ((n = hbus_poll(sub, events, 64)) > 0 || hbus_wait(sub, 50) == 1) {
		for (int i = 0; i < n; i++) {
			CHECK(events[i].sequence == next || next == 0 || events[i].sequence <= from);
			next = events[i].sequence + 1;
		}
		CHECK_EQ(hbus_release(sub), 0);
	}
	CHECK_EQ(next, n_published);
	for (struct hbus_loss loss; hbus_next_loss(sub, &loss) == 1;) {
		CHECK_EQ(loss.reason, HBUS_LOSS_LAPPED);
		CHECK(loss.first_sequence + loss.n_events <= from);
	}
}

/* It begins with what the ring holds of the time before, while the publisher may still overwrite that. */
static void what_comes_after_a_reliable_subscription_is_kept(bool has_polled)
{
	struct hbus_event events[1024];
	struct hbus_subscriber *sub;
	uint64_t n_published = 0, from;

	open_publisher(1);
	for (int i = 0; i < 3000; i++)
		OK(publish_number(n_published++, 56));
	sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_EARLIEST, "t");
	from = n_published;
	for (int i = 0; i < 10; i++)
		OK(publish_number(n_published++, 56));
	if (has_polled)
		CHECK(hbus_poll(sub, events, 1024) > 800);
	while (publish_number(n_published, 56) == 0)
		n_published++;
	CHECK(n_published > from + 500);
	if (has_polled)
		CHECK_EQ(hbus_release(sub), HBUS_LAPPED);
	expect_all_since(sub, from, n_published);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void a_reliable_reader_of_old_events_misses_no_new_one(void)
{
	what_comes_after_a_reliable_subscription_is_kept(false);
}

static void nor_when_old_events_are_overwritten_in_its_hands(void)
{
	what_comes_after_a_reliable_subscription_is_kept(true);
}

static const struct bus_case cases[] = {
	{"a_lossy_reader_that_falls_behind_knows_what_it_lost",
	 a_lossy_reader_that_falls_behind_knows_what_it_lost},
	{"events_overwritten_in_the_readers_hands_count_as_lost",
	 events_overwritten_in_the_readers_hands_count_as_lost},
	{"what_was_told_lost_does_not_come_again", what_was_told_lost_does_not_come_again},
	{"who_has_no_time_for_its_messages_misses_nothing", who_has_no_time_for_its_messages_misses_nothing},
	{"a_reliable_reader_of_old_events_misses_no_new_one", a_reliable_reader_of_old_events_misses_no_new_one},
	{"nor_when_old_events_are_overwritten_in_its_hands", nor_when_old_events_are_overwritten_in_its_hands},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
