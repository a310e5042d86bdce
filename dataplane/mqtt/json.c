/* SPDX-License-Identifier: BSD-3-Clause */
/* Is this JSON? By a table of what may come next and a bit for each level; nothing is built. See structured.h. */
#include <string.h>

#include "dataplane/mqtt/codec.h"
#include "dataplane/mqtt/structured.h"

enum { LEVELS_MAX = 256 };

/* What may come next. */
enum next { VALUE, VALUE_OR_END, NAME, NAME_OR_END, COLON, COMMA_OR_END, NOTHING };

struct scan {
	const uint8_t *at, *end;
	unsigned int depth;
	bool is_object[LEVELS_MAX]; /* by level; else an array */
};

static int peek(const struct scan *s)
{
	return s->at < s->end ? *s->at : -1;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool digits(struct scan *s)
{
	const uint8_t *begin = s->at;

	while (is_digit(peek(s)))
		s->at++;
	return s->at > begin;
}

static bool number(struct scan *s)
{
	if (peek(s) == '-')
		s->at++;
	if (peek(s) == '0')
		s->at++;
	else if (!digits(s))
		return false;
	if (peek(s) == '.') {
		s->at++;
		if (!digits(s))
			return false;
	}
	if (peek(s) != 'e' && peek(s) != 'E')
		return true;
	s->at++;
	if (peek(s) == '+' || peek(s) == '-')
		s->at++;
	return digits(s);
}

static bool word(struct scan *s, const char *text)
{
	size_t n = strlen(text);

	if ((size_t)(s->end - s->at) < n || memcmp(s->at, text, n) != 0)
		return false;
	s->at += n;
	return true;
}

static bool escape(struct scan *s)
{
	int c = peek(s);

	if (c <= 0 || !strchr("\"\\/bfnrtu", c))
		return false;
	s->at++;
	for (int i = 0; c == 'u' && i < 4; i++, s->at++)
		if (peek(s) <= 0 || !strchr("0123456789abcdefABCDEF", peek(s)))
			return false;
	return true;
}

static bool string(struct scan *s)
{
	if (peek(s) != '"')
		return false;
	s->at++;
	while (peek(s) >= ' ') {
		uint8_t c = *s->at++;

		if (c == '"')
			return true;
		if (c == '\\' && !escape(s))
			return false;
	}
	return false;
}

static enum next after_value(const struct scan *s)
{
	return s->depth > 0 ? COMMA_OR_END : NOTHING;
}

static bool open_level(struct scan *s, enum next *next)
{
	bool is_object = *s->at++ == '{';

	if (s->depth == LEVELS_MAX)
		return false;
	s->is_object[s->depth++] = is_object;
	*next = is_object ? NAME_OR_END : VALUE_OR_END;
	return true;
}

static bool close_level(struct scan *s, enum next *next)
{
	bool is_object = *s->at++ == '}';

	if (s->depth == 0 || s->is_object[s->depth - 1] != is_object)
		return false;
	s->depth--;
	*next = after_value(s);
	return true;
}

static bool value(struct scan *s, enum next *next)
{
	int c = peek(s);

	if (c == '{' || c == '[')
		return open_level(s, next);
	*next = after_value(s);
	if (c == '"')
		return string(s);
	if (c == '-' || is_digit(c))
		return number(s);
	return word(s, "true") || word(s, "false") || word(s, "null");
}

static bool step(struct scan *s, enum next *next)
{
	int c = peek(s);

	if ((c == '}' && (*next == NAME_OR_END || *next == COMMA_OR_END)) ||
	    (c == ']' && (*next == VALUE_OR_END || *next == COMMA_OR_END)))
		return close_level(s, next);
	switch (*next) {
	case VALUE:
	case VALUE_OR_END:
		return value(s, next);
	case NAME:
	case NAME_OR_END:
		*next = COLON;
		return string(s);
	case COLON:
		*next = VALUE;
		return word(s, ":");
	case COMMA_OR_END:
		*next = s->is_object[s->depth - 1] ? NAME : VALUE;
		return word(s, ",");
	case NOTHING:
		break;
	}
	return false;
}

static void skip_blanks(struct scan *s)
{
	while (peek(s) > 0 && strchr(" \t\r\n", peek(s)))
		s->at++;
}

bool hbus_mqtt_is_json(const uint8_t *data, size_t size)
{
	struct scan s = { .at = data, .end = data + size };
	enum next next = VALUE;

	if (size == 0 || !hbus_mqtt_is_utf8(data, size))
		return false;
	for (skip_blanks(&s); s.at < s.end; skip_blanks(&s))
		if (!step(&s, &next))
			return false;
	return next == NOTHING;
}
