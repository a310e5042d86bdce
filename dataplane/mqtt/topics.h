/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Topic names to the numbers under which this program publishes them
 *
 * A hash table with a limit: clients choose the names, so somebody may try to fill it. Keyed by a
 * secret, so that nobody can choose names that collide. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HBUS_MQTT_TOPICS_MAX 65536u

struct hbus_mqtt_topics {
	struct hbus_mqtt_topic **slots;
	uint32_t n_slots, n; /* n_slots is a power of two, or 0 */
	uint64_t secret[2];
};

/** hbus_mqtt_topics_find() - Return: where the number stands, or NULL when the name is not there. */
uint32_t *hbus_mqtt_topics_find(const struct hbus_mqtt_topics *topics, const char *name);

/** hbus_mqtt_topics_add() - a name that is not there. Return: 0, -ENOSPC at the limit or -ENOMEM. */
int hbus_mqtt_topics_add(struct hbus_mqtt_topics *topics, const char *name, uint32_t number);

/** hbus_mqtt_topics_remove() - does nothing when the name is not there. */
void hbus_mqtt_topics_remove(struct hbus_mqtt_topics *topics, const char *name);

void hbus_mqtt_topics_deinit(struct hbus_mqtt_topics *topics);
