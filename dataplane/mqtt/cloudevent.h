/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * An event of a local process as a CloudEvent in the MQTT binding's binary mode
 *
 * Its attributes become user properties of MQTT 5: specversion, id (RING:SEQUENCE), source (the bus
 * and the topic, as a URI), type, subject (the topic), and time where the event has one; datacontenttype
 * becomes the property Content Type. The payload
 * stays as it is. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Enough for any topic: three characters for each byte of it in the source. */
#define HBUS_MQTT_CLOUDEVENT_MAX 2048u

/**
 * hbus_mqtt_cloudevent() - encoded user properties
 * @source: begins the source attribute, at most 255 bytes, such as "hugebus://host/"
 * @type, @content_type: what the topic was declared with, "" = nothing; at most 63 bytes each
 * @time_ns: since 1970; 0 = none
 *
 * Return: bytes written.
 */
size_t hbus_mqtt_cloudevent(uint8_t room[HBUS_MQTT_CLOUDEVENT_MAX], const char *source, const char *topic,
			    const char *type, const char *content_type, uint64_t ring_id, uint64_t sequence,
			    uint64_t time_ns);
