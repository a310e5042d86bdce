/* SPDX-License-Identifier: BSD-3-Clause */
/* Topic names to numbers, by open addressing. */
#include "dataplane/mqtt/topics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"

enum { SLOTS_MIN = 256 };

struct hbus_mqtt_topic {
	uint64_t hash;
	uint32_t number;
	uint32_t size; /* of the name, its terminator included */
	char name[];
};

/* The slot of @name, or the free one where it would stand. The table is never full. */
static uint32_t slot_of(const struct hbus_mqtt_topics *topics, uint64_t hash, const char *name, size_t size)
{
	uint64_t i = hash;

	for (;; i++) {
		const struct hbus_mqtt_topic *topic = topics->slots[i & (topics->n_slots - 1)];

		if (!topic || (topic->hash == hash && topic->size == size && memcmp(topic->name, name, size) == 0))
			return (uint32_t)(i & (topics->n_slots - 1));
	}
}

uint32_t *hbus_mqtt_topics_find(const struct hbus_mqtt_topics *topics, const char *name)
{
	size_t size = strlen(name) + 1;
	struct hbus_mqtt_topic *topic;

	if (topics->n_slots == 0)
		return NULL;
	topic = topics->slots[slot_of(topics, hbus_siphash(topics->secret, name, size), name, size)];
	return topic ? &topic->number : NULL;
}

static int grow(struct hbus_mqtt_topics *topics)
{
	struct hbus_mqtt_topics larger = *topics;

	larger.n_slots = topics->n_slots ? 2 * topics->n_slots : SLOTS_MIN;
	larger.slots = calloc(larger.n_slots, sizeof(struct hbus_mqtt_topic *));
	if (!larger.slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < topics->n_slots; i++)
		if (topics->slots[i])
			larger.slots[slot_of(&larger, topics->slots[i]->hash, topics->slots[i]->name,
					     topics->slots[i]->size)] = topics->slots[i];
	free(topics->slots);
	*topics = larger;
	return 0;
}

int hbus_mqtt_topics_add(struct hbus_mqtt_topics *topics, const char *name, uint32_t number)
{
	size_t size = strlen(name) + 1;
	struct hbus_mqtt_topic *topic;
	int r;

	if (topics->n >= HBUS_MQTT_TOPICS_MAX)
		return -ENOSPC;
	if (topics->n >= topics->n_slots / 2) {
		r = grow(topics);
		if (r < 0)
			return r;
	}
	topic = malloc(sizeof(*topic) + size);
	if (!topic)
		return -ENOMEM;
	topic->hash = hbus_siphash(topics->secret, name, size);
	topic->number = number;
	topic->size = (uint32_t)size;
	memcpy(topic->name, name, size);
	topics->slots[slot_of(topics, topic->hash, name, size)] = topic;
	topics->n++;
	return 0;
}

/* What follows the gap without one of its own moves up, so that every name is found from its hash on. */
static void close_gap(struct hbus_mqtt_topics *topics, uint32_t gap)
{
	uint32_t mask = topics->n_slots - 1;

	for (uint32_t i = (gap + 1) & mask; topics->slots[i]; i = (i + 1) & mask) {
		uint32_t home = (uint32_t)topics->slots[i]->hash & mask;

		if (((i - home) & mask) < ((i - gap) & mask))
			continue;
		topics->slots[gap] = topics->slots[i];
		topics->slots[i] = NULL;
		gap = i;
	}
}

void hbus_mqtt_topics_remove(struct hbus_mqtt_topics *topics, const char *name)
{
	size_t size = strlen(name) + 1;
	uint32_t slot;

	if (topics->n_slots == 0)
		return;
	slot = slot_of(topics, hbus_siphash(topics->secret, name, size), name, size);
	if (!topics->slots[slot])
		return;
	free(topics->slots[slot]);
	topics->slots[slot] = NULL;
	topics->n--;
	close_gap(topics, slot);
}

void hbus_mqtt_topics_deinit(struct hbus_mqtt_topics *topics)
{
	for (uint32_t i = 0; i < topics->n_slots; i++)
		free(topics->slots[i]);
	free(topics->slots);
	topics->slots = NULL;
	topics->n_slots = topics->n = 0;
}
