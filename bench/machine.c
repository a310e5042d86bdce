/* SPDX-License-Identifier: BSD-3-Clause */
/* Which cores there are, what they share, and how quiet they are. See harness.h. */
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/harness.h"

/* Beyond these the figures of a run are those of another machine. */
#define BUSY_LIMIT 0.10
#define STEAL_LIMIT 0.01
#define SWITCHES_LIMIT 100.0

/* -- cores -- */

static int read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	int value = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%d", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

static int cpu_number(int cpu, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/%s", cpu, name);
	return read_number(path);
}

/* The same for threads of one core only; core ids begin anew in each package. -1: the kernel does not say. */
static int physical_core(int cpu)
{
	int core = cpu_number(cpu, "topology/core_id"), package = cpu_number(cpu, "topology/physical_package_id");

	return core < 0 ? -1 : (package < 0 ? 0 : package) * 65536 + core;
}

/* A list of the kernel: "0-3,8,10-11". */
static bool is_listed(const char *list, int cpu)
{
	while (*list) {
		char *end = NULL;
		long first = strtol(list, &end, 10), last = first;

		if (end == list)
			return false;
		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		if (cpu >= first && cpu <= last)
			return true;
		list = *end == ',' ? end + 1 : "";
	}
	return false;
}

/* Whether a file of lists has @b in @a's. */
static bool share(int a, int b, const char *name)
{
	char path[128], list[4096] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/%s", a, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(list, sizeof(list), file))
		list[0] = '\0';
	fclose(file);
	return is_listed(list, b);
}

/* Level of the smallest cache that both have; 0: none that the kernel knows. */
static int shared_level(int a, int b)
{
	int best = 0;

	for (int i = 0; i < 16; i++) {
		char name[64];
		int level;

		snprintf(name, sizeof(name), "cache/index%d/level", i);
		level = cpu_number(a, name);
		if (level < 0)
			break;
		snprintf(name, sizeof(name), "cache/index%d/shared_cpu_list", i);
		if (share(a, b, name) && (best == 0 || level < best))
			best = level;
	}
	return best;
}

static int node_of(int cpu)
{
	for (int node = 0; node < 256; node++) {
		char path[128], list[4096] = "";
		FILE *file;
		bool is_there;

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
		file = fopen(path, "re");
		if (!file)
			continue;
		is_there = fgets(list, sizeof(list), file) && is_listed(list, cpu);
		fclose(file);
		if (is_there)
			return node;
	}
	return -1;
}

static void describe(struct bench_cores *cores)
{
	int a = cores->core[0], b = cores->core[cores->n > 1 ? 1 : 0];
	char cache[32] = "";

	if (cores->n < 2) {
		snprintf(cores->text, sizeof(cores->text), "1 usable CPU (%d): every measurement is oversubscribed", a);
		return;
	}
	cores->are_siblings = physical_core(a) >= 0 && physical_core(a) == physical_core(b);
	cores->shared_level = shared_level(a, b);
	cores->are_one_node = node_of(a) == node_of(b);
	if (cores->shared_level)
		snprintf(cache, sizeof(cache), "sharing L%d", cores->shared_level);
	snprintf(cores->text, sizeof(cores->text), "%u usable CPUs, first two: %d and %d (%s, %s%s)", cores->n, a, b,
		 cores->are_siblings ? "threads of one core" : "two cores", cores->shared_level ? cache : "no shared cache",
		 cores->are_one_node ? "" : ", different nodes");
}

void bench_cores_find(struct bench_cores *cores)
{
	cpu_set_t set;
	bool is_taken[CPU_SETSIZE] = {false};
	int seen[CPU_SETSIZE];
	int n_seen = 0;

	memset(cores, 0, sizeof(*cores));
	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	/* First one thread of each physical core, then their siblings. */
	for (int pass = 0; pass < 2; pass++) {
		for (int cpu = 0; cpu < CPU_SETSIZE && cores->n < BENCH_ROLES_MAX; cpu++) {
			int physical = 0, i = 0;

			if (!CPU_ISSET((size_t)cpu, &set) || is_taken[cpu])
				continue;
			physical = physical_core(cpu);
			while (i < n_seen && seen[i] != physical)
				i++;
			if (pass == 0 && physical >= 0 && i < n_seen)
				continue;
			if (i == n_seen)
				seen[n_seen++] = physical;
			is_taken[cpu] = true;
			cores->core[cores->n++] = cpu;
		}
	}
	describe(cores);
}

/* -- quiet -- */

struct ticks {
	uint64_t busy;
	uint64_t steal;
	uint64_t all;
};

static bool read_ticks(struct ticks *ticks)
{
	FILE *file = fopen("/proc/stat", "re");
	unsigned long long v[8] = {0};
	bool is_good;

	*ticks = (struct ticks){0};
	if (!file)
		return false;
	is_good = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5],
			 &v[6], &v[7]) == 8;
	fclose(file);
	for (int i = 0; i < 8; i++)
		ticks->all += v[i];
	ticks->busy = ticks->all - v[3] - v[4];
	ticks->steal = v[7];
	return is_good;
}

double bench_noise(unsigned int ms)
{
	struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	struct ticks before, after;

	if (!read_ticks(&before))
		return 0;
	nanosleep(&nap, NULL);
	if (!read_ticks(&after) || after.all <= before.all)
		return 0;
	return (double)(after.busy - before.busy) / (double)(after.all - before.all);
}

void bench_quiet_begin(struct bench_quiet *quiet)
{
	struct ticks ticks;
	double load[1] = {0};

	*quiet = (struct bench_quiet){.busy = bench_noise(300)};
	if (getloadavg(load, 1) == 1)
		quiet->load = load[0];
	(void)read_ticks(&ticks);
	quiet->steal_ticks = ticks.steal;
	quiet->all_ticks = ticks.all;
	quiet->begin_ns = bench_now_ns();
}

void bench_quiet_end(struct bench_quiet *quiet, uint64_t n_switches, double seconds)
{
	struct ticks ticks;

	if (read_ticks(&ticks) && ticks.all > quiet->all_ticks)
		quiet->steal = (double)(ticks.steal - quiet->steal_ticks) / (double)(ticks.all - quiet->all_ticks);
	if (seconds > 0)
		quiet->switches = (double)n_switches / seconds;
}

const char *bench_quiet_warning(const struct bench_quiet *quiet)
{
	static char text[160];

	if (quiet->busy > BUSY_LIMIT)
		snprintf(text, sizeof(text), "%.0f %% of this machine's CPU time was busy before the run", 100 * quiet->busy);
	else if (quiet->steal > STEAL_LIMIT)
		snprintf(text, sizeof(text), "%.1f %% of the CPU time was taken by the host of this virtual machine",
			 100 * quiet->steal);
	else if (quiet->switches > SWITCHES_LIMIT)
		snprintf(text, sizeof(text), "pinned processes lost their CPU to others %.0f times a second", quiet->switches);
	else
		return NULL;
	return text;
}
