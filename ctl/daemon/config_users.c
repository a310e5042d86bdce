/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of the configuration that are about users: policy and quotas. */
#include "ctl/daemon/config_users.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

static config_setting_t *get(const config_setting_t *group, const char *key)
{
	return config_setting_get_member((config_setting_t *)(uintptr_t)group, key);
}

bool hbus_read_gid(struct hbus_config_reader *reader, const config_setting_t *setting,
		   uint32_t *ret_gid)
{
	const char *name = config_setting_get_string(setting);
	const struct group *group = name ? getgrnam(name) : NULL;

	if (!name)
		return hbus_read_fail(reader, setting, "the name of a group is expected");
	if (!group)
		return hbus_read_fail(reader, setting, "there is no group '%s'", name);
	*ret_gid = group->gr_gid;
	return true;
}

static bool read_user(struct hbus_config_reader *reader, const config_setting_t *setting,
		      uint32_t *ret_uid)
{
	const char *name = config_setting_get_string(setting);
	const struct passwd *user = name ? getpwnam(name) : NULL;

	if (!name)
		return hbus_read_fail(reader, setting, "the name of a user is expected");
	if (!user)
		return hbus_read_fail(reader, setting, "there is no user '%s'", name);
	*ret_uid = user->pw_uid;
	return true;
}

static bool read_id(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, uint32_t *ret)
{
	uint64_t id = 0;

	if (!hbus_read_uint(reader, group, key, 0, UINT32_MAX - 1, &id))
		return false;
	*ret = (uint32_t)id;
	return true;
}

/* ---- policy ---- */

static bool read_rights(struct hbus_config_reader *reader, const config_setting_t *setting,
			uint32_t *ret)
{
	static const char *const words[] = { "publish", "subscribe", "reliable", "admin" };

	if (!config_setting_is_array(setting) && !config_setting_is_list(setting))
		return hbus_read_fail(reader, setting, "rights are a list: [ \"publish\", ... ]");
	for (int i = 0; i < config_setting_length(setting); i++) {
		const char *word = config_setting_get_string_elem(setting, i);
		unsigned int bit = 0;

		while (bit < 4 && (!word || strcmp(word, words[bit]) != 0))
			bit++;
		if (bit == 4)
			return hbus_read_fail(reader, setting, "a right is one of \"publish\", "
					      "\"subscribe\", \"reliable\", \"admin\"");
		*ret |= 1u << bit;
	}
	return *ret || hbus_read_fail(reader, setting, "at least one right is expected");
}

static bool read_subject(struct hbus_config_reader *reader, const config_setting_t *group,
			 struct hbus_policy_rule *rule)
{
	config_setting_t *user = get(group, "user"), *grp = get(group, "group");
	config_setting_t *uid = get(group, "uid"), *gid = get(group, "gid");
	config_setting_t *anybody = get(group, "anybody");
	config_setting_t *client = get(group, "client");
	bool is_anybody = false;

	if (!!user + !!grp + !!uid + !!gid + !!anybody + !!client != 1)
		return hbus_read_fail(reader, group, "a rule has one of 'user', 'uid', 'group', "
						     "'gid', 'client' and 'anybody = true'");
	if (client) {
		rule->subject = HBUS_SUBJECT_CLIENT;
		return hbus_read_text(reader, group, "client", rule->client, sizeof(rule->client));
	}
	if (anybody) {
		rule->subject = HBUS_SUBJECT_ANY;
		return hbus_read_bool(reader, group, "anybody", &is_anybody) &&
		       (is_anybody || hbus_read_fail(reader, anybody, "'anybody' is true"));
	}
	rule->subject = user || uid ? HBUS_SUBJECT_UID : HBUS_SUBJECT_GID;
	if (user)
		return read_user(reader, user, &rule->id);
	if (grp)
		return hbus_read_gid(reader, grp, &rule->id);
	return read_id(reader, group, uid ? "uid" : "gid", &rule->id);
}

static bool read_rule(struct hbus_config_reader *reader, const config_setting_t *group,
		      struct hbus_policy_rule *rule)
{
	static const char *const keys[] = { "user",   "uid",   "group", "gid", "anybody",
					    "client", "filter", "allow", "deny", NULL };
	config_setting_t *allow, *deny;

	if (!hbus_read_group(reader, group, keys) || !read_subject(reader, group, rule) ||
	    !hbus_read_topic(reader, group, "filter", true, rule->filter))
		return false;
	allow = get(group, "allow");
	deny = get(group, "deny");
	if (!allow == !deny)
		return hbus_read_fail(reader, group, "a rule has either 'allow' or 'deny'");
	rule->is_allowed = allow != NULL;
	if (!read_rights(reader, allow ? allow : deny, &rule->rights))
		return false;
	if (rule->subject == HBUS_SUBJECT_CLIENT && rule->rights & ~(HBUS_RIGHT_PUBLISH | HBUS_RIGHT_SUBSCRIBE))
		return hbus_read_fail(reader, group, "a client's rights are \"publish\" and \"subscribe\"");
	return true;
}

bool hbus_config_read_policy(struct hbus_config_reader *reader, const config_setting_t *list,
			     struct hbus_config *config)
{
	if (!hbus_read_list(reader, list, "policy rules", HBUS_POLICY_RULES_MAX))
		return false;
	config->n_rules = (size_t)config_setting_length(list);
	config->rules = calloc(config->n_rules + 1, sizeof(*config->rules));
	if (!config->rules)
		return hbus_read_fail(reader, list, "no memory");
	for (unsigned int i = 0; i < config->n_rules; i++)
		if (!read_rule(reader, config_setting_get_elem(list, i), &config->rules[i]))
			return false;
	return true;
}

/* ---- quotas ---- */

#define LIMIT_KEYS "bytes", "rings", "topics", "subscriptions", "fds", "clients"

static bool read_amounts(struct hbus_config_reader *reader, const config_setting_t *group,
			 uint64_t amounts[HBUS_QUOTA_N_KINDS])
{
	if (!hbus_read_size(reader, group, "bytes", 0, UINT64_MAX >> 1, &amounts[HBUS_QUOTA_BYTES]))
		return false;
	for (enum hbus_quota_kind kind = HBUS_QUOTA_RINGS; kind < HBUS_QUOTA_N_KINDS; kind++)
		if (!hbus_read_uint(reader, group, hbus_quota_kind_name(kind), 0, UINT32_MAX,
				    &amounts[kind]))
			return false;
	return true;
}

static bool read_limits(struct hbus_config_reader *reader, const config_setting_t *group,
			struct hbus_quota_limits *limits)
{
	return read_amounts(reader, group, limits->max) &&
	       hbus_read_uint(reader, group, "requests_per_s", 1, 1000000,
			      &limits->requests_per_s) &&
	       hbus_read_uint(reader, group, "request_burst", 1, 1000000, &limits->request_burst);
}

static bool read_override(struct hbus_config_reader *reader, const config_setting_t *group,
			  struct hbus_config *config, struct hbus_quota_override *override)
{
	static const char *const keys[] = { "user",	      "uid",	       LIMIT_KEYS,
					    "requests_per_s", "request_burst", NULL };
	config_setting_t *user;

	if (!hbus_read_group(reader, group, keys))
		return false;
	user = get(group, "user");
	if (!user == !get(group, "uid"))
		return hbus_read_fail(reader, group, "a user's quota has either 'user' or 'uid'");
	if (!(user ? read_user(reader, user, &override->uid) :
		     read_id(reader, group, "uid", &override->uid)))
		return false;
	for (const struct hbus_quota_override *other = config->quota_overrides; other < override;
	     other++)
		if (other->uid == override->uid)
			return hbus_read_fail(reader, group, "uid %u has a quota already",
					      (unsigned int)override->uid);
	override->limits = config->quota.limits;
	return read_limits(reader, group, &override->limits);
}

static bool read_overrides(struct hbus_config_reader *reader, const config_setting_t *list,
			   struct hbus_config *config)
{
	size_t n;

	if (!hbus_read_list(reader, list, "users' quotas", HBUS_QUOTA_OVERRIDES_MAX))
		return false;
	n = (size_t)config_setting_length(list);
	config->quota_overrides = calloc(n + 1, sizeof(*config->quota_overrides));
	if (!config->quota_overrides)
		return hbus_read_fail(reader, list, "no memory");
	for (unsigned int i = 0; i < n; i++)
		if (!read_override(reader, config_setting_get_elem(list, i), config,
				   &config->quota_overrides[i]))
			return false;
	config->quota.overrides = config->quota_overrides;
	config->quota.n_overrides = n;
	return true;
}

bool hbus_config_read_quotas(struct hbus_config_reader *reader, const config_setting_t *group,
			     struct hbus_config *config)
{
	static const char *const keys[] = { "total", "each", "users", NULL };
	static const char *const total_keys[] = { LIMIT_KEYS, NULL };
	static const char *const each_keys[] = { LIMIT_KEYS, "requests_per_s", "request_burst",
						 NULL };
	const config_setting_t *total, *each, *users;

	if (!hbus_read_group(reader, group, keys))
		return false;
	total = get(group, "total");
	each = get(group, "each");
	users = get(group, "users");
	if (total && (!hbus_read_group(reader, total, total_keys) ||
		      !read_amounts(reader, total, config->quota.total)))
		return false;
	if (each && (!hbus_read_group(reader, each, each_keys) ||
		     !read_limits(reader, each, &config->quota.limits)))
		return false;
	return !users || read_overrides(reader, users, config);
}
