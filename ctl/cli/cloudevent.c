/* SPDX-License-Identifier: BSD-3-Clause */
/* Events as CloudEvents 1.0 in the JSON format. */
#include "ctl/cli/cloudevent.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "ctl/cli/base64.h"
#include "ctl/cli/json.h"

#define NS_PER_S 1000000000u

static bool is_json_type(const char *content_type)
{
	size_t n = strcspn(content_type, "; \t");

	if (n == strlen("application/json") &&
	    strncasecmp(content_type, "application/json", n) == 0)
		return true;
	if (n == strlen("text/json") && strncasecmp(content_type, "text/json", n) == 0)
		return true;
	return n >= strlen("+json") &&
	       strncasecmp(content_type + n - strlen("+json"), "+json", 5) == 0;
}

static bool is_json_value(const void *data, size_t size)
{
	json_t *value = json_loadb(
		data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
	bool is_value = value != NULL;

	json_decref(value);
	return is_value;
}

/* A newline in valid JSON is always a blank between tokens: one object stays one line. */
static void add_json_value(struct hbus_text *text, const char *data, size_t size)
{
	size_t start = text->len;

	hbus_text_add_bytes(text, data, size);
	for (size_t i = start; i < text->len; i++) {
		if (text->data[i] == '\n' || text->data[i] == '\r')
			text->data[i] = ' ';
	}
}

static void add_member(struct hbus_text *text, const char *key, const char *value)
{
	hbus_text_add(text, ",\"");
	hbus_text_add(text, key);
	hbus_text_add(text, "\":");
	hbus_json_add_string(text, value, strlen(value));
}

static void add_payload(struct hbus_text *text, const void *data, size_t size,
			const char *content_type)
{
	bool is_json = content_type && is_json_type(content_type) && is_json_value(data, size);
	bool is_string = !is_json && !(content_type && is_json_type(content_type)) &&
			 !memchr(data, '\0', size) && hbus_text_is_utf8(data, size);

	if (!content_type)
		content_type = is_string ? "text/plain" : "application/octet-stream";
	add_member(text, "datacontenttype", content_type);
	if (is_json) {
		hbus_text_add(text, ",\"data\":");
		add_json_value(text, data, size);
	} else if (is_string) {
		hbus_text_add(text, ",\"data\":");
		hbus_json_add_string(text, data, size);
	} else {
		hbus_text_add(text, ",\"data_base64\":\"");
		hbus_base64_encode(text, data, size);
		hbus_text_add_char(text, '"');
	}
}

/* What a URI's path may hold stands as it is, every other byte as %XX. */
static void add_uri_path(struct hbus_text *text, const char *path)
{
	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;

		if ((c < 0x80 && isalnum(c)) || strchr("-._~!$&'()*+,;=:@/", c))
			hbus_text_add_char(text, *path);
		else
			hbus_text_printf(text, "%%%02X", c);
	}
}

void hbus_cloudevent_encode(struct hbus_text *text, const struct hbus_event *event,
			    const char *source, const char *type, const char *content_type)
{
	hbus_text_add(text, "{\"specversion\":\"1.0\",\"id\":\"");
	hbus_text_add_number(text, event->ring_id);
	hbus_text_add_char(text, ':');
	hbus_text_add_number(text, event->sequence);
	hbus_text_add(text, "\",\"source\":\"");
	hbus_text_add(text, source);
	add_uri_path(text, event->topic);
	hbus_text_add_char(text, '"');
	add_member(text, "type", type && *type ? type : HBUS_CLOUDEVENT_TYPE_DEFAULT);
	add_member(text, "subject", event->topic);
	if (event->time_ns) {
		hbus_text_add(text, ",\"time\":\"");
		hbus_cloudevent_add_time(text, event->time_ns);
		hbus_text_add_char(text, '"');
	}
	if (event->has_key)
		hbus_text_printf(text, ",\"partitionkey\":\"%u\"", event->key);
	if (event->size > 0)
		add_payload(text, event->data, event->size,
			    content_type && *content_type ? content_type : NULL);
	hbus_text_add_char(text, '}');
}

void hbus_cloudevent_add_time(struct hbus_text *text, uint64_t time_ns)
{
	time_t seconds = (time_t)(time_ns / NS_PER_S);
	struct tm tm;
	char buffer[32];

	gmtime_r(&seconds, &tm);
	strftime(buffer, sizeof(buffer), "%Y-%m-%dT%H:%M:%S", &tm);
	hbus_text_printf(text, "%s.%09uZ", buffer, (unsigned int)(time_ns % NS_PER_S));
}

/* ".123" to nanoseconds; digits beyond the ninth are dropped. */
static bool take_fraction(const char **text, uint64_t *ret_ns)
{
	uint64_t scale = NS_PER_S;

	*ret_ns = 0;
	if (**text != '.')
		return true;
	if (!isdigit((unsigned char)*++*text))
		return false;
	for (; isdigit((unsigned char)**text); ++*text) {
		scale /= 10;
		*ret_ns += scale * (uint64_t)(**text - '0');
	}
	return true;
}

/* "Z" or "+hh:mm" to seconds east of UTC; must be the end of the text. */
static bool parse_offset(const char *text, int64_t *ret_seconds)
{
	int hours = 0;
	int minutes = 0;
	int n = 0;

	if (strcasecmp(text, "Z") == 0) {
		*ret_seconds = 0;
		return true;
	}
	if ((*text != '+' && *text != '-') ||
	    sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2 || n != 5 || text[6] != '\0' ||
	    hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
		return false;
	*ret_seconds = (*text == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	return true;
}

bool hbus_cloudevent_parse_time(const char *text, uint64_t *ret_time_ns)
{
	struct tm tm = { 0 };
	int64_t seconds;
	int64_t offset;
	uint64_t ns;

	text = strptime(text, "%Y-%m-%d", &tm);
	if (!text || (*text != 'T' && *text != 't' && *text != ' '))
		return false;
	text = strptime(text + 1, "%H:%M:%S", &tm);
	if (!text || !take_fraction(&text, &ns) || !parse_offset(text, &offset))
		return false;
	seconds = (int64_t)timegm(&tm) - offset;
	if (seconds < 0 || seconds > (int64_t)(UINT64_MAX / NS_PER_S - 1))
		return false;
	*ret_time_ns = (uint64_t)seconds * NS_PER_S + ns;
	return true;
}

static const char *get_string(const json_t *root, const char *key, const char **ret_value)
{
	const json_t *value = json_object_get(root, key);

	*ret_value = NULL;
	if (!value || json_is_null(value))
		return NULL;
	if (!json_is_string(value) || json_string_length(value) != strlen(json_string_value(value)))
		return "an attribute of the event is not a string";
	*ret_value = json_string_value(value);
	return NULL;
}

static const char *decode_attributes(struct hbus_cloudevent *event)
{
	static const char *const keys[] = { "specversion", "subject", "type", "datacontenttype",
					    "time" };
	const char *values[5];
	const char *fault = NULL;

	for (size_t i = 0; i < 5 && !fault; i++)
		fault = get_string(event->root, keys[i], &values[i]);
	if (fault)
		return fault;
	if (values[0] && strcmp(values[0], "1.0") != 0)
		return "specversion is not 1.0";
	if (values[4] && !hbus_cloudevent_parse_time(values[4], &event->time_ns))
		return "time is not an RFC 3339 time stamp";
	event->subject = values[1];
	event->type = values[2];
	event->content_type = values[3];
	return NULL;
}

static const char *decode_payload(struct hbus_cloudevent *event)
{
	const json_t *data = json_object_get(event->root, "data");
	const json_t *base64 = json_object_get(event->root, "data_base64");
	char *value;

	if (data && base64)
		return "an event has data or data_base64, not both";
	if (base64)
		return json_is_string(base64) && hbus_base64_decode(&event->payload,
								    json_string_value(base64),
								    json_string_length(base64))
			       ? NULL
			       : "data_base64 is not valid base64";
	if (!data)
		return NULL;
	if (json_is_string(data) && event->content_type && !is_json_type(event->content_type)) {
		hbus_text_add_bytes(&event->payload, json_string_value(data),
				    json_string_length(data));
		return NULL;
	}
	value = json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY);
	if (!value)
		return "data cannot be written as JSON";
	hbus_text_add(&event->payload, value);
	free(value);
	return NULL;
}

const char *hbus_cloudevent_decode(const char *line, size_t size, struct hbus_cloudevent *ret_event)
{
	struct hbus_cloudevent event = { .root = json_loadb(line, size, JSON_ALLOW_NUL, NULL) };
	const char *fault;

	/* Integers beyond 64 bits are valid JSON, but only fit as real numbers. */
	if (!event.root)
		event.root = json_loadb(line, size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
	if (!json_is_object(event.root)) {
		json_decref(event.root);
		return "a line is not a JSON object";
	}
	fault = decode_attributes(&event);
	if (!fault)
		fault = decode_payload(&event);
	if (fault)
		hbus_cloudevent_deinit(&event);
	else
		*ret_event = event;
	return fault;
}

void hbus_cloudevent_deinit(struct hbus_cloudevent *event)
{
	hbus_text_free(&event->payload);
	json_decref(event->root);
	*event = (struct hbus_cloudevent){ 0 };
}
