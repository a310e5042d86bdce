/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A daemon and its clients in one process in which the k-th allocation, descriptor or thread is refused, for k = 0, 1, 2...
 *
 *     refuse_bus                     some k of each case
 *     refuse_bus --long              every k; then again, each with all that follows for 30 ms
 *     refuse_bus --case NAME         one case (--case list)
 *     refuse_bus --case NAME --at K  one run again
 *     refuse_bus ... --ms N          with all that follows for so long, not one call alone
 *     refuse_bus --seed N            which k the short form takes
 *
 * A run opens a bus, publishes, subscribes, polls, administers and closes. Each call that fails must say that there is no
 * room; tried again it must succeed. What was subscribed must come. Clients beside, to whom nothing was refused, miss
 * nothing. In the end the process holds as many allocations, descriptors and mappings as before, and the daemon knows as
 * many clients, rings, subscribers and attachments.
 *
 * Exit: 0 all runs passed, 1 one did not (its line says how to run it again), 2 usage.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client/hugebus.h"
#include "tests/refuse/beside.h"
#include "tests/refuse/life.h"
#include "tests/refuse/place.h"
#include "tests/refuse/refuse.h"
#include "tests/stress/args.h"

#define RUN_SECONDS 60
#define RUNS_BETWEEN_LOOKS 16
#define BURST_MS 30
#define EVERY 11 /* in the short form */

struct refuse_case {
	const char *name;
	enum refuse_side side;
	uint32_t open_flags;
};

static const struct refuse_case cases[] = {
	{"client", REFUSE_CLIENT, 0},
	{"client-no-thread", REFUSE_CLIENT, HBUS_OPEN_NO_THREAD},
	{"client-handlers", REFUSE_CLIENT, HBUS_OPEN_WANTS_INTEREST | HBUS_OPEN_WANTS_ROUTES},
	{"daemon", REFUSE_DAEMON, 0},
};

static struct hbus_server *server;
static pthread_t server_thread;
static bool is_verbose;

static void *server_main(void *context)
{
	refuse_enter(REFUSE_DAEMON);
	hbus_server_run(context);
	return NULL;
}

static void server_start(void)
{
	if (refuse_server_new(NULL, &server) < 0 || pthread_create(&server_thread, NULL, server_main, server) != 0)
		refuse_fail("no daemon");
}

static void server_end(void)
{
	hbus_server_stop(server);
	pthread_join(server_thread, NULL);
	server = hbus_server_free(server);
}

/* Return: was anything refused? */
static bool run_one(const struct refuse_case *which, uint64_t at, unsigned int ms)
{
	uint64_t n_calls, begin_ms = refuse_now_ms(), told_before = refuse_n_told + refuse_n_lost_told;

	snprintf(refuse_run_text, sizeof(refuse_run_text), "refuse_bus --case %s --at %llu --ms %u", which->name,
		 (unsigned long long)at, ms);
	alarm(RUN_SECONDS);
	beside_subscribe();
	refuse_plan(which->side, at, ms);
	refuse_enter(REFUSE_CLIENT);
	refuse_life(which->open_flags);
	refuse_enter(REFUSE_NOBODY);
	n_calls = refuse_lift();
	beside_unsubscribe();
	if (is_verbose)
		printf("at %llu: %s, %llu refused, %llu told, %llu ms\n", (unsigned long long)at, refuse_first(),
		       (unsigned long long)refuse_count(), (unsigned long long)(refuse_n_told + refuse_n_lost_told - told_before),
		       (unsigned long long)(refuse_now_ms() - begin_ms));
	return at < n_calls;
}

/*
 * Runs @n_max times, for @first and each @every-th after it, until nothing is left to refuse; then looks at what has stayed.
 * A daemon waits a while for a client whose connection broke: so not after each. Return: runs.
 */
static uint64_t run_some(const struct refuse_case *which, unsigned int ms, uint64_t first, uint64_t every, uint64_t n_max)
{
	uint64_t n = 0;
	struct refuse_holding before;

	beside_look(&before);
	refuse_mark();
	while (n < n_max && run_one(which, first + n * every, ms))
		n++;
	if (n > 1)
		snprintf(refuse_run_text, sizeof(refuse_run_text), "one of refuse_bus --case %s --at %llu to %llu --ms %u",
			 which->name, (unsigned long long)first, (unsigned long long)(first + n * every), ms);
	beside_settle(&before, sizeof(before));
	return n;
}

/* What is made once and stays: names, and tables as large as they must be. */
static void warm_up(const struct refuse_case *which)
{
	static struct refuse_holding idle;

	if (idle.n_fds == 0)
		beside_look(&idle);
	run_one(which, UINT64_MAX, 0);
	beside_settle(&idle, sizeof(idle.n_rows));
}

static void begin(void)
{
	refuse_place_make();
	if (!is_verbose && !freopen("/dev/null", "w", stderr)) /* the daemon's log */
		exit(1);
	server_start();
	beside_open();
}

static void end(void)
{
	beside_close();
	server_end();
	refuse_place_clean();
	if (access(refuse_place.directory, F_OK) == 0)
		refuse_fail("files are left in %s", refuse_place.directory);
}

static uint64_t sweep(const struct refuse_case *which, unsigned int ms, uint64_t first, uint64_t every)
{
	uint64_t n = 0, n_more;

	do {
		n_more = run_some(which, ms, first + n * every, every, RUNS_BETWEEN_LOOKS);
		n += n_more;
	} while (n_more == RUNS_BETWEEN_LOOKS);
	return n;
}

static const char usage[] = "Usage: refuse_bus [--long | --every N] [--seed N] [--case NAME|list [--at K]] [--ms N] [--verbose]\n"
			    "Refuses the k-th allocation, descriptor, thread or message to a client or to the daemon of a bus in one process, for\n"
			    "many k: the call says so and works when it is tried again, nobody else notices, nothing is left behind.\n"
			    "  --long              each k, then each with all that follows for 30 ms; 10 minutes\n"
			    "  --every N           each N-th k; which ones, the seed says (default: 11)\n"
			    "  --case, --at        one case; one run of it again\n"
			    "  --ms N              what is refused, and all that follows for so long\n"
			    "Exit: 0 passed, 1 failed, 2 usage.\n";

static const struct refuse_case *case_of(const char *name)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(name, cases[i].name) == 0)
			return &cases[i];
		if (strcmp(name, "list") == 0)
			puts(cases[i].name);
	}
	if (strcmp(name, "list") != 0)
		kit_usage_error("no such case", name);
	exit(0);
}

int main(int argc, char **argv)
{
	uint64_t seed = (uint64_t)time(NULL), at = UINT64_MAX, ms = 0, every = 0, n_runs = 0, begin_ms = refuse_now_ms();
	const struct refuse_case *only = NULL;
	const char *name = NULL;
	bool is_long = false;
	const struct kit_arg args[] = {{"--seed", &seed, NULL, NULL},    {"--every", &every, NULL, NULL},
				       {"--at", &at, NULL, NULL},	 {"--ms", &ms, NULL, NULL},
				       {"--case", NULL, &name, NULL},    {"--long", NULL, NULL, &is_long},
				       {"--verbose", NULL, NULL, &is_verbose}, {0}};

	kit_args(argc, argv, usage, args);
	if (name)
		only = case_of(name);
	if (at != UINT64_MAX && !only)
		kit_usage_error("--at needs a --case", "--at");
	if (every == 0)
		every = is_long ? 1 : EVERY;
	begin();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct refuse_case *which = &cases[i];
		uint64_t n;

		if (only && which != only)
			continue;
		warm_up(which);
		if (at != UINT64_MAX)
			n = run_some(which, (unsigned int)ms, at, 1, 1);
		else
			n = sweep(which, (unsigned int)ms, (seed + i) % every, every);
		if (is_long && ms == 0)
			n += sweep(which, BURST_MS, 0, every);
		n_runs += n;
		printf("%s: %llu runs\n", which->name, (unsigned long long)n);
		fflush(stdout);
	}
	end();
	printf("seed %llu, %.1f s, %llu runs: %llu calls said that there is no room, %llu losses were told; passed\n",
	       (unsigned long long)seed, (double)(refuse_now_ms() - begin_ms) / 1000, (unsigned long long)n_runs,
	       (unsigned long long)refuse_n_told, (unsigned long long)refuse_n_lost_told);
	return 0;
}
