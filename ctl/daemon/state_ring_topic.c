/* SPDX-License-Identifier: BSD-3-Clause */
/* RING_TOPIC_ADD: one topic more on a ring that runs. */
#include "ctl/daemon/state_int.h"

static bool carries(const struct hbus_ring *ring, const struct hbus_topic *topic)
{
	const struct hbus_ring_topic *carried;

	LIST_FOREACH(carried, &topic->rings, in_topic)
		if (carried->ring == ring)
			return true;
	return false;
}

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

	*ret_is_new = false;
	if (r == 0)
		r = hbus_topic_obtain(state, member, msg->name, msg->type, msg->content_type,
				      ret_topic, ret_text);
	if (r < 0 || carries(ring, *ret_topic))
		return r;
	r = check_shares(state, ring, *ret_topic, ret_text);
	if (r == 0 && !hbus_ring_link_topic(ring, *ret_topic)) {
		*ret_text = "the daemon has no memory";
		r = HBUS_E_NO_MEMORY;
	}
	if (r < 0) {
		hbus_topic_check_unused(state, *ret_topic);
		*ret_topic = NULL;
	}
	*ret_is_new = r == 0;
	return r;
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
	struct hbus_pending *pending;
	const char *text = "no such ring of this client is running";
	bool is_new = false;
	int r = HBUS_E_NOT_FOUND;

	if (ring && (ring->phase == HBUS_RING_RUNNING || ring->phase == HBUS_RING_ANNOUNCING))
		r = topic_add(state, member, ring, msg, &topic, &is_new, &text);
	pending = r == 0 && is_new && member->phase == HBUS_MEMBER_READY ?
			  hbus_pending_new(state, member, &msg->header) : NULL;
	if (!pending) {
		hbus_state_reply(state, member, &msg->header, r, text, topic ? topic->id : 0);
		return;
	}
	pending->value[0] = topic->id;
	tell_readers(state, ring, topic);
	hbus_ring_attach_matching(state, ring, topic, HBUS_FROM_NEWEST, pending);
	if (topic->n_wanted > 0 || !state->is_restarting)
		hbus_topic_tell_interest(state, topic, member);
	hbus_pending_done(state, pending);
}
