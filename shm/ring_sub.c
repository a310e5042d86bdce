/* SPDX-License-Identifier: BSD-3-Clause */
/* The subscribe side of a ring: entering, leaving, parsing. See ring_sub.h. */
#include "shm/ring_sub.h"

#include <string.h>

/* How often a lapped reader may fail to enter before the ring counts as corrupt. */
#define ENTRIES_FAILED_MAX 10000u
/* Attempts of one seek. To fail one, the publisher must overrun the whole ring while some checkpoints are read. */
#define SEEK_ATTEMPTS 256u
/* Attempts within one call; the publisher must overrun a whole ring between two loads to fail one. */
#define ENTRY_ATTEMPTS 8u

struct place {
	uint64_t position;
	uint64_t sequence;
};

void hbus_ring_sub_init(struct hbus_ring_sub *sub, const struct hbus_geometry *geometry, const void *header,
			const void *data, struct hbus_slot *slot, bool is_gating)
{
	memset(sub, 0, sizeof(*sub));
	sub->data = data;
	sub->mask = geometry->capacity - 1;
	sub->capacity = geometry->capacity;
	sub->block_mask = hbus_block_size(geometry->capacity) - 1;
	sub->record_max = geometry->capacity / HBUS_RECORD_DIVISOR;
	sub->position = sub->batch_position = geometry->start;
	sub->cursor = HBUS_CURSOR_LEFT; /* no position */
	sub->header = header;
	sub->slot = slot;
	sub->is_gating = is_gating && slot;
}

/* A slot's place, if it is one: its block is this slot's, and it was whole while it was read. */
static bool checkpoint_load(const struct hbus_ring_sub *sub, uint32_t idx, struct place *ret_place)
{
	const struct hbus_checkpoint *slot = &sub->header->checkpoints[idx];
	/* A(ring.checkpoint): pairs with R(ring.checkpoint) in hbus_ring_pub_checkpoint(). */
	uint64_t position = atomic_load_explicit(&slot->position, memory_order_acquire);
	/* relaxed: ordered by the acquire before and by the fence in is_whole() after */
	uint64_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);

	if ((position & sub->mask) / (sub->block_mask + 1) != idx || position % 8 != 0)
		return false;
	if (!hbus_ring_sub_is_whole(sub, position))
		return false;
	ret_place->position = position;
	ret_place->sequence = sequence;
	return true;
}

enum choice { OLDEST, NEWEST };

/* The oldest or newest valid checkpoint that is beyond @after (or any), sequence at most @before (or any). */
static bool checkpoint_find(const struct hbus_ring_sub *sub, enum choice choice, const uint64_t *after,
			    const uint64_t *before, struct place *ret_place)
{
	bool found = false;

	for (uint32_t i = 0; i < HBUS_RING_BLOCKS; i++) {
		struct place place;
		int64_t distance;

		if (!checkpoint_load(sub, i, &place))
			continue;
		if (after && (int64_t)(place.position - *after) <= 0)
			continue;
		if (before && (int64_t)(place.sequence - *before) > 0)
			continue;
		distance = (int64_t)(place.position - ret_place->position);
		if (!found || (choice == OLDEST ? distance < 0 : distance > 0))
			*ret_place = place;
		found = true;
	}
	return found;
}

static void stand_at(struct hbus_ring_sub *sub, const struct place *place)
{
	sub->position = place->position;
	sub->sequence = place->sequence;
	sub->n_failed_entries = 0;
	hbus_ring_sub_begin(sub);
}

/*
 * Walk on to the end, or to the event @stop. What was committed before the walk ends less than a block and a batch
 * beyond the checkpoint where it starts; so a quarter of the ring is far enough, and a publisher that is always
 * ahead does not hold the reader here.
 */
static enum hbus_ring_outcome walk(struct hbus_ring_sub *sub, const uint64_t *stop)
{
	uint64_t from = sub->position;
	struct hbus_record record;
	struct place before;

	hbus_ring_sub_begin(sub);
	while (sub->position - from <= sub->capacity / 4) {
		before = (struct place){sub->position, sub->sequence};
		if (!hbus_ring_sub_next(sub, &record))
			break;
		if (stop && (int64_t)(sub->sequence - *stop) > 0) {
			sub->position = before.position;
			sub->sequence = before.sequence;
			break;
		}
	}
	return hbus_ring_sub_confirm(sub);
}

static enum hbus_ring_outcome settle(struct hbus_ring_sub *sub)
{
	hbus_ring_sub_begin(sub);
	if (sub->is_gating)
		hbus_ring_sub_store_cursor(sub);
	return HBUS_RING_OK;
}

enum hbus_ring_outcome hbus_ring_sub_seek_newest(struct hbus_ring_sub *sub)
{
	for (uint32_t i = 0; i < SEEK_ATTEMPTS; i++) {
		struct place place = {0};
		enum hbus_ring_outcome outcome;

		if (!checkpoint_find(sub, NEWEST, NULL, NULL, &place))
			continue;
		stand_at(sub, &place);
		outcome = walk(sub, NULL);
		if (outcome == HBUS_RING_OK)
			return settle(sub);
		if (outcome == HBUS_RING_CORRUPT)
			return outcome;
	}
	return HBUS_RING_CORRUPT;
}

enum hbus_ring_outcome hbus_ring_sub_seek_oldest(struct hbus_ring_sub *sub)
{
	for (uint32_t i = 0; i < SEEK_ATTEMPTS; i++) {
		struct place place = {0};

		if (!checkpoint_find(sub, OLDEST, NULL, NULL, &place))
			continue;
		stand_at(sub, &place);
		if (hbus_ring_sub_is_whole(sub, place.position))
			return settle(sub);
	}
	return HBUS_RING_CORRUPT;
}

enum hbus_ring_outcome hbus_ring_sub_seek(struct hbus_ring_sub *sub, uint64_t sequence, uint64_t *ret_lost)
{
	for (uint32_t i = 0; i < SEEK_ATTEMPTS; i++) {
		struct place place = {0};
		enum hbus_ring_outcome outcome;

		if (!checkpoint_find(sub, NEWEST, NULL, &sequence, &place)) {
			outcome = hbus_ring_sub_seek_oldest(sub);
			if (outcome != HBUS_RING_OK)
				return outcome;
			if ((int64_t)(sub->sequence - sequence) <= 0)
				continue; /* it was there, only overrun while it was looked for */
			*ret_lost = sub->sequence - sequence;
			return HBUS_RING_OK;
		}
		stand_at(sub, &place);
		outcome = walk(sub, &sequence);
		if (outcome == HBUS_RING_CORRUPT)
			return outcome;
		if (outcome == HBUS_RING_OK) {
			*ret_lost = 0;
			return settle(sub);
		}
	}
	return HBUS_RING_CORRUPT;
}

enum hbus_ring_outcome hbus_ring_sub_reenter(struct hbus_ring_sub *sub, uint64_t *ret_first, uint64_t *ret_lost)
{
	uint64_t position = sub->batch_position, sequence = sub->batch_sequence;

	*ret_first = sequence;
	*ret_lost = 0;
	sub->position = position;
	sub->sequence = sequence;
	hbus_ring_sub_begin(sub);
	for (uint32_t i = 0; i < ENTRY_ATTEMPTS; i++) {
		struct place place = {0};

		/* What a gate has been promised begins at or behind the oldest checkpoint that is whole. */
		if (!checkpoint_find(sub, sub->is_gating ? OLDEST : NEWEST, &position, NULL, &place))
			continue;
		if ((int64_t)(place.sequence - sequence) <= 0)
			return HBUS_RING_CORRUPT;
		stand_at(sub, &place);
		*ret_lost = place.sequence - sequence;
		return settle(sub);
	}
	/* The publisher is between two checkpoints, or overran the ring during each attempt. */
	return ++sub->n_failed_entries > ENTRIES_FAILED_MAX ? HBUS_RING_CORRUPT : HBUS_RING_OK;
}

bool hbus_ring_sub_is_dropped(const struct hbus_ring_sub *sub, uint32_t attach_idx, uint64_t gate_id,
			      uint64_t *ret_position)
{
	const struct hbus_dropped_gate *dropped;
	uint64_t position;

	if (attach_idx >= HBUS_RING_GATES_MAX)
		return false;
	dropped = &sub->header->dropped[attach_idx];
	/* A(ring.dropped): pairs with R(ring.dropped) in hbus_gates_reap(). */
	if (atomic_load_explicit(&dropped->gate_id, memory_order_acquire) != gate_id)
		return false;
	/* relaxed: ordered by the acquire above */
	position = atomic_load_explicit(&dropped->position, memory_order_relaxed);
	/* The place may meanwhile be another gate's: A(ring.dropped): pairs with the fence in drop(). */
	atomic_thread_fence(memory_order_acquire);
	/* relaxed: ordered by the fence */
	if (atomic_load_explicit(&dropped->gate_id, memory_order_relaxed) != gate_id)
		return false;
	*ret_position = position;
	return true;
}

bool hbus_ring_sub_is_closed(const struct hbus_ring_sub *sub)
{
	/* A(ring.state): pairs with R(ring.state) in hbus_ring_pub_close(). */
	return atomic_load_explicit(&sub->header->state, memory_order_acquire) == HBUS_RING_STATE_CLOSED;
}

static uint32_t load_u32(const unsigned char *from)
{
	uint32_t value;

	hbus_copy_out(&value, from, sizeof(value));
	return value;
}

static uint64_t load_u64(const unsigned char *from)
{
	uint64_t value;

	hbus_copy_out(&value, from, sizeof(value));
	return value;
}

bool hbus_record_parse(struct hbus_record *record, uint64_t word, const unsigned char *body)
{
	uint32_t flags = hbus_word_flags(word), left = hbus_word_length(word);

	record->time_ns = 0;
	record->attrs = NULL;
	record->attrs_size = 0;
	record->key = 0;
	record->topic = hbus_word_topic(word);
	record->flags = flags;
	record->n_events = 1;
	record->payload = body;
	record->size = record->stride = left;
	record->is_unknown = (flags & ~HBUS_FLAGS_KNOWN) != 0;
	if (record->is_unknown)
		return true;
	if (flags & HBUS_FLAG_TIME) {
		if (left < 8)
			return false;
		record->time_ns = load_u64(body);
		body += 8;
		left -= 8;
	}
	if (flags & HBUS_FLAG_KEY) {
		if (left < 8)
			return false;
		record->key = load_u32(body);
		body += 8;
		left -= 8;
	}
	if (flags & HBUS_FLAG_ATTRS) {
		uint32_t size = left < 8 ? UINT32_MAX : load_u32(body);

		if (left < 8 || size > left - 8 || HBUS_ALIGN8((uint64_t)size) > left - 8)
			return false;
		record->attrs = body + 8;
		record->attrs_size = size;
		body += 8 + HBUS_ALIGN8((uint64_t)size);
		left -= (uint32_t)(8 + HBUS_ALIGN8((uint64_t)size));
	}
	record->payload = body;
	record->size = record->stride = left;
	if (flags & HBUS_FLAG_RUN) {
		uint64_t n = left < 8 ? 0 : load_u32(body);
		uint64_t size = left < 8 ? 0 : load_u32(body + 4);

		if (left < 8 || n == 0 || size > left - 8 || n * HBUS_ALIGN8(size) > left - 8 || n > HBUS_WORD_LENGTH_MAX)
			return false;
		record->payload = body + 8;
		record->n_events = (uint32_t)n;
		record->size = (uint32_t)size;
		record->stride = (uint32_t)HBUS_ALIGN8(size);
	}
	return true;
}

void hbus_ring_sub_store_cursor(struct hbus_ring_sub *sub)
{
	if (!sub->slot || sub->cursor == sub->position)
		return;
	sub->cursor = sub->position;
	/* Zero means "not joined": at position zero, 8 bytes are given up later. */
	/* R(ring.cursor): the last use of the bytes below before the word that gives them up. */
	atomic_store_explicit(&sub->slot->cursor, sub->position ? sub->position : 0 - (uint64_t)HBUS_RECORD_HEADER,
			      memory_order_release);
}

void hbus_ring_sub_leave(struct hbus_ring_sub *sub)
{
	sub->is_gating = false;
	if (sub->slot) /* R(ring.cursor): as in hbus_ring_sub_store_cursor() */
		atomic_store_explicit(&sub->slot->cursor, HBUS_CURSOR_LEFT, memory_order_release);
}

void hbus_ring_sub_store_stats(struct hbus_ring_sub *sub, uint64_t delivered, uint64_t filtered, uint64_t lost)
{
	struct hbus_slot *slot = sub->slot;

	if (!slot)
		return;
	/* relaxed: statistics, this thread is their only writer */
	atomic_store_explicit(&slot->delivered, delivered, memory_order_relaxed);
	atomic_store_explicit(&slot->filtered, filtered, memory_order_relaxed); /* relaxed: as above */
	atomic_store_explicit(&slot->lost, lost, memory_order_relaxed);	/* relaxed: as above */
	atomic_store_explicit(&slot->position, sub->position, memory_order_relaxed); /* relaxed: as above */
	atomic_store_explicit(&slot->sequence, sub->sequence, memory_order_relaxed); /* relaxed: as above */
}
