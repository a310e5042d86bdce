/* SPDX-License-Identifier: BSD-3-Clause */
/* What hugebus does between processes, through its public interface only. */
#pragma once

#include "bench/harness.h"

enum bench_publish_mode {
	BENCH_SINGLE, /* one publish call and one record an event */
	BENCH_BATCH,  /* batches of records */
	BENCH_RUN,    /* run records */
	BENCH_PLACE,  /* one by one, written in place */
	BENCH_RUN_PLACE,
};

/*
 * A fault that the checks must find: a case with a torn or a lost event fails. STALL: the one that is woken, and the one that
 * sends back, does nothing for BENCH_STALL_NS once; the percentiles must show it.
 */
enum bench_plant { BENCH_PLANT_NONE, BENCH_PLANT_TORN, BENCH_PLANT_LOST, BENCH_PLANT_STALL, BENCH_PLANT_KILLED };
#define BENCH_STALL_NS 20000000u

struct bench_case_params {
	enum bench_publish_mode mode;
	unsigned int size;          /* bytes of an event */
	unsigned int batch;         /* events a batch or run */
	unsigned int n_publishers;
	unsigned int n_subscribers;
	unsigned int interval_us;   /* wake: between events */
	unsigned int n_stopped;     /* lossy subscribers that are stopped before it begins */
	enum bench_plant plant;
};

/* Events a second that every subscriber received whole and in order (the slowest's rate); total in *ret_total. 0 = failed. */
double bench_case_throughput(struct bench_run *run, const struct bench_cores *cores, const struct bench_case_params *params,
			     double *ret_total);
/* Round trip of one event, ns: median; the run's histogram holds the rest. 0 = failed. */
double bench_case_ping_pong(struct bench_run *run, const struct bench_cores *cores, const struct bench_case_params *params);
/* One way to a sleeping subscriber, ns: median. 0 = failed. */
double bench_case_wake(struct bench_run *run, const struct bench_cores *cores, const struct bench_case_params *params);

/* -- life.c: beginning, waiting, doing nothing; 0 = failed -- */

/* From opening a publisher in a new process until its first event is seen, ns: median; the histogram has the rest. */
double bench_case_open_first(struct bench_run *run, const struct bench_cores *cores);
/* The same in a process that has published before. */
double bench_case_open_again(struct bench_run *run, const struct bench_cores *cores);
/* From opening a subscriber on a busy topic until its first event is seen, ns: median; likewise. */
double bench_case_attach(struct bench_run *run, const struct bench_cores *cores);
/*
 * System calls an event, of a thread that publishes and reads while nobody sleeps, by ptrace: of publish and poll together.
 * -1 = failed.
 */
double bench_case_calls(struct bench_run *run, const struct bench_cores *cores);
/*
 * CPU time of a process that waits for events that do not come, as a share of a core in percent, and that of the
 * daemon meanwhile (0 when @daemon_pid is). -1 = failed.
 */
double bench_case_idle(struct bench_run *run, const struct bench_cores *cores, int daemon_pid, double *ret_daemon);
