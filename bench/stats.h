/* SPDX-License-Identifier: BSD-3-Clause */
/* Samples and what is said of them: medians, spread, percentiles. Never the best of N. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BENCH_REPEATS_MAX 64u

/* One figure per repetition. */
struct bench_samples {
	double value[BENCH_REPEATS_MAX];
	unsigned int n;
};

void bench_samples_add(struct bench_samples *samples, double value);
double bench_samples_median(const struct bench_samples *samples);
/* Half the distance between the quartiles, as a fraction of the median. */
double bench_samples_spread(const struct bench_samples *samples);

/*
 * Durations in ns: buckets with 64 steps in each power of two, so an error below 1.6 %, up to 2^40 ns.
 * Fixed size, no allocation.
 */
#define BENCH_HISTOGRAM_STEPS 64u
#define BENCH_HISTOGRAM_BUCKETS (41u * BENCH_HISTOGRAM_STEPS)

struct bench_histogram {
	uint64_t count[BENCH_HISTOGRAM_BUCKETS];
	uint64_t n;
	uint64_t max;
};

void bench_histogram_add(struct bench_histogram *histogram, uint64_t ns);

/**
 * bench_histogram_correct() - @measured, and what a stall kept from being measured
 * @expected: the interval at which requests would have come, ns
 *
 * Where the next request waits for the answer to the last, a long answer is one sample; requests that came regularly would
 * have waited for the rest of it. So for each sample of @measured above @expected one less by @expected, one less by twice
 * that, and so on as long as they are not below @expected (coordinated omission). @expected 0: a copy.
 */
void bench_histogram_correct(const struct bench_histogram *measured, uint64_t expected, struct bench_histogram *ret_corrected);
void bench_histogram_merge(struct bench_histogram *into, const struct bench_histogram *from);
/* @fraction: 0.5 for the median, 0.9999... 0 when there are no samples. */
uint64_t bench_histogram_percentile(const struct bench_histogram *histogram, double fraction);
