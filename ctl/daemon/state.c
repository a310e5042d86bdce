/* SPDX-License-Identifier: BSD-3-Clause */
/* The state machine's outside: making it, configuring it, ends of clients, the journal, letting time pass. */
#include "ctl/daemon/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/state_int.h"

#define MS 1000000ull

static const uint64_t wait_lengths[HBUS_WAIT_N] = {
	[HBUS_WAIT_GATE] = 1000 * MS,	 [HBUS_WAIT_REPLY] = 2500 * MS,
	[HBUS_WAIT_AWAY] = 1000 * MS,	 [HBUS_WAIT_RESTART] = 2000 * MS,
	[HBUS_WAIT_ENDED] = 5000 * MS,	 [HBUS_WAIT_OWNER] = 5000 * MS,
};

/* ---- small services ---- */

uint64_t hbus_state_new_id(struct hbus_state *state)
{
	return (uint64_t)state->options.boot_number << 32 | ++state->next_id;
}

void hbus_state_log(struct hbus_state *state, enum hbus_log_level level,
		    const struct hbus_member *member, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	state->ops.log(state->ops.context, level, member, text);
}

void hbus_state_persist(struct hbus_state *state, const struct hbus_journal_record *record)
{
	if (state->ops.persist)
		state->ops.persist(state->ops.context, record);
}

int hbus_state_charge(struct hbus_account *account, enum hbus_quota_kind kind, uint64_t amount,
		      const char **ret_text)
{
	static const char *const texts[HBUS_QUOTA_N_KINDS][2] = {
		{ "the user's rings hold as many bytes as its quota allows",
		  "the user's rings hold its share of the bus's memory" },
		{ "the user has as many rings as its quota allows",
		  "the user has its share of the bus's rings" },
		{ "the user has as many topics as its quota allows",
		  "the user has its share of the bus's topics" },
		{ "the user has as many subscriptions as its quota allows",
		  "the user has its share of the bus's subscriptions" },
		{ "the daemon keeps as many descriptors for the user as its quota allows",
		  "the daemon keeps the user's share of its descriptors already" },
		{ "the user has as many clients as its quota allows",
		  "the user has its share of the bus's clients" },
	};
	int r = hbus_account_charge(account, kind, amount);

	if (r == 0)
		return 0;
	*ret_text = texts[kind][r == HBUS_QUOTA_OVER_SHARE];
	return HBUS_E_QUOTA;
}

/* ---- making it ---- */

static void apply_config(struct hbus_state *state)
{
	state->policy.daemon_uid = state->options.daemon_uid;
	state->policy.rules = state->config->rules;
	state->policy.n_rules = state->config->n_rules;
	state->n_policies++;
	for (size_t i = 0; i < state->config->n_topics; i++)
		if (hbus_topic_configure(state, &state->config->topics[i]) < 0)
			hbus_state_log(state, HBUS_LOG_ERROR, NULL, "no room for topic %s",
				       state->config->topics[i].name);
}

static int init_tables(struct hbus_state *state)
{
	if (hbus_table_init(&state->members) < 0 || hbus_table_init(&state->tokens) < 0 ||
	    hbus_table_init(&state->rings) < 0 || hbus_table_init(&state->topics) < 0 ||
	    hbus_table_init(&state->route_places) < 0)
		return -1;
	if (hbus_trie_init(&state->topic_names, HBUS_TRIE_NODES_MAX) < 0)
		return -1;
	return hbus_trie_init(&state->filters, HBUS_TRIE_NODES_MAX);
}

struct hbus_state *hbus_state_new(const struct hbus_config *config,
				  const struct hbus_state_ops *ops,
				  const struct hbus_state_options *options, uint64_t now_ns)
{
	struct hbus_state *state = calloc(1, sizeof(*state));

	if (!state)
		return NULL;
	state->ops = *ops;
	state->options = *options;
	state->config = config;
	state->now_ns = state->started_ns = now_ns;
	TAILQ_INIT(&state->routes);
	TAILQ_INIT(&state->counter_sets);
	hbus_deadlines_init(&state->deadlines, wait_lengths);
	hbus_quota_init(&state->quota, &config->quota);
	if (init_tables(state) < 0)
		return hbus_state_free(state);
	apply_config(state);
	hbus_route_configure(state, NULL);
	return state;
}

struct hbus_state *hbus_state_free(struct hbus_state *state)
{
	struct hbus_table_node *node;

	state->ops.persist = NULL;
	/*
	 * Nobody is told anything: to those who live on, the rings of the members that go first would seem to have
	 * ended, though their publishers live on too and will offer them to the next daemon.
	 */
	for (node = NULL; state->members.buckets && (node = hbus_table_next(&state->members, node));)
		hbus_container_of(node, struct hbus_member, by_id)->conn = NULL;
	while (state->members.buckets && (node = hbus_table_next(&state->members, NULL)))
		hbus_member_end(state, hbus_container_of(node, struct hbus_member, by_id), 0);
	while (state->rings.buckets && (node = hbus_table_next(&state->rings, NULL)))
		hbus_ring_free(state, hbus_container_of(node, struct hbus_ring, by_id));
	hbus_route_free_all(state);
	hbus_counters_free_all(state);
	if (state->topics.buckets)
		hbus_topic_free_all(state);
	hbus_trie_deinit(&state->topic_names);
	hbus_trie_deinit(&state->filters);
	hbus_table_deinit(&state->members);
	hbus_table_deinit(&state->tokens);
	hbus_table_deinit(&state->rings);
	hbus_table_deinit(&state->topics);
	hbus_table_deinit(&state->route_places);
	hbus_quota_deinit(&state->quota);
	free(state);
	return NULL;
}

/* ---- a new configuration ---- */

void hbus_state_sweep_topics(struct hbus_state *state)
{
	struct hbus_table_node *node, *next;

	for (node = hbus_table_next(&state->topics, NULL); node; node = next) {
		struct hbus_topic *topic = hbus_container_of(node, struct hbus_topic, by_id);

		next = hbus_table_next(&state->topics, node);
		hbus_topic_check_unused(state, topic);
	}
}

/* Readers that the new rules deny leave; what they have mapped they keep seeing until they unmap. */
static void revoke_readers(struct hbus_state *state)
{
	struct hbus_table_node *node, *next_node;

	for (node = hbus_table_next(&state->rings, NULL); node; node = next_node) {
		struct hbus_ring *ring = hbus_container_of(node, struct hbus_ring, by_id);
		struct hbus_attachment *att, *next;

		next_node = hbus_table_next(&state->rings, node);
		/* What it carries is not known yet; its readers are judged when its publisher is back. */
		if (ring->owner && ring->owner->was_restored)
			continue;
		for (att = LIST_FIRST(&ring->attachments); att; att = next) {
			next = LIST_NEXT(att, in_ring);
			if (!att->sub || att->reader >= HBUS_READER_LEAVING)
				continue;
			if (!hbus_sub_may_read(state, att->sub, ring))
				hbus_attachment_leave(state, att, HBUS_ENDED_REVOKED);
		}
	}
}

static void attach_everybody(struct hbus_state *state)
{
	struct hbus_table_node *node = NULL;

	while ((node = hbus_table_next(&state->members, node))) {
		struct hbus_member *member = hbus_container_of(node, struct hbus_member, by_id);
		struct hbus_subscriber_state *sub;

		LIST_FOREACH(sub, &member->subs, link) {
			hbus_sub_restart_over(state, sub);
			hbus_sub_attach_all(state, sub);
		}
	}
}

void hbus_state_configure(struct hbus_state *state, const struct hbus_config *config,
			  uint64_t now_ns)
{
	const struct hbus_config *old = state->config;
	struct hbus_table_node *node = NULL;

	state->now_ns = now_ns;
	state->config = config;
	hbus_quota_configure(&state->quota, &config->quota);
	while ((node = hbus_table_next(&state->topics, node)))
		hbus_container_of(node, struct hbus_topic, by_id)->flags &=
			~(HBUS_TOPIC_CONFIGURED | HBUS_TOPIC_HOT);
	apply_config(state);
	hbus_route_configure(state, old);
	hbus_state_sweep_topics(state);
	revoke_readers(state);
	attach_everybody(state);
}

/* ---- the journal ---- */

bool hbus_state_restore(struct hbus_state *state, const struct hbus_journal_record *record)
{
	switch (record->kind) {
	case HBUS_RECORD_TOPIC:
		return hbus_topic_restore(state, record);
	case HBUS_RECORD_MEMBER:
		return hbus_member_restore(state, record);
	case HBUS_RECORD_RING:
		return hbus_ring_restore(state, record);
	case HBUS_RECORD_RING_TOPIC:
		return hbus_ring_restore_topic(state, record);
	case HBUS_RECORD_ROUTE:
		return hbus_route_restore(state, record);
	default:
		return false;
	}
}

void hbus_state_restored(struct hbus_state *state, uint64_t now_ns)
{
	struct hbus_table_node *node, *next;

	state->now_ns = now_ns;
	state->n_away_restored = state->members.n;
	if (state->members.n == 0) {
		hbus_state_sweep_topics(state);
		return;
	}
	/* Topics that nothing uses keep their numbers until their publishers have had time to say so. */
	state->is_restarting = true;
	hbus_deadline_arm(&state->deadlines, &state->restart_deadline, HBUS_WAIT_RESTART, now_ns);
	for (node = hbus_table_next(&state->members, NULL); node; node = next) {
		next = hbus_table_next(&state->members, node);
		hbus_member_await(state, hbus_container_of(node, struct hbus_member, by_id));
	}
}

void hbus_state_end_restart(struct hbus_state *state)
{
	struct hbus_table_node *node = NULL;

	if (!state->is_restarting)
		return;
	state->is_restarting = false;
	hbus_deadline_disarm(&state->deadlines, &state->restart_deadline);
	while ((node = hbus_table_next(&state->rings, node))) {
		struct hbus_ring *ring = hbus_container_of(node, struct hbus_ring, by_id);

		if (ring->was_restored)
			hbus_ring_sweep_gates(state, ring);
		ring->was_restored = false;
	}
	attach_everybody(state);
	node = NULL;
	while ((node = hbus_table_next(&state->topics, node)))
		hbus_topic_tell_interest(
			state, hbus_container_of(node, struct hbus_topic, by_id), NULL);
	hbus_state_log(state, HBUS_LOG_INFO, NULL, "event=restart-over");
}

void hbus_state_save(struct hbus_state *state,
		     void (*save)(void *context, const struct hbus_journal_record *record),
		     void *context)
{
	struct hbus_journal_record record;
	struct hbus_table_node *node = NULL;
	struct hbus_route_state *route;
	const struct hbus_ring_topic *carried;

	while ((node = hbus_table_next(&state->topics, node))) {
		hbus_topic_save(hbus_container_of(node, struct hbus_topic, by_id), &record);
		save(context, &record);
	}
	while ((node = hbus_table_next(&state->members, node))) {
		const struct hbus_member *member = hbus_container_of(node, struct hbus_member, by_id);

		if (!member->is_kept)
			continue;
		hbus_member_save(member, &record);
		save(context, &record);
	}
	while ((node = hbus_table_next(&state->rings, node))) {
		const struct hbus_ring *ring = hbus_container_of(node, struct hbus_ring, by_id);

		if (!ring->owner || ring->phase == HBUS_RING_GRANTED)
			continue;
		hbus_ring_save(ring, &record);
		save(context, &record);
		TAILQ_FOREACH(carried, &ring->topics, in_ring) {
			hbus_ring_save_topic(carried, &record);
			save(context, &record);
		}
	}
	TAILQ_FOREACH(route, &state->routes, link) {
		if (!(route->flags & HBUS_TOPIC_DECLARED))
			continue;
		memset(&record, 0, sizeof(record));
		record.kind = HBUS_RECORD_ROUTE;
		record.route = route->route;
		save(context, &record);
	}
}

/* ---- events ---- */

uint64_t hbus_state_request_delay(struct hbus_state *state, struct hbus_member *member,
				  uint64_t now_ns)
{
	(void)state;
	return hbus_account_take_request(member->account, now_ns);
}

struct hbus_account *hbus_state_account(const struct hbus_member *member)
{
	return member->account;
}

void hbus_state_hangup(struct hbus_state *state, struct hbus_member *member, uint64_t now_ns)
{
	struct hbus_pending *pending;

	state->now_ns = now_ns;
	member->conn = NULL;
	while ((pending = TAILQ_FIRST(&member->pendings)))
		hbus_pending_expired(state, pending); /* nobody hears it */
	if (member->phase == HBUS_MEMBER_NEW || (member->n_rings == 0 && member->n_subs == 0)) {
		hbus_member_end(state, member, HBUS_ENDED_PUBLISHER_DIED);
		return;
	}
	member->phase = HBUS_MEMBER_AWAY;
	hbus_deadline_arm(&state->deadlines, &member->deadline, HBUS_WAIT_AWAY, now_ns);
}

bool hbus_state_is_away(const struct hbus_state *state, uint64_t member_id)
{
	struct hbus_table_node *node = hbus_table_find(&state->members, member_id);

	return node && hbus_container_of(node, struct hbus_member, by_id)->phase == HBUS_MEMBER_AWAY;
}

void hbus_state_died(struct hbus_state *state, uint64_t member_id, const void *conn,
		     uint64_t now_ns)
{
	struct hbus_member *member = hbus_member_find(state, member_id);

	state->now_ns = now_ns;
	if (!member || (member->conn && member->conn != conn))
		return;
	member->conn = NULL;
	hbus_member_end(state, member, HBUS_ENDED_PUBLISHER_DIED);
}

static void expired(struct hbus_state *state, struct hbus_deadline *deadline)
{
	if (deadline == &state->restart_deadline) {
		hbus_state_end_restart(state);
		return;
	}
	switch (deadline->kind) {
	case HBUS_WAIT_GATE:
		hbus_attachment_expired(
			state, hbus_container_of(deadline, struct hbus_attachment, deadline));
		break;
	case HBUS_WAIT_REPLY:
		hbus_pending_expired(state,
				     hbus_container_of(deadline, struct hbus_pending, deadline));
		break;
	case HBUS_WAIT_AWAY:
	case HBUS_WAIT_RESTART:
	case HBUS_WAIT_OWNER:
		hbus_member_end(state, hbus_container_of(deadline, struct hbus_member, deadline),
				HBUS_ENDED_PUBLISHER_DIED);
		break;
	case HBUS_WAIT_ENDED:
		hbus_ring_expired(state, hbus_container_of(deadline, struct hbus_ring, deadline));
		break;
	case HBUS_WAIT_N:
		break;
	}
}

uint64_t hbus_state_tick(struct hbus_state *state, uint64_t now_ns)
{
	struct hbus_deadline *deadline;

	state->now_ns = now_ns;
	while ((deadline = hbus_deadlines_expired(&state->deadlines, now_ns)))
		expired(state, deadline);
	return hbus_deadlines_next(&state->deadlines);
}

void hbus_state_count(const struct hbus_state *state, struct hbus_state_counts *counts)
{
	*counts = (struct hbus_state_counts){
		.n_members = state->members.n,
		.n_topics = state->topics.n,
		.n_rings = state->rings.n,
		.n_subscribers = state->n_subscribers,
		.n_attachments = state->n_attachments,
		.n_routes = state->n_routes,
		.n_counter_sets = state->n_counter_sets,
		.n_pending = state->n_pending,
		.n_protocol_errors = state->n_protocol_errors,
		.is_restarting = state->is_restarting,
	};
}
