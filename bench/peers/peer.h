/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One way to move events between two processes, behind one interface
 *
 * The harness forks a publisher and a subscriber, pins both, and gives all peers the same work: event number i
 * is @size bytes, every 8 of which hold i; the publisher writes all of them, the subscriber reads all of
 * them and checks that i is the next. Loops are inside a peer, so that no indirect call stands between two events, and
 * know the size when they are compiled.
 * Each peer uses the fastest of its documented ways that loses nothing; @settings says which.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "bench/event.h"

/* Shared memory of a channel, zeroed, mapped before the processes start. */
#define PEER_MEMORY_BYTES (8u << 20)
/* Room for events in it: the same for all peers that live in memory. */
#define PEER_RING_BYTES (2u << 20)
#define PEER_SIZE_MAX 1024u
#define PEER_BATCH_MAX 128u

enum peer_side { PEER_PUBLISHER, PEER_SUBSCRIBER };

struct peer_channel {
	unsigned int id;      /* differs in all channels of one run of the program */
	unsigned int size;    /* bytes of an event: a multiple of 8, at most PEER_SIZE_MAX */
	void *memory;
	int fd[2];            /* whatever the peer likes; -1 */
	void *state;          /* of this process */
	const char *socket;   /* of the bus */
};

struct peer {
	const char *name;     /* stable, for programs */
	const char *title;
	const char *settings; /* how it is used */
	const char *(*version)(void); /* of the library; NULL = it is the kernel */
	bool is_rtt_only;
	bool is_own_batching; /* one call publishes many events */

	/* Return of all: 0, or a negative value after a sentence on stderr. */

	/* Once, in the parent, before anything; a broker is started here. May be NULL. */
	int (*start)(void);
	void (*stop)(void);
	/* In the parent, before the two processes start. May be NULL. */
	int (*make)(struct peer_channel *channel);
	void (*unmake)(struct peer_channel *channel);
	/* In the process that publishes or subscribes. May be NULL. */
	int (*attach)(struct peer_channel *channel, enum peer_side side);
	void (*detach)(struct peer_channel *channel, enum peer_side side);

	/* Publishes events first .. first+n-1; waits for room. Gives up, with 1, when *@stop is set. */
	int (*send)(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop);
	/* Takes what is there, without waiting long; counts it into *next. */
	int (*take)(struct peer_channel *channel, uint64_t *next);
};

/* NULL-terminated. */
extern const struct peer *const peers[];

/* One that this build lacks, and why. */
struct peer_absent {
	const char *name, *title, *reason;
};

/* Ends with a name of NULL. */
extern const struct peer_absent peers_absent[];

BENCH_EVENT_INLINE void peer_fill(void *event, unsigned int size, uint64_t value)
{
	bench_event_fill(event, size, value);
}

/* Reads all of it. */
BENCH_EVENT_INLINE bool peer_is(const void *event, unsigned int size, uint64_t value)
{
	return bench_event_sum(event, size) == value * (size / 8);
}

/* Slots of a ring for events of @size: a power of two. */
static inline unsigned int peer_slots(unsigned int size)
{
	return 1u << (31 - __builtin_clz(PEER_RING_BYTES / size));
}

int peer_complain(const char *peer, const char *what);
