/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's state machine in a simulated world: any order of events, on a simulated clock, killed between any two
 * of its actions, with clients that die, stop, hang up, come back and lie
 *
 *     sim_state                        300 seeds of 1 500 steps, then the planted bugs; every promise is checked after each step
 *     sim_state --seeds N --first N    others
 *     sim_state --long                 5 000 seeds
 *     sim_state --seed N [--verbose]   one again
 *     sim_state --seed N --bug NAME    with a planted bug (--bug list)
 *
 * Exit: 0 all promises held, 1 one did not, 2 usage.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/stress/args.h"
#include "tests/stress/fds.h"
#include "tests/stress/state_world.h"

#define STEPS 1500
#define QUIET_EVERY 250
#define QUIET_ROUNDS 400
#define BUG_SEEDS 200

struct totals {
	uint64_t seeds, steps, messages, kills, kills_inside, deaths, hostile, quiet, opened;
};

/* ---- steps ---- */

static struct client *any_client(struct world *w)
{
	return &w->clients[world_random(w, WORLD_CLIENTS)];
}

static struct conn *any_conn(struct world *w)
{
	struct conn *conn = w->conns;
	uint32_t n = 0;

	for (const struct conn *at = w->conns; at; at = at->next)
		n++;
	if (n == 0)
		return NULL;
	for (uint32_t i = world_random(w, n); i > 0; i--)
		conn = conn->next;
	return conn;
}

/* What the kernel tells the daemon of this connection next: a message, a hangup, or the end of the process. */
static void daemon_hears(struct world *w, struct conn *conn)
{
	if (!conn || !w->state || conn->is_closed)
		return;
	world_accept(w, conn);
	if (!w->state || conn->is_closed)
		return;
	if (conn->member && conn->to_daemon.n > 0 && (conn->client || world_random(w, 4)))
		world_deliver(w, conn);
	else if (!conn->client && conn->member && (conn->is_process_alive || world_random(w, 2)))
		world_hang_up(w, conn);
	else if (!conn->is_process_alive)
		world_process_ended(w, conn);
}

/* Somebody says what no client of the library would: other bytes, twice, or in another order. */
static void lie(struct world *w, struct client *client)
{
	struct conn *conn = client->conn;
	struct frame *frame = conn ? queue_pop(&conn->to_daemon) : NULL;
	struct frame *copy;

	if (!frame)
		return;
	client->is_tainted = true;
	w->n_hostile++;
	copy = malloc(sizeof(*copy));
	memcpy(copy, frame, sizeof(*copy));
	switch (world_random(w, 4)) {
	case 0: /* other bytes */
		for (uint32_t i = 1 + world_random(w, 3); i > 0; i--)
			frame->bytes[4 + world_random(w, (uint32_t)frame->size - 4)] = (char)world_random(w, 256);
		break;
	case 1: /* another size */
		frame->size = world_random(w, HBUS_MSG_SIZE_MAX);
		break;
	case 2: /* another kind of descriptor, or one more or less */
		frame->n_fds = world_random(w, HBUS_MSG_FDS_MAX + 1);
		for (size_t i = 0; i < frame->n_fds; i++)
			frame->objects[i] = (struct object){(enum object_kind)(1 + world_random(w, 5)), 0, world_random(w, 9)};
		break;
	default: /* later than what follows: below */
		break;
	}
	queue_push(&conn->to_daemon, frame);
	if (world_random(w, 2))
		queue_push(&conn->to_daemon, copy);
	else
		free(copy);
}

static void fate(struct world *w, struct client *client)
{
	switch (world_random(w, 12)) {
	case 0:
		client_die(w, client);
		break;
	case 1:
	case 2:
		client_drop_link(client);
		break;
	case 3:
		lie(w, client);
		break;
	case 4:
		client->is_stopped = true;
		break;
	case 5:
		if (w->state && w->actions_left == 0)
			w->actions_left = 1 + world_random(w, 12);
		break;
	case 6:
		if (w->state && world_random(w, 3) == 0)
			world_kill(w);
		break;
	case 7:
		if (world_random(w, 4) == 0)
			world_configure(w, world_random(w, 32));
		break;
	default:
		client->is_stopped = false;
		break;
	}
}

static void birth(struct world *w, struct client *client)
{
	static const uid_t uids[] = {1000, 1000, 1001, 1001, 1000, 0};

	client_begin(w, client, uids[client - w->clients]);
}

static void step(struct world *w)
{
	struct client *client = any_client(w);
	uint32_t dice = world_random(w, 100);

	if (!w->state && w->now_ns >= w->restart_ns && world_random(w, 4) == 0)
		world_start(w);
	if (!client->process && world_random(w, 4) == 0)
		birth(w, client);
	if (world_random(w, 16) == 0)
		world_watch(w);
	if (dice < 35)
		daemon_hears(w, any_conn(w));
	else if (dice < 65)
		(void)(client->process && !client->is_stopped && client_hear(w, client));
	else if (dice < 88 && client->process && !client->is_stopped)
		client_act(w, client, true);
	else if (dice < 93)
		world_tick(w, world_random(w, 20) ? world_random(w, 200) : world_random(w, 4000));
	else if (client->process)
		fate(w, client);
}

static void check(struct world *w)
{
	check_structure(w);
	check_journal(w);
}

/* Nobody begins anything; everybody is heard until nothing is left to say, and longer than anybody is waited for. */
static void be_quiet(struct world *w)
{
	for (int i = 0; i < WORLD_CLIENTS; i++) {
		w->clients[i].is_stopped = false;
		if (w->clients[i].is_tainted)
			client_die(w, &w->clients[i]);
	}
	w->actions_left = 0;
	for (int round = 0; round < QUIET_ROUNDS; round++) {
		if (!w->state) {
			w->now_ns = w->now_ns > w->restart_ns ? w->now_ns : w->restart_ns;
			world_start(w);
			w->actions_left = 0;
			if (!w->state)
				continue;
		}
		for (int k = 0; k < 4; k++) {
			world_watch(w);
			for (struct conn *conn = w->conns; conn; conn = conn->next)
				for (int i = 0; i < 8; i++)
					daemon_hears(w, conn);
			for (int i = 0; i < WORLD_CLIENTS; i++) {
				if (!w->clients[i].process)
					continue;
				for (int n = 0; n < 16 && client_hear(w, &w->clients[i]); n++)
					;
				client_act(w, &w->clients[i], false);
			}
		}
		check(w);
		world_tick(w, 50);
		world_sweep(w);
	}
	check_quiet(w);
	w->n_quiet++;
}

static void leave(struct world *w, size_t n_fds)
{
	for (int i = 0; i < WORLD_CLIENTS; i++)
		if (w->clients[i].process)
			client_die(w, &w->clients[i]);
	for (int round = 0; round < 100; round++) {
		world_watch(w);
		for (struct conn *conn = w->conns; conn; conn = conn->next)
			for (int i = 0; i < 8; i++)
				daemon_hears(w, conn);
		world_tick(w, 200);
		world_sweep(w);
		check(w);
	}
	check_empty(w);
	if (kit_n_open_fds() != n_fds)
		world_fail(w, "left when all are gone: %zu descriptors, there were %zu", kit_n_open_fds(), n_fds);
}

static void run_seed(uint64_t seed, enum world_bug bug, bool is_verbose, struct totals *totals)
{
	struct world *w = calloc(1, sizeof(*w));
	size_t n_fds = kit_n_open_fds();

	w->seed = seed;
	w->random = seed * 0x9e3779b97f4a7c15ull | 1;
	w->bug = bug;
	w->is_verbose = is_verbose;
	w->now_ns = 1000000000;
	hbus_config_init(&w->config);
	world_configure(w, world_random(w, 32));
	world_start(w);
	for (w->step = 1; w->step <= STEPS; w->step++) {
		step(w);
		check(w);
		world_sweep(w);
		if (w->step % QUIET_EVERY == 0)
			be_quiet(w);
	}
	leave(w, n_fds);
	totals->seeds++;
	totals->steps += STEPS;
	totals->messages += w->n_messages;
	totals->kills += w->n_kills;
	totals->kills_inside += w->n_kills_inside;
	totals->deaths += w->n_deaths;
	totals->hostile += w->n_hostile;
	totals->quiet += w->n_quiet;
	totals->opened += w->n_opened;
	world_free(w);
	free(w);
}

/* ---- planted bugs: each must be noticed ---- */

/* A child runs seeds with the bug until it fails. Return: whether it did. */
static bool is_noticed(enum world_bug bug, uint64_t first)
{
	struct totals totals = {0};
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();

	if (child == 0) {
		if (!freopen("/dev/null", "w", stdout))
			_exit(3);
		for (uint64_t seed = first; seed < first + BUG_SEEDS; seed++)
			run_seed(seed, bug, false, &totals);
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static int check_bugs(uint64_t first)
{
	int n_missed = 0;

	for (int bug = BUG_NONE + 1; bug < BUG_MAX; bug++) {
		bool is = is_noticed((enum world_bug)bug, first);

		printf("planted: %-14s %s\n", world_bugs[bug], is ? "noticed" : "NOT NOTICED");
		n_missed += !is;
	}
	return n_missed;
}

static enum world_bug bug_of(const char *name)
{
	for (int bug = 0; bug < BUG_MAX; bug++)
		if (strcmp(world_bugs[bug], name) == 0)
			return (enum world_bug)bug;
	for (int bug = 0; bug < BUG_MAX; bug++)
		puts(world_bugs[bug]);
	exit(strcmp(name, "list") == 0 ? 0 : 2);
}

static void usage(void)
{
	puts("Usage: sim_state [--seeds N] [--first N] [--long] [--seed N [--verbose] [--bug NAME|list]]\n"
	     "Runs the daemon's state machine with simulated clients, sockets, journal and clock: 300 seeds, then planted bugs.\n"
	     "  --long    5 000 seeds; 10 minutes\n"
	     "  --seed N  one of them again; --verbose: each message a line; --bug: with a bug planted\n"
	     "Exit: 0 passed, 1 failed, 2 usage.");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seeds", required_argument, NULL, 'n'}, {"first", required_argument, NULL, 'f'},
		{"long", no_argument, NULL, 'l'},	 {"seed", required_argument, NULL, 's'},
		{"verbose", no_argument, NULL, 'v'},	 {"bug", required_argument, NULL, 'b'},
		{"help", no_argument, NULL, 'h'},	 {0}};
	uint64_t n = 300, first = 1;
	bool is_single = false, is_verbose = false;
	enum world_bug bug = BUG_NONE;
	struct totals t = {0};
	int option, n_missed = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'n': n = kit_number(optarg); break;
		case 'f': first = kit_number(optarg); break;
		case 'l': n = 5000; break;
		case 's': first = kit_number(optarg); n = 1; is_single = true; break;
		case 'v': is_verbose = true; break;
		case 'b': bug = bug_of(optarg); break;
		case 'h': usage(); return 0;
		default: usage(); return 2;
		}
	}
	if (optind < argc)
		kit_usage_error("not an option", argv[optind]);
	for (uint64_t seed = first; seed < first + n; seed++) {
		run_seed(seed, bug, is_verbose, &t);
		if (t.seeds % 500 == 0)
			printf("%llu of %llu seeds\n", (unsigned long long)t.seeds, (unsigned long long)n), fflush(stdout);
	}
	if (!is_single)
		n_missed = check_bugs(first);
	printf("%llu seeds, %llu steps, %llu messages, daemon killed %llu times (%llu between two actions of one event), "
	       "%llu clients died, %llu lies, %llu rings shown, %llu times quiet: all promises held; planted bugs missed: %d\n",
	       (unsigned long long)t.seeds, (unsigned long long)t.steps, (unsigned long long)t.messages,
	       (unsigned long long)t.kills, (unsigned long long)t.kills_inside, (unsigned long long)t.deaths,
	       (unsigned long long)t.hostile, (unsigned long long)t.opened, (unsigned long long)t.quiet, n_missed);
	return n_missed ? 1 : 0;
}
