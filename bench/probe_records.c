/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bare stream of records, each of which is shown by itself: a word before it that is written last, as a ring must do whose
 * events are published one by one. Filled in place; no topic, no second reader, no check, nothing to clear. The reader looks
 * away when it has caught up, so that it does not take each line from under the writer. See probe.h.
 */
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/event.h"
#include "bench/probe.h"

#define BYTES (2u << 20)
#define PARTS 8u
#define LOOK_AWAY_NS 8000u
#define END UINT64_MAX

struct records {
	alignas(128) _Atomic uint64_t read; /* records; written each eighth of the buffer */
	alignas(4096) unsigned char data[BYTES];
};

struct records_params {
	struct records *records;
	unsigned int size;
	uint64_t n_places;
};

static _Atomic uint64_t *word_of(const struct records_params *params, uint64_t place)
{
	return (_Atomic uint64_t *)(void *)(params->records->data + place * (8 + params->size));
}

static void await_room(struct records *records, uint64_t n, uint64_t n_places)
{
	for (unsigned int spins = 1; n - atomic_load_explicit(&records->read, memory_order_acquire) > n_places - n_places / PARTS; spins++) {
		bench_pause();
		/* On one core the other side must get its turn. */
		if (spins % 4096 == 0)
			(void)syscall(SYS_sched_yield);
	}
}

static int writer(struct bench_run *run, unsigned int role)
{
	const struct records_params *params = run->params;
	const uint64_t n_places = params->n_places, part = n_places / PARTS;
	uint64_t n = 0, place = 0;

	(void)role;
	bench_barrier(run);
	do {
		await_room(params->records, n + 1, n_places);
		for (uint64_t i = 0; i < part; i++) {
			_Atomic uint64_t *word = word_of(params, place);

			bench_event_fill((unsigned char *)word + 8, params->size, n);
			atomic_store_explicit(word, ++n, memory_order_release);
			place = place + 1 == n_places ? 0 : place + 1;
		}
	} while (!bench_is_over(run));
	await_room(params->records, n + 1, n_places);
	atomic_store_explicit(word_of(params, place), END, memory_order_release);
	return 0;
}

static void look_away(void)
{
	uint64_t begin = bench_now_ns();

	while (bench_now_ns() - begin < LOOK_AWAY_NS)
		bench_pause();
}

/* Return: what the word of record @n says, n + 1 or END. */
static uint64_t await_word(const _Atomic uint64_t *word, uint64_t n)
{
	uint64_t value;
	unsigned int spins = 0;

	while ((value = atomic_load_explicit(word, memory_order_acquire)) != n + 1 && value != END) {
		look_away();
		if (++spins % 16 == 0)
			(void)syscall(SYS_sched_yield);
	}
	return value;
}

static int reader(struct bench_run *run, unsigned int role)
{
	const struct records_params *params = run->params;
	const uint64_t n_places = params->n_places, part = n_places / PARTS;
	uint64_t n = 0, place = 0, until_told = part, check = 0, begin;

	bench_barrier(run);
	begin = bench_now_ns();
	for (;;) {
		_Atomic uint64_t *word = word_of(params, place);

		if (await_word(word, n) == END)
			break;
		check += bench_event_sum((unsigned char *)word + 8, params->size);
		n++;
		place = place + 1 == n_places ? 0 : place + 1;
		if (--until_told == 0) {
			until_told = part;
			atomic_store_explicit(&params->records->read, n, memory_order_release);
		}
	}
	/* Sum of 0 .. n-1, once for each word: everything was read. */
	if (check != (n % 2 ? n * ((n - 1) / 2) : n / 2 * (n - 1)) * (params->size / 8))
		return 1;
	atomic_store_explicit(&run->shared->role[role].value[0], n, memory_order_relaxed);
	atomic_store_explicit(&run->shared->role[role].value[1], bench_now_ns() - begin, memory_order_relaxed);
	return 0;
}

double bench_probe_records(struct bench_run *run, const struct bench_cores *cores, unsigned int size)
{
	struct records_params params = {.size = size, .n_places = BYTES / (8 + size) / PARTS * PARTS};
	double rate = 0;

	params.records = mmap(NULL, sizeof(*params.records), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (params.records == MAP_FAILED)
		return 0;
	run->params = &params;
	run->n_roles = 2;
	run->role[0] = (struct bench_role){writer, cores->core[0]};
	run->role[1] = (struct bench_role){reader, cores->core[1 % cores->n]};
	if (bench_run_roles(run) == 0)
		rate = (double)run->shared->role[1].value[0] * 1e9 / (double)run->shared->role[1].value[1];
	munmap(params.records, sizeof(*params.records));
	return rate;
}
