/* SPDX-License-Identifier: BSD-3-Clause */
/* Physical limits. See probe.h. */
#include "bench/probe.h"

#include <linux/futex.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench/event.h"
#include "bench/pace.h"

#define STREAM_BYTES (2u << 20)
#define STREAM_PARTS 8u

/* On one core the other side must get its turn. */
static void wait_a_little(unsigned int spins)
{
	bench_pause();
	if (spins % 4096 == 0)
		(void)syscall(SYS_sched_yield);
}

/* -- streaming -- */

struct stream {
	alignas(128) _Atomic uint64_t written; /* items */
	alignas(128) _Atomic uint64_t read;
	alignas(4096) unsigned char data[STREAM_BYTES];
};

struct stream_params {
	struct stream *stream;
	unsigned int size;
	uint64_t n_items; /* in the buffer */
};

#define COPIED_MAX 65536u

/* @is_copied: filled in private memory first. A constant where this is used: the plain loop is to be as short as it was. */
static inline __attribute__((always_inline)) int stream_write(struct bench_run *run, bool is_copied)
{
	static unsigned char item[COPIED_MAX];
	const struct stream_params *params = run->params;
	struct stream *stream = params->stream;
	uint64_t part = params->n_items / STREAM_PARTS, n = 0;

	bench_barrier(run);
	do {
		for (unsigned int spins = 1; n + part - atomic_load_explicit(&stream->read, memory_order_acquire) > params->n_items;
		     spins++)
			wait_a_little(spins);
		for (uint64_t i = 0; i < part; i++) {
			unsigned char *at = stream->data + (n + i) % params->n_items * params->size;

			bench_event_fill(is_copied ? item : at, params->size, n + i);
			if (is_copied)
				memcpy(at, item, params->size);
		}
		n += part;
		atomic_store_explicit(&stream->written, n, memory_order_release);
	} while (!bench_is_over(run));
	atomic_store_explicit(&run->shared->total, n, memory_order_release);
	return 0;
}

static int stream_writer(struct bench_run *run, unsigned int role)
{
	(void)role;
	return stream_write(run, false);
}

static int stream_copier(struct bench_run *run, unsigned int role)
{
	(void)role;
	return stream_write(run, true);
}

static int stream_reader(struct bench_run *run, unsigned int role)
{
	const struct stream_params *params = run->params;
	struct stream *stream = params->stream;
	uint64_t part = params->n_items / STREAM_PARTS, n = 0, total = 0, check = 0, begin;
	unsigned int spins = 0;

	bench_barrier(run);
	begin = bench_now_ns();
	while ((total = atomic_load_explicit(&run->shared->total, memory_order_acquire)) == 0 || n < total) {
		uint64_t written = atomic_load_explicit(&stream->written, memory_order_acquire);

		if (n == written && ++spins % 4096 == 0)
			(void)syscall(SYS_sched_yield);
		while (n < written) {
			for (uint64_t i = 0; i < part; i++)
				check += bench_event_sum(stream->data + (n + i) % params->n_items * params->size, params->size);
			n += part;
			atomic_store_explicit(&stream->read, n, memory_order_release);
		}
	}
	/* Sum of 0 .. n-1, once for each word: everything was read. */
	if (check != (n % 2 ? n * ((n - 1) / 2) : n / 2 * (n - 1)) * (params->size / 8))
		return 1;
	atomic_store_explicit(&run->shared->role[role].value[0], n, memory_order_relaxed);
	atomic_store_explicit(&run->shared->role[role].value[1], bench_now_ns() - begin, memory_order_relaxed);
	return 0;
}

static double stream(struct bench_run *run, const struct bench_cores *cores, unsigned int size, bench_role_fn writer)
{
	struct stream_params params = {.size = size};
	double rate = 0;

	params.n_items = STREAM_BYTES / size / STREAM_PARTS * STREAM_PARTS;
	params.stream = mmap(NULL, sizeof(*params.stream), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
			     -1, 0);
	if (params.stream == MAP_FAILED)
		return 0;
	run->params = &params;
	run->n_roles = 2;
	run->role[0] = (struct bench_role){writer, cores->core[0]};
	run->role[1] = (struct bench_role){stream_reader, cores->core[1 % cores->n]};
	if (bench_run_roles(run) == 0)
		rate = (double)run->shared->role[1].value[0] * 1e9 / (double)run->shared->role[1].value[1];
	munmap(params.stream, sizeof(*params.stream));
	return rate;
}

double bench_probe_stream(struct bench_run *run, const struct bench_cores *cores, unsigned int size)
{
	return stream(run, cores, size, stream_writer);
}

double bench_probe_stream_copied(struct bench_run *run, const struct bench_cores *cores, unsigned int size)
{
	return size <= COPIED_MAX ? stream(run, cores, size, stream_copier) : 0;
}

/* -- ping-pong -- */

struct court {
	struct {
		alignas(128) _Atomic uint64_t flag; /* first line */
		uint64_t pad[7];
		_Atomic uint64_t second;            /* second line, written before the flag */
	} way[2];
};

struct court_params {
	struct court *court;
	unsigned int n_lines;
};

static void serve(struct court *court, int way, unsigned int n_lines, uint64_t value)
{
	if (n_lines > 1)
		atomic_store_explicit(&court->way[way].second, value, memory_order_relaxed);
	atomic_store_explicit(&court->way[way].flag, value, memory_order_release);
}

static void catch_ball(struct court *court, int way, unsigned int n_lines, uint64_t value)
{
	unsigned int spins = 0;

	while (atomic_load_explicit(&court->way[way].flag, memory_order_acquire) != value)
		wait_a_little(++spins);
	if (n_lines > 1 && atomic_load_explicit(&court->way[way].second, memory_order_relaxed) != value)
		abort();
}

static int ping_role(struct bench_run *run, unsigned int role)
{
	const struct court_params *params = run->params;
	struct bench_histogram *histogram = &run->shared->histogram;
	uint64_t i;

	(void)role;
	bench_barrier(run);
	for (i = 1; i == 1 || !bench_is_over(run); i++) {
		uint64_t begin = bench_now_ns();

		serve(params->court, 0, params->n_lines, i);
		catch_ball(params->court, 1, params->n_lines, i);
		bench_histogram_add(histogram, bench_now_ns() - begin);
	}
	serve(params->court, 0, params->n_lines, UINT64_MAX);
	return 0;
}

static int pong_role(struct bench_run *run, unsigned int role)
{
	const struct court_params *params = run->params;

	(void)role;
	bench_barrier(run);
	for (uint64_t i = 1;; i++) {
		uint64_t flag;
		unsigned int spins = 0;

		while ((flag = atomic_load_explicit(&params->court->way[0].flag, memory_order_acquire)) < i) {
			bench_pause();
			if (++spins % 4096 == 0)
				(void)syscall(SYS_sched_yield);
		}
		if (flag == UINT64_MAX)
			return 0;
		if (params->n_lines > 1 &&
		    atomic_load_explicit(&params->court->way[0].second, memory_order_relaxed) != i)
			return 1;
		serve(params->court, 1, params->n_lines, i);
	}
}

double bench_probe_ping_pong(struct bench_run *run, const struct bench_cores *cores, unsigned int n_lines, uint64_t *ret_p99)
{
	struct court_params params = {.n_lines = n_lines};
	double median = 0;

	params.court = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (params.court == MAP_FAILED)
		return 0;
	run->params = &params;
	run->n_roles = 2;
	run->role[0] = (struct bench_role){ping_role, cores->core[0]};
	run->role[1] = (struct bench_role){pong_role, cores->core[1 % cores->n]};
	if (bench_run_roles(run) == 0) {
		median = (double)bench_histogram_percentile(&run->shared->histogram, 0.5);
		*ret_p99 = bench_histogram_percentile(&run->shared->histogram, 0.99);
	}
	munmap(params.court, 4096);
	return median;
}

/* -- futex -- */

/* More than a sleeper may be behind. */
#define SENT_N 4096u

struct sleepers {
	alignas(128) _Atomic uint32_t word; /* how many were sent */
	alignas(128) _Atomic uint64_t sent_ns[SENT_N]; /* when, each; 0 = the end */
	uint64_t interval_ns;
};

static int futex_waker(struct bench_run *run, unsigned int role)
{
	struct sleepers *sleepers = (struct sleepers *)(uintptr_t)run->params;
	struct bench_pace pace = {.interval_ns = sleepers->interval_ns};
	bool is_last = false;

	(void)role;
	bench_barrier(run);
	for (uint32_t i = 0; !is_last; i++) {
		uint64_t begin = bench_pace_wait(&pace);

		is_last = i > 0 && bench_is_over(run);
		atomic_store_explicit(&sleepers->sent_ns[i % SENT_N], is_last ? 0 : begin, memory_order_relaxed);
		atomic_store_explicit(&sleepers->word, i + 1, memory_order_release);
		(void)syscall(SYS_futex, &sleepers->word, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	return 0;
}

static int futex_sleeper(struct bench_run *run, unsigned int role)
{
	struct sleepers *sleepers = (struct sleepers *)(uintptr_t)run->params;
	uint32_t seen = 0;

	(void)role;
	bench_barrier(run);
	for (;;) {
		uint32_t now = atomic_load_explicit(&sleepers->word, memory_order_acquire);

		if (now == seen) {
			(void)syscall(SYS_futex, &sleepers->word, FUTEX_WAIT, seen, NULL, NULL, 0);
			continue;
		}
		if (now - seen > SENT_N)
			return 1;
		for (; seen != now; seen++) {
			uint64_t sent = atomic_load_explicit(&sleepers->sent_ns[seen % SENT_N], memory_order_relaxed);

			if (sent == 0)
				return 0;
			bench_histogram_add(&run->shared->histogram, bench_now_ns() - sent);
		}
	}
}

double bench_probe_futex(struct bench_run *run, const struct bench_cores *cores, unsigned int interval_us)
{
	struct sleepers *sleepers;
	double median = 0;

	sleepers = mmap(NULL, sizeof(*sleepers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (sleepers == MAP_FAILED)
		return 0;
	sleepers->interval_ns = (uint64_t)interval_us * 1000;
	run->params = sleepers;
	run->n_roles = 2;
	run->role[0] = (struct bench_role){futex_waker, cores->core[0]};
	run->role[1] = (struct bench_role){futex_sleeper, cores->core[1 % cores->n]};
	if (bench_run_roles(run) == 0)
		median = (double)bench_histogram_percentile(&run->shared->histogram, 0.5);
	munmap(sleepers, sizeof(*sleepers));
	return median;
}
