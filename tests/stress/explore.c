/* SPDX-License-Identifier: BSD-3-Clause */
/* Coroutines, views and decisions. See explore.h. */
#include "tests/stress/explore.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define LOCATIONS_MAX 512u
#define HISTORY 8u          /* values of a location that can still be read */
#define VIEWS_MAX 8192u     /* released in one schedule */
#define REGIONS_MAX 16u
#define STEPS_MAX 60000u    /* more is a livelock */
#define TRAIL_MAX (2 * STEPS_MAX)
#define STACK_SIZE (256u << 10)
#define NO_VIEW 0u

const char *const sched_mutant_names[MUT_MAX] = {
	"none",		   "release-fence",   "acquire-fence", "seq-cst-fence", "header-store",
	"header-load",	   "checkpoint-store", "checkpoint-load", "state-store", "state-load",
	"intent-store",	   "zero-store",      "private-barrier", "global-barrier", "notify",
	"notify-load",
};
enum sched_mutant sched_mutant;

struct view {
	unsigned int n; /* locations that existed when it was kept */
	uint16_t seen[LOCATIONS_MAX]; /* of each location: the oldest value that may still be read */
};

struct message {
	uint64_t value;
	uint32_t view; /* what who acquires it has seen too; NO_VIEW = nothing */
};

struct location {
	struct message history[HISTORY];
	uint64_t epoch;
	uint16_t newest;
};

struct region {
	const unsigned char *base;
	size_t size, mask;
	enum sched_kind kind;
	uint16_t *ids; /* of each 4 bytes; 0 = none yet */
	bool is_alias, is_unmapped;
};

enum thread_state { READY, ASLEEP, ENDED };

struct thread {
	ucontext_t context;
	struct view view;     /* what it must see */
	struct view read;     /* what it will have to see after an acquire fence */
	uint32_t released;    /* view of its last release fence */
	void (*entry)(void *);
	void *arg;
	const void *word;     /* ASLEEP: on this */
	uint64_t asleep_since;
	unsigned int process;
	uint64_t priority;
	enum thread_state state;
	bool may_crash, has_timed_out;
	void *stack;
};

static struct location locations[LOCATIONS_MAX];
static unsigned int n_locations = 1;
static struct view views[VIEWS_MAX];
static uint32_t n_views;
static struct region regions[REGIONS_MAX];
static unsigned int n_regions;
static struct view sc_view; /* of the sequentially consistent fences */

static struct thread threads[SCHED_THREADS_MAX];
static unsigned int n_threads;
static struct thread *current;
static ucontext_t main_context, root_context; /* root: setup, finish, and the wait between */

static const struct sched_scenario *scenario_now;
static struct sched_result result;
static uint64_t epoch, steps, random_state;
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

/* Of @n values, 0 = the newest. */
static unsigned int choose_value(unsigned int n)
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
			current ? (int)(current - threads) : -1);
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

	for (unsigned int i = 0; i < n_threads; i++)
		n += threads[i].state == READY;
	return n;
}

/* The k-th ready thread, counted from the current one on. */
static struct thread *ready_after_current(unsigned int k)
{
	unsigned int start = current ? (unsigned int)(current - threads) : 0;

	for (unsigned int i = 0; i < n_threads; i++) {
		struct thread *thread = &threads[(start + i) % n_threads];

		if (thread->state == READY && k-- == 0)
			return thread;
	}
	return NULL;
}

static struct thread *ready_first(void)
{
	struct thread *best = NULL;

	for (unsigned int i = 0; i < n_threads; i++)
		if (threads[i].state == READY && (!best || threads[i].priority > best->priority))
			best = &threads[i];
	return best;
}

static void see_everything(struct view *view)
{
	for (unsigned int i = 0; i < n_locations; i++)
		view->seen[i] = locations[i].epoch == epoch ? locations[i].newest : 0;
}

/* Nobody can go on but by waiting: the longest sleeper's time is up. */
static void pass_time(void)
{
	struct thread *longest = NULL;

	for (unsigned int i = 0; i < n_threads; i++)
		if (threads[i].state == ASLEEP && (!longest || threads[i].asleep_since < longest->asleep_since))
			longest = &threads[i];
	if (!longest)
		return;
	longest->state = READY;
	longest->has_timed_out = true;
}

static void go_to(struct thread *next)
{
	struct thread *from = current;

	if (next == from)
		return;
	result.n_switches++;
	current = next;
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

	if (current)
		current->priority = --lowest_priority;
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
	current->state = ENDED;
	go_on(false);
	abort();
}

static void may_switch(void)
{
	unsigned int n;

	if (mode == MODE_PCT) {
		for (unsigned int i = 0; i < n_changes; i++)
			if (change_at[i] == steps)
				current->priority = --lowest_priority;
		go_to(ready_first());
		return;
	}
	if (mode == MODE_WALK && (sched_random() & ((1u << switch_shift) - 1)))
		return;
	n = count_ready();
	go_to(ready_after_current(sched_choose(n)));
}

/* Before each access. */
static void point(void)
{
	if (!current)
		return;
	if (++steps > STEPS_MAX)
		sched_fail("no end after %u steps", STEPS_MAX);
	if (current->may_crash && (mode == MODE_TRAIL ? trail_choose(2) == 1 : steps >= crash_at)) {
		for (unsigned int i = 0; i < n_threads; i++)
			threads[i].may_crash = false;
		result.n_crashes++;
		has_crashed = true;
		end();
	}
	may_switch();
}

void sched_may_crash(bool may)
{
	current->may_crash = may;
}

bool sched_has_crashed(void)
{
	return has_crashed;
}

void sched_pause(void)
{
	if (!current)
		sched_fail("a wait with nobody to wait for");
	if (++steps > STEPS_MAX)
		sched_fail("no end after %u steps", STEPS_MAX);
	go_on(true);
	/* Now and then, so that nobody waits for ever; else what is in flight stays there. */
	if (mode != MODE_TRAIL && sched_random() % 8 == 0)
		see_everything(&current->view);
}

/* -- memory -- */

static struct region *region_of(const void *at)
{
	for (unsigned int i = 0; i < n_regions; i++)
		if ((uintptr_t)at - (uintptr_t)regions[i].base < regions[i].size)
			return &regions[i];
	return NULL;
}

static struct region *region_at(const void *base)
{
	for (unsigned int i = 0; i < n_regions; i++)
		if (regions[i].base == base)
			return &regions[i];
	return NULL;
}

void sched_region(void *base, size_t size, enum sched_kind kind, size_t mask, const void *like)
{
	struct region *region = region_at(base);

	if (region) {
		region->is_unmapped = false;
		return;
	}
	if (n_regions == REGIONS_MAX)
		abort();
	region = &regions[n_regions++];
	*region = (struct region){.base = base, .size = size, .mask = mask, .kind = kind, .is_alias = like};
	region->ids = like ? region_at(like)->ids : calloc(size / 4, sizeof(uint16_t));
}

static void regions_forget(void)
{
	for (unsigned int i = 0; i < n_regions; i++)
		if (!regions[i].is_alias)
			free(regions[i].ids);
	n_regions = 0;
	n_locations = 1;
}

void sched_region_unmap(const void *base)
{
	region_at(base)->is_unmapped = true;
}

void sched_region_remap(const void *base)
{
	region_at(base)->is_unmapped = false;
}

static struct location *location_of(const struct region *region, const void *at)
{
	size_t offset = (size_t)((const unsigned char *)at - region->base) & region->mask;
	uint16_t *id = &region->ids[offset / 4];
	struct location *location;

	if (region->is_unmapped)
		sched_fail("access to memory that is not mapped any more");
	if (!*id) {
		if (n_locations == LOCATIONS_MAX)
			abort();
		locations[n_locations].epoch = 0;
		*id = (uint16_t)n_locations++;
	}
	location = &locations[*id];
	if (location->epoch != epoch) {
		location->epoch = epoch;
		location->newest = 0;
		location->history[0] = (struct message){0};
	}
	return location;
}

/* Memory that no scenario has declared is the thread's own. */
static uint64_t load_own(const void *at, size_t size)
{
	uint64_t value = 0;

	if ((uintptr_t)at < 4096)
		sched_fail("access through a null pointer");
	memcpy(&value, at, size);
	return value;
}

static void join(struct view *into, const struct view *from)
{
	unsigned int n = from->n < n_locations ? from->n : n_locations;

	for (unsigned int i = 0; i < n; i++)
		into->seen[i] = into->seen[i] > from->seen[i] ? into->seen[i] : from->seen[i];
}

static uint32_t view_keep(const struct view *view)
{
	if (n_views == VIEWS_MAX)
		sched_fail("too many releases in one schedule");
	memcpy(views[n_views].seen, view->seen, n_locations * sizeof(uint16_t));
	views[n_views].n = n_locations;
	return n_views++;
}

static size_t offset_in(const struct region *region, const void *at)
{
	return (size_t)((const unsigned char *)at - region->base);
}

static int weaken(const struct region *region, const void *at, int order, bool is_store)
{
	size_t offset = offset_in(region, at);
	bool is_checkpoint = region->kind == SCHED_HEADER && offset >= 1536;
	bool is_state = region->kind == SCHED_HEADER && offset == 136;

	switch (sched_mutant) {
	case MUT_HEADER_STORE:
		return is_store && region->kind == SCHED_DATA ? memory_order_relaxed : order;
	case MUT_HEADER_LOAD:
		return !is_store && region->kind == SCHED_DATA ? memory_order_relaxed : order;
	case MUT_CHECKPOINT_STORE:
		return is_store && is_checkpoint ? memory_order_relaxed : order;
	case MUT_CHECKPOINT_LOAD:
		return !is_store && is_checkpoint ? memory_order_relaxed : order;
	case MUT_STATE_STORE:
		return is_store && is_state ? memory_order_relaxed : order;
	case MUT_NOTIFY_LOAD:
		return !is_store && region->kind == SCHED_HEADER && offset == 256 ? memory_order_relaxed : order;
	case MUT_STATE_LOAD:
		return !is_store && is_state ? memory_order_relaxed : order;
	default:
		return order;
	}
}

static bool is_lost(const struct region *region, const void *at, uint64_t value)
{
	if (sched_mutant == MUT_INTENT_STORE)
		return current && region->kind == SCHED_HEADER && offset_in(region, at) == 128;
	return sched_mutant == MUT_ZERO_STORE && region->kind == SCHED_DATA && value == 0;
}

static bool is_acquire(int order)
{
	return order == memory_order_acquire || order == memory_order_seq_cst;
}

uint64_t sched_load(const void *at, size_t size, int order)
{
	struct region *region = region_of(at);
	struct location *location;
	const struct message *message;
	uint16_t oldest, value_idx;

	if (!region)
		return load_own(at, size);
	point();
	location = location_of(region, at);
	if (!current)
		return location->history[location->newest % HISTORY].value;
	order = weaken(region, at, order, false);
	oldest = current->view.seen[location - locations];
	if (location->newest - oldest >= (int)HISTORY)
		oldest = (uint16_t)(location->newest - HISTORY + 1);
	value_idx = (uint16_t)(location->newest - choose_value(location->newest - oldest + 1u));
	result.n_stale += value_idx != location->newest;
	message = &location->history[value_idx % HISTORY];
	current->view.seen[location - locations] = value_idx;
	if (message->view != NO_VIEW)
		join(is_acquire(order) ? &current->view : &current->read, &views[message->view]);
	return message->value;
}

static void append(struct location *location, uint64_t value, uint32_t view)
{
	if (location->newest == UINT16_MAX)
		sched_fail("too many values of one location");
	location->newest++;
	location->history[location->newest % HISTORY] = (struct message){.value = value, .view = view};
	if (current)
		current->view.seen[location - locations] = location->newest;
}

static bool is_release(int order)
{
	return order == memory_order_release || order == memory_order_acq_rel || order == memory_order_seq_cst;
}

void sched_store(void *at, size_t size, uint64_t value, int order)
{
	struct region *region = region_of(at);
	struct location *location;

	if (!region) {
		if ((uintptr_t)at < 4096)
			sched_fail("store through a null pointer");
		memcpy(at, &value, size);
		return;
	}
	point();
	location = location_of(region, at);
	if (is_lost(region, at, value))
		return;
	append(location, value, current ? current->released : NO_VIEW);
	if (current && is_release(weaken(region, at, order, true)))
		location->history[location->newest % HISTORY].view = view_keep(&current->view);
}

/* Read-modify-writes see the newest value, acquire and release. */
static uint64_t modify(struct location *location, uint64_t value)
{
	const struct message *old = &location->history[location->newest % HISTORY];
	uint64_t old_value = old->value;

	if (current && old->view != NO_VIEW)
		join(&current->view, &views[old->view]);
	append(location, value, NO_VIEW);
	if (current)
		location->history[location->newest % HISTORY].view = view_keep(&current->view);
	return old_value;
}

uint64_t sched_fetch_add(void *at, size_t size, uint64_t value)
{
	struct region *region = region_of(at);
	struct location *location;

	(void)size;
	if (!region)
		sched_fail("a counter that no scenario declares");
	point();
	location = location_of(region, at);
	if (sched_mutant == MUT_NOTIFY)
		value = 0;
	return modify(location, location->history[location->newest % HISTORY].value + value);
}

bool sched_compare_exchange(void *at, size_t size, uint32_t *expected, uint32_t desired)
{
	struct location *location;

	(void)size;
	point();
	location = location_of(region_of(at), at);
	if (location->history[location->newest % HISTORY].value != *expected) {
		*expected = (uint32_t)location->history[location->newest % HISTORY].value;
		return false;
	}
	modify(location, desired);
	return true;
}

static void fence_full(struct thread *thread)
{
	join(&thread->view, &thread->read);
	join(&sc_view, &thread->view);
	join(&thread->view, &sc_view);
	thread->released = view_keep(&thread->view);
}

void sched_fence(int order)
{
	point();
	if (!current)
		return;
	if (order == memory_order_seq_cst && sched_mutant != MUT_SEQ_CST_FENCE)
		fence_full(current);
	if (order == memory_order_acquire && sched_mutant != MUT_ACQUIRE_FENCE)
		join(&current->view, &current->read);
	if (order == memory_order_release && sched_mutant != MUT_RELEASE_FENCE)
		current->released = view_keep(&current->view);
}

/* Each running thread passes a full barrier, all at one moment. */
void sched_membarrier(unsigned int processes)
{
	point();
	if (!current)
		return;
	if (sched_mutant == (processes == SCHED_PUBLISHER ? MUT_PRIVATE_BARRIER : MUT_GLOBAL_BARRIER)) {
		fence_full(current);
		return;
	}
	for (int round = 0; round < 2; round++)
		for (unsigned int i = 0; i < n_threads; i++)
			if ((threads[i].process & processes) || &threads[i] == current)
				fence_full(&threads[i]);
}

uint64_t sched_peek(const void *at)
{
	struct location *location = location_of(region_of(at), at);

	return location->history[location->newest % HISTORY].value;
}

static void copy_out_of(unsigned char *to, const unsigned char *from, size_t n)
{
	for (size_t done = 0; done < n;) {
		size_t shift = (uintptr_t)(from + done) % 8;
		size_t part = 8 - shift < n - done ? 8 - shift : n - done;
		uint64_t word = sched_load(from + done - shift, 8, memory_order_relaxed);

		memcpy(to + done, (unsigned char *)&word + shift, part);
		done += part;
	}
}

static void copy_into(unsigned char *to, const unsigned char *from, size_t n)
{
	for (size_t done = 0; done < n;) {
		size_t shift = (uintptr_t)(to + done) % 8;
		size_t part = 8 - shift < n - done ? 8 - shift : n - done;
		uint64_t word = part < 8 ? sched_peek(to + done - shift) : 0;

		memcpy((unsigned char *)&word + shift, from + done, part);
		/* A value of zero in the payload is not the zero word that a mutant forgets. */
		point();
		append(location_of(region_of(to), to + done - shift), word, current ? current->released : NO_VIEW);
		done += part;
	}
}

void *sched_memcpy(void *to, const void *from, size_t n)
{
	if (region_of(from))
		copy_out_of(to, from, n);
	else if (region_of(to))
		copy_into(to, from, n);
	else
		memcpy(to, from, n);
	return to;
}

/* -- threads -- */

static void run_thread(unsigned int idx)
{
	threads[idx].entry(threads[idx].arg);
	end();
}

void sched_spawn(void (*entry)(void *arg), void *arg, unsigned int process)
{
	struct thread *thread = &threads[n_threads];

	if (n_threads == SCHED_THREADS_MAX)
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
	makecontext(&thread->context, (void (*)(void))(void *)run_thread, 1, n_threads);
	n_threads++;
}

bool sched_sleep(const void *word, uint32_t seen)
{
	point();
	/* The kernel compares under a lock that the one who wakes takes too: it reads the newest value. */
	if (sched_peek(word) != seen)
		return true;
	current->state = ASLEEP;
	current->word = word;
	current->asleep_since = steps;
	current->has_timed_out = false;
	go_on(false);
	see_everything(&current->view);
	return !current->has_timed_out;
}

unsigned int sched_wake(const void *word)
{
	unsigned int n = 0;

	point();
	for (unsigned int i = 0; i < n_threads; i++) {
		struct thread *thread = &threads[i];

		if (thread->state != ASLEEP ||
		    location_of(region_of(thread->word), thread->word) != location_of(region_of(word), word))
			continue;
		thread->state = READY;
		n++;
	}
	return n;
}

/* -- schedules -- */

static void run_root(void)
{
	current = NULL;
	scenario_now->setup();
	for (unsigned int i = 0; i < n_threads; i++)
		see_everything(&threads[i].view);
	if (n_threads > 0) {
		if (mode == MODE_TRAIL)
			go_to(&threads[trail_choose(n_threads)]);
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

	epoch++;
	n_threads = 0;
	n_views = 1;
	steps = 0;
	has_failed = has_crashed = false;
	lowest_priority = 1ull << 39;
	memset(&sc_view, 0, sizeof(sc_view));
	sc_view.n = LOCATIONS_MAX;
	if (!root_stack)
		root_stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	getcontext(&root_context);
	root_context.uc_stack.ss_sp = root_stack;
	root_context.uc_stack.ss_size = size;
	root_context.uc_link = NULL;
	makecontext(&root_context, run_root, 0);
	swapcontext(&main_context, &root_context);
	current = NULL;
	result.n_schedules++;
	result.n_steps += steps;
	if (has_failed)
		result.has_failed = true;
}

static void begin(const struct sched_scenario *scenario, bool is_quiet)
{
	regions_forget();
	scenario_now = scenario;
	is_quiet_now = is_quiet;
	result = (struct sched_result){0};
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
	for (uint64_t i = 0; i < n && !result.has_failed; i++) {
		/* Not what earlier seeds took, or a seed would not repeat itself alone. */
		choose_luck(first_seed + i);
		result.seed = first_seed + i;
		run_schedule();
	}
	return result;
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
	while (result.n_schedules < n_max && !result.has_failed) {
		trail_at = 0;
		random_state = 1;
		run_schedule();
		if (!trail_advance(n_deviations)) {
			result.is_complete = true;
			break;
		}
	}
	return result;
}
