/* SPDX-License-Identifier: BSD-3-Clause */
/* The same work for all peers. See measure.h. */
#include "bench/peers/measure.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#define SEND_N 64u
/* On one core the other side must get its turn. */
#define SPINS_MAX 4096u

struct work {
	const struct peer *peer;
	struct peer_channel channel[2];
};

static int attach(const struct work *work, struct peer_channel *channel, enum peer_side side)
{
	return work->peer->attach ? work->peer->attach(channel, side) : 0;
}

static void detach(const struct work *work, struct peer_channel *channel, enum peer_side side)
{
	if (work->peer->detach)
		work->peer->detach(channel, side);
}

static int make(struct work *work, const struct peer *peer, const char *socket, unsigned int size, unsigned int n)
{
	static unsigned int next_id;

	*work = (struct work){.peer = peer};
	for (unsigned int i = 0; i < n; i++) {
		struct peer_channel *channel = &work->channel[i];

		*channel = (struct peer_channel){.id = next_id++, .size = size, .fd = {-1, -1}, .socket = socket};
		channel->memory = mmap(NULL, PEER_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
				       -1, 0);
		if (channel->memory == MAP_FAILED)
			channel->memory = NULL;
		if (!channel->memory || (peer->make && peer->make(channel)))
			return -1;
	}
	return 0;
}

static void unmake(struct work *work)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct peer_channel *channel = &work->channel[i];

		if (channel->memory && work->peer->unmake)
			work->peer->unmake(channel);
		if (channel->memory)
			munmap(channel->memory, PEER_MEMORY_BYTES);
	}
}

/* Spins until one more event has come. */
static int await_next(const struct work *work, struct peer_channel *channel, uint64_t *next)
{
	uint64_t before = *next;

	for (unsigned int spins = 1; *next == before; spins++) {
		if (work->peer->take(channel, next))
			return -1;
		if (spins % SPINS_MAX == 0)
			sched_yield();
	}
	return 0;
}

/*
 * Both sides are attached when this returns: a subscriber of some begins with what is published after that.
 * So the first event goes before the clock starts: some peers connect on their own time.
 */
static void await_other(struct bench_run *run, unsigned int role)
{
	/* release, acquire: what this side has set up is there for the other */
	atomic_store_explicit(&run->shared->role[role].value[6], 1, memory_order_release);
	while (!atomic_load_explicit(&run->shared->role[1 - role].value[6], memory_order_acquire))
		sched_yield();
}

/* -- throughput -- */

static int publisher_role(struct bench_run *run, unsigned int role)
{
	struct work work = *(const struct work *)run->params;
	struct peer_channel *channel = &work.channel[0];
	uint64_t n = 0;

	if (attach(&work, channel, PEER_PUBLISHER))
		return 1;
	await_other(run, role);
	if (work.peer->send(channel, n++, 1, &run->shared->stop))
		return 1;
	bench_barrier(run);
	do {
		int r = work.peer->send(channel, n, SEND_N, &run->shared->stop);

		if (r)
			return 1;
		n += SEND_N;
	} while (!bench_is_over(run));
	atomic_store_explicit(&run->shared->total, n, memory_order_release);
	/* What it sent through stays until it is read. */
	while (!atomic_load_explicit(&run->shared->stop, memory_order_acquire))
		sched_yield();
	detach(&work, channel, PEER_PUBLISHER);
	return 0;
}

static int subscriber_role(struct bench_run *run, unsigned int role)
{
	struct work work = *(const struct work *)run->params;
	struct peer_channel *channel = &work.channel[0];
	uint64_t n = 0, total = 0, begin;

	if (attach(&work, channel, PEER_SUBSCRIBER))
		return 1;
	await_other(run, role);
	if (await_next(&work, channel, &n))
		return 1;
	bench_barrier(run);
	begin = bench_now_ns();
	while (total == 0 || n < total) {
		uint64_t before = n;

		if (work.peer->take(channel, &n))
			return 1;
		if (n != before)
			continue;
		total = atomic_load_explicit(&run->shared->total, memory_order_acquire);
		bench_pause();
	}
	atomic_store_explicit(&run->shared->role[role].value[0], n, memory_order_relaxed);
	atomic_store_explicit(&run->shared->role[role].value[1], bench_now_ns() - begin, memory_order_relaxed);
	atomic_store_explicit(&run->shared->stop, 1, memory_order_release);
	detach(&work, channel, PEER_SUBSCRIBER);
	return n == total ? 0 : 1;
}

double peers_throughput(struct bench_run *run, const struct bench_cores *cores, const struct peer *peer, unsigned int size)
{
	struct work work;
	double rate = 0;

	run->params = &work;
	run->n_roles = 2;
	run->role[0] = (struct bench_role){publisher_role, cores->core[0]};
	run->role[1] = (struct bench_role){subscriber_role, cores->core[1 % cores->n]};
	if (make(&work, peer, run->socket, size, 1) == 0 && bench_run_roles(run) == 0)
		rate = (double)run->shared->role[1].value[0] * 1e9 / (double)run->shared->role[1].value[1];
	unmake(&work);
	return rate;
}

/* -- round trip -- */

static int ping_role(struct bench_run *run, unsigned int role)
{
	struct work work = *(const struct work *)run->params;
	uint64_t next = 0;

	/* The subscriber first: some publishers wait for theirs. */
	if (attach(&work, &work.channel[1], PEER_SUBSCRIBER) || attach(&work, &work.channel[0], PEER_PUBLISHER))
		return 1;
	await_other(run, role);
	if (work.peer->send(&work.channel[0], 0, 1, &run->shared->stop) || await_next(&work, &work.channel[1], &next))
		return 1;
	bench_barrier(run);
	for (uint64_t i = 1; i == 1 || !bench_is_over(run); i++) {
		uint64_t begin = bench_now_ns();

		if (work.peer->send(&work.channel[0], i, 1, &run->shared->stop) || await_next(&work, &work.channel[1], &next))
			return 1;
		bench_histogram_add(&run->shared->histogram, bench_now_ns() - begin);
	}
	/* The other side looks at this between two events. */
	atomic_store_explicit(&run->shared->stop, 1, memory_order_release);
	while (atomic_load_explicit(&run->shared->stop, memory_order_acquire) != 2)
		sched_yield();
	detach(&work, &work.channel[0], PEER_PUBLISHER);
	detach(&work, &work.channel[1], PEER_SUBSCRIBER);
	return 0;
}

static int pong_role(struct bench_run *run, unsigned int role)
{
	struct work work = *(const struct work *)run->params;
	uint64_t next = 0, answered = 0;

	if (attach(&work, &work.channel[0], PEER_SUBSCRIBER) || attach(&work, &work.channel[1], PEER_PUBLISHER))
		return 1;
	await_other(run, role);
	if (await_next(&work, &work.channel[0], &next) || work.peer->send(&work.channel[1], answered++, 1, &run->shared->stop))
		return 1;
	bench_barrier(run);
	for (unsigned int spins = 1;; spins++) {
		if (work.peer->take(&work.channel[0], &next))
			return 1;
		if (next > answered && work.peer->send(&work.channel[1], answered++, 1, &run->shared->stop))
			return 1;
		if (spins % 64 == 0 && atomic_load_explicit(&run->shared->stop, memory_order_acquire))
			break;
		if (spins % SPINS_MAX == 0)
			sched_yield();
	}
	atomic_store_explicit(&run->shared->stop, 2, memory_order_release);
	detach(&work, &work.channel[1], PEER_PUBLISHER);
	detach(&work, &work.channel[0], PEER_SUBSCRIBER);
	return 0;
}

double peers_round_trip(struct bench_run *run, const struct bench_cores *cores, const struct peer *peer, unsigned int size)
{
	struct work work;
	double median = 0;

	run->params = &work;
	run->n_roles = 2;
	run->role[0] = (struct bench_role){ping_role, cores->core[0]};
	run->role[1] = (struct bench_role){pong_role, cores->core[1 % cores->n]};
	if (make(&work, peer, run->socket, size, 2) == 0 && bench_run_roles(run) == 0)
		median = (double)bench_histogram_percentile(&run->shared->histogram, 0.5);
	unmake(&work);
	return median;
}
