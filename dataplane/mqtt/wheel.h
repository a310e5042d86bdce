/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A timer wheel on a clock that the caller moves
 *
 * Six levels of 64 slots, each level 64 times coarser than the one below: setting and cancelling a
 * timer is O(1), and moving the clock costs only slots that hold something, so that a year is
 * tested as fast as a second. Timers fire in the order of their deadlines, at the first
 * hbus_wheel_advance() that reaches them, never before.
 *
 * Milliseconds of any clock that does not go back. One thread. Borrows timers while they are set.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HBUS_WHEEL_LEVELS 6
#define HBUS_WHEEL_SLOTS 64

/** What hbus_wheel_next() says when no timer is set. */
#define HBUS_WHEEL_NEVER UINT64_MAX

/** Embedded in what it belongs to. Zero it before use. */
struct hbus_timer {
	struct hbus_timer *next, **link; /* link: who points here; NULL = not set */
	uint64_t deadline_ms;
	uint8_t level, slot;
};

struct hbus_wheel {
	struct hbus_timer *slots[HBUS_WHEEL_LEVELS][HBUS_WHEEL_SLOTS];
	uint64_t occupied[HBUS_WHEEL_LEVELS]; /* bit n: slot n holds something */
	uint64_t now_ms;
};

/** Called when a timer is due; it is no longer set, and may be set again or freed. */
typedef void (*hbus_wheel_fire_fn)(void *context, struct hbus_timer *timer);

void hbus_wheel_init(struct hbus_wheel *wheel, uint64_t now_ms);

/** hbus_wheel_set() - (again) for a deadline; one that has passed is due at the next millisecond. */
void hbus_wheel_set(struct hbus_wheel *wheel, struct hbus_timer *timer, uint64_t deadline_ms);

/** hbus_wheel_cancel() - does nothing when it is not set. */
void hbus_wheel_cancel(struct hbus_wheel *wheel, struct hbus_timer *timer);

static inline bool hbus_timer_is_set(const struct hbus_timer *timer)
{
	return timer->link != NULL;
}

/** hbus_wheel_advance() - move the clock and fire what is due; the clock is never moved back. */
void hbus_wheel_advance(struct hbus_wheel *wheel, uint64_t now_ms, hbus_wheel_fire_fn fire, void *context);

/**
 * hbus_wheel_next() - a time until which nothing is due
 *
 * Not later than the earliest deadline, and later than now: sleep until then, advance, ask again.
 */
uint64_t hbus_wheel_next(const struct hbus_wheel *wheel);
