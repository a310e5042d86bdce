/* SPDX-License-Identifier: BSD-3-Clause */
/* Which topics a subscriber wants. See topic_table.h. */
#include "ctl/client/topic_table.h"

#include "ctl/client/hugebus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct hbus_topic_name hbus_topic_skipped = {.next = NULL};

/* The page of a topic number; made when it is not there. NULL: no memory, or no such number. */
static struct hbus_topic_entries *page_of(struct hbus_topic_table *table, uint32_t id)
{
	uint32_t page_idx = id / HBUS_TOPIC_TABLE_PAGE;
	struct hbus_topic_entries *page;

	if (page_idx >= HBUS_TOPIC_TABLE_PAGE)
		return NULL;
	/* relaxed: only the control side writes it, and this is the control side */
	page = atomic_load_explicit(&table->page[page_idx], memory_order_relaxed);
	if (page)
		return page;
	page = calloc(1, sizeof(*page));
	/* R(topic_table.page): an empty page before the word that shows it. */
	atomic_store_explicit(&table->page[page_idx], page, memory_order_release);
	return page;
}

const char *hbus_topic_type(const char *topic)
{
	return topic ? topic + strlen(topic) + 1 : "";
}

const char *hbus_topic_content_type(const char *topic)
{
	const char *type = hbus_topic_type(topic);

	return !topic ? type : type + strlen(type) + 1;
}

static struct hbus_topic_name *name_of(struct hbus_topic_table *table, struct hbus_topic_name **names, const char *text,
				       const char *type, const char *content_type)
{
	size_t size = strlen(text) + 1, type_size = strlen(type) + 1, content_size = strlen(content_type) + 1;
	struct hbus_topic_name *name;

	for (name = *names; name; name = name->next)
		if (strcmp(name->name, text) == 0 && strcmp(hbus_topic_type(name->name), type) == 0 &&
		    strcmp(hbus_topic_content_type(name->name), content_type) == 0)
			return name;
	name = malloc(sizeof(*name) + size + type_size + content_size);
	if (!name)
		return NULL;
	memcpy(name->name, text, size);
	memcpy(name->name + size, type, type_size);
	memcpy(name->name + size + type_size, content_type, content_size);
	name->next = *names;
	*names = name;
	atomic_fetch_add_explicit(&table->n_names, 1, memory_order_relaxed); /* relaxed: a statistic */
	return name;
}

/* Why there is no page. */
static int no_page(uint32_t id)
{
	return id / HBUS_TOPIC_TABLE_PAGE >= HBUS_TOPIC_TABLE_PAGE ? -EINVAL : -ENOMEM;
}

int hbus_topic_table_want(struct hbus_topic_table *table, uint32_t id, const char *text, const char *type,
			  const char *content_type)
{
	struct hbus_topic_entries *page = page_of(table, id);
	struct hbus_topic_name *name;

	if (!page)
		return no_page(id);
	name = name_of(table, &page->names[id % HBUS_TOPIC_TABLE_PAGE], text, type, content_type);
	if (!name)
		return -ENOMEM;
	/* R(topic_table.entry): the name before the word that shows it. */
	atomic_store_explicit(&page->entry[id % HBUS_TOPIC_TABLE_PAGE], name, memory_order_release);
	return 0;
}

int hbus_topic_table_skip(struct hbus_topic_table *table, uint32_t id)
{
	struct hbus_topic_entries *page = page_of(table, id);

	if (!page)
		return no_page(id);
	/* R(topic_table.entry): as above; the object is constant. */
	atomic_store_explicit(&page->entry[id % HBUS_TOPIC_TABLE_PAGE], &hbus_topic_skipped, memory_order_release);
	return 0;
}

static void page_free(struct hbus_topic_entries *page)
{
	for (uint32_t i = 0; i < HBUS_TOPIC_TABLE_PAGE; i++) {
		while (page->names[i]) {
			struct hbus_topic_name *name = page->names[i];

			page->names[i] = name->next;
			free(name);
		}
	}
	free(page);
}

void hbus_topic_table_deinit(struct hbus_topic_table *table)
{
	for (uint32_t i = 0; i < HBUS_TOPIC_TABLE_PAGE; i++) {
		/* relaxed: no other thread is left */
		struct hbus_topic_entries *page = atomic_load_explicit(&table->page[i], memory_order_relaxed);

		if (page)
			page_free(page);
	}
}
