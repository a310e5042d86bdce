/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an engine must remember over a restart, as bytes: retained messages, and the sessions that outlive
 * their connections, with their subscriptions, what waits for them, and where their QoS 2 exchanges stand.
 *
 *	8  magic   8  wall clock in ms   records   8  SipHash of all that (a check, no secret)
 *
 * A record is one byte that says what it is, and fields in MQTT's own representations. A message that waits for
 * several sessions is written once, before the first of them, and then named by its number. Times are written
 * as what is left of them. The bytes come from a disk: the check finds what was torn or rotted, and what passes
 * it is read as if a stranger had written it all the same.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "dataplane/mqtt/engine_pvt.h"
#include "dataplane/mqtt/props.h"

static const uint8_t magic[8] = { 'H', 'B', 'M', 'Q', 'T', 'T', 0, 1 };
static const uint64_t check_key[2] = { 0x6873756765627573, 0x7374617465636865 };

enum { HEAD_SIZE = 16, CHECK_SIZE = 8, MESSAGES_MAX = 1 << 24 };
#define LEFT_MS_MAX (UINT32_MAX * UINT64_C(1000)) /* of a message: a four byte integer of seconds */
enum { FLAG_RETAIN = 1, FLAG_EXPIRES = 2, FLAG_SENT = 4 };
enum { SUB_NO_LOCAL = 4, SUB_AS_PUBLISHED = 8 }; /* as in SUBSCRIBE */

/* -- writing -- */

struct saver {
	struct hbus_mqtt *engine;
	uint8_t *data;
	size_t size, room;
	bool has_failed;
	uint32_t n_messages;
};

static void put(struct saver *s, const void *data, size_t size)
{
	size_t room = s->room ? s->room : 65536;
	uint8_t *more;

	while (room < s->size + size)
		room *= 2;
	if (room > s->room) {
		more = realloc(s->data, room);
		s->has_failed |= !more;
		if (!more)
			return;
		s->data = more;
		s->room = room;
	}
	if (size > 0 && !s->has_failed)
		memcpy(s->data + s->size, data, size);
	s->size += size;
}

static void put_u8(struct saver *s, uint8_t value)
{
	put(s, &value, 1);
}

static void put_u16(struct saver *s, uint16_t value)
{
	put_u8(s, (uint8_t)(value >> 8));
	put_u8(s, (uint8_t)value);
}

static void put_u32(struct saver *s, uint32_t value)
{
	put_u16(s, (uint16_t)(value >> 16));
	put_u16(s, (uint16_t)value);
}

static void put_u64(struct saver *s, uint64_t value)
{
	put_u32(s, (uint32_t)(value >> 32));
	put_u32(s, (uint32_t)value);
}

static void put_text(struct saver *s, const void *data, size_t size)
{
	put_u16(s, (uint16_t)size);
	put(s, data, size);
}

static void put_message(struct saver *s, const struct hbus_mqtt_kept *kept)
{
	const struct hbus_mqtt_message *m = &kept->view;
	uint64_t now = hbus_mqtt_now(s->engine);
	bool expires = kept->expires_ms != UINT64_MAX;

	put_u8(s, (uint8_t)((m->is_retain ? FLAG_RETAIN : 0) | (expires ? FLAG_EXPIRES : 0)));
	put_u8(s, m->qos);
	put_u64(s, !expires ? 0 : kept->expires_ms > now ? kept->expires_ms - now : 0);
	put_text(s, m->topic, strlen(m->topic));
	put_text(s, m->props.data, m->props.size);
	put_u32(s, (uint32_t)m->payload_size);
	put(s, m->payload, m->payload_size);
}

/* Its number in this file. */
static uint32_t message_number(struct saver *s, struct hbus_mqtt_kept *kept)
{
	if (kept->saved_in != s->engine->n_saves) {
		kept->saved_in = s->engine->n_saves;
		kept->saved_as = s->n_messages++;
		put_u8(s, 'M');
		put_message(s, kept);
	}
	return kept->saved_as;
}

static void save_delivery(struct saver *s, const struct hbus_mqtt_delivery *d)
{
	uint32_t number = d->kept ? message_number(s, d->kept) : 0;

	put_u8(s, 'D');
	put_u8(s, d->state);
	put_u8(s, d->qos);
	put_u8(s, (uint8_t)((d->is_retain ? FLAG_RETAIN : 0) | (d->was_sent ? FLAG_SENT : 0)));
	put_u16(s, d->packet_id);
	put_u32(s, number);
	put_u16(s, d->n_ids);
	for (uint16_t i = 0; i < d->n_ids; i++)
		put_u32(s, d->ids[i]);
}

static void save_deliveries(struct saver *s, const struct hbus_mqtt_queue *queue, bool is_locked)
{
	for (const struct hbus_mqtt_delivery *d = NULL; (d = queue->ops->next(queue, is_locked, d));)
		save_delivery(s, d);
}

/* Retained messages that were promised wait like any other after a restart. */
static void save_promises(struct saver *s, const struct hbus_mqtt_snapshot *snapshot)
{
	for (uint32_t i = snapshot->at; i < snapshot->n; i++) {
		struct hbus_mqtt_kept *kept = snapshot->kept[i];
		uint32_t number = message_number(s, kept);

		put_u8(s, 'D');
		put_u8(s, QUEUED);
		put_u8(s, kept->view.qos < snapshot->qos ? kept->view.qos : snapshot->qos);
		put_u8(s, FLAG_RETAIN);
		put_u16(s, 0);
		put_u32(s, number);
		put_u16(s, snapshot->id ? 1 : 0);
		if (snapshot->id)
			put_u32(s, snapshot->id);
	}
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

static void save_session(struct saver *s, const struct hbus_mqtt_session *session)
{
	put_u8(s, 'S');
	put_text(s, session->client_id, session->id_size);
	put_text(s, session->principal, strlen(session->principal));
	put_u8(s, session->version);
	put_u32(s, session->expiry_s);
	put_u64(s, life_left_ms(session));
	put_u16(s, session->queue->last_id);
	for (const struct hbus_mqtt_sub *sub = session->subs; sub; sub = sub->next) {
		put_u8(s, 'F');
		put_text(s, sub->name, sub->name_size);
		put_u8(s, (uint8_t)(sub->qos | (sub->no_local ? SUB_NO_LOCAL : 0) |
				    (sub->retain_as_published ? SUB_AS_PUBLISHED : 0)));
		put_u32(s, sub->id);
	}
	for (uint32_t id = 1; id <= UINT16_MAX && session->received.n > 0; id++) {
		if (!hbus_mqtt_received_has(&session->received, (uint16_t)id))
			continue;
		put_u8(s, 'I');
		put_u16(s, (uint16_t)id);
	}
	save_deliveries(s, session->queue, true);
	for (const struct hbus_mqtt_snapshot *p = session->snapshots; p; p = p->next)
		save_promises(s, p);
	save_deliveries(s, session->queue, false);
}

int hbus_mqtt_save(struct hbus_mqtt *engine, uint64_t wall_ms, uint8_t **ret_data, size_t *ret_size)
{
	struct saver s = { .engine = engine };

	engine->n_saves++;
	put(&s, magic, sizeof(magic));
	put_u64(&s, wall_ms);
	for (const struct hbus_mqtt_retained *r = engine->retained; r; r = r->next) {
		put_u8(&s, 'R');
		put_message(&s, r->kept);
	}
	for (size_t i = 0; i < HBUS_MQTT_BUCKETS; i++)
		for (const struct hbus_mqtt_session *session = engine->sessions[i]; session; session = session->next)
			if (session->expiry_s > 0)
				save_session(&s, session);
	if (!s.has_failed)
		put_u64(&s, hbus_siphash(check_key, s.data, s.size));
	if (s.has_failed) {
		free(s.data);
		return -1;
	}
	*ret_data = s.data;
	*ret_size = s.size;
	return 0;
}

/* -- reading -- */

struct loader {
	struct hbus_mqtt *engine;
	struct hbus_mqtt_reader in;
	uint64_t age_ms; /* since it was written */
	struct hbus_mqtt_kept **messages; /* NULL: expired, or no memory */
	uint32_t n_messages, room;
	struct hbus_mqtt_session *session; /* NULL: the present one is not to be had */
};

static uint64_t get_u64(struct hbus_mqtt_reader *in)
{
	uint64_t high = hbus_mqtt_get_u32(in);

	return high << 32 | hbus_mqtt_get_u32(in);
}

/* Kept, with a reference for the caller; NULL when it has expired, is not one, or there is no room. */
static struct hbus_mqtt_kept *get_message(struct loader *l)
{
	uint8_t flags = hbus_mqtt_get_u8(&l->in), qos = hbus_mqtt_get_u8(&l->in);
	uint64_t left_ms = get_u64(&l->in);
	struct hbus_mqtt_span topic = hbus_mqtt_get_binary(&l->in), carried = hbus_mqtt_get_binary(&l->in), payload;
	char name[HBUS_TOPIC_NAME_MAX + 1];
	struct hbus_mqtt_message message = { .topic = name, .qos = qos, .is_retain = flags & FLAG_RETAIN };
	struct hbus_mqtt_kept *kept;
	struct hbus_mqtt_props props;

	payload = hbus_mqtt_get_bytes(&l->in, hbus_mqtt_get_u32(&l->in));
	if (l->in.is_bad || qos > 2 || (flags & FLAG_EXPIRES && left_ms > LEFT_MS_MAX) || hbus_topic_check_name((const char *)topic.data, topic.size) ||
	    !hbus_mqtt_check_carried(carried.data, carried.size, &props)) {
		l->in.is_bad = true;
		return NULL;
	}
	if (flags & FLAG_EXPIRES && left_ms <= l->age_ms) {
		l->engine->counters.dropped_expired++;
		return NULL;
	}
	memcpy(name, topic.data, topic.size);
	name[topic.size] = '\0';
	message.payload = payload.data;
	message.payload_size = payload.size;
	message.props = carried;
	kept = hbus_mqtt_keep(l->engine, &message);
	if (kept && flags & FLAG_EXPIRES)
		kept->expires_ms = hbus_mqtt_now(l->engine) + left_ms - l->age_ms;
	return kept;
}

static void load_retained(struct loader *l)
{
	struct hbus_mqtt_kept *kept = get_message(l);

	if (kept)
		(void)hbus_mqtt_retain_kept(l->engine, kept);
	hbus_mqtt_kept_put(kept);
}

static void load_message(struct loader *l)
{
	uint32_t room = l->room ? 2 * l->room : 64;
	struct hbus_mqtt_kept **more;

	if (l->n_messages == l->room) {
		more = l->room < MESSAGES_MAX ? realloc(l->messages, room * sizeof(struct hbus_mqtt_kept *)) : NULL;
		if (!more) {
			l->in.is_bad = true;
			return;
		}
		l->messages = more;
		l->room = room;
	}
	l->messages[l->n_messages++] = get_message(l);
}

static void load_session(struct loader *l)
{
	struct hbus_mqtt *engine = l->engine;
	struct hbus_mqtt_span id = hbus_mqtt_get_binary(&l->in), principal = hbus_mqtt_get_binary(&l->in);
	uint8_t version = hbus_mqtt_get_u8(&l->in);
	uint32_t expiry_s = hbus_mqtt_get_u32(&l->in);
	uint64_t left_ms = get_u64(&l->in);
	uint16_t last_id = hbus_mqtt_get_u16(&l->in);

	l->session = NULL;
	if (l->in.is_bad || id.size == 0 || id.size > HBUS_MQTT_CLIENT_ID_MAX || expiry_s == 0 ||
	    principal.size >= HBUS_MQTT_PRINCIPAL_MAX ||
	    (principal.size > 0 && memchr(principal.data, 0, principal.size)) ||
	    (expiry_s != HBUS_MQTT_FOREVER && left_ms > (uint64_t)expiry_s * 1000)) {
		l->in.is_bad = true;
		return;
	}
	if (left_ms <= l->age_ms || engine->counters.sessions_now >= engine->config.sessions_max ||
	    hbus_mqtt_session_find(engine, id))
		return;
	l->session = hbus_mqtt_session_new(engine, id);
	if (!l->session)
		return;
	if (principal.size > 0)
		memcpy(l->session->principal, principal.data, principal.size);
	l->session->version = version;
	l->session->expiry_s = expiry_s;
	l->session->queue->last_id = last_id;
	if (expiry_s != HBUS_MQTT_FOREVER)
		hbus_mqtt_timer_set(engine, &l->session->expiry, left_ms - l->age_ms);
}

static void load_filter(struct loader *l)
{
	struct hbus_mqtt_span name = hbus_mqtt_get_string(&l->in);
	uint8_t options = hbus_mqtt_get_u8(&l->in);
	uint32_t id = hbus_mqtt_get_u32(&l->in);
	struct hbus_mqtt_filter filter = { .filter = name, .qos = options & 3, .no_local = options & SUB_NO_LOCAL,
					   .retain_as_published = options & SUB_AS_PUBLISHED };

	l->in.is_bad |= filter.qos > 2;
	if (!l->in.is_bad && l->session)
		hbus_mqtt_sub_restore(l->session, &filter, id);
}

static void load_received(struct loader *l)
{
	uint16_t packet_id = hbus_mqtt_get_u16(&l->in);

	if (packet_id && !l->in.is_bad && l->session && !hbus_mqtt_received_has(&l->session->received, packet_id) &&
	    (!hbus_mqtt_received_needs_bits(&l->session->received) ||
	     l->engine->received_bytes + HBUS_MQTT_RECEIVED_BYTES <= l->engine->config.message_bytes_max / 4))
		(void)hbus_mqtt_received_note(l->session, packet_id);
}

static void load_delivery(struct loader *l)
{
	uint8_t state = hbus_mqtt_get_u8(&l->in), qos = hbus_mqtt_get_u8(&l->in), flags = hbus_mqtt_get_u8(&l->in);
	uint16_t packet_id = hbus_mqtt_get_u16(&l->in);
	uint32_t number = hbus_mqtt_get_u32(&l->in), ids[256];
	uint16_t n_ids = hbus_mqtt_get_u16(&l->in);
	struct hbus_mqtt_how how = { qos, flags & FLAG_RETAIN, NULL, ids, n_ids };
	struct hbus_mqtt_kept *kept = NULL;

	l->in.is_bad |= n_ids > 256 || qos > 2 || state > WAIT_PUBCOMP;
	for (uint16_t i = 0; i < n_ids && !l->in.is_bad; i++)
		ids[i] = hbus_mqtt_get_u32(&l->in);
	if (state != WAIT_PUBCOMP && !l->in.is_bad) {
		l->in.is_bad = number >= l->n_messages;
		kept = l->in.is_bad ? NULL : l->messages[number];
	}
	/* In flight already: it is finished even when the message has expired, as long as it is known. */
	if (l->in.is_bad || !l->session || (state != WAIT_PUBCOMP && !kept))
		return;
	hbus_mqtt_delivery_restore(l->session, kept, &how, state, packet_id, flags & FLAG_SENT);
}

static void load_record(struct loader *l)
{
	switch (hbus_mqtt_get_u8(&l->in)) {
	case 'R': load_retained(l); break;
	case 'M': load_message(l); break;
	case 'S': load_session(l); break;
	case 'F': load_filter(l); break;
	case 'I': load_received(l); break;
	case 'D': load_delivery(l); break;
	default: l->in.is_bad = true;
	}
}

int hbus_mqtt_load(struct hbus_mqtt *engine, const uint8_t *data, size_t size, uint64_t wall_ms)
{
	struct loader l = { .engine = engine };
	struct hbus_mqtt_reader end;
	uint64_t written_ms;

	if (size < HEAD_SIZE + CHECK_SIZE || memcmp(data, magic, sizeof(magic)) != 0)
		return -1;
	end = hbus_mqtt_reader(data + size - CHECK_SIZE, CHECK_SIZE);
	if (get_u64(&end) != hbus_siphash(check_key, data, size - CHECK_SIZE))
		return -1;
	l.in = hbus_mqtt_reader(data + sizeof(magic), size - sizeof(magic) - CHECK_SIZE);
	written_ms = get_u64(&l.in);
	l.age_ms = wall_ms > written_ms ? wall_ms - written_ms : 0;
	while (hbus_mqtt_left(&l.in) > 0 && !l.in.is_bad)
		load_record(&l);
	for (uint32_t i = 0; i < l.n_messages; i++)
		hbus_mqtt_kept_put(l.messages[i]);
	free(l.messages);
	hbus_mqtt_reap(engine);
	return l.in.is_bad ? -1 : 0;
}
