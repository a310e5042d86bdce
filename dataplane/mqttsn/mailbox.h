/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mailbox: slots of one size from one thread to another, between a poll loop and the gateway's thread.
 *
 *                 | reserve, commit | peek, release
 *  reserve,commit |        X        |       -          X: one thread
 *  peek, release  |        -        |       X          -: at any time
 *
 * Wait-free both ways; no system call, so whoever sleeps looks again by itself. When it is full the
 * sender drops and counts.
 */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hbus_sn_mailbox {
	uint8_t *slots;
	uint32_t n_slots, slot_size;     /* n_slots is a power of two */
	/* -- written by the sender -- */
	alignas(64) _Atomic uint64_t sent;
	uint64_t released_seen;
	/* -- written by the receiver -- */
	alignas(64) _Atomic uint64_t released;
	uint64_t sent_seen;
};

/* Return: 0 or -ENOMEM. */
int hbus_sn_mailbox_init(struct hbus_sn_mailbox *box, uint32_t n_slots, uint32_t slot_size);
void hbus_sn_mailbox_deinit(struct hbus_sn_mailbox *box);

/* Return: a slot to fill, or NULL. */
static inline void *hbus_sn_mailbox_reserve(struct hbus_sn_mailbox *box)
{
	/* relaxed: only the sender writes it */
	uint64_t sent = atomic_load_explicit(&box->sent, memory_order_relaxed);

	if (sent - box->released_seen == box->n_slots) {
		/* A(mail.free): pairs with R(mail.free) in hbus_sn_mailbox_release(). */
		box->released_seen = atomic_load_explicit(&box->released, memory_order_acquire);
		if (sent - box->released_seen == box->n_slots)
			return NULL;
	}
	return box->slots + (sent & (box->n_slots - 1)) * (uint64_t)box->slot_size;
}

static inline void hbus_sn_mailbox_commit(struct hbus_sn_mailbox *box)
{
	/* relaxed: only the sender writes it */
	uint64_t sent = atomic_load_explicit(&box->sent, memory_order_relaxed);

	/* R(mail.slot): the slot's content before the receiver sees it. */
	atomic_store_explicit(&box->sent, sent + 1, memory_order_release);
}

/* Return: the oldest slot, or NULL. */
static inline void *hbus_sn_mailbox_peek(struct hbus_sn_mailbox *box)
{
	/* relaxed: only the receiver writes it */
	uint64_t released = atomic_load_explicit(&box->released, memory_order_relaxed);

	if (released == box->sent_seen) {
		/* A(mail.slot): pairs with R(mail.slot) in hbus_sn_mailbox_commit(). */
		box->sent_seen = atomic_load_explicit(&box->sent, memory_order_acquire);
		if (released == box->sent_seen)
			return NULL;
	}
	return box->slots + (released & (box->n_slots - 1)) * (uint64_t)box->slot_size;
}

static inline void hbus_sn_mailbox_release(struct hbus_sn_mailbox *box)
{
	/* relaxed: only the receiver writes it */
	uint64_t released = atomic_load_explicit(&box->released, memory_order_relaxed);

	/* R(mail.free): the slot was read before the sender may fill it again. */
	atomic_store_explicit(&box->released, released + 1, memory_order_release);
}

/* For a third thread: has everything that was sent been released? */
static inline bool hbus_sn_mailbox_is_empty(const struct hbus_sn_mailbox *box)
{
	/* relaxed: a look, nothing is read because of it */
	return atomic_load_explicit(&box->sent, memory_order_relaxed) ==
	       atomic_load_explicit(&box->released, memory_order_relaxed);
}
