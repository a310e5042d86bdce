/* SPDX-License-Identifier: BSD-3-Clause */
/* Subscribers: opened, given slots and filters, closed; and coming back after a hangup. */
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/state_int.h"
#include "ctl/proto/topic.h"

#define FILTER_NODES_MAX (HBUS_FILTERS_PER_SUBSCRIBER_MAX * HBUS_TOPIC_LEVELS_MAX)
#define STALL_MS_MAX 3600000u

struct hbus_subscriber_state *hbus_sub_find(struct hbus_member *member, uint32_t id)
{
	struct hbus_subscriber_state *sub;

	LIST_FOREACH(sub, &member->subs, link)
		if (sub->id == id)
			return sub;
	return NULL;
}

/* ---- SUB_OPEN ---- */

static int check_open(const struct hbus_member *member, const struct hbus_msg_sub_open *msg,
		      const char **ret_text)
{
	if (msg->sub_id == 0 || (msg->flags & ~(HBUS_SUB_RELIABLE | HBUS_SUB_DOORBELL)) ||
	    msg->stall_ms > STALL_MS_MAX) {
		*ret_text = "a subscriber has a number, known flags and a stall limit up to an hour";
		return HBUS_E_INVALID;
	}
	if (member->n_subs >= HBUS_SUBSCRIBERS_PER_CLIENT_MAX) {
		*ret_text = "a client has at most 256 subscribers";
		return HBUS_E_LIMIT;
	}
	return 0;
}

static struct hbus_subscriber_state *sub_new(struct hbus_state *state, struct hbus_member *member,
					     const struct hbus_msg_sub_open *msg)
{
	struct hbus_subscriber_state *sub = calloc(1, sizeof(*sub));

	if (!sub)
		return NULL;
	sub->close_room = calloc(1, sizeof(*sub->close_room));
	if (!sub->close_room || hbus_trie_init(&sub->filter_trie, FILTER_NODES_MAX) < 0) {
		free(sub->close_room);
		free(sub);
		return NULL;
	}
	TAILQ_INIT(&sub->filters);
	sub->member = member;
	sub->id = msg->sub_id;
	sub->flags = msg->flags;
	sub->stall_ms = msg->stall_ms ? msg->stall_ms : state->config->stall_ms;
	sub->is_said = true;
	sub->is_resuming = member->phase == HBUS_MEMBER_RESUMING;
	LIST_INSERT_HEAD(&member->subs, sub, link);
	member->n_subs++;
	state->n_subscribers++;
	return sub;
}

void hbus_sub_open(struct hbus_state *state, struct hbus_member *member,
		   const struct hbus_msg_sub_open *msg)
{
	struct hbus_subscriber_state *sub = hbus_sub_find(member, msg->sub_id);
	const char *text = NULL;
	int r = 0;

	if (sub && member->phase == HBUS_MEMBER_RESUMING && sub->flags == msg->flags &&
	    !sub->is_closing) {
		sub->is_said = true;
	} else if (sub) {
		r = HBUS_E_EXISTS;
		text = "the client has a subscriber of this number";
	} else {
		r = check_open(member, msg, &text);
		if (r == 0)
			r = hbus_state_charge(member->account, HBUS_QUOTA_SUBSCRIPTIONS, 1, &text);
		if (r == 0 && !sub_new(state, member, msg)) {
			hbus_account_release(member->account, HBUS_QUOTA_SUBSCRIPTIONS, 1);
			r = HBUS_E_NO_MEMORY;
			text = HBUS_NO_MEMORY_TEXT;
		}
	}
	if (r == 0)
		hbus_member_keep(state, member);
	hbus_state_reply(state, member, &msg->header, r, text, 0);
}

/* ---- SUB_SLOTS ---- */

static int add_slots(struct hbus_state *state, struct hbus_subscriber_state *sub,
		     const struct hbus_msg_sub_slots *msg, struct hbus_fd *fd, const char **ret_text)
{
	struct hbus_slot_memfd *memfd = &sub->memfds[msg->memfd_idx];
	int r;

	if (memfd->fd && sub->member->phase == HBUS_MEMBER_RESUMING &&
	    memfd->n_slots == msg->n_slots)
		return 0; /* known since before the hangup */
	if (memfd->fd) {
		*ret_text = "the subscriber has slots of this number";
		return HBUS_E_EXISTS;
	}
	r = state->ops.slots_check(state->ops.context, fd, msg->n_slots);
	if (r < 0) {
		*ret_text = "slots are a sealed, fully allocated memfd of 128 bytes each";
		return r;
	}
	r = hbus_state_charge(sub->member->account, HBUS_QUOTA_FDS, 1, ret_text);
	if (r < 0)
		return r;
	memfd->used = calloc((msg->n_slots + 63) / 64, sizeof(*memfd->used));
	if (!memfd->used) {
		hbus_account_release(sub->member->account, HBUS_QUOTA_FDS, 1);
		*ret_text = HBUS_NO_MEMORY_TEXT;
		return HBUS_E_NO_MEMORY;
	}
	memfd->fd = hbus_fd_get(fd);
	memfd->n_slots = msg->n_slots;
	return 0;
}

void hbus_sub_retry(struct hbus_state *state, struct hbus_subscriber_state *sub)
{
	struct hbus_attachment *att, *next;

	sub->is_slotless = false;
	for (att = LIST_FIRST(&sub->attachments); att; att = next) {
		next = LIST_NEXT(att, in_sub);
		hbus_attachment_retry(state, att);
	}
}

void hbus_sub_slots(struct hbus_state *state, struct hbus_member *member,
		    const struct hbus_msg_sub_slots *msg, struct hbus_fd *fd)
{
	struct hbus_subscriber_state *sub = hbus_sub_find(member, msg->sub_id);
	const char *text = "no such subscriber";
	int r = HBUS_E_NOT_FOUND;

	if (sub && (msg->memfd_idx >= HBUS_SLOT_MEMFDS_MAX || msg->n_slots == 0 ||
		    msg->n_slots > HBUS_SLOTS_PER_MEMFD_MAX)) {
		text = "a subscriber has at most 8 memfds of 1 to 4096 slots";
		r = HBUS_E_LIMIT;
	} else if (sub) {
		r = add_slots(state, sub, msg, fd, &text);
	}
	hbus_state_reply(state, member, &msg->header, r, text, 0);
	if (r == 0)
		hbus_sub_retry(state, sub);
}

/* ---- filters ---- */

static struct hbus_filter *find_filter(struct hbus_subscriber_state *sub, const char *text)
{
	struct hbus_trie_entry *entry = hbus_trie_find(&sub->filter_trie, text);

	return entry ? hbus_container_of(entry, struct hbus_filter, in_sub) : NULL;
}

static void filter_free(struct hbus_state *state, struct hbus_filter *filter)
{
	struct hbus_subscriber_state *sub = filter->sub;

	hbus_pending_done(state, filter->waiting);
	hbus_trie_remove(&state->filters, &filter->in_state);
	hbus_trie_remove(&sub->filter_trie, &filter->in_sub);
	TAILQ_REMOVE(&sub->filters, filter, link);
	sub->n_filters--;
	hbus_account_release(sub->member->account, HBUS_QUOTA_SUBSCRIPTIONS, 1);
	free(filter);
}

static int filter_new(struct hbus_state *state, struct hbus_subscriber_state *sub,
		      const char *filter_text, uint64_t covers_from, struct hbus_filter **ret_filter,
		      const char **ret_text)
{
	struct hbus_filter *filter;
	int r;

	if (sub->n_filters >= HBUS_FILTERS_PER_SUBSCRIBER_MAX) {
		*ret_text = "a subscriber has at most 4096 filters";
		return HBUS_E_LIMIT;
	}
	r = hbus_state_charge(sub->member->account, HBUS_QUOTA_SUBSCRIPTIONS, 1, ret_text);
	if (r < 0)
		return r;
	filter = calloc(1, sizeof(*filter));
	if (!filter || hbus_trie_insert(&sub->filter_trie, filter_text, &filter->in_sub) != 0)
		goto fail;
	if (hbus_trie_insert(&state->filters, filter_text, &filter->in_state) != 0) {
		hbus_trie_remove(&sub->filter_trie, &filter->in_sub);
		goto fail;
	}
	filter->sub = sub;
	filter->birth = ++state->next_birth;
	filter->covers_from = covers_from ? covers_from : hbus_state_new_id(state);
	hbus_text_copy(filter->text, sizeof(filter->text), filter_text);
	TAILQ_INSERT_TAIL(&sub->filters, filter, link);
	sub->n_filters++;
	*ret_filter = filter;
	return 0;
fail:
	free(filter);
	hbus_account_release(sub->member->account, HBUS_QUOTA_SUBSCRIPTIONS, 1);
	*ret_text = "the daemon has no room for the filter";
	return HBUS_E_NO_MEMORY;
}

/* Was the filter there before the ring? Then it is promised the ring's first event. */
bool hbus_filter_covers(const struct hbus_filter *filter, const struct hbus_ring *ring)
{
	/* Ids grow from daemon to daemon; births order what this one saw, by when the ring was announced. */
	return ring->geometry.ring_id >= filter->covers_from ||
	       (ring->birth > 0 && ring->birth > filter->birth);
}

struct filter_walk {
	struct hbus_state *state;
	struct hbus_filter *filter;
	struct hbus_pending *opening;
	uint64_t n_denied, n_steps;
	uint64_t n_unmet; /* rings that it did not get for want of memory, or that are too many */
	bool is_over;	  /* these */
	bool has_to_wait; /* for the end of the restart */
};

static bool attach_topic(void *context, struct hbus_trie_entry *entry)
{
	struct filter_walk *walk = context;
	struct hbus_topic *topic = hbus_container_of(entry, struct hbus_topic, by_name);
	struct hbus_ring_topic *carried;
	int r;

	walk->n_steps++;
	LIST_FOREACH(carried, &topic->rings, in_topic) {
		struct hbus_ring *ring = carried->ring;

		if (!hbus_ring_is_attachable(walk->state, ring)) {
			/* Of one that is not back nobody knows whether it will be. */
			walk->has_to_wait |= ring->phase == HBUS_RING_RUNNING && ring->was_restored &&
					     walk->state->is_restarting;
			continue;
		}
		r = hbus_attach(walk->state, ring, walk->filter->sub, hbus_filter_covers(walk->filter, ring),
				walk->opening, NULL);
		walk->n_denied += r == HBUS_E_DENIED;
		walk->n_unmet += r == HBUS_E_NO_MEMORY || r == HBUS_E_LIMIT;
		walk->is_over |= r == HBUS_E_LIMIT;
	}
	return true;
}

static void attach_filter(struct filter_walk *walk)
{
	hbus_trie_match_names(&walk->state->topic_names, walk->filter->text, attach_topic, walk);
}

void hbus_sub_attach_all(struct hbus_state *state, struct hbus_subscriber_state *sub)
{
	struct hbus_filter *filter;

	TAILQ_FOREACH(filter, &sub->filters, link) {
		struct filter_walk walk = { state, filter };

		attach_filter(&walk);
	}
}

void hbus_sub_restart_over(struct hbus_state *state, struct hbus_subscriber_state *sub)
{
	struct hbus_filter *filter;

	TAILQ_FOREACH(filter, &sub->filters, link) {
		struct filter_walk walk = { state, filter, filter->waiting };

		if (!filter->waiting)
			continue;
		filter->waiting = NULL;
		attach_filter(&walk);
		hbus_pending_done(state, walk.opening);
	}
}

/* A literal filter on what no rule lets this user read is an error; a wildcard gives what there is. */
static bool is_denied(struct hbus_state *state, const struct hbus_subscriber_state *sub,
		      const char *filter)
{
	const struct hbus_cred *cred = &sub->member->cred;

	return !hbus_topic_has_wildcard(filter) &&
	       !hbus_policy_allows(&state->policy, cred, HBUS_RIGHT_SUBSCRIBE, filter, cred->uid);
}

static int check_filter(struct hbus_state *state, const struct hbus_subscriber_state *sub,
			const char *filter, const char **ret_text)
{
	int r = hbus_topic_check_filter(filter, strlen(filter));

	if (r != 0) {
		*ret_text = hbus_topic_strerror(r);
		return HBUS_E_NAME;
	}
	if (!sub || sub->is_closing) {
		*ret_text = "no such subscriber";
		return HBUS_E_NOT_FOUND;
	}
	if (is_denied(state, sub, filter)) {
		*ret_text = "policy does not let this user read the topic";
		return HBUS_E_DENIED;
	}
	return 0;
}

bool hbus_sub_wants_ring(const struct hbus_subscriber_state *sub, const struct hbus_ring *ring)
{
	const struct hbus_ring_topic *carried;

	if (sub->is_closing)
		return false;
	/* What it carries is not known before its publisher is back and has said so. */
	if (ring->owner && ring->owner->was_restored)
		return true;
	TAILQ_FOREACH(carried, &ring->topics, in_ring)
		if (hbus_sub_matches(sub, carried->topic->name))
			return true;
	return false;
}

/* Leaves every ring that no filter asks for any more; @pending, if there is one, waits until that is over. */
static void leave_unwanted(struct hbus_state *state, struct hbus_subscriber_state *sub,
			   struct hbus_pending *pending)
{
	struct hbus_attachment *att, *next;

	for (att = LIST_FIRST(&sub->attachments); att; att = next) {
		next = LIST_NEXT(att, in_sub);
		if (hbus_sub_wants_ring(sub, att->ring))
			continue;
		att->is_wanted_again = false;
		if (pending && !att->closing) {
			att->closing = pending;
			pending->n_waiting++;
		}
		hbus_attachment_leave(state, att, 0);
	}
}

/* The filter is there: attach what exists; the reply goes when all of it is open. */
static void follow_filter(struct hbus_state *state, struct hbus_filter *filter,
			  struct hbus_pending *pending)
{
	struct hbus_subscriber_state *sub = filter->sub;
	struct filter_walk walk = { state, filter, pending };
	char text[sizeof(filter->text)];

	hbus_text_copy(text, sizeof(text), filter->text);
	hbus_tell_again(state, sub, text);
	attach_filter(&walk);
	hbus_account_spend(filter->sub->member->account, walk.n_steps / 64);
	pending->value[1] = walk.n_denied;
	pending->value[2] = filter->covers_from;
	if (walk.n_denied > 0 && pending->n_waiting == 1 && pending->value[0] == 0 &&
	    !hbus_topic_has_wildcard(filter->text)) {
		pending->status = HBUS_E_DENIED;
		pending->text = "policy does not let this user read the topic, or hold it back";
		filter_free(state, filter);
	} else if (walk.n_unmet > 0) {
		pending->status = walk.is_over ? HBUS_E_LIMIT : HBUS_E_NO_MEMORY;
		pending->text = walk.is_over ? "the filter asks for more rings than a subscriber can have" : HBUS_NO_MEMORY_TEXT;
		filter_free(state, filter);
		hbus_tell_again(state, sub, text);
		leave_unwanted(state, sub, NULL);
	} else if (walk.has_to_wait && !filter->waiting) {
		filter->waiting = pending;
		pending->n_waiting++;
	}
	hbus_pending_done(state, pending);
}

void hbus_sub_filter_add(struct hbus_state *state, struct hbus_member *member,
			 const struct hbus_msg_sub_filter *msg)
{
	struct hbus_subscriber_state *sub = hbus_sub_find(member, msg->sub_id);
	struct hbus_filter *filter = NULL;
	struct hbus_pending *pending = NULL;
	const char *text = NULL;
	int r = check_filter(state, sub, msg->filter, &text);

	if (r == 0 && member->phase == HBUS_MEMBER_READY) {
		pending = hbus_pending_new(state, member, &msg->header);
		text = HBUS_NO_MEMORY_TEXT;
		r = pending ? 0 : HBUS_E_NO_MEMORY;
	}
	if (r == 0) {
		filter = find_filter(sub, msg->filter);
		if (!filter)
			r = filter_new(state, sub, msg->filter, msg->covers_from, &filter, &text);
		if (filter)
			filter->is_said = true;
	}
	if (r == 0 && pending) {
		follow_filter(state, filter, pending);
		return;
	}
	hbus_pending_drop(state, pending);
	hbus_state_reply(state, member, &msg->header, r, text, 0);
}

/* ---- leaving ---- */

void hbus_sub_filter_remove(struct hbus_state *state, struct hbus_member *member,
			    const struct hbus_msg_sub_filter *msg)
{
	struct hbus_subscriber_state *sub = hbus_sub_find(member, msg->sub_id);
	struct hbus_filter *filter = NULL;

	if (sub && hbus_topic_check_filter(msg->filter, strlen(msg->filter)) == 0)
		filter = find_filter(sub, msg->filter);
	if (!filter) {
		hbus_state_reply(state, member, &msg->header, HBUS_E_NOT_FOUND,
				 "the subscriber has no such filter", 0);
		return;
	}
	filter_free(state, filter);
	hbus_tell_again(state, sub, msg->filter);
	/* Not until the rings are left: that takes the thread that polls, which may be the one that waits for this reply. */
	leave_unwanted(state, sub, NULL);
	hbus_state_reply(state, member, &msg->header, 0, NULL, 0);
}

void hbus_sub_sweep_filters(struct hbus_state *state, struct hbus_subscriber_state *sub)
{
	struct hbus_filter *filter, *next;
	char text[sizeof(filter->text)];

	for (filter = TAILQ_FIRST(&sub->filters); filter; filter = next) {
		next = TAILQ_NEXT(filter, link);
		if (filter->is_said)
			continue;
		hbus_text_copy(text, sizeof(text), filter->text);
		filter_free(state, filter);
		hbus_tell_again(state, sub, text);
	}
	/* Also when this daemon has never heard of the filter that it holds a ring for. */
	leave_unwanted(state, sub, NULL);
}

void hbus_sub_close(struct hbus_state *state, struct hbus_member *member,
		    const struct hbus_msg_sub_close *msg)
{
	struct hbus_subscriber_state *sub = hbus_sub_find(member, msg->sub_id);
	struct hbus_pending *pending;

	if (!sub || sub->is_closing) {
		hbus_state_reply(state, member, &msg->header, HBUS_E_NOT_FOUND,
				 "no such subscriber", 0);
		return;
	}
	pending = sub->close_room;
	sub->close_room = NULL;
	hbus_pending_begin(state, member, &msg->header, pending);
	sub->is_closing = true;
	sub->closing = pending;
	pending->sub = sub;
	hbus_tell_unwant_all(state, sub);
	while (!TAILQ_EMPTY(&sub->filters))
		filter_free(state, TAILQ_FIRST(&sub->filters));
	leave_unwanted(state, sub, pending);
	hbus_pending_done(state, pending);
}

void hbus_sub_ring_done(struct hbus_state *state, struct hbus_member *member,
			const struct hbus_msg_ring *msg)
{
	struct hbus_subscriber_state *sub = hbus_sub_find(member, msg->sub_id);
	struct hbus_ring *ring = hbus_ring_find(state, msg->ring_id);
	struct hbus_attachment *att = sub && ring ? hbus_attachment_find(ring, sub) : NULL;
	bool is_known = att && att->reader >= HBUS_READER_OPENED && att->reader < HBUS_READER_GONE;
	bool was_kept = sub && !is_known && hbus_slot_kept_done(sub, msg->ring_id);
	struct hbus_slot_stats stats;

	/* The reply first: what follows may free the subscriber. */
	hbus_state_reply(state, member, &msg->header, is_known || was_kept ? 0 : HBUS_E_NOT_FOUND,
			 "the subscriber does not hold this ring", 0);
	if (was_kept)
		hbus_sub_retry(state, sub);
	if (!is_known)
		return;
	hbus_slot_stats(state, att, &stats);
	sub->n_delivered += stats.delivered;
	sub->n_filtered += stats.filtered;
	sub->n_lost += stats.lost;
	/* It leaves what another daemon told it to leave, and may have asked for it again since. */
	if ((att->was_claimed && !att->is_end_said && hbus_sub_wants_ring(sub, ring)) || att->stay_serial != 0)
		att->is_wanted_again = true;
	hbus_attachment_reader_gone(state, att);
}

void hbus_sub_free(struct hbus_state *state, struct hbus_subscriber_state *sub)
{
	struct hbus_attachment *att, *next;
	struct hbus_kept_slot *kept;

	sub->is_closing = true;
	if (sub->closing)
		sub->closing->sub = NULL;
	hbus_tell_unwant_all(state, sub);
	while (!TAILQ_EMPTY(&sub->filters))
		filter_free(state, TAILQ_FIRST(&sub->filters));
	for (att = LIST_FIRST(&sub->attachments); att; att = next) {
		next = LIST_NEXT(att, in_sub);
		att->is_wanted_again = false;
		hbus_attachment_reader_gone(state, att);
	}
	while ((att = LIST_FIRST(&sub->attachments)))
		hbus_attachment_orphan(att);
	LIST_FOREACH(kept, &sub->kept_slots, link)
		kept->is_said = false;
	hbus_slot_sweep_kept(sub);
	for (int i = 0; i < (int)HBUS_SLOT_MEMFDS_MAX; i++) {
		if (!sub->memfds[i].fd)
			continue;
		hbus_fd_put(sub->memfds[i].fd);
		free(sub->memfds[i].used);
		hbus_account_release(sub->member->account, HBUS_QUOTA_FDS, 1);
	}
	hbus_trie_deinit(&sub->filter_trie);
	free(sub->told);
	free(sub->matched);
	free(sub->close_room);
	LIST_REMOVE(sub, link);
	hbus_account_release(sub->member->account, HBUS_QUOTA_SUBSCRIPTIONS, 1);
	sub->member->n_subs--;
	state->n_subscribers--;
	free(sub);
}

/* ---- coming back ---- */

void hbus_sub_held(struct hbus_state *state, struct hbus_member *member,
		   const struct hbus_msg_sub_held *msg)
{
	struct hbus_subscriber_state *sub = hbus_sub_find(member, msg->sub_id);
	struct hbus_ring *ring = hbus_ring_find(state, msg->ring_id);
	bool is_held = sub && !sub->is_closing && ring && hbus_attach_held(state, ring, sub, msg);
	struct hbus_msg_ring_event ended;

	hbus_state_reply(state, member, &msg->header, is_held ? 0 : HBUS_E_NOT_FOUND,
			 "the daemon does not know that the subscriber holds this ring", 0);
	if (is_held) {
		if (ring->phase == HBUS_RING_RUNNING && ring->owner->phase == HBUS_MEMBER_READY)
			hbus_attachment_confirm_held(state, hbus_attachment_find(ring, sub));
		return;
	}
	if (sub && !(ring && hbus_attachment_find(ring, sub)))
		hbus_slot_keep(sub, msg);
	hbus_msg_init(&ended, HBUS_MSG_RING_ENDED);
	ended.ring_id = msg->ring_id;
	ended.sub_id = msg->sub_id;
	ended.flags = HBUS_ENDED_PUBLISHER_DIED;
	hbus_state_send(state, member, &ended, NULL, 0);
}
