/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sleeping for an event, and waking sleepers, without a system call while nobody sleeps
 *
 * The sleeper writes `waiting` in its slot, then makes every registered publisher pass a full barrier
 * (membarrier(2), GLOBAL_EXPEDITED), then looks at the ring again, and only then sleeps. The publisher
 * commits and merely loads `waiting`. Of these four steps
 *
 *	publisher: W header word      sleeper: W waiting
 *	           R waiting                   membarrier
 *	                                       R header word
 *
 * the publisher's load may pass its store (store buffer), but not across the membarrier: either the load
 * comes after it and sees `waiting`, or the store came before it and the sleeper sees the event. Isolated
 * rings, and hosts that refuse membarrier, put a seq_cst fence into the publisher instead (the store
 * buffering litmus test, SB+mfences).
 *
 * A peer with a read-only mapping can steal futex wake-ups (FUTEX_CMP_REQUEUE): so no sleep is longer
 * than HBUS_WAIT_CAP_MS.
 */
#pragma once

#include <stdint.h>

#include "shm/layout.h"

#define HBUS_WAIT_CAP_MS 50
#define HBUS_WAIT_FUTEX_RINGS_MAX 64u /* more rings than this sleep on a doorbell */

/* 1 when membarrier works here and HBUS_NO_MEMBARRIER is not set. Asks the kernel once. */
int hbus_membarrier_works(void);
/* Makes this process one that hbus_membarrier_global() reaches; some 10 ms when it has several threads. 0 or -errno. */
int hbus_membarrier_register(void);
/* 1 when hbus_membarrier_register() has succeeded in this process. */
int hbus_membarrier_is_registered(void);
/* Every running thread of every registered process passes a full barrier. 0 or -errno. */
int hbus_membarrier_global(void);
/* Every running thread of this process passes a full barrier. 0 or -errno. */
int hbus_membarrier_private(void);

/* A futex word and the value that it had before the last look. */
struct hbus_wait_word {
	const _Atomic uint32_t *word;
	uint32_t seen;
};

/**
 * hbus_wait_sleep() - sleep until one of the words changes, at most min(timeout_ms, HBUS_WAIT_CAP_MS)
 * @n: 1..HBUS_WAIT_FUTEX_RINGS_MAX
 *
 * Return: 0 = perhaps something came, -ETIMEDOUT, -EINTR.
 */
int hbus_wait_sleep(const struct hbus_wait_word *words, unsigned int n, int timeout_ms);

/* Publisher: change the word, then wake all that sleep on it. Return: how many. */
int hbus_wait_wake(_Atomic uint32_t *word);
