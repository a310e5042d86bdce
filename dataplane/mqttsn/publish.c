/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What clients ask: identifiers, publications and subscriptions.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"
#include "dataplane/mqttsn/engine_pvt.h"

enum { REGISTER_LOOK_MS = 2 };

/* ---- requests that the MQTT engine answers ---------------------------------------------------- */

static struct hbus_sn_pending *pending_find(struct hbus_sn_client *client, uint8_t type,
					    uint16_t msg_id)
{
	for (uint32_t i = 0; i < HBUS_SN_PENDING_MAX; i++)
		if (client->pending[i].type == type && client->pending[i].msg_id == msg_id)
			return &client->pending[i];
	return NULL;
}

bool hbus_sn_pending_take(struct hbus_sn_client *client, uint8_t type, uint16_t msg_id,
			  struct hbus_sn_pending *ret_pending)
{
	struct hbus_sn_pending *pending = pending_find(client, type, msg_id);

	if (!pending)
		return false;
	*ret_pending = *pending;
	*pending = (struct hbus_sn_pending){ 0 };
	return true;
}

/* Said again, it takes the place of itself. Return: false when there are too many. */
static bool pending_add(struct hbus_sn_client *client, const struct hbus_sn_message *message,
			uint16_t topic_id)
{
	struct hbus_sn_pending *pending = pending_find(client, message->type, message->msg_id);

	for (uint32_t i = 0; !pending && i < HBUS_SN_PENDING_MAX; i++)
		if (client->pending[i].type == 0)
			pending = &client->pending[i];
	if (!pending) {
		client->engine->verdict = &client->engine->counters.in_limited;
		return false;
	}
	*pending = (struct hbus_sn_pending){ message->type, message->flags, message->msg_id,
					     topic_id };
	return true;
}

/* ---- REGISTER ---------------------------------------------------------------------------------- */

/* Answers as soon as it is known whether poll loops may publish to the topic, or will not be soon. */
static void try_registered(struct hbus_sn_client *client)
{
	struct hbus_sn *engine = client->engine;
	struct hbus_sn_topic *topic = client->topics[client->held_topic_id - 1];
	uint32_t number = hbus_sn_topic_number(engine, topic);

	if (number == HBUS_SN_NAME_PENDING && hbus_sn_now(engine) < client->held_until_ms) {
		hbus_sn_timer_set(engine, &client->held, REGISTER_LOOK_MS);
		return;
	}
	if (number != HBUS_SN_NAME_PENDING && number != HBUS_SN_NAME_NONE && engine->io.path_set)
		engine->io.path_set(engine->io.context, &client->peer, client->held_topic_id, number);
	hbus_sn_send_ack(client, HBUS_SN_REGACK, client->held_topic_id, client->held_msg_id,
			 HBUS_SN_ACCEPTED);
	client->held_msg_id = client->held_topic_id = 0;
}

void hbus_sn_register_due(struct hbus_sn_client *client)
{
	if (client->held_topic_id)
		try_registered(client);
}

void hbus_sn_on_register(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	struct hbus_sn *engine = client->engine;
	const char *name = (const char *)message->data;
	uint8_t code = HBUS_SN_CONGESTION;
	uint16_t topic_id = 0;

	if (client->held_topic_id && client->held_msg_id == message->msg_id)
		return;
	if (hbus_topic_check_name(name, message->data_size) != 0 || name[0] == '$')
		code = HBUS_SN_NOT_SUPPORTED;
	else if (!client->held_topic_id)
		topic_id = hbus_sn_id_of(client, name, message->data_size);
	if (topic_id == 0) {
		engine->verdict = &engine->counters.in_limited;
		hbus_sn_send_ack(client, HBUS_SN_REGACK, 0, message->msg_id, code);
		return;
	}
	client->held_topic_id = topic_id;
	client->held_msg_id = message->msg_id;
	client->held_until_ms = hbus_sn_now(engine) + engine->config.register_wait_ms;
	try_registered(client);
}

/* ---- PUBLISH ----------------------------------------------------------------------------------- */

static void refuse_publish(struct hbus_sn_client *client, const struct hbus_sn_message *message,
			   uint8_t code)
{
	hbus_sn_send_ack(client, HBUS_SN_PUBACK, message->topic_id, message->msg_id, code);
}

void hbus_sn_on_publish(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	struct hbus_sn *engine = client->engine;
	uint8_t kind = message->flags & HBUS_SN_KIND_MASK;
	char name[HBUS_SN_MESSAGE_MAX];
	size_t size = hbus_sn_name_of(client, kind, message->topic_id, name);

	if (size == 0) {
		engine->counters.publishes_unknown++;
		refuse_publish(client, message, HBUS_SN_INVALID_TOPIC);
		return;
	}
	if (message->flags & HBUS_SN_QOS_MASK && !pending_add(client, message, message->topic_id)) {
		refuse_publish(client, message, HBUS_SN_CONGESTION);
		return;
	}
	engine->counters.publishes_in++;
	hbus_sn_mqtt_publish(client, message->flags, message->msg_id, name, size, message->data,
			     message->data_size);
	if (kind == HBUS_SN_KIND_SHORT)
		hbus_sn_short_used(engine, message->topic_id);
}

/* A connection of the MQTT engine that nobody else can take: it has an identifier of that engine. */
static struct hbus_sn_client *nobody(struct hbus_sn *engine)
{
	struct hbus_sn_client *client = engine->nobody;

	if (!client) {
		client = calloc(1, sizeof(*client));
		if (!client)
			return NULL;
		client->engine = engine;
		client->last = &client->first;
		client->is_clean = true;
		client->state = SN_ENDED; /* no work is ever done for it */
		engine->nobody = client;
	}
	if (!client->mqtt && !hbus_sn_mqtt_connect(client))
		return NULL;
	return client;
}

void hbus_sn_publish_for_nobody(struct hbus_sn *engine, const struct hbus_sn_message *message)
{
	struct hbus_sn_client *client = nobody(engine);
	uint8_t kind = message->flags & HBUS_SN_KIND_MASK;
	char name[HBUS_SN_MESSAGE_MAX];
	size_t size = client ? hbus_sn_name_of(client, kind, message->topic_id, name) : 0;

	if (!client) {
		engine->verdict = &engine->counters.in_limited;
		return;
	}
	if (size == 0) {
		engine->counters.publishes_unknown++;
		return;
	}
	engine->counters.publishes_in++;
	hbus_sn_mqtt_publish(client, message->flags & HBUS_SN_RETAIN, 0, name, size, message->data,
			     message->data_size);
	if (kind == HBUS_SN_KIND_SHORT)
		hbus_sn_short_used(engine, message->topic_id);
}

/* ---- SUBSCRIBE, UNSUBSCRIBE ---------------------------------------------------------------------- */

static void refuse_subscribe(struct hbus_sn_client *client, const struct hbus_sn_message *message,
			     uint8_t code)
{
	const uint8_t fixed[] = { 0, 0, 0, (uint8_t)(message->msg_id >> 8), (uint8_t)message->msg_id,
				  code };

	if (message->type == HBUS_SN_SUBSCRIBE)
		hbus_sn_send(client, HBUS_SN_SUBACK, fixed, sizeof(fixed), NULL, 0);
	else
		hbus_sn_send_id(client, HBUS_SN_UNSUBACK, message->msg_id);
}

/* The filter into @room, and the identifier that SUBACK gives. Return: the return code. */
static uint8_t filter_of(struct hbus_sn_client *client, const struct hbus_sn_message *message,
			 char room[HBUS_SN_MESSAGE_MAX], size_t *ret_size, uint16_t *ret_id)
{
	uint8_t kind = message->flags & HBUS_SN_KIND_MASK;

	if (kind != HBUS_SN_KIND_NORMAL) {
		*ret_size = hbus_sn_name_of(client, kind, message->topic_id, room);
		*ret_id = message->topic_id;
		return *ret_size ? HBUS_SN_ACCEPTED : HBUS_SN_INVALID_TOPIC;
	}
	if (message->data_size >= HBUS_SN_MESSAGE_MAX ||
	    hbus_topic_check_filter((const char *)message->data, message->data_size) != 0)
		return HBUS_SN_NOT_SUPPORTED;
	memcpy(room, message->data, message->data_size);
	room[message->data_size] = '\0';
	*ret_size = message->data_size;
	*ret_id = 0;
	if (message->type == HBUS_SN_UNSUBSCRIBE || hbus_topic_has_wildcard(room) || *ret_size == 2 ||
	    room[0] == '$')
		return HBUS_SN_ACCEPTED;
	*ret_id = hbus_sn_id_of(client, room, *ret_size);
	if (*ret_id == 0)
		return HBUS_SN_CONGESTION;
	return HBUS_SN_ACCEPTED;
}

void hbus_sn_on_subscribe(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	char filter[HBUS_SN_MESSAGE_MAX];
	uint16_t topic_id = 0;
	size_t size = 0;
	uint8_t code = filter_of(client, message, filter, &size, &topic_id);

	if (code == HBUS_SN_ACCEPTED && !pending_add(client, message, topic_id))
		code = HBUS_SN_CONGESTION;
	if (code != HBUS_SN_ACCEPTED) {
		refuse_subscribe(client, message, code);
		return;
	}
	if (message->type == HBUS_SN_SUBSCRIBE)
		hbus_sn_mqtt_subscribe(client, message->msg_id, filter, size,
				       (uint8_t)((message->flags & HBUS_SN_QOS_MASK) >>
						 HBUS_SN_QOS_OFF));
	else
		hbus_sn_mqtt_unsubscribe(client, message->msg_id, filter, size);
}
