/* SPDX-License-Identifier: BSD-3-Clause */
/* Subscriber handles: open, close, filters. See subscriber.h. */
#include "ctl/client/subscriber.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client/control.h"
#include "ctl/proto/topic.h"

static int check_options(const struct hbus_subscriber_options *options)
{
	if (options->struct_size < offsetof(struct hbus_subscriber_options, reserved))
		return hbus_fail(HBUS_E_INVALID, "hbus_subscriber_options.struct_size is not set");
	if (options->flags & ~(HBUS_SUB_FLAG_RELIABLE | HBUS_SUB_FLAG_NO_OWN_WAKE))
		return hbus_fail(HBUS_E_INVALID, "unknown flags in hbus_subscriber_options");
	if (options->start > HBUS_START_POSITIONS)
		return hbus_fail(HBUS_E_INVALID, "unknown start %u", options->start);
	return 0;
}

static void sub_link(struct hbus *bus, struct hbus_subscriber *sub)
{
	pthread_mutex_lock(&bus->lock);
	sub->sub_id = bus->next_sub_id++;
	sub->next = bus->subscribers;
	bus->subscribers = sub;
	pthread_mutex_unlock(&bus->lock);
}

static void sub_unlink(struct hbus *bus, struct hbus_subscriber *sub)
{
	pthread_mutex_lock(&bus->lock);
	for (struct hbus_subscriber **at = &bus->subscribers; *at; at = &(*at)->next) {
		if (*at != sub)
			continue;
		*at = sub->next;
		break;
	}
	pthread_mutex_unlock(&bus->lock);
}

static void mail_free(struct hbus_subscriber *sub)
{
	while (sub->mail) {
		struct hbus_attached *at = sub->mail;

		sub->mail = at->mail_next;
		if (at->is_refused)
			hbus_attached_free(at);
	}
}

/* Nobody else has it any more. */
static void sub_free(struct hbus_subscriber *sub, bool is_forked)
{
	mail_free(sub);
	while (sub->held) {
		struct hbus_attached *at = sub->held;

		sub->held = at->held_next;
		hbus_attached_free(at);
	}
	while (sub->filters) {
		struct hbus_filter *filter = sub->filters;

		sub->filters = filter->next;
		free(filter);
	}
	hbus_doorbells_deinit(sub);
	hbus_slots_free(sub, is_forked);
	hbus_topic_table_deinit(&sub->topics);
	hbus_loss_deinit(&sub->losses);
	hbus_id_set_deinit(&sub->next_carried);
	free(sub->places);
	free(sub->rings);
	pthread_mutex_destroy(&sub->mail_lock);
	free(sub);
}

static int sub_new(struct hbus *bus, const struct hbus_subscriber_options *options, struct hbus_subscriber **ret_sub)
{
	struct hbus_subscriber *sub = calloc(1, sizeof(*sub));
	int r;

	if (!sub)
		return hbus_fail(HBUS_E_NO_MEMORY, "no memory for a subscriber");
	sub->bus = bus;
	sub->alive = bus->alive;
	sub->mail_tail = &sub->mail;
	sub->news_fd = sub->timer_fd = sub->epoll_fd = -1;
	if (options) {
		sub->flags = options->flags;
		sub->start = options->start;
		sub->stall_ms = options->stall_ms;
	}
	pthread_mutex_init(&sub->mail_lock, NULL);
	r = hbus_doorbells_init(sub);
	if (r == 0)
		r = hbus_slots_add(sub);
	if (r < 0) {
		sub_free(sub, false);
		return hbus_fail_errno(r, "opening a subscriber");
	}
	*ret_sub = sub;
	return 0;
}

/* A link that broke in between may have said it already: then it exists, which is as well. */
static int exists_is_fine(int r)
{
	return r == HBUS_E_EXISTS ? 0 : r;
}

static int say_open(struct hbus_subscriber *sub)
{
	struct hbus_call call = {.ret_ok = &sub->is_opened};
	union hbus_msg message;
	int r;

	hbus_wire_init(&message, HBUS_MSG_SUB_OPEN, 0);
	message.sub_open.sub_id = sub->sub_id;
	message.sub_open.flags = HBUS_SUB_DOORBELL | (sub->flags & HBUS_SUB_FLAG_RELIABLE ? HBUS_SUB_RELIABLE : 0);
	message.sub_open.stall_ms = sub->stall_ms;
	r = exists_is_fine(hbus_call(sub->bus, &message, NULL, 0, &call));
	if (r < 0)
		return r;
	call = (struct hbus_call){0};
	hbus_wire_init(&message, HBUS_MSG_SUB_SLOTS, 0);
	message.sub_slots.sub_id = sub->sub_id;
	message.sub_slots.n_slots = sub->slots[0].n_slots;
	return exists_is_fine(hbus_call(sub->bus, &message, &sub->slots[0].fd, 1, &call));
}

static int say_close(struct hbus_subscriber *sub)
{
	struct hbus_call call = {.no_retry = true, .timeout_ms = HBUS_CLOSE_TIMEOUT_MS};
	union hbus_msg message;

	hbus_wire_init(&message, HBUS_MSG_SUB_CLOSE, 0);
	message.sub_close.sub_id = sub->sub_id;
	return hbus_call(sub->bus, &message, NULL, 0, &call);
}

/* The daemon may have it already, but not all of it: nobody waits until it has not. */
static void take_back(struct hbus_subscriber *sub)
{
	union hbus_msg message;

	hbus_wire_init(&message, HBUS_MSG_SUB_CLOSE, 0);
	message.sub_close.sub_id = sub->sub_id;
	pthread_mutex_lock(&sub->bus->lock);
	sub->is_closing = true;
	if (sub->bus->link == HBUS_LINK_CONNECTED)
		hbus_request_locked(sub->bus, &message, NULL, 0);
	pthread_mutex_unlock(&sub->bus->lock);
}

int hbus_subscriber_open(struct hbus *bus, const struct hbus_subscriber_options *options,
			 struct hbus_subscriber **ret_subscriber)
{
	struct hbus_subscriber *sub = NULL;
	int r;

	if (!hbus_is_ours(bus))
		return hbus_fail_handle(bus);
	if (!ret_subscriber)
		return hbus_fail_no_place();
	r = options ? check_options(options) : 0;
	if (r == 0)
		r = sub_new(bus, options, &sub);
	if (r < 0)
		return r;
	sub_link(bus, sub);
	r = say_open(sub);
	if (r < 0) {
		take_back(sub);
		sub_unlink(bus, sub);
		sub_free(sub, false);
		return r;
	}
	*ret_subscriber = sub;
	return 0;
}

/* From here on no publisher waits for it, whatever becomes of the messages. */
static bool leave_all(struct hbus_subscriber *sub)
{
	bool is_connected;

	pthread_mutex_lock(&sub->bus->lock);
	sub->is_closing = true;
	for (struct hbus_attached *at = sub->held; at; at = at->held_next) {
		hbus_ring_sub_leave(&at->ring);
		/* The daemon waits for an answer to what it said before; to what it says from now on there is one. */
		if (atomic_load_explicit(&at->ended, memory_order_relaxed) & HBUS_ATTACHED_ENDED) /* relaxed: set under this lock */
			hbus_ring_done_say(sub, at->ring_id);
	}
	is_connected = sub->bus->link == HBUS_LINK_CONNECTED;
	pthread_mutex_unlock(&sub->bus->lock);
	return is_connected;
}

void hbus_subscriber_close(struct hbus_subscriber *sub)
{
	if (!sub)
		return;
	if (!hbus_is_ours(sub->bus)) {
		sub_free(sub, true);
		return;
	}
	if (leave_all(sub))
		say_close(sub);
	sub_unlink(sub->bus, sub);
	sub_free(sub, false);
}

/* -- filters -- */

static struct hbus_filter **find_filter(struct hbus_subscriber *sub, const char *text)
{
	struct hbus_filter **at = &sub->filters;

	while (*at && strcmp((*at)->text, text) != 0)
		at = &(*at)->next;
	return at;
}

/* What the daemon promised, to be said again to the next one. */
static void filter_covers(struct hbus_subscriber *sub, const char *text, uint64_t covers_from)
{
	struct hbus_filter *filter;

	pthread_mutex_lock(&sub->bus->lock);
	filter = *find_filter(sub, text);
	if (filter)
		filter->covers_from = covers_from;
	pthread_mutex_unlock(&sub->bus->lock);
}

/*
 * Until the first subscribe returns nothing is promised, and nobody reads: what rings have come meanwhile is left behind,
 * or their publishers would wait for this process as long as it waits for a daemon, or the daemon for another publisher.
 */
static void keep_up(struct hbus_call *call)
{
	struct hbus_subscriber *sub = call->context;

	if ((sub->flags & HBUS_SUB_FLAG_RELIABLE) && !sub->is_subscribed && sub->start == HBUS_START_LATEST)
		hbus_mail_pass_over(sub);
}

static int say_filter(struct hbus_subscriber *sub, enum hbus_msg_type type, const char *text)
{
	struct hbus_call call = {.on_wait = keep_up, .context = sub};
	union hbus_msg message;
	int r;

	hbus_wire_init(&message, type, 0);
	message.sub_filter.sub_id = sub->sub_id;
	hbus_wire_put_string(message.sub_filter.filter, sizeof(message.sub_filter.filter), text);
	r = hbus_call(sub->bus, &message, NULL, 0, &call);
	if (r == 0 && type == HBUS_MSG_SUB_FILTER_ADD)
		filter_covers(sub, text, call.reply.reply.value[2]);
	return r;
}

static int check_filter(const char *filter)
{
	int r;

	if (!filter)
		return hbus_fail(HBUS_E_INVALID, "no filter");
	r = hbus_topic_check_filter(filter, strlen(filter));
	return r == 0 ? 0 : hbus_fail(HBUS_E_NAME, "topic filter: %s", hbus_topic_strerror(r));
}

/* Noted before it is asked for, so that a daemon that restarts meanwhile hears of it. 1 = it is there already. */
static int filter_note(struct hbus_subscriber *sub, const char *text)
{
	struct hbus_filter *filter = calloc(1, sizeof(*filter));
	int r = 0;

	if (!filter)
		return hbus_fail(HBUS_E_NO_MEMORY, "no memory for a filter");
	memcpy(filter->text, text, strlen(text));
	pthread_mutex_lock(&sub->bus->lock);
	if (*find_filter(sub, text)) {
		free(filter);
		r = 1;
	} else {
		filter->next = sub->filters;
		sub->filters = filter;
	}
	pthread_mutex_unlock(&sub->bus->lock);
	return r;
}

/* False: there was none. */
static bool filter_forget(struct hbus_subscriber *sub, const char *text)
{
	struct hbus_filter **at, *filter;

	pthread_mutex_lock(&sub->bus->lock);
	at = find_filter(sub, text);
	filter = *at;
	if (filter)
		*at = filter->next;
	pthread_mutex_unlock(&sub->bus->lock);
	free(filter);
	return filter != NULL;
}

int hbus_subscribe(struct hbus_subscriber *sub, const char *filter)
{
	int r;

	if (!sub || !hbus_is_ours(sub->bus))
		return hbus_fail_handle(sub);
	r = check_filter(filter);
	if (r == 0)
		r = filter_note(sub, filter);
	if (r != 0)
		return r < 0 ? r : 0;
	r = exists_is_fine(say_filter(sub, HBUS_MSG_SUB_FILTER_ADD, filter));
	if (r < 0)
		filter_forget(sub, filter);
	else
		sub->is_subscribed = true;
	return r;
}

int hbus_unsubscribe(struct hbus_subscriber *sub, const char *filter)
{
	int r;

	if (!sub || !hbus_is_ours(sub->bus))
		return hbus_fail_handle(sub);
	r = check_filter(filter);
	if (r < 0)
		return r;
	if (!filter_forget(sub, filter))
		return hbus_fail(HBUS_E_NOT_FOUND, "not subscribed to %s", filter);
	r = say_filter(sub, HBUS_MSG_SUB_FILTER_REMOVE, filter);
	return r == HBUS_E_NOT_FOUND ? 0 : r; /* a daemon that came back was never told of it */
}

int hbus_subscriber_resume_from(struct hbus_subscriber *sub, uint64_t ring_id, uint64_t sequence)
{
	struct hbus_resume_place *more;
	int r = 0;

	if (!sub || !hbus_is_ours(sub->bus))
		return hbus_fail_handle(sub);
	if (sub->start != HBUS_START_POSITIONS)
		return hbus_fail(HBUS_E_INVALID, "resume_from needs HBUS_START_POSITIONS");
	pthread_mutex_lock(&sub->bus->lock);
	more = sub->filters ? NULL : reallocarray(sub->places, sub->n_places + 1, sizeof(*more));
	if (sub->filters)
		r = hbus_fail(HBUS_E_BUSY, "resume_from comes before the first subscribe");
	else if (!more)
		r = hbus_fail(HBUS_E_NO_MEMORY, "no memory for a position");
	if (more) {
		sub->places = more;
		sub->places[sub->n_places++] = (struct hbus_resume_place){.ring_id = ring_id, .sequence = sequence};
	}
	pthread_mutex_unlock(&sub->bus->lock);
	return r;
}
