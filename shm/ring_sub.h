/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The subscribe side of a ring: a read-only mapping, a private position, and perhaps a slot
 *
 * The publisher may be hostile and the bytes may change at any moment. So: each header word is loaded once
 * into a local and checked before it is used; lengths are bounded by the record maximum, which with the
 * double mapping keeps every access inside; what was read counts only after hbus_ring_sub_confirm(): acquire
 * fence, intent, intent - position <= capacity. An empty word and an invalid word are believed only after
 * that check too: a lapped reader can stand on payload that looks like either.
 *
 * Use, once per poll:
 *
 *	hbus_ring_sub_begin(sub);
 *	while (n < max && hbus_ring_sub_next(sub, &record)) use it
 *	outcome = hbus_ring_sub_confirm(sub);      else: discard, hbus_ring_sub_reenter()
 *	... the events are used ...
 *	outcome = hbus_ring_sub_release(sub);      again: were they whole to the end?
 *
 * Thread: one at a time. Progress: wait-free (each call is bounded, also against a hostile publisher).
 * Edges: A(ring.header), A(ring.intent), A(ring.checkpoint), R(ring.cursor).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/copy.h"
#include "shm/layout.h"

enum hbus_ring_outcome {
	HBUS_RING_OK = 0,
	HBUS_RING_LAPPED = 1,  /* what was read since begin is void: reenter */
	HBUS_RING_CORRUPT = 2, /* not a ring that an honest publisher writes: leave it */
};

/* One record: body points into the ring. */
struct hbus_record {
	const unsigned char *payload;
	uint64_t sequence; /* of its first event */
	uint64_t time_ns;  /* 0 = none */
	const unsigned char *attrs;
	uint32_t attrs_size;
	uint32_t key;
	uint32_t topic;
	uint32_t flags;
	uint32_t size;     /* bytes of one event */
	uint32_t stride;   /* from one event to the next */
	uint32_t n_events; /* 1 but for runs */
	bool is_unknown;   /* flags of a later version: skip it, it counts as one event */
};

struct hbus_ring_sub {
	const unsigned char *data; /* mapped twice in a row, read-only */
	uint64_t mask;
	uint64_t position;       /* of the next header word */
	uint64_t sequence;       /* of the next event */
	uint64_t record_max;     /* bytes, header word included */
	uint64_t batch_position; /* at begin */
	uint64_t batch_sequence;
	uint64_t stop_word;      /* the word at which next() stopped */
	uint64_t last_bytes;     /* of the batch that was released last */
	uint64_t capacity;
	uint64_t block_mask;
	uint64_t cursor;         /* last stored in the slot */
	const struct hbus_ring_header *header;
	struct hbus_slot *slot;  /* or NULL */
	uint32_t n_failed_entries; /* in a row */
	bool is_gating;          /* stores its cursor */
	bool stop_is_bad;        /* next() stopped at a word that is not valid */
};

/* Begins at the ring's first position. @slot: NULL for a reader that nobody waits for or wakes. */
void hbus_ring_sub_init(struct hbus_ring_sub *sub, const struct hbus_geometry *geometry, const void *header,
			const void *data, struct hbus_slot *slot, bool is_gating);

/**
 * hbus_ring_sub_seek_newest() - stand behind the newest committed record
 * hbus_ring_sub_seek_oldest() - stand at the oldest checkpoint that is still whole
 * hbus_ring_sub_seek() - stand at this sequence
 * @ret_lost: how many events from @sequence on are gone already
 *
 * Seek walks from a checkpoint and stops at the first event at or after @sequence; a sequence inside a
 * run stands at the run's first event (the caller skips). One beyond the end stands behind the newest.
 * "Newest" is no older than what was committed before the call: nobody chases a fast publisher.
 * Return: HBUS_RING_OK, or HBUS_RING_CORRUPT when no place can be found.
 */
enum hbus_ring_outcome hbus_ring_sub_seek_newest(struct hbus_ring_sub *sub);
enum hbus_ring_outcome hbus_ring_sub_seek_oldest(struct hbus_ring_sub *sub);
enum hbus_ring_outcome hbus_ring_sub_seek(struct hbus_ring_sub *sub, uint64_t sequence, uint64_t *ret_lost);

/**
 * hbus_ring_sub_reenter() - after LAPPED: go on at a checkpoint ahead, the newest; with a gate the oldest
 * @ret_first, @ret_lost: the events that were lost: sequence of the first, and how many (0 = try again later)
 */
enum hbus_ring_outcome hbus_ring_sub_reenter(struct hbus_ring_sub *sub, uint64_t *ret_first, uint64_t *ret_lost);

/* The publisher says that it has dropped this gate. @position: its tail then. */
bool hbus_ring_sub_is_dropped(const struct hbus_ring_sub *sub, uint32_t attach_idx, uint64_t gate_id,
			      uint64_t *ret_position);
/* The publisher has closed the ring. What was committed before can still be read. */
bool hbus_ring_sub_is_closed(const struct hbus_ring_sub *sub);

/* Parses what flags other than none say. False: not valid. */
bool hbus_record_parse(struct hbus_record *record, uint64_t word, const unsigned char *body);

/* Give up the gate: the publisher waits for this slot no more. */
void hbus_ring_sub_leave(struct hbus_ring_sub *sub);
/* Publish the exact position, for those who wait for it. */
void hbus_ring_sub_store_cursor(struct hbus_ring_sub *sub);
/* Statistics in the slot, for `hugebus top`. */
void hbus_ring_sub_store_stats(struct hbus_ring_sub *sub, uint64_t delivered, uint64_t filtered, uint64_t lost);

static inline uint64_t hbus_ring_sub_load_word(const struct hbus_ring_sub *sub, uint64_t position)
{
	const _Atomic uint64_t *word = (const _Atomic uint64_t *)(const void *)(sub->data + (position & sub->mask));

	/* A(ring.header): pairs with R(ring.header) in hbus_ring_pub_commit(). */
	return atomic_load_explicit(word, memory_order_acquire);
}

/* Were the bytes from @position on whole until now? */
static inline bool hbus_ring_sub_is_whole(const struct hbus_ring_sub *sub, uint64_t position)
{
	uint64_t intent;

	/* A(ring.intent): pairs with R(ring.intent) in hbus_ring_pub_raise(): if any byte read above was of a
	 * later lap, this load sees that lap's intent. */
	atomic_thread_fence(memory_order_acquire);
	intent = atomic_load_explicit(&sub->header->intent, memory_order_relaxed); /* relaxed: after the fence */
	return intent - position <= sub->capacity;
}

static inline void hbus_ring_sub_begin(struct hbus_ring_sub *sub)
{
	sub->batch_position = sub->position;
	sub->batch_sequence = sub->sequence;
	sub->stop_word = 0;
	sub->stop_is_bad = false;
}

/* Records come in order; the hardware prefetcher alone stays too close. */
static inline void hbus_ring_sub_prefetch(const struct hbus_ring_sub *sub, uint64_t position)
{
	__builtin_prefetch(sub->data + ((position + 1024) & sub->mask));
}

/* The next record, if there is one. Nothing of it may be believed before confirm(). */
static inline bool hbus_ring_sub_next(struct hbus_ring_sub *sub, struct hbus_record *ret_record)
{
	uint64_t word = hbus_ring_sub_load_word(sub, sub->position);
	uint64_t size = hbus_word_length(word);
	const unsigned char *body = sub->data + (sub->position & sub->mask) + HBUS_RECORD_HEADER;

	size = HBUS_RECORD_HEADER + HBUS_ALIGN8(size);
	sub->stop_word = word;
	if (!hbus_word_has_magic(word) || size > sub->record_max)
		return false;
	hbus_ring_sub_prefetch(sub, sub->position);
	if (__builtin_expect(hbus_word_flags(word) == 0, 1)) {
		ret_record->payload = body;
		ret_record->sequence = sub->sequence;
		ret_record->time_ns = 0;
		ret_record->attrs = NULL;
		ret_record->attrs_size = 0;
		ret_record->key = 0;
		ret_record->topic = hbus_word_topic(word);
		ret_record->flags = 0;
		ret_record->size = ret_record->stride = hbus_word_length(word);
		ret_record->n_events = 1;
		ret_record->is_unknown = false;
	} else {
		ret_record->sequence = sub->sequence;
		if (!hbus_record_parse(ret_record, word, body)) {
			sub->stop_is_bad = true;
			return false;
		}
	}
	sub->position += size;
	sub->sequence += ret_record->n_events;
	return true;
}

/* Believe what next() said since begin(), or not. */
static inline enum hbus_ring_outcome hbus_ring_sub_confirm(struct hbus_ring_sub *sub)
{
	bool is_bad = sub->stop_is_bad ||
		      (sub->stop_word != 0 && (!hbus_word_has_magic(sub->stop_word) ||
					       HBUS_RECORD_HEADER + HBUS_ALIGN8((uint64_t)hbus_word_length(sub->stop_word)) >
						       sub->record_max));

	sub->stop_is_bad = false;
	if (!hbus_ring_sub_is_whole(sub, sub->batch_position))
		return HBUS_RING_LAPPED;
	return is_bad ? HBUS_RING_CORRUPT : HBUS_RING_OK;
}

/* The events of this batch have been used. Stores the cursor when a new block was entered. */
static inline enum hbus_ring_outcome hbus_ring_sub_release(struct hbus_ring_sub *sub)
{
	if (sub->position == sub->batch_position)
		return HBUS_RING_OK;
	if (!hbus_ring_sub_is_whole(sub, sub->batch_position))
		return HBUS_RING_LAPPED;
	sub->last_bytes = sub->position - sub->batch_position;
	sub->batch_position = sub->position;
	sub->batch_sequence = sub->sequence;
	if (sub->is_gating && ((sub->cursor ^ sub->position) & ~sub->block_mask))
		hbus_ring_sub_store_cursor(sub);
	return HBUS_RING_OK;
}
