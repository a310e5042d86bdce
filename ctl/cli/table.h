/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Tables for people: aligned columns, one line a row
 *
 * Cells come from other processes: they are made safe for a terminal on the way in. Columns are as
 * wide as their widest cell in characters (a double-width character counts as one).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctl/cli/text.h"

#define HBUS_TABLE_COLUMNS_MAX 16

struct hbus_table {
	size_t n_columns;
	size_t n_cells;
	size_t width[HBUS_TABLE_COLUMNS_MAX];
	bool is_right[HBUS_TABLE_COLUMNS_MAX]; /* numbers stand right */
	struct hbus_text cells;		       /* each followed by a NUL; the headings first */
};

/**
 * hbus_table_column() - add a column; all of them before the first cell, at most
 * HBUS_TABLE_COLUMNS_MAX
 */
void hbus_table_column(struct hbus_table *table, const char *heading, bool is_right);

/**
 * hbus_table_cell() - the next cell, row by row. @content is copied; an empty one is shown as "-".
 */
void hbus_table_cell(struct hbus_table *table, const char *content);

/** hbus_table_print() - append the table to @text */
void hbus_table_print(const struct hbus_table *table, struct hbus_text *text);

/** hbus_table_n_rows() - without the heading */
size_t hbus_table_n_rows(const struct hbus_table *table);

void hbus_table_deinit(struct hbus_table *table);
