/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hugebus-bench: which sub-command it is
 *
 * A sub-command is a function of this program, or a program of its own beside it, so that what needs DPDK does
 * not make the others need it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/command.h"
#include "bench/options.h"
#include "program/stdout.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv); /* or NULL */
	const char *program;               /* beside this one, when run is NULL */
};

/* The first is what `hugebus bench` without a sub-command does. */
static const struct command commands[] = {
	{"host", bench_host_main, NULL},
	{"ingress", NULL, "hugebus-bench-ingress"},
	{"mqtt", bench_mqtt_main, NULL},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int run_program(const char *program, char **argv)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	if (n <= 0)
		return 1;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash + 1 - path) + strlen(program) >= sizeof(path))
		return 1;
	strcpy(slash + 1, program);
	execv(path, argv);
	fprintf(stderr, "hugebus-bench: cannot run %s: %s%s\n", path, strerror(errno),
		errno == ENOENT ? " (this build has no ingress)" : "");
	return 1;
}

int main(int argc, char **argv)
{
	static char names[N_COMMANDS][40];

	hbus_stdout_check();
	if (argc < 2 || argv[1][0] == '-')
		return bench_host_main(argc, argv);
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		/* As getopt() is to call it. */
		snprintf(names[i], sizeof(names[i]), "hugebus-bench %s", commands[i].name);
		argv[1] = names[i];
		return commands[i].run ? commands[i].run(argc - 1, argv + 1)
				       : run_program(commands[i].program, argv + 1);
	}
	return bench_usage("no such command", argv[1]);
}
