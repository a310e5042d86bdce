/* SPDX-License-Identifier: BSD-3-Clause */
/* See place.h. */
#include "tests/refuse/place.h"

#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/refuse/refuse.h"

struct refuse_place refuse_place;
char refuse_run_text[256];
const char *refuse_doing = "beginning";

/* All that a daemon makes; from a signal handler too. */
void refuse_place_clean(void)
{
	static const char *const names[] = {"bus", "bus.lock", "conf", "state/journal.jsonl", "state/journal.jsonl.new"};
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", refuse_place.directory, names[i]);
		unlink(path);
	}
	rmdir(refuse_place.state_dir);
	rmdir(refuse_place.directory);
}

void refuse_fail(const char *format, ...)
{
	va_list args;

	refuse_lift();
	printf("failed: %s; refused first: %s, %llu in all\n  doing: %s\n  ", refuse_run_text, refuse_first(),
	       (unsigned long long)refuse_count(), refuse_doing);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(NULL);
	refuse_place_clean();
	_exit(1);
}

/* It crashed, does not end, or is told to. */
static void on_signal(int number)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "failed: signal %d in %s; refused first: %s\n  doing: %s\n", number, refuse_run_text,
			 refuse_first(), refuse_doing);

	refuse_place_clean();
	if (number != SIGINT && number != SIGTERM && write(STDOUT_FILENO, text, (size_t)n) < 0)
		_exit(1);
	signal(number, SIG_DFL);
	raise(number);
}

uint64_t refuse_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int refuse_server_new(const char *config_path, struct hbus_server **ret_server)
{
	const struct hbus_server_options options = {.config_path = config_path,
						    .socket_path = refuse_place.address,
						    .state_dir = refuse_place.state_dir,
						    .log_level = 0};
	struct hbus_config_error error = {0};
	int r = hbus_server_new(&options, ret_server, &error);
	sigset_t ours;

	/* The daemon has blocked what ends it, for its own descriptor; here it ends the program. */
	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
	if (r < 0 && !error.text[0])
		refuse_fail("the daemon does not start and does not say why (%d)", r);
	if (r < 0 && refuse_count() == 0)
		refuse_fail("the daemon does not start: %s", error.text);
	return r;
}

void refuse_place_make(void)
{
	static const char template[] = "/tmp/hugebus-refuse-XXXXXX";
	static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGALRM, SIGINT, SIGTERM};
	struct refuse_place *place = &refuse_place;

	memcpy(place->directory, template, sizeof(template));
	if (!mkdtemp(place->directory)) {
		perror("mkdtemp");
		exit(1);
	}
	snprintf(place->address, sizeof(place->address), "%s/bus", place->directory);
	snprintf(place->state_dir, sizeof(place->state_dir), "%s/state", place->directory);
	snprintf(place->config_path, sizeof(place->config_path), "%s/conf", place->directory);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], on_signal);
	json_set_alloc_funcs(malloc, free);
}
