/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Topic names and topic filters: MQTT's rules
 *
 * A topic name is 1..255 bytes of UTF-8 in 1..16 levels that are separated by '/'. A level may be
 * empty ("/a" has two). A filter is a topic name whose levels may also be "+" (exactly one level)
 * or, as the last, "#" (this level and all below, and the level above itself: "a/#" matches "a").
 * A wildcard in the first level does not match a name that begins with '$'.
 *
 * Everything here is a pure function of its arguments: no allocation, no recursion, any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctl/proto/proto.h" /* HBUS_TOPIC_NAME_MAX, HBUS_TOPIC_LEVELS_MAX */

/* Conditions: what is wrong with a name or a filter. hbus_topic_strerror() has the sentences. */
#define HBUS_TOPIC_EMPTY 1
#define HBUS_TOPIC_TOO_LONG 2
#define HBUS_TOPIC_TOO_DEEP 3
#define HBUS_TOPIC_BAD_UTF8 4
#define HBUS_TOPIC_CONTROL 5
#define HBUS_TOPIC_WILDCARD 6
#define HBUS_TOPIC_BAD_PLUS 7
#define HBUS_TOPIC_BAD_HASH 8
#define HBUS_TOPIC_RESERVED 9

/** One level of a name or filter; borrowed from the string that was split. */
struct hbus_topic_level {
	const char *s;
	size_t len;
};

/**
 * hbus_topic_check_name() - is this a topic name that one may publish to?
 * @name: bytes from anywhere; need not be terminated
 *
 * Return: 0, or one HBUS_TOPIC_ condition.
 */
int hbus_topic_check_name(const char *name, size_t len);

/** hbus_topic_check_filter() - the same for a filter, where wildcards are allowed. */
int hbus_topic_check_filter(const char *filter, size_t len);

/**
 * hbus_topic_is_attribute() - may this be a topic's type or content type?
 * @text: terminated
 *
 * As a topic name, UTF-8 without control characters, since it goes into JSON, tables and the journal; may be empty.
 */
bool hbus_topic_is_attribute(const char *text);

/** hbus_topic_strerror() - one sentence without a full stop, for any HBUS_TOPIC_ condition. */
const char *hbus_topic_strerror(int condition);

/** hbus_topic_has_wildcard() - does a checked filter match more than one name? */
bool hbus_topic_has_wildcard(const char *filter);

/**
 * hbus_topic_matches() - does the filter match the name?
 *
 * Both are terminated strings that passed their check; others give some answer, never a fault.
 */
bool hbus_topic_matches(const char *filter, const char *name);

/**
 * hbus_topic_split() - cut a checked name or filter into its levels
 *
 * Return: number of levels, or 0 if there are more than HBUS_TOPIC_LEVELS_MAX.
 */
size_t hbus_topic_split(const char *s, struct hbus_topic_level levels[HBUS_TOPIC_LEVELS_MAX]);
