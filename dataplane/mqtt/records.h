/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What an engine remembers over a restart, as bytes: the records that persist.c writes and restore.c reads
 *
 * Saved state:	8 magic   8 wall clock in ms   8 generation   records   8 check
 * Journal:	8 magic   8 generation   batches
 * Batch:	4 size of the records   4 which batch it is   8 wall clock in ms   8 check   records
 *
 * Both are the same records. Those of the saved state make it from nothing; those of the journal of its generation are
 * what happened to it since, each batch whole or not at all; the journal of the next generation goes on from there.
 * A record is one byte that says what it is, and fields in MQTT's own representations. Sessions and messages are named by
 * numbers, which are given once in the life of an engine; a message is written once in a generation, before the first
 * record that names it. Times are written as what is left of them at the wall clock that stands before.
 * The check is a SipHash of what stands before it (of a batch: of its head and its records) and no secret: it finds what was
 * torn or rotted. What passes it is read as if a stranger had written it all the same.
 */
#pragma once

#include <stdint.h>

#include "ctl/proto/siphash.h"

#define HBUS_MQTT_SAVED_MAGIC { 'H', 'B', 'M', 'Q', 'T', 'T', 0, 2 }
#define HBUS_MQTT_JOURNAL_MAGIC { 'H', 'B', 'M', 'Q', 'T', 'J', 0, 1 }
#define HBUS_MQTT_CHECK_KEY { 0x6873756765627573, 0x7374617465636865 }

enum {
	HBUS_MQTT_SAVED_HEAD = 24,
	HBUS_MQTT_JOURNAL_HEAD = 16,
	HBUS_MQTT_BATCH_HEAD = 24,
	HBUS_MQTT_CHECK_SIZE = 8,
};

static inline uint64_t hbus_mqtt_batch_check(const uint8_t *records, uint32_t size, uint32_t number, uint64_t wall_ms)
{
	static const uint64_t check_key[2] = HBUS_MQTT_CHECK_KEY;
	const uint64_t key[2] = { check_key[0] ^ wall_ms, check_key[1] ^ ((uint64_t)size << 32 | number) };

	return hbus_siphash(key, records, size);
}

enum hbus_mqtt_record {
	RECORD_MESSAGE = 'M',      /* number, flags, qos, ms left, topic, properties, payload */
	RECORD_FORGET = 'X',       /* message: nobody names it any more */
	RECORD_RETAIN = 'R',       /* message; in place of the topic's old one */
	RECORD_UNRETAIN = 'r',     /* topic */
	RECORD_SESSION = 'S',      /* session, and what it is now: client id, principal, version, expiry, flags, ms left, last id */
	RECORD_END = 'E',          /* session, with all that it had */
	RECORD_SUBSCRIBE = 'F',    /* session, filter, options, subscription identifier; in place of the old one */
	RECORD_UNSUBSCRIBE = 'U',  /* session, filter */
	RECORD_RECEIVED = 'I',     /* session, packet id: of QoS 2, from the client, not released */
	RECORD_RELEASED = 'i',     /* the same: released */
	RECORD_PUT = 'D',          /* session, state, qos, flags, packet id, message, identifiers: behind all others */
	RECORD_LOCK = 'K',         /* session, message, packet id: the first that waits is given to the client */
	RECORD_TAKE = 'T',         /* session, message: the first that waits is gone */
	RECORD_DONE = 'A',         /* session, packet id: acknowledged */
	RECORD_GOT = 'C',          /* session, packet id: the client has it, PUBCOMP is awaited */
	RECORD_AGAIN = 'B',        /* session: what was given to the client waits again */
	RECORD_PROMISE = 'P',      /* session, subscription identifier, qos, messages: retained ones */
	RECORD_PROMISE_KEPT = 'p', /* session, message: the first that was promised is gone */
};

/* Flags of a message, of one that was put, and of a session. */
enum { RECORD_FLAG_RETAIN = 1, RECORD_FLAG_EXPIRES = 2, RECORD_FLAG_SENT = 4 };
enum { RECORD_FLAG_CONNECTED = 1 };
/* Options of a subscription, beside its QoS: as in SUBSCRIBE. */
enum { RECORD_NO_LOCAL = 4, RECORD_AS_PUBLISHED = 8 };
