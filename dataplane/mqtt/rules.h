/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What the daemon's policy says of MQTT clients, by the names that they have here
 *
 * The rules with a `client` of hugebusd's configuration. The semantics, completely:
 *  1. Without any such rule a client may do what this program's user may.
 *  2. Else a client may do what some rule allows it, and nothing else. Of the rules that name the right,
 *     match the topic, and name the client or all of them ("*"), the one with the most specific filter
 *     decides, compared level by level from the left (a literal, then '+', then '#'); on the same filter
 *     denying wins.
 *  3. A filter may be subscribed to when every topic that it matches may be read: an allowing rule covers
 *     it, and no denying rule that is as specific or more so touches it. A filter that would match one
 *     topic too many is refused whole.
 *  What this program's user may not do, no rule of these gives to a client.
 *
 * Pure. A set does not change after it was built.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define HBUS_MQTT_RULE_PUBLISH 0x1u
#define HBUS_MQTT_RULE_SUBSCRIBE 0x2u

struct hbus_mqtt_rule {
	bool is_allowed;
	unsigned int rights;
	char client[64]; /* "*" = all */
	char filter[256];
};

struct hbus_mqtt_rules {
	struct hbus_mqtt_rule *at;
	size_t n, room;
};

/* Return: false without memory. */
bool hbus_mqtt_rules_add(struct hbus_mqtt_rules *rules, const struct hbus_mqtt_rule *rule);
void hbus_mqtt_rules_deinit(struct hbus_mqtt_rules *rules);
bool hbus_mqtt_rules_are_equal(const struct hbus_mqtt_rules *a, const struct hbus_mqtt_rules *b);

/* @topic: a checked name to publish to, or a checked filter to subscribe to. */
bool hbus_mqtt_rules_allow(const struct hbus_mqtt_rules *rules, const char *client, const char *topic, bool is_publish);
