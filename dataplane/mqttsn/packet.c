/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each type is a row of a table: which fields it has, in their order on the wire, and whether
 * something of any length follows them.
 */
#include "dataplane/mqttsn/packet.h"

#include <string.h>

/* Fields in the order of the bits; no type of the specification has them in another one. */
enum {
	HAS_FLAGS = 1,
	HAS_PROTOCOL = 2,
	HAS_CODE_FIRST = 4,          /* gateway id, radius */
	HAS_DURATION = 8,
	HAS_TOPIC_ID = 16,
	HAS_MSG_ID = 32,
	HAS_CODE = 64,               /* return code */
	HAS_DATA = 128,
	HAS_SOME_DATA = 256,         /* at least one byte of it */
	MAY_BE_EMPTY = 512,          /* all fields, or none at all */
	IS_TYPE = 1024,
};

#define SUBSCRIPTION (IS_TYPE | HAS_FLAGS | HAS_MSG_ID | HAS_SOME_DATA)

static const uint16_t layouts[] = {
	[HBUS_SN_ADVERTISE] = IS_TYPE | HAS_CODE_FIRST | HAS_DURATION,
	[HBUS_SN_SEARCHGW] = IS_TYPE | HAS_CODE_FIRST,
	[HBUS_SN_GWINFO] = IS_TYPE | HAS_CODE_FIRST | HAS_DATA,
	[HBUS_SN_CONNECT] = IS_TYPE | HAS_FLAGS | HAS_PROTOCOL | HAS_DURATION | HAS_SOME_DATA,
	[HBUS_SN_CONNACK] = IS_TYPE | HAS_CODE,
	[HBUS_SN_WILLTOPICREQ] = IS_TYPE,
	[HBUS_SN_WILLTOPIC] = IS_TYPE | HAS_FLAGS | HAS_SOME_DATA | MAY_BE_EMPTY,
	[HBUS_SN_WILLMSGREQ] = IS_TYPE,
	[HBUS_SN_WILLMSG] = IS_TYPE | HAS_DATA,
	[HBUS_SN_REGISTER] = IS_TYPE | HAS_TOPIC_ID | HAS_MSG_ID | HAS_SOME_DATA,
	[HBUS_SN_REGACK] = IS_TYPE | HAS_TOPIC_ID | HAS_MSG_ID | HAS_CODE,
	[HBUS_SN_PUBLISH] = IS_TYPE | HAS_FLAGS | HAS_TOPIC_ID | HAS_MSG_ID | HAS_DATA,
	[HBUS_SN_PUBACK] = IS_TYPE | HAS_TOPIC_ID | HAS_MSG_ID | HAS_CODE,
	[HBUS_SN_PUBCOMP] = IS_TYPE | HAS_MSG_ID,
	[HBUS_SN_PUBREC] = IS_TYPE | HAS_MSG_ID,
	[HBUS_SN_PUBREL] = IS_TYPE | HAS_MSG_ID,
	[HBUS_SN_SUBSCRIBE] = SUBSCRIPTION,
	[HBUS_SN_SUBACK] = IS_TYPE | HAS_FLAGS | HAS_TOPIC_ID | HAS_MSG_ID | HAS_CODE,
	[HBUS_SN_UNSUBSCRIBE] = SUBSCRIPTION,
	[HBUS_SN_UNSUBACK] = IS_TYPE | HAS_MSG_ID,
	[HBUS_SN_PINGREQ] = IS_TYPE | HAS_DATA,
	[HBUS_SN_PINGRESP] = IS_TYPE,
	[HBUS_SN_DISCONNECT] = IS_TYPE | HAS_DURATION | MAY_BE_EMPTY,
	[HBUS_SN_WILLTOPICUPD] = IS_TYPE | HAS_FLAGS | HAS_SOME_DATA | MAY_BE_EMPTY,
	[HBUS_SN_WILLTOPICRESP] = IS_TYPE | HAS_CODE,
	[HBUS_SN_WILLMSGUPD] = IS_TYPE | HAS_DATA,
	[HBUS_SN_WILLMSGRESP] = IS_TYPE | HAS_CODE,
};

/* ---- taking apart ------------------------------------------------------------------------ */

struct reader {
	const uint8_t *at, *end;
	bool is_short;
};

static uint8_t take_u8(struct reader *reader)
{
	if (reader->at == reader->end) {
		reader->is_short = true;
		return 0;
	}
	return *reader->at++;
}

static uint16_t take_u16(struct reader *reader)
{
	uint8_t high = take_u8(reader);

	return (uint16_t)(high << 8 | take_u8(reader));
}

/* The length field, which must say @size. Return: where the type stands, or 0. */
static size_t check_length(const uint8_t *bytes, size_t size)
{
	if (size >= 2 && bytes[0] != HBUS_SN_LONG_LENGTH && bytes[0] == size)
		return 1;
	if (size >= 4 && bytes[0] == HBUS_SN_LONG_LENGTH &&
	    (size_t)(bytes[1] << 8 | bytes[2]) == size)
		return 3;
	return 0;
}

static bool take_fields(struct reader *reader, uint16_t layout, struct hbus_sn_message *message)
{
	if (layout & HAS_FLAGS)
		message->flags = take_u8(reader);
	if (layout & HAS_PROTOCOL && take_u8(reader) != HBUS_SN_PROTOCOL_ID)
		return false;
	if (layout & HAS_CODE_FIRST)
		message->code = take_u8(reader);
	if (layout & HAS_DURATION) {
		message->duration = take_u16(reader);
		message->has_duration = true;
	}
	if (layout & HAS_TOPIC_ID)
		message->topic_id = take_u16(reader);
	if (layout & HAS_MSG_ID)
		message->msg_id = take_u16(reader);
	if (layout & HAS_CODE)
		message->code = take_u8(reader);
	message->data = reader->at;
	message->data_size = (size_t)(reader->end - reader->at);
	if (reader->is_short || (layout & HAS_SOME_DATA && message->data_size == 0))
		return false;
	return layout & (HAS_DATA | HAS_SOME_DATA) || message->data_size == 0;
}

/* Flags and identifiers that a type can have. */
static bool check_values(struct hbus_sn_message *message)
{
	uint8_t kind = message->flags & HBUS_SN_KIND_MASK, qos = message->flags & HBUS_SN_QOS_MASK;

	switch (message->type) {
	case HBUS_SN_PUBLISH:
		if (qos == HBUS_SN_QOS_MINUS_1 && kind == HBUS_SN_KIND_NORMAL)
			return false;
		return kind <= HBUS_SN_KIND_SHORT &&
		       (message->msg_id != 0 || qos == 0 || qos == HBUS_SN_QOS_MINUS_1);
	case HBUS_SN_SUBSCRIBE:
	case HBUS_SN_UNSUBSCRIBE:
		if (kind > HBUS_SN_KIND_SHORT || message->msg_id == 0 ||
		    qos == HBUS_SN_QOS_MINUS_1)
			return false;
		if (kind == HBUS_SN_KIND_NORMAL)
			return true;
		if (message->data_size != 2)
			return false;
		message->topic_id = (uint16_t)(message->data[0] << 8 | message->data[1]);
		return true;
	case HBUS_SN_WILLTOPIC:
	case HBUS_SN_WILLTOPICUPD:
		return qos != HBUS_SN_QOS_MINUS_1;
	default:
		return true;
	}
}

bool hbus_sn_parse(const uint8_t *bytes, size_t size, struct hbus_sn_message *ret_message)
{
	struct hbus_sn_message message = { 0 };
	struct reader reader;
	size_t at = check_length(bytes, size);
	uint16_t layout;

	if (at == 0)
		return false;
	message.type = bytes[at];
	if (message.type >= sizeof(layouts) / sizeof(layouts[0]) || layouts[message.type] == 0)
		return false;
	layout = layouts[message.type];
	reader = (struct reader){ bytes + at + 1, bytes + size, false };
	message.data = reader.at;
	if (!(layout & MAY_BE_EMPTY && reader.at == reader.end) &&
	    !take_fields(&reader, layout, &message))
		return false;
	if (!check_values(&message))
		return false;
	*ret_message = message;
	return true;
}

/* ---- forwarders ---------------------------------------------------------------------------- */

bool hbus_sn_is_wrapped(const uint8_t *bytes, size_t size)
{
	return size >= 2 && bytes[0] != HBUS_SN_LONG_LENGTH && bytes[1] == HBUS_SN_ENCAPSULATED;
}

bool hbus_sn_unwrap(const uint8_t *bytes, size_t size, struct hbus_sn_wrapping *ret_wrapping)
{
	size_t head_size = bytes[0];

	if (head_size < 4 || head_size > 3 + HBUS_SN_NODE_MAX || head_size >= size)
		return false;
	*ret_wrapping = (struct hbus_sn_wrapping){ bytes + 3, head_size - 3, bytes + head_size,
						   size - head_size };
	return true;
}

size_t hbus_sn_wrap(uint8_t room[3 + HBUS_SN_NODE_MAX], const uint8_t *node, size_t node_size)
{
	room[0] = (uint8_t)(3 + node_size);
	room[1] = HBUS_SN_ENCAPSULATED;
	room[2] = 0; /* one hop */
	memcpy(room + 3, node, node_size);
	return 3 + node_size;
}

/* ---- putting together ---------------------------------------------------------------------- */

size_t hbus_sn_build(uint8_t *room, size_t room_size, uint8_t type, const void *fixed,
		     size_t fixed_size, const void *data, size_t data_size)
{
	size_t size = 2 + fixed_size + data_size;
	uint8_t *at = room;

	if (size > UINT8_MAX)
		size += 2;
	if (size > room_size || size > UINT16_MAX)
		return 0;
	if (size > UINT8_MAX) {
		*at++ = HBUS_SN_LONG_LENGTH;
		*at++ = (uint8_t)(size >> 8);
	}
	*at++ = (uint8_t)size;
	*at++ = type;
	if (fixed_size > 0)
		memcpy(at, fixed, fixed_size);
	if (data_size > 0)
		memcpy(at + fixed_size, data, data_size);
	return size;
}
