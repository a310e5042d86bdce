/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stack's end of the ports: frames from the taps of the poll loops, frames to the send queues.
 *
 * DPDK on one side, none of its types on the other: lwIP and DPDK each define struct ip6_hdr, so no
 * file can include both.
 *
 * Thread: new, free and tap are the control thread's, the rest is the stack's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/tcp/claim.h"
#include "dataplane/tcp/counters.h"

struct hbus_ports;
struct hbus_tap;
struct hbus_tcp_wire;

/* ---- limits ---------------------------------------------------------------------------- */

#define HBUS_TCP_WIRE_BURST 64U
/* Bytes that a frame has for its user, in front of it. */
#define HBUS_TCP_WIRE_NOTE_SIZE 96U
/* Buffers of the ports' pool that may stay with the stack; beyond it frames are copied. */
#define HBUS_TCP_WIRE_LENT_MAX 1024U
/* What taps, lent buffers and send queues take from that pool beyond what the ports need. */
#define HBUS_TCP_WIRE_BUFFERS(n_loops, n_ports) (2048U * (n_loops) + HBUS_TCP_WIRE_LENT_MAX + 2048U * (n_ports))

/* ---- types ----------------------------------------------------------------------------- */

struct hbus_tcp_wire_frame {
	void *buffer;                /* to give back */
	uint8_t *data;
	uint32_t size;
	uint16_t port_id;
	void *note;                  /* HBUS_TCP_WIRE_NOTE_SIZE bytes, or NULL: none to be had */
};

/* ---- functions ------------------------------------------------------------------------- */

/* @ports, @claim: borrowed. Return: 0 or -errno. */
int hbus_tcp_wire_new(const struct hbus_ports *ports, const struct hbus_claim *claim,
		  unsigned int n_loops, struct hbus_tcp_wire **ret_wire);
/* The loops have ended. Accepts NULL and returns NULL. */
struct hbus_tcp_wire *hbus_tcp_wire_free(struct hbus_tcp_wire *wire);

struct hbus_tap *hbus_tcp_wire_tap(struct hbus_tcp_wire *wire, unsigned int loop_idx);

/* Of the stack's thread, before and after all else there: its buffers come from a cache of its own. */
void hbus_tcp_wire_enter(struct hbus_tcp_wire *wire);
void hbus_tcp_wire_leave(struct hbus_tcp_wire *wire);

/* @ret_frames: room for HBUS_TCP_WIRE_BURST; each is the caller's to give back. Return: how many. */
unsigned int hbus_tcp_wire_receive(struct hbus_tcp_wire *wire, struct hbus_tcp_wire_frame *ret_frames);
void hbus_tcp_wire_give_back(void *buffer);

/* Room for a frame of @size bytes that hbus_tcp_wire_flush() sends. Return: NULL when there is none. */
uint8_t *hbus_tcp_wire_reserve(struct hbus_tcp_wire *wire, uint16_t port_id, uint32_t size);
/* The frame that was reserved last and not sent yet. Return: NULL when there is none. */
uint8_t *hbus_tcp_wire_last(struct hbus_tcp_wire *wire, uint16_t port_id, uint32_t *ret_size);
void hbus_tcp_wire_flush(struct hbus_tcp_wire *wire);

void hbus_tcp_wire_count(const struct hbus_tcp_wire *wire, struct hbus_tcp_counters *counters);
