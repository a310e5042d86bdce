/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory layout of a ring and of a subscriber's slots, version 1
 *
 * Everything here is shared between processes of different trust. A ring is two memfds: a header of
 * 4 KiB pages (struct hbus_ring_header) and the data, a power of two, mapped twice in a row so that
 * no record wraps. Both are written by one publisher only. Slots live in memfds of the subscriber.
 *
 * Geometry (capacity, ring id, start) comes from the control daemon's message. What stands in block
 * 0 of the header is for people with a debugger; no program trusts it.
 *
 * Little endian, 64-bit targets only. Any change here bumps HBUS_LAYOUT_VERSION.
 */
#pragma once

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HBUS_LAYOUT_VERSION 1u
#define HBUS_LAYOUT_HASH 0x68623031u

/* Two cache lines: adjacent-line prefetch makes pairs of 64-byte lines travel together. */
#define HBUS_CACHE_BLOCK 128

/* -- limits -- */
#define HBUS_RING_CAPACITY_MIN (64u << 10)
#define HBUS_RING_CAPACITY_MAX (128u << 20)
#define HBUS_RING_BLOCKS 32u          /* checkpoints per ring; block = capacity / 32, divides capacity / 8 */
#define HBUS_RING_GATES_MAX 64u       /* reliable subscribers of one ring */
#define HBUS_RING_WAKERS_MAX 256u     /* attached subscribers that a publisher can wake, gates included */
#define HBUS_RECORD_DIVISOR 8u        /* a record or batch is at most capacity / 8 */
#define HBUS_SLOTS_PER_MEMFD_MAX 4096u

/*
 * The header word of a record. It is the commit: zero means nothing is here yet.
 *
 *   63..56 magic   55..48 flags   47..24 topic   23..0 length of what follows, without padding
 */
#define HBUS_WORD_MAGIC 0xb5u
#define HBUS_WORD_LENGTH_MAX 0xffffffu
#define HBUS_TOPIC_ID_MAX 0xffffffu

/*
 * Flags name prefixes of the body, present in this order, each a multiple of 8 bytes. A reader that
 * meets a flag that it does not know skips the record by its length.
 */
#define HBUS_FLAG_TIME 0x01u   /* u64 ns, CLOCK_REALTIME */
#define HBUS_FLAG_KEY 0x02u    /* u32 hash, u32 zero */
#define HBUS_FLAG_ATTRS 0x04u  /* u32 length, u32 zero, then the attributes padded to 8 */
#define HBUS_FLAG_RUN 0x08u    /* u32 events, u32 size of each; payloads at a stride of size padded to 8 */
#define HBUS_FLAGS_KNOWN 0x0fu

#define HBUS_RECORD_HEADER 8u
#define HBUS_ALIGN8(n) (((n) + 7u) & ~(uint64_t)7u)

/* Written by the publisher when it commits into a new block: where a record begins, and its number. */
struct hbus_checkpoint {
	_Atomic uint64_t position;
	_Atomic uint64_t sequence;
	_Atomic uint64_t time_ns;      /* CLOCK_REALTIME */
	_Atomic uint64_t time_mono_ns; /* CLOCK_MONOTONIC at the same moment */
};

/* The position of a checkpoint that was never written: no record begins there. */
#define HBUS_CHECKPOINT_NONE UINT64_MAX

/* Where the publisher says that it has dropped a gate. Index = the gate's attach index. */
struct hbus_dropped_gate {
	_Atomic uint64_t gate_id;  /* 0 = none */
	_Atomic uint64_t position; /* the publisher's tail when it did */
};

#define HBUS_RING_STATE_OPEN 0u
#define HBUS_RING_STATE_CLOSED 1u /* no more records will come */

struct hbus_ring_header {
	/* -- block 0: written by the daemon before it hands the ring out; informative -- */
	alignas(HBUS_CACHE_BLOCK) char title[16];
	uint32_t layout_version;
	uint32_t layout_hash;
	uint64_t ring_id;
	uint64_t capacity;
	uint64_t start;
	uint64_t reserved0[10];
	/* -- block 1: written by the publisher, read by every subscriber -- */
	alignas(HBUS_CACHE_BLOCK) _Atomic uint64_t intent; /* bytes below intent - capacity may be overwritten */
	_Atomic uint32_t state;                            /* HBUS_RING_STATE_* */
	uint32_t reserved1;
	uint64_t reserved2[14];
	/* -- block 2: written by the publisher when it wakes sleepers -- */
	alignas(HBUS_CACHE_BLOCK) _Atomic uint32_t notify; /* futex word */
	uint32_t reserved3[31];
	/* -- block 3: reserved, zero -- */
	alignas(HBUS_CACHE_BLOCK) uint64_t reserved4[16];
	/* -- blocks 4..11: written by the publisher, rarely -- */
	alignas(HBUS_CACHE_BLOCK) struct hbus_dropped_gate dropped[HBUS_RING_GATES_MAX];
	/* -- blocks 12..19: written by the publisher once per block -- */
	alignas(HBUS_CACHE_BLOCK) struct hbus_checkpoint checkpoints[HBUS_RING_BLOCKS];
};

#define HBUS_RING_HEADER_SIZE 4096u

static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "lock-free words");
static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint32_t) == 4, "plain words");
static_assert(sizeof(struct hbus_checkpoint) == 32, "checkpoint");
static_assert(sizeof(struct hbus_dropped_gate) == 16, "dropped gate");
static_assert(offsetof(struct hbus_ring_header, intent) == 128, "block 1");
static_assert(offsetof(struct hbus_ring_header, notify) == 256, "block 2");
static_assert(offsetof(struct hbus_ring_header, dropped) == 512, "block 4");
static_assert(offsetof(struct hbus_ring_header, checkpoints) == 1536, "block 12");
static_assert(sizeof(struct hbus_ring_header) == 2560, "header");
static_assert(sizeof(struct hbus_ring_header) <= HBUS_RING_HEADER_SIZE, "one page");

/* A subscriber's cursor for one ring. The value that says "I have left": it gates nobody. */
#define HBUS_CURSOR_LEFT UINT64_MAX

/* How a subscriber that waits wants to be woken; 0 = it does not wait. */
#define HBUS_WAITING_NOTIFY 1u   /* sleeps on the ring's futex word */
#define HBUS_WAITING_DOORBELL 2u /* sleeps on a descriptor */

/* What one subscriber says to one ring's publisher, and to whoever shows statistics. */
struct hbus_slot {
	/* -- line 0: written by the subscriber, read by the publisher -- */
	alignas(HBUS_CACHE_BLOCK) _Atomic uint64_t cursor; /* everything below is released; 0 = not joined */
	_Atomic uint32_t waiting;                          /* HBUS_WAITING_* */
	uint32_t reserved0;
	uint64_t reserved1[6];
	/* -- line 1: written by the subscriber, read by the daemon for statistics -- */
	_Atomic uint64_t delivered; /* events */
	_Atomic uint64_t filtered;  /* events seen and not asked for */
	_Atomic uint64_t lost;      /* events overwritten before they were read */
	_Atomic uint64_t position;  /* bytes */
	_Atomic uint64_t sequence;  /* of the next event */
	uint64_t reserved2[3];
};

static_assert(sizeof(struct hbus_slot) == 128, "slot");
static_assert(offsetof(struct hbus_slot, delivered) == 64, "statistics line");

/* Geometry of a ring, as the daemon's message gives it. Plain values, already checked. */
struct hbus_geometry {
	uint64_t ring_id;
	uint64_t capacity; /* bytes, power of two */
	uint64_t start;    /* first position, a multiple of the block */
	uint32_t is_huge;  /* data is on 2 MiB pages */
	uint32_t is_isolated; /* the publisher fences at each commit and needs no membarrier */
};

static inline uint64_t hbus_block_size(uint64_t capacity)
{
	return capacity / HBUS_RING_BLOCKS;
}

static inline uint64_t hbus_record_max(uint64_t capacity)
{
	uint64_t most = capacity / HBUS_RECORD_DIVISOR;
	uint64_t word = HBUS_RECORD_HEADER + (HBUS_WORD_LENGTH_MAX & ~(uint64_t)7);

	return most < word ? most : word;
}

/* Bytes that a record with a body of len bytes takes. */
static inline uint64_t hbus_record_size(uint64_t len)
{
	return HBUS_ALIGN8(HBUS_RECORD_HEADER + len);
}

static inline uint64_t hbus_word_make(uint32_t flags, uint32_t topic, uint32_t len)
{
	return (uint64_t)HBUS_WORD_MAGIC << 56 | (uint64_t)(flags & 0xffu) << 48 |
	       (uint64_t)(topic & HBUS_TOPIC_ID_MAX) << 24 | (len & HBUS_WORD_LENGTH_MAX);
}

static inline uint32_t hbus_word_flags(uint64_t word)
{
	return (uint32_t)(word >> 48) & 0xffu;
}

static inline uint32_t hbus_word_topic(uint64_t word)
{
	return (uint32_t)(word >> 24) & HBUS_TOPIC_ID_MAX;
}

static inline uint32_t hbus_word_length(uint64_t word)
{
	return (uint32_t)word & HBUS_WORD_LENGTH_MAX;
}

static inline int hbus_word_has_magic(uint64_t word)
{
	return (word >> 56) == HBUS_WORD_MAGIC;
}
