/* SPDX-License-Identifier: BSD-3-Clause */
/* The processes that are tortured. Each runs in a child of its own; none returns but with an exit code. */
#pragma once

#include "tests/torture/ledger.h"

/* Exit codes, beside 0 and what a failed call returns. */
#define ROLE_NO_DAEMON 3 /* it was dead or stood still all the time */
#define ROLE_REFUSED 4   /* it lives, and lets nobody in */

/* One that could not come in: says why, when the daemon had a reason. Return: its exit code. */
int role_outside(const char *who, uint32_t idx, int status);

int role_publisher(struct ledger *ledger, uint32_t idx, const char *socket, uint32_t topic_idx, uint64_t seed);
int role_subscriber(struct ledger *ledger, uint32_t idx, const char *socket, bool is_reliable, uint64_t seed);
