/* SPDX-License-Identifier: BSD-3-Clause */
/* What a measurement found, as a table for people and as JSON for programs. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "bench/harness.h"
#include "bench/stats.h"

struct bench_result {
	const char *name;          /* stable, for programs: "throughput.64.batch" */
	const char *title;         /* for people */
	const char *unit;          /* "events/s", "ns" */
	const char *unit_short;    /* for the table; NULL: "ev/s" or "ns" */
	char note[160];            /* what else is to be said of it, or empty */
	const char *limit_name;    /* what the probe does */
	bool is_lower_better;
	bool is_oversubscribed;    /* more processes than CPUs */
	bool has_failed;
	struct bench_samples value;
	struct bench_samples limit;
	struct bench_samples ratio; /* value / limit, of the same repetition */
	struct bench_samples p99;       /* latencies: of each repetition, */
	struct bench_samples limit_p99; /* and of its probe, */
	struct bench_samples p99_ratio; /* and the one by the other */
	struct bench_samples above; /* value - limit, where that says more than the ratio */
	struct bench_samples total; /* what else was measured at once: of broadcast, all subscribers together */
	const char *total_name;    /* NULL: "all readers" */
	struct bench_histogram *histogram; /* latencies of all repetitions, or NULL */
};

struct bench_report {
	const struct bench_cores *cores;
	const char *page_size;     /* of the rings */
	double noise;              /* CPU share of others before the run, 0..1; when quiet is NULL */
	const struct bench_quiet *quiet; /* or NULL */
	double seconds;
	unsigned int n_repeats;
	struct bench_result *results;
	unsigned int n_results;
};

void bench_report_table(const struct bench_report *report, FILE *out);
/* Return: 0 or -1. */
int bench_report_json(const struct bench_report *report, FILE *out);
