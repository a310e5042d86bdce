/* SPDX-License-Identifier: BSD-3-Clause */
/* The properties of MQTT 5 packets, by one table. */
#include "dataplane/mqtt/props.h"

#include <string.h>

enum kind { NONE, U8, U16, U32, VARINT, STRING, BINARY, PAIR };

#define IN(type) (1u << (type))

struct rule {
	uint8_t kind;
	uint32_t repeats; /* where it may stand more than once */
	uint32_t where;
	uint32_t min, max; /* of numbers */
};

#define ACKS                                                                                       \
	(IN(HBUS_MQTT_PUBACK) | IN(HBUS_MQTT_PUBREC) | IN(HBUS_MQTT_PUBREL) | IN(HBUS_MQTT_PUBCOMP) | \
	 IN(HBUS_MQTT_SUBACK) | IN(HBUS_MQTT_UNSUBACK))
#define MESSAGE (IN(HBUS_MQTT_PUBLISH) | IN(HBUS_MQTT_IN_WILL))
#define HELLO (IN(HBUS_MQTT_CONNECT) | IN(HBUS_MQTT_CONNACK))
#define BYE IN(HBUS_MQTT_DISCONNECT)
#define AUTHS IN(HBUS_MQTT_AUTH)
#define CONNACKS IN(HBUS_MQTT_CONNACK)

static const struct rule rules[HBUS_MQTT_N_PROPERTIES] = {
	[HBUS_MQTT_P_PAYLOAD_FORMAT] = { U8, 0, MESSAGE, 0, 1 },
	[HBUS_MQTT_P_MESSAGE_EXPIRY] = { U32, 0, MESSAGE, 0, UINT32_MAX },
	[HBUS_MQTT_P_CONTENT_TYPE] = { STRING, 0, MESSAGE, 0, 0 },
	[HBUS_MQTT_P_RESPONSE_TOPIC] = { STRING, 0, MESSAGE, 0, 0 },
	[HBUS_MQTT_P_CORRELATION] = { BINARY, 0, MESSAGE, 0, 0 },
	[HBUS_MQTT_P_SUBSCRIPTION_ID] = { VARINT, IN(HBUS_MQTT_PUBLISH),
					  IN(HBUS_MQTT_PUBLISH) | IN(HBUS_MQTT_SUBSCRIBE), 1, HBUS_MQTT_VARINT_MAX },
	[HBUS_MQTT_P_SESSION_EXPIRY] = { U32, 0, HELLO | BYE, 0, UINT32_MAX },
	[HBUS_MQTT_P_ASSIGNED_ID] = { STRING, 0, CONNACKS, 0, 0 },
	[HBUS_MQTT_P_SERVER_KEEP_ALIVE] = { U16, 0, CONNACKS, 0, 65535 },
	[HBUS_MQTT_P_AUTH_METHOD] = { STRING, 0, HELLO | AUTHS, 0, 0 },
	[HBUS_MQTT_P_AUTH_DATA] = { BINARY, 0, HELLO | AUTHS, 0, 0 },
	[HBUS_MQTT_P_REQUEST_PROBLEM] = { U8, 0, IN(HBUS_MQTT_CONNECT), 0, 1 },
	[HBUS_MQTT_P_WILL_DELAY] = { U32, 0, IN(HBUS_MQTT_IN_WILL), 0, UINT32_MAX },
	[HBUS_MQTT_P_REQUEST_RESPONSE] = { U8, 0, IN(HBUS_MQTT_CONNECT), 0, 1 },
	[HBUS_MQTT_P_RESPONSE_INFO] = { STRING, 0, CONNACKS, 0, 0 },
	[HBUS_MQTT_P_SERVER_REFERENCE] = { STRING, 0, CONNACKS | BYE, 0, 0 },
	[HBUS_MQTT_P_REASON_STRING] = { STRING, 0, CONNACKS | ACKS | BYE | AUTHS, 0, 0 },
	[HBUS_MQTT_P_RECEIVE_MAX] = { U16, 0, HELLO, 1, 65535 },
	[HBUS_MQTT_P_TOPIC_ALIAS_MAX] = { U16, 0, HELLO, 0, 65535 },
	[HBUS_MQTT_P_TOPIC_ALIAS] = { U16, 0, IN(HBUS_MQTT_PUBLISH), 0, 65535 },
	[HBUS_MQTT_P_MAX_QOS] = { U8, 0, CONNACKS, 0, 1 },
	[HBUS_MQTT_P_RETAIN_AVAILABLE] = { U8, 0, CONNACKS, 0, 1 },
	[HBUS_MQTT_P_USER] = { PAIR, UINT32_MAX, HELLO | MESSAGE | ACKS | BYE | AUTHS | IN(HBUS_MQTT_SUBSCRIBE) |
				       IN(HBUS_MQTT_UNSUBSCRIBE), 0, 0 },
	[HBUS_MQTT_P_MAX_PACKET] = { U32, 0, HELLO, 1, UINT32_MAX },
	[HBUS_MQTT_P_WILDCARD_AVAILABLE] = { U8, 0, CONNACKS, 0, 1 },
	[HBUS_MQTT_P_SUBSCRIPTION_ID_AVAILABLE] = { U8, 0, CONNACKS, 0, 1 },
	[HBUS_MQTT_P_SHARED_AVAILABLE] = { U8, 0, CONNACKS, 0, 1 },
};

/* Moves over one value; @props takes it if it is not NULL. */
static uint8_t get_value(struct hbus_mqtt_reader *reader, uint32_t id, struct hbus_mqtt_props *props)
{
	const struct rule *rule = &rules[id];
	struct hbus_mqtt_span text = { NULL, 0 };
	uint32_t number = rule->min;

	switch (rule->kind) {
	case U8:
		number = hbus_mqtt_get_u8(reader);
		break;
	case U16:
		number = hbus_mqtt_get_u16(reader);
		break;
	case U32:
		number = hbus_mqtt_get_u32(reader);
		break;
	case VARINT:
		number = hbus_mqtt_get_varint(reader);
		break;
	case STRING:
		text = hbus_mqtt_get_string(reader);
		break;
	case BINARY:
		text = hbus_mqtt_get_binary(reader);
		break;
	default:
		(void)hbus_mqtt_get_string(reader);
		(void)hbus_mqtt_get_string(reader);
	}
	if (reader->is_bad)
		return HBUS_MQTT_MALFORMED;
	if (number < rule->min || (rule->max > 0 && number > rule->max))
		return HBUS_MQTT_PROTOCOL_ERROR;
	if (props) {
		props->number[id] = number;
		props->text[id] = text;
	}
	return 0;
}

uint8_t hbus_mqtt_get_props(struct hbus_mqtt_reader *reader, unsigned int where,
			    struct hbus_mqtt_props *ret_props)
{
	struct hbus_mqtt_span raw = hbus_mqtt_get_bytes(reader, hbus_mqtt_get_varint(reader));
	struct hbus_mqtt_reader inner = hbus_mqtt_reader(raw.data, raw.size);

	ret_props->present = 0;
	ret_props->raw = raw;
	if (reader->is_bad)
		return HBUS_MQTT_MALFORMED;
	while (hbus_mqtt_left(&inner) > 0) {
		uint32_t id = hbus_mqtt_get_varint(&inner);
		uint8_t reason;

		if (id >= HBUS_MQTT_N_PROPERTIES || rules[id].kind == NONE ||
		    !(rules[id].where >> where & 1))
			return HBUS_MQTT_MALFORMED;
		if (ret_props->present >> id & 1 && !(rules[id].repeats >> where & 1))
			return HBUS_MQTT_PROTOCOL_ERROR;
		reason = get_value(&inner, id, ret_props);
		if (reason)
			return reason;
		ret_props->present |= UINT64_C(1) << id;
	}
	return 0;
}

struct hbus_mqtt_span hbus_mqtt_carry(const struct hbus_mqtt_props *props, uint8_t *room)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(props->raw.data, props->raw.size);
	size_t size = 0;

	if ((props->present & ~HBUS_MQTT_CARRIED) == 0)
		return (struct hbus_mqtt_span){ props->raw.data, props->raw.size };
	while (hbus_mqtt_left(&reader) > 0) {
		const uint8_t *begin = reader.at;
		uint32_t id = hbus_mqtt_get_varint(&reader);

		if (id >= HBUS_MQTT_N_PROPERTIES || get_value(&reader, id, NULL))
			break;
		if (!(HBUS_MQTT_CARRIED >> id & 1))
			continue;
		memcpy(room + size, begin, (size_t)(reader.at - begin));
		size += (size_t)(reader.at - begin);
	}
	return (struct hbus_mqtt_span){ room, size };
}

bool hbus_mqtt_check_carried(const uint8_t *data, size_t size, struct hbus_mqtt_props *ret_props)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(data, size);

	ret_props->present = 0;
	ret_props->raw = (struct hbus_mqtt_span){ data, size };
	while (hbus_mqtt_left(&reader) > 0) {
		uint32_t id = hbus_mqtt_get_varint(&reader);

		if (id >= HBUS_MQTT_N_PROPERTIES || !(HBUS_MQTT_CARRIED >> id & 1))
			return false;
		if (ret_props->present >> id & 1 && !rules[id].repeats)
			return false;
		if (get_value(&reader, id, ret_props))
			return false;
		ret_props->present |= UINT64_C(1) << id;
	}
	return true;
}

void hbus_mqtt_put_number(struct hbus_mqtt_writer *writer, enum hbus_mqtt_property id, uint32_t value)
{
	hbus_mqtt_put_u8(writer, (uint8_t)id);
	if (rules[id].kind == U8)
		hbus_mqtt_put_u8(writer, (uint8_t)value);
	else if (rules[id].kind == U16)
		hbus_mqtt_put_u16(writer, (uint16_t)value);
	else if (rules[id].kind == U32)
		hbus_mqtt_put_u32(writer, value);
	else
		hbus_mqtt_put_varint(writer, value);
}

void hbus_mqtt_put_text(struct hbus_mqtt_writer *writer, enum hbus_mqtt_property id, const void *data,
			size_t size)
{
	hbus_mqtt_put_u8(writer, (uint8_t)id);
	hbus_mqtt_put_binary(writer, data, size);
}
