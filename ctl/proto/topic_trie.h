/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A trie of topic levels that holds topic names or filters
 *
 * One trie holds either filters (which of them match this name?) or names (which of them does this
 * filter match?). It stores entries that the caller embeds in its own objects; any number of
 * entries may stand at the same string. All levels hang in one hash table keyed by (parent, level),
 * so a node with 10^5 children costs no more than one with two; the hash is keyed by a secret, so
 * that nobody can choose names that collide.
 *
 * Cost: insert, remove, find: O(levels). Names that match a filter: O(levels x nodes visited), where
 * '#' visits exactly the names it matches and '+' each child of the levels above it. Filters that
 * match a name: at most two branches a level, so O(levels x matches) for filters that share no
 * prefix without matching, and never more than min(2^levels, nodes). Nothing recurses.
 *
 * One thread. The trie must not change while a walk is in its callback.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Upper bound for hbus_trie_init(): nodes, that is levels of all strings held. */
#define HBUS_TRIE_NODES_MAX (1u << 24)

/* Conditions. */
#define HBUS_TRIE_FULL 1
#define HBUS_TRIE_TOO_DEEP 2

struct hbus_trie_node;

/** Embedded in what is stored. Zero it before use; is_linked while it stands in a trie. */
struct hbus_trie_entry {
	struct hbus_trie_node *node;
	struct hbus_trie_entry *prev, *next;
};

struct hbus_trie {
	struct hbus_trie_node *root;
	struct hbus_trie_node **buckets;
	size_t n_buckets; /* a power of two */
	size_t n_nodes;
	size_t n_entries;
	size_t nodes_max;
	uint64_t key[2];
};

/** Called for each match; returning false ends the walk. */
typedef bool (*hbus_trie_visit_fn)(void *context, struct hbus_trie_entry *entry);

/**
 * hbus_trie_init() - an empty trie in the caller's storage
 * @nodes_max: no insert makes more nodes than this, 1..HBUS_TRIE_NODES_MAX
 *
 * Return: 0 or -errno.
 */
int hbus_trie_init(struct hbus_trie *trie, size_t nodes_max);

/** hbus_trie_deinit() - free the nodes; entries that still stand in it are unlinked. */
void hbus_trie_deinit(struct hbus_trie *trie);

/**
 * hbus_trie_insert() - link @entry at @topic, a checked name or filter
 *
 * Borrows @entry until it is removed. Keeps no reference to @topic.
 * Return: 0, HBUS_TRIE_FULL, HBUS_TRIE_TOO_DEEP or -ENOMEM; on failure nothing has changed.
 */
int hbus_trie_insert(struct hbus_trie *trie, const char *topic, struct hbus_trie_entry *entry);

/** hbus_trie_remove() - unlink; does nothing if the entry is not linked. */
void hbus_trie_remove(struct hbus_trie *trie, struct hbus_trie_entry *entry);

static inline bool hbus_trie_entry_is_linked(const struct hbus_trie_entry *entry)
{
	return entry->node != NULL;
}

/** hbus_trie_find() - the first entry at exactly this string, or NULL; go on with ->next. */
struct hbus_trie_entry *hbus_trie_find(const struct hbus_trie *trie, const char *topic);

/** hbus_trie_match_filters() - in a trie of filters, visit each entry whose filter matches @name. */
void hbus_trie_match_filters(const struct hbus_trie *trie, const char *name,
			     hbus_trie_visit_fn visit, void *context);

/** hbus_trie_match_names() - in a trie of names, visit each entry whose name @filter matches. */
void hbus_trie_match_names(const struct hbus_trie *trie, const char *filter,
			   hbus_trie_visit_fn visit, void *context);
