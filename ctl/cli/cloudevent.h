/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Events as CloudEvents 1.0 in the JSON format, one object a line
 *
 * id is RING:SEQUENCE, source names host and topic, subject is the topic. What the payload becomes:
 *   application/json (or +json) and valid JSON      "data": the value
 *   any other or no declared type and UTF-8 text    "data": a string (no U+0000 in it)
 *   everything else                                 "data_base64"
 * The format says that data without a datacontenttype is JSON. So an event of a topic that declares
 * none is given text/plain or application/octet-stream. An empty payload has neither member.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/cli/text.h"
#include "ctl/client/hugebus.h"

/* The type of events whose topic declares none. */
#define HBUS_CLOUDEVENT_TYPE_DEFAULT "hugebus.event"

/** hbus_cloudevent_encode() - append one event as an object, without a newline
 * @source: URI to which the topic is appended, such as "hugebus://host/"
 * @type, @content_type: what the topic declares; NULL or empty = nothing
 */
void hbus_cloudevent_encode(struct hbus_text *text, const struct hbus_event *event,
			    const char *source, const char *type, const char *content_type);

/* One decoded event. Strings are valid until hbus_cloudevent_deinit(). */
struct hbus_cloudevent {
	const char *subject;	  /* NULL = has none */
	const char *type;	  /* NULL = has none */
	const char *content_type; /* NULL = has none */
	uint64_t time_ns;	  /* 0 = has none */
	struct hbus_text payload;
	json_t *root;
};

/**
 * hbus_cloudevent_decode() - read one event object
 *
 * Attributes that are required are not asked for, so that {"subject": "a", "data": 1} will do.
 * Return: NULL and the caller owns @ret_event, or a sentence that says what is wrong.
 */
const char *hbus_cloudevent_decode(const char *line, size_t size,
				   struct hbus_cloudevent *ret_event);
void hbus_cloudevent_deinit(struct hbus_cloudevent *event);

/** hbus_cloudevent_add_time() - append nanoseconds since 1970 as RFC 3339 in UTC */
void hbus_cloudevent_add_time(struct hbus_text *text, uint64_t time_ns);

/** hbus_cloudevent_parse_time() - RFC 3339 with any offset, 1970 to 2554 */
bool hbus_cloudevent_parse_time(const char *text, uint64_t *ret_time_ns);
