/* SPDX-License-Identifier: BSD-3-Clause */
/* The same work for all peers. */
#pragma once

#include "bench/harness.h"
#include "bench/peers/peer.h"

/* Events a second that the subscriber read whole and in order. 0 = failed. */
double peers_throughput(struct bench_run *run, const struct bench_cores *cores, const struct peer *peer, unsigned int size);
/* Round trip of one event, ns: median; run->shared->histogram holds the rest. 0 = failed. */
double peers_round_trip(struct bench_run *run, const struct bench_cores *cores, const struct peer *peer, unsigned int size);
