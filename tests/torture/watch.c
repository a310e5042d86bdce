/* SPDX-License-Identifier: BSD-3-Clause */
/* Time as the machine grants it, recovery and wedges. See torture.h. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/torture/fair.h"
#include "tests/torture/torture.h"

uint64_t ledger_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t fair_now_ns(const struct torture *t)
{
	static struct fair_clock clock;
	uint64_t now_ns = ledger_now_ns();

	(void)t;
	return fair_clock_ns(&clock, now_ns, probes_starved_ns(now_ns));
}

void nap_us(struct torture *t, uint64_t us)
{
	struct timespec nap = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};

	nanosleep(&nap, NULL);
	t->n_outages += probes_take_stills(t->outages + t->n_outages, SPANS_MAX - t->n_outages);
}

/* -- recovery -- */

static uint32_t moved(struct torture *t, const uint64_t *before)
{
	uint32_t n_waiting = 0;

	for (unsigned int i = 0; i < t->n_victims; i++) {
		const struct victim *victim = &t->victim[i];

		/* One that has just begun is not in the race. */
		if (victim->kind == PUBLISHER && victim->pid > 0 && before[i] > 0)
			n_waiting += t->ledger->publisher[victim->idx].acked == before[i];
	}
	return n_waiting;
}

/* How many of them were not kept from a CPU all that time either. */
static uint32_t n_standing(struct torture *t, const uint64_t *before, const struct cpu_time *times, uint64_t stood_ns)
{
	uint32_t n_waiting = 0;

	for (unsigned int i = 0; i < t->n_victims; i++) {
		const struct victim *victim = &t->victim[i];
		struct cpu_time time;

		if (victim->kind != PUBLISHER || victim->pid <= 0 || before[i] == 0 ||
		    t->ledger->publisher[victim->idx].acked != before[i])
			continue;
		time = cpu_time(victim);
		n_waiting += fair_is_wedge(stood_ns, waited_between_ns(&times[i], &time), WEDGE_MS * UINT64_C(1000000));
	}
	return n_waiting;
}

/* One that is inside hbus_subscribe() reads nothing yet. */
static unsigned int n_subscribing(const struct torture *t)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < t->n_victims; i++)
		if (t->victim[i].kind == RELIABLE && t->victim[i].pid > 0)
			n += t->ledger->subscriber[t->victim[i].idx].subscribed_ns == 0;
	return n;
}

void measure_recovery(struct torture *t, enum kind killed)
{
	struct cpu_time times[VICTIMS_MAX] = {0};
	uint64_t before[VICTIMS_MAX] = {0}, begin, us;
	uint32_t n_waiting;

	for (unsigned int i = 0; i < t->n_victims; i++)
		if (t->victim[i].kind == PUBLISHER && t->victim[i].pid > 0) {
			before[i] = t->ledger->publisher[t->victim[i].idx].acked;
			times[i] = cpu_time(&t->victim[i]);
		}
	begin = fair_now_ns(t);
	do {
		nap_us(t, 100);
		us = (fair_now_ns(t) - begin) / 1000;
		n_waiting = moved(t, before);
	} while (n_waiting > 0 && us <= WEDGE_MS * 1000);
	if (n_waiting) {
		n_waiting = n_standing(t, before, times, us * 1000);
		if (n_waiting == 0) /* the machine has not let them */
			return;
		t->n_wedges++;
		fprintf(stderr, "torture: %u publishers did not move for %u ms after a %s was killed\n", n_waiting, WEDGE_MS,
			kind_names[killed]);
		show_everybody(t);
	}
	if (t->n_recoveries < RECOVERIES_MAX)
		t->recovery_us[t->n_recoveries++] = (uint32_t)us;
	if (us > 200000)
		fprintf(stderr, "torture: publishers stood for %u ms after a %s was killed; %u reliable were subscribing\n",
			(unsigned int)(us / 1000), kind_names[killed], n_subscribing(t));
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

double recovery_ms(struct torture *t, double fraction)
{
	if (t->n_recoveries == 0)
		return 0;
	qsort(t->recovery_us, t->n_recoveries, sizeof(t->recovery_us[0]), by_value);
	return t->recovery_us[(unsigned int)(fraction * (t->n_recoveries - 1))] / 1000.0;
}

/* -- wedges -- */

/* A restless one, in the thread that polls too. */
static bool waits_for_the_daemon(const struct ledger_subscriber *subscriber)
{
	/* relaxed: a glance */
	uint32_t call = atomic_load_explicit(&subscriber->where.call, memory_order_relaxed);

	return call == CALL_SUBSCRIBE || call == CALL_UNSUBSCRIBE;
}

/* Something that grows as long as it lives on. 0: nothing can be expected yet. */
static uint64_t progress_of(const struct torture *t, const struct victim *victim)
{
	switch (victim->kind) {
	case PUBLISHER:
		return t->ledger->publisher[victim->idx].acked;
	case RELIABLE:
	case LOSSY:
		if (waits_for_the_daemon(&t->ledger->subscriber[victim->idx]))
			return 0;
		return t->ledger->subscriber[victim->idx].last_poll_ns;
	default:
		return 0;
	}
}

/* It stands. What it waited for a CPU meanwhile is the machine's, and not counted against it. */
static void stands(struct torture *t, struct victim *victim, uint64_t now)
{
	uint64_t most = WEDGE_MS * UINT64_C(1000000), stood = now - victim->moved_ns, waited;
	struct cpu_time time = cpu_time(victim);

	if (victim->sampled_ns != victim->moved_ns) {
		victim->sampled_ns = victim->moved_ns;
		victim->stood = time;
	}
	waited = waited_between_ns(&victim->stood, &time);
	if (victim->is_wedged || !fair_is_wedge(stood, waited, most))
		return;
	victim->is_wedged = true;
	t->n_wedges++;
	fprintf(stderr, "torture: a %s (pid %d) has stood still for %u ms, of which it waited %u ms for a CPU\n",
		kind_names[victim->kind], (int)victim->pid, (unsigned int)(stood / 1000000), (unsigned int)(waited / 1000000));
	show_everybody(t);
}

/* A stopped reliable subscriber may hold a publisher for its stall limit, a dead daemon nobody at all. */
void watch(struct torture *t)
{
	uint64_t now = fair_now_ns(t);

	for (unsigned int i = 0; i < t->n_victims; i++) {
		struct victim *victim = &t->victim[i];
		uint64_t progress;

		if (victim->pid <= 0 || victim->resume_ns || victim->kind >= DAEMON)
			continue;
		progress = progress_of(t, victim);
		if (progress != victim->progress || progress == 0) {
			if (victim->is_wedged)
				fprintf(stderr, "torture: %s (pid %d) moves again after %u ms\n", kind_names[victim->kind],
					(int)victim->pid, (unsigned int)((now - victim->moved_ns) / 1000000));
			victim->progress = progress;
			victim->moved_ns = now;
			victim->is_wedged = false;
		} else {
			stands(t, victim, now);
		}
	}
}
