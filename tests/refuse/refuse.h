/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A process in which memory, descriptors and threads are refused when a test says so
 *
 * A program that links with refuse.c and the linker's --wrap for each of its functions (meson.build) gets its allocations
 * and its descriptors from here. Calls are counted by side: a thread is of one side, and so are the threads that
 * it starts. What libc and other libraries allocate for themselves is not refused.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum refuse_side { REFUSE_NOBODY, REFUSE_CLIENT, REFUSE_DAEMON };

/** refuse_enter() - this thread is of @side from now on. Return: what it was before. */
enum refuse_side refuse_enter(enum refuse_side side);

/**
 * refuse_plan() - of the calls of @side from now on, number @first (from 0) fails
 * @for_ms: and so does each one after it for so long
 */
void refuse_plan(enum refuse_side side, uint64_t first, unsigned int for_ms);

/** refuse_lift() - from now on nothing is refused. Return: how many calls the planned side has made. */
uint64_t refuse_lift(void);

/** refuse_count() - calls that were refused since refuse_plan(). */
uint64_t refuse_count(void);

/** refuse_first() - the first of them, for people: the function, and from where it was called. */
const char *refuse_first(void);

/* Allocations that were made through here and are not freed. */
size_t refuse_n_held(void);
/** refuse_mark() - what is allocated after it can be told by refuse_report(). */
void refuse_mark(void);
/** refuse_report() - prints what was allocated since refuse_mark() and is not freed. */
void refuse_report(void);
