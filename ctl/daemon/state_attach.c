/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attachments: one subscriber on one ring
 *
 * Two things happen side by side. Towards the publisher: NONE -> ADDING -> INSTALLED -> REMOVING ->
 * NONE (state_gate.c). Towards the reader: WAITING -> OPENED -> MAPPED -> LEAVING -> GONE, and from LEAVING back to
 * OPENED when it is asked to stay. The reader is told of the
 * ring when the publisher has installed its gate. An attachment is freed when the reader is GONE and
 * the gate NONE; only then its slot and attach index may mean something else.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/state_int.h"

struct hbus_attachment *hbus_attachment_find(struct hbus_ring *ring,
					     struct hbus_subscriber_state *sub)
{
	struct hbus_attachment *att;

	if (ring->n_attachments < sub->n_attachments) {
		LIST_FOREACH(att, &ring->attachments, in_ring)
			if (att->sub == sub)
				return att;
	} else {
		LIST_FOREACH(att, &sub->attachments, in_sub)
			if (att->ring == ring)
				return att;
	}
	return NULL;
}

static struct hbus_attachment *attachment_new(struct hbus_state *state, struct hbus_ring *ring,
					      struct hbus_subscriber_state *sub)
{
	struct hbus_attachment *att = calloc(1, sizeof(*att));

	if (!att)
		return NULL;
	att->ring = ring;
	att->sub = sub;
	att->attach_idx = att->memfd_idx = att->slot_idx = HBUS_ATTACH_NONE;
	LIST_INSERT_HEAD(&ring->attachments, att, in_ring);
	LIST_INSERT_HEAD(&sub->attachments, att, in_sub);
	ring->n_attachments++;
	sub->n_attachments++;
	state->n_attachments++;
	return att;
}

static void done(struct hbus_state *state, struct hbus_pending **pending)
{
	struct hbus_pending *old = *pending;

	*pending = NULL;
	hbus_pending_done(state, old);
}

void hbus_attachment_orphan(struct hbus_attachment *att)
{
	if (!att->sub)
		return;
	hbus_slot_give(att->sub, att);
	if (att->doorbell)
		hbus_doorbell_put(att->doorbell);
	att->doorbell = NULL;
	LIST_REMOVE(att, in_sub);
	att->sub->n_attachments--;
	att->sub = NULL;
}

/* One whose reply has gone out, since its time was over, holds the place for nobody. */
static void wait_for(struct hbus_state *state, struct hbus_pending **place, struct hbus_pending *pending)
{
	if (pending && *place && !(*place)->member)
		done(state, place);
	if (!pending || *place)
		return;
	*place = pending;
	pending->n_waiting++;
}

/* Who waited for the attachment that is over waits for the one that follows it. */
static void wait_on(struct hbus_state *state, uint64_t ring_id, struct hbus_subscriber_state *sub,
		    struct hbus_pending *opening, struct hbus_pending *accepting)
{
	struct hbus_ring *ring = hbus_ring_find(state, ring_id);
	struct hbus_attachment *next = ring ? hbus_attachment_find(ring, sub) : NULL;

	if (next && next->reader == HBUS_READER_WAITING)
		wait_for(state, &next->opening, opening);
	if (next && next->reader < HBUS_READER_MAPPED)
		wait_for(state, &next->accepting, accepting);
}

/* Both sides are done with it. A subscriber that asked for the ring again meanwhile gets it now. */
void hbus_attachment_finish(struct hbus_state *state, struct hbus_attachment *att)
{
	struct hbus_subscriber_state *sub = att->sub;
	struct hbus_ring *ring = att->ring;
	struct hbus_pending *opening = att->opening, *accepting = att->accepting, *closing = att->closing;
	uint64_t ring_id = ring->geometry.ring_id;
	bool is_wanted_again = att->is_wanted_again && sub && !sub->is_closing;

	hbus_deadline_disarm(&state->deadlines, &att->deadline);
	hbus_attachment_announced(state, att);
	hbus_attachment_free_idx(att);
	hbus_attachment_orphan(att);
	LIST_REMOVE(att, in_ring);
	ring->n_attachments--;
	state->n_attachments--;
	hbus_fd_put(att->pidfd);
	hbus_fd_put(att->slots);
	free(att);
	hbus_ring_check_over(state, ring);
	if (sub && sub->is_slotless && !sub->is_closing)
		hbus_sub_retry(state, sub);
	if (is_wanted_again) {
		hbus_sub_attach_all(state, sub);
		wait_on(state, ring_id, sub, opening, accepting);
	}
	hbus_pending_done(state, opening);
	hbus_pending_done(state, accepting);
	hbus_pending_done(state, closing);
}

/* ---- towards the reader ---- */

void hbus_attachment_tell(struct hbus_state *state, struct hbus_attachment *att, enum hbus_msg_type type, uint32_t flags)
{
	struct hbus_msg_ring_event msg;

	hbus_msg_init(&msg, type);
	msg.header.serial = att->stay_serial;
	msg.ring_id = att->ring->geometry.ring_id;
	msg.sub_id = att->sub->id;
	msg.flags = flags;
	hbus_state_send(state, att->sub->member, &msg, NULL, 0);
	att->is_end_said = type == HBUS_MSG_RING_ENDED;
}

static void send_opened(struct hbus_state *state, struct hbus_attachment *att)
{
	const struct hbus_ring *ring = att->ring;
	struct hbus_fd *fds[3] = { ring->read_fds[0], ring->read_fds[1] };
	struct hbus_msg_ring_opened msg;
	size_t n_fds = 2;

	hbus_msg_init(&msg, HBUS_MSG_RING_OPENED);
	msg.geometry = (struct hbus_wire_geometry){
		ring->geometry.ring_id,	 ring->geometry.capacity, ring->geometry.start,
		HBUS_LAYOUT_VERSION,	 HBUS_LAYOUT_HASH,	  ring->geometry.is_huge,
		ring->geometry.is_isolated,
	};
	msg.gate_id = att->gate_id;
	msg.publisher_id = ring->publisher_id;
	msg.sub_id = att->sub->id;
	msg.flags = (att->is_from_start ? HBUS_OPENED_FROM_START : 0) |
		    (att->is_without_gate ? HBUS_OPENED_NO_SLOT : 0);
	msg.memfd_idx = att->memfd_idx;
	msg.slot_idx = att->slot_idx;
	msg.attach_idx = att->attach_idx;
	msg.publisher_uid = ring->uid;
	memcpy(msg.publisher_name, ring->publisher_name, sizeof(msg.publisher_name));
	if (att->doorbell && !att->doorbell->is_sent) {
		fds[n_fds++] = att->doorbell->subscriber_end;
		msg.has_doorbell = 1;
	}
	hbus_state_send(state, att->sub->member, &msg, fds, n_fds);
	if (msg.has_doorbell)
		att->doorbell->is_sent = att->sub->member->conn != NULL;
}

void hbus_attachment_open(struct hbus_state *state, struct hbus_attachment *att)
{
	const struct hbus_ring *ring = att->ring;
	bool is_time = ring->phase == HBUS_RING_RUNNING ||
		       (ring->phase == HBUS_RING_ENDED && ring->was_running);

	if (att->reader != HBUS_READER_WAITING || !att->sub || !ring->read_fds[0] || !is_time)
		return;
	if (att->gate != HBUS_GATE_INSTALLED && !att->is_without_gate)
		return;
	/* First what its numbers mean: this daemon may be killed at any moment, and a ring without that cannot be read. */
	hbus_tell_ring(state, att->sub, ring);
	hbus_tell_carried(state, att->sub, ring);
	att->reader = HBUS_READER_OPENED;
	att->is_held = att->sub->member->conn != NULL;
	send_opened(state, att);
	att->stay_serial = 0;
	if (att->opening)
		att->opening->value[0]++;
	done(state, &att->opening);
}

/* ---- coming ---- */

void hbus_attachment_retry(struct hbus_state *state, struct hbus_attachment *att)
{
	if (att->reader != HBUS_READER_WAITING || att->gate != HBUS_GATE_NONE || !att->sub ||
	    att->is_without_gate || !att->ring->owner)
		return;
	if (att->memfd_idx == HBUS_ATTACH_NONE && !hbus_slot_take(att->sub, att)) {
		att->sub->is_slotless = true;
		return;
	}
	if (att->attach_idx == HBUS_ATTACH_NONE && !hbus_attachment_take_idx(att)) {
		att->is_without_gate = true;
		hbus_attachment_open(state, att);
		return;
	}
	hbus_attachment_add_gate(state, att);
}

/* A ring takes only topics with the same readers; rules that come later may tell them apart. */
static bool is_uniform(const struct hbus_state *state, struct hbus_ring *ring)
{
	const struct hbus_ring_topic *carried;

	if (ring->judged_at == state->n_policies)
		return ring->is_uniform;
	ring->judged_at = state->n_policies;
	ring->is_uniform = true;
	TAILQ_FOREACH(carried, &ring->topics, in_ring)
		ring->is_uniform = ring->is_uniform && hbus_policy_same_readers(&state->policy, hbus_ring_first_topic(ring),
										 carried->topic->name);
	return ring->is_uniform;
}

static bool may_read_topic(const struct hbus_state *state, const struct hbus_subscriber_state *sub,
			   const struct hbus_ring *ring, const char *topic)
{
	const struct hbus_cred *cred = &sub->member->cred;

	if (!hbus_policy_allows(&state->policy, cred, HBUS_RIGHT_SUBSCRIBE, topic, ring->uid))
		return false;
	return !(sub->flags & HBUS_SUB_RELIABLE) ||
	       hbus_policy_allows(&state->policy, cred, HBUS_RIGHT_RELIABLE, topic, ring->uid);
}

/* Whoever maps a ring sees all that is in it. */
bool hbus_sub_may_read(const struct hbus_state *state, const struct hbus_subscriber_state *sub,
		       struct hbus_ring *ring)
{
	const struct hbus_ring_topic *carried;

	if (is_uniform(state, ring))
		return may_read_topic(state, sub, ring, hbus_ring_first_topic(ring));
	TAILQ_FOREACH(carried, &ring->topics, in_ring)
		if (!may_read_topic(state, sub, ring, carried->topic->name))
			return false;
	return true;
}

/*
 * It was told to leave the ring because nothing asked for it any more; now something does. Whether it had left already
 * is known when it answers: RING_ACCEPT, or SUB_RING_DONE as if it had heard nothing. Its thread that polls may be the one
 * that waits for the reply, so this must not wait for that thread.
 */
static void stay(struct hbus_state *state, struct hbus_attachment *att)
{
	/* Else it would say that it stays, where it has lost its gate. */
	if (att->end_flags != 0)
		hbus_attachment_repeat_end(state, att);
	att->reader = HBUS_READER_OPENED;
	att->stay_serial = hbus_state_next_serial(state);
	hbus_tell_ring(state, att->sub, att->ring);
	hbus_tell_carried(state, att->sub, att->ring);
	hbus_attachment_tell(state, att, HBUS_MSG_RING_LIVE, HBUS_LIVE_STAYS);
}

/* Whoever waits for the answer need not any more. */
static void asked(struct hbus_state *state, struct hbus_attachment *att, enum hbus_reader_phase reader)
{
	att->reader = reader;
	att->stay_serial = 0;
	if (att->opening)
		att->opening->value[0]++;
	done(state, &att->opening);
	done(state, &att->accepting);
}

static void stays(struct hbus_state *state, struct hbus_attachment *att)
{
	asked(state, att, HBUS_READER_MAPPED);
}

/*
 * It still has to leave (it may read the ring again after it might not, or its publisher has given its gate up), and reads the ring
 * anew from where it stands now, which it has noted: the reply need not wait for its thread.
 */
static void cannot_stay(struct hbus_state *state, struct hbus_attachment *att)
{
	att->is_end_said = true;
	att->is_wanted_again = true;
	att->cannot_stay = true;
	asked(state, att, HBUS_READER_LEAVING);
}

static bool may_stay(const struct hbus_attachment *att)
{
	return att->reader == HBUS_READER_LEAVING && att->ring->phase == HBUS_RING_RUNNING && att->sub->member->conn;
}

/* The subscriber has it already, or had it until now. */
static void attach_again(struct hbus_state *state, struct hbus_attachment *att, struct hbus_pending *opening,
			 struct hbus_pending *accepting)
{
	/* Wanted again it may also be because of a topic that came while it was not connected. */
	att->cannot_stay = att->cannot_stay && att->is_wanted_again;
	if (may_stay(att) && !att->cannot_stay)
		stay(state, att);
	if (att->stay_serial != 0 || (att->reader == HBUS_READER_GONE && att->gate != HBUS_GATE_NONE)) {
		wait_for(state, &att->opening, opening);
		wait_for(state, &att->accepting, accepting);
	} else if (opening) {
		opening->value[0]++;
	}
	att->is_wanted_again = att->reader >= HBUS_READER_LEAVING;
}

int hbus_attach(struct hbus_state *state, struct hbus_ring *ring,
		struct hbus_subscriber_state *sub, bool is_from_start, struct hbus_pending *opening,
		struct hbus_pending *accepting)
{
	struct hbus_attachment *att;

	if (sub->is_closing || sub->is_resuming)
		return 0;
	att = hbus_attachment_find(ring, sub);
	if (!att) {
		if (!hbus_sub_may_read(state, sub, ring))
			return HBUS_E_DENIED;
		if (sub->n_attachments >= HBUS_ATTACHMENTS_MAX)
			return HBUS_E_LIMIT;
		att = attachment_new(state, ring, sub);
		if (!att)
			return HBUS_E_NO_MEMORY;
		att->gate_id = hbus_state_new_id(state);
		att->is_from_start = is_from_start;
		wait_for(state, &att->opening, opening);
		wait_for(state, &att->accepting, accepting);
		hbus_attachment_retry(state, att);
		return 0;
	}
	if (att->reader >= HBUS_READER_LEAVING && !hbus_sub_may_read(state, sub, ring))
		return HBUS_E_DENIED;
	if (att->reader != HBUS_READER_WAITING) {
		attach_again(state, att, opening, accepting);
		return 0;
	}
	/* Of several filters that ask for the ring, the one that was there before it decides. */
	att->is_from_start |= is_from_start;
	wait_for(state, &att->opening, opening);
	return 0;
}

/* Its answer is lost. One that has to leave all the same is told so again, and asked again when it wants the ring. */
static void held_while_asked(struct hbus_state *state, struct hbus_attachment *att)
{
	if (att->stay_serial == 0 || att->end_flags == 0) {
		stays(state, att);
		return;
	}
	cannot_stay(state, att);
	att->cannot_stay = att->is_end_said = false;
}

bool hbus_attach_held(struct hbus_state *state, struct hbus_ring *ring,
		      struct hbus_subscriber_state *sub, const struct hbus_msg_sub_held *msg)
{
	struct hbus_attachment *att = hbus_attachment_find(ring, sub);

	if (att) {
		att->is_held = att->gate_id == msg->gate_id && att->reader != HBUS_READER_WAITING;
		if (att->is_held && att->reader == HBUS_READER_OPENED)
			held_while_asked(state, att);
		return att->is_held;
	}
	/* Of one that runs: the subscriber was stopped, say, and came back when it was given up. It reads on where it was. */
	if (ring->phase != HBUS_RING_RESTORED && ring->phase != HBUS_RING_RUNNING && !ring->was_restored)
		return false;
	if (msg->attach_idx != HBUS_ATTACH_NONE &&
	    (msg->attach_idx >= HBUS_RING_WAKERS_MAX ||
	     (msg->attach_idx < HBUS_RING_GATES_MAX) != !!(sub->flags & HBUS_SUB_RELIABLE)))
		return false;
	if (!hbus_slot_take_this(sub, msg->memfd_idx, msg->slot_idx))
		return false;
	att = attachment_new(state, ring, sub);
	if (!att)
		return false;
	att->gate_id = msg->gate_id;
	att->memfd_idx = msg->memfd_idx;
	att->slot_idx = msg->slot_idx;
	/* Its place may have been given to another meanwhile: then it looks for itself, and gates no more. */
	att->attach_idx = msg->attach_idx != HBUS_ATTACH_NONE && ring->by_idx[msg->attach_idx] ? HBUS_ATTACH_NONE
											       : msg->attach_idx;
	att->is_held = att->was_claimed = true;
	att->reader = HBUS_READER_MAPPED;
	att->is_without_gate = att->attach_idx == HBUS_ATTACH_NONE;
	if (!att->is_without_gate)
		ring->by_idx[att->attach_idx] = att;
	return true;
}

/*
 * The publisher of a restored ring is back and has said its topics: what its readers hold is checked
 * against policy now, then the publisher is asked to confirm the gate.
 */
void hbus_attachment_confirm_held(struct hbus_state *state, struct hbus_attachment *att)
{
	if (!att->sub || att->gate != HBUS_GATE_NONE || att->reader != HBUS_READER_MAPPED)
		return;
	/* Its slot is its own until it says that it is done. */
	if (!hbus_sub_may_read(state, att->sub, att->ring)) {
		hbus_attachment_leave(state, att, HBUS_ENDED_REVOKED);
		return;
	}
	hbus_tell_ring(state, att->sub, att->ring);
	hbus_tell_carried(state, att->sub, att->ring);
	if (!att->is_without_gate)
		hbus_attachment_add_gate(state, att);
}

/* ---- going ---- */

void hbus_attachment_leave(struct hbus_state *state, struct hbus_attachment *att, uint32_t flags)
{
	switch (att->reader) {
	case HBUS_READER_WAITING:
		hbus_attachment_reader_gone(state, att);
		break;
	case HBUS_READER_OPENED:
	case HBUS_READER_MAPPED:
		att->reader = HBUS_READER_LEAVING;
		att->end_flags = flags;
		att->stay_serial = 0;
		done(state, &att->opening);
		done(state, &att->accepting);
		hbus_attachment_tell(state, att, HBUS_MSG_RING_ENDED, flags);
		/* Who may not read any more holds nobody back, whether it says that it is done or not. */
		if ((flags & HBUS_ENDED_REVOKED) && att->gate == HBUS_GATE_INSTALLED)
			hbus_attachment_remove_gate(state, att);
		break;
	case HBUS_READER_LEAVING:
	case HBUS_READER_GONE:
		break;
	}
}

void hbus_attachment_repeat_end(struct hbus_state *state, struct hbus_attachment *att)
{
	if (att->is_end_said)
		return;
	if (att->reader == HBUS_READER_LEAVING)
		hbus_attachment_tell(state, att, HBUS_MSG_RING_ENDED, att->end_flags);
	else if (att->ring->phase == HBUS_RING_ENDED)
		hbus_attachment_tell(state, att, HBUS_MSG_RING_ENDED, att->ring->end_flags);
}

void hbus_attachment_reader_gone(struct hbus_state *state, struct hbus_attachment *att)
{
	bool was_there = att->reader != HBUS_READER_GONE;

	att->reader = HBUS_READER_GONE;
	att->stay_serial = 0;
	if (!att->is_wanted_again) {
		done(state, &att->opening);
		done(state, &att->accepting);
	}
	if (att->charged) {
		hbus_account_release(att->charged, HBUS_QUOTA_BYTES, att->n_charged);
		hbus_account_put(att->charged);
		att->charged = NULL;
	}
	if (was_there || !att->ring->owner)
		hbus_attachment_remove_gate(state, att);
}

void hbus_attachment_ring_ended(struct hbus_state *state, struct hbus_attachment *att)
{
	struct hbus_ring *ring = att->ring;

	hbus_deadline_disarm(&state->deadlines, &att->deadline);
	done(state, &att->accepting);
	att->is_announcing = false;
	if (att->gate != HBUS_GATE_INSTALLED)
		att->is_without_gate = true;
	att->gate = HBUS_GATE_NONE;
	switch (att->reader) {
	case HBUS_READER_WAITING:
		if (ring->was_running && ring->read_fds[0]) {
			if (att->memfd_idx == HBUS_ATTACH_NONE)
				hbus_slot_take(att->sub, att);
			hbus_attachment_open(state, att);
			hbus_attachment_tell(state, att, HBUS_MSG_RING_ENDED, ring->end_flags);
		} else {
			hbus_attachment_reader_gone(state, att);
		}
		break;
	case HBUS_READER_OPENED:
	case HBUS_READER_MAPPED:
		if (att->stay_serial != 0)
			stays(state, att);
		hbus_attachment_tell(state, att, HBUS_MSG_RING_ENDED, ring->end_flags);
		break;
	case HBUS_READER_LEAVING:
		break;
	case HBUS_READER_GONE:
		hbus_attachment_finish(state, att);
		break;
	}
}

/* ---- answers ---- */

void hbus_attachment_accept(struct hbus_state *state, struct hbus_member *member,
			    const struct hbus_msg_ring_accept *msg)
{
	struct hbus_ring *ring = hbus_ring_find(state, msg->ring_id);
	struct hbus_subscriber_state *sub = hbus_sub_find(member, msg->sub_id);
	struct hbus_attachment *att = ring && sub ? hbus_attachment_find(ring, sub) : NULL;

	if (!att || att->reader != HBUS_READER_OPENED)
		return;
	/* The answer to RING_OPENED, from before it was told to leave. */
	if (msg->status == 0 && att->stay_serial != 0 && msg->header.serial != att->stay_serial)
		return;
	if (att->stay_serial != 0 && (msg->status == HBUS_E_BUSY || att->end_flags != 0)) {
		cannot_stay(state, att);
		return;
	}
	if (msg->status != 0) {
		hbus_state_log(state, HBUS_LOG_WARNING, member,
			       "event=ring-refused ring=%llx status=%d",
			       (unsigned long long)msg->ring_id, msg->status);
		hbus_attachment_reader_gone(state, att);
		return;
	}
	stays(state, att);
	hbus_ring_check_over(state, ring);
}
