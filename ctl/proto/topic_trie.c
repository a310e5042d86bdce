/* SPDX-License-Identifier: BSD-3-Clause */
/* The trie of topic levels. One hash table for all nodes, sibling lists for the walks. */
#include "ctl/proto/topic_trie.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ctl/proto/siphash.h"
#include "ctl/proto/topic.h"

#define BUCKETS_MIN 64

struct hbus_trie_node {
	struct hbus_trie_node *parent;
	struct hbus_trie_node *child;		    /* first of its children */
	struct hbus_trie_node *sibling_prev, *sibling_next;
	struct hbus_trie_node *bucket_next;
	struct hbus_trie_entry *entries;
	uint64_t hash;
	uint8_t len;
	char level[]; /* not terminated */
};

static const struct hbus_topic_level level_plus = { "+", 1 };
static const struct hbus_topic_level level_hash = { "#", 1 };

static bool level_is(struct hbus_topic_level level, char c)
{
	return level.len == 1 && level.s[0] == c;
}

/* The parent is part of the key by its hash, which is unique enough: lookups compare the pointer. */
static uint64_t node_hash(const struct hbus_trie *trie, const struct hbus_trie_node *parent,
			  struct hbus_topic_level level)
{
	uint64_t key[2] = { trie->key[0] ^ parent->hash, trie->key[1] };

	return hbus_siphash(key, level.s, level.len);
}

static struct hbus_trie_node **bucket_of(const struct hbus_trie *trie, uint64_t hash)
{
	return &trie->buckets[hash & (trie->n_buckets - 1)];
}

static struct hbus_trie_node *child_find(const struct hbus_trie *trie,
					 const struct hbus_trie_node *parent,
					 struct hbus_topic_level level)
{
	uint64_t hash;
	struct hbus_trie_node *node;

	if (!parent->child)
		return NULL;
	hash = node_hash(trie, parent, level);
	for (node = *bucket_of(trie, hash); node; node = node->bucket_next)
		if (node->hash == hash && node->parent == parent && node->len == level.len &&
		    memcmp(node->level, level.s, level.len) == 0)
			return node;
	return NULL;
}

/* Doubles the table. Failing to is not an error: chains get longer, that is all. */
static void buckets_grow(struct hbus_trie *trie)
{
	size_t n_old = trie->n_buckets;
	struct hbus_trie_node **old = trie->buckets;
	struct hbus_trie_node **grown = calloc(n_old * 2, sizeof(*grown));

	if (!grown)
		return;
	trie->buckets = grown;
	trie->n_buckets = n_old * 2;
	for (size_t i = 0; i < n_old; i++) {
		for (struct hbus_trie_node *node = old[i], *next; node; node = next) {
			struct hbus_trie_node **bucket = bucket_of(trie, node->hash);

			next = node->bucket_next;
			node->bucket_next = *bucket;
			*bucket = node;
		}
	}
	free(old);
}

static struct hbus_trie_node *child_new(struct hbus_trie *trie, struct hbus_trie_node *parent,
					struct hbus_topic_level level)
{
	struct hbus_trie_node *node = calloc(1, sizeof(*node) + level.len);
	struct hbus_trie_node **bucket;

	if (!node)
		return NULL;
	if (trie->n_nodes >= trie->n_buckets)
		buckets_grow(trie);
	node->parent = parent;
	node->len = (uint8_t)level.len;
	memcpy(node->level, level.s, level.len);
	node->hash = node_hash(trie, parent, level);
	bucket = bucket_of(trie, node->hash);
	node->bucket_next = *bucket;
	*bucket = node;
	node->sibling_next = parent->child;
	if (parent->child)
		parent->child->sibling_prev = node;
	parent->child = node;
	trie->n_nodes++;
	return node;
}

static void child_free(struct hbus_trie *trie, struct hbus_trie_node *node)
{
	struct hbus_trie_node **link = bucket_of(trie, node->hash);

	while (*link != node)
		link = &(*link)->bucket_next;
	*link = node->bucket_next;
	if (node->sibling_prev)
		node->sibling_prev->sibling_next = node->sibling_next;
	else
		node->parent->child = node->sibling_next;
	if (node->sibling_next)
		node->sibling_next->sibling_prev = node->sibling_prev;
	trie->n_nodes--;
	free(node);
}

/* Frees @node and its ancestors as far as nothing hangs on them. */
static void prune(struct hbus_trie *trie, struct hbus_trie_node *node)
{
	while (node != trie->root && !node->entries && !node->child) {
		struct hbus_trie_node *parent = node->parent;

		child_free(trie, node);
		node = parent;
	}
}

int hbus_trie_init(struct hbus_trie *trie, size_t nodes_max)
{
	if (nodes_max == 0 || nodes_max > HBUS_TRIE_NODES_MAX)
		return -EINVAL;
	memset(trie, 0, sizeof(*trie));
	if (getrandom(trie->key, sizeof(trie->key), 0) != (ssize_t)sizeof(trie->key))
		return -errno;
	trie->root = calloc(1, sizeof(*trie->root));
	trie->buckets = calloc(BUCKETS_MIN, sizeof(*trie->buckets));
	trie->n_buckets = BUCKETS_MIN;
	trie->nodes_max = nodes_max;
	if (!trie->root || !trie->buckets) {
		free(trie->root);
		free(trie->buckets);
		memset(trie, 0, sizeof(*trie));
		return -ENOMEM;
	}
	return 0;
}

static void entries_unlink(struct hbus_trie_node *node)
{
	while (node->entries) {
		struct hbus_trie_entry *entry = node->entries;

		node->entries = entry->next;
		memset(entry, 0, sizeof(*entry));
	}
}

void hbus_trie_deinit(struct hbus_trie *trie)
{
	for (size_t i = 0; i < trie->n_buckets; i++) {
		for (struct hbus_trie_node *node = trie->buckets[i], *next; node; node = next) {
			next = node->bucket_next;
			entries_unlink(node);
			free(node);
		}
	}
	free(trie->buckets);
	free(trie->root);
	memset(trie, 0, sizeof(*trie));
}

int hbus_trie_insert(struct hbus_trie *trie, const char *topic, struct hbus_trie_entry *entry)
{
	struct hbus_topic_level levels[HBUS_TOPIC_LEVELS_MAX];
	size_t n_levels = hbus_topic_split(topic, levels);
	struct hbus_trie_node *node = trie->root;

	if (n_levels == 0)
		return HBUS_TRIE_TOO_DEEP;
	for (size_t i = 0; i < n_levels; i++) {
		struct hbus_trie_node *child = child_find(trie, node, levels[i]);

		if (!child) {
			bool is_full = trie->n_nodes >= trie->nodes_max;

			child = is_full ? NULL : child_new(trie, node, levels[i]);
			if (!child) {
				prune(trie, node);
				return is_full ? HBUS_TRIE_FULL : -ENOMEM;
			}
		}
		node = child;
	}
	entry->node = node;
	entry->prev = NULL;
	entry->next = node->entries;
	if (node->entries)
		node->entries->prev = entry;
	node->entries = entry;
	trie->n_entries++;
	return 0;
}

void hbus_trie_remove(struct hbus_trie *trie, struct hbus_trie_entry *entry)
{
	struct hbus_trie_node *node = entry->node;

	if (!node)
		return;
	if (entry->prev)
		entry->prev->next = entry->next;
	else
		node->entries = entry->next;
	if (entry->next)
		entry->next->prev = entry->prev;
	memset(entry, 0, sizeof(*entry));
	trie->n_entries--;
	prune(trie, node);
}

struct hbus_trie_entry *hbus_trie_find(const struct hbus_trie *trie, const char *topic)
{
	struct hbus_topic_level levels[HBUS_TOPIC_LEVELS_MAX];
	size_t n_levels = hbus_topic_split(topic, levels);
	const struct hbus_trie_node *node = trie->root;

	if (n_levels == 0)
		return NULL;
	for (size_t i = 0; i < n_levels && node; i++)
		node = child_find(trie, node, levels[i]);
	return node ? node->entries : NULL;
}

static bool visit_entries(const struct hbus_trie_node *node, hbus_trie_visit_fn visit,
			  void *context)
{
	if (!node)
		return true;
	for (struct hbus_trie_entry *entry = node->entries, *next; entry; entry = next) {
		next = entry->next;
		if (!visit(context, entry))
			return false;
	}
	return true;
}

/* A branch of the walk that is still to be taken: @node stands for the first @depth levels. */
struct branch {
	const struct hbus_trie_node *node;
	size_t depth;
};

void hbus_trie_match_filters(const struct hbus_trie *trie, const char *name,
			     hbus_trie_visit_fn visit, void *context)
{
	/* Each step takes one branch and adds at most two, one level deeper. */
	struct branch stack[HBUS_TOPIC_LEVELS_MAX + 1];
	struct hbus_topic_level levels[HBUS_TOPIC_LEVELS_MAX];
	size_t n_levels = hbus_topic_split(name, levels), n_stack = 0;

	if (n_levels == 0)
		return;
	stack[n_stack++] = (struct branch){ trie->root, 0 };
	while (n_stack > 0) {
		struct branch b = stack[--n_stack];
		bool wild = b.depth > 0 || name[0] != '$';
		const struct hbus_trie_node *child;

		if (wild && !visit_entries(child_find(trie, b.node, level_hash), visit, context))
			return;
		if (b.depth == n_levels) {
			if (!visit_entries(b.node, visit, context))
				return;
			continue;
		}
		child = wild ? child_find(trie, b.node, level_plus) : NULL;
		if (child)
			stack[n_stack++] = (struct branch){ child, b.depth + 1 };
		/* A name has no wildcard, so this child is never the one above. */
		child = child_find(trie, b.node, levels[b.depth]);
		if (child)
			stack[n_stack++] = (struct branch){ child, b.depth + 1 };
	}
}

/* The node after @node in a depth-first walk below @top; NULL at the end. */
static const struct hbus_trie_node *subtree_next(const struct hbus_trie_node *top,
						 const struct hbus_trie_node *node)
{
	if (node->child)
		return node->child;
	while (node != top && !node->sibling_next)
		node = node->parent;
	return node == top ? NULL : node->sibling_next;
}

static bool is_dollar(const struct hbus_trie_node *node)
{
	return node->len > 0 && node->level[0] == '$';
}

/* @top itself and everything under it. */
static bool visit_below(const struct hbus_trie_node *top, hbus_trie_visit_fn visit, void *context)
{
	for (const struct hbus_trie_node *node = top; node; node = subtree_next(top, node))
		if (!visit_entries(node, visit, context))
			return false;
	return true;
}

/* What '#' below @top matches: at the root not the names that begin with '$'. */
static bool visit_hash(const struct hbus_trie *trie, const struct hbus_trie_node *top,
		       hbus_trie_visit_fn visit, void *context)
{
	if (top != trie->root)
		return visit_below(top, visit, context);
	for (const struct hbus_trie_node *child = top->child; child; child = child->sibling_next)
		if (!is_dollar(child) && !visit_below(child, visit, context))
			return false;
	return true;
}

/* The next sibling that a '+' at the first level may stand for, beginning with @node itself. */
static const struct hbus_trie_node *plus_candidate(const struct hbus_trie_node *node, size_t depth)
{
	while (node && depth == 0 && is_dollar(node))
		node = node->sibling_next;
	return node;
}

/* The first child of @node that filter level @depth allows. */
static const struct hbus_trie_node *descend(const struct hbus_trie *trie,
					    const struct hbus_trie_node *node,
					    const struct hbus_topic_level *levels, size_t depth)
{
	if (level_is(levels[depth], '+'))
		return plus_candidate(node->child, depth);
	return child_find(trie, node, levels[depth]);
}

void hbus_trie_match_names(const struct hbus_trie *trie, const char *filter,
			   hbus_trie_visit_fn visit, void *context)
{
	struct hbus_topic_level levels[HBUS_TOPIC_LEVELS_MAX];
	size_t n_levels = hbus_topic_split(filter, levels), depth = 0;
	const struct hbus_trie_node *node = trie->root, *next;
	bool is_hash;

	if (n_levels == 0)
		return;
	is_hash = level_is(levels[n_levels - 1], '#');
	n_levels -= is_hash;
	/* Depth first by parent and sibling links: down where the filter allows, then across. */
	for (;;) {
		next = NULL;
		if (depth < n_levels)
			next = descend(trie, node, levels, depth);
		else if (!(is_hash ? visit_hash(trie, node, visit, context) :
				     visit_entries(node, visit, context)))
			return;
		if (next)
			depth++;
		while (!next) {
			if (depth == 0)
				return;
			depth--;
			if (level_is(levels[depth], '+'))
				next = plus_candidate(node->sibling_next, depth);
			if (next)
				depth++;
			else
				node = node->parent;
		}
		node = next;
	}
}
