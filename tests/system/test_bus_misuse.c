/* SPDX-License-Identifier: BSD-3-Clause */
/* A library that is called wrongly: NULL for handles, data and results, and the bus closed by its own handler. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "bus.h"

#define INVALID(call) CHECK_EQ(call, HBUS_E_INVALID)

static int on_row(const struct hbus_row *row, void *context)
{
	(void)row;
	(void)context;
	return 0;
}

static void publishing_through_null(void)
{
	struct hbus_attributes attributes = {0};
	struct hbus_publisher_info info;
	hbus_topic_t topic;
	void *data;

	INVALID(hbus_publisher_topic(NULL, "t", NULL, NULL, &topic));
	INVALID(hbus_publish(NULL, 1, "x", 1));
	INVALID(hbus_try_publish(NULL, 1, "x", 1));
	INVALID(hbus_publish_with(NULL, 1, "x", 1, &attributes));
	INVALID(hbus_publish_run(NULL, 1, "x", 1, 1));
	INVALID(hbus_publish_run(NULL, 1, "x", 1, 0));
	INVALID(hbus_reserve(NULL, 1, 8, &data));
	INVALID(hbus_commit(NULL, 8));
	INVALID(hbus_abort(NULL));
	INVALID(hbus_batch_begin(NULL));
	INVALID(hbus_batch_commit(NULL));
	INVALID(hbus_batch_abort(NULL));
	INVALID(hbus_publisher_wake(NULL));
	INVALID(hbus_publisher_info(NULL, &info));
	hbus_publisher_close(NULL);
}

static void subscribing_through_null(void)
{
	struct hbus_subscriber_info info;
	struct hbus_event event;
	struct hbus_span span;
	struct hbus_loss loss;

	INVALID(hbus_subscribe(NULL, "#"));
	INVALID(hbus_unsubscribe(NULL, "#"));
	INVALID(hbus_subscriber_resume_from(NULL, 1, 1));
	INVALID(hbus_poll(NULL, &event, 1));
	INVALID(hbus_poll_spans(NULL, &span, 1));
	INVALID(hbus_release(NULL));
	INVALID(hbus_wait(NULL, 0));
	INVALID(hbus_fd(NULL));
	INVALID(hbus_fd_arm(NULL));
	INVALID(hbus_fd_arm_again(NULL));
	INVALID(hbus_next_loss(NULL, &loss));
	INVALID(hbus_subscriber_info(NULL, &info));
	hbus_subscriber_close(NULL);
}

static void administering_through_null(void)
{
	struct hbus_subscriber *sub;
	struct hbus_publisher *publisher;
	struct hbus_counter *counters;
	struct hbus_route route = {.family = 4, .kind = HBUS_ROUTE_KIND_BATCH};

	INVALID(hbus_publisher_open(NULL, NULL, &publisher));
	INVALID(hbus_subscriber_open(NULL, NULL, &sub));
	INVALID(hbus_control_fd(NULL));
	INVALID(hbus_dispatch(NULL));
	INVALID(hbus_is_connected(NULL));
	INVALID(hbus_topic_declare(NULL, "t", NULL, NULL));
	INVALID(hbus_topic_remove(NULL, "t"));
	INVALID(hbus_route_add(NULL, &route));
	INVALID(hbus_route_remove(NULL, &route));
	INVALID(hbus_reload(NULL));
	INVALID(hbus_list(NULL, HBUS_ROW_TOPIC, on_row, NULL));
	INVALID(hbus_counters_create(NULL, "set", 1, &counters));
	INVALID(hbus_set_interest_handler(NULL, NULL, NULL));
	INVALID(hbus_set_route_handler(NULL, NULL, NULL));
	INVALID(hbus_set_source_handler(NULL, NULL, NULL));
	CHECK_EQ(strlen(hbus_topic_type(NULL)), 0);
	CHECK_EQ(strlen(hbus_topic_content_type(NULL)), 0);
	hbus_close(NULL);
}

static void a_null_handle_is_an_invalid_argument(void)
{
	publishing_through_null();
	subscribing_through_null();
	administering_through_null();
	CHECK(strstr(hbus_error_text(), "NULL"));
}

/* Twice: the second event finds the quick way open. */
static void publish_from_nowhere(struct hbus_publisher *publisher, hbus_topic_t topic)
{
	struct hbus_attributes attributes = {.has_key = 1};

	for (int i = 0; i < 2; i++) {
		INVALID(hbus_publish(publisher, topic, NULL, 5));
		INVALID(hbus_try_publish(publisher, topic, NULL, 5));
		INVALID(hbus_publish_with(publisher, topic, NULL, 5, &attributes));
		INVALID(hbus_publish_run(publisher, topic, NULL, 5, 2));
		INVALID(hbus_reserve(publisher, topic, 5, NULL));
		OK(hbus_publish(publisher, topic, NULL, 0));
		OK(hbus_publish(publisher, topic, "x", 1));
	}
}

static void data_and_results_at_null_are_invalid_and_cost_nothing(void)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 0, 0, 0);
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "t");
	struct hbus_event events[8];
	hbus_topic_t topic;

	INVALID(hbus_publisher_open(bus, NULL, NULL));
	INVALID(hbus_subscriber_open(bus, NULL, NULL));
	INVALID(hbus_publisher_info(publisher, NULL));
	INVALID(hbus_subscriber_info(sub, NULL));
	INVALID(hbus_next_loss(sub, NULL));
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	publish_from_nowhere(publisher, topic);
	INVALID(hbus_poll(sub, NULL, 8));
	INVALID(hbus_poll_spans(sub, NULL, 8));
	CHECK_EQ(hbus_poll(sub, NULL, 0), 0);
	CHECK_EQ(hbus_wait(sub, 1000), 1); /* the ring may be on its way still */
	CHECK_EQ(hbus_poll(sub, events, 8), 4);
	CHECK_EQ(events[0].size, 0);
	CHECK_EQ(events[3].size, 1);
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

static atomic_int n_closed;

static void close_it(void *context, hbus_topic_t topic, const char *name, int is_wanted)
{
	(void)topic;
	(void)name;
	(void)is_wanted;
	hbus_close(context);
	CHECK(strstr(hbus_error_text(), "handler"));
	n_closed++;
}

static void a_handler_cannot_close_its_own_bus(void)
{
	struct hbus_options options = {.struct_size = sizeof(options), .flags = HBUS_OPEN_WANTS_INTEREST};
	struct hbus_publisher *publisher;
	struct hbus *bus;
	hbus_topic_t topic;

	OK(hbus_open(bus_address, &options, &bus));
	OK(hbus_set_interest_handler(bus, close_it, bus));
	publisher = bus_publisher(bus, 0, 0, 0);
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	for (int i = 0; i < 500 && n_closed == 0; i++)
		bus_sleep_ms(10);
	CHECK_EQ(n_closed, 1);
	OK(hbus_publish(publisher, topic, "x", 1));
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static const struct bus_case cases[] = {
	{"a_null_handle_is_an_invalid_argument", a_null_handle_is_an_invalid_argument},
	{"data_and_results_at_null_are_invalid_and_cost_nothing", data_and_results_at_null_are_invalid_and_cost_nothing},
	{"a_handler_cannot_close_its_own_bus", a_handler_cannot_close_its_own_bus},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
