/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lists: what `hugebus ls`, `top` and `stats` show
 *
 * A cursor is the number of objects that were passed. Users see what is theirs and the topics they
 * may read; who has the admin right sees everything.
 */
#include <stdio.h>
#include <string.h>

#include "ctl/daemon/route.h"
#include "ctl/daemon/state_int.h"

#define STATS_AGE_MAX_NS 50000000ull

struct listing {
	struct hbus_state *state;
	struct hbus_member *member;
	const struct hbus_msg_list *request;
	bool is_admin;
	uint64_t n_passed; /* objects seen, those before the cursor too */
	uint64_t n_rows;
	bool is_full;
};

/* Shall this object be shown? False also for those before the cursor and beyond the page. */
static bool take(struct listing *listing, bool is_visible)
{
	if (listing->is_full)
		return false;
	if (listing->n_passed < listing->request->cursor) {
		listing->n_passed++;
		return false;
	}
	if (listing->n_rows >= HBUS_LIST_PAGE) {
		listing->is_full = true;
		return false;
	}
	listing->n_passed++;
	listing->n_rows += is_visible;
	return is_visible;
}

static bool is_own(const struct listing *listing, uid_t uid)
{
	return listing->is_admin || listing->member->cred.uid == uid;
}

static void row_init(const struct listing *listing, struct hbus_msg_row *row)
{
	hbus_msg_init(row, HBUS_MSG_ROW);
	row->header.serial = listing->request->header.serial;
	row->kind = listing->request->kind;
}

static void send_row(const struct listing *listing, struct hbus_msg_row *row)
{
	hbus_state_send(listing->state, listing->member, row, NULL, 0);
}

/* ---- statistics ---- */

static const struct hbus_ring_stats *ring_stats(struct listing *listing, struct hbus_ring *ring)
{
	struct hbus_state *state = listing->state;

	if (!ring->read_fds[0])
		return &ring->stats;
	if (ring->stats_at_ns && state->now_ns - ring->stats_at_ns < STATS_AGE_MAX_NS)
		return &ring->stats;
	hbus_account_spend(listing->member->account, 1);
	state->ops.ring_read(state->ops.context, &ring->geometry, ring->read_fds, &ring->stats);
	ring->stats_at_ns = state->now_ns;
	return &ring->stats;
}

/* Before the reader has accepted the ring its slot has the statistics of another. */
void hbus_slot_stats(struct hbus_state *state, const struct hbus_attachment *att,
		     struct hbus_slot_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	if (att->sub && att->memfd_idx != HBUS_ATTACH_NONE && att->reader >= HBUS_READER_MAPPED)
		state->ops.slot_read(state->ops.context, att->sub->memfds[att->memfd_idx].fd,
				     att->slot_idx, stats);
}

static uint64_t ahead(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) > 0 ? a - b : 0;
}

/* ---- the kinds ---- */

static void list_topics(struct listing *listing)
{
	struct hbus_table_node *node = NULL;
	struct hbus_ring_topic *carried;
	struct hbus_msg_row row;

	while ((node = hbus_table_next(&listing->state->topics, node))) {
		const struct hbus_topic *topic = hbus_container_of(node, struct hbus_topic, by_id);
		bool is_visible = is_own(listing, topic->owner) ||
				  hbus_policy_allows(&listing->state->policy,
						     &listing->member->cred, HBUS_RIGHT_SUBSCRIBE,
						     topic->name, topic->owner);

		if (!take(listing, is_visible))
			continue;
		row_init(listing, &row);
		row.flags = topic->flags & (HBUS_TOPIC_DECLARED | HBUS_TOPIC_CONFIGURED);
		row.value[0] = topic->id;
		LIST_FOREACH(carried, &topic->rings, in_topic)
			row.value[1] += carried->ring->owner != NULL;
		row.value[2] = topic->n_wanted;
		hbus_text_copy(row.name, sizeof(row.name), topic->name);
		snprintf(row.text, sizeof(row.text), "%s|%s", topic->type, topic->content_type);
		send_row(listing, &row);
	}
}

static bool is_route_wanted(struct hbus_state *state, const struct hbus_wire_route *wire)
{
	const struct hbus_route_state *route;
	const struct hbus_topic *topic;

	if (wire->kind != HBUS_ROUTE_BATCH) {
		topic = hbus_topic_find(state, wire->topic);
		return topic && topic->n_wanted > 0;
	}
	TAILQ_FOREACH(route, &state->routes, link)
		if (route->route.kind == HBUS_ROUTE_BATCH_TOPIC &&
		    hbus_route_same_match(&route->route, wire) &&
		    is_route_wanted(state, &route->route))
			return true;
	return false;
}

static void list_routes(struct listing *listing)
{
	const struct hbus_route_state *route;
	struct hbus_msg_row row;

	TAILQ_FOREACH(route, &listing->state->routes, link) {
		if (!take(listing, true))
			continue;
		row_init(listing, &row);
		row.flags = route->flags;
		row.value[0] = is_route_wanted(listing->state, &route->route);
		row.route = route->route;
		send_row(listing, &row);
	}
}

static uint64_t member_bytes(const struct hbus_member *member)
{
	const struct hbus_ring *ring;
	uint64_t bytes = 0;

	TAILQ_FOREACH(ring, &member->rings, in_member)
		bytes += ring->geometry.capacity + HBUS_RING_HEADER_SIZE;
	return bytes;
}

static void list_clients(struct listing *listing)
{
	struct hbus_table_node *node = NULL;
	struct hbus_msg_row row;

	while ((node = hbus_table_next(&listing->state->members, node))) {
		const struct hbus_member *member = hbus_container_of(node, struct hbus_member, by_id);

		if (!take(listing, is_own(listing, member->cred.uid) && member->has_token))
			continue;
		row_init(listing, &row);
		row.flags = (hbus_policy_is_admin(&listing->state->policy, &member->cred) ? 1 : 0) |
			    (member->phase == HBUS_MEMBER_AWAY ? 2 : 0);
		row.value[0] = member->id;
		row.value[1] = (uint64_t)member->pid;
		row.value[2] = member->cred.uid;
		row.value[3] = member->n_rings;
		row.value[4] = member->n_subs;
		row.value[5] = member_bytes(member);
		hbus_text_copy(row.name, sizeof(row.name), member->name);
		send_row(listing, &row);
	}
}

static void list_rings(struct listing *listing)
{
	struct hbus_table_node *node = NULL;
	const struct hbus_attachment *att;
	struct hbus_msg_row row;

	while ((node = hbus_table_next(&listing->state->rings, node))) {
		struct hbus_ring *ring = hbus_container_of(node, struct hbus_ring, by_id);
		const struct hbus_ring_stats *stats;

		if (!take(listing, is_own(listing, ring->uid)))
			continue;
		stats = ring_stats(listing, ring);
		row_init(listing, &row);
		row.flags = (ring->geometry.is_huge ? 1 : 0) | (ring->geometry.is_isolated ? 2 : 0) |
			    (ring->phase == HBUS_RING_ENDED ? 4 : 0);
		row.value[0] = ring->geometry.ring_id;
		row.value[1] = ring->publisher_id;
		row.value[2] = ring->uid;
		row.value[3] = ring->geometry.capacity;
		row.value[4] = stats->sequence;
		row.value[5] = stats->position;
		row.value[6] = ring->n_topics;
		row.value[7] = ring->n_attachments;
		LIST_FOREACH(att, &ring->attachments, in_ring)
			row.value[8] += att->attach_idx < HBUS_RING_GATES_MAX;
		hbus_text_copy(row.name, sizeof(row.name), ring->publisher_name);
		hbus_text_copy(row.text, sizeof(row.text), hbus_ring_first_topic(ring));
		send_row(listing, &row);
	}
}

static void subscriber_row(struct listing *listing, const struct hbus_subscriber_state *sub)
{
	const struct hbus_filter *first = TAILQ_FIRST(&sub->filters);
	const struct hbus_attachment *att;
	struct hbus_msg_row row;

	row_init(listing, &row);
	row.flags = (sub->flags & HBUS_SUB_RELIABLE) ? 1 : 0;
	row.value[0] = sub->id;
	row.value[1] = sub->member->id;
	row.value[2] = sub->member->cred.uid;
	row.value[3] = sub->n_filters;
	row.value[4] = sub->n_attachments;
	row.value[5] = sub->n_delivered;
	row.value[6] = sub->n_filtered;
	row.value[7] = sub->n_lost;
	LIST_FOREACH(att, &sub->attachments, in_sub) {
		struct hbus_slot_stats stats;

		hbus_slot_stats(listing->state, att, &stats);
		row.value[5] += stats.delivered;
		row.value[6] += stats.filtered;
		row.value[7] += stats.lost;
		if (stats.position)
			row.value[8] += ahead(ring_stats(listing, att->ring)->sequence,
					      stats.sequence);
	}
	hbus_text_copy(row.name, sizeof(row.name), sub->member->name);
	hbus_text_copy(row.text, sizeof(row.text), first ? first->text : "");
	send_row(listing, &row);
}

static void list_subscribers(struct listing *listing)
{
	struct hbus_table_node *node = NULL;
	const struct hbus_subscriber_state *sub;

	while ((node = hbus_table_next(&listing->state->members, node))) {
		const struct hbus_member *member = hbus_container_of(node, struct hbus_member, by_id);

		LIST_FOREACH(sub, &member->subs, link)
			if (take(listing, is_own(listing, member->cred.uid)))
				subscriber_row(listing, sub);
	}
}

static bool is_dropped(const struct hbus_attachment *att, const struct hbus_ring_stats *stats)
{
	return att->attach_idx < HBUS_RING_GATES_MAX &&
	       stats->dropped[att->attach_idx] == att->gate_id;
}

static void attachment_row(struct listing *listing, struct hbus_attachment *att)
{
	const struct hbus_ring_stats *ring = ring_stats(listing, att->ring);
	struct hbus_slot_stats slot;
	struct hbus_msg_row row;

	hbus_slot_stats(listing->state, att, &slot);
	row_init(listing, &row);
	row.flags = ((att->sub->flags & HBUS_SUB_RELIABLE) ? 1 : 0) |
		    (is_dropped(att, ring) ? 2 : 0) | (att->is_without_gate ? 4 : 0);
	row.value[0] = att->ring->geometry.ring_id;
	row.value[1] = att->sub->member->id;
	row.value[2] = att->sub->id;
	row.value[3] = slot.delivered;
	row.value[4] = slot.filtered;
	row.value[5] = slot.lost;
	row.value[6] = slot.sequence;
	row.value[7] = slot.position ? ahead(ring->sequence, slot.sequence) : 0;
	row.value[8] = slot.position ? ahead(ring->position, slot.position) : 0;
	row.value[9] = att->attach_idx;
	hbus_text_copy(row.name, sizeof(row.name), att->sub->member->name);
	hbus_text_copy(row.text, sizeof(row.text), att->ring->publisher_name);
	send_row(listing, &row);
}

static void list_attachments(struct listing *listing)
{
	struct hbus_table_node *node = NULL;
	struct hbus_attachment *att;

	while ((node = hbus_table_next(&listing->state->rings, node))) {
		struct hbus_ring *ring = hbus_container_of(node, struct hbus_ring, by_id);

		LIST_FOREACH(att, &ring->attachments, in_ring)
			if (att->sub && take(listing, is_own(listing, att->sub->member->cred.uid) ||
							      is_own(listing, ring->uid)))
				attachment_row(listing, att);
	}
}

static void list_counters(struct listing *listing)
{
	const struct hbus_counter_set *set;
	struct hbus_msg_row row;
	uint64_t value;
	char name[64];

	TAILQ_FOREACH(set, &listing->state->counter_sets, in_state) {
		if (!is_own(listing, set->uid))
			continue;
		hbus_account_spend(listing->member->account, set->n / 64);
		for (uint32_t i = 0; i < set->n && !listing->is_full; i++) {
			if (!listing->state->ops.counter_read(listing->state->ops.context, set->fd,
							      i, name, &value))
				break;
			if (!take(listing, true))
				continue;
			row_init(listing, &row);
			row.flags = set->member ? 0 : 1;
			row.value[0] = value;
			row.value[1] = set->member_id;
			row.value[2] = (uint64_t)set->pid;
			hbus_text_copy(row.name, sizeof(row.name), name);
			hbus_text_copy(row.text, sizeof(row.text), set->name);
			send_row(listing, &row);
		}
	}
}

static void list_quotas(struct listing *listing)
{
	static const enum hbus_quota_kind kinds[] = { HBUS_QUOTA_BYTES, HBUS_QUOTA_RINGS,
						      HBUS_QUOTA_TOPICS, HBUS_QUOTA_SUBSCRIPTIONS,
						      HBUS_QUOTA_FDS };
	const struct hbus_account *account;
	struct hbus_msg_row row;

	for (account = listing->state->quota.accounts; account; account = account->next) {
		if (!take(listing, is_own(listing, account->uid)))
			continue;
		row_init(listing, &row);
		row.value[0] = account->uid;
		for (size_t i = 0; i < 5; i++) {
			row.value[1 + 2 * i] = account->used[kinds[i]];
			row.value[2 + 2 * i] = hbus_account_limit(account, kinds[i]);
		}
		snprintf(row.name, sizeof(row.name), "%u", (unsigned int)account->uid);
		send_row(listing, &row);
	}
}

static void list_daemon(struct listing *listing)
{
	struct hbus_state *state = listing->state;
	struct hbus_daemon_stats stats = { 0 };
	struct hbus_msg_row row;

	if (!take(listing, true))
		return;
	state->ops.daemon_read(state->ops.context, &stats);
	row_init(listing, &row);
	row.value[0] = (uint64_t)state->options.pid;
	row.value[1] = (state->now_ns - state->started_ns) / 1000000;
	row.value[2] = state->options.boot_id;
	row.value[3] = stats.pages_reserved;
	row.value[4] = stats.pages_free;
	row.value[5] = state->members.n;
	row.value[6] = state->n_protocol_errors;
	row.value[7] = stats.refused;
	hbus_text_copy(row.name, sizeof(row.name), HBUS_VERSION);
	hbus_text_copy(row.text, sizeof(row.text), stats.socket_path);
	send_row(listing, &row);
}

/* For everybody: a door need not have the admin right to judge its clients. */
static void list_client_rules(struct listing *listing)
{
	const struct hbus_policy *policy = &listing->state->policy;
	struct hbus_msg_row row;

	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct hbus_policy_rule *rule = &policy->rules[i];

		if (!take(listing, rule->subject == HBUS_SUBJECT_CLIENT))
			continue;
		row_init(listing, &row);
		row.value[0] = rule->is_allowed;
		row.value[1] = rule->rights;
		hbus_text_copy(row.name, sizeof(row.name), rule->filter);
		hbus_text_copy(row.text, sizeof(row.text), rule->client);
		send_row(listing, &row);
	}
}

void hbus_list_request(struct hbus_state *state, struct hbus_member *member,
		       const struct hbus_msg_list *msg)
{
	static void (*const lists[])(struct listing *) = {
		[HBUS_LIST_TOPICS] = list_topics,	    [HBUS_LIST_ROUTES] = list_routes,
		[HBUS_LIST_CLIENTS] = list_clients,	    [HBUS_LIST_RINGS] = list_rings,
		[HBUS_LIST_SUBSCRIBERS] = list_subscribers, [HBUS_LIST_ATTACHMENTS] = list_attachments,
		[HBUS_LIST_COUNTERS] = list_counters,	    [HBUS_LIST_QUOTAS] = list_quotas,
		[HBUS_LIST_DAEMON] = list_daemon,	    [HBUS_LIST_CLIENT_RULES] = list_client_rules,
	};
	struct listing listing = { state, member, msg };
	struct hbus_msg_reply reply;

	if (msg->kind == 0 || msg->kind >= sizeof(lists) / sizeof(lists[0])) {
		hbus_state_reply(state, member, &msg->header, HBUS_E_INVALID,
				 "there is no list of this kind", 0);
		return;
	}
	listing.is_admin = hbus_policy_is_admin(&state->policy, &member->cred);
	lists[msg->kind](&listing);
	hbus_msg_init(&reply, HBUS_MSG_REPLY);
	reply.header.serial = msg->header.serial;
	reply.request_type = HBUS_MSG_LIST;
	reply.value[0] = listing.n_rows;
	reply.value[1] = listing.is_full ? listing.n_passed : 0;
	hbus_state_send(state, member, &reply, NULL, 0);
}
