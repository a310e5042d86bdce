/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sleeping until there is something to poll
 *
 * Spin, yield, sleep. Before sleeping: `waiting` in every slot, one membarrier, one more look (shm/wait.h says
 * why). Up to 63 rings are slept on by their futex words; more, and buses without a control thread, by the
 * doorbells. The subscriber's own `news` word is slept on too: new rings must wake the sleeper.
 *
 * Anybody who may read a ring can take wake-ups of its word away, so a sleep on words ends after 50 ms; a doorbell is the
 * publisher's and ours alone. So whoever has slept some times for nothing goes on on the doorbells, for long: twenty
 * sleeps a second are what a blocked subscriber costs.
 */
#include "shm/wait.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>

#include "ctl/client/control.h"
#include "ctl/client/relax.h"
#include "ctl/client/subscriber.h"

#define SPIN_US 20
#define SPIN_ROUNDS 64
#define YIELDS 2
#define VAIN_SLEEPS 5u       /* on words; then doorbells */
#define BELL_SLEEP_MS 1000u  /* nothing is known that would need it */

void hbus_waiting_set(struct hbus_subscriber *sub, uint32_t how)
{
	bool has_sleepers = false;

	sub->is_armed = true;
	hbus_stats_store(sub);
	for (uint32_t i = 0; i < sub->n_rings; i++) {
		struct hbus_ring_sub *ring = &sub->rings[i].at->ring;

		if (!ring->slot)
			continue;
		/* Who sleeps gives up all that it has read, so that the publisher can fill the whole ring. */
		if (ring->is_gating)
			hbus_ring_sub_store_cursor(ring);
		if (sub->rings[i].at->is_awake)
			continue;
		has_sleepers = true;
		/* relaxed: M(ring.waiting), the barrier below */
		atomic_store_explicit(&ring->slot->waiting, how, memory_order_relaxed);
	}
	if (!has_sleepers)
		return;
	/* M(ring.waiting): every publisher's next load of `waiting` sees it, or we see its commit. The fence is
	 * for isolated rings, whose publishers fence at each commit, and for hosts that refuse membarrier. */
	hbus_membarrier_global();
	atomic_thread_fence(memory_order_seq_cst);
}

void hbus_waiting_clear(struct hbus_subscriber *sub)
{
	sub->is_armed = false;
	for (uint32_t i = 0; i < sub->n_rings; i++) {
		struct hbus_slot *slot = sub->rings[i].at->ring.slot;

		if (slot) /* relaxed: a publisher that sees it late makes one wake-up too many */
			atomic_store_explicit(&slot->waiting, 0, memory_order_relaxed);
	}
}

static bool sleeps_on_doorbells(const struct hbus_subscriber *sub)
{
	return !sub->bus->has_thread || sub->n_rings >= HBUS_WAIT_FUTEX_RINGS_MAX;
}

/* What the futex words are before the last look. */
static unsigned int words_load(const struct hbus_subscriber *sub, struct hbus_wait_word *words)
{
	unsigned int n = 0;

	words[n++] = (struct hbus_wait_word){.word = &sub->news, .seen = sub->news_seen};
	for (uint32_t i = 0; i < sub->n_rings && n < HBUS_WAIT_FUTEX_RINGS_MAX; i++) {
		const _Atomic uint32_t *word = &sub->rings[i].at->ring.header->notify;

		/* A(ring.notify): before the look at the ring; a load after it could miss a wake-up in between. */
		words[n++] = (struct hbus_wait_word){.word = word,
						     .seen = atomic_load_explicit(word, memory_order_acquire)};
	}
	return n;
}

static int sleep_on_doorbells(struct hbus_subscriber *sub, int ms)
{
	struct epoll_event event;
	int n = epoll_wait(sub->epoll_fd, &event, 1, ms);

	if (n < 0)
		return -errno;
	hbus_doorbells_drain(sub);
	if (!sub->bus->has_thread)
		hbus_dispatch(sub->bus);
	return n == 0 ? -ETIMEDOUT : 0;
}

/* A ring that waits for a topic's name, or that cannot ring, is looked at by the clock. */
static bool may_sleep_long(const struct hbus_subscriber *sub)
{
	for (uint32_t i = 0; i < sub->n_rings; i++)
		if (sub->rings[i].at->is_blocked)
			return false;
	return sub->bus->has_thread && sub->n_polled == 0;
}

static int sleep_ms_most(const struct hbus_subscriber *sub, bool is_long, uint64_t now_us, uint64_t until_us)
{
	uint64_t most_ms = sub->n_polled > 0 ? HBUS_POLLED_SLEEP_MS : is_long ? BELL_SLEEP_MS : HBUS_WAIT_CAP_MS;
	uint64_t left_ms = (until_us - now_us + 999) / 1000;

	return (int)(left_ms < most_ms ? left_ms : most_ms);
}

static void arm(struct hbus_subscriber *sub, bool by_doorbell)
{
	hbus_waiting_set(sub, by_doorbell || sleeps_on_doorbells(sub) ? HBUS_WAITING_DOORBELL : HBUS_WAITING_NOTIFY);
}

/* 1 = something is there, 0 = time is over or a signal came. */
static int sleep_until(struct hbus_subscriber *sub, uint64_t until_us)
{
	unsigned int n_vain = 0;
	bool is_long = false;

	for (;;) {
		struct hbus_wait_word words[HBUS_WAIT_FUTEX_RINGS_MAX];
		bool by_doorbell = is_long || sleeps_on_doorbells(sub);
		unsigned int n_words = 0;
		uint64_t now_us;
		int ms, r;

		if (!by_doorbell)
			n_words = words_load(sub, words);
		if (hbus_subscriber_has_work(sub, true))
			return 1;
		now_us = hbus_now_us();
		if (now_us >= until_us)
			return 0;
		ms = sleep_ms_most(sub, is_long, now_us, until_us);
		r = by_doorbell ? sleep_on_doorbells(sub, ms) : hbus_wait_sleep(words, n_words, ms);
		if (r == -EINTR)
			return 0;
		n_vain = r == -ETIMEDOUT ? n_vain + 1 : 0;
		if (hbus_has_mail(sub)) {
			hbus_mail_take(sub);
			is_long = false;
			arm(sub, false);
		} else if (is_long != (n_vain > VAIN_SLEEPS && may_sleep_long(sub))) {
			is_long = !is_long;
			hbus_doorbells_drain(sub); /* of what rang before anybody slept on it */
			arm(sub, is_long);
		}
	}
}

static bool spin(struct hbus_subscriber *sub, uint64_t until_us)
{
	uint64_t end_us = hbus_now_us() + SPIN_US;

	if (end_us > until_us)
		end_us = until_us;
	do {
		for (int i = 0; i < SPIN_ROUNDS; i++) {
			if (hbus_subscriber_has_work(sub, false))
				return true;
			hbus_relax();
		}
	} while (hbus_now_us() < end_us);
	for (int i = 0; i < YIELDS; i++) {
		sched_yield();
		if (hbus_subscriber_has_work(sub, false))
			return true;
	}
	return false;
}

int hbus_wait(struct hbus_subscriber *sub, int timeout_ms)
{
	uint64_t until_us;
	int r;

	if (!sub || !hbus_is_ours(sub->bus))
		return hbus_fail_handle(sub);
	hbus_batch_release(sub);
	if (!sub->bus->has_thread)
		hbus_dispatch(sub->bus);
	if (hbus_has_mail(sub))
		hbus_mail_take(sub);
	if (hbus_subscriber_has_work(sub, timeout_ms == 0))
		return 1;
	if (timeout_ms == 0)
		return 0;
	until_us = timeout_ms < 0 ? UINT64_MAX : hbus_now_us() + (uint64_t)timeout_ms * 1000;
	if (spin(sub, until_us)) {
		sub->n_idle_polls = HBUS_WAITED_POLLS;
		return 1;
	}
	arm(sub, false);
	r = sleep_until(sub, until_us);
	hbus_waiting_clear(sub);
	return r;
}
