/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to clients: which sessions want an event, and when each of them gets it.
 *
 * What can be sent at once is encoded straight from the event. The rest is kept, once for all
 * sessions, and waits in their queues. A message with QoS 1 or 2 that was sent stands in the
 * session's in-flight list until it is acknowledged; after a reconnect it goes back to the front of
 * the queue with its packet identifier. Before the queue come retained messages that a
 * subscription was promised: they are older.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/engine_pvt.h"

enum { SLOTS_MIN = 16, SLOTS_MAX = 65536 };

/* One message on its way to several sessions: the copy is made when the first has to wait. */
struct source {
	struct hbus_mqtt *engine;
	const struct hbus_mqtt_message *message;
	uint64_t expires_ms;
	struct hbus_mqtt_kept *kept;
};

/* -- lists -- */

static void list_append(struct hbus_mqtt_deliveries *list, struct hbus_mqtt_delivery *d)
{
	d->next = NULL;
	d->prev = list->last;
	if (list->last)
		list->last->next = d;
	else
		list->first = d;
	list->last = d;
	list->n++;
}

static void list_prepend(struct hbus_mqtt_deliveries *list, struct hbus_mqtt_delivery *d)
{
	d->prev = NULL;
	d->next = list->first;
	if (list->first)
		list->first->prev = d;
	else
		list->last = d;
	list->first = d;
	list->n++;
}

static void list_remove(struct hbus_mqtt_deliveries *list, struct hbus_mqtt_delivery *d)
{
	if (d->prev)
		d->prev->next = d->next;
	else
		list->first = d->next;
	if (d->next)
		d->next->prev = d->prev;
	else
		list->last = d->prev;
	list->n--;
}

/* -- packet identifiers -- */

static struct hbus_mqtt_delivery **slot_of(struct hbus_mqtt_session *session, uint16_t packet_id)
{
	return &session->slots[(packet_id - 1u) & (session->n_slots - 1)];
}

/* Identifiers that differ modulo n differ modulo 2n, so each has its slot again. */
static bool slots_grow(struct hbus_mqtt_session *session)
{
	uint32_t n = session->n_slots ? 2 * session->n_slots : SLOTS_MIN;
	struct hbus_mqtt_delivery **slots = n <= SLOTS_MAX ? calloc(n, sizeof(struct hbus_mqtt_delivery *)) : NULL;

	if (!slots)
		return false;
	for (uint32_t i = 0; i < session->n_slots; i++)
		if (session->slots[i])
			slots[(session->slots[i]->packet_id - 1u) & (n - 1)] = session->slots[i];
	free(session->slots);
	session->slots = slots;
	session->n_slots = n;
	return true;
}

static bool id_take(struct hbus_mqtt_session *session, struct hbus_mqtt_delivery *d)
{
	if (session->n_slots_used == session->n_slots && !slots_grow(session))
		return false;
	do {
		if (++session->last_id == 0)
			session->last_id = 1;
	} while (*slot_of(session, session->last_id));
	d->packet_id = session->last_id;
	*slot_of(session, d->packet_id) = d;
	session->n_slots_used++;
	return true;
}

static struct hbus_mqtt_delivery *id_find(struct hbus_mqtt_session *session, uint16_t packet_id)
{
	struct hbus_mqtt_delivery *d = session->n_slots ? *slot_of(session, packet_id) : NULL;

	return d && d->packet_id == packet_id ? d : NULL;
}

/* -- deliveries -- */

static struct hbus_mqtt_delivery *delivery_new(struct hbus_mqtt_kept *kept, const struct hbus_mqtt_how *how)
{
	struct hbus_mqtt_delivery *d = calloc(1, sizeof(*d) + how->n_ids * sizeof(how->ids[0]));

	if (!d)
		return NULL;
	d->kept = kept ? hbus_mqtt_kept_get(kept) : NULL;
	d->share = how->share;
	if (d->share)
		d->share->n_refs++;
	d->qos = how->qos;
	d->is_retain = how->is_retain;
	d->n_ids = how->n_ids;
	if (how->n_ids > 0)
		memcpy(d->ids, how->ids, how->n_ids * sizeof(how->ids[0]));
	return d;
}

/* A session that ends with its connection is not remembered. */
static void changed(const struct hbus_mqtt_session *session)
{
	session->engine->n_changes += session->expiry_s > 0;
}

static void delivery_unlink(struct hbus_mqtt_session *session, struct hbus_mqtt_delivery *d)
{
	changed(session);
	if (d->state == QUEUED) {
		list_remove(&session->queue, d);
		session->queue_bytes -= d->kept->size;
	} else {
		list_remove(&session->inflight, d);
	}
}

/* Unlinked already. */
static void delivery_free(struct hbus_mqtt_session *session, struct hbus_mqtt_delivery *d)
{
	if (d->packet_id) {
		*slot_of(session, d->packet_id) = NULL;
		session->n_slots_used--;
	}
	hbus_mqtt_kept_put(d->kept);
	hbus_mqtt_share_put(d->share);
	free(d);
}

static void delivery_finish(struct hbus_mqtt_session *session, struct hbus_mqtt_delivery *d)
{
	delivery_unlink(session, d);
	delivery_free(session, d);
}

static void queue_append(struct hbus_mqtt_session *session, struct hbus_mqtt_delivery *d)
{
	d->state = QUEUED;
	changed(session);
	list_append(&session->queue, d);
	session->queue_bytes += d->kept->size;
}

/* -- sending -- */

/* Is the way to the client free for one message more? */
static bool is_open_for(const struct hbus_mqtt_session *session, uint8_t qos)
{
	const struct hbus_mqtt_conn *conn = session->conn;

	return conn && conn->state == CONN_OPEN && !conn->is_backlogged &&
	       (qos == 0 || session->inflight.n < conn->send_max);
}

bool hbus_mqtt_can_send(const struct hbus_mqtt_session *session, uint8_t qos)
{
	return !session->queue.first && !session->snapshots && is_open_for(session, qos);
}

/* Linked nowhere; with QoS 1 and 2 it goes into the in-flight list, with QoS 0 it is done. */
static void delivery_send(struct hbus_mqtt_session *session, struct hbus_mqtt_delivery *d)
{
	struct hbus_mqtt_how how = { d->qos, d->is_retain, NULL, d->ids, d->n_ids };
	bool is_dup = d->was_sent;

	if (d->qos > 0 && d->packet_id == 0 && !id_take(session, d)) {
		session->engine->counters.dropped_memory++;
		delivery_free(session, d);
		return;
	}
	d->state = d->qos == 2 ? WAIT_PUBREC : WAIT_PUBACK;
	d->was_sent = true;
	changed(session);
	list_append(&session->inflight, d);
	session->engine->counters.redelivered += is_dup;
	/* May close the connection; the delivery is then where it belongs. */
	if (!hbus_mqtt_send_publish(session->conn, &d->kept->view, d->kept->expires_ms, &how, d->packet_id, is_dup) ||
	    d->qos == 0)
		delivery_finish(session, d);
}

static void send_promised(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt *engine = session->engine;
	struct hbus_mqtt_snapshot *snapshot = session->snapshots;
	struct hbus_mqtt_kept *kept = snapshot->kept[snapshot->at++];
	uint8_t qos = kept->view.qos < snapshot->qos ? kept->view.qos : snapshot->qos;
	struct hbus_mqtt_how how = { qos, true, NULL, &snapshot->id, snapshot->id ? 1 : 0 };
	struct hbus_mqtt_delivery *d = NULL;

	engine->counters.snapshot_now--;
	if (kept->expires_ms <= hbus_mqtt_now(engine))
		engine->counters.dropped_expired++;
	else
		d = delivery_new(kept, &how);
	hbus_mqtt_kept_put(kept);
	if (snapshot->at == snapshot->n) {
		session->snapshots = snapshot->next;
		hbus_mqtt_snapshot_free(engine, snapshot);
	}
	if (d)
		delivery_send(session, d);
}

static void send_queued(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt_delivery *d = session->queue.first;

	delivery_unlink(session, d);
	if (!d->was_sent && d->kept->expires_ms <= hbus_mqtt_now(session->engine)) {
		session->engine->counters.dropped_expired++;
		delivery_free(session, d);
	} else {
		delivery_send(session, d);
	}
}

/* QoS of what is to be sent next; -1: nothing is. *ret_is_promised: it is a retained message. */
static int next_qos(const struct hbus_mqtt_session *session, bool *ret_is_promised)
{
	const struct hbus_mqtt_snapshot *snapshot = session->snapshots;
	const struct hbus_mqtt_delivery *d = session->queue.first;
	uint8_t qos;

	*ret_is_promised = snapshot && !(d && d->was_sent);
	if (*ret_is_promised) {
		qos = snapshot->kept[snapshot->at]->view.qos;
		return qos < snapshot->qos ? qos : snapshot->qos;
	}
	return d ? d->qos : -1;
}

void hbus_mqtt_pump(struct hbus_mqtt_session *session)
{
	bool is_promised;
	int qos;

	while ((qos = next_qos(session, &is_promised)) >= 0 && is_open_for(session, (uint8_t)qos)) {
		if (is_promised)
			send_promised(session);
		else
			send_queued(session);
	}
}

void hbus_mqtt_resume(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt_delivery *d = session->inflight.last, *prev;

	for (; d; d = prev) {
		prev = d->prev;
		if (d->state == WAIT_PUBCOMP)
			continue;
		list_remove(&session->inflight, d);
		d->state = QUEUED;
		list_prepend(&session->queue, d);
		session->queue_bytes += d->kept->size;
	}
	for (d = session->inflight.first; d && session->conn; d = d->next)
		hbus_mqtt_send_ack(session->conn, HBUS_MQTT_PUBREL, d->packet_id, 0);
	hbus_mqtt_pump(session);
}

/* -- acknowledgements -- */

static void on_pubrec(struct hbus_mqtt_conn *conn, struct hbus_mqtt_delivery *d, uint8_t reason)
{
	struct hbus_mqtt_session *session = conn->session;
	uint16_t packet_id = d->packet_id;

	if (reason >= HBUS_MQTT_UNSPECIFIED) {
		delivery_finish(session, d);
		hbus_mqtt_pump(session);
		return;
	}
	if (d->state != WAIT_PUBCOMP) {
		delivery_unlink(session, d);
		d->state = WAIT_PUBCOMP;
		hbus_mqtt_kept_put(d->kept);
		d->kept = NULL;
		list_append(&session->inflight, d);
	}
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
	struct hbus_mqtt_delivery *d = id_find(session, ack->packet_id);

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
		delivery_finish(session, d);
		hbus_mqtt_pump(session);
	}
}

/* -- one message to one session -- */

static struct hbus_mqtt_kept *source_keep(struct source *source)
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

static void deliver(struct hbus_mqtt_session *session, struct source *source, const struct hbus_mqtt_how *how)
{
	const struct hbus_mqtt_config *config = &session->engine->config;
	bool now = hbus_mqtt_can_send(session, how->qos);
	struct hbus_mqtt_delivery *d;

	if (now && how->qos == 0) {
		hbus_mqtt_send_publish(session->conn, source->message, source->expires_ms, how, 0, false);
		return;
	}
	if (how->qos == 0 && !session->conn) {
		session->engine->counters.dropped_offline++;
		return;
	}
	if (session->queue.n >= config->queue_max) {
		overflow(session, how->qos);
		return;
	}
	d = source_keep(source) ? delivery_new(source->kept, how) : NULL;
	if (!d) {
		if (how->qos > 0 && session->conn)
			hbus_mqtt_conn_fail(session->conn, HBUS_MQTT_QUOTA);
	} else if (now) {
		delivery_send(session, d);
	} else if (session->queue_bytes + d->kept->size > config->queue_bytes_max) {
		delivery_free(session, d);
		overflow(session, how->qos);
	} else {
		queue_append(session, d);
	}
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
static void deliver_matched(struct hbus_mqtt_session *session, struct source *source)
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

static void deliver_share(struct hbus_mqtt_share *share, struct source *source)
{
	struct hbus_mqtt_sub *sub = hbus_mqtt_share_pick(share, source->message->qos);
	struct hbus_mqtt_how how = { .share = share };

	if (!sub) {
		source->engine->counters.dropped_offline++;
		return;
	}
	how.qos = sub->qos < source->message->qos ? sub->qos : source->message->qos;
	how.is_retain = sub->retain_as_published && source->message->is_retain;
	how.ids = &sub->id;
	how.n_ids = sub->id ? 1 : 0;
	deliver(sub->session, source, &how);
}

static void route(struct source *source)
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
	struct source source = { engine, message, hbus_mqtt_expires_ms(engine, message), NULL };

	engine->counters.events_in++;
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

/* With the packet identifier that it had, when that is free. */
static bool id_take_back(struct hbus_mqtt_session *session, struct hbus_mqtt_delivery *d, uint16_t packet_id)
{
	while (session->n_slots == 0 || *slot_of(session, packet_id))
		if (id_find(session, packet_id) || !slots_grow(session))
			return false;
	d->packet_id = packet_id;
	*slot_of(session, packet_id) = d;
	session->n_slots_used++;
	return true;
}

void hbus_mqtt_delivery_restore(struct hbus_mqtt_session *session, struct hbus_mqtt_kept *kept,
				const struct hbus_mqtt_how *how, uint8_t state, uint16_t packet_id, bool was_sent)
{
	const struct hbus_mqtt_config *config = &session->engine->config;
	struct hbus_mqtt_delivery *d;

	if (how->qos == 0 || session->queue.n + session->inflight.n >= config->queue_max + UINT16_MAX ||
	    (kept && session->queue_bytes + kept->size > config->queue_bytes_max) ||
	    (state != QUEUED && packet_id == 0)) {
		session->engine->counters.dropped_queue++;
		return;
	}
	d = delivery_new(kept, how);
	if (!d)
		return;
	if (packet_id && !id_take_back(session, d, packet_id)) {
		delivery_free(session, d);
		return;
	}
	d->was_sent = was_sent;
	if (state == WAIT_PUBCOMP) {
		d->state = state;
		list_append(&session->inflight, d);
	} else {
		/* Sent again when the client comes back, first of all since it was first. */
		queue_append(session, d);
	}
}

/* -- the end of a session -- */

/* May a shared message go to another member? With QoS 2 only when it has not been sent yet. */
static bool is_movable(const struct hbus_mqtt_delivery *d)
{
	return d->share && d->kept && (d->qos < 2 || !d->was_sent);
}

static void drop_list(struct hbus_mqtt_session *session, struct hbus_mqtt_deliveries *list)
{
	struct hbus_mqtt *engine = session->engine;

	while (list->first) {
		struct hbus_mqtt_delivery *d = list->first;

		delivery_unlink(session, d);
		if (is_movable(d) && d->share->first && !engine->is_quiet) {
			struct source source = { engine, &d->kept->view, d->kept->expires_ms,
						 hbus_mqtt_kept_get(d->kept) };

			engine->counters.shared_moved++;
			deliver_share(d->share, &source);
			hbus_mqtt_kept_put(source.kept);
		} else {
			engine->counters.dropped_session += d->kept != NULL;
		}
		delivery_free(session, d);
	}
}

void hbus_mqtt_drop_deliveries(struct hbus_mqtt_session *session)
{
	drop_list(session, &session->inflight);
	drop_list(session, &session->queue);
	while (session->snapshots) {
		struct hbus_mqtt_snapshot *snapshot = session->snapshots;

		session->snapshots = snapshot->next;
		hbus_mqtt_snapshot_free(session->engine, snapshot);
	}
}
