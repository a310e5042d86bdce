/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the events of one poll loop go: a ring, or in tests whatever takes note of them.
 *
 * Any number of publish, then commit: what was published since the last commit appears together. A
 * topic is a number that whoever made the sink gave out; 0 is none.
 */
#pragma once

#include <stdint.h>

#include "ebpf/filter_abi.h"

struct hbus_sink {
	/*
	 * Copies the payload. Never waits.
	 * Return: HBUS_REASON_ACCEPTED, RING_FULL, TOO_LONG or NO_RING.
	 */
	enum hbus_reason (*publish)(struct hbus_sink *sink, uint32_t topic, const uint8_t *payload,
				    uint32_t payload_size);
	void (*commit)(struct hbus_sink *sink);
};
