/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients that take everything or read nothing: the others are served as before, and as soon. */
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "bus.h"
#include "holds.h"
#include "raw.h"

#define UID_HOSTILE 65530
#define UID_HONEST 65531
#define N_TIMES_MAX 20000

struct board {
	_Atomic uint32_t is_over;
	_Atomic uint32_t n_ready;
	_Atomic uint64_t p50_us, p99_us, max_us, n_times;
};

static struct board *board;

/* -- how long others wait -- */

static int compare_times(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void measure_round_trips(void *context)
{
	static uint32_t times[N_TIMES_MAX];
	struct hbus_msg_list msg = {.kind = HBUS_LIST_DAEMON};
	struct raw raw = raw_open();
	size_t n = 0;

	(void)context;
	board->n_ready++;
	while (!board->is_over && n < N_TIMES_MAX) {
		uint64_t begin_us = bus_now_us();

		CHECK_EQ(raw_send(&raw, &msg, HBUS_MSG_LIST, sizeof(msg), NULL, 0), 0);
		if (!raw_reply(&raw)) {
			printf("# no reply within %llu ms, the connection %s\n", (unsigned long long)(bus_now_us() - begin_us) / 1000,
			       raw_is_ended(&raw) ? "has ended" : "lives");
			CHECK(false);
		}
		times[n++] = (uint32_t)(bus_now_us() - begin_us);
		usleep(500);
	}
	qsort(times, n, sizeof(times[0]), compare_times);
	board->n_times = n;
	board->p50_us = times[n / 2];
	board->p99_us = times[n * 99 / 100];
	board->max_us = times[n - 1];
}

/* Others' round trips while @attack runs as another user. */
static void expect_others_are_served_during(void (*attack)(void *), uint64_t p99_max_us)
{
	pid_t honest, hostile;

	bus_needs_root();
	bus_daemon_configure("", 0);
	board = bus_shared(sizeof(*board));
	honest = bus_fork_as(UID_HONEST, measure_round_trips, NULL);
	while (board->n_ready < 1)
		bus_sleep_ms(1);
	bus_may_open_files(4096);
	hostile = bus_fork_as(UID_HOSTILE, attack, NULL);
	bus_join(hostile);
	board->is_over = 1;
	bus_join(honest);
	printf("# others' round trips: p50 %llu us, p99 %llu us, longest %llu us, of %llu\n",
	       (unsigned long long)board->p50_us, (unsigned long long)board->p99_us, (unsigned long long)board->max_us,
	       (unsigned long long)board->n_times);
	CHECK(board->n_times > 50);
	CHECK(board->p99_us < p99_max_us);
}

/* Sends @frame on all sockets as often as they take it, for a while, and reads nothing. */
static void flood(struct raw *raws, int n_raws, void *frame, enum hbus_msg_type type, size_t size, unsigned int for_ms)
{
	uint64_t until_ms = bus_now_ms() + for_ms;

	for (int i = 0; i < n_raws; i++)
		fcntl(raws[i].socket, F_SETFL, O_NONBLOCK);
	while (bus_now_ms() < until_ms)
		for (int i = 0; i < n_raws; i++) {
			int r = 0;

			for (int j = 0; j < 64 && r == 0; j++)
				r = raw_send(&raws[i], frame, type, size, NULL, 0);
		}
}

#define N_FLOODS 200

static struct raw flooding[N_FLOODS];

static void never_read(void *context)
{
	struct hbus_msg_list msg = {.kind = HBUS_LIST_DAEMON};

	(void)context;
	for (int i = 0; i < N_FLOODS; i++)
		flooding[i] = raw_open();
	flood(flooding, N_FLOODS, &msg, HBUS_MSG_LIST, sizeof(msg), 1500);
}

static void who_never_reads_delays_nobody(void)
{
	expect_others_are_served_during(never_read, 100000);
}

static void answer_what_was_not_asked(void *context)
{
	struct hbus_msg_gate msg = {.ring_id = 1, .gate_id = 2};

	(void)context;
	for (int i = 0; i < N_FLOODS; i++)
		flooding[i] = raw_open();
	flood(flooding, N_FLOODS, &msg, HBUS_MSG_GATE_ADDED, sizeof(msg), 1500);
}

static void answers_that_nobody_asked_for_delay_nobody(void)
{
	expect_others_are_served_during(answer_what_was_not_asked, 100000);
}

/* Full pages of a list, which cost the most. */
static void list_for_ever(void *context)
{
	struct hbus_msg_list list = {.kind = HBUS_LIST_TOPICS};
	struct hbus_msg_topic topic = {.flags = 0};

	(void)context;
	flooding[0] = raw_open();
	for (int i = 0; i < 1000; i++) {
		snprintf(topic.name, sizeof(topic.name), "t/%d", i);
		raw_send(&flooding[0], &topic, HBUS_MSG_TOPIC_DECLARE, sizeof(topic), NULL, 0);
		CHECK_EQ(raw_reply(&flooding[0])->status, 0);
	}
	for (int i = 1; i < N_FLOODS; i++)
		flooding[i] = raw_open();
	flood(flooding, N_FLOODS, &list, HBUS_MSG_LIST, sizeof(list), 1500);
}

static void long_lists_delay_nobody(void)
{
	expect_others_are_served_during(list_for_ever, 100000);
}

static void connect_for_ever(void *context)
{
	uint64_t until_ms = bus_now_ms() + 1500, n = 0;

	(void)context;
	while (bus_now_ms() < until_ms) {
		static struct raw raws[64];

		for (int i = 0; i < 64; i++)
			raw_connect(&raws[i], bus_address);
		for (int i = 0; i < 64; i++)
			close(raws[i].socket);
		n += 64;
	}
	printf("# %llu connections\n", (unsigned long long)n);
}

static void who_connects_for_ever_delays_nobody(void)
{
	expect_others_are_served_during(connect_for_ever, 100000);
}

/* -- no descriptors are left -- */

static void take_all_connections(void *context)
{
	static struct raw raws[300];

	(void)context;
	for (int i = 0; i < 300; i++)
		if (raw_connect(&raws[i], bus_address))
			raw_hello(&raws[i]);
	board->n_ready++;
	while (!board->is_over)
		bus_sleep_ms(5);
}

static void existing_clients_work_when_no_descriptor_is_left(void)
{
	struct hbus *bus, *other = NULL;
	struct hbus_publisher *publisher;
	struct hbus_subscriber *sub;
	uint64_t numbers[100];
	hbus_topic_t topic;
	int fds_before, r;
	pid_t hostile;

	bus_needs_root();
	board = bus_shared(sizeof(*board));
	bus_daemon_configure("", 64);
	fds_before = holds_fds_at_rest();
	bus = bus_open();
	publisher = bus_publisher(bus, 65536, 0, 1000);
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	hostile = bus_fork_as(UID_HOSTILE, take_all_connections, NULL);
	while (board->n_ready < 1)
		bus_sleep_ms(1);
	for (int round = 0; round < 20; round++) {
		struct hbus_subscriber *late;
		char name[16];

		snprintf(name, sizeof(name), "t/%d", round);
		OK(hbus_publisher_topic(publisher, name, NULL, NULL, &topic));
		late = bus_subscriber(bus, 0, HBUS_START_LATEST, name); /* sends and receives descriptors */
		for (uint64_t i = 0; i < 100; i++) {
			unsigned char payload[16];

			bus_fill(payload, sizeof(payload), i);
			OK(hbus_publish(publisher, topic, payload, sizeof(payload)));
		}
		CHECK_EQ(bus_collect(late, numbers, 100, 2000), 100);
		hbus_subscriber_close(late);
	}
	CHECK_EQ(hbus_is_connected(bus), 1);
	/* Who comes now is told why not, if there is nothing for him. */
	r = hbus_open(bus_address, &(struct hbus_options){.struct_size = sizeof(struct hbus_options), .connect_timeout_ms = 200},
		      &other);
	if (r == 0)
		hbus_close(other);
	else
		CHECK(r == HBUS_E_QUOTA || r == HBUS_E_LIMIT || r == HBUS_E_DISCONNECTED);
	board->is_over = 1;
	bus_join(hostile);
	bus_sleep_ms(100);
	OK(hbus_open(bus_address, NULL, &other));
	hbus_close(other);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
	holds_expect_fds_back_at(fds_before);
}

static const struct bus_case cases[] = {
	{"who_never_reads_delays_nobody", who_never_reads_delays_nobody},
	{"answers_that_nobody_asked_for_delay_nobody", answers_that_nobody_asked_for_delay_nobody},
	{"long_lists_delay_nobody", long_lists_delay_nobody},
	{"who_connects_for_ever_delays_nobody", who_connects_for_ever_delays_nobody},
	{"existing_clients_work_when_no_descriptor_is_left", existing_clients_work_when_no_descriptor_is_left},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
