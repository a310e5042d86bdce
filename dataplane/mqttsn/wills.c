/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Wills of clients whose session is not clean: they outlive the connection, as subscriptions do (section 6.3), and a
 * client that comes back without saying one has the one of before.
 *
 * A table by client identifier, bounded by the number of clients: the will that was kept first goes first.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "dataplane/mqttsn/engine_pvt.h"

struct hbus_sn_will {
	struct hbus_sn_will *next;   /* of its bucket */
	struct hbus_sn_will *newer, **from_older;
	uint16_t topic_size, size;
	uint8_t flags, id_size;
	uint8_t bytes[];             /* identifier, topic, message */
};

static struct hbus_sn_will **find(struct hbus_sn *engine, const char *id, uint8_t id_size)
{
	uint64_t hash = hbus_siphash(engine->config.secret, id, id_size);
	struct hbus_sn_will **link = &engine->wills[hash % HBUS_SN_BUCKETS];

	while (*link && ((*link)->id_size != id_size || memcmp((*link)->bytes, id, id_size) != 0))
		link = &(*link)->next;
	return link;
}

/* Takes it out of both lists. */
static void forget(struct hbus_sn *engine, struct hbus_sn_will **link)
{
	struct hbus_sn_will *will = *link;

	*link = will->next;
	*will->from_older = will->newer;
	if (will->newer)
		will->newer->from_older = will->from_older;
	else
		engine->newest_will = will->from_older;
	engine->counters.wills_now--;
	free(will);
}

static void make_room(struct hbus_sn *engine)
{
	struct hbus_sn_will *oldest = engine->oldest_will;

	if (engine->counters.wills_now < engine->config.clients_max || !oldest)
		return;
	forget(engine, find(engine, (const char *)oldest->bytes, oldest->id_size));
	engine->counters.wills_limited++;
}

static bool is_kept(const struct hbus_sn_will *will, const struct hbus_sn_client *client)
{
	const uint8_t *topic = will->bytes + will->id_size;

	return will->flags == client->will_flags && will->topic_size == client->will_topic_size &&
	       will->size == client->will_size && memcmp(topic, client->will_topic, will->topic_size) == 0 &&
	       (will->size == 0 || memcmp(topic + will->topic_size, client->will, will->size) == 0);
}

void hbus_sn_will_keep(struct hbus_sn_client *client)
{
	struct hbus_sn *engine = client->engine;
	struct hbus_sn_will **link = find(engine, client->id, client->id_size), *will;

	if (*link && !client->is_clean && client->will_topic && is_kept(*link, client))
		return;
	if (*link)
		forget(engine, link);
	if (client->is_clean || !client->will_topic)
		return;
	make_room(engine);
	will = malloc(sizeof(*will) + client->id_size + client->will_topic_size + client->will_size);
	if (!will) {
		engine->counters.wills_limited++;
		return;
	}
	*will = (struct hbus_sn_will){ .topic_size = client->will_topic_size, .size = client->will_size,
				       .flags = client->will_flags, .id_size = client->id_size };
	memcpy(will->bytes, client->id, client->id_size);
	memcpy(will->bytes + client->id_size, client->will_topic, client->will_topic_size);
	if (client->will_size > 0)
		memcpy(will->bytes + client->id_size + client->will_topic_size, client->will, client->will_size);
	link = find(engine, client->id, client->id_size);
	will->next = *link;
	*link = will;
	will->from_older = engine->newest_will ? engine->newest_will : &engine->oldest_will;
	*will->from_older = will;
	engine->newest_will = &will->newer;
	engine->counters.wills_now++;
}

void hbus_sn_will_recall(struct hbus_sn_client *client)
{
	const struct hbus_sn_will *will = *find(client->engine, client->id, client->id_size);
	char *topic;
	uint8_t *message;

	if (!will)
		return;
	topic = malloc(will->topic_size + 1U);
	message = malloc(will->size + 1U);
	if (!topic || !message) {
		free(topic);
		free(message);
		return;
	}
	memcpy(topic, will->bytes + will->id_size, will->topic_size);
	topic[will->topic_size] = '\0';
	memcpy(message, will->bytes + will->id_size + will->topic_size, will->size);
	client->will_topic = topic;
	client->will_topic_size = will->topic_size;
	client->will = message;
	client->will_size = will->size;
	client->will_flags = will->flags;
}

void hbus_sn_wills_free(struct hbus_sn *engine)
{
	while (engine->oldest_will) {
		struct hbus_sn_will *will = engine->oldest_will;

		engine->oldest_will = will->newer;
		free(will);
	}
}
