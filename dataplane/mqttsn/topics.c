/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of topics, shared by all clients, and the identifiers that each client has for them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "ctl/proto/topic.h"
#include "dataplane/mqttsn/engine_pvt.h"

enum { IDS_ROOM_MIN = 8 };

/* ---- names ------------------------------------------------------------------------------- */

static struct hbus_sn_topic **bucket_of(struct hbus_sn *engine, const char *name, size_t size)
{
	return &engine->names[hbus_siphash(engine->config.secret, name, size) % HBUS_SN_BUCKETS];
}

static struct hbus_sn_topic *find(struct hbus_sn *engine, const char *name, size_t size)
{
	struct hbus_sn_topic *topic = *bucket_of(engine, name, size);

	while (topic && (topic->size != size || memcmp(topic->name, name, size) != 0))
		topic = topic->next;
	return topic;
}

/* Return: NULL without memory, or at the limit, which is counted. */
static struct hbus_sn_topic *topic_get(struct hbus_sn *engine, const char *name, size_t size)
{
	struct hbus_sn_topic **bucket, *topic = find(engine, name, size);

	if (topic) {
		topic->n_refs++;
		return topic;
	}
	if (engine->counters.topics_now < engine->config.topics_max)
		topic = calloc(1, sizeof(*topic) + size + 1);
	if (!topic) {
		engine->counters.registers_limited++;
		return NULL;
	}
	topic->n_refs = 1;
	topic->size = (uint16_t)size;
	memcpy(topic->name, name, size);
	bucket = bucket_of(engine, name, size);
	topic->next = *bucket;
	*bucket = topic;
	engine->counters.topics_now++;
	return topic;
}

void hbus_sn_topic_put(struct hbus_sn *engine, struct hbus_sn_topic *topic)
{
	struct hbus_sn_topic **link;

	if (!topic || --topic->n_refs > 0)
		return;
	link = bucket_of(engine, topic->name, topic->size);
	while (*link != topic)
		link = &(*link)->next;
	*link = topic->next;
	if (topic->was_named && engine->io.name_end)
		engine->io.name_end(engine->io.context, topic->name);
	engine->counters.topics_now--;
	free(topic);
}

uint32_t hbus_sn_topic_number(struct hbus_sn *engine, struct hbus_sn_topic *topic)
{
	if (topic->number == HBUS_SN_NAME_PENDING) {
		topic->number = HBUS_SN_NAME_NONE;
		if (engine->io.name) {
			topic->number = engine->io.name(engine->io.context, topic->name);
			topic->was_named = true;
		}
	}
	return topic->number;
}

int hbus_sn_predefine(struct hbus_sn *engine, uint16_t topic_id, const char *name)
{
	size_t size = strlen(name);
	struct hbus_sn_topic *topic;

	if (topic_id == 0 || topic_id == HBUS_SN_TOPIC_ID_NONE ||
	    hbus_topic_check_name(name, size) != 0)
		return -EINVAL;
	if (engine->n_predefined == HBUS_SN_PREDEFINED_MAX)
		return -ENOSPC;
	for (uint32_t i = 0; i < engine->n_predefined; i++)
		if (engine->predefined_ids[i] == topic_id || !strcmp(engine->predefined[i]->name, name))
			return -EEXIST;
	topic = topic_get(engine, name, size);
	if (!topic)
		return -ENOMEM;
	topic->predefined_id = topic_id;
	engine->predefined[engine->n_predefined] = topic;
	engine->predefined_ids[engine->n_predefined++] = topic_id;
	return 0;
}

/* ---- identifiers ----------------------------------------------------------------------------- */

static uint16_t id_find(const struct hbus_sn_client *client, const char *name, size_t size)
{
	for (uint16_t i = 0; i < client->n_topics; i++) {
		const struct hbus_sn_topic *topic = client->topics[i];

		if (topic && topic->size == size && memcmp(topic->name, name, size) == 0)
			return (uint16_t)(i + 1);
	}
	return 0;
}

static bool ids_grow(struct hbus_sn_client *client)
{
	uint32_t max = client->engine->config.topic_ids_max;
	uint32_t room = client->topics_room ? 2U * client->topics_room : IDS_ROOM_MIN;
	struct hbus_sn_topic **topics;

	max = max < HBUS_SN_TOPIC_ID_NONE - 1 ? max : HBUS_SN_TOPIC_ID_NONE - 1;
	room = room < max ? room : max;
	if (room <= client->topics_room)
		return false;
	topics = realloc(client->topics, room * sizeof(struct hbus_sn_topic *));
	if (!topics)
		return false;
	client->topics = topics;
	client->topics_room = (uint16_t)room;
	return true;
}

uint16_t hbus_sn_id_of(struct hbus_sn_client *client, const char *name, size_t size)
{
	struct hbus_sn *engine = client->engine;
	uint16_t id = id_find(client, name, size);
	struct hbus_sn_topic *topic;

	if (id)
		return id;
	for (id = 0; id < client->n_topics && client->topics[id]; id++)
		;
	if (id == client->topics_room && !ids_grow(client)) {
		engine->counters.registers_limited++;
		return 0;
	}
	topic = topic_get(engine, name, size);
	if (!topic)
		return 0;
	client->topics[id] = topic;
	if (id == client->n_topics)
		client->n_topics++;
	engine->counters.registers++;
	return (uint16_t)(id + 1);
}

void hbus_sn_ids_free(struct hbus_sn_client *client)
{
	for (uint16_t i = 0; i < client->n_topics; i++)
		hbus_sn_topic_put(client->engine, client->topics[i]);
	free(client->topics);
	client->topics = NULL;
	client->n_topics = client->topics_room = 0;
}

/* ---- in messages --------------------------------------------------------------------------- */

static const struct hbus_sn_topic *predefined(const struct hbus_sn *engine, uint16_t topic_id)
{
	for (uint32_t i = 0; i < engine->n_predefined; i++)
		if (engine->predefined_ids[i] == topic_id)
			return engine->predefined[i];
	return NULL;
}

size_t hbus_sn_name_of(struct hbus_sn_client *client, uint8_t kind, uint16_t topic_id,
		       char room[HBUS_SN_MESSAGE_MAX])
{
	const struct hbus_sn_topic *topic = NULL;

	if (kind == HBUS_SN_KIND_SHORT) {
		room[0] = (char)(topic_id >> 8);
		room[1] = (char)topic_id;
		room[2] = '\0';
		return hbus_topic_check_name(room, 2) == 0 ? 2 : 0;
	}
	if (kind == HBUS_SN_KIND_PREDEFINED)
		topic = predefined(client->engine, topic_id);
	else if (kind == HBUS_SN_KIND_NORMAL && topic_id > 0 && topic_id <= client->n_topics)
		topic = client->topics[topic_id - 1];
	if (!topic)
		return 0;
	memcpy(room, topic->name, topic->size + 1U);
	return topic->size;
}

uint8_t hbus_sn_kind_of(struct hbus_sn_client *client, const char *name, size_t size,
			uint16_t *ret_id)
{
	const struct hbus_sn_topic *topic = find(client->engine, name, size);

	if (size == 2) {
		*ret_id = (uint16_t)((uint8_t)name[0] << 8 | (uint8_t)name[1]);
		return HBUS_SN_KIND_SHORT;
	}
	if (topic && topic->predefined_id) {
		*ret_id = topic->predefined_id;
		return HBUS_SN_KIND_PREDEFINED;
	}
	*ret_id = topic ? id_find(client, name, size) : 0;
	return HBUS_SN_KIND_NORMAL;
}

void hbus_sn_short_used(struct hbus_sn *engine, uint16_t topic_id)
{
	const char name[] = { (char)(topic_id >> 8), (char)topic_id, '\0' };
	struct hbus_sn_topic *topic = engine->shorts[topic_id];
	uint32_t number;

	if (!engine->io.common_set)
		return;
	if (!topic) {
		topic = topic_get(engine, name, 2);
		if (!topic)
			return;
		engine->shorts[topic_id] = topic;
	}
	number = hbus_sn_topic_number(engine, topic);
	if (number != HBUS_SN_NAME_PENDING && number != HBUS_SN_NAME_NONE)
		engine->io.common_set(engine->io.context, HBUS_SN_KIND_SHORT, topic_id, number);
}
