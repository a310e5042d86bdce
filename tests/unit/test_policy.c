/* SPDX-License-Identifier: BSD-3-Clause */
/* Policy: each sentence of policy.h, then random rules against a naive evaluation. */
#include <criterion/criterion.h>
#include <string.h>

#include "ctl/daemon/policy.h"
#include "tests/unit/random.h"

#define PUB HBUS_RIGHT_PUBLISH
#define SUB HBUS_RIGHT_SUBSCRIBE
#define REL HBUS_RIGHT_RELIABLE
#define ADMIN HBUS_RIGHT_ADMIN
#define ALLOW true
#define DENY false
#define UID HBUS_SUBJECT_UID
#define GID HBUS_SUBJECT_GID
#define ANY HBUS_SUBJECT_ANY

static const gid_t groups[] = { 500, 501 };
static const struct hbus_cred root = { 0, 0, NULL, 0 };
static const struct hbus_cred daemon_cred = { 77, 77, NULL, 0 };
static const struct hbus_cred alice = { 1000, 1000, groups, 2 };
static const struct hbus_cred bob = { 1001, 1001, NULL, 0 };

static bool allows(const struct hbus_policy_rule *rules, size_t n, const struct hbus_cred *cred,
		   uint32_t right, const char *topic, uid_t owner)
{
	struct hbus_policy policy = { 77, n, rules };

	return hbus_policy_allows(&policy, cred, right, topic, owner);
}

Test(policy, without_rules_a_uid_has_its_own_topics_only)
{
	cr_assert(allows(NULL, 0, &alice, PUB, "a", HBUS_UID_NONE));
	cr_assert(allows(NULL, 0, &alice, PUB, "a", 1000));
	cr_assert_not(allows(NULL, 0, &alice, PUB, "a", 1001));
	cr_assert(allows(NULL, 0, &alice, SUB, "a", 1000));
	cr_assert(allows(NULL, 0, &alice, REL, "a", 1000));
	cr_assert_not(allows(NULL, 0, &alice, SUB, "a", 1001));
	cr_assert_not(allows(NULL, 0, &alice, REL, "a", 1001));
	cr_assert_not(allows(NULL, 0, &alice, SUB, "a", HBUS_UID_NONE));
	cr_assert_not(allows(NULL, 0, &alice, ADMIN, "a", 1000));
	cr_assert_not(allows(NULL, 0, &alice, PUB, "$SYS/a", HBUS_UID_NONE));
}

Test(policy, root_and_the_daemon_are_bound_by_no_rule)
{
	struct hbus_policy_rule rules[] = { { DENY, ANY, 0, PUB | SUB | REL | ADMIN, "#" } };

	cr_assert(allows(rules, 1, &root, PUB, "a", 1000));
	cr_assert(allows(rules, 1, &daemon_cred, SUB, "a", 1000));
	cr_assert(allows(rules, 1, &daemon_cred, ADMIN, "$SYS", 1000));
	cr_assert_not(allows(rules, 1, &alice, SUB, "a", 1000));
}

Test(policy, subjects_are_uid_primary_group_supplementary_groups_or_anybody)
{
	struct hbus_policy_rule rule = { ALLOW, UID, 1000, SUB, "a" };

	cr_assert(allows(&rule, 1, &alice, SUB, "a", 1));
	cr_assert_not(allows(&rule, 1, &bob, SUB, "a", 1));
	rule.subject = GID;
	cr_assert(allows(&rule, 1, &alice, SUB, "a", 1));
	rule.id = 501;
	cr_assert(allows(&rule, 1, &alice, SUB, "a", 1));
	rule.id = 502;
	cr_assert_not(allows(&rule, 1, &alice, SUB, "a", 1));
	rule.subject = ANY;
	cr_assert(allows(&rule, 1, &bob, SUB, "a", 1));
}

Test(policy, the_first_level_from_the_left_that_differs_decides)
{
	struct hbus_policy_rule rules[] = {
		{ ALLOW, ANY, 0, SUB, "a/+/c" },
		{ DENY, ANY, 0, SUB, "+/b/c" },
		{ DENY, ANY, 0, SUB, "a/#" },
		{ ALLOW, ANY, 0, SUB, "a/b/d" },
		{ DENY, ANY, 0, SUB, "#" },
	};

	cr_assert(allows(rules, 5, &bob, SUB, "a/b/c", 1));
	cr_assert_not(allows(rules, 5, &bob, SUB, "x/b/c", 1));
	cr_assert(allows(rules, 5, &bob, SUB, "a/b/d", 1));
	cr_assert_not(allows(rules, 5, &bob, SUB, "a/b/e", 1));
	cr_assert_not(allows(rules, 5, &bob, SUB, "a", 1));
}

Test(policy, a_filter_that_ends_beats_one_that_goes_on_with_hash)
{
	struct hbus_policy_rule rules[] = {
		{ DENY, ANY, 0, SUB, "a/#" },
		{ ALLOW, ANY, 0, SUB, "a" },
	};

	cr_assert(allows(rules, 2, &bob, SUB, "a", 1));
	cr_assert_not(allows(rules, 2, &bob, SUB, "a/b", 1));
}

Test(policy, deny_wins_on_the_same_filter_whatever_subject_and_order)
{
	struct hbus_policy_rule rules[] = {
		{ DENY, ANY, 0, SUB, "a/+" },
		{ ALLOW, UID, 1000, SUB, "a/+" },
		{ DENY, GID, 500, SUB, "b" },
		{ ALLOW, UID, 1000, SUB, "b" },
	};

	cr_assert_not(allows(rules, 2, &alice, SUB, "a/x", 1));
	cr_assert_not(allows(rules + 1, 1, &bob, SUB, "a/x", 1));
	cr_assert(allows(rules + 1, 1, &alice, SUB, "a/x", 1));
	cr_assert_not(allows(rules, 4, &alice, SUB, "b", 1));
}

Test(policy, an_explicit_deny_binds_the_owner_too)
{
	struct hbus_policy_rule rules[] = { { DENY, UID, 1000, SUB | PUB, "a" } };

	cr_assert_not(allows(rules, 1, &alice, SUB, "a", 1000));
	cr_assert_not(allows(rules, 1, &alice, PUB, "a", 1000));
}

Test(policy, a_topic_that_a_rule_lets_somebody_publish_cannot_be_squatted)
{
	struct hbus_policy_rule rules[] = { { ALLOW, UID, 1000, PUB, "md/#" } };

	cr_assert(allows(rules, 1, &alice, PUB, "md/eq", HBUS_UID_NONE));
	cr_assert_not(allows(rules, 1, &bob, PUB, "md/eq", HBUS_UID_NONE));
	cr_assert_not(allows(rules, 1, &bob, PUB, "md/eq", 1001));
	cr_assert(allows(rules, 1, &bob, PUB, "other", HBUS_UID_NONE));
	/* Reading one's own ring is not affected by a rule for somebody else. */
	rules[0].rights = SUB;
	cr_assert(allows(rules, 1, &bob, SUB, "md/eq", 1001));
}

Test(policy, rights_are_separate)
{
	struct hbus_policy_rule rules[] = { { ALLOW, UID, 1000, SUB, "a" } };

	cr_assert(allows(rules, 1, &alice, SUB, "a", 1));
	cr_assert_not(allows(rules, 1, &alice, REL, "a", 1));
	cr_assert_not(allows(rules, 1, &alice, PUB, "a", 1));
	cr_assert_not(allows(rules, 1, &alice, ADMIN, "a", 1));
}

Test(policy, wildcards_do_not_reach_dollar_topics)
{
	struct hbus_policy_rule rules[] = { { ALLOW, ANY, 0, SUB, "#" },
					    { ALLOW, UID, 1000, SUB, "$SYS/#" } };

	cr_assert_not(allows(rules, 2, &bob, SUB, "$SYS/x", 1));
	cr_assert(allows(rules, 2, &alice, SUB, "$SYS/x", 1));
}

Test(policy, admin_of_everything_is_the_admin_right_on_hash)
{
	struct hbus_policy_rule rules[] = {
		{ ALLOW, UID, 1000, ADMIN, "#" },
		{ ALLOW, UID, 1001, ADMIN, "a/#" },
		{ DENY, GID, 500, ADMIN, "#" },
	};
	struct hbus_policy policy = { 77, 2, rules };

	cr_assert(hbus_policy_is_admin(&policy, &root));
	cr_assert(hbus_policy_is_admin(&policy, &daemon_cred));
	cr_assert(hbus_policy_is_admin(&policy, &alice));
	cr_assert_not(hbus_policy_is_admin(&policy, &bob));
	cr_assert(hbus_policy_allows(&policy, &bob, ADMIN, "a/b", 1));
	policy.n_rules = 3;
	cr_assert_not(hbus_policy_is_admin(&policy, &alice));
}

Test(policy, topics_share_readers_when_the_same_rules_match_both)
{
	struct hbus_policy_rule rules[] = {
		{ ALLOW, UID, 1000, SUB, "a/+" },
		{ ALLOW, UID, 1001, PUB, "a/x" },
		{ ALLOW, UID, 1001, REL, "a/y" },
	};
	struct hbus_policy policy = { 77, 3, rules };

	cr_assert(hbus_policy_same_readers(&policy, "a/b", "a/x"));
	cr_assert_not(hbus_policy_same_readers(&policy, "a/b", "a/y"));
	cr_assert_not(hbus_policy_same_readers(&policy, "a/b", "b"));
	cr_assert(hbus_policy_same_readers(&policy, "c", "b"));
}

/* ---- naive evaluation: all filters over two levels of {a, b}, written as a table of preference ---- */

static const char *const naive_order[] = { "a/b", "a/+", "a/#", "+/b", "+/+", "+/#", "#" };

/* Position in the order of preference for topic "a/b", which each of these matches. */
static bool naive_allows(const struct hbus_policy_rule *rules, size_t n, const struct hbus_cred *cred,
			 bool by_default)
{
	for (size_t k = 0; k < sizeof(naive_order) / sizeof(naive_order[0]); k++) {
		bool is_named = false, is_denied = false;

		for (size_t i = 0; i < n; i++) {
			const struct hbus_policy_rule *rule = &rules[i];
			bool is_mine = rule->subject == ANY ||
				       (rule->subject == UID && rule->id == cred->uid) ||
				       (rule->subject == GID && rule->id == cred->gid);

			if (strcmp(rule->filter, naive_order[k]) != 0 || !is_mine)
				continue;
			is_named = true;
			is_denied |= !rule->is_allowed;
		}
		if (is_named)
			return !is_denied;
	}
	return by_default;
}

Test(policy, random_rules_decide_as_a_naive_evaluation_does)
{
	struct hbus_policy_rule rules[6];
	struct test_random random;
	int n_allowed = 0, n_rounds = 20000;

	test_random_init(&random, "policy");
	for (int round = 0; round < n_rounds; round++) {
		size_t n = test_random_below(&random, 7);
		uid_t owner = test_random_below(&random, 2) ? 1001 : 5;
		bool is_allowed;

		for (size_t i = 0; i < n; i++) {
			rules[i].is_allowed = test_random_below(&random, 2);
			rules[i].subject = (enum hbus_subject)test_random_below(&random, 3);
			rules[i].id = 1000 + test_random_below(&random, 2);
			rules[i].rights = SUB;
			strcpy(rules[i].filter, test_random_below(&random, 8) ?
				       naive_order[test_random_below(&random, 7)] : "b/#");
		}
		is_allowed = naive_allows(rules, n, &bob, owner == bob.uid);
		cr_assert_eq(allows(rules, n, &bob, SUB, "a/b", owner), is_allowed);
		n_allowed += is_allowed;
	}
	cr_assert_gt(n_allowed, n_rounds / 10);
	cr_assert_lt(n_allowed, n_rounds * 9 / 10);
}

Test(policy, rules_about_clients_of_a_door_bind_no_user_and_split_no_ring)
{
	static const struct hbus_policy_rule rules[] = {
		{ false, HBUS_SUBJECT_CLIENT, 0, HBUS_RIGHT_PUBLISH | HBUS_RIGHT_SUBSCRIBE, "a", "*" },
		{ true, HBUS_SUBJECT_CLIENT, 0, HBUS_RIGHT_PUBLISH, "a", "ann" },
	};
	const struct hbus_policy policy = { 0, 2, rules };

	cr_assert(allows(rules, 2, &alice, HBUS_RIGHT_PUBLISH, "a", HBUS_UID_NONE));
	cr_assert(allows(rules, 2, &alice, HBUS_RIGHT_SUBSCRIBE, "a", alice.uid));
	cr_assert(hbus_policy_same_readers(&policy, "a", "b"));
}
