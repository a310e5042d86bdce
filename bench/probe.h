/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Physical limits, measured in the same second as what they limit
 *
 * Each is the least that two cores must do to move the same bytes: no header, no topic, no check, no crash
 * safety. What hugebus reaches is given as a ratio to it.
 */
#pragma once

#include "bench/harness.h"

/* Items a second that one core writes whole and another reads whole, through one buffer. 0 = failed. */
double bench_probe_stream(struct bench_run *run, const struct bench_cores *cores, unsigned int size);
/* Round trip of one message of @n_lines cache lines, ns: median; p99 in *ret_p99. 0 = failed. */
double bench_probe_ping_pong(struct bench_run *run, const struct bench_cores *cores, unsigned int n_lines, uint64_t *ret_p99);
/* One way from a futex wake to the sleeper's first instruction, at this interval, ns. 0 = failed. */
double bench_probe_futex(struct bench_run *run, const struct bench_cores *cores, unsigned int interval_us);
