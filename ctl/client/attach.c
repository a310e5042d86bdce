/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings at a subscriber: checked, mapped, placed at their start, handed to the owner's thread, given back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client/control.h"
#include "ctl/client/handlers.h"
#include "ctl/client/subscriber.h"
#include "shm/segment.h"
#include "shm/wait.h"

static struct hbus_subscriber *find_sub(struct hbus *bus, uint32_t sub_id)
{
	struct hbus_subscriber *sub = bus->subscribers;

	while (sub && sub->sub_id != sub_id)
		sub = sub->next;
	return sub;
}

static struct hbus_attached *find_held(const struct hbus_subscriber *sub, uint64_t ring_id)
{
	struct hbus_attached *at = sub->held;

	while (at && at->ring_id != ring_id)
		at = at->held_next;
	return at;
}

void hbus_attached_free(struct hbus_attached *at)
{
	hbus_segment_unmap(at->header, HBUS_RING_HEADER_SIZE);
	hbus_segment_unmap_twice(at->data, at->geometry.capacity);
	hbus_id_set_deinit(&at->carried);
	free(at);
}

/* Tells the owner's thread that something has changed; wakes it. */
static void tell_news(struct hbus_subscriber *sub)
{
	uint64_t one = 1;

	/* R(subscriber.news): mail, topics and `ended` before the word that tells of them (in the increment). */
	hbus_wait_wake(&sub->news);
	if (write(sub->news_fd, &one, sizeof(one)) < 0)
		return; /* full: it is readable already */
}

static void mail_push(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	pthread_mutex_lock(&sub->mail_lock);
	*sub->mail_tail = at;
	sub->mail_tail = &at->mail_next;
	pthread_mutex_unlock(&sub->mail_lock);
}

/* -- RING_OPENED -- */

static int take_geometry(const struct hbus_wire_geometry *wire, struct hbus_geometry *ret_geometry)
{
	uint64_t capacity = wire->capacity;

	if (wire->layout_version != HBUS_LAYOUT_VERSION || wire->layout_hash != HBUS_LAYOUT_HASH)
		return HBUS_E_VERSION;
	if (capacity < HBUS_RING_CAPACITY_MIN || capacity > HBUS_RING_CAPACITY_MAX || (capacity & (capacity - 1)) ||
	    wire->start % hbus_block_size(capacity) || (wire->is_huge && capacity % HBUS_HUGE_PAGE_SIZE))
		return HBUS_E_INVALID;
	*ret_geometry = (struct hbus_geometry){
		.ring_id = wire->ring_id,
		.capacity = capacity,
		.start = wire->start,
		.is_huge = wire->is_huge,
		.is_isolated = wire->is_isolated,
	};
	return 0;
}

/* Memory that could be truncated, or that has holes, could kill this process later: refuse it now. */
static int map(struct hbus_attached *at, const struct hbus_geometry *geometry, const struct hbus_wire_fds *fds)
{
	int seals = hbus_memfd_seals_final();
	int r;

	if (hbus_memfd_check(fds->fd[0], HBUS_RING_HEADER_SIZE, seals, 1) != 0 ||
	    hbus_memfd_check(fds->fd[1], geometry->capacity, seals, 1) != 0)
		return HBUS_E_BAD_FD;
	at->geometry = *geometry;
	r = hbus_segment_map(fds->fd[0], HBUS_RING_HEADER_SIZE, 0, &at->header);
	if (r == 0)
		r = hbus_segment_map_twice(fds->fd[1], geometry->capacity, 0, (int)geometry->is_huge, &at->data);
	return r < 0 ? HBUS_E_NO_MEMORY : 0;
}

static struct hbus_resume_place *find_place(const struct hbus_subscriber *sub, uint64_t ring_id)
{
	for (uint32_t i = 0; i < sub->n_places; i++)
		if (sub->places[i].ring_id == ring_id)
			return &sub->places[i];
	return NULL;
}

/* What was subscribed to again while the ring could not be kept begins there. False: no memory. */
static bool note_place(struct hbus_subscriber *sub, uint64_t ring_id, uint64_t sequence)
{
	struct hbus_resume_place *place = find_place(sub, ring_id), *more;

	if (!place) {
		more = reallocarray(sub->places, sub->n_places + 1, sizeof(*more));
		if (!more)
			return false;
		sub->places = more;
		place = &more[sub->n_places++];
	}
	*place = (struct hbus_resume_place){.ring_id = ring_id, .sequence = sequence};
	return true;
}

static enum hbus_ring_outcome seek_place(struct hbus_attached *at, const struct hbus_resume_place *place)
{
	enum hbus_ring_outcome outcome = hbus_ring_sub_seek(&at->ring, place->sequence, &at->start_lost);

	at->start_first = place->sequence;
	/* Inside a run it stands at the run's first event. */
	if (outcome == HBUS_RING_OK && (int64_t)(place->sequence - at->ring.sequence) > 0 &&
	    hbus_ring_sub_load_word(&at->ring, at->ring.position) != 0)
		at->skip = place->sequence - at->ring.sequence;
	return outcome;
}

/* Where this subscriber begins in the ring. The gate is in place, so what is found now stays. */
static int seek_start(struct hbus_subscriber *sub, struct hbus_attached *at, uint32_t flags)
{
	struct hbus_resume_place *place = find_place(sub, at->ring_id);
	enum hbus_ring_outcome outcome = HBUS_RING_OK;

	if (place)
		outcome = seek_place(at, place);
	else if (sub->start == HBUS_START_POSITIONS)
		outcome = hbus_ring_sub_seek_oldest(&at->ring);
	else if (flags & HBUS_OPENED_FROM_START)
		return 0;
	else if (sub->start == HBUS_START_EARLIEST)
		outcome = hbus_ring_sub_seek_oldest(&at->ring);
	else
		outcome = hbus_ring_sub_seek_newest(&at->ring);
	/* Noted for this once; a position that the caller gave holds for good. */
	if (place && sub->start == HBUS_START_LATEST)
		*place = sub->places[--sub->n_places];
	return outcome == HBUS_RING_OK ? 0 : HBUS_E_PROTOCOL;
}

static int prepare(struct hbus_subscriber *sub, const struct hbus_msg_ring_opened *message, struct hbus_wire_fds *fds,
		   struct hbus_attached *at)
{
	struct hbus_geometry geometry = {0};
	struct hbus_slot *slot = NULL;
	int r;

	at->gate_id = message->gate_id;
	at->publisher_id = message->publisher_id;
	at->is_awake = (sub->flags & HBUS_SUB_FLAG_NO_OWN_WAKE) && message->publisher_id == sub->bus->client_id;
	at->attach_idx = message->attach_idx;
	at->memfd_idx = message->memfd_idx;
	at->slot_idx = message->slot_idx;
	r = take_geometry(&message->geometry, &geometry);
	if (r == 0)
		r = map(at, &geometry, fds);
	if (r < 0)
		return r;
	if (!(message->flags & HBUS_OPENED_NO_SLOT)) {
		slot = hbus_slots_get(sub, message->memfd_idx, message->slot_idx);
		if (!slot)
			return HBUS_E_INVALID;
		hbus_slots_take(slot);
	}
	at->has_slot = slot != NULL;
	at->can_wake = at->has_slot && hbus_doorbell_exists(sub, at->publisher_id);
	hbus_ring_sub_init(&at->ring, &geometry, at->header, at->data, slot,
			   (sub->flags & HBUS_SUB_FLAG_RELIABLE) != 0);
	return seek_start(sub, at, message->flags);
}

static void answer(struct hbus *bus, uint32_t serial, uint64_t ring_id, uint32_t sub_id, int status)
{
	union hbus_msg out;

	hbus_wire_init(&out, HBUS_MSG_RING_ACCEPT, serial);
	out.ring_accept.ring_id = ring_id;
	out.ring_accept.sub_id = sub_id;
	out.ring_accept.status = status;
	hbus_send_locked(bus, &out, NULL, 0);
}

/* More slots before the last are used, so that the daemon rarely runs out of them. */
static void grow_slots(struct hbus_subscriber *sub)
{
	if (sub->n_held * 2 > sub->n_slots && hbus_slots_add(sub) == 0)
		hbus_slots_offer(sub, sub->n_slot_memfds - 1);
}

static int attach(struct hbus_subscriber *sub, const struct hbus_msg_ring_opened *message, struct hbus_wire_fds *fds)
{
	struct hbus_attached *at = calloc(1, sizeof(*at));
	int r;

	if (!at) {
		hbus_link_end_locked(sub->bus);
		return HBUS_E_NO_MEMORY;
	}
	at->ring_id = message->geometry.ring_id;
	if (sub->next_ring_id == at->ring_id) {
		hbus_id_set_move(&at->carried, &sub->next_carried);
		sub->next_ring_id = 0;
	}
	r = sub->n_held < HBUS_RINGS_PER_SUBSCRIBER_MAX ? prepare(sub, message, fds, at) : HBUS_E_LIMIT;
	at->is_refused = r < 0;
	if (!at->is_refused) {
		at->held_next = sub->held;
		sub->held = at;
		sub->n_held++;
		grow_slots(sub);
	}
	mail_push(sub, at);
	tell_news(sub);
	return r;
}

void hbus_on_ring_opened(struct hbus *bus, const struct hbus_msg_ring_opened *message, struct hbus_wire_fds *fds)
{
	struct hbus_subscriber *sub = find_sub(bus, message->sub_id);
	const struct hbus_attached *held;
	int status = HBUS_E_NOT_FOUND;

	if (sub && !sub->is_closing) {
		if (message->has_doorbell)
			hbus_doorbell_add(sub, message->publisher_id, hbus_wire_fds_take(fds, 2));
		held = find_held(sub, message->geometry.ring_id);
		if (held)
			status = held->gate_id == message->gate_id ? 0 : HBUS_E_EXISTS;
		else
			status = attach(sub, message, fds);
	}
	answer(bus, message->header.serial, message->geometry.ring_id, message->sub_id, status);
}

/* -- the end of a ring -- */

void hbus_ring_done_say(struct hbus_subscriber *sub, uint64_t ring_id)
{
	union hbus_msg message;

	if (sub->bus->socket_fd < 0)
		return; /* the next daemon is not told of it in the first place */
	hbus_wire_init(&message, HBUS_MSG_SUB_RING_DONE, 0);
	message.ring.ring_id = ring_id;
	message.ring.sub_id = sub->sub_id;
	hbus_request_locked(sub->bus, &message, NULL, 0);
}

void hbus_on_ring_ended(struct hbus *bus, const struct hbus_msg_ring_event *message)
{
	struct hbus_subscriber *sub = find_sub(bus, message->sub_id);
	struct hbus_attached *at = sub ? find_held(sub, message->ring_id) : NULL;

	if (!sub)
		return;
	if (sub->is_closing) {
		hbus_ring_done_say(sub, message->ring_id);
		return;
	}
	if (!at)
		return;
	pthread_mutex_lock(&sub->mail_lock);
	/* relaxed: shown by R(subscriber.news) */
	atomic_store_explicit(&at->ended, message->flags | HBUS_ATTACHED_ENDED, memory_order_relaxed);
	pthread_mutex_unlock(&sub->mail_lock);
	tell_news(sub);
}

/* Only because no filter asked for it, not because of what its publisher or the policy did. */
static bool is_only_unwanted(uint32_t ended)
{
	return !(ended & (HBUS_ENDED_PUBLISHER_DIED | HBUS_ENDED_EVICTED | HBUS_ENDED_REVOKED));
}

/* The publisher waits for this reader no more: to be reliable again it needs a gate anew, so a ring anew. */
static bool has_lost_gate(const struct hbus_subscriber *sub, const struct hbus_attached *at)
{
	uint64_t position;

	return (sub->flags & HBUS_SUB_FLAG_RELIABLE) &&
	       hbus_ring_sub_is_dropped(&at->ring, at->attach_idx, at->gate_id, &position);
}

/*
 * A ring that was to be left is wanted again. Whoever comes first decides, the owner's thread that leaves it or this one.
 * Return: 0; HBUS_E_BUSY: it cannot stay, and is not left yet; HBUS_E_NOT_FOUND: it is left.
 */
static int keep(struct hbus_subscriber *sub, struct hbus_attached *at, const struct hbus_ring_sub *from)
{
	uint32_t ended;
	int r = 0;

	pthread_mutex_lock(&sub->mail_lock);
	ended = atomic_load_explicit(&at->ended, memory_order_relaxed); /* relaxed: written under this lock */
	if (at->is_left) {
		r = HBUS_E_NOT_FOUND;
	} else if (!is_only_unwanted(ended) || has_lost_gate(sub, at)) {
		r = HBUS_E_BUSY;
	} else {
		at->stays_position = from ? from->position : at->geometry.start;
		at->stays_sequence = from ? from->sequence : 0;
		/* relaxed: shown by R(subscriber.news) */
		atomic_store_explicit(&at->ended, HBUS_ATTACHED_STAYS, memory_order_relaxed);
	}
	pthread_mutex_unlock(&sub->mail_lock);
	return r;
}

void hbus_on_ring_live(struct hbus *bus, const struct hbus_msg_ring_event *message)
{
	struct hbus_subscriber *sub = find_sub(bus, message->sub_id);
	struct hbus_attached *at = sub ? find_held(sub, message->ring_id) : NULL;
	struct hbus_ring_sub newest;
	bool has_newest = false;
	int r;

	/* Without STAYS it is for people. What is not held any more was said to be done. */
	if (!(message->flags & HBUS_LIVE_STAYS) || !at || sub->is_closing)
		return;
	if (sub->start == HBUS_START_LATEST) {
		hbus_ring_sub_init(&newest, &at->geometry, at->header, at->data, NULL, false);
		has_newest = hbus_ring_sub_seek_newest(&newest) == HBUS_RING_OK;
	}
	r = keep(sub, at, has_newest ? &newest : NULL);
	if (r == HBUS_E_NOT_FOUND)
		return; /* SUB_RING_DONE follows */
	if (r == HBUS_E_BUSY && has_newest && !note_place(sub, at->ring_id, newest.sequence)) {
		hbus_link_end_locked(bus);
		return;
	}
	answer(bus, message->header.serial, message->ring_id, message->sub_id, r);
	tell_news(sub);
}

void hbus_rings_keep(struct hbus_subscriber *sub)
{
	for (struct hbus_attached *at = sub->held; at; at = at->held_next)
		/* relaxed: written under bus->lock */
		if (atomic_load_explicit(&at->ended, memory_order_relaxed) == HBUS_ATTACHED_ENDED &&
		    !hbus_ring_sub_is_closed(&at->ring))
			(void)keep(sub, at, NULL);
	tell_news(sub);
}

static void held_remove(struct hbus_subscriber *sub, struct hbus_attached *gone)
{
	for (struct hbus_attached **at = &sub->held; *at; at = &(*at)->held_next) {
		if (*at != gone)
			continue;
		*at = gone->held_next;
		sub->n_held--;
		return;
	}
}

static void give_back(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	struct hbus_slot *slot = at->has_slot ? hbus_slots_get(sub, at->memfd_idx, at->slot_idx) : NULL;

	held_remove(sub, at);
	if (slot)
		hbus_slots_give(slot, at->n_delivered, at->n_filtered, at->n_lost);
	if (!sub->is_closing)
		hbus_ring_done_say(sub, at->ring_id);
	hbus_attached_free(at);
}

void hbus_subscribers_tend(struct hbus *bus)
{
	for (struct hbus_subscriber *sub = bus->subscribers; sub; sub = sub->next) {
		struct hbus_attached *left;

		pthread_mutex_lock(&sub->mail_lock);
		left = sub->left;
		sub->left = NULL;
		pthread_mutex_unlock(&sub->mail_lock);
		while (left) {
			struct hbus_attached *at = left;

			left = at->mail_next;
			give_back(sub, at);
		}
	}
}

/* -- topics -- */

void hbus_on_topic_match(struct hbus *bus, const struct hbus_msg_topic_match *message)
{
	struct hbus_subscriber *sub = find_sub(bus, message->sub_id);
	char type[sizeof(message->type) + 1] = "", content_type[sizeof(message->content_type) + 1] = "";

	memcpy(type, message->type, sizeof(message->type));
	memcpy(content_type, message->content_type, sizeof(message->content_type));
	if (!sub)
		return;
	if (hbus_topic_table_want(&sub->topics, message->topic_id, message->name, type, content_type) == -ENOMEM)
		hbus_link_end_locked(bus);
	tell_news(sub);
}

void hbus_on_topic_skip(struct hbus *bus, const struct hbus_msg_topic_skip *message)
{
	struct hbus_subscriber *sub = find_sub(bus, message->sub_id);
	uint32_t n = message->n_ids < HBUS_SKIP_IDS ? message->n_ids : HBUS_SKIP_IDS;

	if (!sub)
		return;
	for (uint32_t i = 0; i < n; i++)
		if (hbus_topic_table_skip(&sub->topics, message->ids[i]) == -ENOMEM)
			hbus_link_end_locked(bus);
	tell_news(sub);
}

void hbus_next_ring_forget(struct hbus_subscriber *sub)
{
	hbus_id_set_deinit(&sub->next_carried);
	sub->next_ring_id = 0;
}

/* Of a ring that is attached, or of the one that is opened next. */
static struct hbus_id_set *carried_by(struct hbus_subscriber *sub, uint64_t ring_id)
{
	struct hbus_attached *at = find_held(sub, ring_id);

	if (at)
		return &at->carried;
	if (sub->next_ring_id != ring_id)
		hbus_next_ring_forget(sub);
	sub->next_ring_id = ring_id;
	return &sub->next_carried;
}

void hbus_on_ring_topics(struct hbus *bus, const struct hbus_msg_ring_topics *message)
{
	struct hbus_subscriber *sub = find_sub(bus, message->sub_id);
	uint32_t n = message->n_ids < HBUS_SKIP_IDS ? message->n_ids : HBUS_SKIP_IDS;
	struct hbus_id_set *carried;

	if (!sub)
		return;
	carried = carried_by(sub, message->ring_id);
	for (uint32_t i = 0; i < n; i++)
		if (hbus_id_set_add(carried, message->ids[i]) < 0)
			hbus_link_end_locked(bus);
	tell_news(sub);
}
