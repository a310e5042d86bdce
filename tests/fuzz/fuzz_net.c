/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a frame: the first byte says which checksums to trust, the rest is the frame. What
 * is accepted lies within it, and no step reads beyond it (the sanitizer sees to that).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/net.h"

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static void judge(const uint8_t *frame, size_t size, unsigned int trust)
{
	struct hbus_packet packet;
	const uint8_t *payload;
	uint32_t payload_size;
	enum hbus_reason reason = hbus_net_parse(frame, size, &packet);

	require(reason < HBUS_N_REASONS);
	if (reason != HBUS_REASON_ACCEPTED)
		return;
	require(packet.udp_off + 8 <= size && packet.vlan < 4096);
	if (hbus_net_check_length(&packet, &payload, &payload_size) != HBUS_REASON_ACCEPTED)
		return;
	require(payload >= frame && payload_size <= size &&
		(size_t)(payload - frame) <= size - payload_size);
	reason = hbus_net_check_sums(&packet, trust);
	require(reason == HBUS_REASON_ACCEPTED || reason == HBUS_REASON_BAD_CHECKSUM);
}

/* Puts the frame into memory of exactly its size. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *frame;

	if (size == 0)
		return 0;
	frame = malloc(size);
	memcpy(frame, data + 1, size - 1);
	judge(frame, size - 1, data[0]);
	free(frame);
	return 0;
}
