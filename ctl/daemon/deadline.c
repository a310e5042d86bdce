/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/deadline.h"

#include <stddef.h>

void hbus_deadlines_init(struct hbus_deadlines *deadlines, const uint64_t length_ns[HBUS_WAIT_N])
{
	for (int kind = 0; kind < HBUS_WAIT_N; kind++) {
		TAILQ_INIT(&deadlines->lists[kind]);
		deadlines->length_ns[kind] = length_ns[kind];
	}
}

void hbus_deadline_arm(struct hbus_deadlines *deadlines, struct hbus_deadline *deadline,
		       enum hbus_wait kind, uint64_t now_ns)
{
	hbus_deadline_disarm(deadlines, deadline);
	deadline->kind = kind;
	deadline->at_ns = now_ns + deadlines->length_ns[kind];
	deadline->is_armed = true;
	TAILQ_INSERT_TAIL(&deadlines->lists[kind], deadline, link);
}

void hbus_deadline_disarm(struct hbus_deadlines *deadlines, struct hbus_deadline *deadline)
{
	if (!deadline->is_armed)
		return;
	TAILQ_REMOVE(&deadlines->lists[deadline->kind], deadline, link);
	deadline->is_armed = false;
}

struct hbus_deadline *hbus_deadlines_expired(struct hbus_deadlines *deadlines, uint64_t now_ns)
{
	for (int kind = 0; kind < HBUS_WAIT_N; kind++) {
		struct hbus_deadline *first = TAILQ_FIRST(&deadlines->lists[kind]);

		if (first && first->at_ns <= now_ns) {
			hbus_deadline_disarm(deadlines, first);
			return first;
		}
	}
	return NULL;
}

uint64_t hbus_deadlines_next(const struct hbus_deadlines *deadlines)
{
	uint64_t next = UINT64_MAX;

	for (int kind = 0; kind < HBUS_WAIT_N; kind++) {
		const struct hbus_deadline *first = TAILQ_FIRST(&deadlines->lists[kind]);

		if (first && first->at_ns < next)
			next = first->at_ns;
	}
	return next;
}
