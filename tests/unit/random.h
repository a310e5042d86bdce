/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Random numbers of tests: the seed is printed, and HBUS_TEST_SEED takes it back
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct test_random {
	uint64_t state;
};

static inline void test_random_init(struct test_random *random, const char *who)
{
	const char *given = getenv("HBUS_TEST_SEED");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	random->state = given ? strtoull(given, NULL, 0) :
				(uint64_t)now.tv_sec * 1000000007 ^ (uint64_t)now.tv_nsec;
	fprintf(stderr, "%s: HBUS_TEST_SEED=%llu\n", who, (unsigned long long)random->state);
}

/* splitmix64 */
static inline uint64_t test_random_next(struct test_random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static inline uint32_t test_random_below(struct test_random *random, uint32_t limit)
{
	return (uint32_t)(test_random_next(random) % limit);
}
