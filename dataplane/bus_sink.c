/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Publishes a burst as one batch per ring. The publishers never wait: what does not fit is dropped
 * by the caller, who counts it.
 */
#include "dataplane/bus_sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct hbus_bus_sink *from_sink(struct hbus_sink *sink)
{
	return (struct hbus_bus_sink *)sink;
}

static void commit_one(struct hbus_bus_sink *sink, uint32_t ring_idx)
{
	(void)hbus_batch_commit(sink->publishers[ring_idx]);
	sink->open &= ~(UINT64_C(1) << ring_idx);
}

static void commit(struct hbus_sink *base)
{
	struct hbus_bus_sink *sink = from_sink(base);

	while (sink->open != 0)
		commit_one(sink, (uint32_t)__builtin_ctzll(sink->open));
}

static int publish_once(struct hbus_bus_sink *sink, const struct hbus_bus_sink_place *place,
			const uint8_t *payload, uint32_t payload_size)
{
	uint64_t bit = UINT64_C(1) << place->ring_idx;
	struct hbus_publisher *publisher = sink->publishers[place->ring_idx];

	if (!(sink->open & bit)) {
		int r = hbus_batch_begin(publisher);

		if (r < 0)
			return r;
		sink->open |= bit;
	}
	return hbus_try_publish(publisher, place->topic, payload, payload_size);
}

/* The first event of a batch, or one that could not be had at once. */
static __attribute__((noinline)) enum hbus_reason publish_slowly(struct hbus_bus_sink *sink,
								const struct hbus_bus_sink_place *place,
								const uint8_t *payload, uint32_t payload_size)
{
	int r = publish_once(sink, place, payload, payload_size);

	/* The batch may be what is too large: an event that fits alone begins the next one. */
	if (r == HBUS_E_TOO_LARGE) {
		commit_one(sink, place->ring_idx);
		r = publish_once(sink, place, payload, payload_size);
	}
	if (r == 0)
		return HBUS_REASON_ACCEPTED;
	if (r == HBUS_FULL)
		return HBUS_REASON_RING_FULL;
	return r == HBUS_E_TOO_LARGE ? HBUS_REASON_TOO_LONG : HBUS_REASON_NO_RING;
}

static enum hbus_reason publish(struct hbus_sink *base, uint32_t number, const uint8_t *payload,
				uint32_t payload_size)
{
	struct hbus_bus_sink *sink = from_sink(base);
	const struct hbus_bus_sink_place *place = &sink->places[number];
	int r;

	if (__builtin_expect((sink->open >> place->ring_idx & 1) == 0, 0))
		return publish_slowly(sink, place, payload, payload_size);
	r = hbus_try_publish(sink->publishers[place->ring_idx], place->topic, payload, payload_size);
	if (__builtin_expect(r == 0, 1))
		return HBUS_REASON_ACCEPTED;
	/* A full ring stays full for this burst; whatever else it is, a second try says. */
	return r == HBUS_FULL ? HBUS_REASON_RING_FULL : publish_slowly(sink, place, payload, payload_size);
}

int hbus_bus_sink_init(struct hbus_bus_sink *sink, struct hbus *bus,
		       const struct hbus_words *own_rings, bool wakes_inline)
{
	const struct hbus_publisher_options options = {
		.struct_size = sizeof(options),
		.flags = HBUS_PUB_TIMESTAMP | (wakes_inline ? 0 : HBUS_PUB_DEFER_WAKE),
	};
	int r = 0;

	*sink = (struct hbus_bus_sink){ .sink = { publish, commit },
					.own_rings = own_rings };
	sink->places = calloc(HBUS_WORKER_TOPICS_MAX, sizeof(*sink->places));
	if (!sink->places)
		return -ENOMEM;
	while (sink->n_publishers < 1 + own_rings->n && r == 0) {
		r = hbus_publisher_open(bus, &options, &sink->publishers[sink->n_publishers]);
		if (r == 0)
			sink->n_publishers++;
	}
	if (r != 0)
		hbus_bus_sink_deinit(sink);
	return r;
}

void hbus_bus_sink_deinit(struct hbus_bus_sink *sink)
{
	while (sink->n_publishers > 0)
		hbus_publisher_close(sink->publishers[--sink->n_publishers]);
	free(sink->places);
	sink->places = NULL;
}

static uint32_t ring_of(const struct hbus_bus_sink *sink, const char *name)
{
	for (uint32_t i = 0; i < sink->own_rings->n; i++)
		if (strcmp(sink->own_rings->at[i], name) == 0)
			return 1 + i;
	return 0;
}

int hbus_bus_sink_name(struct hbus_bus_sink *sink, uint32_t number, const char *name)
{
	struct hbus_bus_sink_place *place = &sink->places[number];

	place->ring_idx = ring_of(sink, name);
	return hbus_publisher_topic(sink->publishers[place->ring_idx], name, NULL, NULL,
				    &place->topic);
}

void hbus_bus_sink_wake(struct hbus_bus_sink *sink)
{
	for (unsigned int i = 0; i < sink->n_publishers; i++)
		(void)hbus_publisher_wake(sink->publishers[i]);
}
