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
/* So long a publish that finds out waits for the daemon, which may be busy or stand still; the next that tries, twice as long. */
#define RENEW_FIRST_MS 200
#define RENEW_MOST_MS 1000

/* It says no, and will again. Anything else may pass: then the whole begins anew later. */
static bool is_refusal(int r)
{
	return r != HBUS_E_DISCONNECTED && r != HBUS_E_TIMEOUT && r != HBUS_E_NOT_FOUND && r != HBUS_E_NO_MEMORY;
}

/* Topics that the new ring takes; the first is there already. */
static int take_topics(struct hbus_publisher *publisher, const struct hbus_pub_ring *old, struct hbus_pub_ring *fresh)
{
	for (uint32_t i = 1; i < old->n_topics; i++) {
		const struct hbus_pub_topic *topic = &old->topics[i];
		uint32_t id = 0;
		int r = hbus_publisher_add_topic(publisher, fresh, topic->user_id, topic->name, topic->type,
						 topic->content_type, &id);

		if (r < 0 && !is_refusal(r))
			return r;
	}
	return 0;
}

/* A topic that the new ring was refused is not ours any more. Their pages are there: no memory is needed. */
static void move_topics(struct hbus_publisher *publisher, const struct hbus_pub_ring *old, uint32_t ring_idx,
			const struct hbus_pub_ring *fresh)
{
	for (uint32_t i = 0; i < old->n_topics; i++) {
		uint32_t user_id = old->topics[i].user_id;
		struct hbus_topic_page *page = publisher->pages[user_id / HBUS_TOPIC_PAGE_SIZE];

		if (page) /* else there was no memory to declare it */
			page->place[user_id % HBUS_TOPIC_PAGE_SIZE] = 0;
	}
	for (uint32_t i = 0; i < fresh->n_topics; i++)
		hbus_publisher_place_topic(publisher, fresh->topics[i].user_id, ring_idx, fresh->topics[i].id);
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
	r = take_topics(publisher, old, fresh);
	if (r < 0) {
		hbus_pub_ring_give_up(publisher->bus, fresh);
		return r;
	}
	move_topics(publisher, old, ring_idx, fresh);
	pthread_mutex_lock(&publisher->rings_lock);
	publisher->rings[ring_idx] = fresh;
	pthread_mutex_unlock(&publisher->rings_lock);
	hbus_pub_ring_retire(publisher->bus, old);
	old->next = publisher->retired;
	publisher->retired = old;
	publisher->last_topic = 0;
	hbus_publisher_set_quick(publisher);
	return 0;
}

/* Nobody has asked this publish to wait for the daemon: what it may take has an end. */
static void renew_within_limits(struct hbus_publisher *publisher, struct hbus_pub_ring *old, uint32_t ring_idx)
{
	int ms = publisher->renew_for_ms ? publisher->renew_for_ms : RENEW_FIRST_MS;

	publisher->renew_until_ms = hbus_now_ms() + (uint64_t)ms;
	if (renew(publisher, old, ring_idx) < 0) {
		publisher->renew_after_ms = hbus_now_ms() + RETRY_MS;
		publisher->renew_for_ms = 2 * ms < RENEW_MOST_MS ? 2 * ms : RENEW_MOST_MS;
	} else {
		publisher->renew_for_ms = 0;
	}
	publisher->renew_until_ms = 0;
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
	renew_within_limits(publisher, old, ring_idx);
	/* R(publisher.is_declaring): as in hbus_publisher_topic(). */
	atomic_store_explicit(&publisher->is_declaring, 0, memory_order_release);
}
