/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A timer of level n stands in the slot that bits 6n..6n+5 of its deadline name, n being the highest
 * group of six bits in which deadline and clock differ. So it is always in a slot ahead of the
 * clock's own on that level, and when the clock comes to the beginning of its slot it moves down.
 */
#include "dataplane/mqtt/wheel.h"

#include <string.h>

enum { BITS = 6, MASK = HBUS_WHEEL_SLOTS - 1, TOP = HBUS_WHEEL_LEVELS - 1 };

/* Deadlines beyond the top level's range (two years) stand in its last slot and are placed again. */
#define RANGE_MS (UINT64_C(1) << (BITS * HBUS_WHEEL_LEVELS))

void hbus_wheel_init(struct hbus_wheel *wheel, uint64_t now_ms)
{
	memset(wheel, 0, sizeof(*wheel));
	wheel->now_ms = now_ms;
}

static void place(struct hbus_wheel *wheel, struct hbus_timer *timer)
{
	uint64_t at = timer->deadline_ms, differ;
	struct hbus_timer **head;
	unsigned int level = 0;

	/* The last millisecond of the clock's own turn of the wheel. */
	if (at >> (BITS * HBUS_WHEEL_LEVELS) != wheel->now_ms >> (BITS * HBUS_WHEEL_LEVELS))
		at = wheel->now_ms | (RANGE_MS - 1);
	if (at <= wheel->now_ms)
		at = wheel->now_ms + 1;
	differ = at ^ wheel->now_ms;
	while (level < TOP && differ >> (BITS * (level + 1)))
		level++;
	timer->level = (uint8_t)level;
	timer->slot = (uint8_t)(at >> (BITS * level) & MASK);
	head = &wheel->slots[level][timer->slot];
	timer->next = *head;
	timer->link = head;
	if (*head)
		(*head)->link = &timer->next;
	*head = timer;
	wheel->occupied[level] |= UINT64_C(1) << timer->slot;
}

void hbus_wheel_cancel(struct hbus_wheel *wheel, struct hbus_timer *timer)
{
	if (!timer->link)
		return;
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	timer->link = NULL;
	if (!wheel->slots[timer->level][timer->slot])
		wheel->occupied[timer->level] &= ~(UINT64_C(1) << timer->slot);
}

void hbus_wheel_set(struct hbus_wheel *wheel, struct hbus_timer *timer, uint64_t deadline_ms)
{
	hbus_wheel_cancel(wheel, timer);
	timer->deadline_ms = deadline_ms;
	place(wheel, timer);
}

/* The beginning of the first occupied slot ahead of the clock. Timers stand only ahead of it. */
uint64_t hbus_wheel_next(const struct hbus_wheel *wheel)
{
	uint64_t best = HBUS_WHEEL_NEVER;

	for (unsigned int level = 0; level < HBUS_WHEEL_LEVELS; level++) {
		unsigned int shift = BITS * level;
		uint64_t turn = wheel->now_ms >> shift & ~(uint64_t)MASK;
		uint64_t begin;

		if (wheel->occupied[level] == 0)
			continue;
		begin = (turn | (uint64_t)__builtin_ctzll(wheel->occupied[level])) << shift;
		best = begin < best ? begin : best;
	}
	return best > wheel->now_ms ? best : wheel->now_ms + 1;
}

/* Takes the slot's timers out, and fires those that are due or places them lower. */
static void open_slot(struct hbus_wheel *wheel, unsigned int level, unsigned int slot,
		      hbus_wheel_fire_fn fire, void *context)
{
	struct hbus_timer *due = wheel->slots[level][slot];

	wheel->slots[level][slot] = NULL;
	wheel->occupied[level] &= ~(UINT64_C(1) << slot);
	/* What fires may cancel others of this list, so it stays a list that cancelling understands. */
	if (due)
		due->link = &due;
	while (due) {
		struct hbus_timer *timer = due;

		due = timer->next;
		if (due)
			due->link = &due;
		timer->link = NULL;
		if (timer->deadline_ms <= wheel->now_ms)
			fire(context, timer);
		else
			place(wheel, timer);
	}
}

void hbus_wheel_advance(struct hbus_wheel *wheel, uint64_t now_ms, hbus_wheel_fire_fn fire, void *context)
{
	while (wheel->now_ms < now_ms) {
		uint64_t next = hbus_wheel_next(wheel);

		if (next > now_ms) {
			wheel->now_ms = now_ms;
			return;
		}
		wheel->now_ms = next;
		for (unsigned int level = HBUS_WHEEL_LEVELS; level-- > 0;) {
			unsigned int slot = (unsigned int)(next >> (BITS * level)) & MASK;
			uint64_t below = (UINT64_C(1) << (BITS * level)) - 1;

			if ((next & below) == 0 && wheel->occupied[level] >> slot & 1)
				open_slot(wheel, level, slot, fire, context);
		}
	}
}
