/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring of a hostile publisher: header page, intent, checkpoints and data come from the input, and change between
 * the reader's calls
 *
 * Both mappings have exactly their size and lie between pages that cannot be touched. Whatever the bytes: nothing
 * outside is read, every record lies within its bounds and the ring, positions only go forward by whole records while
 * a poll lasts, and each call ends.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/ring_sub.h"

#define CAPACITY 4096u
#define PAGE 4096u
#define POLL_MAX 1200u /* records in one poll: more than there are words */

struct input {
	const uint8_t *at, *end;
};

static unsigned char *data;
static struct hbus_ring_header *header;
static struct hbus_slot slot;

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

/* -- memory -- */

static unsigned char *fenced(size_t size)
{
	unsigned char *raw = mmap(NULL, size + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	require(raw != MAP_FAILED);
	return raw + PAGE;
}

static void map_once(void)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	require(fd >= 0 && ftruncate(fd, CAPACITY) == 0);
	data = fenced(2 * (size_t)CAPACITY);
	for (size_t i = 0; i < 2; i++)
		require(mmap(data + i * CAPACITY, CAPACITY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) !=
			MAP_FAILED);
	close(fd);
	header = (struct hbus_ring_header *)(void *)fenced(PAGE);
	require(mprotect(header, PAGE, PROT_READ | PROT_WRITE) == 0);
}

/* -- input -- */

static uint64_t take(struct input *input, size_t n)
{
	uint64_t value = 0;

	if ((size_t)(input->end - input->at) < n)
		n = (size_t)(input->end - input->at);
	memcpy(&value, input->at, n);
	input->at += n;
	return value;
}

/* A word that looks like a header, or eight bytes of anything. */
static uint64_t take_word(struct input *input)
{
	uint64_t kind = take(input, 1);

	switch (kind % 8) {
	case 0:
		return 0;
	case 1:
		return take(input, 8);
	case 2: /* the longest records, and those just beyond */
		return hbus_word_make((uint32_t)(kind >> 3), 1,
				      CAPACITY / HBUS_RECORD_DIVISOR - 16 + (uint32_t)take(input, 1) % 32);
	case 3: /* numbers of a run, sizes of attributes */
		return take(input, 1) | take(input, 1) << 32;
	default:
		return hbus_word_make((uint32_t)(kind >> 3) & HBUS_FLAGS_KNOWN, 1, (uint32_t)take(input, 1));
	}
}

/* Near @near, or anywhere. */
static uint64_t take_position(struct input *input, uint64_t near)
{
	uint64_t kind = take(input, 1);

	if (kind == 255)
		return take(input, 8);
	return near + 8 * (uint64_t)(int64_t)(int16_t)take(input, 2);
}

static uint64_t take_start(struct input *input)
{
	static const uint64_t borders[] = {0, 1ull << 32, 1ull << 63, 0 - (uint64_t)CAPACITY};

	return borders[take(input, 1) % 4] + CAPACITY / HBUS_RING_BLOCKS * (take(input, 1) % 64);
}

/* -- what a hostile publisher does -- */

static void write_checkpoint(struct input *input, uint64_t near)
{
	uint32_t idx = (uint32_t)take(input, 1) % HBUS_RING_BLOCKS;
	struct hbus_checkpoint *checkpoint = &header->checkpoints[idx];
	uint64_t position = take_position(input, near);

	/* Mostly in its own block, or no reader would look at it. */
	if (take(input, 1) % 4) {
		position -= position % CAPACITY;
		position += (uint64_t)idx * (CAPACITY / HBUS_RING_BLOCKS) + 8 * (take(input, 1) % 16);
		position += take(input, 1) % 8 ? 0 : 4;
	}
	atomic_store_explicit(&checkpoint->position, position, memory_order_relaxed);
	atomic_store_explicit(&checkpoint->sequence, take_position(input, 100), memory_order_relaxed);
}

static void scribble(struct input *input, uint64_t near)
{
	uint64_t at;

	switch (take(input, 1) % 6) {
	case 0:
		write_checkpoint(input, near);
		break;
	case 1:
		atomic_store_explicit(&header->intent, take_position(input, near), memory_order_relaxed);
		break;
	case 2:
		atomic_store_explicit(&header->dropped[0].gate_id, take(input, 1), memory_order_relaxed);
		atomic_store_explicit(&header->state, (uint32_t)take(input, 1), memory_order_relaxed);
		break;
	default:
		at = take(input, 2) % CAPACITY & ~7ull;
		for (uint64_t n = take(input, 1) % 16 + 1; n > 0; n--) {
			uint64_t word = take_word(input);

			memcpy(data + at, &word, 8);
			at = (at + 8) % CAPACITY;
		}
	}
}

static void fill(struct input *input, uint64_t start)
{
	memset(header, 0, PAGE);
	for (uint64_t at = 0; at < CAPACITY; at += 8) {
		uint64_t word = input->at < input->end ? take_word(input) : 0;

		memcpy(data + (start + at) % CAPACITY, &word, 8);
		if (at > 64 && take(input, 1) % 16 == 0)
			break;
	}
	atomic_store_explicit(&header->intent, take_position(input, start + CAPACITY / 2), memory_order_relaxed);
	for (uint64_t n = take(input, 1) % 8; n > 0; n--)
		write_checkpoint(input, start);
}

/* -- the reader -- */

static uint64_t touch(const unsigned char *at, uint64_t size)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < size; i++)
		sum += at[i];
	return sum;
}

/* Within the bytes of its record, which begins at @position; n events of no bytes are fine. */
static void check_record(const struct hbus_ring_sub *sub, const struct hbus_record *record, uint64_t position)
{
	const unsigned char *body = data + (position & sub->mask) + HBUS_RECORD_HEADER;
	const unsigned char *end = data + (position & sub->mask) + (sub->position - position);

	require(end > body - 1 && end <= data + 2 * (size_t)CAPACITY);
	require(sub->position - position <= sub->record_max && sub->position % 8 == 0);
	require(record->payload >= body && record->payload <= end);
	require(record->n_events >= 1);
	require((record->n_events - 1) * (uint64_t)record->stride + record->size <= (uint64_t)(end - record->payload));
	touch(record->payload, (record->n_events - 1) * (uint64_t)record->stride + record->size);
	if (record->attrs) {
		require(record->attrs >= body && record->attrs + record->attrs_size <= end);
		touch(record->attrs, record->attrs_size);
	}
}

static void reenter(struct hbus_ring_sub *sub)
{
	uint64_t sequence = sub->batch_sequence, position = sub->batch_position, first = 0, lost = 0;

	if (hbus_ring_sub_reenter(sub, &first, &lost) != HBUS_RING_OK)
		return;
	require(first == sequence && sub->sequence == first + lost);
	require(lost ? (int64_t)(sub->position - position) > 0 : sub->position == position);
}

static void poll_ring(struct hbus_ring_sub *sub, struct input *input)
{
	struct hbus_record record;
	uint64_t position = sub->position;

	hbus_ring_sub_begin(sub);
	for (unsigned int n = 0; n < POLL_MAX && hbus_ring_sub_next(sub, &record); n++) {
		check_record(sub, &record, position);
		position = sub->position;
	}
	require(sub->position == position);
	scribble(input, position);
	if (hbus_ring_sub_confirm(sub) != HBUS_RING_OK || hbus_ring_sub_release(sub) != HBUS_RING_OK)
		reenter(sub);
}

static void call(struct hbus_ring_sub *sub, struct input *input)
{
	uint64_t lost = 0, position;

	switch (take(input, 1) % 8) {
	case 0:
		hbus_ring_sub_seek_newest(sub);
		break;
	case 1:
		hbus_ring_sub_seek_oldest(sub);
		break;
	case 2:
		hbus_ring_sub_seek(sub, take_position(input, 100), &lost);
		break;
	case 3:
		reenter(sub);
		break;
	case 4:
		hbus_ring_sub_is_dropped(sub, (uint32_t)take(input, 1), 7, &position);
		hbus_ring_sub_is_closed(sub);
		hbus_ring_sub_store_stats(sub, 1, 2, 3);
		break;
	default:
		poll_ring(sub, input);
	}
	require(sub->position % 8 == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct input input = {.at = bytes, .end = bytes + size};
	struct hbus_geometry geometry = {.ring_id = 1, .capacity = CAPACITY};
	struct hbus_ring_sub sub;

	if (!data)
		map_once();
	geometry.start = take_start(&input);
	hbus_ring_sub_init(&sub, &geometry, header, data, &slot, take(&input, 1) % 2);
	fill(&input, geometry.start);
	for (unsigned int n = 0; n < 16 && input.at < input.end; n++) {
		call(&sub, &input);
		scribble(&input, sub.position);
	}
	return 0;
}
