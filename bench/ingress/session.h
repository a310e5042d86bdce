/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One source of packets, measured: a poll process, a reader of what it publishes, and where needed a generator
 *
 * The poll process is laid out as hugebus-ingress is (options, ports, plan, worker, loop, sink: the very same
 * code) and goes through phases on one lcore, in turns:
 *
 *     BARE     receive a burst, free it
 *     TRIVIAL  receive a burst, look whether each packet is UDP for a port of ours, free it
 *     PUBLISH  the shipping loop: parse, route, publish, commit, free; nobody reads the ring at that time
 *     READ     the same, while a reliable reader on another core reads and checks every event
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bench/harness.h"
#include "bench/stats.h"

enum bench_phase { BENCH_PHASE_BARE, BENCH_PHASE_TRIVIAL, BENCH_PHASE_PUBLISH, BENCH_PHASE_READ, BENCH_N_PHASES };

enum bench_source_kind {
	BENCH_SOURCE_RING, /* the built-in generator: net_ring, fed by the poll loop itself */
	BENCH_SOURCE_PCAP, /* a capture, again and again */
	BENCH_SOURCE_PORT, /* whatever comes in at a port that the user named */
};

/* What is read out of TCP (--passive): nothing; all the way to the bus; only the poll loop's part, its copies dropped. */
enum bench_passive { BENCH_PASSIVE_NONE, BENCH_PASSIVE_ALL, BENCH_PASSIVE_LOOP };

struct bench_source {
	enum bench_source_kind kind;
	enum bench_passive passive;
	const char *device;        /* --vdev of EAL, or NULL */
	const char *iface;         /* through AF_XDP, or NULL */
	unsigned int head_size;      /* BENCH_SN_HEAD: the generator's packets are MQTT-SN */
	unsigned int payload_size; /* of the generator's packets; 0: unknown content */
	unsigned int n_flows;      /* likewise: routes, topics */
	unsigned int port;         /* the one UDP port that is routed, when the content is unknown; 0 = all */
	uint64_t n_numbers;        /* after so many packets the numbers begin again; 0: never */
	bool has_reader;           /* a core for it is there, or it was asked for */
	bool trusts_sums;
	const char *plant;         /* NULL, or what is to be wrong: "torn", "lost" */
};

struct bench_phase_samples {
	struct bench_samples rate;    /* packets a second */
	struct bench_samples cost;    /* ns a packet, of the turns that had any */
};

struct bench_session {
	struct bench_phase_samples phase[BENCH_N_PHASES];
	uint64_t n_frames;            /* received in all phases */
	uint64_t n_routed;            /* of these, while publishing */
	uint64_t n_published;
	uint64_t n_dropped;           /* of those received while publishing: for whatever reason */
	uint64_t n_missed;            /* lost before they could be received, by the port's own count */
	uint64_t n_checked;           /* events that the reader found whole and in order */
	bool is_huge;                 /* the pages that packets live on */
	char text[128];               /* of the port: device and where its filter runs */
};

/* Return: 0, or -1: a sentence is on stderr. */
int bench_session_run(const struct bench_source *source, const struct bench_cores *cores, const char *socket,
		      unsigned int n_repeats, unsigned int duration_ms, struct bench_session *ret_session);
