/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions: found by client identifier, with or without a connection; their wills and their end. */
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "dataplane/mqtt/engine_pvt.h"

static struct hbus_mqtt_session **bucket_of(struct hbus_mqtt *engine, const void *id, size_t size)
{
	return &engine->sessions[hbus_siphash(engine->config.secret, id, size) % HBUS_MQTT_BUCKETS];
}

struct hbus_mqtt_session *hbus_mqtt_session_find(struct hbus_mqtt *engine, struct hbus_mqtt_span client_id)
{
	struct hbus_mqtt_session *session = *bucket_of(engine, client_id.data, client_id.size);

	while (session && (session->id_size != client_id.size ||
			   memcmp(session->client_id, client_id.data, client_id.size) != 0))
		session = session->next;
	return session;
}

struct hbus_mqtt_session *hbus_mqtt_session_new(struct hbus_mqtt *engine, struct hbus_mqtt_span client_id)
{
	struct hbus_mqtt_session *session = calloc(1, sizeof(*session) + client_id.size);
	struct hbus_mqtt_session **bucket = bucket_of(engine, client_id.data, client_id.size);

	if (session)
		session->queue = engine->config.queues->open(&engine->config);
	if (!session || !session->queue) {
		free(session);
		return NULL;
	}
	session->engine = engine;
	session->number = ++engine->n_sessions;
	session->expiry.kind = TIMER_SESSION;
	session->will_timer.kind = TIMER_WILL;
	session->id_size = client_id.size;
	memcpy(session->client_id, client_id.data, client_id.size);
	session->next = *bucket;
	*bucket = session;
	engine->counters.sessions_now++;
	return session;
}

static void forget_will(struct hbus_mqtt_session *session)
{
	hbus_mqtt_timer_cancel(session->engine, &session->will_timer);
	hbus_mqtt_kept_put(session->will);
	session->will = NULL;
}

void hbus_mqtt_will_fire(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt *engine = session->engine;

	if (!session->will)
		return;
	/* Whether it may be published was asked at CONNECT and is asked again: the policy may have changed. */
	if (!engine->is_quiet) {
		struct hbus_mqtt_message message = session->will->view;
		uint8_t reason = hbus_mqtt_check_topic(engine, session->principal, message.topic, strlen(message.topic));

		if (reason == 0)
			reason = hbus_mqtt_publish(engine, session->number, &message);
		if (reason == HBUS_MQTT_PENDING && hbus_mqtt_will_wait(session))
			reason = 0;
		else
			engine->counters.wills += reason == 0;
	}
	forget_will(session);
}

uint8_t hbus_mqtt_set_will(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_message *will)
{
	struct hbus_mqtt_session *session = conn->session;
	struct hbus_mqtt_kept *kept = NULL;
	uint8_t reason;

	if (!session)
		return HBUS_MQTT_PROTOCOL_ERROR;
	if (will) {
		reason = hbus_mqtt_check_topic(conn->engine, session->principal, will->topic, strlen(will->topic));
		if (reason)
			return reason;
		kept = hbus_mqtt_keep(conn->engine, will);
		if (!kept)
			return HBUS_MQTT_QUOTA;
	}
	forget_will(session);
	session->will = kept;
	return 0;
}

void hbus_mqtt_session_attach(struct hbus_mqtt_session *session, struct hbus_mqtt_conn *conn)
{
	hbus_mqtt_timer_cancel(session->engine, &session->expiry);
	forget_will(session);
	session->conn = conn;
	session->version = conn->version;
	conn->session = session;
	memcpy(session->principal, conn->principal, sizeof(session->principal));
}

void hbus_mqtt_session_detach(struct hbus_mqtt_session *session, bool keeps_will)
{
	struct hbus_mqtt *engine = session->engine;

	session->conn->session = NULL;
	session->conn = NULL;
	if (!keeps_will)
		forget_will(session);
	hbus_mqtt_log_session(session);
	if (session->expiry_s == 0) {
		hbus_mqtt_session_end(session);
		return;
	}
	if (session->expiry_s != HBUS_MQTT_FOREVER)
		hbus_mqtt_timer_set(engine, &session->expiry, (uint64_t)session->expiry_s * 1000);
	if (session->will && session->will_delay_s > 0)
		hbus_mqtt_timer_set(engine, &session->will_timer, (uint64_t)session->will_delay_s * 1000);
	else
		hbus_mqtt_will_fire(session);
}

void hbus_mqtt_session_end(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt *engine = session->engine;
	struct hbus_mqtt_session **link = bucket_of(engine, session->client_id, session->id_size);

	if (session->has_ended)
		return;
	while (*link != session)
		link = &(*link)->next;
	*link = session->next;
	session->next = engine->sessions_ended;
	engine->sessions_ended = session;
	session->has_ended = true;
	hbus_mqtt_log_end(session);
	engine->counters.sessions_now--;
	hbus_mqtt_timer_cancel(engine, &session->expiry);
	hbus_mqtt_will_fire(session);
}

void hbus_mqtt_session_free(struct hbus_mqtt_session *session)
{
	hbus_mqtt_timer_cancel(session->engine, &session->expiry);
	forget_will(session);
	hbus_mqtt_unsubscribe_all(session);
	hbus_mqtt_drop_deliveries(session);
	session->queue->ops->close(session->queue);
	hbus_mqtt_received_drop(session);
	free(session);
}
