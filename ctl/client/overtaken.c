/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A reader that was overtaken, or that met what no honest publisher writes
 *
 * Every event that is passed over is counted and reported here, once.
 */
#include "ctl/client/subscriber.h"

void hbus_ring_corrupt(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	hbus_loss_add(&sub->losses, at->ring_id, at->ring.sequence + at->skip, 0, HBUS_LOSS_CORRUPT);
	hbus_ring_leave(sub, at);
}

/* Why a reader of this ring could be overtaken. */
static uint32_t loss_reason(struct hbus_attached *at)
{
	uint64_t position;

	if (at->ring.is_gating && hbus_ring_sub_is_dropped(&at->ring, at->attach_idx, at->gate_id, &position)) {
		at->is_evicted = true;
		hbus_ring_sub_leave(&at->ring);
	}
	return at->is_evicted ? HBUS_LOSS_EVICTED : HBUS_LOSS_LAPPED;
}

/* The batch was overwritten: go on at a place ahead. Of what lies between, at->skip events are accounted for. */
void hbus_ring_lapped(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	uint32_t reason = loss_reason(at);
	uint64_t first = 0, n_lost = 0;

	at->batch_delivered = at->batch_filtered = 0;
	at->is_corrupt = false;
	sub->has_moved = true;
	if (hbus_ring_sub_reenter(&at->ring, &first, &n_lost) != HBUS_RING_OK) {
		hbus_ring_corrupt(sub, at);
		return;
	}
	hbus_place_note(sub, at);
	if (n_lost == 0) /* no checkpoint ahead yet: the next scan tries again */
		return;
	if (n_lost > at->skip) {
		at->n_lost += n_lost - at->skip;
		hbus_loss_add(&sub->losses, at->ring_id, first + at->skip, n_lost - at->skip, reason);
	}
	at->skip = 0;
}

/*
 * What the caller holds was overwritten: all of it is lost, as of now. What follows need not be: the newest checkpoint
 * may even lie in what was lost. So the next scan goes on behind it, and finds out.
 * With a gate only what is older than the subscription can be overwritten, and the batch may hold both: what is still
 * there of it comes again.
 */
void hbus_batch_void(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	uint64_t first = at->ring.batch_sequence + at->batch_skip;
	uint64_t n = at->ring.sequence + at->skip - first;
	uint32_t reason = loss_reason(at);

	if (at->ring.is_gating) {
		at->skip = at->batch_skip;
		hbus_ring_lapped(sub, at);
		return;
	}
	at->n_lost += n;
	at->batch_delivered = at->batch_filtered = 0;
	at->is_corrupt = false;
	hbus_loss_add(&sub->losses, at->ring_id, first, n, reason);
	hbus_ring_sub_begin(&at->ring);
	sub->has_moved = true;
}

/* A lapped reader can stand on bytes that look like the end for ever: ask intent too. */
void hbus_rings_probe(struct hbus_subscriber *sub, uint32_t n_probes)
{
	for (uint32_t i = 0; i < n_probes && i < sub->n_rings; i++) {
		struct hbus_attached *at;

		if (sub->probe_idx >= sub->n_rings)
			sub->probe_idx = 0;
		at = sub->rings[sub->probe_idx++].at;
		if (hbus_ring_sub_is_whole(&at->ring, at->ring.position))
			continue;
		hbus_ring_sub_begin(&at->ring);
		at->batch_skip = at->skip;
		hbus_ring_lapped(sub, at);
	}
}

