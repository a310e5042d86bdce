/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a scan of a ring (poll.c) puts the records that are wanted. Owner's thread. */
#pragma once

#include "ctl/client/hugebus.h"
#include "ctl/client/subscriber.h"

/* Where a scan puts what it finds: events, spans, or nothing but the news that there is something. */
struct hbus_sink {
	struct hbus_event *events;
	struct hbus_span *spans;
	unsigned int n;
	unsigned int n_max;
};

static inline unsigned int hbus_sink_put_events(struct hbus_sink *sink, const struct hbus_attached *at, const char *name,
				      const struct hbus_record *record, uint64_t skip)
{
	unsigned int room = sink->n_max - sink->n, n = 0;

	for (uint64_t i = skip; i < record->n_events && n < room; i++, n++)
		sink->events[sink->n + n] = (struct hbus_event){
			.data = record->payload + i * record->stride,
			.size = record->size,
			.topic = name,
			.topic_id = record->topic,
			.key = record->key,
			.ring_id = at->ring_id,
			.sequence = record->sequence + i,
			.time_ns = record->time_ns,
			.extra = record->attrs,
			.extra_size = record->attrs_size,
			.has_key = (record->flags & HBUS_FLAG_KEY) != 0,
		};
	sink->n += n;
	return n;
}

/* Can this record follow the last span without a gap? Only plain ones can; a run is a span of its own. */
static inline bool span_takes(const struct hbus_span *span, const struct hbus_record *record)
{
	return record->flags == 0 && span->reserved == 0 && span->topic_id == record->topic && span->size == record->size &&
	       span->data + span->n_events * span->stride == record->payload;
}

static inline uint64_t hbus_sink_put_span(struct hbus_sink *sink, const struct hbus_attached *at, const char *name,
				const struct hbus_record *record, uint64_t skip)
{
	uint64_t n = record->n_events - skip;
	struct hbus_span *span;

	if (sink->n > 0 && span_takes(&sink->spans[sink->n - 1], record)) {
		sink->spans[sink->n - 1].n_events++;
		return 1;
	}
	if (sink->n == sink->n_max)
		return 0;
	span = &sink->spans[sink->n++];
	*span = (struct hbus_span){
		.data = record->payload + skip * record->stride,
		.size = record->size,
		.stride = record->flags & HBUS_FLAG_RUN ? record->stride
							: HBUS_RECORD_HEADER + HBUS_ALIGN8((size_t)record->size),
		.n_events = n,
		.topic = name,
		.topic_id = record->topic,
		.reserved = record->flags,
		.ring_id = at->ring_id,
		.sequence = record->sequence + skip,
		.time_ns = record->time_ns,
	};
	return n;
}
