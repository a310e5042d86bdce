/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * torture: kills, stops and restarts everything on a private bus, and accounts for every event
 *
 * Publishers, reliable and lossy subscribers and the daemon are killed (SIGKILL), stopped (SIGSTOP, 0.1 to 3 s) or
 * restarted at random moments. A ledger in shared memory knows every event of which publish said yes. At the end:
 * nothing acknowledged is missing without a report, nothing is torn, out of order or reported wrongly, nobody hung,
 * and the daemon holds no more than at the start.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/torture/judge.h"
#include "tests/torture/roles.h"

#define VICTIMS_MAX 32u
#define OUTAGES_MAX 8192u
#define RECOVERIES_MAX 65536u
#define WEDGE_MS 2000u

enum kind { PUBLISHER, RELIABLE, LOSSY, DAEMON };
static const char *const kind_names[] = {"publisher", "reliable", "lossy", "daemon"};

struct victim {
	enum kind kind;
	bool is_spared;     /* stopped, never killed: a witness of all publishers */
	pid_t pid;          /* 0 = not running */
	uint32_t idx;       /* in the ledger */
	uint64_t resume_ns; /* stopped until then; 0 = runs */
	uint64_t start_ns;  /* daemon: to be started then */
};

struct torture {
	struct ledger *ledger;
	struct victim victim[VICTIMS_MAX];
	unsigned int n_victims;
	uint64_t random;
	char directory[64];
	char socket[96];
	const char *daemon_path;
	struct outage outages[OUTAGES_MAX];
	unsigned int n_outages;
	uint32_t recovery_us[RECOVERIES_MAX];
	unsigned int n_recoveries;
	unsigned int n_kills[4];
	unsigned int n_stops[4];
	unsigned int n_wedges;
	unsigned int n_bad_exits;
	bool is_verbose;
};

uint64_t ledger_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t next_random(struct torture *t)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return t->random;
}

static void nap_us(long us)
{
	struct timespec nap = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	nanosleep(&nap, NULL);
}

/* -- starting -- */

static pid_t start_daemon(struct torture *t)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(t->daemon_path, "hugebusd", "--socket", t->socket, "--log-level", "error", (char *)NULL);
		_exit(127);
	}
	return pid;
}

static bool start_member(struct torture *t, struct victim *victim)
{
	_Atomic uint32_t *n = victim->kind == PUBLISHER ? &t->ledger->n_publishers : &t->ledger->n_subscribers;
	uint32_t most = victim->kind == PUBLISHER ? LEDGER_PUBLISHERS_MAX : LEDGER_SUBSCRIBERS_MAX;
	uint64_t seed = next_random(t);
	uint32_t topic_idx = (uint32_t)(victim - t->victim) % 3;

	if (*n >= most)
		return false;
	victim->idx = *n;
	victim->resume_ns = 0;
	if (victim->kind != PUBLISHER)
		t->ledger->subscriber[victim->idx].is_reliable = victim->kind == RELIABLE;
	atomic_fetch_add_explicit(n, 1, memory_order_release);
	victim->pid = fork();
	if (victim->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (victim->kind == PUBLISHER)
			_exit(role_publisher(t->ledger, victim->idx, t->socket, topic_idx, seed));
		_exit(role_subscriber(t->ledger, victim->idx, t->socket, victim->kind == RELIABLE));
	}
	return victim->pid > 0;
}

static void outage_begins(struct torture *t)
{
	if (t->n_outages < OUTAGES_MAX)
		t->outages[t->n_outages++] = (struct outage){.from_ns = ledger_now_ns(), .until_ns = UINT64_MAX / 2};
}

static void outage_ends(struct torture *t)
{
	if (t->n_outages > 0)
		t->outages[t->n_outages - 1].until_ns = ledger_now_ns();
}

/* -- ending -- */

static void reaped(struct torture *t, struct victim *victim, int status, bool was_us)
{
	if (victim->kind == PUBLISHER)
		t->ledger->publisher[victim->idx].ended_ns = ledger_now_ns();
	else if (victim->kind != DAEMON)
		t->ledger->subscriber[victim->idx].was_killed = was_us;
	victim->pid = 0;
	if (was_us || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return;
	/* 3: it could not come in, because the daemon was dead all the time. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
		return;
	fprintf(stderr, "torture: %s ended by itself: %s %d\n", kind_names[victim->kind], WIFSIGNALED(status) ? "signal" : "status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	t->n_bad_exits++;
}

static void kill_victim(struct torture *t, struct victim *victim)
{
	int status = 0;

	if (victim->kind == DAEMON) {
		outage_begins(t);
		victim->start_ns = ledger_now_ns() + next_random(t) % 500000000u;
	}
	kill(victim->pid, SIGKILL);
	waitpid(victim->pid, &status, 0);
	reaped(t, victim, status, true);
	t->n_kills[victim->kind]++;
}

static void stop_victim(struct torture *t, struct victim *victim)
{
	kill(victim->pid, SIGSTOP);
	if (victim->kind == DAEMON)
		outage_begins(t);
	victim->resume_ns = ledger_now_ns() + 100000000u + next_random(t) % (next_random(t) % 5 == 0 ? 2900000000u : 300000000u);
	t->n_stops[victim->kind]++;
}

static void resume_victim(struct torture *t, struct victim *victim)
{
	kill(victim->pid, SIGCONT);
	if (victim->kind == DAEMON)
		outage_ends(t);
	victim->resume_ns = 0;
}

/* Starts what is down, resumes what has stood long enough, reaps what ended. */
static void tend(struct torture *t)
{
	uint64_t now = ledger_now_ns();

	for (unsigned int i = 0; i < t->n_victims; i++) {
		struct victim *victim = &t->victim[i];
		int status = 0;

		if (victim->pid > 0 && waitpid(victim->pid, &status, WNOHANG) == victim->pid)
			reaped(t, victim, status, false);
		if (victim->pid > 0 && victim->resume_ns && now >= victim->resume_ns)
			resume_victim(t, victim);
		if (victim->pid > 0)
			continue;
		if (victim->kind != DAEMON) {
			start_member(t, victim);
		} else if (now >= victim->start_ns) {
			victim->pid = start_daemon(t);
			victim->resume_ns = 0;
			outage_ends(t);
		}
	}
}

/* -- recovery -- */

static bool anybody_stopped(const struct torture *t)
{
	for (unsigned int i = 0; i < t->n_victims; i++)
		if (t->victim[i].resume_ns)
			return true;
	return false;
}

/* After a kill: how long until every running publisher has published again. */
static void measure_recovery(struct torture *t, enum kind killed)
{
	uint64_t before[VICTIMS_MAX], begin = ledger_now_ns();

	for (unsigned int i = 0; i < t->n_victims; i++)
		before[i] = t->victim[i].kind == PUBLISHER ? t->ledger->publisher[t->victim[i].idx].acked : 0;
	for (;;) {
		unsigned int n_waiting = 0;
		uint64_t us = (ledger_now_ns() - begin) / 1000;

		for (unsigned int i = 0; i < t->n_victims; i++) {
			const struct victim *victim = &t->victim[i];

			/* One that has just begun is not in the race. */
			if (victim->kind == PUBLISHER && victim->pid > 0 && before[i] > 0)
				n_waiting += t->ledger->publisher[victim->idx].acked == before[i];
		}
		if (n_waiting == 0 || us > WEDGE_MS * 1000) {
			if (n_waiting) {
				t->n_wedges++;
				fprintf(stderr, "torture: %u publishers did not move for %u ms after a kill\n", n_waiting, WEDGE_MS);
			}
			if (t->n_recoveries < RECOVERIES_MAX)
				t->recovery_us[t->n_recoveries++] = (uint32_t)us;
			if (us > 100000)
				fprintf(stderr, "torture: publishers stood for %u ms after a %s was killed\n", (unsigned int)(us / 1000),
					kind_names[killed]);
			return;
		}
		nap_us(100);
	}
}

static void hurt_somebody(struct torture *t)
{
	struct victim *victim = &t->victim[next_random(t) % t->n_victims];
	bool is_quiet = !anybody_stopped(t);

	if (victim->pid <= 0)
		return;
	if (victim->is_spared || next_random(t) % 8 == 0) {
		if (!victim->resume_ns && (!victim->is_spared || next_random(t) % 4 == 0))
			stop_victim(t, victim);
		return;
	}
	kill_victim(t, victim);
	if (is_quiet && (victim->kind == RELIABLE || victim->kind == DAEMON))
		measure_recovery(t, victim->kind);
}

/* -- the whole -- */

static unsigned int count_fds(pid_t pid)
{
	char path[64];
	unsigned int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static struct victim *daemon_of(struct torture *t)
{
	return &t->victim[0];
}

static bool wait_for_socket(const struct torture *t)
{
	for (int i = 0; i < 1000; i++) {
		if (access(t->socket, F_OK) == 0)
			return true;
		nap_us(10000);
	}
	return false;
}

/* Everybody runs again; publishers finish, then subscribers drain. False: somebody hangs. */
static bool finish_kind(struct torture *t, bool publishers, unsigned int seconds)
{
	uint64_t deadline = ledger_now_ns() + (uint64_t)seconds * 1000000000u;
	unsigned int n;

	do {
		n = 0;
		for (unsigned int i = 0; i < t->n_victims; i++) {
			struct victim *victim = &t->victim[i];
			int status = 0;

			if (victim->kind == DAEMON || (victim->kind == PUBLISHER) != publishers || victim->pid <= 0)
				continue;
			if (waitpid(victim->pid, &status, WNOHANG) == victim->pid)
				reaped(t, victim, status, false);
			else
				n++;
		}
		nap_us(5000);
	} while (n > 0 && ledger_now_ns() < deadline);
	return n == 0;
}

static bool finish(struct torture *t)
{
	bool ok;

	for (unsigned int i = 0; i < t->n_victims; i++)
		if (t->victim[i].pid > 0 && t->victim[i].resume_ns)
			resume_victim(t, &t->victim[i]);
	daemon_of(t)->start_ns = 0;
	tend(t);
	nap_us(2500000); /* whoever lost the daemon comes back, whoever began attaches */
	atomic_store_explicit(&t->ledger->must_finish, 1, memory_order_release);
	ok = finish_kind(t, true, 15);
	atomic_store_explicit(&t->ledger->must_drain, 1, memory_order_release);
	ok = finish_kind(t, false, 30) && ok;
	if (!ok) {
		fprintf(stderr, "torture: somebody did not end\n");
		t->n_wedges++;
	}
	return ok;
}

static void end_everything(struct torture *t)
{
	for (unsigned int i = 0; i < t->n_victims; i++) {
		if (t->victim[i].pid <= 0)
			continue;
		kill(t->victim[i].pid, t->victim[i].kind == DAEMON ? SIGTERM : SIGKILL);
		waitpid(t->victim[i].pid, NULL, 0);
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double recovery_ms(struct torture *t, double fraction)
{
	if (t->n_recoveries == 0)
		return 0;
	qsort(t->recovery_us, t->n_recoveries, sizeof(t->recovery_us[0]), by_value);
	return t->recovery_us[(unsigned int)(fraction * (t->n_recoveries - 1))] / 1000.0;
}

static int report(struct torture *t, const struct verdict *v, unsigned int fds_before, unsigned int fds_after)
{
	unsigned int n_kills = 0, n_stops = 0, n_faults;

	for (int i = 0; i < 4; i++) {
		n_kills += t->n_kills[i];
		n_stops += t->n_stops[i];
	}
	printf("kills %u (publishers %u, reliable %u, lossy %u, daemon %u), stops %u\n", n_kills, t->n_kills[PUBLISHER],
	       t->n_kills[RELIABLE], t->n_kills[LOSSY], t->n_kills[DAEMON], n_stops);
	printf("events acknowledged %" PRIu64 ", received %" PRIu64 ", told lost %" PRIu64 "; pairs judged to the last event %" PRIu64
	       ", excused by a dead daemon %" PRIu64 "\n",
	       v->acked, v->received, v->told_lost, v->n_pairs, v->excused);
	printf("recovery of publishers after a kill: p50 %.1f ms, p99 %.1f ms, max %.1f ms (%u); longest publish %u ms\n",
	       recovery_ms(t, 0.5), recovery_ms(t, 0.99), recovery_ms(t, 1), t->n_recoveries, v->slowest_ms);
	printf("daemon's descriptors: %u before, %u after\n", fds_before, fds_after);
	printf("lost acknowledged %" PRIu64 ", torn %" PRIu64 ", wrong order %" PRIu64 ", unreported gaps %" PRIu64
	       ", too many %" PRIu64 ", late %" PRIu64 ", errors %" PRIu64 ", wedges %u, bad exits %u\n",
	       v->lost_acked, v->torn, v->disordered, v->unreported, v->too_many, v->late, v->errors, t->n_wedges, t->n_bad_exits);
	n_faults = verdict_faults(v) + (t->n_wedges > 0) + (t->n_bad_exits > 0) + (fds_after > fds_before + 2);
	printf("%s\n", n_faults ? "FAILED" : "passed");
	return n_faults ? 1 : 0;
}

static void setup(struct torture *t, unsigned int n_publishers, unsigned int n_reliable, unsigned int n_lossy)
{
	static const enum kind kinds[] = {PUBLISHER, RELIABLE, LOSSY};
	unsigned int n[] = {n_publishers, n_reliable, n_lossy};

	t->victim[t->n_victims++].kind = DAEMON;
	for (int k = 2; k >= 0; k--)
		for (unsigned int i = 0; i < n[k] && t->n_victims < VICTIMS_MAX; i++)
			t->victim[t->n_victims++] = (struct victim){.kind = kinds[k], .is_spared = k > 0 && i == 0};
}

static int run(struct torture *t, unsigned int seconds, unsigned int max_kills)
{
	unsigned int fds_before, fds_after, n_hurt = 0;
	uint64_t end, progress = 0;
	struct verdict verdict;

	daemon_of(t)->pid = start_daemon(t);
	if (!wait_for_socket(t)) {
		fprintf(stderr, "torture: %s did not start\n", t->daemon_path);
		end_everything(t);
		return 1;
	}
	nap_us(200000);
	fds_before = count_fds(daemon_of(t)->pid);
	tend(t);
	nap_us(500000);
	end = ledger_now_ns() + (uint64_t)seconds * 1000000000u;
	while (ledger_now_ns() < end && (max_kills == 0 || n_hurt < max_kills)) {
		tend(t);
		nap_us((long)(next_random(t) % 120000));
		hurt_somebody(t);
		n_hurt++;
		if (t->is_verbose && ledger_now_ns() - progress > 10000000000u) {
			progress = ledger_now_ns();
			fprintf(stderr, "%u hurt, %u publishers, %u subscribers so far\n", n_hurt, t->ledger->n_publishers,
				t->ledger->n_subscribers);
		}
	}
	finish(t);
	if (t->is_verbose)
		for (unsigned int i = 0; i < t->n_outages; i++)
			fprintf(stderr, "daemon away %.3f to %.3f s\n", (double)t->outages[i].from_ns / 1e9,
				(double)t->outages[i].until_ns / 1e9);
	judge(t->ledger, t->outages, t->n_outages, &verdict);
	nap_us(300000);
	fds_after = count_fds(daemon_of(t)->pid);
	end_everything(t);
	return report(t, &verdict, fds_before, fds_after);
}

static void remove_directory(const struct torture *t)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("rm", "rm", "-rf", "--", t->directory, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

static const char help[] = "Usage: torture [--seconds N] [--kills N] [--seed N] [--publishers N] [--reliable N] [--lossy N]\n"
			   "               [--daemon PATH] [--verbose]\n"
			   "Kills, stops and restarts publishers, subscribers and the daemon of a private bus and accounts for every\n"
			   "event. Default: 20 s, a seed from the clock (printed). Exit: 0 passed, 1 failed, 2 usage.\n";

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"seconds", required_argument, NULL, 's'}, {"kills", required_argument, NULL, 'k'},
		{"seed", required_argument, NULL, 'S'},	   {"publishers", required_argument, NULL, 'p'},
		{"reliable", required_argument, NULL, 'r'}, {"lossy", required_argument, NULL, 'l'},
		{"daemon", required_argument, NULL, 'd'},  {"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},	   {0},
	};
	unsigned int seconds = 20, kills = 0, n_publishers = 3, n_reliable = 2, n_lossy = 2;
	static struct torture t;
	char path[512];
	const char *build = getenv("HBUS_BUILD");
	uint64_t seed = ledger_now_ns() & 0xffffffff;
	int c, r;

	snprintf(path, sizeof(path), "%s/ctl/daemon/hugebusd", build ? build : "build");
	t.daemon_path = path;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 's': seconds = (unsigned int)strtoul(optarg, NULL, 10); break;
		case 'k': kills = (unsigned int)strtoul(optarg, NULL, 10); seconds = 24 * 3600; break;
		case 'S': seed = strtoull(optarg, NULL, 10); break;
		case 'p': n_publishers = (unsigned int)strtoul(optarg, NULL, 10); break;
		case 'r': n_reliable = (unsigned int)strtoul(optarg, NULL, 10); break;
		case 'l': n_lossy = (unsigned int)strtoul(optarg, NULL, 10); break;
		case 'd': t.daemon_path = optarg; break;
		case 'v': t.is_verbose = true; break;
		case 'h': fputs(help, stdout); return 0;
		default: return 2;
		}
	}
	printf("seed %" PRIu64 "\n", seed);
	fflush(stdout);
	t.random = seed * 2654435761u | 1;
	t.ledger = mmap(NULL, sizeof(*t.ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	snprintf(t.directory, sizeof(t.directory), "/tmp/hugebus-torture-XXXXXX");
	if (t.ledger == MAP_FAILED || !mkdtemp(t.directory)) {
		perror("torture");
		return 1;
	}
	snprintf(t.socket, sizeof(t.socket), "%s/bus.sock", t.directory);
	setup(&t, n_publishers, n_reliable, n_lossy);
	r = run(&t, seconds, kills);
	remove_directory(&t);
	return r;
}
