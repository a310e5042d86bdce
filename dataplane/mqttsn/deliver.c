/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to clients. At most one message of QoS 1 or 2, or one REGISTER, waits for its answer; it is
 * sent again until that comes or the client is given up. The MQTT engine is told to keep to one, so
 * what is in the queue here beside it is of QoS 0.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqttsn/engine_pvt.h"

enum { PUBLISH_ROOM = HBUS_SN_PUBLISH_HEAD + 3 + HBUS_SN_NODE_MAX };

/* ---- queue ------------------------------------------------------------------------------- */

static size_t cost_of(const struct hbus_sn_out *out)
{
	return sizeof(*out) + out->topic_size + 1U + out->payload_size;
}

static void append(struct hbus_sn_client *client, struct hbus_sn_out *out)
{
	struct hbus_sn_counters *counters = &client->engine->counters;

	out->next = NULL;
	*client->last = out;
	client->last = &out->next;
	client->n_queued++;
	client->queued_bytes += cost_of(out);
	counters->queued_now++;
	counters->queued_bytes_now += cost_of(out);
}

static void prepend(struct hbus_sn_client *client, struct hbus_sn_out *out)
{
	struct hbus_sn_out *first = client->first;

	client->first = NULL;
	client->last = &client->first;
	append(client, out);
	out->next = first;
	while (*client->last)
		client->last = &(*client->last)->next;
}

static struct hbus_sn_out *take_first(struct hbus_sn_client *client)
{
	struct hbus_sn_counters *counters = &client->engine->counters;
	struct hbus_sn_out *out = client->first;

	client->first = out->next;
	if (!client->first)
		client->last = &client->first;
	client->n_queued--;
	client->queued_bytes -= cost_of(out);
	counters->queued_now--;
	counters->queued_bytes_now -= cost_of(out);
	return out;
}

void hbus_sn_queue_free(struct hbus_sn_client *client)
{
	while (client->first)
		free(take_first(client));
	free(client->sent);
	client->sent = NULL;
}

void hbus_sn_queue_move(struct hbus_sn_client *from, struct hbus_sn_client *to)
{
	while (from->first) {
		struct hbus_sn_out *out = take_first(from);

		if (out->qos == 0)
			append(to, out);
		else
			free(out);
	}
}

/* The MQTT engine need not keep this message any longer: it cannot get there. */
static void give_up(struct hbus_sn_client *client, uint8_t qos, uint16_t packet_id, uint8_t reason)
{
	if (qos == 0)
		return;
	client->due_type = qos == 1 ? HBUS_MQTT_PUBACK : HBUS_MQTT_PUBREC;
	client->due_reason = reason;
	client->due_id = packet_id;
	hbus_sn_has_work(client);
}

/* Return: whether there is room for one more of QoS 0; those above are at most one. */
static bool has_room(struct hbus_sn_client *client, size_t cost)
{
	struct hbus_sn *engine = client->engine;

	if (client->n_queued >= engine->config.queue_max ||
	    client->queued_bytes + cost > engine->config.queue_bytes_max) {
		engine->counters.dropped_queue++;
		return false;
	}
	if (engine->counters.queued_bytes_now + cost > engine->config.bytes_max) {
		engine->counters.dropped_memory++;
		return false;
	}
	return true;
}

void hbus_sn_deliver(struct hbus_sn_client *client, const struct hbus_mqtt_publish *publish)
{
	size_t topic_size = publish->topic.size, payload_size = publish->payload.size;
	struct hbus_sn_out *out;

	if (payload_size + PUBLISH_ROOM > HBUS_SN_MESSAGE_MAX ||
	    topic_size + PUBLISH_ROOM > HBUS_SN_MESSAGE_MAX) {
		client->engine->counters.dropped_too_large++;
		give_up(client, publish->qos, publish->packet_id, HBUS_MQTT_IMPLEMENTATION);
		return;
	}
	if (publish->qos == 0 && !has_room(client, sizeof(*out) + topic_size + 1 + payload_size))
		return;
	out = malloc(sizeof(*out) + topic_size + 1 + payload_size);
	if (!out) {
		client->engine->counters.dropped_memory++;
		give_up(client, publish->qos, publish->packet_id, HBUS_MQTT_QUOTA);
		return;
	}
	*out = (struct hbus_sn_out){ .payload_size = payload_size,
				     .topic_size = (uint16_t)topic_size,
				     .packet_id = publish->packet_id,
				     .qos = publish->qos,
				     .is_retain = publish->is_retain,
				     .is_dup = publish->is_dup };
	memcpy(out->bytes, publish->topic.data, topic_size);
	out->bytes[topic_size] = '\0';
	if (payload_size > 0)
		memcpy(out->bytes + topic_size + 1, publish->payload.data, payload_size);
	append(client, out);
	hbus_sn_pump(client);
}

/* ---- sending ------------------------------------------------------------------------------- */

static void wait_for(struct hbus_sn_client *client, enum hbus_sn_wait waits, uint16_t msg_id)
{
	client->waits = waits;
	client->sent_id = msg_id;
	client->n_retries = 0;
	hbus_sn_timer_set(client->engine, &client->retry, client->engine->config.retry_ms);
}

static void wait_for_nothing(struct hbus_sn_client *client)
{
	client->waits = WAIT_NOTHING;
	hbus_wheel_cancel(&client->engine->wheel, &client->retry.timer);
}

static void send_publish(struct hbus_sn_client *client, const struct hbus_sn_out *out, uint8_t kind,
			 uint16_t topic_id)
{
	uint8_t flags = (uint8_t)((out->is_dup ? HBUS_SN_DUP : 0U) |
				  (uint32_t)out->qos << HBUS_SN_QOS_OFF |
				  (out->is_retain ? HBUS_SN_RETAIN : 0U) | kind);
	const uint8_t fixed[] = { flags, (uint8_t)(topic_id >> 8), (uint8_t)topic_id,
				  (uint8_t)(out->packet_id >> 8), (uint8_t)out->packet_id };

	client->engine->counters.publishes_out++;
	hbus_sn_send(client, HBUS_SN_PUBLISH, fixed, sizeof(fixed), out->bytes + out->topic_size + 1,
		     out->payload_size);
}

static void send_register(struct hbus_sn_client *client)
{
	const struct hbus_sn_topic *topic = client->topics[client->register_topic_id - 1];
	const uint8_t fixed[] = { (uint8_t)(client->register_topic_id >> 8),
				  (uint8_t)client->register_topic_id,
				  (uint8_t)(client->sent_id >> 8), (uint8_t)client->sent_id };

	hbus_sn_send(client, HBUS_SN_REGISTER, fixed, sizeof(fixed), topic->name, topic->size);
}

/* Of what was not sent yet. */
static void drop(struct hbus_sn_client *client, uint8_t reason)
{
	struct hbus_sn_out *out = take_first(client);

	give_up(client, out->qos, out->packet_id, reason);
	free(out);
}

/* The first message needs an identifier that the client has not heard of. Return: false at a limit. */
static bool begin_register(struct hbus_sn_client *client, const struct hbus_sn_out *out)
{
	uint16_t topic_id = hbus_sn_id_of(client, (const char *)out->bytes, out->topic_size);

	if (topic_id == 0)
		return false;
	client->register_topic_id = topic_id;
	if (++client->last_msg_id == 0)
		client->last_msg_id = 1;
	wait_for(client, WAIT_REGACK, client->last_msg_id);
	send_register(client);
	return true;
}

/* Return: whether the first message went, one way or another. */
static bool send_first(struct hbus_sn_client *client)
{
	struct hbus_sn_out *out = client->first;
	uint16_t topic_id;
	uint8_t kind = hbus_sn_kind_of(client, (const char *)out->bytes, out->topic_size, &topic_id);

	if (out->qos > 0 && client->waits != WAIT_NOTHING)
		return false;
	if (topic_id == 0) {
		if (client->waits != WAIT_NOTHING)
			return false;
		if (begin_register(client, out))
			return false;
		drop(client, HBUS_MQTT_QUOTA);
		return true;
	}
	(void)take_first(client);
	send_publish(client, out, kind, topic_id);
	if (out->qos == 0) {
		free(out);
		return true;
	}
	client->sent = out;
	wait_for(client, out->qos == 1 ? WAIT_PUBACK : WAIT_PUBREC, out->packet_id);
	return true;
}

void hbus_sn_pump(struct hbus_sn_client *client)
{
	if (client->state != SN_ACTIVE && client->state != SN_AWAKE)
		return;
	if (client->waits == WAIT_PUBCOMP && !hbus_timer_is_set(&client->retry.timer)) {
		/* It was asleep meanwhile. */
		wait_for(client, WAIT_PUBCOMP, client->sent_id);
		hbus_sn_send_id(client, HBUS_SN_PUBREL, client->sent_id);
	}
	while (client->first && client->waits != WAIT_REGACK && send_first(client))
		;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* An identifier that the client does not know after all: it is told again under a new one. */
static void take_back(struct hbus_sn_client *client, uint16_t topic_id)
{
	struct hbus_sn *engine = client->engine;

	if (topic_id == 0 || topic_id > client->n_topics || !client->topics[topic_id - 1])
		return;
	if (engine->io.path_set && client->has_path)
		engine->io.path_set(engine->io.context, &client->peer, topic_id, 0);
	if (client->held_topic_id == topic_id)
		client->held_topic_id = client->held_msg_id = 0;
	hbus_sn_topic_put(engine, client->topics[topic_id - 1]);
	client->topics[topic_id - 1] = NULL;
}

static void on_regack(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	if (client->waits != WAIT_REGACK || client->sent_id != message->msg_id ||
	    client->register_topic_id != message->topic_id) {
		client->engine->counters.duplicates++;
		return;
	}
	if (message->code == HBUS_SN_CONGESTION)
		return; /* asked again by the timer */
	wait_for_nothing(client);
	client->register_topic_id = 0;
	if (message->code != HBUS_SN_ACCEPTED) {
		client->engine->counters.dropped_refused++;
		take_back(client, message->topic_id);
		drop(client, HBUS_MQTT_BAD_TOPIC);
	}
}

static void forget_sent(struct hbus_sn_client *client)
{
	free(client->sent);
	client->sent = NULL;
	wait_for_nothing(client);
}

static void on_puback(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	bool is_sent = (client->waits == WAIT_PUBACK || client->waits == WAIT_PUBREC) &&
		       client->sent_id == message->msg_id;
	uint8_t type = client->waits == WAIT_PUBREC ? HBUS_MQTT_PUBREC : HBUS_MQTT_PUBACK;
	uint8_t reason = 0;

	if (message->code == HBUS_SN_CONGESTION)
		return; /* sent again by the timer */
	if (message->code == HBUS_SN_INVALID_TOPIC) {
		take_back(client, message->topic_id);
		if (is_sent && !client->sent->was_registered) {
			client->sent->was_registered = true;
			hbus_sn_unsend(client);
			return;
		}
	}
	if (!is_sent || (type == HBUS_MQTT_PUBREC && message->code == HBUS_SN_ACCEPTED)) {
		client->engine->counters.duplicates += message->code == HBUS_SN_ACCEPTED;
		return;
	}
	if (message->code != HBUS_SN_ACCEPTED) {
		client->engine->counters.dropped_refused++;
		reason = HBUS_MQTT_UNSPECIFIED;
	}
	forget_sent(client);
	hbus_sn_mqtt_ack(client, type, message->msg_id, reason);
}

static void on_pubrec(struct hbus_sn_client *client, uint16_t msg_id)
{
	if (client->waits == WAIT_PUBREC && client->sent_id == msg_id) {
		forget_sent(client);
		hbus_sn_mqtt_ack(client, HBUS_MQTT_PUBREC, msg_id, 0);
	} else if (client->waits == WAIT_PUBCOMP && client->sent_id == msg_id) {
		hbus_sn_send_id(client, HBUS_SN_PUBREL, msg_id);
	} else {
		client->engine->counters.duplicates++;
	}
}

void hbus_sn_on_release(struct hbus_sn_client *client, uint16_t packet_id)
{
	client->waits = WAIT_PUBCOMP;
	client->sent_id = packet_id;
	hbus_wheel_cancel(&client->engine->wheel, &client->retry.timer);
	hbus_sn_pump(client);
}

void hbus_sn_on_answer(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	if (message->type == HBUS_SN_REGACK) {
		on_regack(client, message);
	} else if (message->type == HBUS_SN_PUBACK) {
		on_puback(client, message);
	} else if (message->type == HBUS_SN_PUBREC) {
		on_pubrec(client, message->msg_id);
	} else if (client->waits == WAIT_PUBCOMP && client->sent_id == message->msg_id) {
		wait_for_nothing(client);
		hbus_sn_mqtt_ack(client, HBUS_MQTT_PUBCOMP, message->msg_id, 0);
	} else {
		client->engine->counters.duplicates++;
	}
}

/* ---- retries ----------------------------------------------------------------------------------- */

void hbus_sn_unsend(struct hbus_sn_client *client)
{
	struct hbus_sn_out *out = client->sent;

	hbus_wheel_cancel(&client->engine->wheel, &client->retry.timer);
	if (client->waits == WAIT_REGACK) {
		take_back(client, client->register_topic_id);
		client->register_topic_id = 0;
	}
	if (out) {
		client->sent = NULL;
		out->is_dup = true;
		prepend(client, out);
	}
	/* PUBREL is not in the queue; it is said again when the client is there. */
	if (client->waits != WAIT_PUBCOMP)
		client->waits = WAIT_NOTHING;
}

static void send_again(struct hbus_sn_client *client)
{
	uint16_t topic_id;
	uint8_t kind;

	client->engine->counters.retries++;
	if (client->waits == WAIT_REGACK) {
		send_register(client);
	} else if (client->waits == WAIT_PUBCOMP) {
		hbus_sn_send_id(client, HBUS_SN_PUBREL, client->sent_id);
	} else if (client->sent) {
		kind = hbus_sn_kind_of(client, (const char *)client->sent->bytes,
				       client->sent->topic_size, &topic_id);
		client->sent->is_dup = true;
		if (topic_id)
			send_publish(client, client->sent, kind, topic_id);
		else
			hbus_sn_unsend(client);
	}
}

void hbus_sn_retry_due(struct hbus_sn_client *client)
{
	struct hbus_sn *engine = client->engine;

	if (client->waits == WAIT_NOTHING)
		return;
	if (client->n_retries++ < engine->config.retries_max) {
		hbus_sn_timer_set(engine, &client->retry, engine->config.retry_ms);
		send_again(client);
	} else if (client->state == SN_AWAKE) {
		/* It has gone back to sleep without a word; its time is watched. */
		client->state = SN_ASLEEP;
		engine->counters.asleep_now++;
		hbus_sn_unsend(client);
	} else {
		hbus_sn_lose(client);
	}
}
