/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MQTT engine's packets, both ways: what a client says in MQTT-SN is said there in MQTT 5, on a
 * connection of its own.
 */
#include <string.h>

#include "dataplane/mqttsn/engine_pvt.h"

/* Packets to the MQTT engine, and from it: a message, a topic, and what stands around them. */
enum { PACKET_ROOM = HBUS_SN_MESSAGE_MAX + 512 };

uint8_t hbus_sn_code_of(uint8_t reason)
{
	switch (reason) {
	case HBUS_MQTT_BAD_TOPIC:
	case HBUS_MQTT_BAD_FILTER:
		return HBUS_SN_INVALID_TOPIC;
	case HBUS_MQTT_QUOTA:
	case HBUS_MQTT_BUSY:
	case HBUS_MQTT_UNAVAILABLE:
	case HBUS_MQTT_UNSPECIFIED:
	case HBUS_MQTT_RATE_EXCEEDED:
	case HBUS_MQTT_RECEIVE_MAX_EXCEEDED:
		return HBUS_SN_CONGESTION;
	default:
		return reason < HBUS_MQTT_UNSPECIFIED ? HBUS_SN_ACCEPTED : HBUS_SN_NOT_SUPPORTED;
	}
}

/* ---- to the MQTT engine ---------------------------------------------------------------------- */

/* @body: written behind the place for the fixed header, which is put in front of it here. */
struct packet {
	uint8_t bytes[5 + PACKET_ROOM];
	struct hbus_mqtt_writer writer;
};

static void begin(struct packet *packet)
{
	packet->writer = hbus_mqtt_writer(packet->bytes + 5, PACKET_ROOM);
}

static void give(struct hbus_sn_client *client, struct packet *packet, uint8_t first_byte)
{
	size_t size = (size_t)(packet->writer.at - packet->bytes) - 5;
	size_t n_length = hbus_mqtt_varint_size(size);
	uint8_t *head = packet->bytes + 5 - n_length - 1;
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(head, 1 + n_length);

	if (packet->writer.is_over || !client->mqtt)
		return;
	hbus_mqtt_put_u8(&writer, first_byte);
	hbus_mqtt_put_varint(&writer, (uint32_t)size);
	(void)hbus_mqtt_input(client->mqtt, head, 1 + n_length + size);
}

static void put_connect_props(struct hbus_mqtt_writer *writer, const struct hbus_sn_client *client)
{
	hbus_mqtt_put_varint(writer, 5 + 3 + 5);
	hbus_mqtt_put_number(writer, HBUS_MQTT_P_SESSION_EXPIRY, client->is_clean ? 0 : UINT32_MAX);
	hbus_mqtt_put_number(writer, HBUS_MQTT_P_RECEIVE_MAX, 1);
	hbus_mqtt_put_number(writer, HBUS_MQTT_P_MAX_PACKET, PACKET_ROOM);
}

bool hbus_sn_mqtt_connect(struct hbus_sn_client *client)
{
	uint8_t flags = client->is_clean ? 0x02 : 0;
	struct packet packet;

	client->mqtt = hbus_mqtt_accept(client->engine->mqtt, client);
	if (!client->mqtt)
		return false;
	begin(&packet);
	if (client->will_topic)
		flags |= (uint8_t)(0x04 | (client->will_flags & HBUS_SN_QOS_MASK) >> 2 |
				   (client->will_flags & HBUS_SN_RETAIN ? 0x20 : 0));
	hbus_mqtt_put_binary(&packet.writer, "MQTT", 4);
	hbus_mqtt_put_u8(&packet.writer, HBUS_MQTT_V5);
	hbus_mqtt_put_u8(&packet.writer, flags);
	hbus_mqtt_put_u16(&packet.writer, 0);
	put_connect_props(&packet.writer, client);
	hbus_mqtt_put_binary(&packet.writer, client->id, client->id_size);
	if (client->will_topic) {
		hbus_mqtt_put_varint(&packet.writer, 0);
		hbus_mqtt_put_binary(&packet.writer, client->will_topic, client->will_topic_size);
		hbus_mqtt_put_binary(&packet.writer, client->will, client->will_size);
	}
	give(client, &packet, HBUS_MQTT_CONNECT << 4);
	return client->mqtt != NULL;
}

void hbus_sn_mqtt_publish(struct hbus_sn_client *client, uint8_t flags, uint16_t msg_id,
			  const char *topic, size_t topic_size, const void *payload,
			  size_t payload_size)
{
	uint8_t qos = hbus_sn_qos(flags);
	uint8_t first_byte = (uint8_t)(HBUS_MQTT_PUBLISH << 4 | qos << 1 |
				       (qos && flags & HBUS_SN_DUP ? 8 : 0) |
				       (flags & HBUS_SN_RETAIN ? 1 : 0));
	struct packet packet;

	begin(&packet);
	hbus_mqtt_put_binary(&packet.writer, topic, topic_size);
	if (qos > 0)
		hbus_mqtt_put_u16(&packet.writer, msg_id);
	hbus_mqtt_put_varint(&packet.writer, 0);
	hbus_mqtt_put_bytes(&packet.writer, payload, payload_size);
	give(client, &packet, first_byte);
}

void hbus_sn_mqtt_ack(struct hbus_sn_client *client, uint8_t type, uint16_t msg_id, uint8_t reason)
{
	struct packet packet;

	begin(&packet);
	hbus_mqtt_put_u16(&packet.writer, msg_id);
	if (reason)
		hbus_mqtt_put_u8(&packet.writer, reason);
	give(client, &packet, (uint8_t)(type << 4 | (type == HBUS_MQTT_PUBREL ? 2 : 0)));
}

void hbus_sn_mqtt_subscribe(struct hbus_sn_client *client, uint16_t msg_id, const char *filter,
			    size_t filter_size, uint8_t qos)
{
	struct packet packet;

	begin(&packet);
	hbus_mqtt_put_u16(&packet.writer, msg_id);
	hbus_mqtt_put_varint(&packet.writer, 0);
	hbus_mqtt_put_binary(&packet.writer, filter, filter_size);
	hbus_mqtt_put_u8(&packet.writer, qos);
	give(client, &packet, HBUS_MQTT_SUBSCRIBE << 4 | 2);
}

void hbus_sn_mqtt_unsubscribe(struct hbus_sn_client *client, uint16_t msg_id, const char *filter,
			      size_t filter_size)
{
	struct packet packet;

	begin(&packet);
	hbus_mqtt_put_u16(&packet.writer, msg_id);
	hbus_mqtt_put_varint(&packet.writer, 0);
	hbus_mqtt_put_binary(&packet.writer, filter, filter_size);
	give(client, &packet, HBUS_MQTT_UNSUBSCRIBE << 4 | 2);
}

void hbus_sn_mqtt_disconnect(struct hbus_sn_client *client)
{
	struct packet packet;

	begin(&packet);
	give(client, &packet, HBUS_MQTT_DISCONNECT << 4);
}

void hbus_sn_mqtt_hangup(struct hbus_sn_client *client)
{
	struct hbus_mqtt_conn *mqtt = client->mqtt;

	client->mqtt = NULL;
	if (mqtt)
		hbus_mqtt_hangup(mqtt);
}

/* ---- from the MQTT engine -------------------------------------------------------------------- */

static void on_puback(struct hbus_sn_client *client, uint16_t msg_id, uint8_t reason)
{
	struct hbus_sn_pending pending;

	if (hbus_sn_pending_take(client, HBUS_SN_PUBLISH, msg_id, &pending))
		hbus_sn_send_ack(client, HBUS_SN_PUBACK, pending.topic_id, msg_id,
				 hbus_sn_code_of(reason));
}

static void on_pubrec(struct hbus_sn_client *client, uint16_t msg_id, uint8_t reason)
{
	struct hbus_sn_pending pending = { 0 };
	bool is_known = hbus_sn_pending_take(client, HBUS_SN_PUBLISH, msg_id, &pending);

	if (reason < HBUS_MQTT_UNSPECIFIED)
		hbus_sn_send_id(client, HBUS_SN_PUBREC, msg_id);
	else if (is_known)
		hbus_sn_send_ack(client, HBUS_SN_PUBACK, pending.topic_id, msg_id,
				 hbus_sn_code_of(reason));
}

static void on_ack(struct hbus_sn_client *client, uint8_t type, const uint8_t *body, size_t size)
{
	struct hbus_mqtt_ack ack;

	if (hbus_mqtt_parse_ack(HBUS_MQTT_V5, type, body, size, &ack) != 0)
		return;
	if (type == HBUS_MQTT_PUBACK)
		on_puback(client, ack.packet_id, ack.reason);
	else if (type == HBUS_MQTT_PUBREC)
		on_pubrec(client, ack.packet_id, ack.reason);
	else if (type == HBUS_MQTT_PUBCOMP)
		hbus_sn_send_id(client, HBUS_SN_PUBCOMP, ack.packet_id);
	else if (ack.reason < HBUS_MQTT_UNSPECIFIED)
		hbus_sn_on_release(client, ack.packet_id);
}

/* One filter, so one code. */
static void on_suback(struct hbus_sn_client *client, const uint8_t *body, size_t size)
{
	uint16_t msg_id = (uint16_t)(size >= 2 ? body[0] << 8 | body[1] : 0);
	uint8_t reason = size >= 4 ? body[size - 1] : HBUS_MQTT_UNSPECIFIED;
	struct hbus_sn_pending pending;
	uint8_t fixed[6];

	if (!hbus_sn_pending_take(client, HBUS_SN_SUBSCRIBE, msg_id, &pending))
		return;
	fixed[0] = (uint8_t)(reason < HBUS_MQTT_UNSPECIFIED ? reason << HBUS_SN_QOS_OFF : 0);
	fixed[1] = (uint8_t)(pending.topic_id >> 8);
	fixed[2] = (uint8_t)pending.topic_id;
	fixed[3] = body[0];
	fixed[4] = body[1];
	fixed[5] = hbus_sn_code_of(reason);
	hbus_sn_send(client, HBUS_SN_SUBACK, fixed, sizeof(fixed), NULL, 0);
}

static void on_unsuback(struct hbus_sn_client *client, const uint8_t *body, size_t size)
{
	uint16_t msg_id = (uint16_t)(size >= 2 ? body[0] << 8 | body[1] : 0);
	struct hbus_sn_pending pending;

	if (hbus_sn_pending_take(client, HBUS_SN_UNSUBSCRIBE, msg_id, &pending))
		hbus_sn_send_id(client, HBUS_SN_UNSUBACK, msg_id);
}

static void on_packet(struct hbus_sn_client *client, uint8_t first_byte, const uint8_t *body,
		      size_t size)
{
	struct hbus_mqtt_publish publish;

	switch (first_byte >> 4) {
	case HBUS_MQTT_CONNACK:
		if (size >= 2)
			hbus_sn_on_connack(client, body[1]);
		return;
	case HBUS_MQTT_PUBLISH:
		if (hbus_mqtt_parse_publish(HBUS_MQTT_V5, first_byte & 15, body, size, &publish) == 0)
			hbus_sn_deliver(client, &publish);
		return;
	case HBUS_MQTT_PUBACK:
	case HBUS_MQTT_PUBREC:
	case HBUS_MQTT_PUBREL:
	case HBUS_MQTT_PUBCOMP: on_ack(client, first_byte >> 4, body, size); return;
	case HBUS_MQTT_SUBACK: on_suback(client, body, size); return;
	case HBUS_MQTT_UNSUBACK: on_unsuback(client, body, size); return;
	case HBUS_MQTT_DISCONNECT:
		client->engine->counters.clients_moved +=
			size >= 1 && body[0] == HBUS_MQTT_TAKEN_OVER;
		return;
	default: return;
	}
}

size_t hbus_sn_mqtt_send(void *context, void *transport, const struct iovec *parts, int n_parts)
{
	struct hbus_sn_client *client = transport;
	uint8_t bytes[PACKET_ROOM + 8];
	struct hbus_mqtt_reader reader;
	size_t size = 0, body_size;
	uint8_t first_byte;

	(void)context;
	/* More than it was told that we take; nobody's connection is told nothing. */
	for (int i = 0; i < n_parts; i++) {
		if (parts[i].iov_len > sizeof(bytes) - size)
			return 0;
		if (parts[i].iov_len > 0)
			memcpy(bytes + size, parts[i].iov_base, parts[i].iov_len);
		size += parts[i].iov_len;
	}
	reader = hbus_mqtt_reader(bytes, size);
	first_byte = hbus_mqtt_get_u8(&reader);
	body_size = hbus_mqtt_get_varint(&reader);
	if (!reader.is_bad && body_size == hbus_mqtt_left(&reader) &&
	    client->state != SN_ENDED)
		on_packet(client, first_byte, reader.at, body_size);
	return 0;
}

void hbus_sn_mqtt_close(void *context, void *transport)
{
	struct hbus_sn_client *client = transport;

	(void)context;
	client->mqtt = NULL;
	client->was_dropped = true;
	hbus_sn_has_work(client);
}
