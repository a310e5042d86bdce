/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus: finds the command and runs it. What is not built in is a program hugebus-COMMAND. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/cli/cli.h"
#include "ctl/cli/external.h"
#include "ctl/cli/guess.h"
#include "program/stdout.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *purpose;
};

static const struct command commands[] = {
	{ "pub", hbus_cli_pub, "publish: a message, a file, lines of stdin, or load" },
	{ "sub", hbus_cli_sub, "subscribe: one payload a line, or one CloudEvents object" },
	{ "topic", hbus_cli_topic, "add, remove, list topics" },
	{ "route", hbus_cli_route, "add, remove, list routes from packets to topics" },
	{ "ls", hbus_cli_ls,
	  "list topics, rings, clients, subscribers, attachments, routes, quotas" },
	{ "top", hbus_cli_top, "live: rates, lag and drops" },
	{ "stats", hbus_cli_stats, "all counters; for programs with --json or --prometheus" },
	{ "reload", hbus_cli_reload, "let the daemon read its configuration again" },
	{ "doctor", hbus_cli_doctor, "what this host lacks, what it costs, how to mend it" },
	{ NULL, NULL, NULL },
};

static void print_help(void)
{
	printf("Usage: hugebus [--socket PATH] COMMAND [OPTION]... [ARGUMENT]...\n"
	       "An event bus for one Linux host.\n\nCommands:\n");
	for (const struct command *command = commands; command->name; command++)
		printf("  %-8s %s\n", command->name, command->purpose);
	printf("  ingress  packets from a NIC to topics (needs DPDK)\n"
	       "  mqtt     serve MQTT clients\n"
	       "  bench    measure this host\n\n"
	       "  --socket PATH   the bus (else $HUGEBUS_SOCKET, else the system's, else the user's)\n"
	       "  --help, --version\n\n"
	       "'hugebus COMMAND --help' explains a command. The daemon is hugebusd.\n\n" HBUS_CLI_HELP_EXIT
	       "'hugebus doctor' has its own: 0 all is there, 1 works with less, 2 cannot work.\n");
}

static const struct command *find_command(const char *name)
{
	for (const struct command *command = commands; command->name; command++) {
		if (strcmp(command->name, name) == 0)
			return command;
	}
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[sizeof(commands) / sizeof(commands[0]) + 3];
	const char *guess;
	size_t n = 0;

	for (const struct command *command = commands; command->name; command++)
		names[n++] = command->name;
	names[n++] = "ingress";
	names[n++] = "mqtt";
	names[n++] = "bench";
	guess = hbus_guess_closest(name, names, n);
	if (guess && strcmp(guess, name) != 0)
		return hbus_cli_usage(NULL, "unknown command '%s': did you mean '%s'?", name,
				      guess);
	if (guess)
		return hbus_cli_usage(
			NULL, "'%s' is a program of its own, hugebus-%s, and is not installed",
			name, name);
	return hbus_cli_usage(NULL, "unknown command '%s'", name);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = { HBUS_CLI_LONG_OPTIONS };
	/* '+': options end at the command; what follows is the command's. */
	static const struct hbus_cli_options options = { NULL, "", "+:", long_options };
	const struct command *command;
	int exit_code;

	hbus_stdout_check();
	setvbuf(stdout, NULL, _IOFBF, 0);
	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
		print_help();
		return HBUS_EXIT_OK;
	}
	hbus_cli_options_begin();
	if (hbus_cli_next_option(&options, argc, argv, &exit_code) == HBUS_CLI_EXIT)
		return exit_code;
	if (optind >= argc)
		return hbus_cli_usage(NULL, "a command is missing");
	argc -= optind;
	argv += optind;
	command = find_command(argv[0]);
	if (command) {
		hbus_cli_options_begin();
		return command->run(argc, argv);
	}
	if (hbus_external_run(argv) == 0 || errno == ENOENT)
		return unknown_command(argv[0]);
	hbus_cli_warn(NULL, "cannot run hugebus-%s: %s", argv[0], strerror(errno));
	return HBUS_EXIT_FAULT;
}
