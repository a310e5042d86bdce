/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A subscriber handle: the rings that it reads, which topics it wants, what it lost
 *
 *	owner's thread     poll.c, wait.c, doorbell.c: reads the rings, sleeps
 *	control side       attach.c, slots.c, subscriber.c: under bus->lock
 *
 * From the control side to the owner's thread:
 *	- topics (topic_table.h): written by one, read by the other, without a lock
 *	- new rings: pushed to `mail` under mail_lock, and `news` is bumped; the owner's thread looks at the
 *	  list only when `news` has changed
 *	- a ring that ended, or that is asked for again: its `ended` word, then `news`
 * Back: rings that the owner's thread has left stand in `left` (mail_lock); the control side unmaps them,
 * clears their slots and tells the daemon.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/client/bus.h"
#include "ctl/client/id_set.h"
#include "ctl/client/linger.h"
#include "ctl/client/loss.h"
#include "ctl/client/topic_table.h"
#include "shm/ring_sub.h"

#define HBUS_UNKNOWN_TOPIC_MS 1000 /* how long a ring waits to hear what a topic number means, */
#define HBUS_UNHEARD_MS 20         /* and between looks whether all was heard, when that is over */
#define HBUS_POLLED_SLEEP_MS 1     /* sleep between looks at rings that cannot wake us */
#define HBUS_SLOTS_FIRST 32u
/* Polls in a row that found nothing, after which the caller waits for a single event rather than follows a stream. */
#define HBUS_WAITED_POLLS 4u

/* In hbus_attached.ended, besides HBUS_ENDED_* of the protocol: leave it; or: it was asked for again, read on. */
#define HBUS_ATTACHED_ENDED 0x80000000u
#define HBUS_ATTACHED_STAYS 0x40000000u

/* A ring at a subscriber. */
struct hbus_attached {
	struct hbus_ring_sub ring; /* owner's thread, once it was taken from the mail */
	/* -- owner's thread: accounts; an event counts when its batch was whole to the end -- */
	uint64_t n_delivered;
	uint64_t n_filtered;
	uint64_t n_lost;
	uint64_t batch_delivered; /* in the open batch */
	uint64_t batch_filtered;
	uint64_t batch_skip;      /* events from the batch's first record on that are accounted for already */
	uint64_t skip;            /* the same for the next batch: a run was cut, or a loss is reported in parts */
	uint64_t stats_position;  /* where the statistics were stored last */
	uint32_t idx;             /* in the subscriber's arrays */
	bool has_stats;           /* newer ones than the slot has */
	bool has_more;            /* the last scan stopped at an event that is wanted */
	bool is_corrupt;
	bool is_evicted;
	bool is_ending;           /* `ended` was seen: leave it when it is read to the end */
	bool is_blocked;          /* the next event's topic is not known yet */
	uint32_t blocked_topic;
	uint32_t unnamed_topic;   /* nobody named it in time: skip it; 0 = none */
	uint64_t blocked_until_ms;
	uint32_t heard;           /* bus->n_heard when that began */
	struct hbus_topic_cache cache;
	/* -- fixed when it is attached -- */
	uint64_t ring_id;
	uint64_t gate_id;
	uint64_t publisher_id;
	struct hbus_geometry geometry;
	uint32_t attach_idx;
	uint32_t memfd_idx;
	uint32_t slot_idx;
	bool has_slot;
	bool can_wake;     /* its publisher can ring our doorbell */
	bool is_awake;     /* its publisher need not: whoever publishes polls (HBUS_SUB_FLAG_NO_OWN_WAKE) */
	bool is_refused;   /* not a ring to read, but the news that one was refused */
	uint64_t start_first; /* events that were gone already when it was attached */
	uint64_t start_lost;
	void *header;
	void *data;
	/* -- control side writes, owner's thread reads -- */
	struct hbus_id_set carried; /* topics that are its publisher's to use */
	/* -- mail_lock; `ended` is read without it too -- */
	_Atomic uint32_t ended; /* HBUS_ATTACHED_* and flags */
	bool is_left;           /* the owner's thread is done with it */
	uint64_t stays_position, stays_sequence; /* with HBUS_ATTACHED_STAYS: what is older is not wanted any more */
	struct hbus_attached *mail_next;
	/* -- bus->lock -- */
	struct hbus_attached *held_next;
};

/* What an idle scan touches: nothing but this and the header word. */
struct hbus_scan {
	const _Atomic uint64_t *word; /* where the next header word will be */
	struct hbus_attached *at;
};

struct hbus_slots {
	int fd;
	struct hbus_slot *slots;
	uint32_t n_slots;
};

struct hbus_filter {
	struct hbus_filter *next;
	uint64_t covers_from; /* the daemon's: rings with this id or a later one are read from their first event */
	char text[256];
};

struct hbus_resume_place {
	uint64_t ring_id;
	uint64_t sequence;
};

struct hbus_doorbell {
	uint64_t publisher_id;
	int fd;
};

struct hbus_subscriber {
	/* -- owner's thread -- */
	const _Atomic uint32_t *alive;
	struct hbus_scan *rings;
	uint32_t n_rings, n_rings_room;
	uint32_t n_ending;  /* rings that wait to be left */
	uint32_t n_polled;  /* rings that cannot wake us */
	uint32_t next_idx;  /* where the next poll begins */
	uint32_t probe_idx; /* whose intent is looked at next, while its ring looks empty */
	uint32_t news_seen;
	struct hbus_attached *open; /* its batch is in the caller's hands */
	bool is_subscribed; /* some hbus_subscribe() has returned 0 */
	bool has_moved;     /* a reader was overtaken, and stands elsewhere now */
	bool is_armed;      /* slots say `waiting` */
	bool has_stats;     /* some ring has statistics to store */
	uint32_t n_idle_polls;
	const char *idle_line; /* to ask for while nothing comes */
	struct hbus_linger linger;
	uint64_t n_seen;    /* events that scans have gone over, wanted or not */
	struct hbus_loss_list losses;
	uint64_t n_delivered, n_filtered, n_lost; /* of rings that were left */
	/* -- between the two -- */
	_Atomic uint32_t news; /* futex word; changes with every mail */
	pthread_mutex_t mail_lock;
	struct hbus_attached *mail, **mail_tail;
	struct hbus_attached *left;
	int news_fd;           /* eventfd, for hbus_fd() */
	struct hbus_topic_table topics;
	/* -- bus->lock -- */
	struct hbus *bus;
	struct hbus_subscriber *next;
	uint32_t sub_id;
	uint32_t flags;
	uint32_t start;
	uint32_t stall_ms;
	bool is_opened;  /* the daemon knows it */
	bool is_closing;
	struct hbus_attached *held; /* every ring that is attached */
	uint64_t next_ring_id;      /* of the ring that is opened next, or 0, */
	struct hbus_id_set next_carried; /* and what it carries */
	uint32_t n_held;
	struct hbus_filter *filters;
	struct hbus_resume_place *places;
	uint32_t n_places;
	struct hbus_slots slots[HBUS_SLOT_MEMFDS_MAX];
	uint32_t n_slot_memfds, n_slots;
	struct hbus_doorbell *doorbells;
	uint32_t n_doorbells, sweep_at;
	int epoll_fd; /* hbus_fd(): doorbells, news_fd, timer_fd; without a thread also the bus */
	int timer_fd; /* for rings that cannot wake us */
};

/* slots.c; under bus->lock */
int hbus_slots_add(struct hbus_subscriber *sub);
void hbus_slots_offer(struct hbus_subscriber *sub, uint32_t memfd_idx);
/* The slot that the daemon chose, or NULL when there is none such. */
struct hbus_slot *hbus_slots_get(struct hbus_subscriber *sub, uint32_t memfd_idx, uint32_t slot_idx);
/* Begin with a slot: its statistics are those of the ring before until then. */
void hbus_slots_take(struct hbus_slot *slot);
/* Done with a slot: the daemon adds its last statistics to the subscriber's. */
void hbus_slots_give(struct hbus_slot *slot, uint64_t delivered, uint64_t filtered, uint64_t lost);
void hbus_slots_free(struct hbus_subscriber *sub, bool is_forked);

/* attach.c */
/* The link is lost: what the next ring was to carry is void. */
void hbus_next_ring_forget(struct hbus_subscriber *sub);
void hbus_attached_free(struct hbus_attached *at);
/* The link is lost: the next daemon says again what is to be left; a ring that was only not wanted may be wanted by then. */
void hbus_rings_keep(struct hbus_subscriber *sub);
/* Tells the daemon that the ring is left; under bus->lock. */
void hbus_ring_done_say(struct hbus_subscriber *sub, uint64_t ring_id);

/* Owner's thread: where the next header word of the ring will be. */
static inline void hbus_place_note(struct hbus_subscriber *sub, const struct hbus_attached *at)
{
	const struct hbus_ring_sub *ring = &at->ring;

	sub->rings[at->idx].word = (const _Atomic uint64_t *)(const void *)(ring->data + (ring->position & ring->mask));
}

/* rings.c; owner's thread */
void hbus_mail_take(struct hbus_subscriber *sub);
/* The rings in it begin at their newest event. */
void hbus_mail_pass_over(struct hbus_subscriber *sub);
void hbus_ring_leave(struct hbus_subscriber *sub, struct hbus_attached *at);
/* Those that ended and are read to the end. */
void hbus_rings_leave_ended(struct hbus_subscriber *sub);

/* overtaken.c; owner's thread. The ring may be gone from the arrays afterwards. */
void hbus_ring_corrupt(struct hbus_subscriber *sub, struct hbus_attached *at);
void hbus_ring_lapped(struct hbus_subscriber *sub, struct hbus_attached *at);
void hbus_batch_void(struct hbus_subscriber *sub, struct hbus_attached *at);
void hbus_rings_probe(struct hbus_subscriber *sub, uint32_t n_probes);

/* poll.c; owner's thread */
int hbus_batch_release(struct hbus_subscriber *sub);
/* Is there an event that poll would return? Skips what is filtered, leaves rings that are done. */
bool hbus_subscriber_has_work(struct hbus_subscriber *sub, bool is_thorough);

static inline bool hbus_has_mail(const struct hbus_subscriber *sub)
{
	/* A(subscriber.news): pairs with R(subscriber.news) in attach.c. */
	return atomic_load_explicit(&sub->news, memory_order_acquire) != sub->news_seen;
}

/* doorbell.c */
int hbus_doorbells_init(struct hbus_subscriber *sub);
void hbus_doorbells_deinit(struct hbus_subscriber *sub);
bool hbus_doorbell_exists(const struct hbus_subscriber *sub, uint64_t publisher_id);
/* Consumes @fd. */
void hbus_doorbell_add(struct hbus_subscriber *sub, uint64_t publisher_id, int fd);
/* Owner's thread: sets `waiting` of every slot, with the exact cursors; then all publishers pass a barrier. */
void hbus_waiting_set(struct hbus_subscriber *sub, uint32_t how);
void hbus_waiting_clear(struct hbus_subscriber *sub);
/* Statistics of all rings into their slots, for `hugebus top`. */
void hbus_stats_store(struct hbus_subscriber *sub);
/* Empties what made hbus_fd() readable. */
void hbus_doorbells_drain(struct hbus_subscriber *sub);
