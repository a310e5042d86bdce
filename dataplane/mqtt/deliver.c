/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to clients: which sessions want an event, and when each of them gets it.
 *
 * What can be sent at once is encoded straight from the event. The rest is kept, once for all
 * sessions, and waits in their queues (queue.h). Before the queue come retained messages that a
 * subscription was promised: they are older.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/engine_pvt.h"

/* -- sending -- */

static struct hbus_mqtt_queue_count count_of(const struct hbus_mqtt_session *session)
{
	return session->queue->ops->count(session->queue);
}

static void settle(struct hbus_mqtt_session *session, struct hbus_mqtt_delivery *d, bool is_done)
{
	hbus_mqtt_log_settled(session, d->packet_id, is_done);
	session->queue->ops->settle(session->queue, d, is_done);
}

static bool has_unacknowledged(const struct hbus_mqtt_session *session)
{
	return session->conn && count_of(session).n_locked >= session->conn->send_max;
}

/* Is the way to the client free for one message more? */
static bool is_open_for(const struct hbus_mqtt_session *session, uint8_t qos)
{
	const struct hbus_mqtt_conn *conn = session->conn;

	return conn && conn->state == CONN_OPEN && !conn->is_backlogged && (qos == 0 || !has_unacknowledged(session));
}

bool hbus_mqtt_can_send(const struct hbus_mqtt_session *session, uint8_t qos)
{
	return !session->snapshots && is_open_for(session, qos) && count_of(session).n_available == 0;
}

static bool send_delivery(struct hbus_mqtt_session *session, const struct hbus_mqtt_delivery *d, bool is_dup)
{
	const struct hbus_mqtt_how how = { d->qos, d->is_retain, NULL, d->ids, d->n_ids };

	session->engine->counters.redelivered += is_dup;
	return hbus_mqtt_send_publish(session->conn, &d->kept->view, d->kept->expires_ms, &how, d->packet_id, is_dup);
}

/* May close the connection; the delivery is then where it belongs. */
static void send_locked(struct hbus_mqtt_session *session, struct hbus_mqtt_delivery *d)
{
	bool is_dup = d->was_sent;

	d->was_sent = true;
	if (!send_delivery(session, d, is_dup))
		settle(session, d, true);
}

/* Nothing is before it, and there is room in flight. Return: a condition of queue.h. */
static int put_and_send(struct hbus_mqtt_session *session, struct hbus_mqtt_source *source, const struct hbus_mqtt_how *how)
{
	struct hbus_mqtt_delivery *d;
	int condition = session->queue->ops->put(session->queue, source, how, &d);

	if (condition != 0)
		return condition;
	hbus_mqtt_log_put(session, d->kept, how, d);
	send_locked(session, d);
	return 0;
}

static void send_promised(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt *engine = session->engine;
	uint8_t most = session->snapshots->qos;
	uint32_t id = session->snapshots->id;
	struct hbus_mqtt_kept *kept = hbus_mqtt_promise_take(session);
	uint8_t qos = kept->view.qos < most ? kept->view.qos : most;
	const struct hbus_mqtt_how how = { qos, true, NULL, &id, id ? 1 : 0 };
	struct hbus_mqtt_source source = { engine, &kept->view, kept->expires_ms, kept };

	hbus_mqtt_log_promise_kept(session, kept);
	if (kept->expires_ms <= hbus_mqtt_now(engine))
		engine->counters.dropped_expired++;
	else if (qos == 0)
		hbus_mqtt_send_publish(session->conn, &kept->view, kept->expires_ms, &how, 0, false);
	else
		engine->counters.dropped_memory += put_and_send(session, &source, &how) != 0;
	hbus_mqtt_kept_put(kept);
}

/* @first: of those that are available. */
static void send_queued(struct hbus_mqtt_session *session, const struct hbus_mqtt_delivery *first)
{
	struct hbus_mqtt_queue *queue = session->queue;
	struct hbus_mqtt_delivery *d = first->qos > 0 ? queue->ops->lock(queue) : NULL;

	if (d) {
		hbus_mqtt_log_locked(session, d);
		send_locked(session, d);
		return;
	}
	d = queue->ops->take(queue, false);
	hbus_mqtt_log_taken(session, d);
	if (d->qos > 0)
		session->engine->counters.dropped_memory++;
	else
		(void)send_delivery(session, d, false);
	hbus_mqtt_delivery_free(d);
}

/* QoS of what is to be sent next; -1: nothing is. *ret_first: it, or NULL when it is a promised retained message. */
static int next_qos(const struct hbus_mqtt_session *session, struct hbus_mqtt_delivery **ret_first)
{
	const struct hbus_mqtt_snapshot *snapshot = session->snapshots;
	struct hbus_mqtt_delivery *d = session->queue->ops->next(session->queue, false, NULL);
	uint8_t qos;

	*ret_first = d;
	if (!snapshot || (d && d->was_sent))
		return d ? d->qos : -1;
	*ret_first = NULL;
	qos = snapshot->kept[snapshot->at]->view.qos;
	return qos < snapshot->qos ? qos : snapshot->qos;
}

/* Return: whether something at the front had expired. */
static bool expire(struct hbus_mqtt_session *session)
{
	const struct hbus_mqtt_queue *queue = session->queue;
	uint64_t now = hbus_mqtt_now(session->engine);
	uint32_t n;

	for (const struct hbus_mqtt_delivery *d = NULL;
	     (d = queue->ops->next(queue, false, d)) && !d->was_sent && d->kept->expires_ms <= now;)
		hbus_mqtt_log_taken(session, d);
	n = queue->ops->expire(session->queue, now);
	session->engine->counters.dropped_expired += n;
	return n > 0;
}

void hbus_mqtt_pump(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt_delivery *first;
	int qos;

	while ((qos = next_qos(session, &first)) >= 0 && is_open_for(session, (uint8_t)qos)) {
		if (!first)
			send_promised(session);
		else if (!expire(session))
			send_queued(session, first);
	}
}

void hbus_mqtt_resume(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt_queue *queue = session->queue;

	queue->ops->release(queue);
	hbus_mqtt_log_again(session);
	for (struct hbus_mqtt_delivery *d = NULL; session->conn && (d = queue->ops->next(queue, true, d));)
		hbus_mqtt_send_ack(session->conn, HBUS_MQTT_PUBREL, d->packet_id, 0);
	hbus_mqtt_pump(session);
}

/* -- acknowledgements -- */

static void on_pubrec(struct hbus_mqtt_conn *conn, struct hbus_mqtt_delivery *d, uint8_t reason)
{
	struct hbus_mqtt_session *session = conn->session;
	uint16_t packet_id = d->packet_id;

	if (reason >= HBUS_MQTT_UNSPECIFIED) {
		settle(session, d, true);
		hbus_mqtt_pump(session);
		return;
	}
	settle(session, d, false);
	hbus_mqtt_send_ack(conn, HBUS_MQTT_PUBREL, packet_id, 0);
}

/* The QoS of deliveries that this packet acknowledges. */
static uint8_t ack_qos(uint8_t type)
{
	return type == HBUS_MQTT_PUBACK ? 1 : 2;
}

void hbus_mqtt_on_ack(struct hbus_mqtt_conn *conn, uint8_t type, const struct hbus_mqtt_ack *ack)
{
	struct hbus_mqtt_session *session = conn->session;
	struct hbus_mqtt_delivery *d = session->queue->ops->find(session->queue, ack->packet_id);

	if (!d) {
		if (type == HBUS_MQTT_PUBREC && ack->reason < HBUS_MQTT_UNSPECIFIED)
			hbus_mqtt_send_ack(conn, HBUS_MQTT_PUBREL, ack->packet_id, HBUS_MQTT_ID_NOT_FOUND);
		return;
	}
	if (d->qos != ack_qos(type) || (type == HBUS_MQTT_PUBCOMP && d->state != WAIT_PUBCOMP)) {
		hbus_mqtt_conn_fail(conn, HBUS_MQTT_PROTOCOL_ERROR);
	} else if (type == HBUS_MQTT_PUBREC) {
		on_pubrec(conn, d, ack->reason);
	} else {
		settle(session, d, true);
		hbus_mqtt_pump(session);
	}
}

/* -- one message to one session -- */

struct hbus_mqtt_kept *hbus_mqtt_source_keep(struct hbus_mqtt_source *source)
{
	if (!source->kept)
		source->kept = hbus_mqtt_keep(source->engine, source->message);
	return source->kept;
}

/* No room for one more: a client that is connected and was promised the message has to be told. */
static void overflow(struct hbus_mqtt_session *session, uint8_t qos)
{
	session->engine->counters.dropped_queue++;
	if (qos > 0 && session->conn)
		hbus_mqtt_conn_fail(session->conn, HBUS_MQTT_QUOTA);
}

static void deliver(struct hbus_mqtt_session *session, struct hbus_mqtt_source *source, const struct hbus_mqtt_how *how)
{
	bool now = hbus_mqtt_can_send(session, how->qos);
	int condition;

	if (now && how->qos == 0) {
		hbus_mqtt_send_publish(session->conn, source->message, source->expires_ms, how, 0, false);
		return;
	}
	if (how->qos == 0 && !session->conn) {
		session->engine->counters.dropped_offline++;
		return;
	}
	session->engine->counters.inflight_limited += !now && how->qos > 0 && has_unacknowledged(session);
	condition = now ? put_and_send(session, source, how) : session->queue->ops->put(session->queue, source, how, NULL);
	if (condition == 0 && !now)
		hbus_mqtt_log_put(session, source->kept, how, NULL);
	else if (condition == HBUS_MQTT_QUEUE_FULL)
		overflow(session, how->qos);
	else if (condition != 0 && how->qos > 0 && session->conn)
		hbus_mqtt_conn_fail(session->conn, HBUS_MQTT_QUOTA);
}

/* -- one message to all who want it -- */

struct match {
	const struct hbus_mqtt_message *message;
	struct hbus_mqtt *engine;
	struct hbus_mqtt_session *sessions;
	struct hbus_mqtt_share *shares;
	bool is_own; /* published by a client of this engine */
};

static void match_sub(struct match *m, struct hbus_mqtt_sub *sub)
{
	struct hbus_mqtt_session *session = sub->session;

	if (session->has_ended)
		return;
	if (m->is_own && m->message->origin.number <= sub->born)
		return;
	if (m->is_own && sub->no_local && m->message->origin.session == session->number)
		return;
	if (session->match_number != m->engine->n_matched) {
		session->match_number = m->engine->n_matched;
		session->match_subs = NULL;
		session->match_next = m->sessions;
		m->sessions = session;
	}
	sub->match_next = session->match_subs;
	session->match_subs = sub;
}

static bool match_target(void *context, struct hbus_trie_entry *entry)
{
	struct match *m = context;
	struct hbus_mqtt_target *target = hbus_mqtt_of(entry, struct hbus_mqtt_target, entry);
	struct hbus_mqtt_share *share;

	if (!target->is_share) {
		match_sub(m, hbus_mqtt_of(target, struct hbus_mqtt_sub, target));
		return true;
	}
	share = hbus_mqtt_of(target, struct hbus_mqtt_share, target);
	if (m->is_own && m->message->origin.number <= share->born)
		return true;
	share->match_next = m->shares;
	m->shares = share;
	return true;
}

/* One copy for all subscriptions of a session that match, with the identifiers of all of them. */
static void deliver_matched(struct hbus_mqtt_session *session, struct hbus_mqtt_source *source)
{
	uint32_t ids[256];
	struct hbus_mqtt_how how = { .ids = ids };
	bool keeps_retain = false;

	for (struct hbus_mqtt_sub *sub = session->match_subs; sub; sub = sub->match_next) {
		how.qos = sub->qos > how.qos ? sub->qos : how.qos;
		keeps_retain |= sub->retain_as_published;
		if (sub->id && how.n_ids < sizeof(ids) / sizeof(ids[0]))
			ids[how.n_ids++] = sub->id;
	}
	how.qos = how.qos < source->message->qos ? how.qos : source->message->qos;
	how.is_retain = keeps_retain && source->message->is_retain;
	deliver(session, source, &how);
}

static int group_put(struct hbus_mqtt_queue *queue, struct hbus_mqtt_source *source, const struct hbus_mqtt_how *how,
		     struct hbus_mqtt_delivery **ret_locked)
{
	struct hbus_mqtt_share *share = hbus_mqtt_of(queue, struct hbus_mqtt_share, queue);
	struct hbus_mqtt_sub *sub = hbus_mqtt_share_pick(share, source->message->qos);
	struct hbus_mqtt_how member = { .share = share };

	(void)how;
	(void)ret_locked;
	if (!sub)
		return HBUS_MQTT_QUEUE_NOBODY;
	member.qos = sub->qos < source->message->qos ? sub->qos : source->message->qos;
	member.is_retain = sub->retain_as_published && source->message->is_retain;
	member.ids = &sub->id;
	member.n_ids = sub->id ? 1 : 0;
	deliver(sub->session, source, &member);
	return 0;
}

/* What it was given stands in its members' queues. */
static struct hbus_mqtt_queue_count group_count(const struct hbus_mqtt_queue *queue)
{
	(void)queue;
	return (struct hbus_mqtt_queue_count){ 0 };
}

const struct hbus_mqtt_queue_ops hbus_mqtt_group_queue = { .put = group_put, .count = group_count };

static void deliver_share(struct hbus_mqtt_share *share, struct hbus_mqtt_source *source)
{
	if (share->queue.ops->put(&share->queue, source, NULL, NULL) == HBUS_MQTT_QUEUE_NOBODY)
		source->engine->counters.dropped_offline++;
}

static void route(struct hbus_mqtt_source *source)
{
	struct hbus_mqtt *engine = source->engine;
	struct match m = { source->message, engine, NULL, NULL, source->message->origin.engine == engine->id };

	engine->n_matched++;
	hbus_trie_match_filters(&engine->filters, source->message->topic, match_target, &m);
	engine->counters.events_unmatched += !m.sessions && !m.shares;
	for (struct hbus_mqtt_session *session = m.sessions; session; session = session->match_next)
		deliver_matched(session, source);
	for (struct hbus_mqtt_share *share = m.shares; share; share = share->match_next)
		deliver_share(share, source);
}

void hbus_mqtt_route_event(struct hbus_mqtt *engine, const struct hbus_mqtt_message *message)
{
	struct hbus_mqtt_source source = { engine, message, hbus_mqtt_expires_ms(engine, message), NULL };

	engine->counters.events_in++;
	if (message->origin.engine == engine->id) {
		engine->n_heard = message->origin.number;
		hbus_mqtt_log_heard(engine, engine->n_heard);
	}
	/* Another engine's client has retained it: so do we. Our own were retained when they were published. */
	if (message->is_retain && message->origin.engine != engine->id && message->origin.engine != 0)
		(void)hbus_mqtt_retain(engine, message);
	if (source.expires_ms <= hbus_mqtt_now(engine))
		engine->counters.dropped_expired++;
	else
		route(&source);
	hbus_mqtt_kept_put(source.kept);
}

/* -- an earlier run -- */

void hbus_mqtt_delivery_restore(struct hbus_mqtt_session *session, struct hbus_mqtt_kept *kept,
				const struct hbus_mqtt_how *how, uint8_t state, uint16_t packet_id, bool was_sent)
{
	int r = session->queue->ops->restore(session->queue, kept, how, state, packet_id, was_sent);

	session->engine->counters.dropped_queue += r == HBUS_MQTT_QUEUE_FULL;
}

void hbus_mqtt_delivery_pass(struct hbus_mqtt_session *session, const struct hbus_mqtt_kept *kept, uint16_t packet_id)
{
	struct hbus_mqtt_queue *queue = session->queue;
	struct hbus_mqtt_delivery *d = queue->ops->next(queue, false, NULL);
	bool has_id;

	if (!d || d->kept != kept)
		return;
	has_id = d->packet_id > 0;
	d = queue->ops->take(queue, false);
	if (packet_id) {
		const struct hbus_mqtt_how how = { d->qos, d->is_retain, NULL, d->ids, d->n_ids };

		hbus_mqtt_delivery_restore(session, d->kept, &how, d->qos == 2 ? WAIT_PUBREC : WAIT_PUBACK, packet_id, true);
		if (!has_id)
			queue->last_id = packet_id;
	}
	hbus_mqtt_delivery_free(d);
}

/* -- the end of a session -- */

/* May a shared message go to another member? With QoS 2 only when it has not been sent yet. */
static bool is_movable(const struct hbus_mqtt_delivery *d)
{
	return d->share && d->kept && (d->qos < 2 || !d->was_sent);
}

static void drop(struct hbus_mqtt_session *session, struct hbus_mqtt_delivery *d)
{
	struct hbus_mqtt *engine = session->engine;

	if (is_movable(d) && d->share->first && !engine->is_quiet) {
		struct hbus_mqtt_source source = { engine, &d->kept->view, d->kept->expires_ms, hbus_mqtt_kept_get(d->kept) };

		engine->counters.shared_moved++;
		deliver_share(d->share, &source);
		hbus_mqtt_kept_put(source.kept);
	} else {
		engine->counters.dropped_session += d->kept != NULL;
	}
	hbus_mqtt_delivery_free(d);
}

void hbus_mqtt_drop_deliveries(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt_queue *queue = session->queue;
	struct hbus_mqtt_delivery *d;

	while ((d = queue->ops->take(queue, true)) || (d = queue->ops->take(queue, false)))
		drop(session, d);
	while (session->snapshots) {
		struct hbus_mqtt_snapshot *snapshot = session->snapshots;

		session->snapshots = snapshot->next;
		hbus_mqtt_snapshot_free(session->engine, snapshot);
	}
}
