/* SPDX-License-Identifier: BSD-3-Clause */
/* A growing set of numbers. See id_set.h. */
#include "ctl/client/id_set.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SIZE 8u

static void insert(struct hbus_id_table *table, uint32_t id)
{
	uint32_t i = hbus_id_hash(id);

	/* relaxed: this is the only side that writes */
	while (atomic_load_explicit(&table->id[i & table->mask], memory_order_relaxed) != 0)
		i++;
	atomic_store_explicit(&table->id[i & table->mask], id, memory_order_relaxed); /* relaxed: a number alone */
	table->n_ids++;
}

static struct hbus_id_table *grow(struct hbus_id_table *old)
{
	uint32_t size = old ? 2 * (old->mask + 1) : FIRST_SIZE;
	struct hbus_id_table *table = calloc(1, sizeof(*table) + size * sizeof(table->id[0]));

	if (!table)
		return NULL;
	table->mask = size - 1;
	table->older = old;
	for (uint32_t i = 0; old && i <= old->mask; i++) {
		uint32_t id = atomic_load_explicit(&old->id[i], memory_order_relaxed); /* relaxed: own word */

		if (id != 0)
			insert(table, id);
	}
	return table;
}

int hbus_id_set_add(struct hbus_id_set *set, uint32_t id)
{
	/* relaxed: only this side writes it */
	struct hbus_id_table *table = atomic_load_explicit(&set->table, memory_order_relaxed);

	if (id == 0 || hbus_id_set_has(set, id))
		return 0;
	if (!table || 2 * (table->n_ids + 1) > table->mask + 1) {
		table = grow(table);
		if (!table)
			return -ENOMEM;
	}
	insert(table, id);
	/* R(id_set.table): a table's content before the word that shows it. */
	atomic_store_explicit(&set->table, table, memory_order_release);
	return 0;
}

void hbus_id_set_move(struct hbus_id_set *to, struct hbus_id_set *from)
{
	/* relaxed, all: no other thread knows either */
	atomic_store_explicit(&to->table, atomic_load_explicit(&from->table, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&from->table, NULL, memory_order_relaxed); /* relaxed: as above */
}

void hbus_id_set_deinit(struct hbus_id_set *set)
{
	/* relaxed: no other thread is left */
	struct hbus_id_table *table = atomic_load_explicit(&set->table, memory_order_relaxed);

	while (table) {
		struct hbus_id_table *older = table->older;

		free(table);
		table = older;
	}
	atomic_store_explicit(&set->table, NULL, memory_order_relaxed); /* relaxed: as above */
}
