/* SPDX-License-Identifier: BSD-3-Clause */
/* Topic names and filters: what is accepted, what is refused and as what, and what matches. */
#include <criterion/criterion.h>
#include <string.h>

#include "ctl/proto/topic.h"

#define NAME(s) hbus_topic_check_name(s, sizeof(s) - 1)
#define FILTER(s) hbus_topic_check_filter(s, sizeof(s) - 1)

Test(topic, accepts_ordinary_names)
{
	cr_assert_eq(NAME("a"), 0);
	cr_assert_eq(NAME("/"), 0);
	cr_assert_eq(NAME("sensors/kitchen/temperature"), 0);
	cr_assert_eq(NAME("a//b/"), 0);
	cr_assert_eq(NAME("$SYS/x"), 0);
	cr_assert_eq(NAME("gr\xc3\xbc\xc3\x9f/\xe2\x82\xac/\xf0\x9f\x9a\x8c"), 0);
	cr_assert_eq(NAME("\xf4\x8f\xbf\xbd"), 0);
}

Test(topic, refuses_the_empty_name_and_more_than_255_bytes)
{
	char s[256];

	memset(s, 'a', sizeof(s));
	cr_assert_eq(hbus_topic_check_name(s, 0), HBUS_TOPIC_EMPTY);
	cr_assert_eq(hbus_topic_check_name(s, 255), 0);
	cr_assert_eq(hbus_topic_check_name(s, 256), HBUS_TOPIC_TOO_LONG);
	cr_assert_eq(hbus_topic_check_filter(s, 255), 0);
	cr_assert_eq(hbus_topic_check_filter(s, 256), HBUS_TOPIC_TOO_LONG);
}

Test(topic, refuses_the_seventeenth_level)
{
	cr_assert_eq(NAME("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"), 0);
	cr_assert_eq(NAME("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/"), HBUS_TOPIC_TOO_DEEP);
	cr_assert_eq(FILTER("+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/#"), 0);
	cr_assert_eq(FILTER("+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/#"), HBUS_TOPIC_TOO_DEEP);
}

Test(topic, refuses_ill_formed_utf8)
{
	static const char *const bad[] = {
		"\x80",		    "a\xc3",		"\xc0\xaf",	    "\xc1\xbf",
		"\xe0\x80\xaf",	    "\xe0\x9f\xbf",	"\xed\xa0\x80",	    "\xed\xbf\xbf",
		"\xf0\x80\x80\xaf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
		"\xff",		    "\xe2\x82",		"\xe2\x28\xa1",	    "\xf0\x9f\x9a",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(hbus_topic_check_name(bad[i], strlen(bad[i])), HBUS_TOPIC_BAD_UTF8,
			     "sequence %zu was accepted", i);
		cr_assert_eq(hbus_topic_check_filter(bad[i], strlen(bad[i])), HBUS_TOPIC_BAD_UTF8);
	}
}

Test(topic, attributes_are_text_or_empty)
{
	cr_assert(hbus_topic_is_attribute(""));
	cr_assert(hbus_topic_is_attribute("application/json; a=#+"));
	cr_assert(hbus_topic_is_attribute("gr\xc3\xbc\xc3\x9f"));
	cr_assert_not(hbus_topic_is_attribute("\xff"));
	cr_assert_not(hbus_topic_is_attribute("a\nb"));
	cr_assert_not(hbus_topic_is_attribute("\xc2\x85"));
}

Test(topic, does_not_read_past_the_length_it_was_given)
{
	/* The bytes that would complete the character stand behind the end. */
	cr_assert_eq(hbus_topic_check_name("a\xe2\x82\xac", 3), HBUS_TOPIC_BAD_UTF8);
	cr_assert_eq(hbus_topic_check_name("a\xe2\x82\xac", 4), 0);
}

Test(topic, refuses_control_characters)
{
	cr_assert_eq(NAME("a\0b"), HBUS_TOPIC_CONTROL);
	cr_assert_eq(NAME("a\nb"), HBUS_TOPIC_CONTROL);
	cr_assert_eq(NAME("a\x1f"), HBUS_TOPIC_CONTROL);
	cr_assert_eq(NAME("a "), 0);
	cr_assert_eq(NAME("\x7f"), HBUS_TOPIC_CONTROL);
	cr_assert_eq(NAME("\xc2\x9f"), HBUS_TOPIC_CONTROL);
	cr_assert_eq(NAME("\xc2\xa0"), 0);
	cr_assert_eq(FILTER("a\0b"), HBUS_TOPIC_CONTROL);
}

Test(topic, refuses_wildcards_in_names_anywhere)
{
	cr_assert_eq(NAME("+"), HBUS_TOPIC_WILDCARD);
	cr_assert_eq(NAME("#"), HBUS_TOPIC_WILDCARD);
	cr_assert_eq(NAME("a/b+"), HBUS_TOPIC_WILDCARD);
	cr_assert_eq(NAME("a/c#/b"), HBUS_TOPIC_WILDCARD);
}

Test(topic, wildcards_in_filters_are_whole_levels)
{
	cr_assert_eq(FILTER("+"), 0);
	cr_assert_eq(FILTER("#"), 0);
	cr_assert_eq(FILTER("/#"), 0);
	cr_assert_eq(FILTER("+/a/+/#"), 0);
	cr_assert_eq(FILTER("a+"), HBUS_TOPIC_BAD_PLUS);
	cr_assert_eq(FILTER("+a"), HBUS_TOPIC_BAD_PLUS);
	cr_assert_eq(FILTER("++"), HBUS_TOPIC_BAD_PLUS);
	cr_assert_eq(FILTER("a#"), HBUS_TOPIC_BAD_HASH);
	cr_assert_eq(FILTER("#/"), HBUS_TOPIC_BAD_HASH);
	cr_assert_eq(FILTER("a/#/b"), HBUS_TOPIC_BAD_HASH);
	cr_assert_eq(FILTER("##"), HBUS_TOPIC_BAD_HASH);
}

Test(topic, reserves_shared_subscriptions)
{
	cr_assert_eq(FILTER("$share/g/a"), HBUS_TOPIC_RESERVED);
	cr_assert_eq(FILTER("$shared/a"), 0);
	cr_assert_eq(FILTER("$SYS/#"), 0);
}

Test(topic, every_condition_has_its_own_sentence)
{
	for (int i = 0; i <= HBUS_TOPIC_RESERVED; i++)
		for (int j = 0; j < i; j++)
			cr_assert_str_neq(hbus_topic_strerror(i), hbus_topic_strerror(j));
	cr_assert_not_null(hbus_topic_strerror(1000));
}

struct match_case {
	const char *filter, *name;
	bool matches;
};

/* The examples of the MQTT 3.1.1 and 5 texts, section 4.7, and the borders between them. */
static const struct match_case match_cases[] = {
	{ "sport/tennis/player1/#", "sport/tennis/player1", true },
	{ "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
	{ "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
	{ "sport/tennis/player1/#", "sport/tennis/player10", false },
	{ "sport/#", "sport", true },
	{ "sport/tennis/+", "sport/tennis/player1", true },
	{ "sport/tennis/+", "sport/tennis/player1/ranking", false },
	{ "sport/+", "sport", false },
	{ "sport/+", "sport/", true },
	{ "+/+", "/finance", true },
	{ "/+", "/finance", true },
	{ "+", "/finance", false },
	{ "+", "finance", true },
	{ "#", "a/b/c", true },
	{ "#", "$SYS/x", false },
	{ "+/monitor/Clients", "$SYS/monitor/Clients", false },
	{ "$SYS/#", "$SYS", true },
	{ "$SYS/#", "$SYS/x", true },
	{ "$SYS/monitor/+", "$SYS/monitor/Clients", true },
	{ "a/+", "a/$b", true },
	{ "a/#", "a/$b", true },
	{ "+/#", "a", true },
	{ "+/#", "a/b", true },
	{ "a/+/#", "a", false },
	{ "a/b", "a/b", true },
	{ "a/b", "a/B", false },
	{ "a/b", "a/bc", false },
	{ "a/bc", "a/b", false },
	{ "a/b", "a", false },
	{ "a", "a/b", false },
	{ "a/", "a", false },
	{ "a", "a/", false },
	{ "//", "//", true },
	{ "/#", "/", true },
	{ "/#", "a", false },
};

Test(topic, matches_as_the_specification_says)
{
	for (size_t i = 0; i < sizeof(match_cases) / sizeof(match_cases[0]); i++) {
		const struct match_case *c = &match_cases[i];

		cr_assert_eq(hbus_topic_matches(c->filter, c->name), c->matches, "%s against %s",
			     c->filter, c->name);
	}
}

Test(topic, split_gives_each_level_and_refuses_the_seventeenth)
{
	struct hbus_topic_level levels[HBUS_TOPIC_LEVELS_MAX];

	cr_assert_eq(hbus_topic_split("a//bc/", levels), 4);
	cr_assert_eq(levels[0].len, 1);
	cr_assert_eq(levels[1].len, 0);
	cr_assert_eq(levels[2].len, 2);
	cr_assert_eq(levels[3].len, 0);
	cr_assert_eq(hbus_topic_split("///////////////", levels), 16);
	cr_assert_eq(hbus_topic_split("////////////////", levels), 0);
}

Test(topic, wildcards_are_recognised)
{
	cr_assert(hbus_topic_has_wildcard("a/+"));
	cr_assert(hbus_topic_has_wildcard("#"));
	cr_assert_not(hbus_topic_has_wildcard("a/b"));
}
