/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where somebody stands who does not move: the call of the library, and what the kernel says of each thread
 *
 * A thread that waits for a CPU is the machine's doing, one that sleeps in the kernel, or runs all the time, is not.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/torture/torture.h"

#define TASKS_MAX 64u
#define DIRECTORY_MAX 96u

static const char *const call_names[N_CALLS] = {
	"nothing yet", "hbus_open", "hbus_publisher_open", "hbus_publisher_topic", "hbus_publish", "hbus_reserve", "hbus_commit",
	"hbus_abort", "hbus_batch_begin", "hbus_publish in a batch", "hbus_batch_commit", "hbus_batch_abort", "hbus_subscriber_open",
	"hbus_subscribe", "hbus_unsubscribe", "hbus_poll", "hbus_release", "hbus_wait", "hbus_close", "no call",
};

/* The file without the newlines at its end; "" when it is not to be had. */
static void read_file(const char *directory, const char *name, char *ret_text, size_t size)
{
	char path[320];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, ret_text, size - 1);
		close(fd);
	}
	ret_text[n > 0 ? n : 0] = '\0';
	while (n > 0 && ret_text[n - 1] == '\n')
		ret_text[--n] = '\0';
}

/* Directories of the threads of @pid. Return: how many. */
static unsigned int tasks_of(pid_t pid, char (*ret_directories)[DIRECTORY_MAX])
{
	struct dirent *entry;
	unsigned int n = 0;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (n < TASKS_MAX && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			snprintf(ret_directories[n++], sizeof(*ret_directories), "%s/%.16s", path, entry->d_name);
	closedir(dir);
	return n;
}

pid_t poll_process_of(pid_t guard)
{
	char path[64], text[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d", (int)guard, (int)guard);
	read_file(path, "children", text, sizeof(text));
	return (pid_t)strtol(text, NULL, 10);
}

static pid_t worker_of(const struct victim *victim)
{
	pid_t child = victim->kind == INGRESS ? poll_process_of(victim->pid) : 0;

	return child > 0 ? child : victim->pid;
}

/* Of /proc/PID/stat: the letter behind the name, which may hold anything. */
static char state_of(const char *directory)
{
	char text[256], *end;

	read_file(directory, "stat", text, sizeof(text));
	end = strrchr(text, ')');
	return end && end[1] == ' ' && end[2] ? end[2] : '?';
}

struct cpu_time cpu_time(const struct victim *victim)
{
	char directories[TASKS_MAX][DIRECTORY_MAX], text[128];
	struct cpu_time time = {.at_ns = ledger_now_ns()};
	unsigned int n_tasks;

	n_tasks = tasks_of(worker_of(victim), directories);
	for (unsigned int i = 0; i < n_tasks; i++) {
		unsigned long long ran, waited;

		read_file(directories[i], "schedstat", text, sizeof(text));
		if (sscanf(text, "%llu %llu", &ran, &waited) != 2)
			continue;
		if (waited > time.waited_ns)
			time.waited_ns = waited;
		if (i > 0) /* the first is the main thread */
			continue;
		time.ran_ns = ran;
		time.is_runnable = state_of(directories[i]) == 'R';
	}
	return time;
}

uint64_t waited_between_ns(const struct cpu_time *before, const struct cpu_time *now)
{
	if (now->is_runnable && now->ran_ns == before->ran_ns)
		return now->at_ns - before->at_ns;
	return now->waited_ns > before->waited_ns ? now->waited_ns - before->waited_ns : 0;
}

static void show_task(const char *directory)
{
	char name[32], wchan[64], call[256], time[128], stack[1024];
	unsigned long long ran = 0, waited = 0;

	read_file(directory, "comm", name, sizeof(name));
	read_file(directory, "wchan", wchan, sizeof(wchan));
	read_file(directory, "syscall", call, sizeof(call));
	read_file(directory, "schedstat", time, sizeof(time));
	read_file(directory, "stack", stack, sizeof(stack));
	if (sscanf(time, "%llu %llu", &ran, &waited) != 2)
		ran = waited = 0;
	fprintf(stderr, "\t%s: state %c in %s, system call %s; ran %llu ms, waited for a CPU %llu ms\n", name, state_of(directory),
		wchan, call, ran / 1000000, waited / 1000000);
	for (char *line = strtok(stack, "\n"); line; line = strtok(NULL, "\n"))
		fprintf(stderr, "\t\t%s\n", line);
}

static const struct ledger_where *where_of(const struct torture *t, const struct victim *victim)
{
	if (victim->kind == PUBLISHER)
		return &t->ledger->publisher[victim->idx].where;
	return victim->kind < DAEMON ? &t->ledger->subscriber[victim->idx].where : NULL;
}

void show_where(const struct torture *t, const struct victim *victim)
{
	const struct ledger_where *where = where_of(t, victim);
	char directories[TASKS_MAX][DIRECTORY_MAX];
	unsigned int n_tasks;

	if (victim->pid <= 0) {
		fprintf(stderr, "    %s: is dead\n", kind_names[victim->kind]);
		return;
	}
	fprintf(stderr, "    %s (pid %d)%s%s", kind_names[victim->kind], (int)victim->pid, victim->resume_ns ? ", stopped" : "",
		victim->term_ns ? ", asked to end" : "");
	if (where) {
		/* relaxed, both: what it said last, perhaps of two calls */
		uint64_t since_ns = atomic_load_explicit(&where->since_ns, memory_order_relaxed);
		uint32_t call = atomic_load_explicit(&where->call, memory_order_relaxed);

		fprintf(stderr, ", in %s for %u ms", call < N_CALLS ? call_names[call] : "?",
			(unsigned int)(since_ns ? (ledger_now_ns() - since_ns) / 1000000 : 0));
	}
	fprintf(stderr, "\n");
	n_tasks = tasks_of(worker_of(victim), directories);
	for (unsigned int i = 0; i < n_tasks; i++)
		show_task(directories[i]);
}

void show_everybody(const struct torture *t)
{
	for (unsigned int i = 0; i < t->n_victims; i++)
		show_where(t, &t->victim[i]);
}
