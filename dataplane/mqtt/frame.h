/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Whole packets out of a stream of bytes
 *
 * A packet that lies whole in what was received is handed out where it lies. Of another one the
 * beginning is kept. Its length is judged before a byte is allocated for it, and no more is
 * allocated than twice what has come of it (or 256 bytes).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Zero it before use. */
struct hbus_mqtt_frame {
	uint8_t head[5];
	uint8_t head_size;
	uint8_t *body;
	size_t have, need, room; /* of the body */
	bool is_in_body;
};

struct hbus_mqtt_whole {
	uint8_t first_byte;
	const uint8_t *body; /* valid until the next call, or as long as the bytes that were given */
	size_t size;
};

/* Conditions. */
#define HBUS_MQTT_FRAME_MORE 1 /* all was taken, no packet is whole yet */

/**
 * hbus_mqtt_frame_next() - the next whole packet
 * @data, @size: what was received; moved over what was used
 * @packet_max: bytes of a packet, its fixed header included
 *
 * Return: 0, HBUS_MQTT_FRAME_MORE, or from 0x80 an MQTT reason code, after which the stream is lost.
 */
int hbus_mqtt_frame_next(struct hbus_mqtt_frame *frame, const uint8_t **data, size_t *size,
			 size_t packet_max, struct hbus_mqtt_whole *ret_packet);

void hbus_mqtt_frame_deinit(struct hbus_mqtt_frame *frame);
