/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of topics of a subscriber: unknown, wanted, skipped, and names that stay. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "ctl/client/topic_table.h"

static struct hbus_topic_table *table;

static void setup(void)
{
	table = calloc(1, sizeof(*table));
}

static void teardown(void)
{
	hbus_topic_table_deinit(table);
	free(table);
}

TestSuite(client_topics, .init = setup, .fini = teardown);

Test(client_topics, a_number_is_unknown_until_something_is_said)
{
	cr_assert_null(hbus_topic_table_get(table, 5));
	cr_assert_eq(hbus_topic_table_want(table, 5, "five", "", ""), 0);
	cr_assert_str_eq(hbus_topic_table_get(table, 5)->name, "five");
	cr_assert_null(hbus_topic_table_get(table, 6));
	cr_assert_eq(hbus_topic_table_skip(table, 6), 0);
	cr_assert_eq(hbus_topic_table_get(table, 6), &hbus_topic_skipped);
}

Test(client_topics, names_stay_while_topics_come_and_go)
{
	const struct hbus_topic_name *first, *second;

	hbus_topic_table_want(table, 5, "five", "", "");
	first = hbus_topic_table_get(table, 5);
	hbus_topic_table_skip(table, 5);
	hbus_topic_table_want(table, 5, "another", "", "");
	second = hbus_topic_table_get(table, 5);
	cr_assert_str_eq(first->name, "five");
	cr_assert_str_eq(second->name, "another");
	hbus_topic_table_want(table, 5, "five", "", "");
	cr_assert_eq(hbus_topic_table_get(table, 5), first, "the same name takes no new memory");
	cr_assert_eq(atomic_load_explicit(&table->n_names, memory_order_relaxed), 2);
}

Test(client_topics, the_largest_number_fits_and_one_more_does_not)
{
	cr_assert_eq(hbus_topic_table_want(table, 0xffffff, "last", "", ""), 0);
	cr_assert_str_eq(hbus_topic_table_get(table, 0xffffff)->name, "last");
	cr_assert_lt(hbus_topic_table_want(table, 0x1000000, "beyond", "", ""), 0);
	cr_assert_lt(hbus_topic_table_skip(table, UINT32_MAX), 0);
}
