/* SPDX-License-Identifier: BSD-3-Clause */
/* CloudEvents as JSON. See structured.h. */
#include "dataplane/mqtt/structured.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dataplane/mqtt/codec.h"
#include "dataplane/mqtt/props.h"

/* More user properties than this are no attributes any more; CloudEvents names have up to 20 bytes. */
enum { ATTRIBUTES_MAX = 64, NAME_MAX_SIZE = 20 };

struct pair {
	struct hbus_mqtt_span name, value;
};

struct event {
	struct hbus_mqtt_span content_type;
	struct pair pairs[ATTRIBUTES_MAX];
	unsigned int n_pairs;
};

/* Grows; has_failed: without memory, and then nothing more goes in. */
struct text {
	char *data;
	size_t size, room;
	bool has_failed;
};

static void add(struct text *text, const void *data, size_t size)
{
	size_t room = text->room ? text->room : 512;
	char *more;

	while (room < text->size + size)
		room *= 2;
	if (room > text->room) {
		more = realloc(text->data, room);
		text->has_failed |= !more;
		if (!more)
			return;
		text->data = more;
		text->room = room;
	}
	if (size > 0)
		memcpy(text->data + text->size, data, size);
	text->size += size;
}

static void add_plain(struct text *text, const char *plain)
{
	add(text, plain, strlen(plain));
}

static void add_string(struct text *text, struct hbus_mqtt_span span)
{
	char escaped[8];

	add_plain(text, "\"");
	for (size_t i = 0; i < span.size; i++) {
		uint8_t c = span.data[i];

		if (c == '"' || c == '\\') {
			snprintf(escaped, sizeof(escaped), "\\%c", c);
			add_plain(text, escaped);
		} else if (c < ' ') {
			snprintf(escaped, sizeof(escaped), "\\u%04x", c);
			add_plain(text, escaped);
		} else {
			add(text, &span.data[i], 1);
		}
	}
	add_plain(text, "\"");
}

static void add_base64(struct text *text, struct hbus_mqtt_span span)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < span.size; i += 3) {
		size_t n = span.size - i < 3 ? span.size - i : 3;
		uint32_t bits = (uint32_t)span.data[i] << 16 | (n > 1 ? (uint32_t)span.data[i + 1] << 8 : 0) |
				(n > 2 ? span.data[i + 2] : 0);
		char four[4] = { digits[bits >> 18], digits[bits >> 12 & 63], n > 1 ? digits[bits >> 6 & 63] : '=',
				 n > 2 ? digits[bits & 63] : '=' };

		add(text, four, sizeof(four));
	}
}

/* -- attributes -- */

static bool is_named(struct hbus_mqtt_span span, const char *name)
{
	return span.size == strlen(name) && memcmp(span.data, name, span.size) == 0;
}

static bool is_attribute(struct hbus_mqtt_span name)
{
	for (size_t i = 0; i < name.size; i++)
		if (!(name.data[i] >= 'a' && name.data[i] <= 'z') && !(name.data[i] >= '0' && name.data[i] <= '9'))
			return false;
	return name.size > 0 && name.size <= NAME_MAX_SIZE && !is_named(name, "data");
}

static const struct pair *find(const struct event *event, const char *name)
{
	for (unsigned int i = 0; i < event->n_pairs; i++)
		if (is_named(event->pairs[i].name, name))
			return &event->pairs[i];
	return NULL;
}

/* The first of a name counts. */
static void note(struct event *event, struct hbus_mqtt_span name, struct hbus_mqtt_span value)
{
	if (!is_attribute(name) || event->n_pairs == ATTRIBUTES_MAX)
		return;
	for (unsigned int i = 0; i < event->n_pairs; i++)
		if (event->pairs[i].name.size == name.size && memcmp(event->pairs[i].name.data, name.data, name.size) == 0)
			return;
	event->pairs[event->n_pairs++] = (struct pair){ name, value };
}

/* Carried properties: their own strings are well-formed. Return: whether this is an event in binary mode. */
static bool read_event(struct hbus_mqtt_span props, struct event *event)
{
	static const char structured[] = "application/cloudevents";
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(props.data, props.size);

	while (hbus_mqtt_left(&reader) > 0 && !reader.is_bad) {
		uint8_t id = hbus_mqtt_get_u8(&reader);
		struct hbus_mqtt_span first = { NULL, 0 };

		if (id == HBUS_MQTT_P_PAYLOAD_FORMAT)
			(void)hbus_mqtt_get_u8(&reader);
		else
			first = hbus_mqtt_get_binary(&reader);
		if (id == HBUS_MQTT_P_CONTENT_TYPE)
			event->content_type = first;
		else if (id == HBUS_MQTT_P_USER)
			note(event, first, hbus_mqtt_get_binary(&reader));
	}
	return !reader.is_bad && find(event, "specversion") && find(event, "id") && find(event, "source") &&
	       find(event, "type") &&
	       !(event->content_type.size >= strlen(structured) &&
		 strncasecmp((const char *)event->content_type.data, structured, strlen(structured)) == 0);
}

/* -- data -- */

static bool is_json_type(struct hbus_mqtt_span type)
{
	const char *text = (const char *)type.data;
	size_t n = 0;

	while (n < type.size && !strchr("; \t", text[n]))
		n++;
	return (n == 16 && strncasecmp(text, "application/json", n) == 0) || (n == 9 && strncasecmp(text, "text/json", n) == 0) ||
	       (n > 5 && strncasecmp(text + n - 5, "+json", 5) == 0);
}

static void add_data(struct text *text, struct hbus_mqtt_span type, struct hbus_mqtt_span data)
{
	bool is_json = is_json_type(type), is_text = hbus_mqtt_is_utf8(data.data, data.size);

	if (data.size == 0)
		return;
	if (is_json && hbus_mqtt_is_json(data.data, data.size)) {
		add_plain(text, ",\"data\":");
		add(text, data.data, data.size);
	} else if (is_text && !is_json) {
		add_plain(text, ",\"data\":");
		add_string(text, data);
	} else {
		add_plain(text, ",\"data_base64\":\"");
		add_base64(text, data);
		add_plain(text, "\"");
	}
}

/* What is said of the data; without it JSON would be meant. */
static struct hbus_mqtt_span type_of(const struct event *event, struct hbus_mqtt_span data)
{
	const struct pair *pair = find(event, "datacontenttype");
	const char *guess = hbus_mqtt_is_utf8(data.data, data.size) ? "text/plain" : "application/octet-stream";

	if (event->content_type.size > 0)
		return event->content_type;
	return pair ? pair->value : (struct hbus_mqtt_span){ (const uint8_t *)guess, strlen(guess) };
}

size_t hbus_mqtt_structured(const struct hbus_mqtt_message *message, char **ret_json)
{
	const struct hbus_mqtt_span data = { message->payload, message->payload_size };
	struct event event = { .n_pairs = 0 };
	struct hbus_mqtt_span type;
	struct text text = { NULL, 0, 0, false };

	if (message->props.size == 0 || !read_event(message->props, &event))
		return 0;
	type = type_of(&event, data);
	for (unsigned int i = 0; i < event.n_pairs; i++) {
		if (is_named(event.pairs[i].name, "datacontenttype"))
			continue;
		add_plain(&text, text.size == 0 ? "{" : ",");
		add_string(&text, event.pairs[i].name);
		add_plain(&text, ":");
		add_string(&text, event.pairs[i].value);
	}
	if (data.size > 0 || event.content_type.size > 0) {
		add_plain(&text, ",\"datacontenttype\":");
		add_string(&text, type);
	}
	add_data(&text, type, data);
	add_plain(&text, "}");
	if (text.has_failed) {
		free(text.data);
		return 0;
	}
	*ret_json = text.data;
	return text.size;
}
