/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What counts against those who are watched: time on the clock less what the machine gave to others
 *
 * That a CPU is late is known only when it is, so what was starved may grow for a past moment. The clock then stands still
 * until that is made up for: it never goes back, or who has just moved would seem to have stood for ever.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct fair_clock {
	uint64_t last_ns;
};

static inline uint64_t fair_clock_ns(struct fair_clock *clock, uint64_t now_ns, uint64_t starved_ns)
{
	uint64_t fair_ns = now_ns - starved_ns;

	if (fair_ns > clock->last_ns)
		clock->last_ns = fair_ns;
	return clock->last_ns;
}

/* Who waited for a CPU is late by that, and by no more. */
static inline bool fair_is_wedge(uint64_t stood_ns, uint64_t waited_ns, uint64_t most_ns)
{
	return stood_ns > most_ns && stood_ns - most_ns > waited_ns;
}
