/* SPDX-License-Identifier: BSD-3-Clause */
/* What an engine must remember over a restart is written: all of it, and each change of it. See records.h. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "dataplane/mqtt/engine_pvt.h"
#include "dataplane/mqtt/records.h"

enum { ROOM_MIN = 65536, ROOM_KEEP = 4 << 20, HELD_MIN = 64 };

static const uint64_t check_key[2] = HBUS_MQTT_CHECK_KEY;

/* -- bytes -- */

static bool grow(struct hbus_mqtt_records *out, size_t size)
{
	size_t room = out->room ? out->room : ROOM_MIN;
	uint8_t *more;

	while (room < out->size + size)
		room *= 2;
	more = realloc(out->data, room);
	out->has_failed |= !more;
	if (!more)
		return false;
	out->data = more;
	out->room = room;
	return true;
}

static void put(struct hbus_mqtt_records *out, const void *data, size_t size)
{
	if (out->has_failed || (out->size + size > out->room && !grow(out, size)))
		return;
	if (size > 0)
		memcpy(out->data + out->size, data, size);
	out->size += size;
}

static void put_u8(struct hbus_mqtt_records *out, uint8_t value)
{
	put(out, &value, 1);
}

static void put_u16(struct hbus_mqtt_records *out, uint16_t value)
{
	value = htobe16(value);
	put(out, &value, sizeof(value));
}

static void put_u32(struct hbus_mqtt_records *out, uint32_t value)
{
	value = htobe32(value);
	put(out, &value, sizeof(value));
}

static void put_u64(struct hbus_mqtt_records *out, uint64_t value)
{
	value = htobe64(value);
	put(out, &value, sizeof(value));
}

static void put_text(struct hbus_mqtt_records *out, const void *data, size_t size)
{
	put_u16(out, (uint16_t)size);
	put(out, data, size);
}

/* -- records, of the whole state and of changes -- */

static void put_message(struct hbus_mqtt_records *out, const struct hbus_mqtt_kept *kept)
{
	const struct hbus_mqtt_message *m = &kept->view;
	uint64_t now = hbus_mqtt_now(kept->engine);
	bool expires = kept->expires_ms != UINT64_MAX;

	put_u8(out, RECORD_MESSAGE);
	put_u64(out, kept->number);
	put_u8(out, (uint8_t)((m->is_retain ? RECORD_FLAG_RETAIN : 0) | (expires ? RECORD_FLAG_EXPIRES : 0)));
	put_u8(out, m->qos);
	put_u64(out, !expires ? 0 : kept->expires_ms > now ? kept->expires_ms - now : 0);
	put_text(out, m->topic, strlen(m->topic));
	put_text(out, m->props.data, m->props.size);
	put_u32(out, (uint32_t)m->payload_size);
	put(out, m->payload, m->payload_size);
}

/* Its number; it is written when this generation does not know it. */
static uint64_t name_message(struct hbus_mqtt_records *out, struct hbus_mqtt_kept *kept)
{
	struct hbus_mqtt *engine = kept->engine;

	if (kept->number == 0)
		kept->number = ++engine->n_named;
	if (kept->saved_in != engine->n_saves) {
		kept->saved_in = engine->n_saves;
		put_message(out, kept);
	}
	return kept->number;
}

static void put_retained(struct hbus_mqtt_records *out, struct hbus_mqtt_kept *kept)
{
	uint64_t number = name_message(out, kept);

	put_u8(out, RECORD_RETAIN);
	put_u64(out, number);
}

static uint64_t life_left_ms(const struct hbus_mqtt_session *session)
{
	uint64_t now = hbus_mqtt_now(session->engine), deadline = session->expiry.timer.deadline_ms;

	if (session->expiry_s == HBUS_MQTT_FOREVER)
		return UINT64_MAX;
	if (!hbus_timer_is_set(&session->expiry.timer))
		return (uint64_t)session->expiry_s * 1000;
	return deadline > now ? deadline - now : 0;
}

static void put_session(struct hbus_mqtt_records *out, const struct hbus_mqtt_session *session)
{
	put_u8(out, RECORD_SESSION);
	put_u64(out, session->number);
	put_text(out, session->client_id, session->id_size);
	put_text(out, session->principal, strlen(session->principal));
	put_u8(out, session->version);
	put_u32(out, session->expiry_s);
	put_u8(out, session->conn ? RECORD_FLAG_CONNECTED : 0);
	put_u64(out, life_left_ms(session));
	put_u16(out, session->queue->last_id);
}

static void put_sub(struct hbus_mqtt_records *out, const struct hbus_mqtt_sub *sub)
{
	put_u8(out, RECORD_SUBSCRIBE);
	put_u64(out, sub->session->number);
	put_text(out, sub->name, sub->name_size);
	put_u8(out, (uint8_t)(sub->qos | (sub->no_local ? RECORD_NO_LOCAL : 0) |
			      (sub->retain_as_published ? RECORD_AS_PUBLISHED : 0)));
	put_u32(out, sub->id);
}

static void put_id(struct hbus_mqtt_records *out, enum hbus_mqtt_record what, uint64_t session_number, uint16_t packet_id)
{
	put_u8(out, (uint8_t)what);
	put_u64(out, session_number);
	put_u16(out, packet_id);
}

struct placed {
	uint8_t state;
	bool was_sent;
	uint16_t packet_id;
};

static void put_delivery(struct hbus_mqtt_records *out, const struct hbus_mqtt_session *session, struct hbus_mqtt_kept *kept,
			 const struct hbus_mqtt_how *how, struct placed placed)
{
	uint64_t number = kept ? name_message(out, kept) : 0;

	put_u8(out, RECORD_PUT);
	put_u64(out, session->number);
	put_u8(out, placed.state);
	put_u8(out, how->qos);
	put_u8(out, (uint8_t)((how->is_retain ? RECORD_FLAG_RETAIN : 0) | (placed.was_sent ? RECORD_FLAG_SENT : 0)));
	put_u16(out, placed.packet_id);
	put_u64(out, number);
	put_u16(out, how->n_ids);
	for (uint16_t i = 0; i < how->n_ids; i++)
		put_u32(out, how->ids[i]);
}

static void put_promise(struct hbus_mqtt_records *out, const struct hbus_mqtt_session *session,
			const struct hbus_mqtt_snapshot *snapshot)
{
	for (uint32_t i = snapshot->at; i < snapshot->n; i++)
		(void)name_message(out, snapshot->kept[i]);
	put_u8(out, RECORD_PROMISE);
	put_u64(out, session->number);
	put_u32(out, snapshot->id);
	put_u8(out, snapshot->qos);
	put_u32(out, snapshot->n - snapshot->at);
	for (uint32_t i = snapshot->at; i < snapshot->n; i++)
		put_u64(out, snapshot->kept[i]->number);
}

/* -- all of it -- */

/* QoS 0 waits only for those who are connected. */
static void save_deliveries(struct hbus_mqtt_records *out, const struct hbus_mqtt_session *session, bool is_locked)
{
	const struct hbus_mqtt_queue *queue = session->queue;

	for (const struct hbus_mqtt_delivery *d = NULL; (d = queue->ops->next(queue, is_locked, d));) {
		const struct hbus_mqtt_how how = { d->qos, d->is_retain, NULL, d->ids, d->n_ids };

		if (d->qos > 0)
			put_delivery(out, session, d->kept, &how, (struct placed){ d->state, d->was_sent, d->packet_id });
	}
}

static void save_session(struct hbus_mqtt_records *out, const struct hbus_mqtt_session *session)
{
	put_session(out, session);
	for (const struct hbus_mqtt_sub *sub = session->subs; sub; sub = sub->next)
		put_sub(out, sub);
	for (uint32_t id = 1; id <= UINT16_MAX && session->received.n > 0; id++)
		if (hbus_mqtt_received_has(&session->received, (uint16_t)id))
			put_id(out, RECORD_RECEIVED, session->number, (uint16_t)id);
	save_deliveries(out, session, true);
	for (const struct hbus_mqtt_snapshot *p = session->snapshots; p; p = p->next)
		put_promise(out, session, p);
	save_deliveries(out, session, false);
}

static void save_sessions(struct hbus_mqtt_records *out, struct hbus_mqtt *engine)
{
	for (size_t i = 0; i < HBUS_MQTT_BUCKETS; i++) {
		for (struct hbus_mqtt_session *session = engine->sessions[i]; session; session = session->next) {
			session->is_saved = session->expiry_s > 0;
			if (session->is_saved)
				save_session(out, session);
		}
	}
}

int hbus_mqtt_save(struct hbus_mqtt *engine, uint64_t wall_ms, uint8_t **ret_data, size_t *ret_size)
{
	static const uint8_t magic[8] = HBUS_MQTT_SAVED_MAGIC;
	struct hbus_mqtt_records out = { NULL };

	engine->n_saves++;
	put(&out, magic, sizeof(magic));
	put_u64(&out, wall_ms);
	put_u64(&out, engine->generation + 1);
	for (const struct hbus_mqtt_retained *r = engine->retained; r; r = r->next)
		put_retained(&out, r->kept);
	save_sessions(&out, engine);
	if (!out.has_failed)
		put_u64(&out, hbus_siphash(check_key, out.data, out.size));
	if (out.has_failed) {
		free(out.data);
		return -1;
	}
	engine->generation++;
	*ret_data = out.data;
	*ret_size = out.size;
	return 0;
}

/* -- the journal -- */

uint64_t hbus_mqtt_generation(const struct hbus_mqtt *engine)
{
	return engine->generation;
}

void hbus_mqtt_journal_start(struct hbus_mqtt *engine)
{
	engine->journal.size = 0;
	engine->journal.has_failed = false;
	engine->is_journaling = true;
	engine->n_batches = 0;
}

void hbus_mqtt_journal_stop(struct hbus_mqtt *engine)
{
	if (!engine->is_journaling)
		return;
	engine->is_journaling = false;
	free(engine->journal.data);
	free(engine->held);
	engine->held = NULL;
	engine->n_held = engine->held_at = engine->held_room = 0;
	engine->journal = (struct hbus_mqtt_records){ NULL };
	engine->generation++;
}

void hbus_mqtt_journal_head(const struct hbus_mqtt *engine, uint8_t head[HBUS_MQTT_JOURNAL_HEAD_SIZE])
{
	static const uint8_t magic[8] = HBUS_MQTT_JOURNAL_MAGIC;
	uint64_t generation = htobe64(engine->generation);

	memcpy(head, magic, sizeof(magic));
	memcpy(head + sizeof(magic), &generation, sizeof(generation));
}

size_t hbus_mqtt_journal_size(const struct hbus_mqtt *engine)
{
	return engine->journal.size;
}

int hbus_mqtt_journal_take(struct hbus_mqtt *engine, uint64_t wall_ms, const uint8_t **ret_data, size_t *ret_size)
{
	struct hbus_mqtt_records *out = &engine->journal;
	struct hbus_mqtt_records head = { out->data, 0, HBUS_MQTT_BATCH_HEAD, false };
	uint32_t size = (uint32_t)(out->size - HBUS_MQTT_BATCH_HEAD);

	if (out->has_failed)
		return -1;
	if (out->size > 0) {
		put_u32(&head, size);
		put_u32(&head, engine->n_batches);
		put_u64(&head, wall_ms);
		put_u64(&head, hbus_mqtt_batch_check(out->data + HBUS_MQTT_BATCH_HEAD, size, engine->n_batches++, wall_ms));
	}
	*ret_data = out->data;
	*ret_size = out->size;
	return 0;
}

void hbus_mqtt_journal_clear(struct hbus_mqtt *engine)
{
	struct hbus_mqtt_records *out = &engine->journal;

	out->size = 0;
	if (out->room <= ROOM_KEEP)
		return;
	free(out->data);
	*out = (struct hbus_mqtt_records){ NULL };
}

/* -- changes -- */

/* Where the record of a change goes; NULL: nobody wants it. */
static struct hbus_mqtt_records *journal_of(struct hbus_mqtt *engine)
{
	static const uint8_t head[HBUS_MQTT_BATCH_HEAD];

	if (!engine->is_journaling)
		return NULL;
	if (engine->journal.size == 0)
		put(&engine->journal, head, sizeof(head));
	return &engine->journal;
}

/* Of a session: one that ends with its connection is not remembered. */
static struct hbus_mqtt_records *journal_for(const struct hbus_mqtt_session *session)
{
	return session->expiry_s > 0 && session->is_saved ? journal_of(session->engine) : NULL;
}

void hbus_mqtt_log_session(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt_records *out;

	if (session->expiry_s == 0) {
		hbus_mqtt_log_end(session);
		return;
	}
	session->is_saved = true;
	out = journal_for(session);
	if (out)
		put_session(out, session);
}

void hbus_mqtt_log_end(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt_records *out = session->is_saved ? journal_of(session->engine) : NULL;

	session->is_saved = false;
	if (!out)
		return;
	put_u8(out, RECORD_END);
	put_u64(out, session->number);
}

void hbus_mqtt_log_subscribed(const struct hbus_mqtt_sub *sub)
{
	struct hbus_mqtt_records *out = journal_for(sub->session);

	if (out)
		put_sub(out, sub);
}

void hbus_mqtt_log_unsubscribed(const struct hbus_mqtt_sub *sub)
{
	struct hbus_mqtt_records *out = journal_for(sub->session);

	if (!out)
		return;
	put_u8(out, RECORD_UNSUBSCRIBE);
	put_u64(out, sub->session->number);
	put_text(out, sub->name, sub->name_size);
}

/* One more that waits for its message. Return: false without memory. */
static bool hold(struct hbus_mqtt *engine, struct hbus_mqtt_held held)
{
	size_t room = engine->held_room ? 2 * engine->held_room : HELD_MIN;
	struct hbus_mqtt_held *more;

	if (engine->n_held == engine->held_room) {
		more = realloc(engine->held, room * sizeof(held));
		if (!more)
			return false;
		engine->held = more;
		engine->held_room = room;
	}
	engine->held[engine->n_held++] = held;
	return true;
}

/*
 * That a message was received stands in the journal right before those whom it was given to, when it has come back from
 * the bus. Without them a client that sends it again would be told that it is there, and they without it that it is not.
 */
void hbus_mqtt_log_received(const struct hbus_mqtt_session *session, uint16_t packet_id, bool is_released)
{
	struct hbus_mqtt *engine = session->engine;
	struct hbus_mqtt_records *out = journal_for(session);
	const struct hbus_mqtt_held held = { session->number, engine->n_published, packet_id, is_released };

	if (out && !hold(engine, held))
		out->has_failed = true;
}

void hbus_mqtt_log_heard(struct hbus_mqtt *engine, uint64_t number)
{
	while (engine->held_at < engine->n_held && engine->held[engine->held_at].number <= number) {
		const struct hbus_mqtt_held *held = &engine->held[engine->held_at++];

		put_id(journal_of(engine), held->is_released ? RECORD_RELEASED : RECORD_RECEIVED, held->session_number,
		       held->packet_id);
	}
	if (engine->held_at == engine->n_held)
		engine->held_at = engine->n_held = 0;
}

void hbus_mqtt_journal_settle(struct hbus_mqtt *engine)
{
	hbus_mqtt_log_heard(engine, UINT64_MAX);
}

void hbus_mqtt_log_put(const struct hbus_mqtt_session *session, struct hbus_mqtt_kept *kept, const struct hbus_mqtt_how *how,
		       const struct hbus_mqtt_delivery *locked)
{
	struct hbus_mqtt_records *out = how->qos > 0 ? journal_for(session) : NULL;
	struct placed placed = { QUEUED, false, 0 };

	if (locked)
		placed = (struct placed){ locked->state, true, locked->packet_id };
	if (out)
		put_delivery(out, session, kept, how, placed);
}

/* Return: where more of the record goes, or NULL. */
static struct hbus_mqtt_records *log_one(const struct hbus_mqtt_session *session, enum hbus_mqtt_record what,
					 struct hbus_mqtt_kept *kept)
{
	struct hbus_mqtt_records *out = journal_for(session);
	uint64_t number;

	if (!out)
		return NULL;
	number = name_message(out, kept);
	put_u8(out, (uint8_t)what);
	put_u64(out, session->number);
	put_u64(out, number);
	return out;
}

void hbus_mqtt_log_locked(const struct hbus_mqtt_session *session, const struct hbus_mqtt_delivery *d)
{
	struct hbus_mqtt_records *out = log_one(session, RECORD_LOCK, d->kept);

	if (out)
		put_u16(out, d->packet_id);
}

void hbus_mqtt_log_taken(const struct hbus_mqtt_session *session, const struct hbus_mqtt_delivery *d)
{
	if (d->qos > 0)
		(void)log_one(session, RECORD_TAKE, d->kept);
}

void hbus_mqtt_log_settled(const struct hbus_mqtt_session *session, uint16_t packet_id, bool is_done)
{
	struct hbus_mqtt_records *out = journal_for(session);

	if (out)
		put_id(out, is_done ? RECORD_DONE : RECORD_GOT, session->number, packet_id);
}

void hbus_mqtt_log_again(const struct hbus_mqtt_session *session)
{
	struct hbus_mqtt_records *out = journal_for(session);

	if (!out)
		return;
	put_u8(out, RECORD_AGAIN);
	put_u64(out, session->number);
}

void hbus_mqtt_log_promised(const struct hbus_mqtt_session *session, const struct hbus_mqtt_snapshot *snapshot)
{
	struct hbus_mqtt_records *out = journal_for(session);

	if (out)
		put_promise(out, session, snapshot);
}

void hbus_mqtt_log_promise_kept(const struct hbus_mqtt_session *session, struct hbus_mqtt_kept *kept)
{
	(void)log_one(session, RECORD_PROMISE_KEPT, kept);
}

void hbus_mqtt_log_retained(struct hbus_mqtt_kept *kept)
{
	struct hbus_mqtt_records *out = journal_of(kept->engine);

	if (out)
		put_retained(out, kept);
}

void hbus_mqtt_log_unretained(struct hbus_mqtt *engine, const char *topic)
{
	struct hbus_mqtt_records *out = journal_of(engine);

	if (!out)
		return;
	put_u8(out, RECORD_UNRETAIN);
	put_text(out, topic, strlen(topic));
}

void hbus_mqtt_log_forgotten(const struct hbus_mqtt_kept *kept)
{
	struct hbus_mqtt *engine = kept->engine;

	if (kept->number == 0 || kept->saved_in != engine->n_saves || !engine->is_journaling)
		return;
	put_u8(journal_of(engine), RECORD_FORGET);
	put_u64(&engine->journal, kept->number);
}
