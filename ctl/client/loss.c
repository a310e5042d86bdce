/* SPDX-License-Identifier: BSD-3-Clause */
/* Loss reports. See loss.h. */
#include "ctl/client/loss.h"

#include <stdlib.h>

static struct hbus_loss *loss_at(struct hbus_loss_list *list, uint32_t i)
{
	return list->losses ? &list->losses[(list->first + i) % HBUS_LOSSES_MAX] : &list->only;
}

/* The list is made with the first loss; without memory there is room for one. Return: how many it can hold. */
static uint32_t make_room(struct hbus_loss_list *list)
{
	if (list->losses)
		return HBUS_LOSSES_MAX;
	list->losses = calloc(HBUS_LOSSES_MAX, sizeof(*list->losses));
	if (!list->losses)
		return 1;
	list->losses[list->first] = list->only;
	return HBUS_LOSSES_MAX;
}

/* The newest report of this ring and reason, if it can take the events in. */
static struct hbus_loss *find_to_merge(struct hbus_loss_list *list, uint32_t n_max, uint64_t ring_id,
				       uint64_t first_sequence, uint32_t reason)
{
	for (uint32_t i = list->n; i > 0; i--) {
		struct hbus_loss *loss = loss_at(list, i - 1);

		if (loss->ring_id != ring_id)
			continue;
		if (loss->reason != reason)
			return NULL;
		if (loss->first_sequence + loss->n_events == first_sequence || list->n == n_max)
			return loss;
		return NULL;
	}
	return NULL;
}

void hbus_loss_add(struct hbus_loss_list *list, uint64_t ring_id, uint64_t first_sequence, uint64_t n_events,
		   uint32_t reason)
{
	uint32_t n_max = make_room(list);
	struct hbus_loss *loss = find_to_merge(list, n_max, ring_id, first_sequence, reason);

	if (loss) {
		loss->n_events += n_events;
		return;
	}
	if (list->n == n_max) {
		list->n_unreported += n_events;
		return;
	}
	*loss_at(list, list->n++) = (struct hbus_loss){
		.ring_id = ring_id,
		.first_sequence = first_sequence,
		.n_events = n_events,
		.reason = reason,
	};
}

bool hbus_loss_take(struct hbus_loss_list *list, struct hbus_loss *ret_loss)
{
	if (list->n == 0)
		return false;
	*ret_loss = *loss_at(list, 0);
	list->first = (list->first + 1) % HBUS_LOSSES_MAX;
	list->n--;
	return true;
}

void hbus_loss_deinit(struct hbus_loss_list *list)
{
	free(list->losses);
}
