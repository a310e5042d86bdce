/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an engine remembers over a restart is read: the saved state, and the journals behind it. See records.h.
 *
 * A record about what is not there (it did not fit the limits, its time has passed) is passed over. What is in order but too
 * old still stands in its queue, so that the records behind mean the same; it goes when its client comes. Which sessions
 * have outlived their time shows only at the end.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "dataplane/mqtt/engine_pvt.h"
#include "dataplane/mqtt/numbers.h"
#include "dataplane/mqtt/props.h"
#include "dataplane/mqtt/records.h"

#define LEFT_MS_MAX (UINT32_MAX * UINT64_C(1000)) /* of a message: a four byte integer of seconds */

static const uint64_t check_key[2] = HBUS_MQTT_CHECK_KEY;

struct loaded_session {
	struct loaded_session *next;
	struct hbus_mqtt_session *session; /* NULL = it has ended */
	bool is_connected;
	uint64_t left_ms, age_ms; /* of its life, when that was written; how long ago that was */
};

struct hbus_mqtt_loader {
	struct hbus_mqtt *engine;
	uint64_t wall_ms, generation, dropped_before;
	struct hbus_mqtt_reader in;
	uint64_t age_ms;                  /* since what is being read was written */
	struct hbus_mqtt_numbers messages; /* struct hbus_mqtt_kept, with a reference each */
	struct hbus_mqtt_numbers sessions; /* struct loaded_session that have not ended */
	struct loaded_session *all;
	bool is_journal; /* what is being read */
};

static uint64_t get_u64(struct hbus_mqtt_reader *in)
{
	uint64_t high = hbus_mqtt_get_u32(in);

	return high << 32 | hbus_mqtt_get_u32(in);
}

static uint64_t age_of(const struct hbus_mqtt_loader *l, uint64_t written_ms)
{
	return l->wall_ms > written_ms ? l->wall_ms - written_ms : 0;
}

/* -- messages -- */

/* Kept, with a reference for the caller; NULL when it is not one, or there is no room. */
static struct hbus_mqtt_kept *get_message(struct hbus_mqtt_loader *l)
{
	uint8_t flags = hbus_mqtt_get_u8(&l->in), qos = hbus_mqtt_get_u8(&l->in);
	uint64_t left_ms = get_u64(&l->in);
	struct hbus_mqtt_span topic = hbus_mqtt_get_binary(&l->in), carried = hbus_mqtt_get_binary(&l->in), payload;
	char name[HBUS_TOPIC_NAME_MAX + 1];
	struct hbus_mqtt_message message = { .topic = name, .qos = qos, .is_retain = flags & RECORD_FLAG_RETAIN };
	struct hbus_mqtt_kept *kept;
	struct hbus_mqtt_props props;

	payload = hbus_mqtt_get_bytes(&l->in, hbus_mqtt_get_u32(&l->in));
	if (l->in.is_bad || qos > 2 || (flags & RECORD_FLAG_EXPIRES && left_ms > LEFT_MS_MAX) ||
	    hbus_topic_check_name((const char *)topic.data, topic.size) ||
	    !hbus_mqtt_check_carried(carried.data, carried.size, &props)) {
		l->in.is_bad = true;
		return NULL;
	}
	memcpy(name, topic.data, topic.size);
	name[topic.size] = '\0';
	message.payload = payload.data;
	message.payload_size = payload.size;
	message.props = carried;
	kept = hbus_mqtt_keep(l->engine, &message);
	if (kept && flags & RECORD_FLAG_EXPIRES)
		kept->expires_ms = hbus_mqtt_now(l->engine) + (left_ms > l->age_ms ? left_ms - l->age_ms : 0);
	return kept;
}

/* The last one under a number counts. */
static void load_message(struct hbus_mqtt_loader *l)
{
	uint64_t number = get_u64(&l->in);
	struct hbus_mqtt_kept *kept = get_message(l);

	if (!kept)
		return;
	hbus_mqtt_kept_put(hbus_mqtt_numbers_remove(&l->messages, number));
	if (!hbus_mqtt_numbers_add(&l->messages, number, kept))
		hbus_mqtt_kept_put(kept);
}

static struct hbus_mqtt_kept *find_message(struct hbus_mqtt_loader *l)
{
	return hbus_mqtt_numbers_find(&l->messages, get_u64(&l->in));
}

static bool has_expired(const struct hbus_mqtt_kept *kept)
{
	return kept->expires_ms <= hbus_mqtt_now(kept->engine);
}

static void load_retained(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt_kept *kept = find_message(l);

	if (!kept)
		return;
	hbus_mqtt_unretain(l->engine, kept->view.topic);
	if (has_expired(kept))
		l->engine->counters.dropped_expired++;
	else
		(void)hbus_mqtt_retain_kept(l->engine, kept);
}

static void load_unretain(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt_span topic = hbus_mqtt_get_binary(&l->in);
	char name[HBUS_TOPIC_NAME_MAX + 1];

	if (l->in.is_bad || hbus_topic_check_name((const char *)topic.data, topic.size)) {
		l->in.is_bad = true;
		return;
	}
	memcpy(name, topic.data, topic.size);
	name[topic.size] = '\0';
	hbus_mqtt_unretain(l->engine, name);
}

/* -- sessions -- */

static struct loaded_session *make_session(struct hbus_mqtt_loader *l, uint64_t number, struct hbus_mqtt_span id)
{
	struct hbus_mqtt *engine = l->engine;
	struct loaded_session *loaded;

	if (engine->counters.sessions_now >= engine->config.sessions_max || hbus_mqtt_session_find(engine, id))
		return NULL;
	loaded = calloc(1, sizeof(*loaded));
	if (!loaded)
		return NULL;
	loaded->session = hbus_mqtt_session_new(engine, id);
	if (!loaded->session || !hbus_mqtt_numbers_add(&l->sessions, number, loaded)) {
		if (loaded->session)
			hbus_mqtt_session_end(loaded->session);
		free(loaded);
		return NULL;
	}
	loaded->next = l->all;
	l->all = loaded;
	return loaded;
}

static void load_session(struct hbus_mqtt_loader *l)
{
	uint64_t number = get_u64(&l->in);
	struct hbus_mqtt_span id = hbus_mqtt_get_binary(&l->in), principal = hbus_mqtt_get_binary(&l->in);
	uint8_t version = hbus_mqtt_get_u8(&l->in);
	uint32_t expiry_s = hbus_mqtt_get_u32(&l->in);
	uint8_t flags = hbus_mqtt_get_u8(&l->in);
	uint64_t left_ms = get_u64(&l->in);
	uint16_t last_id = hbus_mqtt_get_u16(&l->in);
	struct loaded_session *loaded;

	if (l->in.is_bad || id.size == 0 || id.size > HBUS_MQTT_CLIENT_ID_MAX || expiry_s == 0 ||
	    principal.size >= HBUS_MQTT_PRINCIPAL_MAX || (principal.size > 0 && memchr(principal.data, 0, principal.size)) ||
	    (expiry_s != HBUS_MQTT_FOREVER && left_ms > (uint64_t)expiry_s * 1000)) {
		l->in.is_bad = true;
		return;
	}
	loaded = hbus_mqtt_numbers_find(&l->sessions, number);
	if (!loaded)
		loaded = make_session(l, number, id);
	if (!loaded)
		return;
	memset(loaded->session->principal, 0, sizeof(loaded->session->principal));
	if (principal.size > 0)
		memcpy(loaded->session->principal, principal.data, principal.size);
	loaded->session->version = version;
	loaded->session->expiry_s = expiry_s;
	loaded->session->queue->last_id = last_id;
	loaded->is_connected = flags & RECORD_FLAG_CONNECTED;
	loaded->left_ms = left_ms;
	loaded->age_ms = l->age_ms;
}

static struct hbus_mqtt_session *find_session(struct hbus_mqtt_loader *l)
{
	struct loaded_session *loaded = hbus_mqtt_numbers_find(&l->sessions, get_u64(&l->in));

	return loaded ? loaded->session : NULL;
}

static void load_end_of_session(struct hbus_mqtt_loader *l)
{
	struct loaded_session *loaded = hbus_mqtt_numbers_remove(&l->sessions, get_u64(&l->in));

	if (!loaded)
		return;
	hbus_mqtt_session_end(loaded->session);
	loaded->session = NULL;
	hbus_mqtt_reap(l->engine);
}

static void load_filter(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt_session *session = find_session(l);
	struct hbus_mqtt_span name = hbus_mqtt_get_string(&l->in);
	uint8_t options = hbus_mqtt_get_u8(&l->in);
	uint32_t id = hbus_mqtt_get_u32(&l->in);
	struct hbus_mqtt_filter filter = { .filter = name, .qos = options & 3, .no_local = options & RECORD_NO_LOCAL,
					   .retain_as_published = options & RECORD_AS_PUBLISHED };

	l->in.is_bad |= filter.qos > 2;
	if (!l->in.is_bad && session)
		hbus_mqtt_sub_restore(session, &filter, id);
}

static void load_unsubscribe(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt_session *session = find_session(l);
	struct hbus_mqtt_span name = hbus_mqtt_get_string(&l->in);

	if (!l->in.is_bad && session)
		hbus_mqtt_sub_remove(session, name);
}

/* -- what waits -- */

static void load_received(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt_session *session = find_session(l);
	uint16_t packet_id = hbus_mqtt_get_u16(&l->in);

	if (packet_id && session && !hbus_mqtt_received_has(&session->received, packet_id) &&
	    (!hbus_mqtt_received_needs_bits(&session->received) ||
	     l->engine->received_bytes + HBUS_MQTT_RECEIVED_BYTES <= l->engine->config.message_bytes_max / 4))
		(void)hbus_mqtt_received_note(session, packet_id);
}

static void load_released(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt_session *session = find_session(l);
	uint16_t packet_id = hbus_mqtt_get_u16(&l->in);

	if (packet_id && session)
		(void)hbus_mqtt_received_release(session, packet_id);
}

static void load_delivery(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt_session *session = find_session(l);
	uint8_t state = hbus_mqtt_get_u8(&l->in), qos = hbus_mqtt_get_u8(&l->in), flags = hbus_mqtt_get_u8(&l->in);
	uint16_t packet_id = hbus_mqtt_get_u16(&l->in);
	struct hbus_mqtt_kept *kept = find_message(l);
	uint32_t ids[256];
	uint16_t n_ids = hbus_mqtt_get_u16(&l->in);
	struct hbus_mqtt_how how = { qos, flags & RECORD_FLAG_RETAIN, NULL, ids, n_ids };

	l->in.is_bad |= n_ids > 256 || qos > 2 || state > WAIT_PUBCOMP || (state == WAIT_PUBCOMP && qos != 2);
	for (uint16_t i = 0; i < n_ids && !l->in.is_bad; i++)
		ids[i] = hbus_mqtt_get_u32(&l->in);
	if (l->in.is_bad || !session || (state != WAIT_PUBCOMP && !kept))
		return;
	hbus_mqtt_delivery_restore(session, state == WAIT_PUBCOMP ? NULL : kept, &how, state, packet_id,
				   flags & RECORD_FLAG_SENT);
	/* The saved state says which identifier was the last. */
	if (l->is_journal && packet_id)
		session->queue->last_id = packet_id;
}

static void load_pass(struct hbus_mqtt_loader *l, bool is_locked)
{
	struct hbus_mqtt_session *session = find_session(l);
	const struct hbus_mqtt_kept *kept = find_message(l);
	uint16_t packet_id = is_locked ? hbus_mqtt_get_u16(&l->in) : 0;

	if (!l->in.is_bad && session && kept && (packet_id > 0) == is_locked)
		hbus_mqtt_delivery_pass(session, kept, packet_id);
}

static void load_settled(struct hbus_mqtt_loader *l, bool is_done)
{
	struct hbus_mqtt_session *session = find_session(l);
	uint16_t packet_id = hbus_mqtt_get_u16(&l->in);
	struct hbus_mqtt_delivery *d = NULL;

	if (packet_id && session)
		d = session->queue->ops->find(session->queue, packet_id);
	if (d && (is_done || d->qos == 2))
		session->queue->ops->settle(session->queue, d, is_done);
}

static void load_again(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt_session *session = find_session(l);

	if (session)
		session->queue->ops->release(session->queue);
}

static void load_promise(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt_session *session = find_session(l);
	uint32_t id = hbus_mqtt_get_u32(&l->in);
	uint8_t qos = hbus_mqtt_get_u8(&l->in);
	uint32_t n = hbus_mqtt_get_u32(&l->in);
	struct hbus_mqtt_snapshot *snapshot = session ? calloc(1, sizeof(*snapshot)) : NULL;
	bool has_room = snapshot != NULL;

	l->in.is_bad |= qos > 2 || n > hbus_mqtt_left(&l->in) / sizeof(uint64_t);
	for (uint32_t i = 0; i < n && !l->in.is_bad; i++) {
		struct hbus_mqtt_kept *kept = find_message(l);

		has_room = has_room && (!kept || hbus_mqtt_promise_add(l->engine, snapshot, kept));
	}
	if (!snapshot)
		return;
	snapshot->id = id;
	snapshot->qos = qos;
	if (snapshot->n == 0 || l->in.is_bad)
		hbus_mqtt_snapshot_free(l->engine, snapshot);
	else
		hbus_mqtt_promise_append(session, snapshot);
}

static void load_promise_kept(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt_session *session = find_session(l);
	const struct hbus_mqtt_kept *kept = find_message(l);

	if (session && kept && hbus_mqtt_promise_first(session) == kept)
		hbus_mqtt_kept_put(hbus_mqtt_promise_take(session));
}

/* -- records -- */

static void load_record(struct hbus_mqtt_loader *l)
{
	switch (hbus_mqtt_get_u8(&l->in)) {
	case RECORD_MESSAGE: load_message(l); break;
	case RECORD_FORGET: hbus_mqtt_kept_put(hbus_mqtt_numbers_remove(&l->messages, get_u64(&l->in))); break;
	case RECORD_RETAIN: load_retained(l); break;
	case RECORD_UNRETAIN: load_unretain(l); break;
	case RECORD_SESSION: load_session(l); break;
	case RECORD_END: load_end_of_session(l); break;
	case RECORD_SUBSCRIBE: load_filter(l); break;
	case RECORD_UNSUBSCRIBE: load_unsubscribe(l); break;
	case RECORD_RECEIVED: load_received(l); break;
	case RECORD_RELEASED: load_released(l); break;
	case RECORD_PUT: load_delivery(l); break;
	case RECORD_LOCK: load_pass(l, true); break;
	case RECORD_TAKE: load_pass(l, false); break;
	case RECORD_DONE: load_settled(l, true); break;
	case RECORD_GOT: load_settled(l, false); break;
	case RECORD_AGAIN: load_again(l); break;
	case RECORD_PROMISE: load_promise(l); break;
	case RECORD_PROMISE_KEPT: load_promise_kept(l); break;
	default: l->in.is_bad = true;
	}
}

/* Return: whether all of it made sense. */
static bool load_records(struct hbus_mqtt_loader *l, const uint8_t *data, size_t size, uint64_t written_ms)
{
	l->in = hbus_mqtt_reader(data, size);
	l->age_ms = age_of(l, written_ms);
	while (hbus_mqtt_left(&l->in) > 0 && !l->in.is_bad)
		load_record(l);
	return !l->in.is_bad;
}

int hbus_mqtt_load_saved(struct hbus_mqtt_loader *l, const uint8_t *data, size_t size)
{
	static const uint8_t magic[8] = HBUS_MQTT_SAVED_MAGIC;
	struct hbus_mqtt_reader head, end;
	uint64_t written_ms;

	if (size < HBUS_MQTT_SAVED_HEAD + HBUS_MQTT_CHECK_SIZE || memcmp(data, magic, sizeof(magic)) != 0)
		return -1;
	end = hbus_mqtt_reader(data + size - HBUS_MQTT_CHECK_SIZE, HBUS_MQTT_CHECK_SIZE);
	if (get_u64(&end) != hbus_siphash(check_key, data, size - HBUS_MQTT_CHECK_SIZE))
		return -1;
	head = hbus_mqtt_reader(data + sizeof(magic), HBUS_MQTT_SAVED_HEAD - sizeof(magic));
	written_ms = get_u64(&head);
	l->engine->generation = l->generation = get_u64(&head);
	return load_records(l, data + HBUS_MQTT_SAVED_HEAD, size - HBUS_MQTT_SAVED_HEAD - HBUS_MQTT_CHECK_SIZE, written_ms) ? 0 : -1;
}

/* Return: its size, 0 when it is torn, or -1 when it makes no sense. */
static int64_t load_batch(struct hbus_mqtt_loader *l, const uint8_t *data, size_t size, uint32_t n_batches)
{
	struct hbus_mqtt_reader head = hbus_mqtt_reader(data, size < HBUS_MQTT_BATCH_HEAD ? size : HBUS_MQTT_BATCH_HEAD);
	uint32_t records_size = hbus_mqtt_get_u32(&head), number = hbus_mqtt_get_u32(&head);
	uint64_t written_ms = get_u64(&head), check = get_u64(&head);

	if (size < HBUS_MQTT_BATCH_HEAD || records_size > size - HBUS_MQTT_BATCH_HEAD || number != n_batches)
		return 0;
	if (check != hbus_mqtt_batch_check(data + HBUS_MQTT_BATCH_HEAD, records_size, number, written_ms))
		return 0;
	if (!load_records(l, data + HBUS_MQTT_BATCH_HEAD, records_size, written_ms))
		return -1;
	return (int64_t)HBUS_MQTT_BATCH_HEAD + records_size;
}

int64_t hbus_mqtt_load_journal(struct hbus_mqtt_loader *l, const uint8_t *data, size_t size)
{
	static const uint8_t magic[8] = HBUS_MQTT_JOURNAL_MAGIC;
	struct hbus_mqtt_reader head = hbus_mqtt_reader(data, size);
	size_t at = HBUS_MQTT_JOURNAL_HEAD;

	/* Its writer was killed before it said anything. */
	if (size < HBUS_MQTT_JOURNAL_HEAD)
		return 0;
	(void)hbus_mqtt_get_bytes(&head, sizeof(magic));
	if (memcmp(data, magic, sizeof(magic)) != 0 || get_u64(&head) != l->generation)
		return -1;
	l->is_journal = true;
	l->engine->generation = l->generation++;
	for (uint32_t n = 0; at < size; n++) {
		int64_t taken = load_batch(l, data + at, size - at, n);

		if (taken < 0)
			return -1;
		if (taken == 0)
			break;
		at += (size_t)taken;
	}
	return (int64_t)at;
}

/* -- the beginning and the end -- */

struct hbus_mqtt_loader *hbus_mqtt_load_begin(struct hbus_mqtt *engine, uint64_t wall_ms)
{
	struct hbus_mqtt_loader *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->engine = engine;
	l->wall_ms = wall_ms;
	l->dropped_before = engine->counters.dropped_session;
	memcpy(l->sessions.secret, engine->config.secret, sizeof(l->sessions.secret));
	memcpy(l->messages.secret, engine->config.secret, sizeof(l->messages.secret));
	engine->is_loading = true;
	return l;
}

/* Nobody is connected any more; whose time has passed meanwhile is gone. Who was connected to the end begins to be away. */
static void settle_session(struct hbus_mqtt *engine, const struct loaded_session *loaded)
{
	struct hbus_mqtt_session *session = loaded->session;
	uint64_t age_ms = loaded->is_connected ? 0 : loaded->age_ms;

	session->queue->ops->release(session->queue);
	if (session->expiry_s == HBUS_MQTT_FOREVER)
		return;
	if (loaded->left_ms <= age_ms)
		hbus_mqtt_session_end(session);
	else
		hbus_mqtt_timer_set(engine, &session->expiry, loaded->left_ms - age_ms);
}

void hbus_mqtt_load_end(struct hbus_mqtt_loader *l)
{
	struct hbus_mqtt *engine = l->engine;
	bool has_sessions = l->all != NULL;

	engine->counters.dropped_session = l->dropped_before;
	while (l->all) {
		struct loaded_session *loaded = l->all;

		l->all = loaded->next;
		if (loaded->session)
			settle_session(engine, loaded);
		free(loaded);
	}
	for (size_t i = 0; i < l->messages.n_slots; i++)
		hbus_mqtt_kept_put(l->messages.slots[i].value);
	hbus_mqtt_numbers_deinit(&l->messages);
	hbus_mqtt_numbers_deinit(&l->sessions);
	free(l);
	hbus_mqtt_reap(engine);
	engine->is_loading = false;
	if (has_sessions)
		hbus_mqtt_subs_ask(engine);
	hbus_mqtt_reap(engine);
}

int hbus_mqtt_load(struct hbus_mqtt *engine, const uint8_t *data, size_t size, uint64_t wall_ms)
{
	struct hbus_mqtt_loader *l = hbus_mqtt_load_begin(engine, wall_ms);
	int r = l ? hbus_mqtt_load_saved(l, data, size) : -1;

	if (l)
		hbus_mqtt_load_end(l);
	return r;
}
