/* SPDX-License-Identifier: BSD-3-Clause */
/* Compares what was published with what was received, and counts what should not be. */
#pragma once

#include <stdio.h>

#include "tests/torture/ledger.h"

/* When the daemon was dead. */
struct outage {
	uint64_t from_ns;
	uint64_t until_ns;
};

struct verdict {
	uint64_t acked;         /* events of which publish said yes */
	uint64_t received;      /* by all subscribers together */
	uint64_t told_lost;
	uint64_t lost_acked;    /* neither received nor told lost: must be 0 */
	uint64_t torn;          /* must be 0 */
	uint64_t disordered;    /* must be 0 */
	uint64_t unreported;    /* gaps without a report: must be 0 */
	uint64_t too_many;      /* events beyond what was published: must be 0 */
	uint64_t errors;        /* corrupt or refused rings: must be 0 */
	uint64_t late;          /* rings met after their first event although the subscription is older: must be 0 */
	uint64_t excused;       /* pairs that a dead daemon could not introduce in time */
	uint64_t n_pairs;       /* (subscriber, publisher) judged to the last event */
	uint32_t slowest_ms;    /* longest publish */
};

void judge(const struct ledger *ledger, const struct outage *outages, unsigned int n_outages, struct verdict *ret_verdict);
unsigned int verdict_faults(const struct verdict *verdict);
