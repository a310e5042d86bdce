/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring between poll loop and reading thread. See feed.h. */
#include "dataplane/passive/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How long a poll loop waits that may: the reader asks the daemon meanwhile. */
#define WAIT_NAP_NS 20000L
#define WAIT_NAPS_MAX 250000U

int hbus_feed_init(struct hbus_feed *feed, const uint16_t *ports, uint32_t n_ports, bool waits)
{
	memcpy(feed->ports, ports, n_ports * sizeof(ports[0]));
	feed->n_ports = n_ports;
	feed->waits = waits;
	feed->slots = calloc(HBUS_FEED_SLOTS, sizeof(feed->slots[0]));
	return feed->slots ? 0 : -ENOMEM;
}

void hbus_feed_deinit(struct hbus_feed *feed)
{
	free(feed->slots);
	feed->slots = NULL;
}

static bool is_ours(const struct hbus_feed *feed, uint16_t port)
{
	for (uint32_t i = 0; i < feed->n_ports; i++)
		if (feed->ports[i] == port)
			return true;
	return false;
}

/* Room for @n more slots? */
static bool has_room(struct hbus_feed *feed, uint64_t head, uint64_t n)
{
	if (head + n - feed->seen_tail <= HBUS_FEED_SLOTS)
		return true;
	/* A(feed.tail): pairs with R(feed.tail) in hbus_feed_done(): the reader is through with those slots. */
	feed->seen_tail = atomic_load_explicit(&feed->tail, memory_order_acquire);
	return head + n - feed->seen_tail <= HBUS_FEED_SLOTS;
}

static bool await_room(struct hbus_feed *feed, uint64_t head, uint64_t n)
{
	struct timespec nap = { .tv_nsec = WAIT_NAP_NS };

	for (unsigned int i = 0; !has_room(feed, head, n); i++) {
		if (!feed->waits || i == WAIT_NAPS_MAX)
			return false;
		nanosleep(&nap, NULL);
	}
	return true;
}

/* One slot's worth of a segment, from @off on. */
static void put(struct hbus_feed *feed, uint64_t at, const struct hbus_tcp_segment *segment, uint32_t off, uint32_t size)
{
	struct hbus_feed_slot *slot = &feed->slots[at % HBUS_FEED_SLOTS];
	bool is_first = off == 0, is_last = off + size == segment->size;

	slot->segment = *segment;
	slot->segment.data = slot->data;
	slot->segment.size = size;
	/* SYN takes a number of its own, before the data. */
	slot->segment.seq += off + (!is_first && segment->flags & HBUS_TCP_SYN ? 1 : 0);
	if (!is_first)
		slot->segment.flags &= ~HBUS_TCP_SYN;
	if (!is_last)
		slot->segment.flags &= ~HBUS_TCP_FIN;
	memcpy(slot->data, segment->data + off, size);
}

enum hbus_reason hbus_feed_offer(struct hbus_feed *feed, const struct hbus_packet *packet)
{
	/* relaxed: only this thread writes it */
	uint64_t head = atomic_load_explicit(&feed->head, memory_order_relaxed);
	struct hbus_tcp_segment segment;
	enum hbus_reason reason = hbus_tcp_parse(packet, &segment);
	uint64_t n;

	if (reason != HBUS_REASON_ACCEPTED)
		return reason;
	if (!is_ours(feed, segment.key.port))
		return HBUS_REASON_NOT_UDP;
	n = segment.size ? (segment.size + HBUS_FEED_SLOT_BYTES - 1) / HBUS_FEED_SLOT_BYTES : 1;
	if (!await_room(feed, head, n)) {
		/* relaxed: a number for the account */
		atomic_fetch_add_explicit(&feed->n_overruns, 1, memory_order_relaxed);
		return HBUS_REASON_RING_FULL;
	}
	for (uint64_t i = 0; i < n; i++) {
		uint32_t off = (uint32_t)i * HBUS_FEED_SLOT_BYTES, left = segment.size - off;

		put(feed, head + i, &segment, off, left < HBUS_FEED_SLOT_BYTES ? left : HBUS_FEED_SLOT_BYTES);
	}
	/* R(feed.head): the slots before the head that shows them. */
	atomic_store_explicit(&feed->head, head + n, memory_order_release);
	return HBUS_REASON_TAPPED;
}

const struct hbus_tcp_segment *hbus_feed_take(struct hbus_feed *feed)
{
	/* relaxed: only this thread writes it */
	uint64_t tail = atomic_load_explicit(&feed->tail, memory_order_relaxed);

	/* A(feed.head): pairs with R(feed.head) in hbus_feed_offer(). */
	if (tail == atomic_load_explicit(&feed->head, memory_order_acquire))
		return NULL;
	return &feed->slots[tail % HBUS_FEED_SLOTS].segment;
}

void hbus_feed_done(struct hbus_feed *feed)
{
	/* relaxed: only this thread writes it */
	uint64_t tail = atomic_load_explicit(&feed->tail, memory_order_relaxed);

	/* R(feed.tail): what was read of the slot before it may be written again. */
	atomic_store_explicit(&feed->tail, tail + 1, memory_order_release);
}
