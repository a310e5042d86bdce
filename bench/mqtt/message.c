/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages and what is checked of them. See message.h. */
#include "bench/mqtt/message.h"

#include <string.h>

#include "dataplane/mqtt/codec.h"
#include "dataplane/mqtt/mqtt.h"

#define LABEL_BYTES 24u
/* Any odd number: it spreads the bits of a message's number over its words. */
#define SPREAD UINT64_C(0x9e3779b97f4a7c15)

void bench_mqtt_template_make(struct bench_mqtt_template *template, uint8_t version, uint8_t qos, const char *topic,
			      unsigned int size)
{
	size_t body = 2 + strlen(topic) + (qos ? 2 : 0) + (version == HBUS_MQTT_V5 ? 1 : 0) + size;
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(template->head, sizeof(template->head));

	hbus_mqtt_put_u8(&writer, (uint8_t)(HBUS_MQTT_PUBLISH << 4 | qos << 1));
	hbus_mqtt_put_varint(&writer, (uint32_t)body);
	hbus_mqtt_put_binary(&writer, topic, strlen(topic));
	template->id_off = qos ? (unsigned int)(writer.at - template->head) : 0;
	if (qos)
		hbus_mqtt_put_u16(&writer, 0);
	if (version == HBUS_MQTT_V5)
		hbus_mqtt_put_varint(&writer, 0);
	template->head_size = (unsigned int)(writer.at - template->head);
	template->size = size;
}

static void fill_rest(uint8_t *at, size_t size, uint64_t word)
{
	size_t i = 0;

	for (; i + 8 <= size; i += 8) {
		memcpy(at + i, &word, 8);
		word += SPREAD;
	}
	memcpy(at + i, &word, size - i);
}

static bool is_rest(const uint8_t *at, size_t size, uint64_t word)
{
	uint64_t wrong = 0, found;
	size_t i = 0;

	for (; i + 8 <= size; i += 8) {
		memcpy(&found, at + i, 8);
		wrong |= found ^ word;
		word += SPREAD;
	}
	return wrong == 0 && memcmp(at + i, &word, size - i) == 0;
}

void bench_mqtt_template_fill(const struct bench_mqtt_template *template, uint16_t packet_id,
			      const struct bench_mqtt_label *label, uint8_t *out)
{
	uint8_t *payload = out + template->head_size;

	memcpy(out, template->head, template->head_size);
	if (template->id_off) {
		out[template->id_off] = (uint8_t)(packet_id >> 8);
		out[template->id_off + 1] = (uint8_t)packet_id;
	}
	memcpy(payload, label, LABEL_BYTES);
	fill_rest(payload + LABEL_BYTES, template->size - LABEL_BYTES, label->number * SPREAD);
}

bool bench_mqtt_check(const uint8_t *payload, size_t size, unsigned int wanted_size, struct bench_mqtt_label *ret_label)
{
	if (size != wanted_size || size < LABEL_BYTES)
		return false;
	memcpy(ret_label, payload, LABEL_BYTES);
	return is_rest(payload + LABEL_BYTES, size - LABEL_BYTES, ret_label->number * SPREAD);
}
