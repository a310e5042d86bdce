/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The shipping ring, gates and waiting under the controlled scheduler
 *
 *	sched_ring [--long]                       all scenarios, then every planted mutant must fail
 *	sched_ring --scenario NAME --seed N [--count N] [--mutant NAME]
 *
 * What is checked: an accepted record is whole, in order and of its publish; loss reports are exact;
 * a batch is seen whole or not at all, also after a crash; what was acknowledged survives a crash;
 * a reliable reader loses nothing from its join on, unless it was dropped, and then knows it; nobody
 * sleeps while there is something to read; nobody touches a slot that was unmapped.
 */
#include "tests/stress/args.h"
#include "tests/stress/sched_ring.h"

#undef memcpy

struct scenario {
	struct sched_scenario base;
	struct options options;
	unsigned int share;        /* of the seeds, in percent */
	unsigned int n_deviations; /* of the search; 0 = none */
};

static const struct scenario scenarios[] = {
	{{"lossy", ring_setup, ring_finish}, {.n_lossy = 2, .n_publishes = 16}, 20, 0},
	{{"reliable", ring_setup, ring_finish}, {.n_gates = 1, .n_lossy = 1, .n_publishes = 16}, 16, 0},
	{{"crash", ring_setup, ring_finish}, {.n_gates = 1, .n_lossy = 1, .n_publishes = 16, .may_crash = true}, 25, 0},
	{{"join", ring_setup, ring_finish}, {.n_joining = 2, .n_publishes = 30}, 10, 0},
	{{"die", ring_setup, ring_finish}, {.n_joining = 2, .n_publishes = 30, .may_die = true}, 4, 0},
	{{"evict", ring_setup, ring_finish}, {.n_joining = 2, .n_publishes = 30, .may_evict = true}, 5, 0},
	{{"sleep", ring_setup, ring_finish}, {.n_lossy = 2, .n_publishes = 5, .is_sleeping = true}, 20, 0},
	{{"lossy-all", ring_setup, ring_finish}, {.n_lossy = 1, .n_before = 13, .n_publishes = 3, .is_plain = true}, 0, 2},
	{{"reliable-all", ring_setup, ring_finish}, {.n_gates = 1, .n_before = 13, .n_publishes = 4, .is_plain = true}, 0, 2},
	{{"crash-all", ring_setup, ring_finish},
	 {.n_lossy = 1, .n_before = 13, .n_publishes = 2, .is_plain = true, .may_crash = true}, 0, 2},
	{{"sleep-all", ring_setup, ring_finish}, {.n_lossy = 1, .n_publishes = 2, .is_plain = true, .is_sleeping = true}, 0, 2},
};

#define N_SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static void report(const struct scenario *scenario, const struct sched_result *result)
{
	printf("%-13s %7llu schedules %s %9llu steps, %llu switches, %llu stale loads, %llu crashes; "
	       "%llu lapped, %llu full, %llu dropped, %llu sleeps, %llu quick\n",
	       scenario->base.name, (unsigned long long)result->n_schedules,
	       scenario->n_deviations ? (result->is_complete ? "(all)" : "(cut)") : "     ",
	       (unsigned long long)result->n_steps, (unsigned long long)result->n_switches,
	       (unsigned long long)result->n_stale, (unsigned long long)result->n_crashes,
	       (unsigned long long)met.lapped, (unsigned long long)met.full, (unsigned long long)met.dropped,
	       (unsigned long long)met.slept, (unsigned long long)met.quick);
	if (result->has_failed && !scenario->n_deviations)
		printf("FAILED. Alone: sched_ring --scenario %s --seed %llu --mutant %s\n", scenario->base.name,
		       (unsigned long long)result->seed, sched_mutant_names[sched_mutant]);
	else if (result->has_failed)
		printf("FAILED. Alone: sched_ring --scenario %s --mutant %s\n", scenario->base.name,
		       sched_mutant_names[sched_mutant]);
	fflush(stdout);
}

static struct sched_result run(const struct scenario *scenario, uint64_t seed, uint64_t n, unsigned int n_more,
			       bool is_quiet)
{
	options = scenario->options;
	memset(&met, 0, sizeof(met));
	if (scenario->n_deviations)
		return sched_run_all(&scenario->base, scenario->n_deviations + n_more, n, is_quiet);
	return sched_run_seeds(&scenario->base, seed, n, is_quiet);
}

static int run_everything(uint64_t seed, uint64_t n_seeds, bool is_long)
{
	uint64_t n_schedules = 0;
	int r = 0;

	for (size_t i = 0; i < N_SCENARIOS; i++) {
		const struct scenario *scenario = &scenarios[i];
		uint64_t n = scenario->n_deviations ? (is_long ? 4000000 : 30000) : n_seeds * scenario->share / 100;
		struct sched_result result = run(scenario, seed, n, is_long, false);

		report(scenario, &result);
		n_schedules += result.n_schedules;
		/* A search that was cut has not shown what it is for. */
		r |= result.has_failed || (scenario->n_deviations && !result.is_complete);
	}
	printf("%llu schedules\n", (unsigned long long)n_schedules);
	return r;
}

static const struct scenario *find_scenario(const char *name)
{
	for (size_t i = 0; i < N_SCENARIOS; i++)
		if (!strcmp(scenarios[i].base.name, name))
			return &scenarios[i];
	kit_usage_error("no such scenario", name);
	return NULL;
}

/* The scenario that must find each planted bug. */
static const char *const catchers[MUT_MAX] = {
	[MUT_RELEASE_FENCE] = "lossy",	     [MUT_ACQUIRE_FENCE] = "lossy",	 [MUT_SEQ_CST_FENCE] = "join",
	[MUT_HEADER_STORE] = "reliable",     [MUT_HEADER_LOAD] = "reliable",	 [MUT_CHECKPOINT_STORE] = "lossy",
	[MUT_CHECKPOINT_LOAD] = "lossy",     [MUT_STATE_STORE] = "lossy",	 [MUT_STATE_LOAD] = "lossy",
	[MUT_INTENT_STORE] = "lossy",	     [MUT_ZERO_STORE] = "reliable",	 [MUT_PRIVATE_BARRIER] = "join",
	[MUT_GLOBAL_BARRIER] = "sleep",	     [MUT_NOTIFY] = "sleep",
	[MUT_NOTIFY_LOAD] = "sleep",
};

static int run_mutants(uint64_t seed, uint64_t n_seeds)
{
	int r = 0;

	for (sched_mutant = MUT_NONE + 1; sched_mutant < MUT_MAX; sched_mutant++) {
		const char *who = catchers[sched_mutant];
		struct sched_result result = run(find_scenario(who), seed, n_seeds, 0, true);

		printf("mutant %-16s %s %s after %llu schedules\n", sched_mutant_names[sched_mutant],
		       result.has_failed ? "caught by" : "SURVIVED", who, (unsigned long long)result.n_schedules);
		r |= !result.has_failed;
	}
	sched_mutant = MUT_NONE;
	return r;
}

static enum sched_mutant find_mutant(const char *name)
{
	for (unsigned int i = 0; i < MUT_MAX; i++)
		if (!strcmp(sched_mutant_names[i], name))
			return i;
	kit_usage_error("no such mutant", name);
	return MUT_NONE;
}

static const char usage[] =
	"Usage: sched_ring [--long] [--seed N] [--scenario NAME [--count N]] [--mutant NAME]\n"
	"Runs the ring and the waiting that are shipped under a scheduler that chooses every access, with store buffers\n"
	"and crashes: all scenarios and mutants, or COUNT (1) schedules of one from SEED (1) on, which replays a failure.\n"
	"  --long         a million schedules; 10 minutes\n"
	"  --mutant NAME  with this access weakened\n"
	"Exit: 0 passed, 1 failed, 2 usage.\n";

int main(int argc, char **argv)
{
	const struct scenario *only = NULL;
	const char *scenario = NULL, *mutant = NULL;
	uint64_t seed = 1, count = 1;
	bool is_long = false;
	const struct kit_arg args[] = {{.name = "--long", .is_given = &is_long}, {.name = "--scenario", .word = &scenario},
				       {.name = "--mutant", .word = &mutant}, {.name = "--seed", .number = &seed},
				       {.name = "--count", .number = &count}, {0}};

	kit_args(argc, argv, usage, args);
	if (scenario)
		only = find_scenario(scenario);
	if (mutant)
		sched_mutant = find_mutant(mutant);
	if (only) {
		struct sched_result result =
			run(only, seed, only->n_deviations ? UINT64_MAX : count, is_long, false);

		report(only, &result);
		return result.has_failed;
	}
	return run_everything(seed, is_long ? 1000000 : 100000, is_long) | run_mutants(seed, 20000);
}
