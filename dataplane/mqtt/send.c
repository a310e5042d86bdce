/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets to clients. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/engine_pvt.h"
#include "dataplane/mqtt/structured.h"

/* Every subscription identifier of a session, and the few properties beside them. */
enum { IDS_MAX = 256, MIDDLE_ROOM = 2 + 4 + 5 + 3 + 5 * IDS_MAX, TOPIC_WORTH_ALIAS = 4 };

static void send_parts(struct hbus_mqtt_conn *conn, const struct iovec *parts, int n_parts)
{
	struct hbus_mqtt *engine = conn->engine;
	size_t backlog;

	if (conn->state == CONN_CLOSED || engine->is_quiet)
		return;
	backlog = engine->io.send(engine->io.context, conn->transport, parts, n_parts);
	if (backlog > engine->config.backlog_max) {
		engine->counters.slow_readers++;
		hbus_mqtt_conn_close(conn, true);
	} else if (backlog > engine->config.backlog_high && !conn->is_backlogged) {
		conn->is_backlogged = true;
		hbus_mqtt_timer_set(engine, &conn->stall, engine->config.stall_ms);
	}
}

void hbus_mqtt_send_bytes(struct hbus_mqtt_conn *conn, const void *data, size_t size)
{
	struct iovec part = { (void *)(uintptr_t)data, size };

	/* Nothing but PUBLISH can be left out because it is too large. */
	if (size > conn->packet_max)
		hbus_mqtt_conn_close(conn, true);
	else
		send_parts(conn, &part, 1);
}

void hbus_mqtt_send_ack(struct hbus_mqtt_conn *conn, uint8_t type, uint16_t packet_id, uint8_t reason)
{
	bool has_reason = conn->version == HBUS_MQTT_V5 && reason != 0;
	uint8_t packet[5] = { (uint8_t)(type << 4 | (type == HBUS_MQTT_PUBREL ? 2 : 0)), has_reason ? 3 : 2,
			      (uint8_t)(packet_id >> 8), (uint8_t)packet_id, reason };

	hbus_mqtt_send_bytes(conn, packet, has_reason ? 5 : 4);
}

void hbus_mqtt_send_codes(struct hbus_mqtt_conn *conn, uint8_t type, uint16_t packet_id, const uint8_t *codes,
			  size_t n_codes)
{
	bool is_v5 = conn->version == HBUS_MQTT_V5;
	uint8_t head[8];
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(head, sizeof(head));
	struct iovec parts[2];

	if (!is_v5 && type == HBUS_MQTT_UNSUBACK)
		n_codes = 0;
	hbus_mqtt_put_u8(&writer, (uint8_t)(type << 4));
	hbus_mqtt_put_varint(&writer, (uint32_t)(2u + is_v5 + n_codes));
	hbus_mqtt_put_u16(&writer, packet_id);
	if (is_v5)
		hbus_mqtt_put_varint(&writer, 0);
	parts[0] = (struct iovec){ head, (size_t)(writer.at - head) };
	parts[1] = (struct iovec){ (void *)(uintptr_t)codes, n_codes };
	if (parts[0].iov_len + n_codes > conn->packet_max)
		hbus_mqtt_conn_close(conn, true);
	else
		send_parts(conn, parts, 2);
}

/*
 * The alias under which this topic goes to this client, 0 = none. *ret_is_new: it has to be said with
 * the topic. Aliases are given once, to the first topics: a client with more topics than aliases would
 * gain nothing from giving them away and back.
 */
static uint16_t alias_of(struct hbus_mqtt_conn *conn, const char *topic, size_t size, bool *ret_is_new)
{
	*ret_is_new = true;
	if (conn->alias_out_max == 0 || size < TOPIC_WORTH_ALIAS)
		return 0;
	for (uint16_t i = 0; i < conn->n_alias_out; i++) {
		if (conn->alias_out[i].size == size && memcmp(conn->alias_out[i].topic, topic, size) == 0) {
			*ret_is_new = false;
			return (uint16_t)(i + 1);
		}
	}
	return conn->n_alias_out < conn->alias_out_max ? (uint16_t)(conn->n_alias_out + 1) : 0;
}

static void alias_keep(struct hbus_mqtt_conn *conn, const char *topic, size_t size)
{
	struct hbus_mqtt_alias *alias = &conn->alias_out[conn->n_alias_out];

	alias->topic = strdup(topic);
	alias->size = size;
	if (alias->topic)
		conn->n_alias_out++;
}

static size_t ids_size(const struct hbus_mqtt_how *how)
{
	size_t size = 0;

	for (uint16_t i = 0; i < how->n_ids; i++)
		size += 1 + hbus_mqtt_varint_size(how->ids[i]);
	return size;
}

/* What stands between the topic and the carried properties. Return: size of all properties. */
static size_t put_own_props(struct hbus_mqtt_writer *writer, const struct hbus_mqtt_message *message,
			    const uint64_t *left_s, const struct hbus_mqtt_how *how, uint16_t alias)
{
	size_t size = message->props.size + (left_s ? 5u : 0u) + (alias ? 3u : 0u) + ids_size(how);

	hbus_mqtt_put_varint(writer, (uint32_t)size);
	if (left_s)
		hbus_mqtt_put_number(writer, HBUS_MQTT_P_MESSAGE_EXPIRY, (uint32_t)*left_s);
	if (alias)
		hbus_mqtt_put_number(writer, HBUS_MQTT_P_TOPIC_ALIAS, alias);
	for (uint16_t i = 0; i < how->n_ids; i++)
		hbus_mqtt_put_number(writer, HBUS_MQTT_P_SUBSCRIPTION_ID, how->ids[i]);
	return size;
}

static bool send_message(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_message *message, uint64_t expires_ms,
			 const struct hbus_mqtt_how *how, uint16_t packet_id, bool is_dup)
{
	bool is_v5 = conn->version == HBUS_MQTT_V5, is_new = true;
	size_t topic_size = strlen(message->topic), said_size = topic_size, body_size;
	uint8_t head[8], middle[MIDDLE_ROOM];
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(middle, sizeof(middle));
	/* Rounded up: what has not expired yet must not look as if it had. */
	uint64_t now = hbus_mqtt_now(conn->engine), left_s = expires_ms > now ? (expires_ms - now + 999) / 1000 : 0;
	uint16_t alias = is_v5 ? alias_of(conn, message->topic, topic_size, &is_new) : 0;
	struct iovec parts[5];

	if (how->qos > 0)
		hbus_mqtt_put_u16(&writer, packet_id);
	if (is_v5)
		put_own_props(&writer, message, expires_ms == UINT64_MAX ? NULL : &left_s, how, alias);
	if (!is_new)
		said_size = 0;
	parts[1] = (struct iovec){ (void *)(uintptr_t)message->topic, said_size };
	parts[2] = (struct iovec){ middle, (size_t)(writer.at - middle) };
	parts[3] = (struct iovec){ (void *)(uintptr_t)message->props.data, is_v5 ? message->props.size : 0 };
	parts[4] = (struct iovec){ (void *)(uintptr_t)message->payload, message->payload_size };
	body_size = 2 + said_size + parts[2].iov_len + parts[3].iov_len + parts[4].iov_len;
	if (writer.is_over || body_size > HBUS_MQTT_VARINT_MAX ||
	    1 + hbus_mqtt_varint_size(body_size) + body_size > conn->packet_max) {
		conn->engine->counters.dropped_too_large++;
		return false;
	}
	writer = hbus_mqtt_writer(head, sizeof(head));
	hbus_mqtt_put_u8(&writer, (uint8_t)(HBUS_MQTT_PUBLISH << 4 | is_dup << 3 | how->qos << 1 | how->is_retain));
	hbus_mqtt_put_varint(&writer, (uint32_t)body_size);
	hbus_mqtt_put_u16(&writer, (uint16_t)said_size);
	parts[0] = (struct iovec){ head, (size_t)(writer.at - head) };
	if (alias && is_new)
		alias_keep(conn, message->topic, topic_size);
	conn->engine->counters.publishes_out++;
	send_parts(conn, parts, 5);
	return true;
}

bool hbus_mqtt_send_publish(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_message *message,
			    uint64_t expires_ms, const struct hbus_mqtt_how *how, uint16_t packet_id, bool is_dup)
{
	struct hbus_mqtt_message structured;
	char *json = NULL;
	bool is_sent;

	if (conn->version == HBUS_MQTT_V5 || !conn->engine->config.structures_cloudevents)
		return send_message(conn, message, expires_ms, how, packet_id, is_dup);
	structured = *message;
	structured.payload_size = hbus_mqtt_structured(message, &json);
	structured.payload = json;
	is_sent = send_message(conn, structured.payload_size > 0 ? &structured : message, expires_ms, how, packet_id, is_dup);
	free(json);
	return is_sent;
}
