/* SPDX-License-Identifier: BSD-3-Clause */
/* The shipping ring, gates and waiting under the controlled scheduler, and their publisher. See sched_ring.h. */
#include "tests/stress/shim.h"

#include "shm/gate.c"
#include "shm/ring_pub.c"
#include "shm/ring_sub.c"
#include "shm/wait.c"

#include "tests/stress/sched_ring.h"

#undef memcpy

struct options options;
alignas(4096) struct hbus_ring_header header;
alignas(4096) unsigned char data[2 * CAPACITY_MAX];
struct hbus_gates table;
alignas(128) struct hbus_slot slots[SUBS];
alignas(128) struct hbus_slot mapped[SUBS][ROUNDS];
_Atomic uint64_t asked[SUBS], answered[SUBS];
static _Atomic uint64_t silence;
struct hbus_geometry geometry;
static struct hbus_ring_pub pub;
struct reader readers[2 * SUBS];
struct event events[EVENTS_MAX];
uint64_t n_acked;
static uint64_t n_started; /* and those of the commit under way */
static bool has_ended;
struct met met;

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

bool event_is_right(const struct copy *copy)
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
	reader_start(&readers[idx], idx, is_reliable);
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

void ring_setup(void)
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
		int n = reader_poll(reader);

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
	reader_start(&late, SUBS, false);
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

void ring_finish(void)
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
