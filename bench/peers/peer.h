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

#define PEER_INLINE static inline __attribute__((always_inline))

/*
 * return @fn(..., size), which is inlined for each size that the comparison has: a program knows the size of its own types
 * when it is compiled, and so do all of these.
 */
#define PEER_BY_SIZE(fn, size, ...)                                                                                       \
	do {                                                                                                              \
		switch (size) {                                                                                           \
		case 8: return fn(__VA_ARGS__, 8);                                                                        \
		case 56: return fn(__VA_ARGS__, 56);                                                                      \
		case 64: return fn(__VA_ARGS__, 64);                                                                      \
		case 256: return fn(__VA_ARGS__, 256);                                                                    \
		case 1024: return fn(__VA_ARGS__, 1024);                                                                  \
		default: return fn(__VA_ARGS__, size);                                                                    \
		}                                                                                                         \
	} while (0)

PEER_INLINE int peer_fill_words(void *event, uint64_t value, unsigned int size)
{
	for (unsigned int i = 0; i < size; i += 8)
		memcpy((char *)event + i, &value, 8);
	return 0;
}

PEER_INLINE bool peer_is_words(const void *event, uint64_t value, unsigned int size)
{
	uint64_t total = 0, word;

	for (unsigned int i = 0; i < size; i += 8) {
		memcpy(&word, (const char *)event + i, 8);
		total += word;
	}
	return total == value * (size / 8);
}

PEER_INLINE int peer_fill(void *event, unsigned int size, uint64_t value)
{
	PEER_BY_SIZE(peer_fill_words, size, event, value);
}

/* Reads all of it. */
PEER_INLINE bool peer_is(const void *event, unsigned int size, uint64_t value)
{
	PEER_BY_SIZE(peer_is_words, size, event, value);
}

/* Slots of a ring for events of @size: a power of two. */
static inline unsigned int peer_slots(unsigned int size)
{
	return 1u << (31 - __builtin_clz(PEER_RING_BYTES / size));
}

int peer_complain(const char *peer, const char *what);
