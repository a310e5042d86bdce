/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A controlled scheduler and a weak memory, for the shipping lock-free code
 *
 * Threads are coroutines of one thread; each access to shared memory is a point at which another may go on. Memory
 * is weaker than any machine that the project runs on: a location keeps its last values, and a load may
 * return any that is not older than what its thread must have seen. What a thread must have seen (its view) grows
 * by its own accesses, by acquiring what was released, by fences and by membarrier. So a store may become visible long
 * after later ones (as with a store buffer for each address), and a load may be done early. Loads do not see
 * stores of the future: reordering of a load with a later store is out of scope.
 *
 * Who decides: a seeded random walk, seeded priorities with few change points (PCT), or a search of
 * every schedule that differs from the plain one in at most n decisions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHED_THREADS_MAX 6u
#define SCHED_PUBLISHER 1u /* process masks */
#define SCHED_SUBSCRIBER 2u

/* What a region is for; a mutant weakens one kind of access to one kind of memory. */
enum sched_kind { SCHED_DATA, SCHED_HEADER, SCHED_SLOT, SCHED_TABLE, SCHED_MAIL };

/* What is wrong on purpose. The names are the command line's. */
enum sched_mutant {
	MUT_NONE,
	MUT_RELEASE_FENCE,
	MUT_ACQUIRE_FENCE,
	MUT_SEQ_CST_FENCE,
	MUT_HEADER_STORE,
	MUT_HEADER_LOAD,
	MUT_CHECKPOINT_STORE,
	MUT_CHECKPOINT_LOAD,
	MUT_STATE_STORE,
	MUT_STATE_LOAD,
	MUT_INTENT_STORE,
	MUT_ZERO_STORE,
	MUT_PRIVATE_BARRIER,
	MUT_GLOBAL_BARRIER,
	MUT_NOTIFY,
	MUT_NOTIFY_LOAD,
	MUT_MAX,
};

extern const char *const sched_mutant_names[MUT_MAX];
extern enum sched_mutant sched_mutant;

/* -- memory -- */

/* @mask: locations repeat with this period minus one; @like: the same memory mapped elsewhere, or NULL. */
void sched_region(void *base, size_t size, enum sched_kind kind, size_t mask, const void *like);
void sched_region_unmap(const void *base);
void sched_region_remap(const void *base);

uint64_t sched_load(const void *at, size_t size, int order);
void sched_store(void *at, size_t size, uint64_t value, int order);
uint64_t sched_fetch_add(void *at, size_t size, uint64_t value);
bool sched_compare_exchange(void *at, size_t size, uint32_t *expected, uint32_t desired);
void sched_fence(int order);
void sched_membarrier(unsigned int processes);
void *sched_memcpy(void *to, const void *from, size_t n);
/* The newest value, seen by nobody. */
uint64_t sched_peek(const void *at);

/* -- threads -- */

void sched_spawn(void (*entry)(void *arg), void *arg, unsigned int process);
/* Nothing to do at the moment: let others. */
void sched_pause(void);
/* Sleep on a futex word. False: everybody slept, so time passed. */
bool sched_sleep(const void *word, uint32_t seen);
unsigned int sched_wake(const void *word);
/* This thread's process ends here and now, if the schedule says so. */
void sched_may_crash(bool may);
bool sched_has_crashed(void);
/* A decision of the scenario: 0..n-1, 0 is the plain one. */
unsigned int sched_choose(unsigned int n);
uint64_t sched_random(void);
void sched_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* -- schedules -- */

struct sched_scenario {
	const char *name;
	void (*setup)(void);  /* regions are fresh; spawns the threads */
	void (*finish)(void); /* all threads have ended or crashed */
};

struct sched_result {
	uint64_t n_schedules, n_steps, n_switches, n_stale, n_crashes;
	bool has_failed, is_complete;
	uint64_t seed; /* that failed */
};

/* Random schedules, one for each seed. */
struct sched_result sched_run_seeds(const struct sched_scenario *scenario, uint64_t first_seed, uint64_t n, bool is_quiet);
/* All schedules with at most @n_deviations, up to @n_max of them. */
struct sched_result sched_run_all(const struct sched_scenario *scenario, unsigned int n_deviations, uint64_t n_max,
				  bool is_quiet);
