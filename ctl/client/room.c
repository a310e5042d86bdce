/* SPDX-License-Identifier: BSD-3-Clause */
/* What a publisher does when a reliable subscriber is a full ring behind: look again, wait, drop who is dead or too slow. */
#include <pthread.h>
#include <time.h>

#include "ctl/client/publisher.h"
#include "ctl/client/relax.h"

#define SPIN_US 2
#define SLEEP_FIRST_US 50
#define SLEEP_MOST_US 1000
/* hbus_try_publish() on a full ring looks for dead readers at most this often. */
#define TRY_REAP_US 1000

static void sleep_us(uint64_t us)
{
	struct timespec span = {.tv_nsec = (long)us * 1000};

	nanosleep(&span, NULL);
}

static unsigned int reap(struct hbus_pub_ring *ring, uint64_t len, uint64_t waited_us)
{
	struct hbus_ring_pub *pub = &ring->pub;
	uint64_t need = hbus_ring_pub_need(pub, hbus_ring_pub_head(pub) + hbus_record_size(len));

	return hbus_gates_reap(&ring->gates, ring->header, pub->tail, need, pub->capacity, waited_us);
}

/* One look at a full ring by somebody who will not wait; time passes between the looks. */
static int look_at_full(struct hbus_pub_ring *ring, uint64_t len, unsigned char **ret_body)
{
	uint64_t now_us = hbus_now_us();

	if (!ring->is_stalled) {
		ring->is_stalled = true;
		ring->stalled_at_us = now_us;
		reap(ring, len, 0);
	} else if (now_us - ring->stalled_at_us >= TRY_REAP_US) {
		reap(ring, len, now_us - ring->stalled_at_us);
		ring->stalled_at_us = now_us;
	}
	return hbus_ring_pub_claim(&ring->pub, len, ret_body);
}

/* Waits until the claim succeeds, or the time is over. Drops dead and stalled readers on the way. */
static int wait_for_room(struct hbus_publisher *publisher, struct hbus_pub_ring *ring, uint64_t len,
			 int64_t timeout_us, unsigned char **ret_body)
{
	uint64_t begin_us = hbus_now_us(), last_us = begin_us, sleep_for_us = SLEEP_FIRST_US;
	int r = HBUS_RING_FULL;

	ring->is_stalled = true;
	/* They sleep, and it is us who would wake them later. */
	if (publisher->flags & HBUS_PUB_DEFER_WAKE)
		hbus_gates_wake(&ring->gates, &ring->pub.header->notify);
	while (r == HBUS_RING_FULL) {
		uint64_t now_us = hbus_now_us();

		if (timeout_us >= 0 && now_us - begin_us >= (uint64_t)timeout_us)
			break;
		if (now_us - begin_us < SPIN_US) {
			hbus_relax();
		} else {
			reap(ring, len, now_us - last_us);
			last_us = now_us;
			r = hbus_ring_pub_claim(&ring->pub, len, ret_body);
			if (r != HBUS_RING_FULL)
				break;
			sleep_us(sleep_for_us);
			sleep_for_us = sleep_for_us * 2 < SLEEP_MOST_US ? sleep_for_us * 2 : SLEEP_MOST_US;
		}
		r = hbus_ring_pub_claim(&ring->pub, len, ret_body);
	}
	return r;
}

int hbus_publisher_claim_slowly(struct hbus_publisher *publisher, struct hbus_pub_ring *ring, uint64_t len,
				int64_t timeout_us, unsigned char **ret_body)
{
	int r, cancel_state;

	/* A thread that is cancelled while it waits must not leave the handle busy. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	hbus_publisher_step_out(publisher);
	if (timeout_us == 0)
		r = look_at_full(ring, len, ret_body);
	else
		r = wait_for_room(publisher, ring, len, timeout_us, ret_body);
	hbus_publisher_step_in(publisher);
	pthread_setcancelstate(cancel_state, NULL);
	if (r != 0)
		hbus_ring_pub_hold(&ring->pub);
	return r;
}
