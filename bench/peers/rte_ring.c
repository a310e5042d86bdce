/* SPDX-License-Identifier: BSD-3-Clause */
/* DPDK's ring: single producer and consumer, events in the ring itself, one at a time or in bursts without a copy. */
#include "bench/peers/peer.h"

#include <stdatomic.h>

#include <rte_pause.h>
#include <rte_ring.h>
#include <rte_ring_peek_zc.h>
#include <rte_version.h>

#define BURST 64u

static struct rte_ring *ring_of(struct peer_channel *channel)
{
	return channel->memory;
}

static int make(struct peer_channel *channel)
{
	unsigned int n = peer_slots(channel->size);

	/* rte_ring_init() does not ask for the size of an element: the memory behind the ring is the caller's. */
	if (rte_ring_get_memsize_elem(channel->size, n) > (ssize_t)PEER_MEMORY_BYTES)
		return peer_complain("rte_ring", "too large");
	return rte_ring_init(ring_of(channel), "peer", n, RING_F_SP_ENQ | RING_F_SC_DEQ) ? peer_complain("rte_ring", "init") : 0;
}

BENCH_EVENT_INLINE int send_single_sized(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop,
				unsigned int size)
{
	uint64_t event[PEER_SIZE_MAX / 8];

	for (unsigned int i = 0; i < n; i++) {
		peer_fill(event, size, first + i);
		while (rte_ring_sp_enqueue_elem(ring_of(channel), event, size)) {
			if (atomic_load_explicit(stop, memory_order_relaxed))
				return 1;
			rte_pause();
		}
	}
	return 0;
}

static int send_single(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	BENCH_EVENT_BY_SIZE(send_single_sized, channel->size, channel, first, n, stop);
}

BENCH_EVENT_INLINE int take_single_sized(struct peer_channel *channel, uint64_t *next, unsigned int size)
{
	uint64_t event[PEER_SIZE_MAX / 8];

	for (unsigned int i = 0; i < BURST; i++) {
		if (rte_ring_sc_dequeue_elem(ring_of(channel), event, size)) {
			rte_pause();
			return 0;
		}
		if (!peer_is(event, size, (*next)++))
			return peer_complain("rte_ring", "wrong content");
	}
	return 0;
}

static int take_single(struct peer_channel *channel, uint64_t *next)
{
	BENCH_EVENT_BY_SIZE(take_single_sized, channel->size, channel, next);
}

static void *slot(const struct rte_ring_zc_data *zc, unsigned int i, unsigned int size)
{
	return i < zc->n1 ? (char *)zc->ptr1 + (size_t)i * size : (char *)zc->ptr2 + (size_t)(i - zc->n1) * size;
}

BENCH_EVENT_INLINE int send_burst_sized(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop,
				unsigned int size)
{
	struct rte_ring_zc_data zc;

	while (n > 0) {
		unsigned int got = rte_ring_enqueue_zc_burst_elem_start(ring_of(channel), size, n, &zc, NULL);

		if (got == 0) {
			if (atomic_load_explicit(stop, memory_order_relaxed))
				return 1;
			rte_pause();
			continue;
		}
		for (unsigned int i = 0; i < got; i++)
			peer_fill(slot(&zc, i, size), size, first + i);
		rte_ring_enqueue_zc_elem_finish(ring_of(channel), got);
		first += got;
		n -= got;
	}
	return 0;
}

static int send_burst(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	BENCH_EVENT_BY_SIZE(send_burst_sized, channel->size, channel, first, n, stop);
}

BENCH_EVENT_INLINE int take_burst_sized(struct peer_channel *channel, uint64_t *next, unsigned int size)
{
	struct rte_ring_zc_data zc;
	unsigned int n = rte_ring_dequeue_zc_burst_elem_start(ring_of(channel), size, BURST, &zc, NULL);
	bool is_right = true;

	if (n == 0) {
		rte_pause();
		return 0;
	}
	for (unsigned int i = 0; i < n; i++)
		is_right &= peer_is(slot(&zc, i, size), size, (*next)++);
	rte_ring_dequeue_zc_elem_finish(ring_of(channel), n);
	return is_right ? 0 : peer_complain("rte_ring", "wrong content");
}

static int take_burst(struct peer_channel *channel, uint64_t *next)
{
	BENCH_EVENT_BY_SIZE(take_burst_sized, channel->size, channel, next);
}

const struct peer peer_rte_ring_single = {
	.name = "rte_ring.single", .title = "DPDK rte_ring, one by one",
	.settings = "rte_ring_sp_enqueue_elem(), rte_ring_sc_dequeue_elem(); events in the ring, 2 MiB",
	.version = rte_version, .make = make, .send = send_single, .take = take_single,
};
const struct peer peer_rte_ring_burst = {
	.name = "rte_ring.burst", .title = "DPDK rte_ring, bursts", .is_own_batching = true,
	.settings = "zero-copy bursts of up to 64 (rte_ring_enqueue_zc_burst_elem_start()); events in the ring, 2 MiB",
	.version = rte_version, .make = make, .send = send_burst, .take = take_burst,
};
