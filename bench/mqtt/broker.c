/* SPDX-License-Identifier: BSD-3-Clause */
/* The brokers that are measured. See broker.h. */
#include "bench/mqtt/broker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/options.h"

enum { TRIES = 500, TRY_MS = 10, ARGV_MAX = 32 };

static const char *const kind_names[] = {"hugebus", "mosquitto", "relay", "other"};

/* -- CPU time -- */

static uint64_t cpu_of(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
		return UINT64_MAX;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The daemon's time is the gateway's price too. */
static uint64_t broker_cpu(const void *context)
{
	const struct bench_mqtt_broker *broker = context;
	uint64_t own = cpu_of(broker->pid), daemon = broker->bus.pid > 0 ? cpu_of(broker->bus.pid) : 0;

	return own == UINT64_MAX || daemon == UINT64_MAX ? UINT64_MAX : own + daemon;
}

/* -- starting -- */

static int listen_somewhere(unsigned int *ret_port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1024) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) < 0) {
		fprintf(stderr, "hugebus-bench: no port on the loopback: %s\n", strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static bool answers(const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool does;

	address.sin_port = htons((uint16_t)atoi(port));
	does = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	if (fd >= 0)
		close(fd);
	return does;
}

/* Leaves @core, if there is another one. */
static void leave_core(int core)
{
	cpu_set_t set;

	if (core < 0 || sched_getaffinity(0, sizeof(set), &set) < 0)
		return;
	CPU_CLR((size_t)core, &set);
	if (CPU_COUNT(&set) > 0)
		(void)sched_setaffinity(0, sizeof(set), &set);
}

static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static _Noreturn void child_main(const struct bench_mqtt_broker *broker, const struct bench_mqtt_setup *setup,
				 const char *const *argv, int listen_fd)
{
	int fd = open(broker->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN); /* of the terminal: the parent ends its children itself */
	leave_core(setup->core);
	raise_fd_limit();
	if (fd >= 0) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	if (listen_fd >= 0)
		bench_mqtt_relay_main(listen_fd);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void show_log(const struct bench_mqtt_broker *broker)
{
	FILE *file = fopen(broker->log, "re");
	char line[256];

	for (int i = 0; file && i < 10 && fgets(line, sizeof(line), file); i++)
		fprintf(stderr, "  %s: %s", broker->name, line);
	if (file)
		fclose(file);
}

static int await(struct bench_mqtt_broker *broker)
{
	struct timespec nap = {.tv_nsec = TRY_MS * 1000000};

	for (int i = 0; i < TRIES; i++) {
		if (answers(broker->target.endpoint.port))
			return 0;
		if (waitpid(broker->pid, NULL, WNOHANG) == broker->pid) {
			broker->pid = 0;
			break;
		}
		nanosleep(&nap, NULL);
	}
	fprintf(stderr, "hugebus-bench: %s did not start\n", broker->name);
	show_log(broker);
	return -1;
}

/* The settings that its manual says are for speed; nothing is written to a disk or a log. */
static int write_mosquitto_conf(const char *path, const char *port)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return -1;
	fprintf(file,
		"listener %s 127.0.0.1\n"
		"user %s\n"
		"allow_anonymous true\n"
		"persistence false\n"
		"log_type none\n"
		"connection_messages false\n"
		"sys_interval 0\n"
		"set_tcp_nodelay true\n"
		"max_inflight_messages 0\n"
		"max_queued_messages 0\n",
		port, geteuid() == 0 ? "root" : "mosquitto");
	return fclose(file);
}

static void find_mosquitto(char *path, size_t size)
{
	static const char *const places[] = {"/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"};

	path[0] = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !path[0]; i++)
		if (access(places[i], X_OK) == 0)
			snprintf(path, size, "%s", places[i]);
}

bool bench_mqtt_broker_is_here(enum bench_mqtt_kind kind)
{
	char path[1024];

	if (kind == BENCH_MQTT_MOSQUITTO)
		find_mosquitto(path, sizeof(path));
	else if (kind == BENCH_MQTT_HUGEBUS)
		bench_find_program("hugebus-mqtt", "../dataplane/mqtt", path, sizeof(path));
	return kind == BENCH_MQTT_RELAY || path[0] == '/';
}

/* The first line that a program says of its version. */
static void ask_version(struct bench_mqtt_broker *broker, const char *program)
{
	char command[1200];
	FILE *file;

	snprintf(command, sizeof(command), "'%s' %s 2>/dev/null", program,
		 broker->kind == BENCH_MQTT_MOSQUITTO ? "-h" : "--version");
	file = popen(command, "re");
	if (file && fgets(broker->version, sizeof(broker->version), file))
		broker->version[strcspn(broker->version, "\n")] = '\0';
	if (file)
		pclose(file);
}

/* Command line of the program. Return: 0 or -1. */
static int prepare(struct bench_mqtt_broker *broker, const struct bench_mqtt_setup *setup, char *program, size_t size,
		   const char **argv)
{
	static char address[64], config[256];
	int n = 0;

	argv[n++] = program;
	if (broker->kind == BENCH_MQTT_MOSQUITTO) {
		find_mosquitto(program, size);
		snprintf(config, sizeof(config), "%s/mosquitto.conf", setup->directory);
		argv[n++] = "-c";
		argv[n++] = config;
		argv[n] = NULL;
		return write_mosquitto_conf(config, broker->target.endpoint.port);
	}
	bench_find_program("hugebus-mqtt", "../dataplane/mqtt", program, size);
	if (bench_bus_start(&broker->bus))
		return -1;
	broker->target.bus_socket = broker->bus.socket;
	snprintf(address, sizeof(address), "127.0.0.1:%s", broker->target.endpoint.port);
	/* As mosquitto's: no limit that a load meets. */
	static const char *const fixed[] = {"--allow-anonymous", "--inflight-max", "65535", "--receive-max", "65535",
					    "--queue-max", "1000000", "--queue-bytes-max", "1000000000"};

	argv[n++] = "--socket";
	argv[n++] = broker->bus.socket;
	argv[n++] = "--listen";
	argv[n++] = address;
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		argv[n++] = fixed[i];
	for (unsigned int i = 0; i < setup->n_args; i++)
		argv[n++] = setup->args[i];
	argv[n] = NULL;
	return 0;
}

int bench_mqtt_broker_start(struct bench_mqtt_broker *broker, enum bench_mqtt_kind kind,
			    const struct bench_mqtt_setup *setup)
{
	struct bench_mqtt_endpoint *endpoint = &broker->target.endpoint;
	const char *argv[ARGV_MAX] = {NULL};
	char program[1024] = "";
	unsigned int port = 0;
	int fd = listen_somewhere(&port);

	if (fd < 0)
		return -1;
	memset(broker, 0, sizeof(*broker));
	broker->kind = kind;
	broker->is_private = true;
	snprintf(broker->name, sizeof(broker->name), "%s", kind_names[kind]);
	snprintf(broker->log, sizeof(broker->log), "%s/%s.log", setup->directory, broker->name);
	snprintf(endpoint->host, sizeof(endpoint->host), "127.0.0.1");
	snprintf(endpoint->port, sizeof(endpoint->port), "%u", port);
	broker->target.cpu_fn = broker_cpu;
	broker->target.context = broker;
	if (kind != BENCH_MQTT_RELAY) {
		/* The port stays free for long enough: the kernel hands out others first. */
		close(fd);
		fd = -1;
		if (prepare(broker, setup, program, sizeof(program), argv))
			return -1;
		ask_version(broker, program);
	}
	broker->pid = fork();
	if (broker->pid == 0)
		child_main(broker, setup, argv, fd);
	if (fd >= 0)
		close(fd);
	return broker->pid > 0 ? await(broker) : -1;
}

void bench_mqtt_broker_stop(struct bench_mqtt_broker *broker)
{
	if (!broker->is_private)
		return;
	if (broker->pid > 0) {
		kill(broker->pid, broker->kind == BENCH_MQTT_RELAY ? SIGKILL : SIGTERM);
		waitpid(broker->pid, NULL, 0);
	}
	broker->pid = 0;
	if (broker->bus.directory[0])
		bench_bus_stop(&broker->bus);
	broker->bus.directory[0] = '\0';
}

/* -- one that is there -- */

/* @begin..@end as a string of its own, for as long as this program runs. */
static const char *keep(const char *begin, const char *end)
{
	return strndup(begin, (size_t)(end - begin));
}

static void parse_login(struct bench_mqtt_endpoint *endpoint, const char *begin, const char *end)
{
	const char *colon = memchr(begin, ':', (size_t)(end - begin));

	endpoint->user = keep(begin, colon ? colon : end);
	if (colon)
		endpoint->password = keep(colon + 1, end);
}

/* HOST, HOST:PORT or [HOST]:PORT, up to @end. */
static bool parse_host(struct bench_mqtt_endpoint *endpoint, const char *begin, const char *end)
{
	const char *stop = *begin == '[' ? memchr(begin, ']', (size_t)(end - begin)) : begin + strcspn(begin, ":/");
	const char *port = stop;
	unsigned int number;

	if (*begin == '[') { /* an IPv6 address */
		begin++;
		port = stop ? stop + 1 : NULL;
	}
	if (!stop || stop <= begin || (size_t)(stop - begin) >= sizeof(endpoint->host))
		return false;
	snprintf(endpoint->host, sizeof(endpoint->host), "%.*s", (int)(stop - begin), begin);
	if (*port != ':')
		return port == end;
	snprintf(endpoint->port, sizeof(endpoint->port), "%.*s", (int)(end - port - 1), port + 1);
	return (size_t)(end - port - 1) < sizeof(endpoint->port) && bench_number(endpoint->port, 1, UINT16_MAX, &number);
}

static const struct scheme {
	const char *name, *port;
	bool is_tls, is_websocket;
} schemes[] = {
	{"mqtt://", "1883", false, false},
	{"mqtts://", "8883", true, false},
	{"ws://", "80", false, true},
	{"wss://", "443", true, true},
};

/* Where a scheme begins in @url, at its begin or behind "NAME=". */
static const struct scheme *find_scheme(const char *url, const char **ret_begin)
{
	const char *equals = strchr(url, '='), *slash = strchr(url, '/');
	const char *begin = equals && (!slash || equals < slash) ? equals + 1 : url;

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		if (strncmp(begin, schemes[i].name, strlen(schemes[i].name)) == 0) {
			*ret_begin = begin;
			return &schemes[i];
		}
	}
	return NULL;
}

bool bench_mqtt_broker_parse(struct bench_mqtt_broker *broker, const char *url)
{
	struct bench_mqtt_endpoint *endpoint = &broker->target.endpoint;
	const char *begin, *at, *end;
	const struct scheme *scheme = find_scheme(url, &begin);

	memset(broker, 0, sizeof(*broker));
	broker->kind = BENCH_MQTT_OTHER;
	broker->target.cpu_fn = broker_cpu;
	broker->target.context = broker;
	if (!scheme)
		return false;
	snprintf(broker->name, sizeof(broker->name), "%.*s", begin > url ? (int)(begin - 1 - url) : 5,
		 begin > url ? url : kind_names[BENCH_MQTT_OTHER]);
	endpoint->is_tls = scheme->is_tls;
	endpoint->is_websocket = scheme->is_websocket;
	begin += strlen(scheme->name);
	at = strrchr(begin, '@');
	if (at) {
		parse_login(endpoint, begin, at);
		begin = at + 1;
	}
	end = begin + strcspn(begin, "/");
	snprintf(endpoint->port, sizeof(endpoint->port), "%s", scheme->port);
	snprintf(endpoint->path, sizeof(endpoint->path), "%s", *end ? end : "/mqtt");
	return strlen(end) < sizeof(endpoint->path) && parse_host(endpoint, begin, end);
}
