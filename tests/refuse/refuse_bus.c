/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A daemon and its clients in one process in which the k-th allocation, descriptor or thread is refused, for k = 0, 1, 2...
 *
 *     refuse_bus                     some k of each case
 *     refuse_bus --long              every k; then again, each with all that follows for 30 ms
 *     refuse_bus --case NAME         one case (--case list)
 *     refuse_bus --case NAME --at K  one run again
 *     refuse_bus ... --ms N          with all that follows for so long, not one call alone
 *     refuse_bus --seed N            which k the short form takes
 *
 * A run opens a bus, publishes, subscribes, polls, administers and closes. Each call that fails must say that there is no
 * room; tried again it must succeed. What was subscribed must come. Clients beside, to whom nothing was refused, miss
 * nothing. In the end the process holds as many allocations, descriptors and mappings as before, and the daemon knows as
 * many clients, rings, subscribers and attachments.
 *
 * Exit: 0 all runs passed, 1 one did not (its line says how to run it again), 2 usage.
 */
#include <dirent.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client/hugebus.h"
#include "ctl/daemon/server.h"
#include "tests/refuse/refuse.h"
#include "tests/stress/args.h"

#define N_EVENTS 20
#define PATIENCE_MS 4000
#define RUN_SECONDS 60
#define RUNS_BETWEEN_LOOKS 16
#define BURST_MS 30
#define EVERY 11 /* in the short form */

struct refuse_case {
	const char *name;
	enum refuse_side side;
	uint32_t open_flags;
	void (*run)(const struct refuse_case *how);
};

/* What a process and its daemon hold. */
struct holding {
	size_t n_rows[4]; /* clients, rings, subscribers, attachments */
	size_t n_allocations, n_fds, n_maps;
};

static char directory[64], address[96], state_dir[96];
static struct hbus_server *server;
static pthread_t server_thread;

/* Nothing is refused to them. */
static struct hbus *beside;
static struct hbus_publisher *beside_pub;
static struct hbus_subscriber *beside_sub;
static hbus_topic_t beside_topic;
static uint64_t beside_sent, beside_got, a_got;

static const char *doing = "beginning";
static char run_text[160];
static uint64_t n_told, n_lost_told;
static bool is_verbose;

/* -- outcomes -- */

/* All that a daemon makes; from a signal handler too. */
static void clean(void)
{
	static const char *const names[] = {"bus", "bus.lock", "state/journal.jsonl", "state/journal.jsonl.new"};
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
	printf("failed: %s; refused first: %s, %llu in all\n  doing: %s\n  ", run_text, refuse_first(),
	       (unsigned long long)refuse_count(), doing);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(NULL);
	clean();
	_exit(1);
}

/* It crashed, does not end, or is told to. */
static void on_signal(int number)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "failed: signal %d in %s; refused first: %s\n  doing: %s\n", number, run_text,
			 refuse_first(), doing);

	clean();
	if (number != SIGINT && number != SIGTERM && write(STDOUT_FILENO, text, (size_t)n) < 0)
		_exit(1);
	signal(number, SIG_DFL);
	raise(number);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* -- the daemon -- */

static void *server_main(void *context)
{
	refuse_enter(REFUSE_DAEMON);
	hbus_server_run(context);
	return NULL;
}

static int server_new(void)
{
	const struct hbus_server_options options = {.socket_path = address, .state_dir = state_dir, .log_level = 0};
	struct hbus_config_error error = {0};
	int r = hbus_server_new(&options, &server, &error);

	if (r < 0 && !error.text[0])
		fail("the daemon does not start and does not say why (%d)", r);
	return r;
}

static void server_start(void)
{
	sigset_t ours;

	if (server_new() < 0 || pthread_create(&server_thread, NULL, server_main, server) != 0)
		fail("no daemon");
	/* The daemon has blocked what ends it, for its own descriptor; here it ends the program. */
	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
}

static void server_end(void)
{
	hbus_server_stop(server);
	pthread_join(server_thread, NULL);
	server = hbus_server_free(server);
}

/* -- calls -- */

/* An error for which a want of room is a reason, with a sentence. */
static bool is_clear(int status)
{
	switch (status) {
	case HBUS_E_NO_MEMORY:
	case HBUS_E_SYSTEM:
	case HBUS_E_LIMIT: /* of descriptors */
		return hbus_error_text()[0] != '\0';
	default:
		return false;
	}
}

static void judge(const char *what, int status)
{
	if (refuse_count() == 0)
		fail("%s: %d (%s), and nothing was refused", what, status, hbus_error_text());
	if (!is_clear(status))
		fail("%s: %d, %s: %s: does not say that there was no room", what, status, hbus_strerror(status), hbus_error_text());
	n_told++;
}

/* A call that fails says why; the next one does not fail. */
#define TRY(call)                                                                                                      \
	do {                                                                                                           \
		int status_;                                                                                           \
		doing = #call;                                                                                         \
		status_ = (call);                                                                                      \
		if (status_ < 0) {                                                                                     \
			judge(#call, status_);                                                                         \
			refuse_lift();                                                                                 \
			status_ = (call);                                                                              \
		}                                                                                                      \
		if (status_ < 0)                                                                                       \
			fail("%s, tried again: %d, %s: %s", #call, status_, hbus_strerror(status_), hbus_error_text()); \
	} while (0)

static size_t take(struct hbus_subscriber *sub, const char *prefix, uint64_t *next)
{
	struct hbus_event events[64];
	size_t n_taken = 0;
	int n;

	while ((n = hbus_poll(sub, events, 64)) > 0) {
		for (int i = 0; i < n; i++) {
			uint64_t number = 0;

			if (strncmp(events[i].topic, prefix, strlen(prefix)) != 0)
				continue;
			memcpy(&number, events[i].data, sizeof(number));
			if (number != *next)
				fail("event %llu of %s came, %llu was the next", (unsigned long long)number, events[i].topic,
				     (unsigned long long)*next);
			++*next;
			n_taken++;
		}
	}
	if (n < 0)
		fail("poll: %d %s", n, hbus_error_text());
	return n_taken;
}

/* The subscriber beside reads two topics; nothing of either may be missing. */
static void take_beside(void)
{
	enum refuse_side side = refuse_enter(REFUSE_NOBODY);
	struct hbus_event events[64];
	int n;

	while ((n = hbus_poll(beside_sub, events, 64)) > 0) {
		for (int i = 0; i < n; i++) {
			uint64_t *next = strcmp(events[i].topic, "by/x") == 0 ? &beside_got : &a_got;
			uint64_t number = 0;

			memcpy(&number, events[i].data, sizeof(number));
			if (number != *next)
				fail("beside: event %llu of %s came, %llu was the next", (unsigned long long)number,
				     events[i].topic, (unsigned long long)*next);
			++*next;
		}
	}
	refuse_enter(side);
}

static bool has_loss(struct hbus_subscriber *sub)
{
	struct hbus_loss loss;
	bool has_any = false;

	while (hbus_next_loss(sub, &loss) == 1)
		has_any |= loss.reason != HBUS_LOSS_UNNAMED;
	return has_any;
}

/* False: not all came, and the subscriber says that some are lost. */
static bool wait_for(struct hbus_subscriber *sub, const char *prefix, uint64_t *next, uint64_t until)
{
	uint64_t give_up_ms = now_ms() + PATIENCE_MS;

	while (*next < until) {
		TRY(hbus_wait(sub, 20));
		take(sub, prefix, next);
		take_beside();
		if (*next < until && has_loss(sub)) {
			n_lost_told++;
			return false;
		}
		if (now_ms() > give_up_ms)
			fail("%llu of %llu events came, and nothing says why", (unsigned long long)*next,
			     (unsigned long long)until);
	}
	return true;
}

static void wait_beside(uint64_t *got, uint64_t sent, const char *what)
{
	enum refuse_side side = refuse_enter(REFUSE_NOBODY);
	uint64_t give_up_ms = now_ms() + PATIENCE_MS;

	doing = what;
	while (*got < sent) {
		hbus_wait(beside_sub, 20);
		take_beside();
		if (has_loss(beside_sub))
			fail("beside: a loss, to whom nothing was refused");
		if (now_ms() > give_up_ms)
			fail("beside: %llu of %llu events came", (unsigned long long)*got, (unsigned long long)sent);
	}
	refuse_enter(side);
}

static void publish_beside(void)
{
	enum refuse_side side = refuse_enter(REFUSE_NOBODY);

	for (int i = 0; i < N_EVENTS; i++, beside_sent++)
		if (hbus_publish(beside_pub, beside_topic, &beside_sent, sizeof(beside_sent)) != 0)
			fail("beside: publish: %s", hbus_error_text());
	refuse_enter(side);
}

/* -- what is held -- */

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

static size_t n_mapped(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	size_t n = 0;

	while (file && fgets(line, sizeof(line), file))
		n += strstr(line, "/memfd:") != NULL;
	if (file)
		fclose(file);
	return n;
}

static int count_row(const struct hbus_row *row, void *context)
{
	(void)row;
	++*(size_t *)context;
	return 0;
}

static void look(struct holding *ret_holding)
{
	enum refuse_side side = refuse_enter(REFUSE_NOBODY);
	static const uint32_t kinds[] = {HBUS_ROW_CLIENT, HBUS_ROW_RING, HBUS_ROW_SUBSCRIBER, HBUS_ROW_ATTACHMENT};

	memset(ret_holding, 0, sizeof(*ret_holding));
	for (int i = 0; i < 4; i++)
		if (hbus_list(beside, kinds[i], count_row, &ret_holding->n_rows[i]) != 0)
			fail("beside: list: %s", hbus_error_text());
	ret_holding->n_fds = n_open_fds();
	ret_holding->n_maps = n_mapped();
	ret_holding->n_allocations = refuse_n_held();
	refuse_enter(side);
}

/* All that runs have made goes; the daemon needs a moment. @size: how much of it is compared. */
static void settle(const struct holding *before, size_t size)
{
	uint64_t give_up_ms = now_ms() + PATIENCE_MS;
	struct holding after;

	doing = "settling";
	for (;; nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL)) {
		look(&after);
		if (memcmp(&after, before, size) == 0)
			return;
		if (now_ms() > give_up_ms)
			break;
	}
	refuse_report();
	fail("left: %zd clients, %zd rings, %zd subscribers, %zd attachments; %zd allocations, %zd descriptors, %zd mappings",
	     (ssize_t)(after.n_rows[0] - before->n_rows[0]), (ssize_t)(after.n_rows[1] - before->n_rows[1]),
	     (ssize_t)(after.n_rows[2] - before->n_rows[2]), (ssize_t)(after.n_rows[3] - before->n_rows[3]),
	     (ssize_t)(after.n_allocations - before->n_allocations), (ssize_t)(after.n_fds - before->n_fds),
	     (ssize_t)(after.n_maps - before->n_maps));
}

/* While all is open the daemon knows what it knew when nothing was refused: what failed half-way is not there beside it. */
static void compare_in_use(struct hbus_subscriber *sub)
{
	static struct holding in_use;
	uint64_t give_up_ms = now_ms() + PATIENCE_MS;
	struct holding now;
	uint64_t next = 0;

	doing = "looking at what is in use";
	refuse_lift();
	for (;; nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL)) {
		take_beside();
		hbus_wait(sub, 0); /* without a thread this is what hears the daemon */
		take(sub, "-", &next);
		look(&now);
		if (in_use.n_rows[0] == 0 && now.n_rows[3] == 3)
			in_use = now;
		if (memcmp(now.n_rows, in_use.n_rows, sizeof(now.n_rows)) == 0)
			return;
		if (now_ms() > give_up_ms)
			fail("in use: %zu clients, %zu rings, %zu subscribers, %zu attachments; without refusals %zu, %zu, %zu, %zu",
			     now.n_rows[0], now.n_rows[1], now.n_rows[2], now.n_rows[3], in_use.n_rows[0], in_use.n_rows[1],
			     in_use.n_rows[2], in_use.n_rows[3]);
	}
}

/* -- runs -- */

struct run {
	struct hbus *bus;
	struct hbus_publisher *publisher;
	struct hbus_subscriber *sub;
	hbus_topic_t topic;
	uint64_t sent, got, got_beside;
};

static int subscriber_new(struct run *run)
{
	const struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = HBUS_SUB_FLAG_RELIABLE};

	return hbus_subscriber_open(run->bus, &options, &run->sub);
}

static void open_all(const struct refuse_case *how, struct run *run)
{
	const struct hbus_options options = {.struct_size = sizeof(options), .name = "refused", .flags = how->open_flags};
	const struct hbus_publisher_options pub_options = {.struct_size = sizeof(pub_options), .capacity = 65536,
							   .flags = HBUS_PUB_SMALL_PAGES};

	TRY(hbus_open(address, &options, &run->bus));
	TRY(hbus_publisher_open(run->bus, &pub_options, &run->publisher));
	TRY(hbus_publisher_topic(run->publisher, "a/b", "a.type", "text/plain", &run->topic));
	TRY(subscriber_new(run));
	TRY(hbus_subscribe(run->sub, "a/+"));
	TRY(hbus_subscribe(run->sub, "by/x"));
}

static void publish(struct run *run)
{
	for (int i = 0; i < N_EVENTS; i++, run->sent++)
		TRY(hbus_publish(run->publisher, run->topic, &run->sent, sizeof(run->sent)));
}

/* What is lost is said, and a new subscriber gets all that comes. */
static void deliver(struct run *run)
{
	publish(run);
	wait_beside(&a_got, run->sent, "beside: waiting for what the run publishes");
	if (wait_for(run->sub, "a/", &run->got, run->sent))
		return;
	refuse_lift();
	hbus_subscriber_close(run->sub);
	run->sub = NULL;
	TRY(subscriber_new(run));
	TRY(hbus_subscribe(run->sub, "a/+"));
	TRY(hbus_subscribe(run->sub, "by/x"));
	run->got = run->sent;
	publish(run);
	if (!wait_for(run->sub, "a/", &run->got, run->sent))
		fail("a new subscriber loses events too");
}

/* True when it is armed, and can be slept on. */
static bool arm(struct run *run)
{
	bool is_armed = false;

	doing = "hbus_fd_arm()";
	switch (hbus_fd_arm(run->sub)) {
	case 0: is_armed = true; break;
	case 1: break;
	default: fail("hbus_fd_arm: %s", hbus_error_text());
	}
	return is_armed;
}

/* Events of the program beside come to who sleeps on the descriptor. */
static void sleep_on_descriptor(struct run *run)
{
	struct pollfd waiter = {.fd = hbus_fd(run->sub), .events = POLLIN};
	uint64_t give_up_ms = now_ms() + PATIENCE_MS, next = beside_sent;
	bool was_lost = false;

	do
		take(run->sub, "-", &next);
	while (!arm(run) && now_ms() < give_up_ms);
	publish_beside();
	while (next < beside_sent) {
		doing = "sleeping on the descriptor";
		if (poll(&waiter, 1, 1000) == 0 && !(was_lost = has_loss(run->sub)))
			fail("nobody wakes who sleeps on the descriptor");
		do
			take(run->sub, "by/", &next);
		while (next < beside_sent && !arm(run) && now_ms() < give_up_ms);
		if (was_lost || has_loss(run->sub)) {
			n_lost_told++;
			break;
		}
		if (now_ms() > give_up_ms)
			fail("%llu of %llu events beside came", (unsigned long long)next, (unsigned long long)beside_sent);
	}
	wait_beside(&beside_got, beside_sent, "beside: waiting for its own");
}

static int any_row(const struct hbus_row *row, void *context)
{
	(void)row;
	++*(size_t *)context;
	return 0;
}

static void administer(struct run *run)
{
	const struct hbus_route route = {.kind = HBUS_ROUTE_KIND_TOPIC, .family = 4, .port = 4711};
	struct hbus_route named = route;
	struct hbus_counter *counters = NULL;
	size_t n = 0;

	snprintf(named.topic, sizeof(named.topic), "a/b");
	TRY(hbus_topic_declare(run->bus, "d/e", "d.type", NULL));
	TRY(hbus_route_add(run->bus, &named));
	TRY(hbus_list(run->bus, HBUS_ROW_TOPIC, any_row, &n));
	TRY(hbus_counters_create(run->bus, "refused", 4, &counters));
	TRY(hbus_route_remove(run->bus, &named));
	TRY(hbus_topic_remove(run->bus, "d/e"));
	TRY(hbus_unsubscribe(run->sub, "by/x"));
}

static void close_all(struct run *run)
{
	doing = "closing";
	hbus_publisher_close(run->publisher);
	hbus_subscriber_close(run->sub);
	hbus_close(run->bus);
}

static void whole_life(const struct refuse_case *how)
{
	struct run run = {0};

	a_got = 0;
	open_all(how, &run);
	deliver(&run);
	sleep_on_descriptor(&run);
	administer(&run);
	deliver(&run);
	compare_in_use(run.sub);
	close_all(&run);
}

static const struct refuse_case cases[] = {
	{"client", REFUSE_CLIENT, 0, whole_life},
	{"client-no-thread", REFUSE_CLIENT, HBUS_OPEN_NO_THREAD, whole_life},
	{"client-handlers", REFUSE_CLIENT, HBUS_OPEN_WANTS_INTEREST | HBUS_OPEN_WANTS_ROUTES, whole_life},
	{"daemon", REFUSE_DAEMON, 0, whole_life},
};

/* -- all of them -- */

static void beside_subscribe(void)
{
	const struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = HBUS_SUB_FLAG_RELIABLE};

	if (hbus_subscriber_open(beside, &options, &beside_sub) != 0 || hbus_subscribe(beside_sub, "a/#") != 0 ||
	    hbus_subscribe(beside_sub, "by/#") != 0)
		fail("beside: %s", hbus_error_text());
}

/* Return: was anything refused? */
static bool run_one(const struct refuse_case *which, uint64_t at, unsigned int ms)
{
	uint64_t n_calls, begin_ms = now_ms(), told_before = n_told + n_lost_told;

	snprintf(run_text, sizeof(run_text), "refuse_bus --case %s --at %llu --ms %u", which->name, (unsigned long long)at, ms);
	alarm(RUN_SECONDS);
	beside_subscribe();
	refuse_plan(which->side, at, ms);
	refuse_enter(REFUSE_CLIENT);
	which->run(which);
	refuse_enter(REFUSE_NOBODY);
	n_calls = refuse_lift();
	hbus_subscriber_close(beside_sub);
	if (is_verbose)
		printf("at %llu: %s, %llu refused, %llu told, %llu ms\n", (unsigned long long)at, refuse_first(),
		       (unsigned long long)refuse_count(), (unsigned long long)(n_told + n_lost_told - told_before),
		       (unsigned long long)(now_ms() - begin_ms));
	return at < n_calls;
}

/*
 * Runs @n_max times, for @first and each @every-th after it, until nothing is left to refuse; then looks at what has stayed.
 * A daemon waits a while for a client whose connection broke: so not after each. Return: runs.
 */
static uint64_t run_some(const struct refuse_case *which, unsigned int ms, uint64_t first, uint64_t every, uint64_t n_max)
{
	uint64_t n = 0;
	struct holding before;

	look(&before);
	refuse_mark();
	while (n < n_max && run_one(which, first + n * every, ms))
		n++;
	if (n > 1)
		snprintf(run_text, sizeof(run_text), "one of refuse_bus --case %s --at %llu to %llu --ms %u", which->name,
			 (unsigned long long)first, (unsigned long long)(first + n * every), ms);
	settle(&before, sizeof(before));
	return n;
}

/* What is made once and stays: names, and tables as large as they must be. */
static void warm_up(const struct refuse_case *which)
{
	static struct holding idle;

	if (idle.n_fds == 0)
		look(&idle);
	run_one(which, UINT64_MAX, 0);
	settle(&idle, sizeof(idle.n_rows));
}

static void beside_open(void)
{
	const struct hbus_publisher_options pub_options = {.struct_size = sizeof(pub_options), .capacity = 65536,
							   .flags = HBUS_PUB_SMALL_PAGES};

	if (hbus_open(address, NULL, &beside) != 0 || hbus_publisher_open(beside, &pub_options, &beside_pub) != 0 ||
	    hbus_publisher_topic(beside_pub, "by/x", NULL, NULL, &beside_topic) != 0)
		fail("beside: %s", hbus_error_text());
}

static void begin(void)
{
	static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGALRM, SIGINT, SIGTERM};

	snprintf(directory, sizeof(directory), "/tmp/hugebus-refuse-XXXXXX");
	if (!mkdtemp(directory)) {
		perror("mkdtemp");
		exit(1);
	}
	snprintf(address, sizeof(address), "%s/bus", directory);
	snprintf(state_dir, sizeof(state_dir), "%s/state", directory);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], on_signal);
	json_set_alloc_funcs(malloc, free);
	if (!is_verbose && !freopen("/dev/null", "w", stderr)) /* the daemon's log */
		exit(1);
	server_start();
	beside_open();
}

static void end(void)
{
	hbus_publisher_close(beside_pub);
	hbus_close(beside);
	server_end();
	clean();
	if (access(directory, F_OK) == 0)
		fail("files are left in %s", directory);
}

static uint64_t sweep(const struct refuse_case *which, unsigned int ms, uint64_t first, uint64_t every)
{
	uint64_t n = 0, n_more;

	do {
		n_more = run_some(which, ms, first + n * every, every, RUNS_BETWEEN_LOOKS);
		n += n_more;
	} while (n_more == RUNS_BETWEEN_LOOKS);
	return n;
}

static const char usage[] = "usage: refuse_bus [--long | --every N] [--seed N] [--case NAME|list [--at K]] [--ms N] [--verbose]\n"
			    "  --long              each k, then each with all that follows for 30 ms\n"
			    "  --every N           each N-th k; which ones, the seed says (default: 11)\n"
			    "  --case, --at        one case; one run of it again\n"
			    "  --ms N              what is refused, and all that follows for so long\n";

static const struct refuse_case *case_of(const char *name)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(name, cases[i].name) == 0)
			return &cases[i];
		if (strcmp(name, "list") == 0)
			puts(cases[i].name);
	}
	if (strcmp(name, "list") != 0)
		kit_usage_error("no such case", name);
	exit(0);
}

int main(int argc, char **argv)
{
	uint64_t seed = (uint64_t)time(NULL), at = UINT64_MAX, ms = 0, every = 0, n_runs = 0, begin_ms = now_ms();
	const struct refuse_case *only = NULL;
	const char *name = NULL;
	bool is_long = false;
	const struct kit_arg args[] = {{"--seed", &seed, NULL, NULL},    {"--every", &every, NULL, NULL},
				       {"--at", &at, NULL, NULL},	 {"--ms", &ms, NULL, NULL},
				       {"--case", NULL, &name, NULL},    {"--long", NULL, NULL, &is_long},
				       {"--verbose", NULL, NULL, &is_verbose}, {0}};

	kit_args(argc, argv, usage, args);
	if (name)
		only = case_of(name);
	if (at != UINT64_MAX && !only)
		kit_usage_error("--at needs a --case", "--at");
	if (every == 0)
		every = is_long ? 1 : EVERY;
	begin();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct refuse_case *which = &cases[i];
		uint64_t n;

		if (only && which != only)
			continue;
		warm_up(which);
		if (at != UINT64_MAX)
			n = run_some(which, (unsigned int)ms, at, 1, 1);
		else
			n = sweep(which, (unsigned int)ms, (seed + i) % every, every);
		if (is_long && ms == 0)
			n += sweep(which, BURST_MS, 0, every);
		n_runs += n;
		printf("%s: %llu runs\n", which->name, (unsigned long long)n);
		fflush(stdout);
	}
	end();
	printf("seed %llu, %.1f s, %llu runs: %llu calls said that there is no room, %llu losses were told; passed\n",
	       (unsigned long long)seed, (double)(now_ms() - begin_ms) / 1000, (unsigned long long)n_runs, (unsigned long long)n_told,
	       (unsigned long long)n_lost_told);
	return 0;
}
