/* SPDX-License-Identifier: BSD-3-Clause */
/* Sleeping and waking. See wait.h. */
#include "shm/wait.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0) < 0 ? -errno : 0;
}

int hbus_membarrier_works(void)
{
	static _Atomic int cached; /* 0 = not asked, 1 = no, 2 = yes */
	/* relaxed: every thread that asks finds the same answer */
	int known = atomic_load_explicit(&cached, memory_order_relaxed);
	long mask;

	if (known)
		return known - 1;
	mask = getenv("HBUS_NO_MEMBARRIER") ? 0 : syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	known = mask > 0 && (mask & MEMBARRIER_CMD_GLOBAL_EXPEDITED) &&
				(mask & MEMBARRIER_CMD_PRIVATE_EXPEDITED)
			? 2
			: 1;
	atomic_store_explicit(&cached, known, memory_order_relaxed);
	return known - 1;
}

static _Atomic int is_registered;

int hbus_membarrier_is_registered(void)
{
	/* A(wait.registered): pairs with R(wait.registered). */
	return atomic_load_explicit(&is_registered, memory_order_acquire);
}

int hbus_membarrier_register(void)
{
	int r;

	if (!hbus_membarrier_works())
		return -ENOSYS;
	r = membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
	if (r < 0)
		return r;
	r = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
	if (r == 0) /* R(wait.registered): from here on the kernel's barriers reach every thread that sees this. */
		atomic_store_explicit(&is_registered, 1, memory_order_release);
	return r;
}

int hbus_membarrier_global(void)
{
	return hbus_membarrier_works() ? membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) : -ENOSYS;
}

int hbus_membarrier_private(void)
{
	return hbus_membarrier_works() ? membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) : -ENOSYS;
}

static struct timespec in_ms(int timeout_ms, clockid_t clock)
{
	struct timespec at = {0};
	long ns = (long)timeout_ms * 1000000;

	if (clock >= 0)
		clock_gettime(clock, &at);
	ns += at.tv_nsec;
	at.tv_sec += ns / 1000000000;
	at.tv_nsec = ns % 1000000000;
	return at;
}

static int sleep_one(const struct hbus_wait_word *word, int timeout_ms)
{
	struct timespec span = in_ms(timeout_ms, -1);

	/* A(ring.notify): pairs with R(ring.notify) in hbus_wait_wake(); the kernel's comparison is the load. */
	if (syscall(SYS_futex, word->word, FUTEX_WAIT, word->seen, &span, NULL, 0) < 0)
		return -errno;
	return 0;
}

int hbus_wait_sleep(const struct hbus_wait_word *words, unsigned int n, int timeout_ms)
{
	struct futex_waitv waiters[HBUS_WAIT_FUTEX_RINGS_MAX];
	struct timespec at;
	int r;

	if (timeout_ms < 0 || timeout_ms > HBUS_WAIT_CAP_MS)
		timeout_ms = HBUS_WAIT_CAP_MS;
	if (n == 1) {
		r = sleep_one(&words[0], timeout_ms);
		return r == -EAGAIN ? 0 : r;
	}
	if (n == 0 || n > HBUS_WAIT_FUTEX_RINGS_MAX)
		return -EINVAL;
	for (unsigned int i = 0; i < n; i++)
		waiters[i] = (struct futex_waitv){
			.val = words[i].seen,
			.uaddr = (uintptr_t)words[i].word,
			.flags = FUTEX_32,
		};
	at = in_ms(timeout_ms, CLOCK_MONOTONIC);
	r = syscall(SYS_futex_waitv, waiters, n, 0, &at, CLOCK_MONOTONIC) < 0 ? -errno : 0;
	return r == -EAGAIN ? 0 : r;
}

int hbus_wait_wake(_Atomic uint32_t *word)
{
	long n;

	/* The word must change, or a sleeper between its look and its sleep would miss the wake-up.
	 * R(ring.notify): the commit before the word that says to look again. */
	atomic_fetch_add_explicit(word, 1, memory_order_release);
	n = syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return n < 0 ? 0 : (int)n;
}
