/* SPDX-License-Identifier: BSD-3-Clause */
/* A private bus for each test case. See bus.h. */
#include "bus.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS_SKIP 77
#define DAEMON_START_MS 5000

const char *bus_address;

static char directory[64];
static char socket_path[96];
static char daemon_path[512];
static char config_path[96];
static struct rlimit files_limit;
static int daemon_namespaces;
static pid_t daemon_pid = -1;

/* -- outcomes -- */

static void fail_exit(void)
{
	fflush(NULL);
	_exit(1);
}

void bus_fail(const char *file, int line, const char *what)
{
	printf("# %s:%d: not so: %s (last error: %s)\n", file, line, what, hbus_error_text());
	fail_exit();
	abort();
}

void bus_fail_eq(const char *file, int line, const char *a, long long value_a, const char *b, long long value_b)
{
	printf("# %s:%d: %s is %lld, %s is %lld\n", file, line, a, value_a, b, value_b);
	fail_exit();
	abort();
}

void bus_fail_call(const char *file, int line, const char *what, int status)
{
	printf("# %s:%d: %s: %d, %s: %s\n", file, line, what, status, hbus_strerror(status), hbus_error_text());
	fail_exit();
	abort();
}

void bus_skip(const char *why)
{
	printf("# skipped: %s\n", why);
	fflush(NULL);
	_exit(STATUS_SKIP);
}

/* -- the daemon -- */

static bool daemon_answers(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool answers;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	answers = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	if (fd >= 0)
		close(fd);
	return answers;
}

/* A new pid namespace begins with a child; the process between is the one that is waited for and killed. */
static void enter_namespaces(void)
{
	int status;
	pid_t pid;

	if (daemon_namespaces == 0)
		return;
	if (unshare(daemon_namespaces) < 0)
		_exit(126);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
		return;
	}
	waitpid(pid, &status, 0);
	_exit(0);
}

static void daemon_exec(void)
{
	char log_path[128];
	int fd;

	snprintf(log_path, sizeof(log_path), "%s/log", directory);
	fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	enter_namespaces();
	if (files_limit.rlim_cur > 0)
		setrlimit(RLIMIT_NOFILE, &files_limit);
	execl(daemon_path, "hugebusd", "--socket", socket_path, config_path[0] ? "--config" : NULL, config_path,
	      (char *)NULL);
	_exit(127);
}

void bus_daemon_start(void)
{
	uint64_t until_ms = bus_now_ms() + DAEMON_START_MS;

	fflush(NULL);
	daemon_pid = fork();
	CHECK(daemon_pid >= 0);
	if (daemon_pid == 0)
		daemon_exec();
	while (!daemon_answers()) {
		CHECK(bus_now_ms() < until_ms);
		CHECK(waitpid(daemon_pid, NULL, WNOHANG) == 0);
		bus_sleep_ms(2);
	}
}

static void daemon_end(int signal_number)
{
	int status = 0;

	if (daemon_pid <= 0)
		return;
	kill(daemon_pid, signal_number);
	waitpid(daemon_pid, &status, 0);
	daemon_pid = -1;
	if (daemon_namespaces != 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
	    (WIFSIGNALED(status) && WTERMSIG(status) == signal_number))
		return;
	printf("# the daemon had ended by itself, status 0x%x\n", status);
	fail_exit();
}

void bus_daemon_kill(void)
{
	daemon_end(SIGKILL);
}

void bus_daemon_stop(void)
{
	daemon_end(SIGTERM);
}

void bus_daemon_forget(void)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -rf %s.state", socket_path);
	CHECK_EQ(system(command), 0);
}

pid_t bus_daemon_pid(void)
{
	return daemon_pid;
}

void bus_daemon_configure(const char *text, unsigned int n_files)
{
	FILE *file;

	bus_daemon_stop();
	files_limit = (struct rlimit){n_files, n_files};
	snprintf(config_path, sizeof(config_path), "%s/conf", directory);
	file = fopen(config_path, "w");
	CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
	bus_daemon_start();
}

void bus_daemon_unshare(int namespaces)
{
	bus_daemon_stop();
	daemon_namespaces = namespaces;
	bus_daemon_start();
}

void bus_needs_root(void)
{
	if (geteuid() != 0)
		bus_skip("only root can be several users");
	CHECK_EQ(chmod(directory, 0755), 0);
}

/* -- cases -- */

/* The case is a process group leader: what it leaves behind ends with it. */
static void case_child(const struct bus_case *run)
{
	setpgid(0, 0);
	alarm(BUS_CASE_SECONDS);
	bus_daemon_start();
	run->run();
	bus_daemon_stop();
	fflush(NULL);
	exit(0); /* not _exit(): LeakSanitizer reports at exit */
}

static void make_directory(void)
{
	snprintf(directory, sizeof(directory), "/tmp/hugebus-test-XXXXXX");
	if (!mkdtemp(directory)) {
		perror("mkdtemp");
		exit(1);
	}
	snprintf(socket_path, sizeof(socket_path), "%s/bus", directory);
	bus_address = socket_path;
}

static void remove_directory(bool show_log)
{
	char command[256];
	int r;

	if (show_log) {
		snprintf(command, sizeof(command), "tail -n 20 %s/log | sed 's/^/# hugebusd: /'", directory);
		r = system(command);
		(void)r;
	}
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	r = system(command);
	(void)r;
}

static int run_case(const struct bus_case *run)
{
	int status = 0;
	pid_t pid;

	make_directory();
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		case_child(run);
	setpgid(pid, pid);
	waitpid(pid, &status, 0);
	kill(-pid, SIGKILL);
	while (waitpid(-pid, NULL, 0) > 0)
		;
	if (WIFSIGNALED(status))
		printf("# ended by signal %d%s\n", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? " (too slow)" : "");
	remove_directory(!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != STATUS_SKIP));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void find_daemon(void)
{
	const char *build = getenv("HBUS_BUILD"), *forced = getenv("HUGEBUSD");

	if (forced)
		snprintf(daemon_path, sizeof(daemon_path), "%s", forced);
	else
		snprintf(daemon_path, sizeof(daemon_path), "%s/ctl/daemon/hugebusd", build ? build : "build");
	if (access(daemon_path, X_OK) < 0) {
		printf("1..0 # SKIP there is no %s\n", daemon_path);
		exit(STATUS_SKIP);
	}
}

int bus_main(const struct bus_case *cases, int n_cases, int argc, char **argv)
{
	int n_failed = 0;

	find_daemon();
	printf("1..%d\n", argc > 1 ? argc - 1 : n_cases);
	for (int i = 0, n = 0; i < n_cases; i++) {
		bool is_wanted = argc < 2;
		uint64_t begin_ms = bus_now_ms();
		int status;

		for (int j = 1; j < argc; j++)
			is_wanted |= strcmp(argv[j], cases[i].name) == 0;
		if (!is_wanted)
			continue;
		status = run_case(&cases[i]);
		n++;
		printf("%sok %d - %s%s (%llu ms)\n", status == 0 || status == STATUS_SKIP ? "" : "not ", n, cases[i].name,
		       status == STATUS_SKIP ? " # SKIP" : "", (unsigned long long)(bus_now_ms() - begin_ms));
		n_failed += status != 0 && status != STATUS_SKIP;
	}
	return n_failed > 0;
}

/* -- what cases use -- */

void *bus_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

void bus_may_open_files(unsigned int n)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < n)
		bus_skip("the limit of descriptors is too low (ulimit -Hn)");
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

uint64_t bus_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t bus_now_ms(void)
{
	return bus_now_us() / 1000;
}

void bus_sleep_ms(unsigned int ms)
{
	struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&span, &span) < 0 && errno == EINTR)
		;
}

struct hbus *bus_open(void)
{
	struct hbus *bus = NULL;

	OK(hbus_open(bus_address, NULL, &bus));
	return bus;
}

struct hbus_publisher *bus_publisher(struct hbus *bus, uint64_t capacity, uint32_t flags, int timeout_ms)
{
	struct hbus_publisher_options options = {.struct_size = sizeof(options), .capacity = capacity, .flags = flags,
						 .timeout_ms = timeout_ms};
	struct hbus_publisher *publisher = NULL;

	OK(hbus_publisher_open(bus, &options, &publisher));
	return publisher;
}

struct hbus_subscriber *bus_subscriber(struct hbus *bus, uint32_t flags, uint32_t start, const char *filter)
{
	struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = flags, .start = start};
	struct hbus_subscriber *sub = NULL;

	OK(hbus_subscriber_open(bus, &options, &sub));
	if (filter)
		OK(hbus_subscribe(sub, filter));
	return sub;
}

pid_t bus_fork(void (*fn)(void *), void *context)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		fn(context);
		fflush(NULL);
		_exit(0);
	}
	return pid;
}

pid_t bus_fork_as(uid_t uid, void (*fn)(void *), void *context)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK_EQ(setgroups(0, NULL), 0);
		CHECK_EQ(setresgid(uid, uid, uid), 0);
		CHECK_EQ(setresuid(uid, uid, uid), 0);
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* its own /proc stays its own */
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		fn(context);
		fflush(NULL);
		_exit(0);
	}
	return pid;
}

void bus_join(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
}

void bus_fill(void *to, size_t size, uint64_t number)
{
	unsigned char *bytes = to;

	for (size_t i = 8; i < size; i++)
		bytes[i] = (unsigned char)(number + i);
	memcpy(bytes, &number, size < 8 ? size : 8);
}

bool bus_is_filled(const void *from, size_t size, uint64_t *ret_number)
{
	const unsigned char *bytes = from;
	uint64_t number = 0;

	memcpy(&number, bytes, size < 8 ? size : 8);
	*ret_number = number;
	for (size_t i = 8; i < size; i++)
		if (bytes[i] != (unsigned char)(number + i))
			return false;
	return true;
}

size_t bus_collect(struct hbus_subscriber *sub, uint64_t *numbers, size_t n_max, int wait_ms)
{
	struct hbus_event events[64];
	size_t n = 0;

	while (n < n_max) {
		int got = hbus_poll(sub, events, n_max - n < 64 ? (unsigned int)(n_max - n) : 64);

		bool are_filled = true;

		CHECK(got >= 0);
		for (int i = 0; i < got; i++)
			are_filled &= bus_is_filled(events[i].data, events[i].size, &numbers[n + (size_t)i]);
		if (hbus_release(sub) == 0) { /* else they were overwritten meanwhile */
			CHECK(are_filled);
			n += (size_t)got;
		}
		if (got == 0 && hbus_wait(sub, wait_ms) != 1)
			break;
	}
	return n;
}

int bus_publish_number(struct hbus_publisher *publisher, hbus_topic_t topic, uint64_t number, size_t size)
{
	unsigned char payload[65536];

	CHECK(size <= sizeof(payload));
	bus_fill(payload, size, number);
	return hbus_publish(publisher, topic, payload, size);
}

void bus_expect_numbers(struct hbus_subscriber *sub, uint64_t from, size_t n)
{
	uint64_t *numbers = calloc(n + 1, sizeof(*numbers));

	CHECK_EQ(bus_collect(sub, numbers, n, 3000), n);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(numbers[i], from + i);
	free(numbers);
}

void bus_expect_quiet(struct hbus_subscriber *sub)
{
	struct hbus_event event;

	CHECK_EQ(hbus_wait(sub, 50), 0);
	CHECK_EQ(hbus_poll(sub, &event, 1), 0);
}

uint64_t bus_take_losses(struct hbus_subscriber *sub, uint32_t reason)
{
	uint64_t n = 0, end = 0;
	struct hbus_loss loss;

	while (hbus_next_loss(sub, &loss) == 1) {
		CHECK_EQ(loss.reason, reason);
		CHECK(loss.first_sequence >= end);
		CHECK(loss.n_events > 0);
		end = loss.first_sequence + loss.n_events;
		n += loss.n_events;
	}
	return n;
}
