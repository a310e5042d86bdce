/* SPDX-License-Identifier: BSD-3-Clause */
/* Compares what was published with what was received, and counts what should not be. */
#pragma once

#include <stdio.h>

#include "tests/torture/ledger.h"

struct verdict {
	uint64_t acked;         /* events of which publish said yes, and of the ingress those that somebody knows of */
	uint64_t received;      /* by all subscribers together */
	uint64_t told_lost;
	uint64_t lost_acked;    /* neither received nor told lost: must be 0 */
	uint64_t torn;          /* must be 0 */
	uint64_t disordered;    /* must be 0 */
	uint64_t unreported;    /* gaps without a report: must be 0 */
	uint64_t too_many;      /* events beyond what was published: must be 0 */
	uint64_t errors;        /* corrupt or refused rings: must be 0 */
	uint64_t late;          /* rings met after their first event although the subscription is older: must be 0 */
	uint64_t excused;       /* pairs that a dead daemon, or a machine that stood still, could not introduce in time */
	uint64_t n_pairs;       /* (subscriber, ring) judged to the last event */
	uint64_t n_ingress;     /* rings of the ingress among them */
	uint64_t n_calls;       /* of restless subscribers: filters given up or asked for, */
	uint64_t n_awaited;     /* looks that had to wait for a ring that came anew */
	uint64_t n_unpromised;  /* asked for while somebody was not there, */
	uint64_t passed_over;   /* and events that came while they were not wanted */
	uint32_t slowest_ms;    /* longest publish */
	bool is_quiet;          /* says nothing of what it finds */
};

/* @outages: when a pair that did not meet in time is excused. @ingresses: from the start of each to its end. */
void judge(struct ledger *ledger, const struct span *outages, unsigned int n_outages, const struct span *ingresses,
	   unsigned int n_ingresses, struct verdict *ret_verdict);
unsigned int verdict_faults(const struct verdict *verdict);
