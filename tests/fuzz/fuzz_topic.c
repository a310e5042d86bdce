/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as topics: the checks never fault, what they accept both tries hold and find as
 * hbus_topic_matches() says. The input is split at 0xff, which is in no UTF-8.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"
#include "ctl/proto/topic_trie.h"

#define TOPICS_MAX 32

struct topic {
	struct hbus_trie_entry in_filters, in_names;
	char s[HBUS_TOPIC_NAME_MAX + 1];
	bool is_name, is_filter, seen;
};

static struct topic topics[TOPICS_MAX];

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static bool see_filter(void *context, struct hbus_trie_entry *entry)
{
	struct topic *topic = (void *)((char *)entry - offsetof(struct topic, in_filters));

	(void)context;
	require(!topic->seen);
	topic->seen = true;
	return true;
}

static bool see_name(void *context, struct hbus_trie_entry *entry)
{
	struct topic *topic = (void *)((char *)entry - offsetof(struct topic, in_names));

	(void)context;
	require(!topic->seen);
	topic->seen = true;
	return true;
}

static size_t parse(const uint8_t *data, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < size && n < TOPICS_MAX; i++) {
		const uint8_t *end = memchr(data + i, 0xff, size - i);
		size_t len = end ? (size_t)(end - data) - i : size - i;
		const char *s = (const char *)data + i;
		struct topic *topic = &topics[n];

		memset(topic, 0, sizeof(*topic));
		topic->is_name = hbus_topic_check_name(s, len) == 0;
		topic->is_filter = hbus_topic_check_filter(s, len) == 0;
		if (topic->is_name || topic->is_filter) {
			memcpy(topic->s, s, len);
			n++;
		}
		i += len;
	}
	return n;
}

static void compare_filters(const struct hbus_trie *filters, size_t n, const char *name)
{
	hbus_trie_match_filters(filters, name, see_filter, NULL);
	for (size_t i = 0; i < n; i++) {
		require(topics[i].seen ==
			(topics[i].is_filter && hbus_topic_matches(topics[i].s, name)));
		topics[i].seen = false;
	}
}

static void compare_names(const struct hbus_trie *names, size_t n, const char *filter)
{
	hbus_trie_match_names(names, filter, see_name, NULL);
	for (size_t i = 0; i < n; i++) {
		require(topics[i].seen ==
			(topics[i].is_name && hbus_topic_matches(filter, topics[i].s)));
		topics[i].seen = false;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n = parse(data, size);
	struct hbus_trie filters, names;

	require(hbus_trie_init(&filters, 1000) == 0 && hbus_trie_init(&names, 1000) == 0);
	for (size_t i = 0; i < n; i++) {
		if (topics[i].is_filter)
			require(!hbus_trie_insert(&filters, topics[i].s, &topics[i].in_filters));
		if (topics[i].is_name)
			require(!hbus_trie_insert(&names, topics[i].s, &topics[i].in_names));
	}
	for (size_t i = 0; i < n; i++) {
		if (topics[i].is_name)
			compare_filters(&filters, n, topics[i].s);
		if (topics[i].is_filter)
			compare_names(&names, n, topics[i].s);
	}
	for (size_t i = 0; i < n; i++) {
		hbus_trie_remove(&filters, &topics[i].in_filters);
		hbus_trie_remove(&names, &topics[i].in_names);
	}
	require(filters.n_nodes == 0 && names.n_nodes == 0);
	hbus_trie_deinit(&filters);
	hbus_trie_deinit(&names);
	return 0;
}
