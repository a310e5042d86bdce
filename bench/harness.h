/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two to many pinned processes that start together
 *
 * A run forks one process a role, pins each to a core, lets them prepare, starts them at one
 * barrier, and gathers what they wrote into shared memory. Roles that fail or hang are ended; a run is
 * bounded in time.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/stats.h"

#define BENCH_ROLES_MAX 32u

/* What the roles of one run share. */
struct bench_shared {
	_Atomic uint32_t n_ready;
	_Atomic uint32_t go;
	_Atomic uint32_t stop;
	_Atomic uint64_t total;  /* publisher: how many there are; 0 = not known yet */
	_Atomic uint64_t begin_ns;
	_Atomic uint64_t n_prepared; /* how often roles lost their CPU before they started: that is nobody's noise */
	struct {
		_Atomic uint64_t value[8];
	} role[BENCH_ROLES_MAX];
	struct bench_histogram histogram;
};

struct bench_run;

/* Runs in a process of its own. Return: 0, or an exit code that fails the run. */
typedef int (*bench_role_fn)(struct bench_run *run, unsigned int role);

struct bench_role {
	bench_role_fn fn;
	int core; /* or -1 */
};

struct bench_run {
	struct bench_shared *shared;
	struct bench_role role[BENCH_ROLES_MAX];
	unsigned int n_roles;
	unsigned int duration_ms;
	const char *socket; /* of the private bus, or NULL */
	const void *params; /* the case's own */
	uint64_t n_switches; /* how often roles lost their CPU to somebody, in all runs so far */
};

/* Return: 0; -1 = a role failed or did not end in time (a sentence is on stderr). */
int bench_run_roles(struct bench_run *run);
/* Called by each role once it is prepared; returns when all are. */
void bench_barrier(struct bench_run *run);
bool bench_is_over(struct bench_run *run);

uint64_t bench_now_ns(void);
void bench_pause(void);
void bench_pin(int core);

/* -- cores -- */
struct bench_cores {
	int core[BENCH_ROLES_MAX]; /* those that this process may use, in the order to take them */
	unsigned int n;
	bool are_siblings; /* the first two share a physical core */
	char text[128];    /* for people */
	int shared_level;  /* of the smallest cache that the first two share; 0: none, or the kernel does not say */
	bool are_one_node; /* of the first two: likewise */
};
void bench_cores_find(struct bench_cores *cores);
/* Share of time that the first cores were taken from us or used by others in the last @ms; 0..1. */
double bench_noise(unsigned int ms);

/* How quiet the machine was, before and while something was measured. */
struct bench_quiet {
	double busy;          /* share of CPU time that others used before, 0..1 */
	double steal;         /* share that the host of this machine took meanwhile, 0..1 */
	double switches;      /* a second, by which pinned processes lost their CPU though they shared it with none of ours */
	double load;          /* of the last minute, before */
	uint64_t steal_ticks; /* until the end */
	uint64_t all_ticks;
	uint64_t begin_ns;
};

/* Takes 300 ms. */
void bench_quiet_begin(struct bench_quiet *quiet);
/* @n_switches: of the runs whose processes had a core each; @seconds: how long those ran. */
void bench_quiet_end(struct bench_quiet *quiet, uint64_t n_switches, double seconds);
/* Return: NULL, or why figures of this run are not to be trusted: one sentence in a static buffer. */
const char *bench_quiet_warning(const struct bench_quiet *quiet);

/* -- programs of this project -- */

/*
 * Writes the path of program @name: in the directory @in_build, seen from this program's own in the build tree, or where
 * an installation has it; else its bare name, to be looked for on the path.
 */
void bench_find_program(const char *name, const char *in_build, char *path, size_t size);

/* -- a private bus -- */
struct bench_bus {
	int pid;
	char directory[64];
	char socket[96];
	sigset_t signals; /* as they were before bench_bus_hold() */
	bool is_held;
};

/* Before bench_bus_start(): SIGINT, SIGTERM and SIGHUP wait until bench_bus_measure() takes them, or bench_bus_stop(). */
void bench_bus_hold(struct bench_bus *bus);
int bench_bus_start(struct bench_bus *bus);
void bench_bus_stop(struct bench_bus *bus);
/* What pages a ring of the bus at @socket gets now: "2 MiB" or "4 KiB". In pages.c. */
const char *bench_page_size(const char *socket);
/* Is there a bus? If not a sentence is on stderr. In pages.c. */
bool bench_answers(const char *socket);
/*
 * Measures in a child, so that whatever ends it, SIGINT and SIGTERM to us too, the bus can be stopped afterwards.
 * Return: the exit code.
 */
int bench_bus_measure(const struct bench_bus *bus, int (*measure)(const struct bench_bus *bus, void *context), void *context);
