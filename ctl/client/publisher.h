/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A publisher handle: its rings, its topics, and the state of what is being published
 *
 *	owner's thread      publish.c: claim, copy, add, commit, wake; publisher.c: topics, open, close
 *	control thread      publisher_gates.c: installs and removes gates, under bus->lock
 *
 * Topics may also be declared by another thread while the owner publishes. It changes only what the owner
 * does not look at before it knows of the topic: entries of topics, and pages and rings beyond those in use.
 *
 * A ring is one read policy: the daemon says HBUS_E_POLICY when a topic does not fit, and the
 * publisher takes another ring. The owner's thread holds no lock while it publishes; what the control
 * thread changes in a ring is the gate table alone, which is made for that (shm/gate.h).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/client/bus.h"
#include "shm/ring_pub.h"

#define HBUS_PUBLISHER_RINGS_MAX 16u /* read policies of one publisher */
#define HBUS_PUBLISH_TIMEOUT_MS 5000
#define HBUS_TOPIC_PAGE_SIZE 4096u
#define HBUS_PUBLISH_SMALL_MAX 1024u /* bytes; larger ones are copied by memcpy() */
#define HBUS_NO_TOPIC UINT64_MAX /* no hbus_topic_t is that large */
#define HBUS_QUICKLY_RESERVED (UINT64_C(1) << 32) /* nor this, with the bytes of the event */

/* What a ring must say again when a daemon comes back. */
struct hbus_pub_topic {
	uint32_t id;      /* in the ring */
	uint32_t user_id; /* what the user was given; differs only after renew.c */
	char *name;
	char *type;
	char *content_type;
};

struct hbus_pub_ring {
	struct hbus_ring_pub pub; /* owner's thread */
	bool is_stalled;          /* owner's thread: the last claim found it full */
	_Atomic uint32_t is_refused; /* a restarted daemon does not know it: take a new one */
	uint64_t stalled_at_us;
	struct hbus_gates gates;
	pthread_mutex_t wake_lock; /* install, remove, and wake from other threads */
	/* -- fixed when it is made -- */
	struct hbus_geometry geometry;
	struct hbus_token token;
	void *header;
	void *data;
	int header_fd; /* kept for a restarted daemon */
	int data_fd;
	/* -- bus->lock -- */
	struct hbus_pub_ring *next;
	struct hbus_pub_topic *topics;
	uint32_t n_topics, n_topics_room;
	bool is_announced; /* readers may know it */
};

/* The user's topic number -> ring and number in the ring; 0 = not this publisher's. */
struct hbus_topic_page {
	uint32_t place[HBUS_TOPIC_PAGE_SIZE]; /* (ring index + 1) << 24 | topic id on the wire */
};

struct hbus_publisher {
	/* -- owner's thread, every publish -- */
	const _Atomic uint32_t *alive;
	/* HBUS_GATES_*, for the gates of all rings too. A call is under way: a signal handler must not start another. */
	_Atomic uint32_t busy;
	hbus_topic_t last_topic;  /* what was published last: ring and number, without a look-up */
	/*
	 * The same while a plain event of it may go the quick way; HBUS_QUICKLY_RESERVED and the size while an event of it is
	 * reserved that way, in last_ring at its tail, and `reserved` knows nothing of it; else HBUS_NO_TOPIC.
	 */
	uint64_t quick_topic;
	struct hbus_pub_ring *last_ring;
	uint64_t last_word;       /* header word of an empty event */
	uint32_t last_wire;
	uint32_t flags;
	bool in_batch;
	uint32_t batch_size_end;  /* an event of less bytes may join the open batch the quick way; 0: none may */
	_Atomic uint32_t is_declaring; /* likewise for hbus_publisher_topic(), perhaps in another thread */
	uint64_t batch_time_ns;   /* the time of all events of the open batch; 0 = not asked for yet */
	int64_t timeout_us;       /* negative: for ever */
	/* -- owner's thread -- */
	struct hbus_pub_ring *reserved; /* ring of an open reservation */
	unsigned char *reserved_body;
	size_t reserved_size;
	size_t reserved_run; /* events; 0 = one, not a run */
	struct hbus_pub_ring *rings[HBUS_PUBLISHER_RINGS_MAX];
	_Atomic uint32_t n_rings; /* others: hbus_publisher_wake() */
	pthread_mutex_t rings_lock; /* hbus_publisher_wake() against a change of rings[] */
	struct hbus_pub_ring *retired; /* replaced by others; freed with the publisher */
	uint64_t renew_after_ms;
	int renew_for_ms;         /* how long the next attempt may take; 0 = the first */
	uint64_t renew_until_ms;  /* while renew.c is at it: when it gives up for now; else 0 */
	struct hbus_topic_page *pages[HBUS_TOPIC_PAGE_SIZE];
	struct hbus_publisher_options options;
	struct hbus *bus;
};

int hbus_publisher_fail_busy(void);

static inline bool hbus_publisher_is_quickly_reserved(const struct hbus_publisher *publisher)
{
	return publisher->quick_topic >> 32 == 1;
}

/* One event or a run; only its end can be next. */
static inline bool hbus_publisher_has_reserved(const struct hbus_publisher *publisher)
{
	return publisher->reserved || hbus_publisher_is_quickly_reserved(publisher);
}

/* Whether the next event may go the quick way: to be said after each change of what this asks for. */
static inline void hbus_publisher_set_quick(struct hbus_publisher *publisher)
{
	bool is_quick = publisher->last_topic != 0 && !publisher->in_batch && !publisher->reserved &&
			!(publisher->flags & HBUS_PUB_TIMESTAMP);

	publisher->quick_topic = is_quick ? publisher->last_topic : HBUS_NO_TOPIC;
	is_quick = publisher->in_batch && !publisher->reserved &&
		   (!(publisher->flags & HBUS_PUB_TIMESTAMP) || publisher->batch_time_ns != 0);
	publisher->batch_size_end = is_quick ? HBUS_PUBLISH_SMALL_MAX + 1 : 0;
}

/* @busy: what the word is. */
static inline void hbus_publisher_enter_quickly(struct hbus_publisher *publisher, uint32_t busy)
{
	/* relaxed: as in hbus_gates_enter(); who needs a fence has it there */
	atomic_store_explicit(&publisher->busy, busy | HBUS_GATES_CALL | HBUS_GATES_INSIDE, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* For who entered so. The word is loaded again: one register less to keep is worth more. */
static inline void hbus_publisher_leave_quickly(struct hbus_publisher *publisher)
{
	uint32_t busy = atomic_load_explicit(&publisher->busy, memory_order_relaxed); /* relaxed: own word */

	/* R(gate.busy): as in hbus_publisher_leave(). */
	atomic_store_explicit(&publisher->busy, busy + 1, memory_order_release);
}

/* Begin and end of every call on a publisher. 0 or an error. */
static inline int hbus_publisher_enter(struct hbus_publisher *publisher)
{
	uint32_t busy;

	/* relaxed: nobody writes it; fork() replaces the page by zeroes */
	if (__builtin_expect(!publisher || atomic_load_explicit(publisher->alive, memory_order_relaxed) == 0, 0))
		return hbus_fail_handle(publisher);
	/* relaxed: written by the owner's thread only, perhaps from a signal handler */
	busy = atomic_load_explicit(&publisher->busy, memory_order_relaxed);
	if (__builtin_expect((busy & HBUS_GATES_CALL) != 0, 0))
		return hbus_publisher_fail_busy();
	hbus_publisher_enter_quickly(publisher, busy);
	return 0;
}

static inline void hbus_publisher_leave(struct hbus_publisher *publisher)
{
	uint32_t busy = atomic_load_explicit(&publisher->busy, memory_order_relaxed); /* relaxed: own word */

	/* R(gate.busy): what was read inside, before the word that says outside. */
	atomic_store_explicit(&publisher->busy, (busy | HBUS_GATES_CALL | HBUS_GATES_INSIDE) + 1, memory_order_release);
}

/* In a call that takes long: the control thread may take gates out meanwhile. */
static inline void hbus_publisher_step_out(struct hbus_publisher *publisher)
{
	uint32_t busy = atomic_load_explicit(&publisher->busy, memory_order_relaxed); /* relaxed: own word */

	/* R(gate.busy): as above. */
	atomic_store_explicit(&publisher->busy, busy & ~HBUS_GATES_INSIDE, memory_order_release);
}

static inline void hbus_publisher_step_in(struct hbus_publisher *publisher)
{
	uint32_t busy = atomic_load_explicit(&publisher->busy, memory_order_relaxed); /* relaxed: own word */

	/* relaxed: as in hbus_publisher_enter() */
	atomic_store_explicit(&publisher->busy, busy | HBUS_GATES_INSIDE, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* Makes what was added to the ring visible, and wakes who sleeps. */
void hbus_publisher_commit(struct hbus_publisher *publisher, struct hbus_pub_ring *ring);

/*
 * room.c: room for @len bytes in a ring that is full; waits for @timeout_us (negative: for ever). 0, or what
 * hbus_ring_pub_claim() says.
 */
int hbus_publisher_claim_slowly(struct hbus_publisher *publisher, struct hbus_pub_ring *ring, uint64_t len,
				int64_t timeout_us, unsigned char **ret_body);

/* What a request of who declares may take. In a publish, which is where rings are renewed, that is little. */
struct hbus_call hbus_publisher_call(const struct hbus_publisher *publisher);

/* publisher.c, for who declares: asks for one more topic of a ring, and remembers it. */
int hbus_publisher_add_topic(struct hbus_publisher *publisher, struct hbus_pub_ring *ring, uint32_t user_id,
			     const char *name, const char *type, const char *content_type, uint32_t *ret_id);
int hbus_publisher_place_topic(struct hbus_publisher *publisher, hbus_topic_t user_id, uint32_t ring_idx, uint32_t id);

/* renew.c: a new ring in the place of one that the daemon does not know. The publishing thread only. */
void hbus_publisher_renew(struct hbus_publisher *publisher, struct hbus_pub_ring *old);

/* pub_ring.c: make a ring that carries the topic first; the ring is on bus->pub_rings then. */
int hbus_pub_ring_new(struct hbus_publisher *publisher, const char *name, const char *type, const char *content_type,
		      struct hbus_pub_ring **ret_ring, uint32_t *ret_topic_id);
/* Says that nothing more comes, tells the daemon, frees it. */
void hbus_pub_ring_close(struct hbus *bus, struct hbus_pub_ring *ring);
/* The same, when nobody waits for the daemon's answer. */
void hbus_pub_ring_give_up(struct hbus *bus, struct hbus_pub_ring *ring);
/* In a child after fork(): frees memory only. */
void hbus_pub_ring_free_forked(struct hbus_pub_ring *ring);
/* Remembers the topic for a restarted daemon. 0 or HBUS_E_NO_MEMORY. Takes the lock. */
int hbus_pub_ring_note_topic(struct hbus *bus, struct hbus_pub_ring *ring, uint32_t id, uint32_t user_id,
			     const char *name, const char *type, const char *content_type);
/* Nobody is told of it any more, and its readers see its end; free it with hbus_pub_ring_free(). */
void hbus_pub_ring_retire(struct hbus *bus, struct hbus_pub_ring *ring);
void hbus_pub_ring_free(struct hbus_pub_ring *ring);
