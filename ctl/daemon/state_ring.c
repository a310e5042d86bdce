/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings from the publisher's side: asked for, mapped, announced, offered again, ended. */
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/state_int.h"
#include "ctl/proto/topic.h"

#define RING_FDS 2
#define PUB_FLAGS (HBUS_RING_WANT_SMALL_PAGES | HBUS_RING_WANT_ISOLATED | HBUS_RING_WANT_HUGE_ONLY)

struct hbus_ring *hbus_ring_find(struct hbus_state *state, uint64_t id)
{
	struct hbus_table_node *node = hbus_table_find(&state->rings, id);

	return node ? hbus_container_of(node, struct hbus_ring, by_id) : NULL;
}

struct hbus_ring *hbus_ring_find_own(struct hbus_state *state, const struct hbus_member *member,
				  uint64_t id)
{
	struct hbus_ring *ring = hbus_ring_find(state, id);

	return ring && ring->owner == member ? ring : NULL;
}

const char *hbus_ring_first_topic(const struct hbus_ring *ring)
{
	const struct hbus_ring_topic *first = TAILQ_FIRST(&ring->topics);

	return first ? first->topic->name : "";
}

bool hbus_ring_is_attachable(const struct hbus_state *state, const struct hbus_ring *ring)
{
	if (ring->phase != HBUS_RING_ANNOUNCING && ring->phase != HBUS_RING_RUNNING)
		return false;
	return !(ring->was_restored && state->is_restarting);
}

/* ---- making and freeing ---- */

uint64_t hbus_ring_bytes(const struct hbus_geometry *geometry)
{
	return geometry->capacity + HBUS_RING_HEADER_SIZE;
}

static struct hbus_ring *ring_new(struct hbus_state *state, struct hbus_member *member,
				  const struct hbus_geometry *geometry)
{
	struct hbus_ring *ring = calloc(1, sizeof(*ring));

	if (!ring)
		return NULL;
	ring->owner = member;
	ring->account = hbus_account_get(member->account);
	ring->uid = member->cred.uid;
	ring->publisher_id = member->id;
	memcpy(ring->publisher_name, member->name, sizeof(ring->publisher_name));
	ring->geometry = *geometry;
	ring->is_said = true;
	ring->is_memory_held = true;
	TAILQ_INIT(&ring->topics);
	LIST_INIT(&ring->attachments);
	hbus_table_insert(&state->rings, geometry->ring_id, &ring->by_id);
	TAILQ_INSERT_TAIL(&member->rings, ring, in_member);
	member->n_rings++;
	return ring;
}

void hbus_ring_release_memory(struct hbus_state *state, struct hbus_ring *ring)
{
	bool is_there; /* not before the publisher of a restored ring has brought it */

	if (!ring->is_memory_held)
		return;
	ring->is_memory_held = false;
	is_there = ring->write_fds[0] || ring->read_fds[0];
	for (int i = 0; i < 2; i++) {
		ring->write_fds[i] = hbus_fd_put(ring->write_fds[i]);
		ring->read_fds[i] = hbus_fd_put(ring->read_fds[i]);
	}
	hbus_account_release(ring->account, HBUS_QUOTA_BYTES, hbus_ring_bytes(&ring->geometry));
	hbus_account_release(ring->account, HBUS_QUOTA_FDS, RING_FDS);
	if (is_there)
		state->ops.ring_gone(state->ops.context, &ring->geometry);
}

void hbus_ring_unlink_topic(struct hbus_state *state, struct hbus_ring_topic *carried)
{
	struct hbus_topic *topic = carried->topic;

	LIST_REMOVE(carried, in_topic);
	TAILQ_REMOVE(&carried->ring->topics, carried, in_ring);
	carried->ring->n_topics--;
	free(carried);
	hbus_topic_check_unused(state, topic);
}

/* Without attachments, and no member's any more. */
void hbus_ring_free(struct hbus_state *state, struct hbus_ring *ring)
{
	struct hbus_attachment *att;

	ring->is_in_end = true;
	while ((att = LIST_FIRST(&ring->attachments)))
		hbus_attachment_reader_gone(state, att);
	hbus_deadline_disarm(&state->deadlines, &ring->deadline);
	while (!TAILQ_EMPTY(&ring->topics))
		hbus_ring_unlink_topic(state, TAILQ_FIRST(&ring->topics));
	hbus_ring_release_memory(state, ring);
	hbus_account_release(ring->account, HBUS_QUOTA_RINGS, 1);
	hbus_account_put(ring->account);
	hbus_table_remove(&state->rings, &ring->by_id);
	free(ring);
}

/* ---- the journal ---- */

void hbus_ring_save(const struct hbus_ring *ring, struct hbus_journal_record *record)
{
	memset(record, 0, sizeof(*record));
	record->kind = HBUS_RECORD_RING;
	record->id = ring->geometry.ring_id;
	record->member_id = ring->publisher_id;
	record->uid = ring->uid;
	record->token = ring->token;
	record->geometry = ring->geometry;
}

void hbus_ring_persist(struct hbus_state *state, const struct hbus_ring *ring,
		       enum hbus_record_kind kind)
{
	struct hbus_journal_record record;

	hbus_ring_save(ring, &record);
	record.kind = kind;
	hbus_state_persist(state, &record);
}

static bool is_capacity(uint64_t capacity)
{
	return capacity >= HBUS_RING_CAPACITY_MIN && capacity <= HBUS_RING_CAPACITY_MAX &&
	       (capacity & (capacity - 1)) == 0;
}

bool hbus_ring_restore(struct hbus_state *state, const struct hbus_journal_record *record)
{
	struct hbus_member *member = hbus_member_find(state, record->member_id);
	struct hbus_ring *ring;

	if (!member || !member->was_restored || member->cred.uid != record->uid ||
	    hbus_ring_find(state, record->geometry.ring_id) ||
	    !is_capacity(record->geometry.capacity))
		return false;
	ring = ring_new(state, member, &record->geometry);
	if (!ring)
		return false;
	hbus_account_force(ring->account, HBUS_QUOTA_RINGS, 1);
	hbus_account_force(ring->account, HBUS_QUOTA_BYTES, hbus_ring_bytes(&ring->geometry));
	hbus_account_force(ring->account, HBUS_QUOTA_FDS, RING_FDS);
	ring->token = record->token;
	ring->phase = HBUS_RING_RESTORED;
	ring->was_restored = true;
	ring->is_said = false;
	return true;
}

/* ---- RING_CREATE ---- */

/* May this member publish this topic, by name and by policy? */
int hbus_ring_check_topic(struct hbus_state *state, const struct hbus_member *member,
		       const char *name, const char **ret_text)
{
	int r = hbus_topic_check_name(name, strlen(name));
	const struct hbus_topic *topic;

	if (r != 0) {
		*ret_text = hbus_topic_strerror(r);
		return HBUS_E_NAME;
	}
	topic = hbus_topic_find(state, name);
	if (!hbus_policy_allows(&state->policy, &member->cred, HBUS_RIGHT_PUBLISH, name,
				topic ? topic->owner : HBUS_UID_NONE)) {
		*ret_text = "policy does not let this user publish on the topic";
		return HBUS_E_DENIED;
	}
	return 0;
}

static int check_create(const struct hbus_state *state, const struct hbus_member *member,
			const struct hbus_msg_ring_create *msg, uint64_t capacity,
			const char **ret_text)
{
	if (!is_capacity(capacity)) {
		*ret_text = "a ring's capacity is a power of two from 64 KiB to 128 MiB";
		return HBUS_E_INVALID;
	}
	if (msg->start % hbus_block_size(capacity) != 0) {
		*ret_text = "a ring's first position is a multiple of its block, capacity / 32";
		return HBUS_E_INVALID;
	}
	if (msg->flags & ~PUB_FLAGS) {
		*ret_text = "unknown flags for a ring";
		return HBUS_E_INVALID;
	}
	if (member->n_rings >= HBUS_RINGS_PER_MEMBER_MAX || state->rings.n >= HBUS_RINGS_MAX) {
		*ret_text = "no more rings for one client, or on one bus";
		return HBUS_E_LIMIT;
	}
	return 0;
}

static int charge(struct hbus_member *member, uint64_t bytes, const char **ret_text)
{
	struct hbus_account *account = member->account;
	int r = hbus_state_charge(account, HBUS_QUOTA_RINGS, 1, ret_text);

	if (r < 0)
		return r;
	r = hbus_state_charge(account, HBUS_QUOTA_BYTES, bytes, ret_text);
	if (r < 0)
		goto no_bytes;
	r = hbus_state_charge(account, HBUS_QUOTA_FDS, RING_FDS, ret_text);
	if (r == 0)
		return 0;
	hbus_account_release(account, HBUS_QUOTA_BYTES, bytes);
no_bytes:
	hbus_account_release(account, HBUS_QUOTA_RINGS, 1);
	return r;
}

static void uncharge(struct hbus_member *member, uint64_t bytes)
{
	hbus_account_release(member->account, HBUS_QUOTA_FDS, RING_FDS);
	hbus_account_release(member->account, HBUS_QUOTA_BYTES, bytes);
	hbus_account_release(member->account, HBUS_QUOTA_RINGS, 1);
}

bool hbus_ring_link_topic(struct hbus_ring *ring, struct hbus_topic *topic)
{
	struct hbus_ring_topic *carried = calloc(1, sizeof(*carried));

	if (!carried)
		return false;
	carried->ring = ring;
	carried->topic = topic;
	LIST_INSERT_HEAD(&topic->rings, carried, in_topic);
	TAILQ_INSERT_TAIL(&ring->topics, carried, in_ring);
	ring->n_topics++;
	ring->judged_at = 0;
	return true;
}

static void wire_geometry(const struct hbus_geometry *geometry, struct hbus_wire_geometry *wire)
{
	*wire = (struct hbus_wire_geometry){
		.ring_id = geometry->ring_id,
		.capacity = geometry->capacity,
		.start = geometry->start,
		.layout_version = HBUS_LAYOUT_VERSION,
		.layout_hash = HBUS_LAYOUT_HASH,
		.is_huge = geometry->is_huge,
		.is_isolated = geometry->is_isolated,
	};
}

static void send_grant(struct hbus_state *state, struct hbus_ring *ring, uint32_t serial)
{
	struct hbus_msg_ring_grant grant;

	hbus_msg_init(&grant, HBUS_MSG_RING_GRANT);
	grant.header.serial = serial;
	wire_geometry(&ring->geometry, &grant.geometry);
	grant.token = ring->token;
	hbus_state_send(state, ring->owner, &grant, ring->write_fds, 2);
}

/* Topic and quota are there: make the memory. */
static int make(struct hbus_state *state, struct hbus_member *member,
		const struct hbus_msg_ring_create *msg, struct hbus_topic *topic,
		uint64_t capacity, bool *is_charged, const char **ret_text)
{
	struct hbus_fd *fds[2] = { NULL, NULL };
	struct hbus_geometry geometry = {
		.ring_id = hbus_state_new_id(state),
		.capacity = capacity,
		.start = msg->start,
		.is_isolated = (msg->flags & HBUS_RING_WANT_ISOLATED) != 0,
	};
	struct hbus_ring *ring;
	int r = state->ops.ring_make(state->ops.context, &geometry, msg->flags, fds);

	if (r < 0) {
		*ret_text = r == HBUS_E_NO_HUGEPAGES ?
				    "no hugepages are left for a ring of this size" :
				    "the memory for the ring could not be made";
		return r;
	}
	ring = ring_new(state, member, &geometry);
	if (!ring) {
		hbus_fd_put(fds[0]);
		hbus_fd_put(fds[1]);
		*ret_text = HBUS_NO_MEMORY_TEXT;
		return HBUS_E_NO_MEMORY;
	}
	ring->write_fds[0] = fds[0];
	ring->write_fds[1] = fds[1];
	ring->phase = HBUS_RING_GRANTED;
	state->ops.random(state->ops.context, &ring->token, sizeof(ring->token));
	if (!hbus_ring_link_topic(ring, topic)) {
		hbus_ring_end(state, ring, 0);
		*is_charged = false; /* the ring has given it back */
		*ret_text = HBUS_NO_MEMORY_TEXT;
		return HBUS_E_NO_MEMORY;
	}
	send_grant(state, ring, msg->header.serial);
	return 0;
}

void hbus_ring_create(struct hbus_state *state, struct hbus_member *member,
		      const struct hbus_msg_ring_create *msg)
{
	uint64_t capacity = msg->capacity ? msg->capacity : state->config->capacity;
	uint64_t bytes = capacity + HBUS_RING_HEADER_SIZE;
	struct hbus_topic *topic;
	bool is_charged = true;
	const char *text = NULL;
	int r = hbus_ring_check_topic(state, member, msg->first_topic, &text);

	if (r == 0)
		r = check_create(state, member, msg, capacity, &text);
	if (r == 0)
		r = charge(member, bytes, &text);
	if (r < 0) {
		hbus_state_reply(state, member, &msg->header, r, text, 0);
		return;
	}
	r = hbus_topic_obtain(state, member, msg->first_topic, msg->type, msg->content_type, &topic,
			      &text);
	if (r == 0) {
		r = make(state, member, msg, topic, capacity, &is_charged, &text);
		if (r == 0)
			return;
		hbus_topic_check_unused(state, topic);
	}
	if (is_charged)
		uncharge(member, bytes);
	hbus_state_reply(state, member, &msg->header, r, text, 0);
}

/* ---- RING_MAPPED: the ring is announced ---- */

struct match_context {
	struct hbus_state *state;
	struct hbus_ring *ring;
	enum hbus_attach_from from;
	struct hbus_pending *waits;
	bool has_all; /* no want of memory so far */
};

static bool attach_one(void *context, struct hbus_trie_entry *entry)
{
	struct match_context *match = context;
	struct hbus_filter *filter = hbus_container_of(entry, struct hbus_filter, in_state);
	int r;

	r = hbus_attach(match->state, match->ring, filter->sub,
			match->from == HBUS_FROM_START ||
				(match->from == HBUS_FROM_PROMISED && hbus_filter_covers(filter, match->ring)),
			NULL, match->waits);
	match->has_all = match->has_all && r != HBUS_E_NO_MEMORY;
	return true;
}

bool hbus_ring_attach_matching(struct hbus_state *state, struct hbus_ring *ring,
			       struct hbus_topic *topic, enum hbus_attach_from from,
			       struct hbus_pending *waits)
{
	struct match_context context = { state, ring, from, waits, true };

	if (hbus_ring_is_attachable(state, ring))
		hbus_trie_match_filters(&state->filters, topic->name, attach_one, &context);
	return context.has_all;
}

void hbus_ring_gate_done(struct hbus_state *state, struct hbus_ring *ring)
{
	struct hbus_pending *announce = ring->announce;
	struct hbus_attachment *att, *next;

	if (--ring->n_gates_pending > 0)
		return;
	ring->announce = NULL;
	ring->phase = HBUS_RING_RUNNING;
	hbus_pending_done(state, announce);
	for (att = LIST_FIRST(&ring->attachments); att; att = next) {
		next = LIST_NEXT(att, in_ring);
		hbus_attachment_open(state, att);
	}
}

static int seal(struct hbus_state *state, struct hbus_ring *ring, const char **ret_text)
{
	int r = state->ops.ring_seal(state->ops.context, &ring->geometry, ring->write_fds,
				     ring->read_fds);

	if (r < 0) {
		*ret_text = "the ring's memory is not as it was granted, or not all there";
		return r;
	}
	for (int i = 0; i < 2; i++)
		ring->write_fds[i] = hbus_fd_put(ring->write_fds[i]);
	return 0;
}

void hbus_ring_mapped(struct hbus_state *state, struct hbus_member *member,
		      const struct hbus_msg_ring *msg)
{
	struct hbus_ring *ring = hbus_ring_find_own(state, member, msg->ring_id);
	struct hbus_pending *announce = NULL;
	struct hbus_topic *topic;
	const char *text = "no ring of this client waits to be mapped";
	int r = HBUS_E_NOT_FOUND;

	if (ring && ring->phase == HBUS_RING_GRANTED) {
		announce = hbus_pending_new(state, member, &msg->header);
		text = HBUS_NO_MEMORY_TEXT;
		r = announce ? seal(state, ring, &text) : HBUS_E_NO_MEMORY;
		if (r < 0)
			hbus_ring_end(state, ring, 0);
	}
	if (r < 0) {
		hbus_pending_drop(state, announce);
		hbus_state_reply(state, member, &msg->header, r, text, 0);
		return;
	}
	hbus_member_keep(state, member);
	hbus_ring_persist(state, ring, HBUS_RECORD_RING);
	hbus_ring_persist_topic(state, TAILQ_FIRST(&ring->topics));
	ring->phase = HBUS_RING_ANNOUNCING;
	ring->birth = ++state->next_birth;
	topic = TAILQ_FIRST(&ring->topics)->topic;
	announce->value[0] = topic->id;
	ring->announce = announce;
	ring->n_gates_pending = 1;
	/* Who subscribed was promised all of it: a ring that one of them cannot have is not announced. */
	if (!hbus_ring_attach_matching(state, ring, topic, HBUS_FROM_START, NULL)) {
		announce->status = HBUS_E_NO_MEMORY;
		announce->text = HBUS_NO_MEMORY_TEXT;
	}
	hbus_ring_gate_done(state, ring);
	if (topic->n_wanted > 0 || !state->is_restarting)
		hbus_topic_tell_interest(state, topic, member);
}

/* ---- RING_OFFER ---- */

static bool is_same_token(const struct hbus_token *a, const struct hbus_token *b)
{
	uint8_t difference = 0;

	for (size_t i = 0; i < sizeof(a->bytes); i++)
		difference |= a->bytes[i] ^ b->bytes[i];
	return difference == 0;
}

static int offer(struct hbus_state *state, struct hbus_ring *ring,
		 const struct hbus_msg_ring_offer *msg, struct hbus_fd *const fds[2],
		 const char **ret_text)
{
	struct hbus_wire_geometry wire;
	int r;

	if (!ring || !is_same_token(&ring->token, &msg->token)) {
		*ret_text = "the daemon does not know this ring as the client's";
		return HBUS_E_NOT_FOUND;
	}
	wire_geometry(&ring->geometry, &wire);
	if (memcmp(&wire, &msg->geometry, sizeof(wire)) != 0) {
		*ret_text = "the ring was granted with another geometry";
		return HBUS_E_INVALID;
	}
	if (ring->phase == HBUS_RING_GRANTED) {
		*ret_text = "the ring was never announced";
		return HBUS_E_NOT_FOUND;
	}
	if (ring->phase == HBUS_RING_RESTORED) {
		r = state->ops.ring_adopt(state->ops.context, &ring->geometry, fds,
					  ring->read_fds);
		if (r < 0) {
			*ret_text = "the descriptors are not those of the ring";
			return r;
		}
		ring->phase = HBUS_RING_RUNNING;
	}
	ring->is_said = true;
	return 0;
}

void hbus_ring_offer(struct hbus_state *state, struct hbus_member *member,
		     const struct hbus_msg_ring_offer *msg, struct hbus_fd *const fds[2])
{
	struct hbus_ring *ring = hbus_ring_find_own(state, member, msg->geometry.ring_id);
	const char *text = NULL;
	int r = offer(state, ring, msg, fds, &text);

	hbus_state_reply(state, member, &msg->header, r, text, r == 0);
}
