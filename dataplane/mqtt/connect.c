/* SPDX-License-Identifier: BSD-3-Clause */
/* CONNECT, take-over, and every way in which a connection ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "dataplane/mqtt/engine_pvt.h"

enum { ASSIGNED_ID_SIZE = 5 + 16, CONNACK_ROOM = 64 };

/* -- the end of a connection -- */

static void aliases_free(struct hbus_mqtt_alias *aliases, uint16_t n)
{
	for (uint16_t i = 0; aliases && i < n; i++)
		free(aliases[i].topic);
	free(aliases);
}

void hbus_mqtt_conn_free(struct hbus_mqtt_conn *conn)
{
	hbus_mqtt_frame_deinit(&conn->frame);
	aliases_free(conn->alias_in, conn->engine->config.alias_max);
	aliases_free(conn->alias_out, conn->n_alias_out);
	free(conn->held);
	free(conn->rest);
	free(conn->codes);
	free(conn);
}

/* From here on nobody finds it; its memory stays until hbus_mqtt_reap(). */
static void forget(struct hbus_mqtt_conn *conn, bool keeps_will)
{
	struct hbus_mqtt *engine = conn->engine;

	conn->state = CONN_CLOSED;
	hbus_mqtt_timer_cancel(engine, &conn->timer);
	hbus_mqtt_timer_cancel(engine, &conn->stall);
	hbus_mqtt_wait_end(conn);
	*conn->link = conn->next;
	if (conn->next)
		conn->next->link = conn->link;
	conn->next = engine->conns_closed;
	engine->conns_closed = conn;
	engine->counters.conns_now--;
	if (conn->session)
		hbus_mqtt_session_detach(conn->session, keeps_will);
}

void hbus_mqtt_conn_drop(struct hbus_mqtt_conn *conn)
{
	if (conn->state != CONN_CLOSED)
		forget(conn, true);
}

void hbus_mqtt_conn_close(struct hbus_mqtt_conn *conn, bool keeps_will)
{
	struct hbus_mqtt *engine = conn->engine;

	if (conn->state == CONN_CLOSED)
		return;
	if (!engine->is_quiet)
		engine->io.close(engine->io.context, conn->transport);
	forget(conn, keeps_will);
}

static void count_reason(struct hbus_mqtt_counters *counters, uint8_t reason)
{
	switch (reason) {
	case HBUS_MQTT_MALFORMED:
	case HBUS_MQTT_BAD_TOPIC:
		counters->malformed++;
		break;
	case HBUS_MQTT_PROTOCOL_ERROR:
	case HBUS_MQTT_BAD_ALIAS:
		counters->protocol_errors++;
		break;
	case HBUS_MQTT_TOO_LARGE:
		counters->packets_too_large++;
		break;
	case HBUS_MQTT_RECEIVE_MAX_EXCEEDED:
		counters->receive_max_exceeded++;
		break;
	case HBUS_MQTT_KEEP_ALIVE_TIMEOUT:
		counters->keep_alive_timeouts++;
		break;
	case HBUS_MQTT_QUOTA:
		counters->queue_overflows++;
		break;
	default:
		break;
	}
}

void hbus_mqtt_conn_fail(struct hbus_mqtt_conn *conn, uint8_t reason)
{
	const uint8_t packet[] = { HBUS_MQTT_DISCONNECT << 4, 1, reason };

	if (conn->state == CONN_CLOSED)
		return;
	count_reason(&conn->engine->counters, reason);
	if (conn->state == CONN_OPEN && conn->version == HBUS_MQTT_V5)
		hbus_mqtt_send_bytes(conn, packet, sizeof(packet));
	hbus_mqtt_conn_close(conn, true);
}

void hbus_mqtt_on_disconnect(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_bye *packet)
{
	struct hbus_mqtt_session *session = conn->session;
	uint32_t expiry = hbus_mqtt_number(&packet->props, HBUS_MQTT_P_SESSION_EXPIRY, session->expiry_s);

	/* A session that was to end with its connection cannot be kept after all. */
	if ((session->expiry_s == 0 && expiry > 0) || hbus_mqtt_has(&packet->props, HBUS_MQTT_P_SERVER_REFERENCE)) {
		hbus_mqtt_conn_fail(conn, HBUS_MQTT_PROTOCOL_ERROR);
		return;
	}
	if (expiry > conn->engine->config.session_expiry_max_s)
		expiry = conn->engine->config.session_expiry_max_s;
	session->expiry_s = expiry;
	hbus_mqtt_conn_close(conn, packet->reason != HBUS_MQTT_SUCCESS);
}

/* -- CONNECT -- */

/* The return code of MQTT 3.1.1 that comes nearest; 0 = it has none, close without a word. */
static uint8_t v3_return(uint8_t reason)
{
	switch (reason) {
	case HBUS_MQTT_BAD_VERSION:
		return HBUS_MQTT_V3_BAD_VERSION;
	case HBUS_MQTT_BAD_CLIENT_ID:
		return HBUS_MQTT_V3_BAD_CLIENT_ID;
	case HBUS_MQTT_BAD_LOGIN:
		return HBUS_MQTT_V3_BAD_LOGIN;
	case HBUS_MQTT_NOT_AUTHORIZED:
		return HBUS_MQTT_V3_NOT_AUTHORIZED;
	case HBUS_MQTT_QUOTA:
	case HBUS_MQTT_BUSY:
	case HBUS_MQTT_UNAVAILABLE:
	case HBUS_MQTT_RATE_EXCEEDED:
		return HBUS_MQTT_V3_UNAVAILABLE;
	default:
		return 0;
	}
}

static void refuse(struct hbus_mqtt_conn *conn, uint8_t version, uint8_t reason)
{
	const uint8_t v5[] = { HBUS_MQTT_CONNACK << 4, 3, 0, reason, 0 };
	const uint8_t v3[] = { HBUS_MQTT_CONNACK << 4, 2, 0, v3_return(reason) };

	if (reason == HBUS_MQTT_QUOTA)
		conn->engine->counters.connects_limited++;
	else if (reason == HBUS_MQTT_MALFORMED || reason == HBUS_MQTT_PROTOCOL_ERROR)
		count_reason(&conn->engine->counters, reason);
	else
		conn->engine->counters.connects_refused++;
	if (version >= HBUS_MQTT_V5)
		hbus_mqtt_send_bytes(conn, v5, sizeof(v5));
	else if (v3_return(reason))
		hbus_mqtt_send_bytes(conn, v3, sizeof(v3));
	hbus_mqtt_conn_close(conn, true);
}

static uint8_t judge_will(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_connect *c)
{
	const struct hbus_mqtt_props *props = &c->will_props;
	struct hbus_mqtt_span response = props->text[HBUS_MQTT_P_RESPONSE_TOPIC];
	char topic[HBUS_TOPIC_NAME_MAX + 1];

	if (!c->has_will)
		return 0;
	if (c->will_topic.size == 0 || c->will_topic.size > HBUS_TOPIC_NAME_MAX)
		return HBUS_MQTT_BAD_TOPIC;
	memcpy(topic, c->will_topic.data, c->will_topic.size);
	topic[c->will_topic.size] = '\0';
	if (hbus_mqtt_has(props, HBUS_MQTT_P_RESPONSE_TOPIC) && hbus_topic_check_name((const char *)response.data,
										       response.size))
		return HBUS_MQTT_BAD_TOPIC;
	if (hbus_mqtt_number(props, HBUS_MQTT_P_PAYLOAD_FORMAT, 0) == 1 &&
	    !hbus_mqtt_is_utf8(c->will_payload.data, c->will_payload.size))
		return HBUS_MQTT_BAD_PAYLOAD;
	return hbus_mqtt_check_topic(conn->engine, conn->principal, topic, c->will_topic.size);
}

/* What can be said without knowing who it is. */
static uint8_t judge_connect(const struct hbus_mqtt_connect *c)
{
	if (hbus_mqtt_has(&c->props, HBUS_MQTT_P_AUTH_METHOD))
		return HBUS_MQTT_BAD_AUTH_METHOD;
	if (hbus_mqtt_has(&c->props, HBUS_MQTT_P_AUTH_DATA))
		return HBUS_MQTT_PROTOCOL_ERROR;
	if (c->client_id.size > HBUS_MQTT_CLIENT_ID_MAX)
		return HBUS_MQTT_BAD_CLIENT_ID;
	if (c->client_id.size == 0 && c->version == HBUS_MQTT_V3 && !c->is_clean)
		return HBUS_MQTT_BAD_CLIENT_ID;
	return 0;
}

static uint8_t authenticate(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_connect *c)
{
	struct hbus_mqtt *engine = conn->engine;
	struct hbus_mqtt_login login = { c->version, c->client_id, c->user, c->password, c->has_user,
					 c->has_password };

	if (!engine->io.authenticate)
		return 0;
	return engine->io.authenticate(engine->io.context, conn->transport, &login, conn->principal);
}

/* Nobody can guess the next one, so nobody can take its session. */
static struct hbus_mqtt_span assign_id(struct hbus_mqtt *engine, char room[ASSIGNED_ID_SIZE + 1])
{
	static const char digits[] = "0123456789abcdef";
	uint64_t number = ++engine->n_assigned, word;

	word = hbus_siphash(engine->config.secret, &number, sizeof(number));
	memcpy(room, "auto-", 5);
	for (int i = 0; i < 16; i++)
		room[5 + i] = digits[word >> 4 * i & 15];
	room[ASSIGNED_ID_SIZE] = '\0';
	return (struct hbus_mqtt_span){ (const uint8_t *)room, ASSIGNED_ID_SIZE };
}

/* May this connection take the session of another? */
static uint8_t judge_takeover(struct hbus_mqtt_conn *conn, struct hbus_mqtt_session *session)
{
	struct hbus_mqtt *engine = conn->engine;

	if (strcmp(session->principal, conn->principal) != 0) {
		engine->counters.takeovers_refused++;
		return HBUS_MQTT_NOT_AUTHORIZED;
	}
	if (!session->conn)
		return 0;
	if (hbus_mqtt_now(engine) - session->window_ms >= HBUS_MQTT_TAKEOVER_WINDOW_MS) {
		session->window_ms = hbus_mqtt_now(engine);
		session->n_takeovers = 0;
	}
	if (session->n_takeovers >= HBUS_MQTT_TAKEOVERS_MAX) {
		engine->counters.takeovers_refused++;
		engine->counters.takeovers_limited++;
		return HBUS_MQTT_RATE_EXCEEDED;
	}
	session->n_takeovers++;
	engine->counters.takeovers++;
	return 0;
}

/* The session for this CONNECT: the one that is there, or a new one. */
static uint8_t open_session(struct hbus_mqtt_conn *conn, bool is_clean, struct hbus_mqtt_span client_id,
			    struct hbus_mqtt_session **ret_session, bool *ret_is_present)
{
	struct hbus_mqtt *engine = conn->engine;
	struct hbus_mqtt_session *session = hbus_mqtt_session_find(engine, client_id);
	uint64_t window_ms = 0;
	uint32_t n_takeovers = 0;
	uint8_t reason;

	if (session) {
		reason = judge_takeover(conn, session);
		if (reason)
			return reason;
		window_ms = session->window_ms;
		n_takeovers = session->n_takeovers;
		if (session->conn)
			hbus_mqtt_conn_fail(session->conn, HBUS_MQTT_TAKEN_OVER);
		if (is_clean)
			hbus_mqtt_session_end(session);
		if (session->has_ended)
			session = NULL;
	}
	*ret_is_present = session != NULL;
	if (!session) {
		if (engine->counters.sessions_now >= engine->config.sessions_max) {
			engine->counters.sessions_limited++;
			return HBUS_MQTT_QUOTA;
		}
		session = hbus_mqtt_session_new(engine, client_id);
		if (!session)
			return HBUS_MQTT_QUOTA;
		/* Two clients that fight for an identifier are counted across their clean sessions. */
		session->window_ms = window_ms;
		session->n_takeovers = n_takeovers;
	}
	*ret_session = session;
	return 0;
}

static uint32_t session_expiry(const struct hbus_mqtt *engine, const struct hbus_mqtt_connect *c)
{
	uint32_t expiry = c->is_clean ? 0 : HBUS_MQTT_FOREVER;

	if (c->version == HBUS_MQTT_V5)
		expiry = hbus_mqtt_number(&c->props, HBUS_MQTT_P_SESSION_EXPIRY, 0);
	return expiry < engine->config.session_expiry_max_s ? expiry : engine->config.session_expiry_max_s;
}

/* What the client takes. Return: false without memory. */
static bool agree(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_connect *c)
{
	const struct hbus_mqtt_config *config = &conn->engine->config;
	uint32_t receive_max = hbus_mqtt_number(&c->props, HBUS_MQTT_P_RECEIVE_MAX, 65535);
	uint32_t alias_max = hbus_mqtt_number(&c->props, HBUS_MQTT_P_TOPIC_ALIAS_MAX, 0);
	uint32_t keep_alive = c->keep_alive;

	conn->packet_max = hbus_mqtt_number(&c->props, HBUS_MQTT_P_MAX_PACKET, UINT32_MAX);
	conn->send_max = (uint16_t)(receive_max < config->inflight_max ? receive_max : config->inflight_max);
	conn->alias_out_max = (uint16_t)(alias_max < config->alias_max ? alias_max : config->alias_max);
	if (c->version == HBUS_MQTT_V5 && config->keep_alive_max_s &&
	    (keep_alive == 0 || keep_alive > config->keep_alive_max_s))
		keep_alive = config->keep_alive_max_s;
	conn->keep_alive_ms = keep_alive * 1500;
	if (conn->alias_out_max > 0)
		conn->alias_out = calloc(conn->alias_out_max, sizeof(*conn->alias_out));
	return conn->alias_out_max == 0 || conn->alias_out;
}

static void send_connack(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_connect *c, bool is_present,
			 struct hbus_mqtt_span assigned)
{
	const struct hbus_mqtt_config *config = &conn->engine->config;
	const uint8_t v3[] = { HBUS_MQTT_CONNACK << 4, 2, is_present, 0 };
	uint8_t packet[CONNACK_ROOM + ASSIGNED_ID_SIZE];
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(packet, sizeof(packet));
	uint32_t expiry = conn->session->expiry_s;

	if (conn->version == HBUS_MQTT_V3) {
		hbus_mqtt_send_bytes(conn, v3, sizeof(v3));
		return;
	}
	hbus_mqtt_put_bytes(&writer, (const uint8_t[]){ HBUS_MQTT_CONNACK << 4, 0, is_present, 0, 0 }, 5);
	if (expiry != hbus_mqtt_number(&c->props, HBUS_MQTT_P_SESSION_EXPIRY, 0))
		hbus_mqtt_put_number(&writer, HBUS_MQTT_P_SESSION_EXPIRY, expiry);
	hbus_mqtt_put_number(&writer, HBUS_MQTT_P_RECEIVE_MAX, config->receive_max);
	hbus_mqtt_put_number(&writer, HBUS_MQTT_P_MAX_PACKET, config->packet_max);
	if (config->alias_max > 0)
		hbus_mqtt_put_number(&writer, HBUS_MQTT_P_TOPIC_ALIAS_MAX, config->alias_max);
	if (conn->keep_alive_ms != c->keep_alive * 1500u)
		hbus_mqtt_put_number(&writer, HBUS_MQTT_P_SERVER_KEEP_ALIVE, conn->keep_alive_ms / 1500);
	if (assigned.size > 0)
		hbus_mqtt_put_text(&writer, HBUS_MQTT_P_ASSIGNED_ID, assigned.data, assigned.size);
	/* All of it is below 128 bytes, so each length is one byte. */
	packet[1] = (uint8_t)(writer.at - packet - 2);
	packet[4] = (uint8_t)(writer.at - packet - 5);
	hbus_mqtt_send_bytes(conn, packet, (size_t)(writer.at - packet));
}

/* Return: false without memory. */
static bool take_will(struct hbus_mqtt_session *session, const struct hbus_mqtt_connect *c)
{
	char topic[HBUS_TOPIC_NAME_MAX + 1];
	uint8_t *room;
	struct hbus_mqtt_message message = { .topic = topic };

	if (!c->has_will)
		return true;
	room = malloc(c->will_props.raw.size + 1);
	if (!room)
		return false;
	memcpy(topic, c->will_topic.data, c->will_topic.size);
	topic[c->will_topic.size] = '\0';
	message.payload = c->will_payload.data;
	message.payload_size = c->will_payload.size;
	message.props = hbus_mqtt_carry(&c->will_props, room);
	message.qos = c->will_qos;
	message.is_retain = c->will_retain;
	message.has_expiry = hbus_mqtt_has(&c->will_props, HBUS_MQTT_P_MESSAGE_EXPIRY);
	message.expiry_s = hbus_mqtt_number(&c->will_props, HBUS_MQTT_P_MESSAGE_EXPIRY, 0);
	session->will = hbus_mqtt_keep(session->engine, &message);
	session->will_delay_s = hbus_mqtt_number(&c->will_props, HBUS_MQTT_P_WILL_DELAY, 0);
	free(room);
	return session->will != NULL;
}

static void accept_connect(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_connect *c)
{
	struct hbus_mqtt_span assigned = { NULL, 0 }, client_id = c->client_id;
	struct hbus_mqtt_session *session;
	char room[ASSIGNED_ID_SIZE + 1];
	bool is_present;
	uint8_t reason;

	if (client_id.size == 0)
		client_id = assigned = assign_id(conn->engine, room);
	if (!agree(conn, c)) {
		refuse(conn, c->version, HBUS_MQTT_QUOTA);
		return;
	}
	reason = open_session(conn, c->is_clean, client_id, &session, &is_present);
	if (reason) {
		refuse(conn, c->version, reason);
		return;
	}
	hbus_mqtt_session_attach(session, conn);
	session->expiry_s = session_expiry(conn->engine, c);
	if (!take_will(session, c)) {
		refuse(conn, c->version, HBUS_MQTT_QUOTA);
		return;
	}
	hbus_mqtt_log_session(session);
	conn->state = CONN_OPEN;
	conn->heard_ms = hbus_mqtt_now(conn->engine);
	conn->engine->counters.connects++;
	hbus_mqtt_timer_cancel(conn->engine, &conn->timer);
	if (conn->keep_alive_ms)
		hbus_mqtt_timer_set(conn->engine, &conn->timer, conn->keep_alive_ms);
	send_connack(conn, c, is_present, assigned);
	if (conn->state == CONN_OPEN)
		hbus_mqtt_resume(session);
}

static void finish_connect(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_connect *c, uint8_t reason)
{
	conn->principal[HBUS_MQTT_PRINCIPAL_MAX - 1] = '\0';
	if (reason == 0)
		reason = judge_will(conn, c);
	if (reason)
		refuse(conn, c->version, reason);
	else
		accept_connect(conn, c);
}

static void hold(struct hbus_mqtt_conn *conn, const uint8_t *body, size_t size)
{
	conn->held = malloc(size);
	if (!conn->held) {
		refuse(conn, conn->version, HBUS_MQTT_QUOTA);
		return;
	}
	memcpy(conn->held, body, size);
	conn->held_size = size;
	conn->state = CONN_JUDGED;
}

void hbus_mqtt_on_connect(struct hbus_mqtt_conn *conn, const uint8_t *body, size_t size)
{
	struct hbus_mqtt_connect c;
	uint8_t reason = hbus_mqtt_parse_connect(body, size, &c);

	if (reason == 0) {
		conn->version = c.version;
		reason = judge_connect(&c);
	}
	if (reason) {
		refuse(conn, c.version, reason);
		return;
	}
	reason = authenticate(conn, &c);
	if (reason == HBUS_MQTT_PENDING)
		hold(conn, body, size);
	else
		finish_connect(conn, &c, reason);
}

void hbus_mqtt_on_judged(struct hbus_mqtt_conn *conn, uint8_t reason)
{
	struct hbus_mqtt_connect c;

	conn->state = CONN_NEW;
	/* It was well-formed before, and it is the same. */
	if (hbus_mqtt_parse_connect(conn->held, conn->held_size, &c) == 0)
		finish_connect(conn, &c, reason);
	free(conn->held);
	conn->held = NULL;
}
