/* SPDX-License-Identifier: BSD-3-Clause */
/* What a measurement found, as a table for people and as JSON for programs. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "bench/blame.h"
#include "bench/harness.h"
#include "bench/placement.h"
#include "bench/stats.h"

struct bench_result {
	const char *name;          /* stable, for programs: "throughput.64.batch" */
	const char *title;         /* for people */
	const char *unit;          /* "events/s", "ns" */
	const char *unit_short;    /* for the table; NULL: "/s" or "ns" */
	char note[160];            /* what else is to be said of it, or empty */
	const char *limit_name;    /* what the probe does */
	bool is_lower_better;
	bool is_oversubscribed;    /* more processes than CPUs */
	bool has_failed;
	char reason[BENCH_BLAME_MAX + 20]; /* why it has failed, and in which repetition; or empty */
	bool has_distance;         /* what it measures goes between the first two CPUs */
	bool is_closed_loop;       /* each request waited for the answer to the last: see bench_histogram_correct() */
	struct bench_samples value;
	struct bench_samples limit;
	struct bench_samples ratio; /* value / limit, of the same repetition */
	struct bench_samples p99;       /* latencies: of each repetition, */
	struct bench_samples limit_p99; /* and of its probe, */
	struct bench_samples p99_ratio; /* and the one by the other */
	struct bench_samples above; /* value - limit, where that says more than the ratio */
	struct bench_samples total; /* what else was measured at once: of broadcast, all subscribers together */
	const char *total_name;    /* NULL: "all readers" */
	struct bench_histogram *histogram[BENCH_REPEATS_MAX]; /* latencies, of each repetition; or NULL */
	unsigned int probe_before[BENCH_REPEATS_MAX];         /* of the placement, of each repetition */
};

struct bench_report {
	const struct bench_cores *cores;
	const char *page_size;     /* of the rings */
	const struct bench_quiet *quiet;
	const struct bench_placement *placement; /* or NULL */
	double seconds;
	unsigned int n_repeats;
	struct bench_result *results;
	unsigned int n_results;
};

/* How far the first two CPUs were from each other in repetition @i of @result. */
enum bench_distance bench_report_distance(const struct bench_report *report, const struct bench_result *result, unsigned int i);
/* Those repetitions of @result that were at @distance. Return: how many; *ret_side shares the histograms. */
unsigned int bench_report_side(const struct bench_report *report, const struct bench_result *result, enum bench_distance distance,
			       struct bench_result *ret_side);
/* All latencies of @result. Return: false when it has none. */
bool bench_result_histogram(const struct bench_result *result, struct bench_histogram *ret_histogram);
/* It has failed in its @repeat-th repetition of @n_repeats (0, 1, ...), for what was blamed; others go on. */
void bench_result_fail(struct bench_result *result, unsigned int repeat, unsigned int n_repeats);
void bench_result_deinit(struct bench_result *result);

void bench_report_table(const struct bench_report *report, FILE *out);
/* Return: 0 or -1. */
int bench_report_json(const struct bench_report *report, FILE *out);
