/* SPDX-License-Identifier: BSD-3-Clause */
/* One result, and the repetitions of it that belong together. See report.h. */
#include <stdlib.h>

#include "bench/report.h"

enum bench_distance bench_report_distance(const struct bench_report *report, const struct bench_result *result, unsigned int i)
{
	if (!report->placement || !result->has_distance)
		return BENCH_DISTANCE_UNKNOWN;
	return bench_placement_between(report->placement, result->probe_before[i]);
}

static void take(struct bench_samples *into, const struct bench_samples *from, unsigned int i)
{
	if (i < from->n)
		bench_samples_add(into, from->value[i]);
}

unsigned int bench_report_side(const struct bench_report *report, const struct bench_result *result, enum bench_distance distance,
			       struct bench_result *ret_side)
{
	static const struct bench_samples none;
	unsigned int n = 0;

	*ret_side = *result;
	ret_side->value = ret_side->limit = ret_side->ratio = none;
	ret_side->p99 = ret_side->limit_p99 = ret_side->p99_ratio = none;
	ret_side->above = ret_side->total = none;
	for (unsigned int i = 0; i < BENCH_REPEATS_MAX; i++)
		ret_side->histogram[i] = NULL;
	for (unsigned int i = 0; i < result->value.n; i++) {
		if (bench_report_distance(report, result, i) != distance)
			continue;
		take(&ret_side->value, &result->value, i);
		take(&ret_side->limit, &result->limit, i);
		take(&ret_side->ratio, &result->ratio, i);
		take(&ret_side->p99, &result->p99, i);
		take(&ret_side->limit_p99, &result->limit_p99, i);
		take(&ret_side->p99_ratio, &result->p99_ratio, i);
		take(&ret_side->above, &result->above, i);
		take(&ret_side->total, &result->total, i);
		ret_side->probe_before[n] = result->probe_before[i];
		ret_side->histogram[n++] = result->histogram[i];
	}
	return n;
}

bool bench_result_histogram(const struct bench_result *result, struct bench_histogram *ret_histogram)
{
	*ret_histogram = (struct bench_histogram){0};
	for (unsigned int i = 0; i < BENCH_REPEATS_MAX; i++)
		if (result->histogram[i])
			bench_histogram_merge(ret_histogram, result->histogram[i]);
	return ret_histogram->n > 0;
}

void bench_result_fail(struct bench_result *result, unsigned int repeat, unsigned int n_repeats)
{
	const char *text = bench_blame_text();

	result->has_failed = true;
	if (n_repeats > 1)
		snprintf(result->reason, sizeof(result->reason), "repetition %u: %s", repeat + 1, text[0] ? text : "nothing came");
	else
		snprintf(result->reason, sizeof(result->reason), "%s", text[0] ? text : "nothing came");
}

void bench_result_deinit(struct bench_result *result)
{
	for (unsigned int i = 0; i < BENCH_REPEATS_MAX; i++) {
		free(result->histogram[i]);
		result->histogram[i] = NULL;
	}
}
