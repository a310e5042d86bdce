/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Puts the scheduler under the shipping sources: include this, then shm's .c files
 *
 * Every atomic access, every copy of payload, and the few system calls that the ring makes go to explore.c.
 */
#pragma once

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/stress/explore.h"

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_fetch_add_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_thread_fence
#undef atomic_signal_fence

#define atomic_load_explicit(at, order) sched_load((const void *)(uintptr_t)(at), sizeof(*(at)), order)
#define atomic_store_explicit(at, value, order) \
	sched_store((void *)(uintptr_t)(at), sizeof(*(at)), (uint64_t)(value), order)
#define atomic_fetch_add_explicit(at, value, order) sched_fetch_add(at, sizeof(*(at)), (uint64_t)(value))
#define atomic_compare_exchange_strong_explicit(at, expected, desired, success, failure) \
	sched_compare_exchange(at, sizeof(*(at)), expected, desired)
#define atomic_thread_fence(order) sched_fence(order)
#define atomic_signal_fence(order) ((void)0)

long sched_syscall(long number, ...);
int sched_clock(clockid_t clock, struct timespec *ret_now);

#define memcpy sched_memcpy
#define syscall(...) sched_syscall(__VA_ARGS__)
#define sched_yield() sched_pause()
#define close(fd) ((void)(fd))
#define clock_gettime(clock, now) sched_clock(clock, now)
