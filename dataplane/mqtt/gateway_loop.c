/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a thread of the gateway does all the time: wait, read, take events of the bus, write.
 *
 * How it waits. Waking a core that sleeps costs more than a message, so a thread looks again for spin_us
 * before it sleeps, as long as that has lately been worth it (spin_credit): a client that answers at once
 * is served at once. Who comes at longer but regular intervals is met awake as well (rhythm.h), in a bounded
 * part of the time; a thread whose clients come now and then sleeps. Where many clients each say little, every message would be a round of its own: then (is_napping) the thread sleeps for up to
 * nap_us first and finds several, which costs them that much time and saves most of the system calls.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/mqtt/gateway.h"
#include "dataplane/mqtt/gateway_state.h"

enum {
	EVENTS_PER_ROUND = 256,
	TAKES_PER_ROUND = 64,      /* polls of the bus between two looks at the sockets */
	SECURE_TAKES_MAX = 1 << 16, /* a million events of others before our own: they are too many to wait for */
	CHORES_MS = 250,           /* counters, and connections that linger */
	SPIN_CREDIT_MAX = 8,
	WINDOW_US = 20000,         /* over which it is decided whether to nap */
	NAP_ROUNDS_MIN = 40,       /* 2000 rounds a second */
	NAP_SPEAKERS_MIN = 32,
	DISPLACED_US = 30,         /* a look takes less than this, unless somebody else ran */
	BACKOFF_US = 10000,        /* for so long it is not looked after that, at first */
	BACKOFF_MAX_US = 640000,
};

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* -- waiting -- */

void hbus_gateway_heard(struct hbus_gateway_worker *worker, const void *who, uint32_t *window)
{
	worker->n_speakers += *window != worker->window;
	*window = worker->window;
	if (!worker->is_napping)
		hbus_rhythm_heard(&worker->rhythms, who, worker->now_us);
}

/* A window is over: many who say little, or few who may wait for each other's answers? */
static void judge_window(struct hbus_gateway_worker *worker)
{
	if (worker->now_us - worker->window_us < WINDOW_US)
		return;
	worker->is_napping = worker->gateway->options->nap_us > 0 && worker->n_speakers >= NAP_SPEAKERS_MIN &&
			     (worker->is_napping || worker->n_rounds >= NAP_ROUNDS_MIN);
	worker->window_us = worker->now_us;
	worker->window++;
	worker->n_rounds = worker->n_speakers = 0;
}

/* Has somebody else been given this core since this was asked last? */
static bool was_displaced(struct hbus_gateway_worker *worker)
{
	struct rusage usage;
	long before = worker->n_displaced;

	if (getrusage(RUSAGE_THREAD, &usage) < 0)
		return false;
	worker->n_displaced = usage.ru_nivcsw;
	return usage.ru_nivcsw != before;
}

/*
 * Looks again and again until @end_us. Where somebody else wants this core, it is he who gets it, and the scheduler
 * holds it against us when a message comes: looking is given up for a while then, for longer each time.
 */
static int look(struct hbus_gateway_worker *worker, struct epoll_event *events, uint64_t end_us)
{
	uint64_t now = now_us(), begin = now, last;
	int n;

	if (now < worker->alone_us)
		return 0;
	do {
		n = epoll_wait(worker->epoll_fd, events, EVENTS_PER_ROUND, 0);
		if (n != 0)
			break;
		/* Who runs on this core may be who we wait for. */
		sched_yield();
		last = now;
		now = now_us();
		if (now - last > DISPLACED_US && was_displaced(worker)) {
			worker->alone_us = now + worker->backoff_us;
			worker->backoff_us = 2 * worker->backoff_us < BACKOFF_MAX_US ? 2 * worker->backoff_us : BACKOFF_MAX_US;
			return 0;
		}
	} while (now < end_us);
	if (now != begin)
		worker->backoff_us = BACKOFF_US;
	return n;
}

static int spin(struct hbus_gateway_worker *worker, struct epoll_event *events)
{
	int n = look(worker, events, worker->now_us + worker->gateway->options->spin_us);

	if (n == 0)
		worker->spin_credit--;
	else if (worker->spin_credit < SPIN_CREDIT_MAX)
		worker->spin_credit++;
	return n;
}

/* Sleeps until then; woken by what epoll has. Return: whether it has something. */
static bool sleep_until(struct hbus_gateway_worker *worker, uint64_t now, uint64_t until_us)
{
	const struct timespec timeout = { .tv_nsec = (long)(until_us - now) * 1000 };
	struct pollfd epoll = { .fd = worker->epoll_fd, .events = POLLIN };

	return until_us > now && ppoll(&epoll, 1, &timeout, NULL) != 0;
}

/* Is awake when somebody is expected, as long as nothing else is to be done before. */
static int wait_for_rhythm(struct hbus_gateway_worker *worker, struct epoll_event *events, int timeout_ms)
{
	uint64_t now = now_us(), begin_us, end_us;
	int n;

	if (!hbus_rhythm_next(&worker->rhythms, now, &begin_us, &end_us) || end_us > now + (uint64_t)timeout_ms * 1000)
		return 0;
	if (sleep_until(worker, now, begin_us))
		return epoll_wait(worker->epoll_fd, events, EVENTS_PER_ROUND, 0);
	now = now_us();
	n = look(worker, events, end_us);
	hbus_rhythm_spent(&worker->rhythms, now_us() - now);
	return n;
}

static int wait_for_events(struct hbus_gateway_worker *worker, struct epoll_event *events, int timeout_ms)
{
	const struct timespec nap = { .tv_nsec = (long)worker->gateway->options->nap_us * 1000 };
	uint64_t begin_us;
	int n = 0;

	if (timeout_ms == 0)
		return epoll_wait(worker->epoll_fd, events, EVENTS_PER_ROUND, 0);
	if (worker->is_napping)
		nanosleep(&nap, NULL);
	else if (worker->spin_credit > 0)
		n = spin(worker, events);
	if (n == 0 && !worker->is_napping && worker->gateway->options->spin_us > 0)
		n = wait_for_rhythm(worker, events, timeout_ms);
	if (n != 0)
		return n;
	begin_us = now_us();
	n = epoll_wait(worker->epoll_fd, events, EVENTS_PER_ROUND, timeout_ms);
	/* Spinning would have found it. */
	if (n > 0 && now_us() - begin_us < worker->gateway->options->spin_us && worker->spin_credit < SPIN_CREDIT_MAX)
		worker->spin_credit++;
	return n;
}

/* -- a round -- */

/* Return: true when there is more. */
static bool take_events(struct hbus_gateway *gateway)
{
	for (int i = 0; i < TAKES_PER_ROUND; i++) {
		if (!hbus_mqtt_bus_take(gateway->bus, gateway->engine))
			return false;
		hbus_gateway_clients_early(gateway->current);
	}
	return true;
}

static bool is_first(const struct hbus_gateway_worker *worker)
{
	return worker == &worker->gateway->workers[0];
}

void hbus_gateway_secure(struct hbus_gateway *gateway, bool has_acks)
{
	if (!gateway->state)
		return;
	for (int i = 0; has_acks && i < SECURE_TAKES_MAX && !hbus_mqtt_bus_is_settled(gateway->bus, gateway->engine); i++)
		(void)hbus_mqtt_bus_take(gateway->bus, gateway->engine);
	if (has_acks || hbus_mqtt_bus_is_settled(gateway->bus, gateway->engine))
		hbus_mqtt_journal_settle(gateway->engine);
	hbus_gateway_state_commit(gateway->state, gateway->engine);
}

static void do_chores(struct hbus_gateway_worker *worker, uint64_t *chores_ms)
{
	struct hbus_gateway *gateway = worker->gateway;

	if (!is_first(worker) || gateway->now_ms < *chores_ms)
		return;
	if (gateway->state) {
		hbus_gateway_secure(gateway, true);
		hbus_gateway_state_tick(gateway->state, gateway->engine, gateway->now_ms);
	}
	hbus_gateway_count(gateway);
	hbus_gateway_clients_expire(gateway);
	*chores_ms = gateway->now_ms + CHORES_MS;
}

/* Milliseconds to sleep at most; 0: there is something to do. */
static int timeout_of(struct hbus_gateway_worker *worker, bool has_more, uint64_t chores_ms)
{
	struct hbus_gateway *gateway = worker->gateway;
	uint64_t next;
	bool may_sleep;

	if (has_more || worker->dirty)
		return 0;
	if (!is_first(worker))
		return CHORES_MS;
	may_sleep = hbus_mqtt_bus_arm(gateway->bus, worker->bus_has_rung);
	worker->bus_has_rung = !may_sleep;
	if (!may_sleep)
		return 0;
	next = hbus_mqtt_next_ms(gateway->engine);
	next = next < chores_ms ? next : chores_ms;
	if (hbus_mqtt_bus_is_stuck(gateway->bus) && next > gateway->now_ms + 1)
		return 1;
	return next <= gateway->now_ms ? 0 : (int)(next - gateway->now_ms);
}

static void tick(struct hbus_gateway_worker *worker)
{
	struct hbus_gateway *gateway = worker->gateway;

	worker->now_us = now_us();
	if (worker->now_us / 1000 <= gateway->now_ms)
		return;
	gateway->now_ms = worker->now_us / 1000;
	hbus_mqtt_tick(gateway->engine, gateway->now_ms);
}

void hbus_gateway_loop(struct hbus_gateway_worker *worker)
{
	struct hbus_gateway *gateway = worker->gateway;
	struct epoll_event events[EVENTS_PER_ROUND];
	uint64_t chores_ms = 0;
	int timeout_ms = 0;

	worker->backoff_us = BACKOFF_US;

	/* relaxed: whoever sets it wakes us, and what comes after it is ordered by joining */
	while (!atomic_load_explicit(&gateway->must_end, memory_order_relaxed)) {
		int n = wait_for_events(worker, events, timeout_ms);
		bool has_more;

		if (is_first(worker))
			hbus_gateway_signals(gateway);
		hbus_gateway_lock(worker);
		tick(worker);
		hbus_gateway_unlock(worker);
		worker->n_rounds += n > 0;
		judge_window(worker);
		for (int i = 0; i < n; i++) {
			struct hbus_gateway_source *source = events[i].data.ptr;

			source->ready(worker, source, events[i].events);
		}
		hbus_gateway_lock(worker);
		has_more = take_events(gateway);
		hbus_gateway_secure(gateway, false);
		do_chores(worker, &chores_ms);
		hbus_gateway_clients_flush(worker);
		timeout_ms = timeout_of(worker, has_more, chores_ms);
		hbus_gateway_unlock(worker);
	}
}
