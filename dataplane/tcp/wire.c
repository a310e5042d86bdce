/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mbufs from rings, mbufs to send queues.
 *
 * What the port does not take at once is tried again a few times and then dropped: TCP sends it
 * again, and waiting would hold up everybody else.
 */
#include "dataplane/tcp/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include "dataplane/ports.h"
#include "dataplane/send.h"
#include "dataplane/tcp/tap.h"

enum { SEND_TRIES = 8 };

struct outbox {
	struct rte_mbuf *mbufs[HBUS_TCP_WIRE_BURST];
	uint16_t n;
};

struct hbus_tcp_wire {
	const struct hbus_ports *ports;
	unsigned int n_taps;
	unsigned int next_tap;       /* that is asked first */
	bool is_registered;
	uint64_t n_in, n_out, n_no_buffer, n_unsent, n_not_linear;
	struct outbox outboxes[RTE_MAX_ETHPORTS];
	struct hbus_tap taps[];
};

_Static_assert(HBUS_TCP_WIRE_BURST == HBUS_TAP_BURST, "a burst of a tap is one of the wire");
_Static_assert(RTE_PKTMBUF_HEADROOM >= HBUS_TCP_WIRE_NOTE_SIZE + 16, "notes fit in front of frames");

static int make_tap(struct hbus_tap *tap, const struct hbus_claim *claim, unsigned int i)
{
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "tcp_tap_%u", i);
	tap->claim = claim;
	tap->ring = rte_ring_create(name, HBUS_TAP_SIZE, SOCKET_ID_ANY,
				    RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);
	return tap->ring ? 0 : -rte_errno;
}

int hbus_tcp_wire_new(const struct hbus_ports *ports, const struct hbus_claim *claim,
		  unsigned int n_loops, struct hbus_tcp_wire **ret_wire)
{
	struct hbus_tcp_wire *wire = calloc(1, sizeof(*wire) + n_loops * sizeof(wire->taps[0]));

	if (!wire)
		return -ENOMEM;
	wire->ports = ports;
	for (unsigned int i = 0; i < n_loops; i++) {
		int r = make_tap(&wire->taps[i], claim, i);

		if (r < 0) {
			hbus_tcp_wire_free(wire);
			return r;
		}
		wire->n_taps++;
	}
	/* Neighbour solicitations are sent to groups; a port that cannot listen to them hears all. */
	for (uint32_t i = 0; i < claim->n; i++)
		if (claim->at[i].family == HBUS_FAMILY_IPV6)
			(void)rte_eth_allmulticast_enable(claim->at[i].port_id);
	*ret_wire = wire;
	return 0;
}

static void drain(struct hbus_tap *tap)
{
	void *mbuf;

	while (rte_ring_sc_dequeue(tap->ring, &mbuf) == 0)
		rte_pktmbuf_free(mbuf);
	rte_ring_free(tap->ring);
}

struct hbus_tcp_wire *hbus_tcp_wire_free(struct hbus_tcp_wire *wire)
{
	if (!wire)
		return NULL;
	for (unsigned int i = 0; i < wire->n_taps; i++)
		drain(&wire->taps[i]);
	free(wire);
	return NULL;
}

struct hbus_tap *hbus_tcp_wire_tap(struct hbus_tcp_wire *wire, unsigned int loop_idx)
{
	return &wire->taps[loop_idx];
}

void hbus_tcp_wire_enter(struct hbus_tcp_wire *wire)
{
	wire->is_registered = rte_thread_register() == 0;
}

void hbus_tcp_wire_leave(struct hbus_tcp_wire *wire)
{
	if (wire->is_registered)
		rte_thread_unregister();
	wire->is_registered = false;
}

/* ---- in -------------------------------------------------------------------------------- */

/* Return: false when the frame is gone. */
static bool describe(struct hbus_tcp_wire *wire, struct rte_mbuf *mbuf, struct hbus_tcp_wire_frame *frame)
{
	uintptr_t note;

	if (mbuf->nb_segs > 1 && rte_pktmbuf_linearize(mbuf) < 0) {
		wire->n_not_linear++;
		rte_pktmbuf_free(mbuf);
		return false;
	}
	note = RTE_ALIGN_CEIL((uintptr_t)mbuf->buf_addr, 16);
	*frame = (struct hbus_tcp_wire_frame){
		.buffer = mbuf,
		.data = rte_pktmbuf_mtod(mbuf, uint8_t *),
		.size = rte_pktmbuf_data_len(mbuf),
		.port_id = mbuf->port,
	};
	if (note + HBUS_TCP_WIRE_NOTE_SIZE <= (uintptr_t)frame->data && rte_mbuf_refcnt_read(mbuf) == 1 &&
	    RTE_MBUF_DIRECT(mbuf))
		frame->note = (void *)note;
	return true;
}

unsigned int hbus_tcp_wire_receive(struct hbus_tcp_wire *wire, struct hbus_tcp_wire_frame *ret_frames)
{
	struct rte_mbuf *mbufs[HBUS_TCP_WIRE_BURST];
	unsigned int n = 0, n_frames = 0;

	for (unsigned int i = 0; i < wire->n_taps && n == 0; i++) {
		struct hbus_tap *tap = &wire->taps[wire->next_tap];

		n = rte_ring_sc_dequeue_burst(tap->ring, (void **)mbufs, HBUS_TCP_WIRE_BURST, NULL);
		wire->next_tap = (wire->next_tap + 1) % wire->n_taps;
	}
	wire->n_in += n;
	for (unsigned int i = 0; i < n; i++)
		n_frames += describe(wire, mbufs[i], &ret_frames[n_frames]);
	return n_frames;
}

void hbus_tcp_wire_give_back(void *buffer)
{
	rte_pktmbuf_free(buffer);
}

/* ---- out ------------------------------------------------------------------------------- */

static void flush(struct hbus_tcp_wire *wire, uint16_t port_id)
{
	struct outbox *box = &wire->outboxes[port_id];
	uint16_t n = 0;

	for (unsigned int i = 0; i < SEND_TRIES && n < box->n; i++)
		n = (uint16_t)(n + hbus_send_burst(port_id, 0, box->mbufs + n,
						   (uint16_t)(box->n - n)));
	rte_pktmbuf_free_bulk(box->mbufs + n, (unsigned int)(box->n - n));
	wire->n_out += n;
	wire->n_unsent += (unsigned int)(box->n - n);
	box->n = 0;
}

uint8_t *hbus_tcp_wire_reserve(struct hbus_tcp_wire *wire, uint16_t port_id, uint32_t size)
{
	struct outbox *box = &wire->outboxes[port_id];
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(wire->ports->pool);
	char *data = mbuf && size <= UINT16_MAX ? rte_pktmbuf_append(mbuf, (uint16_t)size) : NULL;

	if (!data) {
		rte_pktmbuf_free(mbuf);
		wire->n_no_buffer++;
		return NULL;
	}
	if (box->n == HBUS_TCP_WIRE_BURST)
		flush(wire, port_id);
	box->mbufs[box->n++] = mbuf;
	return (uint8_t *)data;
}

uint8_t *hbus_tcp_wire_last(struct hbus_tcp_wire *wire, uint16_t port_id, uint32_t *ret_size)
{
	struct outbox *box = &wire->outboxes[port_id];

	if (box->n == 0)
		return NULL;
	*ret_size = rte_pktmbuf_data_len(box->mbufs[box->n - 1]);
	return rte_pktmbuf_mtod(box->mbufs[box->n - 1], uint8_t *);
}

void hbus_tcp_wire_flush(struct hbus_tcp_wire *wire)
{
	for (unsigned int i = 0; i < wire->ports->n; i++)
		if (wire->outboxes[wire->ports->at[i].id].n > 0)
			flush(wire, wire->ports->at[i].id);
}

void hbus_tcp_wire_count(const struct hbus_tcp_wire *wire, struct hbus_tcp_counters *counters)
{
	counters->frames_in = wire->n_in;
	counters->frames_not_linear = wire->n_not_linear;
	counters->frames_out = wire->n_out;
	counters->frames_no_buffer = wire->n_no_buffer;
	counters->frames_unsent = wire->n_unsent;
	counters->frames_full = 0;
	for (unsigned int i = 0; i < wire->n_taps; i++)
		/* relaxed: nothing but the number is wanted */
		counters->frames_full += atomic_load_explicit(&wire->taps[i].n_full,
							      memory_order_relaxed);
}
