/* SPDX-License-Identifier: BSD-3-Clause */
/* Members: a client's process, from connect over hangups and restarts to its end. */
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/state_int.h"

#define MEMBER_FDS 2 /* its socket and its pidfd */

uint64_t hbus_member_id(const struct hbus_member *member)
{
	return member->id;
}

uid_t hbus_member_uid(const struct hbus_member *member)
{
	return member->cred.uid;
}

int32_t hbus_member_pid(const struct hbus_member *member)
{
	return member->pid;
}

const char *hbus_member_name(const struct hbus_member *member)
{
	return member->name;
}

struct hbus_member *hbus_member_find(struct hbus_state *state, uint64_t id)
{
	struct hbus_table_node *node = hbus_table_find(&state->members, id);

	return node ? hbus_container_of(node, struct hbus_member, by_id) : NULL;
}

static uint64_t token_key(const struct hbus_token *token)
{
	uint64_t key;

	memcpy(&key, token->bytes, sizeof(key));
	return key;
}

static struct hbus_member *find_by_token(struct hbus_state *state, const struct hbus_token *token)
{
	struct hbus_table_node *node = hbus_table_find(&state->tokens, token_key(token));
	struct hbus_member *member;
	uint8_t difference = 0;

	if (!node)
		return NULL;
	member = hbus_container_of(node, struct hbus_member, by_token);
	for (size_t i = 0; i < sizeof(token->bytes); i++)
		difference |= token->bytes[i] ^ member->token.bytes[i];
	return difference ? NULL : member;
}

static void give_token(struct hbus_state *state, struct hbus_member *member,
		       const struct hbus_token *token)
{
	member->token = *token;
	member->has_token = true;
	hbus_table_insert(&state->tokens, token_key(token), &member->by_token);
}

/* ---- making and freeing ---- */

static struct hbus_member *member_new(struct hbus_state *state, uint64_t id, uid_t uid)
{
	struct hbus_member *member = calloc(1, sizeof(*member));

	if (!member)
		return NULL;
	member->account = hbus_quota_get(&state->quota, uid);
	if (!member->account) {
		free(member);
		return NULL;
	}
	member->id = id;
	member->cred.uid = uid;
	member->cred.gid = (gid_t)-1;
	TAILQ_INIT(&member->rings);
	TAILQ_INIT(&member->pendings);
	hbus_table_insert(&state->members, id, &member->by_id);
	return member;
}

/* Only what member_new() and the connection gave it. */
static void member_free(struct hbus_state *state, struct hbus_member *member)
{
	hbus_deadline_disarm(&state->deadlines, &member->deadline);
	hbus_table_remove(&state->members, &member->by_id);
	if (member->has_token)
		hbus_table_remove(&state->tokens, &member->by_token);
	hbus_account_release(member->account, HBUS_QUOTA_CLIENTS, 1);
	hbus_account_release(member->account, HBUS_QUOTA_FDS, MEMBER_FDS);
	hbus_account_put(member->account);
	hbus_fd_put(member->pidfd);
	free((gid_t *)member->cred.groups);
	free(member);
}

static bool copy_groups(struct hbus_member *member, const struct hbus_cred *cred)
{
	gid_t *groups = NULL;

	if (cred->n_groups > 0) {
		groups = calloc(cred->n_groups, sizeof(*groups));
		if (!groups)
			return false;
		memcpy(groups, cred->groups, cred->n_groups * sizeof(*groups));
	}
	member->cred = *cred;
	member->cred.groups = groups;
	return true;
}

/* What a client takes of its user's quotas, and a member. 0, or HBUS_E_* with a sentence. */
static int admit(struct hbus_state *state, uid_t uid, struct hbus_account *account, struct hbus_member **ret_member,
		 const char **ret_text)
{
	int r;

	if (state->members.n >= HBUS_MEMBERS_MAX) {
		*ret_text = "the bus has as many clients as it can";
		return HBUS_E_LIMIT;
	}
	r = hbus_state_charge(account, HBUS_QUOTA_CLIENTS, 1, ret_text);
	if (r != 0)
		return r;
	r = hbus_state_charge(account, HBUS_QUOTA_FDS, MEMBER_FDS, ret_text);
	if (r == 0) {
		*ret_member = member_new(state, hbus_state_new_id(state), uid);
		if (*ret_member)
			return 0;
		hbus_account_release(account, HBUS_QUOTA_FDS, MEMBER_FDS);
		r = HBUS_E_NO_MEMORY;
	}
	hbus_account_release(account, HBUS_QUOTA_CLIENTS, 1);
	return r;
}

struct hbus_member *hbus_state_connect(struct hbus_state *state, void *conn,
				       const struct hbus_cred *cred, int32_t pid,
				       struct hbus_fd *pidfd, uint64_t now_ns)
{
	struct hbus_account *account = hbus_quota_get(&state->quota, cred->uid);
	struct hbus_member *member = NULL;
	int r = HBUS_E_NO_MEMORY;

	state->now_ns = now_ns;
	state->refused_text = "the daemon has no memory for a client";
	if (account) {
		r = admit(state, cred->uid, account, &member, &state->refused_text);
		hbus_account_put(account);
	}
	if (r == 0 && !copy_groups(member, cred)) {
		member_free(state, member);
		r = HBUS_E_NO_MEMORY;
	}
	if (r != 0) {
		state->refused_status = r;
		hbus_state_log(state, HBUS_LOG_WARNING, NULL, "event=refused uid=%u text=\"%s\"",
			       (unsigned int)cred->uid, state->refused_text);
		hbus_fd_put(pidfd);
		return NULL;
	}
	member->conn = conn;
	member->pid = pid;
	member->pidfd = pidfd;
	member->phase = HBUS_MEMBER_NEW;
	return member;
}

int hbus_state_refusal(const struct hbus_state *state, const char **ret_text)
{
	*ret_text = state->refused_text;
	return state->refused_status;
}

static void persist_gone(struct hbus_state *state, const struct hbus_member *member)
{
	struct hbus_journal_record record;

	hbus_member_save(member, &record);
	record.kind = HBUS_RECORD_MEMBER_GONE;
	hbus_state_persist(state, &record);
}

/* One journalled member less to wait for. */
static void is_back_or_gone(struct hbus_state *state, struct hbus_member *member)
{
	if (!member->was_restored)
		return;
	member->was_restored = false;
	if (--state->n_away_restored > 0)
		return;
	hbus_state_end_restart(state);
	hbus_state_sweep_topics(state);
}

void hbus_member_end(struct hbus_state *state, struct hbus_member *member, uint32_t ring_flags)
{
	struct hbus_pending *pending;

	member->is_ending = true;
	while ((pending = TAILQ_FIRST(&member->pendings)))
		hbus_pending_expired(state, pending);
	while (!TAILQ_EMPTY(&member->rings))
		hbus_ring_end(state, TAILQ_FIRST(&member->rings), ring_flags);
	while (!LIST_EMPTY(&member->subs))
		hbus_sub_free(state, LIST_FIRST(&member->subs));
	hbus_counters_orphan(state, member);
	if (member->is_kept)
		persist_gone(state, member);
	is_back_or_gone(state, member);
	member_free(state, member);
}

/* ---- the journal ---- */

void hbus_member_save(const struct hbus_member *member, struct hbus_journal_record *record)
{
	memset(record, 0, sizeof(*record));
	record->kind = HBUS_RECORD_MEMBER;
	record->id = member->id;
	record->uid = member->cred.uid;
	record->pid = member->pid;
	record->began = member->began;
	record->token = member->token;
	memcpy(record->name, member->name, sizeof(member->name));
}

void hbus_member_keep(struct hbus_state *state, struct hbus_member *member)
{
	struct hbus_journal_record record;

	if (member->is_kept)
		return;
	member->is_kept = true;
	member->began = state->ops.process_began(state->ops.context, member->pid, member->pidfd);
	hbus_member_save(member, &record);
	hbus_state_persist(state, &record);
}

bool hbus_member_restore(struct hbus_state *state, const struct hbus_journal_record *record)
{
	struct hbus_member *member;

	if (hbus_member_find(state, record->id) || find_by_token(state, &record->token) ||
	    state->members.n >= HBUS_MEMBERS_MAX)
		return false;
	member = member_new(state, record->id, record->uid);
	if (!member)
		return false;
	hbus_account_force(member->account, HBUS_QUOTA_CLIENTS, 1);
	hbus_account_force(member->account, HBUS_QUOTA_FDS, MEMBER_FDS);
	give_token(state, member, &record->token);
	member->phase = HBUS_MEMBER_AWAY;
	member->is_kept = member->was_restored = true;
	member->pid = record->pid;
	member->began = record->began;
	memcpy(member->name, record->name, sizeof(member->name) - 1);
	return true;
}

/*
 * How long a member may take to come back after a restart. Who has ended does not come: it goes at once, or those who end
 * while daemons come and go faster than this would add up, in the journal and in their users' quotas. Who owns rings and is
 * stopped publishes into them when it goes on, before it has heard of the restart, and its readers must still be
 * there: so its end ends it, whenever that is. Where nobody can say whether it lives, it has a while longer than the others.
 */
void hbus_member_await(struct hbus_state *state, struct hbus_member *member)
{
	bool is_owner = !TAILQ_EMPTY(&member->rings);
	int lives = state->ops.process_watch(state->ops.context, is_owner ? member->id : 0, member->pid, member->began);

	if (lives == 0)
		hbus_member_end(state, member, HBUS_ENDED_PUBLISHER_DIED);
	else if (!is_owner || lives < 0)
		hbus_deadline_arm(&state->deadlines, &member->deadline, is_owner ? HBUS_WAIT_OWNER : HBUS_WAIT_RESTART,
				  state->now_ns);
}

/* ---- HELLO ---- */

static struct hbus_member *refuse(struct hbus_state *state, struct hbus_member *member,
				  const struct hbus_msg_header *request, int status,
				  const char *text)
{
	hbus_state_reply(state, member, request, status, text, 0);
	state->ops.disconnect(state->ops.context, member->conn);
	member->conn = NULL;
	hbus_member_end(state, member, 0);
	return NULL;
}

static void forget_what_was_said(struct hbus_member *member)
{
	struct hbus_ring *ring;
	struct hbus_subscriber_state *sub;
	struct hbus_attachment *att;
	struct hbus_doorbell *doorbell;
	struct hbus_kept_slot *kept;
	struct hbus_filter *filter;

	TAILQ_FOREACH(ring, &member->rings, in_member)
		ring->is_said = false;
	LIST_FOREACH(sub, &member->subs, link) {
		sub->is_said = false;
		/* What was sent on the connection before may not have been read. */
		LIST_FOREACH(doorbell, &sub->doorbells, link)
			doorbell->is_sent = false;
		LIST_FOREACH(kept, &sub->kept_slots, link)
			kept->is_said = false;
		hbus_tell_all_again(sub);
		TAILQ_FOREACH(filter, &sub->filters, link)
			filter->is_said = false;
		LIST_FOREACH(att, &sub->attachments, in_sub)
			att->is_held = att->is_end_said = false;
	}
}

/* The connection of @newcomer goes over to @old, which it says it is. */
static struct hbus_member *take_over(struct hbus_state *state, struct hbus_member *old,
				     struct hbus_member *newcomer)
{
	struct hbus_pending *pending;
	struct hbus_fd *pidfd = newcomer->pidfd;
	struct hbus_cred cred = newcomer->cred;

	if (old->conn)
		state->ops.disconnect(state->ops.context, old->conn);
	old->conn = NULL;
	while ((pending = TAILQ_FIRST(&old->pendings)))
		hbus_pending_expired(state, pending);
	newcomer->pidfd = old->pidfd;
	newcomer->cred = old->cred;
	old->conn = newcomer->conn;
	old->pidfd = pidfd;
	old->cred = cred;
	old->pid = newcomer->pid;
	if (old->is_kept)
		old->began = state->ops.process_began(state->ops.context, old->pid, old->pidfd);
	newcomer->conn = NULL;
	hbus_member_end(state, newcomer, 0);
	hbus_deadline_disarm(&state->deadlines, &old->deadline);
	forget_what_was_said(old);
	old->phase = HBUS_MEMBER_RESUMING;
	return old;
}

static bool is_zero_token(const struct hbus_token *token)
{
	static const struct hbus_token zero;

	return memcmp(token, &zero, sizeof(zero)) == 0;
}

static void welcome(struct hbus_state *state, struct hbus_member *member,
		    const struct hbus_msg_hello *msg)
{
	struct hbus_msg_reply reply;

	hbus_msg_init(&reply, HBUS_MSG_REPLY);
	reply.header.serial = msg->header.serial;
	reply.request_type = HBUS_MSG_HELLO;
	reply.minor = HBUS_PROTO_MINOR; /* the first there is */
	reply.value[0] = member->id;
	reply.value[1] = state->options.boot_id;
	reply.value[2] = state->config->capacity;
	reply.value[3] = hbus_policy_is_admin(&state->policy, &member->cred);
	reply.token = member->token;
	hbus_state_send(state, member, &reply, NULL, 0);
}

/* Names go to logs and terminals: what is not printable ASCII becomes '?'. */
static void set_name(struct hbus_member *member, const char *name)
{
	size_t i;

	for (i = 0; name[i] && i < sizeof(member->name) - 1; i++) {
		bool is_fine = name[i] > ' ' && name[i] < 0x7f && name[i] != '"' && name[i] != '\\';

		member->name[i] = is_fine ? name[i] : '?';
	}
	member->name[i] = '\0';
}

struct hbus_member *hbus_member_hello(struct hbus_state *state, struct hbus_member *member,
				      const struct hbus_msg_hello *msg)
{
	bool is_returning = !is_zero_token(&msg->token);
	struct hbus_member *old = is_returning ? find_by_token(state, &msg->token) : NULL;
	struct hbus_token token;

	if (msg->major != HBUS_PROTO_MAJOR)
		return refuse(state, member, &msg->header, HBUS_E_VERSION,
			      "the daemon speaks another major version of the protocol");
	if ((msg->flags & HBUS_CLIENT_WANTS_ROUTES) &&
	    !hbus_policy_is_admin(&state->policy, &member->cred))
		return refuse(state, member, &msg->header, HBUS_E_DENIED,
			      "to be told all routes needs the admin right");
	if (old && old->cred.uid == member->cred.uid) {
		member = take_over(state, old, member);
	} else {
		state->ops.random(state->ops.context, &token, sizeof(token));
		give_token(state, member, &token);
		member->phase = is_returning ? HBUS_MEMBER_RESUMING : HBUS_MEMBER_READY;
	}
	member->flags = msg->flags;
	set_name(member, msg->name);
	welcome(state, member, msg);
	if (member->flags & HBUS_CLIENT_WANTS_ROUTES)
		hbus_route_tell_all(state, member);
	hbus_state_log(state, HBUS_LOG_INFO, member, "event=%s", is_returning ? "back" : "hello");
	return member;
}

/* ---- RESUMED ---- */

/* The subscriber came back and did not say that it holds this. */
static void reopen(struct hbus_state *state, struct hbus_attachment *att)
{
	bool was_mapped = att->reader == HBUS_READER_MAPPED || att->stay_serial != 0;

	switch (att->reader) {
	case HBUS_READER_OPENED:
	case HBUS_READER_MAPPED:
		/* It has read an ended ring to its end; of one that goes on it lost the descriptors. */
		if (!att->ring || att->ring->phase == HBUS_RING_ENDED) {
			hbus_attachment_reader_gone(state, att);
			break;
		}
		att->is_from_start &= !was_mapped;
		att->reader = HBUS_READER_WAITING;
		att->stay_serial = 0;
		att->end_flags = 0;
		hbus_attachment_open(state, att);
		hbus_attachment_retry(state, att); /* one that might not read it has lost its gate */
		break;
	case HBUS_READER_LEAVING:
		hbus_attachment_reader_gone(state, att);
		break;
	case HBUS_READER_WAITING:
	case HBUS_READER_GONE:
		break;
	}
}

static void resume_subs(struct hbus_state *state, struct hbus_member *member)
{
	struct hbus_subscriber_state *sub, *next_sub;
	struct hbus_attachment *att, *next;

	for (sub = LIST_FIRST(&member->subs); sub; sub = next_sub) {
		next_sub = LIST_NEXT(sub, link);
		if (!sub->is_said) {
			hbus_sub_free(state, sub);
			continue;
		}
		sub->is_resuming = false;
		hbus_slot_sweep_kept(sub);
		hbus_sub_sweep_filters(state, sub);
		for (att = LIST_FIRST(&sub->attachments); att; att = next) {
			next = LIST_NEXT(att, in_sub);
			if (!att->is_held) {
				reopen(state, att);
				continue;
			}
			/* It may have come back because it could not keep what it was told. */
			if (att->reader == HBUS_READER_MAPPED) {
				hbus_tell_ring(state, sub, att->ring);
				hbus_tell_carried(state, sub, att->ring);
			}
			hbus_attachment_repeat_end(state, att);
		}
		hbus_sub_attach_all(state, sub);
	}
}

static void resume_rings(struct hbus_state *state, struct hbus_member *member)
{
	struct hbus_ring *ring, *next_ring;
	struct hbus_attachment *att, *next;
	struct hbus_ring_topic *carried;

	for (ring = TAILQ_FIRST(&member->rings); ring; ring = next_ring) {
		next_ring = TAILQ_NEXT(ring, in_member);
		if (!ring->is_said) {
			hbus_ring_end(state, ring, HBUS_ENDED_PUBLISHER_DIED);
			continue;
		}
		for (att = LIST_FIRST(&ring->attachments); att; att = next) {
			next = LIST_NEXT(att, in_ring);
			if (att->gate == HBUS_GATE_NONE && att->reader == HBUS_READER_MAPPED)
				hbus_attachment_confirm_held(state, att);
			else
				hbus_attachment_repeat_gate(state, att);
		}
		/* Who held a gate of a restored ring may still be on the way: then the sweep waits for the end. */
		if (!(ring->was_restored && state->is_restarting))
			hbus_ring_sweep_gates(state, ring);
		TAILQ_FOREACH(carried, &ring->topics, in_ring) {
			hbus_ring_attach_matching(state, ring, carried->topic, HBUS_FROM_PROMISED, NULL);
			if (!state->is_restarting || carried->topic->n_wanted > 0)
				hbus_topic_tell_interest(state, carried->topic, member);
		}
	}
}

/* What its rings carry is known again, and may be less: who holds one and asks for nothing of it any more leaves. */
static void release_readers(struct hbus_state *state, struct hbus_member *member)
{
	struct hbus_attachment *att, *next;
	struct hbus_ring *ring;

	TAILQ_FOREACH(ring, &member->rings, in_member) {
		for (att = LIST_FIRST(&ring->attachments); att; att = next) {
			next = LIST_NEXT(att, in_ring);
			if (att->sub && !att->sub->is_resuming && !hbus_sub_wants_ring(att->sub, ring))
				hbus_attachment_leave(state, att, 0);
		}
	}
}

void hbus_member_resumed(struct hbus_state *state, struct hbus_member *member,
			 const struct hbus_msg_simple *msg)
{
	member->phase = HBUS_MEMBER_READY;
	resume_rings(state, member);
	resume_subs(state, member);
	hbus_state_reply(state, member, &msg->header, 0, NULL, 0);
	is_back_or_gone(state, member);
	release_readers(state, member);
}
