/* SPDX-License-Identifier: BSD-3-Clause */
/* Physical limits of one core, and of an eventfd. See probe.h. */
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench/pace.h"
#include "bench/probe.h"

#define L1_BYTES 16384u
#define COPY_BYTES 65536u
#define ROUNDS 64u /* between two looks at the clock */

/* Work that goes over the same memory again and again, on one pinned process. */
typedef uint64_t (*round_fn)(unsigned char *memory, unsigned int size);

struct one_params {
	round_fn round;
	unsigned int size;
	uint64_t n_items; /* a round */
};

/* A record: 8 bytes of header that say how long it is, then so many bytes. */
static void make_records(unsigned char *memory, unsigned int size)
{
	for (unsigned int i = 0; i + 8 + size <= L1_BYTES; i += 8 + size) {
		uint64_t header = (uint64_t)0xb5 << 56 | size;

		memset(memory + i + 8, 1, size);
		memcpy(memory + i, &header, 8);
	}
}

static uint64_t walk_round(unsigned char *memory, unsigned int size)
{
	const unsigned char *end = memory + L1_BYTES / (8 + size) * (8 + size);
	uint64_t sum = 0;

	for (const unsigned char *at = memory; at < end;) {
		uint64_t header, word, length;

		memcpy(&header, at, 8);
		length = header & 0xffffff;
		if (header >> 56 != 0xb5 || length > L1_BYTES)
			return 0;
		for (uint64_t i = 0; i < length; i += 8) {
			memcpy(&word, at + 8 + i, 8);
			sum += word;
		}
		at += 8 + length;
	}
	return sum;
}

static uint64_t add_round(unsigned char *memory, unsigned int size)
{
	uint64_t sum = 0, word;

	for (unsigned int i = 0; i + size <= L1_BYTES; i += size) {
		for (unsigned int j = 0; j < size; j += 8) {
			memcpy(&word, memory + i + j, 8);
			sum += word;
		}
	}
	return sum;
}

static uint64_t copy_round(unsigned char *memory, unsigned int size)
{
	memcpy(memory + size, memory, size);
	__asm__ __volatile__("" : : "r"(memory) : "memory");
	return memory[size];
}

static int one_role(struct bench_run *run, unsigned int role)
{
	static alignas(4096) unsigned char memory[2 * COPY_BYTES];
	const struct one_params *params = run->params;
	uint64_t n = 0, sum = 0, begin;

	make_records(memory, params->size < L1_BYTES ? params->size : 8);
	bench_barrier(run);
	begin = bench_now_ns();
	do {
		for (unsigned int i = 0; i < ROUNDS; i++) {
			sum += params->round(memory, params->size);
			/* Each round loads anew. */
			__asm__ __volatile__("" : : "r"(memory) : "memory");
		}
		n += ROUNDS * params->n_items;
	} while (!bench_is_over(run));
	atomic_store_explicit(&run->shared->role[role].value[0], n, memory_order_relaxed);
	atomic_store_explicit(&run->shared->role[role].value[1], bench_now_ns() - begin, memory_order_relaxed);
	return sum == 0;
}

static double run_one(struct bench_run *run, const struct bench_cores *cores, const struct one_params *params)
{
	run->params = params;
	run->n_roles = 1;
	run->role[0] = (struct bench_role){one_role, cores->core[0]};
	if (bench_run_roles(run))
		return 0;
	return (double)run->shared->role[0].value[0] * 1e9 / (double)run->shared->role[0].value[1];
}

double bench_probe_walk(struct bench_run *run, const struct bench_cores *cores, unsigned int size)
{
	return run_one(run, cores, &(struct one_params){walk_round, size, L1_BYTES / (8 + size)});
}

double bench_probe_walk_streaming(struct bench_run *run, const struct bench_cores *cores, unsigned int size)
{
	double walk = bench_probe_walk(run, cores, size);
	double near = run_one(run, cores, &(struct one_params){add_round, 8 + size, L1_BYTES / (8 + size)});
	double far = bench_probe_stream(run, cores, 8 + size);

	if (near <= 0 || far <= 0)
		return 0;
	return far < near ? walk * far / near : walk;
}

double bench_probe_memcpy(struct bench_run *run, const struct bench_cores *cores)
{
	return run_one(run, cores, &(struct one_params){copy_round, COPY_BYTES, COPY_BYTES});
}

/* -- eventfd -- */

/* More than a listener may be behind. */
#define SENT_N 4096u

struct bell {
	_Atomic uint64_t sent_ns[SENT_N]; /* 0 = the end */
	uint64_t interval_ns;
	int fd;
};

static int ringer(struct bench_run *run, unsigned int role)
{
	struct bell *bell = (struct bell *)(uintptr_t)run->params;
	struct bench_pace pace = {.interval_ns = bell->interval_ns};
	bool is_last = false;

	(void)role;
	bench_barrier(run);
	for (uint32_t i = 0; !is_last; i++) {
		uint64_t begin = bench_pace_wait(&pace);

		is_last = i > 0 && bench_is_over(run);
		atomic_store_explicit(&bell->sent_ns[i % SENT_N], is_last ? 0 : begin, memory_order_release);
		if (eventfd_write(bell->fd, 1) != 0)
			return 1;
	}
	return 0;
}

static int listener(struct bench_run *run, unsigned int role)
{
	struct bell *bell = (struct bell *)(uintptr_t)run->params;
	uint32_t seen = 0;
	eventfd_t n;

	(void)role;
	bench_barrier(run);
	for (;;) {
		if (eventfd_read(bell->fd, &n) != 0 || n > SENT_N)
			return 1;
		for (; n > 0; n--, seen++) {
			uint64_t sent = atomic_load_explicit(&bell->sent_ns[seen % SENT_N], memory_order_acquire);

			if (sent == 0)
				return 0;
			bench_histogram_add(&run->shared->histogram, bench_now_ns() - sent);
		}
	}
}

double bench_probe_eventfd(struct bench_run *run, const struct bench_cores *cores, unsigned int interval_us)
{
	struct bell *bell = mmap(NULL, sizeof(*bell), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	double median = 0;

	if (bell == MAP_FAILED)
		return 0;
	bell->interval_ns = (uint64_t)interval_us * 1000;
	bell->fd = eventfd(0, EFD_CLOEXEC);
	run->params = bell;
	run->n_roles = 2;
	run->role[0] = (struct bench_role){ringer, cores->core[0]};
	run->role[1] = (struct bench_role){listener, cores->core[1 % cores->n]};
	if (bell->fd >= 0 && bench_run_roles(run) == 0)
		median = (double)bench_histogram_percentile(&run->shared->histogram, 0.5);
	close(bell->fd);
	munmap(bell, sizeof(*bell));
	return median;
}
