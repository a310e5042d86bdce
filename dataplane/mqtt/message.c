/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages that are kept: one copy, however many clients wait for it. */
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/engine_pvt.h"

uint64_t hbus_mqtt_expires_ms(const struct hbus_mqtt *engine, const struct hbus_mqtt_message *message)
{
	uint64_t life_ms = (uint64_t)message->expiry_s * 1000;

	if (!message->has_expiry)
		return UINT64_MAX;
	return hbus_mqtt_now(engine) + (life_ms > message->age_ms ? life_ms - message->age_ms : 0);
}

static char *append(char **at, const void *data, size_t size)
{
	char *begin = *at;

	if (size > 0)
		memcpy(begin, data, size);
	*at += size;
	return begin;
}

struct hbus_mqtt_kept *hbus_mqtt_keep(struct hbus_mqtt *engine, const struct hbus_mqtt_message *message)
{
	size_t topic_size = strlen(message->topic) + 1;
	size_t size = sizeof(struct hbus_mqtt_kept) + topic_size + message->props.size + message->payload_size;
	struct hbus_mqtt_kept *kept = NULL;
	char *at;

	if (engine->counters.message_bytes_now + size <= engine->config.message_bytes_max)
		kept = malloc(size);
	if (!kept) {
		engine->counters.dropped_memory++;
		return NULL;
	}
	kept->engine = engine;
	kept->n_refs = 1;
	kept->number = kept->saved_in = 0;
	kept->size = size;
	kept->expires_ms = hbus_mqtt_expires_ms(engine, message);
	kept->view = *message;
	at = kept->data;
	kept->view.topic = append(&at, message->topic, topic_size);
	kept->view.props.data = (const uint8_t *)append(&at, message->props.data, message->props.size);
	kept->view.payload = append(&at, message->payload, message->payload_size);
	engine->counters.message_bytes_now += size;
	return kept;
}

struct hbus_mqtt_kept *hbus_mqtt_kept_get(struct hbus_mqtt_kept *kept)
{
	kept->n_refs++;
	return kept;
}

void hbus_mqtt_kept_put(struct hbus_mqtt_kept *kept)
{
	if (!kept || --kept->n_refs > 0)
		return;
	hbus_mqtt_log_forgotten(kept);
	kept->engine->counters.message_bytes_now -= kept->size;
	free(kept);
}
