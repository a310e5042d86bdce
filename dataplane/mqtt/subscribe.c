/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Subscriptions, shared ones too. All filters stand in one trie: a subscription at its filter, or a
 * share (group and filter) with its members. The bus is asked for a filter when the first target comes
 * to stand there, and told when the last has gone.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/engine_pvt.h"

/* Members that are looked at for one message, so that a large group that is away costs no more. */
enum { PICK_MAX = 256 };

#define SHARE_PREFIX "$share/"
enum { SHARE_PREFIX_SIZE = sizeof(SHARE_PREFIX) - 1 };

/* -- targets in the trie -- */

/* The bus is asked for what stands there, or it does not stand there any more. Return: as below. */
static uint8_t ask_bus(struct hbus_mqtt *engine, struct hbus_mqtt_target *target, const char *filter)
{
	uint8_t reason = engine->io.subscribe(engine->io.bus_context, filter);

	if (reason == HBUS_MQTT_PENDING)
		reason = hbus_mqtt_ask(engine, filter) ? 0 : HBUS_MQTT_QUOTA;
	if (reason)
		hbus_trie_remove(&engine->filters, &target->entry);
	return reason;
}

/* Return: 0, also while the bus is being asked, or a reason code. */
static uint8_t link_target(struct hbus_mqtt *engine, struct hbus_mqtt_target *target, const char *filter)
{
	bool is_first = !hbus_trie_find(&engine->filters, filter);

	if (hbus_trie_insert(&engine->filters, filter, &target->entry)) {
		engine->counters.filters_limited++;
		return HBUS_MQTT_QUOTA;
	}
	return is_first && !engine->is_loading ? ask_bus(engine, target, filter) : 0;
}

static void unlink_target(struct hbus_mqtt *engine, struct hbus_mqtt_target *target, const char *filter)
{
	if (!hbus_trie_entry_is_linked(&target->entry))
		return;
	hbus_trie_remove(&engine->filters, &target->entry);
	if (!engine->is_quiet && !engine->is_loading && !hbus_trie_find(&engine->filters, filter))
		engine->io.unsubscribe(engine->io.bus_context, filter);
}

/* -- shares -- */

static struct hbus_mqtt_share *share_find(struct hbus_mqtt *engine, const char *filter, const char *group,
					  size_t group_size)
{
	for (struct hbus_trie_entry *entry = hbus_trie_find(&engine->filters, filter); entry; entry = entry->next) {
		struct hbus_mqtt_share *share = hbus_mqtt_of(entry, struct hbus_mqtt_share, target.entry);

		if (share->target.is_share && share->group_size == group_size &&
		    memcmp(share->group, group, group_size) == 0)
			return share;
	}
	return NULL;
}

void hbus_mqtt_share_put(struct hbus_mqtt_share *share)
{
	if (share && --share->n_refs == 0)
		free(share);
}

static void member_append(struct hbus_mqtt_share *share, struct hbus_mqtt_sub *sub)
{
	sub->member_next = NULL;
	sub->member_prev = share->last;
	if (share->last)
		share->last->member_next = sub;
	else
		share->first = sub;
	share->last = sub;
}

static void member_remove(struct hbus_mqtt_share *share, struct hbus_mqtt_sub *sub)
{
	if (sub->member_prev)
		sub->member_prev->member_next = sub->member_next;
	else
		share->first = sub->member_next;
	if (sub->member_next)
		sub->member_next->member_prev = sub->member_prev;
	else
		share->last = sub->member_prev;
}

static uint8_t join(struct hbus_mqtt *engine, struct hbus_mqtt_sub *sub)
{
	const char *group = sub->name + SHARE_PREFIX_SIZE, *filter = sub->name + sub->filter_at;
	size_t group_size = sub->filter_at - 1 - SHARE_PREFIX_SIZE;
	struct hbus_mqtt_share *share = share_find(engine, filter, group, group_size);
	uint8_t reason;

	if (!share) {
		share = calloc(1, sizeof(*share));
		if (!share)
			return HBUS_MQTT_QUOTA;
		share->target.is_share = true;
		share->queue.ops = &hbus_mqtt_group_queue;
		share->born = engine->n_published;
		share->group_size = group_size;
		memcpy(share->group, group, group_size);
		reason = link_target(engine, &share->target, filter);
		if (reason) {
			free(share);
			return reason;
		}
	}
	share->n_refs++;
	sub->share = share;
	member_append(share, sub);
	return 0;
}

static void leave(struct hbus_mqtt *engine, struct hbus_mqtt_sub *sub)
{
	struct hbus_mqtt_share *share = sub->share;

	member_remove(share, sub);
	if (!share->first)
		unlink_target(engine, &share->target, sub->name + sub->filter_at);
	hbus_mqtt_share_put(share);
}

/* Who takes this message: one who can now, else one who is connected, else one who will come back. */
struct hbus_mqtt_sub *hbus_mqtt_share_pick(struct hbus_mqtt_share *share, uint8_t qos)
{
	struct hbus_mqtt_sub *best = NULL, *away = NULL;
	unsigned int n = 0;

	for (struct hbus_mqtt_sub *sub = share->first; sub && n < PICK_MAX; sub = sub->member_next, n++) {
		uint8_t sub_qos = qos < sub->qos ? qos : sub->qos;

		if (sub->session->has_ended)
			continue;
		if (hbus_mqtt_can_send(sub->session, sub_qos)) {
			best = sub;
			break;
		}
		if (!best && sub->session->conn)
			best = sub;
		if (!away && !sub->session->conn && sub_qos > 0)
			away = sub;
	}
	best = best ? best : away;
	if (best && best != share->last) {
		member_remove(share, best);
		member_append(share, best);
	}
	return best;
}

/* -- subscriptions -- */

static struct hbus_mqtt_sub *sub_find(struct hbus_mqtt_session *session, struct hbus_mqtt_span name)
{
	for (struct hbus_mqtt_sub *sub = session->subs; sub; sub = sub->next)
		if (sub->name_size == name.size && memcmp(sub->name, name.data, name.size) == 0)
			return sub;
	return NULL;
}

static void sub_free(struct hbus_mqtt_session *session, struct hbus_mqtt_sub *sub)
{
	struct hbus_mqtt *engine = session->engine;

	hbus_mqtt_log_unsubscribed(sub);
	if (sub->share)
		leave(engine, sub);
	else
		unlink_target(engine, &sub->target, sub->name + sub->filter_at);
	*sub->link = sub->next;
	if (sub->next)
		sub->next->link = sub->link;
	session->n_subs--;
	engine->counters.subscriptions_now--;
	free(sub);
}

void hbus_mqtt_unsubscribe_all(struct hbus_mqtt_session *session)
{
	while (session->subs)
		sub_free(session, session->subs);
}

/* Where the filter begins in what the client said: after "$share/GROUP/". 0 with *ret_bad: ill-formed. */
static size_t filter_begin(struct hbus_mqtt_span name, bool *ret_bad)
{
	const uint8_t *group = name.data + SHARE_PREFIX_SIZE, *slash;
	size_t group_size;

	*ret_bad = false;
	if (name.size < SHARE_PREFIX_SIZE || memcmp(name.data, SHARE_PREFIX, SHARE_PREFIX_SIZE) != 0)
		return 0;
	slash = memchr(group, '/', name.size - SHARE_PREFIX_SIZE);
	group_size = slash ? (size_t)(slash - group) : 0;
	if (group_size == 0 || group_size > HBUS_MQTT_GROUP_MAX || memchr(group, '+', group_size) ||
	    memchr(group, '#', group_size)) {
		*ret_bad = true;
		return 0;
	}
	return SHARE_PREFIX_SIZE + group_size + 1;
}

static uint8_t link_sub(struct hbus_mqtt_session *session, struct hbus_mqtt_sub *sub)
{
	struct hbus_mqtt *engine = session->engine;
	uint8_t reason;

	if (sub->filter_at > 0)
		reason = join(engine, sub);
	else
		reason = link_target(engine, &sub->target, sub->name);
	if (reason)
		return reason;
	sub->next = session->subs;
	sub->link = &session->subs;
	if (sub->next)
		sub->next->link = &sub->next;
	session->subs = sub;
	session->n_subs++;
	engine->counters.subscriptions_now++;
	return 0;
}

static uint8_t sub_new(struct hbus_mqtt_session *session, struct hbus_mqtt_span name, size_t filter_at,
		       struct hbus_mqtt_sub **ret_sub)
{
	struct hbus_mqtt *engine = session->engine;
	struct hbus_mqtt_sub *sub;
	uint8_t reason;

	if (session->n_subs >= engine->config.subscriptions_max) {
		engine->counters.subscriptions_limited++;
		return HBUS_MQTT_QUOTA;
	}
	sub = calloc(1, sizeof(*sub) + name.size + 1);
	if (!sub)
		return HBUS_MQTT_QUOTA;
	sub->session = session;
	sub->name_size = name.size;
	sub->filter_at = filter_at;
	sub->born = engine->n_published;
	memcpy(sub->name, name.data, name.size);
	reason = link_sub(session, sub);
	if (reason) {
		free(sub);
		return reason;
	}
	*ret_sub = sub;
	return 0;
}

static uint8_t judge_filter(struct hbus_mqtt_conn *conn, struct hbus_mqtt_span name, size_t filter_at)
{
	struct hbus_mqtt *engine = conn->engine;
	char filter[HBUS_TOPIC_NAME_MAX + 1];
	size_t size = name.size - filter_at;

	if (hbus_topic_check_filter((const char *)name.data + filter_at, size))
		return HBUS_MQTT_BAD_FILTER;
	memcpy(filter, name.data + filter_at, size);
	filter[size] = '\0';
	if (engine->io.authorize && !engine->io.authorize(engine->io.bus_context, conn->principal, filter, false))
		return HBUS_MQTT_NOT_AUTHORIZED;
	return 0;
}

/* The bus gives what the subscription asks for: what is retained follows. Return: the code for SUBACK. */
static uint8_t complete(struct hbus_mqtt_session *session, struct hbus_mqtt_sub *sub,
			const struct hbus_mqtt_filter *filter, bool is_new)
{
	uint8_t reason = 0;

	hbus_mqtt_log_subscribed(sub);
	if (!sub->share && (filter->retain_handling == 0 || (filter->retain_handling == 1 && is_new)))
		reason = hbus_mqtt_promise(session, sub);
	if (reason && is_new)
		sub_free(session, sub);
	return reason ? reason : sub->qos;
}

/* Return: the code for SUBACK, or HBUS_MQTT_PENDING. */
static uint8_t subscribe_one(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_filter *filter, uint32_t id)
{
	struct hbus_mqtt_session *session = conn->session;
	struct hbus_mqtt_sub *sub;
	bool is_bad, is_new;
	size_t filter_at = filter_begin(filter->filter, &is_bad);
	uint8_t reason = is_bad ? HBUS_MQTT_BAD_FILTER : judge_filter(conn, filter->filter, filter_at);

	if (reason)
		return reason;
	sub = sub_find(session, filter->filter);
	is_new = !sub;
	if (is_new)
		reason = sub_new(session, filter->filter, filter_at, &sub);
	if (reason)
		return reason;
	sub->qos = filter->qos;
	sub->no_local = filter->no_local;
	sub->retain_as_published = filter->retain_as_published;
	sub->id = id;
	if (hbus_mqtt_is_asked(session->engine, sub->name + filter_at)) {
		conn->is_sub_new = is_new;
		hbus_mqtt_wait(conn, true, sub->name + filter_at);
		return HBUS_MQTT_PENDING;
	}
	return complete(session, sub, filter, is_new);
}

void hbus_mqtt_sub_restore(struct hbus_mqtt_session *session, const struct hbus_mqtt_filter *filter, uint32_t id)
{
	struct hbus_mqtt_sub *sub;
	bool is_bad;
	size_t filter_at = filter_begin(filter->filter, &is_bad);

	if (is_bad || hbus_topic_check_filter((const char *)filter->filter.data + filter_at, filter->filter.size - filter_at))
		return;
	sub = sub_find(session, filter->filter);
	if (!sub && sub_new(session, filter->filter, filter_at, &sub)) {
		session->engine->counters.subscriptions_refused++;
		return;
	}
	sub->qos = filter->qos;
	sub->no_local = filter->no_local;
	sub->retain_as_published = filter->retain_as_published;
	sub->id = id;
}

void hbus_mqtt_sub_remove(struct hbus_mqtt_session *session, struct hbus_mqtt_span name)
{
	struct hbus_mqtt_sub *sub = sub_find(session, name);

	if (sub)
		sub_free(session, sub);
}

/* The bus is asked once for each filter, by who stands there first. Return: false when it says no. */
static bool sub_ask(struct hbus_mqtt *engine, const struct hbus_mqtt_sub *sub)
{
	const struct hbus_mqtt_target *target = sub->share ? &sub->share->target : &sub->target;
	const char *filter = sub->name + sub->filter_at;
	uint8_t reason;

	if (hbus_trie_find(&engine->filters, filter) != &target->entry || (sub->share && sub->share->first != sub))
		return true;
	reason = engine->io.subscribe(engine->io.bus_context, filter);
	return reason == HBUS_MQTT_PENDING ? hbus_mqtt_ask(engine, filter) : reason == 0;
}

static bool subs_ask(struct hbus_mqtt_session *session)
{
	bool is_refused = false;

	for (struct hbus_mqtt_sub *sub = session->subs; sub; sub = sub->next) {
		sub->is_refused = !sub_ask(session->engine, sub);
		is_refused |= sub->is_refused;
	}
	return !is_refused;
}

/* All that stands where the bus said no goes, of other sessions too. */
static void subs_refuse(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt_sub *sub = session->subs;
	char filter[HBUS_TOPIC_NAME_MAX + 1];

	while (sub) {
		if (!sub->is_refused) {
			sub = sub->next;
			continue;
		}
		session->engine->counters.subscriptions_refused++;
		memcpy(filter, sub->name + sub->filter_at, sub->name_size - sub->filter_at + 1);
		hbus_mqtt_filter_refused(session->engine, filter);
		sub = session->subs;
	}
}

void hbus_mqtt_subs_ask(struct hbus_mqtt *engine)
{
	for (size_t i = 0; i < HBUS_MQTT_BUCKETS; i++)
		for (struct hbus_mqtt_session *session = engine->sessions[i]; session; session = session->next)
			if (!subs_ask(session))
				subs_refuse(session);
}

/* The bus has answered about the filter that the packet waited for. */
static uint8_t subscribe_answered(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_filter *filter)
{
	struct hbus_mqtt_sub *sub = sub_find(conn->session, filter->filter);

	if (conn->wait.reason || !sub)
		return conn->wait.reason ? conn->wait.reason : HBUS_MQTT_UNSPECIFIED;
	return complete(conn->session, sub, filter, conn->is_sub_new);
}

static void revoke(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt *engine = session->engine;
	struct hbus_mqtt_sub *sub = session->subs, *next;

	for (; sub; sub = next) {
		next = sub->next;
		if (engine->io.authorize(engine->io.bus_context, session->principal, sub->name + sub->filter_at, false))
			continue;
		engine->counters.subscriptions_revoked++;
		sub_free(session, sub);
	}
}

void hbus_mqtt_authorize_again(struct hbus_mqtt *engine)
{
	for (size_t i = 0; i < HBUS_MQTT_BUCKETS && engine->io.authorize; i++)
		for (struct hbus_mqtt_session *session = engine->sessions[i]; session; session = session->next)
			revoke(session);
}

static void filter_end(struct hbus_mqtt_target *target)
{
	struct hbus_mqtt_share *share;
	struct hbus_mqtt_sub *sub;

	if (!target->is_share) {
		sub = hbus_mqtt_of(target, struct hbus_mqtt_sub, target);
		sub_free(sub->session, sub);
		return;
	}
	share = hbus_mqtt_of(target, struct hbus_mqtt_share, target);
	share->n_refs++;
	while (share->first)
		sub_free(share->first->session, share->first);
	hbus_mqtt_share_put(share);
}

void hbus_mqtt_filter_refused(struct hbus_mqtt *engine, const char *filter)
{
	struct hbus_trie_entry *entry;

	while ((entry = hbus_trie_find(&engine->filters, filter)))
		filter_end(hbus_mqtt_of(entry, struct hbus_mqtt_target, entry));
}

/* Shared subscriptions and "no local" exclude each other; a filter has at least one character. */
static bool is_allowed(struct hbus_mqtt_subscribe packet)
{
	struct hbus_mqtt_filter filter;

	while (hbus_mqtt_next_subscribe(&packet, &filter)) {
		if (filter.filter.size == 0)
			return false;
		if (filter.no_local && filter.filter.size >= SHARE_PREFIX_SIZE &&
		    memcmp(filter.filter.data, SHARE_PREFIX, SHARE_PREFIX_SIZE) == 0)
			return false;
	}
	return true;
}

/* Goes on behind the codes that are known. Return: false when it has to wait (again). */
static bool collect_codes(struct hbus_mqtt_conn *conn, struct hbus_mqtt_subscribe *packet, bool is_answered)
{
	uint32_t id = hbus_mqtt_number(&packet->props, HBUS_MQTT_P_SUBSCRIPTION_ID, 0);
	struct hbus_mqtt_filter filter;
	size_t at = 0;

	for (; at < packet->n_filters && hbus_mqtt_next_subscribe(packet, &filter); at++) {
		uint8_t code;

		if (at < conn->n_codes)
			continue;
		code = is_answered ? subscribe_answered(conn, &filter) : subscribe_one(conn, &filter, id);
		is_answered = false;
		if (code == HBUS_MQTT_PENDING)
			return false;
		if (code >= HBUS_MQTT_UNSPECIFIED) {
			conn->engine->counters.subscriptions_refused++;
			if (conn->version == HBUS_MQTT_V3)
				code = HBUS_MQTT_UNSPECIFIED;
		}
		conn->codes[conn->n_codes++] = code;
	}
	return true;
}

uint8_t hbus_mqtt_on_subscribe(struct hbus_mqtt_conn *conn, struct hbus_mqtt_subscribe *packet)
{
	struct hbus_mqtt_session *session = conn->session;
	bool is_answered = conn->codes != NULL;

	if (!is_answered) {
		if (!is_allowed(*packet))
			return HBUS_MQTT_PROTOCOL_ERROR;
		conn->codes = malloc(packet->n_filters);
		conn->n_codes = 0;
	}
	if (!conn->codes)
		return HBUS_MQTT_QUOTA;
	if (!collect_codes(conn, packet, is_answered))
		return HBUS_MQTT_PENDING;
	hbus_mqtt_send_codes(conn, HBUS_MQTT_SUBACK, packet->packet_id, conn->codes, conn->n_codes);
	free(conn->codes);
	conn->codes = NULL;
	hbus_mqtt_pump(session);
	return 0;
}

void hbus_mqtt_on_unsubscribe(struct hbus_mqtt_conn *conn, struct hbus_mqtt_subscribe *packet)
{
	struct hbus_mqtt_span name;
	uint8_t *codes = malloc(packet->n_filters);
	size_t n = 0;

	if (!codes) {
		hbus_mqtt_conn_fail(conn, HBUS_MQTT_QUOTA);
		return;
	}
	while (n < packet->n_filters && hbus_mqtt_next_unsubscribe(packet, &name)) {
		struct hbus_mqtt_sub *sub = sub_find(conn->session, name);

		codes[n++] = sub ? HBUS_MQTT_SUCCESS : HBUS_MQTT_NO_SUBSCRIPTION;
		if (sub)
			sub_free(conn->session, sub);
	}
	hbus_mqtt_send_codes(conn, HBUS_MQTT_UNSUBACK, packet->packet_id, codes, n);
	free(codes);
}
