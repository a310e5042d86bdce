/* SPDX-License-Identifier: BSD-3-Clause */
/* Coroutines, decisions and schedules. See explore.h; what they see of memory is explore_memory.c. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/stress/explore_int.h"

#define STEPS_MAX 60000u    /* more is a livelock */
#define TRAIL_MAX (2 * STEPS_MAX)
#define STACK_SIZE (256u << 10)

const char *const sched_mutant_names[MUT_MAX] = {
	"none",		   "release-fence",   "acquire-fence", "seq-cst-fence", "header-store",
	"header-load",	   "checkpoint-store", "checkpoint-load", "state-store", "state-load",
	"intent-store",	   "zero-store",      "private-barrier", "global-barrier", "notify",
	"notify-load",
};
enum sched_mutant sched_mutant;

struct thread sched_threads[SCHED_THREADS_MAX];
unsigned int sched_n_threads;
struct thread *sched_current;
static ucontext_t main_context, root_context; /* root: setup, finish, and the wait between */

static const struct sched_scenario *scenario_now;
struct sched_result sched_result_now;
static uint64_t steps, random_state;
static bool is_quiet_now, has_failed, has_crashed;

/* -- decisions -- */

enum mode { MODE_PCT, MODE_WALK, MODE_TRAIL };

static enum mode mode;
static uint64_t change_at[8], crash_at, lowest_priority;
static unsigned int n_changes, stale_shift, switch_shift;

static struct decision {
	uint16_t n, chosen;
} trail[TRAIL_MAX];
static unsigned int trail_length, trail_at;

uint64_t sched_random(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static unsigned int trail_choose(unsigned int n)
{
	if (n < 2)
		return 0;
	if (trail_at == TRAIL_MAX)
		sched_fail("too many decisions");
	if (trail_at == trail_length)
		trail[trail_length++] = (struct decision){.n = (uint16_t)n, .chosen = 0};
	if (trail[trail_at].n != n)
		sched_fail("a schedule does not repeat itself: the scenario is not deterministic");
	return trail[trail_at++].chosen;
}

unsigned int sched_choose(unsigned int n)
{
	return mode == MODE_TRAIL ? trail_choose(n) : (unsigned int)(sched_random() % n);
}

unsigned int sched_choose_value(unsigned int n)
{
	if (n < 2)
		return 0;
	if (mode == MODE_TRAIL)
		return trail_choose(n);
	if (sched_random() & ((1u << stale_shift) - 1))
		return 0;
	return (unsigned int)(sched_random() % n);
}

void sched_fail(const char *format, ...)
{
	va_list args;

	if (!is_quiet_now) {
		va_start(args, format);
		fprintf(stderr, "%s: ", scenario_now->name);
		vfprintf(stderr, format, args);
		fprintf(stderr, " (step %llu, thread %d)\n", (unsigned long long)steps,
			sched_current ? (int)(sched_current - sched_threads) : -1);
		va_end(args);
	}
	has_failed = true;
	setcontext(&main_context);
	abort();
}

/* -- who runs -- */

static unsigned int count_ready(void)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < sched_n_threads; i++)
		n += sched_threads[i].state == READY;
	return n;
}

/* The k-th ready thread, counted from the current one on. */
static struct thread *ready_after_current(unsigned int k)
{
	unsigned int start = sched_current ? (unsigned int)(sched_current - sched_threads) : 0;

	for (unsigned int i = 0; i < sched_n_threads; i++) {
		struct thread *thread = &sched_threads[(start + i) % sched_n_threads];

		if (thread->state == READY && k-- == 0)
			return thread;
	}
	return NULL;
}

static struct thread *ready_first(void)
{
	struct thread *best = NULL;

	for (unsigned int i = 0; i < sched_n_threads; i++)
		if (sched_threads[i].state == READY && (!best || sched_threads[i].priority > best->priority))
			best = &sched_threads[i];
	return best;
}

/* Nobody can go on but by waiting: the longest sleeper's time is up. */
static void pass_time(void)
{
	struct thread *longest = NULL;

	for (unsigned int i = 0; i < sched_n_threads; i++)
		if (sched_threads[i].state == ASLEEP && (!longest || sched_threads[i].asleep_since < longest->asleep_since))
			longest = &sched_threads[i];
	if (!longest)
		return;
	longest->state = READY;
	longest->has_timed_out = true;
}

static void go_to(struct thread *next)
{
	struct thread *from = sched_current;

	if (next == from)
		return;
	sched_result_now.n_switches++;
	sched_current = next;
	if (from && from->state != ENDED)
		swapcontext(&from->context, next ? &next->context : &root_context);
	else if (from)
		setcontext(next ? &next->context : &root_context);
	else
		swapcontext(&root_context, &next->context);
}

/* The current thread cannot or will not go on. */
static void go_on(bool is_pausing)
{
	unsigned int n;

	if (sched_current)
		sched_current->priority = --lowest_priority;
	if (count_ready() == 0)
		pass_time();
	n = count_ready();
	if (n == 0)
		go_to(NULL);
	else if (mode == MODE_PCT)
		go_to(ready_first());
	else if (mode == MODE_WALK)
		go_to(ready_after_current((unsigned int)(sched_random() % n)));
	else
		go_to(ready_after_current(is_pausing && n > 1 ? 1 : 0));
}

static void end(void)
{
	sched_current->state = ENDED;
	go_on(false);
	abort();
}

static void may_switch(void)
{
	unsigned int n;

	if (mode == MODE_PCT) {
		for (unsigned int i = 0; i < n_changes; i++)
			if (change_at[i] == steps)
				sched_current->priority = --lowest_priority;
		go_to(ready_first());
		return;
	}
	if (mode == MODE_WALK && (sched_random() & ((1u << switch_shift) - 1)))
		return;
	n = count_ready();
	go_to(ready_after_current(sched_choose(n)));
}

void sched_point(void)
{
	if (!sched_current)
		return;
	if (++steps > STEPS_MAX)
		sched_fail("no end after %u steps", STEPS_MAX);
	if (sched_current->may_crash && (mode == MODE_TRAIL ? trail_choose(2) == 1 : steps >= crash_at)) {
		for (unsigned int i = 0; i < sched_n_threads; i++)
			sched_threads[i].may_crash = false;
		sched_result_now.n_crashes++;
		has_crashed = true;
		end();
	}
	may_switch();
}

void sched_may_crash(bool may)
{
	sched_current->may_crash = may;
}

bool sched_has_crashed(void)
{
	return has_crashed;
}

void sched_pause(void)
{
	if (!sched_current)
		sched_fail("a wait with nobody to wait for");
	if (++steps > STEPS_MAX)
		sched_fail("no end after %u steps", STEPS_MAX);
	go_on(true);
	/* Now and then, so that nobody waits for ever; else what is in flight stays there. */
	if (mode != MODE_TRAIL && sched_random() % 8 == 0)
		sched_see_everything(&sched_current->view);
}

/* -- threads -- */

static void run_thread(unsigned int idx)
{
	sched_threads[idx].entry(sched_threads[idx].arg);
	end();
}

void sched_spawn(void (*entry)(void *arg), void *arg, unsigned int process)
{
	struct thread *thread = &sched_threads[sched_n_threads];

	if (sched_n_threads == SCHED_THREADS_MAX)
		abort();
	if (!thread->stack)
		thread->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	thread->entry = entry;
	thread->arg = arg;
	thread->process = process;
	thread->state = READY;
	thread->may_crash = thread->has_timed_out = false;
	thread->released = NO_VIEW;
	thread->word = NULL;
	thread->priority = (1ull << 40) + (mode == MODE_TRAIL ? 0 : sched_random() >> 32);
	memset(&thread->view, 0, sizeof(thread->view));
	memset(&thread->read, 0, sizeof(thread->read));
	thread->view.n = thread->read.n = LOCATIONS_MAX;
	getcontext(&thread->context);
	thread->context.uc_stack.ss_sp = thread->stack;
	thread->context.uc_stack.ss_size = STACK_SIZE;
	thread->context.uc_link = NULL;
	makecontext(&thread->context, (void (*)(void))(void *)run_thread, 1, sched_n_threads);
	sched_n_threads++;
}

bool sched_sleep(const void *word, uint32_t seen)
{
	sched_point();
	/* The kernel compares under a lock that the one who wakes takes too: it reads the newest value. */
	if (sched_peek(word) != seen)
		return true;
	sched_current->state = ASLEEP;
	sched_current->word = word;
	sched_current->asleep_since = steps;
	sched_current->has_timed_out = false;
	go_on(false);
	sched_see_everything(&sched_current->view);
	return !sched_current->has_timed_out;
}

unsigned int sched_wake(const void *word)
{
	unsigned int n = 0;

	sched_point();
	for (unsigned int i = 0; i < sched_n_threads; i++) {
		struct thread *thread = &sched_threads[i];

		if (thread->state != ASLEEP || !sched_is_same_word(thread->word, word))
			continue;
		thread->state = READY;
		n++;
	}
	return n;
}

/* -- schedules -- */

static void run_root(void)
{
	sched_current = NULL;
	scenario_now->setup();
	for (unsigned int i = 0; i < sched_n_threads; i++)
		sched_see_everything(&sched_threads[i].view);
	if (sched_n_threads > 0) {
		if (mode == MODE_TRAIL)
			go_to(&sched_threads[trail_choose(sched_n_threads)]);
		else
			go_to(ready_first());
	}
	scenario_now->finish();
	setcontext(&main_context);
}

static void *root_stack;

static void run_schedule(void)
{
	static const size_t size = STACK_SIZE;

	sched_memory_begin();
	sched_n_threads = 0;
	steps = 0;
	has_failed = has_crashed = false;
	lowest_priority = 1ull << 39;
	if (!root_stack)
		root_stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	getcontext(&root_context);
	root_context.uc_stack.ss_sp = root_stack;
	root_context.uc_stack.ss_size = size;
	root_context.uc_link = NULL;
	makecontext(&root_context, run_root, 0);
	swapcontext(&main_context, &root_context);
	sched_current = NULL;
	sched_result_now.n_schedules++;
	sched_result_now.n_steps += steps;
	if (has_failed)
		sched_result_now.has_failed = true;
}

static void begin(const struct sched_scenario *scenario, bool is_quiet)
{
	sched_memory_forget();
	scenario_now = scenario;
	is_quiet_now = is_quiet;
	sched_result_now = (struct sched_result){0};
}

/* What kind of luck this seed brings. */
static void choose_luck(uint64_t seed)
{
	uint64_t expected_steps;

	random_state = seed * 0x9e3779b97f4a7c15 + 1;
	mode = sched_random() % 4 ? MODE_PCT : MODE_WALK;
	expected_steps = 150ull << sched_random() % 4;
	switch_shift = (unsigned int)(sched_random() % 6);
	stale_shift = (unsigned int)(sched_random() % 7);
	n_changes = (unsigned int)(sched_random() % 6);
	for (unsigned int i = 0; i < n_changes; i++)
		change_at[i] = sched_random() % expected_steps;
	crash_at = sched_random() % expected_steps;
}

struct sched_result sched_run_seeds(const struct sched_scenario *scenario, uint64_t first_seed, uint64_t n, bool is_quiet)
{
	begin(scenario, is_quiet);
	for (uint64_t i = 0; i < n && !sched_result_now.has_failed; i++) {
		/* Not what earlier seeds took, or a seed would not repeat itself alone. */
		choose_luck(first_seed + i);
		sched_result_now.seed = first_seed + i;
		run_schedule();
	}
	return sched_result_now;
}

/* The next schedule in depth-first order. False: there is none. */
static bool trail_advance(unsigned int n_deviations)
{
	unsigned int used = 0, last = 0;
	bool found = false;

	for (unsigned int i = 0; i < trail_length; i++) {
		bool is_deviation = trail[i].chosen > 0;

		if (trail[i].chosen + 1 < trail[i].n && used + 1 <= n_deviations) {
			last = i;
			found = true;
		}
		used += is_deviation;
	}
	if (!found)
		return false;
	trail[last].chosen++;
	trail_length = last + 1;
	return true;
}

struct sched_result sched_run_all(const struct sched_scenario *scenario, unsigned int n_deviations, uint64_t n_max,
				  bool is_quiet)
{
	begin(scenario, is_quiet);
	mode = MODE_TRAIL;
	trail_length = 0;
	random_state = 1;
	while (sched_result_now.n_schedules < n_max && !sched_result_now.has_failed) {
		trail_at = 0;
		random_state = 1;
		run_schedule();
		if (!trail_advance(n_deviations)) {
			sched_result_now.is_complete = true;
			break;
		}
	}
	return sched_result_now;
}
