/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The poll process of a session: EAL, ports, one lcore that polls
 *
 * Set up as dataplane/main.c sets up the ingress, with a plan of its own making instead of the pilot's.
 */
#pragma once

#include "bench/ingress/session.h"
#include "bench/ingress/stream.h"
#include "dataplane/mqttsn/door.h"
#include "dataplane/bus_sink.h"
#include "dataplane/loop.h"
#include "dataplane/passive/passive.h"
#include "dataplane/ports.h"

struct rte_mbuf;

/* What one phase came to. */
struct bench_poll_result {
	uint64_t n_frames;
	uint64_t n_turns;      /* that had frames */
	uint64_t wall_ns;
	uint64_t busy_ns;      /* of the turns that had frames */
	uint64_t n_published;
	uint64_t n_dropped;
};

struct bench_poller {
	const struct bench_source *source;
	struct hbus_ingress_options options;
	struct hbus_eal_args eal_args;
	struct hbus_ports ports;
	struct hbus_loop_shared shared;
	struct hbus_loop loop;
	struct hbus_counter_cell *cells;
	struct hbus *bus;
	struct hbus_bus_sink sink;
	struct hbus_plan *plan;
	struct hbus_sn_paths *paths; /* of MQTT-SN, or NULL */
	struct hbus_sn_door door;
	struct hbus_passive *passive; /* or NULL, */
	struct hbus_feed feed;        /* with BENCH_PASSIVE_LOOP */
	struct bench_stream stream, unread; /* what is read, and what other phases are given */
	uint64_t n_streamed;          /* messages that should come out of the streams */
	unsigned int lcore_id;
	uint64_t next_number;  /* of the generator */
	bool plants;           /* the source's fault is still to be made, */
	uint64_t plant_number; /* from this number on */
	/* of the phase under way */
	enum bench_phase phase;
	uint64_t duration_ns;
	struct bench_poll_result result;
};

/* The path of hbus_xdp.bpf.o: in the tree that this program was built in, else where it is installed. */
const char *bench_xdp_object(void);

/* @poller: zero, but for the source. Return: 0 or -1; the reason is on stderr. */
int bench_poller_init(struct bench_poller *poller, const char *socket);
/* Return: -1 when not all that went into the streams came out of them; a sentence is on stderr. */
int bench_poller_deinit(struct bench_poller *poller);
/* Polls for @duration_ms on the lcore; this thread sleeps meanwhile. */
int bench_poller_phase(struct bench_poller *poller, enum bench_phase phase, unsigned int duration_ms);
