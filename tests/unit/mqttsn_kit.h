/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MQTT-SN clients and a bus for tests of the engine: messages in, messages out, time by hand.
 *
 * A client is a peer; what the engine sends it is kept as one line of text each ("PUBLISH k0 i1 q1 r0
 * d0 #7 hello"). The bus is a list: published messages come back by settle(), if a filter that the
 * engine has subscribed to matches.
 */
#pragma once

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"
#include "dataplane/mqttsn/engine.h"

enum { QOS_0 = 0, QOS_1 = 0x20, QOS_2 = 0x40, QOS_MINUS_1 = 0x60, RETAIN = 0x10, WILL = 0x08, CLEAN = 0x04 };
enum { PREDEFINED = 1, SHORT = 2 };
enum { KIT_LINES = 4096, KIT_LINE_SIZE = 2200, KIT_EVENTS = 4096, KIT_FILTERS = 64 };

struct kit_out {
	struct hbus_sn_peer peer;
	bool is_taken;
	char line[KIT_LINE_SIZE];
};

struct kit_event {
	char topic[256];
	uint8_t payload[2048];
	struct hbus_mqtt_message message;
};

static struct hbus_mqtt *mqtt;
static struct hbus_sn *sn;
static struct hbus_sn_config config;
static const struct hbus_sn_counters *counters;
static struct kit_out kit_outs[KIT_LINES];
static uint32_t kit_n_outs;
static struct kit_event kit_events[KIT_EVENTS];
static uint32_t kit_n_events, kit_events_at;
static char kit_filters[KIT_FILTERS][256];
static uint8_t kit_bus_reason;
static char kit_asked[256];      /* what the bus was asked last when it had a reason to refuse, or to wait */
static uint64_t kit_now_ms, kit_heard_ms;
/* What io->name says, and what was set for poll loops. */
static uint32_t kit_number;
static int kit_n_names, kit_n_paths;
static uint16_t kit_path_id;
static uint32_t kit_path_number;

static inline struct hbus_sn_peer peer_of(uint32_t n)
{
	struct hbus_sn_peer peer = { .family = 4, .port = (uint16_t)(10000 + n % 40000) };

	peer.addr[0] = 10;
	peer.addr[2] = (uint8_t)(n >> 8);
	peer.addr[3] = (uint8_t)n;
	return peer;
}

static inline const char *kit_type(uint8_t type)
{
	static const char *const names[] = {
		[HBUS_SN_ADVERTISE] = "ADVERTISE", [HBUS_SN_GWINFO] = "GWINFO",
		[HBUS_SN_CONNACK] = "CONNACK", [HBUS_SN_WILLTOPICREQ] = "WILLTOPICREQ",
		[HBUS_SN_WILLMSGREQ] = "WILLMSGREQ", [HBUS_SN_REGISTER] = "REGISTER",
		[HBUS_SN_REGACK] = "REGACK", [HBUS_SN_PUBLISH] = "PUBLISH",
		[HBUS_SN_PUBACK] = "PUBACK", [HBUS_SN_PUBCOMP] = "PUBCOMP",
		[HBUS_SN_PUBREC] = "PUBREC", [HBUS_SN_PUBREL] = "PUBREL",
		[HBUS_SN_SUBACK] = "SUBACK", [HBUS_SN_UNSUBACK] = "UNSUBACK",
		[HBUS_SN_PINGRESP] = "PINGRESP", [HBUS_SN_DISCONNECT] = "DISCONNECT",
		[HBUS_SN_WILLTOPICRESP] = "WILLTOPICRESP", [HBUS_SN_WILLMSGRESP] = "WILLMSGRESP",
	};

	return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "?";
}

/* Only what a type has is said. */
static inline void kit_describe(const struct hbus_sn_message *m, char *line, size_t size)
{
	int n = snprintf(line, size, "%s", kit_type(m->type));

	if (m->type == HBUS_SN_PUBLISH)
		n += snprintf(line + n, size - (size_t)n, " k%u i%u q%u r%u d%u #%u %.*s",
			      m->flags & HBUS_SN_KIND_MASK, m->topic_id,
			      (m->flags & HBUS_SN_QOS_MASK) >> HBUS_SN_QOS_OFF,
			      !!(m->flags & HBUS_SN_RETAIN), !!(m->flags & HBUS_SN_DUP), m->msg_id,
			      (int)m->data_size, (const char *)m->data);
	else if (m->type == HBUS_SN_REGISTER)
		n += snprintf(line + n, size - (size_t)n, " i%u #%u %.*s", m->topic_id, m->msg_id,
			      (int)m->data_size, (const char *)m->data);
	else if (m->type == HBUS_SN_SUBACK)
		n += snprintf(line + n, size - (size_t)n, " q%u i%u #%u c%u",
			      (m->flags & HBUS_SN_QOS_MASK) >> HBUS_SN_QOS_OFF, m->topic_id,
			      m->msg_id, m->code);
	else if (m->type == HBUS_SN_REGACK || m->type == HBUS_SN_PUBACK)
		n += snprintf(line + n, size - (size_t)n, " i%u #%u c%u", m->topic_id, m->msg_id,
			      m->code);
	else if (m->type == HBUS_SN_PUBREC || m->type == HBUS_SN_PUBREL ||
		 m->type == HBUS_SN_PUBCOMP || m->type == HBUS_SN_UNSUBACK)
		n += snprintf(line + n, size - (size_t)n, " #%u", m->msg_id);
	else if (m->type == HBUS_SN_CONNACK || m->type == HBUS_SN_WILLTOPICRESP ||
		 m->type == HBUS_SN_WILLMSGRESP || m->type == HBUS_SN_GWINFO)
		n += snprintf(line + n, size - (size_t)n, " c%u", m->code);
	else if (m->type == HBUS_SN_ADVERTISE)
		n += snprintf(line + n, size - (size_t)n, " c%u %us", m->code, m->duration);
	cr_assert_lt(n, (int)size);
}

static inline void kit_send(void *context, const struct hbus_sn_peer *peer,
			    const struct hbus_sn_link *link, const uint8_t *bytes, size_t size)
{
	struct kit_out *out = &kit_outs[kit_n_outs++];
	struct hbus_sn_message message;

	(void)context;
	cr_assert_eq(!peer, !link);
	cr_assert_leq(kit_n_outs, KIT_LINES);
	cr_assert(hbus_sn_parse(bytes, size, &message), "we send what we would refuse");
	out->peer = peer ? *peer : (struct hbus_sn_peer){ 0 };
	out->is_taken = false;
	kit_describe(&message, out->line, sizeof(out->line));
}

static inline uint8_t kit_publish(void *context, const struct hbus_mqtt_message *message)
{
	struct kit_event *event = &kit_events[kit_n_events];

	(void)context;
	if (kit_bus_reason) {
		snprintf(kit_asked, sizeof(kit_asked), "%s", message->topic);
		return kit_bus_reason;
	}
	cr_assert_lt(kit_n_events, KIT_EVENTS);
	snprintf(event->topic, sizeof(event->topic), "%s", message->topic);
	memcpy(event->payload, message->payload, message->payload_size);
	event->message = *message;
	event->message.topic = event->topic;
	event->message.payload = event->payload;
	cr_assert_eq(message->props.size, 0);
	kit_n_events++;
	return 0;
}

static inline uint8_t kit_subscribe(void *context, const char *filter)
{
	(void)context;
	for (uint32_t i = 0; i < KIT_FILTERS; i++)
		if (!kit_filters[i][0]) {
			snprintf(kit_filters[i], sizeof(kit_filters[i]), "%s", filter);
			return 0;
		}
	return HBUS_MQTT_QUOTA;
}

static inline void kit_unsubscribe(void *context, const char *filter)
{
	(void)context;
	for (uint32_t i = 0; i < KIT_FILTERS; i++)
		if (strcmp(kit_filters[i], filter) == 0)
			kit_filters[i][0] = '\0';
}

static inline uint32_t kit_name(void *context, const char *topic)
{
	(void)context;
	(void)topic;
	kit_n_names += kit_number != HBUS_SN_NAME_PENDING;
	return kit_number;
}

static inline void kit_name_end(void *context, const char *topic)
{
	(void)context;
	(void)topic;
	kit_n_names--;
}

static inline void kit_path_open(void *context, const struct hbus_sn_peer *peer)
{
	(void)context;
	(void)peer;
	kit_n_paths++;
}

static inline void kit_path_set(void *context, const struct hbus_sn_peer *peer, uint16_t topic_id,
				uint32_t number)
{
	(void)context;
	(void)peer;
	kit_path_id = topic_id;
	kit_path_number = number;
}

static inline void kit_path_close(void *context, const struct hbus_sn_peer *peer)
{
	(void)context;
	(void)peer;
	kit_n_paths--;
}

static inline uint64_t kit_heard(void *context, const struct hbus_sn_peer *peer)
{
	(void)context;
	(void)peer;
	return kit_heard_ms;
}

static inline void settle(void)
{
	while (kit_events_at < kit_n_events) {
		struct kit_event *event = &kit_events[kit_events_at++];

		for (uint32_t i = 0; i < KIT_FILTERS; i++)
			if (kit_filters[i][0] && hbus_topic_matches(kit_filters[i], event->topic)) {
				hbus_mqtt_event(mqtt, &event->message);
				break;
			}
		hbus_sn_settle(sn);
	}
}

/* An event of a process that is no MQTT client. */
static inline void bus_event(const char *topic, const char *payload, uint8_t qos)
{
	const struct hbus_mqtt_message message = { .topic = topic, .payload = payload,
						   .payload_size = strlen(payload), .qos = qos };

	hbus_mqtt_event(mqtt, &message);
	hbus_sn_settle(sn);
}

static inline void kit_start(void)
{
	const struct hbus_sn_io io = { .send = kit_send, .name = kit_name, .name_end = kit_name_end,
				       .path_open = kit_path_open, .path_set = kit_path_set,
				       .path_close = kit_path_close, .heard = kit_heard };
	const struct hbus_mqtt_io mqtt_io = { .send = hbus_sn_mqtt_send, .close = hbus_sn_mqtt_close,
					      .publish = kit_publish, .subscribe = kit_subscribe,
					      .unsubscribe = kit_unsubscribe };
	struct hbus_mqtt_config mqtt_config;

	hbus_mqtt_config_default(&mqtt_config);
	mqtt_config.secret[0] = 5;
	cr_assert_eq(hbus_sn_new(&config, &io, kit_now_ms, &sn), 0);
	cr_assert_eq(hbus_mqtt_new(&mqtt_config, &mqtt_io, kit_now_ms, &mqtt), 0);
	hbus_sn_attach(sn, mqtt);
	counters = hbus_sn_counters(sn);
}

static inline void kit_init(void)
{
	hbus_sn_config_default(&config);
	config.secret[0] = 7;
	config.secret[1] = 9;
	kit_now_ms = 1000000;
	kit_number = HBUS_SN_NAME_NONE;
	kit_start();
}

static inline void kit_deinit(void)
{
	uint64_t n_in = counters->in_taken + counters->in_malformed + counters->in_unexpected +
			counters->in_stranger + counters->in_limited;

	cr_assert_eq(counters->messages_in, n_in);
	mqtt = hbus_mqtt_free(mqtt);
	sn = hbus_sn_free(sn);
}

static inline void tick(uint64_t ms)
{
	kit_now_ms += ms;
	hbus_sn_tick(sn, kit_now_ms);
}

/* ---- what clients say ------------------------------------------------------------------------ */

static inline void say_bytes(uint32_t n, const void *bytes, size_t size)
{
	const struct hbus_sn_link link = { .local_port = 1883 };
	struct hbus_sn_peer peer = peer_of(n);
	uint8_t *copy = malloc(size ? size : 1); /* so that a read beyond its end is seen */

	memcpy(copy, bytes, size);
	hbus_sn_input(sn, &peer, &link, copy, size);
	free(copy);
}

static inline void say(uint32_t n, uint8_t type, const void *fixed, size_t fixed_size,
		       const char *data)
{
	uint8_t room[HBUS_SN_MESSAGE_MAX];
	size_t size = hbus_sn_build(room, sizeof(room), type, fixed, fixed_size, data,
				    data ? strlen(data) : 0);

	cr_assert_gt(size, 0);
	say_bytes(n, room, size);
}

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static inline void say_connect(uint32_t n, uint8_t flags, uint16_t duration, const char *id)
{
	say(n, HBUS_SN_CONNECT, BYTES(flags, 1, (uint8_t)(duration >> 8), (uint8_t)duration), id);
}

static inline void say_register(uint32_t n, uint16_t msg_id, const char *name)
{
	say(n, HBUS_SN_REGISTER, BYTES(0, 0, (uint8_t)(msg_id >> 8), (uint8_t)msg_id), name);
}

static inline void say_publish(uint32_t n, uint8_t flags, uint16_t topic_id, uint16_t msg_id,
			       const char *payload)
{
	say(n, HBUS_SN_PUBLISH,
	    BYTES(flags, (uint8_t)(topic_id >> 8), (uint8_t)topic_id, (uint8_t)(msg_id >> 8),
		  (uint8_t)msg_id),
	    payload);
}

static inline void say_subscribe(uint32_t n, uint8_t flags, uint16_t msg_id, const char *filter)
{
	say(n, HBUS_SN_SUBSCRIBE, BYTES(flags, (uint8_t)(msg_id >> 8), (uint8_t)msg_id), filter);
}

static inline void say_id(uint32_t n, uint8_t type, uint16_t msg_id)
{
	say(n, type, BYTES((uint8_t)(msg_id >> 8), (uint8_t)msg_id), NULL);
}

static inline void say_ack(uint32_t n, uint8_t type, uint16_t topic_id, uint16_t msg_id, uint8_t code)
{
	say(n, type,
	    BYTES((uint8_t)(topic_id >> 8), (uint8_t)topic_id, (uint8_t)(msg_id >> 8),
		  (uint8_t)msg_id, code),
	    NULL);
}

/* ---- what they hear -------------------------------------------------------------------------- */

static inline const char *hear(uint32_t n)
{
	struct hbus_sn_peer peer = peer_of(n);

	for (uint32_t i = 0; i < kit_n_outs; i++)
		if (!kit_outs[i].is_taken && hbus_sn_peer_is_same(&kit_outs[i].peer, &peer)) {
			kit_outs[i].is_taken = true;
			return kit_outs[i].line;
		}
	return "";
}

#define expect(n, text) cr_assert_str_eq(hear(n), text)
#define expect_silence(n) cr_assert_str_eq(hear(n), "")

static inline void connect_client(uint32_t n, uint8_t flags, const char *id)
{
	say_connect(n, flags, 60, id);
	expect(n, "CONNACK c0");
}

/* What the bus was given, since this was asked last. */
static inline const char *published(void)
{
	static char line[2400];
	static uint32_t at;
	const struct kit_event *event;

	if (at > kit_n_events)
		at = 0;
	if (at == kit_n_events)
		return "";
	event = &kit_events[at++];
	snprintf(line, sizeof(line), "%s q%u r%u %.*s", event->topic, event->message.qos,
		 event->message.is_retain, (int)event->message.payload_size,
		 (const char *)event->payload);
	return line;
}

#define expect_published(text) cr_assert_str_eq(published(), text)

static inline void connect_and_register(uint32_t n, const char *id, const char *topic)
{
	connect_client(n, CLEAN, id);
	say_register(n, 1, topic);
	expect(n, "REGACK i1 #1 c0");
}
