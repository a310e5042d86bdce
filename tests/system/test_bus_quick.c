/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The quick ways of hbus_poll() and hbus_poll_spans(): one ring, plain events, the topic of the last one
 *
 * They must decide as the long way does. Records have 64 bytes and divide the ring: a reader that was lapped finds a
 * header where it looks for one, and only the check tells that it is another event's.
 */
#include "bus.h"
#include "ctl/client/publisher.h"

#define RING 65536u
#define PAYLOAD 56u
#define LAP (RING / 64u)

enum way { ONE, MANY, SPANS, N_WAYS };

static struct hbus *bus;
static struct hbus_publisher *publisher;
static struct hbus_subscriber *sub;
static hbus_topic_t topic;
static uint64_t n_published;

static void publish_to(hbus_topic_t to, uint64_t n)
{
	unsigned char payload[PAYLOAD];

	for (uint64_t i = 0; i < n; i++) {
		bus_fill(payload, sizeof(payload), n_published++);
		OK(hbus_publish(publisher, to, payload, sizeof(payload)));
	}
}

/* What one poll hands out, looked at before the next: the number in each event is its sequence. Return: how many. */
static uint64_t poll_once(enum way way)
{
	struct hbus_event events[64];
	struct hbus_span spans[64];
	uint64_t number, n_events = 0;
	int n;

	if (way == SPANS) {
		n = hbus_poll_spans(sub, spans, 64);
		CHECK(n >= 0);
		for (int i = 0; i < n; i++)
			for (uint64_t j = 0; j < spans[i].n_events; j++, n_events++) {
				CHECK(bus_is_filled((const char *)spans[i].data + j * spans[i].stride, spans[i].size, &number));
				CHECK_EQ(number, spans[i].sequence + j);
			}
		return n_events;
	}
	n = hbus_poll(sub, events, way == ONE ? 1 : 64);
	CHECK(n >= 0);
	for (int i = 0; i < n; i++) {
		CHECK(bus_is_filled(events[i].data, events[i].size, &number));
		CHECK_EQ(number, events[i].sequence);
	}
	return (uint64_t)n;
}

static void begin(const char *filter)
{
	n_published = 0;
	bus = bus_open();
	publisher = bus_publisher(bus, RING, 0, 0);
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	sub = bus_subscriber(bus, 0, HBUS_START_LATEST, filter);
}

static void end(void)
{
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

/* After these the quick way is open: its topic has been seen. */
static void warm_up(enum way way)
{
	for (int i = 0; i < 3; i++) {
		publish_to(topic, 1);
		CHECK_EQ(poll_once(way), 1);
	}
}

static struct hbus_subscriber_info info_now(void)
{
	struct hbus_subscriber_info info;

	OK(hbus_release(sub));
	OK(hbus_subscriber_info(sub, &info));
	return info;
}

static void what_is_handed_out_is_whole_when_it_is_handed_out(void)
{
	for (enum way way = ONE; way < N_WAYS; way++) {
		struct hbus_subscriber_info info;

		begin("t");
		warm_up(way);
		for (int laps = 1; laps <= 3; laps++) {
			publish_to(topic, (uint64_t)laps * LAP + 10);
			while (poll_once(way) > 0)
				;
		}
		info = info_now();
		CHECK(info.n_lost > 0);
		CHECK_EQ(info.n_delivered + info.n_lost, n_published);
		end();
	}
}

/* Nobody calls hbus_release(): the next poll must find out. */
static void what_is_overwritten_in_the_hands_is_lost_at_the_next_poll(void)
{
	for (enum way way = ONE; way < N_WAYS; way++) {
		struct hbus_subscriber_info info;
		struct hbus_loss loss;
		uint64_t held;

		begin("t");
		warm_up(way);
		held = n_published;
		publish_to(topic, 1);
		CHECK_EQ(poll_once(way), 1);
		publish_to(topic, 2 * LAP + 7); /* so that a header stands where it reads on */
		while (poll_once(way) > 0)
			;
		CHECK_EQ(hbus_next_loss(sub, &loss), 1);
		CHECK_EQ(loss.first_sequence, held);
		info = info_now();
		CHECK_EQ(info.n_delivered + info.n_lost, n_published);
		end();
	}
}

static void what_was_filtered_is_accounted_for(void)
{
	for (enum way way = ONE; way < N_WAYS; way++) {
		struct hbus_subscriber_info info;
		hbus_topic_t other;

		begin("t");
		OK(hbus_publisher_topic(publisher, "other", NULL, NULL, &other));
		warm_up(way);
		for (int i = 0; i < 50; i++) {
			publish_to(other, 3);
			publish_to(topic, 2);
			while (poll_once(way) > 0)
				;
		}
		info = info_now();
		CHECK_EQ(info.n_delivered, 3 + 50 * 2);
		CHECK_EQ(info.n_filtered, 50 * 3);
		end();
	}
}

static void each_event_has_its_own_topic(void)
{
	for (unsigned int n_max = 1; n_max <= 8; n_max++) {
		hbus_topic_t second;

		begin("#");
		OK(hbus_publisher_topic(publisher, "second", NULL, NULL, &second));
		warm_up(ONE);
		for (uint64_t i = 0; i < 100; i++)
			publish_to(i % 3 ? topic : second, 1);
		for (uint64_t i = 0; i < 100;) {
			struct hbus_event events[8];
			int n = hbus_poll(sub, events, n_max);

			CHECK(n > 0);
			for (int j = 0; j < n; j++, i++)
				CHECK_EQ(strcmp(events[j].topic, i % 3 ? "t" : "second"), 0);
		}
		end();
	}
}

static void who_has_waited_is_given_the_first_event_at_once_and_the_rest_with_the_next_call(void)
{
	for (enum way way = ONE; way < N_WAYS; way++) {
		struct hbus_subscriber_info info;

		begin("t");
		warm_up(way);
		for (uint64_t n = 1; n <= 50; n++) {
			for (int i = 0; i < 10; i++)
				CHECK_EQ(poll_once(way), 0);
			publish_to(topic, n);
			CHECK_EQ(poll_once(way), 1);
			if (way != ONE && n > 1)
				CHECK_EQ(poll_once(way), n - 1);
			while (poll_once(way) > 0)
				;
			publish_to(topic, n);
			CHECK_EQ(poll_once(way), way == ONE ? 1 : n);
			while (poll_once(way) > 0)
				;
		}
		info = info_now();
		CHECK_EQ(info.n_delivered, n_published);
		end();
	}
}

static void who_has_waited_too_long_is_told_what_it_lost(void)
{
	for (enum way way = ONE; way < N_WAYS; way++) {
		struct hbus_subscriber_info info;

		begin("t");
		warm_up(way);
		for (uint64_t n = 1; n <= 20; n++) {
			for (int i = 0; i < 10; i++)
				CHECK_EQ(poll_once(way), 0);
			publish_to(topic, n * LAP + n); /* a header like the one it waited for stands there now */
			while (poll_once(way) > 0)
				;
		}
		info = info_now();
		CHECK(info.n_lost > 0);
		CHECK_EQ(info.n_delivered + info.n_lost, n_published);
		end();
	}
}

/* Whatever the ring holds, who is told to poll gets on: an event, or the news of a loss. */
static void who_is_told_to_poll_gets_on(void)
{
	for (enum way way = ONE; way < N_WAYS; way++) {
		struct hbus_subscriber_info info;

		begin("t");
		warm_up(way);
		for (uint64_t n = 1; n <= 40; n++) {
			unsigned int n_in_vain = 0;

			publish_to(topic, n % 4 ? n : n * LAP + n);
			while (hbus_wait(sub, 0) == 1) {
				n_in_vain = poll_once(way) > 0 ? 0 : n_in_vain + 1;
				CHECK(n_in_vain < 3);
			}
			CHECK_EQ(poll_once(way), 0);
		}
		info = info_now();
		CHECK(info.n_lost > 0);
		CHECK_EQ(info.n_delivered + info.n_lost, n_published);
		end();
	}
}

static void try_forged_length(uint64_t length, enum way way, bool waits_first)
{
	struct hbus_ring_pub *pub;
	struct hbus_loss loss;
	uint64_t word;

	begin("t");
	warm_up(way);
	pub = &publisher->rings[0]->pub;
	word = hbus_word_make(0, publisher->last_wire, (uint32_t)length);
	memcpy(pub->data + (pub->tail & pub->mask), &word, sizeof(word));
	for (int i = 0; i < 100; i++) {
		/* A wait looks by itself: what the poll sees first it must not have seen. */
		if (waits_first || i > 0)
			CHECK_EQ(hbus_wait(sub, 0), 0);
		CHECK_EQ(poll_once(way), 0);
	}
	CHECK_EQ(hbus_next_loss(sub, &loss), 1);
	CHECK_EQ(loss.reason, HBUS_LOSS_CORRUPT);
	end();
}

/* A header word like the last, but for a length that no record of this ring has: the ring is left, and nothing handed out. */
static void a_forged_length_is_never_handed_out(void)
{
	static const uint64_t lengths[] = {RING / HBUS_RECORD_DIVISOR - 7, RING / 2, HBUS_WORD_LENGTH_MAX};

	for (unsigned int i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (enum way way = ONE; way < N_WAYS; way++) {
			try_forged_length(lengths[i], way, true);
			try_forged_length(lengths[i], way, false);
		}
}

static const struct bus_case cases[] = {
	{"what_is_handed_out_is_whole_when_it_is_handed_out", what_is_handed_out_is_whole_when_it_is_handed_out},
	{"what_is_overwritten_in_the_hands_is_lost_at_the_next_poll", what_is_overwritten_in_the_hands_is_lost_at_the_next_poll},
	{"what_was_filtered_is_accounted_for", what_was_filtered_is_accounted_for},
	{"each_event_has_its_own_topic", each_event_has_its_own_topic},
	{"who_has_waited_is_given_the_first_event_at_once_and_the_rest_with_the_next_call",
	 who_has_waited_is_given_the_first_event_at_once_and_the_rest_with_the_next_call},
	{"who_has_waited_too_long_is_told_what_it_lost", who_has_waited_too_long_is_told_what_it_lost},
	{"who_is_told_to_poll_gets_on", who_is_told_to_poll_gets_on},
	{"a_forged_length_is_never_handed_out", a_forged_length_is_never_handed_out},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
