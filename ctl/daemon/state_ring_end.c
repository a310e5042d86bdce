/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of rings: told to readers, kept for those who have not mapped them yet, then freed. */
#include "ctl/daemon/state_int.h"

void hbus_ring_close(struct hbus_state *state, struct hbus_member *member,
		     const struct hbus_msg_ring *msg)
{
	struct hbus_ring *ring = hbus_ring_find_own(state, member, msg->ring_id);

	if (ring)
		hbus_ring_end(state, ring, 0);
	hbus_state_reply(state, member, &msg->header, ring ? 0 : HBUS_E_NOT_FOUND,
			 "no such ring of this client", 0);
}

void hbus_ring_end(struct hbus_state *state, struct hbus_ring *ring, uint32_t flags)
{
	struct hbus_attachment *att, *next;
	struct hbus_pending *announce = ring->announce;
	bool was_announced = ring->phase != HBUS_RING_GRANTED;

	ring->was_running = ring->phase == HBUS_RING_RUNNING;
	TAILQ_REMOVE(&ring->owner->rings, ring, in_member);
	ring->owner->n_rings--;
	ring->owner = NULL;
	if (was_announced)
		hbus_ring_persist(state, ring, HBUS_RECORD_RING_GONE);
	ring->announce = NULL;
	if (announce) {
		announce->status = HBUS_E_CLOSED;
		announce->text = "the ring was closed";
		hbus_pending_done(state, announce);
	}
	ring->phase = HBUS_RING_ENDED;
	ring->end_flags = flags;
	ring->is_in_end = true;
	for (att = LIST_FIRST(&ring->attachments); att; att = next) {
		next = LIST_NEXT(att, in_ring);
		hbus_attachment_ring_ended(state, att);
	}
	ring->is_in_end = false;
	hbus_deadline_arm(&state->deadlines, &ring->deadline, HBUS_WAIT_ENDED, state->now_ns);
	hbus_ring_check_over(state, ring);
}

static bool may_still_map(const struct hbus_ring *ring)
{
	const struct hbus_attachment *att;

	LIST_FOREACH(att, &ring->attachments, in_ring)
		if (att->reader == HBUS_READER_WAITING || att->reader == HBUS_READER_OPENED)
			return true;
	return false;
}

/* The memory lives on in those who map it: they pay for it together. */
static void charge_readers(struct hbus_ring *ring)
{
	struct hbus_attachment *att;
	uint64_t n = 0;

	LIST_FOREACH(att, &ring->attachments, in_ring)
		n += att->sub != NULL;
	LIST_FOREACH(att, &ring->attachments, in_ring) {
		if (!att->sub)
			continue;
		att->charged = hbus_account_get(att->sub->member->account);
		att->n_charged = hbus_ring_bytes(&ring->geometry) / n;
		hbus_account_force(att->charged, HBUS_QUOTA_BYTES, att->n_charged);
	}
}

void hbus_ring_check_over(struct hbus_state *state, struct hbus_ring *ring)
{
	if (ring->phase != HBUS_RING_ENDED || ring->is_in_end)
		return;
	if (LIST_EMPTY(&ring->attachments)) {
		hbus_ring_free(state, ring);
		return;
	}
	if (ring->is_memory_held && !may_still_map(ring)) {
		hbus_deadline_disarm(&state->deadlines, &ring->deadline);
		hbus_ring_release_memory(state, ring);
		charge_readers(ring);
	}
}

/* Who has not mapped it by now will not. */
void hbus_ring_expired(struct hbus_state *state, struct hbus_ring *ring)
{
	struct hbus_attachment *att, *next;
	uint64_t id = ring->geometry.ring_id;

	for (att = LIST_FIRST(&ring->attachments); att && hbus_ring_find(state, id); att = next) {
		next = LIST_NEXT(att, in_ring);
		if (att->reader == HBUS_READER_WAITING)
			hbus_attachment_reader_gone(state, att);
		else if (att->reader == HBUS_READER_OPENED)
			att->reader = HBUS_READER_MAPPED; /* it has the descriptors, or will never */
	}
	ring = hbus_ring_find(state, id);
	if (ring)
		hbus_ring_check_over(state, ring);
}
