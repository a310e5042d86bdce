/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The shipping ring, gates and waiting under the controlled scheduler
 *
 *	sched_ring [--long]                       all scenarios, then every planted mutant must fail
 *	sched_ring --scenario NAME --seed N [--count N] [--mutant NAME]
 *
 * What is checked: an accepted record is whole, in order and of its publish; loss reports are exact;
 * a batch is seen whole or not at all, also after a crash; what was acknowledged survives a crash;
 * a reliable reader loses nothing from its join on, unless it was dropped, and then knows it; nobody
 * sleeps while there is something to read; nobody touches a slot that was unmapped.
 */
#include "tests/stress/args.h"
#include "tests/stress/shim.h"

#include "shm/gate.c"
#include "shm/ring_pub.c"
#include "shm/ring_sub.c"
#include "shm/wait.c"

#undef memcpy

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

static struct options options;

static alignas(4096) struct hbus_ring_header header;
static alignas(4096) unsigned char data[2 * CAPACITY_MAX];
static struct hbus_gates table;
static alignas(128) struct hbus_slot slots[SUBS];          /* the subscriber's mapping */
static alignas(128) struct hbus_slot mapped[SUBS][ROUNDS]; /* the publisher's, one for each gate */
static _Atomic uint64_t asked[SUBS], answered[SUBS], silence;

static struct hbus_geometry geometry;
static struct hbus_ring_pub pub;
static struct reader readers[2 * SUBS];
static struct event events[EVENTS_MAX];
static uint64_t n_acked;   /* events whose commit has returned */
static uint64_t n_started; /* and those of the commit under way */
static bool has_ended;
static struct {
	uint64_t lapped, full, dropped, slept, quick;
} met; /* what the schedules of a scenario have come across */

/* -- what the kernel does -- */

void hbus_segment_unmap(void *base, uint64_t size)
{
	(void)size;
	if (base)
		sched_region_unmap(base);
}

int sched_clock(clockid_t clock, struct timespec *ret_now)
{
	(void)clock;
	*ret_now = (struct timespec){.tv_sec = 1};
	return 0;
}

static long call_futex(va_list args)
{
	const void *word = va_arg(args, const void *);
	int operation = va_arg(args, int);
	uint32_t value = va_arg(args, uint32_t);

	if (operation == FUTEX_WAKE)
		return sched_wake(word);
	if (sched_sleep(word, value))
		return 0;
	errno = ETIMEDOUT;
	return -1;
}

static long call_membarrier(int command)
{
	if (command == MEMBARRIER_CMD_QUERY)
		return MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED;
	if (command == MEMBARRIER_CMD_PRIVATE_EXPEDITED)
		sched_membarrier(SCHED_PUBLISHER);
	if (command == MEMBARRIER_CMD_GLOBAL_EXPEDITED)
		sched_membarrier(SCHED_PUBLISHER | SCHED_SUBSCRIBER);
	return 0;
}

long sched_syscall(long number, ...)
{
	va_list args;
	long r = -1;

	va_start(args, number);
	if (number == SYS_futex)
		r = call_futex(args);
	else if (number == SYS_membarrier)
		r = call_membarrier(va_arg(args, int));
	else if (number == SYS_ppoll) /* only a joining subscriber may die */
		r = sched_has_crashed() && va_arg(args, struct pollfd *)->fd == FIRST_PIDFD;
	else
		sched_fail("system call %ld", number);
	va_end(args);
	return r;
}

/* -- payload: every word of it names its event, or is zero and looks like the end of the ring -- */

static uint64_t pattern(uint64_t sequence, size_t word)
{
	return sequence % 4 == 3 ? 0 : (sequence + 1) * 0x9e3779b97f4a7c15 ^ word;
}

static void fill(unsigned char *to, uint64_t sequence, size_t size)
{
	unsigned char bytes[SIZE_MAX_BYTES];

	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(pattern(sequence, i / 8) >> i % 8 * 8);
	hbus_copy_in(to, bytes, size);
}

static bool is_right(const struct copy *copy)
{
	if (copy->sequence >= EVENTS_MAX || copy->size != events[copy->sequence].size)
		return false;
	for (size_t i = 0; i < copy->size; i++)
		if (copy->bytes[i] != (unsigned char)(pattern(copy->sequence, i / 8) >> i % 8 * 8))
			return false;
	return true;
}

/* -- the publisher -- */

static uint64_t n_planned(void)
{
	return pub.sequence + pub.n_pending;
}

static void put_u32(unsigned char *to, uint32_t low, uint32_t high)
{
	uint64_t both = (uint64_t)high << 32 | low;

	hbus_copy_in(to, &both, 8);
}

static void write_body(unsigned char *body, uint32_t flags, uint32_t n_events, uint32_t size)
{
	if (flags & HBUS_FLAG_TIME) {
		put_u32(body, 77, 0);
		body += 8;
	}
	if (flags & HBUS_FLAG_RUN) {
		put_u32(body, n_events, size);
		body += 8;
	}
	for (uint32_t i = 0; i < n_events; i++) {
		events[n_planned() + i].size = size;
		fill(body + (uint64_t)i * HBUS_ALIGN8((uint64_t)size), n_planned() + i, size);
	}
}

/* A record of one event, or a run; with a time stamp or not. Its body begins at @body. */
static void write_record(unsigned char *body, uint32_t flags, uint32_t n_events, uint32_t size, uint64_t len)
{
	write_body(body, flags, n_events, size);
	hbus_ring_pub_add(&pub, flags, 1, len, n_events);
}

static void scribble(uint64_t body_max)
{
	uint64_t len = sched_random() % body_max;
	unsigned char bytes[SIZE_MAX_BYTES], *body = NULL;

	memset(bytes, 0xee, sizeof(bytes));
	if (hbus_ring_pub_claim(&pub, len, &body) == 0)
		hbus_copy_in(body, bytes, len);
}

/* Add one record of what fits. False: the ring is full. */
static bool add_record(uint64_t body_max)
{
	uint32_t flags = 0, n_events = 1, size = 8;
	uint64_t len;
	unsigned char *body = NULL;

	if (!options.is_plain) {
		static const uint32_t kinds[] = {0, 0, 0, HBUS_FLAG_TIME, HBUS_FLAG_RUN};

		flags = kinds[sched_random() % 5];
		n_events = flags & HBUS_FLAG_RUN ? 1 + (uint32_t)(sched_random() % 2) : 1;
		size = (uint32_t)(sched_random() % (body_max - 8 * (flags != 0) + 1)) / n_events;
		size = flags & HBUS_FLAG_RUN ? size & ~7u : size;
	}
	len = (flags ? 8 : 0) + (flags & HBUS_FLAG_RUN ? n_events * HBUS_ALIGN8((uint64_t)size) : size);
	if (!options.is_plain && sched_random() % 4 == 0) /* a claim that is given up after it was written to */
		scribble(body_max);
	if (!options.is_plain && sched_random() % 4 == 0 &&
	    hbus_ring_pub_claim(&pub, len + 8 * (sched_random() % 3), &body) == 0) {
		write_record(body, flags, n_events, size, len); /* less than was claimed */
		return true;
	}
	if (sched_random() % 2 == 0 && pub.n_open > 0) {
		body = hbus_ring_pub_begin_more(&pub, len);
		if (body) {
			write_record(body, flags, n_events, size, len);
			return true;
		}
	}
	switch (hbus_ring_pub_claim(&pub, len, &body)) {
	case HBUS_RING_FULL:
		return false;
	case HBUS_RING_TOO_LARGE:
		return true;
	default:
		write_record(body, flags, n_events, size, len);
		return true;
	}
}

static void commit(void)
{
	bool is_waited_for;

	for (uint64_t i = pub.sequence; i < n_planned(); i++)
		events[i].batch_end = n_planned();
	n_started = n_planned();
	is_waited_for = hbus_ring_pub_commit(&pub);
	n_acked = pub.sequence;
	if (is_waited_for)
		hbus_gates_wake(&table, &header.notify);
}

/* One record the quick way. False: there is more to do. */
static bool publish_quickly(uint64_t body_max)
{
	uint64_t len = options.is_plain ? 8 : sched_random() % ((body_max < 8 ? body_max : 8) + 1), end;
	unsigned char *body = hbus_ring_pub_begin_one(&pub, len, &end);

	if (!body)
		return false;
	write_body(body, 0, 1, (uint32_t)len);
	events[pub.sequence].batch_end = pub.sequence + 1;
	n_started = pub.sequence + 1;
	hbus_ring_pub_end_one(&pub, body, hbus_word_make(0, 1, (uint32_t)len), end, 1);
	n_acked = pub.sequence;
	if (hbus_ring_pub_has_waiter(&pub))
		hbus_gates_wake(&table, &header.notify);
	if (hbus_ring_pub_is_own_due(&pub, end))
		hbus_ring_pub_own(&pub);
	met.quick++;
	return true;
}

/* One record, a batch, or a batch that is given up. True: done, false: full. */
static bool publish(void)
{
	unsigned int n_records = options.is_plain ? 1 : 1 + (unsigned int)(sched_random() % 3);
	uint64_t body_max = geometry.capacity / HBUS_RECORD_DIVISOR - HBUS_RECORD_HEADER;

	if (sched_random() % 2 == 0 && publish_quickly(body_max))
		return true;
	for (unsigned int i = 0; i < n_records; i++)
		if (!add_record(body_max)) {
			commit();
			return false;
		}
	if (!options.is_plain && sched_random() % 8 == 0) {
		hbus_ring_pub_abort(&pub);
		return true;
	}
	commit();
	return true;
}

/* Nothing to say until everybody else is at rest. Who sleeps then must have read all. */
static void be_silent(void)
{
	if (sched_random() % 2 == 0 || sched_sleep(&silence, 0))
		return;
	for (unsigned int i = 0; i < 2 * SUBS; i++)
		if (readers[i].is_asleep && readers[i].expected != n_acked)
			sched_fail("reader %u sleeps at %llu of %llu", i, (unsigned long long)readers[i].expected,
				   (unsigned long long)n_acked);
}

static void run_publisher(void *unused)
{
	(void)unused;
	sched_may_crash(options.may_crash);
	for (unsigned int i = 0; i < options.n_publishes && n_planned() + 8 < EVENTS_MAX;) {
		if (publish()) {
			i++;
			if (options.is_sleeping)
				be_silent();
			hbus_gates_forgive(&table);
			continue;
		}
		met.full++;
		if (options.may_die || options.may_evict)
			met.dropped += hbus_gates_reap(&table, &header, pub.tail,
						       hbus_ring_pub_need(&pub, hbus_ring_pub_head(&pub) + 8), geometry.capacity,
						       600);
		sched_pause();
	}
	hbus_ring_pub_close(&pub);
	has_ended = true;
}

/* -- subscribers -- */

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
		if (!is_right(&reader->copies[i]))
			sched_fail("event %llu was accepted and is torn",
				   (unsigned long long)reader->expected + i);
	}
	if (n > 0 && has_stopped && events[reader->expected + n - 1].batch_end != reader->expected + n)
		sched_fail("half a batch: it ends behind event %llu", (unsigned long long)reader->expected + n - 1);
}

/* Return: events, or -1 when it was lapped. */
static int poll_ring(struct reader *reader)
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
	is_there = hbus_ring_sub_is_closed(&reader->sub) || poll_ring(reader) != 0;
	if (!is_there) {
		reader->is_asleep = true;
		met.slept++;
		r = hbus_wait_sleep(&word, 1, -1);
		reader->is_asleep = false;
		if (r == -ETIMEDOUT && (poll_ring(reader) != 0 || hbus_ring_sub_is_closed(&reader->sub)))
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

		if (poll_ring(reader) != 0)
			continue;
		if (is_closed || (sched_has_crashed() && ++n_idle > 2))
			return;
		if (options.is_sleeping)
			sleep_for_more(reader);
		else
			sched_pause();
	}
}

static void start_reader(struct reader *reader, uint32_t slot_idx, bool is_reliable)
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

static void run_lossy(void *arg)
{
	struct reader *reader = arg;

	enter_somewhere(reader);
	read_on(reader, UINT32_MAX);
}

static void run_gating(void *arg)
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

static void run_joining(void *arg)
{
	struct reader *reader = arg;
	unsigned int idx = (unsigned int)(reader - readers);

	sched_may_crash(options.may_die && idx == 0);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		/* A slot whose reader has left says so until the next one has found its place. */
		if (!reader->has_left)
			atomic_store_explicit(&slots[idx].cursor, 0, memory_order_release);
		reader->is_joined = false;
		start_reader(reader, idx, true);
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

static void run_control(void *unused)
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

/* -- a schedule -- */

static const uint64_t starts[] = {1ull << 20, 1ull << 32, 1ull << 63, 0};

static void map_memory(void)
{
	sched_region(data, 2 * geometry.capacity, SCHED_DATA, geometry.capacity - 1, NULL);
	sched_region(&header, sizeof(header), SCHED_HEADER, SIZE_MAX, NULL);
	sched_region(&table, sizeof(table), SCHED_TABLE, SIZE_MAX, NULL);
	sched_region(asked, sizeof(asked), SCHED_MAIL, SIZE_MAX, NULL);
	sched_region(answered, sizeof(answered), SCHED_MAIL, SIZE_MAX, NULL);
	sched_region(&silence, sizeof(silence), SCHED_MAIL, SIZE_MAX, NULL);
	for (unsigned int i = 0; i < SUBS; i++) {
		sched_region(&slots[i], sizeof(slots[i]), SCHED_SLOT, SIZE_MAX, NULL);
		for (unsigned int r = 0; r < ROUNDS; r++)
			sched_region(&mapped[i][r], sizeof(mapped[i][r]), SCHED_SLOT, SIZE_MAX, &slots[i]);
	}
}

static void attach(unsigned int idx, bool is_reliable)
{
	struct hbus_gate_spec spec = {.gate_id = 1 + idx, .slot = &mapped[idx][0], .pidfd = -1, .doorbell = -1,
				      .stall_ms = 1000000, .is_reliable = is_reliable};

	if (hbus_gates_install(&table, idx, &spec))
		sched_fail("install");
	start_reader(&readers[idx], idx, is_reliable);
	readers[idx].is_joined = is_reliable;
}

static void setup_ring(uint64_t capacity)
{
	bool is_wrapping = !options.is_plain && sched_random() % 2;

	/* A start below a border, so that positions cross it. */
	geometry = (struct hbus_geometry){.ring_id = 1, .capacity = capacity};
	geometry.start = starts[is_wrapping ? sched_random() % 4 : 0];
	if (is_wrapping)
		geometry.start -= hbus_block_size(capacity) * (sched_random() % HBUS_RING_BLOCKS);
	geometry.is_isolated = !options.is_plain && sched_random() % 4 == 0;
	map_memory();
	memset(readers, 0, sizeof(readers));
	memset(events, 0, sizeof(events));
	n_acked = n_started = 0;
	has_ended = false;
	hbus_gates_init(&table, geometry.start, geometry.is_isolated);
	hbus_ring_pub_init(&pub, &geometry, &header, data, &table);
}

static void setup(void)
{
	setup_ring(options.is_plain ? 256 : 512);
	for (unsigned int i = 0; i < options.n_gates; i++)
		attach(i, true);
	for (unsigned int i = options.n_gates; i < options.n_gates + options.n_lossy; i++)
		attach(i, false);
	for (unsigned int i = 0; i < options.n_before; i++)
		publish();
	sched_spawn(run_publisher, NULL, SCHED_PUBLISHER);
	for (unsigned int i = 0; i < options.n_gates; i++)
		sched_spawn(run_gating, &readers[i], SCHED_SUBSCRIBER);
	for (unsigned int i = options.n_gates; i < options.n_gates + options.n_lossy; i++)
		sched_spawn(run_lossy, &readers[i], SCHED_SUBSCRIBER);
	for (unsigned int i = 0; i < options.n_joining; i++)
		sched_spawn(run_joining, &readers[i], SCHED_SUBSCRIBER);
	if (options.n_joining)
		sched_spawn(run_control, NULL, SCHED_PUBLISHER);
}

/* What is there when everything has come to rest. */
static void drain(struct reader *reader, const char *who)
{
	for (unsigned int n_void = 0; n_void < 3;) {
		int n = poll_ring(reader);

		if (n == 0)
			break;
		n_void += n < 0;
	}
	if (reader->expected != n_acked && reader->expected != n_started)
		sched_fail("%s ends at %llu; %llu were acknowledged and %llu begun", who,
			   (unsigned long long)reader->expected, (unsigned long long)n_acked,
			   (unsigned long long)n_started);
}

static void check_seeks(uint64_t last)
{
	static struct reader late;
	uint64_t lost, oldest;

	late = (struct reader){0};
	start_reader(&late, SUBS, false);
	if (hbus_ring_sub_seek_newest(&late.sub) != HBUS_RING_OK || late.sub.sequence != last)
		sched_fail("at rest the newest is %llu, not %llu", (unsigned long long)late.sub.sequence,
			   (unsigned long long)last);
	if (hbus_ring_sub_seek_oldest(&late.sub) != HBUS_RING_OK)
		sched_fail("at rest there is no oldest");
	oldest = late.expected = late.sub.sequence;
	drain(&late, "a late reader");
	if (late.has_lapped)
		sched_fail("at rest the oldest place is void");
	for (uint64_t i = 0; i <= last; i++) {
		if (hbus_ring_sub_seek(&late.sub, i, &lost) != HBUS_RING_OK)
			sched_fail("seek %llu", (unsigned long long)i);
		if (lost != (i < oldest ? oldest - i : 0) || late.sub.sequence > (i < oldest ? oldest : i))
			sched_fail("seek %llu stands at %llu, lost %llu; the oldest is %llu", (unsigned long long)i,
				   (unsigned long long)late.sub.sequence, (unsigned long long)lost,
				   (unsigned long long)oldest);
	}
}

static void finish(void)
{
	unsigned int n = options.n_gates + options.n_lossy;

	if (!sched_has_crashed() && !has_ended)
		sched_fail("the publisher has not come to its end");
	for (unsigned int i = 0; i < n; i++) {
		if (!sched_has_crashed() && readers[i].expected != n_acked)
			sched_fail("reader %u left at %llu of %llu", i, (unsigned long long)readers[i].expected,
				   (unsigned long long)n_acked);
		drain(&readers[i], "a reader");
	}
	if (n > 0)
		check_seeks(readers[0].expected);
	else if (options.n_joining)
		check_seeks(n_acked);
}

struct scenario {
	struct sched_scenario base;
	struct options options;
	unsigned int share;        /* of the seeds, in percent */
	unsigned int n_deviations; /* of the search; 0 = none */
};

static const struct scenario scenarios[] = {
	{{"lossy", setup, finish}, {.n_lossy = 2, .n_publishes = 16}, 20, 0},
	{{"reliable", setup, finish}, {.n_gates = 1, .n_lossy = 1, .n_publishes = 16}, 16, 0},
	{{"crash", setup, finish}, {.n_gates = 1, .n_lossy = 1, .n_publishes = 16, .may_crash = true}, 25, 0},
	{{"join", setup, finish}, {.n_joining = 2, .n_publishes = 30}, 10, 0},
	{{"die", setup, finish}, {.n_joining = 2, .n_publishes = 30, .may_die = true}, 4, 0},
	{{"evict", setup, finish}, {.n_joining = 2, .n_publishes = 30, .may_evict = true}, 5, 0},
	{{"sleep", setup, finish}, {.n_lossy = 2, .n_publishes = 5, .is_sleeping = true}, 20, 0},
	{{"lossy-all", setup, finish}, {.n_lossy = 1, .n_before = 13, .n_publishes = 3, .is_plain = true}, 0, 2},
	{{"reliable-all", setup, finish}, {.n_gates = 1, .n_before = 13, .n_publishes = 4, .is_plain = true}, 0, 2},
	{{"crash-all", setup, finish},
	 {.n_lossy = 1, .n_before = 13, .n_publishes = 2, .is_plain = true, .may_crash = true}, 0, 2},
	{{"sleep-all", setup, finish}, {.n_lossy = 1, .n_publishes = 2, .is_plain = true, .is_sleeping = true}, 0, 2},
};

#define N_SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static void report(const struct scenario *scenario, const struct sched_result *result)
{
	printf("%-13s %7llu schedules %s %9llu steps, %llu switches, %llu stale loads, %llu crashes; "
	       "%llu lapped, %llu full, %llu dropped, %llu sleeps, %llu quick\n",
	       scenario->base.name, (unsigned long long)result->n_schedules,
	       scenario->n_deviations ? (result->is_complete ? "(all)" : "(cut)") : "     ",
	       (unsigned long long)result->n_steps, (unsigned long long)result->n_switches,
	       (unsigned long long)result->n_stale, (unsigned long long)result->n_crashes,
	       (unsigned long long)met.lapped, (unsigned long long)met.full, (unsigned long long)met.dropped,
	       (unsigned long long)met.slept, (unsigned long long)met.quick);
	if (result->has_failed && !scenario->n_deviations)
		printf("FAILED. Alone: sched_ring --scenario %s --seed %llu --mutant %s\n", scenario->base.name,
		       (unsigned long long)result->seed, sched_mutant_names[sched_mutant]);
	else if (result->has_failed)
		printf("FAILED. Alone: sched_ring --scenario %s --mutant %s\n", scenario->base.name,
		       sched_mutant_names[sched_mutant]);
	fflush(stdout);
}

static struct sched_result run(const struct scenario *scenario, uint64_t seed, uint64_t n, unsigned int n_more,
			       bool is_quiet)
{
	options = scenario->options;
	memset(&met, 0, sizeof(met));
	if (scenario->n_deviations)
		return sched_run_all(&scenario->base, scenario->n_deviations + n_more, n, is_quiet);
	return sched_run_seeds(&scenario->base, seed, n, is_quiet);
}

static int run_everything(uint64_t seed, uint64_t n_seeds, bool is_long)
{
	uint64_t n_schedules = 0;
	int r = 0;

	for (size_t i = 0; i < N_SCENARIOS; i++) {
		const struct scenario *scenario = &scenarios[i];
		uint64_t n = scenario->n_deviations ? (is_long ? 400000 : 30000) : n_seeds * scenario->share / 100;
		struct sched_result result = run(scenario, seed, n, is_long, false);

		report(scenario, &result);
		n_schedules += result.n_schedules;
		r |= result.has_failed;
	}
	printf("%llu schedules\n", (unsigned long long)n_schedules);
	return r;
}

static const struct scenario *find_scenario(const char *name)
{
	for (size_t i = 0; i < N_SCENARIOS; i++)
		if (!strcmp(scenarios[i].base.name, name))
			return &scenarios[i];
	kit_usage_error("no such scenario", name);
	return NULL;
}

/* The scenario that must find each planted bug. */
static const char *const catchers[MUT_MAX] = {
	[MUT_RELEASE_FENCE] = "lossy",	     [MUT_ACQUIRE_FENCE] = "lossy",	 [MUT_SEQ_CST_FENCE] = "join",
	[MUT_HEADER_STORE] = "reliable",     [MUT_HEADER_LOAD] = "reliable",	 [MUT_CHECKPOINT_STORE] = "lossy",
	[MUT_CHECKPOINT_LOAD] = "lossy",     [MUT_STATE_STORE] = "lossy",	 [MUT_STATE_LOAD] = "lossy",
	[MUT_INTENT_STORE] = "lossy",	     [MUT_ZERO_STORE] = "reliable",	 [MUT_PRIVATE_BARRIER] = "join",
	[MUT_GLOBAL_BARRIER] = "sleep",	     [MUT_NOTIFY] = "sleep",
	[MUT_NOTIFY_LOAD] = "sleep",
};

static int run_mutants(uint64_t seed, uint64_t n_seeds)
{
	int r = 0;

	for (sched_mutant = MUT_NONE + 1; sched_mutant < MUT_MAX; sched_mutant++) {
		const char *who = catchers[sched_mutant];
		struct sched_result result = run(find_scenario(who), seed, n_seeds, 0, true);

		printf("mutant %-16s %s %s after %llu schedules\n", sched_mutant_names[sched_mutant],
		       result.has_failed ? "caught by" : "SURVIVED", who, (unsigned long long)result.n_schedules);
		r |= !result.has_failed;
	}
	sched_mutant = MUT_NONE;
	return r;
}

static enum sched_mutant find_mutant(const char *name)
{
	for (unsigned int i = 0; i < MUT_MAX; i++)
		if (!strcmp(sched_mutant_names[i], name))
			return i;
	kit_usage_error("no such mutant", name);
	return MUT_NONE;
}

static const char usage[] =
	"Usage: sched_ring [--long] [--seed N] [--scenario NAME [--count N]] [--mutant NAME]\n"
	"Runs the ring and the waiting that are shipped under a scheduler that chooses every access, with store buffers\n"
	"and crashes: all scenarios and mutants, or COUNT (1) schedules of one from SEED (1) on, which replays a failure.\n"
	"  --long         a million schedules; 10 minutes\n"
	"  --mutant NAME  with this access weakened\n"
	"Exit: 0 passed, 1 failed, 2 usage.\n";

int main(int argc, char **argv)
{
	const struct scenario *only = NULL;
	const char *scenario = NULL, *mutant = NULL;
	uint64_t seed = 1, count = 1;
	bool is_long = false;
	const struct kit_arg args[] = {{.name = "--long", .is_given = &is_long}, {.name = "--scenario", .word = &scenario},
				       {.name = "--mutant", .word = &mutant}, {.name = "--seed", .number = &seed},
				       {.name = "--count", .number = &count}, {0}};

	kit_args(argc, argv, usage, args);
	if (scenario)
		only = find_scenario(scenario);
	if (mutant)
		sched_mutant = find_mutant(mutant);
	if (only) {
		struct sched_result result =
			run(only, seed, only->n_deviations ? UINT64_MAX : count, is_long, false);

		report(only, &result);
		return result.has_failed;
	}
	return run_everything(seed, is_long ? 1000000 : 100000, is_long) | run_mutants(seed, 20000);
}
