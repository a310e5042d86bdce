/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much of its time the machine gives to us: a thread on each CPU that only sleeps, and notes how late it wakes
 *
 * What one CPU is kept from may be any of the processes that are watched, so the time counts when any of them was late:
 * the union of all such times, and of those that have not ended yet.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "tests/torture/torture.h"

#define NAP_NS UINT64_C(2000000)
/* Later than this is not the timer but somebody else on the CPU. */
#define LATE_NS UINT64_C(5000000)
/* As long as this nobody can be expected to have been introduced to anybody. */
#define STOOD_STILL_NS UINT64_C(300000000)
#define PROBES_MAX 64u
#define STILLS_MAX 256u

struct probe {
	pthread_t thread;
	unsigned int cpu;
	_Atomic uint64_t due_ns; /* when it should wake */
};

static struct probe probes[PROBES_MAX];
static unsigned int n_probes;
static _Atomic uint32_t must_end;
/* -- under the lock -- */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t starved_ns, covered_until_ns;
static struct span stills[STILLS_MAX];
static unsigned int n_stills;

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void note(uint64_t due_ns, uint64_t now_ns)
{
	uint64_t from_ns;

	if (now_ns < due_ns + LATE_NS)
		return;
	pthread_mutex_lock(&lock);
	from_ns = later(due_ns, covered_until_ns);
	if (now_ns > from_ns)
		starved_ns += now_ns - from_ns;
	covered_until_ns = later(now_ns, covered_until_ns);
	if (now_ns > due_ns + STOOD_STILL_NS && n_stills < STILLS_MAX)
		stills[n_stills++] = (struct span){.from_ns = due_ns, .until_ns = now_ns};
	pthread_mutex_unlock(&lock);
}

static void *probe_main(void *context)
{
	struct probe *probe = context;
	struct timespec nap = {.tv_nsec = (long)NAP_NS};
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(probe->cpu, &set);
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	while (!atomic_load_explicit(&must_end, memory_order_relaxed)) {
		uint64_t due_ns = ledger_now_ns() + NAP_NS;

		atomic_store_explicit(&probe->due_ns, due_ns, memory_order_relaxed);
		nanosleep(&nap, NULL);
		note(due_ns, ledger_now_ns());
	}
	return NULL;
}

void probes_start(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return;
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE && n_probes < PROBES_MAX; cpu++) {
		struct probe *probe = &probes[n_probes];

		if (!CPU_ISSET(cpu, &set))
			continue;
		probe->cpu = cpu;
		atomic_store_explicit(&probe->due_ns, ledger_now_ns() + NAP_NS, memory_order_relaxed);
		if (pthread_create(&probe->thread, NULL, probe_main, probe) == 0)
			n_probes++;
	}
}

void probes_end(void)
{
	atomic_store_explicit(&must_end, 1, memory_order_relaxed);
	while (n_probes > 0)
		pthread_join(probes[--n_probes].thread, NULL);
}

uint64_t probes_starved_ns(uint64_t now_ns)
{
	uint64_t first_due_ns = now_ns, ns, from_ns;

	for (unsigned int i = 0; i < n_probes; i++) {
		uint64_t due_ns = atomic_load_explicit(&probes[i].due_ns, memory_order_relaxed);

		if (now_ns > due_ns + LATE_NS && due_ns < first_due_ns)
			first_due_ns = due_ns;
	}
	pthread_mutex_lock(&lock);
	from_ns = later(first_due_ns, covered_until_ns);
	ns = starved_ns + (now_ns > from_ns ? now_ns - from_ns : 0);
	pthread_mutex_unlock(&lock);
	return ns;
}

unsigned int probes_take_stills(struct span *ret_spans, unsigned int n_max)
{
	unsigned int n = 0;

	pthread_mutex_lock(&lock);
	while (n < n_max && n_stills > 0)
		ret_spans[n++] = stills[--n_stills];
	pthread_mutex_unlock(&lock);
	return n;
}
