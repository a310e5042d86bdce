/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a reader that has caught up looks away for a moment
 *
 * A reader that stands right behind a busy publisher takes each cache line away as soon as it is written, and its
 * hardware prefetcher takes those ahead; both then move one line at a time, at a fifth of what the two cores can do.
 * One that looks away for some microseconds finds a few hundred events in one piece. For a reader that answers each
 * event the same moment is lost time, and no property of the events tells which of the two it is. So this tries: it
 * measures the rate without, then with, and lingers only while that is clearly faster; and it tries ever more rarely
 * while it is not.
 *
 * Owner's thread. The clock is read at decisions only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define HBUS_LINGER_NS 8000u

enum hbus_linger_phase {
	HBUS_LINGER_WITHOUT, /* measures, or knows better */
	HBUS_LINGER_ONCE,    /* one try: does anything come at all? */
	HBUS_LINGER_TRIAL,
	HBUS_LINGER_ON,
};

/* Zero is the beginning. */
struct hbus_linger {
	uint32_t n_left;          /* times until the next decision */
	enum hbus_linger_phase phase;
	uint32_t n_without;       /* times of the next phase without */
	uint64_t begin_ns;
	uint64_t begin_events;
	uint64_t last_events;
	uint64_t rate_without;    /* events per second */
};

/* The end of a phase. */
void hbus_linger_decide(struct hbus_linger *linger, uint64_t now_ns, uint64_t n_events);
/* Few came in spite of it: the stream is over. */
void hbus_linger_stop(struct hbus_linger *linger, uint64_t now_ns, uint64_t n_events);
uint64_t hbus_linger_now_ns(void);
/* Looks away. */
void hbus_linger_pass(void);

#define HBUS_LINGER_FEW 4u /* events */

/*
 * The reader had events and has none any more; @n_events: seen so far, all rings together. Return: it has looked
 * away, and should look again.
 */
static inline bool hbus_linger_caught_up(struct hbus_linger *linger, uint64_t n_events)
{
	if (__builtin_expect(linger->phase == HBUS_LINGER_ON && n_events - linger->last_events < HBUS_LINGER_FEW, 0))
		hbus_linger_stop(linger, hbus_linger_now_ns(), n_events);
	linger->last_events = n_events;
	if (__builtin_expect(linger->n_left == 0, 0))
		hbus_linger_decide(linger, hbus_linger_now_ns(), n_events);
	linger->n_left--;
	if (__builtin_expect(linger->phase == HBUS_LINGER_WITHOUT, 1))
		return false;
	hbus_linger_pass();
	return true;
}
