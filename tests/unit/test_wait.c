/* SPDX-License-Identifier: BSD-3-Clause */
/* Sleeping on one ring or on many, with a bound that nobody can lift. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shm/segment.h"
#include "shm/wait.h"

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static _Atomic uint32_t words[HBUS_WAIT_FUTEX_RINGS_MAX + 1];
static struct hbus_wait_word waits[HBUS_WAIT_FUTEX_RINGS_MAX + 1];

static void setup(void)
{
	for (unsigned int i = 0; i <= HBUS_WAIT_FUTEX_RINGS_MAX; i++)
		waits[i] = (struct hbus_wait_word){.word = &words[i]};
}

TestSuite(wait, .init = setup);

Test(wait, a_word_that_has_changed_is_not_slept_on)
{
	waits[0].seen = 1;
	waits[63].seen = 1;
	for (int i = 0; i < 1000; i++) {
		cr_assert_eq(hbus_wait_sleep(waits, 1, -1), 0);
		cr_assert_eq(hbus_wait_sleep(waits, 64, -1), 0);
	}
}

Test(wait, no_sleep_is_longer_than_the_cap)
{
	static const int timeouts[] = {-1, 1000000, HBUS_WAIT_CAP_MS};

	for (size_t i = 0; i < 3; i++)
		for (unsigned int n = 1; n <= 64; n += 63) {
			uint64_t before = now_ms();

			cr_assert_eq(hbus_wait_sleep(waits, n, timeouts[i]), -ETIMEDOUT);
			cr_assert_geq(now_ms() - before, HBUS_WAIT_CAP_MS - 1);
			cr_assert_lt(now_ms() - before, 40 * HBUS_WAIT_CAP_MS);
		}
}

Test(wait, a_shorter_time_out_is_kept)
{
	uint64_t before = now_ms();

	for (int i = 0; i < 5; i++) {
		cr_assert_eq(hbus_wait_sleep(waits, 1, 1), -ETIMEDOUT);
		cr_assert_eq(hbus_wait_sleep(waits, 2, 1), -ETIMEDOUT);
		cr_assert_eq(hbus_wait_sleep(waits, 1, 0), -ETIMEDOUT);
	}
	cr_assert_lt(now_ms() - before, 1000);
}

Test(wait, no_ring_and_one_too_many_are_refused)
{
	cr_assert_eq(hbus_wait_sleep(waits, 0, 1), -EINVAL);
	cr_assert_eq(hbus_wait_sleep(waits, HBUS_WAIT_FUTEX_RINGS_MAX + 1, 1), -EINVAL);
	cr_assert_eq(hbus_wait_sleep(waits, HBUS_WAIT_FUTEX_RINGS_MAX, 1), -ETIMEDOUT);
}

Test(wait, waking_changes_the_word_also_when_nobody_sleeps)
{
	cr_assert_eq(hbus_wait_wake(&words[0]), 0);
	cr_assert_eq(atomic_load_explicit(&words[0], memory_order_relaxed), 1);
	atomic_store_explicit(&words[0], UINT32_MAX, memory_order_relaxed);
	hbus_wait_wake(&words[0]);
	cr_assert_eq(atomic_load_explicit(&words[0], memory_order_relaxed), 0);
}

static _Atomic bool stop;

static void *wake_often(void *word)
{
	const struct timespec moment = {.tv_nsec = 1000000};

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		hbus_wait_wake(word);
		nanosleep(&moment, NULL);
	}
	return NULL;
}

static void check_woken(unsigned int n, unsigned int which)
{
	unsigned int n_timeouts = 0;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, wake_often, &words[which]), 0);
	for (int i = 0; i < 50; i++) {
		waits[which].seen = atomic_load_explicit(&words[which], memory_order_acquire);
		n_timeouts += hbus_wait_sleep(waits, n, -1) == -ETIMEDOUT;
	}
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	pthread_join(thread, NULL);
	cr_assert_lt(n_timeouts, 25, "%u of 50 slept through many wake-ups", n_timeouts);
}

Test(wait, a_sleeper_on_one_ring_is_woken)
{
	check_woken(1, 0);
}

Test(wait, a_sleeper_on_64_rings_is_woken_by_the_last)
{
	check_woken(64, 63);
}

/* A ring's header is mapped read-only by those who sleep on it. */
Test(wait, sleeping_needs_no_write_access)
{
	struct hbus_wait_word word = {0};
	_Atomic uint32_t *own;
	void *rw = NULL, *ro = NULL;
	pthread_t thread;
	int fd = -1, readable = -1;

	cr_assert_eq(hbus_memfd_new("test", 4096, 0, &fd), 0);
	cr_assert_eq(hbus_segment_map(fd, 4096, 1, &rw), 0);
	cr_assert_eq(hbus_memfd_seal(fd), 0);
	cr_assert_eq(hbus_memfd_reopen_read_only(fd, &readable), 0);
	cr_assert_eq(hbus_segment_map(readable, 4096, 0, &ro), 0);
	own = rw;
	word.word = ro;
	cr_assert_eq(hbus_wait_sleep(&word, 1, 1), -ETIMEDOUT);
	cr_assert_eq(pthread_create(&thread, NULL, wake_often, own), 0);
	while (hbus_wait_sleep(&word, 1, -1) != 0)
		;
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	pthread_join(thread, NULL);
}

static void *steal(void *word)
{
	static _Atomic uint32_t elsewhere;

	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		syscall(SYS_futex, word, FUTEX_CMP_REQUEUE, 0, 1000, &elsewhere,
			atomic_load_explicit((_Atomic uint32_t *)word, memory_order_relaxed));
	return NULL;
}

/* A peer that can only read takes the sleeper away from its word: the wake-up is lost, the cap is not. */
Test(wait, a_stolen_wake_up_costs_at_most_the_cap)
{
	uint64_t longest = 0;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, steal, &words[0]), 0);
	for (int i = 0; i < 5; i++) {
		uint64_t before = now_ms();

		hbus_wait_sleep(waits, 1, -1);
		longest = now_ms() - before > longest ? now_ms() - before : longest;
	}
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	pthread_join(thread, NULL);
	cr_assert_lt(longest, 20 * HBUS_WAIT_CAP_MS);
}

Test(wait, barriers_are_granted_after_registration)
{
	if (!hbus_membarrier_works())
		cr_skip("membarrier is refused here");
	cr_assert_eq(hbus_membarrier_private(), -EPERM, "not before");
	cr_assert_eq(hbus_membarrier_register(), 0);
	cr_assert_eq(hbus_membarrier_private(), 0);
	cr_assert_eq(hbus_membarrier_global(), 0);
}

Test(wait, the_fallback_without_membarrier_can_be_forced)
{
	setenv("HBUS_NO_MEMBARRIER", "1", 1);
	cr_assert_eq(hbus_membarrier_works(), 0);
	cr_assert_eq(hbus_membarrier_register(), -ENOSYS);
	cr_assert_eq(hbus_membarrier_private(), -ENOSYS);
	cr_assert_eq(hbus_membarrier_global(), -ENOSYS);
}
