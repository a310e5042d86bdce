/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptor of a subscriber: one epoll over the doorbells of its publishers, its news and a timer
 *
 * The control side adds doorbells, under bus->lock; the owner's thread only reads the epoll. A doorbell is a
 * socket end of our own: what its publisher does to the other end costs at most a late wake-up.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "ctl/client/control.h"
#include "ctl/client/subscriber.h"
#include "shm/wait.h"

#define DRAIN_EVENTS 64
#define SWEEP_FIRST 8u /* doorbells before the first look for dead ones; then whenever they have doubled */

static int watch(struct hbus_subscriber *sub, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return fd < 0 || epoll_ctl(sub->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int hbus_doorbells_init(struct hbus_subscriber *sub)
{
	int r;

	sub->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (sub->epoll_fd < 0)
		return -errno;
	/* Readable at first: whoever begins with epoll_wait() polls once, and then arms. */
	sub->news_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	r = watch(sub, sub->news_fd);
	if (r < 0)
		return r;
	sub->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	r = watch(sub, sub->timer_fd);
	if (r == 0 && (sub->bus->flags & HBUS_OPEN_NO_THREAD))
		r = watch(sub, sub->bus->epoll_fd);
	return r;
}

void hbus_doorbells_deinit(struct hbus_subscriber *sub)
{
	for (uint32_t i = 0; i < sub->n_doorbells; i++)
		close(sub->doorbells[i].fd);
	free(sub->doorbells);
	if (sub->timer_fd >= 0)
		close(sub->timer_fd);
	if (sub->news_fd >= 0)
		close(sub->news_fd);
	if (sub->epoll_fd >= 0)
		close(sub->epoll_fd);
}

bool hbus_doorbell_exists(const struct hbus_subscriber *sub, uint64_t publisher_id)
{
	for (uint32_t i = 0; i < sub->n_doorbells; i++)
		if (sub->doorbells[i].publisher_id == publisher_id)
			return true;
	return false;
}

/*
 * Doorbells of publishers that are gone. A datagram socket does not say that its peer was closed, but sending
 * to it does; what a living publisher gets that way stays in its queue, which it never reads.
 */
static void sweep(struct hbus_subscriber *sub)
{
	for (uint32_t i = sub->n_doorbells; i > 0; i--) {
		struct hbus_doorbell *bell = &sub->doorbells[i - 1];

		if (send(bell->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
		    (errno != ECONNREFUSED && errno != ECONNRESET))
			continue;
		close(bell->fd); /* leaves the epoll too */
		*bell = sub->doorbells[--sub->n_doorbells];
	}
	sub->sweep_at = 2 * sub->n_doorbells + SWEEP_FIRST;
}

void hbus_doorbell_add(struct hbus_subscriber *sub, uint64_t publisher_id, int fd)
{
	struct hbus_doorbell *more;

	if (fd < 0)
		return;
	if (watch(sub, fd) < 0) {
		close(fd);
		return;
	}
	/* A publisher may have two: a restarted daemon makes a new pair, its older rings keep the old one. */
	if (sub->n_doorbells >= sub->sweep_at)
		sweep(sub);
	more = reallocarray(sub->doorbells, sub->n_doorbells + 1, sizeof(*more));
	if (!more) {
		close(fd);
		return;
	}
	sub->doorbells = more;
	sub->doorbells[sub->n_doorbells++] = (struct hbus_doorbell){.publisher_id = publisher_id, .fd = fd};
}

void hbus_doorbells_drain(struct hbus_subscriber *sub)
{
	struct epoll_event events[DRAIN_EVENTS];
	int n;

	do {
		n = epoll_wait(sub->epoll_fd, events, DRAIN_EVENTS, 0);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			char bytes[8];

			if (fd == sub->bus->epoll_fd)
				continue;
			if (fd == sub->news_fd || fd == sub->timer_fd) {
				if (read(fd, bytes, sizeof(bytes)) < 0)
					continue;
			} else {
				while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
					;
			}
		}
	} while (n == DRAIN_EVENTS);
}

int hbus_fd(struct hbus_subscriber *sub)
{
	return sub && hbus_is_ours(sub->bus) ? sub->epoll_fd : hbus_fail_handle(sub);
}

/* Rings that cannot wake us, and rings that wait for a name, are looked at by the clock. */
static void arm_timer(struct hbus_subscriber *sub)
{
	uint32_t ms = sub->n_polled > 0 ? HBUS_POLLED_SLEEP_MS : HBUS_WAIT_CAP_MS;
	struct itimerspec at = {.it_value.tv_nsec = (long)ms * 1000000};

	for (uint32_t i = 0; i < sub->n_rings && sub->n_polled == 0; i++)
		if (sub->rings[i].at->is_blocked)
			goto arm;
	if (sub->n_polled == 0)
		at.it_value.tv_nsec = 0;
arm:
	timerfd_settime(sub->timer_fd, 0, &at, NULL);
}

int hbus_fd_arm_again(struct hbus_subscriber *sub)
{
	/* Still armed: no ring that can wake us had anything, and `waiting` stood in its slot all the time. */
	if (!sub || !sub->is_armed || !sub->bus->has_thread || sub->n_ending > 0 || hbus_has_mail(sub))
		return hbus_fd_arm(sub);
	if (!sub || !hbus_is_ours(sub->bus))
		return hbus_fail_handle(sub);
	hbus_batch_release(sub);
	if (sub->has_stats)
		hbus_stats_store(sub);
	return 0;
}

int hbus_fd_arm(struct hbus_subscriber *sub)
{
	if (!sub || !hbus_is_ours(sub->bus))
		return hbus_fail_handle(sub);
	if (!sub->bus->has_thread)
		hbus_dispatch(sub->bus);
	hbus_batch_release(sub);
	hbus_doorbells_drain(sub);
	hbus_mail_take(sub);
	hbus_waiting_set(sub, HBUS_WAITING_DOORBELL);
	if (hbus_has_mail(sub) || hbus_subscriber_has_work(sub, true)) {
		hbus_waiting_clear(sub);
		return 1;
	}
	arm_timer(sub);
	return 0;
}
