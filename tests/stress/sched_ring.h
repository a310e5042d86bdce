/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the parts of sched_ring share: one ring, its readers, and what a scenario asks for
 *
 *	sched_main.c    scenarios, planted mutants, the command line
 *	sched_ring.c    the shipping sources, the kernel under them, the publisher; how a schedule begins and ends
 *	sched_reader.c  subscribers: lossy, gating, coming and going
 *
 * All that they do with the ring's memory goes through shim.h.
 */
#pragma once

#include "tests/stress/shim.h"

#include "shm/gate.h"
#include "shm/ring_pub.h"
#include "shm/ring_sub.h"
#include "shm/wait.h"

#define CAPACITY_MAX 1024u
#define EVENTS_MAX 512u
#define SUBS 2u
#define ROUNDS 3u
#define SIZE_MAX_BYTES 128u /* of a payload: the longest record of the largest ring */
#define POLL_MAX 64u
#define FIRST_PIDFD 1000

struct event {
	uint32_t size;
	uint64_t batch_end; /* sequence behind its batch */
};

struct copy {
	uint64_t sequence;
	uint32_t size;
	unsigned char bytes[SIZE_MAX_BYTES];
	const unsigned char *from;
};

struct reader {
	struct hbus_ring_sub sub;
	uint64_t expected; /* sequence of the next event that it may see */
	uint64_t gate_id;
	bool is_reliable, is_evictable, has_lapped, is_joined, has_left, is_asleep;
	struct copy copies[POLL_MAX];
};

/* What the scenario asks for. */
struct options {
	unsigned int n_lossy, n_gates;   /* there from the start */
	unsigned int n_joining;          /* come and go */
	unsigned int n_publishes, n_before; /* before: published before the threads start */
	bool may_crash, may_die, may_evict, is_sleeping, is_plain;
};

struct met {
	uint64_t lapped, full, dropped, slept, quick;
};

extern struct options options;
extern alignas(4096) struct hbus_ring_header header;
extern alignas(4096) unsigned char data[2 * CAPACITY_MAX];
extern struct hbus_gates table;
extern alignas(128) struct hbus_slot slots[SUBS];          /* the subscriber's mapping */
extern alignas(128) struct hbus_slot mapped[SUBS][ROUNDS]; /* the publisher's, one for each gate */
extern _Atomic uint64_t asked[SUBS], answered[SUBS];
extern struct hbus_geometry geometry;
extern struct reader readers[2 * SUBS];
extern struct event events[EVENTS_MAX];
extern uint64_t n_acked;   /* events whose commit has returned */
extern struct met met; /* what the schedules of a scenario have come across */

/* -- sched_ring.c -- */
void ring_setup(void);
void ring_finish(void);
/* The copy is of what was published under its number. */
bool event_is_right(const struct copy *copy);

/* -- sched_reader.c -- */
void reader_start(struct reader *reader, uint32_t slot_idx, bool is_reliable);
/* Return: events, or -1 when it was lapped. */
int reader_poll(struct reader *reader);
/* Threads of subscribers; of the process that publishes: run_control. */
void run_lossy(void *reader);
void run_gating(void *reader);
void run_joining(void *reader);
void run_control(void *unused);
