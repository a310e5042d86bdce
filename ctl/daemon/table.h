/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A hash table from 64-bit numbers to objects that embed a node. One thread.
 *
 * Keys are numbers that the daemon gave (ids) or drew at random (tokens), so they need no secret hash.
 * A table that cannot grow for want of memory gets slower, not wrong.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hbus_table_node {
	struct hbus_table_node *next;
	uint64_t key;
};

struct hbus_table {
	struct hbus_table_node **buckets;
	size_t n_buckets; /* a power of two */
	size_t n;
};

/** hbus_table_init() - Return: 0 or -ENOMEM. */
int hbus_table_init(struct hbus_table *table);

/** hbus_table_deinit() - forgets the nodes; they are the caller's. */
void hbus_table_deinit(struct hbus_table *table);

void hbus_table_insert(struct hbus_table *table, uint64_t key, struct hbus_table_node *node);
void hbus_table_remove(struct hbus_table *table, struct hbus_table_node *node);

/** hbus_table_find() - the node last inserted under @key, or NULL. */
struct hbus_table_node *hbus_table_find(const struct hbus_table *table, uint64_t key);

/** hbus_table_next() - for loops: NULL begins, NULL ends. The node must stay until the next call. */
struct hbus_table_node *hbus_table_next(const struct hbus_table *table,
					const struct hbus_table_node *node);

#define hbus_container_of(pointer, type, member)                                                   \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))
