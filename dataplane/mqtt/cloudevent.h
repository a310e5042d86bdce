/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * An event of a local process as a CloudEvent in the MQTT binding's binary mode
 *
 * Its attributes become user properties of MQTT 5: specversion, id (RING:SEQUENCE), source (the bus
 * and the topic, as a URI), type, subject (the topic), and time where the event has one. The payload
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
 * @time_ns: since 1970; 0 = none
 *
 * Return: bytes written.
 */
size_t hbus_mqtt_cloudevent(uint8_t room[HBUS_MQTT_CLOUDEVENT_MAX], const char *source, const char *topic,
			    uint64_t ring_id, uint64_t sequence, uint64_t time_ns);
