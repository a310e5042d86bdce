/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A growing set of numbers other than zero: the topics that a ring carries, as the daemon says
 *
 * What stands in a ring is its publisher's word only. A header word names a topic; that the publisher may
 * publish on it is what the daemon says, and readers believe nothing else.
 *
 * The control side adds, under bus->lock; the owner's thread looks, without a lock. Zero it to begin.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hbus_id_table {
	struct hbus_id_table *older; /* smaller ones, which somebody may still be looking at */
	uint32_t mask;
	uint32_t n_ids;
	_Atomic uint32_t id[]; /* mask + 1, at most half of them used; 0 = free */
};

struct hbus_id_set {
	_Atomic(struct hbus_id_table *) table;
};

/* Control side. 0 or -ENOMEM. */
int hbus_id_set_add(struct hbus_id_set *set, uint32_t id);
/* While nobody looks at either. @to: empty. */
void hbus_id_set_move(struct hbus_id_set *to, struct hbus_id_set *from);
void hbus_id_set_deinit(struct hbus_id_set *set);

static inline uint32_t hbus_id_hash(uint32_t id)
{
	return (id * 2654435769u) >> 8;
}

/* Owner's thread. */
static inline bool hbus_id_set_has(const struct hbus_id_set *set, uint32_t id)
{
	/* A(id_set.table): pairs with R(id_set.table) in hbus_id_set_add(). */
	const struct hbus_id_table *table = atomic_load_explicit(&set->table, memory_order_acquire);

	if (!table)
		return false;
	for (uint32_t i = hbus_id_hash(id);; i++) {
		/* relaxed: the number is all there is to see */
		uint32_t found = atomic_load_explicit(&table->id[i & table->mask], memory_order_relaxed);

		if (found == id || found == 0)
			return found == id && id != 0;
	}
}
