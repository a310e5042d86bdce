/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting, killing, stopping and resuming whoever is on the bus. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/torture/fair.h"
#include "tests/torture/roles.h"
#include "tests/torture/torture.h"

/* An ingress that ends sooner than this was refused: the one before had not let go of the interface yet. */
#define REFUSED_NS UINT64_C(3000000000)

const char *const kind_names[N_KINDS] = {"publisher", "reliable", "lossy", "daemon", "ingress"};

/* -- starting -- */

/* @log: what it says goes there, anew with each start; or NULL. */
static pid_t spawn(char *const argv[], const char *log)
{
	sigset_t term, before;
	pid_t pid;

	/* Between fork and exec a SIGTERM would be taken by our own handler, and be lost. */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	pid = fork();
	if (pid != 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		return pid;
	}
	signal(SIGTERM, SIG_DFL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (log) {
		/* Whoever of the one before still ends may write too: behind what is there, not over it. */
		int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);

		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	execv(argv[0], argv);
	_exit(127);
}

static pid_t start_daemon(const struct torture *t)
{
	return spawn((char *[]){(char *)t->daemon_path, "--socket", (char *)t->socket, "--config", (char *)t->config,
				"--log-level", "error", NULL},
		     NULL);
}

static pid_t start_ingress(struct torture *t, struct victim *victim)
{
	pid_t pid;

	if (t->n_ingresses >= SPANS_MAX)
		return 0;
	victim->idx = t->n_ingresses++;
	victim->was_hurt = false;
	t->ingresses[victim->idx] = (struct span){.from_ns = ledger_now_ns(), .until_ns = UINT64_MAX};
	pid = spawn((char *[]){(char *)t->ingress_path, "--iface", PACKETS_INTERFACE, "--no-huge", "--socket",
			       (char *)t->socket, NULL},
		    t->log);
	return pid;
}

static pid_t start_member(struct torture *t, struct victim *victim)
{
	_Atomic uint32_t *n = victim->kind == PUBLISHER ? &t->ledger->n_publishers : &t->ledger->n_subscribers;
	uint32_t most = victim->kind == PUBLISHER ? LEDGER_PUBLISHERS_MAX : LEDGER_SUBSCRIBERS_MAX;
	uint32_t topic_idx = (uint32_t)(victim - t->victim) % LEDGER_TOPICS;
	pid_t pid;

	if (*n >= most)
		return 0;
	victim->idx = *n;
	if (victim->kind == PUBLISHER) {
		t->ledger->publisher[victim->idx].topic = topic_idx;
	} else {
		t->ledger->subscriber[victim->idx].is_reliable = victim->kind == RELIABLE;
		t->ledger->subscriber[victim->idx].is_restless = victim->is_restless;
	}
	atomic_fetch_add_explicit(n, 1, memory_order_release);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (victim->kind == PUBLISHER)
			_exit(role_publisher(t->ledger, victim->idx, t->socket, topic_idx, t->seed + victim->idx));
		_exit(role_subscriber(t->ledger, victim->idx, t->socket, victim->kind == RELIABLE, t->seed + victim->idx));
	}
	return pid;
}

static void outage_begins(struct torture *t)
{
	if (t->n_outages < SPANS_MAX)
		t->outages[t->n_outages++] = (struct span){.from_ns = ledger_now_ns(), .until_ns = UINT64_MAX / 2};
}

/* Each that has no end: one more may have begun by itself, when the machine stood still. */
static void outage_ends(struct torture *t)
{
	for (unsigned int i = t->n_outages; i > 0; i--)
		if (t->outages[i - 1].until_ns == UINT64_MAX / 2) {
			t->outages[i - 1].until_ns = ledger_now_ns();
			return;
		}
}

bool start_victim(struct torture *t, struct victim *victim)
{
	victim->resume_ns = victim->term_ns = 0;
	victim->is_wedged = false;
	victim->progress = 0;
	victim->began_ns = victim->moved_ns = fair_now_ns(t);
	switch (victim->kind) {
	case DAEMON:
		t->ledger->daemon_since_ns = ledger_now_ns();
		victim->pid = start_daemon(t);
		outage_ends(t);
		break;
	case INGRESS:
		victim->pid = start_ingress(t, victim);
		break;
	default:
		victim->pid = start_member(t, victim);
		break;
	}
	return victim->pid > 0;
}

/* -- ending -- */

/* An ingress is two processes. */
static void signal_victim(const struct victim *victim, int signal_number)
{
	pid_t child = victim->kind == INGRESS ? poll_process_of(victim->pid) : 0;

	kill(victim->pid, signal_number);
	if (child > 0)
		kill(child, signal_number);
}

/* Without a CPU the one before takes long to end, and the next long to find that out. */
static bool was_occupied(const struct torture *t)
{
	char command[160];

	snprintf(command, sizeof(command), "grep -q 'belongs to process .* which lives' %s", t->log);
	return system(command) == 0;
}

static bool is_fine(struct torture *t, const struct victim *victim, int status, bool was_us)
{
	if (was_us || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return true;
	/* It was asked to end while it was starting. */
	if (victim->term_ns && ((WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) || victim->kind == INGRESS))
		return true;
	if (victim->kind != INGRESS)
		return WIFEXITED(status) && WEXITSTATUS(status) == ROLE_NO_DAEMON;
	if (victim->was_hurt)
		return true;
	if (fair_now_ns(t) - victim->began_ns < REFUSED_NS || t->victim[0].pid <= 0 || t->victim[0].resume_ns ||
	    was_occupied(t)) {
		t->n_ingress_refused++;
		return true;
	}
	return false;
}

static void show_log(const struct torture *t)
{
	char command[128];

	snprintf(command, sizeof(command), "tail -n 12 %s >&2", t->log);
	if (system(command) != 0)
		fprintf(stderr, "torture: it has said nothing\n");
}

/* A kill may end the longest of its calls. */
static void publisher_ended(struct torture *t, const struct victim *victim, uint64_t now)
{
	struct ledger_publisher *entry = &t->ledger->publisher[victim->idx];
	/* relaxed, all: it is dead */
	uint32_t call = atomic_load_explicit(&entry->where.call, memory_order_relaxed);
	uint64_t since_ns = atomic_load_explicit(&entry->where.since_ns, memory_order_relaxed);

	entry->ended_ns = now;
	if (!victim->resume_ns && call >= CALL_PUBLISH && call <= CALL_BATCH_ABORT && now - since_ns > entry->slowest_ms * UINT64_C(1000000))
		entry->slowest_ms = (uint32_t)((now - since_ns) / 1000000);
}

static void reaped(struct torture *t, struct victim *victim, int status, bool was_us)
{
	uint64_t now = ledger_now_ns();

	if (victim->kind == PUBLISHER)
		publisher_ended(t, victim, now);
	else if (victim->kind == INGRESS)
		t->ingresses[victim->idx].until_ns = now;
	else if (victim->kind != DAEMON)
		t->ledger->subscriber[victim->idx].was_killed = was_us;
	if (!is_fine(t, victim, status, was_us)) {
		fprintf(stderr, "torture: %s ended by itself: %s %d\n", kind_names[victim->kind],
			WIFSIGNALED(status) ? "signal" : "status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		if (victim->kind == INGRESS)
			show_log(t);
		t->n_bad_exits++;
	}
	victim->pid = 0;
	if (victim->kind == INGRESS)
		victim->start_ns = now + 200000000u;
}

void reap_victim(struct torture *t, struct victim *victim)
{
	int status = 0;

	if (victim->pid > 0 && waitpid(victim->pid, &status, WNOHANG) == victim->pid)
		reaped(t, victim, status, false);
}

void kill_victim(struct torture *t, struct victim *victim)
{
	pid_t child = victim->kind == INGRESS && dice(t, 10, 2) ? poll_process_of(victim->pid) : 0;
	int status = 0;

	t->n_kills[victim->kind]++;
	if (child > 0) {
		victim->was_hurt = true;
		kill(child, SIGKILL);
		/* A stopped guard would not see it. */
		kill(victim->pid, SIGCONT);
		victim->resume_ns = 0;
		return;
	}
	if (victim->kind == DAEMON) {
		outage_begins(t);
		victim->start_ns = ledger_now_ns() + dice(t, 11, 500000000);
	}
	/* Its child, which was stopped with it, is to end by itself. */
	child = victim->kind == INGRESS ? poll_process_of(victim->pid) : 0;
	kill(victim->pid, SIGKILL);
	if (child > 0)
		kill(child, SIGCONT);
	waitpid(victim->pid, &status, 0);
	reaped(t, victim, status, true);
}

/* Asks it to end; tend() starts it again. */
void restart_victim(struct torture *t, struct victim *victim)
{
	t->n_restarts[victim->kind]++;
	victim->term_ns = fair_now_ns(t);
	victim->term = cpu_time(victim);
	if (victim->kind == DAEMON) {
		outage_begins(t);
		victim->start_ns = 0;
	}
	if (victim->resume_ns)
		signal_victim(victim, SIGCONT);
	victim->resume_ns = 0;
	kill(victim->pid, SIGTERM);
}

void stop_victim(struct torture *t, struct victim *victim)
{
	signal_victim(victim, SIGSTOP);
	if (victim->kind == DAEMON)
		outage_begins(t);
	victim->resume_ns = ledger_now_ns() + 100000000u + dice(t, 12, dice(t, 13, 5) == 0 ? 2900000000u : 300000000u);
	t->n_stops[victim->kind]++;
}

void resume_victim(struct torture *t, struct victim *victim)
{
	signal_victim(victim, SIGCONT);
	if (victim->kind == DAEMON)
		outage_ends(t);
	victim->resume_ns = 0;
	victim->moved_ns = fair_now_ns(t);
}

/* The kernel's check of the XDP program, say, takes a second of CPU, which a busy machine may not give for many. */
static bool has_had_its_time(const struct torture *t, const struct victim *victim)
{
	struct cpu_time now = cpu_time(victim);

	return fair_is_wedge(fair_now_ns(t) - victim->term_ns, waited_between_ns(&victim->term, &now),
			     TERM_MS * UINT64_C(1000000));
}

static void end_by_force(struct torture *t, struct victim *victim)
{
	int status = 0;

	fprintf(stderr, "torture: %s did not end within %u s of SIGTERM\n", kind_names[victim->kind], TERM_MS / 1000);
	if (victim->kind == INGRESS)
		show_log(t);
	show_where(t, victim);
	t->n_wedges++;
	signal_victim(victim, SIGKILL);
	waitpid(victim->pid, &status, 0);
	reaped(t, victim, status, true);
}

void tend(struct torture *t)
{
	uint64_t now = ledger_now_ns();

	for (unsigned int i = 0; i < t->n_victims; i++) {
		struct victim *victim = &t->victim[i];

		reap_victim(t, victim);
		if (victim->pid > 0 && victim->resume_ns && now >= victim->resume_ns)
			resume_victim(t, victim);
		if (victim->pid > 0 && victim->term_ns && has_had_its_time(t, victim))
			end_by_force(t, victim);
		if (victim->pid <= 0 && now >= victim->start_ns)
			start_victim(t, victim);
	}
}
