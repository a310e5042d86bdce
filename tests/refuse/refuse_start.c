/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The start of a daemon in which the k-th allocation or descriptor is refused: configuration, socket, journal
 *
 *     refuse_start               each k, once alone and once with all that follows for 5 ms
 *     refuse_start --at K        one again
 *
 * A start that fails says why. The next one succeeds, with the topic that the journal kept from the time before, and each leaves
 * as many allocations and descriptors as there were. Exit: 0 passed, 1 failed, 2 usage.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "ctl/client/hugebus.h"
#include "tests/refuse/place.h"
#include "tests/refuse/refuse.h"
#include "tests/stress/args.h"
#include "tests/stress/fds.h"

#define RUN_SECONDS 30
#define BURST_MS 5
#define KEPT "kept/by/the/journal"

static const char configuration[] =
	"topics = ( { name = \"a\"; type = \"t\"; }, { name = \"b/c\"; own_ring = true; } );\n"
	"routes = ( { to = \"10.0.0.1\"; port = 4711; topic = \"a\"; } );\n"
	"sources = { otherwise = \"deny\"; rules = ( { from = \"10.0.0.0/8\"; action = \"allow\"; } ); };\n"
	"policy = ( { user = \"root\"; filter = \"a/#\"; allow = [ \"publish\", \"admin\" ]; },\n"
	"           { anybody = true; filter = \"#\"; allow = [ \"publish\", \"subscribe\", \"reliable\", \"admin\" ]; } );\n"
	"quotas = { users = ( { uid = 5; topics = 1; } ); };\n";

static struct hbus_server *server;
static uint64_t n_told;

static int start(void)
{
	return refuse_server_new(refuse_place.config_path, &server);
}

static void *serve(void *context)
{
	hbus_server_run(context);
	return NULL;
}

static int is_kept(const struct hbus_row *row, void *context)
{
	*(bool *)context |= strcmp(row->name, KEPT) == 0;
	return 0;
}

/* Serves for as long as it takes to declare the topic, or to see that it is there. */
static void look_at_bus(bool declares)
{
	struct hbus *bus = NULL;
	pthread_t thread;
	bool has_it = false;

	if (pthread_create(&thread, NULL, serve, server) != 0 || hbus_open(refuse_place.address, NULL, &bus) != 0)
		refuse_fail("it does not serve: %s", hbus_error_text());
	if (declares && hbus_topic_declare(bus, KEPT, "type", NULL) != 0)
		refuse_fail("no topic: %s", hbus_error_text());
	if (hbus_list(bus, HBUS_ROW_TOPIC, is_kept, &has_it) != 0 || !has_it)
		refuse_fail("what the journal kept is not there any more");
	hbus_close(bus);
	hbus_server_stop(server);
	pthread_join(thread, NULL);
	server = hbus_server_free(server);
}

/* Return: was anything refused? */
static bool run_one(uint64_t at, unsigned int ms)
{
	size_t n_fds = kit_n_open_fds(), n_held = refuse_n_held();
	uint64_t n_calls;
	int r;

	snprintf(refuse_run_text, sizeof(refuse_run_text), "refuse_start --at %llu --ms %u", (unsigned long long)at, ms);
	alarm(RUN_SECONDS);
	refuse_mark();
	refuse_plan(REFUSE_DAEMON, at, ms);
	refuse_enter(REFUSE_DAEMON);
	r = start();
	if (r == 0)
		server = hbus_server_free(server);
	refuse_enter(REFUSE_NOBODY);
	n_calls = refuse_lift();
	n_told += r < 0;
	if (kit_n_open_fds() != n_fds || refuse_n_held() != n_held) {
		refuse_report();
		refuse_fail("left: %zd allocations, %zd descriptors", (ssize_t)(refuse_n_held() - n_held),
			    (ssize_t)(kit_n_open_fds() - n_fds));
	}
	refuse_plan(REFUSE_NOBODY, 0, 0);
	if (start() < 0)
		refuse_fail("the next start fails too");
	look_at_bus(false);
	if (kit_n_open_fds() != n_fds)
		refuse_fail("left by the next start: %zd descriptors", (ssize_t)(kit_n_open_fds() - n_fds));
	return at < n_calls;
}

static void begin(void)
{
	FILE *file;

	refuse_place_make();
	file = fopen(refuse_place.config_path, "w");
	if (!file || fputs(configuration, file) < 0 || fclose(file) != 0 || !freopen("/dev/null", "w", stderr))
		refuse_fail("no configuration");
	start();
	look_at_bus(true);
	start();
	look_at_bus(false);
}

int main(int argc, char **argv)
{
	static const char usage[] = "Usage: refuse_start [--at K [--ms N]]\n"
				    "Refuses the K-th allocation or descriptor of a daemon that starts, for each K; then, for each K, with all that\n"
				    "follows for 30 ms (or N). It says why, or does without; the next start finds all as it was.\n"
				    "Exit: 0 passed, 1 failed, 2 usage.\n";
	uint64_t at = UINT64_MAX, ms = 0, n_runs = 0;
	const struct kit_arg args[] = {{"--at", &at, NULL, NULL}, {"--ms", &ms, NULL, NULL}, {0}};

	kit_args(argc, argv, usage, args);
	begin();
	if (at != UINT64_MAX)
		n_runs = run_one(at, (unsigned int)ms);
	for (uint64_t i = 0; at == UINT64_MAX && run_one(i, 0); i++)
		n_runs++;
	for (uint64_t i = 0; at == UINT64_MAX && run_one(i, BURST_MS); i++)
		n_runs++;
	refuse_place_clean();
	printf("%llu starts: %llu said why they failed, the others did without what was refused; each next one passed\n",
	       (unsigned long long)n_runs, (unsigned long long)n_told);
	return 0;
}
