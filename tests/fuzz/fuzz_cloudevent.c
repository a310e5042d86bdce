/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes through the command line's text: as a payload they become one line of valid JSON from
 * which the same bytes come back; as a line of input, a place, a route or a format they never fault,
 * and what is taken can be written and read again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli/cloudevent.h"
#include "ctl/cli/format.h"
#include "ctl/cli/number.h"
#include "ctl/cli/route_text.h"

static struct hbus_text text;

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static void round_trip(const uint8_t *data, size_t size, const char *content_type)
{
	struct hbus_event event = {
		.data = data, .size = size, .topic = "a", .ring_id = 1, .time_ns = 1
	};
	struct hbus_cloudevent decoded;
	bool is_value;

	text.len = 0;
	hbus_cloudevent_encode(&text, &event, "s:", NULL, content_type);
	require(!memchr(text.data, '\n', text.len));
	require(hbus_cloudevent_decode(text.data, text.len, &decoded) == NULL);
	require(strcmp(decoded.subject, "a") == 0 && decoded.time_ns == 1);
	/* A JSON value may come back with other blanks and numbers; everything else as it was. */
	is_value = content_type && json_object_get(decoded.root, "data");
	require(is_value || (decoded.payload.len == size &&
			     (size == 0 || memcmp(decoded.payload.data, data, size) == 0)));
	hbus_cloudevent_deinit(&decoded);
}

static void read_line(const uint8_t *data, size_t size)
{
	struct hbus_cloudevent event;

	if (hbus_cloudevent_decode((const char *)data, size, &event) == NULL)
		hbus_cloudevent_deinit(&event);
}

static void read_route(const char *line)
{
	char again[HBUS_ROUTE_TEXT_SIZE];
	struct hbus_route route = { 0 };
	struct hbus_route other = { 0 };

	if (hbus_route_text_parse(line, &route) != NULL)
		return;
	require(hbus_route_text_parse(hbus_route_text_format(&route, again), &other) == NULL);
	require(memcmp(&route, &other, sizeof(route)) == 0);
}

static void read_numbers(const char *line)
{
	uint64_t a;
	uint64_t b;

	hbus_number_parse_count(line, &a);
	hbus_number_parse_rate(line, &a);
	hbus_number_parse_size(line, &a);
	hbus_number_parse_duration(line, &a);
	hbus_number_parse_place(line, &a, &b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hbus_event event = { .data = data, .size = size, .topic = "a" };
	char *line = malloc(size + 1);

	require(line != NULL);
	if (size > 0)
		memcpy(line, data, size);
	line[size] = '\0';
	round_trip(data, size, NULL);
	round_trip(data, size, "application/json");
	read_line(data, size);
	read_route(line);
	read_numbers(line);
	text.len = 0;
	if (hbus_format_check(line) == NULL)
		hbus_format_event(&text, line, &event);
	text.len = 0;
	hbus_text_add_safe(&text, line);
	require(hbus_text_is_utf8(text.data, text.len));
	free(line);
	return 0;
}
