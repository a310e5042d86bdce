/* SPDX-License-Identifier: BSD-3-Clause */
/* Subscribers under the controlled scheduler, each with what it must never see. See sched_ring.h. */
#include "tests/stress/sched_ring.h"

#undef memcpy

static void check_floor(struct reader *reader)
{
	if (reader->is_reliable && reader->is_joined && !reader->is_evictable &&
	    sched_peek(&header.intent) - reader->sub.position > geometry.capacity)
		sched_fail("bytes of a reliable reader were given away");
}

static void lapped(struct reader *reader)
{
	uint64_t first, lost, position;

	if (reader->is_reliable && !reader->is_evictable)
		sched_fail("a reliable reader was lapped at %llu", (unsigned long long)reader->expected);
	reader->has_lapped = true;
	met.lapped++;
	if (hbus_ring_sub_reenter(&reader->sub, &first, &lost) != HBUS_RING_OK)
		sched_fail("reenter calls the ring corrupt");
	if (first != reader->expected)
		sched_fail("the loss begins at %llu, not at %llu", (unsigned long long)first,
			   (unsigned long long)reader->expected);
	reader->expected += lost;
	if (lost && reader->is_reliable && !hbus_ring_sub_is_dropped(&reader->sub, 0, reader->gate_id, &position))
		sched_fail("dropped, and not told");
}

static unsigned int take(struct reader *reader, const struct hbus_record *record, unsigned int n)
{
	for (uint32_t i = 0; i < record->n_events && n < POLL_MAX; i++) {
		struct copy *copy = &reader->copies[n++];

		copy->sequence = record->sequence + i;
		copy->size = record->size;
		copy->from = record->payload + (uint64_t)i * record->stride;
		if (copy->size <= SIZE_MAX_BYTES)
			hbus_copy_out(copy->bytes, copy->from, copy->size);
	}
	return n;
}

/* Payload that is used in place, between confirm and release. */
static void use_in_place(struct reader *reader, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		hbus_copy_out(reader->copies[i].bytes, reader->copies[i].from, reader->copies[i].size);
}

static void check_taken(struct reader *reader, unsigned int n, bool has_stopped)
{
	for (unsigned int i = 0; i < n; i++) {
		if (reader->copies[i].sequence != reader->expected + i)
			sched_fail("event %llu where %llu comes next",
				   (unsigned long long)reader->copies[i].sequence,
				   (unsigned long long)reader->expected + i);
		if (!event_is_right(&reader->copies[i]))
			sched_fail("event %llu was accepted and is torn",
				   (unsigned long long)reader->expected + i);
	}
	if (n > 0 && has_stopped && events[reader->expected + n - 1].batch_end != reader->expected + n)
		sched_fail("half a batch: it ends behind event %llu", (unsigned long long)reader->expected + n - 1);
}

int reader_poll(struct reader *reader)
{
	unsigned int n = 0, n_records = 0, max = 1 + (unsigned int)(sched_random() % 8);
	struct hbus_record record;
	bool has_stopped = false;
	enum hbus_ring_outcome outcome;

	hbus_ring_sub_begin(&reader->sub);
	while (n_records < max && n < POLL_MAX) {
		has_stopped = !hbus_ring_sub_next(&reader->sub, &record);
		if (has_stopped)
			break;
		n = take(reader, &record, n);
		n_records++;
	}
	outcome = hbus_ring_sub_confirm(&reader->sub);
	if (outcome == HBUS_RING_CORRUPT)
		sched_fail("an honest ring is called corrupt at %llu", (unsigned long long)reader->expected);
	if (outcome == HBUS_RING_OK) {
		check_taken(reader, n, has_stopped);
		if (sched_random() % 4 == 0)
			use_in_place(reader, n);
		outcome = hbus_ring_sub_release(&reader->sub);
	}
	if (outcome != HBUS_RING_OK) {
		lapped(reader);
		return -1;
	}
	check_taken(reader, n, has_stopped);
	check_floor(reader);
	reader->expected += n;
	return (int)n;
}

/* As a client does it. True: something may be there. */
static bool sleep_for_more(struct reader *reader)
{
	struct hbus_wait_word word = {.word = &header.notify};
	bool is_there;
	int r;

	atomic_store_explicit(&reader->sub.slot->waiting, 1, memory_order_relaxed);
	if (geometry.is_isolated)
		atomic_thread_fence(memory_order_seq_cst);
	else
		hbus_membarrier_global();
	/* A: pairs with hbus_wait_wake(): not younger than the look that follows. */
	word.seen = (uint32_t)atomic_load_explicit(&header.notify, memory_order_acquire);
	is_there = hbus_ring_sub_is_closed(&reader->sub) || reader_poll(reader) != 0;
	if (!is_there) {
		reader->is_asleep = true;
		met.slept++;
		r = hbus_wait_sleep(&word, 1, -1);
		reader->is_asleep = false;
		if (r == -ETIMEDOUT && (reader_poll(reader) != 0 || hbus_ring_sub_is_closed(&reader->sub)))
			sched_fail("slept while there was something to read");
	}
	atomic_store_explicit(&reader->sub.slot->waiting, 0, memory_order_relaxed);
	return true;
}

/* Until the ring is closed and read, or this many polls. */
static void read_on(struct reader *reader, unsigned int n_polls)
{
	unsigned int n_idle = 0;

	while (n_polls-- > 0) {
		bool is_closed = hbus_ring_sub_is_closed(&reader->sub);

		if (reader_poll(reader) != 0)
			continue;
		if (is_closed || (sched_has_crashed() && ++n_idle > 2))
			return;
		if (options.is_sleeping)
			sleep_for_more(reader);
		else
			sched_pause();
	}
}

void reader_start(struct reader *reader, uint32_t slot_idx, bool is_reliable)
{
	hbus_ring_sub_init(&reader->sub, &geometry, &header, data, slot_idx < SUBS ? &slots[slot_idx] : NULL,
			   is_reliable);
	reader->is_reliable = is_reliable;
	reader->expected = 0;
}

static void enter_somewhere(struct reader *reader)
{
	enum hbus_ring_outcome outcome = HBUS_RING_OK;
	uint64_t lost = 0, wanted;

	switch (sched_choose(4)) {
	case 1:
		outcome = hbus_ring_sub_seek_newest(&reader->sub);
		break;
	case 2:
		outcome = hbus_ring_sub_seek_oldest(&reader->sub);
		break;
	case 3:
		wanted = sched_random() % (n_acked + 1);
		outcome = hbus_ring_sub_seek(&reader->sub, wanted, &lost);
		if (outcome == HBUS_RING_OK && (reader->sub.sequence > wanted) != (lost > 0))
			sched_fail("seek %llu stands at %llu and says that %llu are lost",
				   (unsigned long long)wanted, (unsigned long long)reader->sub.sequence,
				   (unsigned long long)lost);
		break;
	default:
		return;
	}
	if (outcome != HBUS_RING_OK)
		sched_fail("no place to enter");
	reader->expected = reader->sub.sequence;
}

void run_lossy(void *arg)
{
	struct reader *reader = arg;

	enter_somewhere(reader);
	read_on(reader, UINT32_MAX);
}

void run_gating(void *arg)
{
	read_on(arg, UINT32_MAX);
}

/* -- coming and going -- */

static void ask(unsigned int idx, uint64_t what)
{
	atomic_store_explicit(&asked[idx], what, memory_order_release);
	while (atomic_load_explicit(&answered[idx], memory_order_acquire) != what)
		sched_pause();
}

void run_joining(void *arg)
{
	struct reader *reader = arg;
	unsigned int idx = (unsigned int)(reader - readers);

	sched_may_crash(options.may_die && idx == 0);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		/* A slot whose reader has left says so until the next one has found its place. */
		if (!reader->has_left)
			atomic_store_explicit(&slots[idx].cursor, 0, memory_order_release);
		reader->is_joined = false;
		reader_start(reader, idx, true);
		reader->gate_id = 100 + idx * ROUNDS + round;
		reader->is_evictable = options.may_evict && idx == 0;
		ask(idx, 2 * round + 1);
		if (hbus_ring_sub_seek_newest(&reader->sub) != HBUS_RING_OK)
			sched_fail("no newest record");
		reader->expected = reader->sub.sequence;
		reader->is_joined = true;
		check_floor(reader);
		read_on(reader, 2 + (unsigned int)(sched_random() % 8));
		reader->has_left = sched_random() % 2;
		if (reader->has_left)
			hbus_ring_sub_leave(&reader->sub);
		reader->is_joined = false;
		ask(idx, 2 * round + 2);
	}
}

static void answer(unsigned int idx, uint64_t what)
{
	unsigned int round = (unsigned int)(what - 1) / 2;
	uint64_t gate_id = 100 + idx * ROUNDS + round;
	struct hbus_gate_spec spec = {.gate_id = gate_id, .slot = &mapped[idx][round],
				      .map_base = &mapped[idx][round], .map_size = sizeof(struct hbus_slot),
				      .pidfd = options.may_die ? FIRST_PIDFD + (int)idx : -1, .doorbell = -1,
				      .stall_ms = options.may_evict && idx == 0 ? 1 : 1000000, .is_reliable = true};
	int r;

	r = what % 2 ? hbus_gates_install(&table, idx, &spec) : hbus_gates_remove(&table, idx, gate_id);
	if (r)
		sched_fail("gate %u: %d", idx, r);
	atomic_store_explicit(&answered[idx], what, memory_order_release);
}

static bool has_left(unsigned int idx, uint64_t done)
{
	return done == 2 * ROUNDS || (idx == 0 && options.may_die && sched_has_crashed());
}

void run_control(void *unused)
{
	uint64_t done[SUBS] = {0};
	bool is_needed = true;

	(void)unused;
	while (is_needed) {
		is_needed = false;
		for (unsigned int i = 0; i < options.n_joining; i++) {
			uint64_t what = atomic_load_explicit(&asked[i], memory_order_acquire);

			if (what != done[i])
				answer(i, what);
			done[i] = what;
			is_needed = is_needed || !has_left(i, what);
		}
		sched_pause();
	}
}
