/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CONNECT and the will, sleep, and every end of a client.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"
#include "dataplane/mqttsn/engine_pvt.h"

/* Silence of one and a half times what was agreed ends a client. */
#define SILENCE_MS(seconds) ((seconds) * UINT64_C(1500))

/* ---- keep-alive, and the end ---------------------------------------------------------------- */

static uint64_t silence_max_ms(const struct hbus_sn_client *client)
{
	if (client->state == SN_ASLEEP || client->state == SN_AWAKE)
		return SILENCE_MS(client->sleep_s);
	if (client->duration_s == 0)
		return client->engine->config.idle_max_s * UINT64_C(1000);
	return SILENCE_MS(client->duration_s);
}

static void watch(struct hbus_sn_client *client)
{
	hbus_sn_timer_set(client->engine, &client->alive, silence_max_ms(client));
}

void hbus_sn_lose(struct hbus_sn_client *client)
{
	struct hbus_sn *engine = client->engine;

	engine->counters.clients_lost++;
	hbus_sn_mqtt_hangup(client);
	hbus_sn_client_end(client);
}

void hbus_sn_alive_due(struct hbus_sn_client *client)
{
	struct hbus_sn *engine = client->engine;
	uint64_t heard_ms, due_ms;

	if (client->state < SN_ACTIVE) {
		engine->counters.handshakes_late++;
		hbus_sn_mqtt_hangup(client);
		hbus_sn_client_end(client);
		return;
	}
	/* What poll loops publish themselves is a sign of life too. */
	heard_ms = engine->io.heard ? engine->io.heard(engine->io.context, &client->peer) : 0;
	if (heard_ms > client->heard_ms)
		client->heard_ms = heard_ms;
	due_ms = client->heard_ms + silence_max_ms(client);
	if (due_ms > hbus_sn_now(engine)) {
		hbus_wheel_set(&engine->wheel, &client->alive.timer, due_ms);
		return;
	}
	if (client->state == SN_ACTIVE)
		hbus_sn_send(client, HBUS_SN_DISCONNECT, NULL, 0, NULL, 0);
	hbus_sn_lose(client);
}

/* ---- CONNECT -------------------------------------------------------------------------------- */

static void refuse(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
		   const struct hbus_sn_link *link, uint8_t code)
{
	hbus_sn_answer(engine, peer, link, HBUS_SN_CONNACK, &code, 1);
}

static void begin_mqtt(struct hbus_sn_client *client)
{
	struct hbus_sn *engine = client->engine;

	client->state = SN_CONNECTING;
	client->connack = HBUS_SN_CONGESTION;
	if (hbus_sn_mqtt_connect(client) || client->was_dropped)
		return;
	engine->counters.connects_limited++;
	client->was_dropped = true;
}

void hbus_sn_on_connack(struct hbus_sn_client *client, uint8_t reason)
{
	struct hbus_sn *engine = client->engine;
	uint8_t code = HBUS_SN_ACCEPTED;

	if (reason >= HBUS_MQTT_UNSPECIFIED) {
		/* The connection is closed next, and the answer given then. */
		client->connack = hbus_sn_code_of(reason);
		engine->counters.connects_refused++;
		return;
	}
	if (client->state != SN_CONNECTING)
		return;
	client->state = SN_ACTIVE;
	engine->counters.connects++;
	hbus_sn_will_keep(client);
	hbus_sn_has_work(client);
	if (!client->has_path && engine->io.path_open) {
		engine->io.path_open(engine->io.context, &client->peer);
		client->has_path = true;
	}
	watch(client);
	hbus_sn_send(client, HBUS_SN_CONNACK, &code, 1, NULL, 0);
}

/* What a client keeps when it comes back as who it was. */
struct legacy {
	struct hbus_sn_topic **topics;
	uint16_t n_topics, topics_room;
	bool has_path;
};

static struct legacy bequeath(struct hbus_sn_client *client)
{
	struct legacy legacy = { client->topics, client->n_topics, client->topics_room,
				 client->has_path };

	client->topics = NULL;
	client->n_topics = client->topics_room = 0;
	client->has_path = false;
	return legacy;
}

static void inherit(struct hbus_sn_client *client, const struct legacy *legacy)
{
	client->topics = legacy->topics;
	client->n_topics = legacy->n_topics;
	client->topics_room = legacy->topics_room;
	client->has_path = legacy->has_path;
}

static bool is_same_client(const struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	return client->id_size == message->data_size &&
	       memcmp(client->id, message->data, message->data_size) == 0;
}

static void start(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	client->is_clean = message->flags & HBUS_SN_CLEAN;
	client->duration_s = message->duration;
	client->id_size = (uint8_t)message->data_size;
	memcpy(client->id, message->data, message->data_size);
	if (message->flags & HBUS_SN_WILL) {
		client->state = SN_WILL_TOPIC;
		hbus_sn_timer_set(client->engine, &client->alive,
				  client->engine->config.handshake_ms);
		hbus_sn_send(client, HBUS_SN_WILLTOPICREQ, NULL, 0, NULL, 0);
	} else {
		hbus_sn_timer_set(client->engine, &client->alive,
				  client->engine->config.handshake_ms);
		if (!client->is_clean)
			hbus_sn_will_recall(client);
		begin_mqtt(client);
	}
	hbus_sn_has_work(client);
}

void hbus_sn_on_connect(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
			const struct hbus_sn_link *link, const struct hbus_sn_message *message)
{
	struct hbus_sn_client *old = hbus_sn_find(engine, peer), *client;
	struct legacy legacy = { 0 };

	if (message->data_size > HBUS_SN_ID_MAX) {
		engine->counters.connects_refused++;
		refuse(engine, peer, link, HBUS_SN_NOT_SUPPORTED);
		return;
	}
	if (old && old->state == SN_CONNECTING && is_same_client(old, message)) {
		/* Said again, while the MQTT engine waits for the bus. */
		old->link = *link;
		return;
	}
	if (old) {
		if (is_same_client(old, message) && !(message->flags & HBUS_SN_CLEAN))
			legacy = bequeath(old);
		/* It starts anew and is not lost: its will is not published. */
		hbus_sn_mqtt_disconnect(old);
		hbus_sn_client_end(old);
	}
	client = hbus_sn_client_new(engine, peer, link);
	if (!client) {
		if (legacy.has_path && engine->io.path_close)
			engine->io.path_close(engine->io.context, peer);
		if (old)
			inherit(old, &(struct legacy){ legacy.topics, legacy.n_topics,
						       legacy.topics_room, false });
		engine->counters.connects_limited++;
		engine->verdict = &engine->counters.in_limited;
		refuse(engine, peer, link, HBUS_SN_CONGESTION);
		return;
	}
	inherit(client, &legacy);
	/* A sleeper that says CONNECT is awake for good: what waits for it waits on. */
	if (old && is_same_client(old, message) && !(message->flags & HBUS_SN_CLEAN) && !old->is_clean)
		hbus_sn_queue_move(old, client);
	start(client, message);
}

/* ---- wills ---------------------------------------------------------------------------------- */

static void forget_will(struct hbus_sn_client *client)
{
	free(client->will_topic);
	free(client->will);
	client->will_topic = NULL;
	client->will = NULL;
	client->will_topic_size = client->will_size = 0;
}

static uint8_t keep_will_topic(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	char *topic;

	if (hbus_topic_check_name((const char *)message->data, message->data_size) != 0)
		return HBUS_SN_INVALID_TOPIC;
	topic = malloc(message->data_size + 1);
	if (!topic)
		return HBUS_SN_CONGESTION;
	memcpy(topic, message->data, message->data_size);
	topic[message->data_size] = '\0';
	free(client->will_topic);
	client->will_topic = topic;
	client->will_topic_size = (uint16_t)message->data_size;
	client->will_flags = message->flags;
	return HBUS_SN_ACCEPTED;
}

static uint8_t keep_will(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	uint8_t *will;

	if (message->data_size > HBUS_SN_WILL_MAX)
		return HBUS_SN_CONGESTION;
	will = malloc(message->data_size + 1);
	if (!will)
		return HBUS_SN_CONGESTION;
	if (message->data_size > 0)
		memcpy(will, message->data, message->data_size);
	free(client->will);
	client->will = will;
	client->will_size = (uint16_t)message->data_size;
	return HBUS_SN_ACCEPTED;
}

static void refuse_will(struct hbus_sn_client *client, uint8_t code)
{
	client->engine->counters.connects_refused++;
	hbus_sn_send(client, HBUS_SN_CONNACK, &code, 1, NULL, 0);
	hbus_sn_client_end(client);
}

void hbus_sn_on_will(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	uint8_t code;

	if (message->type == HBUS_SN_WILLTOPIC && client->state == SN_WILL_TOPIC) {
		if (message->data_size == 0) {
			begin_mqtt(client);
			return;
		}
		code = keep_will_topic(client, message);
		if (code != HBUS_SN_ACCEPTED) {
			refuse_will(client, code);
			return;
		}
		client->state = SN_WILL_MSG;
		hbus_sn_send(client, HBUS_SN_WILLMSGREQ, NULL, 0, NULL, 0);
	} else if (message->type == HBUS_SN_WILLTOPIC && client->state == SN_WILL_MSG) {
		/* Said again: our request was lost. */
		hbus_sn_send(client, HBUS_SN_WILLMSGREQ, NULL, 0, NULL, 0);
	} else if (message->type == HBUS_SN_WILLMSG && client->state == SN_WILL_MSG) {
		code = keep_will(client, message);
		if (code != HBUS_SN_ACCEPTED)
			refuse_will(client, code);
		else
			begin_mqtt(client);
	} else if (message->type != HBUS_SN_WILLMSG || !hbus_sn_is_open(client)) {
		client->engine->verdict = &client->engine->counters.in_unexpected;
	}
}

/* The MQTT engine gets the will as a whole. Return: a return code. */
static uint8_t tell_will(struct hbus_sn_client *client)
{
	char topic[HBUS_SN_MESSAGE_MAX];
	struct hbus_mqtt_message message = { .topic = topic };
	uint8_t reason;

	if (!client->mqtt)
		return HBUS_SN_CONGESTION;
	if (client->will_topic) {
		memcpy(topic, client->will_topic, client->will_topic_size + 1U);
		message.payload = client->will ? (const void *)client->will : "";
		message.payload_size = client->will_size;
		message.qos = hbus_sn_qos(client->will_flags);
		message.is_retain = client->will_flags & HBUS_SN_RETAIN;
	}
	reason = hbus_mqtt_set_will(client->mqtt, client->will_topic ? &message : NULL);
	return reason ? hbus_sn_code_of(reason) : HBUS_SN_ACCEPTED;
}

void hbus_sn_on_will_update(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	bool is_topic = message->type == HBUS_SN_WILLTOPICUPD;
	uint8_t code = HBUS_SN_ACCEPTED;

	if (is_topic && message->data_size == 0)
		forget_will(client);
	else if (is_topic)
		code = keep_will_topic(client, message);
	else
		code = keep_will(client, message);
	if (code == HBUS_SN_ACCEPTED)
		code = tell_will(client);
	if (code == HBUS_SN_ACCEPTED)
		hbus_sn_will_keep(client);
	hbus_sn_send(client, is_topic ? HBUS_SN_WILLTOPICRESP : HBUS_SN_WILLMSGRESP, &code, 1, NULL,
		     0);
}

/* ---- sleep ------------------------------------------------------------------------------------ */

static void fall_asleep(struct hbus_sn_client *client)
{
	client->state = SN_ASLEEP;
	client->engine->counters.asleep_now++;
	hbus_sn_unsend(client);
	watch(client);
}

void hbus_sn_check_drained(struct hbus_sn_client *client)
{
	if (client->state != SN_AWAKE || client->first || client->waits != WAIT_NOTHING)
		return;
	fall_asleep(client);
	hbus_sn_send(client, HBUS_SN_PINGRESP, NULL, 0, NULL, 0);
}

void hbus_sn_on_ping(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	struct hbus_sn *engine = client->engine;

	if (message->data_size > 0 && !is_same_client(client, message)) {
		/* The address has passed to another client, which does not know that it has to connect. */
		engine->verdict = &engine->counters.in_stranger;
		hbus_sn_send(client, HBUS_SN_DISCONNECT, NULL, 0, NULL, 0);
		return;
	}
	if (client->state == SN_ACTIVE) {
		hbus_sn_send(client, HBUS_SN_PINGRESP, NULL, 0, NULL, 0);
	} else if (client->state == SN_ASLEEP) {
		client->state = SN_AWAKE;
		engine->counters.asleep_now--;
		engine->counters.awakes++;
		client->n_retries = 0;
	}
	/* While it is awake the answer comes behind its messages. */
}

void hbus_sn_on_disconnect(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	struct hbus_sn *engine = client->engine;
	bool was_asleep = client->state == SN_ASLEEP;

	if (message->has_duration && message->duration > 0 && hbus_sn_is_open(client)) {
		client->sleep_s = message->duration;
		engine->counters.asleep_now -= was_asleep;
		engine->counters.sleeps += !was_asleep;
		fall_asleep(client);
		hbus_sn_send(client, HBUS_SN_DISCONNECT, NULL, 0, NULL, 0);
		return;
	}
	hbus_sn_mqtt_disconnect(client);
	hbus_sn_send(client, HBUS_SN_DISCONNECT, NULL, 0, NULL, 0);
	hbus_sn_client_end(client);
}
