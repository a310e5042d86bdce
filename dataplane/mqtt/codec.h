/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The data representations of MQTT: integers, varints, strings, binary data
 *
 * A reader goes over bytes of a stranger: the first read beyond the end, or of something ill-formed,
 * makes it bad, and every read after that gives zero. So a parser reads on and asks once at the end.
 * A writer fills the caller's memory; what does not fit makes it over, and nothing is written past
 * the end.
 *
 * Pure functions: any thread, no allocation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/mqtt/mqtt.h"

struct hbus_mqtt_reader {
	const uint8_t *at, *end;
	bool is_bad;
};

static inline struct hbus_mqtt_reader hbus_mqtt_reader(const void *data, size_t size)
{
	const uint8_t *at = size > 0 ? data : (const uint8_t *)"";

	return (struct hbus_mqtt_reader){ at, at + size, false };
}

static inline size_t hbus_mqtt_left(const struct hbus_mqtt_reader *reader)
{
	return (size_t)(reader->end - reader->at);
}

uint8_t hbus_mqtt_get_u8(struct hbus_mqtt_reader *reader);
uint16_t hbus_mqtt_get_u16(struct hbus_mqtt_reader *reader);
uint32_t hbus_mqtt_get_u32(struct hbus_mqtt_reader *reader);
/* One to four bytes, and no more of them than the value needs. */
uint32_t hbus_mqtt_get_varint(struct hbus_mqtt_reader *reader);
struct hbus_mqtt_span hbus_mqtt_get_bytes(struct hbus_mqtt_reader *reader, size_t size);
/* Two bytes of length, then so many bytes. */
struct hbus_mqtt_span hbus_mqtt_get_binary(struct hbus_mqtt_reader *reader);
/* As binary; well-formed UTF-8 without U+0000. */
struct hbus_mqtt_span hbus_mqtt_get_string(struct hbus_mqtt_reader *reader);

/** hbus_mqtt_is_utf8() - well-formed (no overlong form, no surrogate)? U+0000 counts as ill-formed. */
bool hbus_mqtt_is_utf8(const uint8_t *data, size_t size);

struct hbus_mqtt_writer {
	uint8_t *at, *end;
	bool is_over;
};

static inline struct hbus_mqtt_writer hbus_mqtt_writer(void *data, size_t room)
{
	uint8_t *at = data;

	return (struct hbus_mqtt_writer){ at, at + room, false };
}

void hbus_mqtt_put_u8(struct hbus_mqtt_writer *writer, uint8_t value);
void hbus_mqtt_put_u16(struct hbus_mqtt_writer *writer, uint16_t value);
void hbus_mqtt_put_u32(struct hbus_mqtt_writer *writer, uint32_t value);
void hbus_mqtt_put_varint(struct hbus_mqtt_writer *writer, uint32_t value);
void hbus_mqtt_put_bytes(struct hbus_mqtt_writer *writer, const void *data, size_t size);
/* @size: at most HBUS_MQTT_STRING_MAX. */
void hbus_mqtt_put_binary(struct hbus_mqtt_writer *writer, const void *data, size_t size);

/** hbus_mqtt_varint_size() - bytes that @value takes, 1..4; 5 when it is beyond the maximum. */
static inline size_t hbus_mqtt_varint_size(size_t value)
{
	return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : value < 268435456 ? 4 : 5;
}
