/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Deadlines on an injected clock
 *
 * There are a few kinds of waiting, each always equally long, so each kind is a queue that is sorted
 * by itself: arming and disarming cost O(1). One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum hbus_wait {
	HBUS_WAIT_GATE,	   /* a publisher answers GATE_ADD or GATE_REMOVE */
	HBUS_WAIT_REPLY,   /* a reply that depends on others is sent anyway */
	HBUS_WAIT_AWAY,	   /* a member whose socket hung up comes back */
	HBUS_WAIT_RESTART, /* likewise after a restart of the daemon */
	HBUS_WAIT_OWNER,   /* likewise one that owns rings, where nobody can say whether it lives */
	HBUS_WAIT_ENDED,   /* readers map the ring of a publisher that is gone */
	HBUS_WAIT_N,
};

struct hbus_deadline {
	TAILQ_ENTRY(hbus_deadline) link;
	uint64_t at_ns;
	enum hbus_wait kind;
	bool is_armed;
};

TAILQ_HEAD(hbus_deadline_list, hbus_deadline);

struct hbus_deadlines {
	struct hbus_deadline_list lists[HBUS_WAIT_N];
	uint64_t length_ns[HBUS_WAIT_N];
};

void hbus_deadlines_init(struct hbus_deadlines *deadlines, const uint64_t length_ns[HBUS_WAIT_N]);

/** hbus_deadline_arm() - from now on, also when it was armed before. */
void hbus_deadline_arm(struct hbus_deadlines *deadlines, struct hbus_deadline *deadline,
		       enum hbus_wait kind, uint64_t now_ns);
void hbus_deadline_disarm(struct hbus_deadlines *deadlines, struct hbus_deadline *deadline);

/** hbus_deadlines_expired() - disarms and returns one that is over at @now_ns, or NULL. */
struct hbus_deadline *hbus_deadlines_expired(struct hbus_deadlines *deadlines, uint64_t now_ns);

/** hbus_deadlines_next() - when the next one is over; UINT64_MAX when none is armed. */
uint64_t hbus_deadlines_next(const struct hbus_deadlines *deadlines);
