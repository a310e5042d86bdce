/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tap: how a poll loop hands the frames of the TCP stack over, without waiting for it.
 *
 * One ring of buffers for each loop, which writes it, and the stack's thread, which reads it. What does
 * not fit is freed and counted: TCP sends it again. So a stack that is slow, or stands still, costs
 * the loop nothing but what it hands over.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include <rte_branch_prediction.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "dataplane/tcp/claim.h"

/* ---- limits ---------------------------------------------------------------------------- */

/* Frames that wait for the stack, of one loop; a power of two. */
#define HBUS_TAP_SIZE 2048U
#define HBUS_TAP_BURST 64U

/* ---- types ----------------------------------------------------------------------------- */

struct hbus_tap {
	const struct hbus_claim *claim;  /* borrowed */
	struct rte_ring *ring;
	struct rte_mbuf *burst[HBUS_TAP_BURST]; /* of the burst under way */
	uint16_t n;
	_Atomic uint64_t n_full;         /* written by the loop: frames that did not fit */
};

/* ---- functions ------------------------------------------------------------------------- */

/**
 * hbus_tap_take() - keep a frame that is the stack's
 *
 * Thread: the loop's, at most HBUS_TAP_BURST times between two of hbus_tap_flush().
 * Return: whether the tap owns @mbuf now.
 */
static inline bool hbus_tap_take(struct hbus_tap *tap, uint16_t port_id, struct rte_mbuf *mbuf)
{
	if (hbus_claim_find(tap->claim, port_id, rte_pktmbuf_mtod(mbuf, const uint8_t *),
			    rte_pktmbuf_data_len(mbuf)) < 0)
		return false;
	tap->burst[tap->n++] = mbuf;
	return true;
}

/* Hands over what was taken. Thread: the loop's. */
static inline void hbus_tap_flush(struct hbus_tap *tap)
{
	unsigned int n_done;

	if (likely(tap->n == 0))
		return;
	n_done = rte_ring_sp_enqueue_burst(tap->ring, (void **)tap->burst, tap->n, NULL);
	if (unlikely(n_done < tap->n)) {
		rte_pktmbuf_free_bulk(tap->burst + n_done, tap->n - n_done);
		/* relaxed: only the loop writes it, readers want nothing but the number */
		atomic_fetch_add_explicit(&tap->n_full, tap->n - n_done, memory_order_relaxed);
	}
	tap->n = 0;
}
