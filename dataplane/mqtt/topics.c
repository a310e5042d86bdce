/* SPDX-License-Identifier: BSD-3-Clause */
/* Topic names to numbers, by open addressing. */
#include "dataplane/mqtt/topics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"

enum { SLOTS_MIN = 256 };

struct hbus_mqtt_topic {
	uint32_t number;
	uint32_t size; /* of the name, its terminator included */
	char name[];
};

/* The slot of @name, or the free one where it would stand. The table is never full. */
static struct hbus_mqtt_topic **slot_of(const struct hbus_mqtt_topics *topics, const char *name, size_t size)
{
	uint64_t i = hbus_siphash(topics->secret, name, size);

	for (;; i++) {
		struct hbus_mqtt_topic **slot = &topics->slots[i & (topics->n_slots - 1)];

		if (!*slot || ((*slot)->size == size && memcmp((*slot)->name, name, size) == 0))
			return slot;
	}
}

uint32_t hbus_mqtt_topics_find(const struct hbus_mqtt_topics *topics, const char *name)
{
	struct hbus_mqtt_topic *topic;

	if (topics->n_slots == 0)
		return 0;
	topic = *slot_of(topics, name, strlen(name) + 1);
	return topic ? topic->number : 0;
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
			*slot_of(&larger, topics->slots[i]->name, topics->slots[i]->size) = topics->slots[i];
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
	topic->number = number;
	topic->size = (uint32_t)size;
	memcpy(topic->name, name, size);
	*slot_of(topics, name, size) = topic;
	topics->n++;
	return 0;
}

void hbus_mqtt_topics_deinit(struct hbus_mqtt_topics *topics)
{
	for (uint32_t i = 0; i < topics->n_slots; i++)
		free(topics->slots[i]);
	free(topics->slots);
	topics->slots = NULL;
	topics->n_slots = topics->n = 0;
}
