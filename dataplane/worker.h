/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker: what one poll loop does with a frame, from its first byte to the ring, and how it
 * accounts for it.
 *
 * No DPDK types, so that the whole way of a frame can be tested without a port. The steps are
 * those of ebpf/filter_abi.h. Two accounts balance whenever no burst is under way; during one, the
 * difference of the first is what is in flight:
 *
 *     frames received = sum of frames by reason        (accepted is one of them)
 *     events received = sum of events by reason        (published is what accepted is called)
 *
 * A frame of a plain route that passes the checks is one event, and both accounts give it the
 * same reason. A good batched datagram is an accepted frame and as many events as it holds.
 */
#pragma once

#include <stdint.h>

#include "dataplane/batch.h"
#include "dataplane/bucket.h"
#include "dataplane/net.h"
#include "dataplane/passive/feed.h"
#include "dataplane/plan.h"
#include "dataplane/sink.h"
#include "shm/counters.h"

struct hbus_sn_door;

/* ---- limits ---------------------------------------------------------------------------- */

/* Topics that are counted one by one; index 0 is for those beyond. */
#define HBUS_WORKER_TOPICS_MAX 65536U

/* ---- counters -------------------------------------------------------------------------- */

/*
 * Cells of one worker, in a row. What becomes of a frame can have any reason, what becomes of an
 * event few.
 */
enum hbus_worker_cell {
	HBUS_CELL_RECEIVED,
	HBUS_CELL_BYTES,
	HBUS_CELL_FRAMES,
	HBUS_CELL_EVENTS_RECEIVED = HBUS_CELL_FRAMES + HBUS_N_REASONS,
	HBUS_CELL_EVENTS_PUBLISHED,
	HBUS_CELL_EVENTS_NO_INTEREST,
	HBUS_CELL_EVENTS_TOO_LONG,
	HBUS_CELL_EVENTS_UNKNOWN_TOPIC,
	HBUS_CELL_EVENTS_RING_FULL,
	HBUS_CELL_EVENTS_NO_RING,
	HBUS_CELL_BATCH_MISSING,
	HBUS_CELL_BATCH_GAPS,
	HBUS_CELL_BATCH_DUPLICATES,
	HBUS_CELL_BATCH_REORDERED,
	HBUS_CELL_BATCH_STALE,
	HBUS_CELL_BATCH_RESTARTS,
	HBUS_CELL_BATCH_SENDERS,
	HBUS_CELL_BATCH_FORGOTTEN,
	HBUS_CELL_MQTTSN_PUBLISHED,
	HBUS_CELL_MQTTSN_PASSED,
	HBUS_CELL_BURSTS,
	HBUS_N_WORKER_CELLS,
};

#define HBUS_CELL_EVENTS_FIRST HBUS_CELL_EVENTS_PUBLISHED
#define HBUS_CELL_EVENTS_LAST HBUS_CELL_EVENTS_NO_RING

/* What became of what a topic was sent; of a batch route, of its datagrams. The rest was published. */
struct hbus_topic_counters {
	_Atomic uint64_t received;
	_Atomic uint64_t no_interest;
	_Atomic uint64_t ring_full;
	_Atomic uint64_t dropped;    /* for any other reason */
};

/* Writes the name of a cell, such as "worker0.frames.fragment". */
void hbus_worker_cell_name(unsigned int worker_idx, unsigned int cell_idx,
			   char ret_name[HBUS_COUNTER_NAME_SIZE]);

/* ---- worker ---------------------------------------------------------------------------- */

/* Checks that need not be made. */
#define HBUS_WORKER_TRUST_IP HBUS_NET_TRUST_IP
#define HBUS_WORKER_TRUST_UDP HBUS_NET_TRUST_UDP
#define HBUS_WORKER_IS_FILTERED 4U   /* XDP has judged source and rate */

/*
 * Flows that were looked up lately, by a hash of destination and VLAN: an IPv4 packet of a flow that
 * is among them finds its path in one step, however many prefix lengths the routes have.
 */
#define HBUS_WORKER_FLOWS 256U

struct hbus_worker_flow {
	uint64_t key;                        /* 0: none */
	const struct hbus_plan_path *path;   /* of the plan with number flows_of */
};

struct hbus_worker {
	struct hbus_counter_cell *cells;     /* HBUS_N_WORKER_CELLS of them, borrowed */
	struct hbus_topic_counters *topics;  /* HBUS_WORKER_TOPICS_MAX of them */
	struct hbus_sink *sink;              /* borrowed */
	struct hbus_batch_tracker *tracker;
	struct hbus_buckets *buckets;
	struct hbus_feed *feed;              /* for passive MQTT, borrowed; NULL: none */
	struct hbus_sn_door *door;           /* to the MQTT-SN gateway, borrowed; NULL: there is none */
	const struct hbus_plan *plan;        /* of the burst under way, borrowed */
	uint64_t now_ns;                     /* of the burst under way */
	uint64_t pending_cells;              /* bit n: pending[n] is not 0 */
	uint64_t pending[HBUS_N_WORKER_CELLS];
	uint64_t n_plain;                    /* frames of one event that was published, in none of these yet */
	uint64_t n_plain_mqttsn;             /* those of them that MQTT-SN clients have sent */
	uint64_t flows_of;                   /* number of the plan that the flows are of */
	struct hbus_worker_flow flows[HBUS_WORKER_FLOWS];
};

/* @secret: anything a sender cannot guess. Return: 0 or -ENOMEM, then nothing is held. */
int hbus_worker_init(struct hbus_worker *worker, struct hbus_counter_cell *cells,
		     struct hbus_sink *sink, uint64_t secret);
void hbus_worker_deinit(struct hbus_worker *worker);

/**
 * hbus_worker_begin() - start a burst
 * @n_frames: how many frames it has
 * @now_ns: of a clock that does not go back
 *
 * Thread of all three: the worker's. No allocation, lock or system call.
 */
void hbus_worker_begin(struct hbus_worker *worker, const struct hbus_plan *plan,
		       uint64_t n_frames, uint64_t now_ns);
/* @flags: HBUS_WORKER_*. The frame may be overwritten when this returns. */
void hbus_worker_frame(struct hbus_worker *worker, const uint8_t *frame, size_t size,
		       unsigned int flags);
/* A frame that could not be looked at. */
void hbus_worker_account(struct hbus_worker *worker, size_t size, enum hbus_reason reason);
/* Shows the events of the burst to the readers. */
void hbus_worker_commit(struct hbus_worker *worker);
