/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lwIP between the wire and the clients: its interfaces, its clock, its listeners, its limits.
 *
 * Debian's liblwip is built for threads, but needs none: here lwip_init() is called in place of
 * tcpip_init(), and one thread does everything, timers included, so no lock is ever contended.
 *
 * Each address of the stack is a network interface of lwIP's with a listener, since lwIP knows one
 * IPv4 address for each. It is given only what hbus_claim_find() has found, and answers where it is
 * spoken from (neighbour.h).
 *
 * There is one stack in a process, as lwIP's state is global. Thread: the stack's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tcp/counters.h"
#include "dataplane/tcp/wire.h"

struct hbus_demux;
struct hbus_stack;
struct tcp_pcb;

/* ---- limits ---------------------------------------------------------------------------- */

#define HBUS_STACK_HALF_OPEN_MAX 256U
/* Segments out of order that a connection keeps: lwIP walks them for each that comes. */
#define HBUS_STACK_LATE_MAX 512U

/* ---- types ----------------------------------------------------------------------------- */

struct hbus_stack_options {
	const struct hbus_claim *claim;      /* the addresses; borrowed */
	uint8_t prefix_lens[HBUS_STACK_ADDRS_MAX];
	uint8_t macs[HBUS_STACK_ADDRS_MAX][6];
	uint16_t mtus[HBUS_STACK_ADDRS_MAX];
	uint16_t tcp_port;
	uint32_t connections_max;
	bool finishes_sums;          /* what senders left to hardware is taken */
	uint64_t secret[2];          /* unpredictable */
	/* A connection is there, and may be put into @demux. Return: false to refuse it. */
	bool (*accept)(void *context, struct hbus_demux *demux, struct tcp_pcb *pcb);
	void *context;
};

/* ---- functions ------------------------------------------------------------------------- */

/* Announces the addresses and listens. @wire: borrowed. Return: 0 or -errno. */
int hbus_stack_new(const struct hbus_stack_options *options, struct hbus_tcp_wire *wire,
		   struct hbus_tcp_counters *counters, struct hbus_stack **ret_stack);
/* What the clients still have is given up. Accepts NULL and returns NULL. */
struct hbus_stack *hbus_stack_free(struct hbus_stack *stack);

/* Consumes @frames. */
void hbus_stack_input(struct hbus_stack *stack, const struct hbus_tcp_wire_frame *frames, unsigned int n,
		      uint64_t now_ms);
/* Runs what is due. Often: lwIP's clock has no other. */
void hbus_stack_tick(struct hbus_stack *stack, uint64_t now_ms);
/* No more connections from now on. */
void hbus_stack_deafen(struct hbus_stack *stack);
/* Connections in whatever state, but for those that are over. */
unsigned int hbus_stack_n_open(const struct hbus_stack *stack);

/* ---- mend.c ----------------------------------------------------------------------------- */

/* Initial sequence numbers as RFC 6528 wants them; lwIP's own can be guessed. */
void hbus_isn_init(const uint64_t secret[2]);
