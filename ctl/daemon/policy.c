/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules of policy.h, evaluated one by one: there are few, and answers are kept by those who ask. */
#include "ctl/daemon/policy.h"

#include <string.h>

#include "ctl/proto/topic.h"

static bool is_member(const struct hbus_cred *cred, gid_t gid)
{
	if (cred->gid == gid)
		return true;
	for (size_t i = 0; i < cred->n_groups; i++)
		if (cred->groups[i] == gid)
			return true;
	return false;
}

static bool is_subject(const struct hbus_policy_rule *rule, const struct hbus_cred *cred)
{
	switch (rule->subject) {
	case HBUS_SUBJECT_ANY:
		return true;
	case HBUS_SUBJECT_UID:
		return cred->uid == rule->id;
	case HBUS_SUBJECT_GID:
		return is_member(cred, rule->id);
	case HBUS_SUBJECT_CLIENT:
		return false;
	}
	return false;
}

/* How specific the level at @s is: past the end of the filter, '#', '+' or a literal. */
static int level_rank(const char *s)
{
	if (!s)
		return 2;
	if (s[0] == '#')
		return 0;
	return s[0] == '+' ? 1 : 3;
}

static const char *next_level(const char *s)
{
	s = strchr(s, '/');
	return s ? s + 1 : NULL;
}

/* Compares two filters that match one topic: > 0 when @a is more specific, 0 when they are the same. */
static int compare_filters(const char *a, const char *b)
{
	while (a || b) {
		int difference = level_rank(a) - level_rank(b);

		if (difference)
			return difference;
		a = next_level(a);
		b = next_level(b);
	}
	return 0;
}

static bool is_all_powerful(const struct hbus_policy *policy, const struct hbus_cred *cred)
{
	return cred->uid == 0 || cred->uid == policy->daemon_uid;
}

/* What holds where no rule with this subject speaks. */
static bool default_allows(const struct hbus_cred *cred, uint32_t right, const char *topic,
			   uid_t owner, bool is_governed)
{
	switch (right) {
	case HBUS_RIGHT_SUBSCRIBE:
	case HBUS_RIGHT_RELIABLE:
		return owner == cred->uid;
	case HBUS_RIGHT_PUBLISH:
		return (owner == cred->uid || owner == HBUS_UID_NONE) && topic[0] != '$' &&
		       !is_governed;
	default:
		return false;
	}
}

bool hbus_policy_allows(const struct hbus_policy *policy, const struct hbus_cred *cred,
			uint32_t right, const char *topic, uid_t owner)
{
	const struct hbus_policy_rule *best = NULL;
	bool is_governed = false;

	if (is_all_powerful(policy, cred))
		return true;
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct hbus_policy_rule *rule = &policy->rules[i];
		int order;

		if (!(rule->rights & right) || rule->subject == HBUS_SUBJECT_CLIENT ||
		    !hbus_topic_matches(rule->filter, topic))
			continue;
		is_governed = true;
		if (!is_subject(rule, cred))
			continue;
		order = best ? compare_filters(rule->filter, best->filter) : 1;
		if (order > 0 || (order == 0 && !rule->is_allowed))
			best = rule;
	}
	return best ? best->is_allowed : default_allows(cred, right, topic, owner, is_governed);
}

bool hbus_policy_is_admin(const struct hbus_policy *policy, const struct hbus_cred *cred)
{
	bool is_allowed = false;

	if (is_all_powerful(policy, cred))
		return true;
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct hbus_policy_rule *rule = &policy->rules[i];

		if (!(rule->rights & HBUS_RIGHT_ADMIN) || strcmp(rule->filter, "#") != 0 ||
		    !is_subject(rule, cred))
			continue;
		if (!rule->is_allowed)
			return false;
		is_allowed = true;
	}
	return is_allowed;
}

bool hbus_policy_same_readers(const struct hbus_policy *policy, const char *a, const char *b)
{
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct hbus_policy_rule *rule = &policy->rules[i];

		if ((rule->rights & (HBUS_RIGHT_SUBSCRIBE | HBUS_RIGHT_RELIABLE)) && rule->subject != HBUS_SUBJECT_CLIENT &&
		    hbus_topic_matches(rule->filter, a) != hbus_topic_matches(rule->filter, b))
			return false;
	}
	return true;
}
