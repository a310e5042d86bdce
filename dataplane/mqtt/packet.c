/* SPDX-License-Identifier: BSD-3-Clause */
/* What clients send, taken apart. Bytes come from strangers. */
#include "dataplane/mqtt/packet.h"

#include <string.h>

/* Bits of the connect flags. */
enum { CLEAN = 0x02, WILL = 0x04, WILL_QOS = 0x18, WILL_RETAIN = 0x20, PASSWORD = 0x40, USER = 0x80 };

static bool span_is(struct hbus_mqtt_span span, const char *text)
{
	return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

/* Name and level of the protocol. */
static uint8_t get_protocol(struct hbus_mqtt_reader *reader, struct hbus_mqtt_connect *ret)
{
	struct hbus_mqtt_span name = hbus_mqtt_get_binary(reader);

	ret->version = hbus_mqtt_get_u8(reader);
	if (reader->is_bad)
		return HBUS_MQTT_MALFORMED;
	if (!span_is(name, "MQTT") || (ret->version != HBUS_MQTT_V3 && ret->version != HBUS_MQTT_V5))
		return HBUS_MQTT_BAD_VERSION;
	return 0;
}

static uint8_t get_connect_flags(struct hbus_mqtt_reader *reader, struct hbus_mqtt_connect *ret)
{
	uint8_t flags = hbus_mqtt_get_u8(reader);

	ret->is_clean = flags & CLEAN;
	ret->has_will = flags & WILL;
	ret->will_qos = flags >> 3 & 3;
	ret->will_retain = flags & WILL_RETAIN;
	ret->has_password = flags & PASSWORD;
	ret->has_user = flags & USER;
	ret->keep_alive = hbus_mqtt_get_u16(reader);
	if (flags & 1 || ret->will_qos > 2)
		return HBUS_MQTT_MALFORMED;
	if (!ret->has_will && (flags & (WILL_QOS | WILL_RETAIN)))
		return HBUS_MQTT_MALFORMED;
	if (ret->version == HBUS_MQTT_V3 && ret->has_password && !ret->has_user)
		return HBUS_MQTT_MALFORMED;
	return 0;
}

static uint8_t get_will(struct hbus_mqtt_reader *reader, struct hbus_mqtt_connect *ret)
{
	uint8_t reason = 0;

	ret->will_props.present = 0;
	ret->will_props.raw = (struct hbus_mqtt_span){ NULL, 0 };
	if (ret->version == HBUS_MQTT_V5)
		reason = hbus_mqtt_get_props(reader, HBUS_MQTT_IN_WILL, &ret->will_props);
	ret->will_topic = hbus_mqtt_get_string(reader);
	ret->will_payload = hbus_mqtt_get_binary(reader);
	return reason;
}

static uint8_t finish(const struct hbus_mqtt_reader *reader)
{
	return reader->is_bad || hbus_mqtt_left(reader) > 0 ? HBUS_MQTT_MALFORMED : 0;
}

uint8_t hbus_mqtt_parse_connect(const uint8_t *body, size_t size, struct hbus_mqtt_connect *ret)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(body, size);
	uint8_t reason;

	memset(ret, 0, offsetof(struct hbus_mqtt_connect, props));
	ret->props.present = 0;
	reason = get_protocol(&reader, ret);
	if (reason == 0)
		reason = get_connect_flags(&reader, ret);
	if (reason == 0 && ret->version == HBUS_MQTT_V5)
		reason = hbus_mqtt_get_props(&reader, HBUS_MQTT_CONNECT, &ret->props);
	if (reason)
		return reason;
	ret->client_id = hbus_mqtt_get_string(&reader);
	if (ret->has_will)
		reason = get_will(&reader, ret);
	if (ret->has_user)
		ret->user = hbus_mqtt_get_string(&reader);
	if (ret->has_password)
		ret->password = hbus_mqtt_get_binary(&reader);
	return reason ? reason : finish(&reader);
}

uint8_t hbus_mqtt_parse_publish(uint8_t version, uint8_t flags, const uint8_t *body, size_t size,
				struct hbus_mqtt_publish *ret)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(body, size);
	uint8_t reason = 0;

	ret->is_retain = flags & 1;
	ret->qos = flags >> 1 & 3;
	ret->is_dup = flags & 8;
	ret->packet_id = 0;
	ret->props.present = 0;
	ret->props.raw = (struct hbus_mqtt_span){ NULL, 0 };
	if (ret->qos == 3 || (ret->qos == 0 && ret->is_dup))
		return HBUS_MQTT_MALFORMED;
	ret->topic = hbus_mqtt_get_string(&reader);
	if (ret->qos > 0) {
		ret->packet_id = hbus_mqtt_get_u16(&reader);
		if (ret->packet_id == 0)
			return HBUS_MQTT_MALFORMED;
	}
	if (!reader.is_bad && version == HBUS_MQTT_V5)
		reason = hbus_mqtt_get_props(&reader, HBUS_MQTT_PUBLISH, &ret->props);
	if (reason)
		return reason;
	ret->payload = hbus_mqtt_get_bytes(&reader, hbus_mqtt_left(&reader));
	return finish(&reader);
}

/* The reason codes that MQTT 5 gives each acknowledgement. */
static bool is_ack_reason(uint8_t type, uint8_t reason)
{
	if (type == HBUS_MQTT_PUBREL || type == HBUS_MQTT_PUBCOMP)
		return reason == 0 || reason == HBUS_MQTT_ID_NOT_FOUND;
	switch (reason) {
	case HBUS_MQTT_SUCCESS:
	case HBUS_MQTT_NO_SUBSCRIBERS:
	case HBUS_MQTT_UNSPECIFIED:
	case HBUS_MQTT_IMPLEMENTATION:
	case HBUS_MQTT_NOT_AUTHORIZED:
	case HBUS_MQTT_BAD_TOPIC:
	case HBUS_MQTT_ID_IN_USE:
	case HBUS_MQTT_QUOTA:
	case HBUS_MQTT_BAD_PAYLOAD:
		return true;
	default:
		return false;
	}
}

uint8_t hbus_mqtt_parse_ack(uint8_t version, uint8_t type, const uint8_t *body, size_t size,
			    struct hbus_mqtt_ack *ret)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(body, size);
	uint8_t reason = 0;

	ret->reason = 0;
	ret->props.present = 0;
	ret->packet_id = hbus_mqtt_get_u16(&reader);
	if (version == HBUS_MQTT_V5 && hbus_mqtt_left(&reader) > 0)
		ret->reason = hbus_mqtt_get_u8(&reader);
	if (version == HBUS_MQTT_V5 && hbus_mqtt_left(&reader) > 0)
		reason = hbus_mqtt_get_props(&reader, type, &ret->props);
	if (reason == 0)
		reason = finish(&reader);
	if (reason == 0 && ret->packet_id == 0)
		reason = HBUS_MQTT_MALFORMED;
	if (reason == 0 && !is_ack_reason(type, ret->reason))
		reason = HBUS_MQTT_PROTOCOL_ERROR;
	return reason;
}

static bool get_filter(struct hbus_mqtt_reader *reader, struct hbus_mqtt_filter *ret)
{
	uint8_t options;

	ret->filter = hbus_mqtt_get_string(reader);
	options = hbus_mqtt_get_u8(reader);
	ret->qos = options & 3;
	ret->no_local = options & 4;
	ret->retain_as_published = options & 8;
	ret->retain_handling = options >> 4 & 3;
	return !reader->is_bad && ret->qos < 3 && ret->retain_handling < 3 && (options & 0xc0) == 0;
}

/* Packet identifier and properties, and then at least one filter. */
static uint8_t begin_list(uint8_t version, unsigned int type, const uint8_t *body, size_t size,
			  struct hbus_mqtt_subscribe *ret)
{
	uint8_t reason = 0;

	ret->filters = hbus_mqtt_reader(body, size);
	ret->n_filters = 0;
	ret->props.present = 0;
	ret->packet_id = hbus_mqtt_get_u16(&ret->filters);
	if (version == HBUS_MQTT_V5)
		reason = hbus_mqtt_get_props(&ret->filters, type, &ret->props);
	if (reason)
		return reason;
	if (ret->filters.is_bad || ret->packet_id == 0)
		return HBUS_MQTT_MALFORMED;
	return hbus_mqtt_left(&ret->filters) == 0 ? HBUS_MQTT_PROTOCOL_ERROR : 0;
}

uint8_t hbus_mqtt_parse_subscribe(uint8_t version, const uint8_t *body, size_t size,
				  struct hbus_mqtt_subscribe *ret)
{
	uint8_t reason = begin_list(version, HBUS_MQTT_SUBSCRIBE, body, size, ret);
	struct hbus_mqtt_reader look = ret->filters;
	struct hbus_mqtt_filter filter;

	while (reason == 0 && hbus_mqtt_left(&look) > 0) {
		if (!get_filter(&look, &filter))
			return HBUS_MQTT_MALFORMED;
		/* MQTT 3.1.1 has the QoS alone in the options byte. */
		if (version == HBUS_MQTT_V3 &&
		    (filter.no_local || filter.retain_as_published || filter.retain_handling))
			return HBUS_MQTT_MALFORMED;
		ret->n_filters++;
	}
	return reason;
}

uint8_t hbus_mqtt_parse_unsubscribe(uint8_t version, const uint8_t *body, size_t size,
				    struct hbus_mqtt_subscribe *ret)
{
	uint8_t reason = begin_list(version, HBUS_MQTT_UNSUBSCRIBE, body, size, ret);
	struct hbus_mqtt_reader look = ret->filters;

	while (reason == 0 && hbus_mqtt_left(&look) > 0) {
		(void)hbus_mqtt_get_string(&look);
		if (look.is_bad)
			return HBUS_MQTT_MALFORMED;
		ret->n_filters++;
	}
	return reason;
}

bool hbus_mqtt_next_subscribe(struct hbus_mqtt_subscribe *packet, struct hbus_mqtt_filter *ret)
{
	return hbus_mqtt_left(&packet->filters) > 0 && get_filter(&packet->filters, ret);
}

bool hbus_mqtt_next_unsubscribe(struct hbus_mqtt_subscribe *packet, struct hbus_mqtt_span *ret)
{
	if (hbus_mqtt_left(&packet->filters) == 0)
		return false;
	*ret = hbus_mqtt_get_string(&packet->filters);
	return !packet->filters.is_bad;
}

uint8_t hbus_mqtt_parse_bye(uint8_t version, uint8_t type, const uint8_t *body, size_t size,
			    struct hbus_mqtt_bye *ret)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(body, size);
	uint8_t reason = 0;

	ret->reason = 0;
	ret->props.present = 0;
	if (version == HBUS_MQTT_V5 && hbus_mqtt_left(&reader) > 0)
		ret->reason = hbus_mqtt_get_u8(&reader);
	if (version == HBUS_MQTT_V5 && hbus_mqtt_left(&reader) > 0)
		reason = hbus_mqtt_get_props(&reader, type, &ret->props);
	return reason ? reason : finish(&reader);
}

bool hbus_mqtt_check_flags(uint8_t first_byte)
{
	uint8_t type = first_byte >> 4;

	if (type == HBUS_MQTT_PUBLISH)
		return true;
	if (type == HBUS_MQTT_PUBREL || type == HBUS_MQTT_SUBSCRIBE || type == HBUS_MQTT_UNSUBSCRIBE)
		return (first_byte & 15) == 2;
	return (first_byte & 15) == 0;
}
