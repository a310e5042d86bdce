/* SPDX-License-Identifier: BSD-3-Clause */
/* Beginning, waiting, being stopped, doing nothing. See cases.h. */
#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/blame.h"
#include "bench/cases_pvt.h"

#define LAST_VALUE UINT64_MAX
#define ATTACH_SIZE 64u
#define AWAIT_NS UINT64_C(2000000000)

static void nap_us(unsigned int us)
{
	nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000}, NULL);
}

static bool is_stopping(struct bench_run *run)
{
	return atomic_load_explicit(&run->shared->stop, memory_order_acquire) != 0;
}

/* -- a stopped reader -- */

static _Noreturn void stopped_main(struct bench_run *run)
{
	struct hbus_subscriber *subscriber;
	struct hbus *bus;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (bench_open_subscriber(run, "#", 0, &bus, &subscriber))
		_exit(1);
	raise(SIGSTOP);
	_exit(1);
}

int bench_stopped_reader(struct bench_run *run, unsigned int role)
{
	pid_t pid = fork();
	int status = 0, r;

	(void)role;
	if (pid == 0)
		stopped_main(run);
	if (pid < 0 || waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status)) {
		bench_blame("no reader to stop");
		return 1;
	}
	bench_barrier(run);
	while (!bench_is_over(run))
		nap_us(1000);
	/* It must have been stopped all the time. */
	r = waitpid(pid, &status, WNOHANG | WCONTINUED) == 0 ? 0 : 1;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return r;
}

/* -- publisher open -> first event seen -- */

/* One publisher from nothing to its first event, which holds when it began. The ring stays until it has been seen. */
static int publish_one(struct bench_run *run, struct hbus *bus)
{
	struct hbus_publisher *publisher = NULL;
	uint64_t begin = bench_now_ns(), deadline;
	struct hbus *own_bus = NULL;
	hbus_topic_t topic;
	int r = 0;

	if (!bus && bench_open_bus(run, &own_bus))
		return 1;
	if (hbus_publisher_open(bus ? bus : own_bus, NULL, &publisher) ||
	    hbus_publisher_topic(publisher, "open", NULL, NULL, &topic) ||
	    hbus_publish(publisher, topic, &begin, sizeof(begin)))
		return bench_complain("first event");
	deadline = bench_now_ns() + AWAIT_NS;
	while (atomic_load_explicit(&run->shared->role[1].value[0], memory_order_acquire) != begin && r == 0) {
		nap_us(50);
		r = bench_now_ns() > deadline;
	}
	if (r)
		bench_blame("the first event was not seen");
	hbus_publisher_close(publisher);
	hbus_close(own_bus);
	return r;
}

static int end_of_opening(struct bench_run *run)
{
	atomic_fetch_add_explicit(&run->shared->stop, 1, memory_order_release);
	return 0;
}

static int open_first_role(struct bench_run *run, unsigned int role)
{
	int status;

	(void)role;
	bench_barrier(run);
	do {
		pid_t pid = fork();

		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(publish_one(run, NULL));
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
			return 1;
	} while (!bench_is_over(run));
	return end_of_opening(run);
}

static int open_again_role(struct bench_run *run, unsigned int role)
{
	struct hbus *bus;
	int r;

	(void)role;
	if (bench_open_bus(run, &bus))
		return 1;
	bench_barrier(run);
	r = publish_one(run, bus);
	/* The first one was not again. */
	memset(&run->shared->histogram, 0, sizeof(run->shared->histogram));
	while (r == 0) {
		r = publish_one(run, bus);
		if (bench_is_over(run))
			break;
	}
	hbus_close(bus);
	return r ? r : end_of_opening(run);
}

static int open_watcher(struct bench_run *run, unsigned int role)
{
	struct hbus_subscriber *subscriber;
	struct hbus_event event;
	struct hbus *bus;

	if (bench_open_subscriber(run, "open", HBUS_SUB_FLAG_RELIABLE, &bus, &subscriber))
		return 1;
	bench_barrier(run);
	while (!is_stopping(run)) {
		int n = hbus_poll(subscriber, &event, 1);
		uint64_t begin;

		if (n < 0)
			return bench_complain("poll");
		if (n == 0) {
			bench_pause();
			continue;
		}
		memcpy(&begin, event.data, sizeof(begin));
		bench_histogram_add(&run->shared->histogram, bench_now_ns() - begin);
		atomic_store_explicit(&run->shared->role[role].value[0], begin, memory_order_release);
	}
	hbus_subscriber_close(subscriber);
	hbus_close(bus);
	return 0;
}

static double run_two(struct bench_run *run, const struct bench_cores *cores, bench_role_fn first, bench_role_fn second)
{
	run->n_roles = 2;
	run->role[0] = (struct bench_role){first, cores->core[0]};
	run->role[1] = (struct bench_role){second, cores->core[1 % cores->n]};
	if (bench_run_roles(run))
		return 0;
	return (double)bench_histogram_percentile(&run->shared->histogram, 0.5);
}

double bench_case_open_first(struct bench_run *run, const struct bench_cores *cores)
{
	return run_two(run, cores, open_first_role, open_watcher);
}

double bench_case_open_again(struct bench_run *run, const struct bench_cores *cores)
{
	return run_two(run, cores, open_again_role, open_watcher);
}

/* -- subscriber attach -- */

static int busy_publisher(struct bench_run *run, unsigned int role)
{
	unsigned char data[ATTACH_SIZE];
	struct hbus_publisher *publisher;
	hbus_topic_t topic;
	struct hbus *bus;

	(void)role;
	if (bench_open_publisher(run, "attach", 0, &bus, &publisher, &topic))
		return 1;
	bench_barrier(run);
	for (uint64_t i = 1; !is_stopping(run); i++) {
		bench_event_fill(data, sizeof(data), i);
		if (hbus_publish(publisher, topic, data, sizeof(data)))
			return bench_complain("publish");
	}
	hbus_publisher_close(publisher);
	hbus_close(bus);
	return 0;
}

static int attach_once(struct hbus *bus, struct bench_histogram *histogram)
{
	struct hbus_subscriber_options options = {.struct_size = sizeof(options)};
	struct hbus_subscriber *subscriber = NULL;
	uint64_t begin = bench_now_ns();
	struct hbus_event event;
	int n = 0;

	if (hbus_subscriber_open(bus, &options, &subscriber) || hbus_subscribe(subscriber, "attach"))
		return bench_complain("attach");
	while ((n = hbus_poll(subscriber, &event, 1)) == 0 && bench_now_ns() - begin < AWAIT_NS)
		bench_pause();
	if (n == 1)
		bench_histogram_add(histogram, bench_now_ns() - begin);
	hbus_subscriber_close(subscriber);
	return n == 1 ? 0 : bench_complain("no event after attach");
}

static int attacher(struct bench_run *run, unsigned int role)
{
	struct hbus *bus;
	int r = 0;

	(void)role;
	if (bench_open_bus(run, &bus))
		return 1;
	bench_barrier(run);
	do
		r = attach_once(bus, &run->shared->histogram);
	while (r == 0 && !bench_is_over(run));
	atomic_fetch_add_explicit(&run->shared->stop, 1, memory_order_release);
	hbus_close(bus);
	return r;
}

double bench_case_attach(struct bench_run *run, const struct bench_cores *cores)
{
	return run_two(run, cores, busy_publisher, attacher);
}

/* -- doing nothing -- */

static uint64_t own_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* CPU time of all threads of a process, ns; 0 when the kernel does not say. */
static uint64_t cpu_ns_of(int pid)
{
	char path[300];
	uint64_t total = 0;
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	directory = opendir(path);
	while (directory && (entry = readdir(directory)) != NULL) {
		unsigned long long ns = 0;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", pid, entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (file && fscanf(file, "%llu", &ns) == 1)
			total += ns;
		if (file)
			fclose(file);
	}
	if (directory)
		closedir(directory);
	return total;
}

/*
 * Publishes nothing, but its ring is there: what is waited for is an event, not a publisher. Looks at the daemon
 * meanwhile, once its part in the attaching is over.
 */
static int silent_publisher(struct bench_run *run, unsigned int role)
{
	const int *daemon_pid = run->params;
	struct hbus_publisher *publisher;
	hbus_topic_t topic;
	struct hbus *bus;
	uint64_t value = LAST_VALUE, cpu, begin;

	if (bench_open_publisher(run, "idle", 1, &bus, &publisher, &topic))
		return 1;
	bench_barrier(run);
	nap_us(10000);
	cpu = cpu_ns_of(*daemon_pid);
	begin = bench_now_ns();
	while (!bench_is_over(run))
		nap_us(10000);
	atomic_store_explicit(&run->shared->role[role].value[0], cpu_ns_of(*daemon_pid) - cpu, memory_order_relaxed);
	atomic_store_explicit(&run->shared->role[role].value[1], bench_now_ns() - begin, memory_order_relaxed);
	atomic_store_explicit(&run->shared->role[1].value[2], 1, memory_order_release);
	return hbus_publish(publisher, topic, &value, sizeof(value)) ? bench_complain("publish") : 0;
}

static int idle_subscriber(struct bench_run *run, unsigned int role)
{
	struct hbus_subscriber *subscriber;
	struct hbus_event event;
	struct hbus *bus;
	uint64_t begin, cpu;
	int n;

	if (bench_open_subscriber(run, "idle", HBUS_SUB_FLAG_RELIABLE, &bus, &subscriber))
		return 1;
	bench_barrier(run);
	begin = bench_now_ns();
	cpu = own_cpu_ns();
	while ((n = hbus_poll(subscriber, &event, 1)) == 0)
		if (hbus_wait(subscriber, -1) < 0)
			return bench_complain("wait");
	if (n < 0 || !atomic_load_explicit(&run->shared->role[role].value[2], memory_order_acquire))
		return bench_complain("woken too soon");
	atomic_store_explicit(&run->shared->role[role].value[0], own_cpu_ns() - cpu, memory_order_relaxed);
	atomic_store_explicit(&run->shared->role[role].value[1], bench_now_ns() - begin, memory_order_relaxed);
	return 0;
}

double bench_case_idle(struct bench_run *run, const struct bench_cores *cores, int daemon_pid, double *ret_daemon)
{
	const unsigned int duration_ms = run->duration_ms;
	const struct bench_shared *shared = run->shared;
	int r;

	run->params = &daemon_pid;
	run->n_roles = 2;
	run->role[0] = (struct bench_role){silent_publisher, cores->core[0]};
	run->role[1] = (struct bench_role){idle_subscriber, cores->core[1 % cores->n]};
	/* Little is to be seen in a short time. */
	run->duration_ms = duration_ms * 4;
	r = bench_run_roles(run);
	run->duration_ms = duration_ms;
	if (r)
		return -1;
	*ret_daemon = 100.0 * (double)shared->role[0].value[0] / (double)shared->role[0].value[1];
	return 100.0 * (double)shared->role[1].value[0] / (double)shared->role[1].value[1];
}
