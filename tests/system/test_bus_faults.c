/* SPDX-License-Identifier: BSD-3-Clause */
/* Eviction, kills and restarts: the others go on, and every event is accounted for. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus.h"

#define SMALL_RING 65536u

static struct hbus *bus;
static struct hbus_publisher *publisher;
static hbus_topic_t topic;

static void open_publisher(uint64_t capacity, int timeout_ms)
{
	bus = bus_open();
	publisher = bus_publisher(bus, capacity, 0, timeout_ms);
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
}

static int ready_pipe[2];

static int publish_number(uint64_t number, size_t size)
{
	return bus_publish_number(publisher, topic, number, size);
}

static void gate_and_stand_still(void *context)
{
	struct hbus_subscriber *sub = bus_subscriber(bus_open(), HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");

	(void)context;
	(void)sub;
	CHECK_EQ(write(ready_pipe[1], "x", 1), 1);
	pause();
}

static pid_t start_gate(void)
{
	pid_t pid;
	char byte;

	CHECK_EQ(pipe(ready_pipe), 0);
	pid = bus_fork(gate_and_stand_still, NULL);
	CHECK_EQ(read(ready_pipe[0], &byte, 1), 1);
	close(ready_pipe[0]);
	close(ready_pipe[1]);
	return pid;
}

static void *kill_soon(void *context)
{
	bus_sleep_ms(100);
	kill(*(pid_t *)context, SIGKILL);
	return NULL;
}

static void fill_ring(void)
{
	uint64_t n = 0;

	while (hbus_try_publish(publisher, topic, "0123456789abcdef", 16) == 0)
		CHECK(++n < 100000);
}

static void publisher_resumes_after_kill(bool kills_daemon)
{
	uint64_t begin_ms;
	pthread_t thread;
	pid_t pid;

	open_publisher(SMALL_RING, 5000);
	pid = start_gate();
	fill_ring();
	if (kills_daemon)
		bus_daemon_kill();
	CHECK_EQ(pthread_create(&thread, NULL, kill_soon, &pid), 0);
	begin_ms = bus_now_ms();
	OK(publish_number(1, 100));
	CHECK(bus_now_ms() - begin_ms >= 90);
	CHECK(bus_now_ms() - begin_ms < 100 + 250);
	pthread_join(thread, NULL);
	waitpid(pid, NULL, 0);
	if (kills_daemon)
		bus_daemon_start();
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void a_publisher_gated_by_a_killed_reader_resumes(void)
{
	publisher_resumes_after_kill(false);
}

#define DUMPED_BYTES (192u << 20)
#define STALL_MS 5000u /* what a reader has that asks for nothing else */

/* Its core file takes the kernel a while, and for so long it is not dead. */
static void gate_and_dump_much(void *context)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	void *much = mmap(NULL, DUMPED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	char byte = 'x';

	CHECK(much != MAP_FAILED && setrlimit(RLIMIT_CORE, &unlimited) == 0 && chdir(context) == 0);
	bus_subscriber(bus_open(), HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	CHECK_EQ(write(ready_pipe[1], &byte, 1), 1);
	raise(SIGSTOP);
	abort();
}

/* "core" in the process's own directory; elsewhere it is somebody else's. */
static bool cores_are_files_here(void)
{
	char pattern[128] = "";
	FILE *file = fopen("/proc/sys/kernel/core_pattern", "r");

	if (file && !fgets(pattern, sizeof(pattern), file))
		pattern[0] = '\0';
	if (file)
		fclose(file);
	return pattern[0] != '\0' && !strpbrk(pattern, "|/");
}

static void remove_with_cores(const char *directory)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf -- %s", directory);
	CHECK_EQ(system(command), 0);
}

/* It stands still until then, which its stall limit allows; its end is seen when it comes. */
static void a_reader_that_is_long_dying_holds_the_publisher_until_it_is_dead(void)
{
	char directory[] = "/tmp/hugebus-core-XXXXXX", byte;
	uint64_t began_ms, gone_ms, resumed_ms;
	int status = 0;
	pid_t pid;

	if (!cores_are_files_here())
		bus_skip("core files go elsewhere (kernel.core_pattern)");
	CHECK(mkdtemp(directory) != NULL);
	open_publisher(SMALL_RING, 20000);
	CHECK_EQ(pipe(ready_pipe), 0);
	pid = bus_fork(gate_and_dump_much, directory);
	CHECK_EQ(read(ready_pipe[0], &byte, 1), 1);
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	fill_ring();
	began_ms = bus_now_ms();
	kill(pid, SIGCONT);
	OK(publish_number(1, 100));
	resumed_ms = bus_now_ms();
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	gone_ms = bus_now_ms();
	remove_with_cores(directory);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	if (!WCOREDUMP(status))
		bus_skip("no core file was written");
	printf("# dying took %llu ms, publishing went on after %llu ms\n", (unsigned long long)(gone_ms - began_ms),
	       (unsigned long long)(resumed_ms - began_ms));
	CHECK(resumed_ms <= gone_ms + 1);
	CHECK(gone_ms - resumed_ms < 100 || resumed_ms - began_ms >= STALL_MS - 100);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void a_publisher_gated_by_a_killed_reader_resumes_without_the_daemon(void)
{
	publisher_resumes_after_kill(true);
}

static void try_publish_alone_gets_rid_of_a_killed_reader(void)
{
	uint64_t until_ms;
	pid_t pid;

	open_publisher(SMALL_RING, 0);
	pid = start_gate();
	fill_ring();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	until_ms = bus_now_ms() + 250;
	while (hbus_try_publish(publisher, topic, "x", 1) == HBUS_FULL)
		CHECK(bus_now_ms() < until_ms);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void a_reader_that_stalls_too_long_is_evicted_and_told(void)
{
	struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = HBUS_SUB_FLAG_RELIABLE,
						  .stall_ms = 100};
	struct hbus_subscriber_info info;
	struct hbus_subscriber *sub;
	uint64_t begin_ms, n = 0, n_read = 0, n_lost = 0;

	open_publisher(SMALL_RING, 5000);
	OK(hbus_subscriber_open(bus, &options, &sub));
	OK(hbus_subscribe(sub, "t"));
	while (hbus_try_publish(publisher, topic, "0123456789abcdef", 16) == 0)
		n++;
	begin_ms = bus_now_ms();
	OK(publish_number(n++, 100));
	CHECK(bus_now_ms() - begin_ms >= 80);
	CHECK(bus_now_ms() - begin_ms < 1000);
	for (int i = 0; i < 1000; i++)
		OK(publish_number(n++, 100));
	for (size_t got = 1; got > 0;) {
		struct hbus_event events[64];

		got = (size_t)hbus_poll(sub, events, 64);
		n_read += got;
	}
	n_lost = bus_take_losses(sub, HBUS_LOSS_EVICTED);
	CHECK(n_lost > 0);
	CHECK_EQ(n_read + n_lost, n);
	OK(hbus_subscriber_info(sub, &info));
	CHECK_EQ(info.n_delivered, n_read);
	CHECK_EQ(info.n_lost, n_lost);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

#define N_BEYOND_A_RING 20000

static void publish_beyond_a_ring(void *context)
{
	(void)context;
	open_publisher(SMALL_RING, 20000);
	for (uint64_t i = 0; i < N_BEYOND_A_RING; i++)
		OK(publish_number(i, 100));
}

/* It waits for a reader when it is stopped, as if the machine were: how long it stood still is not how long the reader held it. */
static void a_publisher_that_stood_still_blames_no_reader(void)
{
	struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = HBUS_SUB_FLAG_RELIABLE,
						  .stall_ms = 400};
	uint64_t n_read = 0, until_ms = bus_now_ms() + 20000;
	struct hbus_event events[64];
	struct hbus_subscriber *sub;
	pid_t pid;

	bus = bus_open();
	OK(hbus_subscriber_open(bus, &options, &sub));
	OK(hbus_subscribe(sub, "t"));
	pid = bus_fork(publish_beyond_a_ring, NULL);
	while (hbus_poll(sub, events, 1) == 0)
		CHECK(bus_now_ms() < until_ms);
	n_read = 1;
	bus_sleep_ms(50);
	kill(pid, SIGSTOP);
	bus_sleep_ms(800);
	kill(pid, SIGCONT);
	bus_sleep_ms(50);
	while (n_read < N_BEYOND_A_RING && bus_now_ms() < until_ms)
		n_read += (uint64_t)hbus_poll(sub, events, 64);
	CHECK_EQ(bus_take_losses(sub, HBUS_LOSS_EVICTED), 0);
	CHECK_EQ(n_read, N_BEYOND_A_RING);
	bus_join(pid);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

/* -- the daemon goes and comes -- */

static atomic_bool must_stop;
static atomic_ullong n_published;

static void *publish_steadily(void *context)
{
	(void)context;
	while (!must_stop) {
		OK(publish_number(n_published, 64));
		n_published++;
		if (n_published % 64 == 0)
			bus_sleep_ms(1);
	}
	return NULL;
}

struct reader {
	struct hbus_subscriber *sub;
	uint64_t next;
};

static void read_some(struct reader *reader, unsigned int for_ms)
{
	uint64_t until_ms = bus_now_ms() + for_ms;

	while (bus_now_ms() < until_ms) {
		uint64_t numbers[256];
		size_t n = bus_collect(reader->sub, numbers, 256, 10);

		for (size_t i = 0; i < n; i++)
			CHECK_EQ(numbers[i], reader->next++);
	}
}

static void wait_connected(struct hbus *which)
{
	uint64_t until_ms = bus_now_ms() + 3000;

	while (hbus_is_connected(which) != 1) {
		CHECK(bus_now_ms() < until_ms);
		bus_sleep_ms(5);
	}
}

static void traffic_outlives_the_daemon_and_meets_the_next_one(void)
{
	struct hbus *reader_bus = bus_open(), *new_bus;
	struct reader reader = {0};
	pthread_t thread;

	open_publisher(0, 5000);
	reader.sub = bus_subscriber(reader_bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	CHECK_EQ(pthread_create(&thread, NULL, publish_steadily, NULL), 0);
	for (int round = 0; round < 3; round++) {
		struct hbus_subscriber *late;
		struct hbus_subscriber_info info;
		struct hbus_event event;
		char name[32];

		read_some(&reader, 100);
		bus_daemon_kill();
		read_some(&reader, 300);
		bus_daemon_start();
		read_some(&reader, 100);
		wait_connected(bus);
		wait_connected(reader_bus);
		/* A new subscriber meets the old publisher; the old publisher can declare. */
		new_bus = bus_open();
		late = bus_subscriber(new_bus, 0, HBUS_START_LATEST, "t");
		CHECK_EQ(hbus_wait(late, 2000), 1);
		CHECK_EQ(hbus_poll(late, &event, 1), 1);
		OK(hbus_subscriber_info(late, &info));
		CHECK_EQ(info.n_rings, 1);
		hbus_subscriber_close(late);
		hbus_close(new_bus);
		/* The old subscriber can still ask for more. */
		snprintf(name, sizeof(name), "new/%d", round);
		OK(hbus_subscribe(reader.sub, name));
	}
	must_stop = true;
	pthread_join(thread, NULL);
	read_some(&reader, 200);
	CHECK_EQ(reader.next, n_published);
	hbus_publisher_close(publisher);
	hbus_subscriber_close(reader.sub);
	hbus_close(reader_bus);
	hbus_close(bus);
}

static void calls_fail_clearly_while_no_daemon_is_there(void)
{
	hbus_topic_t other;
	uint64_t begin_ms;

	open_publisher(0, 0);
	bus_daemon_kill();
	begin_ms = bus_now_ms();
	CHECK_EQ(hbus_publisher_topic(publisher, "other", NULL, NULL, &other), HBUS_E_DISCONNECTED);
	CHECK(bus_now_ms() - begin_ms < 4000);
	CHECK_EQ(hbus_is_connected(bus), 0);
	OK(publish_number(1, 64));
	bus_daemon_start();
	OK(hbus_publisher_topic(publisher, "other", NULL, NULL, &other));
	CHECK_EQ(hbus_is_connected(bus), 1);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void a_call_waits_for_a_daemon_that_comes_back(void)
{
	struct hbus_subscriber *sub;

	open_publisher(0, 0);
	for (int round = 0; round < 5; round++) {
		bus_daemon_kill();
		bus_daemon_start();
		sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
		OK(publish_number(1, 64));
		CHECK_EQ(hbus_wait(sub, 2000), 1);
		hbus_subscriber_close(sub);
	}
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void a_daemon_without_its_journal_is_given_new_rings(void)
{
	struct hbus *reader_bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(reader_bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "#");
	struct hbus_publisher_info before, after;
	hbus_topic_t topics[3];
	uint64_t n = 0, numbers[1000];

	open_publisher(0, 1000);
	OK(hbus_publisher_topic(publisher, "u", NULL, NULL, &topics[1]));
	topics[0] = topic;
	OK(hbus_publisher_info(publisher, &before));
	bus_daemon_kill();
	bus_daemon_forget();
	bus_daemon_start();
	OK(hbus_publisher_topic(publisher, "v", NULL, NULL, &topics[2]));
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < i; j++)
			CHECK(topics[i] != topics[j]);
	wait_connected(reader_bus);
	while (bus_collect(sub, numbers, 1000, 10) > 0)
		;
	for (int i = 0; i < 300; i++) {
		topic = topics[i % 3];
		OK(publish_number(n++, 64));
	}
	OK(hbus_publisher_info(publisher, &after));
	CHECK(after.ring_id != before.ring_id);
	CHECK_EQ(bus_collect(sub, numbers, n, 3000), n);
	hbus_publisher_close(publisher);
	hbus_subscriber_close(sub);
	hbus_close(reader_bus);
	hbus_close(bus);
}

static void publish_and_stand_still(void *context)
{
	(void)context;
	open_publisher(0, 0);
	for (uint64_t i = 0; i < 100; i++)
		OK(publish_number(i, 64));
	CHECK_EQ(write(ready_pipe[1], "x", 1), 1);
	pause();
}

static void a_publisher_that_died_with_the_daemon_is_read_to_its_end(void)
{
	struct hbus *reader_bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(reader_bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	struct reader reader = {.sub = sub};
	struct hbus_subscriber_info info = {0};
	char byte;
	pid_t pid;

	CHECK_EQ(pipe(ready_pipe), 0);
	pid = bus_fork(publish_and_stand_still, NULL);
	CHECK_EQ(read(ready_pipe[0], &byte, 1), 1);
	while (info.n_rings == 0)
		OK(hbus_subscriber_info(sub, &info));
	bus_daemon_kill();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	read_some(&reader, 100);
	CHECK_EQ(reader.next, 100);
	bus_daemon_start();
	for (int i = 0; i < 60 && info.n_rings > 0; i++) { /* the daemon waits 2 s for it */
		read_some(&reader, 100);
		OK(hbus_subscriber_info(sub, &info));
	}
	CHECK_EQ(info.n_rings, 0);
	CHECK_EQ(info.n_delivered, 100);
	CHECK_EQ(info.n_lost, 0);
	hbus_subscriber_close(sub);
	hbus_close(reader_bus);
}

/* A publisher that stops before it has answered the daemon: a subscription that covers it must wait. */
static void publish_nothing_and_stop(void *context)
{
	int *ready = context;

	open_publisher(SMALL_RING, 0);
	CHECK_EQ(write(ready[1], "", 1), 1);
	raise(SIGSTOP);
}

static void subscribe_and_wait(void *context)
{
	(void)context;
	bus_subscriber(bus_open(), HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "#");
}

/* Reads nothing as long as it is inside hbus_subscribe(), and is promised nothing yet: so nobody waits for it. */
static void who_is_still_subscribing_holds_nobody_back(void)
{
	uint64_t begin_ms, longest_ms = 0, number = 0;
	pid_t stopped, subscribing;
	int ready[2];
	char byte;

	OK(pipe(ready));
	stopped = bus_fork(publish_nothing_and_stop, ready);
	CHECK_EQ(read(ready[0], &byte, 1), 1);
	open_publisher(SMALL_RING, 20000);
	subscribing = bus_fork(subscribe_and_wait, NULL);
	for (begin_ms = bus_now_ms(); bus_now_ms() - begin_ms < 800;) {
		uint64_t call_ms = bus_now_ms();

		OK(publish_number(number++, 1000));
		call_ms = bus_now_ms() - call_ms;
		longest_ms = call_ms > longest_ms ? call_ms : longest_ms;
	}
	CHECK(longest_ms < 300);
	/* It was there all the time, inside hbus_subscribe(). */
	CHECK_EQ(waitpid(subscribing, NULL, WNOHANG), 0);
	kill(stopped, SIGCONT);
	bus_join(stopped);
	bus_join(subscribing);
	CHECK(number > 1000);
}

static const struct bus_case cases[] = {
	{"a_publisher_gated_by_a_killed_reader_resumes", a_publisher_gated_by_a_killed_reader_resumes},
	{"a_reader_that_is_long_dying_holds_the_publisher_until_it_is_dead",
	 a_reader_that_is_long_dying_holds_the_publisher_until_it_is_dead},
	{"a_publisher_gated_by_a_killed_reader_resumes_without_the_daemon",
	 a_publisher_gated_by_a_killed_reader_resumes_without_the_daemon},
	{"try_publish_alone_gets_rid_of_a_killed_reader", try_publish_alone_gets_rid_of_a_killed_reader},
	{"who_is_still_subscribing_holds_nobody_back", who_is_still_subscribing_holds_nobody_back},
	{"a_reader_that_stalls_too_long_is_evicted_and_told", a_reader_that_stalls_too_long_is_evicted_and_told},
	{"a_publisher_that_stood_still_blames_no_reader", a_publisher_that_stood_still_blames_no_reader},
	{"traffic_outlives_the_daemon_and_meets_the_next_one", traffic_outlives_the_daemon_and_meets_the_next_one},
	{"calls_fail_clearly_while_no_daemon_is_there", calls_fail_clearly_while_no_daemon_is_there},
	{"a_call_waits_for_a_daemon_that_comes_back", a_call_waits_for_a_daemon_that_comes_back},
	{"a_publisher_that_died_with_the_daemon_is_read_to_its_end",
	 a_publisher_that_died_with_the_daemon_is_read_to_its_end},
	{"a_daemon_without_its_journal_is_given_new_rings", a_daemon_without_its_journal_is_given_new_rings},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
