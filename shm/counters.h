/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters that describe themselves, in a sealed memfd that outlives a kill of their writer
 *
 * A file is an array of struct hbus_counter_cell; an entry with an empty name ends it. One process writes
 * (relaxed, each cell by one thread); anyone with the descriptor reads. A name never changes once its
 * first byte is set; components are separated by dots ("lcore1.dropped.fragment").
 */
#pragma once

#include "shm/layout.h"

#define HBUS_COUNTERS_MAX 4096u
#define HBUS_COUNTER_NAME_SIZE 56u

struct hbus_counter_cell {
	char name[HBUS_COUNTER_NAME_SIZE];
	_Atomic uint64_t value;
};

static_assert(sizeof(struct hbus_counter_cell) == 64, "one line a counter");

/* Bytes of the memfd for n counters: whole pages. */
static inline uint64_t hbus_counters_size(unsigned int n)
{
	return ((uint64_t)n * sizeof(struct hbus_counter_cell) + 4095) & ~(uint64_t)4095;
}

/* relaxed: each cell has one writer, and readers want nothing but the number */
static inline void hbus_counter_add(struct hbus_counter_cell *cell, uint64_t n)
{
	uint64_t old = atomic_load_explicit(&cell->value, memory_order_relaxed);

	atomic_store_explicit(&cell->value, old + n, memory_order_relaxed);
}

static inline void hbus_counter_set(struct hbus_counter_cell *cell, uint64_t value)
{
	atomic_store_explicit(&cell->value, value, memory_order_relaxed); /* relaxed: as above */
}

static inline uint64_t hbus_counter_get(const struct hbus_counter_cell *cell)
{
	return atomic_load_explicit(&cell->value, memory_order_relaxed); /* relaxed: as above */
}
