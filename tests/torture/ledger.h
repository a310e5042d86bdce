/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What publishers say they have published, and what subscribers say they got: in memory that survives both
 *
 * A publisher writes how many events it was told are published (acked) after each call; a subscriber writes for each
 * publisher incarnation what it received and what it was told is lost. The judge compares when all is over. Of the
 * ingress nobody acknowledges: a ring of it is entered by the first subscriber that meets it, and what any subscriber
 * knows of it the others must know too.
 *
 * A restless subscriber gives topics up and asks for them again. Of those that it asks for it must know what was published
 * after hbus_subscribe() had returned and before it looked for the last time before it gave them up.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LEDGER_PUBLISHERS_MAX 16384u
#define LEDGER_SUBSCRIBERS_MAX 16384u
#define LEDGER_INGRESS_RINGS_MAX 4096u
#define LEDGER_AWAYS_MAX 2048u
#define LEDGER_TOPICS 3u
/* Published in one go before the publisher can say so: a batch. */
#define LEDGER_UNSAID_MAX 17u
#define LEDGER_RINGS_MAX (LEDGER_PUBLISHERS_MAX + LEDGER_INGRESS_RINGS_MAX)

/* From when to when: the daemon was dead, the machine stood still, an ingress lived, a subscriber was between two daemons. */
struct span {
	uint64_t from_ns;
	uint64_t until_ns;
};

/* Bugs that are planted, to see that the judge finds them. */
enum plant { PLANT_NOTHING, PLANT_LOST, PLANT_TORN, PLANT_ORDER, PLANT_GAP, PLANT_WEDGE, PLANT_LEFTOVER, PLANT_DEAF, N_PLANTS };

/* What a process is in, as it said last. */
enum ledger_call {
	CALL_NONE,
	CALL_OPEN,
	CALL_PUBLISHER_OPEN,
	CALL_TOPIC,
	CALL_PUBLISH,
	CALL_RESERVE,
	CALL_COMMIT,
	CALL_ABORT,
	CALL_BATCH_BEGIN,
	CALL_BATCH_PUBLISH,
	CALL_BATCH_COMMIT,
	CALL_BATCH_ABORT,
	CALL_SUBSCRIBER_OPEN,
	CALL_SUBSCRIBE,
	CALL_UNSUBSCRIBE,
	CALL_POLL,
	CALL_RELEASE,
	CALL_WAIT,
	CALL_CLOSE,
	CALL_OWN, /* none of the library's: a nap, the test's own work */
	N_CALLS
};

struct ledger_where {
	_Atomic uint64_t since_ns;
	_Atomic uint32_t call; /* enum ledger_call */
};

/* One ring: of a publisher process, from its start to its end, or of the ingress. */
struct ledger_publisher {
	_Atomic uint64_t ring_id;    /* 0 = none yet */
	_Atomic uint32_t topic;
	_Atomic uint64_t linked_ns;  /* back with a daemon since then, as far as it knows; 0 = is not */
	_Atomic uint64_t created_ns; /* before its ring was asked for; of an ingress: the judge says */
	_Atomic uint64_t acked;      /* events of which publish said yes; of an ingress: the judge says */
	_Atomic uint64_t ended_ns;   /* 0 = lives */
	_Atomic uint64_t sent_ns;    /* of an ingress: when some packet of it was sent, 0 = not known */
	_Atomic uint32_t has_finished; /* ended by itself: acked is exact */
	_Atomic uint32_t slowest_ms; /* longest publish, also one that a kill ended */
	struct ledger_where where;
};

/* What one subscriber knows of one ring. */
struct ledger_view {
	uint64_t first_event_ns; /* 0 = nothing came */
	uint64_t next;           /* sequence expected next */
	uint64_t received;
	uint64_t lost;           /* told */
	uint64_t last_sent;      /* of an ingress: the sender's last number + 1 */
	uint32_t torn;
	uint32_t disordered;
	uint32_t unreported;     /* gaps that no report explains, in events */
	uint32_t first_missing;  /* sequence of the first event that came, when it was not 0 and not told lost */
	/* Of a restless subscriber: */
	_Atomic uint64_t due_from; /* while the topic is wanted, this one and those behind it must come */
	uint64_t passed_over;      /* did not come, by right */
	uint64_t undelivered;      /* had to come before it gave the topic up, and did not */
};

/* One subscriber process. */
struct ledger_subscriber {
	_Atomic uint64_t subscribed_ns; /* 0 = not yet */
	_Atomic uint64_t last_poll_ns;
	_Atomic uint64_t n_packets;     /* events of the ingress */
	_Atomic uint32_t is_reliable;
	_Atomic uint32_t is_restless;
	_Atomic uint64_t wanted_since_ns[LEDGER_TOPICS]; /* restless: since hbus_subscribe() returned; 0 = is not */
	_Atomic uint64_t n_calls;       /* restless: filters given up and asked for */
	uint64_t n_awaited;             /* looks that had to wait for what was due: the ring came anew */
	_Atomic uint64_t n_unpromised;  /* of them: after so long that some publisher, or the daemon, was not there */
	_Atomic uint32_t was_killed;
	_Atomic uint32_t has_finished;
	_Atomic uint32_t errors;
	_Atomic uint32_t begin, end;    /* views that it ever touched: begin..end - 1 */
	_Atomic uint32_t n_aways;
	struct ledger_where where;
	struct span away[LEDGER_AWAYS_MAX]; /* from when it last saw itself with one daemon until it saw itself with the next */
	struct ledger_view view[LEDGER_RINGS_MAX];
};

struct ledger {
	_Atomic uint32_t n_publishers;
	_Atomic uint32_t n_subscribers;
	_Atomic uint32_t must_finish;    /* publishers: finish */
	_Atomic uint32_t must_drain;     /* subscribers: read to the end, then finish */
	_Atomic uint32_t plant;          /* enum plant */
	_Atomic uint64_t n_packets_sent;
	_Atomic uint64_t daemon_since_ns; /* 0 = there is none */
	/* Those of publishers, then those of ingress rings. */
	struct ledger_publisher publisher[LEDGER_RINGS_MAX];
	struct ledger_subscriber subscriber[LEDGER_SUBSCRIBERS_MAX];
};

uint64_t ledger_now_ns(void);

static inline void ledger_enter(struct ledger_where *where, enum ledger_call call)
{
	atomic_store_explicit(&where->since_ns, ledger_now_ns(), memory_order_relaxed);
	atomic_store_explicit(&where->call, call, memory_order_relaxed);
}

/* An event's content: who, which, and a pattern to the last byte. */
struct payload {
	uint32_t publisher;
	uint32_t size;
	uint64_t sequence;
	unsigned char pattern[];
};
#define PAYLOAD_MIN 16u
#define PAYLOAD_MAX 1024u

/* In place of a publisher, in packets: their pattern begins with the time of sending. */
#define PAYLOAD_OF_INGRESS 0xffffffffu
#define PACKET_MIN 24u

static inline unsigned char payload_byte(uint32_t publisher, uint64_t sequence, uint32_t i)
{
	return (unsigned char)(publisher * 31 + sequence * 7 + i);
}
