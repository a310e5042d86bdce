/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a reader that has caught up looks away for a moment. See linger.h. */
#include "ctl/client/linger.h"

#include <time.h>

#define WITHOUT_FIRST 128u /* times, doubled with each try that did not pay */
#define WITHOUT_MOST 8192u
#define WITHOUT_AGAIN 32u  /* times, after a while of lingering */
#define TRIAL_TIMES 8u
#define ON_TIMES 1024u

uint64_t hbus_linger_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void hbus_linger_pass(void)
{
	uint64_t end_ns = hbus_linger_now_ns() + HBUS_LINGER_NS;

	do {
#if defined(__x86_64__)
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ __volatile__("isb");
#endif
	} while (hbus_linger_now_ns() < end_ns);
}

static void enter(struct hbus_linger *linger, enum hbus_linger_phase phase, uint32_t n_times, uint64_t now_ns,
		  uint64_t n_events)
{
	linger->phase = phase;
	linger->n_left = n_times;
	linger->begin_ns = now_ns;
	linger->begin_events = n_events;
}

static uint64_t rate(const struct hbus_linger *linger, uint64_t now_ns, uint64_t n_events)
{
	uint64_t ns = now_ns - linger->begin_ns;

	/* Phases are short: no product of theirs comes near 2^64. */
	return (n_events - linger->begin_events) * 1000000 / (ns / 1000 + 1);
}

static void give_up(struct hbus_linger *linger, uint64_t now_ns, uint64_t n_events)
{
	linger->n_without = linger->n_without * 2 < WITHOUT_MOST ? linger->n_without * 2 : WITHOUT_MOST;
	enter(linger, HBUS_LINGER_WITHOUT, linger->n_without, now_ns, n_events);
}

void hbus_linger_stop(struct hbus_linger *linger, uint64_t now_ns, uint64_t n_events)
{
	linger->n_without = WITHOUT_FIRST;
	enter(linger, HBUS_LINGER_WITHOUT, linger->n_without, now_ns, n_events);
}

void hbus_linger_decide(struct hbus_linger *linger, uint64_t now_ns, uint64_t n_events)
{
	switch (linger->phase) {
	case HBUS_LINGER_WITHOUT:
		if (linger->begin_ns == 0) { /* the very first */
			hbus_linger_stop(linger, now_ns, n_events);
			return;
		}
		linger->rate_without = rate(linger, now_ns, n_events);
		enter(linger, HBUS_LINGER_ONCE, 1, now_ns, n_events);
		return;
	case HBUS_LINGER_ONCE:
		if (n_events - linger->begin_events < HBUS_LINGER_FEW)
			give_up(linger, now_ns, n_events);
		else
			enter(linger, HBUS_LINGER_TRIAL, TRIAL_TIMES, now_ns, n_events);
		return;
	case HBUS_LINGER_TRIAL:
		if (rate(linger, now_ns, n_events) < linger->rate_without + linger->rate_without / 4) {
			give_up(linger, now_ns, n_events);
			return;
		}
		linger->n_without = WITHOUT_FIRST;
		enter(linger, HBUS_LINGER_ON, ON_TIMES, now_ns, n_events);
		return;
	case HBUS_LINGER_ON:
		enter(linger, HBUS_LINGER_WITHOUT, WITHOUT_AGAIN, now_ns, n_events);
		return;
	}
}
