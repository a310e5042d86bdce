/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus itself, through its public interface, as any program uses it. */
#include "bench/peers/peer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ctl/client/hugebus.h"

#define SPANS 64u
#define READY_MS 5000u

struct own {
	struct hbus *bus;
	struct hbus_publisher *publisher;
	struct hbus_subscriber *subscriber;
	hbus_topic_t topic;
	unsigned char buffer[PEER_BATCH_MAX * PEER_SIZE_MAX];
};

static int await_subscriber(struct hbus_publisher *publisher)
{
	struct hbus_publisher_info info = {0};

	for (unsigned int ms = 0; ms < READY_MS; ms++) {
		struct timespec nap = {.tv_nsec = 1000000};

		if (hbus_publisher_info(publisher, &info))
			return peer_complain("hugebus", hbus_error_text());
		if (info.n_gates > 0)
			return 0;
		nanosleep(&nap, NULL);
	}
	return peer_complain("hugebus", "no subscriber came");
}

static int attach(struct peer_channel *channel, enum peer_side side)
{
	struct hbus_publisher_options publisher = {.struct_size = sizeof(publisher), .timeout_ms = 5000};
	struct hbus_subscriber_options subscriber = {.struct_size = sizeof(subscriber), .flags = HBUS_SUB_FLAG_RELIABLE};
	struct own *own = calloc(1, sizeof(*own));
	char topic[32];

	if (!own)
		return peer_complain("hugebus", "no memory");
	channel->state = own;
	snprintf(topic, sizeof(topic), "peers/%u", channel->id);
	if (hbus_open(channel->socket, NULL, &own->bus))
		return peer_complain("hugebus", hbus_error_text());
	if (side == PEER_SUBSCRIBER) {
		if (hbus_subscriber_open(own->bus, &subscriber, &own->subscriber) || hbus_subscribe(own->subscriber, topic))
			return peer_complain("hugebus", hbus_error_text());
		return 0;
	}
	if (hbus_publisher_open(own->bus, &publisher, &own->publisher) ||
	    hbus_publisher_topic(own->publisher, topic, NULL, NULL, &own->topic))
		return peer_complain("hugebus", hbus_error_text());
	return await_subscriber(own->publisher);
}

static void detach(struct peer_channel *channel, enum peer_side side)
{
	struct own *own = channel->state;

	if (side == PEER_SUBSCRIBER)
		hbus_subscriber_close(own->subscriber);
	else
		hbus_publisher_close(own->publisher);
	hbus_close(own->bus);
	free(own);
}

/* The one that publishes waits inside the library, for at most its timeout. */
BENCH_EVENT_INLINE int send_single_sized(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop,
				unsigned int size)
{
	struct own *own = channel->state;

	(void)stop;
	for (unsigned int i = 0; i < n; i++) {
		peer_fill(own->buffer, size, first + i);
		if (hbus_publish(own->publisher, own->topic, own->buffer, size))
			return peer_complain("hugebus", hbus_error_text());
	}
	return 0;
}

static int send_single(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	BENCH_EVENT_BY_SIZE(send_single_sized, channel->size, channel, first, n, stop);
}

static int send_batch(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	struct own *own = channel->state;

	if (hbus_batch_begin(own->publisher))
		return peer_complain("hugebus", hbus_error_text());
	if (send_single(channel, first, n, stop))
		return -1;
	return hbus_batch_commit(own->publisher) ? peer_complain("hugebus", hbus_error_text()) : 0;
}

BENCH_EVENT_INLINE int send_run_sized(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop,
				unsigned int size)
{
	struct own *own = channel->state;

	(void)stop;
	for (unsigned int i = 0; i < n; i++)
		peer_fill(own->buffer + (size_t)i * size, size, first + i);
	if (hbus_publish_run(own->publisher, own->topic, own->buffer, size, n))
		return peer_complain("hugebus", hbus_error_text());
	return 0;
}

static int send_run(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	BENCH_EVENT_BY_SIZE(send_run_sized, channel->size, channel, first, n, stop);
}

BENCH_EVENT_INLINE int send_one_in_place_sized(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop,
				unsigned int size)
{
	struct own *own = channel->state;
	void *room;

	(void)stop;
	for (unsigned int i = 0; i < n; i++) {
		if (hbus_reserve(own->publisher, own->topic, size, &room))
			return peer_complain("hugebus", hbus_error_text());
		peer_fill(room, size, first + i);
		if (hbus_commit(own->publisher, size))
			return peer_complain("hugebus", hbus_error_text());
	}
	return 0;
}

static int send_one_in_place(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	BENCH_EVENT_BY_SIZE(send_one_in_place_sized, channel->size, channel, first, n, stop);
}

BENCH_EVENT_INLINE int send_in_place_sized(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop,
				unsigned int size)
{
	struct own *own = channel->state;
	unsigned char *room = NULL;

	(void)stop;
	if (hbus_reserve_run(own->publisher, own->topic, size, n, (void **)&room))
		return peer_complain("hugebus", hbus_error_text());
	for (unsigned int i = 0; i < n; i++)
		peer_fill(room + (size_t)i * size, size, first + i);
	return hbus_commit_run(own->publisher, n) ? peer_complain("hugebus", hbus_error_text()) : 0;
}

static int send_in_place(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	BENCH_EVENT_BY_SIZE(send_in_place_sized, channel->size, channel, first, n, stop);
}

BENCH_EVENT_INLINE int take_sized(struct peer_channel *channel, uint64_t *next, unsigned int size)
{
	struct own *own = channel->state;
	struct hbus_span spans[SPANS];
	int n = hbus_poll_spans(own->subscriber, spans, SPANS);

	if (n < 0)
		return peer_complain("hugebus", hbus_error_text());
	for (int i = 0; i < n; i++) {
		if (spans[i].size != size)
			return peer_complain("hugebus", "wrong size");
		for (size_t k = 0; k < spans[i].n_events; k++)
			if (!peer_is(spans[i].data + k * spans[i].stride, size, (*next)++))
				return peer_complain("hugebus", "wrong content");
	}
	return 0;
}

static int take(struct peer_channel *channel, uint64_t *next)
{
	BENCH_EVENT_BY_SIZE(take_sized, channel->size, channel, next);
}

static const char *version(void)
{
	return "hugebus " HBUS_VERSION;
}

const struct peer peer_hugebus_single = {
	.name = "hugebus.single", .title = "hugebus, one by one",
	.settings = "hbus_publish() of each event, hbus_poll_spans(); reliable subscriber, default ring (2 MiB)",
	.version = version, .attach = attach, .detach = detach, .send = send_single, .take = take,
};
const struct peer peer_hugebus_one_place = {
	.name = "hugebus.one.place", .title = "hugebus, one by one in place",
	.settings = "hbus_reserve() of each event, filled in the ring, hbus_commit(); else as above",
	.version = version, .attach = attach, .detach = detach, .send = send_one_in_place, .take = take,
};
const struct peer peer_hugebus_batch = {
	.name = "hugebus.batch", .title = "hugebus, batches of records", .is_own_batching = true,
	.settings = "hbus_batch_begin(), hbus_publish() of each event, hbus_batch_commit(); else as above",
	.version = version, .attach = attach, .detach = detach, .send = send_batch, .take = take,
};
const struct peer peer_hugebus_run = {
	.name = "hugebus.run", .title = "hugebus, run records", .is_own_batching = true,
	.settings = "hbus_publish_run() of a buffer that the publisher fills; else as above",
	.version = version, .attach = attach, .detach = detach, .send = send_run, .take = take,
};
const struct peer peer_hugebus_place = {
	.name = "hugebus.place", .title = "hugebus, runs in place", .is_own_batching = true,
	.settings = "hbus_reserve_run(), filled in the ring, hbus_commit_run(); else as above",
	.version = version, .attach = attach, .detach = detach, .send = send_in_place, .take = take,
};
