/* SPDX-License-Identifier: BSD-3-Clause */
/* The measurements of `hugebus bench`: which there are, and how each is made beside its limit. */
#pragma once

#include "bench/cases.h"
#include "bench/report.h"

enum bench_kind {
	BENCH_THROUGHPUT,      /* beside streaming between two cores */
	BENCH_THROUGHPUT_WALK, /* small records one by one: beside the walk by one thread x the streaming share */
	BENCH_PING_PONG,
	BENCH_WAKE,
	BENCH_STOPPED_RATE,    /* beside the same without the stopped reader */
	BENCH_STOPPED_P99,
	BENCH_OPEN_FIRST,
	BENCH_OPEN_AGAIN,
	BENCH_ATTACH,
	BENCH_IDLE,            /* beside the daemon's own */
	BENCH_CALLS,
	BENCH_MACHINE_COPIED,  /* of the machine itself, beside streaming: what copying costs, */
	BENCH_MACHINE_RECORDS, /* what showing each item by itself costs, */
	BENCH_MACHINE_MOVING,  /* and beside the ping-pong: what lines cost that move, */
	BENCH_MACHINE_TURNS,   /* and the same with a few lines in turn */
	BENCH_MACHINE_WALK,    /* of the machine itself, without a limit */
	BENCH_MACHINE_STREAM,
	BENCH_MACHINE_MEMCPY,
	BENCH_MACHINE_EVENTFD,
};

/* One line of the report. */
struct bench_measure {
	const char *name; /* stable, for programs */
	const char *title;
	enum bench_kind kind;
	struct bench_case_params params;
};

extern const struct bench_measure bench_measures[];
extern const unsigned int bench_n_measures;

/* What stays the same for all measurements of a run. */
struct bench_stage {
	struct bench_run *run;
	const struct bench_cores *cores;
	int daemon_pid;          /* of the private bus, or 0 */
	enum bench_plant plant;
};

void bench_result_init(struct bench_result *result, const struct bench_measure *measure, const struct bench_stage *stage);
/* One repetition between two probes of the placement; limit and value take turns in being first, so that a drift of the machine favours neither. */
void bench_measure_once(const struct bench_measure *measure, const struct bench_stage *stage, unsigned int repeat,
			struct bench_result *result);
