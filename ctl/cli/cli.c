/* SPDX-License-Identifier: BSD-3-Clause */
/* What all commands share. */
#include "ctl/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl/cli/number.h"
#include "ctl/proto/topic.h"

#define SYSTEM_SOCKET "/run/hugebus/hugebus.sock"

static const char *socket_path;
/* Written by the signal handler, read by the only thread. */
static _Atomic int n_signals;

static void say(const char *command, const char *format, va_list args)
{
	fflush(stdout);
	fprintf(stderr, command ? "hugebus %s: " : "hugebus: ", command);
	vfprintf(stderr, format, args);
}

void hbus_cli_warn(const char *command, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(command, format, args);
	va_end(args);
	fputc('\n', stderr);
}

int hbus_cli_usage(const char *command, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(command, format, args);
	va_end(args);
	fprintf(stderr, command ? "\nTry 'hugebus %s --help'.\n" : "\nTry 'hugebus --help'.\n",
		command);
	return HBUS_EXIT_USAGE;
}

static int exit_code_of(int error)
{
	switch (error) {
	case HBUS_E_DISCONNECTED:
		return HBUS_EXIT_UNREACHABLE;
	case HBUS_E_DENIED:
	case HBUS_E_QUOTA:
		return HBUS_EXIT_DENIED;
	case HBUS_E_TIMEOUT:
		return HBUS_EXIT_TIMEOUT;
	default:
		return HBUS_EXIT_FAULT;
	}
}

int hbus_cli_fault(const char *command, int error, const char *format, ...)
{
	const char *sentence = hbus_error_text();
	va_list args;

	va_start(args, format);
	say(command, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", *sentence ? sentence : hbus_strerror(error));
	return exit_code_of(error);
}

const char *hbus_cli_socket_given(void)
{
	return socket_path;
}

const char *hbus_cli_socket(void)
{
	static char user_path[PATH_MAX];
	const char *path = socket_path ? socket_path : getenv("HUGEBUS_SOCKET");
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (path && *path)
		return path;
	snprintf(user_path, sizeof(user_path), "%s/hugebus/hugebus.sock", runtime ? runtime : "");
	return runtime && *runtime && access(user_path, F_OK) == 0 &&
			       access(SYSTEM_SOCKET, F_OK) < 0
		       ? user_path
		       : SYSTEM_SOCKET;
}

void hbus_cli_export_socket(void)
{
	if (socket_path)
		setenv("HUGEBUS_SOCKET", socket_path, 1);
}

#define OWN_BUS "(your own, then name it with --socket PATH or HUGEBUS_SOCKET).\n"

/* By the mode of the socket or of a directory above it, not by the policy of a daemon. */
static bool is_shut(void)
{
	return access(hbus_cli_socket(), W_OK) < 0 && errno == EACCES;
}

int hbus_cli_open(const char *command, const char *name, struct hbus **ret_bus)
{
	char own_name[64];
	struct hbus_options options = { .struct_size = sizeof(options), .name = name };
	int r;

	if (!name) {
		snprintf(own_name, sizeof(own_name), "hugebus-%s", command);
		options.name = own_name;
	}
	r = hbus_open(socket_path, &options, ret_bus);
	if (r == 0)
		return 0;
	if (r == HBUS_E_DENIED && is_shut()) {
		hbus_cli_fault(command, r, "cannot reach the bus at %s", hbus_cli_socket());
		fprintf(stderr, "Its administrator says who may (socket_mode, socket_group in the configuration). Or start one with "
				"'hugebusd --socket PATH' " OWN_BUS);
		return HBUS_EXIT_DENIED;
	}
	if (r == HBUS_E_DENIED || r == HBUS_E_QUOTA || r == HBUS_E_VERSION || r == HBUS_E_PROTOCOL)
		return hbus_cli_fault(command, r, "%s", hbus_cli_socket());
	hbus_cli_fault(command, r, "cannot reach the bus at %s", hbus_cli_socket());
	fprintf(stderr, "Is it running? Start one with 'hugebusd' (the system's) or 'hugebusd --socket PATH' " OWN_BUS);
	return HBUS_EXIT_UNREACHABLE;
}

int hbus_cli_check_topic(const char *command, const char *name)
{
	int condition = hbus_topic_check_name(name, strlen(name));

	if (condition == HBUS_TOPIC_WILDCARD)
		return hbus_cli_usage(
			command,
			"'%s': one publishes to one topic: '+' and '#' are for subscribers", name);
	return condition ? hbus_cli_usage(command, "'%s' is not a topic: %s", name,
					  hbus_topic_strerror(condition))
			 : 0;
}

int hbus_cli_check_filter(const char *command, const char *filter)
{
	int condition = hbus_topic_check_filter(filter, strlen(filter));

	return condition ? hbus_cli_usage(command, "'%s' is not a topic filter: %s", filter,
					  hbus_topic_strerror(condition))
			 : 0;
}

/* -- options -- */

void hbus_cli_options_begin(void)
{
	optind = 0;
	opterr = 0;
}

static const struct option *find_option(const struct option *options, int value)
{
	for (; options->name; options++) {
		if (options->val == value)
			return options;
	}
	return NULL;
}

/* What people try who come from mosquitto_pub and mosquitto_sub. */
static const char *hint_for(int c)
{
	switch (c) {
	case 'h':
	case 'p':
		return "; the bus is on this host: name it with --socket PATH";
	case 'u':
	case 'P':
		return "; the bus knows you by your user id, there is no login";
	case 'c':
		return "; a subscriber that comes back says where to go on with --from RING-ID:SEQUENCE";
	default:
		return "";
	}
}

static int wrong_option(const struct hbus_cli_options *options, int c, char **argv)
{
	const struct option *option = optopt ? find_option(options->long_options, optopt) : NULL;
	const char *given = argv[optind - 1];
	size_t name_len = strncmp(given, "--", 2) == 0 ? strcspn(given, "=") : 0;

	if (c == ':' && optopt < 128)
		return hbus_cli_usage(options->command, "option -%c needs a value", optopt);
	if (c == ':')
		return hbus_cli_usage(options->command, "option --%s needs a value",
				      option ? option->name : "?");
	if (option && optopt >= 128)
		return hbus_cli_usage(options->command, "option --%s takes no value", option->name);
	if (optopt > 0 && optopt < 128)
		return hbus_cli_usage(options->command, "unknown option -%c%s", optopt,
				      hint_for(optopt));
	return hbus_cli_usage(options->command, "unknown option %.*s", (int)name_len, given);
}

/* "-t -v": getopt takes -v as the topic, the user forgot one. Written as -t-v it is meant. */
static bool swallowed_option(const struct hbus_cli_options *options, char **argv)
{
	const char *value = argv[optind - 1];

	if (optarg != value || value[0] != '-' || value[1] == '\0')
		return false;
	if (value[1] != '-')
		return value[2] == '\0' && strchr(options->short_options + 1, value[1]) != NULL;
	for (const struct option *option = options->long_options; option->name; option++) {
		if (strcmp(option->name, value + 2) == 0)
			return true;
	}
	return false;
}

int hbus_cli_next_option(const struct hbus_cli_options *options, int argc, char **argv,
			 int *ret_exit)
{
	int c = getopt_long(argc, argv, options->short_options, options->long_options, NULL);

	*ret_exit = HBUS_EXIT_OK;
	switch (c) {
	case -1:
		return HBUS_CLI_END;
	case HBUS_OPTION_SOCKET:
		if (!*optarg) { /* a variable that was not set: not the system's bus */
			*ret_exit = hbus_cli_usage(options->command, "--socket needs a PATH");
			return HBUS_CLI_EXIT;
		}
		socket_path = optarg;
		return hbus_cli_next_option(options, argc, argv, ret_exit);
	case HBUS_OPTION_HELP:
		fputs(options->help, stdout);
		return HBUS_CLI_EXIT;
	case HBUS_OPTION_VERSION:
		printf("hugebus %s\n", hbus_version());
		return HBUS_CLI_EXIT;
	case '?':
	case ':':
		*ret_exit = wrong_option(options, c, argv);
		return HBUS_CLI_EXIT;
	case 't':
		if (!swallowed_option(options, argv))
			return c;
		*ret_exit = hbus_cli_usage(options->command,
					   "the topic is missing between -t and %s (a topic that "
					   "begins with '-' is written -t%s)",
					   optarg, optarg);
		return HBUS_CLI_EXIT;
	default:
		return c;
	}
}

/* -- signals, time and output -- */

static void on_signal(int signal)
{
	(void)signal;
	/* relaxed: the handler and the reader are one thread. */
	atomic_fetch_add_explicit(&n_signals, 1, memory_order_relaxed);
}

void hbus_cli_catch_signals(void)
{
	/* No SA_RESTART: a blocked write() or sleep must notice. */
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

bool hbus_cli_is_stopped(void)
{
	/* relaxed: see on_signal(). */
	return atomic_load_explicit(&n_signals, memory_order_relaxed) > 0;
}

uint64_t hbus_cli_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool is_writable(int fd, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };

	return poll(&poll_fd, 1, timeout_ms) > 0;
}

int hbus_cli_write(int fd, struct hbus_text *text)
{
	size_t done = 0;
	int r = 0;

	while (done < text->len && r == 0) {
		ssize_t n = write(fd, text->data + done, text->len - done);

		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			is_writable(fd, hbus_cli_is_stopped() ? 1000 : 100);
		else if (errno != EINTR)
			r = -errno;
		if (n < 0 && r == 0 && hbus_cli_is_stopped() && !is_writable(fd, 1000))
			r = -EINTR;
	}
	text->len = 0;
	return r;
}

int hbus_cli_print(const char *command, struct hbus_text *text)
{
	int r = hbus_cli_write(STDOUT_FILENO, text);

	if (r == 0 || r == -EPIPE)
		return HBUS_EXIT_OK;
	hbus_cli_warn(command, "cannot write: %s", strerror(-r));
	return HBUS_EXIT_FAULT;
}

int hbus_cli_print_json(const char *command, json_t *root)
{
	struct hbus_text text = { 0 };
	char *dump = json_dumps(root, JSON_INDENT(2));
	int r;

	json_decref(root);
	if (!dump) {
		hbus_cli_warn(command, "cannot build JSON");
		return HBUS_EXIT_FAULT;
	}
	hbus_text_add(&text, dump);
	hbus_text_add_char(&text, '\n');
	free(dump);
	r = hbus_cli_print(command, &text);
	hbus_text_free(&text);
	return r;
}

/* Written beside its place and renamed: whoever finds it finds it whole. */
static int replace_file(const char *path, struct hbus_text *text)
{
	struct hbus_text beside = { 0 };
	int fd;
	int r;

	hbus_text_printf(&beside, "%s.%d.tmp", path, (int)getpid());
	fd = open(hbus_text_string(&beside), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	r = fd < 0 ? -errno : hbus_cli_write(fd, text);
	if (fd >= 0 && close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(hbus_text_string(&beside), path) < 0)
		r = -errno;
	if (r < 0 && fd >= 0)
		unlink(hbus_text_string(&beside));
	hbus_text_free(&beside);
	return r;
}

/*
 * Opening /dev/fd/3 would begin at the file's start again: such names are descriptors. -1 = none.
 */
static int descriptor_of(const char *path)
{
	uint64_t fd;

	if (strcmp(path, "/dev/stdout") == 0)
		return STDOUT_FILENO;
	if (strcmp(path, "/dev/stderr") == 0)
		return STDERR_FILENO;
	if (strncmp(path, "/dev/fd/", 8) == 0 && hbus_number_parse(path + 8, 0, INT_MAX, &fd))
		return (int)fd;
	return -1;
}

/* A device, pipe or link is not replaced but written to. */
static int write_file(const char *path, struct hbus_text *text)
{
	struct stat st;
	int fd = descriptor_of(path);
	int r;

	if (fd >= 0)
		return hbus_cli_write(fd, text);
	if (lstat(path, &st) < 0 || S_ISREG(st.st_mode))
		return replace_file(path, text);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	r = hbus_cli_write(fd, text);
	close(fd);
	return r;
}

int hbus_cli_write_summary(const char *command, json_t *root, const char *path, bool is_to_stderr)
{
	struct hbus_text text = { 0 };
	char *dump = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9));
	int r = 0;

	json_decref(root);
	if (!dump)
		return HBUS_EXIT_FAULT;
	hbus_text_printf(&text, "%s\n", dump);
	free(dump);
	if (is_to_stderr || (path && strcmp(path, "-") == 0))
		fputs(hbus_text_string(&text), stderr);
	if (path && strcmp(path, "-") != 0)
		r = write_file(path, &text);
	hbus_text_free(&text);
	if (r == 0)
		return HBUS_EXIT_OK;
	hbus_cli_warn(command, "cannot write %s: %s", path, strerror(-r));
	return HBUS_EXIT_FAULT;
}
