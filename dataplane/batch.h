/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Batched datagrams: several events for several topics in one UDP payload.
 *
 * docs/BATCH_FORMAT.md describes the format for those who write senders, and defines what the
 * counters of a sender mean. Here are a reader of the format that checks a datagram as a whole
 * before it hands out the first event, and a tracker of the senders' sequences whose memory is
 * fixed when it is made.
 *
 * Bytes in, no DPDK types. A reader has no state; a tracker belongs to one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hbus_batch_tracker;

/* ---- limits ---------------------------------------------------------------------------- */

#define HBUS_BATCH_MAGIC 0x48424231U /* "HBB1": the last character is the version */
#define HBUS_BATCH_HEADER_SIZE 24U
#define HBUS_BATCH_ENTRY_HEADER_SIZE 4U
#define HBUS_BATCH_N_EVENTS_MAX 4096U

/* Senders that a tracker remembers; one more, and the one not heard for longest is forgotten. */
#define HBUS_BATCH_N_SENDERS_MAX 4096U
/* Datagrams of a sender, counted back from its newest, that are remembered one by one. */
#define HBUS_BATCH_WINDOW 64U
/* A step forward beyond this is a sender that starts anew, not a gap. */
#define HBUS_BATCH_GAP_MAX (1U << 20)
/* So many datagrams in a row from behind the window are a sender that starts anew. */
#define HBUS_BATCH_RESTART_RUN 8U

/* ---- types ----------------------------------------------------------------------------- */

/* A datagram that was found good. Borrows the bytes. */
struct hbus_batch {
	uint64_t sender;
	uint64_t sequence;
	const uint8_t *entries;
	uint32_t n_events;           /* 0: a sign of life */
};

struct hbus_batch_event {
	const uint8_t *payload;
	uint32_t payload_size;
	uint16_t number;             /* of the topic, as the route of the datagram lists them */
};

/*
 * Whatever the order of arrivals: n_datagrams = n_accepted + n_duplicates + n_stale, and for a
 * sender that neither starts anew nor is forgotten, newest - lowest + 1 = n_accepted + n_missing.
 */
struct hbus_batch_counters {
	uint64_t n_datagrams;
	uint64_t n_accepted;
	uint64_t n_missing;          /* numbers skipped, less those that came later */
	uint64_t n_gaps;             /* steps forward by more than one */
	uint64_t n_duplicates;
	uint64_t n_reordered;        /* accepted behind a newer one */
	uint64_t n_stale;            /* behind the window: late or repeated, nobody can tell */
	uint64_t n_restarts;
	uint64_t n_senders;          /* met, a forgotten one each time it returns */
	uint64_t n_forgotten;
};

enum hbus_batch_verdict {
	HBUS_BATCH_ACCEPTED,
	HBUS_BATCH_DUPLICATE,
	HBUS_BATCH_STALE,
};

/* ---- reading --------------------------------------------------------------------------- */

/**
 * hbus_batch_parse() - check a datagram as a whole
 *
 * Return: true when every byte of it is accounted for; else it delivers nothing.
 */
bool hbus_batch_parse(const uint8_t *bytes, size_t size, struct hbus_batch *ret_batch);

/**
 * hbus_batch_next() - take the next event
 * @cursor: starts as batch->entries and moves on
 *
 * Call it batch->n_events times, no more: hbus_batch_parse() has done the checking.
 */
struct hbus_batch_event hbus_batch_next(const uint8_t **cursor);

/* ---- senders --------------------------------------------------------------------------- */

/**
 * hbus_batch_tracker_new() - remember nobody yet
 * @secret: anything a sender cannot guess, so that none can choose ids that share a bucket
 *
 * All memory is taken here. Return: 0 or -ENOMEM.
 */
int hbus_batch_tracker_new(uint64_t secret, struct hbus_batch_tracker **ret_tracker);

/* Accepts NULL and returns NULL. */
struct hbus_batch_tracker *hbus_batch_tracker_free(struct hbus_batch_tracker *tracker);

/**
 * hbus_batch_tracker_see() - judge the number of a datagram and remember it
 *
 * Only datagrams that are HBUS_BATCH_ACCEPTED are to be published: an event is then published
 * at most once while its sender is remembered.
 * Thread: the tracker's owner. No allocation, lock or system call.
 */
enum hbus_batch_verdict hbus_batch_tracker_see(struct hbus_batch_tracker *tracker,
					       uint64_t sender, uint64_t sequence);

/* The sums over all senders since the tracker was made. */
const struct hbus_batch_counters *
hbus_batch_tracker_counters(const struct hbus_batch_tracker *tracker);
