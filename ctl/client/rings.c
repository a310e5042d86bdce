/* SPDX-License-Identifier: BSD-3-Clause */
/* The owner's side of a subscriber's rings: taken from the mail, left when they have ended, counted. */
#include <stdlib.h>

#include "ctl/client/control.h"
#include "ctl/client/subscriber.h"

static bool rings_reserve(struct hbus_subscriber *sub)
{
	uint32_t n = sub->n_rings_room ? 2 * sub->n_rings_room : 16;
	struct hbus_scan *more;

	if (sub->n_rings < sub->n_rings_room)
		return true;
	more = reallocarray(sub->rings, n, sizeof(*more));
	if (!more)
		return false;
	sub->rings = more;
	sub->n_rings_room = n;
	return true;
}

static void hand_back(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	pthread_mutex_lock(&sub->mail_lock);
	at->is_left = true;
	at->mail_next = sub->left;
	sub->left = at;
	pthread_mutex_unlock(&sub->mail_lock);
	hbus_control_poke(sub->bus);
}

void hbus_ring_leave(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	struct hbus_scan last = sub->rings[--sub->n_rings];

	sub->rings[at->idx] = last;
	last.at->idx = at->idx;
	sub->n_ending -= at->is_ending;
	sub->n_polled -= !at->can_wake;
	sub->n_delivered += at->n_delivered;
	sub->n_filtered += at->n_filtered;
	sub->n_lost += at->n_lost;
	hbus_ring_sub_store_stats(&at->ring, at->n_delivered, at->n_filtered, at->n_lost);
	hbus_ring_sub_leave(&at->ring);
	hand_back(sub, at);
}

static void mail_open(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	if (at->is_refused || !rings_reserve(sub)) {
		hbus_loss_add(&sub->losses, at->ring_id, 0, 0, HBUS_LOSS_REFUSED);
		if (at->is_refused)
			hbus_attached_free(at);
		else
			hand_back(sub, at);
		return;
	}
	if (at->start_lost > 0) {
		at->n_lost += at->start_lost;
		hbus_loss_add(&sub->losses, at->ring_id, at->start_first, at->start_lost, HBUS_LOSS_LAPPED);
	}
	at->idx = sub->n_rings++;
	sub->rings[at->idx].at = at;
	sub->n_polled += !at->can_wake;
	hbus_place_note(sub, at);
}

void hbus_mail_pass_over(struct hbus_subscriber *sub)
{
	pthread_mutex_lock(&sub->mail_lock);
	for (struct hbus_attached *at = sub->mail; at; at = at->mail_next)
		if (!at->is_refused) /* a ring that cannot be sought in is reported when it is read */
			(void)hbus_ring_sub_seek_newest(&at->ring);
	pthread_mutex_unlock(&sub->mail_lock);
}

void hbus_mail_take(struct hbus_subscriber *sub)
{
	struct hbus_attached *mail;

	/* A(subscriber.news): pairs with R(subscriber.news) in attach.c. */
	sub->news_seen = atomic_load_explicit(&sub->news, memory_order_acquire);
	pthread_mutex_lock(&sub->mail_lock);
	mail = sub->mail;
	sub->mail = NULL;
	sub->mail_tail = &sub->mail;
	pthread_mutex_unlock(&sub->mail_lock);
	while (mail) {
		struct hbus_attached *at = mail;

		mail = at->mail_next;
		mail_open(sub, at);
	}
	for (uint32_t i = 0; i < sub->n_rings; i++) {
		struct hbus_attached *at = sub->rings[i].at;

		/* relaxed: shown by A(subscriber.news) above, or by the next one */
		if (at->is_ending || !atomic_load_explicit(&at->ended, memory_order_relaxed))
			continue;
		at->is_ending = true;
		sub->n_ending++;
	}
}

static bool is_read_to_the_end(const struct hbus_attached *at)
{
	return hbus_ring_sub_load_word(&at->ring, at->ring.position) == 0 &&
	       hbus_ring_sub_is_whole(&at->ring, at->ring.position);
}

/* May an ended ring be left now? One that is not ours any more at once, the others when nothing is left. */
static bool is_over(const struct hbus_attached *at, uint32_t ended)
{
	if (ended & HBUS_ENDED_REVOKED)
		return true;
	if (!(ended & (HBUS_ENDED_PUBLISHER_DIED | HBUS_ENDED_EVICTED)) && !hbus_ring_sub_is_closed(&at->ring))
		return true;
	return is_read_to_the_end(at);
}

/* It was asked for again, before it was left. What came in between was not: it counts as filtered. */
static void stay(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	struct hbus_ring_sub *ring = &at->ring;
	uint64_t n_passed = at->stays_sequence - ring->sequence;

	at->is_ending = false;
	sub->n_ending--;
	atomic_store_explicit(&at->ended, 0, memory_order_relaxed); /* relaxed: under mail_lock */
	/* A publisher that lies about its numbers is read on where it was. */
	if ((int64_t)(at->stays_position - ring->position) <= 0 || (int64_t)(n_passed - at->skip) < 0)
		return;
	at->n_filtered += n_passed - at->skip;
	at->skip = 0;
	at->is_blocked = at->has_more = false;
	at->has_stats = sub->has_stats = true;
	ring->position = at->stays_position;
	ring->sequence = at->stays_sequence;
	hbus_ring_sub_begin(ring);
	if (ring->is_gating)
		hbus_ring_sub_store_cursor(ring);
	hbus_place_note(sub, at);
}

/* Under mail_lock it is settled who was first: this thread that leaves, or the control side with the news that it stays. */
static bool is_left_now(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	uint32_t ended;

	pthread_mutex_lock(&sub->mail_lock);
	ended = atomic_load_explicit(&at->ended, memory_order_relaxed); /* relaxed: under mail_lock */
	if (!(ended & HBUS_ATTACHED_ENDED))
		stay(sub, at);
	else
		at->is_left = is_over(at, ended);
	pthread_mutex_unlock(&sub->mail_lock);
	return at->is_left;
}

void hbus_rings_leave_ended(struct hbus_subscriber *sub)
{
	for (uint32_t i = sub->n_rings; i > 0; i--) {
		struct hbus_attached *at = sub->rings[i - 1].at;
		uint32_t ended;

		if (!at->is_ending || at == sub->open)
			continue;
		/* relaxed: shown by A(subscriber.news) in hbus_mail_take(); what counts is read again under the lock */
		ended = atomic_load_explicit(&at->ended, memory_order_relaxed);
		if ((ended & HBUS_ATTACHED_ENDED) && !is_over(at, ended))
			continue;
		if (is_left_now(sub, at))
			hbus_ring_leave(sub, at);
	}
}

void hbus_stats_store(struct hbus_subscriber *sub)
{
	sub->has_stats = false;
	for (uint32_t i = 0; i < sub->n_rings; i++) {
		struct hbus_attached *at = sub->rings[i].at;

		if (!at->has_stats)
			continue;
		at->has_stats = false;
		hbus_ring_sub_store_stats(&at->ring, at->n_delivered + at->batch_delivered,
					  at->n_filtered + at->batch_filtered, at->n_lost);
	}
}

int hbus_next_loss(struct hbus_subscriber *sub, struct hbus_loss *ret_loss)
{
	if (!sub || !hbus_is_ours(sub->bus))
		return hbus_fail_handle(sub);
	if (!ret_loss)
		return hbus_fail_no_place();
	if (hbus_has_mail(sub))
		hbus_mail_take(sub);
	return hbus_loss_take(&sub->losses, ret_loss);
}

int hbus_subscriber_info(struct hbus_subscriber *sub, struct hbus_subscriber_info *ret_info)
{
	struct hbus_subscriber_info info = {0};

	if (!sub || !hbus_is_ours(sub->bus))
		return hbus_fail_handle(sub);
	if (!ret_info)
		return hbus_fail_no_place();
	if (hbus_has_mail(sub))
		hbus_mail_take(sub);
	info.n_delivered = sub->n_delivered;
	info.n_filtered = sub->n_filtered;
	info.n_lost = sub->n_lost;
	info.n_rings = sub->n_rings;
	info.n_topics = atomic_load_explicit(&sub->topics.n_names, memory_order_relaxed); /* relaxed: a statistic */
	for (uint32_t i = 0; i < sub->n_rings; i++) {
		const struct hbus_attached *at = sub->rings[i].at;

		/* The open batch counts as delivered until it turns out that it was not. */
		info.n_delivered += at->n_delivered + at->batch_delivered;
		info.n_filtered += at->n_filtered + at->batch_filtered;
		info.n_lost += at->n_lost;
	}
	*ret_info = info;
	return 0;
}
