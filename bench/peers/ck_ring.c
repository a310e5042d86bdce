/* SPDX-License-Identifier: BSD-3-Clause */
/* Concurrency Kit's ring: single producer and consumer; events are written in place and copied out. */
#include "bench/peers/peer.h"

#include <stdatomic.h>

#include <ck_pr.h>
#include <ck_ring.h>

#define TAKE_MAX 64u

struct shared {
	struct ck_ring ring;
	char pad[4096 - sizeof(struct ck_ring)];
	unsigned char events[];
};

static int make(struct peer_channel *channel)
{
	struct shared *shared = channel->memory;

	ck_ring_init(&shared->ring, peer_slots(channel->size));
	return 0;
}

/* The library makes a ring of each type; its sizes are known when it is compiled. */
#define RING_OF(bytes)                                                                                                  \
	struct event_##bytes {                                                                                           \
		uint64_t word[(bytes) / 8];                                                                              \
	};                                                                                                              \
	CK_RING_PROTOTYPE(e##bytes, event_##bytes)                                                                        \
	static int send_##bytes(struct shared *shared, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)       \
	{                                                                                                               \
		struct event_##bytes *events = (struct event_##bytes *)(void *)shared->events, *event;                    \
                                                                                                                        \
		for (unsigned int i = 0; i < n; i++) {                                                                   \
			while (!(event = ck_ring_enqueue_reserve_spsc_e##bytes(&shared->ring, events))) {                  \
				if (atomic_load_explicit(stop, memory_order_relaxed))                                     \
					return 1;                                                                        \
				ck_pr_stall();                                                                           \
			}                                                                                               \
			peer_fill(event, bytes, first + i);                                                              \
			ck_ring_enqueue_commit_spsc(&shared->ring);                                                       \
		}                                                                                                       \
		return 0;                                                                                                \
	}                                                                                                               \
	static int take_##bytes(struct shared *shared, uint64_t *next)                                                     \
	{                                                                                                               \
		struct event_##bytes *events = (struct event_##bytes *)(void *)shared->events, event;                     \
                                                                                                                        \
		for (unsigned int i = 0; i < TAKE_MAX; i++) {                                                            \
			if (!ck_ring_dequeue_spsc_e##bytes(&shared->ring, events, &event)) {                               \
				ck_pr_stall();                                                                           \
				return 0;                                                                                \
			}                                                                                               \
			if (!peer_is(&event, bytes, (*next)++))                                                          \
				return peer_complain("ck_ring", "wrong content");                                         \
		}                                                                                                       \
		return 0;                                                                                                \
	}

RING_OF(8)
RING_OF(56)
RING_OF(64)
RING_OF(256)
RING_OF(1024)

static int send(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	switch (channel->size) {
	case 8:
		return send_8(channel->memory, first, n, stop);
	case 56:
		return send_56(channel->memory, first, n, stop);
	case 64:
		return send_64(channel->memory, first, n, stop);
	case 256:
		return send_256(channel->memory, first, n, stop);
	case 1024:
		return send_1024(channel->memory, first, n, stop);
	}
	return peer_complain("ck_ring", "not built for this size");
}

static int take(struct peer_channel *channel, uint64_t *next)
{
	switch (channel->size) {
	case 8:
		return take_8(channel->memory, next);
	case 56:
		return take_56(channel->memory, next);
	case 64:
		return take_64(channel->memory, next);
	case 256:
		return take_256(channel->memory, next);
	case 1024:
		return take_1024(channel->memory, next);
	}
	return peer_complain("ck_ring", "not built for this size");
}

static const char *version(void)
{
	return "Concurrency Kit " HBUS_PEER_CK;
}

const struct peer peer_ck_ring = {
	.name = "ck_ring", .title = "Concurrency Kit ck_ring",
	.settings = "ck_ring_enqueue_reserve_spsc() and commit (in place), ck_ring_dequeue_spsc(); 2 MiB of events",
	.version = version, .make = make, .send = send, .take = take,
};
