/* SPDX-License-Identifier: BSD-3-Clause */
/* Scarce things: one user that takes all it can leaves the next its share; memory that is not there is an error. */
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bus.h"

#define UID_GREEDY 65530
#define UID_NEXT 65531

#define QUOTAS                                                                                     \
	"quotas = { total = { bytes = \"48M\"; rings = 60; topics = 240; subscriptions = 240; clients = 60; fds = 900; }; };\n"

struct board {
	_Atomic uint32_t n_ready, is_over;
	_Atomic uint32_t n_clients, n_rings, n_topics, n_filters;
};

static struct board *board;

static void wait_ready(uint32_t n)
{
	uint64_t until_ms = bus_now_ms() + 20000;

	while (board->n_ready < n) {
		CHECK(bus_now_ms() < until_ms);
		bus_sleep_ms(1);
	}
}

/* Of each kind until it is refused, or until @most. */
static void take(struct hbus *bus, uint32_t most, uint64_t capacity)
{
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, NULL);
	struct hbus_publisher *first = NULL;
	char name[64];
	int r = 0;

	for (uint32_t i = 0; i < most && r == 0; i++) {
		struct hbus_publisher *publisher = bus_publisher(bus, capacity, HBUS_PUB_SMALL_PAGES, 0);
		hbus_topic_t topic;

		snprintf(name, sizeof(name), "u%u/ring%u", (unsigned int)getuid(), i);
		if (i == 0)
			first = publisher;
		r = hbus_publisher_topic(publisher, name, NULL, NULL, &topic);
		if (r == 0)
			OK(hbus_publish(publisher, topic, name, strlen(name)));
		board->n_rings += r == 0;
	}
	CHECK(r == 0 || r == HBUS_E_QUOTA);
	r = 0;
	for (uint32_t i = 0; i < most && r == 0; i++) {
		snprintf(name, sizeof(name), "u%u/filter%u", (unsigned int)getuid(), i);
		r = hbus_subscribe(sub, name);
		board->n_filters += r == 0;
	}
	CHECK(r == 0 || r == HBUS_E_QUOTA);
	r = 0;
	for (uint32_t i = 0; i < most && r == 0; i++) {
		hbus_topic_t topic;

		snprintf(name, sizeof(name), "u%u/topic%u", (unsigned int)getuid(), i);
		r = hbus_publisher_topic(first, name, NULL, NULL, &topic);
		board->n_topics += r == 0;
	}
	CHECK(r == 0 || r == HBUS_E_QUOTA);
	r = 0;
	for (uint32_t i = 0; i < most && r == 0; i++) {
		struct hbus_options options = {.struct_size = sizeof(options), .connect_timeout_ms = -1,
					       .flags = HBUS_OPEN_NO_THREAD};
		struct hbus *one = NULL;

		r = hbus_open(bus_address, &options, &one);
		board->n_clients += r == 0;
	}
	CHECK(r == 0 || r == HBUS_E_QUOTA);
	if (r < 0)
		CHECK(strstr(hbus_error_text(), "user"));
}

static void take_all(void *context)
{
	(void)context;
	take(bus_open(), 10000, 1u << 20);
	board->n_ready++;
	while (!board->is_over)
		bus_sleep_ms(5);
}

static void take_a_share(void *context)
{
	(void)context;
	board->n_rings = board->n_filters = board->n_clients = board->n_topics = 0;
	take(bus_open(), 5, 1u << 20);
	CHECK_EQ(board->n_rings, 5);
	CHECK_EQ(board->n_filters, 5);
	CHECK_EQ(board->n_topics, 5);
	CHECK_EQ(board->n_clients, 5);
}

static void who_takes_all_leaves_the_next_its_share(void)
{
	pid_t greedy;

	bus_needs_root();
	bus_daemon_configure(QUOTAS, 0);
	board = bus_shared(sizeof(*board));
	greedy = bus_fork_as(UID_GREEDY, take_all, NULL);
	wait_ready(1);
	printf("# taken: %u rings, %u filters, %u topics, %u clients\n", board->n_rings, board->n_filters, board->n_topics,
	       board->n_clients);
	CHECK(board->n_rings >= 10 && board->n_rings <= 30);
	CHECK(board->n_clients >= 10 && board->n_clients <= 30);
	for (int i = 0; i < 3; i++)
		bus_join(bus_fork_as(UID_NEXT, take_a_share, NULL));
	board->is_over = 1;
	bus_join(greedy);
	/* And when it is gone all of it can be had again. */
	board->is_over = 0;
	board->n_ready = board->n_rings = 0;
	greedy = bus_fork_as(UID_NEXT, take_all, NULL);
	wait_ready(1);
	CHECK(board->n_rings >= 10);
	board->is_over = 1;
	bus_join(greedy);
}

/* -- hugepages -- */

static struct hbus_publisher *open_ring(struct hbus *bus, uint32_t flags, uint64_t capacity, int *ret_status, uint32_t *ret_is_huge)
{
	struct hbus_publisher *publisher = bus_publisher(bus, capacity, flags, 0);
	struct hbus_publisher_info info = {0};
	char payload[1000];
	hbus_topic_t topic;

	*ret_status = hbus_publisher_topic(publisher, "t", NULL, NULL, &topic);
	if (*ret_status == 0) {
		memset(payload, 1, sizeof(payload));
		for (uint64_t i = 0; i < capacity / sizeof(payload) + 10; i++) /* all of it is there */
			OK(hbus_publish(publisher, topic, payload, sizeof(payload)));
		OK(hbus_publisher_info(publisher, &info));
	}
	*ret_is_huge = info.is_huge;
	return publisher;
}

static void without_hugepages_rings_are_on_small_ones_or_refused(void)
{
	struct hbus *bus;
	uint32_t is_huge;
	int status;

	bus_daemon_configure("daemon = { reserve_pages = 0; };\n", 0);
	bus = bus_open();
	hbus_publisher_close(open_ring(bus, 0, 2u << 20, &status, &is_huge));
	CHECK_EQ(status, 0);
	CHECK_EQ(is_huge, 0);
	hbus_publisher_close(open_ring(bus, HBUS_PUB_HUGE_ONLY, 2u << 20, &status, &is_huge));
	CHECK_EQ(status, HBUS_E_NO_HUGEPAGES);
	CHECK(strlen(hbus_error_text()) > 10);
	hbus_close(bus);
}

static void too_few_hugepages_serve_those_who_came_first(void)
{
	struct hbus_publisher *publishers[3];
	uint32_t is_huge;
	struct hbus *bus;
	int status;

	bus_daemon_configure("daemon = { reserve_pages = 2; };\n", 0);
	bus = bus_open();
	publishers[0] = open_ring(bus, HBUS_PUB_HUGE_ONLY, 4u << 20, &status, &is_huge);
	if (status == HBUS_E_NO_HUGEPAGES)
		bus_skip("needs two free hugepages");
	CHECK_EQ(status, 0);
	CHECK_EQ(is_huge, 1);
	publishers[1] = open_ring(bus, HBUS_PUB_HUGE_ONLY, 2u << 20, &status, &is_huge);
	CHECK_EQ(status, HBUS_E_NO_HUGEPAGES);
	publishers[2] = open_ring(bus, 0, 2u << 20, &status, &is_huge);
	CHECK_EQ(status, 0);
	CHECK_EQ(is_huge, 0);
	hbus_publisher_close(publishers[0]);
	hbus_publisher_close(publishers[1]);
	/* Its pages come back. */
	for (int i = 0; i < 300; i++) {
		publishers[0] = open_ring(bus, HBUS_PUB_HUGE_ONLY, 4u << 20, &status, &is_huge);
		if (status == 0)
			break;
		hbus_publisher_close(publishers[0]);
		bus_sleep_ms(10);
	}
	CHECK_EQ(status, 0);
	hbus_publisher_close(publishers[0]);
	hbus_publisher_close(publishers[2]);
	hbus_close(bus);
}

/* -- limits of the process -- */

static void publish_with_little_memory(void *context)
{
	struct rlimit little = {65536, 65536};
	struct hbus *bus;
	uint32_t is_huge;
	int status;

	(void)context;
	CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &little), 0);
	bus = bus_open();
	hbus_publisher_close(open_ring(bus, 0, 2u << 20, &status, &is_huge));
	CHECK_EQ(status, 0);
#ifndef __SANITIZE_ADDRESS__
	{
		struct rlimit space = {160u << 20, 160u << 20};

		/* Address space for a small ring, not for twice the largest. */
		CHECK_EQ(setrlimit(RLIMIT_AS, &space), 0);
		hbus_publisher_close(open_ring(bus, 0, 65536, &status, &is_huge));
		CHECK_EQ(status, 0);
		hbus_publisher_close(open_ring(bus, HBUS_PUB_SMALL_PAGES, 128u << 20, &status, &is_huge));
		CHECK_EQ(status, HBUS_E_NO_MEMORY);
		hbus_publisher_close(open_ring(bus, 0, 65536, &status, &is_huge));
		CHECK_EQ(status, 0);
	}
#endif
	hbus_close(bus);
}

static void limits_of_a_process_are_errors_there(void)
{
	bus_needs_root();
	bus_join(bus_fork_as(UID_NEXT, publish_with_little_memory, NULL));
}

static const struct bus_case cases[] = {
	{"who_takes_all_leaves_the_next_its_share", who_takes_all_leaves_the_next_its_share},
	{"without_hugepages_rings_are_on_small_ones_or_refused", without_hugepages_rings_are_on_small_ones_or_refused},
	{"too_few_hugepages_serve_those_who_came_first", too_few_hugepages_serve_those_who_came_first},
	{"limits_of_a_process_are_errors_there", limits_of_a_process_are_errors_there},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
