/* SPDX-License-Identifier: BSD-3-Clause */
/* What hugebus does between processes, through its public interface only. */
#pragma once

#include "bench/harness.h"

enum bench_publish_mode {
	BENCH_SINGLE, /* one publish call and one record an event */
	BENCH_BATCH,  /* batches of records */
	BENCH_RUN,    /* run records */
};

struct bench_case_params {
	enum bench_publish_mode mode;
	unsigned int size;          /* bytes of an event */
	unsigned int batch;         /* events a batch or run */
	unsigned int n_publishers;
	unsigned int n_subscribers;
	unsigned int interval_us;   /* wake: between events */
};

/* Events a second that every subscriber received whole and in order (the slowest's rate); total in *ret_total. 0 = failed. */
double bench_case_throughput(struct bench_run *run, const struct bench_cores *cores, const struct bench_case_params *params,
			     double *ret_total);
/* Round trip of one event, ns: median; the run's histogram holds the rest. 0 = failed. */
double bench_case_ping_pong(struct bench_run *run, const struct bench_cores *cores, const struct bench_case_params *params);
/* One way to a sleeping subscriber, ns: median. 0 = failed. */
double bench_case_wake(struct bench_run *run, const struct bench_cores *cores, const struct bench_case_params *params);
