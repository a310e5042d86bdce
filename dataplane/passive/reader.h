/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an MQTT client publishes, read out of the bytes that it sends to a broker
 *
 * MQTT 3.1.1 and 5.0. It answers nothing and knows nothing of what the broker made of it: what the broker
 * refused is read all the same, and wills, which the broker sends, are not. A QoS 2 message that its client
 * sends again on the same connection comes once.
 *
 * After a hole inside a packet whose length is known, reading goes on behind that packet; after any other hole,
 * and without having seen CONNECT, there is no telling where a packet begins, and the stream is lost.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/mqtt/engine.h"

struct hbus_mqtt_tap;

/* X(name, meaning) */
#define HBUS_TAP_COUNTERS(X)                                                                      \
	X(packets, "MQTT packets of clients")                                                     \
	X(published, "messages handed on")                                                        \
	X(repeated, "QoS 2 messages that came again")                                             \
	X(torn, "packets with a hole in them")                                                    \
	X(lost, "streams in which the beginning of a packet cannot be told any more")             \
	X(not_mqtt, "streams that did not begin with an MQTT CONNECT")                            \
	X(malformed, "streams given up for a malformed packet")                                   \
	X(too_large, "streams given up for a packet beyond the limit")                            \
	X(bad_topic, "messages to a topic that the bus cannot name")                              \
	X(bad_alias, "messages to a topic alias that was not seen")                               \
	X(kept_bytes, "bytes of packets that are not whole yet")

struct hbus_tap_counters {
#define HBUS_TAP_COUNTER(name, meaning) uint64_t n_##name;
	HBUS_TAP_COUNTERS(HBUS_TAP_COUNTER)
#undef HBUS_TAP_COUNTER
};

/* What streams share. Zero the counters. */
struct hbus_tap_shared {
	void (*publish)(void *context, const struct hbus_mqtt_message *message);
	void *context;
	uint32_t packet_max;         /* bytes */
	uint64_t kept_max;           /* bytes of packets that are not whole, of all streams */
	struct hbus_tap_counters counters;
};

/* One direction of one connection, from its first byte. @shared: borrowed. Return: NULL without memory. */
struct hbus_mqtt_tap *hbus_mqtt_tap_new(struct hbus_tap_shared *shared);
/* Accepts NULL and returns NULL. */
struct hbus_mqtt_tap *hbus_mqtt_tap_free(struct hbus_mqtt_tap *tap);
void hbus_mqtt_tap_bytes(struct hbus_mqtt_tap *tap, const uint8_t *data, size_t size);
void hbus_mqtt_tap_hole(struct hbus_mqtt_tap *tap, uint64_t size);
