/* SPDX-License-Identifier: BSD-3-Clause */
/* Whole packets out of a stream of bytes. */
#include "dataplane/mqtt/frame.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/codec.h"

enum { ROOM_MIN = 256 };

/* Moves the fixed header into ->head, a byte at a time. Return: 0 when it is whole, or a condition. */
static int take_head(struct hbus_mqtt_frame *frame, const uint8_t **data, size_t *size)
{
	while (*size > 0 && frame->head_size < sizeof(frame->head)) {
		uint8_t byte = *(*data)++;

		(*size)--;
		frame->head[frame->head_size++] = byte;
		if (frame->head_size > 1 && !(byte & 0x80))
			return 0;
	}
	return frame->head_size == sizeof(frame->head) ? HBUS_MQTT_MALFORMED : HBUS_MQTT_FRAME_MORE;
}

/* What the header says, once it is whole. */
static int judge_head(struct hbus_mqtt_frame *frame, size_t packet_max)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(frame->head + 1, frame->head_size - 1u);

	frame->need = hbus_mqtt_get_varint(&reader);
	if (reader.is_bad)
		return HBUS_MQTT_MALFORMED;
	if (frame->head_size + frame->need > packet_max)
		return HBUS_MQTT_TOO_LARGE;
	frame->have = 0;
	frame->is_in_body = true;
	return 0;
}

static int make_room(struct hbus_mqtt_frame *frame, size_t more)
{
	size_t wanted = frame->have + more;
	size_t room = frame->room ? frame->room : ROOM_MIN;
	uint8_t *body;

	if (wanted <= frame->room)
		return 0;
	while (room < wanted)
		room *= 2;
	body = realloc(frame->body, room);
	if (!body)
		return HBUS_MQTT_QUOTA;
	frame->body = body;
	frame->room = room;
	return 0;
}

static void hand_out(struct hbus_mqtt_frame *frame, const uint8_t *body, struct hbus_mqtt_whole *ret)
{
	*ret = (struct hbus_mqtt_whole){ frame->head[0], body, frame->need };
	frame->head_size = 0;
	frame->is_in_body = false;
}

int hbus_mqtt_frame_next(struct hbus_mqtt_frame *frame, const uint8_t **data, size_t *size,
			 size_t packet_max, struct hbus_mqtt_whole *ret_packet)
{
	size_t n;
	int r;

	if (!frame->is_in_body) {
		r = take_head(frame, data, size);
		if (r == 0)
			r = judge_head(frame, packet_max);
		if (r)
			return r;
		if (frame->room > 2 * ROOM_MIN) /* a large packet has passed */
			hbus_mqtt_frame_deinit(frame);
	}
	if (frame->have == 0 && *size >= frame->need) {
		hand_out(frame, *data, ret_packet);
		*data += frame->need;
		*size -= frame->need;
		return 0;
	}
	n = frame->need - frame->have;
	n = n < *size ? n : *size;
	r = make_room(frame, n);
	if (r)
		return r;
	if (n > 0)
		memcpy(frame->body + frame->have, *data, n);
	frame->have += n;
	*data += n;
	*size -= n;
	if (frame->have < frame->need)
		return HBUS_MQTT_FRAME_MORE;
	hand_out(frame, frame->body, ret_packet);
	return 0;
}

void hbus_mqtt_frame_deinit(struct hbus_mqtt_frame *frame)
{
	free(frame->body);
	frame->body = NULL;
	frame->room = 0;
}
