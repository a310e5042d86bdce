/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What an MQTT message says beside topic and payload, as the attributes of an event of the bus
 *
 * 32 bytes, little endian, then the properties that are carried through, encoded as in MQTT 5:
 *
 *	0   2  'M' 'Q'
 *	2   1  1, the version of this format
 *	3   1  bits 0..1 QoS, bit 2 retain, bit 3 has an expiry interval; others 0
 *	4   4  message expiry interval in seconds, counted from the event's time stamp
 *	8   8  engine  16  8  session  24  8  number: where it came from (struct hbus_mqtt_origin)
 *
 * Whoever may publish may write them, so they are checked when they are read.
 */
#pragma once

#include "dataplane/mqtt/engine.h"

#define HBUS_MQTT_ATTRIBUTES_SIZE 32u
/** Most that the attributes of an event can be. */
#define HBUS_MQTT_ATTRIBUTES_MAX 65535u

/** hbus_mqtt_attributes_encode() - Return: bytes written to @room, 0 when the properties do not fit. */
size_t hbus_mqtt_attributes_encode(const struct hbus_mqtt_message *message,
				   uint8_t room[HBUS_MQTT_ATTRIBUTES_MAX]);

/**
 * hbus_mqtt_attributes_decode() - fill in all of @message but topic, payload and age
 * @data: must not change any more; ->props points into it
 *
 * An event of another kind, or one that is not well-formed, is taken for one without attributes, of
 * QoS 2: then each subscription's QoS decides.
 * Return: were they attributes of this format?
 */
bool hbus_mqtt_attributes_decode(const uint8_t *data, size_t size, struct hbus_mqtt_message *message);
