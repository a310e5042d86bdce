/* SPDX-License-Identifier: BSD-3-Clause */
/* Decisions. See torture.h. */
#include "tests/torture/torture.h"

/* splitmix64 */
static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t dice(const struct torture *t, unsigned int which, uint64_t limit)
{
	return mix(mix(t->seed * 1000003 + t->n_steps) + which) % limit;
}
