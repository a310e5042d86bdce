/* SPDX-License-Identifier: BSD-3-Clause */
/* What the policy says of MQTT clients: single topics against an oracle, filters against the topics that they match. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "ctl/proto/topic.h"
#include "dataplane/mqtt/rules.h"
#include "tests/unit/random.h"

static struct hbus_mqtt_rules rules;

static void add(bool is_allowed, const char *client, unsigned int rights, const char *filter)
{
	struct hbus_mqtt_rule rule = { .is_allowed = is_allowed, .rights = rights };

	snprintf(rule.client, sizeof(rule.client), "%s", client);
	snprintf(rule.filter, sizeof(rule.filter), "%s", filter);
	cr_assert(hbus_mqtt_rules_add(&rules, &rule));
}

static void done(void)
{
	hbus_mqtt_rules_deinit(&rules);
}

TestSuite(mqtt_rules, .fini = done);

#define PUB HBUS_MQTT_RULE_PUBLISH
#define SUB HBUS_MQTT_RULE_SUBSCRIBE
#define MAY_PUBLISH(c, t) cr_assert(hbus_mqtt_rules_allow(&rules, c, t, true), "%s should publish %s", c, t)
#define MAY_NOT_PUBLISH(c, t) cr_assert_not(hbus_mqtt_rules_allow(&rules, c, t, true), "%s should not publish %s", c, t)
#define MAY_READ(c, t) cr_assert(hbus_mqtt_rules_allow(&rules, c, t, false), "%s should read %s", c, t)
#define MAY_NOT_READ(c, t) cr_assert_not(hbus_mqtt_rules_allow(&rules, c, t, false), "%s should not read %s", c, t)

Test(mqtt_rules, without_rules_everybody_may_do_everything)
{
	MAY_PUBLISH("", "a");
	MAY_READ("ann", "#");
}

Test(mqtt_rules, with_one_rule_nobody_else_may_do_anything)
{
	add(true, "ann", PUB, "room/#");
	MAY_PUBLISH("ann", "room/1");
	MAY_PUBLISH("ann", "room");
	MAY_NOT_PUBLISH("ann", "rooms");
	MAY_NOT_PUBLISH("bob", "room/1");
	MAY_NOT_PUBLISH("", "room/1");
	MAY_NOT_READ("ann", "room/1");
}

Test(mqtt_rules, the_more_specific_filter_decides_and_denying_wins_a_tie)
{
	add(true, "*", PUB | SUB, "#");
	add(false, "*", PUB | SUB, "secret/#");
	add(true, "ann", SUB, "secret/ann");
	add(true, "bob", SUB, "secret/#");
	MAY_PUBLISH("", "a");
	MAY_NOT_PUBLISH("ann", "secret/ann");
	MAY_READ("ann", "secret/ann");
	MAY_NOT_READ("ann", "secret/bob");
	MAY_NOT_READ("bob", "secret/x");
}

Test(mqtt_rules, a_filter_that_would_match_too_much_is_refused_whole)
{
	add(true, "ann", SUB, "room/+/light");
	add(true, "bob", SUB, "#");
	add(false, "bob", SUB, "room/9/#");
	MAY_READ("ann", "room/+/light");
	MAY_READ("ann", "room/1/light");
	MAY_NOT_READ("ann", "room/#");
	MAY_NOT_READ("ann", "room/1/#");
	MAY_NOT_READ("ann", "+/+/light");
	MAY_NOT_READ("bob", "#");
	MAY_NOT_READ("bob", "room/+/light");
	MAY_READ("bob", "room/8/#");
	MAY_READ("bob", "+/8");
	MAY_NOT_READ("bob", "$SYS/x");
}

static const char *const levels[] = { "a", "b", "$c" };
static const char *const wild[] = { "a", "b", "+", "#", "$c" };

static void random_filter(struct test_random *random, bool is_name, char *text)
{
	uint64_t n = 1 + test_random_below(random, 3);

	text[0] = '\0';
	for (uint64_t i = 0; i < n; i++) {
		const char *level = is_name ? levels[test_random_below(random, 3)] : wild[test_random_below(random, 5)];

		if (i > 0)
			strcat(text, "/");
		strcat(text, level);
		if (level[0] == '#')
			return;
	}
}

/* Whoever may subscribe to a filter may read each topic that it matches. */
Test(mqtt_rules, nobody_reads_by_a_filter_what_they_may_not_read_by_name)
{
	struct test_random random;
	char filter[32], name[32];
	int n_allowed = 0;

	test_random_init(&random, "mqtt_rules");
	for (int round = 0; round < 20000; round++) {
		for (uint64_t i = 1 + test_random_below(&random, 4); i > 0; i--) {
			random_filter(&random, false, filter);
			add(test_random_below(&random, 3) > 0, test_random_below(&random, 2) ? "ann" : "*", SUB, filter);
		}
		random_filter(&random, false, filter);
		if (hbus_mqtt_rules_allow(&rules, "ann", filter, false)) {
			n_allowed++;
			for (int i = 0; i < 30; i++) {
				random_filter(&random, true, name);
				if (hbus_topic_matches(filter, name))
					MAY_READ("ann", name);
			}
		}
		hbus_mqtt_rules_deinit(&rules);
	}
	cr_assert_gt(n_allowed, 1000);
}
