/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/journal_json.h"

#include <stdio.h>
#include <string.h>

#include "ctl/proto/text.h"

static const char *const kinds[] = {
	[HBUS_RECORD_TOPIC] = "topic",	   [HBUS_RECORD_TOPIC_GONE] = "topic-gone",
	[HBUS_RECORD_MEMBER] = "member",   [HBUS_RECORD_MEMBER_GONE] = "member-gone",
	[HBUS_RECORD_RING] = "ring",	   [HBUS_RECORD_RING_GONE] = "ring-gone",
	[HBUS_RECORD_RING_TOPIC] = "ring-topic",
	[HBUS_RECORD_ROUTE] = "route",	   [HBUS_RECORD_ROUTE_GONE] = "route-gone",
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void bytes_to_hex(const uint8_t *bytes, size_t n, char *hex)
{
	for (size_t i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

static bool hex_to_bytes(const char *hex, uint8_t *bytes, size_t n)
{
	unsigned int byte;

	if (strlen(hex) != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return false;
		bytes[i] = (uint8_t)byte;
	}
	return true;
}

/* ---- to JSON ---- */

static json_t *route_to_json(const struct hbus_wire_route *route)
{
	char address[33];

	bytes_to_hex(route->address, sizeof(route->address), address);
	return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:s}", "address", address, "family",
			 (int)route->family, "prefix_len", (int)route->prefix_len, "port",
			 (int)route->port, "vlan", (int)route->vlan, "kind", (int)route->kind,
			 "number", (json_int_t)route->number, "topic", route->topic);
}

static json_t *ring_to_json(const struct hbus_journal_record *record, const char *token)
{
	const struct hbus_geometry *geometry = &record->geometry;

	return json_pack("{s:I, s:I, s:I, s:s, s:I, s:I, s:b, s:b}", "id", (json_int_t)record->id,
			 "member", (json_int_t)record->member_id, "uid", (json_int_t)record->uid,
			 "token", token, "capacity", (json_int_t)geometry->capacity, "start",
			 (json_int_t)geometry->start, "is_huge", (int)geometry->is_huge,
			 "is_isolated", (int)geometry->is_isolated);
}

json_t *hbus_journal_to_json(const struct hbus_journal_record *record)
{
	char token[33];
	json_t *json = NULL;

	bytes_to_hex(record->token.bytes, sizeof(record->token.bytes), token);
	switch (record->kind) {
	case HBUS_RECORD_TOPIC:
		json = json_pack("{s:I, s:i, s:I, s:s, s:s, s:s}", "id", (json_int_t)record->id,
				 "flags", (int)record->flags, "uid", (json_int_t)record->uid,
				 "name", record->name, "type", record->type, "content_type",
				 record->content_type);
		break;
	case HBUS_RECORD_MEMBER:
		json = json_pack("{s:I, s:I, s:s, s:s, s:I, s:I}", "id", (json_int_t)record->id, "uid",
				 (json_int_t)record->uid, "token", token, "name", record->name, "pid",
				 (json_int_t)record->pid, "began", (json_int_t)record->began);
		break;
	case HBUS_RECORD_RING:
		json = ring_to_json(record, token);
		break;
	case HBUS_RECORD_RING_TOPIC:
		json = json_pack("{s:I, s:I}", "id", (json_int_t)record->id, "topic", (json_int_t)record->topic_id);
		break;
	case HBUS_RECORD_TOPIC_GONE:
	case HBUS_RECORD_MEMBER_GONE:
	case HBUS_RECORD_RING_GONE:
		json = json_pack("{s:I}", "id", (json_int_t)record->id);
		break;
	case HBUS_RECORD_ROUTE:
	case HBUS_RECORD_ROUTE_GONE:
		json = route_to_json(&record->route);
		break;
	}
	/* A line that does not say what it is would be skipped when it is read. */
	if (json && json_object_set_new(json, "record", json_string(kinds[record->kind])) < 0) {
		json_decref(json);
		json = NULL;
	}
	return json;
}

/* ---- from JSON ---- */

static bool read_number(const json_t *json, const char *key, uint64_t max, uint64_t *ret)
{
	const json_t *value = json_object_get(json, key);
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value) || (max < INT64_MAX && (n < 0 || (uint64_t)n > max)))
		return false;
	*ret = (uint64_t)n;
	return true;
}

static bool read_u32(const json_t *json, const char *key, uint32_t *ret)
{
	uint64_t n;

	if (!read_number(json, key, UINT32_MAX, &n))
		return false;
	*ret = (uint32_t)n;
	return true;
}

static bool read_text(const json_t *json, const char *key, char *text, size_t size)
{
	const char *value = json_string_value(json_object_get(json, key));

	if (!value || strlen(value) >= size)
		return false;
	hbus_text_copy(text, size, value);
	return true;
}

static bool read_token(const json_t *json, struct hbus_token *token)
{
	const char *hex = json_string_value(json_object_get(json, "token"));

	return hex && hex_to_bytes(hex, token->bytes, sizeof(token->bytes));
}

static bool read_ring(const json_t *json, struct hbus_journal_record *record)
{
	struct hbus_geometry *geometry = &record->geometry;

	geometry->ring_id = record->id;
	geometry->is_huge = json_is_true(json_object_get(json, "is_huge"));
	geometry->is_isolated = json_is_true(json_object_get(json, "is_isolated"));
	return read_number(json, "member", UINT64_MAX, &record->member_id) &&
	       read_u32(json, "uid", &record->uid) && read_token(json, &record->token) &&
	       read_number(json, "capacity", UINT64_MAX, &geometry->capacity) &&
	       read_number(json, "start", UINT64_MAX, &geometry->start);
}

static bool read_route(const json_t *json, struct hbus_wire_route *route)
{
	const char *address = json_string_value(json_object_get(json, "address"));

	return address && hex_to_bytes(address, route->address, sizeof(route->address)) &&
	       read_u32(json, "family", &route->family) &&
	       read_u32(json, "prefix_len", &route->prefix_len) &&
	       read_u32(json, "port", &route->port) && read_u32(json, "vlan", &route->vlan) &&
	       read_u32(json, "kind", &route->kind) && read_u32(json, "number", &route->number) &&
	       read_text(json, "topic", route->topic, sizeof(route->topic));
}

static bool read_topic(const json_t *json, struct hbus_journal_record *record)
{
	return read_u32(json, "flags", &record->flags) && read_u32(json, "uid", &record->uid) &&
	       read_text(json, "name", record->name, sizeof(record->name)) &&
	       read_text(json, "type", record->type, sizeof(record->type)) &&
	       read_text(json, "content_type", record->content_type, sizeof(record->content_type));
}

static bool read_member(const json_t *json, struct hbus_journal_record *record)
{
	uint64_t pid;

	/* A journal of an earlier version does not say which process it was. */
	if (read_number(json, "pid", INT32_MAX, &pid) && read_number(json, "began", UINT64_MAX, &record->began))
		record->pid = (int32_t)pid;
	return read_u32(json, "uid", &record->uid) && read_token(json, &record->token) &&
	       read_text(json, "name", record->name, 64);
}

bool hbus_journal_from_json(const json_t *json, struct hbus_journal_record *ret_record)
{
	const char *kind = json_string_value(json_object_get(json, "record"));
	size_t i = 1;

	memset(ret_record, 0, sizeof(*ret_record));
	while (kind && i < N_KINDS && strcmp(kind, kinds[i]) != 0)
		i++;
	if (!kind || i == N_KINDS)
		return false;
	ret_record->kind = (enum hbus_record_kind)i;
	if (ret_record->kind == HBUS_RECORD_ROUTE || ret_record->kind == HBUS_RECORD_ROUTE_GONE)
		return read_route(json, &ret_record->route);
	if (!read_number(json, "id", UINT64_MAX, &ret_record->id))
		return false;
	switch (ret_record->kind) {
	case HBUS_RECORD_TOPIC:
		return read_topic(json, ret_record);
	case HBUS_RECORD_MEMBER:
		return read_member(json, ret_record);
	case HBUS_RECORD_RING:
		return read_ring(json, ret_record);
	case HBUS_RECORD_RING_TOPIC:
		return read_u32(json, "topic", &ret_record->topic_id);
	default:
		return true;
	}
}
