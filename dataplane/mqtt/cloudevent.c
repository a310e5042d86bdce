/* SPDX-License-Identifier: BSD-3-Clause */
/* An event of a local process as a CloudEvent: user properties of MQTT 5. */
#include "dataplane/mqtt/cloudevent.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "dataplane/mqtt/codec.h"

enum { SOURCE_MAX = 255, TOPIC_MAX = 255, NS_PER_S = 1000000000 };

#define TYPE_DEFAULT "hugebus.event"

static void put_pair(struct hbus_mqtt_writer *writer, const char *key, const char *value)
{
	hbus_mqtt_put_u8(writer, HBUS_MQTT_P_USER);
	hbus_mqtt_put_binary(writer, key, strlen(key));
	hbus_mqtt_put_binary(writer, value, strlen(value));
}

/* What a path of a URI holds as it is. */
static bool is_path_char(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("-._~!$&'()*+,;=:@/", c));
}

static void source_of(char room[SOURCE_MAX + 3 * TOPIC_MAX + 1], const char *source, const char *topic)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = strnlen(source, SOURCE_MAX), n_topic = strnlen(topic, TOPIC_MAX);

	memcpy(room, source, n);
	for (size_t i = 0; i < n_topic; i++) {
		unsigned char c = (unsigned char)topic[i];

		if (is_path_char(c)) {
			room[n++] = (char)c;
			continue;
		}
		room[n++] = '%';
		room[n++] = digits[c >> 4];
		room[n++] = digits[c & 15];
	}
	room[n] = '\0';
}

static void put_time(struct hbus_mqtt_writer *writer, uint64_t time_ns)
{
	time_t seconds = (time_t)(time_ns / NS_PER_S);
	char text[64];
	struct tm utc;
	size_t n;

	if (time_ns == 0 || !gmtime_r(&seconds, &utc))
		return;
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text + n, sizeof(text) - n, ".%09uZ", (unsigned int)(time_ns % NS_PER_S));
	put_pair(writer, "time", text);
}

size_t hbus_mqtt_cloudevent(uint8_t room[HBUS_MQTT_CLOUDEVENT_MAX], const char *source, const char *topic,
			    const char *type, const char *content_type, uint64_t ring_id, uint64_t sequence,
			    uint64_t time_ns)
{
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(room, HBUS_MQTT_CLOUDEVENT_MAX);
	char text[SOURCE_MAX + 3 * TOPIC_MAX + 1];

	/* Somebody has declared them, and an ill-formed string would end the connection of who hears it. */
	if (content_type[0] != '\0' && hbus_mqtt_is_utf8((const uint8_t *)content_type, strlen(content_type))) {
		hbus_mqtt_put_u8(&writer, HBUS_MQTT_P_CONTENT_TYPE);
		hbus_mqtt_put_binary(&writer, content_type, strlen(content_type));
	}
	put_pair(&writer, "specversion", "1.0");
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)ring_id, (unsigned long long)sequence);
	put_pair(&writer, "id", text);
	source_of(text, source, topic);
	put_pair(&writer, "source", text);
	put_pair(&writer, "type", type[0] != '\0' && hbus_mqtt_is_utf8((const uint8_t *)type, strlen(type)) ? type :
												   TYPE_DEFAULT);
	put_pair(&writer, "subject", topic);
	put_time(&writer, time_ns);
	return (size_t)(writer.at - room);
}
