/* SPDX-License-Identifier: BSD-3-Clause */
/* The trie against an independent naive matcher, its borders and its cost with many filters. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "ctl/proto/topic.h"
#include "ctl/proto/topic_trie.h"
#include "tests/unit/random.h"

#define N_STRINGS 400

struct item {
	struct hbus_trie_entry entry;
	char s[HBUS_TOPIC_NAME_MAX + 1];
	bool is_in, was_seen;
};

static struct item items[N_STRINGS];

/* Knows nothing of the code under test: recursive, one level a call. */
static bool naive_matches(const char *filter, const char *name, bool is_first)
{
	const char *filter_end = strchr(filter, '/'), *name_end = strchr(name, '/');
	size_t filter_len = filter_end ? (size_t)(filter_end - filter) : strlen(filter);
	size_t name_len = name_end ? (size_t)(name_end - name) : strlen(name);
	bool is_hash = strcmp(filter, "#") == 0;
	bool is_plus = filter_len == 1 && *filter == '+';

	if (is_first && (is_hash || is_plus) && *name == '$')
		return false;
	if (is_hash)
		return true;
	if (!is_plus && (filter_len != name_len || strncmp(filter, name, name_len) != 0))
		return false;
	if (!name_end)
		return !filter_end || strcmp(filter_end, "/#") == 0;
	return filter_end && naive_matches(filter_end + 1, name_end + 1, false);
}

static void random_topic(struct test_random *random, char *s, bool is_filter)
{
	static const char *const words[] = { "a", "b", "", "$x", "ab" };
	uint32_t n = 1 + test_random_below(random, test_random_below(random, 8) ? 4 : 16);

	*s = '\0';
	for (uint32_t i = 0; i < n; i++) {
		uint32_t dice = is_filter ? test_random_below(random, 10) : 9;
		const char *word = dice < 3 ? "+" :
				   dice < 4 && i + 1 == n ? "#" : words[test_random_below(random, 5)];

		strcat(s, word);
		if (i + 1 < n)
			strcat(s, "/");
	}
	if (*s == '\0')
		strcpy(s, "a");
}

static bool mark(void *context, struct hbus_trie_entry *entry)
{
	struct item *item = (struct item *)(void *)((char *)entry - offsetof(struct item, entry));

	cr_assert_not(item->was_seen, "%s was visited twice", item->s);
	item->was_seen = true;
	++*(size_t *)context;
	return true;
}

static void toggle(struct hbus_trie *trie, struct item *item)
{
	if (item->is_in)
		hbus_trie_remove(trie, &item->entry);
	else
		cr_assert_eq(hbus_trie_insert(trie, item->s, &item->entry), 0);
	item->is_in = !item->is_in;
	cr_assert_eq(hbus_trie_entry_is_linked(&item->entry), item->is_in);
}

static void compare(const char *asked, bool items_are_filters)
{
	for (size_t i = 0; i < N_STRINGS; i++) {
		const char *filter = items_are_filters ? items[i].s : asked;
		const char *name = items_are_filters ? asked : items[i].s;
		bool expected = naive_matches(filter, name, true);

		cr_assert_eq(hbus_topic_matches(filter, name), expected, "%s against %s", filter,
			     name);
		cr_assert_eq(items[i].was_seen, items[i].is_in && expected, "%s against %s", filter,
			     name);
		items[i].was_seen = false;
	}
}

static void differential(bool items_are_filters)
{
	struct test_random random;
	struct hbus_trie trie;
	char asked[HBUS_TOPIC_NAME_MAX + 1];
	size_t n_seen = 0;

	test_random_init(&random, items_are_filters ? "filters" : "names");
	cr_assert_eq(hbus_trie_init(&trie, 100000), 0);
	for (size_t i = 0; i < N_STRINGS; i++)
		random_topic(&random, items[i].s, items_are_filters);
	for (int round = 0; round < 3000; round++) {
		toggle(&trie, &items[test_random_below(&random, N_STRINGS)]);
		random_topic(&random, asked, !items_are_filters);
		if (items_are_filters)
			hbus_trie_match_filters(&trie, asked, mark, &n_seen);
		else
			hbus_trie_match_names(&trie, asked, mark, &n_seen);
		compare(asked, items_are_filters);
	}
	cr_assert_gt(n_seen, 1000, "the comparison found hardly any match");
	for (size_t i = 0; i < N_STRINGS; i++)
		if (items[i].is_in)
			toggle(&trie, &items[i]);
	cr_assert_eq(trie.n_nodes, 0);
	cr_assert_eq(trie.n_entries, 0);
	hbus_trie_deinit(&trie);
}

Test(topic_trie, finds_the_same_filters_as_a_naive_matcher)
{
	differential(true);
}

Test(topic_trie, finds_the_same_names_as_a_naive_matcher)
{
	differential(false);
}

Test(topic_trie, keeps_equal_strings_apart)
{
	struct hbus_trie trie;
	size_t n = 0;

	cr_assert_eq(hbus_trie_init(&trie, 10), 0);
	for (int i = 0; i < 3; i++) {
		strcpy(items[i].s, "a/+");
		toggle(&trie, &items[i]);
	}
	cr_assert_eq(trie.n_nodes, 2);
	hbus_trie_match_filters(&trie, "a/b", mark, &n);
	cr_assert_eq(n, 3);
	toggle(&trie, &items[1]);
	cr_assert_eq(hbus_trie_find(&trie, "a/+"), &items[2].entry);
	cr_assert_eq(items[2].entry.next, &items[0].entry);
	cr_assert_null(hbus_trie_find(&trie, "a/b"));
	cr_assert_null(hbus_trie_find(&trie, "a"));
	hbus_trie_deinit(&trie);
	cr_assert_not(hbus_trie_entry_is_linked(&items[0].entry));
}

Test(topic_trie, refuses_one_node_more_than_its_limit_and_keeps_nothing_of_it)
{
	struct hbus_trie trie;

	cr_assert_eq(hbus_trie_init(&trie, 3), 0);
	cr_assert_eq(hbus_trie_insert(&trie, "a/b", &items[0].entry), 0);
	cr_assert_eq(hbus_trie_insert(&trie, "a/c/d", &items[1].entry), HBUS_TRIE_FULL);
	cr_assert_eq(trie.n_nodes, 2);
	cr_assert_not(hbus_trie_entry_is_linked(&items[1].entry));
	cr_assert_eq(hbus_trie_insert(&trie, "a/c", &items[1].entry), 0);
	cr_assert_eq(hbus_trie_insert(&trie, "b", &items[2].entry), HBUS_TRIE_FULL);
	cr_assert_eq(hbus_trie_insert(&trie, "a", &items[2].entry), 0);
	hbus_trie_deinit(&trie);
	cr_assert_eq(hbus_trie_init(&trie, 0), -EINVAL);
	cr_assert_eq(hbus_trie_init(&trie, HBUS_TRIE_NODES_MAX + 1), -EINVAL);
}

Test(topic_trie, refuses_seventeen_levels)
{
	struct hbus_trie trie;

	cr_assert_eq(hbus_trie_init(&trie, 100), 0);
	cr_assert_eq(hbus_trie_insert(&trie, "////////////////", &items[0].entry),
		     HBUS_TRIE_TOO_DEEP);
	cr_assert_eq(hbus_trie_insert(&trie, "///////////////", &items[0].entry), 0);
	cr_assert_eq(trie.n_nodes, 16);
	hbus_trie_deinit(&trie);
}

static bool stop_at_once(void *context, struct hbus_trie_entry *entry)
{
	(void)entry;
	++*(size_t *)context;
	return false;
}

Test(topic_trie, a_visitor_may_end_the_walk)
{
	static const char *const filters[] = { "#", "+/#", "a/#", "a/b", "a/+" };
	struct hbus_trie trie;
	size_t n = 0;

	cr_assert_eq(hbus_trie_init(&trie, 100), 0);
	for (size_t i = 0; i < 5; i++)
		cr_assert_eq(hbus_trie_insert(&trie, filters[i], &items[i].entry), 0);
	hbus_trie_match_filters(&trie, "a/b", stop_at_once, &n);
	cr_assert_eq(n, 1);
	hbus_trie_match_names(&trie, "a/+", stop_at_once, &n);
	cr_assert_eq(n, 2);
	hbus_trie_match_names(&trie, "#", stop_at_once, &n);
	cr_assert_eq(n, 3);
	hbus_trie_deinit(&trie);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static bool count(void *context, struct hbus_trie_entry *entry)
{
	(void)entry;
	++*(size_t *)context;
	return true;
}

/*
 * The limit is a hundred times what it takes, so that a busy machine does not fail, and a tenth of
 * what a linear list of children would take.
 */
Test(topic_trie, a_hundred_thousand_filters_at_one_level_stay_fast)
{
	enum { n_filters = 100000 };
	struct hbus_trie_entry *entries = calloc(n_filters, sizeof(*entries));
	struct hbus_trie trie;
	uint64_t begin = now_us();
	size_t n = 0;
	char s[64];

	cr_assert_not_null(entries);
	cr_assert_eq(hbus_trie_init(&trie, HBUS_TRIE_NODES_MAX), 0);
	for (int i = 0; i < n_filters; i++) {
		snprintf(s, sizeof(s), "+/+/device%d/+/#", i);
		cr_assert_eq(hbus_trie_insert(&trie, s, &entries[i]), 0);
	}
	for (int i = 0; i < n_filters; i++) {
		snprintf(s, sizeof(s), "x/y/device%d/z", i);
		hbus_trie_match_filters(&trie, s, count, &n);
	}
	cr_assert_eq(n, n_filters);
	hbus_trie_deinit(&trie);
	free(entries);
	cr_assert_lt(now_us() - begin, 5000000);
}
