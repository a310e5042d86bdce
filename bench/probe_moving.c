/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bare ping-pong over lines that move, as a ring's do: no header, no check, nothing but that each message stands where
 * none has stood since the buffer began anew. What that costs no ring can be without. See probe.h.
 */
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/event.h"
#include "bench/probe.h"

#define WAY_BYTES (2u << 20)
#define PREFETCH_AFTER 4u

/* A message: a word, then @size bytes that hold it too. The word is written last, and tells the lap. */
struct field {
	alignas(4096) unsigned char way[2][WAY_BYTES];
};

struct field_params {
	struct field *field;
	unsigned int size;
	uint64_t n_places;
};

#define LAST_VALUE UINT64_MAX

static unsigned char *place(const struct field_params *params, int way, uint64_t i)
{
	return params->field->way[way] + i % params->n_places * (8 + params->size);
}

static void serve(const struct field_params *params, int way, uint64_t i, uint64_t value)
{
	unsigned char *at = place(params, way, i);

	bench_event_fill(at + 8, params->size, value);
	atomic_store_explicit((_Atomic uint64_t *)(void *)at, value, memory_order_release);
}

/* Return: what came, i or LAST_VALUE; 0 when it was torn. */
static uint64_t catch_ball(const struct field_params *params, int way, uint64_t i)
{
	unsigned char *at = place(params, way, i);
	bool has_second = ((uintptr_t)at & 63) + 8 + params->size > 64;
	unsigned int spins = 0;
	uint64_t value;

	while ((value = atomic_load_explicit((_Atomic uint64_t *)(void *)at, memory_order_acquire)) != i && value != LAST_VALUE) {
		bench_pause();
		/* Its second line is to come with the first, not after it. */
		if (++spins == PREFETCH_AFTER && has_second)
			__builtin_prefetch(at + 64);
		/* On one core the other side must get its turn. */
		if (spins % 4096 == 0)
			(void)syscall(SYS_sched_yield);
	}
	return bench_event_sum(at + 8, params->size) == value * (params->size / 8) ? value : 0;
}

static int ping_role(struct bench_run *run, unsigned int role)
{
	const struct field_params *params = run->params;
	uint64_t i;

	(void)role;
	bench_barrier(run);
	for (i = 1; i == 1 || !bench_is_over(run); i++) {
		uint64_t begin = bench_now_ns();

		serve(params, 0, i, i);
		if (catch_ball(params, 1, i) != i)
			return 1;
		bench_histogram_add(&run->shared->histogram, bench_now_ns() - begin);
	}
	serve(params, 0, i, LAST_VALUE);
	return 0;
}

static int pong_role(struct bench_run *run, unsigned int role)
{
	const struct field_params *params = run->params;

	(void)role;
	bench_barrier(run);
	for (uint64_t i = 1;; i++) {
		uint64_t value = catch_ball(params, 0, i);

		if (value == LAST_VALUE)
			return 0;
		if (value != i)
			return 1;
		serve(params, 1, i, i);
	}
}

double bench_probe_moving(struct bench_run *run, const struct bench_cores *cores, unsigned int size, unsigned int n_places,
			  uint64_t *ret_p99)
{
	struct field_params params = {.size = size, .n_places = n_places ? n_places : WAY_BYTES / (8 + size)};
	double median = 0;

	params.field = mmap(NULL, sizeof(*params.field), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (params.field == MAP_FAILED)
		return 0;
	run->params = &params;
	run->n_roles = 2;
	run->role[0] = (struct bench_role){ping_role, cores->core[0]};
	run->role[1] = (struct bench_role){pong_role, cores->core[1 % cores->n]};
	if (bench_run_roles(run) == 0) {
		median = (double)bench_histogram_percentile(&run->shared->histogram, 0.5);
		*ret_p99 = bench_histogram_percentile(&run->shared->histogram, 0.99);
	}
	munmap(params.field, sizeof(*params.field));
	return median;
}
