/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The QoS 2 packet identifiers that a client has published and not released
 *
 * A few are a list. An MQTT 3.1.1 client cannot be told how many it may have, and some use all: beyond
 * HBUS_MQTT_RECEIVED_FEW they are a bit each, so that neither looking nor keeping grows with them.
 * Zero it before use. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define HBUS_MQTT_RECEIVED_FEW 64
#define HBUS_MQTT_RECEIVED_BYTES 8192 /* of a bit for each identifier */

struct hbus_mqtt_received {
	uint16_t *list;  /* of up to HBUS_MQTT_RECEIVED_FEW, or NULL */
	uint64_t *bits;  /* or NULL */
	uint32_t n, room;
};

bool hbus_mqtt_received_has(const struct hbus_mqtt_received *received, uint16_t packet_id);

/** hbus_mqtt_received_needs_bits() - will the next one turn the list into bits? */
static inline bool hbus_mqtt_received_needs_bits(const struct hbus_mqtt_received *received)
{
	return !received->bits && received->n == HBUS_MQTT_RECEIVED_FEW;
}

/* @packet_id: not there yet. Return: false without memory; nothing has changed then. */
bool hbus_mqtt_received_add(struct hbus_mqtt_received *received, uint16_t packet_id);
/* Return: whether it was there. */
bool hbus_mqtt_received_remove(struct hbus_mqtt_received *received, uint16_t packet_id);
void hbus_mqtt_received_deinit(struct hbus_mqtt_received *received);
