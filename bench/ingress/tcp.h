/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MQTT over the TCP stack of the ingress, beside hugebus-mqtt on kernel sockets: the same load on the same host
 *
 * Needs root: it makes two network namespaces with a pair of interfaces for each of the two, one with the offloads that
 * the kernel has, one without the transmit checksum that nobody there would finish. Whoever is not measured is stopped.
 */
#pragma once

#include "bench/blame.h"
#include "bench/harness.h"
#include "bench/stats.h"

enum bench_tcp_case { BENCH_TCP_QOS0, BENCH_TCP_QOS1, BENCH_TCP_LARGE, BENCH_TCP_ROUND_TRIP, BENCH_N_TCP_CASES };

struct bench_tcp_result {
	const char *name;     /* for programs */
	const char *title;
	bool is_latency;      /* ns, and not messages/s */
	struct bench_samples stack, kernel;
	uint64_t n_sent, n_lost; /* of QoS 0, by the stack: who takes too slowly, or waits for a frame that was lost, misses some */
	bool has_failed;
	char reason[BENCH_BLAME_MAX]; /* of that; what was measured before it stands */
};

struct bench_tcp {
	struct bench_tcp_result at[BENCH_N_TCP_CASES];
};

/*
 * A case that fails says so and leaves the others. Return: 0; -1 with a sentence on stderr: those without samples were
 * not measured; 1: it cannot be measured here, with a sentence likewise.
 */
int bench_tcp_run(const struct bench_cores *cores, const char *socket, unsigned int n_repeats, unsigned int duration_ms,
		  struct bench_tcp *ret_tcp);
