/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * When those who speak at regular intervals will speak next
 *
 * Waking a core that sleeps takes longer than serving a message. Who knows when the next one is due can be
 * awake by then: it sleeps until shortly before, and then looks until shortly after. A table of the few who
 * spoke last and how regular each of them is; what it says is a guess, and one that is wrong costs a look.
 *
 * The time that is spent on looking has a bound of its own (HBUS_RHYTHM_SHARE), whatever the guesses are
 * worth. One thread; no clock of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** Who is known at a time. */
#define HBUS_RHYTHM_MAX 16

/** What comes closer together is one burst: its first message counts. */
#define HBUS_RHYTHM_BURST_US 100

/** Who speaks more seldom has no rhythm: it would not pay. */
#define HBUS_RHYTHM_PERIOD_MAX_US 20000

/** How far from the expected time a message still is one of the rhythm; and how long is looked for it. */
#define HBUS_RHYTHM_BEFORE_US 120
#define HBUS_RHYTHM_AFTER_US 80

/** At most one part in so many of the time is spent on looking. */
#define HBUS_RHYTHM_SHARE 4

struct hbus_rhythm {
	const void *who; /* NULL = free; only ever compared */
	uint64_t last_us; /* begin of the last burst */
	uint32_t period_us;
	uint8_t credit; /* up when it came as expected, down when not */
};

struct hbus_rhythms {
	struct hbus_rhythm table[HBUS_RHYTHM_MAX];
	uint64_t paid_us, owed_us; /* until when the time for looking was granted, and how much of it is left */
};

/** hbus_rhythm_heard() - @who has spoken now */
void hbus_rhythm_heard(struct hbus_rhythms *rhythms, const void *who, uint64_t now_us);

/**
 * hbus_rhythm_next() - when to look next
 *
 * Return: false when nobody is expected, or the time for looking is used up. Else look from *ret_begin_us
 * (which may be past) to *ret_end_us, which is not.
 */
bool hbus_rhythm_next(struct hbus_rhythms *rhythms, uint64_t now_us, uint64_t *ret_begin_us, uint64_t *ret_end_us);

/** hbus_rhythm_spent() - so long was looked */
void hbus_rhythm_spent(struct hbus_rhythms *rhythms, uint64_t spent_us);
