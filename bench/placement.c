/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether the first two CPUs stayed where they were. See placement.h. */
#include "bench/placement.h"

#include <math.h>
#include <stdlib.h>

#include "bench/probe.h"

#define PROBE_MS 3u
/* Two distances differ by this much; what a machine does to one of them does not. */
#define RATIO_MIN 1.5
/* A distance has been there more than once: this part of the probes, and at least so many. */
#define SHARE_MIN 0.02
#define N_MIN 2u
/* A probe with fewer round trips was not alone. */
#define TRIPS_MIN 100u

unsigned int bench_placement_add(struct bench_placement *placement, double ns)
{
	if (placement->n == placement->room) {
		unsigned int room = placement->room ? 2 * placement->room : 256;
		double *probe = realloc(placement->probe, room * sizeof(*probe));

		if (!probe)
			return placement->n ? placement->n - 1 : 0;
		placement->probe = probe;
		placement->room = room;
	}
	placement->probe[placement->n] = ns;
	return placement->n++;
}

unsigned int bench_placement_probe(struct bench_placement *placement, struct bench_run *run, const struct bench_cores *cores)
{
	unsigned int duration_ms = run->duration_ms;
	uint64_t n_switches = run->n_switches, p99;
	double ns = 0;

	if (cores->n >= 2) {
		run->duration_ms = PROBE_MS;
		ns = bench_probe_ping_pong(run, cores, 1, &p99);
		if (run->shared->histogram.n < TRIPS_MIN)
			ns = 0;
		run->duration_ms = duration_ms;
		run->n_switches = n_switches;
	}
	return bench_placement_add(placement, ns);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double middle(const double *sorted, unsigned int n)
{
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* Sum of the squared distances of @n values from their mean. */
static double scatter(double sum, double squares, unsigned int n)
{
	return squares - sum * sum / n;
}

/* Where to part @sorted so that the logarithms of both parts scatter least. Return: how many are in the first. @n: at least 2. */
static unsigned int part(const double *sorted, unsigned int n)
{
	double sum = 0, squares = 0, low = 0, low_squares = 0, least = INFINITY;
	unsigned int best = 1;

	for (unsigned int i = 0; i < n; i++) {
		sum += log(sorted[i]);
		squares += log(sorted[i]) * log(sorted[i]);
	}
	for (unsigned int i = 1; i < n; i++) {
		double both;

		low += log(sorted[i - 1]);
		low_squares += log(sorted[i - 1]) * log(sorted[i - 1]);
		both = scatter(low, low_squares, i) + scatter(sum - low, squares - low_squares, n - i);
		if (both < least) {
			least = both;
			best = i;
		}
	}
	return best;
}

/* The known probes in order. Return: how many; *ret_sorted is to be freed. */
static unsigned int sort_known(const struct bench_placement *placement, double **ret_sorted)
{
	unsigned int n = 0;

	*ret_sorted = calloc(placement->n + 1, sizeof(**ret_sorted));
	if (!*ret_sorted)
		return 0;
	for (unsigned int i = 0; i < placement->n; i++)
		if (placement->probe[i] > 0)
			(*ret_sorted)[n++] = placement->probe[i];
	qsort(*ret_sorted, n, sizeof(**ret_sorted), compare_doubles);
	return n;
}

void bench_placement_judge(struct bench_placement *placement)
{
	double *all, *sorted;
	unsigned int n = sort_known(placement, &all), n_low = n;
	double few = SHARE_MIN * n > N_MIN ? SHARE_MIN * n : N_MIN;

	placement->is_moving = false;
	sorted = all;
	while (n >= 2 * few) {
		n_low = part(sorted, n);
		if (n_low >= few && n - n_low >= few) {
			placement->is_moving = middle(sorted + n_low, n - n_low) >= RATIO_MIN * middle(sorted, n_low);
			break;
		}
		/* Single ones are no distance: without them. */
		if (n_low < few) {
			sorted += n_low;
			n -= n_low;
		} else {
			n = n_low;
		}
	}
	if (!placement->is_moving)
		n_low = n;
	placement->n_near = n_low;
	placement->n_far = n - n_low;
	placement->near_ns = n_low ? middle(sorted, n_low) : 0;
	placement->far_ns = placement->is_moving ? middle(sorted + n_low, n - n_low) : placement->near_ns;
	placement->boundary_ns = placement->is_moving ? sqrt(sorted[n_low - 1] * sorted[n_low]) : 0;
	free(all);
}

enum bench_distance bench_placement_between(const struct bench_placement *placement, unsigned int before)
{
	double a, b;

	if (placement->near_ns <= 0 || before + 1 >= placement->n)
		return BENCH_DISTANCE_UNKNOWN;
	if (!placement->is_moving)
		return BENCH_DISTANCE_SAME;
	a = placement->probe[before];
	b = placement->probe[before + 1];
	if (a <= 0 || b <= 0)
		return BENCH_DISTANCE_UNKNOWN;
	if ((a < placement->boundary_ns) != (b < placement->boundary_ns))
		return BENCH_DISTANCE_MOVED;
	return a < placement->boundary_ns ? BENCH_DISTANCE_NEAR : BENCH_DISTANCE_FAR;
}

const char *bench_distance_name(enum bench_distance distance)
{
	static const char *const names[] = {
		[BENCH_DISTANCE_UNKNOWN] = "unknown", [BENCH_DISTANCE_SAME] = "same", [BENCH_DISTANCE_NEAR] = "near",
		[BENCH_DISTANCE_FAR] = "far", [BENCH_DISTANCE_MOVED] = "moved",
	};

	return names[distance];
}

void bench_placement_deinit(struct bench_placement *placement)
{
	free(placement->probe);
	*placement = (struct bench_placement){0};
}
