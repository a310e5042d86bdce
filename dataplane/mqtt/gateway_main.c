/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hugebus-mqtt: MQTT clients on the bus. One loop: sockets, the bus, the engine's clock, and then what
 * all of them left to be written.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/mqtt/gateway.h"
#include "dataplane/mqtt/gateway_login.h"

enum {
	EVENTS_PER_ROUND = 256,
	TAKES_PER_ROUND = 64,  /* polls of the bus between two looks at the sockets */
	CHORES_MS = 250,       /* counters, and connections that linger */
	SPARE_FDS = 64,
};

void hbus_gateway_log(const char *format, ...)
{
	va_list args;

	fputs("hugebus-mqtt: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* -- sources beside listeners and clients -- */

static volatile sig_atomic_t must_end;

static void on_signal(int number)
{
	(void)number;
	must_end = 1;
}

static void bus_ready(struct hbus_gateway *gateway, struct hbus_gateway_source *source, uint32_t events)
{
	/* Every round looks at the bus. */
	gateway->bus_has_rung = true;
	(void)source;
	(void)events;
}

static void login_ready(struct hbus_gateway *gateway, struct hbus_gateway_source *source, uint32_t events)
{
	(void)source;
	(void)events;
	hbus_gateway_clients_answer(gateway);
}

/* -- the loop -- */

/* Return: true when there is more. */
static bool take_events(struct hbus_gateway *gateway)
{
	for (int i = 0; i < TAKES_PER_ROUND; i++)
		if (!hbus_mqtt_bus_take(gateway->bus, gateway->engine))
			return false;
	return true;
}

static int sleep_ms(const struct hbus_gateway *gateway, uint64_t chores_ms)
{
	uint64_t next = hbus_mqtt_next_ms(gateway->engine);

	next = next < chores_ms ? next : chores_ms;
	return next <= gateway->now_ms ? 0 : (int)(next - gateway->now_ms);
}

static void serve(struct hbus_gateway *gateway, const struct epoll_event *events, int n)
{
	for (int i = 0; i < n; i++) {
		struct hbus_gateway_source *source = events[i].data.ptr;

		source->ready(gateway, source, events[i].events);
		while (hbus_mqtt_bus_is_pressed(gateway->bus) &&
		       hbus_mqtt_bus_take(gateway->bus, gateway->engine))
			continue;
	}
}

/* Return: false when there is something to do, and no time to sleep. */
static bool arm(struct hbus_gateway *gateway)
{
	bool may_sleep = hbus_mqtt_bus_arm(gateway->bus, gateway->bus_has_rung);

	gateway->bus_has_rung = !may_sleep;
	return may_sleep;
}

static void loop(struct hbus_gateway *gateway)
{
	struct epoll_event events[EVENTS_PER_ROUND];
	uint64_t chores_ms = 0;
	bool has_more = true;

	while (!must_end) {
		int timeout = has_more || gateway->dirty || !arm(gateway) ? 0 : sleep_ms(gateway, chores_ms);
		int n = epoll_wait(gateway->epoll_fd, events, EVENTS_PER_ROUND, timeout);

		gateway->now_ms = now_ms();
		hbus_mqtt_tick(gateway->engine, gateway->now_ms);
		serve(gateway, events, n);
		has_more = take_events(gateway);
		if (gateway->now_ms >= chores_ms) {
			hbus_mqtt_bus_count(gateway->bus, hbus_mqtt_counters(gateway->engine));
			hbus_gateway_clients_expire(gateway);
			chores_ms = gateway->now_ms + CHORES_MS;
		}
		hbus_gateway_clients_flush(gateway);
	}
}

/* -- start and end -- */

static int watch_fd(struct hbus_gateway *gateway, int fd)
{
	static struct hbus_gateway_source source = { bus_ready, -1 };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &source };

	return epoll_ctl(gateway->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int watch_bus(struct hbus_gateway *gateway)
{
	int r = watch_fd(gateway, hbus_mqtt_bus_fd(gateway->bus));

	return r < 0 ? r : watch_fd(gateway, hbus_mqtt_bus_answer_fd(gateway->bus));
}

static int open_login(struct hbus_gateway *gateway, const char *path)
{
	static struct hbus_gateway_source source = { login_ready, -1 };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &source };
	unsigned int line;
	int r;

	if (!path)
		return 0;
	r = hbus_gateway_login_open(path, &line, &gateway->login);
	if (r < 0) {
		if (line > 0)
			hbus_gateway_log("%s:%u: not NAME:HASH with a hash as --hash-password makes", path, line);
		else
			hbus_gateway_log("%s: %s", path, strerror(-r));
		return r;
	}
	source.fd = hbus_gateway_login_fd(gateway->login);
	return epoll_ctl(gateway->epoll_fd, EPOLL_CTL_ADD, source.fd, &event) < 0 ? -errno : 0;
}

static int open_tls(struct hbus_gateway *gateway, const struct hbus_gateway_tls_files *files)
{
	const char *text;
	int r;

	if (!files->certificate)
		return 0;
	r = hbus_gateway_tls_open(files, &text, &gateway->tls);
	if (r < 0)
		hbus_gateway_log("no TLS with %s and %s: %s", files->certificate, files->key, text);
	return r;
}

static void raise_fd_limit(uint32_t n)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= n + SPARE_FDS)
		return;
	limit.rlim_cur = limit.rlim_max < n + SPARE_FDS ? limit.rlim_max : n + SPARE_FDS;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void log_sentence(const char *sentence)
{
	hbus_gateway_log("%s", sentence);
}

static int open_bus(struct hbus_gateway *gateway, const struct hbus_gateway_options *options)
{
	const struct hbus_options bus_options = { .struct_size = sizeof(bus_options), .name = "hugebus-mqtt" };
	struct hbus_mqtt_bus_options glue = {
		.counters = "mqtt",
		.ring_size = options->ring_size,
		.event_max = options->limits.packet_max,
		.publish_wait_ms = HBUS_GATEWAY_PUBLISH_WAIT_MS,
		.is_reliable = options->is_reliable,
		.adds_cloudevents = options->adds_cloudevents,
		.log = log_sentence,
	};
	int r = hbus_open(options->socket, &bus_options, &gateway->hugebus);

	glue.bus = gateway->hugebus;
	if (r == 0)
		r = hbus_mqtt_bus_open(&glue, &gateway->bus);
	if (r == 0)
		return 0;
	hbus_gateway_log("no bus: %s", hbus_error_text());
	return -ENOTCONN;
}

static int start(struct hbus_gateway *gateway, struct hbus_gateway_options *options)
{
	struct hbus_mqtt_io io = {
		.context = gateway,
		.send = hbus_gateway_client_send,
		.close = hbus_gateway_client_close,
		.authenticate = hbus_gateway_client_login,
		.resumed = hbus_gateway_client_resumed,
	};
	int r;

	gateway->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (gateway->epoll_fd < 0)
		return -errno;
	if (getrandom(options->limits.secret, sizeof(options->limits.secret), 0) < 0)
		return -errno;
	r = open_login(gateway, options->password_file);
	if (r == 0)
		r = open_tls(gateway, &options->tls);
	if (r == 0)
		r = open_bus(gateway, options);
	if (r == 0)
		r = watch_bus(gateway);
	if (r == 0)
		hbus_mqtt_bus_io(gateway->bus, &io);
	if (r == 0)
		r = hbus_mqtt_new(&options->limits, &io, gateway->now_ms, &gateway->engine);
	for (unsigned int i = 0; i < options->n_listen && r == 0; i++)
		r = hbus_gateway_listen(gateway, options->listen[i]);
	return r;
}

static void stop(struct hbus_gateway *gateway)
{
	hbus_gateway_listen_close(gateway);
	if (gateway->engine) {
		hbus_mqtt_shutdown(gateway->engine);
		hbus_gateway_clients_flush(gateway);
		hbus_mqtt_bus_count(gateway->bus, hbus_mqtt_counters(gateway->engine));
	}
	hbus_gateway_clients_free(gateway);
	gateway->engine = hbus_mqtt_free(gateway->engine);
	gateway->bus = hbus_mqtt_bus_close(gateway->bus);
	if (gateway->hugebus)
		hbus_close(gateway->hugebus);
	gateway->login = hbus_gateway_login_close(gateway->login);
	gateway->tls = hbus_gateway_tls_close(gateway->tls);
	if (gateway->epoll_fd >= 0)
		close(gateway->epoll_fd);
}

/* Prints a line for the file of passwords. Return: exit status. */
static int hash_password(const char *name)
{
	char line[1024];
	int r = hbus_gateway_login_hash(name, line, sizeof(line));

	if (r < 0) {
		hbus_gateway_log("no hash for %s: %s", name, strerror(-r));
		return 1;
	}
	puts(line);
	return 0;
}

int main(int argc, char **argv)
{
	static struct hbus_gateway_options options;
	static struct hbus_gateway gateway = { .epoll_fd = -1 };
	int r;

	hbus_gateway_options_parse(argc, argv, &options);
	if (options.hash_name)
		return hash_password(options.hash_name);
	gateway.options = &options;
	gateway.now_ms = now_ms();
	raise_fd_limit(options.limits.conns_max);
	catch_signals();
	r = start(&gateway, &options);
	if (r == 0) {
		hbus_gateway_log("serving on %s%s", options.listen[0], options.n_listen > 1 ? " and more" : "");
		loop(&gateway);
	} else {
		hbus_gateway_log("cannot start: %s", strerror(-r));
	}
	stop(&gateway);
	return r == 0 ? 0 : 1;
}
