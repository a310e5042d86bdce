/* SPDX-License-Identifier: BSD-3-Clause */
/* A subscriber's slots: memfds that only it can write, mapped by publishers and the daemon. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client/control.h"
#include "ctl/client/subscriber.h"
#include "shm/segment.h"

static uint64_t slots_size(uint32_t n_slots)
{
	return (uint64_t)n_slots * sizeof(struct hbus_slot);
}

void hbus_slots_offer(struct hbus_subscriber *sub, uint32_t memfd_idx)
{
	union hbus_msg message;

	hbus_wire_init(&message, HBUS_MSG_SUB_SLOTS, 0);
	message.sub_slots.sub_id = sub->sub_id;
	message.sub_slots.memfd_idx = memfd_idx;
	message.sub_slots.n_slots = sub->slots[memfd_idx].n_slots;
	hbus_request_locked(sub->bus, &message, &sub->slots[memfd_idx].fd, 1);
}

/* Made, mapped by us, and then sealed: nobody else can ever write. */
static int slots_make(uint32_t n_slots, struct hbus_slots *ret_slots)
{
	void *base = NULL;
	int fd = -1, r;

	r = hbus_memfd_new("hugebus-slots", slots_size(n_slots), 0, &fd);
	if (r < 0)
		return r;
	r = hbus_segment_map(fd, slots_size(n_slots), 1, &base);
	if (r == 0)
		r = hbus_memfd_seal(fd);
	if (r < 0) {
		hbus_segment_unmap(base, slots_size(n_slots));
		close(fd);
		return r;
	}
	*ret_slots = (struct hbus_slots){.fd = fd, .slots = base, .n_slots = n_slots};
	return 0;
}

int hbus_slots_add(struct hbus_subscriber *sub)
{
	uint32_t n_slots = HBUS_SLOTS_FIRST << sub->n_slot_memfds;
	int r;

	if (sub->n_slot_memfds == HBUS_SLOT_MEMFDS_MAX || n_slots > HBUS_SLOTS_PER_MEMFD_MAX)
		return -ENOSPC;
	r = slots_make(n_slots, &sub->slots[sub->n_slot_memfds]);
	if (r < 0)
		return r;
	sub->n_slot_memfds++;
	sub->n_slots += n_slots;
	return 0;
}

struct hbus_slot *hbus_slots_get(struct hbus_subscriber *sub, uint32_t memfd_idx, uint32_t slot_idx)
{
	if (memfd_idx >= sub->n_slot_memfds || slot_idx >= sub->slots[memfd_idx].n_slots)
		return NULL;
	return &sub->slots[memfd_idx].slots[slot_idx];
}

void hbus_slots_take(struct hbus_slot *slot)
{
	/* relaxed: statistics; the message that accepts the ring comes after, and orders them */
	atomic_store_explicit(&slot->delivered, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->filtered, 0, memory_order_relaxed); /* relaxed: as above */
	atomic_store_explicit(&slot->lost, 0, memory_order_relaxed);	 /* relaxed: as above */
	atomic_store_explicit(&slot->position, 0, memory_order_relaxed); /* relaxed: as above */
	atomic_store_explicit(&slot->sequence, 0, memory_order_relaxed); /* relaxed: as above */
}

void hbus_slots_give(struct hbus_slot *slot, uint64_t delivered, uint64_t filtered, uint64_t lost)
{
	/* relaxed: the message that gives the slot back comes after, and orders it */
	atomic_store_explicit(&slot->waiting, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->delivered, delivered, memory_order_relaxed); /* relaxed: as above */
	atomic_store_explicit(&slot->filtered, filtered, memory_order_relaxed);	  /* relaxed: as above */
	atomic_store_explicit(&slot->lost, lost, memory_order_relaxed);		  /* relaxed: as above */
	/* R(ring.cursor): the last use of the ring before the word that gives it up. Not 0: the gate may still be there,
	 * and 0 would say that its reader has not joined yet. */
	atomic_store_explicit(&slot->cursor, HBUS_CURSOR_LEFT, memory_order_release);
}

void hbus_slots_free(struct hbus_subscriber *sub, bool is_forked)
{
	for (uint32_t i = 0; i < sub->n_slot_memfds; i++) {
		/* A child did not inherit the mapping; other memory may be there. */
		if (!is_forked)
			hbus_segment_unmap(sub->slots[i].slots, slots_size(sub->slots[i].n_slots));
		close(sub->slots[i].fd);
	}
	sub->n_slot_memfds = 0;
}
