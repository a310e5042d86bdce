/* SPDX-License-Identifier: BSD-3-Clause */
/* Samples and what is said of them. See stats.h. */
#include "bench/stats.h"

#include <stdlib.h>
#include <string.h>

void bench_samples_add(struct bench_samples *samples, double value)
{
	if (samples->n < BENCH_REPEATS_MAX)
		samples->value[samples->n++] = value;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Linear between the two neighbours. */
static double quantile(const struct bench_samples *samples, double fraction)
{
	double sorted[BENCH_REPEATS_MAX];
	double place, low;
	unsigned int i;

	if (samples->n == 0)
		return 0;
	memcpy(sorted, samples->value, samples->n * sizeof(sorted[0]));
	qsort(sorted, samples->n, sizeof(sorted[0]), compare_doubles);
	place = fraction * (samples->n - 1);
	i = (unsigned int)place;
	low = sorted[i];
	if (i + 1 >= samples->n)
		return low;
	return low + (sorted[i + 1] - low) * (place - i);
}

double bench_samples_median(const struct bench_samples *samples)
{
	return quantile(samples, 0.5);
}

double bench_samples_spread(const struct bench_samples *samples)
{
	double median = quantile(samples, 0.5);

	return median > 0 ? (quantile(samples, 0.75) - quantile(samples, 0.25)) / 2 / median : 0;
}

static unsigned int bucket_of(uint64_t ns)
{
	unsigned int shift;

	if (ns < BENCH_HISTOGRAM_STEPS)
		return (unsigned int)ns;
	shift = 63u - (unsigned int)__builtin_clzll(ns) - 6u;
	if (shift > 34)
		return BENCH_HISTOGRAM_BUCKETS - 1;
	return (shift + 1) * BENCH_HISTOGRAM_STEPS + (unsigned int)(ns >> shift) - BENCH_HISTOGRAM_STEPS;
}

/* The least in a bucket. */
static uint64_t bucket_low(unsigned int bucket)
{
	unsigned int shift = bucket / BENCH_HISTOGRAM_STEPS;
	uint64_t step = bucket % BENCH_HISTOGRAM_STEPS;

	return shift == 0 ? step : (step + BENCH_HISTOGRAM_STEPS) << (shift - 1);
}

/* The middle of a bucket. */
static uint64_t bucket_value(unsigned int bucket)
{
	unsigned int shift = bucket / BENCH_HISTOGRAM_STEPS;

	return bucket_low(bucket) + (shift == 0 ? 0 : (1ull << (shift - 1)) >> 1);
}

void bench_histogram_add(struct bench_histogram *histogram, uint64_t ns)
{
	histogram->count[bucket_of(ns)]++;
	histogram->n++;
	if (ns > histogram->max)
		histogram->max = ns;
}

/* Those between the values of two buckets at once: a stall of a second has millions at 200 ns each. */
static void add_shorter(struct bench_histogram *into, uint64_t ns, uint64_t expected, uint64_t n)
{
	while (ns >= 2 * expected) {
		unsigned int bucket = bucket_of(ns - expected);
		uint64_t low = bucket_low(bucket), steps;

		/* ns - k * expected >= low, and not below expected */
		steps = (ns - (low > expected ? low : expected)) / expected;
		into->count[bucket] += steps * n;
		into->n += steps * n;
		ns -= steps * expected;
	}
}

void bench_histogram_correct(const struct bench_histogram *measured, uint64_t expected, struct bench_histogram *ret_corrected)
{
	*ret_corrected = *measured;
	if (expected == 0)
		return;
	for (unsigned int i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++)
		if (measured->count[i])
			add_shorter(ret_corrected, bucket_value(i) < measured->max ? bucket_value(i) : measured->max, expected,
				    measured->count[i]);
}

void bench_histogram_merge(struct bench_histogram *into, const struct bench_histogram *from)
{
	for (unsigned int i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++)
		into->count[i] += from->count[i];
	into->n += from->n;
	if (from->max > into->max)
		into->max = from->max;
}

uint64_t bench_histogram_percentile(const struct bench_histogram *histogram, double fraction)
{
	uint64_t seen = 0, wanted;

	if (histogram->n == 0)
		return 0;
	wanted = (uint64_t)(fraction * (double)histogram->n);
	if (wanted >= histogram->n)
		wanted = histogram->n - 1;
	for (unsigned int i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++) {
		seen += histogram->count[i];
		if (seen > wanted)
			return bucket_value(i) < histogram->max ? bucket_value(i) : histogram->max;
	}
	return histogram->max;
}
