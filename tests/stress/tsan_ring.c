/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One publisher, lossy and reliable readers, and gates that come and go, as threads on one mapping
 *
 * Built with ThreadSanitizer, which sees what the controlled scheduler does not: plain accesses of the
 * gate table. It does not see fences and membarrier, so it says nothing about payload (copy.h). The content of
 * every event is checked as well, so the program is worth running without the sanitizer too.
 *
 *	tsan_ring [MILLISECONDS]
 *
 * Shown to fail with a gate that is shown before it is filled, with a `busy` that is released without order, and
 * with an install that resets what the data thread counts (mutants.py).
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "shm/gate.h"
#include "shm/ring_pub.h"
#include "shm/ring_sub.h"
#include "shm/segment.h"
#include "shm/wait.h"
#include "tests/stress/args.h"

#define CAPACITY HBUS_RING_CAPACITY_MIN
#define N_FIXED 4u    /* readers that stay: two lossy, two reliable */
#define N_GUESTS 2u   /* reliable readers that come and go */
#define PAYLOAD_MAX 256u

struct reader {
	struct hbus_ring_sub sub;
	struct hbus_slot *slot;
	uint32_t idx;
	bool is_reliable, sleeps;
	uint64_t expected, n_delivered, n_lost;
};

static struct hbus_geometry geometry = {.ring_id = 1, .capacity = CAPACITY, .start = 1ull << 32};
static struct hbus_ring_header *header;
static unsigned char *data;
static struct hbus_gates table;
static struct hbus_ring_pub pub;
static struct hbus_slot *slots;
static struct reader readers[N_FIXED + N_GUESTS];
static _Atomic bool stop, has_failed;
static _Atomic uint64_t n_published;

static void fail(const char *what, const struct reader *reader, uint64_t sequence)
{
	fprintf(stderr, "reader %u: %s at event %llu\n", reader->idx, what, (unsigned long long)sequence);
	atomic_store_explicit(&has_failed, true, memory_order_relaxed);
	atomic_store_explicit(&stop, true, memory_order_relaxed);
}

static bool is_over(void)
{
	return atomic_load_explicit(&stop, memory_order_relaxed);
}

static uint32_t size_of(uint64_t sequence)
{
	return 8 + (uint32_t)(sequence * 2654435761u >> 7) % (PAYLOAD_MAX - 8);
}

static void fill(unsigned char *bytes, uint64_t sequence, uint32_t size)
{
	memset(bytes, (int)(sequence * 31), size);
	memcpy(bytes, &sequence, 8);
}

static bool is_right(const unsigned char *bytes, uint64_t sequence, uint32_t size)
{
	unsigned char right[PAYLOAD_MAX];

	fill(right, sequence, size);
	return memcmp(bytes, right, size) == 0;
}

/* -- publisher -- */

static bool add(uint64_t sequence)
{
	unsigned char bytes[PAYLOAD_MAX], *body = NULL;
	uint32_t size = size_of(sequence);

	if (hbus_ring_pub_claim(&pub, size, &body))
		return false;
	fill(bytes, sequence, size);
	hbus_copy_in(body, bytes, size);
	hbus_ring_pub_add(&pub, 0, 1, size, 1);
	return true;
}

static void wait_for_room(void)
{
	struct timespec moment = {.tv_nsec = 50000};

	hbus_gates_reap(&table, header, pub.tail, hbus_ring_pub_need(&pub, hbus_ring_pub_head(&pub) + PAYLOAD_MAX), CAPACITY, 50);
	nanosleep(&moment, NULL);
}

static void *publish(void *unused)
{
	uint64_t sequence = 0;

	(void)unused;
	while (!is_over()) {
		uint64_t n = 1 + sequence % 7;

		while (n > 0 && add(sequence)) {
			sequence++;
			n--;
		}
		if (hbus_ring_pub_commit(&pub))
			hbus_gates_wake(&table, &header->notify);
		if (n > 0)
			wait_for_room();
		else
			hbus_gates_forgive(&table);
	}
	atomic_store_explicit(&n_published, sequence, memory_order_relaxed);
	hbus_ring_pub_close(&pub);
	return NULL;
}

/* -- readers -- */

static void lapped(struct reader *reader)
{
	uint64_t first, lost;

	if (reader->is_reliable)
		fail("lapped", reader, reader->expected);
	if (hbus_ring_sub_reenter(&reader->sub, &first, &lost) != HBUS_RING_OK || first != reader->expected)
		fail("cannot enter again", reader, reader->expected);
	reader->expected += lost;
	reader->n_lost += lost;
}

/* Copies up to 16 events, checks them when they are confirmed. Return: how many, -1 = lapped. */
static int poll_ring(struct reader *reader)
{
	static _Thread_local unsigned char bytes[16][PAYLOAD_MAX];
	uint32_t sizes[16];
	struct hbus_record record;
	int n = 0;

	hbus_ring_sub_begin(&reader->sub);
	while (n < 16 && hbus_ring_sub_next(&reader->sub, &record)) {
		sizes[n] = record.size;
		hbus_copy_out(bytes[n++], record.payload, record.size < PAYLOAD_MAX ? record.size : PAYLOAD_MAX);
	}
	switch (hbus_ring_sub_confirm(&reader->sub)) {
	case HBUS_RING_LAPPED:
		lapped(reader);
		return -1;
	case HBUS_RING_CORRUPT:
		fail("corrupt", reader, reader->expected);
		return 0;
	default:
		break;
	}
	for (int i = 0; i < n; i++)
		if (sizes[i] != size_of(reader->expected + (uint64_t)i) ||
		    !is_right(bytes[i], reader->expected + (uint64_t)i, sizes[i]))
			fail("torn or out of order", reader, reader->expected + (uint64_t)i);
	if (hbus_ring_sub_release(&reader->sub) != HBUS_RING_OK) {
		lapped(reader);
		return -1;
	}
	reader->expected += (uint64_t)n;
	reader->n_delivered += (uint64_t)n;
	return n;
}

static void sleep_for_more(struct reader *reader)
{
	struct hbus_wait_word word = {.word = &header->notify};

	/* A: pairs with hbus_wait_wake(). */
	word.seen = atomic_load_explicit(&header->notify, memory_order_acquire);
	atomic_store_explicit(&reader->slot->waiting, 1, memory_order_relaxed); /* relaxed: the barrier orders it */
	hbus_membarrier_global();
	if (poll_ring(reader) == 0 && !hbus_ring_sub_is_closed(&reader->sub))
		hbus_wait_sleep(&word, 1, -1);
	atomic_store_explicit(&reader->slot->waiting, 0, memory_order_relaxed);
}

static void *read_on(void *arg)
{
	struct reader *reader = arg;

	for (;;) {
		bool is_closed = hbus_ring_sub_is_closed(&reader->sub);

		if (poll_ring(reader) != 0)
			continue;
		if (is_closed)
			return NULL;
		if (reader->sleeps)
			sleep_for_more(reader);
		else
			sched_yield();
	}
}

/* -- gates that come and go: this thread is the control thread, and each guest in turn -- */

static int install(uint32_t idx, uint64_t gate_id, bool is_reliable, struct hbus_slot *slot, void *map)
{
	struct hbus_gate_spec spec = {.gate_id = gate_id, .slot = slot, .map_base = map, .map_size = map ? 4096 : 0,
				      .pidfd = -1, .doorbell = dup(0), .stall_ms = 1000000,
				      .is_reliable = is_reliable};

	return hbus_gates_install(&table, idx, &spec);
}

static void visit(struct reader *reader, uint64_t gate_id)
{
	void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct hbus_slot *mapped = map;
	uint64_t until;

	if (map == MAP_FAILED || install(reader->idx, gate_id, true, mapped, map))
		return fail("install", reader, gate_id);
	hbus_ring_sub_init(&reader->sub, &geometry, header, data, mapped, true);
	if (hbus_ring_sub_seek_newest(&reader->sub) != HBUS_RING_OK)
		return fail("no newest", reader, gate_id);
	reader->expected = reader->sub.sequence;
	until = reader->expected + 200;
	while (reader->expected < until && !hbus_ring_sub_is_closed(&reader->sub))
		if (poll_ring(reader) == 0)
			sched_yield();
	if (hbus_gates_remove(&table, reader->idx, gate_id))
		fail("remove", reader, gate_id);
}

static void *come_and_go(void *unused)
{
	uint64_t gate_id = 100;

	(void)unused;
	while (!is_over()) {
		visit(&readers[N_FIXED + gate_id % N_GUESTS], gate_id);
		gate_id++;
	}
	printf("%llu gates have come and gone\n", (unsigned long long)gate_id - 100);
	return NULL;
}

static void set_up(void)
{
	void *ring = NULL, *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = -1;

	if (page == MAP_FAILED || hbus_memfd_new("tsan", CAPACITY, 0, &fd) ||
	    hbus_segment_map_twice(fd, CAPACITY, 1, 0, &ring)) {
		perror("memory");
		exit(1);
	}
	close(fd);
	header = page;
	slots = (struct hbus_slot *)(void *)((unsigned char *)page + 4096);
	data = ring;
	hbus_gates_init(&table, geometry.start, false);
	hbus_ring_pub_init(&pub, &geometry, header, data, &table);
	for (uint32_t i = 0; i < N_FIXED + N_GUESTS; i++)
		readers[i] = (struct reader){.slot = &slots[i], .idx = i, .is_reliable = i >= 2, .sleeps = i % 2};
	for (uint32_t i = 0; i < N_FIXED; i++) {
		hbus_ring_sub_init(&readers[i].sub, &geometry, header, data, &slots[i], readers[i].is_reliable);
		install(i, i + 1, readers[i].is_reliable, &slots[i], NULL);
	}
}

static const char usage[] = "Usage: tsan_ring [--ms N]\n"
			    "Threads on one ring, for ThreadSanitizer; their accounts must balance.\n"
			    "Exit: 0 passed, 1 failed, 2 usage.\n";

int main(int argc, char **argv)
{
	pthread_t threads[N_FIXED + 2];
	struct timespec span;
	uint64_t n, duration_ms = 2000;
	const struct kit_arg args[] = {{.name = "--ms", .number = &duration_ms}, {0}};

	kit_args(argc, argv, usage, args);
	set_up();
	for (uint32_t i = 0; i < N_FIXED; i++)
		pthread_create(&threads[i], NULL, read_on, &readers[i]);
	pthread_create(&threads[N_FIXED], NULL, come_and_go, NULL);
	pthread_create(&threads[N_FIXED + 1], NULL, publish, NULL);
	span = (struct timespec){.tv_sec = (time_t)(duration_ms / 1000), .tv_nsec = (long)(duration_ms % 1000) * 1000000};
	nanosleep(&span, NULL);
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	for (uint32_t i = 0; i < N_FIXED + 2; i++)
		pthread_join(threads[i], NULL);
	n = atomic_load_explicit(&n_published, memory_order_relaxed);
	for (uint32_t i = 0; i < N_FIXED; i++) {
		printf("reader %u: %llu delivered, %llu lost, of %llu\n", i, (unsigned long long)readers[i].n_delivered,
		       (unsigned long long)readers[i].n_lost, (unsigned long long)n);
		if (readers[i].n_delivered + readers[i].n_lost != n || (readers[i].is_reliable && readers[i].n_lost))
			fail("the account does not balance", &readers[i], n);
	}
	hbus_gates_deinit(&table);
	return atomic_load_explicit(&has_failed, memory_order_relaxed);
}
