/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the scheduler (explore.c) and its memory (explore_memory.c) know of each other
 */
#pragma once

#include <ucontext.h>

#include "tests/stress/explore.h"

#define LOCATIONS_MAX 512u
#define NO_VIEW 0u

struct view {
	unsigned int n; /* locations that existed when it was kept */
	uint16_t seen[LOCATIONS_MAX]; /* of each location: the oldest value that may still be read */
};

enum thread_state { READY, ASLEEP, ENDED };

struct thread {
	ucontext_t context;
	struct view view;     /* what it must see */
	struct view read;     /* what it will have to see after an acquire fence */
	uint32_t released;    /* view of its last release fence */
	void (*entry)(void *);
	void *arg;
	const void *word;     /* ASLEEP: on this */
	uint64_t asleep_since;
	unsigned int process;
	uint64_t priority;
	enum thread_state state;
	bool may_crash, has_timed_out;
	void *stack;
};

/* -- explore.c -- */

extern struct thread sched_threads[SCHED_THREADS_MAX];
extern unsigned int sched_n_threads;
extern struct thread *sched_current; /* NULL: setup and finish, which no one interrupts */
extern struct sched_result sched_result_now;

/* Before each access: another may go on, or this one crashes. */
void sched_point(void);
/* Of @n values, 0 = the newest. */
unsigned int sched_choose_value(unsigned int n);

/* -- explore_memory.c -- */

/* Regions are declared anew. */
void sched_memory_forget(void);
/* The next schedule: all memory is zero, nobody has seen anything. */
void sched_memory_begin(void);
void sched_see_everything(struct view *view);
/* The same location, maybe through two mappings. */
bool sched_is_same_word(const void *a, const void *b);
