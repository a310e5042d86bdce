/* SPDX-License-Identifier: BSD-3-Clause */
/* Counter sets of programs. They stay readable after their owner's end, until others need the room. */
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/state_int.h"

static void set_free(struct hbus_state *state, struct hbus_counter_set *set)
{
	if (set->member)
		LIST_REMOVE(set, in_member);
	TAILQ_REMOVE(&state->counter_sets, set, in_state);
	state->n_counter_sets--;
	hbus_account_release(set->account, HBUS_QUOTA_FDS, 1);
	hbus_account_put(set->account);
	hbus_fd_put(set->fd);
	free(set);
}

/* The oldest set without an owner; of this uid and name if @name is given. */
static struct hbus_counter_set *find_orphan(struct hbus_state *state, uid_t uid, const char *name)
{
	struct hbus_counter_set *set;

	TAILQ_FOREACH(set, &state->counter_sets, in_state)
		if (!set->member && (!name || (set->uid == uid && strcmp(set->name, name) == 0)))
			return set;
	return NULL;
}

/* What a member offers again under the same name replaces the old. */
static void drop_replaced(struct hbus_state *state, struct hbus_member *member, const char *name)
{
	struct hbus_counter_set *set;

	LIST_FOREACH(set, &member->counters, in_member) {
		if (strcmp(set->name, name) == 0) {
			set_free(state, set);
			return;
		}
	}
	set = find_orphan(state, member->cred.uid, name);
	if (set)
		set_free(state, set);
}

static int make_room(struct hbus_state *state, const char **ret_text)
{
	struct hbus_counter_set *orphan;

	if (state->n_counter_sets < HBUS_COUNTER_SETS_MAX)
		return 0;
	orphan = find_orphan(state, 0, NULL);
	if (!orphan) {
		*ret_text = "the bus has as many counter sets as it can";
		return HBUS_E_LIMIT;
	}
	set_free(state, orphan);
	return 0;
}

static int add(struct hbus_state *state, struct hbus_member *member, const char *name,
	       struct hbus_fd *fd, uint32_t n, const char **ret_text)
{
	struct hbus_counter_set *set;
	int r = make_room(state, ret_text);

	if (r == 0)
		r = hbus_state_charge(member->account, HBUS_QUOTA_FDS, 1, ret_text);
	if (r < 0)
		return r;
	set = calloc(1, sizeof(*set));
	if (!set) {
		hbus_account_release(member->account, HBUS_QUOTA_FDS, 1);
		*ret_text = HBUS_NO_MEMORY_TEXT;
		return HBUS_E_NO_MEMORY;
	}
	set->member = member;
	set->account = hbus_account_get(member->account);
	set->fd = hbus_fd_get(fd);
	set->member_id = member->id;
	set->uid = member->cred.uid;
	set->pid = member->pid;
	set->n = n;
	hbus_text_copy(set->name, sizeof(set->name), name);
	LIST_INSERT_HEAD(&member->counters, set, in_member);
	TAILQ_INSERT_TAIL(&state->counter_sets, set, in_state);
	state->n_counter_sets++;
	return 0;
}

void hbus_counters_offer(struct hbus_state *state, struct hbus_member *member,
			 const struct hbus_msg_counters_offer *msg, struct hbus_fd *fd)
{
	const char *text = "counters are a sealed, fully allocated memfd of whole pages";
	uint32_t n = 0;
	int r = state->ops.counters_check(state->ops.context, fd, &n);

	if (r == 0) {
		drop_replaced(state, member, msg->name);
		r = add(state, member, msg->name, fd, n, &text);
	}
	hbus_state_reply(state, member, &msg->header, r, text, 0);
}

void hbus_counters_orphan(struct hbus_state *state, struct hbus_member *member)
{
	struct hbus_counter_set *set;

	(void)state;
	while ((set = LIST_FIRST(&member->counters))) {
		LIST_REMOVE(set, in_member);
		set->member = NULL;
	}
}

void hbus_counters_free_all(struct hbus_state *state)
{
	while (!TAILQ_EMPTY(&state->counter_sets))
		set_free(state, TAILQ_FIRST(&state->counter_sets));
}
