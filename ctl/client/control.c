/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls, the queue for a full socket, and the control thread. See control.h. */
#include "ctl/client/control.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "ctl/client/handlers.h"
#include "ctl/client/outgoing.h"
#include "ctl/client/steering.h"
#include "ctl/client/subscriber.h"

/* Messages handled in one go, so that a chatty daemon does not keep the lock for ever. */
#define RECEIVE_MAX 256u
/* As many as the daemon queues for one client. */
#define LAST_WORDS_MAX 16384u
/* With several threads and no control thread, one may have handled what another waits for. */
#define PUMP_SLICE_MS 20
/* How often who waits for a reply does something else. */
#define WAIT_SLICE_MS 5

static void handle(struct hbus *bus, const union hbus_msg *message, struct hbus_wire_fds *fds);

static int try_send(struct hbus *bus, void *message, const int *fds, unsigned int n_fds)
{
	int r = -EAGAIN;

	if (bus->socket_fd < 0)
		return -ENOTCONN;
	if (bus->is_losing) /* nobody listens any more */
		return 0;
	if (!bus->outgoing)
		r = hbus_wire_send(bus->socket_fd, message, fds, n_fds);
	if (r == -EAGAIN)
		r = hbus_outgoing_push(bus, message, fds, n_fds);
	return r;
}

void hbus_send_locked(struct hbus *bus, void *message, const int *fds, unsigned int n_fds)
{
	if (bus->socket_fd >= 0 && try_send(bus, message, fds, n_fds) < 0)
		hbus_link_lost_locked(bus);
}

/* -- calls -- */

static uint32_t next_serial(struct hbus *bus)
{
	if (++bus->serial == 0)
		bus->serial = 1;
	return bus->serial;
}

static void call_link(struct hbus *bus, struct hbus_call *call)
{
	/* At the end: replies come in the order of the requests, so the first is the one that is looked for. */
	call->next = NULL;
	*bus->calls_tail = call;
	bus->calls_tail = &call->next;
}

static void call_unlink(struct hbus *bus, struct hbus_call *call)
{
	for (struct hbus_call **at = &bus->calls; *at; at = &(*at)->next) {
		if (*at != call)
			continue;
		*at = call->next;
		if (!call->next)
			bus->calls_tail = at;
		return;
	}
}

static void call_finish(struct hbus *bus, struct hbus_call *call)
{
	call_unlink(bus, call);
	call->is_done = true;
	if (call->on_reply)
		call->on_reply(bus, call);
	else
		pthread_cond_broadcast(&bus->changed);
}

struct hbus_call *hbus_call_new(hbus_reply_fn fn, void *context)
{
	struct hbus_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->on_reply = fn;
	call->context = context;
	memset(call->fds.fd, 0xff, sizeof(call->fds.fd));
	return call;
}

int hbus_call_start_locked(struct hbus *bus, void *message, const int *fds, unsigned int n_fds,
			   struct hbus_call *call)
{
	struct hbus_msg_header *header = message;
	int r;

	header->serial = call->serial = next_serial(bus);
	r = try_send(bus, message, fds, n_fds);
	if (r < 0) {
		free(call);
		return r;
	}
	call_link(bus, call);
	return 0;
}

void hbus_link_end_locked(struct hbus *bus)
{
	if (bus->socket_fd < 0)
		return;
	bus->is_ending = true;
	shutdown(bus->socket_fd, SHUT_RDWR);
}

bool hbus_request_locked(struct hbus *bus, void *message, const int *fds, unsigned int n_fds)
{
	struct hbus_msg_header *header = message;

	header->serial = next_serial(bus);
	if (try_send(bus, message, fds, n_fds) >= 0)
		return true;
	hbus_link_end_locked(bus);
	return false;
}

static struct timespec deadline_in(int ms)
{
	uint64_t at_ms = hbus_now_ms() + (uint64_t)ms;

	return (struct timespec){.tv_sec = (time_t)(at_ms / 1000), .tv_nsec = (long)(at_ms % 1000) * 1000000};
}

/* Waits for a change of calls or link, at most this long; receives itself when no thread does. */
static void wait_for_change(struct hbus *bus, int ms)
{
	struct epoll_event event;
	struct timespec at;

	if (bus->has_thread && !pthread_equal(pthread_self(), bus->thread)) {
		at = deadline_in(ms);
		pthread_cond_timedwait(&bus->changed, &bus->lock, &at);
		return;
	}
	pthread_mutex_unlock(&bus->lock);
	epoll_wait(bus->epoll_fd, &event, 1, ms < PUMP_SLICE_MS ? ms : PUMP_SLICE_MS);
	pthread_mutex_lock(&bus->lock);
	hbus_dispatch_locked(bus);
}

static void wait_for_call(struct hbus *bus, struct hbus_call *call, int ms)
{
	wait_for_change(bus, call->on_wait && ms > WAIT_SLICE_MS ? WAIT_SLICE_MS : ms);
	if (call->on_wait && !call->is_done)
		call->on_wait(call);
}

static int ms_until(uint64_t at_ms)
{
	uint64_t now_ms = hbus_now_ms();

	return at_ms > now_ms ? (int)(at_ms - now_ms) : 0;
}

/* 0 when the link is up. */
static int wait_connected(struct hbus *bus, struct hbus_call *call, uint64_t until_ms)
{
	call->is_done = false;
	while (bus->link != HBUS_LINK_CONNECTED) {
		/* What was said on a link that is no more is not said on the next; and to close something nobody waits. */
		if (call->no_retry)
			return hbus_fail(HBUS_E_DISCONNECTED, "the daemon went away");
		/* One that has come back is given time to hear all that we hold. */
		int left_ms = ms_until(bus->link == HBUS_LINK_AWAY || call->is_brief ? until_ms
										  : until_ms + HBUS_CALL_TIMEOUT_MS);

		if (left_ms == 0)
			return hbus_fail(HBUS_E_DISCONNECTED, "no daemon answers");
		wait_for_call(bus, call, left_ms);
	}
	return 0;
}

/* Sends and waits. 0 when the reply is there; *ret_lost when the link broke first. */
static int call_once(struct hbus *bus, void *message, const int *fds, unsigned int n_fds, struct hbus_call *call,
		     uint64_t until_ms)
{
	struct hbus_msg_header *header = message;
	int r;

	call->is_done = call->is_lost = false;
	if (call->on_row)
		call->on_row(call, NULL);
	header->serial = call->serial = next_serial(bus);
	r = try_send(bus, message, fds, n_fds);
	if (r < 0) {
		hbus_link_lost_locked(bus);
		call->is_lost = true;
		return 0;
	}
	call_link(bus, call);
	while (!call->is_done) {
		int left_ms = ms_until(until_ms);

		if (left_ms == 0) {
			call_unlink(bus, call);
			return hbus_fail(HBUS_E_TIMEOUT, "the daemon does not answer");
		}
		wait_for_call(bus, call, left_ms);
	}
	return 0;
}

static int call_status(const struct hbus_call *call)
{
	const struct hbus_msg_reply *reply = &call->reply.reply;

	if (reply->header.type != HBUS_MSG_REPLY || reply->status == 0)
		return 0;
	if (reply->status > 0) /* no such thing; an error anyway */
		return hbus_fail(HBUS_E_PROTOCOL, "status %d in a reply", reply->status);
	return hbus_fail(reply->status, "%s", reply->text[0] ? reply->text : hbus_strerror(reply->status));
}

int hbus_call(struct hbus *bus, void *message, const int *fds, unsigned int n_fds, struct hbus_call *call)
{
	uint64_t timeout_ms = (uint64_t)(call->timeout_ms ? call->timeout_ms : HBUS_CALL_TIMEOUT_MS);
	uint64_t begin_ms = hbus_now_ms(), away_until_ms = begin_ms + (call->is_brief ? timeout_ms : HBUS_AWAY_TIMEOUT_MS);
	int r;

	memset(call->fds.fd, 0xff, sizeof(call->fds.fd));
	pthread_mutex_lock(&bus->lock);
	for (;;) {
		r = wait_connected(bus, call, away_until_ms);
		if (r < 0)
			break;
		r = call_once(bus, message, fds, n_fds, call,
			      (call->is_brief ? begin_ms : hbus_now_ms()) + timeout_ms);
		if (r < 0 || !call->is_lost)
			break;
		if (call->no_retry) {
			r = hbus_fail(HBUS_E_DISCONNECTED, "the daemon went away");
			break;
		}		call->is_repeated = true;
	}
	pthread_mutex_unlock(&bus->lock);
	return r < 0 ? r : call_status(call);
}

/* -- the link -- */

static void arm_timer(struct hbus *bus, uint32_t in_ms)
{
	struct itimerspec at = {.it_value = {.tv_sec = in_ms / 1000, .tv_nsec = (long)(in_ms % 1000) * 1000000}};

	timerfd_settime(bus->timer_fd, 0, &at, NULL);
}

/*
 * What the daemon said before it died is still in the socket, rings among it that nobody will offer again when their
 * publishers are dead too. A failed send is often the first to notice, so: listen to the end before closing.
 */
static void hear_last_words(struct hbus *bus)
{
	bus->is_losing = true;
	for (unsigned int i = 0; i < LAST_WORDS_MAX && bus->socket_fd >= 0 && !bus->is_stopping; i++) {
		union hbus_msg message;
		struct hbus_wire_fds fds;

		int r = hbus_wire_receive(bus->socket_fd, &message, &fds);

		if (r == -ECONNRESET) /* it left without reading all; what it said is behind this */
			continue;
		if (r != 0)
			break;
		handle(bus, &message, &fds);
		hbus_wire_fds_close(&fds);
	}
	bus->is_losing = false;
}

void hbus_link_lost_locked(struct hbus *bus)
{
	struct hbus_call *calls;

	if (bus->is_losing)
		return;
	hear_last_words(bus);
	calls = bus->calls;

	if (bus->socket_fd >= 0) {
		epoll_ctl(bus->epoll_fd, EPOLL_CTL_DEL, bus->socket_fd, NULL);
		close(bus->socket_fd);
		bus->socket_fd = -1;
	}
	hbus_outgoing_clear(bus);
	hbus_unclaim_gates(bus);
	for (struct hbus_subscriber *sub = bus->subscribers; sub; sub = sub->next) {
		hbus_next_ring_forget(sub);
		if (!sub->is_closing)
			hbus_rings_keep(sub);
	}
	bus->wants_output = bus->is_ending = false;
	bus->link = HBUS_LINK_AWAY;
	bus->retry_at_ms = hbus_now_ms() + bus->retry_ms;
	arm_timer(bus, bus->retry_ms);
	bus->retry_ms = bus->retry_ms * 2 < HBUS_RETRY_MOST_MS ? bus->retry_ms * 2 : HBUS_RETRY_MOST_MS;
	bus->calls = NULL;
	bus->calls_tail = &bus->calls;
	while (calls) {
		struct hbus_call *call = calls;

		calls = call->next;
		call->is_lost = true;
		call_finish(bus, call);
	}
	pthread_cond_broadcast(&bus->changed);
}

void hbus_link_up_locked(struct hbus *bus)
{
	bus->link = HBUS_LINK_CONNECTED;
	bus->retry_ms = HBUS_RETRY_FIRST_MS;
	bus->n_links++;
	pthread_cond_broadcast(&bus->changed);
}

static void reconnect(struct hbus *bus)
{
	int fd = -1;

	if (hbus_connect(bus, &fd) < 0 || hbus_hello_send(bus, fd) < 0)
		hbus_link_lost_locked(bus);
}

/* -- receiving -- */

/* Who is refused at the door is told so before it has said anything: the words have no serial. */
static void on_refusal(struct hbus *bus, const struct hbus_msg_reply *reply)
{
	if (bus->link != HBUS_LINK_GREETING || reply->header.serial != 0 || reply->request_type != HBUS_MSG_HELLO ||
	    reply->status >= 0)
		return;
	bus->hello_status = reply->status;
	memcpy(bus->hello_text, reply->text, sizeof(bus->hello_text));
}

void hbus_give_back_ring_locked(struct hbus *bus, uint64_t ring_id)
{
	union hbus_msg message;

	hbus_wire_init(&message, HBUS_MSG_RING_CLOSE, 0);
	message.ring.ring_id = ring_id;
	hbus_request_locked(bus, &message, NULL, 0);
}

static void on_reply(struct hbus *bus, const union hbus_msg *message, struct hbus_wire_fds *fds)
{
	struct hbus_call *call = bus->calls;

	if (bus->is_ending) /* asked again: what is done may be more than we could keep */
		return;
	while (call && call->serial != message->header.serial)
		call = call->next;
	if (!call) { /* timed out meanwhile, or nobody asks */
		if (message->header.type == HBUS_MSG_REPLY)
			on_refusal(bus, &message->reply);
		else if (message->header.type == HBUS_MSG_RING_GRANT)
			hbus_give_back_ring_locked(bus, message->ring_grant.geometry.ring_id);
		return;
	}
	if (message->header.type == HBUS_MSG_ROW) {
		if (call->on_row)
			call->on_row(call, &message->row);
		return;
	}
	memcpy(&call->reply, message, message->header.size);
	call->fds = *fds;
	memset(fds->fd, 0xff, sizeof(fds->fd));
	if (call->ret_ok && message->reply.status == 0)
		*call->ret_ok = true;
	call_finish(bus, call);
}

static void handle(struct hbus *bus, const union hbus_msg *message, struct hbus_wire_fds *fds)
{
	switch (message->header.type) {
	case HBUS_MSG_REPLY:
	case HBUS_MSG_RING_GRANT:
	case HBUS_MSG_ROW:
		on_reply(bus, message, fds);
		break;
	case HBUS_MSG_RING_OPENED:
		hbus_on_ring_opened(bus, &message->ring_opened, fds);
		break;
	case HBUS_MSG_RING_LIVE:
		hbus_on_ring_live(bus, &message->ring_event);
		break;
	case HBUS_MSG_RING_ENDED:
		hbus_on_ring_ended(bus, &message->ring_event);
		break;
	case HBUS_MSG_TOPIC_MATCH:
		hbus_on_topic_match(bus, &message->topic_match);
		break;
	case HBUS_MSG_TOPIC_SKIP:
		hbus_on_topic_skip(bus, &message->topic_skip);
		break;
	case HBUS_MSG_RING_TOPICS:
		hbus_on_ring_topics(bus, &message->ring_topics);
		break;
	case HBUS_MSG_GATE_ADD:
		hbus_on_gate_add(bus, &message->gate_add, fds);
		break;
	case HBUS_MSG_GATE_REMOVE:
		hbus_on_gate_remove(bus, &message->gate);
		break;
	case HBUS_MSG_INTEREST:
		hbus_on_interest(bus, &message->interest);
		break;
	case HBUS_MSG_ROUTE_SET:
	case HBUS_MSG_ROUTE_GONE:
		hbus_on_route(bus, &message->route);
		break;
	case HBUS_MSG_SOURCE_RULE:
		hbus_on_source_rule(bus, &message->source_rule);
		break;
	default: /* for daemons, or of a later minor version */
		break;
	}
}

/* True when there may be more. */
static bool receive(struct hbus *bus)
{
	for (unsigned int i = 0; i < RECEIVE_MAX; i++) {
		union hbus_msg message;
		struct hbus_wire_fds fds;
		int r;

		if (bus->socket_fd < 0)
			return false;
		r = hbus_wire_receive(bus->socket_fd, &message, &fds);
		if (r == HBUS_WIRE_EMPTY) {
			/* R(bus.heard): what the messages told before the word that says that there are no more. */
			if (bus->link == HBUS_LINK_CONNECTED)
				atomic_fetch_add_explicit(&bus->n_heard, 1, memory_order_release);
			return false;
		}
		if (r != 0) {
			/* Something was said that we do not know, for want of descriptors: what it was answered to is asked again. */
			bus->is_ending = bus->is_ending || r == HBUS_WIRE_INVALID;
			hbus_link_lost_locked(bus);
			return false;
		}
		handle(bus, &message, &fds);
		hbus_wire_fds_close(&fds);
	}
	return true;
}

static void drain(int fd)
{
	uint64_t count;

	while (read(fd, &count, sizeof(count)) > 0)
		;
}

void hbus_dispatch_locked(struct hbus *bus)
{
	int r;

	drain(bus->wake_fd);
	drain(bus->timer_fd);
	if (bus->link == HBUS_LINK_AWAY && hbus_now_ms() >= bus->retry_at_ms)
		reconnect(bus);
	if (bus->outgoing) {
		r = hbus_outgoing_flush(bus);
		if (r < 0 && r != -EAGAIN)
			hbus_link_lost_locked(bus);
	}
	receive(bus);
	hbus_subscribers_tend(bus);
	hbus_steering_run(bus);
}

void hbus_control_poke(struct hbus *bus)
{
	uint64_t one = 1;

	if (write(bus->wake_fd, &one, sizeof(one)) < 0)
		return; /* full: it is awake already */
}

/* -- the thread -- */

static void *control_main(void *context)
{
	struct hbus *bus = context;
	bool is_stopping = false;

	while (!is_stopping) {
		struct epoll_event event;

		if (epoll_wait(bus->epoll_fd, &event, 1, -1) < 0 && errno != EINTR)
			break;
		pthread_mutex_lock(&bus->lock);
		is_stopping = bus->is_stopping;
		if (!is_stopping)
			hbus_dispatch_locked(bus);
		pthread_mutex_unlock(&bus->lock);
	}
	return NULL;
}

int hbus_control_start(struct hbus *bus)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&bus->thread, NULL, control_main, bus);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return -r;
	pthread_setname_np(bus->thread, "hbus-control");
	bus->has_thread = true;
	return 0;
}

void hbus_control_stop(struct hbus *bus)
{
	if (bus->has_thread) {
		pthread_mutex_lock(&bus->lock);
		bus->is_stopping = true;
		pthread_mutex_unlock(&bus->lock);
		hbus_control_poke(bus);
		pthread_join(bus->thread, NULL);
		bus->has_thread = false;
	}
	/* Replies that nobody will receive. */
	pthread_mutex_lock(&bus->lock);
	hbus_link_lost_locked(bus);
	pthread_mutex_unlock(&bus->lock);
}

void hbus_control_free(struct hbus *bus)
{
	hbus_outgoing_clear(bus);
	while (bus->calls) {
		struct hbus_call *call = bus->calls;

		bus->calls = call->next;
		if (call->on_reply) /* others are on the stack of a thread that was not inherited */
			free(call);
	}
}
