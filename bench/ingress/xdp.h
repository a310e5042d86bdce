/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the XDP filter costs: packets that it drops, in BPF_PROG_TEST_RUN and under a load made in the kernel
 *
 * Needs root: it loads the program, and makes a veth pair in a network namespace that nobody else sees.
 */
#pragma once

#include "bench/blame.h"
#include "bench/harness.h"
#include "bench/stats.h"

/* The test runs, live frames, a veth pair. */
enum bench_xdp_way { BENCH_XDP_TEST_RUN, BENCH_XDP_LIVE, BENCH_XDP_VETH, BENCH_N_XDP_WAYS };

struct bench_xdp {
	struct bench_samples bare_ns;     /* a program that drops at once, in the same test run */
	struct bench_samples unwanted_ns; /* ours: routed to a topic that nobody wants */
	struct bench_samples denied_ns;   /* ours: from a source that a rule denies */
	struct bench_samples live_bare_rate; /* frames of the kernel dropped a second, with no device before the program */
	struct bench_samples live_rate;
	struct bench_samples bare_rate;   /* dropped a second while the same core generates them and carries them over veth */
	struct bench_samples unwanted_rate;
	char reason[BENCH_N_XDP_WAYS][BENCH_BLAME_MAX]; /* why it failed; what was measured before it stands */
};

/* A way that fails says so and leaves the others. Return: 0, or -1: nothing was measured, a sentence is on stderr. */
int bench_xdp_run(const struct bench_cores *cores, unsigned int payload_size, unsigned int n_repeats, unsigned int duration_ms,
		  struct bench_xdp *ret_xdp);
