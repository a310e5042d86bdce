/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A new ring in the place of one that the daemon does not know
 *
 * A daemon that comes back without its journal refuses the rings that it is offered: nobody would ever read
 * them. The publishing thread finds that out at its next publish outside a batch and takes new rings, with the
 * same topics. The user's topic numbers stay; those in the new ring may differ.
 */
#include "ctl/client/publisher.h"

#define RETRY_MS 500

/* Topics that the new ring takes; the first is there already. A topic that is refused now is not ours any more. */
static void move_topics(struct hbus_publisher *publisher, const struct hbus_pub_ring *old, uint32_t ring_idx,
			struct hbus_pub_ring *fresh)
{
	for (uint32_t i = 1; i < old->n_topics; i++) {
		const struct hbus_pub_topic *topic = &old->topics[i];
		uint32_t id = 0;

		if (hbus_publisher_add_topic(publisher, fresh, topic->user_id, topic->name, topic->type,
					     topic->content_type, &id) < 0)
			publisher->pages[topic->user_id / HBUS_TOPIC_PAGE_SIZE]
				->place[topic->user_id % HBUS_TOPIC_PAGE_SIZE] = 0;
		else
			hbus_publisher_place_topic(publisher, topic->user_id, ring_idx, id);
	}
}

static int renew(struct hbus_publisher *publisher, struct hbus_pub_ring *old, uint32_t ring_idx)
{
	const struct hbus_pub_topic *first = &old->topics[0];
	struct hbus_pub_ring *fresh = NULL;
	uint32_t id = 0;
	int r;

	r = hbus_pub_ring_new(publisher, first->name, first->type, first->content_type,
			      &fresh, &id);
	if (r < 0)
		return r;
	fresh->topics[0].user_id = first->user_id;
	hbus_publisher_place_topic(publisher, first->user_id, ring_idx, id);
	move_topics(publisher, old, ring_idx, fresh);
	pthread_mutex_lock(&publisher->rings_lock);
	publisher->rings[ring_idx] = fresh;
	pthread_mutex_unlock(&publisher->rings_lock);
	hbus_pub_ring_retire(publisher->bus, old);
	old->next = publisher->retired;
	publisher->retired = old;
	publisher->last_topic = 0;
	return 0;
}

void hbus_publisher_renew(struct hbus_publisher *publisher, struct hbus_pub_ring *old)
{
	uint32_t ring_idx = 0;

	if (publisher->in_batch || hbus_now_ms() < publisher->renew_after_ms)
		return;
	/* A(publisher.is_declaring): keeps hbus_publisher_topic() out, as that keeps us out. */
	if (atomic_exchange_explicit(&publisher->is_declaring, 1, memory_order_acquire) != 0)
		return;
	while (publisher->rings[ring_idx] != old)
		ring_idx++;
	if (renew(publisher, old, ring_idx) < 0)
		publisher->renew_after_ms = hbus_now_ms() + RETRY_MS;
	/* R(publisher.is_declaring): as in hbus_publisher_topic(). */
	atomic_store_explicit(&publisher->is_declaring, 0, memory_order_release);
}
