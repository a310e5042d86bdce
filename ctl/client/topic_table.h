/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which topics a subscriber wants: topic number -> name, unwanted, or not known yet
 *
 * Two levels of atomic words. The control side writes them, under bus->lock; the owner's thread reads them
 * for every event, without a lock. Names stay valid until the table is freed.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HBUS_TOPIC_TABLE_PAGE 4096u

struct hbus_topic_name {
	struct hbus_topic_name *next; /* an earlier name of the same number */
	char name[]; /* and behind its terminator the type, and the content type, each terminated */
};

struct hbus_topic_entries {
	_Atomic(const struct hbus_topic_name *) entry[HBUS_TOPIC_TABLE_PAGE];
	struct hbus_topic_name *names[HBUS_TOPIC_TABLE_PAGE]; /* control side: all that were ever wanted */
};

struct hbus_topic_table {
	_Atomic(struct hbus_topic_entries *) page[HBUS_TOPIC_TABLE_PAGE];
	_Atomic uint32_t n_names;
};

/* The last decision: events of one topic often follow each other. */
struct hbus_topic_cache {
	uint32_t id;
	uint32_t news; /* the decisions may have changed since */
	const struct hbus_topic_name *name;
};

/* The entry of a topic that is not wanted. */
extern const struct hbus_topic_name hbus_topic_skipped;

/* Control side. 0 or -ENOMEM. */
/* With the CloudEvents attributes that the topic was declared with, "" = none. */
int hbus_topic_table_want(struct hbus_topic_table *table, uint32_t id, const char *name, const char *type,
			  const char *content_type);
int hbus_topic_table_skip(struct hbus_topic_table *table, uint32_t id);
void hbus_topic_table_deinit(struct hbus_topic_table *table);

/* Owner's thread. NULL: not known; &hbus_topic_skipped: not wanted. */
static inline const struct hbus_topic_name *hbus_topic_table_get(const struct hbus_topic_table *table, uint32_t id)
{
	/* A(topic_table.page): pairs with R(topic_table.page). */
	const struct hbus_topic_entries *page =
		atomic_load_explicit(&table->page[id / HBUS_TOPIC_TABLE_PAGE & (HBUS_TOPIC_TABLE_PAGE - 1)],
				     memory_order_acquire);

	if (!page)
		return NULL;
	/* A(topic_table.entry): pairs with R(topic_table.entry). */
	return atomic_load_explicit(&page->entry[id % HBUS_TOPIC_TABLE_PAGE], memory_order_acquire);
}
