/* SPDX-License-Identifier: BSD-3-Clause */
/* Pinned processes that start together. See harness.h. */
#include "bench/harness.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/blame.h"

/* A run that takes longer than its duration by this much is broken. */
#define GRACE_MS 10000u

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void bench_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

void bench_pin(int core)
{
	cpu_set_t set;

	if (core < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)core, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

void bench_barrier(struct bench_run *run)
{
	struct bench_shared *shared = run->shared;
	struct rusage usage = {0};

	atomic_fetch_add_explicit(&shared->n_ready, 1, memory_order_acq_rel);
	while (!atomic_load_explicit(&shared->go, memory_order_acquire))
		sched_yield();
	(void)getrusage(RUSAGE_SELF, &usage);
	/* relaxed: read when this process has ended */
	atomic_fetch_add_explicit(&shared->n_prepared, (uint64_t)usage.ru_nivcsw, memory_order_relaxed);
}

bool bench_is_over(struct bench_run *run)
{
	uint64_t begin = atomic_load_explicit(&run->shared->begin_ns, memory_order_relaxed);

	return bench_now_ns() - begin >= (uint64_t)run->duration_ms * 1000000;
}

static _Noreturn void role_main(struct bench_run *run, unsigned int idx)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	bench_pin(run->role[idx].core);
	/* Not _exit(): a library may have to sign off. What the parent had buffered, it wrote before the fork. */
	exit(run->role[idx].fn(run, idx));
}

static void end_all(const pid_t *pids, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		if (pids[i] <= 0)
			continue;
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

/* What it said itself goes before this. */
static void say_how_it_ended(int status)
{
	if (WIFSIGNALED(status))
		bench_blame("one of its processes was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		bench_blame("one of its processes failed with status %d", WEXITSTATUS(status));
}

/* Reaps what has ended. Return: number still running, or -1 when one failed. */
static int reap(struct bench_run *run, pid_t *pids, unsigned int n)
{
	struct rusage usage = {0};
	int running = 0;

	for (unsigned int i = 0; i < n; i++) {
		int status = 0;

		if (pids[i] <= 0)
			continue;
		if (wait4(pids[i], &status, WNOHANG, &usage) == 0) {
			running++;
			continue;
		}
		pids[i] = 0;
		run->n_switches += (uint64_t)usage.ru_nivcsw;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			say_how_it_ended(status);
			return -1;
		}
	}
	return running;
}

/* Those that are ready start together. Return: whether they have. */
static bool start_when_ready(struct bench_run *run)
{
	struct bench_shared *shared = run->shared;

	if (atomic_load_explicit(&shared->go, memory_order_relaxed))
		return true;
	if (atomic_load_explicit(&shared->n_ready, memory_order_acquire) != run->n_roles)
		return false;
	atomic_store_explicit(&shared->begin_ns, bench_now_ns(), memory_order_relaxed);
	atomic_store_explicit(&shared->go, 1, memory_order_release);
	return true;
}

/* What a stack would tell, in a word each: where in the kernel it sleeps, or that it runs. */
static void say_who_runs(const struct bench_run *run, const pid_t *pids)
{
	char text[BENCH_BLAME_MAX] = "";
	size_t n = 0;

	for (unsigned int i = 0; i < run->n_roles && n < sizeof(text); i++) {
		char path[64], where[64] = "";
		FILE *file;

		if (pids[i] <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/wchan", (int)pids[i]);
		file = fopen(path, "re");
		if (!file || !fgets(where, sizeof(where), file) || strcmp(where, "0") == 0)
			snprintf(where, sizeof(where), "runs");
		if (file)
			fclose(file);
		n += (size_t)snprintf(text + n, sizeof(text) - n, " role %u (%s)", i, where);
	}
	bench_blame("it did not end in time; %u of %u were ready:%s",
		    atomic_load_explicit(&run->shared->n_ready, memory_order_relaxed), run->n_roles, text);
}

/*
 * Waits for them. From the start on this process sleeps until one has ended: it has no core of its own, and each time it
 * woke it would take one from those that are measured.
 */
static int await_roles(struct bench_run *run, pid_t *pids, const sigset_t *signals)
{
	uint64_t deadline = bench_now_ns() + (uint64_t)(run->duration_ms + GRACE_MS) * 1000000;
	int running;

	do {
		struct timespec nap = {.tv_nsec = 1000000};

		if (start_when_ready(run))
			nap = (struct timespec){.tv_sec = 1};
		(void)sigtimedwait(signals, NULL, &nap);
		running = reap(run, pids, run->n_roles);
	} while (running > 0 && bench_now_ns() < deadline);
	if (running > 0)
		say_who_runs(run, pids);
	if (running == 0)
		run->n_switches -= atomic_load_explicit(&run->shared->n_prepared, memory_order_relaxed);
	return running == 0 ? 0 : -1;
}

static int start_roles(struct bench_run *run, pid_t *pids, const sigset_t *signals)
{
	for (unsigned int i = 0; i < run->n_roles; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			sigprocmask(SIG_SETMASK, signals, NULL);
			role_main(run, i);
		}
		if (pids[i] < 0) {
			bench_blame("fork: %s", strerror(errno));
			return -1;
		}
	}
	return 0;
}

int bench_run_roles(struct bench_run *run)
{
	pid_t pids[BENCH_ROLES_MAX] = {0};
	sigset_t signals, before;
	int r;

	memset(run->shared, 0, sizeof(*run->shared));
	fflush(NULL);
	signal(SIGCHLD, SIG_DFL); /* if it was ignored: their ends are waited for */
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, &before);
	r = start_roles(run, pids, &before);
	if (r == 0)
		r = await_roles(run, pids, &signals);
	if (r)
		end_all(pids, run->n_roles);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

/* -- a private bus -- */

void bench_find_program(const char *name, const char *in_build, char *path, size_t size)
{
	char deeper[64];
	const char *places[] = {in_build, deeper, "../../sbin", "../../bin", "../sbin", "../bin"};
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	snprintf(deeper, sizeof(deeper), "../%s", in_build);
	snprintf(path, size, "%s", name);
	if (n <= 0)
		return;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return;
	*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char candidate[1024];

		snprintf(candidate, sizeof(candidate), "%s/%s/%s", self, places[i], name);
		if (access(candidate, X_OK) == 0) {
			snprintf(path, size, "%s", candidate);
			return;
		}
	}
}

void bench_bus_hold(struct bench_bus *bus)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, &bus->signals);
	bus->is_held = true;
}

static _Noreturn void daemon_main(const struct bench_bus *bus, const char *program)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	/* Of a terminal's group of its own: Ctrl-C is for whoever measures. */
	(void)setpgid(0, 0);
	sigprocmask(SIG_SETMASK, &bus->signals, NULL);
	execlp(program, "hugebusd", "--socket", bus->socket, "--log-level", "error", (char *)NULL);
	fprintf(stderr, "hugebus-bench: cannot start %s: %s\n", program, strerror(errno));
	_exit(127);
}

int bench_bus_start(struct bench_bus *bus)
{
	char program[1024];
	const char *base = getenv("TMPDIR");

	snprintf(bus->directory, sizeof(bus->directory), "%s/hugebus-bench-XXXXXX",
		 base && strlen(base) < 32 ? base : "/tmp");
	if (!bus->is_held)
		sigprocmask(SIG_BLOCK, NULL, &bus->signals);
	if (!mkdtemp(bus->directory)) {
		fprintf(stderr, "hugebus-bench: cannot make %s: %s\n", bus->directory, strerror(errno));
		return -1;
	}
	snprintf(bus->socket, sizeof(bus->socket), "%s/bus.sock", bus->directory);
	bench_find_program("hugebusd", "../ctl/daemon", program, sizeof(program));
	bus->pid = fork();
	if (bus->pid == 0)
		daemon_main(bus, program);
	for (int i = 0; i < 2500 && bus->pid > 0; i++) {
		struct timespec nap = {.tv_nsec = 2000000};

		if (access(bus->socket, F_OK) == 0)
			return 0;
		if (waitpid(bus->pid, NULL, WNOHANG) == bus->pid)
			bus->pid = 0;
		nanosleep(&nap, NULL);
	}
	fprintf(stderr, "hugebus-bench: the private bus did not start\n");
	bench_bus_stop(bus);
	return -1;
}

void bench_bus_stop(struct bench_bus *bus)
{
	char command_path[160];

	if (bus->pid > 0) {
		kill(bus->pid, SIGTERM);
		waitpid(bus->pid, NULL, 0);
	}
	bus->pid = 0;
	/* The daemon removes its socket and leaves its state directory. */
	snprintf(command_path, sizeof(command_path), "%s", bus->directory);
	if (strstr(command_path, "hugebus-bench-")) {
		pid_t pid = fork();

		if (pid == 0) {
			execlp("rm", "rm", "-rf", "--", command_path, (char *)NULL);
			_exit(127);
		}
		waitpid(pid, NULL, 0);
	}
	if (bus->is_held)
		sigprocmask(SIG_SETMASK, &bus->signals, NULL);
}

/* Ends with what the measuring process says; a signal ends that one first. */
static int await(pid_t pid, const sigset_t *signals)
{
	int status = 0, number;
	bool was_told = false;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (sigwait(signals, &number) != 0 || number == SIGCHLD)
			continue;
		was_told = true;
		kill(pid, SIGKILL); /* and the roles with it */
		waitpid(pid, &status, 0);
	}
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	number = WTERMSIG(status);
	if (was_told || number == SIGINT || number == SIGTERM || number == SIGHUP)
		fprintf(stderr, "\nhugebus-bench: interrupted\n");
	else if (number == SIGPIPE)
		fprintf(stderr, "hugebus-bench: cannot write: %s\n", strerror(EPIPE));
	else
		fprintf(stderr, "\nhugebus-bench: ended by signal %d (%s): there are no results\n", number, strsignal(number));
	return 1;
}

/* Who is told to end twice clears up all the same. */
static void ignore_signals(void)
{
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
}

int bench_bus_measure(const struct bench_bus *bus, int (*measure)(const struct bench_bus *bus, void *context), void *context)
{
	sigset_t signals;
	pid_t keeper = getpid(), pid;
	int r;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGCHLD, SIG_DFL); /* if it was ignored: its end is waited for */
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigprocmask(SIG_SETMASK, &bus->signals, NULL);
		/* Writes what was printed, too: see program/stdout.h. */
		exit(getppid() == keeper ? measure(bus, context) : 1);
	}
	if (pid < 0) {
		bench_blame("fork: %s", strerror(errno));
		return 1;
	}
	r = await(pid, &signals);
	ignore_signals();
	sigprocmask(SIG_SETMASK, &bus->signals, NULL);
	return r;
}
