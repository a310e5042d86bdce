/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A CloudEvent of the MQTT binding's binary mode in its structured mode: JSON, the only mode of MQTT 3.1.1
 *
 * In binary mode the attributes are user properties and the payload is the data; in structured mode both are one
 * JSON object. Data of a JSON type stands in it as it is when it is JSON, other text as a string, and the rest in
 * data_base64. User properties whose names no attribute can have are left out. Pure, but for malloc().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/mqtt/engine.h"

/**
 * hbus_mqtt_structured() - the payload for who knows no properties
 * @ret_json: from malloc(), the caller's; not terminated
 *
 * Return: its size, or 0: not a CloudEvent in binary mode (one without specversion, id, source and type, or structured
 * already), or no memory. Then the payload goes as it is.
 */
size_t hbus_mqtt_structured(const struct hbus_mqtt_message *message, char **ret_json);

/** hbus_mqtt_is_json() - one JSON value, in UTF-8, at most 256 levels deep? Without recursion. */
bool hbus_mqtt_is_json(const uint8_t *data, size_t size);
