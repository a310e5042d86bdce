/* SPDX-License-Identifier: BSD-3-Clause */
/* What a subscriber brings and is told: its slots, its doorbells, the topics it has heard of. */
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/state_int.h"

#define DOORBELL_FDS 2

/* ---- slots ---- */

static bool bit_is_set(const uint64_t *bits, uint32_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *bits, uint32_t i)
{
	bits[i / 64] |= 1ull << (i % 64);
}

static void bit_clear(uint64_t *bits, uint32_t i)
{
	bits[i / 64] &= ~(1ull << (i % 64));
}

static uint32_t first_clear(const uint64_t *bits, uint32_t n)
{
	for (uint32_t word = 0; word * 64 < n; word++)
		if (~bits[word])
			return word * 64 + (uint32_t)__builtin_ctzll(~bits[word]);
	return n;
}

bool hbus_slot_take(struct hbus_subscriber_state *sub, struct hbus_attachment *att)
{
	for (uint32_t i = 0; i < HBUS_SLOT_MEMFDS_MAX; i++) {
		struct hbus_slot_memfd *memfd = &sub->memfds[i];
		uint32_t slot = memfd->fd ? first_clear(memfd->used, memfd->n_slots) : 0;

		if (!memfd->fd || slot >= memfd->n_slots)
			continue;
		bit_set(memfd->used, slot);
		memfd->n_used++;
		att->memfd_idx = i;
		att->slot_idx = slot;
		return true;
	}
	return false;
}

bool hbus_slot_take_this(struct hbus_subscriber_state *sub, uint32_t memfd_idx, uint32_t slot_idx)
{
	struct hbus_slot_memfd *memfd;

	if (memfd_idx >= HBUS_SLOT_MEMFDS_MAX)
		return false;
	memfd = &sub->memfds[memfd_idx];
	if (!memfd->fd || slot_idx >= memfd->n_slots || bit_is_set(memfd->used, slot_idx))
		return false;
	bit_set(memfd->used, slot_idx);
	memfd->n_used++;
	return true;
}

void hbus_slot_give(struct hbus_subscriber_state *sub, struct hbus_attachment *att)
{
	struct hbus_slot_memfd *memfd;

	if (att->memfd_idx == HBUS_ATTACH_NONE)
		return;
	memfd = &sub->memfds[att->memfd_idx];
	bit_clear(memfd->used, att->slot_idx);
	memfd->n_used--;
	att->memfd_idx = HBUS_ATTACH_NONE;
}

void hbus_slot_keep(struct hbus_subscriber_state *sub, const struct hbus_msg_sub_held *msg)
{
	struct hbus_kept_slot *kept;

	LIST_FOREACH(kept, &sub->kept_slots, link) {
		if (kept->ring_id != msg->ring_id)
			continue;
		kept->is_said = true;
		return;
	}
	kept = calloc(1, sizeof(*kept));
	if (!kept || !hbus_slot_take_this(sub, msg->memfd_idx, msg->slot_idx)) {
		free(kept);
		return;
	}
	kept->ring_id = msg->ring_id;
	kept->memfd_idx = msg->memfd_idx;
	kept->slot_idx = msg->slot_idx;
	kept->is_said = true;
	LIST_INSERT_HEAD(&sub->kept_slots, kept, link);
}

static void kept_free(struct hbus_subscriber_state *sub, struct hbus_kept_slot *kept)
{
	struct hbus_slot_memfd *memfd = &sub->memfds[kept->memfd_idx];

	bit_clear(memfd->used, kept->slot_idx);
	memfd->n_used--;
	LIST_REMOVE(kept, link);
	free(kept);
}

bool hbus_slot_kept_done(struct hbus_subscriber_state *sub, uint64_t ring_id)
{
	struct hbus_kept_slot *kept;

	LIST_FOREACH(kept, &sub->kept_slots, link) {
		if (kept->ring_id != ring_id)
			continue;
		kept_free(sub, kept);
		return true;
	}
	return false;
}

void hbus_slot_sweep_kept(struct hbus_subscriber_state *sub)
{
	struct hbus_kept_slot *kept, *next;

	for (kept = LIST_FIRST(&sub->kept_slots); kept; kept = next) {
		next = LIST_NEXT(kept, link);
		if (!kept->is_said)
			kept_free(sub, kept);
	}
}

/* ---- doorbells ---- */

struct hbus_doorbell *hbus_doorbell_get(struct hbus_state *state, struct hbus_subscriber_state *sub,
					uint64_t publisher_id)
{
	struct hbus_doorbell *doorbell;
	struct hbus_fd *ends[2];
	const char *text;

	LIST_FOREACH(doorbell, &sub->doorbells, link) {
		if (doorbell->publisher_id == publisher_id) {
			doorbell->n_refs++;
			return doorbell;
		}
	}
	if (hbus_state_charge(sub->member->account, HBUS_QUOTA_FDS, DOORBELL_FDS, &text) < 0)
		return NULL;
	doorbell = calloc(1, sizeof(*doorbell));
	if (!doorbell || state->ops.doorbell_make(state->ops.context, ends) < 0) {
		hbus_account_release(sub->member->account, HBUS_QUOTA_FDS, DOORBELL_FDS);
		free(doorbell);
		return NULL;
	}
	doorbell->publisher_id = publisher_id;
	doorbell->n_refs = 1;
	doorbell->publisher_end = ends[0];
	doorbell->subscriber_end = ends[1];
	doorbell->account = hbus_account_get(sub->member->account);
	LIST_INSERT_HEAD(&sub->doorbells, doorbell, link);
	return doorbell;
}

void hbus_doorbell_put(struct hbus_doorbell *doorbell)
{
	if (--doorbell->n_refs > 0)
		return;
	LIST_REMOVE(doorbell, link);
	hbus_fd_put(doorbell->publisher_end);
	hbus_fd_put(doorbell->subscriber_end);
	hbus_account_release(doorbell->account, HBUS_QUOTA_FDS, DOORBELL_FDS);
	hbus_account_put(doorbell->account);
	free(doorbell);
}

/* ---- topics it was told of ---- */

static bool found(void *context, struct hbus_trie_entry *entry)
{
	(void)entry;
	*(bool *)context = true;
	return false;
}

bool hbus_sub_matches(const struct hbus_subscriber_state *sub, const char *topic)
{
	bool is_found = false;

	hbus_trie_match_filters(&sub->filter_trie, topic, found, &is_found);
	return is_found;
}

static bool grow_bits(uint64_t **bits, uint32_t n_old, uint32_t n_new)
{
	uint64_t *grown = realloc(*bits, n_new / 8);

	if (!grown)
		return false;
	memset(grown + n_old / 64, 0, (n_new - n_old) / 8);
	*bits = grown;
	return true;
}

static bool ensure_bit(struct hbus_subscriber_state *sub, uint32_t topic_id)
{
	uint32_t n = sub->n_bits ? sub->n_bits : 256;

	while (n <= topic_id)
		n *= 2;
	if (n == sub->n_bits)
		return true;
	if (!grow_bits(&sub->told, sub->n_bits, n) || !grow_bits(&sub->matched, sub->n_bits, n))
		return false;
	sub->n_bits = n;
	return true;
}

static void send_match(struct hbus_state *state, struct hbus_subscriber_state *sub,
		       const struct hbus_topic *topic)
{
	struct hbus_msg_topic_match msg;

	hbus_msg_init(&msg, HBUS_MSG_TOPIC_MATCH);
	msg.sub_id = sub->id;
	msg.topic_id = topic->id;
	memcpy(msg.name, topic->name, sizeof(msg.name));
	memcpy(msg.type, topic->type, sizeof(msg.type));
	memcpy(msg.content_type, topic->content_type, sizeof(msg.content_type));
	hbus_state_send(state, sub->member, &msg, NULL, 0);
}

/* Collects what is to be skipped: one message for many topics. */
struct skips {
	struct hbus_state *state;
	struct hbus_subscriber_state *sub;
	struct hbus_msg_topic_skip msg;
};

static void skips_flush(struct skips *skips)
{
	if (skips->msg.n_ids == 0)
		return;
	hbus_state_send(skips->state, skips->sub->member, &skips->msg, NULL, 0);
	skips->msg.n_ids = 0;
	memset(skips->msg.ids, 0, sizeof(skips->msg.ids));
}

static void skips_init(struct skips *skips, struct hbus_state *state,
		       struct hbus_subscriber_state *sub)
{
	skips->state = state;
	skips->sub = sub;
	hbus_msg_init(&skips->msg, HBUS_MSG_TOPIC_SKIP);
	skips->msg.sub_id = sub->id;
}

static void skips_add(struct skips *skips, uint32_t topic_id)
{
	skips->msg.ids[skips->msg.n_ids++] = topic_id;
	if (skips->msg.n_ids == HBUS_SKIP_IDS)
		skips_flush(skips);
}

/* Keeps the matched bit and the topic's count as its filters have it now. */
static bool set_matched(struct skips *skips, struct hbus_topic *topic)
{
	struct hbus_subscriber_state *sub = skips->sub;
	bool is_matched = hbus_sub_matches(sub, topic->name);

	if (is_matched == bit_is_set(sub->matched, topic->id))
		return is_matched;
	if (is_matched)
		bit_set(sub->matched, topic->id);
	else
		bit_clear(sub->matched, topic->id);
	hbus_topic_want(skips->state, topic, is_matched ? 1 : -1);
	return is_matched;
}

static void tell(struct skips *skips, struct hbus_topic *topic)
{
	struct hbus_subscriber_state *sub = skips->sub;

	if (!ensure_bit(sub, topic->id)) { /* said, but not noted: it will be said again */
		if (hbus_sub_matches(sub, topic->name))
			send_match(skips->state, sub, topic);
		else
			skips_add(skips, topic->id);
		return;
	}
	if (bit_is_set(sub->told, topic->id))
		return;
	bit_set(sub->told, topic->id);
	if (set_matched(skips, topic))
		send_match(skips->state, sub, topic);
	else
		skips_add(skips, topic->id);
}

void hbus_tell_ring(struct hbus_state *state, struct hbus_subscriber_state *sub,
		    const struct hbus_ring *ring)
{
	const struct hbus_ring_topic *carried;
	struct skips skips;

	skips_init(&skips, state, sub);
	TAILQ_FOREACH(carried, &ring->topics, in_ring)
		tell(&skips, carried->topic);
	skips_flush(&skips);
}

void hbus_tell_topic(struct hbus_state *state, struct hbus_subscriber_state *sub,
		     struct hbus_topic *topic)
{
	struct skips skips;

	skips_init(&skips, state, sub);
	tell(&skips, topic);
	skips_flush(&skips);
}

static void send_carried(struct hbus_state *state, struct hbus_subscriber_state *sub,
			 struct hbus_msg_ring_topics *msg)
{
	if (msg->n_ids == 0)
		return;
	hbus_state_send(state, sub->member, msg, NULL, 0);
	msg->n_ids = 0;
	memset(msg->ids, 0, sizeof(msg->ids));
}

static void carried_init(struct hbus_msg_ring_topics *msg, const struct hbus_subscriber_state *sub,
			 const struct hbus_ring *ring)
{
	hbus_msg_init(msg, HBUS_MSG_RING_TOPICS);
	msg->ring_id = ring->geometry.ring_id;
	msg->sub_id = sub->id;
}

void hbus_tell_carried(struct hbus_state *state, struct hbus_subscriber_state *sub,
		       const struct hbus_ring *ring)
{
	const struct hbus_ring_topic *carried;
	struct hbus_msg_ring_topics msg;

	carried_init(&msg, sub, ring);
	TAILQ_FOREACH(carried, &ring->topics, in_ring) {
		msg.ids[msg.n_ids++] = carried->topic->id;
		if (msg.n_ids == HBUS_SKIP_IDS)
			send_carried(state, sub, &msg);
	}
	send_carried(state, sub, &msg);
}

void hbus_tell_carries(struct hbus_state *state, struct hbus_subscriber_state *sub,
		       const struct hbus_ring *ring, const struct hbus_topic *topic)
{
	struct hbus_msg_ring_topics msg;

	carried_init(&msg, sub, ring);
	msg.ids[msg.n_ids++] = topic->id;
	send_carried(state, sub, &msg);
}

static bool tell_again(void *context, struct hbus_trie_entry *entry)
{
	struct skips *skips = context;
	struct hbus_subscriber_state *sub = skips->sub;
	struct hbus_topic *topic = hbus_container_of(entry, struct hbus_topic, by_name);
	bool was_told, was_matched;

	if (topic->id >= sub->n_bits)
		return true;
	was_told = bit_is_set(sub->told, topic->id);
	was_matched = bit_is_set(sub->matched, topic->id);
	if (!was_told && !was_matched)
		return true;
	if (set_matched(skips, topic) == was_matched || !was_told)
		return true;
	if (was_matched)
		skips_add(skips, topic->id);
	else
		send_match(skips->state, sub, topic);
	return true;
}

void hbus_tell_again(struct hbus_state *state, struct hbus_subscriber_state *sub,
		     const char *filter)
{
	struct skips skips;

	skips_init(&skips, state, sub);
	hbus_trie_match_names(&state->topic_names, filter, tell_again, &skips);
	skips_flush(&skips);
}

void hbus_tell_forget(struct hbus_subscriber_state *sub, uint32_t topic_id)
{
	if (topic_id >= sub->n_bits)
		return;
	bit_clear(sub->told, topic_id);
	bit_clear(sub->matched, topic_id);
}

void hbus_tell_all_again(struct hbus_subscriber_state *sub)
{
	if (sub->n_bits > 0)
		memset(sub->told, 0, sub->n_bits / 8);
}

void hbus_tell_unwant_all(struct hbus_state *state, struct hbus_subscriber_state *sub)
{
	for (uint32_t word = 0; word < sub->n_bits / 64; word++) {
		while (sub->matched[word]) {
			uint32_t id = word * 64 + (uint32_t)__builtin_ctzll(sub->matched[word]);
			struct hbus_topic *topic = hbus_topic_by_id(state, id);

			bit_clear(sub->matched, id);
			if (topic)
				hbus_topic_want(state, topic, -1);
		}
	}
}
