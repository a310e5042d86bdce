/* SPDX-License-Identifier: BSD-3-Clause */
/* RING_TOPIC_ADD: one topic more on a ring that runs; and what a ring carries in the journal. */
#include <string.h>

#include "ctl/daemon/state_int.h"

static struct hbus_ring_topic *find_carried(const struct hbus_ring *ring, const struct hbus_topic *topic)
{
	struct hbus_ring_topic *carried;

	LIST_FOREACH(carried, &topic->rings, in_topic)
		if (carried->ring == ring)
			return carried;
	return NULL;
}

/* ---- the journal ---- */

/*
 * A topic's number stands in events of the ring: as long as its owner may come back the number has to stay, and mean
 * the same, though nobody has said so yet.
 */
void hbus_ring_save_topic(const struct hbus_ring_topic *carried, struct hbus_journal_record *record)
{
	memset(record, 0, sizeof(*record));
	record->kind = HBUS_RECORD_RING_TOPIC;
	record->id = carried->ring->geometry.ring_id;
	record->topic_id = carried->topic->id;
}

void hbus_ring_persist_topic(struct hbus_state *state, const struct hbus_ring_topic *carried)
{
	struct hbus_journal_record record;

	hbus_ring_save_topic(carried, &record);
	hbus_state_persist(state, &record);
}

bool hbus_ring_restore_topic(struct hbus_state *state, const struct hbus_journal_record *record)
{
	struct hbus_ring *ring = hbus_ring_find(state, record->id);
	struct hbus_topic *topic = hbus_topic_by_id(state, record->topic_id);

	return ring && topic && ring->phase == HBUS_RING_RESTORED && !find_carried(ring, topic) &&
	       hbus_ring_link_topic(ring, topic);
}

/* ---- RING_TOPIC_ADD ---- */

/* May the ring carry this topic too? */
static int check_shares(struct hbus_state *state, const struct hbus_ring *ring,
			const struct hbus_topic *topic, const char **ret_text)
{
	const struct hbus_ring_topic *first = TAILQ_FIRST(&ring->topics);

	if (!first || first->topic == topic)
		return 0;
	if ((first->topic->flags | topic->flags) & HBUS_TOPIC_HOT) {
		*ret_text = "one of the topics has a ring of its own";
		return HBUS_E_POLICY;
	}
	if (!hbus_policy_same_readers(&state->policy, first->topic->name, topic->name)) {
		*ret_text = "the topic has other readers than the ring";
		return HBUS_E_POLICY;
	}
	return 0;
}

static void tell_readers(struct hbus_state *state, struct hbus_ring *ring,
			 struct hbus_topic *topic)
{
	struct hbus_attachment *att;

	LIST_FOREACH(att, &ring->attachments, in_ring)
		if (att->sub &&
		    (att->reader == HBUS_READER_OPENED || att->reader == HBUS_READER_MAPPED)) {
			hbus_tell_topic(state, att->sub, topic);
			hbus_tell_carries(state, att->sub, ring, topic);
		}
}

static int topic_add(struct hbus_state *state, struct hbus_member *member, struct hbus_ring *ring,
		     const struct hbus_msg_ring_topic_add *msg, struct hbus_topic **ret_topic,
		     bool *ret_is_new, const char **ret_text)
{
	int r = hbus_ring_check_topic(state, member, msg->name, ret_text);
	bool is_carried;

	*ret_is_new = false;
	if (r == 0)
		r = hbus_topic_obtain(state, member, msg->name, msg->type, msg->content_type,
				      ret_topic, ret_text);
	if (r < 0)
		return r;
	is_carried = find_carried(ring, *ret_topic) != NULL;
	/* Who comes back says its topics again, perhaps to a daemon with other rules: what was in the ring stays in it, and
	 * only who may read all of it may have it. */
	if (is_carried)
		return 0;
	r = check_shares(state, ring, *ret_topic, ret_text);
	if (r == 0 && !is_carried && !hbus_ring_link_topic(ring, *ret_topic)) {
		*ret_text = HBUS_NO_MEMORY_TEXT;
		r = HBUS_E_NO_MEMORY;
	}
	if (r < 0) {
		hbus_topic_check_unused(state, *ret_topic);
		*ret_topic = NULL;
	}
	*ret_is_new = r == 0 && !is_carried;
	return r;
}

/* It is refused what it had: its readers do not believe that number any more. */
static void take_away(struct hbus_state *state, const struct hbus_ring *ring, const char *name)
{
	struct hbus_topic *topic = hbus_topic_find(state, name);
	struct hbus_ring_topic *carried = topic ? find_carried(ring, topic) : NULL;

	if (carried)
		hbus_ring_unlink_topic(state, carried);
}

/*
 * The reply waits until the readers that the topic brings have mapped the ring: what is published on
 * it from then on is behind the place where they begin.
 */
void hbus_ring_topic_add(struct hbus_state *state, struct hbus_member *member,
			 const struct hbus_msg_ring_topic_add *msg)
{
	struct hbus_ring *ring = hbus_ring_find_own(state, member, msg->ring_id);
	struct hbus_topic *topic = NULL;
	struct hbus_pending *pending = NULL;
	const char *text = "no such ring of this client is running";
	bool is_running = ring && (ring->phase == HBUS_RING_RUNNING || ring->phase == HBUS_RING_ANNOUNCING);
	bool waits = is_running && member->phase == HBUS_MEMBER_READY;
	bool is_new = false, has_all;
	int r = HBUS_E_NOT_FOUND;

	if (waits)
		pending = hbus_pending_new(state, member, &msg->header);
	if (waits && !pending) {
		r = HBUS_E_NO_MEMORY;
		text = HBUS_NO_MEMORY_TEXT;
	} else if (is_running)
		r = topic_add(state, member, ring, msg, &topic, &is_new, &text);
	/* Not from a ring that is only granted: it is announced with the topic that it was granted for. */
	if (r < 0 && is_running && member->phase == HBUS_MEMBER_RESUMING)
		take_away(state, ring, msg->name);
	if (is_new)
		hbus_ring_persist_topic(state, find_carried(ring, topic));
	if (!pending || !is_new) {
		hbus_pending_drop(state, pending);
		hbus_state_reply(state, member, &msg->header, r, text, topic ? topic->id : 0);
		return;
	}
	pending->value[0] = topic->id;
	tell_readers(state, ring, topic);
	has_all = hbus_ring_attach_matching(state, ring, topic, HBUS_FROM_NEWEST, pending);
	if (topic->n_wanted > 0 || !state->is_restarting)
		hbus_topic_tell_interest(state, topic, member);
	/* Who tries again finds it new again, and so do those who could not have it now. */
	if (!has_all) {
		take_away(state, ring, msg->name);
		pending->status = HBUS_E_NO_MEMORY;
		pending->text = HBUS_NO_MEMORY_TEXT;
	}
	hbus_pending_done(state, pending);
}
