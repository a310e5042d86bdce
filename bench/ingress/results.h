/* SPDX-License-Identifier: BSD-3-Clause */
/* From what a session measured to the lines of the report. */
#pragma once

#include "bench/ingress/session.h"
#include "bench/report.h"

#define BENCH_INGRESS_RESULTS_MAX 48u

struct bench_results {
	struct bench_result at[BENCH_INGRESS_RESULTS_MAX];
	char names[BENCH_INGRESS_RESULTS_MAX][48];
	char titles[BENCH_INGRESS_RESULTS_MAX][64];
	unsigned int n;
};

/* A line for one kind of figure. @limit: may be NULL. Return: the line, for what else is to be said. */
struct bench_result *bench_results_add(struct bench_results *results, const char *name, const char *title,
				       const struct bench_samples *value, const struct bench_samples *limit,
				       const char *limit_name, bool is_cost);
/* Two lines for a phase, rate and cost, beside the phase that is its limit. */
void bench_results_add_phase(struct bench_results *results, const char *name, const char *title,
			     const struct bench_session *session, enum bench_phase phase, enum bench_phase limit);
/* It has failed, for @reason; what was measured before stands. */
void bench_results_fail(struct bench_result *result, const char *reason);
/* What could not be measured, for what was blamed. */
void bench_results_add_failed(struct bench_results *results, const char *name, const char *title);
