/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as TCP segments of a few flows, read as MQTT: each record is a flow, flags, a place in the stream
 * and a length. Nothing is read beyond a segment, what waits and what is kept stays within the limits, and all
 * of it is given back at the end.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/passive/flow.h"
#include "dataplane/passive/reader.h"

enum { RECORD_SIZE = 6, WAITING_MAX = 4096, KEPT_MAX = 8192 };

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static uint64_t n_messages;

static void take(void *context, const struct hbus_mqtt_message *message)
{
	static uint8_t sum; /* so that the reads are not optimised away */

	(void)context;
	require(message->topic && strlen(message->topic) > 0);
	for (size_t i = 0; i < message->payload_size; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)message->payload)[i]);
	n_messages++;
}

static void *open_stream(void *context, const struct hbus_tcp_key *key)
{
	(void)key;
	return hbus_mqtt_tap_new(context);
}

static void bytes(void *context, void *stream, const uint8_t *data, size_t size)
{
	(void)context;
	hbus_mqtt_tap_bytes(stream, data, size);
}

static void hole(void *context, void *stream, uint64_t size)
{
	(void)context;
	hbus_mqtt_tap_hole(stream, size);
}

static void close_stream(void *context, void *stream, enum hbus_flow_end end)
{
	(void)context;
	(void)end;
	hbus_mqtt_tap_free(stream);
}

/* Return: bytes used, 0 at the end. */
static size_t give(struct hbus_flows *flows, const uint8_t *data, size_t size, uint64_t now)
{
	struct hbus_tcp_segment segment = { .key = { .family = HBUS_FAMILY_IPV4, .port = 1883 } };
	uint8_t *copy;

	if (size < RECORD_SIZE)
		return 0;
	segment.key.source_port = data[0] & 3;
	segment.flags = data[1];
	segment.seq = UINT32_MAX - 500 + (uint32_t)(data[2] << 8 | data[3]);
	segment.size = (uint32_t)(data[4] << 8 | data[5]) & 0x3ff;
	if (segment.size > size - RECORD_SIZE)
		segment.size = (uint32_t)(size - RECORD_SIZE);
	copy = malloc(segment.size ? segment.size : 1);
	memcpy(copy, data + RECORD_SIZE, segment.size);
	segment.data = copy;
	hbus_flows_segment(flows, &segment, now);
	free(copy);
	return RECORD_SIZE + segment.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t secret[2] = { 3, 4 };
	struct hbus_tap_shared shared = { .publish = take, .packet_max = 2000, .kept_max = KEPT_MAX };
	struct hbus_flow_limits limits = { 3, WAITING_MAX / 2, WAITING_MAX, 5 };
	struct hbus_flow_reader reader = { &shared, open_stream, bytes, hole, close_stream };
	struct hbus_flows *flows;
	uint64_t now = 0;
	size_t used;

	if (hbus_flows_new(&limits, &reader, secret, &flows) != 0)
		return 0;
	while ((used = give(flows, data, size, ++now)) > 0) {
		data += used;
		size -= used;
		require(hbus_flows_counters(flows)->n_waiting_bytes <= WAITING_MAX);
		/* One packet more than the limit may be on its way to being given up. */
		require(shared.counters.n_kept_bytes <= KEPT_MAX + 4096);
		if (now % 8 == 0)
			hbus_flows_tick(flows, now);
	}
	hbus_flows_tick(flows, UINT64_MAX);
	require(hbus_flows_counters(flows)->n_waiting_bytes == 0);
	hbus_flows_free(flows);
	require(shared.counters.n_kept_bytes == 0);
	return 0;
}
