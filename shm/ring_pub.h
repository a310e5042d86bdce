/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The publish side of a ring: one thread of one process writes
 *
 *	              tail (committed)      head (open batch)
 *	                v                     v
 *	  ... records | first | more | more | 0 |  old lap ...
 *	                ^ header word written last = the commit
 *	                                            ^ intent (end of a block)
 *
 * Roles: the data thread calls everything here. Other threads of the process: hbus_gates_install() and
 * hbus_gates_remove(). Subscribers read through their own read-only mapping (ring_sub.h).
 *
 * Progress: wait-free; hbus_ring_pub_claim() returns HBUS_RING_FULL instead of waiting.
 *
 * Steps of a publish, and what a crash after each leaves behind:
 *  1. claim: when the rounded end exceeds intent, scan the gates (acquire); nothing has changed.
 *  2. raise intent, release fence: lossy readers may count the oldest block as lost early, nothing else.
 *  3. payload, and zero into the word after the record: as 2.
 *  4. release-store of the first header word: committed. This one store is the linearisation point, for a
 *     batch as for a single record.
 *  5. checkpoint, when the tail has entered a new block: without it readers enter one block earlier.
 *  6. wake: a sleeper that is not woken looks again within HBUS_WAIT_CAP_MS.
 * So there is nothing to repair, ever: the next incarnation takes a new ring.
 *
 * Guarantees to subscribers: (1) bytes from intent - capacity to the last commit do not change; (2) a record or
 * batch is visible whole or not at all; (3) intent never falls; (4) intent - floor <= capacity for every
 * gate. Edges: R(ring.intent), R(ring.header), R(ring.checkpoint), R(ring.state); shm/DESIGN.md lists them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/copy.h"
#include "shm/gate.h"
#include "shm/layout.h"

/* Outcomes of a claim. */
#define HBUS_RING_FULL 1      /* a gate is a full ring behind */
#define HBUS_RING_TOO_LARGE 2 /* record or batch beyond capacity / 8 */

struct hbus_ring_pub {
	unsigned char *data;     /* mapped twice in a row */
	uint64_t mask;           /* capacity - 1 */
	uint64_t tail;           /* end of what is committed */
	uint64_t head;           /* end of what is written; tail when no batch is open */
	uint64_t intent;         /* own copy of header->intent */
	uint64_t sequence;       /* number of the next committed event */
	uint64_t n_pending;      /* events in the open batch */
	uint64_t first_word;     /* held back until the commit */
	uint64_t zeroed;         /* where the last zero header word was written */
	uint64_t block_mask;     /* block size - 1 */
	uint64_t batch_max;      /* bytes */
	uint64_t capacity;
	struct hbus_ring_header *header;
	struct hbus_gates *gates;
	bool fences;             /* seq_cst after each commit: isolated, or no membarrier */
};

/* @header, @data: mapped read-write, zero; @gates: initialised. All stay the caller's. */
void hbus_ring_pub_init(struct hbus_ring_pub *pub, const struct hbus_geometry *geometry, void *header, void *data,
			struct hbus_gates *gates);
/* Nothing more will come. */
void hbus_ring_pub_close(struct hbus_ring_pub *pub);

/* Slow path of a claim: ask the gates, raise intent. 0 or HBUS_RING_FULL. */
int hbus_ring_pub_raise(struct hbus_ring_pub *pub, uint64_t need);
/* After a commit that entered a new block. */
void hbus_ring_pub_checkpoint(struct hbus_ring_pub *pub);

static inline uint64_t hbus_ring_pub_need(const struct hbus_ring_pub *pub, uint64_t end)
{
	/* The record, the zero word after it, up to the end of that block: a safety rule (DESIGN.md). */
	return (end + HBUS_RECORD_HEADER + pub->block_mask) & ~pub->block_mask;
}

static inline _Atomic uint64_t *hbus_ring_pub_word(const struct hbus_ring_pub *pub, uint64_t position)
{
	return (_Atomic uint64_t *)(void *)(pub->data + (position & pub->mask));
}

/*
 * The next header word is empty. For a single record this is done before its payload is written: stores reach the
 * cache in order, and one that waits for the next line between payload and header would give the readers, which
 * poll the line of the header, time to take that line away again.
 */
static inline void hbus_ring_pub_zero(struct hbus_ring_pub *pub, uint64_t position)
{
	/* relaxed: ordered before the commit by its release */
	atomic_store_explicit(hbus_ring_pub_word(pub, position), 0, memory_order_relaxed);
	pub->zeroed = position;
}

/* Own the lines after the next header word before they are written; not that word's line, which readers poll. */
static inline void hbus_ring_pub_prefetch(const struct hbus_ring_pub *pub)
{
	const unsigned char *next = pub->data + (pub->head & pub->mask);

#if defined(__x86_64__)
	__asm__("prefetchw 64(%0)\n\tprefetchw 128(%0)" : : "r"(next));
#else
	__builtin_prefetch(next + 64, 1);
	__builtin_prefetch(next + 128, 1);
#endif
}

/**
 * hbus_ring_pub_claim() - room for one record after what is already in the open batch
 * @len: bytes of the body
 * @ret_body: 8-byte aligned, hbus_ring_pub_add() makes it part of the batch
 *
 * Return: 0, HBUS_RING_FULL or HBUS_RING_TOO_LARGE; then the batch is as it was.
 */
static inline int hbus_ring_pub_claim(struct hbus_ring_pub *pub, uint64_t len, unsigned char **ret_body)
{
	uint64_t end, need;

	if (len > HBUS_WORD_LENGTH_MAX)
		return HBUS_RING_TOO_LARGE;
	end = pub->head + hbus_record_size(len);
	if (end - pub->tail > pub->batch_max)
		return HBUS_RING_TOO_LARGE;
	need = hbus_ring_pub_need(pub, end);
	if ((int64_t)(need - pub->intent) > 0 && hbus_ring_pub_raise(pub, need))
		return HBUS_RING_FULL;
	if (pub->head == pub->tail)
		hbus_ring_pub_zero(pub, end);
	*ret_body = pub->data + (pub->head & pub->mask) + HBUS_RECORD_HEADER;
	return 0;
}

/* The claimed record is written: n_events of them, len <= what was claimed. */
static inline void hbus_ring_pub_add(struct hbus_ring_pub *pub, uint32_t flags, uint32_t topic, uint64_t len,
				     uint64_t n_events)
{
	uint64_t word = hbus_word_make(flags, topic, (uint32_t)len);

	if (pub->head == pub->tail) {
		pub->first_word = word;
	} else {
		/* relaxed: invisible until the first word of the batch is released */
		atomic_store_explicit(hbus_ring_pub_word(pub, pub->head), word, memory_order_relaxed);
		pub->zeroed = pub->head; /* no longer: and what lies ahead may have been scribbled on */
	}
	pub->head += hbus_record_size(len);
	pub->n_pending += n_events;
}

/* Forget the open batch. intent stays where it is: what was scribbled on must stay threatened. */
static inline void hbus_ring_pub_abort(struct hbus_ring_pub *pub)
{
	pub->head = pub->tail;
	pub->n_pending = 0;
}

/* All that was added appears at once. Return: somebody sleeps, hbus_gates_wake() is due. */
static inline bool hbus_ring_pub_commit(struct hbus_ring_pub *pub)
{
	uint64_t before = pub->tail;

	if (pub->head == before)
		return false;
	if (pub->zeroed != pub->head)
		hbus_ring_pub_zero(pub, pub->head);
	/* R(ring.header): record bytes and the next zero word before the header that shows them. */
	atomic_store_explicit(hbus_ring_pub_word(pub, before), pub->first_word, memory_order_release);
	hbus_ring_pub_prefetch(pub);
	pub->tail = pub->head;
	pub->sequence += pub->n_pending;
	pub->n_pending = 0;
	if ((before ^ pub->tail) & ~pub->block_mask)
		hbus_ring_pub_checkpoint(pub);
	if (pub->fences) /* store-load: header word against waiting; without membarrier (wait.h) */
		atomic_thread_fence(memory_order_seq_cst);
	return hbus_gates_has_waiter(pub->gates);
}
