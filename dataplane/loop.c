/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The poll loop. Between start and stop it allocates nothing, takes no lock and makes no system
 * call; its RCU quiescent state comes once per turn.
 */
#include "dataplane/loop.h"

#include <errno.h>
#include <stdlib.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_memcpy.h>
#include <rte_prefetch.h>
#define URCU_API_MAP
#include <urcu/urcu-qsbr.h>

#include "dataplane/mqttsn/door.h"
#include "dataplane/send.h"
#include "dataplane/tcp/tap.h"

enum { PREFETCH_AHEAD = 4 };

_Static_assert(HBUS_LOOP_BURST <= HBUS_TAP_BURST, "a burst of nothing but TCP fits the tap");

/* ---- time ------------------------------------------------------------------------------ */

uint64_t hbus_loop_clock(const struct hbus_loop_shared *shared)
{
	return (uint64_t)((unsigned __int128)rte_get_tsc_cycles() * shared->ns_per_cycle_32 >> 32);
}

void hbus_loop_clock_init(struct hbus_loop_shared *shared)
{
	shared->ns_per_cycle_32 = (UINT64_C(1000000000) << 32) / rte_get_tsc_hz();
}

/* ---- frames ---------------------------------------------------------------------------- */

/* What the hardware has found good needs no second look. */
static unsigned int trust_of(const struct rte_mbuf *mbuf)
{
	unsigned int flags = 0;

	if ((mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD)
		flags |= HBUS_WORKER_TRUST_IP;
	if ((mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
		flags |= HBUS_WORKER_TRUST_UDP;
	return flags;
}

static void take_frame(struct hbus_loop *loop, const struct rte_mbuf *mbuf, unsigned int flags)
{
	uint32_t size = mbuf->pkt_len;
	const void *frame;

	flags |= trust_of(mbuf);
	if (mbuf->nb_segs == 1) {
		hbus_worker_frame(&loop->worker, rte_pktmbuf_mtod(mbuf, const uint8_t *), size,
				  flags);
		return;
	}
	frame = size <= HBUS_NET_FRAME_MAX ? rte_pktmbuf_read(mbuf, 0, size, loop->scratch) : NULL;
	if (frame)
		hbus_worker_frame(&loop->worker, frame, size, flags);
	else
		hbus_worker_account(&loop->worker, size, HBUS_REASON_NOT_LINEAR);
}

static void take_burst(struct hbus_loop *loop, struct rte_mbuf **mbufs, uint16_t n,
		       unsigned int flags)
{
	uint64_t now_ns = hbus_loop_clock(loop->shared);

	hbus_worker_begin(&loop->worker, rcu_dereference(loop->shared->plan), n, now_ns);
	for (uint16_t i = 0; i < n && i < PREFETCH_AHEAD; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (uint16_t i = 0; i < n; i++) {
		if (i + PREFETCH_AHEAD < n)
			rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + PREFETCH_AHEAD], void *));
		if (unlikely(loop->tap != NULL) && hbus_tap_take(loop->tap, mbufs[i]->port, mbufs[i])) {
			hbus_worker_account(&loop->worker, mbufs[i]->pkt_len, HBUS_REASON_STACK);
			mbufs[i] = NULL;
			continue;
		}
		take_frame(loop, mbufs[i], flags);
	}
	hbus_worker_commit(&loop->worker);
	if (unlikely(loop->tap != NULL))
		hbus_tap_flush(loop->tap);
	rte_pktmbuf_free_bulk(mbufs, n);
	/* relaxed: only this thread writes it; the control thread looks again soon */
	atomic_store_explicit(&loop->busy_ns, now_ns, memory_order_relaxed);
}

/* ---- frames of the MQTT-SN gateway --------------------------------------------------------- */

/* Return: false when there is no buffer. */
static bool make_mbuf(struct hbus_loop *loop, const struct hbus_sn_frame *frame, struct rte_mbuf **ret_mbuf)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(loop->shared->pool);
	char *room = mbuf ? rte_pktmbuf_append(mbuf, frame->size) : NULL;

	if (!room) {
		rte_pktmbuf_free(mbuf);
		return false;
	}
	rte_memcpy(room, frame->bytes, frame->size);
	*ret_mbuf = mbuf;
	return true;
}

/* Frames that lie one behind the other and go to the same queue. Return: how many were taken. */
static unsigned int send_run(struct hbus_loop *loop, struct hbus_sn_door *door, uint16_t queue_idx)
{
	const struct hbus_loop_queue *queue = &loop->queues[queue_idx % HBUS_LOOP_QUEUES_MAX];
	struct rte_mbuf *mbufs[HBUS_LOOP_BURST];
	uint16_t n = 0, n_sent = 0;
	unsigned int n_taken = 0;
	const struct hbus_sn_frame *frame;

	for (; n < HBUS_LOOP_BURST && (frame = hbus_sn_mailbox_peek(&door->outbox)) &&
	       frame->queue_idx == queue_idx; n_taken++) {
		n += make_mbuf(loop, frame, &mbufs[n]);
		hbus_sn_mailbox_release(&door->outbox);
	}
	if (queue_idx < loop->n_queues && queue->can_send)
		n_sent = hbus_send_burst(queue->port_id, queue->queue_id, mbufs, n);
	if (n_sent < n)
		rte_pktmbuf_free_bulk(mbufs + n_sent, n - n_sent);
	/* relaxed: only this thread writes them */
	atomic_fetch_add_explicit(&door->n_sent, n_sent, memory_order_relaxed);
	atomic_fetch_add_explicit(&door->n_unsent, n_taken - n_sent, memory_order_relaxed);
	return n_taken;
}

static void send_frames(struct hbus_loop *loop, struct hbus_sn_door *door)
{
	const struct hbus_sn_frame *frame = hbus_sn_mailbox_peek(&door->outbox);

	if (likely(!frame))
		return;
	(void)send_run(loop, door, frame->queue_idx);
}

/* ---- the loop -------------------------------------------------------------------------- */

unsigned int hbus_loop_poll(struct hbus_loop *loop)
{
	unsigned int n_frames = 0;

	for (uint32_t i = 0; i < loop->n_queues; i++) {
		const struct hbus_loop_queue *queue = &loop->queues[i];
		struct rte_mbuf *mbufs[HBUS_LOOP_BURST];
		uint16_t n = rte_eth_rx_burst(queue->port_id, queue->queue_id, mbufs,
					      HBUS_LOOP_BURST);

		if (n == 0)
			continue;
		if (loop->worker.door)
			loop->worker.door->queue_idx = (uint16_t)i;
		take_burst(loop, mbufs, n, queue->flags);
		n_frames += n;
	}
	if (loop->worker.door)
		send_frames(loop, loop->worker.door);
	rcu_quiescent_state();
	return n_frames;
}

/* A port that never runs dry must not keep the loop: twice what a queue of 2048 frames needs. */
enum { LAST_TURNS_MAX = 2 * 2048 / HBUS_LOOP_BURST };

int hbus_loop_run(void *context)
{
	struct hbus_loop *loop = context;

	rcu_register_thread();
	/* relaxed: nothing but the stop itself is told by this word */
	while (!atomic_load_explicit(&loop->shared->is_stopped, memory_order_relaxed))
		hbus_loop_poll(loop);
	/* What came before the filters closed: on a busy machine this thread has not run since. */
	for (unsigned int i = 0; i < LAST_TURNS_MAX && hbus_loop_poll(loop) > 0; i++)
		;
	rcu_unregister_thread();
	return 0;
}

int hbus_loop_init(struct hbus_loop *loop, struct hbus_loop_shared *shared)
{
	loop->shared = shared;
	loop->n_queues = 0;
	loop->scratch = malloc(HBUS_NET_FRAME_MAX);
	return loop->scratch ? 0 : -ENOMEM;
}

void hbus_loop_deinit(struct hbus_loop *loop)
{
	free(loop->scratch);
	loop->scratch = NULL;
}
