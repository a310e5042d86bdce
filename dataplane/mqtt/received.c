/* SPDX-License-Identifier: BSD-3-Clause */
/* The QoS 2 packet identifiers that a client has not released. */
#include "dataplane/mqtt/received.h"

#include <stdlib.h>

enum { ROOM_MIN = 8, WORD_BITS = 64 };

static uint64_t bit_of(uint16_t packet_id)
{
	return UINT64_C(1) << (packet_id % WORD_BITS);
}

bool hbus_mqtt_received_has(const struct hbus_mqtt_received *received, uint16_t packet_id)
{
	if (received->bits)
		return received->bits[packet_id / WORD_BITS] & bit_of(packet_id);
	for (uint32_t i = 0; i < received->n; i++)
		if (received->list[i] == packet_id)
			return true;
	return false;
}

static bool make_bits(struct hbus_mqtt_received *received)
{
	uint64_t *bits = calloc(1, HBUS_MQTT_RECEIVED_BYTES);

	if (!bits)
		return false;
	for (uint32_t i = 0; i < received->n; i++)
		bits[received->list[i] / WORD_BITS] |= bit_of(received->list[i]);
	free(received->list);
	received->list = NULL;
	received->room = 0;
	received->bits = bits;
	return true;
}

static bool make_room(struct hbus_mqtt_received *received)
{
	uint32_t room = received->room ? 2 * received->room : ROOM_MIN;
	uint16_t *list;

	if (received->n < received->room)
		return true;
	list = realloc(received->list, room * sizeof(*list));
	if (!list)
		return false;
	received->list = list;
	received->room = room;
	return true;
}

bool hbus_mqtt_received_add(struct hbus_mqtt_received *received, uint16_t packet_id)
{
	if (hbus_mqtt_received_needs_bits(received) && !make_bits(received))
		return false;
	if (received->bits) {
		received->bits[packet_id / WORD_BITS] |= bit_of(packet_id);
	} else {
		if (!make_room(received))
			return false;
		received->list[received->n] = packet_id;
	}
	received->n++;
	return true;
}

bool hbus_mqtt_received_remove(struct hbus_mqtt_received *received, uint16_t packet_id)
{
	if (!hbus_mqtt_received_has(received, packet_id))
		return false;
	received->n--;
	if (received->bits) {
		received->bits[packet_id / WORD_BITS] &= ~bit_of(packet_id);
		if (received->n == 0) {
			free(received->bits);
			received->bits = NULL;
		}
		return true;
	}
	for (uint32_t i = 0; i < received->n; i++) {
		if (received->list[i] == packet_id) {
			received->list[i] = received->list[received->n];
			break;
		}
	}
	return true;
}

void hbus_mqtt_received_deinit(struct hbus_mqtt_received *received)
{
	free(received->list);
	free(received->bits);
	*received = (struct hbus_mqtt_received){0};
}
