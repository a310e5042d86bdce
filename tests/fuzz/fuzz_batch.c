/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a batched datagram, then as a list of sender and sequence numbers: what is good is
 * accounted for to the last byte, and the counters of the tracker always balance.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/batch.h"

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static void read_datagram(const uint8_t *bytes, size_t size)
{
	struct hbus_batch batch;
	const uint8_t *cursor;

	if (!hbus_batch_parse(bytes, size, &batch))
		return;
	cursor = batch.entries;
	for (uint32_t i = 0; i < batch.n_events; i++) {
		struct hbus_batch_event event = hbus_batch_next(&cursor);

		require(event.payload + event.payload_size == cursor);
		require(cursor <= bytes + size);
	}
	require(cursor == bytes + size);
}

/* Pairs of bytes: who, and how far from the last number. */
static void track(const uint8_t *bytes, size_t size)
{
	static struct hbus_batch_tracker *tracker;
	static uint64_t sequence = UINT64_MAX - 100;
	const struct hbus_batch_counters *counters;

	if (!tracker)
		require(hbus_batch_tracker_new(42, &tracker) == 0);
	counters = hbus_batch_tracker_counters(tracker);
	for (size_t i = 0; i + 1 < size; i += 2) {
		sequence += (uint64_t)(int64_t)(int8_t)bytes[i + 1];
		(void)hbus_batch_tracker_see(tracker, bytes[i], sequence);
		require(counters->n_datagrams ==
			counters->n_accepted + counters->n_duplicates + counters->n_stale);
		require(counters->n_missing < UINT64_MAX / 2);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	memcpy(copy, data, size);
	read_datagram(copy, size);
	if (size >= 4 && memcmp(copy, "HBB1", 4) != 0)
		track(copy, size);
	free(copy);
	return 0;
}
