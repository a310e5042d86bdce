/* SPDX-License-Identifier: BSD-3-Clause */
/* The data representations of MQTT, read from and written to memory. */
#include "dataplane/mqtt/codec.h"

#include <string.h>

static const uint8_t *take(struct hbus_mqtt_reader *reader, size_t size)
{
	const uint8_t *at = reader->at;

	if (reader->is_bad || size > hbus_mqtt_left(reader)) {
		reader->is_bad = true;
		return NULL;
	}
	reader->at += size;
	return at;
}

uint8_t hbus_mqtt_get_u8(struct hbus_mqtt_reader *reader)
{
	const uint8_t *p = take(reader, 1);

	return p ? *p : 0;
}

uint16_t hbus_mqtt_get_u16(struct hbus_mqtt_reader *reader)
{
	const uint8_t *p = take(reader, 2);

	if (!p)
		return 0;
	return (uint16_t)((uint32_t)p[0] << 8 | p[1]);
}

uint32_t hbus_mqtt_get_u32(struct hbus_mqtt_reader *reader)
{
	uint32_t high = hbus_mqtt_get_u16(reader);

	return high << 16 | hbus_mqtt_get_u16(reader);
}

uint32_t hbus_mqtt_get_varint(struct hbus_mqtt_reader *reader)
{
	uint32_t value = 0;

	for (unsigned int shift = 0; shift < 28; shift += 7) {
		uint8_t byte = hbus_mqtt_get_u8(reader);

		value |= (byte & 0x7fu) << shift;
		if (byte & 0x80)
			continue;
		if (byte == 0 && shift > 0)
			reader->is_bad = true;
		return reader->is_bad ? 0 : value;
	}
	reader->is_bad = true;
	return 0;
}

struct hbus_mqtt_span hbus_mqtt_get_bytes(struct hbus_mqtt_reader *reader, size_t size)
{
	const uint8_t *p = take(reader, size);

	return (struct hbus_mqtt_span){ p, p ? size : 0 };
}

struct hbus_mqtt_span hbus_mqtt_get_binary(struct hbus_mqtt_reader *reader)
{
	return hbus_mqtt_get_bytes(reader, hbus_mqtt_get_u16(reader));
}

struct hbus_mqtt_span hbus_mqtt_get_string(struct hbus_mqtt_reader *reader)
{
	struct hbus_mqtt_span span = hbus_mqtt_get_binary(reader);

	if (span.size > 0 && !hbus_mqtt_is_utf8(span.data, span.size)) {
		reader->is_bad = true;
		span = (struct hbus_mqtt_span){ NULL, 0 };
	}
	return span;
}

/* Length of the sequence that begins with @lead, and the bounds of its second byte; 0 = none does. */
static size_t utf8_length(uint8_t lead, uint8_t *ret_min, uint8_t *ret_max)
{
	*ret_min = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
	*ret_max = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

bool hbus_mqtt_is_utf8(const uint8_t *data, size_t size)
{
	for (size_t i = 0, n; i < size; i += n) {
		uint8_t min, max;

		n = 1;
		if (data[i] != 0 && data[i] < 0x80)
			continue;
		n = utf8_length(data[i], &min, &max);
		if (n == 0 || n > size - i || data[i + 1] < min || data[i + 1] > max)
			return false;
		for (size_t j = 2; j < n; j++)
			if ((data[i + j] & 0xc0) != 0x80)
				return false;
	}
	return true;
}

void hbus_mqtt_put_bytes(struct hbus_mqtt_writer *writer, const void *data, size_t size)
{
	if (writer->is_over || size > (size_t)(writer->end - writer->at)) {
		writer->is_over = true;
		return;
	}
	if (size > 0)
		memcpy(writer->at, data, size);
	writer->at += size;
}

void hbus_mqtt_put_u8(struct hbus_mqtt_writer *writer, uint8_t value)
{
	hbus_mqtt_put_bytes(writer, &value, 1);
}

void hbus_mqtt_put_u16(struct hbus_mqtt_writer *writer, uint16_t value)
{
	uint8_t bytes[2] = { (uint8_t)(value >> 8), (uint8_t)value };

	hbus_mqtt_put_bytes(writer, bytes, sizeof(bytes));
}

void hbus_mqtt_put_u32(struct hbus_mqtt_writer *writer, uint32_t value)
{
	hbus_mqtt_put_u16(writer, (uint16_t)(value >> 16));
	hbus_mqtt_put_u16(writer, (uint16_t)value);
}

void hbus_mqtt_put_varint(struct hbus_mqtt_writer *writer, uint32_t value)
{
	if (value > HBUS_MQTT_VARINT_MAX)
		writer->is_over = true;
	do {
		hbus_mqtt_put_u8(writer, (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0)));
		value >>= 7;
	} while (value > 0);
}

void hbus_mqtt_put_binary(struct hbus_mqtt_writer *writer, const void *data, size_t size)
{
	if (size > HBUS_MQTT_STRING_MAX)
		writer->is_over = true;
	hbus_mqtt_put_u16(writer, (uint16_t)size);
	hbus_mqtt_put_bytes(writer, data, size);
}
