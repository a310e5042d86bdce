/* SPDX-License-Identifier: BSD-3-Clause */
/* Attachments towards the publisher: the place in its table, the gate that is added and removed there. See state_attach.c. */
#include "ctl/daemon/state_int.h"

#define LOSSY_IDX_MIN HBUS_RING_GATES_MAX /* indexes below are kept for reliable subscribers */

bool hbus_attachment_is_reliable(const struct hbus_attachment *att)
{
	return att->sub && (att->sub->flags & HBUS_SUB_RELIABLE);
}

void hbus_attachment_announced(struct hbus_state *state, struct hbus_attachment *att)
{
	if (!att->is_announcing)
		return;
	att->is_announcing = false;
	if (att->ring->phase == HBUS_RING_ANNOUNCING)
		hbus_ring_gate_done(state, att->ring);
}

void hbus_attachment_free_idx(struct hbus_attachment *att)
{
	if (att->attach_idx != HBUS_ATTACH_NONE)
		att->ring->by_idx[att->attach_idx] = NULL;
	att->attach_idx = HBUS_ATTACH_NONE;
}

bool hbus_attachment_take_idx(struct hbus_attachment *att)
{
	uint32_t first = hbus_attachment_is_reliable(att) ? 0 : LOSSY_IDX_MIN;
	uint32_t end = hbus_attachment_is_reliable(att) ? HBUS_RING_GATES_MAX : HBUS_RING_WAKERS_MAX;

	for (uint32_t i = first; i < end; i++) {
		if (!att->ring->by_idx[i]) {
			att->ring->by_idx[i] = att;
			att->attach_idx = i;
			return true;
		}
	}
	return false;
}

static void send_gate_add(struct hbus_state *state, struct hbus_attachment *att)
{
	struct hbus_fd *fds[3] = { att->slots, att->pidfd };
	struct hbus_msg_gate_add msg;
	size_t n_fds = 2;

	hbus_msg_init(&msg, HBUS_MSG_GATE_ADD);
	msg.header.serial = hbus_state_next_serial(state);
	msg.ring_id = att->ring->geometry.ring_id;
	msg.gate_id = att->gate_id;
	msg.attach_idx = att->attach_idx;
	if (att->sub) {
		msg.subscriber_id = att->sub->member->id;
		msg.n_slots = att->sub->memfds[att->memfd_idx].n_slots;
		msg.stall_ms = att->sub->stall_ms;
		msg.flags = hbus_attachment_is_reliable(att) ? HBUS_GATE_RELIABLE : 0;
	}
	msg.slot_idx = att->slot_idx;
	if (att->doorbell) {
		fds[n_fds++] = att->doorbell->publisher_end;
		msg.flags |= HBUS_GATE_HAS_DOORBELL;
	}
	hbus_state_send(state, att->ring->owner, &msg, fds, n_fds);
}

static void send_gate_remove(struct hbus_state *state, struct hbus_attachment *att)
{
	struct hbus_msg_gate msg;

	hbus_msg_init(&msg, HBUS_MSG_GATE_REMOVE);
	msg.header.serial = hbus_state_next_serial(state);
	msg.ring_id = att->ring->geometry.ring_id;
	msg.gate_id = att->gate_id;
	msg.attach_idx = att->attach_idx;
	hbus_state_send(state, att->ring->owner, &msg, NULL, 0);
}

void hbus_attachment_add_gate(struct hbus_state *state, struct hbus_attachment *att)
{
	struct hbus_subscriber_state *sub = att->sub;

	if ((sub->flags & HBUS_SUB_DOORBELL) && !att->doorbell)
		att->doorbell = hbus_doorbell_get(state, sub, att->ring->publisher_id);
	/* It may have had a gate before, and have lost it with its right to read. */
	hbus_fd_put(att->pidfd);
	hbus_fd_put(att->slots);
	att->pidfd = hbus_fd_get(sub->member->pidfd);
	att->slots = hbus_fd_get(sub->memfds[att->memfd_idx].fd);
	att->gate = HBUS_GATE_ADDING;
	if (att->ring->phase == HBUS_RING_ANNOUNCING) {
		att->is_announcing = true;
		att->ring->n_gates_pending++;
	}
	hbus_deadline_arm(&state->deadlines, &att->deadline, HBUS_WAIT_GATE, state->now_ns);
	send_gate_add(state, att);
}

void hbus_attachment_remove_gate(struct hbus_state *state, struct hbus_attachment *att)
{
	if (att->gate == HBUS_GATE_INSTALLED && att->ring->owner) {
		att->gate = HBUS_GATE_REMOVING;
		hbus_deadline_arm(&state->deadlines, &att->deadline, HBUS_WAIT_GATE,
				  state->now_ns);
		send_gate_remove(state, att);
	} else if (att->gate == HBUS_GATE_NONE || !att->ring->owner) {
		hbus_attachment_finish(state, att);
	}
	/* ADDING and REMOVING: the answer comes. */
}

/* After a restart: the publisher's table may hold what this daemon has never heard of. */
void hbus_ring_sweep_gates(struct hbus_state *state, const struct hbus_ring *ring)
{
	struct hbus_msg_gate msg;

	if (!ring->owner)
		return;
	hbus_msg_init(&msg, HBUS_MSG_GATE_REMOVE);
	msg.ring_id = ring->geometry.ring_id;
	msg.attach_idx = HBUS_ATTACH_NONE;
	hbus_state_send(state, ring->owner, &msg, NULL, 0);
}

void hbus_attachment_repeat_gate(struct hbus_state *state, struct hbus_attachment *att)
{
	switch (att->gate) {
	case HBUS_GATE_NONE:
		hbus_attachment_retry(state, att);
		break;
	case HBUS_GATE_ADDING:
	case HBUS_GATE_INSTALLED:
		send_gate_add(state, att);
		break;
	case HBUS_GATE_REMOVING:
		send_gate_remove(state, att);
		break;
	}
}

/* ---- answers ---- */

static void gate_added(struct hbus_state *state, struct hbus_attachment *att, int status)
{
	hbus_deadline_disarm(&state->deadlines, &att->deadline);
	if (status == 0) {
		att->gate = HBUS_GATE_INSTALLED;
	} else {
		att->gate = HBUS_GATE_NONE;
		att->is_without_gate = true;
		hbus_attachment_free_idx(att);
	}
	if (att->reader == HBUS_READER_GONE) {
		hbus_attachment_announced(state, att);
		hbus_attachment_remove_gate(state, att);
		return;
	}
	if (status == 0 && att->is_without_gate) {
		att->is_without_gate = false;
		if (att->reader == HBUS_READER_OPENED || att->reader == HBUS_READER_MAPPED)
			hbus_attachment_tell(state, att, HBUS_MSG_RING_LIVE, 0);
	}
	hbus_attachment_announced(state, att);
	hbus_attachment_open(state, att);
}

static void gate_removed(struct hbus_state *state, struct hbus_attachment *att)
{
	hbus_deadline_disarm(&state->deadlines, &att->deadline);
	att->gate = HBUS_GATE_NONE;
	hbus_attachment_free_idx(att);
	if (att->reader == HBUS_READER_GONE)
		hbus_attachment_finish(state, att);
}

void hbus_attachment_gate_answer(struct hbus_state *state, struct hbus_member *member,
				 const struct hbus_msg_gate *msg)
{
	struct hbus_ring *ring = hbus_ring_find(state, msg->ring_id);
	struct hbus_attachment *att;

	if (!ring || ring->owner != member || msg->attach_idx >= HBUS_RING_WAKERS_MAX)
		return;
	att = ring->by_idx[msg->attach_idx];
	if (!att || att->gate_id != msg->gate_id)
		return;
	if (msg->header.type == HBUS_MSG_GATE_ADDED && att->gate == HBUS_GATE_ADDING)
		gate_added(state, att, msg->status);
	else if (msg->header.type == HBUS_MSG_GATE_REMOVED && att->gate == HBUS_GATE_REMOVING) {
		gate_removed(state, att);
	}
}

/*
 * The publisher has not answered for a while. A lossy reader begins without its wake-up; a reliable
 * one goes on waiting, since it was promised that nothing is lost.
 */
void hbus_attachment_expired(struct hbus_state *state, struct hbus_attachment *att)
{
	if (att->gate != HBUS_GATE_ADDING || att->reader != HBUS_READER_WAITING ||
	    hbus_attachment_is_reliable(att) || att->ring->phase != HBUS_RING_RUNNING)
		return;
	att->is_without_gate = true;
	hbus_attachment_open(state, att);
}
