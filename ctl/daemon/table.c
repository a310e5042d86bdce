/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/table.h"

#include <errno.h>
#include <stdlib.h>

#define BUCKETS_MIN 64

static size_t bucket_idx(const struct hbus_table *table, uint64_t key)
{
	key *= 0x9e3779b97f4a7c15;
	return (size_t)(key >> 32) & (table->n_buckets - 1);
}

int hbus_table_init(struct hbus_table *table)
{
	table->buckets = calloc(BUCKETS_MIN, sizeof(*table->buckets));
	table->n_buckets = BUCKETS_MIN;
	table->n = 0;
	return table->buckets ? 0 : -ENOMEM;
}

void hbus_table_deinit(struct hbus_table *table)
{
	free(table->buckets);
	*table = (struct hbus_table){ 0 };
}

static void link_node(struct hbus_table *table, struct hbus_table_node *node)
{
	struct hbus_table_node **bucket = &table->buckets[bucket_idx(table, node->key)];

	node->next = *bucket;
	*bucket = node;
}

static void grow(struct hbus_table *table)
{
	struct hbus_table_node **old = table->buckets;
	struct hbus_table_node **grown = calloc(table->n_buckets * 2, sizeof(*grown));
	size_t n_old = table->n_buckets;

	if (!grown)
		return;
	table->buckets = grown;
	table->n_buckets = n_old * 2;
	for (size_t i = 0; i < n_old; i++) {
		for (struct hbus_table_node *node = old[i], *next; node; node = next) {
			next = node->next;
			link_node(table, node);
		}
	}
	free(old);
}

void hbus_table_insert(struct hbus_table *table, uint64_t key, struct hbus_table_node *node)
{
	if (table->n >= table->n_buckets)
		grow(table);
	node->key = key;
	link_node(table, node);
	table->n++;
}

void hbus_table_remove(struct hbus_table *table, struct hbus_table_node *node)
{
	struct hbus_table_node **link = &table->buckets[bucket_idx(table, node->key)];

	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
	table->n--;
}

struct hbus_table_node *hbus_table_find(const struct hbus_table *table, uint64_t key)
{
	struct hbus_table_node *node = table->buckets[bucket_idx(table, key)];

	while (node && node->key != key)
		node = node->next;
	return node;
}

struct hbus_table_node *hbus_table_next(const struct hbus_table *table,
					const struct hbus_table_node *node)
{
	size_t i = 0;

	if (node) {
		if (node->next)
			return node->next;
		i = bucket_idx(table, node->key) + 1;
	}
	for (; i < table->n_buckets; i++)
		if (table->buckets[i])
			return table->buckets[i];
	return NULL;
}
