/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether the first two CPUs stayed where they were while something was measured
 *
 * The host of a virtual machine moves its CPUs: in one second two of them share a core, in the next only a cache, and all
 * that goes between them takes several times as long. A median over both says nothing. So a short ping-pong of one cache
 * line stands before and behind each measurement; what was measured between two equal ones belongs to their distance.
 */
#pragma once

#include "bench/harness.h"

enum bench_distance {
	BENCH_DISTANCE_UNKNOWN, /* one CPU, or nothing was to be learnt */
	BENCH_DISTANCE_SAME,    /* there was only one distance in this run */
	BENCH_DISTANCE_NEAR,
	BENCH_DISTANCE_FAR,
	BENCH_DISTANCE_MOVED,   /* not the same before and behind */
};

struct bench_placement {
	double *probe; /* round trips, ns, in the order they were made; 0 = not known */
	unsigned int n, room;
	/* What bench_placement_judge() finds: */
	bool is_moving;           /* two distances */
	double near_ns, far_ns;   /* medians of the probes; equal when it is not moving; 0 = not known */
	double boundary_ns;
	unsigned int n_near, n_far; /* probes; n_far 0 when it is not moving */
};

/* Makes one more probe, in about 5 ms. Uses @run's shared part. Return: its index. */
unsigned int bench_placement_probe(struct bench_placement *placement, struct bench_run *run, const struct bench_cores *cores);
/* For whoever has the probes already. Return: its index; without memory the last one's. */
unsigned int bench_placement_add(struct bench_placement *placement, double ns);
/* After the last probe: are there two distances? */
void bench_placement_judge(struct bench_placement *placement);
/* Of what was measured between the probes @before and @before + 1. */
enum bench_distance bench_placement_between(const struct bench_placement *placement, unsigned int before);
/* "near", "far", "moved", "same", "unknown" */
const char *bench_distance_name(enum bench_distance distance);
void bench_placement_deinit(struct bench_placement *placement);
