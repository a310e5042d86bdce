/* SPDX-License-Identifier: BSD-3-Clause */
/* MQTT messages as events: the attributes. */
#include "dataplane/mqtt/attributes.h"

#include <string.h>

#include "dataplane/mqtt/props.h"

enum { AT_FLAGS = 3, AT_EXPIRY = 4, AT_ENGINE = 8, AT_SESSION = 16, AT_NUMBER = 24 };
enum { FLAG_QOS = 0x03, FLAG_RETAIN = 0x04, FLAG_EXPIRY = 0x08, FLAGS = 0x0f };

static const uint8_t magic[] = { 'M', 'Q', 1 };

size_t hbus_mqtt_attributes_encode(const struct hbus_mqtt_message *message,
				   uint8_t room[HBUS_MQTT_ATTRIBUTES_MAX])
{
	if (message->props.size > HBUS_MQTT_ATTRIBUTES_MAX - HBUS_MQTT_ATTRIBUTES_SIZE)
		return 0;
	memcpy(room, magic, sizeof(magic));
	room[AT_FLAGS] = (uint8_t)((message->qos & FLAG_QOS) | (message->is_retain ? FLAG_RETAIN : 0) |
				   (message->has_expiry ? FLAG_EXPIRY : 0));
	memcpy(room + AT_EXPIRY, &message->expiry_s, sizeof(message->expiry_s));
	memcpy(room + AT_ENGINE, &message->origin.engine, sizeof(message->origin.engine));
	memcpy(room + AT_SESSION, &message->origin.session, sizeof(message->origin.session));
	memcpy(room + AT_NUMBER, &message->origin.number, sizeof(message->origin.number));
	if (message->props.size > 0)
		memcpy(room + HBUS_MQTT_ATTRIBUTES_SIZE, message->props.data, message->props.size);
	return HBUS_MQTT_ATTRIBUTES_SIZE + message->props.size;
}

bool hbus_mqtt_attributes_decode(const uint8_t *data, size_t size, struct hbus_mqtt_message *message)
{
	struct hbus_mqtt_props props;
	uint8_t flags;

	message->qos = 2;
	message->is_retain = message->has_expiry = false;
	message->expiry_s = 0;
	message->props = (struct hbus_mqtt_span){ NULL, 0 };
	message->origin = (struct hbus_mqtt_origin){ 0, 0, 0 };
	if (size < HBUS_MQTT_ATTRIBUTES_SIZE || memcmp(data, magic, sizeof(magic)) != 0)
		return false;
	flags = data[AT_FLAGS];
	if (flags & ~FLAGS || (flags & FLAG_QOS) > 2)
		return false;
	if (!hbus_mqtt_check_carried(data + HBUS_MQTT_ATTRIBUTES_SIZE, size - HBUS_MQTT_ATTRIBUTES_SIZE, &props))
		return false;
	message->qos = flags & FLAG_QOS;
	message->is_retain = flags & FLAG_RETAIN;
	message->has_expiry = flags & FLAG_EXPIRY;
	memcpy(&message->expiry_s, data + AT_EXPIRY, sizeof(message->expiry_s));
	memcpy(&message->origin.engine, data + AT_ENGINE, sizeof(message->origin.engine));
	memcpy(&message->origin.session, data + AT_SESSION, sizeof(message->origin.session));
	memcpy(&message->origin.number, data + AT_NUMBER, sizeof(message->origin.number));
	message->props = props.raw;
	return true;
}
