/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a poll loop to the thread that reads streams: copies of TCP segments, in order, through a fixed ring
 *
 * One producer, one consumer. The poll loop never waits: without room the frame is dropped and counted, and
 * its bytes are a hole in the stream. Only where frames come from a file does it wait, since the file does.
 *
 *	-- line: written by the producer: head -- line: written by the consumer: tail -- slots --
 *
 *	            | offer | take | done |
 *	offer       |   -   |  X   |  X   |      X: may run at the same time
 *	take, done  |   X   |  -   |  -   |
 */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/passive/segment.h"

/* A power of two. */
#define HBUS_FEED_SLOTS 8192U
#define HBUS_FEED_SLOT_BYTES 1984U
#define HBUS_FEED_PORTS_MAX 8U

struct hbus_feed_slot {
	struct hbus_tcp_segment segment; /* ->data points into this slot */
	uint8_t data[HBUS_FEED_SLOT_BYTES];
};

struct hbus_feed {
	/* -- set before the threads start -- */
	uint16_t ports[HBUS_FEED_PORTS_MAX]; /* of brokers */
	uint32_t n_ports;
	bool waits;
	struct hbus_feed_slot *slots;
	/* -- written by the producer -- */
	alignas(64) _Atomic uint64_t head;
	uint64_t seen_tail;
	_Atomic uint64_t n_overruns;     /* segments for which there was no room */
	/* -- written by the consumer -- */
	alignas(64) _Atomic uint64_t tail;
};

/* @feed: zeroed. Return: 0 or -ENOMEM. */
int hbus_feed_init(struct hbus_feed *feed, const uint16_t *ports, uint32_t n_ports, bool waits);
void hbus_feed_deinit(struct hbus_feed *feed);

/**
 * hbus_feed_offer() - a frame that is not UDP
 * @packet: of hbus_net_parse(), which said HBUS_REASON_NOT_UDP
 *
 * Thread: the poll loop. Copies.
 * Return: HBUS_REASON_TAPPED, RING_FULL when there is no room, NOT_UDP: not for a broker of ours, or what
 * hbus_tcp_parse() says of TCP that cannot be read.
 */
enum hbus_reason hbus_feed_offer(struct hbus_feed *feed, const struct hbus_packet *packet);

/* The oldest segment, or NULL. Thread: the consumer, who says done before it takes the next. */
const struct hbus_tcp_segment *hbus_feed_take(struct hbus_feed *feed);
void hbus_feed_done(struct hbus_feed *feed);
