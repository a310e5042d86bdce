/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way of a frame through the poll loop.
 */
#include "dataplane/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqttsn/door.h"
#include "dataplane/net_sum.h"

/* ---- names ----------------------------------------------------------------------------- */

static const char *const cell_names[HBUS_N_WORKER_CELLS] = {
	[HBUS_CELL_RECEIVED] = "frames.received",
	[HBUS_CELL_BYTES] = "frames.bytes",
	[HBUS_CELL_EVENTS_RECEIVED] = "events.received",
	[HBUS_CELL_EVENTS_PUBLISHED] = "events.published",
	[HBUS_CELL_EVENTS_NO_INTEREST] = "events.no_interest",
	[HBUS_CELL_EVENTS_TOO_LONG] = "events.too_long",
	[HBUS_CELL_EVENTS_UNKNOWN_TOPIC] = "events.unknown_topic",
	[HBUS_CELL_EVENTS_RING_FULL] = "events.ring_full",
	[HBUS_CELL_EVENTS_NO_RING] = "events.no_ring",
	[HBUS_CELL_BATCH_MISSING] = "batch.missing",
	[HBUS_CELL_BATCH_GAPS] = "batch.gaps",
	[HBUS_CELL_BATCH_DUPLICATES] = "batch.duplicates",
	[HBUS_CELL_BATCH_REORDERED] = "batch.reordered",
	[HBUS_CELL_BATCH_STALE] = "batch.stale",
	[HBUS_CELL_BATCH_RESTARTS] = "batch.restarts",
	[HBUS_CELL_BATCH_SENDERS] = "batch.senders",
	[HBUS_CELL_BATCH_FORGOTTEN] = "batch.forgotten",
	[HBUS_CELL_MQTTSN_PUBLISHED] = "mqttsn.published",
	[HBUS_CELL_MQTTSN_PASSED] = "mqttsn.passed",
	[HBUS_CELL_BURSTS] = "bursts",
};

void hbus_worker_cell_name(unsigned int worker_idx, unsigned int cell_idx,
			   char ret_name[HBUS_COUNTER_NAME_SIZE])
{
	const char *group = "", *name = cell_names[cell_idx];

	if (cell_idx >= HBUS_CELL_FRAMES && cell_idx < HBUS_CELL_FRAMES + HBUS_N_REASONS) {
		group = "frames.";
		name = hbus_reason_name(cell_idx - HBUS_CELL_FRAMES);
	}
	snprintf(ret_name, HBUS_COUNTER_NAME_SIZE, "worker%u.%s%s", worker_idx, group, name);
}

/* ---- counting -------------------------------------------------------------------------- */

_Static_assert(HBUS_N_WORKER_CELLS <= 64, "cells of a burst are marked in one word");

/* What a burst comes to is shown after its commit, so that no reader counts what a kill undid. */
static void count(struct hbus_worker *worker, unsigned int cell_idx, uint64_t n)
{
	worker->pending[cell_idx] += n;
	worker->pending_cells |= UINT64_C(1) << cell_idx;
}

/* What nearly every frame adds to is looked at after each burst, and needs no mark; most are plain, which says it all. */
#define COMMON_CELLS                                                                              \
	(UINT64_C(1) << HBUS_CELL_BYTES | UINT64_C(1) << (HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED) | \
	 UINT64_C(1) << HBUS_CELL_EVENTS_RECEIVED | UINT64_C(1) << HBUS_CELL_EVENTS_PUBLISHED)

static void count_common(struct hbus_worker *worker, unsigned int cell_idx, uint64_t n)
{
	worker->pending[cell_idx] += n;
}

static void show_counts(struct hbus_worker *worker)
{
	count_common(worker, HBUS_CELL_EVENTS_RECEIVED, worker->n_plain);
	count_common(worker, HBUS_CELL_EVENTS_PUBLISHED, worker->n_plain);
	count_common(worker, HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED, worker->n_plain);
	if (worker->n_plain_mqttsn > 0)
		count(worker, HBUS_CELL_MQTTSN_PUBLISHED, worker->n_plain_mqttsn);
	worker->n_plain = worker->n_plain_mqttsn = 0;
	worker->pending_cells |= COMMON_CELLS;
	for (uint64_t left = worker->pending_cells; left != 0; left &= left - 1) {
		unsigned int cell_idx = (unsigned int)__builtin_ctzll(left);

		hbus_counter_add(&worker->cells[cell_idx], worker->pending[cell_idx]);
		worker->pending[cell_idx] = 0;
	}
	worker->pending_cells = 0;
}

/* relaxed: only this worker writes it, and readers want nothing but the number */
static void bump(_Atomic uint64_t *counter)
{
	uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, old + 1, memory_order_relaxed);
}

static inline void count_topic(struct hbus_worker *worker, const struct hbus_plan_topic *topic,
			       enum hbus_reason reason)
{
	struct hbus_topic_counters *counters = &worker->topics[topic->counter_idx];

	bump(&counters->received);
	if (__builtin_expect(reason == HBUS_REASON_ACCEPTED, 1))
		return;
	if (reason == HBUS_REASON_NO_INTEREST)
		bump(&counters->no_interest);
	else if (reason == HBUS_REASON_RING_FULL)
		bump(&counters->ring_full);
	else
		bump(&counters->dropped);
}

static enum hbus_worker_cell event_cell(enum hbus_reason reason)
{
	switch (reason) {
	case HBUS_REASON_ACCEPTED:
		return HBUS_CELL_EVENTS_PUBLISHED;
	case HBUS_REASON_NO_INTEREST:
		return HBUS_CELL_EVENTS_NO_INTEREST;
	case HBUS_REASON_TOO_LONG:
		return HBUS_CELL_EVENTS_TOO_LONG;
	case HBUS_REASON_UNKNOWN_TOPIC:
		return HBUS_CELL_EVENTS_UNKNOWN_TOPIC;
	case HBUS_REASON_RING_FULL:
		return HBUS_CELL_EVENTS_RING_FULL;
	default:
		return HBUS_CELL_EVENTS_NO_RING;
	}
}

static void count_event(struct hbus_worker *worker, enum hbus_reason reason)
{
	count_common(worker, HBUS_CELL_EVENTS_RECEIVED, 1);
	if (__builtin_expect(reason == HBUS_REASON_ACCEPTED, 1))
		count_common(worker, HBUS_CELL_EVENTS_PUBLISHED, 1);
	else
		count(worker, event_cell(reason), 1);
}

/* ---- events ---------------------------------------------------------------------------- */

static inline enum hbus_reason publish(struct hbus_worker *worker, const struct hbus_plan_topic *topic,
				       const uint8_t *payload, uint32_t payload_size)
{
	if (topic->topic == 0)
		return HBUS_REASON_NO_RING;
	return worker->sink->publish(worker->sink, topic->topic, payload, payload_size);
}

static void publish_batched(struct hbus_worker *worker, const struct hbus_plan_numbers *numbers,
			    const struct hbus_batch_event *event)
{
	const struct hbus_plan_topic *topic = NULL;
	enum hbus_reason reason;

	if (event->number < numbers->n_numbers)
		topic = &numbers->topics[event->number];
	if (!topic || !topic->is_listed) {
		count_event(worker, HBUS_REASON_UNKNOWN_TOPIC);
		return;
	}
	if (topic->is_wanted)
		reason = publish(worker, topic, event->payload, event->payload_size);
	else
		reason = HBUS_REASON_NO_INTEREST;
	count_event(worker, reason);
	count_topic(worker, topic, reason);
}

static enum hbus_reason publish_batch(struct hbus_worker *worker,
				      const struct hbus_plan_numbers *numbers,
				      const uint8_t *payload, uint32_t payload_size)
{
	struct hbus_batch batch;
	const uint8_t *cursor;

	if (!hbus_batch_parse(payload, payload_size, &batch))
		return HBUS_REASON_BAD_BATCH;
	if (hbus_batch_tracker_see(worker->tracker, batch.sender, batch.sequence) !=
	    HBUS_BATCH_ACCEPTED)
		return HBUS_REASON_DUPLICATE;
	cursor = batch.entries;
	for (uint32_t i = 0; i < batch.n_events; i++) {
		struct hbus_batch_event event = hbus_batch_next(&cursor);

		publish_batched(worker, numbers, &event);
	}
	return HBUS_REASON_ACCEPTED;
}

static inline enum hbus_reason publish_plain(struct hbus_worker *worker,
				      const struct hbus_plan_topic *topic, const uint8_t *payload,
				      uint32_t payload_size)
{
	enum hbus_reason reason = publish(worker, topic, payload, payload_size);

	count_event(worker, reason);
	return reason;
}

/* ---- frames ---------------------------------------------------------------------------- */

/* Steps 7 and 8. */
static enum hbus_reason judge_source(struct hbus_worker *worker, const struct hbus_packet *packet)
{
	const struct hbus_plan *plan = worker->plan;
	uint32_t action = hbus_plan_judge_source(plan, packet->family, packet->source);

	if (action == HBUS_SOURCE_DENY)
		return HBUS_REASON_SOURCE_DENIED;
	if (action == HBUS_SOURCE_ALLOW &&
	    !hbus_buckets_take(worker->buckets, &plan->rate, packet->family, packet->source,
			       worker->now_ns))
		return HBUS_REASON_RATE_LIMITED;
	return HBUS_REASON_ACCEPTED;
}

/* Steps 7 to 9. What the filter in the driver has judged is not judged again. */
static inline enum hbus_reason judge_source_and_sums(struct hbus_worker *worker, const struct hbus_packet *packet,
						     unsigned int flags)
{
	enum hbus_reason reason = HBUS_REASON_ACCEPTED;

	if (worker->plan->judges_sources && !(flags & HBUS_WORKER_IS_FILTERED))
		reason = judge_source(worker, packet);
	return reason == HBUS_REASON_ACCEPTED ? hbus_net_check_sums(packet, flags) : reason;
}

/*
 * Steps 6 to 9 for a datagram of MQTT-SN: what the paths know is published or dropped here, the rest is
 * the gateway's.
 */
static enum hbus_reason judge_mqttsn(struct hbus_worker *worker, const struct hbus_packet *packet,
				     const uint8_t *payload, uint32_t payload_size, unsigned int flags)
{
	struct hbus_plan_topic topic = { 0 };
	struct hbus_sn_verdict verdict;
	enum hbus_reason reason;

	if (!worker->door)
		return HBUS_REASON_NO_RING;
	verdict = hbus_sn_door_judge(worker->door, packet, payload, payload_size, worker->now_ns);
	topic.topic = topic.counter_idx = verdict.number;
	if (verdict.number && !verdict.is_wanted) {
		count_topic(worker, &topic, HBUS_REASON_NO_INTEREST);
		return HBUS_REASON_NO_INTEREST;
	}
	reason = judge_source_and_sums(worker, packet, flags);
	if (reason != HBUS_REASON_ACCEPTED)
		return reason;
	if (!verdict.number) {
		reason = hbus_sn_door_pass(worker->door, packet, payload, payload_size);
		count(worker, HBUS_CELL_MQTTSN_PASSED, reason == HBUS_REASON_ACCEPTED);
		return reason;
	}
	reason = publish_plain(worker, &topic, payload + verdict.head_size,
			       payload_size - verdict.head_size);
	count(worker, HBUS_CELL_MQTTSN_PUBLISHED, reason == HBUS_REASON_ACCEPTED);
	count_topic(worker, &topic, reason);
	return reason;
}

/* Steps 5 to 9: the packet has matched a route. */
static enum hbus_reason judge_routed(struct hbus_worker *worker, const struct hbus_packet *packet,
				     const struct hbus_plan_path *path, unsigned int flags)
{
	enum hbus_reason reason;
	const uint8_t *payload;
	uint32_t payload_size;

	reason = hbus_net_check_length(packet, &payload, &payload_size);
	if (reason != HBUS_REASON_ACCEPTED)
		return reason;
	if (path->is_gateway)
		return judge_mqttsn(worker, packet, payload, payload_size, flags);
	if (!path->topic.is_wanted)
		return HBUS_REASON_NO_INTEREST;
	reason = judge_source_and_sums(worker, packet, flags);
	if (reason != HBUS_REASON_ACCEPTED)
		return reason;
	if (path->numbers)
		return publish_batch(worker, path->numbers, payload, payload_size);
	return publish_plain(worker, &path->topic, payload, payload_size);
}

static const struct hbus_plan_path *look_up(struct hbus_worker *worker, const struct hbus_packet *packet)
{
	uint32_t path_idx;

	if (!hbus_route_lookup(worker->plan->routes, packet->family, packet->destination, packet->vlan,
			       packet->port, &path_idx))
		return NULL;
	return &worker->plan->paths[path_idx];
}

static inline uint64_t flow_key(uint32_t destination, uint16_t vlan, uint16_t port)
{
	return (uint64_t)destination << 32 | 1u << 31 | (uint32_t)vlan << 16 | port;
}

static inline struct hbus_worker_flow *flow_of(struct hbus_worker *worker, uint64_t key)
{
	return &worker->flows[key * 0x9e3779b97f4a7c15U >> 32 & (HBUS_WORKER_FLOWS - 1)];
}

/* Step 4. Only what matched is remembered: what did not may be anything. */
static const struct hbus_plan_path *find_path(struct hbus_worker *worker, const struct hbus_packet *packet)
{
	const struct hbus_plan_path *path;
	struct hbus_worker_flow *flow;
	uint32_t destination;
	uint64_t key;

	if (packet->family != HBUS_FAMILY_IPV4)
		return look_up(worker, packet);
	memcpy(&destination, packet->destination, sizeof(destination));
	key = flow_key(destination, packet->vlan, packet->port);
	flow = flow_of(worker, key);
	if (flow->key == key)
		return flow->path;
	path = look_up(worker, packet);
	if (path)
		*flow = (struct hbus_worker_flow){ key, path };
	return path;
}

static __attribute__((noinline)) enum hbus_reason judge(struct hbus_worker *worker,
							const uint8_t *frame, size_t size,
							unsigned int flags)
{
	struct hbus_packet packet;
	enum hbus_reason reason = hbus_net_parse(frame, size, &packet);
	const struct hbus_plan_path *path;

	if (reason == HBUS_REASON_NOT_UDP && worker->feed)
		return hbus_feed_offer(worker->feed, &packet);
	if (reason != HBUS_REASON_ACCEPTED)
		return reason;
	path = find_path(worker, &packet);
	if (!path)
		return HBUS_REASON_UNKNOWN_PORT;
	reason = judge_routed(worker, &packet, path, flags);
	count_topic(worker, &path->topic, reason);
	return reason;
}

/* ---- the short way --------------------------------------------------------------------- */

/* Offsets in a frame without tags and options. */
enum { PLAIN_IP = 14, PLAIN_SOURCE = 26, PLAIN_DESTINATION = 30, PLAIN_UDP = 34, PLAIN_PAYLOAD = 42 };

static inline uint32_t load_be16(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 8 | bytes[1];
}

static inline bool are_plain_sums_good(const uint8_t *frame, uint32_t udp_size, unsigned int flags)
{
	const uint8_t *ip = frame + PLAIN_IP, *udp = frame + PLAIN_UDP;
	uint64_t sum;

	if (!(flags & HBUS_WORKER_TRUST_IP)) {
		sum = hbus_sum_add(hbus_sum_load(ip), hbus_sum_load(ip + 8));
		if (!hbus_sum_is_good(hbus_sum_add(sum, hbus_sum_load(ip + 12) >> 32)))
			return false;
	}
	if ((flags & HBUS_WORKER_TRUST_UDP) || load_be16(udp + 6) == 0)
		return true;
	/* Both addresses, and the rest of the pseudo header as it stands in the packet: big-endian. */
	sum = (uint64_t)__builtin_bswap16((uint16_t)udp_size) + (uint64_t)__builtin_bswap16(17);
	sum = hbus_sum_add(sum, hbus_sum_load(ip + 12));
	return hbus_sum_is_good(hbus_sum_add_bytes(sum, udp, udp_size));
}

/*
 * Nearly all frames are IPv4 without tags and options, UDP in one piece, of a flow met lately, wanted,
 * and right. Such a frame needs none of the care that it takes to say what is wrong with another: this
 * either says that nothing is, or nothing, and then judge() has the word.
 * Return: the path of a frame that passes steps 1 to 9, or NULL.
 */
static inline const struct hbus_plan_path *pass_plain(struct hbus_worker *worker, const uint8_t *frame,
						      size_t size, unsigned int flags,
						      uint32_t *ret_udp_size)
{
	const struct hbus_plan_path *path;
	const struct hbus_worker_flow *flow;
	uint32_t ip_size, udp_size, destination;
	uint64_t key;

	/* Ethernet type and version; then fragment and protocol. (Hosts are little-endian.) */
	if (size < PLAIN_PAYLOAD || (hbus_sum_load(frame + 12) & 0xffffff) != 0x450008 ||
	    (hbus_sum_load(frame + 20) & 0xff00ff3f) != 0x11000000)
		return NULL;
	ip_size = load_be16(frame + PLAIN_IP + 2);
	udp_size = load_be16(frame + PLAIN_UDP + 4);
	if (ip_size > size - PLAIN_IP || udp_size < HBUS_NET_UDP_SIZE ||
	    udp_size + (PLAIN_UDP - PLAIN_IP) > ip_size)
		return NULL;
	memcpy(&destination, frame + PLAIN_DESTINATION, sizeof(destination));
	key = flow_key(destination, 0, (uint16_t)load_be16(frame + PLAIN_UDP + 2));
	flow = flow_of(worker, key);
	path = flow->path;
	if (flow->key != key || !path->topic.is_wanted || path->numbers ||
	    (worker->plan->judges_sources && !(flags & HBUS_WORKER_IS_FILTERED)) ||
	    !are_plain_sums_good(frame, udp_size, flags))
		return NULL;
	*ret_udp_size = udp_size;
	return path;
}

static inline void count_plain(struct hbus_worker *worker, size_t size)
{
	count_common(worker, HBUS_CELL_BYTES, size);
	worker->n_plain++;
}

static __attribute__((noinline)) void judge_and_account(struct hbus_worker *worker, const uint8_t *frame, size_t size,
							unsigned int flags)
{
	hbus_worker_account(worker, size, judge(worker, frame, size, flags));
}

static __attribute__((noinline)) void account_dropped(struct hbus_worker *worker, size_t size, enum hbus_reason reason)
{
	count_event(worker, reason);
	hbus_worker_account(worker, size, reason);
}

/* The same of MQTT-SN: when it is a PUBLISH that the paths know and somebody wants. */
static __attribute__((noinline)) void take_mqttsn(struct hbus_worker *worker, const struct hbus_plan_path *path,
						  const uint8_t *frame, size_t size, unsigned int flags, uint32_t udp_size)
{
	uint32_t payload_size = udp_size - HBUS_NET_UDP_SIZE;
	struct hbus_sn_verdict verdict = { 0 };
	struct hbus_plan_topic topic = { 0 };
	enum hbus_reason reason;

	if (worker->door)
		verdict = hbus_sn_door_judge_ipv4(worker->door, frame + PLAIN_SOURCE, (uint16_t)load_be16(frame + PLAIN_UDP),
						  frame + PLAIN_PAYLOAD, payload_size, worker->now_ns);
	if (!verdict.number || !verdict.is_wanted) {
		judge_and_account(worker, frame, size, flags);
		return;
	}
	reason = worker->sink->publish(worker->sink, verdict.number, frame + PLAIN_PAYLOAD + verdict.head_size,
				       payload_size - verdict.head_size);
	topic.counter_idx = verdict.number;
	count_topic(worker, &topic, reason);
	count_topic(worker, &path->topic, reason);
	if (__builtin_expect(reason != HBUS_REASON_ACCEPTED, 0)) {
		account_dropped(worker, size, reason);
		return;
	}
	worker->n_plain_mqttsn++;
	count_plain(worker, size);
}

void hbus_worker_frame(struct hbus_worker *worker, const uint8_t *frame, size_t size,
		       unsigned int flags)
{
	enum hbus_reason reason;
	uint32_t udp_size;
	const struct hbus_plan_path *path = pass_plain(worker, frame, size, flags, &udp_size);

	if (__builtin_expect(!path, 0)) {
		judge_and_account(worker, frame, size, flags);
		return;
	}
	if (path->is_gateway) {
		take_mqttsn(worker, path, frame, size, flags, udp_size);
		return;
	}
	reason = publish(worker, &path->topic, frame + PLAIN_PAYLOAD, udp_size - HBUS_NET_UDP_SIZE);
	count_topic(worker, &path->topic, reason);
	if (__builtin_expect(reason != HBUS_REASON_ACCEPTED, 0))
		account_dropped(worker, size, reason);
	else
		count_plain(worker, size);
}

void hbus_worker_account(struct hbus_worker *worker, size_t size, enum hbus_reason reason)
{
	count_common(worker, HBUS_CELL_BYTES, size);
	if (__builtin_expect(reason == HBUS_REASON_ACCEPTED, 1))
		count_common(worker, HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED, 1);
	else
		count(worker, HBUS_CELL_FRAMES + reason, 1);
}

/* ---- bursts ---------------------------------------------------------------------------- */

void hbus_worker_begin(struct hbus_worker *worker, const struct hbus_plan *plan,
		       uint64_t n_frames, uint64_t now_ns)
{
	worker->plan = plan;
	worker->now_ns = now_ns;
	if (worker->flows_of != plan->number) {
		memset(worker->flows, 0, sizeof(worker->flows));
		worker->flows_of = plan->number;
	}
	hbus_counter_add(&worker->cells[HBUS_CELL_RECEIVED], n_frames);
}

static void set(struct hbus_worker *worker, unsigned int cell_idx, uint64_t value)
{
	hbus_counter_set(&worker->cells[cell_idx], value);
}

void hbus_worker_commit(struct hbus_worker *worker)
{
	const struct hbus_batch_counters *batch = hbus_batch_tracker_counters(worker->tracker);

	worker->sink->commit(worker->sink);
	count(worker, HBUS_CELL_BURSTS, 1);
	show_counts(worker);
	set(worker, HBUS_CELL_BATCH_MISSING, batch->n_missing);
	set(worker, HBUS_CELL_BATCH_GAPS, batch->n_gaps);
	set(worker, HBUS_CELL_BATCH_DUPLICATES, batch->n_duplicates);
	set(worker, HBUS_CELL_BATCH_REORDERED, batch->n_reordered);
	set(worker, HBUS_CELL_BATCH_STALE, batch->n_stale);
	set(worker, HBUS_CELL_BATCH_RESTARTS, batch->n_restarts);
	set(worker, HBUS_CELL_BATCH_SENDERS, batch->n_senders);
	set(worker, HBUS_CELL_BATCH_FORGOTTEN, batch->n_forgotten);
}

int hbus_worker_init(struct hbus_worker *worker, struct hbus_counter_cell *cells,
		     struct hbus_sink *sink, uint64_t secret)
{
	*worker = (struct hbus_worker){ .cells = cells, .sink = sink };
	worker->topics = calloc(HBUS_WORKER_TOPICS_MAX, sizeof(*worker->topics));
	if (!worker->topics || hbus_batch_tracker_new(secret, &worker->tracker) < 0 ||
	    hbus_buckets_new(secret, &worker->buckets) < 0) {
		hbus_worker_deinit(worker);
		return -ENOMEM;
	}
	return 0;
}

void hbus_worker_deinit(struct hbus_worker *worker)
{
	worker->buckets = hbus_buckets_free(worker->buckets);
	worker->tracker = hbus_batch_tracker_free(worker->tracker);
	free(worker->topics);
	worker->topics = NULL;
}
