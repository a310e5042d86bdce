/* SPDX-License-Identifier: BSD-3-Clause */
/* What people and Prometheus read: tables, formats and samples, whatever is in the cells. */
#include <criterion/criterion.h>
#include <string.h>

#include "ctl/cli/format.h"
#include "ctl/cli/prometheus.h"
#include "ctl/cli/table.h"

static struct hbus_text text;

static const char *print(struct hbus_table *table)
{
	text.len = 0;
	hbus_table_print(table, &text);
	hbus_table_deinit(table);
	return hbus_text_string(&text);
}

Test(table, columns_are_aligned_and_numbers_stand_right)
{
	struct hbus_table table = { 0 };

	hbus_table_column(&table, "NAME", false);
	hbus_table_column(&table, "N", true);
	hbus_table_column(&table, "END", false);
	hbus_table_cell(&table, "a");
	hbus_table_cell(&table, "12345");
	hbus_table_cell(&table, "x");
	hbus_table_cell(&table, "longer");
	hbus_table_cell(&table, "");
	hbus_table_cell(&table, "");
	cr_assert_eq(hbus_table_n_rows(&table), 2);
	cr_assert_str_eq(print(&table), "NAME        N  END\n"
					"a       12345  x\n"
					"longer      -  -\n");
}

Test(table, a_cell_cannot_move_the_cursor)
{
	struct hbus_table table = { 0 };

	hbus_table_column(&table, "A", false);
	hbus_table_cell(&table, "x\033[2J\n\x7f\xff\xc2\x9b"
				"y");
	cr_assert_str_eq(print(&table), "A\nx\\x1b[2J\\x0a\\x7f\\xff\\xc2\\x9by\n");
}

Test(table, characters_are_counted_not_bytes)
{
	struct hbus_table table = { 0 };

	hbus_table_column(&table, "A", false);
	hbus_table_column(&table, "B", false);
	hbus_table_cell(&table, "\xc3\xbc\xc3\xbc");
	hbus_table_cell(&table, "b");
	hbus_table_cell(&table, "uu");
	hbus_table_cell(&table, "b");
	cr_assert_str_eq(print(&table), "A   B\n\xc3\xbc\xc3\xbc  b\nuu  b\n");
}

Test(table, without_rows_there_is_the_heading)
{
	struct hbus_table table = { 0 };

	hbus_table_column(&table, "A", false);
	cr_assert_eq(hbus_table_n_rows(&table), 0);
	cr_assert_str_eq(print(&table), "A\n");
}

/* -- formats of sub -F -- */

static const char *format(const char *pattern, const struct hbus_event *event)
{
	text.len = 0;
	cr_assert_null(hbus_format_check(pattern));
	hbus_format_event(&text, pattern, event);
	return hbus_text_string(&text);
}

Test(table, formats_have_a_letter_for_each_part)
{
	struct hbus_event event = { .data = "\x01z",
				    .size = 2,
				    .topic = "a/b",
				    .ring_id = 3,
				    .sequence = 9,
				    .time_ns = 1700000000000000001u };

	cr_assert_str_eq(format("%t|%x|%X|%l|%i|%r|%s|%%", &event), "a/b|017a|017A|2|3:9|3|9|%");
	cr_assert_str_eq(format("%p\\n\\t\\\\", &event), "\x01z\n\t\\");
	cr_assert_str_eq(format("%U %I", &event),
			 "1700000000.000000001 2023-11-14T22:13:20.000000001Z");
	event.time_ns = 0;
	cr_assert_str_eq(format("%U %I", &event), "- -");
	cr_assert_str_eq(format("", &event), "");
	format("\\0", &event);
	cr_assert(text.len == 1 && text.data[0] == '\0');
}

Test(table, wrong_formats_are_refused)
{
	cr_assert_not_null(hbus_format_check("%"));
	cr_assert_not_null(hbus_format_check("%q"));
	cr_assert_not_null(hbus_format_check("a\\"));
	cr_assert_not_null(hbus_format_check("\\x"));
	cr_assert_null(hbus_format_check("%%q"));
}

/* -- Prometheus -- */

Test(table, prometheus_samples_have_help_and_type)
{
	text.len = 0;
	hbus_prometheus_family(&text, "m_total", "counter", "What it is.");
	hbus_prometheus_sample(&text, "m_total", NULL, 0, UINT64_MAX);
	cr_assert_str_eq(
		hbus_text_string(&text),
		"# HELP m_total What it is.\n# TYPE m_total counter\nm_total 18446744073709551615\n");
}

Test(table, prometheus_label_values_are_escaped)
{
	struct hbus_prometheus_label labels[] = { { "a", "x\\y\"z\n" },
						  { "b", "\xc3\xbc\xff\x1b" } };

	text.len = 0;
	hbus_prometheus_sample(&text, "m", labels, 2, 0);
	cr_assert_str_eq(hbus_text_string(&text), "m{a=\"x\\\\y\\\"z\\n\",b=\"\xc3\xbc??\"} 0\n");
}
