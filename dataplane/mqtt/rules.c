/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules of rules.h, one by one: there are few. */
#include "dataplane/mqtt/rules.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"

bool hbus_mqtt_rules_add(struct hbus_mqtt_rules *rules, const struct hbus_mqtt_rule *rule)
{
	size_t room = rules->room ? 2 * rules->room : 16;
	struct hbus_mqtt_rule *more;

	if (rules->n == rules->room) {
		more = realloc(rules->at, room * sizeof(*more));
		if (!more)
			return false;
		rules->at = more;
		rules->room = room;
	}
	rules->at[rules->n++] = *rule;
	return true;
}

void hbus_mqtt_rules_deinit(struct hbus_mqtt_rules *rules)
{
	free(rules->at);
	*rules = (struct hbus_mqtt_rules){ NULL, 0, 0 };
}

bool hbus_mqtt_rules_are_equal(const struct hbus_mqtt_rules *a, const struct hbus_mqtt_rules *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (a->at[i].is_allowed != b->at[i].is_allowed || a->at[i].rights != b->at[i].rights ||
		    strcmp(a->at[i].client, b->at[i].client) != 0 || strcmp(a->at[i].filter, b->at[i].filter) != 0)
			return false;
	return true;
}

/* -- levels -- */

static const char *next_level(const char *s)
{
	s = strchr(s, '/');
	return s ? s + 1 : NULL;
}

static bool is_level(const char *s, char c)
{
	return s && s[0] == c && (s[1] == '/' || s[1] == '\0');
}

static bool is_same_level(const char *a, const char *b)
{
	size_t n = strcspn(a, "/");

	return n == strcspn(b, "/") && memcmp(a, b, n) == 0;
}

static bool is_wild(const char *s)
{
	return is_level(s, '+') || is_level(s, '#');
}

/* A wildcard in the first level stands for no name that begins with '$'. */
static bool parts_at_dollar(const char *a, const char *b)
{
	return (is_wild(a) && b[0] == '$') || (is_wild(b) && a[0] == '$');
}

/* Does @a match every name that @b matches? */
static bool covers(const char *a, const char *b)
{
	if (parts_at_dollar(a, b))
		return false;
	for (; a && b; a = next_level(a), b = next_level(b)) {
		if (is_level(a, '#'))
			return true;
		if (is_level(b, '#') || (is_level(b, '+') && !is_level(a, '+')))
			return false;
		if (!is_level(a, '+') && !is_same_level(a, b))
			return false;
	}
	/* "a/#" matches "a" too. */
	return (!a && !b) || (!b && is_level(a, '#'));
}

/* Is there a name that both match? */
static bool meet(const char *a, const char *b)
{
	if (parts_at_dollar(a, b))
		return false;
	for (; a && b; a = next_level(a), b = next_level(b)) {
		if (is_level(a, '#') || is_level(b, '#'))
			return true;
		if (!is_level(a, '+') && !is_level(b, '+') && !is_same_level(a, b))
			return false;
	}
	return (!a && !b) || is_level(a, '#') || is_level(b, '#');
}

static int level_rank(const char *s)
{
	if (!s)
		return 2;
	if (is_level(s, '#'))
		return 0;
	return is_level(s, '+') ? 1 : 3;
}

/* Of two filters that meet: > 0 when @a is the more specific, 0 when neither is. */
static int compare(const char *a, const char *b)
{
	while (a || b) {
		int difference = level_rank(a) - level_rank(b);

		if (difference)
			return difference;
		a = a ? next_level(a) : NULL;
		b = b ? next_level(b) : NULL;
	}
	return 0;
}

/* -- rules -- */

static bool concerns(const struct hbus_mqtt_rule *rule, const char *client, unsigned int right)
{
	return rule->rights & right && (strcmp(rule->client, "*") == 0 || strcmp(rule->client, client) == 0);
}

bool hbus_mqtt_rules_allow(const struct hbus_mqtt_rules *rules, const char *client, const char *topic, bool is_publish)
{
	unsigned int right = is_publish ? HBUS_MQTT_RULE_PUBLISH : HBUS_MQTT_RULE_SUBSCRIBE;
	const struct hbus_mqtt_rule *best = NULL;

	if (rules->n == 0)
		return true;
	for (size_t i = 0; i < rules->n; i++) {
		const struct hbus_mqtt_rule *rule = &rules->at[i];

		if (rule->is_allowed && concerns(rule, client, right) && covers(rule->filter, topic) &&
		    (!best || compare(rule->filter, best->filter) > 0))
			best = rule;
	}
	for (size_t i = 0; i < rules->n && best; i++) {
		const struct hbus_mqtt_rule *rule = &rules->at[i];

		if (!rule->is_allowed && concerns(rule, client, right) && meet(rule->filter, topic) &&
		    compare(rule->filter, best->filter) >= 0)
			return false;
	}
	return best != NULL;
}
