/* SPDX-License-Identifier: BSD-3-Clause */
/* A subscriber that gives filters up and asks for them again. See restless.h. */
#include "tests/torture/restless.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "tests/torture/roles.h"

/* A call that took so long came back because some publisher, or the daemon, did not: then the reply says what is so by then. */
#define UNPROMISED_NS UINT64_C(1900000000)
/* A ring that could not be kept comes anew: what is due comes with it, or has not come when this is over. */
#define LOOK_NS UINT64_C(2000000000)
#define REST_NS 6000000u
#define DEAF_NS 3000000u

static uint64_t next_random(struct restless *r)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return r->random;
}

static void filter_of(const struct restless_job *job, char *text, size_t size)
{
	snprintf(text, size, "%s/%u", job->which ? "+" : "torture", job->topic);
}

/* -- what is due -- */

/* Publishers that are not back with the daemon are not waited for. */
static bool is_back(const struct restless *r, const struct ledger_publisher *publisher, uint64_t asked_ns)
{
	/* relaxed: times */
	uint64_t linked_ns = atomic_load_explicit(&publisher->linked_ns, memory_order_relaxed);

	return linked_ns > atomic_load_explicit(&r->ledger->daemon_since_ns, memory_order_relaxed) && linked_ns < asked_ns;
}

/* The topic was asked for at @asked_ns, and is wanted: what is published from now on must come. */
static void becomes_due(struct restless *r, uint32_t topic, uint64_t asked_ns, bool is_promised)
{
	/* A(ledger.acked): pairs with R in acked() of publisher.c. */
	uint32_t n = atomic_load_explicit(&r->ledger->n_publishers, memory_order_acquire);

	for (uint32_t i = r->first; i < n; i++) {
		const struct ledger_publisher *publisher = &r->ledger->publisher[i];
		uint64_t acked = atomic_load_explicit(&publisher->acked, memory_order_acquire);

		if (i == r->first && publisher->ended_ns)
			r->first++;
		/* relaxed: shown by wanted_since_ns */
		if (publisher->topic == topic)
			atomic_store_explicit(&r->me->view[i].due_from, is_promised && is_back(r, publisher, asked_ns)
						? acked + LEDGER_UNSAID_MAX : UINT64_MAX, memory_order_relaxed);
	}
	/* R(ledger.wanted): what is due before the word that says so. */
	atomic_store_explicit(&r->me->wanted_since_ns[topic], ledger_now_ns(), memory_order_release);
}

uint64_t restless_pass_over(const struct ledger *ledger, const struct ledger_subscriber *me, struct ledger_view *view,
			    uint64_t sequence)
{
	static unsigned int n_said;
	uint32_t topic = ledger->publisher[view - me->view].topic;
	uint64_t due = UINT64_MAX, n;

	/* A(ledger.wanted): pairs with R in becomes_due(). */
	if (atomic_load_explicit(&me->wanted_since_ns[topic], memory_order_acquire))
		due = atomic_load_explicit(&view->due_from, memory_order_relaxed);
	if (due < sequence && ledger->plant == PLANT_NOTHING && n_said++ < 3)
		fprintf(stderr, "torture: restless (pid %d): event %llu of publisher %u where %llu was due, and %llu came last; now %.3f s, asked for at %.3f\n",
			(int)getpid(), (unsigned long long)sequence, (uint32_t)(view - me->view), (unsigned long long)due,
			(unsigned long long)view->next, (double)ledger_now_ns() / 1e9, (double)me->wanted_since_ns[topic] / 1e9);
	if (due <= view->next)
		return 0;
	n = (due < sequence ? due : sequence) - view->next;
	view->passed_over += n;
	return n;
}

static void begins_to_look(struct restless *r)
{
	r->look_until_ns = ledger_now_ns() + LOOK_NS;
	r->has_to_wait = false;
	r->n_publishers = atomic_load_explicit(&r->ledger->n_publishers, memory_order_acquire);
	for (uint32_t i = r->first; i < r->n_publishers; i++)
		r->acked[i] = atomic_load_explicit(&r->ledger->publisher[i].acked, memory_order_acquire);
}

/* From @from on they did not come before the topic was given up. */
static void show_missing(const struct restless *r, uint32_t i, uint64_t from)
{
	const struct ledger_publisher *publisher = &r->ledger->publisher[i];
	const struct ledger_view *view = &r->me->view[i];

	fprintf(stderr, "torture: %s restless (pid %d): publisher %u, topic %u: %llu events from %llu on did not come; due from %llu, next %llu; "
		"now %.3f s, asked for at %.3f, publisher back since %.3f, daemon since %.3f\n", r->me->is_reliable ? "reliable" : "lossy",
		(int)getpid(), i, publisher->topic, (unsigned long long)(r->acked[i] - from), (unsigned long long)from,
		(unsigned long long)view->due_from, (unsigned long long)view->next, (double)ledger_now_ns() / 1e9,
		(double)r->me->wanted_since_ns[publisher->topic] / 1e9, (double)publisher->linked_ns / 1e9,
		(double)r->ledger->daemon_since_ns / 1e9);
}

/* Of the topic it must know all that was acknowledged before it began to look. Return: from where on it does not; UINT64_MAX: it does. */
static uint64_t missing_from(const struct restless *r, uint32_t i, uint32_t topic)
{
	const struct ledger_view *view = &r->me->view[i];
	/* relaxed: shown by wanted_since_ns, or written by this thread */
	uint64_t due = atomic_load_explicit(&view->due_from, memory_order_relaxed), from = due > view->next ? due : view->next;

	if (r->ledger->publisher[i].topic != topic || r->acked[i] <= from)
		return UINT64_MAX;
	/* A ring that came later may still be on its way. */
	return view->next == 0 && due <= LEDGER_UNSAID_MAX ? UINT64_MAX : from;
}

static bool misses_some(const struct restless *r, uint32_t topic)
{
	for (uint32_t i = r->first; i < r->n_publishers; i++)
		if (missing_from(r, i, topic) != UINT64_MAX)
			return true;
	return false;
}

/* It has looked until nothing was left. */
static void has_looked(struct restless *r, uint32_t topic)
{
	static unsigned int n_said;

	for (uint32_t i = r->first; i < r->n_publishers; i++) {
		struct ledger_view *view = &r->me->view[i];
		uint64_t from = missing_from(r, i, topic);

		if (from == UINT64_MAX)
			continue;
		view->undelivered += r->acked[i] - from;
		if (r->ledger->plant == PLANT_NOTHING && n_said++ < 3)
			show_missing(r, i, from);
	}
	/* relaxed: read by this thread, and by the one that it gives the job to */
	atomic_store_explicit(&r->me->wanted_since_ns[topic], 0, memory_order_relaxed);
}

/* -- calls -- */

static void ask(struct restless *r, const struct restless_job *job)
{
	bool is_first = !r->has[job->topic][!job->which];
	uint64_t begin_ns = ledger_now_ns();
	char filter[32];
	bool is_promised;

	filter_of(job, filter, sizeof(filter));
	/* As a library would whose call returns before the ring is open. */
	if (is_first && r->ledger->plant == PLANT_DEAF) {
		becomes_due(r, job->topic, begin_ns, true);
		nanosleep(&(struct timespec){.tv_nsec = DEAF_NS}, NULL);
		is_first = false;
	}
	if (hbus_subscribe(r->subscriber, filter) != 0)
		return;
	r->has[job->topic][job->which] = true;
	is_promised = ledger_now_ns() - begin_ns < UNPROMISED_NS;
	/* relaxed: a count */
	atomic_fetch_add_explicit(&r->me->n_calls, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&r->me->n_unpromised, !is_promised, memory_order_relaxed);
	if (is_first)
		becomes_due(r, job->topic, begin_ns, is_promised);
}

static void do_job(struct restless *r, const struct restless_job *job)
{
	char filter[32];

	if (job->gives_up) {
		filter_of(job, filter, sizeof(filter));
		hbus_unsubscribe(r->subscriber, filter); /* whatever it returns, the library has forgotten it */
		r->has[job->topic][job->which] = false;
		atomic_fetch_add_explicit(&r->me->n_calls, 1, memory_order_relaxed); /* relaxed: a count */
	}
	if (job->asks)
		ask(r, job);
}

static void *call(void *context)
{
	struct restless *r = context;

	for (;;) {
		while (sem_wait(&r->todo) < 0 && errno == EINTR)
			;
		/* relaxed: shown by the semaphore */
		if (atomic_load_explicit(&r->is_over, memory_order_relaxed))
			return NULL;
		do_job(r, &r->job);
		/* R(restless.is_done): what it has noted before the word that says so. */
		atomic_store_explicit(&r->is_done, true, memory_order_release);
	}
}

/* -- the plan -- */

static void start(struct restless *r)
{
	if (next_random(r) % 2) {
		atomic_store_explicit(&r->is_done, false, memory_order_relaxed); /* relaxed: shown by the semaphore */
		r->phase = RESTLESS_CALLS;
		sem_post(&r->todo);
		return;
	}
	ledger_enter(&r->me->where, r->job.gives_up ? CALL_UNSUBSCRIBE : CALL_SUBSCRIBE);
	do_job(r, &r->job);
	ledger_enter(&r->me->where, CALL_OWN);
	r->phase = RESTLESS_RESTS;
}

static void plan(struct restless *r)
{
	uint64_t random = next_random(r);
	struct restless_job job = {.topic = (uint32_t)(random % LEDGER_TOPICS), .which = random >> 8 & 1};

	r->next_ns = ledger_now_ns() + (random >> 9 & 1 ? next_random(r) % REST_NS : 0);
	job.gives_up = r->has[job.topic][job.which];
	job.asks = !job.gives_up || random >> 10 & 1;
	r->job = job;
	if (job.gives_up && !r->has[job.topic][!job.which]) {
		begins_to_look(r);
		r->phase = RESTLESS_LOOKS;
	} else {
		start(r);
	}
}

void restless_step(struct restless *r, bool is_empty)
{
	switch (r->phase) {
	case RESTLESS_RESTS:
		if (ledger_now_ns() >= r->next_ns && !atomic_load_explicit(&r->ledger->must_finish, memory_order_relaxed))
			plan(r);
		break;
	case RESTLESS_LOOKS:
		if (!is_empty || hbus_wait(r->subscriber, 0) != 0)
			break;
		if (misses_some(r, r->job.topic) && ledger_now_ns() < r->look_until_ns) {
			r->has_to_wait = true;
			break;
		}
		r->me->n_awaited += r->has_to_wait;
		has_looked(r, r->job.topic);
		start(r);
		break;
	case RESTLESS_CALLS:
		/* A(restless.is_done): pairs with R in call(). */
		if (atomic_load_explicit(&r->is_done, memory_order_acquire))
			r->phase = RESTLESS_RESTS;
		break;
	}
}

int restless_begin(struct restless *r, struct ledger *ledger, struct ledger_subscriber *me, struct hbus_subscriber *subscriber,
		   uint64_t seed)
{
	r->ledger = ledger;
	r->me = me;
	r->subscriber = subscriber;
	r->random = seed * 2 + 1;
	sem_init(&r->todo, 0, 0);
	ledger_enter(&me->where, CALL_SUBSCRIBE);
	for (uint32_t topic = 0; topic < LEDGER_TOPICS; topic++)
		ask(r, &(struct restless_job){.topic = topic});
	if (pthread_create(&r->thread, NULL, call, r) != 0)
		return HBUS_E_SYSTEM;
	return 0;
}

void restless_end(struct restless *r)
{
	/* relaxed: shown by the semaphore */
	atomic_store_explicit(&r->is_over, true, memory_order_relaxed);
	sem_post(&r->todo);
	pthread_join(r->thread, NULL);
	sem_destroy(&r->todo);
}
