/* SPDX-License-Identifier: BSD-3-Clause */
/* When something is sent regularly. See pace.h. */
#include "bench/pace.h"

#include <time.h>

#include "bench/harness.h"

uint64_t bench_pace_next(struct bench_pace *pace, uint64_t asked_ns, uint64_t sent_ns)
{
	uint64_t due_ns = pace->due_ns;

	if (due_ns != 0 && asked_ns > due_ns) {
		pace->due_ns = due_ns + pace->interval_ns;
		return due_ns;
	}
	pace->due_ns = sent_ns + pace->interval_ns;
	return sent_ns;
}

uint64_t bench_pace_wait(struct bench_pace *pace)
{
	uint64_t asked_ns = bench_now_ns(), until_ns = pace->due_ns ? pace->due_ns : asked_ns + pace->interval_ns;
	struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u), .tv_nsec = (long)(until_ns % 1000000000u)};

	if (asked_ns < until_ns)
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	return bench_pace_next(pace, asked_ns, bench_now_ns());
}
