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
#include <dirent.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#include "ctl/client/hugebus.h"
#include "ctl/daemon/server.h"
#include "tests/refuse/refuse.h"
#include "tests/stress/args.h"

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

static char directory[64], address[96], state_dir[96], config_path[96];
static struct hbus_server *server;
static char run_text[256];
static uint64_t n_told;

static void clean(void)
{
	static const char *const names[] = {"bus", "bus.lock", "conf", "state/journal.jsonl", "state/journal.jsonl.new"};
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	rmdir(state_dir);
	rmdir(directory);
}

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *format, ...)
{
	va_list args;

	refuse_lift();
	printf("failed: %s\n  ", run_text);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(NULL);
	clean();
	_exit(1);
}

static void on_signal(int number)
{
	clean();
	if ((number != SIGINT && number != SIGTERM && write(STDOUT_FILENO, run_text, strlen(run_text)) < 0))
		_exit(1);
	signal(number, SIG_DFL);
	raise(number);
}

static size_t n_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static int start(void)
{
	const struct hbus_server_options options = {
		.config_path = config_path, .socket_path = address, .state_dir = state_dir, .log_level = 0};
	struct hbus_config_error error = {0};
	int r = hbus_server_new(&options, &server, &error);

	if (r < 0 && !error.text[0])
		fail("it did not start and did not say why (%d)", r);
	if (r < 0 && refuse_count() == 0)
		fail("it did not start: %s", error.text);
	return r;
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

	if (pthread_create(&thread, NULL, serve, server) != 0 || hbus_open(address, NULL, &bus) != 0)
		fail("it does not serve: %s", hbus_error_text());
	if (declares && hbus_topic_declare(bus, KEPT, "type", NULL) != 0)
		fail("no topic: %s", hbus_error_text());
	if (hbus_list(bus, HBUS_ROW_TOPIC, is_kept, &has_it) != 0 || !has_it)
		fail("what the journal kept is not there any more");
	hbus_close(bus);
	hbus_server_stop(server);
	pthread_join(thread, NULL);
	server = hbus_server_free(server);
}

/* Return: was anything refused? */
static bool run_one(uint64_t at, unsigned int ms)
{
	size_t n_fds = n_open_fds(), n_held = refuse_n_held();
	uint64_t n_calls;
	int r;

	snprintf(run_text, sizeof(run_text), "refuse_start --at %llu --ms %u", (unsigned long long)at, ms);
	alarm(RUN_SECONDS);
	refuse_mark();
	refuse_plan(REFUSE_DAEMON, at, ms);
	refuse_enter(REFUSE_DAEMON);
	r = start();
	if (r == 0)
		server = hbus_server_free(server);
	refuse_enter(REFUSE_NOBODY);
	n_calls = refuse_lift();
	snprintf(run_text + strlen(run_text), sizeof(run_text) - strlen(run_text), "; refused first: %s", refuse_first());
	n_told += r < 0;
	if (n_open_fds() != n_fds || refuse_n_held() != n_held) {
		refuse_report();
		fail("left: %zd allocations, %zd descriptors", (ssize_t)(refuse_n_held() - n_held), (ssize_t)(n_open_fds() - n_fds));
	}
	refuse_plan(REFUSE_NOBODY, 0, 0);
	if (start() < 0)
		fail("the next start fails too");
	look_at_bus(false);
	if (n_open_fds() != n_fds)
		fail("left by the next start: %zd descriptors", (ssize_t)(n_open_fds() - n_fds));
	return at < n_calls;
}

static void begin(void)
{
	static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGALRM, SIGINT, SIGTERM};
	FILE *file;

	snprintf(directory, sizeof(directory), "/tmp/hugebus-refuse-XXXXXX");
	if (!mkdtemp(directory)) {
		perror("mkdtemp");
		exit(1);
	}
	snprintf(address, sizeof(address), "%s/bus", directory);
	snprintf(state_dir, sizeof(state_dir), "%s/state", directory);
	snprintf(config_path, sizeof(config_path), "%s/conf", directory);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], on_signal);
	json_set_alloc_funcs(malloc, free);
	file = fopen(config_path, "w");
	if (!file || fputs(configuration, file) < 0 || fclose(file) != 0 || !freopen("/dev/null", "w", stderr))
		fail("no configuration");
	start();
	look_at_bus(true);
	start();
	look_at_bus(false);
}

int main(int argc, char **argv)
{
	static const char usage[] = "usage: refuse_start [--at K [--ms N]]\n"
				    "Refuses the K-th allocation or descriptor of a daemon that starts, for each K. Exit: 0, 1, 2.\n";
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
	clean();
	printf("%llu starts: %llu said why they failed, the others did without what was refused; each next one passed\n",
	       (unsigned long long)n_runs, (unsigned long long)n_told);
	return 0;
}
