/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Retained messages: one a topic, in a trie of names, bounded in number and bytes. A new subscription
 * is promised those that match it now; they are sent as fast as the client takes them, all of them.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/engine_pvt.h"

/* What the trie takes for a level, roughly. */
enum { LEVEL_SIZE = 80, PROMISE_ROOM_MIN = 16 };

static struct hbus_mqtt_retained *find(struct hbus_mqtt *engine, const char *topic)
{
	struct hbus_trie_entry *entry = hbus_trie_find(&engine->names, topic);

	return entry ? hbus_mqtt_of(entry, struct hbus_mqtt_retained, entry) : NULL;
}

static size_t cost_of(const struct hbus_mqtt_message *message)
{
	size_t size = sizeof(struct hbus_mqtt_retained) + sizeof(struct hbus_mqtt_kept) + strlen(message->topic) + 1 +
		      message->props.size + message->payload_size + LEVEL_SIZE;

	for (const char *p = message->topic; *p; p++)
		size += *p == '/' ? LEVEL_SIZE : 0;
	return size;
}

bool hbus_mqtt_retained_fits(struct hbus_mqtt *engine, const struct hbus_mqtt_message *message)
{
	const struct hbus_mqtt_counters *counters = &engine->counters;
	struct hbus_mqtt_retained *old = find(engine, message->topic);
	uint64_t bytes = counters->retained_bytes_now - (old ? old->size : 0) + cost_of(message);

	if (message->payload_size == 0)
		return true;
	return bytes <= engine->config.retained_bytes_max &&
	       (old || counters->retained_now < engine->config.retained_max) &&
	       counters->message_bytes_now + cost_of(message) <= engine->config.message_bytes_max;
}

void hbus_mqtt_retained_remove(struct hbus_mqtt *engine, struct hbus_mqtt_retained *retained)
{
	hbus_mqtt_log_unretained(engine, retained->kept->view.topic);
	hbus_trie_remove(&engine->names, &retained->entry);
	hbus_mqtt_timer_cancel(engine, &retained->timer);
	*retained->link = retained->next;
	if (retained->next)
		retained->next->link = retained->link;
	engine->counters.retained_now--;
	engine->counters.retained_bytes_now -= retained->size;
	hbus_mqtt_kept_put(retained->kept);
	free(retained);
}

static bool insert(struct hbus_mqtt *engine, struct hbus_mqtt_kept *kept)
{
	struct hbus_mqtt_retained *retained = calloc(1, sizeof(*retained));

	if (!retained || hbus_trie_insert(&engine->names, kept->view.topic, &retained->entry)) {
		free(retained);
		return false;
	}
	retained->kept = kept;
	retained->timer.kind = TIMER_RETAINED;
	retained->size = cost_of(&kept->view);
	retained->next = engine->retained;
	retained->link = &engine->retained;
	if (retained->next)
		retained->next->link = &retained->next;
	engine->retained = retained;
	engine->counters.retained_now++;
	hbus_mqtt_log_retained(kept);
	engine->counters.retained_bytes_now += retained->size;
	if (kept->expires_ms != UINT64_MAX)
		hbus_wheel_set(&engine->wheel, &retained->timer.timer, kept->expires_ms);
	return true;
}

uint8_t hbus_mqtt_retain(struct hbus_mqtt *engine, const struct hbus_mqtt_message *message)
{
	struct hbus_mqtt_retained *old = find(engine, message->topic);
	struct hbus_mqtt_kept *kept;

	if (message->payload_size == 0) {
		if (old)
			hbus_mqtt_retained_remove(engine, old);
		return 0;
	}
	if (!hbus_mqtt_retained_fits(engine, message)) {
		engine->counters.retained_refused++;
		return HBUS_MQTT_QUOTA;
	}
	kept = hbus_mqtt_keep(engine, message);
	if (!kept)
		return HBUS_MQTT_QUOTA;
	/* Without the old one there is room even where memory is short. */
	if (old)
		hbus_mqtt_retained_remove(engine, old);
	if (!insert(engine, kept)) {
		hbus_mqtt_kept_put(kept);
		return HBUS_MQTT_QUOTA;
	}
	return 0;
}

uint8_t hbus_mqtt_retain_kept(struct hbus_mqtt *engine, struct hbus_mqtt_kept *kept)
{
	if (find(engine, kept->view.topic) || !hbus_mqtt_retained_fits(engine, &kept->view) ||
	    kept->view.payload_size == 0) {
		engine->counters.retained_refused++;
		return HBUS_MQTT_QUOTA;
	}
	hbus_mqtt_kept_get(kept);
	if (insert(engine, kept))
		return 0;
	hbus_mqtt_kept_put(kept);
	return HBUS_MQTT_QUOTA;
}

void hbus_mqtt_unretain(struct hbus_mqtt *engine, const char *topic)
{
	struct hbus_mqtt_retained *old = find(engine, topic);

	if (old)
		hbus_mqtt_retained_remove(engine, old);
}

/* -- promises to new subscriptions -- */

struct collect {
	struct hbus_mqtt *engine;
	struct hbus_mqtt_snapshot *snapshot;
	bool is_over;
};

bool hbus_mqtt_promise_add(struct hbus_mqtt *engine, struct hbus_mqtt_snapshot *snapshot, struct hbus_mqtt_kept *kept)
{
	if (engine->counters.snapshot_now >= engine->config.snapshot_max)
		return false;
	if (snapshot->n == snapshot->room) {
		uint32_t room = snapshot->room ? 2 * snapshot->room : PROMISE_ROOM_MIN;
		struct hbus_mqtt_kept **more = realloc(snapshot->kept, room * sizeof(struct hbus_mqtt_kept *));

		if (!more)
			return false;
		snapshot->kept = more;
		snapshot->room = room;
	}
	snapshot->kept[snapshot->n++] = hbus_mqtt_kept_get(kept);
	engine->counters.snapshot_now++;
	return true;
}

static bool collect_one(void *context, struct hbus_trie_entry *entry)
{
	struct collect *c = context;

	c->is_over = !hbus_mqtt_promise_add(c->engine, c->snapshot, hbus_mqtt_of(entry, struct hbus_mqtt_retained, entry)->kept);
	return !c->is_over;
}

void hbus_mqtt_promise_append(struct hbus_mqtt_session *session, struct hbus_mqtt_snapshot *snapshot)
{
	struct hbus_mqtt_snapshot **last = &session->snapshots;

	while (*last)
		last = &(*last)->next;
	*last = snapshot;
}

struct hbus_mqtt_kept *hbus_mqtt_promise_first(const struct hbus_mqtt_session *session)
{
	const struct hbus_mqtt_snapshot *snapshot = session->snapshots;

	return snapshot ? snapshot->kept[snapshot->at] : NULL;
}

struct hbus_mqtt_kept *hbus_mqtt_promise_take(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt_snapshot *snapshot = session->snapshots;
	struct hbus_mqtt_kept *kept = snapshot->kept[snapshot->at++];

	session->engine->counters.snapshot_now--;
	if (snapshot->at == snapshot->n) {
		session->snapshots = snapshot->next;
		hbus_mqtt_snapshot_free(session->engine, snapshot);
	}
	return kept;
}

void hbus_mqtt_snapshot_free(struct hbus_mqtt *engine, struct hbus_mqtt_snapshot *snapshot)
{
	engine->counters.snapshot_now -= snapshot->n - snapshot->at;
	while (snapshot->at < snapshot->n)
		hbus_mqtt_kept_put(snapshot->kept[snapshot->at++]);
	free(snapshot->kept);
	free(snapshot);
}

uint8_t hbus_mqtt_promise(struct hbus_mqtt_session *session, const struct hbus_mqtt_sub *sub)
{
	struct hbus_mqtt *engine = session->engine;
	struct collect c = { engine, calloc(1, sizeof(struct hbus_mqtt_snapshot)), false };

	if (!c.snapshot)
		return HBUS_MQTT_QUOTA;
	c.snapshot->id = sub->id;
	c.snapshot->qos = sub->qos;
	hbus_trie_match_names(&engine->names, sub->name + sub->filter_at, collect_one, &c);
	if (c.is_over || c.snapshot->n == 0) {
		hbus_mqtt_snapshot_free(engine, c.snapshot);
		engine->counters.snapshots_refused += c.is_over;
		return c.is_over ? HBUS_MQTT_QUOTA : 0;
	}
	hbus_mqtt_promise_append(session, c.snapshot);
	hbus_mqtt_log_promised(session, c.snapshot);
	return 0;
}
