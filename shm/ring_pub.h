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
	uint64_t quick_end;      /* a record that ends here or below needs nothing but to be written */
	uint64_t own_at;         /* beyond this hbus_ring_pub_own() is due */
	uint64_t sequence;       /* number of the next committed event */
	uint64_t n_open;         /* bytes of the open batch; 0 = none */
	uint64_t n_pending;      /* events in it */
	uint64_t first_word;     /* its first header word, held back until the commit */
	uint64_t intent;         /* own copy of header->intent */
	uint64_t block_mask;     /* block size - 1 */
	uint64_t batch_max;      /* bytes */
	uint64_t capacity;
	uint64_t own_tail;       /* at the last hbus_ring_pub_own() */
	uint64_t own_sequence;
	uint64_t measure_at;     /* beyond this it looks at the clock, when records are large */
	bool is_near;            /* lines came fast then */
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

/* End of what is written. */
static inline uint64_t hbus_ring_pub_head(const struct hbus_ring_pub *pub)
{
	return pub->tail + pub->n_open;
}

/*
 * How far records can go with one comparison each: no gate is to be asked below intent, and outside a batch no
 * checkpoint is due within a block. A batch that holds something ends at its largest size instead.
 */
static inline void hbus_ring_pub_set_quick(struct hbus_ring_pub *pub)
{
	uint64_t end = pub->n_open ? pub->tail + pub->batch_max + HBUS_RECORD_HEADER : (pub->tail | pub->block_mask) + 1;

	if ((int64_t)(end - pub->intent) > 0)
		end = pub->intent;
	pub->quick_end = end - HBUS_RECORD_HEADER;
}

/* Until the next commit nothing goes the quick way. */
static inline void hbus_ring_pub_hold(struct hbus_ring_pub *pub)
{
	pub->quick_end = hbus_ring_pub_head(pub);
}

/* The next header word is empty. */
static inline void hbus_ring_pub_zero(const struct hbus_ring_pub *pub, uint64_t position)
{
	/* relaxed: ordered before the commit by its release */
	atomic_store_explicit(hbus_ring_pub_word(pub, position), 0, memory_order_relaxed);
}

/*
 * Takes the lines that will be written next away from whoever read them a lap ago, by a store into each. Then what is
 * written there does not wait. Twice as many such stores are under way at once as of stores that fill lines, and
 * with whatever else a publish stores between them there would be but two or three. (Asking for a line by prefetchw
 * has no such effect where it was measured.) After a commit, so that no event waits for it.
 *
 * Large records wait less often for a line than small ones, and where the readers' caches are near the lines come as fast by
 * themselves: there it is left out, as far as the clock tells now and then.
 */
void hbus_ring_pub_own(struct hbus_ring_pub *pub);

/* @head: hbus_ring_pub_head() */
static inline bool hbus_ring_pub_is_own_due(const struct hbus_ring_pub *pub, uint64_t head)
{
	return (int64_t)(pub->own_at - head) < 0;
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
	end = hbus_ring_pub_head(pub) + hbus_record_size(len);
	if (end - pub->tail > pub->batch_max)
		return HBUS_RING_TOO_LARGE;
	need = hbus_ring_pub_need(pub, end);
	if ((int64_t)(need - pub->intent) > 0 && hbus_ring_pub_raise(pub, need))
		return HBUS_RING_FULL;
	*ret_body = pub->data + (hbus_ring_pub_head(pub) & pub->mask) + HBUS_RECORD_HEADER;
	return 0;
}

/* The claimed record is written: n_events of them, len <= what was claimed. @word: hbus_word_make(flags, topic, len) */
static inline void hbus_ring_pub_add_word(struct hbus_ring_pub *pub, uint64_t word, uint64_t len, uint64_t n_events)
{
	uint64_t n_open = pub->n_open;

	pub->n_open = n_open + hbus_record_size(len);
	pub->n_pending += n_events;
	if (n_open == 0) {
		pub->first_word = word;
		hbus_ring_pub_set_quick(pub);
	} else {
		/* relaxed: invisible until the first word of the batch is released */
		atomic_store_explicit(hbus_ring_pub_word(pub, pub->tail + n_open), word, memory_order_relaxed);
	}
}

static inline void hbus_ring_pub_add(struct hbus_ring_pub *pub, uint32_t flags, uint32_t topic, uint64_t len,
				     uint64_t n_events)
{
	hbus_ring_pub_add_word(pub, hbus_word_make(flags, topic, (uint32_t)len), len, n_events);
}

/* Forget the open batch. intent stays where it is: what was scribbled on must stay threatened. */
static inline void hbus_ring_pub_abort(struct hbus_ring_pub *pub)
{
	pub->n_open = 0;
	pub->n_pending = 0;
	hbus_ring_pub_set_quick(pub);
}

/* After the header word: does somebody sleep? */
static inline bool hbus_ring_pub_has_waiter(const struct hbus_ring_pub *pub)
{
	if (__builtin_expect(pub->fences, 0)) /* store-load: header word against waiting; without membarrier (wait.h) */
		atomic_thread_fence(memory_order_seq_cst);
	return hbus_gates_has_waiter(pub->gates);
}

/* Likewise, for who is inside the gates already. */
static inline bool hbus_ring_pub_has_waiter_inside(const struct hbus_ring_pub *pub)
{
	if (__builtin_expect(pub->fences, 0)) /* store-load: as above, and as in hbus_gates_enter() */
		atomic_thread_fence(memory_order_seq_cst);
	return hbus_gates_look(pub->gates);
}

/* All that was added appears at once. Return: somebody sleeps, hbus_gates_wake() is due. */
static inline bool hbus_ring_pub_commit(struct hbus_ring_pub *pub)
{
	uint64_t before = pub->tail;

	if (pub->n_open == 0)
		return false;
	hbus_ring_pub_zero(pub, hbus_ring_pub_head(pub));
	/* R(ring.header): record bytes and the next zero word before the header that shows them. */
	atomic_store_explicit(hbus_ring_pub_word(pub, before), pub->first_word, memory_order_release);
	pub->tail = hbus_ring_pub_head(pub);
	pub->sequence += pub->n_pending;
	pub->n_open = 0;
	pub->n_pending = 0;
	if ((before ^ pub->tail) & ~pub->block_mask)
		hbus_ring_pub_checkpoint(pub);
	hbus_ring_pub_set_quick(pub);
	if (hbus_ring_pub_is_own_due(pub, pub->tail))
		hbus_ring_pub_own(pub);
	return hbus_ring_pub_has_waiter(pub);
}

/**
 * hbus_ring_pub_begin_one() - the quick way for one record, while no batch is open: claim, add and commit in a few steps
 * @len: at most HBUS_WORD_LENGTH_MAX
 * @ret_end: where the record ends, for hbus_ring_pub_end_one()
 *
 * Stores reach the cache in order, and each private one costs as much as one into the ring: so there are few.
 * The next header word is emptied first. Were it done between payload and header, and had to wait for its line, the
 * readers, which poll the line of the header, would have time to take that line away again.
 *
 * Return: where the body goes, then hbus_ring_pub_end_one() shows it; NULL: there is more to do, take the long way.
 */
static inline unsigned char *hbus_ring_pub_begin_one(const struct hbus_ring_pub *pub, uint64_t len, uint64_t *ret_end)
{
	uint64_t tail = pub->tail, size = hbus_record_size(len);
	unsigned char *body;

	*ret_end = tail + size;
	if ((int64_t)(pub->quick_end - (tail + size)) < 0)
		return NULL;
	body = pub->data + (tail & pub->mask) + HBUS_RECORD_HEADER;
	__asm__("" : "+r"(body)); /* one register from here on */
	if (!body)
		__builtin_unreachable();
	/* In the same block: no other place of the mapping is meant. relaxed: as in hbus_ring_pub_zero() */
	atomic_store_explicit((_Atomic uint64_t *)(void *)(body + size - HBUS_RECORD_HEADER), 0, memory_order_relaxed);
	return body;
}

/* The same place again, for who has begun with this very length, and has done nothing since. */
static inline unsigned char *hbus_ring_pub_begun(const struct hbus_ring_pub *pub, uint64_t len, uint64_t *ret_end)
{
	*ret_end = pub->tail + hbus_record_size(len);
	return pub->data + (pub->tail & pub->mask) + HBUS_RECORD_HEADER;
}

/* @body, @end: of hbus_ring_pub_begin_one(); @word: with this length. hbus_ring_pub_has_waiter() is due, perhaps hbus_ring_pub_own(). */
static inline void hbus_ring_pub_end_one(struct hbus_ring_pub *pub, unsigned char *body, uint64_t word, uint64_t end,
					 uint64_t n_events)
{
	_Atomic uint64_t *at = (_Atomic uint64_t *)(void *)(body - HBUS_RECORD_HEADER);

	/* R(ring.header): as in hbus_ring_pub_commit(). */
	atomic_store_explicit(at, word, memory_order_release);
	pub->tail = end;
	pub->sequence += n_events;
}

/* Likewise for one more record of a batch; hbus_ring_pub_add() makes it part of it. */
static inline unsigned char *hbus_ring_pub_begin_more(const struct hbus_ring_pub *pub, uint64_t len)
{
	uint64_t head = hbus_ring_pub_head(pub);

	if ((int64_t)(pub->quick_end - (head + hbus_record_size(len))) < 0)
		return NULL;
	return pub->data + (head & pub->mask) + HBUS_RECORD_HEADER;
}
