/* SPDX-License-Identifier: BSD-3-Clause */
/* The publish side of a ring: what is not on the hot path. See ring_pub.h. */
#include "shm/ring_pub.h"

#include <string.h>
#include <time.h>

#include "shm/wait.h"

#define LINE 64u
#define OWN_AHEAD 1024u /* bytes; twice as much is asked for, since readers' prefetchers take some back */
#define LARGE 512u            /* bytes of a record */
#define MEASURE_EVERY (256u << 10) /* bytes; and rings smaller than this never: they stay in the caches */
#define MEASURE_LINES (OWN_AHEAD / LINE)
#define MEASURE_MOST_NS (50u + 9u * MEASURE_LINES) /* the clock, and lines of 4 ns near and 14 ns far */

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void hbus_ring_pub_checkpoint(struct hbus_ring_pub *pub)
{
	uint64_t block = (pub->tail & pub->mask) / (pub->block_mask + 1);
	struct hbus_checkpoint *slot = &pub->header->checkpoints[block];

	/* relaxed: a reader that sees these with the old position finds, after its acquire fence, an intent
	 * that voids that position (R(ring.intent) was raised past this block's end first). */
	atomic_store_explicit(&slot->sequence, pub->sequence, memory_order_relaxed);
	atomic_store_explicit(&slot->time_ns, now_ns(CLOCK_REALTIME), memory_order_relaxed); /* relaxed: as above */
	atomic_store_explicit(&slot->time_mono_ns, now_ns(CLOCK_MONOTONIC), memory_order_relaxed); /* relaxed: as above */
	/* R(ring.checkpoint): commit, sequence and times before the position that shows them. */
	atomic_store_explicit(&slot->position, pub->tail, memory_order_release);
}

void hbus_ring_pub_init(struct hbus_ring_pub *pub, const struct hbus_geometry *geometry, void *header, void *data,
			struct hbus_gates *gates)
{
	memset(pub, 0, sizeof(*pub));
	pub->data = data;
	pub->capacity = geometry->capacity;
	pub->mask = geometry->capacity - 1;
	pub->tail = pub->intent = pub->own_at = pub->own_tail = pub->measure_at = geometry->start;
	pub->block_mask = hbus_block_size(geometry->capacity) - 1;
	pub->batch_max = geometry->capacity / HBUS_RECORD_DIVISOR;
	pub->header = header;
	pub->gates = gates;
	pub->fences = gates->needs_fence;
	hbus_ring_pub_set_quick(pub);
	/* relaxed, both: no reader has the ring yet; the daemon's messages order it */
	atomic_store_explicit(&pub->header->intent, geometry->start, memory_order_relaxed);
	/* Zero is a position: of a checkpoint that is behind the start, or ahead of it near 2^64. */
	for (uint32_t i = 0; i < HBUS_RING_BLOCKS; i++)
		atomic_store_explicit(&pub->header->checkpoints[i].position, HBUS_CHECKPOINT_NONE, memory_order_relaxed);
	hbus_ring_pub_checkpoint(pub);
}

void hbus_ring_pub_close(struct hbus_ring_pub *pub)
{
	/* R(ring.state): the last commit before the word that says it was the last. */
	atomic_store_explicit(&pub->header->state, HBUS_RING_STATE_CLOSED, memory_order_release);
	if (pub->fences) /* as in hbus_ring_pub_commit() */
		atomic_thread_fence(memory_order_seq_cst);
	hbus_gates_wake(pub->gates, &pub->header->notify);
}

static void take_lines(struct hbus_ring_pub *pub, uint64_t from, uint64_t end)
{
	for (; (int64_t)(end - from) > 0; from += LINE)
		hbus_ring_pub_zero(pub, from);
}

/* How long some lines take. No store is on its way before, and none of them after: what is timed is not their issue. */
static void measure(struct hbus_ring_pub *pub, uint64_t from)
{
	uint64_t begin_ns;

	pub->measure_at = from + MEASURE_EVERY;
	/* store-load: what was stored before is in the cache before the clock is looked at; likewise below */
	atomic_thread_fence(memory_order_seq_cst);
	begin_ns = now_ns(CLOCK_MONOTONIC);
	take_lines(pub, from, from + MEASURE_LINES * LINE);
	atomic_thread_fence(memory_order_seq_cst); /* store-load: as above */
	pub->is_near = now_ns(CLOCK_MONOTONIC) - begin_ns < MEASURE_MOST_NS;
}

/* Since the last time. What is in an open batch does not count yet. */
static bool are_records_large(struct hbus_ring_pub *pub)
{
	uint64_t n_bytes = pub->tail - pub->own_tail, n = pub->sequence - pub->own_sequence;

	pub->own_tail = pub->tail;
	pub->own_sequence = pub->sequence;
	return n > 0 && n_bytes / LARGE >= n;
}

void hbus_ring_pub_own(struct hbus_ring_pub *pub)
{
	uint64_t head = hbus_ring_pub_head(pub), from = (head + LINE - 1) & ~(uint64_t)(LINE - 1);
	uint64_t end = (head + 2 * OWN_AHEAD) & ~(uint64_t)(LINE - 1);
	bool is_last = (int64_t)(end - pub->intent) >= 0;

	if (is_last) /* what lies beyond is not threatened yet */
		end = pub->intent;
	if (are_records_large(pub) && pub->capacity > MEASURE_EVERY) {
		if ((int64_t)(head - pub->measure_at) >= 0 && !is_last)
			measure(pub, from + OWN_AHEAD); /* so far none of them has been taken */
		if (pub->is_near) {
			pub->own_at = pub->intent; /* the next raise sets it back */
			return;
		}
	}
	take_lines(pub, from, end);
	pub->own_at = is_last ? pub->intent : end - OWN_AHEAD;
}

int hbus_ring_pub_raise(struct hbus_ring_pub *pub, uint64_t need)
{
	uint64_t permit;

	pub->fences = hbus_gates_use_barriers(pub->gates);
	permit = hbus_gates_scan(pub->gates, pub->tail, pub->capacity);
	if ((int64_t)(need - permit) > 0)
		return HBUS_RING_FULL;
	pub->intent = need;
	pub->own_at = hbus_ring_pub_head(pub);
	hbus_ring_pub_set_quick(pub);
	/* relaxed, then the fence: R(ring.intent): the threat before any byte that it threatens. */
	atomic_store_explicit(&pub->header->intent, need, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	return 0;
}
