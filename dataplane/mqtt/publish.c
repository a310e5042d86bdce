/* SPDX-License-Identifier: BSD-3-Clause */
/* PUBLISH from clients: judged, put on the bus, retained, acknowledged. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/engine_pvt.h"

/* -- QoS 2 identifiers that the client has not released -- */

/* An MQTT 5 client was told how many; one of 3.1.1 may use all there are, while there is memory for them. */
static uint8_t received_judge(const struct hbus_mqtt_conn *conn)
{
	const struct hbus_mqtt *engine = conn->engine;
	const struct hbus_mqtt_received *received = &conn->session->received;

	if (conn->version == HBUS_MQTT_V5)
		return received->n >= engine->config.receive_max ? HBUS_MQTT_RECEIVE_MAX_EXCEEDED : 0;
	if (hbus_mqtt_received_needs_bits(received) &&
	    engine->received_bytes + HBUS_MQTT_RECEIVED_BYTES > engine->config.message_bytes_max / 4)
		return HBUS_MQTT_RECEIVE_MAX_EXCEEDED;
	return 0;
}

/* What the bits of all sessions take. */
static void received_count(struct hbus_mqtt *engine, bool had_bits, bool has_bits)
{
	if (has_bits && !had_bits)
		engine->received_bytes += HBUS_MQTT_RECEIVED_BYTES;
	if (had_bits && !has_bits)
		engine->received_bytes -= HBUS_MQTT_RECEIVED_BYTES;
}

bool hbus_mqtt_received_note(struct hbus_mqtt_session *session, uint16_t packet_id)
{
	bool had_bits = session->received.bits, ok = hbus_mqtt_received_add(&session->received, packet_id);

	received_count(session->engine, had_bits, session->received.bits);
	hbus_mqtt_log_received(session, packet_id, false);
	return ok;
}

bool hbus_mqtt_received_release(struct hbus_mqtt_session *session, uint16_t packet_id)
{
	bool had_bits = session->received.bits, was_there = hbus_mqtt_received_remove(&session->received, packet_id);

	received_count(session->engine, had_bits, session->received.bits);
	if (was_there)
		hbus_mqtt_log_received(session, packet_id, true);
	return was_there;
}

void hbus_mqtt_received_drop(struct hbus_mqtt_session *session)
{
	received_count(session->engine, session->received.bits, false);
	hbus_mqtt_received_deinit(&session->received);
}

void hbus_mqtt_on_pubrel(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_ack *packet)
{
	bool was_there = hbus_mqtt_received_release(conn->session, packet->packet_id);

	hbus_mqtt_send_ack(conn, HBUS_MQTT_PUBCOMP, packet->packet_id, was_there ? 0 : HBUS_MQTT_ID_NOT_FOUND);
}

/* -- what may be published -- */

uint8_t hbus_mqtt_check_topic(struct hbus_mqtt *engine, const char *principal, const char *topic, size_t size)
{
	if (hbus_topic_check_name(topic, size)) {
		engine->counters.publishes_bad_topic++;
		return HBUS_MQTT_BAD_TOPIC;
	}
	/* Names that begin with $ are the server's own. */
	if (topic[0] == '$' ||
	    (engine->io.authorize && !engine->io.authorize(engine->io.bus_context, principal, topic, true))) {
		engine->counters.publishes_denied++;
		return HBUS_MQTT_NOT_AUTHORIZED;
	}
	return 0;
}

uint8_t hbus_mqtt_publish(struct hbus_mqtt *engine, uint64_t session_number, struct hbus_mqtt_message *message)
{
	uint8_t reason;

	message->origin = (struct hbus_mqtt_origin){ engine->id, session_number, engine->n_published + 1 };
	if (message->is_retain && !hbus_mqtt_retained_fits(engine, message)) {
		engine->counters.retained_refused++;
		return HBUS_MQTT_QUOTA;
	}
	reason = engine->io.publish(engine->io.bus_context, message);
	if (reason == HBUS_MQTT_PENDING)
		return reason;
	if (reason) {
		engine->counters.publishes_bus_refused++;
		return reason;
	}
	engine->n_published++;
	return message->is_retain ? hbus_mqtt_retain(engine, message) : 0;
}

/*
 * The topic, which may be said by an alias, into @room; too long a name is cut, so that the check for
 * length fails. Return: 0 or the reason to disconnect.
 */
static uint8_t resolve_topic(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_publish *packet,
			     char room[HBUS_TOPIC_NAME_MAX + 2], size_t *ret_size)
{
	uint16_t alias_max = conn->engine->config.alias_max;
	bool has_alias = hbus_mqtt_has(&packet->props, HBUS_MQTT_P_TOPIC_ALIAS);
	uint32_t alias = hbus_mqtt_number(&packet->props, HBUS_MQTT_P_TOPIC_ALIAS, 0);
	size_t size = packet->topic.size < HBUS_TOPIC_NAME_MAX + 1 ? packet->topic.size : HBUS_TOPIC_NAME_MAX + 1;
	struct hbus_mqtt_alias *entry;

	if (has_alias && (alias == 0 || alias > alias_max))
		return HBUS_MQTT_BAD_ALIAS;
	if (size == 0 && !has_alias)
		return conn->version == HBUS_MQTT_V5 ? HBUS_MQTT_PROTOCOL_ERROR : HBUS_MQTT_MALFORMED;
	if (memchr(packet->topic.data, '+', packet->topic.size) || memchr(packet->topic.data, '#', packet->topic.size))
		return HBUS_MQTT_BAD_TOPIC;
	if (has_alias && !conn->alias_in) {
		conn->alias_in = calloc(alias_max, sizeof(*conn->alias_in));
		if (!conn->alias_in)
			return HBUS_MQTT_QUOTA;
	}
	entry = has_alias ? &conn->alias_in[alias - 1] : NULL;
	if (size == 0) {
		if (!entry->topic)
			return HBUS_MQTT_PROTOCOL_ERROR;
		memcpy(room, entry->topic, entry->size + 1);
		*ret_size = entry->size;
		return 0;
	}
	memcpy(room, packet->topic.data, size);
	room[size] = '\0';
	*ret_size = size;
	if (entry) {
		free(entry->topic);
		entry->topic = strdup(room);
		entry->size = size;
		if (!entry->topic)
			return HBUS_MQTT_QUOTA;
	}
	return 0;
}

/* What the standard forbids and one packet alone does not show. Return: 0 or the reason to disconnect. */
static uint8_t judge_props(const struct hbus_mqtt_publish *packet)
{
	struct hbus_mqtt_span response = packet->props.text[HBUS_MQTT_P_RESPONSE_TOPIC];

	if (hbus_mqtt_has(&packet->props, HBUS_MQTT_P_SUBSCRIPTION_ID))
		return HBUS_MQTT_PROTOCOL_ERROR;
	if (!hbus_mqtt_has(&packet->props, HBUS_MQTT_P_RESPONSE_TOPIC))
		return 0;
	if (response.size == 0 || memchr(response.data, '+', response.size) || memchr(response.data, '#', response.size))
		return HBUS_MQTT_PROTOCOL_ERROR;
	return 0;
}

/* Return: 0 or the reason to refuse this message with. */
static uint8_t take_message(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_publish *packet,
			    const char *topic, size_t topic_size)
{
	struct hbus_mqtt *engine = conn->engine;
	struct hbus_mqtt_message message = { .topic = topic };
	uint8_t *room = NULL, reason;

	reason = hbus_mqtt_check_topic(engine, conn->principal, topic, topic_size);
	if (reason)
		return reason;
	if (hbus_mqtt_number(&packet->props, HBUS_MQTT_P_PAYLOAD_FORMAT, 0) == 1 &&
	    !hbus_mqtt_is_utf8(packet->payload.data, packet->payload.size)) {
		engine->counters.publishes_bad_payload++;
		return HBUS_MQTT_BAD_PAYLOAD;
	}
	if (packet->props.present & ~HBUS_MQTT_CARRIED) {
		room = malloc(packet->props.raw.size);
		if (!room)
			return HBUS_MQTT_QUOTA;
	}
	message.payload = packet->payload.data;
	message.payload_size = packet->payload.size;
	message.props = hbus_mqtt_carry(&packet->props, room);
	message.qos = packet->qos;
	message.is_retain = packet->is_retain;
	message.has_expiry = hbus_mqtt_has(&packet->props, HBUS_MQTT_P_MESSAGE_EXPIRY);
	message.expiry_s = hbus_mqtt_number(&packet->props, HBUS_MQTT_P_MESSAGE_EXPIRY, 0);
	reason = hbus_mqtt_publish(engine, conn->session->number, &message);
	free(room);
	return reason;
}

/* MQTT 3.1.1 can say no only by hanging up. It need not where sending again could not help. */
static bool is_for_ever(uint8_t reason)
{
	return reason == HBUS_MQTT_NOT_AUTHORIZED || reason == HBUS_MQTT_BAD_TOPIC || reason == HBUS_MQTT_BAD_PAYLOAD;
}

static void acknowledge(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_publish *packet, uint8_t reason)
{
	if (conn->version == HBUS_MQTT_V3 && reason && !is_for_ever(reason) && packet->qos > 0) {
		hbus_mqtt_conn_close(conn, true);
		return;
	}
	if (packet->qos == 2 && (reason == 0 || conn->version == HBUS_MQTT_V3) &&
	    !hbus_mqtt_received_note(conn->session, packet->packet_id)) {
		hbus_mqtt_conn_fail(conn, HBUS_MQTT_QUOTA);
		return;
	}
	if (packet->qos > 0)
		hbus_mqtt_send_ack(conn, packet->qos == 1 ? HBUS_MQTT_PUBACK : HBUS_MQTT_PUBREC, packet->packet_id,
				   reason);
}

uint8_t hbus_mqtt_on_publish(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_publish *packet)
{
	struct hbus_mqtt *engine = conn->engine;
	char topic[HBUS_TOPIC_NAME_MAX + 2];
	size_t topic_size;
	uint8_t reason = judge_props(packet);

	if (reason == 0)
		reason = resolve_topic(conn, packet, topic, &topic_size);
	if (reason) {
		hbus_mqtt_conn_fail(conn, reason);
		return 0;
	}
	if (packet->qos == 2 && hbus_mqtt_received_has(&conn->session->received, packet->packet_id)) {
		engine->counters.publishes_duplicate++;
		hbus_mqtt_send_ack(conn, HBUS_MQTT_PUBREC, packet->packet_id, 0);
		return 0;
	}
	reason = packet->qos == 2 ? received_judge(conn) : 0;
	if (reason) {
		hbus_mqtt_conn_fail(conn, reason);
		return 0;
	}
	reason = take_message(conn, packet, topic, topic_size);
	if (reason == HBUS_MQTT_PENDING) {
		hbus_mqtt_wait(conn, false, topic);
		return reason;
	}
	engine->counters.publishes_in++;
	acknowledge(conn, packet, reason);
	return 0;
}
