/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile publisher writes anything anywhere in its ring, at full speed, while readers read
 *
 * The writer is a process of its own; the readers are threads whose mappings lie between pages that cannot be touched.
 * Whatever they are shown: each record lies within its bounds and the ring (all of it is touched), every call ends
 * within its time, and nobody crashes. That a ring is called corrupt, or a loss reported, is as it should be.
 *
 *	scribble [--seconds N] [--seed N]
 *
 * Shown to fail when the length of a record is not bounded and when the header word is loaded twice
 * (tests/mutants).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/crash/ring_kit.h"
#include "tests/stress/args.h"

#define READERS 8u
#define CALL_MS_MAX 3000u /* a call takes microseconds; the machine may be busy */
#define POLL_MAX 256u
#define PAGE 4096u

struct victim {
	struct hbus_ring_sub sub;
	struct hbus_slot slot;
	uint64_t random, n_records, n_bytes, n_lapped, n_corrupt, worst_ms;
	uint32_t idx;
};

static struct kit_ring ring;
static _Atomic bool stop, has_failed;

static uint64_t random_next(uint64_t *state)
{
	return kit_mix(*state += 0x9e3779b97f4a7c15);
}

/* Of this thread: what is stopped, or has no CPU, takes no longer for it. A call that sleeps is ended by the time limit of the whole. */
static uint64_t cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* -- the publisher -- */

/* A word that a reader would look at, mostly. */
static uint64_t likely_word(uint64_t random)
{
	uint32_t flags = random & 1 ? 0 : (uint32_t)(random >> 1) & HBUS_FLAGS_KNOWN;
	uint32_t len = (uint32_t)(random >> 8) % (KIT_CAPACITY / HBUS_RECORD_DIVISOR + 16);

	switch (random >> 60) {
	case 0:
		return random * 0x9e3779b97f4a7c15;
	case 1:
		return 0;
	case 2:
	case 3:
		return hbus_word_make(flags, 1, len);
	default:
		return hbus_word_make(flags, 1, len % 128);
	}
}

static void scribble_header(struct hbus_ring_header *header, uint64_t *base, uint64_t random)
{
	struct hbus_checkpoint *checkpoint = &header->checkpoints[random % HBUS_RING_BLOCKS];
	uint64_t block = hbus_block_size(KIT_CAPACITY), near = *base + (random >> 8) % (2 * KIT_CAPACITY);

	/* relaxed: there is no order in a scribble */
	switch (random >> 61) {
	case 0:
		*base += (random >> 8) % (KIT_CAPACITY / 4);
		break;
	case 1:
		atomic_store_explicit(&header->intent, random % 64 ? near : random, memory_order_relaxed);
		break;
	case 2:
		atomic_store_explicit(&header->state, (uint32_t)(random >> 8) & 1, memory_order_relaxed);
		break;
	default: /* in its own block, near the intent */
		near = near - near % KIT_CAPACITY + random % HBUS_RING_BLOCKS * block + 8 * ((random >> 20) % 64);
		atomic_store_explicit(&checkpoint->sequence, random >> 40, memory_order_relaxed);
		atomic_store_explicit(&checkpoint->position, near, memory_order_relaxed);
	}
}

static void be_publisher(uint64_t seed)
{
	struct kit_mapping mapping;
	_Atomic uint64_t *words;
	uint64_t base = ring.geometry.start;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	kit_map(&ring, 1, &mapping);
	words = mapping.data;
	for (;;) {
		uint64_t random = random_next(&seed), at = random_next(&seed) % (KIT_CAPACITY / 8);

		if (random % 16 == 0)
			scribble_header(mapping.header, &base, random_next(&seed));
		/* relaxed: as above; some flip between two faces as fast as they can */
		for (unsigned int i = 0; i < (random % 64 ? 1u : 1000u); i++)
			atomic_store_explicit(&words[at], i % 2 ? likely_word(random) : likely_word(~random),
					      memory_order_relaxed);
	}
}

/* -- the readers -- */

static void *fenced(int fd, size_t size, unsigned int times)
{
	unsigned char *raw = mmap(NULL, times * size + 2 * (size_t)PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (unsigned int i = 0; raw != MAP_FAILED && i < times; i++)
		if (mmap(raw + PAGE + i * size, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			kit_die("mmap");
	if (raw == MAP_FAILED)
		kit_die("mmap");
	return raw + PAGE;
}

static void fail(const struct victim *victim, const char *what)
{
	fprintf(stderr, "reader %u: %s\n", victim->idx, what);
	atomic_store_explicit(&has_failed, true, memory_order_relaxed);
	atomic_store_explicit(&stop, true, memory_order_relaxed);
}

static uint64_t touch(const unsigned char *at, uint64_t size)
{
	const unsigned char *end = at + size;
	uint64_t sum = 0;

	for (; at < end; at += 16)
		sum += *at;
	return size ? sum + end[-1] : sum;
}

static void check_record(struct victim *victim, const struct hbus_record *record, uint64_t before)
{
	const unsigned char *body = victim->sub.data + (before & victim->sub.mask) + HBUS_RECORD_HEADER;
	const unsigned char *end = body - HBUS_RECORD_HEADER + (victim->sub.position - before);
	uint64_t size = (record->n_events - 1) * (uint64_t)record->stride + record->size;

	if (victim->sub.position - before > KIT_CAPACITY / HBUS_RECORD_DIVISOR || victim->sub.position % 8 ||
	    record->payload < body || record->payload > end || size > (uint64_t)(end - record->payload) ||
	    record->n_events == 0)
		return fail(victim, "a record beyond its bounds");
	if (record->attrs && (record->attrs < body || record->attrs_size > (uint64_t)(end - record->attrs)))
		return fail(victim, "attributes beyond their bounds");
	victim->n_records++;
	victim->n_bytes += size;
	victim->random += touch(record->payload, size) & 1;
}

static void poll_ring(struct victim *victim)
{
	struct hbus_record record;
	uint64_t first, lost, before = victim->sub.position;
	enum hbus_ring_outcome outcome;

	hbus_ring_sub_begin(&victim->sub);
	for (unsigned int n = 0; n < POLL_MAX && hbus_ring_sub_next(&victim->sub, &record); n++) {
		check_record(victim, &record, before);
		before = victim->sub.position;
	}
	outcome = hbus_ring_sub_confirm(&victim->sub);
	if (outcome == HBUS_RING_OK)
		outcome = hbus_ring_sub_release(&victim->sub);
	victim->n_lapped += outcome == HBUS_RING_LAPPED;
	victim->n_corrupt += outcome == HBUS_RING_CORRUPT;
	if (outcome != HBUS_RING_OK)
		hbus_ring_sub_reenter(&victim->sub, &first, &lost);
	if (outcome == HBUS_RING_CORRUPT) /* an honest client would leave the ring; we want more of it */
		hbus_ring_sub_seek_oldest(&victim->sub);
}

static void call(struct victim *victim)
{
	uint64_t lost, random = random_next(&victim->random);

	switch (random % 64) {
	case 0:
		hbus_ring_sub_seek_newest(&victim->sub);
		break;
	case 1:
		hbus_ring_sub_seek_oldest(&victim->sub);
		break;
	case 2:
		hbus_ring_sub_seek(&victim->sub, random >> 40, &lost);
		break;
	default:
		poll_ring(victim);
	}
}

static void *be_reader(void *arg)
{
	struct victim *victim = arg;

	hbus_ring_sub_init(&victim->sub, &ring.geometry, fenced(ring.header_fd, PAGE, 1),
			   fenced(ring.data_fd, KIT_CAPACITY, 2), &victim->slot, victim->idx % 2);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t before = cpu_ms(), took;

		call(victim);
		took = cpu_ms() - before;
		victim->worst_ms = took > victim->worst_ms ? took : victim->worst_ms;
		if (took > CALL_MS_MAX)
			fail(victim, "a call that takes too long");
	}
	return NULL;
}

static void report(const struct victim *victims)
{
	struct victim sum = {0};

	for (uint32_t i = 0; i < READERS; i++) {
		sum.n_records += victims[i].n_records;
		sum.n_bytes += victims[i].n_bytes;
		sum.n_lapped += victims[i].n_lapped;
		sum.n_corrupt += victims[i].n_corrupt;
		sum.worst_ms = victims[i].worst_ms > sum.worst_ms ? victims[i].worst_ms : sum.worst_ms;
	}
	printf("%llu records of %llu bytes looked at, %llu polls void, %llu corrupt, longest call %llu ms\n",
	       (unsigned long long)sum.n_records, (unsigned long long)sum.n_bytes, (unsigned long long)sum.n_lapped,
	       (unsigned long long)sum.n_corrupt, (unsigned long long)sum.worst_ms);
	if (sum.n_records < 1000 || !sum.n_lapped || !sum.n_corrupt)
		fail(victims, "the scribbler has not shown enough");
}

static const char usage[] = "Usage: scribble [--seconds N] [--seed N]\n"
			    "A publisher writes anything anywhere into its ring for 3 s while eight threads read it.\n"
			    "Exit: 0 passed, 1 failed, 2 usage.\n";

int main(int argc, char **argv)
{
	static struct victim victims[READERS];
	uint64_t seconds = 3, seed = now_ms();
	struct timespec span = {0};
	pthread_t threads[READERS];
	pid_t publisher;

	const struct kit_arg args[] = {{.name = "--seconds", .number = &seconds}, {.name = "--seed", .number = &seed}, {0}};

	kit_args(argc, argv, usage, args);
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	kit_ring_new(&ring, 1ull << 32);
	publisher = fork();
	if (publisher == 0)
		be_publisher(seed);
	for (uint32_t i = 0; i < READERS; i++) {
		victims[i] = (struct victim){.random = seed + i, .idx = i};
		pthread_create(&threads[i], NULL, be_reader, &victims[i]);
	}
	for (span.tv_sec = 1; seconds > 0 && !atomic_load_explicit(&stop, memory_order_relaxed); seconds--)
		nanosleep(&span, NULL);
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	for (uint32_t i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	kill(publisher, SIGKILL);
	waitpid(publisher, NULL, 0);
	report(victims);
	return atomic_load_explicit(&has_failed, memory_order_relaxed);
}
