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
/* The same when each item is filled in private memory and then copied: the most that a publish by copy could do. */
double bench_probe_stream_copied(struct bench_run *run, const struct bench_cores *cores, unsigned int size);
/* The same in place, but each item is shown by itself, by a word before it: the least that publishing one by one takes. */
double bench_probe_records(struct bench_run *run, const struct bench_cores *cores, unsigned int size);
/* Round trip of one message of @n_lines cache lines, ns: median; p99 in *ret_p99. 0 = failed. */
double bench_probe_ping_pong(struct bench_run *run, const struct bench_cores *cores, unsigned int n_lines, uint64_t *ret_p99);
/*
 * The same with @size bytes and a word before them, on lines that move as a ring's do: through @n_places, or through 2 MiB
 * when it is 0.
 */
double bench_probe_moving(struct bench_run *run, const struct bench_cores *cores, unsigned int size, unsigned int n_places,
			  uint64_t *ret_p99);
/* One way from a futex wake to the sleeper's first instruction, at this interval, ns. 0 = failed. */
double bench_probe_futex(struct bench_run *run, const struct bench_cores *cores, unsigned int interval_us);
/*
 * Records a second that one thread walks whose ring holds @size bytes each, all in its L1: load a header, add up the
 * payload, go to where the header says that the next one is. 0 = failed.
 */
double bench_probe_walk(struct bench_run *run, const struct bench_cores *cores, unsigned int size);
/*
 * What is left of that on another core's data: the walk x (streaming rate of the same bytes between two cores / rate of one
 * core that adds them up in its L1; at most 1). 0 = failed.
 */
double bench_probe_walk_streaming(struct bench_run *run, const struct bench_cores *cores, unsigned int size);
/* Bytes a second of memcpy() on one core, 64 KiB at a time in its L2. 0 = failed. */
double bench_probe_memcpy(struct bench_run *run, const struct bench_cores *cores);
/* As the futex probe, through an eventfd. 0 = failed. */
double bench_probe_eventfd(struct bench_run *run, const struct bench_cores *cores, unsigned int interval_us);
