/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebusd: options, what a process does once at its start, and the loop. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctl/daemon/server.h"
#include "program/stdout.h"

#define EXIT_USAGE 2
#define EXIT_CONFIG 3
#define CONFIG_PATH "/etc/hugebus/hugebus.conf"

static const char help[] =
	"Usage: hugebusd [OPTION]...\n"
	"The control daemon of hugebus, an event bus for one host.\n"
	"\n"
	"  -c, --config FILE     configuration (default: " CONFIG_PATH " for root, if it is\n"
	"                        there and neither --config nor --socket is given)\n"
	"  -t, --check-config    check the configuration and exit\n"
	"  -s, --socket PATH     a bus of your own at PATH; its state is kept in PATH.state\n"
	"      --state DIR       keep the state there\n"
	"  -l, --log-level LEVEL error, warning, info or debug (default: info)\n"
	"      --foreground      stay in the foreground (it always does)\n"
	"  -h, --help            show this and exit\n"
	"  -V, --version         show the version and exit\n"
	"\n"
	"SIGTERM ends it, SIGHUP reloads the configuration, all of it or nothing.\n"
	"\n"
	"Exit codes: 0 ended by a signal, 1 failed, 2 wrong usage, 3 wrong configuration.\n";

enum { OPTION_STATE = 256, OPTION_FOREGROUND };

static const struct option long_options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "check-config", no_argument, NULL, 't' },
	{ "socket", required_argument, NULL, 's' },
	{ "state", required_argument, NULL, OPTION_STATE },
	{ "log-level", required_argument, NULL, 'l' },
	{ "foreground", no_argument, NULL, OPTION_FOREGROUND },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static int usage_error(const char *text, const char *what)
{
	fprintf(stderr, "hugebusd: %s%s\nTry 'hugebusd --help'.\n", text, what);
	return EXIT_USAGE;
}

/* An empty path is a variable that was not set: not the system's bus. -1: go on; else the exit code. */
static int check_paths(const struct hbus_server_options *options)
{
	if (options->config_path && !*options->config_path)
		return usage_error("--config needs a FILE", "");
	if (options->socket_path && !*options->socket_path)
		return usage_error("--socket needs a PATH", "");
	if (options->state_dir && !*options->state_dir)
		return usage_error("--state needs a DIR", "");
	return -1;
}

/* Likewise. */
static int parse(int argc, char **argv, struct hbus_server_options *options, bool *is_check)
{
	enum hbus_log_level level;
	int c;

	while ((c = getopt_long(argc, argv, "c:ts:l:hV", long_options, NULL)) != -1) {
		switch (c) {
		case 'c':
			options->config_path = optarg;
			break;
		case 't':
			*is_check = true;
			break;
		case 's':
			options->socket_path = optarg;
			break;
		case OPTION_STATE:
			options->state_dir = optarg;
			break;
		case 'l':
			if (!hbus_log_level_parse(optarg, &level))
				return usage_error("no such log level: ", optarg);
			options->log_level = (int)level;
			break;
		case OPTION_FOREGROUND:
			break;
		case 'h':
			fputs(help, stdout);
			return EXIT_SUCCESS;
		case 'V':
			puts("hugebusd " HBUS_VERSION);
			return EXIT_SUCCESS;
		default:
			return usage_error("wrong usage", "");
		}
	}
	if (optind < argc)
		return usage_error("unexpected argument: ", argv[optind]);
	return check_paths(options);
}

static int check_config(const struct hbus_server_options *options)
{
	struct hbus_config_error error;
	struct hbus_config config;

	if (!options->config_path)
		return usage_error("--check-config needs --config FILE", "");
	if (hbus_config_load(options->config_path, &config, &error) < 0) {
		fprintf(stderr, "hugebusd: %s\n", error.text);
		return EXIT_CONFIG;
	}
	printf("%s: ok\n", options->config_path);
	hbus_config_deinit(&config);
	return EXIT_SUCCESS;
}

/* Nothing of who started us stays open or readable; files are ours alone. */
static void settle(void)
{
	struct rlimit limit;

	umask(077);
	syscall(SYS_close_range, 3u, ~0u, 0u);
	prctl(PR_SET_DUMPABLE, 0);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	struct hbus_server_options options = { .log_level = -1 };
	struct hbus_config_error error;
	struct hbus_server *server;
	bool is_check = false;
	int r;

	hbus_stdout_check();
	r = parse(argc, argv, &options, &is_check);
	if (r >= 0)
		return r;
	if (!options.config_path && !options.socket_path && geteuid() == 0 &&
	    access(CONFIG_PATH, R_OK) == 0)
		options.config_path = CONFIG_PATH;
	if (is_check)
		return check_config(&options);
	settle();
	r = hbus_server_new(&options, &server, &error);
	if (r < 0) {
		fprintf(stderr, "hugebusd: %s\n", error.text);
		return r == -EINVAL ? EXIT_CONFIG : EXIT_FAILURE;
	}
	r = hbus_server_run(server);
	hbus_server_free(server);
	if (r < 0)
		fprintf(stderr, "hugebusd: the event loop failed: %s\n", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
