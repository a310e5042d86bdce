/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * MQTT clients and a bus for tests of the engine: bytes in, bytes out, time by hand
 *
 * A client says bytes; what the engine sends it is kept, and read back packet by packet as one line of
 * text each ("PUBLISH a/b q1 r0 d0 #1 hello"). The bus is a list: published messages come back by
 * settle(), if a filter that the engine has subscribed to matches.
 */
#pragma once

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"
#include "dataplane/mqtt/codec.h"
#include "dataplane/mqtt/engine.h"
#include "dataplane/mqtt/packet.h"
#include "tests/unit/guard.h"

enum { KIT_OUT_MAX = 1 << 20, KIT_EVENTS_MAX = 16384, KIT_FILTERS_MAX = 512 };

struct kit_client {
	struct hbus_mqtt_conn *conn; /* NULL = closed */
	uint8_t version;
	uint8_t *out;
	size_t out_size, out_at;
	size_t unsent; /* what send() says is waiting, beyond what was just given */
	bool is_slow;  /* nothing is ever sent */
	struct kit_client *next;
	char line[8192];
};

struct kit_event {
	char topic[300];
	struct hbus_mqtt_message message;
	uint8_t *props, *payload;
};

static struct hbus_mqtt *engine;
static struct hbus_mqtt_config config;
static const struct hbus_mqtt_counters *counters;
static struct kit_event kit_events[KIT_EVENTS_MAX];
static size_t kit_n_events, kit_events_at;
static char *kit_filters[KIT_FILTERS_MAX];
static size_t kit_n_filters;
static struct kit_client *kit_clients;
static uint64_t kit_now_ms;
static uint8_t kit_bus_reason; /* what publish() says */
static bool kit_denies;        /* authorize() says no to "secret/..." */
static size_t kit_n_closed, kit_n_resumed;
static bool kit_is_slow_bus;   /* topics and filters are pending until answer() */
static char *kit_asked[KIT_FILTERS_MAX]; /* in their order; "T name" or "F filter" */
static size_t kit_n_asked;
static char *kit_known[KIT_FILTERS_MAX]; /* topics that were answered for */
static size_t kit_n_known;
static const char *kit_refused; /* this topic is being answered for: it is not to be had */

static inline uint8_t *kit_copy(const void *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}

static inline size_t kit_send(void *context, void *transport, const struct iovec *parts, int n_parts)
{
	struct kit_client *c = transport;

	(void)context;
	cr_assert(c->conn != NULL, "sent to a closed connection");
	for (int i = 0; i < n_parts; i++) {
		cr_assert_leq(c->out_size + parts[i].iov_len, KIT_OUT_MAX);
		if (parts[i].iov_len > 0)
			memcpy(c->out + c->out_size, parts[i].iov_base, parts[i].iov_len);
		c->out_size += parts[i].iov_len;
		if (c->is_slow)
			c->unsent += parts[i].iov_len;
	}
	return c->unsent;
}

static inline void kit_close(void *context, void *transport)
{
	struct kit_client *c = transport;

	(void)context;
	cr_assert(c->conn != NULL, "closed twice");
	c->conn = NULL;
	kit_n_closed++;
}

static inline uint8_t kit_ask(char kind, const char *name)
{
	char text[300];

	cr_assert_lt(kit_n_asked, KIT_FILTERS_MAX);
	snprintf(text, sizeof(text), "%c %s", kind, name);
	kit_asked[kit_n_asked++] = strdup(text);
	return HBUS_MQTT_PENDING;
}

static inline bool kit_knows(const char *topic)
{
	for (size_t i = 0; i < kit_n_known; i++)
		if (strcmp(kit_known[i], topic) == 0)
			return true;
	return false;
}

static inline uint8_t kit_publish(void *context, const struct hbus_mqtt_message *message)
{
	struct kit_event *event = &kit_events[kit_n_events];

	(void)context;
	if (kit_refused && strcmp(kit_refused, message->topic) == 0)
		return HBUS_MQTT_NOT_AUTHORIZED;
	if (kit_is_slow_bus && !kit_knows(message->topic)) {
		for (size_t i = 0; i < kit_n_asked; i++)
			if (kit_asked[i][0] == 'T' && strcmp(kit_asked[i] + 2, message->topic) == 0)
				return HBUS_MQTT_PENDING;
		return kit_ask('T', message->topic);
	}
	if (kit_bus_reason)
		return kit_bus_reason;
	cr_assert_lt(kit_n_events, KIT_EVENTS_MAX);
	cr_assert_eq(hbus_topic_check_name(message->topic, strlen(message->topic)), 0);
	snprintf(event->topic, sizeof(event->topic), "%s", message->topic);
	event->message = *message;
	event->message.topic = event->topic;
	event->message.props.data = event->props = kit_copy(message->props.data, message->props.size);
	event->message.payload = event->payload = kit_copy(message->payload, message->payload_size);
	kit_n_events++;
	return 0;
}

static inline uint8_t kit_subscribe(void *context, const char *filter)
{
	(void)context;
	for (size_t i = 0; i < kit_n_filters; i++)
		cr_assert_str_neq(kit_filters[i], filter, "asked the bus twice");
	cr_assert_lt(kit_n_filters, KIT_FILTERS_MAX);
	kit_filters[kit_n_filters++] = strdup(filter);
	return kit_is_slow_bus ? kit_ask('F', filter) : 0;
}

static inline void kit_unsubscribe(void *context, const char *filter)
{
	(void)context;
	for (size_t i = 0; i < kit_n_filters; i++) {
		if (strcmp(kit_filters[i], filter) == 0) {
			free(kit_filters[i]);
			kit_filters[i] = kit_filters[--kit_n_filters];
			return;
		}
	}
	cr_assert_fail("unsubscribed from what was not subscribed: %s", filter);
}

static inline void kit_resumed(void *context, void *transport)
{
	struct kit_client *c = transport;

	(void)context;
	cr_assert(c->conn && !hbus_mqtt_is_waiting(c->conn));
	kit_n_resumed++;
}

/* The password "no" is wrong, who is "slow" has to wait for an answer; the principal is the user. */
static inline uint8_t kit_authenticate(void *context, void *transport, const struct hbus_mqtt_login *login,
				char principal[HBUS_MQTT_PRINCIPAL_MAX])
{
	(void)context;
	(void)transport;
	if (login->user.size == 4 && memcmp(login->user.data, "slow", 4) == 0)
		return HBUS_MQTT_PENDING;
	snprintf(principal, HBUS_MQTT_PRINCIPAL_MAX, "%.*s", (int)login->user.size, (const char *)login->user.data);
	return login->has_password && login->password.size == 2 && memcmp(login->password.data, "no", 2) == 0 ?
		       HBUS_MQTT_BAD_LOGIN :
		       0;
}

static inline bool kit_authorize(void *context, const char *principal, const char *topic, bool is_publish)
{
	(void)context;
	(void)principal;
	(void)is_publish;
	return !kit_denies || strncmp(topic, "secret", 6) != 0;
}

static inline void kit_events_free(void)
{
	for (size_t i = 0; i < kit_n_events; i++) {
		free(kit_events[i].props);
		free(kit_events[i].payload);
	}
	kit_n_events = kit_events_at = 0;
}

/* Tests change `config` between these two. */
static inline void kit_defaults(void)
{
	kit_now_ms = 1000000;
	hbus_mqtt_config_default(&config);
	config.secret[0] = 7;
	config.secret[1] = 9;
}

static inline void kit_start(void)
{
	const struct hbus_mqtt_io io = { NULL, kit_send, kit_close, kit_publish, kit_subscribe, kit_unsubscribe,
					 kit_authenticate, kit_authorize, kit_resumed, NULL };

	cr_assert_eq(hbus_mqtt_new(&config, &io, kit_now_ms, &engine), 0);
	counters = hbus_mqtt_counters(engine);
}

static inline void kit_begin(void)
{
	kit_defaults();
	kit_start();
}

/* At the end of a test nothing may be left but what sessions and retained messages hold. */
static inline void kit_end(void)
{
	engine = hbus_mqtt_free(engine);
	kit_events_free();
	while (kit_clients) {
		struct kit_client *c = kit_clients;

		kit_clients = c->next;
		free(c->out);
		free(c);
	}
	while (kit_n_filters > 0)
		free(kit_filters[--kit_n_filters]);
	while (kit_n_asked > 0)
		free(kit_asked[--kit_n_asked]);
	while (kit_n_known > 0)
		free(kit_known[--kit_n_known]);
}

static inline struct kit_client *client(void)
{
	struct kit_client *c = calloc(1, sizeof(*c));

	c->out = malloc(KIT_OUT_MAX);
	c->version = HBUS_MQTT_V3;
	c->next = kit_clients;
	kit_clients = c;
	c->conn = hbus_mqtt_accept(engine, c);
	return c;
}

static inline void hang_up(struct kit_client *c)
{
	if (c->conn)
		hbus_mqtt_hangup(c->conn);
	c->conn = NULL;
}

static inline void pass(uint64_t ms)
{
	kit_now_ms += ms;
	hbus_mqtt_tick(engine, kit_now_ms);
}

/* Bytes that end where nobody may read on. */
static inline bool say(struct kit_client *c, const void *data, size_t size)
{
	bool is_open = c->conn && hbus_mqtt_input(c->conn, guard_copy(data, size), size);

	cr_assert_eq(is_open, c->conn != NULL);
	return is_open;
}

#define SAY(c, ...) say(c, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* What the bus has is given back, as far as somebody asked for it. */
static inline void settle(void)
{
	for (; kit_events_at < kit_n_events; kit_events_at++) {
		struct kit_event *event = &kit_events[kit_events_at];
		bool is_wanted = false;

		for (size_t i = 0; i < kit_n_filters; i++)
			is_wanted |= hbus_topic_matches(kit_filters[i], event->topic);
		if (is_wanted)
			hbus_mqtt_event(engine, &event->message);
	}
	kit_events_free();
}

/* The bus answers its oldest question, with a reason code or 0. */
static inline void answer(const char *question, uint8_t reason)
{
	char *asked = kit_asked[0];

	cr_assert(kit_n_asked > 0 && strcmp(asked, question) == 0, "asked: %s", kit_n_asked ? asked : "nothing");
	memmove(kit_asked, kit_asked + 1, --kit_n_asked * sizeof(kit_asked[0]));
	if (asked[0] == 'F') {
		hbus_mqtt_filter_answer(engine, asked + 2, reason);
		free(asked);
		return;
	}
	kit_refused = reason ? asked + 2 : NULL;
	if (!reason)
		kit_known[kit_n_known++] = strdup(asked + 2);
	hbus_mqtt_topic_answer(engine, asked + 2);
	kit_refused = NULL;
	free(asked);
}

/* -- what clients say -- */

struct kit_packet {
	uint8_t room[70000];
	struct hbus_mqtt_writer w;
};

static inline void packet_begin(struct kit_packet *p)
{
	p->w = hbus_mqtt_writer(p->room, sizeof(p->room));
}

static inline bool packet_say(struct kit_client *c, uint8_t first_byte, struct kit_packet *p)
{
	static uint8_t whole[70010];
	struct hbus_mqtt_writer w = hbus_mqtt_writer(whole, sizeof(whole));
	size_t size = (size_t)(p->w.at - p->room);

	cr_assert_not(p->w.is_over);
	hbus_mqtt_put_u8(&w, first_byte);
	hbus_mqtt_put_varint(&w, (uint32_t)size);
	hbus_mqtt_put_bytes(&w, p->room, size);
	return say(c, whole, (size_t)(w.at - whole));
}

static inline void put_str(struct kit_packet *p, const char *text)
{
	hbus_mqtt_put_binary(&p->w, text, strlen(text));
}

/* @props: bytes without their length. */
static inline void put_props(struct kit_client *c, struct kit_packet *p, const void *props, size_t size)
{
	if (c->version != HBUS_MQTT_V5)
		return;
	hbus_mqtt_put_varint(&p->w, (uint32_t)size);
	hbus_mqtt_put_bytes(&p->w, props, size);
}

struct kit_will {
	const char *topic, *payload;
	uint8_t qos;
	bool is_retain;
	const void *props;
	size_t props_size;
};

struct kit_hello {
	uint8_t version;
	bool is_persistent; /* not clean */
	const char *user, *password;
	uint16_t keep_alive;
	const void *props;
	size_t props_size;
	const struct kit_will *will;
};

static inline bool hello(struct kit_client *c, const char *id, struct kit_hello h)
{
	static struct kit_packet p;
	uint8_t flags = (uint8_t)((h.is_persistent ? 0 : 2) | (h.user ? 0x80 : 0) | (h.password ? 0x40 : 0));

	c->version = h.version;
	if (h.will)
		flags = (uint8_t)(flags | 4 | h.will->qos << 3 | h.will->is_retain << 5);
	packet_begin(&p);
	put_str(&p, "MQTT");
	hbus_mqtt_put_u8(&p.w, h.version);
	hbus_mqtt_put_u8(&p.w, flags);
	hbus_mqtt_put_u16(&p.w, h.keep_alive);
	put_props(c, &p, h.props, h.props_size);
	put_str(&p, id);
	if (h.will) {
		put_props(c, &p, h.will->props, h.will->props_size);
		put_str(&p, h.will->topic);
		put_str(&p, h.will->payload);
	}
	if (h.user)
		put_str(&p, h.user);
	if (h.password)
		put_str(&p, h.password);
	return packet_say(c, 0x10, &p);
}

static inline bool publish_with(struct kit_client *c, const char *topic, const char *payload, uint8_t flags, uint16_t id,
			 const void *props, size_t props_size)
{
	static struct kit_packet p;

	packet_begin(&p);
	put_str(&p, topic);
	if (flags & 6)
		hbus_mqtt_put_u16(&p.w, id);
	put_props(c, &p, props, props_size);
	hbus_mqtt_put_bytes(&p.w, payload, strlen(payload));
	return packet_say(c, 0x30 | flags, &p);
}

/* @flags: as in the first byte: 1 retain, 2 QoS 1, 4 QoS 2, 8 DUP */
static inline bool publish(struct kit_client *c, const char *topic, const char *payload, uint8_t flags, uint16_t id)
{
	return publish_with(c, topic, payload, flags, id, NULL, 0);
}

static inline bool subscribe_with(struct kit_client *c, uint16_t id, const char *filter, uint8_t options, const void *props,
			   size_t props_size)
{
	static struct kit_packet p;

	packet_begin(&p);
	hbus_mqtt_put_u16(&p.w, id);
	put_props(c, &p, props, props_size);
	put_str(&p, filter);
	hbus_mqtt_put_u8(&p.w, options);
	return packet_say(c, 0x82, &p);
}

static inline bool subscribe(struct kit_client *c, uint16_t id, const char *filter, uint8_t options)
{
	return subscribe_with(c, id, filter, options, NULL, 0);
}

static inline bool unsubscribe(struct kit_client *c, uint16_t id, const char *filter)
{
	static struct kit_packet p;

	packet_begin(&p);
	hbus_mqtt_put_u16(&p.w, id);
	put_props(c, &p, NULL, 0);
	put_str(&p, filter);
	return packet_say(c, 0xa2, &p);
}

static inline bool ack(struct kit_client *c, uint8_t type, uint16_t id)
{
	return SAY(c, (uint8_t)(type << 4 | (type == HBUS_MQTT_PUBREL ? 2 : 0)), 2, (uint8_t)(id >> 8), (uint8_t)id);
}

/* -- what they hear -- */

static inline void line_add(struct kit_client *c, const char *format, ...)
{
	size_t n = strlen(c->line);
	va_list args;

	va_start(args, format);
	vsnprintf(c->line + n, sizeof(c->line) - n, format, args);
	va_end(args);
}

static inline void line_props(struct kit_client *c, struct hbus_mqtt_span raw)
{
	struct hbus_mqtt_reader r = hbus_mqtt_reader(raw.data, raw.size);

	while (hbus_mqtt_left(&r) > 0) {
		uint32_t id = hbus_mqtt_get_varint(&r);
		struct hbus_mqtt_span a, b;

		switch (id) {
		case HBUS_MQTT_P_PAYLOAD_FORMAT:
			line_add(c, " utf8=%u", hbus_mqtt_get_u8(&r));
			break;
		case HBUS_MQTT_P_MESSAGE_EXPIRY:
			line_add(c, " expiry=%u", hbus_mqtt_get_u32(&r));
			break;
		case HBUS_MQTT_P_SESSION_EXPIRY:
			line_add(c, " session=%u", hbus_mqtt_get_u32(&r));
			break;
		case HBUS_MQTT_P_MAX_PACKET:
			line_add(c, " packet_max=%u", hbus_mqtt_get_u32(&r));
			break;
		case HBUS_MQTT_P_RECEIVE_MAX:
			line_add(c, " receive_max=%u", hbus_mqtt_get_u16(&r));
			break;
		case HBUS_MQTT_P_TOPIC_ALIAS_MAX:
			line_add(c, " alias_max=%u", hbus_mqtt_get_u16(&r));
			break;
		case HBUS_MQTT_P_SERVER_KEEP_ALIVE:
			line_add(c, " keep_alive=%u", hbus_mqtt_get_u16(&r));
			break;
		case HBUS_MQTT_P_TOPIC_ALIAS:
			line_add(c, " alias=%u", hbus_mqtt_get_u16(&r));
			break;
		case HBUS_MQTT_P_SUBSCRIPTION_ID:
			line_add(c, " sub=%u", hbus_mqtt_get_varint(&r));
			break;
		case HBUS_MQTT_P_USER:
			a = hbus_mqtt_get_string(&r);
			b = hbus_mqtt_get_string(&r);
			line_add(c, " %.*s=%.*s", (int)a.size, (const char *)a.data, (int)b.size, (const char *)b.data);
			break;
		default:
			a = hbus_mqtt_get_binary(&r);
			line_add(c, " %02x=%.*s", id, (int)a.size, (const char *)a.data);
		}
		cr_assert_not(r.is_bad, "bad properties after%s", c->line);
	}
}

static inline void line_of(struct kit_client *c, uint8_t first_byte, const uint8_t *body, size_t size)
{
	static const char *const names[] = { "0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
					     "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP",
					     "DISCONNECT", "AUTH" };
	struct hbus_mqtt_publish p;
	uint8_t type = first_byte >> 4;
	size_t at = 0;

	snprintf(c->line, sizeof(c->line), "%s", names[type]);
	switch (type) {
	case HBUS_MQTT_CONNACK:
		line_add(c, " sp%u %02x", body[0], body[1]);
		if (size > 3)
			line_props(c, (struct hbus_mqtt_span){ body + 3, size - 3 });
		break;
	case HBUS_MQTT_PUBLISH:
		cr_assert_eq(hbus_mqtt_parse_publish(c->version, first_byte & 15, body, size, &p), 0);
		line_add(c, " %.*s q%u r%u d%u", (int)p.topic.size, (const char *)p.topic.data, p.qos, p.is_retain,
			 p.is_dup);
		if (p.qos > 0)
			line_add(c, " #%u", p.packet_id);
		line_add(c, " %.*s", (int)p.payload.size, (const char *)p.payload.data);
		line_props(c, p.props.raw);
		break;
	case HBUS_MQTT_SUBACK:
	case HBUS_MQTT_UNSUBACK:
		line_add(c, " #%u", body[0] << 8 | body[1]);
		at = c->version == HBUS_MQTT_V5 ? 3 : 2;
		for (; at < size; at++)
			line_add(c, " %02x", body[at]);
		break;
	case HBUS_MQTT_PUBACK:
	case HBUS_MQTT_PUBREC:
	case HBUS_MQTT_PUBREL:
	case HBUS_MQTT_PUBCOMP:
		line_add(c, " #%u", body[0] << 8 | body[1]);
		at = 2;
		/* fallthrough */
	default:
		for (; at < size; at++)
			line_add(c, " %02x", body[at]);
	}
}

/* The next packet as a line, "" when there is none. */
static inline const char *hear(struct kit_client *c)
{
	struct hbus_mqtt_reader r = hbus_mqtt_reader(c->out + c->out_at, c->out_size - c->out_at);
	struct hbus_mqtt_span body;
	uint8_t first_byte;

	c->line[0] = '\0';
	if (hbus_mqtt_left(&r) == 0)
		return c->line;
	first_byte = hbus_mqtt_get_u8(&r);
	body = hbus_mqtt_get_bytes(&r, hbus_mqtt_get_varint(&r));
	cr_assert_not(r.is_bad, "half a packet was sent");
	c->out_at = (size_t)(r.at - c->out);
	line_of(c, first_byte, body.data, body.size);
	if (c->out_at == c->out_size)
		c->out_at = c->out_size = 0;
	return c->line;
}

#define HEARS(c, text) cr_assert_str_eq(hear(c), text)
#define HEARS_NOTHING(c) cr_assert_str_eq(hear(c), "")
#define IS_CLOSED(c) cr_assert_null((c)->conn)
#define IS_OPEN(c) cr_assert_not_null((c)->conn)

/* A client that is connected, its CONNACK heard. */
static inline struct kit_client *connected(const char *id, struct kit_hello h)
{
	struct kit_client *c = client();

	hello(c, id, h);
	cr_assert(strncmp(hear(c), "CONNACK", 7) == 0 && strstr(c->line, " 00"), "%s", c->line);
	return c;
}

#define V3 (struct kit_hello){ .version = 4 }
#define V3_PERSISTENT (struct kit_hello){ .version = 4, .is_persistent = true }
#define V5 (struct kit_hello){ .version = 5 }
#define V5_PROPS(text)                                                                                       \
	(struct kit_hello){ .version = 5, .props = "" text, .props_size = sizeof(text) - 1 }
#define V5_PERSISTENT(text)                                                                                  \
	(struct kit_hello){ .version = 5, .is_persistent = true, .props = "" text, .props_size = sizeof(text) - 1 }
/* Session expiry of 100 s. */
#define LIVES_100 "\x11\0\0\0\x64"
