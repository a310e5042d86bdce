/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What `hugebus top` shows: two samples of the bus, and the text of what happened between them
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ctl/cli/rows.h"
#include "ctl/cli/text.h"

struct hbus_top_sample {
	uint64_t time_ns; /* 0 = there is none yet */
	struct hbus_rows daemon;
	struct hbus_rows rings;
	struct hbus_rows subscribers;
	struct hbus_rows counters;
};

/** hbus_top_sample() - ask the daemon. Return: 0 or a library error; deinit @sample either way. */
int hbus_top_sample(struct hbus_top_sample *sample, struct hbus *bus);
void hbus_top_sample_deinit(struct hbus_top_sample *sample);

/**
 * hbus_top_frame() - append one frame: totals, rings, subscribers, drops; the busiest first
 * @before: an earlier sample, or one without a time: then rates are "-"
 * @columns, @lines: of the terminal; 0 = no limit
 */
void hbus_top_frame(struct hbus_text *text, const struct hbus_top_sample *before,
		    const struct hbus_top_sample *now, size_t columns, size_t lines);

/**
 * hbus_top_reason() - the reason for which a counter counts drops
 *
 * Return: the part of @counter_name behind its last dot when that is a reason other than
 * "accepted", else NULL.
 */
const char *hbus_top_reason(const char *counter_name);
