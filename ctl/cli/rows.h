/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Rows of the daemon's lists, and what their fields are called
 *
 * One table says for each kind of row which field is what; tables for people, JSON and the columns'
 * headings all come from it. docs/LISTS.md says the same in words.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "ctl/cli/text.h"
#include "ctl/client/hugebus.h"

struct hbus_rows {
	struct hbus_row *rows;
	size_t n_rows;
	size_t n_allocated;
	uint32_t kind;
};

/**
 * hbus_rows_fetch() - get all rows of a kind, sorted, into empty @rows. Return: 0 or a library
 * error.
 */
int hbus_rows_fetch(struct hbus_rows *rows, struct hbus *bus, uint32_t kind);
void hbus_rows_deinit(struct hbus_rows *rows);

/** hbus_rows_kind() - HBUS_ROW_* by its plural ("topics"), 0 = no such list */
uint32_t hbus_rows_kind(const char *name);
/** hbus_rows_kind_name() - the plural of a kind */
const char *hbus_rows_kind_name(uint32_t kind);

/** hbus_rows_print() - append a table of the rows, all of one kind */
void hbus_rows_print(const struct hbus_rows *rows, uint32_t kind, struct hbus_text *text);

/** hbus_rows_json() - a new array with an object for each row */
json_t *hbus_rows_json(const struct hbus_rows *rows, uint32_t kind);

/**
 * hbus_rows_split_types() - the two parts of a topic row's text, "type|content type"
 *
 * Either may be empty. @type and @content_type have room for 256 bytes each.
 */
void hbus_rows_split_types(const struct hbus_row *row, char *type, char *content_type);
