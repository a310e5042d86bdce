/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring, one publisher and one reader in one thread: what each operation promises. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/ring_pub.h"
#include "shm/ring_sub.h"
#include "shm/segment.h"

#define CAPACITY HBUS_RING_CAPACITY_MIN

struct pair {
	struct hbus_geometry geometry;
	struct hbus_ring_pub pub;
	struct hbus_ring_sub sub;
	struct hbus_gates gates;
	struct hbus_slot slot;
	struct hbus_ring_header *header;
	unsigned char *data;
};

static void pair_init(struct pair *pair, uint64_t start, bool is_reliable)
{
	struct hbus_gate_spec spec = {.gate_id = 7, .slot = &pair->slot, .pidfd = -1, .doorbell = -1,
				      .stall_ms = 50, .is_reliable = is_reliable};
	void *data;
	int fd = -1;

	memset(pair, 0, sizeof(*pair));
	pair->geometry = (struct hbus_geometry){.ring_id = 1, .capacity = CAPACITY, .start = start};
	cr_assert_eq(hbus_memfd_new("test", CAPACITY, 0, &fd), 0);
	cr_assert_eq(hbus_segment_map_twice(fd, CAPACITY, 1, 0, &data), 0);
	close(fd);
	pair->data = data;
	pair->header = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	hbus_gates_init(&pair->gates, start, false);
	hbus_ring_pub_init(&pair->pub, &pair->geometry, pair->header, pair->data, &pair->gates);
	hbus_ring_sub_init(&pair->sub, &pair->geometry, pair->header, pair->data, &pair->slot, is_reliable);
	cr_assert_eq(hbus_gates_install(&pair->gates, 0, &spec), 0);
}

static int put(struct pair *pair, uint64_t value, uint64_t len)
{
	unsigned char *body = NULL;
	int r = hbus_ring_pub_claim(&pair->pub, len, &body);

	if (r)
		return r;
	memset(body, (int)(value & 0xff), len);
	memcpy(body, &value, len < 8 ? len : 8);
	hbus_ring_pub_add(&pair->pub, 0, 3, len, 1);
	hbus_ring_pub_commit(&pair->pub);
	return 0;
}

static bool get(struct pair *pair, uint64_t *ret_value)
{
	struct hbus_record record;
	bool found;

	hbus_ring_sub_begin(&pair->sub);
	found = hbus_ring_sub_next(&pair->sub, &record);
	if (found)
		memcpy(ret_value, record.payload, 8);
	cr_assert_eq(hbus_ring_sub_confirm(&pair->sub), HBUS_RING_OK);
	cr_assert_eq(hbus_ring_sub_release(&pair->sub), HBUS_RING_OK);
	return found;
}

Test(ring, what_is_published_is_read_in_order)
{
	struct pair pair;
	uint64_t value = 0;

	pair_init(&pair, 0, false);
	cr_assert_not(get(&pair, &value));
	for (uint64_t i = 0; i < 10000; i++) {
		cr_assert_eq(put(&pair, i, 8 + i % 100), 0);
		cr_assert(get(&pair, &value));
		cr_assert_eq(value, i);
	}
	cr_assert_not(get(&pair, &value));
}

/* One record the quick way, or the long one where that will not do. */
static int put_quickly(struct pair *pair, uint64_t value, uint64_t len, uint64_t *n_quick)
{
	uint64_t end;
	unsigned char *body = hbus_ring_pub_begin_one(&pair->pub, len, &end);

	if (!body)
		return put(pair, value, len);
	memcpy(body, &value, 8);
	hbus_ring_pub_end_one(&pair->pub, body, hbus_word_make(0, 3, (uint32_t)len), end, 1);
	if (hbus_ring_pub_is_own_due(&pair->pub, end))
		hbus_ring_pub_own(&pair->pub);
	++*n_quick;
	return 0;
}

Test(ring, the_quick_way_takes_all_records_but_those_that_enter_a_block)
{
	static const uint64_t starts[] = {0, (1ull << 32) - 4 * CAPACITY, 0 - 4ull * CAPACITY};

	for (int s = 0; s < 3; s++) {
		uint64_t value = 0, n_quick = 0, n_entered = 0, block = ~(uint64_t)0;
		struct pair pair;

		pair_init(&pair, starts[s], true);
		for (uint64_t i = 0; i < 20000; i++) {
			uint64_t was = n_quick;

			cr_assert_eq(put_quickly(&pair, i, 8 + i % 100, &n_quick), 0);
			cr_assert(get(&pair, &value));
			cr_assert_eq(value, i);
			if (n_quick == was)
				n_entered += pair.pub.tail / hbus_block_size(CAPACITY) != block;
			block = pair.pub.tail / hbus_block_size(CAPACITY);
		}
		cr_assert_geq(n_quick + n_entered, 20000 - 1);
		cr_assert_lt(n_entered, 20000 / 8);
	}
}

Test(ring, each_block_has_its_checkpoint_although_intent_is_ahead)
{
	unsigned char *body = NULL;
	uint64_t n_quick = 0;
	struct pair pair;

	pair_init(&pair, 0, false);
	/* What is aborted leaves intent blocks ahead: the quick way must end at its block all the same. */
	cr_assert_eq(hbus_ring_pub_claim(&pair.pub, CAPACITY / 8 - 8, &body), 0);
	hbus_ring_pub_add(&pair.pub, 0, 1, CAPACITY / 8 - 8, 1);
	hbus_ring_pub_abort(&pair.pub);
	for (uint64_t i = 0; pair.pub.tail < CAPACITY / 8; i++)
		cr_assert_eq(put_quickly(&pair, i, 56, &n_quick), 0);
	cr_assert_gt(n_quick, 0);
	for (uint32_t i = 0; i < HBUS_RING_BLOCKS / HBUS_RECORD_DIVISOR; i++) {
		uint64_t position = atomic_load_explicit(&pair.header->checkpoints[i].position, memory_order_relaxed);

		cr_assert_eq(position / hbus_block_size(CAPACITY), i);
	}
}

Test(ring, a_batch_ends_at_one_eighth_the_quick_way_too)
{
	uint64_t n = 0, value = 0;
	struct pair pair;

	pair_init(&pair, 0, false);
	/* Another aborted one, so that it is not intent that ends it. */
	for (int i = 0; i < 2; i++) {
		unsigned char *body = NULL;

		cr_assert_eq(hbus_ring_pub_claim(&pair.pub, CAPACITY / 8 - 8, &body), 0);
		hbus_ring_pub_add(&pair.pub, 0, 1, CAPACITY / 8 - 8, 1);
		if (i == 0)
			hbus_ring_pub_commit(&pair.pub);
		else
			hbus_ring_pub_abort(&pair.pub);
	}
	for (;; n++) {
		unsigned char *body = NULL;

		if (n == 0)
			cr_assert_eq(hbus_ring_pub_claim(&pair.pub, 8, &body), 0);
		else
			body = hbus_ring_pub_begin_more(&pair.pub, 8);
		if (!body)
			break;
		memcpy(body, &n, 8);
		hbus_ring_pub_add(&pair.pub, 0, 3, 8, 1);
	}
	cr_assert_eq(n, CAPACITY / 8 / 16);
	hbus_ring_pub_commit(&pair.pub);
	cr_assert(get(&pair, &value)); /* the large one */
	for (uint64_t i = 0; i < n; i++) {
		cr_assert(get(&pair, &value));
		cr_assert_eq(value, i);
	}
	cr_assert_not(get(&pair, &value));
}

Test(ring, positions_wrap_at_2_to_the_32_63_and_64)
{
	static const uint64_t borders[] = {1ull << 32, 1ull << 63, 0};

	for (int b = 0; b < 3; b++) {
		struct pair pair;
		uint64_t value = 0;

		pair_init(&pair, borders[b] - 4 * CAPACITY, true);
		for (uint64_t i = 0; i < 20000; i++) {
			cr_assert_eq(put(&pair, i, 24), 0, "border %d event %lu", b, (unsigned long)i);
			cr_assert(get(&pair, &value));
			cr_assert_eq(value, i);
		}
	}
}

Test(ring, a_reliable_reader_that_stands_still_makes_the_ring_full_and_loses_nothing)
{
	struct pair pair;
	uint64_t n = 0, value;

	pair_init(&pair, 0, true);
	while (put(&pair, n, 100) == 0)
		n++;
	cr_assert_gt(n, CAPACITY / 112 - 2 * CAPACITY / HBUS_RING_BLOCKS / 112 - 2);
	cr_assert_leq(n, CAPACITY / 112);
	for (uint64_t i = 0; i < n; i++) {
		cr_assert(get(&pair, &value));
		cr_assert_eq(value, i);
	}
	cr_assert_eq(put(&pair, n, 100), 0);
}

Test(ring, a_lapped_reader_learns_exactly_how_many_it_lost)
{
	struct pair pair;
	struct hbus_record record;
	uint64_t first = 0, lost = 0, value = 0;

	pair_init(&pair, 0, false);
	for (uint64_t i = 0; i < 5000; i++)
		cr_assert_eq(put(&pair, i, 40), 0);
	hbus_ring_sub_begin(&pair.sub);
	while (hbus_ring_sub_next(&pair.sub, &record))
		;
	cr_assert_eq(hbus_ring_sub_confirm(&pair.sub), HBUS_RING_LAPPED);
	cr_assert_eq(hbus_ring_sub_reenter(&pair.sub, &first, &lost), HBUS_RING_OK);
	cr_assert_eq(first, 0);
	cr_assert_gt(lost, 0);
	for (uint64_t i = lost; i < 5000; i++) {
		cr_assert(get(&pair, &value));
		cr_assert_eq(value, i);
	}
	cr_assert_not(get(&pair, &value));
}

Test(ring, a_batch_appears_whole_and_an_abort_leaves_nothing)
{
	struct pair pair;
	unsigned char *body = NULL;
	uint64_t value = 0;

	pair_init(&pair, 0, false);
	for (uint64_t i = 0; i < 5; i++) {
		cr_assert_eq(hbus_ring_pub_claim(&pair.pub, 8, &body), 0);
		memcpy(body, &i, 8);
		hbus_ring_pub_add(&pair.pub, 0, 1, 8, 1);
		cr_assert_not(get(&pair, &value));
	}
	hbus_ring_pub_abort(&pair.pub);
	cr_assert_not(get(&pair, &value));
	cr_assert_eq(pair.pub.sequence, 0);
	for (uint64_t i = 0; i < 5; i++) {
		cr_assert_eq(hbus_ring_pub_claim(&pair.pub, 8, &body), 0);
		memcpy(body, &i, 8);
		hbus_ring_pub_add(&pair.pub, 0, 1, 8, 1);
	}
	hbus_ring_pub_commit(&pair.pub);
	for (uint64_t i = 0; i < 5; i++) {
		cr_assert(get(&pair, &value));
		cr_assert_eq(value, i);
	}
	cr_assert_not(get(&pair, &value));
}

Test(ring, a_record_of_one_eighth_fits_and_one_byte_more_does_not)
{
	struct pair pair;
	unsigned char *body = NULL;

	pair_init(&pair, 0, false);
	cr_assert_eq(hbus_ring_pub_claim(&pair.pub, CAPACITY / 8 - 8, &body), 0);
	cr_assert_eq(hbus_ring_pub_claim(&pair.pub, CAPACITY / 8 - 7, &body), HBUS_RING_TOO_LARGE);
	cr_assert_eq(hbus_ring_pub_claim(&pair.pub, HBUS_WORD_LENGTH_MAX + 1u, &body), HBUS_RING_TOO_LARGE);
}

Test(ring, a_gate_that_stalls_beyond_its_limit_is_dropped_and_told)
{
	struct pair pair;
	uint64_t n = 0, need, where = 0;

	pair_init(&pair, 0, true);
	while (put(&pair, n, 1000) == 0)
		n++;
	need = hbus_ring_pub_need(&pair.pub, hbus_ring_pub_head(&pair.pub) + 1008);
	cr_assert_eq(hbus_gates_reap(&pair.gates, pair.header, pair.pub.tail, need, CAPACITY, 20000), 0);
	cr_assert_eq(hbus_gates_reap(&pair.gates, pair.header, pair.pub.tail, need, CAPACITY, 1000000), 0,
		     "one long slice is a pause of the host, not a stall");
	cr_assert_eq(hbus_gates_reap(&pair.gates, pair.header, pair.pub.tail, need, CAPACITY, 20000), 1);
	cr_assert(hbus_ring_sub_is_dropped(&pair.sub, 0, 7, &where));
	cr_assert_eq(where, pair.pub.tail);
	cr_assert_eq(put(&pair, n, 1000), 0);
}

Test(ring, a_lying_cursor_neither_frees_unread_bytes_beyond_the_tail_nor_blocks_below_the_floor)
{
	struct pair pair;
	uint64_t n = 0;

	pair_init(&pair, 0, true);
	atomic_store_explicit(&pair.slot.cursor, 1ull << 40, memory_order_relaxed);
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(put(&pair, n++, 1000), 0);
	atomic_store_explicit(&pair.slot.cursor, 8, memory_order_relaxed);
	while (put(&pair, n, 1000) == 0)
		n++;
	cr_assert_lt(n, 1000 + CAPACITY / 1000 + 1, "a cursor that falls back counts as the floor");
	cr_assert_gt(n, 1000 + CAPACITY / 1008 / 2);
}

Test(ring, a_word_that_no_publisher_writes_is_corrupt)
{
	static const uint64_t bad[] = {1, 0xb500000000ffffffull, 0xff00000000000008ull, 0xb508000001000008ull};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pair pair;
		struct hbus_record record;

		pair_init(&pair, 0, false);
		memcpy(pair.data, &bad[i], 8);
		hbus_ring_sub_begin(&pair.sub);
		cr_assert_not(hbus_ring_sub_next(&pair.sub, &record));
		cr_assert_eq(hbus_ring_sub_confirm(&pair.sub), HBUS_RING_CORRUPT, "word %zu", i);
	}
}

Test(ring, seek_finds_a_sequence_the_newest_and_the_oldest)
{
	struct pair pair;
	uint64_t value = 0, lost = 0;

	pair_init(&pair, 0, false);
	for (uint64_t i = 0; i < 5000; i++)
		cr_assert_eq(put(&pair, i, 40), 0);
	cr_assert_eq(hbus_ring_sub_seek(&pair.sub, 4990, &lost), HBUS_RING_OK);
	cr_assert_eq(lost, 0);
	cr_assert(get(&pair, &value));
	cr_assert_eq(value, 4990);
	cr_assert_eq(hbus_ring_sub_seek(&pair.sub, 10, &lost), HBUS_RING_OK);
	cr_assert(get(&pair, &value));
	cr_assert_eq(value, 10 + lost);
	cr_assert_gt(lost, 0);
	cr_assert_eq(hbus_ring_sub_seek_newest(&pair.sub), HBUS_RING_OK);
	cr_assert_not(get(&pair, &value));
	cr_assert_eq(pair.sub.sequence, 5000);
	cr_assert_eq(hbus_ring_sub_seek_oldest(&pair.sub), HBUS_RING_OK);
	cr_assert(get(&pair, &value));
	cr_assert_eq(value, 10 + lost);
}

/* Checkpoints that were never written say nothing, whatever position zero means on this ring. */
Test(ring, a_checkpoint_that_was_never_written_is_none)
{
	static const uint64_t starts[] = {CAPACITY / HBUS_RING_BLOCKS, 0 - (uint64_t)CAPACITY / HBUS_RING_BLOCKS};

	for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
		struct pair pair;
		uint64_t value = 0, lost = 1;

		pair_init(&pair, starts[s], false);
		for (uint64_t i = 0; i < 40; i++)
			cr_assert_eq(put(&pair, i, 40), 0);
		cr_assert_eq(hbus_ring_sub_seek_oldest(&pair.sub), HBUS_RING_OK);
		cr_assert_eq(pair.sub.position, starts[s]);
		cr_assert_eq(hbus_ring_sub_seek(&pair.sub, 7, &lost), HBUS_RING_OK);
		cr_assert(get(&pair, &value));
		cr_assert_eq(value, 7);
		cr_assert_eq(hbus_ring_sub_seek_newest(&pair.sub), HBUS_RING_OK);
		cr_assert_eq(pair.sub.position, pair.pub.tail, "start %zu", s);
		cr_assert_eq(pair.sub.sequence, 40);
	}
}

/* What next() stopped at in a poll that was void is no reason to call the next one corrupt. */
Test(ring, a_lapped_poll_leaves_no_suspicion_behind)
{
	static const uint64_t no_word = 1;
	struct pair pair;
	struct hbus_record record;
	uint64_t first, lost;

	pair_init(&pair, 0, false);
	for (uint64_t i = 0; i < 5000; i++)
		cr_assert_eq(put(&pair, i, 40), 0);
	memcpy(pair.data, &no_word, sizeof(no_word));
	hbus_ring_sub_begin(&pair.sub);
	cr_assert_not(hbus_ring_sub_next(&pair.sub, &record));
	cr_assert_eq(hbus_ring_sub_reenter(&pair.sub, &first, &lost), HBUS_RING_OK);
	hbus_ring_sub_begin(&pair.sub);
	cr_assert_eq(hbus_ring_sub_confirm(&pair.sub), HBUS_RING_OK, "nothing was read in this poll");
}

/* A checkpoint is never further behind the newest record than a batch and a block. */
Test(ring, a_walk_is_no_longer_than_an_honest_one_can_be)
{
	struct pair pair;
	uint64_t lost;

	pair_init(&pair, 0, false);
	for (uint64_t i = 0; i < CAPACITY / 8; i++)
		((uint64_t *)(void *)pair.data)[i] = hbus_word_make(0, 1, 0);
	atomic_store_explicit(&pair.header->intent, CAPACITY, memory_order_relaxed);
	cr_assert_eq(hbus_ring_sub_seek_newest(&pair.sub), HBUS_RING_OK);
	cr_assert_leq(pair.sub.position, CAPACITY / 4 + 8);
	cr_assert_eq(hbus_ring_sub_seek(&pair.sub, 1ull << 40, &lost), HBUS_RING_OK);
	cr_assert_leq(pair.sub.position, CAPACITY / 4 + 8);
}

/* A batch of the largest size, just before a block ends: the newest is still found from the checkpoint. */
Test(ring, the_newest_is_found_behind_the_largest_batch)
{
	const uint64_t block = CAPACITY / HBUS_RING_BLOCKS;

	for (uint64_t before = 0; before < block; before += 64) {
		struct pair pair;

		pair_init(&pair, 0, false);
		if (before)
			cr_assert_eq(put(&pair, 0, before - 8), 0);
		cr_assert_eq(put(&pair, 1, CAPACITY / 8 - 8), 0);
		cr_assert_eq(hbus_ring_sub_seek_newest(&pair.sub), HBUS_RING_OK);
		cr_assert_eq(pair.sub.position, pair.pub.tail);
		/* As if the publisher had been killed between the commit and its checkpoint. */
		for (uint32_t i = 1; i < HBUS_RING_BLOCKS; i++)
			atomic_store_explicit(&pair.header->checkpoints[i].position, 1, memory_order_relaxed);
		cr_assert_eq(hbus_ring_sub_seek_newest(&pair.sub), HBUS_RING_OK);
		cr_assert_eq(pair.sub.position, pair.pub.tail);
	}
}

/* Zero in a slot says "not joined": a cursor that comes to stand there must say something else. */
Test(ring, a_reader_that_stands_at_position_zero_is_not_taken_for_one_that_has_not_joined)
{
	struct pair pair;
	uint64_t n = 0, value = 0;

	pair_init(&pair, 0 - (uint64_t)CAPACITY, true);
	for (; n < CAPACITY / 64 / 2; n++)
		cr_assert_eq(put(&pair, n, 56), 0);
	cr_assert(get(&pair, &value));
	for (; pair.pub.tail != 0; n++) {
		cr_assert_eq(put(&pair, n, 56), 0);
		cr_assert(get(&pair, &value));
	}
	while (get(&pair, &value))
		;
	cr_assert_eq(value, n - 1);
	cr_assert_eq(pair.sub.position, 0);
	for (uint64_t i = 0; i < (CAPACITY - CAPACITY / HBUS_RING_BLOCKS) / 64 - 1; i++)
		cr_assert_eq(put(&pair, n++, 56), 0, "%lu behind zero", (unsigned long)i);
}

/* A claim that is given up, behind a record that took less than it had claimed, leaves bytes where the batch ends. */
Test(ring, the_word_behind_a_batch_is_empty_whatever_was_claimed_before)
{
	struct pair pair;
	unsigned char *body = NULL;
	uint64_t value = 0;

	pair_init(&pair, 0, false);
	cr_assert_eq(hbus_ring_pub_claim(&pair.pub, 40, &body), 0);
	memset(body, 1, 8);
	hbus_ring_pub_add(&pair.pub, 0, 1, 8, 1);
	cr_assert_eq(hbus_ring_pub_claim(&pair.pub, 100, &body), 0);
	memset(body, 0xee, 100);
	cr_assert_eq(hbus_ring_pub_claim(&pair.pub, 24, &body), 0);
	memset(body, 2, 24);
	hbus_ring_pub_add(&pair.pub, 0, 1, 24, 1);
	hbus_ring_pub_commit(&pair.pub);
	cr_assert(get(&pair, &value));
	cr_assert(get(&pair, &value));
	cr_assert_not(get(&pair, &value));
}

#define LARGE_CAPACITY (1u << 20)
#define GUARD_BYTES 4096u

/* How fast lines come is looked at with lines that will be written anyway: none is touched that is not threatened yet. */
Test(ring, lines_are_timed_below_intent_only)
{
	struct pair pair = {.geometry = {.ring_id = 1, .capacity = LARGE_CAPACITY}};
	static unsigned char guard[GUARD_BYTES];
	uint64_t n_timed = 0, n_guarded = 0;
	void *data;
	int fd = -1;

	memset(guard, 0x5a, sizeof(guard));
	cr_assert_eq(hbus_memfd_new("test", LARGE_CAPACITY, 0, &fd), 0);
	cr_assert_eq(hbus_segment_map_twice(fd, LARGE_CAPACITY, 1, 0, &data), 0);
	close(fd);
	pair.header = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	hbus_gates_init(&pair.gates, 0, false);
	hbus_ring_pub_init(&pair.pub, &pair.geometry, pair.header, data, &pair.gates);
	for (uint64_t i = 0; i < 3000; i++) {
		uint64_t intent = pair.pub.intent, tail = pair.pub.tail;
		unsigned char *beyond = (unsigned char *)data + (intent & (LARGE_CAPACITY - 1));
		uint64_t value;

		memcpy(beyond, guard, sizeof(guard));
		pair.pub.own_at = pair.pub.measure_at = tail;
		pair.pub.is_near = false;
		cr_assert_eq(put(&pair, i, 1000), 0);
		n_timed += pair.pub.measure_at > tail;
		memcpy(&value, (unsigned char *)data + (tail & (LARGE_CAPACITY - 1)) + HBUS_RECORD_HEADER, sizeof(value));
		cr_assert_eq(value, i);
		if (pair.pub.intent != intent)
			continue;
		cr_assert_eq(memcmp(beyond, guard, sizeof(guard)), 0, "lines beyond intent were taken");
		n_guarded++;
	}
	cr_assert_gt(n_timed, 2000);
	cr_assert_gt(n_guarded, 2000);
	hbus_segment_unmap(data, 2 * LARGE_CAPACITY);
	munmap(pair.header, 4096);
}
