/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows of the daemon's lists, and what their fields are called. */
#include "ctl/cli/rows.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl/cli/number.h"
#include "ctl/cli/route_text.h"
#include "ctl/cli/table.h"

/* Where a field is in a row and how it is written. */
enum source {
	NAME,
	TEXT,
	TYPE,	      /* of a topic: first part of text */
	CONTENT_TYPE, /* of a topic: second part of text */
	NUMBER,	      /* value[index] */
	BYTES,	      /* value[index], scaled for people */
	DURATION,     /* value[index], milliseconds */
	FLAG,	      /* bit index of flags */
	ROUTE,	      /* destination */
	ROUTE_VLAN,
	ROUTE_KIND,
	ROUTE_NUMBER,
	ROUTE_TOPIC
};

struct field {
	const char *key;     /* in JSON */
	const char *heading; /* in a table; NULL = not shown */
	enum source source;
	unsigned int index;
};

static const struct field topic_fields[] = {
	{ "topic", "TOPIC", NAME, 0 },
	{ "id", "ID", NUMBER, 0 },
	{ "rings", "RINGS", NUMBER, 1 },
	{ "subscribers", "SUBSCRIBERS", NUMBER, 2 },
	{ "type", "TYPE", TYPE, 0 },
	{ "datacontenttype", "CONTENT TYPE", CONTENT_TYPE, 0 },
	{ "declared", "DECLARED", FLAG, 1 },
	{ "configured", "CONFIGURED", FLAG, 2 },
	{ NULL, NULL, NAME, 0 },
};

static const struct field route_fields[] = {
	{ "destination", "DESTINATION", ROUTE, 0 },
	{ "vlan", "VLAN", ROUTE_VLAN, 0 },
	{ "kind", "KIND", ROUTE_KIND, 0 },
	{ "number", "NUMBER", ROUTE_NUMBER, 0 },
	{ "topic", "TOPIC", ROUTE_TOPIC, 0 },
	{ "wanted", "WANTED", NUMBER, 0 },
	{ "declared", "DECLARED", FLAG, 1 },
	{ "configured", "CONFIGURED", FLAG, 2 },
	{ NULL, NULL, NAME, 0 },
};

static const struct field client_fields[] = {
	{ "id", "ID", NUMBER, 0 },	 { "program", "PROGRAM", NAME, 0 },
	{ "pid", "PID", NUMBER, 1 },	 { "uid", "UID", NUMBER, 2 },
	{ "rings", "RINGS", NUMBER, 3 }, { "subscribers", "SUBSCRIBERS", NUMBER, 4 },
	{ "bytes", "MEMORY", BYTES, 5 }, { "admin", "ADMIN", FLAG, 1 },
	{ "away", "AWAY", FLAG, 2 },	 { NULL, NULL, NAME, 0 },
};

static const struct field ring_fields[] = {
	{ "ring", "RING", NUMBER, 0 },
	{ "program", "PROGRAM", NAME, 0 },
	{ "first_topic", "FIRST TOPIC", TEXT, 0 },
	{ "topics", "TOPICS", NUMBER, 6 },
	{ "client", "CLIENT", NUMBER, 1 },
	{ "uid", "UID", NUMBER, 2 },
	{ "capacity", "CAPACITY", BYTES, 3 },
	{ "events", "EVENTS", NUMBER, 4 },
	{ "bytes", "BYTES", BYTES, 5 },
	{ "attachments", "READERS", NUMBER, 7 },
	{ "gates", "GATES", NUMBER, 8 },
	{ "huge", "HUGE", FLAG, 1 },
	{ "isolated", "ISOLATED", FLAG, 2 },
	{ "ended", "ENDED", FLAG, 4 },
	{ NULL, NULL, NAME, 0 },
};

static const struct field subscriber_fields[] = {
	{ "client", "CLIENT", NUMBER, 1 },
	{ "id", "SUB", NUMBER, 0 },
	{ "program", "PROGRAM", NAME, 0 },
	{ "first_filter", "FIRST FILTER", TEXT, 0 },
	{ "filters", "FILTERS", NUMBER, 3 },
	{ "uid", "UID", NUMBER, 2 },
	{ "rings", "RINGS", NUMBER, 4 },
	{ "delivered", "DELIVERED", NUMBER, 5 },
	{ "filtered", "FILTERED", NUMBER, 6 },
	{ "lost", "LOST", NUMBER, 7 },
	{ "lag", "LAG", NUMBER, 8 },
	{ "reliable", "RELIABLE", FLAG, 1 },
	{ NULL, NULL, NAME, 0 },
};

static const struct field attachment_fields[] = {
	{ "ring", "RING", NUMBER, 0 },
	{ "publisher", "PUBLISHER", TEXT, 0 },
	{ "subscriber", "SUBSCRIBER", NAME, 0 },
	{ "client", "CLIENT", NUMBER, 1 },
	{ "id", "SUB", NUMBER, 2 },
	{ "delivered", "DELIVERED", NUMBER, 3 },
	{ "filtered", "FILTERED", NUMBER, 4 },
	{ "lost", "LOST", NUMBER, 5 },
	{ "sequence", "SEQUENCE", NUMBER, 6 },
	{ "lag", "LAG", NUMBER, 7 },
	{ "lag_bytes", "LAG BYTES", BYTES, 8 },
	{ "attach", NULL, NUMBER, 9 },
	{ "reliable", "RELIABLE", FLAG, 1 },
	{ "dropped", "DROPPED", FLAG, 2 },
	{ "no_slot", "POLLING", FLAG, 4 },
	{ NULL, NULL, NAME, 0 },
};

static const struct field counter_fields[] = {
	{ "set", "SET", TEXT, 0 },	 { "counter", "COUNTER", NAME, 0 },
	{ "value", "VALUE", NUMBER, 0 }, { "client", "CLIENT", NUMBER, 1 },
	{ "pid", "PID", NUMBER, 2 },	 { "owner_gone", "OWNER GONE", FLAG, 1 },
	{ NULL, NULL, NAME, 0 },
};

static const struct field quota_fields[] = {
	{ "user", "USER", NAME, 0 },
	{ "uid", "UID", NUMBER, 0 },
	{ "bytes", "BYTES", BYTES, 1 },
	{ "bytes_max", "OF", BYTES, 2 },
	{ "rings", "RINGS", NUMBER, 3 },
	{ "rings_max", "OF", NUMBER, 4 },
	{ "topics", "TOPICS", NUMBER, 5 },
	{ "topics_max", "OF", NUMBER, 6 },
	{ "subscriptions", "SUBSCRIPTIONS", NUMBER, 7 },
	{ "subscriptions_max", "OF", NUMBER, 8 },
	{ "fds", "FDS", NUMBER, 9 },
	{ "fds_max", "OF", NUMBER, 10 },
	{ NULL, NULL, NAME, 0 },
};

static const struct field daemon_fields[] = {
	{ "version", "VERSION", NAME, 0 },
	{ "socket", "SOCKET", TEXT, 0 },
	{ "pid", "PID", NUMBER, 0 },
	{ "uptime_ms", "UP", DURATION, 1 },
	{ "boot_id", NULL, NUMBER, 2 },
	{ "hugepages_reserved", "HUGEPAGES", NUMBER, 3 },
	{ "hugepages_free", "FREE", NUMBER, 4 },
	{ "clients", "CLIENTS", NUMBER, 5 },
	{ "protocol_errors", "PROTOCOL ERRORS", NUMBER, 6 },
	{ "refused", "REFUSED", NUMBER, 7 },
	{ NULL, NULL, NAME, 0 },
};

static const struct {
	const char *name;
	const struct field *fields;
} kinds[] = {
	[HBUS_ROW_TOPIC] = { "topics", topic_fields },
	[HBUS_ROW_ROUTE] = { "routes", route_fields },
	[HBUS_ROW_CLIENT] = { "clients", client_fields },
	[HBUS_ROW_RING] = { "rings", ring_fields },
	[HBUS_ROW_SUBSCRIBER] = { "subscribers", subscriber_fields },
	[HBUS_ROW_ATTACHMENT] = { "attachments", attachment_fields },
	[HBUS_ROW_COUNTER] = { "counters", counter_fields },
	[HBUS_ROW_QUOTA] = { "quotas", quota_fields },
	[HBUS_ROW_DAEMON] = { "daemon", daemon_fields },
};

/* -- the list -- */

static int add_row(const struct hbus_row *row, void *context)
{
	struct hbus_rows *rows = context;

	if (rows->n_rows == rows->n_allocated) {
		rows->n_allocated = rows->n_allocated ? 2 * rows->n_allocated : 64;
		rows->rows = reallocarray(rows->rows, rows->n_allocated, sizeof(*rows->rows));
		if (!rows->rows)
			errx(1, "out of memory");
	}
	rows->rows[rows->n_rows] = *row;
	rows->rows[rows->n_rows].kind = rows->kind;
	/* The daemon's strings are terminated; this does not depend on it. */
	rows->rows[rows->n_rows].name[sizeof(row->name) - 1] = '\0';
	rows->rows[rows->n_rows].text[sizeof(row->text) - 1] = '\0';
	rows->rows[rows->n_rows].route.topic[sizeof(row->route.topic) - 1] = '\0';
	rows->n_rows++;
	return 0;
}

/* Up to three of value[], the most significant first, that make an order people expect. */
static void sort_key(const struct hbus_row *row, uint64_t key[3])
{
	static const unsigned char indices[HBUS_ROW_DAEMON + 1][3] = {
		[HBUS_ROW_SUBSCRIBER] = { 1, 0, 0 },
		[HBUS_ROW_ATTACHMENT] = { 0, 1, 2 },
	};

	for (size_t i = 0; i < 3; i++)
		key[i] = row->value[indices[row->kind][i]];
}

static int compare_rows(const void *a, const void *b)
{
	const struct hbus_row *x = a;
	const struct hbus_row *y = b;
	uint64_t key_x[3];
	uint64_t key_y[3];

	if (x->kind == HBUS_ROW_TOPIC)
		return strcmp(x->name, y->name);
	sort_key(x, key_x);
	sort_key(y, key_y);
	for (size_t i = 0; i < 3; i++) {
		if (key_x[i] != key_y[i])
			return key_x[i] < key_y[i] ? -1 : 1;
	}
	return 0;
}

int hbus_rows_fetch(struct hbus_rows *rows, struct hbus *bus, uint32_t kind)
{
	int r;

	rows->kind = kind;
	r = hbus_list(bus, kind, add_row, rows);
	/* Routes and counters come in an order that says something. */
	if (r >= 0 && kind != HBUS_ROW_ROUTE && kind != HBUS_ROW_COUNTER &&
	    kind <= HBUS_ROW_DAEMON && rows->n_rows > 0)
		qsort(rows->rows, rows->n_rows, sizeof(*rows->rows), compare_rows);
	return r;
}

void hbus_rows_deinit(struct hbus_rows *rows)
{
	free(rows->rows);
	*rows = (struct hbus_rows){ 0 };
}

uint32_t hbus_rows_kind(const char *name)
{
	for (uint32_t kind = 1; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		if (strcmp(kinds[kind].name, name) == 0)
			return kind;
	}
	return 0;
}

const char *hbus_rows_kind_name(uint32_t kind)
{
	return kinds[kind].name;
}

void hbus_rows_split_types(const struct hbus_row *row, char *type, char *content_type)
{
	size_t n = strcspn(row->text, "|");

	memcpy(type, row->text, n);
	type[n] = '\0';
	strcpy(content_type, row->text[n] == '|' ? row->text + n + 1 : "");
}

/* -- one field -- */

static const char *route_kind_name(uint16_t kind)
{
	switch (kind) {
	case HBUS_ROUTE_KIND_TOPIC:
		return "topic";
	case HBUS_ROUTE_KIND_BATCH:
		return "batch";
	case HBUS_ROUTE_KIND_BATCH_TOPIC:
		return "number";
	default:
		return "?";
	}
}

static bool is_text(enum source source)
{
	return source != NUMBER && source != BYTES && source != DURATION && source != FLAG &&
	       source != ROUTE_NUMBER;
}

/*
 * The field as a string. @buffer has room for 256 bytes; the answer may point into it or into
 * @row.
 */
static const char *string_of(const struct hbus_row *row, enum source source, char *buffer)
{
	char other[256];

	switch (source) {
	case NAME:
		return row->name;
	case TEXT:
		return row->text;
	case TYPE:
		hbus_rows_split_types(row, buffer, other);
		return buffer;
	case CONTENT_TYPE:
		hbus_rows_split_types(row, other, buffer);
		return buffer;
	case ROUTE:
		return hbus_route_text_format(&row->route, buffer);
	case ROUTE_VLAN:
		return hbus_route_text_format_vlan(row->route.vlan, buffer);
	case ROUTE_KIND:
		return route_kind_name(row->route.kind);
	case ROUTE_TOPIC:
		return row->route.topic;
	default:
		return "";
	}
}

static uint64_t number_of(const struct hbus_row *row, const struct field *field)
{
	return field->source == ROUTE_NUMBER ? row->route.number : row->value[field->index];
}

static const char *cell_of(const struct hbus_row *row, const struct field *field, char *buffer)
{
	if (is_text(field->source))
		return string_of(row, field->source, buffer);
	switch (field->source) {
	case FLAG:
		return row->flags & field->index ? "yes" : "";
	case BYTES:
		return hbus_number_format_size((double)number_of(row, field), buffer);
	case DURATION:
		return hbus_number_format_duration(number_of(row, field), buffer);
	default:
		if (field->source == ROUTE_NUMBER && row->route.kind != HBUS_ROUTE_KIND_BATCH_TOPIC)
			return "";
		snprintf(buffer, 32, "%" PRIu64, number_of(row, field));
		return buffer;
	}
}

/* JSON has no unsigned 64-bit numbers: what is beyond the signed ones stays at their end. */
static json_t *json_number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

/* A string from another process that is not UTF-8 is made so. */
static json_t *json_text(const char *string)
{
	struct hbus_text safe = { 0 };
	json_t *value = json_string(string);

	if (value)
		return value;
	hbus_text_add_safe(&safe, string);
	value = json_stringn(safe.data, safe.len);
	hbus_text_free(&safe);
	return value;
}

static json_t *json_of(const struct hbus_row *row, const struct field *field)
{
	char buffer[256];

	if (is_text(field->source))
		return json_text(string_of(row, field->source, buffer));
	if (field->source == FLAG)
		return json_boolean(row->flags & field->index);
	return json_number(number_of(row, field));
}

/* -- all of them -- */

void hbus_rows_print(const struct hbus_rows *rows, uint32_t kind, struct hbus_text *text)
{
	struct hbus_table table = { 0 };
	char buffer[256];

	for (const struct field *field = kinds[kind].fields; field->key; field++) {
		if (field->heading)
			hbus_table_column(&table, field->heading,
					  !is_text(field->source) && field->source != FLAG);
	}
	for (size_t i = 0; i < rows->n_rows; i++) {
		for (const struct field *field = kinds[kind].fields; field->key; field++) {
			if (field->heading)
				hbus_table_cell(&table, cell_of(&rows->rows[i], field, buffer));
		}
	}
	hbus_table_print(&table, text);
	hbus_table_deinit(&table);
}

json_t *hbus_rows_json(const struct hbus_rows *rows, uint32_t kind)
{
	json_t *array = json_array();

	for (size_t i = 0; i < rows->n_rows; i++) {
		json_t *object = json_object();

		for (const struct field *field = kinds[kind].fields; field->key; field++)
			json_object_set_new(object, field->key, json_of(&rows->rows[i], field));
		json_array_append_new(array, object);
	}
	return array;
}
