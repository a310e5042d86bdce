/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Who may publish, read and administrate what
 *
 * A rule says: this subject (a uid, a gid, or anybody) is allowed or denied these rights on the
 * topics that this filter matches. The semantics, completely:
 *
 *  1. Root and the daemon's own uid may do everything; no rule binds them.
 *  2. Else consider the rules that name the right, whose filter matches the topic, and whose subject
 *     is the asker: the same uid, or a gid that is its primary or a supplementary group, or anybody.
 *     The rule with the most specific filter decides. Filters are compared level by level from the
 *     left; at the first level where they differ, a literal beats '+', '+' beats '#', and a filter
 *     that ends there ("a") beats one that goes on with '#' ("a/#"). Filters that match the same
 *     topic and do not differ in this are the same filter: then a denying rule beats an allowing one.
 *     How specific the subject is does not matter, nor does the order of the rules.
 *  3. Where no such rule exists:
 *     - subscribe and reliable are allowed on a ring of the asker's own uid;
 *     - publish is allowed when the topic belongs to nobody or to the asker's uid, does not begin
 *       with '$', and no rule at all (of whatever subject) names publish for it;
 *     - everything else is denied. So users do not see each other until a rule says so.
 *  4. reliable is the right to hold publishers back; who has it needs subscribe as well.
 *     admin on a topic is the right to declare and remove it and its routes. admin on "#" is also
 *     the right to list what belongs to others, to be told all routes, and to reload.
 *
 * Rules about the clients of a door (HBUS_SUBJECT_CLIENT) are kept for that door and say nothing here.
 * As everywhere, a wildcard in the first level of a filter does not match topics that begin with '$'.
 * Pure functions of their arguments; a policy does not change after it was built.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl/proto/proto.h"

#define HBUS_POLICY_RULES_MAX 4096u
#define HBUS_CRED_GROUPS_MAX 1024u

#define HBUS_RIGHT_PUBLISH 0x1u
#define HBUS_RIGHT_SUBSCRIBE 0x2u
#define HBUS_RIGHT_RELIABLE 0x4u
#define HBUS_RIGHT_ADMIN 0x8u

/** A topic that belongs to nobody yet. */
#define HBUS_UID_NONE ((uid_t)-1)

/** Who asks: as the kernel says it of the peer of a socket. groups may be NULL when there are none. */
struct hbus_cred {
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t n_groups;
};

enum hbus_subject {
	HBUS_SUBJECT_ANY,
	HBUS_SUBJECT_UID,
	HBUS_SUBJECT_GID,
	HBUS_SUBJECT_CLIENT, /* of a door such as hugebus-mqtt, by its name there: the door judges, nobody here is one */
};

#define HBUS_POLICY_CLIENT_SIZE 64u

struct hbus_policy_rule {
	bool is_allowed;
	enum hbus_subject subject;
	uint32_t id;	 /* uid or gid */
	uint32_t rights; /* HBUS_RIGHT_* */
	char filter[HBUS_TOPIC_NAME_MAX + 1];
	char client[HBUS_POLICY_CLIENT_SIZE]; /* with HBUS_SUBJECT_CLIENT; "*" = each */
};

struct hbus_policy {
	uid_t daemon_uid;
	size_t n_rules;
	const struct hbus_policy_rule *rules; /* borrowed */
};

/**
 * hbus_policy_allows() - may @cred do this on @topic?
 * @right: exactly one HBUS_RIGHT_*
 * @owner: publish: uid that the topic belongs to, or HBUS_UID_NONE; subscribe: uid of the ring
 */
bool hbus_policy_allows(const struct hbus_policy *policy, const struct hbus_cred *cred,
			uint32_t right, const char *topic, uid_t owner);

/** hbus_policy_is_admin() - admin on everything. */
bool hbus_policy_is_admin(const struct hbus_policy *policy, const struct hbus_cred *cred);

/**
 * hbus_policy_same_readers() - do rules give both topics the same readers, whoever asks?
 *
 * True exactly when the same rules on reading match both, so both may share one ring.
 */
bool hbus_policy_same_readers(const struct hbus_policy *policy, const char *a, const char *b);
