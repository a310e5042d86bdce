/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The poll loop of one lcore: receive from its queues, hand the frames to its worker, commit.
 *
 * Thread: hbus_loop_run() and hbus_loop_poll() are the lcore's. The control thread owns the rest
 * and talks to the loop through the words of struct hbus_loop_shared only.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/worker.h"

/* ---- limits ---------------------------------------------------------------------------- */

#define HBUS_LOOP_BURST 64U
#define HBUS_LOOP_QUEUES_MAX 64U

struct rte_mempool;

/* ---- types ----------------------------------------------------------------------------- */

struct hbus_tap;

/* What all loops of the process share. Written by the control thread. */
struct hbus_loop_shared {
	struct hbus_plan *plan;          /* by RCU: rcu_assign_pointer(), rcu_dereference() */
	struct rte_mempool *pool;        /* for frames to send */
	_Atomic uint32_t is_stopped;
	uint64_t ns_per_cycle_32;        /* nanoseconds of a TSC cycle, 32 binary places */
};

struct hbus_loop_queue {
	uint16_t port_id;
	uint16_t queue_id;
	uint32_t flags;                  /* HBUS_WORKER_* for every frame of this queue */
	bool can_send;                   /* the port has a send queue of this number */
};

struct hbus_loop {
	struct hbus_worker worker;
	struct hbus_loop_shared *shared; /* borrowed */
	struct hbus_loop_queue queues[HBUS_LOOP_QUEUES_MAX];
	uint32_t n_queues;
	uint32_t lcore_id;
	struct hbus_tap *tap;            /* of the TCP stack, borrowed; NULL: there is none */
	uint8_t *scratch;                /* room for a frame that is spread over buffers */
	/* The time of the last burst that had frames: who reads it knows that there was one. */
	_Atomic uint64_t busy_ns;
};

/* ---- functions ------------------------------------------------------------------------- */

/* Nanoseconds since some time in the past, from the time stamp counter: no system call. */
uint64_t hbus_loop_clock(const struct hbus_loop_shared *shared);

/* Takes the counter's scale from EAL. */
void hbus_loop_clock_init(struct hbus_loop_shared *shared);

/* @worker was initialised by the caller and is deinitialised by it. Return: 0 or -ENOMEM. */
int hbus_loop_init(struct hbus_loop *loop, struct hbus_loop_shared *shared);
void hbus_loop_deinit(struct hbus_loop *loop);

/* One turn over all queues. Return: how many frames were received. */
unsigned int hbus_loop_poll(struct hbus_loop *loop);

/* Turns until the shared word says stop. For rte_eal_remote_launch(). Return: 0. */
int hbus_loop_run(void *loop);
