/* SPDX-License-Identifier: BSD-3-Clause */
/* From what a session measured to the lines of the report. See results.h. */
#include "bench/ingress/results.h"

#include <stdio.h>

static const char *const phase_names[BENCH_N_PHASES] = {
	[BENCH_PHASE_BARE] = "bare receive loop: receive, free",
	[BENCH_PHASE_TRIVIAL] = "same loop with a trivial parse",
	[BENCH_PHASE_PUBLISH] = "the shipping loop",
	[BENCH_PHASE_READ] = "the shipping loop, read and checked",
};

struct bench_result *bench_results_add(struct bench_results *results, const char *name, const char *title,
				       const struct bench_samples *value, const struct bench_samples *limit,
				       const char *limit_name, bool is_cost)
{
	static struct bench_result spare;
	struct bench_result *result = results->n < BENCH_INGRESS_RESULTS_MAX ? &results->at[results->n] : &spare;

	if (result != &spare) {
		snprintf(results->names[results->n], sizeof(results->names[0]), "%s%s", name, is_cost ? ".cost" : "");
		snprintf(results->titles[results->n], sizeof(results->titles[0]), "%s%s", title,
			 is_cost ? ", cost" : "");
		result->name = results->names[results->n];
		result->title = results->titles[results->n++];
	}
	result->is_lower_better = is_cost;
	result->unit = is_cost ? "ns" : "packets/s";
	result->unit_short = is_cost ? "ns" : "/s";
	result->value = *value;
	result->has_failed = value->n == 0;
	if (!limit)
		return result;
	result->limit = *limit;
	result->limit_name = limit_name;
	for (unsigned int i = 0; i < value->n && i < limit->n; i++) {
		bench_samples_add(&result->ratio, limit->value[i] > 0 ? value->value[i] / limit->value[i] : 0);
		if (is_cost)
			bench_samples_add(&result->above, value->value[i] - limit->value[i]);
	}
	return result;
}

void bench_results_add_phase(struct bench_results *results, const char *name, const char *title,
			     const struct bench_session *session, enum bench_phase phase, enum bench_phase limit)
{
	const struct bench_phase_samples *a = &session->phase[phase], *b = &session->phase[limit];

	(void)bench_results_add(results, name, title, &a->rate, &b->rate, phase_names[limit], false);
	(void)bench_results_add(results, name, title, &a->cost, &b->cost, phase_names[limit], true);
}

void bench_results_fail(struct bench_result *result, const char *reason)
{
	result->has_failed = true;
	snprintf(result->reason, sizeof(result->reason), "%s", reason[0] ? reason : "one of its processes ended early");
}

void bench_results_add_failed(struct bench_results *results, const char *name, const char *title)
{
	static const struct bench_samples none;

	bench_results_fail(bench_results_add(results, name, title, &none, NULL, NULL, false), bench_blame_text());
}
