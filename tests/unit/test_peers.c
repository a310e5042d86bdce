/* SPDX-License-Identifier: BSD-3-Clause */
/* bench/peers: what loses, tears or reorders events does not get a figure. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench/peers/measure.h"

/* A ring in shared memory that is as simple as can be, and breaks one event if it is told so. */
enum fault { FAULT_NONE, FAULT_LOST, FAULT_TWICE, FAULT_TORN, FAULT_ORDER };

#define SLOTS 64u
#define BROKEN 10u /* of the first 64, which are sent however short the run is */

struct shared {
	_Atomic uint64_t written, read;
	uint64_t event[SLOTS][8];
};

static enum fault planted;

int peer_complain(const char *peer, const char *what)
{
	(void)peer;
	(void)what;
	return -1;
}

static void put(struct shared *shared, uint64_t value)
{
	uint64_t at = atomic_load_explicit(&shared->written, memory_order_relaxed);

	while (at - atomic_load_explicit(&shared->read, memory_order_acquire) == SLOTS)
		bench_pause();
	peer_fill(shared->event[at % SLOTS], 64, value);
	if (planted == FAULT_TORN && value == BROKEN)
		shared->event[at % SLOTS][7]++;
	atomic_store_explicit(&shared->written, at + 1, memory_order_release);
}

static int send(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	(void)stop;
	for (uint64_t i = first; i < first + n; i++) {
		if (planted == FAULT_LOST && i == BROKEN)
			continue;
		if (planted == FAULT_TWICE && i == BROKEN)
			put(channel->memory, i);
		put(channel->memory, planted == FAULT_ORDER && (i == BROKEN || i == BROKEN + 1) ? 2 * BROKEN + 1 - i : i);
	}
	return 0;
}

static int take(struct peer_channel *channel, uint64_t *next)
{
	struct shared *shared = channel->memory;
	uint64_t at = atomic_load_explicit(&shared->read, memory_order_relaxed);

	if (at == atomic_load_explicit(&shared->written, memory_order_acquire))
		return 0;
	if (!peer_is(shared->event[at % SLOTS], 64, (*next)++))
		return -1;
	atomic_store_explicit(&shared->read, at + 1, memory_order_release);
	return 0;
}

static const struct peer simple = {.name = "simple", .title = "", .settings = "", .send = send, .take = take};

static double rate_with(enum fault fault)
{
	struct bench_run run = {.duration_ms = 20};
	struct bench_cores cores;
	double rate;

	bench_cores_find(&cores);
	run.shared = mmap(NULL, sizeof(*run.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert(run.shared != MAP_FAILED);
	planted = fault;
	rate = peers_throughput(&run, &cores, &simple, 64);
	munmap(run.shared, sizeof(*run.shared));
	return rate;
}

Test(peers, right_events_count)
{
	cr_assert_gt(rate_with(FAULT_NONE), 0);
}

Test(peers, lost_event_fails)
{
	cr_assert_eq(rate_with(FAULT_LOST), 0);
}

Test(peers, event_that_comes_twice_fails)
{
	cr_assert_eq(rate_with(FAULT_TWICE), 0);
}

Test(peers, torn_event_fails)
{
	cr_assert_eq(rate_with(FAULT_TORN), 0);
}

Test(peers, wrong_order_fails)
{
	cr_assert_eq(rate_with(FAULT_ORDER), 0);
}
