/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine's life, its clock, and where bytes and events come in. */
#include "dataplane/mqtt/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "dataplane/mqtt/engine_pvt.h"

void hbus_mqtt_config_default(struct hbus_mqtt_config *config)
{
	*config = (struct hbus_mqtt_config){
		.packet_max = 256 << 10,
		.connect_packet_max = 4 << 10,
		.connect_timeout_ms = 10000,
		.stall_ms = 30000,
		.backlog_high = 64 << 10,
		.backlog_max = 2 << 20,
		.conns_max = 16384,
		.sessions_max = 65536,
		.subscriptions_max = 256,
		.filter_nodes_max = 1 << 20,
		.queue_max = 8192,
		.queue_bytes_max = 8 << 20,
		.message_bytes_max = 256u << 20,
		.retained_max = 100000,
		.retained_bytes_max = 64u << 20,
		.snapshot_max = 1000000,
		.session_expiry_max_s = 7 * 86400,
		.receive_max = 64,
		.inflight_max = 1024,
		.alias_max = 16,
		.keep_alive_max_s = 0,
	};
}

/* Frees what ended while the entry point ran. Freeing a session may give its shared messages to others. */
void hbus_mqtt_reap(struct hbus_mqtt *engine)
{
	while (engine->sessions_ended) {
		struct hbus_mqtt_session *session = engine->sessions_ended;

		engine->sessions_ended = session->next;
		hbus_mqtt_session_free(session);
	}
	while (engine->conns_closed) {
		struct hbus_mqtt_conn *conn = engine->conns_closed;

		engine->conns_closed = conn->next;
		hbus_mqtt_conn_free(conn);
	}
}

int hbus_mqtt_new(const struct hbus_mqtt_config *config, const struct hbus_mqtt_io *io, uint64_t now_ms,
		  struct hbus_mqtt **ret_engine)
{
	static const char what[] = "engine id";
	struct hbus_mqtt *engine = calloc(1, sizeof(*engine));
	int r;

	if (!engine)
		return -ENOMEM;
	engine->config = *config;
	if (!engine->config.queues)
		engine->config.queues = &hbus_mqtt_memory_queue;
	engine->io = *io;
	engine->id = hbus_siphash(config->secret, what, sizeof(what)) | 1;
	hbus_wheel_init(&engine->wheel, now_ms);
	r = hbus_trie_init(&engine->filters, config->filter_nodes_max);
	if (r == 0)
		r = hbus_trie_init(&engine->names, HBUS_TRIE_NODES_MAX);
	if (r) {
		if (engine->filters.root)
			hbus_trie_deinit(&engine->filters);
		free(engine);
		return r;
	}
	*ret_engine = engine;
	return 0;
}

struct hbus_mqtt *hbus_mqtt_free(struct hbus_mqtt *engine)
{
	if (!engine)
		return NULL;
	engine->is_quiet = true;
	hbus_mqtt_journal_stop(engine);
	while (engine->conns)
		hbus_mqtt_conn_close(engine->conns, false);
	for (size_t i = 0; i < HBUS_MQTT_BUCKETS; i++)
		while (engine->sessions[i])
			hbus_mqtt_session_end(engine->sessions[i]);
	hbus_mqtt_reap(engine);
	hbus_mqtt_waits_free(engine);
	while (engine->retained)
		hbus_mqtt_retained_remove(engine, engine->retained);
	hbus_trie_deinit(&engine->filters);
	hbus_trie_deinit(&engine->names);
	free(engine);
	return NULL;
}

void hbus_mqtt_shutdown(struct hbus_mqtt *engine)
{
	while (engine->conns)
		hbus_mqtt_conn_fail(engine->conns, HBUS_MQTT_SHUTTING_DOWN);
	hbus_mqtt_reap(engine);
}

/* -- the clock -- */

static void conn_timer(struct hbus_mqtt_conn *conn)
{
	struct hbus_mqtt *engine = conn->engine;
	uint64_t due_ms = conn->heard_ms + conn->keep_alive_ms;

	/* It may not speak, and is not silent. */
	if (conn->state == CONN_OPEN && conn->held)
		due_ms = hbus_mqtt_now(engine) + conn->keep_alive_ms;
	if (conn->state != CONN_OPEN) {
		engine->counters.connect_timeouts++;
		hbus_mqtt_conn_close(conn, true);
	} else if (due_ms > hbus_mqtt_now(engine)) {
		/* Set again only here, not at each packet. */
		hbus_wheel_set(&engine->wheel, &conn->timer.timer, due_ms);
	} else {
		hbus_mqtt_conn_fail(conn, HBUS_MQTT_KEEP_ALIVE_TIMEOUT);
	}
}

static void stall_timer(struct hbus_mqtt_conn *conn)
{
	conn->engine->counters.slow_readers++;
	hbus_mqtt_conn_close(conn, true);
}

static void fire(void *context, struct hbus_timer *inner)
{
	struct hbus_mqtt *engine = context;
	struct hbus_mqtt_timer *timer = hbus_mqtt_of(inner, struct hbus_mqtt_timer, timer);

	switch (timer->kind) {
	case TIMER_CONN:
		conn_timer(hbus_mqtt_of(timer, struct hbus_mqtt_conn, timer));
		break;
	case TIMER_STALL:
		stall_timer(hbus_mqtt_of(timer, struct hbus_mqtt_conn, stall));
		break;
	case TIMER_SESSION:
		hbus_mqtt_session_end(hbus_mqtt_of(timer, struct hbus_mqtt_session, expiry));
		break;
	case TIMER_WILL:
		hbus_mqtt_will_fire(hbus_mqtt_of(timer, struct hbus_mqtt_session, will_timer));
		break;
	case TIMER_RETAINED:
		engine->counters.dropped_expired++;
		hbus_mqtt_retained_remove(engine, hbus_mqtt_of(timer, struct hbus_mqtt_retained, timer));
		break;
	}
}

void hbus_mqtt_tick(struct hbus_mqtt *engine, uint64_t now_ms)
{
	hbus_wheel_advance(&engine->wheel, now_ms, fire, engine);
	hbus_mqtt_reap(engine);
}

uint64_t hbus_mqtt_next_ms(const struct hbus_mqtt *engine)
{
	return hbus_wheel_next(&engine->wheel);
}

/* -- connections -- */

struct hbus_mqtt_conn *hbus_mqtt_accept(struct hbus_mqtt *engine, void *transport)
{
	struct hbus_mqtt_conn *conn = NULL;

	if (engine->counters.conns_now < engine->config.conns_max)
		conn = calloc(1, sizeof(*conn));
	if (!conn) {
		engine->counters.connects_limited++;
		return NULL;
	}
	conn->engine = engine;
	conn->transport = transport;
	conn->packet_max = UINT32_MAX;
	conn->timer.kind = TIMER_CONN;
	conn->stall.kind = TIMER_STALL;
	conn->next = engine->conns;
	conn->link = &engine->conns;
	if (conn->next)
		conn->next->link = &conn->next;
	engine->conns = conn;
	engine->counters.conns_now++;
	hbus_mqtt_timer_set(engine, &conn->timer, engine->config.connect_timeout_ms);
	return conn;
}

static uint8_t on_subscribe(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_whole *whole)
{
	struct hbus_mqtt_subscribe packet;
	uint8_t reason;

	if (whole->first_byte >> 4 == HBUS_MQTT_SUBSCRIBE) {
		reason = hbus_mqtt_parse_subscribe(conn->version, whole->body, whole->size, &packet);
		if (reason == 0)
			reason = hbus_mqtt_on_subscribe(conn, &packet);
	} else {
		reason = hbus_mqtt_parse_unsubscribe(conn->version, whole->body, whole->size, &packet);
		if (reason == 0)
			hbus_mqtt_on_unsubscribe(conn, &packet);
	}
	return reason;
}

static uint8_t on_ack(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_whole *whole)
{
	uint8_t type = whole->first_byte >> 4;
	struct hbus_mqtt_ack ack;
	uint8_t reason = hbus_mqtt_parse_ack(conn->version, type, whole->body, whole->size, &ack);

	if (reason == 0 && type == HBUS_MQTT_PUBREL)
		hbus_mqtt_on_pubrel(conn, &ack);
	else if (reason == 0)
		hbus_mqtt_on_ack(conn, type, &ack);
	return reason;
}

static uint8_t on_ping(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_whole *whole)
{
	static const uint8_t pong[] = { HBUS_MQTT_PINGRESP << 4, 0 };

	if (whole->size > 0)
		return HBUS_MQTT_MALFORMED;
	hbus_mqtt_send_bytes(conn, pong, sizeof(pong));
	return 0;
}

static uint8_t on_bye(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_whole *whole)
{
	uint8_t type = whole->first_byte >> 4;
	struct hbus_mqtt_bye packet;
	uint8_t reason;

	if (type == HBUS_MQTT_AUTH && conn->version == HBUS_MQTT_V3)
		return HBUS_MQTT_MALFORMED;
	reason = hbus_mqtt_parse_bye(conn->version, type, whole->body, whole->size, &packet);
	/* No client has authenticated by a method, so none can go on with it. */
	if (reason == 0 && type == HBUS_MQTT_AUTH)
		reason = HBUS_MQTT_PROTOCOL_ERROR;
	if (reason == 0)
		hbus_mqtt_on_disconnect(conn, &packet);
	return reason;
}

/* One packet of an open connection. Return: 0, why the connection must end, or HBUS_MQTT_PENDING. */
static uint8_t on_packet(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_whole *whole)
{
	struct hbus_mqtt_publish publish;
	uint8_t reason;

	if (!hbus_mqtt_check_flags(whole->first_byte))
		return HBUS_MQTT_MALFORMED;
	switch (whole->first_byte >> 4) {
	case HBUS_MQTT_PUBLISH:
		reason = hbus_mqtt_parse_publish(conn->version, whole->first_byte & 15, whole->body, whole->size,
						 &publish);
		return reason ? reason : hbus_mqtt_on_publish(conn, &publish);
	case HBUS_MQTT_PUBACK:
	case HBUS_MQTT_PUBREC:
	case HBUS_MQTT_PUBREL:
	case HBUS_MQTT_PUBCOMP:
		return on_ack(conn, whole);
	case HBUS_MQTT_SUBSCRIBE:
	case HBUS_MQTT_UNSUBSCRIBE:
		return on_subscribe(conn, whole);
	case HBUS_MQTT_PINGREQ:
		return on_ping(conn, whole);
	case HBUS_MQTT_DISCONNECT:
	case HBUS_MQTT_AUTH:
		return on_bye(conn, whole);
	case 0:
		return HBUS_MQTT_MALFORMED;
	default: /* a second CONNECT, or what only servers send */
		return HBUS_MQTT_PROTOCOL_ERROR;
	}
}

static void first_packet(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_whole *whole)
{
	if (whole->first_byte == HBUS_MQTT_CONNECT << 4)
		hbus_mqtt_on_connect(conn, whole->body, whole->size);
	else
		hbus_mqtt_conn_fail(conn, HBUS_MQTT_PROTOCOL_ERROR);
}

bool hbus_mqtt_is_waiting(const struct hbus_mqtt_conn *conn)
{
	return conn->state == CONN_JUDGED || conn->held;
}

/* What comes behind a packet that waits, waits too. */
static void keep_rest(struct hbus_mqtt_conn *conn, const uint8_t *data, size_t size)
{
	uint8_t *rest = NULL;

	if (size == 0)
		return;
	if (conn->rest_size + size <= conn->engine->config.packet_max + HBUS_MQTT_INPUT_MAX)
		rest = realloc(conn->rest, conn->rest_size + size);
	if (!rest) {
		hbus_mqtt_conn_fail(conn, HBUS_MQTT_TOO_LARGE);
		return;
	}
	memcpy(rest + conn->rest_size, data, size);
	conn->rest = rest;
	conn->rest_size += size;
}

static void hold(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_whole *whole)
{
	conn->held = malloc(whole->size + 1);
	if (!conn->held) {
		hbus_mqtt_conn_fail(conn, HBUS_MQTT_QUOTA);
		return;
	}
	memcpy(conn->held, whole->body, whole->size);
	conn->held_size = whole->size;
	conn->held_first = whole->first_byte;
}

static void take_packet(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_whole *whole)
{
	uint8_t reason = on_packet(conn, whole);

	if (reason == HBUS_MQTT_PENDING)
		hold(conn, whole);
	else if (reason)
		hbus_mqtt_conn_fail(conn, reason);
}

/* Takes packets until the bytes are used up or the connection is closed. */
static void input(struct hbus_mqtt_conn *conn, const uint8_t *data, size_t size)
{
	const struct hbus_mqtt_config *config = &conn->engine->config;
	struct hbus_mqtt_whole whole;
	int r;

	while (conn->state != CONN_CLOSED) {
		bool is_new = conn->state == CONN_NEW;

		if (hbus_mqtt_is_waiting(conn)) {
			keep_rest(conn, data, size);
			return;
		}
		r = hbus_mqtt_frame_next(&conn->frame, &data, &size,
					 is_new ? config->connect_packet_max : config->packet_max, &whole);
		if (r == HBUS_MQTT_FRAME_MORE)
			return;
		if (r) {
			conn->engine->counters.connect_too_large += is_new && r == HBUS_MQTT_TOO_LARGE;
			hbus_mqtt_conn_fail(conn, (uint8_t)r);
			return;
		}
		conn->engine->counters.packets_in++;
		conn->heard_ms = hbus_mqtt_now(conn->engine);
		if (is_new) {
			first_packet(conn, &whole);
			continue;
		}
		take_packet(conn, &whole);
	}
}

bool hbus_mqtt_input(struct hbus_mqtt_conn *conn, const void *data, size_t size)
{
	struct hbus_mqtt *engine = conn->engine;
	bool is_open;

	input(conn, data, size);
	is_open = conn->state != CONN_CLOSED;
	hbus_mqtt_reap(engine);
	return is_open;
}

void hbus_mqtt_go_on(struct hbus_mqtt_conn *conn)
{
	struct hbus_mqtt_whole whole = { conn->held_first, conn->held, conn->held_size };
	uint8_t *held = conn->held, *rest = conn->rest;
	size_t rest_size = conn->rest_size;

	conn->held = conn->rest = NULL;
	conn->held_size = conn->rest_size = 0;
	conn->heard_ms = hbus_mqtt_now(conn->engine);
	take_packet(conn, &whole);
	free(held);
	input(conn, rest, rest_size);
	free(rest);
	if (conn->state != CONN_CLOSED && !hbus_mqtt_is_waiting(conn) && conn->engine->io.resumed)
		conn->engine->io.resumed(conn->engine->io.context, conn->transport);
}

bool hbus_mqtt_authenticated(struct hbus_mqtt_conn *conn, uint8_t reason,
			     const char principal[HBUS_MQTT_PRINCIPAL_MAX])
{
	struct hbus_mqtt *engine = conn->engine;
	uint8_t *rest = conn->rest;
	size_t size = conn->rest_size;
	bool is_open;

	conn->rest = NULL;
	conn->rest_size = 0;
	memcpy(conn->principal, principal, sizeof(conn->principal));
	hbus_mqtt_on_judged(conn, reason);
	input(conn, rest, size);
	free(rest);
	is_open = conn->state != CONN_CLOSED;
	hbus_mqtt_reap(engine);
	return is_open;
}

void hbus_mqtt_writable(struct hbus_mqtt_conn *conn)
{
	struct hbus_mqtt *engine = conn->engine;

	hbus_mqtt_timer_cancel(engine, &conn->stall);
	conn->is_backlogged = false;
	if (conn->session)
		hbus_mqtt_pump(conn->session);
	hbus_mqtt_reap(engine);
}

void hbus_mqtt_hangup(struct hbus_mqtt_conn *conn)
{
	struct hbus_mqtt *engine = conn->engine;

	hbus_mqtt_conn_drop(conn);
	hbus_mqtt_reap(engine);
}

void hbus_mqtt_event(struct hbus_mqtt *engine, const struct hbus_mqtt_message *message)
{
	hbus_mqtt_route_event(engine, message);
	hbus_mqtt_reap(engine);
}

bool hbus_mqtt_has_heard_all(const struct hbus_mqtt *engine)
{
	return engine->n_heard == engine->n_published;
}

const struct hbus_mqtt_counters *hbus_mqtt_counters(const struct hbus_mqtt *engine)
{
	return &engine->counters;
}
