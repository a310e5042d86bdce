/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Topic names and filters. Names come from other processes and from the network: everything is
 * checked here before anybody else looks at it.
 */
#include "ctl/proto/topic.h"

#include <stdint.h>
#include <string.h>

/*
 * One code point of well-formed UTF-8 (no overlong forms, surrogates or values beyond U+10FFFF).
 * Returns its length in bytes, 0 if it is ill-formed.
 */
static size_t utf8_decode(const unsigned char *s, size_t len, uint32_t *ret_code)
{
	static const uint32_t code_min[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t code;
	size_t n;

	if (s[0] < 0x80) {
		*ret_code = s[0];
		return 1;
	}
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (n > len)
		return 0;
	code = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	if (code < code_min[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*ret_code = code;
	return n;
}

static bool is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code <= 0x9f);
}

static int check_text(const char *s, size_t len)
{
	uint32_t code;
	size_t n;

	if (len == 0)
		return HBUS_TOPIC_EMPTY;
	if (len > HBUS_TOPIC_NAME_MAX)
		return HBUS_TOPIC_TOO_LONG;
	for (size_t i = 0; i < len; i += n) {
		n = utf8_decode((const unsigned char *)s + i, len - i, &code);
		if (n == 0)
			return HBUS_TOPIC_BAD_UTF8;
		if (is_control(code))
			return HBUS_TOPIC_CONTROL;
	}
	return 0;
}

static int check_depth(const char *s, size_t len)
{
	size_t n_levels = 1;

	for (size_t i = 0; i < len; i++)
		n_levels += s[i] == '/';
	return n_levels > HBUS_TOPIC_LEVELS_MAX ? HBUS_TOPIC_TOO_DEEP : 0;
}

bool hbus_topic_is_attribute(const char *text)
{
	int r = check_text(text, strlen(text));

	return r == 0 || r == HBUS_TOPIC_EMPTY;
}

int hbus_topic_check_name(const char *name, size_t len)
{
	int r = check_text(name, len);

	if (r)
		return r;
	if (memchr(name, '+', len) || memchr(name, '#', len))
		return HBUS_TOPIC_WILDCARD;
	return check_depth(name, len);
}

static int check_wildcards(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool begins = i == 0 || s[i - 1] == '/';
		bool ends = i + 1 == len || s[i + 1] == '/';

		if (s[i] == '+' && !(begins && ends))
			return HBUS_TOPIC_BAD_PLUS;
		if (s[i] == '#' && !(begins && i + 1 == len))
			return HBUS_TOPIC_BAD_HASH;
	}
	return 0;
}

int hbus_topic_check_filter(const char *filter, size_t len)
{
	static const char share[] = "$share/";
	int r = check_text(filter, len);

	if (r == 0)
		r = check_wildcards(filter, len);
	if (r == 0)
		r = check_depth(filter, len);
	if (r == 0 && len >= sizeof(share) - 1 && memcmp(filter, share, sizeof(share) - 1) == 0)
		r = HBUS_TOPIC_RESERVED;
	return r;
}

const char *hbus_topic_strerror(int condition)
{
	switch (condition) {
	case 0:
		return "the topic is valid";
	case HBUS_TOPIC_EMPTY:
		return "a topic has at least one character";
	case HBUS_TOPIC_TOO_LONG:
		return "a topic has at most 255 bytes";
	case HBUS_TOPIC_TOO_DEEP:
		return "a topic has at most 16 levels";
	case HBUS_TOPIC_BAD_UTF8:
		return "a topic is well-formed UTF-8";
	case HBUS_TOPIC_CONTROL:
		return "a topic holds no control characters";
	case HBUS_TOPIC_WILDCARD:
		return "a topic name holds no wildcard ('+' or '#'); only a filter may";
	case HBUS_TOPIC_BAD_PLUS:
		return "'+' stands for one whole level of a filter";
	case HBUS_TOPIC_BAD_HASH:
		return "'#' stands only for the whole last level of a filter";
	case HBUS_TOPIC_RESERVED:
		return "filters that begin with '$share/' are reserved for shared subscriptions";
	default:
		return "the topic is not valid";
	}
}

bool hbus_topic_has_wildcard(const char *filter)
{
	return strpbrk(filter, "+#") != NULL;
}

bool hbus_topic_matches(const char *filter, const char *name)
{
	if (name[0] == '$' && (filter[0] == '+' || filter[0] == '#'))
		return false;
	for (;;) {
		size_t filter_len = strcspn(filter, "/");
		size_t name_len = strcspn(name, "/");

		if (filter[0] == '#' && filter_len == 1)
			return true;
		if (!(filter[0] == '+' && filter_len == 1) &&
		    (filter_len != name_len || memcmp(filter, name, name_len) != 0))
			return false;
		filter += filter_len;
		name += name_len;
		if (*name == '\0')
			return *filter == '\0' || strcmp(filter, "/#") == 0;
		if (*filter == '\0')
			return false;
		filter++;
		name++;
	}
}

size_t hbus_topic_split(const char *s, struct hbus_topic_level levels[HBUS_TOPIC_LEVELS_MAX])
{
	for (size_t n = 0; n < HBUS_TOPIC_LEVELS_MAX; n++) {
		levels[n].s = s;
		levels[n].len = strcspn(s, "/");
		s += levels[n].len;
		if (*s++ == '\0')
			return n + 1;
	}
	return 0;
}
