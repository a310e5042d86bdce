/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * System calls of a publisher and a reader while nobody sleeps: counted by ptrace, not believed. See cases.h.
 *
 * A child publishes and polls in one thread, and says by signals when that begins and ends; its parent counts. A first
 * round without events shows what the signals themselves cost.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/blame.h"
#include "bench/cases_pvt.h"

#define EVENTS 20000u
#define SIZE 64u
#define TRIES_MAX 5000u /* of 10 ms: until the first event has come and fences are not needed any more */

struct pair {
	struct hbus *bus, *bus2;
	struct hbus_publisher *publisher;
	struct hbus_subscriber *subscriber;
	hbus_topic_t topic;
};

static int send_and_take(struct pair *pair, uint64_t i)
{
	unsigned char data[SIZE];
	struct hbus_event event;
	int n;

	bench_event_fill(data, sizeof(data), i);
	if (hbus_publish(pair->publisher, pair->topic, data, sizeof(data)))
		return 1;
	while ((n = hbus_poll(pair->subscriber, &event, 1)) == 0)
		bench_pause();
	return n != 1 || event.size != SIZE || bench_event_sum(event.data, SIZE) != i * (SIZE / 8);
}

/* The reader has heard of the topic, and slept once: what is due then is done. */
static int warm_up(struct pair *pair)
{
	struct hbus_event event;
	unsigned char data[SIZE];
	int n = 0;

	bench_event_fill(data, sizeof(data), 1);
	if (hbus_publish(pair->publisher, pair->topic, data, sizeof(data)))
		return 1;
	for (unsigned int i = 0; i < TRIES_MAX && (n = hbus_poll(pair->subscriber, &event, 1)) == 0; i++)
		if (hbus_wait(pair->subscriber, 10) < 0)
			return 1;
	for (uint64_t i = 1; n == 1 && i <= EVENTS; i++)
		n = send_and_take(pair, i) ? -1 : 1;
	return n != 1;
}

static int counted_main(struct bench_run *run)
{
	struct pair pair;

	if (bench_open_subscriber(run, "calls", HBUS_SUB_FLAG_RELIABLE, &pair.bus2, &pair.subscriber) ||
	    bench_open_publisher(run, "calls", 1, &pair.bus, &pair.publisher, &pair.topic) || warm_up(&pair))
		return 1;
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		return bench_complain("ptrace");
	raise(SIGUSR1); /* what follows counts, */
	raise(SIGUSR1); /* from here on with events, */
	for (uint64_t i = 1; i <= EVENTS; i++)
		if (send_and_take(&pair, i))
			return bench_complain("counted events");
	raise(SIGUSR1); /* and no more */
	return 0;
}

/* Runs the child to its next SIGUSR1. Return: the stops at system calls until then, entry and exit each; -1 = it ended. */
static long count_until_signal(pid_t pid)
{
	long n_stops = 0;
	int status;

	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) != 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			return -1;
		if (WSTOPSIG(status) == SIGUSR1)
			return n_stops;
		n_stops += WSTOPSIG(status) == (SIGTRAP | 0x80);
	}
}

static int watch(struct bench_run *run, unsigned int role, pid_t pid)
{
	long bare, counted;
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
		bench_blame("nobody to count the system calls of");
		return 1;
	}
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0)
		return 1;
	bare = count_until_signal(pid);
	counted = bare < 0 ? -1 : count_until_signal(pid);
	if (counted < bare || bare < 0) {
		bench_blame("system calls could not be counted");
		return 1;
	}
	atomic_store_explicit(&run->shared->role[role].value[0], (uint64_t)(counted - bare) / 2, memory_order_relaxed);
	return 0;
}

static int calls_role(struct bench_run *run, unsigned int role)
{
	pid_t pid;
	int r = 1;

	bench_barrier(run);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(counted_main(run));
	}
	if (pid > 0) {
		r = watch(run, role, pid);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return r;
}

double bench_case_calls(struct bench_run *run, const struct bench_cores *cores)
{
	run->n_roles = 1;
	run->role[0] = (struct bench_role){calls_role, cores->core[0]};
	if (bench_run_roles(run))
		return -1;
	return (double)run->shared->role[0].value[0] / EVENTS;
}
