/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When something is sent regularly, and from when on its latency counts
 *
 * What is sent next does not wait until what was sent before has arrived, and what came too late because sending itself took
 * long counts from the time at which it was due: no stall hides what it kept from being measured (coordinated omission).
 * A timer that fires late is no latency of what is measured; the times begin anew then.
 */
#pragma once

#include <stdint.h>

struct bench_pace {
	uint64_t interval_ns;
	uint64_t due_ns; /* 0 = nothing was sent yet */
};

/**
 * bench_pace_next() - the next one is sent
 * @asked_ns: when its sender was through with the one before
 * @sent_ns: now, after sleeping until it was due
 *
 * Return: when its latency begins.
 */
uint64_t bench_pace_next(struct bench_pace *pace, uint64_t asked_ns, uint64_t sent_ns);
/* Sleeps until the next one is due. Return: likewise. */
uint64_t bench_pace_wait(struct bench_pace *pace);
