/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables for people. */
#include "ctl/cli/table.h"

#include <assert.h>

/* Characters of UTF-8 text: bytes that do not continue one. */
static size_t n_characters(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void add_cell(struct hbus_table *table, size_t column, const char *content)
{
	size_t start = table->cells.len;
	size_t width;

	hbus_text_add_safe(&table->cells, content);
	hbus_text_add_char(&table->cells, '\0');
	width = n_characters(table->cells.data + start);
	if (width > table->width[column])
		table->width[column] = width;
	table->n_cells++;
}

void hbus_table_column(struct hbus_table *table, const char *heading, bool is_right)
{
	assert(table->n_columns < HBUS_TABLE_COLUMNS_MAX && table->n_cells == table->n_columns);
	table->is_right[table->n_columns] = is_right;
	add_cell(table, table->n_columns++, heading);
}

void hbus_table_cell(struct hbus_table *table, const char *content)
{
	add_cell(table, table->n_cells % table->n_columns, *content ? content : "-");
}

size_t hbus_table_n_rows(const struct hbus_table *table)
{
	return table->n_columns ? table->n_cells / table->n_columns - 1 : 0;
}

static void pad(struct hbus_text *text, size_t n)
{
	while (n-- > 0)
		hbus_text_add_char(text, ' ');
}

/* Ends the line that began at start: no blanks at its end. */
static void end_line(struct hbus_text *text, size_t start)
{
	while (text->len > start && text->data[text->len - 1] == ' ')
		text->len--;
	hbus_text_add_char(text, '\n');
}

void hbus_table_print(const struct hbus_table *table, struct hbus_text *text)
{
	const char *cell = table->cells.data;
	size_t start = text->len;

	for (size_t i = 0; i < table->n_cells; i++) {
		size_t column = i % table->n_columns;
		size_t blanks = table->width[column] - n_characters(cell);

		pad(text, (column > 0 ? 2 : 0) + (table->is_right[column] ? blanks : 0));
		hbus_text_add(text, cell);
		pad(text, table->is_right[column] ? 0 : blanks);
		cell += strlen(cell) + 1;
		if (column + 1 < table->n_columns)
			continue;
		end_line(text, start);
		start = text->len;
	}
}

void hbus_table_deinit(struct hbus_table *table)
{
	hbus_text_free(&table->cells);
	*table = (struct hbus_table){ 0 };
}
