/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TCP stack beside kernel sockets. See tcp.h.
 *
 *     the clients' namespace                 the gateways' namespace
 *     hbs0 10.9.1.2 ------------------ hbs1  hugebus-ingress --iface hbs1 --tcp 10.9.1.9
 *     hbk0 10.9.2.2 ------------------ hbk1  10.9.2.1, hugebus-mqtt
 */
#include "bench/ingress/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/blame.h"
#include "bench/mqtt/cases.h"
#include "bench/mqtt/load.h"
#include "dataplane/mqtt/mqtt.h"

#define STACK_ADDRESS "10.9.1.9"
#define KERNEL_ADDRESS "10.9.2.1"
#define TRIES 1500u
#define TRY_MS 10
#define TIME_MAX_S 240u

enum who { STACK, KERNEL, N_WHO };

static const struct {
	const char *name, *title;
	struct bench_mqtt_params params;
} cases[BENCH_N_TCP_CASES] = {
	[BENCH_TCP_QOS0] = {"qos0.64", "QoS 0, 64 B",
			    {HBUS_MQTT_V3, 0, .n_publishers = 1, .n_subscribers = 1, .size = 64}},
	[BENCH_TCP_QOS1] = {"qos1.100", "QoS 1, 64 B, 100 in flight",
			    {HBUS_MQTT_V3, 1, .n_publishers = 1, .n_subscribers = 1, .size = 64, .window = 100}},
	[BENCH_TCP_LARGE] = {"qos0.8192", "QoS 0, 8 KiB",
			     {HBUS_MQTT_V3, 0, .n_publishers = 1, .n_subscribers = 1, .size = 8192}},
	[BENCH_TCP_ROUND_TRIP] = {"rtt", "round trip, 1000/s",
				  {HBUS_MQTT_V3, 0, .n_publishers = 1, .n_subscribers = 1, .size = 64, .rate = 1000}},
};

struct stage {
	const struct bench_cores *cores;
	const char *sockets[N_WHO];  /* a bus for each: who subscribes waits for publishers, and one of the two is stopped */
	unsigned int n_repeats, duration_ms;
	struct bench_tcp *tcp;
	pid_t pids[N_WHO];           /* leaders of process groups */
};

static int fail(const char *what)
{
	bench_blame("tcp: %s: %s", what, strerror(errno));
	return -1;
}

static int run(const char *command)
{
	if (system(command) == 0)
		return 0;
	bench_blame("tcp: failed: %s", command);
	return -1;
}

/* -- the gateways' namespace -- */

/* sysfs shows the interfaces of the namespace that it was mounted in. */
static int enter_namespace(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL) < 0)
		return fail("a network namespace");
	return run("ip link set lo up");
}

/* Whoever measures has a core for itself, if there is another. */
static void leave_core(int core)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return;
	CPU_CLR((size_t)core, &set);
	if (CPU_COUNT(&set) > 0)
		(void)sched_setaffinity(0, sizeof(set), &set);
}

static pid_t start(const struct stage *stage, enum who who)
{
	const char *stack[] = {"", "--socket", stage->sockets[STACK], "--iface", "hbs1", "--no-huge", "--tcp", STACK_ADDRESS "/24",
			       "--tcp-allow-anonymous", NULL};
	const char *kernel[] = {"", "--socket", stage->sockets[KERNEL], "--listen", KERNEL_ADDRESS ":1883", "--allow-anonymous", NULL};
	const char **argv = who == STACK ? stack : kernel;
	char program[1024];
	pid_t pid;

	bench_find_program(who == STACK ? "hugebus-ingress" : "hugebus-mqtt",
			   who == STACK ? "../dataplane" : "../dataplane/mqtt", program, sizeof(program));
	pid = fork();
	if (pid != 0)
		return pid;
	argv[0] = program;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setpgid(0, 0);
	if (who == KERNEL)
		leave_core(stage->cores->core[0]);
	if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout))
		_exit(127);
	execv(program, (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* Until the pipe says that its other end is gone: then what it has started goes too. */
static _Noreturn void keep_gateways(struct stage *stage, int from_parent, int to_parent)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (enter_namespace() || write(to_parent, "n", 1) != 1 || read(from_parent, &byte, 1) != 1)
		_exit(1);
	if (run("ip link set hbs1 up && ip addr add " KERNEL_ADDRESS "/24 dev hbk1 && ip link set hbk1 up"))
		_exit(1);
	stage->pids[STACK] = start(stage, STACK);
	stage->pids[KERNEL] = start(stage, KERNEL);
	if (write(to_parent, stage->pids, sizeof(stage->pids)) < 0)
		_exit(1);
	(void)!read(from_parent, &byte, 1);
	for (int i = 0; i < N_WHO; i++) {
		killpg(stage->pids[i], SIGCONT);
		killpg(stage->pids[i], SIGTERM);
	}
	for (int i = 0; i < N_WHO; i++)
		waitpid(stage->pids[i], NULL, 0);
	_exit(0);
}

/* -- the clients' namespace -- */

static int leave_checksums_to_nobody(const char *interface)
{
	struct ethtool_value value = {.cmd = ETHTOOL_STXCSUM, .data = 0};
	struct ifreq request = {.ifr_data = (void *)&value};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	r = fd < 0 ? -1 : ioctl(fd, SIOCETHTOOL, &request);
	if (fd >= 0)
		close(fd);
	return r < 0 ? fail("transmit checksums") : 0;
}

static int make_links(pid_t keeper)
{
	static const char *const links[] = {"hbs", "hbk"};
	char command[256];

	for (int i = 0; i < N_WHO; i++) {
		snprintf(command, sizeof(command),
			 "ip link add %s0 type veth peer name %s1 netns %d && ip addr add 10.9.%d.2/24 dev %s0 && ip link set %s0 up",
			 links[i], links[i], (int)keeper, i + 1, links[i], links[i]);
		if (run(command))
			return -1;
	}
	return leave_checksums_to_nobody("hbs0");
}

static bool answers(const char *host)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(1883)};
	struct timeval patience = {.tv_usec = 200000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool does;

	inet_pton(AF_INET, host, &address.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	does = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	if (fd >= 0)
		close(fd);
	return does;
}

static int await(const char *host, const char *name)
{
	struct timespec nap = {.tv_nsec = TRY_MS * 1000000};

	for (unsigned int i = 0; i < TRIES; i++) {
		if (answers(host))
			return 0;
		nanosleep(&nap, NULL);
	}
	bench_blame("tcp: %s does not answer", name);
	return -1;
}

/* -- measuring -- */

static int measure_one(const struct stage *stage, enum who who, unsigned int idx)
{
	static const volatile sig_atomic_t never;
	static struct bench_mqtt_outcome outcome;
	struct bench_mqtt_params params = cases[idx].params;
	struct bench_mqtt_target target = {.endpoint = {.port = "1883"}};
	struct bench_samples *samples = who == STACK ? &stage->tcp->at[idx].stack : &stage->tcp->at[idx].kernel;
	int r;

	snprintf(target.endpoint.host, sizeof(target.endpoint.host), "%s", who == STACK ? STACK_ADDRESS : KERNEL_ADDRESS);
	params.duration_ms = stage->duration_ms;
	params.backlog = bench_mqtt_backlog(params.size);
	/* On a busy machine frames are lost, and the stack sends again after 3 s first. */
	params.patience_ms = 10000;
	params.may_lose = params.qos == 0;
	/* Two CPUs are taken by the poll loop and the stack: a client that spins as well would measure time slices. */
	params.spins = params.rate > 0 && stage->cores->n > 2;
	killpg(stage->pids[who], SIGCONT);
	r = bench_mqtt_load(&params, &target, &never, &outcome);
	killpg(stage->pids[who], SIGSTOP);
	if (r)
		return -1;
	if (who == STACK) {
		stage->tcp->at[idx].n_sent += outcome.n_sent;
		stage->tcp->at[idx].n_lost += outcome.n_lost;
	}
	bench_samples_add(samples, stage->tcp->at[idx].is_latency ? (double)bench_histogram_percentile(&outcome.latency, 0.5)
								 : outcome.rate);
	return 0;
}

/* One repetition of a case by both, or why it failed; then it is not measured again. */
static void measure_case(const struct stage *stage, unsigned int idx, unsigned int repeat)
{
	struct bench_tcp_result *result = &stage->tcp->at[idx];

	bench_blame_begin();
	for (unsigned int i = 0; i < N_WHO && !result->has_failed; i++) {
		enum who who = (i + repeat) % N_WHO;

		if (measure_one(stage, who, idx) == 0)
			continue;
		result->has_failed = true;
		snprintf(result->reason, sizeof(result->reason), "repetition %u, %s: %.120s", repeat + 1,
			 who == STACK ? "stack" : "hugebus-mqtt", bench_blame_text());
		fprintf(stderr, "hugebus-bench: tcp: %s failed; the others go on\n", cases[idx].title);
	}
}

static void measure_all(const struct stage *stage)
{
	for (int i = 0; i < N_WHO; i++)
		killpg(stage->pids[i], SIGSTOP);
	for (unsigned int repeat = 0; repeat < stage->n_repeats; repeat++)
		for (unsigned int idx = 0; idx < BENCH_N_TCP_CASES; idx++)
			measure_case(stage, idx, repeat);
}

/* The namespaces and what is in them end with this process. */
static _Noreturn void measure(struct stage *stage)
{
	int to_keeper[2], from_keeper[2], r = -1;
	pid_t keeper;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(TIME_MAX_S);
	if (enter_namespace() || pipe2(to_keeper, O_CLOEXEC) < 0 || pipe2(from_keeper, O_CLOEXEC) < 0)
		_exit(1);
	keeper = fork();
	if (keeper == 0) {
		close(to_keeper[1]);
		keep_gateways(stage, to_keeper[0], from_keeper[1]);
	}
	close(to_keeper[0]);
	close(from_keeper[1]);
	if (keeper > 0 && read(from_keeper[0], &byte, 1) == 1 && make_links(keeper) == 0 && write(to_keeper[1], "g", 1) == 1 &&
	    read(from_keeper[0], stage->pids, sizeof(stage->pids)) == sizeof(stage->pids) &&
	    await(STACK_ADDRESS, "hugebus-ingress --tcp") == 0 && await(KERNEL_ADDRESS, "hugebus-mqtt") == 0) {
		bench_pin(stage->cores->core[0]);
		measure_all(stage);
		r = 0;
	}
	close(to_keeper[1]);
	if (keeper > 0)
		waitpid(keeper, NULL, 0);
	_exit(r ? 1 : 0);
}

/* Is it built with lwIP? */
static bool has_stack(void)
{
	char program[1024], command[1200];

	bench_find_program("hugebus-ingress", "../dataplane", program, sizeof(program));
	snprintf(command, sizeof(command),
		 "'%s' --tcp 10.0.0.1/8 --tcp-allow-anonymous --pcap /nonexistent 2>&1 | grep -q 'without lwIP'", program);
	return access(program, X_OK) == 0 && system(command) != 0;
}

static void name_cases(struct bench_tcp *tcp)
{
	for (unsigned int i = 0; i < BENCH_N_TCP_CASES; i++) {
		tcp->at[i].name = cases[i].name;
		tcp->at[i].title = cases[i].title;
		tcp->at[i].is_latency = cases[i].params.rate > 0;
	}
}

int bench_tcp_run(const struct bench_cores *cores, const char *socket, unsigned int n_repeats, unsigned int duration_ms,
		  struct bench_tcp *ret_tcp)
{
	struct bench_tcp *tcp;
	struct stage stage = {.cores = cores, .n_repeats = n_repeats, .duration_ms = duration_ms};
	struct bench_bus bus = {0};
	int status = 1;
	pid_t pid;

	if (!has_stack()) {
		fprintf(stderr, "hugebus-bench: MQTT over TCP is left out: hugebus-ingress is built without lwIP\n");
		return 1;
	}
	name_cases(ret_tcp);
	if (bench_bus_start(&bus))
		return -1;
	stage.sockets[STACK] = socket;
	stage.sockets[KERNEL] = bus.socket;
	tcp = mmap(NULL, sizeof(*tcp), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tcp == MAP_FAILED) {
		bench_bus_stop(&bus);
		return fail("memory");
	}
	*tcp = *ret_tcp;
	stage.tcp = tcp;
	pid = fork();
	if (pid == 0)
		measure(&stage);
	if (pid > 0)
		waitpid(pid, &status, 0);
	*ret_tcp = *tcp;
	munmap(tcp, sizeof(*tcp));
	bench_bus_stop(&bus);
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}
