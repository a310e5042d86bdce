/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The properties of MQTT 5 packets
 *
 * Parsing checks what the standard says of each: in which packets it may stand, how often, and
 * the range of its value. Values point into the packet.
 */
#pragma once

#include "dataplane/mqtt/codec.h"

/** Where properties stand: a packet type, or the will in CONNECT. */
#define HBUS_MQTT_IN_WILL 16

/** What goes from the publisher to its subscribers unchanged. */
#define HBUS_MQTT_CARRIED                                                                          \
	(UINT64_C(1) << HBUS_MQTT_P_PAYLOAD_FORMAT | UINT64_C(1) << HBUS_MQTT_P_CONTENT_TYPE |     \
	 UINT64_C(1) << HBUS_MQTT_P_RESPONSE_TOPIC | UINT64_C(1) << HBUS_MQTT_P_CORRELATION |      \
	 UINT64_C(1) << HBUS_MQTT_P_USER)

struct hbus_mqtt_props {
	uint64_t present;                              /* bit n: property n is there */
	struct hbus_mqtt_span raw;                     /* all of them, without their length */
	uint32_t number[HBUS_MQTT_N_PROPERTIES];       /* valid where present, for numbers */
	struct hbus_mqtt_span text[HBUS_MQTT_N_PROPERTIES]; /* likewise for strings and binary data */
};

/**
 * hbus_mqtt_get_props() - length and properties
 * @where: enum hbus_mqtt_type or HBUS_MQTT_IN_WILL
 *
 * Return: 0, or the reason code to disconnect with. User properties and further subscription
 * identifiers are checked, and found in ->raw only.
 */
uint8_t hbus_mqtt_get_props(struct hbus_mqtt_reader *reader, unsigned int where,
			    struct hbus_mqtt_props *ret_props);

static inline bool hbus_mqtt_has(const struct hbus_mqtt_props *props, enum hbus_mqtt_property id)
{
	return props->present >> id & 1;
}

static inline uint32_t hbus_mqtt_number(const struct hbus_mqtt_props *props,
					enum hbus_mqtt_property id, uint32_t fallback)
{
	return hbus_mqtt_has(props, id) ? props->number[id] : fallback;
}

/**
 * hbus_mqtt_carry() - those properties that subscribers get too, one after another
 * @room: props->raw.size bytes of the caller's, used only when some are to be left out
 *
 * Return: either ->raw or what was copied into @room.
 */
struct hbus_mqtt_span hbus_mqtt_carry(const struct hbus_mqtt_props *props, uint8_t *room);

/** hbus_mqtt_check_carried() - is this from somebody else what hbus_mqtt_carry() could return? */
bool hbus_mqtt_check_carried(const uint8_t *data, size_t size, struct hbus_mqtt_props *ret_props);

void hbus_mqtt_put_number(struct hbus_mqtt_writer *writer, enum hbus_mqtt_property id, uint32_t value);
void hbus_mqtt_put_text(struct hbus_mqtt_writer *writer, enum hbus_mqtt_property id, const void *data,
			size_t size);
