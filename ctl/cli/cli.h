/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What all commands of `hugebus` share: exit codes, options, errors, signals, output
 *
 * A command is one function in one module. It reports a fault once, on stderr, and returns an exit
 * code. The program has one thread; the library's control thread calls nothing in here.
 */
#pragma once

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "ctl/cli/text.h"
#include "ctl/client/hugebus.h"

/* Exit codes; docs/CLI.md and every --help name them. */
#define HBUS_EXIT_OK 0
#define HBUS_EXIT_FAULT 1
#define HBUS_EXIT_USAGE 2
#define HBUS_EXIT_UNREACHABLE 3 /* no daemon answers */
#define HBUS_EXIT_DENIED 4	/* policy or quota */
#define HBUS_EXIT_TIMEOUT 27	/* as mosquitto_sub's */

/* The last lines of every --help. */
#define HBUS_CLI_HELP_COMMON                                                                           \
	"      --socket PATH     the bus (else $HUGEBUS_SOCKET, else the system's, else the user's)\n" \
	"      --help, --version\n"

#define HBUS_CLI_HELP_EXIT                                                                                \
	"Exit codes: 0 done, 1 fault, 2 wrong usage, 3 no daemon answers, 4 denied by policy or quota,\n" \
	"27 time-out.\n"

/* Options without a short form, from here on; a command's own begin at HBUS_OPTION_OWN. */
enum { HBUS_OPTION_SOCKET = 1000, HBUS_OPTION_HELP, HBUS_OPTION_VERSION, HBUS_OPTION_OWN };

#define HBUS_CLI_LONG_OPTIONS                                          \
	{ "socket", required_argument, NULL, HBUS_OPTION_SOCKET },     \
		{ "help", no_argument, NULL, HBUS_OPTION_HELP },       \
		{ "version", no_argument, NULL, HBUS_OPTION_VERSION }, \
	{                                                              \
		NULL, 0, NULL, 0                                       \
	}

struct hbus_cli_options {
	const char *command; /* "pub" */
	const char *help;
	const char *short_options; /* begins with ':' */
	const struct option *long_options;
};

#define HBUS_CLI_END -1
#define HBUS_CLI_EXIT -2

/**
 * hbus_cli_next_option() - getopt_long() that deals with shared and with wrong options itself
 *
 * Return: the option, HBUS_CLI_END when operands begin, or HBUS_CLI_EXIT: leave with *ret_exit.
 */
int hbus_cli_next_option(const struct hbus_cli_options *options, int argc, char **argv,
			 int *ret_exit);

/** hbus_cli_options_begin() - forget the option parsing of another command */
void hbus_cli_options_begin(void);

/** hbus_cli_usage() - say what is wrong in how the command was called. Return: HBUS_EXIT_USAGE. */
int hbus_cli_usage(const char *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/**
 * hbus_cli_fault() - say what failed and why, from the library's error
 *
 * Return: the exit code that goes with @error.
 */
int hbus_cli_fault(const char *command, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** hbus_cli_warn() - one line on stderr that begins with the command's name */
void hbus_cli_warn(const char *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** hbus_cli_socket_given() - what --socket said, NULL = nothing; for hbus_open() */
const char *hbus_cli_socket_given(void);
/** hbus_cli_export_socket() - let a program that is executed next find the same bus */
void hbus_cli_export_socket(void);
/** hbus_cli_socket() - where the bus is sought, for people; never NULL */
const char *hbus_cli_socket(void);

/**
 * hbus_cli_open() - connect to the bus
 * @name: what lists show; NULL = "hugebus-COMMAND"
 *
 * Return: 0, or an exit code after saying why.
 */
int hbus_cli_open(const char *command, const char *name, struct hbus **ret_bus);

/**
 * hbus_cli_check_topic() - is it a name one can publish to? Return: 0, or HBUS_EXIT_USAGE after
 * saying why not.
 */
int hbus_cli_check_topic(const char *command, const char *name);
/** hbus_cli_check_filter() - likewise for a filter */
int hbus_cli_check_filter(const char *command, const char *filter);

/**
 * hbus_cli_catch_signals() - SIGINT and SIGTERM only set a flag from now on; SIGPIPE is an error
 * of write()
 */
void hbus_cli_catch_signals(void);
bool hbus_cli_is_stopped(void);

/**
 * hbus_cli_write() - write @text to a descriptor and empty it
 *
 * Blocks while the other side does not read; after a signal only 1 s more.
 * Return: 0, or -errno (-EPIPE: nobody reads any more).
 */
int hbus_cli_write(int fd, struct hbus_text *text);

/** hbus_cli_print() - write @text to stdout and empty it. Return: an exit code. */
int hbus_cli_print(const char *command, struct hbus_text *text);

/** hbus_cli_print_json() - one JSON document on stdout; consumes @root. Return: an exit code. */
int hbus_cli_print_json(const char *command, json_t *root);

/**
 * hbus_cli_write_summary() - what --summary FILE and --stats ask for, as one line of JSON; consumes
 * @root
 * @path: is replaced whole, "-" = stderr, NULL = no file
 *
 * Return: 0 or HBUS_EXIT_FAULT.
 */
int hbus_cli_write_summary(const char *command, json_t *root, const char *path, bool is_to_stderr);

/** hbus_cli_now_ns() - CLOCK_MONOTONIC */
uint64_t hbus_cli_now_ns(void);

/* The commands. argv[0] is the command's name. */
int hbus_cli_pub(int argc, char **argv);
int hbus_cli_sub(int argc, char **argv);
int hbus_cli_topic(int argc, char **argv);
int hbus_cli_route(int argc, char **argv);
int hbus_cli_ls(int argc, char **argv);
int hbus_cli_top(int argc, char **argv);
int hbus_cli_stats(int argc, char **argv);
int hbus_cli_reload(int argc, char **argv);
int hbus_cli_doctor(int argc, char **argv);
