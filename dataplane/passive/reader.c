/* SPDX-License-Identifier: BSD-3-Clause */
/* MQTT publishes out of a stream. See reader.h. */
#include "dataplane/passive/reader.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"
#include "dataplane/mqtt/frame.h"
#include "dataplane/mqtt/packet.h"

enum { ALIASES_MAX = 64, IN_FLIGHT_MAX = 128 };

struct hbus_mqtt_tap {
	struct hbus_tap_shared *shared;
	struct hbus_mqtt_frame frame;
	uint64_t skip;               /* bytes to the end of a torn packet */
	uint8_t version;             /* 0 until CONNECT */
	bool is_lost;
	uint16_t in_flight[IN_FLIGHT_MAX]; /* QoS 2 packet ids that were not released; 0 = free */
	uint8_t next_in_flight;
	char *aliases[ALIASES_MAX];
};

struct hbus_mqtt_tap *hbus_mqtt_tap_new(struct hbus_tap_shared *shared)
{
	struct hbus_mqtt_tap *tap = calloc(1, sizeof(*tap));

	if (tap)
		tap->shared = shared;
	return tap;
}

static void drop_frame(struct hbus_mqtt_tap *tap)
{
	tap->shared->counters.n_kept_bytes -= tap->frame.room;
	hbus_mqtt_frame_deinit(&tap->frame);
	tap->frame = (struct hbus_mqtt_frame){ 0 };
}

struct hbus_mqtt_tap *hbus_mqtt_tap_free(struct hbus_mqtt_tap *tap)
{
	if (!tap)
		return NULL;
	drop_frame(tap);
	for (unsigned int i = 0; i < ALIASES_MAX; i++)
		free(tap->aliases[i]);
	free(tap);
	return NULL;
}

/* Nothing of this stream can be read any more. */
static void lose(struct hbus_mqtt_tap *tap, uint64_t *counter)
{
	(*counter)++;
	tap->is_lost = true;
	drop_frame(tap);
}

/* ---- packets --------------------------------------------------------------------------- */

/* Return: whether this id is in flight already; notes it if not. The oldest one is forgotten for it. */
static bool note_in_flight(struct hbus_mqtt_tap *tap, uint16_t packet_id)
{
	for (unsigned int i = 0; i < IN_FLIGHT_MAX; i++)
		if (tap->in_flight[i] == packet_id)
			return true;
	tap->in_flight[tap->next_in_flight++ % IN_FLIGHT_MAX] = packet_id;
	return false;
}

static void release(struct hbus_mqtt_tap *tap, uint16_t packet_id)
{
	for (unsigned int i = 0; i < IN_FLIGHT_MAX; i++)
		if (tap->in_flight[i] == packet_id)
			tap->in_flight[i] = 0;
}

/* The topic of a message, also by its alias, as a string. Return: NULL, and it is counted. */
static const char *name_topic(struct hbus_mqtt_tap *tap, const struct hbus_mqtt_publish *packet,
			      char room[HBUS_TOPIC_NAME_MAX + 1])
{
	uint32_t alias = hbus_mqtt_number(&packet->props, HBUS_MQTT_P_TOPIC_ALIAS, 0);
	char **place = alias > 0 && alias <= ALIASES_MAX ? &tap->aliases[alias - 1] : NULL;

	if (packet->topic.size == 0) {
		if (!place || !*place)
			tap->shared->counters.n_bad_alias++;
		return place ? *place : NULL;
	}
	if (hbus_topic_check_name((const char *)packet->topic.data, packet->topic.size) != 0) {
		tap->shared->counters.n_bad_topic++;
		return NULL;
	}
	memcpy(room, packet->topic.data, packet->topic.size);
	room[packet->topic.size] = '\0';
	if (place) {
		free(*place);
		*place = strdup(room);
	}
	return room;
}

static void take_publish(struct hbus_mqtt_tap *tap, const struct hbus_mqtt_whole *whole)
{
	struct hbus_mqtt_message message = { 0 };
	struct hbus_mqtt_publish packet;
	char room[HBUS_TOPIC_NAME_MAX + 1];
	uint8_t *props_room = NULL;

	if (hbus_mqtt_parse_publish(tap->version, whole->first_byte & 0x0f, whole->body, whole->size, &packet) != 0) {
		lose(tap, &tap->shared->counters.n_malformed);
		return;
	}
	message.topic = name_topic(tap, &packet, room);
	if (packet.qos == 2 && note_in_flight(tap, packet.packet_id)) {
		tap->shared->counters.n_repeated++;
		return;
	}
	if (!message.topic)
		return;
	if (tap->version == HBUS_MQTT_V5 && packet.props.raw.size > 0) {
		props_room = malloc(packet.props.raw.size);
		if (props_room)
			message.props = hbus_mqtt_carry(&packet.props, props_room);
	}
	message.payload = packet.payload.data;
	message.payload_size = packet.payload.size;
	message.qos = packet.qos;
	message.is_retain = packet.is_retain;
	message.has_expiry = hbus_mqtt_has(&packet.props, HBUS_MQTT_P_MESSAGE_EXPIRY);
	message.expiry_s = hbus_mqtt_number(&packet.props, HBUS_MQTT_P_MESSAGE_EXPIRY, 0);
	tap->shared->counters.n_published++;
	tap->shared->publish(tap->shared->context, &message);
	free(props_room);
}

/* MQTT 3.1 has another name, and what is read here is as in 3.1.1. Brokers still take it. */
static bool is_version_3_1(const struct hbus_mqtt_whole *whole)
{
	static const uint8_t begin[] = { 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3 };

	return whole->size > sizeof(begin) && memcmp(whole->body, begin, sizeof(begin)) == 0;
}

static void take_connect(struct hbus_mqtt_tap *tap, const struct hbus_mqtt_whole *whole)
{
	static struct hbus_mqtt_connect packet; /* large; there is one thread */

	if (whole->first_byte == HBUS_MQTT_CONNECT << 4 && is_version_3_1(whole))
		tap->version = HBUS_MQTT_V3;
	else if (whole->first_byte == HBUS_MQTT_CONNECT << 4 &&
		 hbus_mqtt_parse_connect(whole->body, whole->size, &packet) == 0)
		tap->version = packet.version;
	else
		lose(tap, &tap->shared->counters.n_not_mqtt);
}

static void take_packet(struct hbus_mqtt_tap *tap, const struct hbus_mqtt_whole *whole)
{
	struct hbus_mqtt_ack ack;

	if (tap->version == 0) {
		take_connect(tap, whole);
		return;
	}
	tap->shared->counters.n_packets++;
	if (!hbus_mqtt_check_flags(whole->first_byte)) {
		lose(tap, &tap->shared->counters.n_malformed);
		return;
	}
	switch (whole->first_byte >> 4) {
	case HBUS_MQTT_PUBLISH:
		take_publish(tap, whole);
		break;
	case HBUS_MQTT_PUBREL:
		if (hbus_mqtt_parse_ack(tap->version, HBUS_MQTT_PUBREL, whole->body, whole->size, &ack) == 0)
			release(tap, ack.packet_id);
		break;
	default:
		break;
	}
}

/* ---- the stream ------------------------------------------------------------------------ */

static bool begins_wrong(const struct hbus_mqtt_tap *tap, const uint8_t *data)
{
	return tap->version == 0 && tap->frame.head_size == 0 && !tap->frame.is_in_body &&
	       data[0] != HBUS_MQTT_CONNECT << 4;
}

void hbus_mqtt_tap_bytes(struct hbus_mqtt_tap *tap, const uint8_t *data, size_t size)
{
	struct hbus_tap_shared *shared = tap->shared;

	if (tap->skip > 0) {
		size_t n = tap->skip < size ? (size_t)tap->skip : size;

		tap->skip -= n;
		data += n;
		size -= n;
	}
	while (size > 0 && !tap->is_lost) {
		struct hbus_mqtt_whole whole;
		size_t room = tap->frame.room;
		int r;

		if (begins_wrong(tap, data)) {
			lose(tap, &shared->counters.n_not_mqtt);
			return;
		}
		r = hbus_mqtt_frame_next(&tap->frame, &data, &size, shared->packet_max, &whole);
		shared->counters.n_kept_bytes += tap->frame.room - room;
		if (r == 0)
			take_packet(tap, &whole);
		else if (r == HBUS_MQTT_TOO_LARGE || r == HBUS_MQTT_QUOTA ||
			 shared->counters.n_kept_bytes > shared->kept_max)
			lose(tap, &shared->counters.n_too_large);
		else if (r != HBUS_MQTT_FRAME_MORE)
			lose(tap, &shared->counters.n_malformed);
	}
}

void hbus_mqtt_tap_hole(struct hbus_mqtt_tap *tap, uint64_t size)
{
	uint64_t left = tap->skip;

	if (tap->is_lost)
		return;
	if (left == 0 && tap->frame.is_in_body) {
		tap->shared->counters.n_torn++;
		left = tap->frame.need - tap->frame.have;
		drop_frame(tap);
	}
	/* Without CONNECT the version is not known. */
	if (size > left || tap->version == 0)
		lose(tap, &tap->shared->counters.n_lost);
	else
		tap->skip = left - size;
}
