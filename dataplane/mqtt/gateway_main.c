/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus-mqtt: MQTT clients on the bus. Start, signals, counters, and the end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/mqtt/gateway.h"
#include "dataplane/mqtt/gateway_login.h"
#include "dataplane/mqtt/gateway_state.h"
#include "program/stdout.h"
#include "shm/counters.h"

enum { SPARE_FDS = 64, RESTORE_MS = 10000, GOODBYE_MS = 300 };

static unsigned int n_logged;

void hbus_gateway_log(const char *format, ...)
{
	va_list args;

	n_logged++;
	fputs("hugebus-mqtt: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static void log_sentence(const char *sentence)
{
	hbus_gateway_log("%s", sentence);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* -- signals -- */

static volatile sig_atomic_t must_end, must_reload, is_started, exit_status;

static void on_signal(int number)
{
	if (number == SIGHUP)
		must_reload = 1;
	else
		must_end = 1;
	/* Until it serves there is nothing to bring to an end, and it may be waiting for a daemon. */
	if (!is_started && must_end)
		_exit(0);
}

static void on_alarm(int number)
{
	(void)number;
	_exit(exit_status);
}

/*
 * What is left is to say goodbye to the daemon: filters, rings and counters, each with an answer to wait for. One that
 * does not answer is not waited for: it sees that the process has ended.
 */
static void end_soon(void)
{
	const struct itimerval soon = { .it_value.tv_usec = GOODBYE_MS * 1000 };

	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &soon, NULL);
}

static void end_all(struct hbus_gateway *gateway)
{
	const uint64_t one = 1;

	atomic_store_explicit(&gateway->must_end, true, memory_order_relaxed); /* relaxed: see hbus_gateway_loop() */
	for (unsigned int i = 1; i < gateway->n_workers; i++)
		if (write(gateway->workers[i].called.fd, &one, sizeof(one)) < 0)
			continue; /* it is readable already */
}

/* New clients come by the new files; those that are there stay. */
static void reload(struct hbus_gateway *gateway)
{
	struct hbus_gateway_tls *tls = NULL;
	const char *text;
	bool is_refused = false;

	if (gateway->tls && hbus_gateway_tls_open(&gateway->options->tls, &text, &tls) < 0) {
		hbus_gateway_log("the certificate stays as it was: %s", text);
		is_refused = true;
	}
	if (tls) {
		hbus_gateway_tls_close(gateway->tls);
		gateway->tls = tls;
	}
	if (gateway->login)
		hbus_gateway_login_reload(gateway->login, log_sentence);
	hbus_gateway_lock(&gateway->workers[0]);
	gateway->counters.reloads++;
	gateway->counters.reloads_refused += is_refused;
	hbus_gateway_unlock(&gateway->workers[0]);
}

void hbus_gateway_signals(struct hbus_gateway *gateway)
{
	if (must_end)
		end_all(gateway);
	if (!must_reload)
		return;
	must_reload = 0;
	reload(gateway);
}

/* -- counters -- */

#define COUNT_FIELD(name, text) +1
enum { N_CELLS = 0 HBUS_GATEWAY_COUNTERS(COUNT_FIELD) };

static void open_counters(struct hbus_gateway *gateway)
{
	static const char *const names[N_CELLS] = {
#define COUNTER_NAME(name, text) #name,
		HBUS_GATEWAY_COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
	};

	if (hbus_counters_create(gateway->hugebus, "mqtt-gateway", N_CELLS, &gateway->cells) < 0)
		gateway->cells = NULL;
	for (unsigned int i = 0; gateway->cells && i < N_CELLS; i++)
		snprintf(gateway->cells[i].name, sizeof(gateway->cells[i].name), "%s", names[i]);
}

static void count_state(struct hbus_gateway *gateway)
{
	struct hbus_gateway_state_counters counters;

	hbus_gateway_state_counters(gateway->state, &counters);
	gateway->counters.state_saves = counters.n_saves;
	gateway->counters.state_failures = counters.n_failures;
	gateway->counters.state_bytes_now = counters.size;
	gateway->counters.journal_writes = counters.n_journal_writes;
	gateway->counters.journal_bytes = counters.journal_bytes;
}

static void count_cells(struct hbus_gateway *gateway)
{
	const uint64_t values[N_CELLS] = {
#define COUNTER_VALUE(name, text) gateway->counters.name,
		HBUS_GATEWAY_COUNTERS(COUNTER_VALUE)
#undef COUNTER_VALUE
	};

	hbus_mqtt_bus_count(gateway->bus, hbus_mqtt_counters(gateway->engine));
	for (unsigned int i = 0; gateway->cells && i < N_CELLS; i++)
		hbus_counter_set((struct hbus_counter_cell *)(void *)&gateway->cells[i], values[i]);
}

void hbus_gateway_count(struct hbus_gateway *gateway)
{
	if (gateway->state)
		count_state(gateway);
	count_cells(gateway);
}

/* -- sources beside listeners and clients -- */

static void bus_ready(struct hbus_gateway_worker *worker, struct hbus_gateway_source *source, uint32_t events)
{
	/* Every round looks at the bus. */
	worker->bus_has_rung = true;
	hbus_rhythm_heard(&worker->rhythms, source, worker->now_us);
	(void)events;
}

static void login_ready(struct hbus_gateway_worker *worker, struct hbus_gateway_source *source, uint32_t events)
{
	(void)source;
	(void)events;
	hbus_gateway_lock(worker);
	hbus_gateway_clients_answer(worker->gateway);
	hbus_gateway_unlock(worker);
}

static void call_ready(struct hbus_gateway_worker *worker, struct hbus_gateway_source *source, uint32_t events)
{
	uint64_t count;

	(void)worker;
	(void)events;
	if (read(source->fd, &count, sizeof(count)) < 0)
		return; /* every round looks at what is dirty */
}

/* -- threads -- */

static int worker_init(struct hbus_gateway *gateway, struct hbus_gateway_worker *worker)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &worker->called };

	worker->gateway = gateway;
	worker->called = (struct hbus_gateway_source){ call_ready, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	worker->room = malloc(HBUS_GATEWAY_READ_SIZE);
	gateway->n_workers++;
	if (worker->called.fd < 0 || worker->epoll_fd < 0)
		return -errno;
	if (!worker->room)
		return -ENOMEM;
	return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->called.fd, &event) < 0 ? -errno : 0;
}

static void worker_deinit(struct hbus_gateway_worker *worker)
{
	if (worker->called.fd >= 0)
		close(worker->called.fd);
	if (worker->epoll_fd >= 0)
		close(worker->epoll_fd);
	free(worker->room);
}

static void *run(void *context)
{
	hbus_gateway_loop(context);
	return NULL;
}

/* All but the first, which is this one. */
static int start_threads(struct hbus_gateway *gateway)
{
	sigset_t all, before;
	int r = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned int i = 1; i < gateway->n_workers && r == 0; i++) {
		struct hbus_gateway_worker *worker = &gateway->workers[i];

		r = -pthread_create(&worker->thread, NULL, run, worker);
		worker->has_thread = r == 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

static void join_threads(struct hbus_gateway *gateway)
{
	end_all(gateway);
	for (unsigned int i = 1; i < gateway->n_workers; i++)
		if (gateway->workers[i].has_thread)
			pthread_join(gateway->workers[i].thread, NULL);
}

/* -- start and end -- */

static int watch_fd(struct hbus_gateway *gateway, int fd)
{
	static struct hbus_gateway_source source = { bus_ready, -1 };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &source };

	return epoll_ctl(gateway->workers[0].epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
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
			hbus_gateway_log("%s:%u: not NAME:HASH with a hash as --hash-password makes (mosquitto_passwd's are "
					 "others)", path, line);
		else
			hbus_gateway_log("%s: %s", path, strerror(-r));
		return r;
	}
	source.fd = hbus_gateway_login_fd(gateway->login);
	return epoll_ctl(gateway->workers[0].epoll_fd, EPOLL_CTL_ADD, source.fd, &event) < 0 ? -errno : 0;
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

/* Fewer descriptors than connections asked for: say so, and let the limit be what there is. */
static void raise_fd_limit(struct hbus_mqtt_config *limits)
{
	rlim_t wanted = limits->conns_max + SPARE_FDS;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	if (limit.rlim_max < wanted) {
		struct rlimit higher = { wanted, wanted };

		/* Root may. */
		if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
			return;
	}
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted)
		return;
	limits->conns_max = limit.rlim_cur > 2 * SPARE_FDS ? (uint32_t)limit.rlim_cur - SPARE_FDS : SPARE_FDS;
	hbus_gateway_log("at most %u connections, since this process may have %llu descriptors (ulimit -n)",
			 limits->conns_max, (unsigned long long)limit.rlim_cur);
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int open_bus(struct hbus_gateway *gateway, const struct hbus_gateway_options *options)
{
	const struct hbus_options bus_options = { .struct_size = sizeof(bus_options), .name = "hugebus-mqtt" };
	struct hbus_mqtt_bus_options glue = {
		.counters = "mqtt",
		.ring_size = options->ring_size,
		.event_max = options->limits.packet_max,
		.waits_for_room = true,
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
	if (r == HBUS_E_DISCONNECTED)
		hbus_gateway_log("hugebusd must run first: `hugebusd &` for the usual bus, or `hugebusd --socket PATH &` and "
				 "--socket PATH here");
	return -ENOTCONN;
}

/* Before anybody publishes, the filters of the sessions that were kept are subscribed to. */
static void subscribe_restored(struct hbus_gateway *gateway)
{
	struct pollfd answers = { .fd = hbus_mqtt_bus_answer_fd(gateway->bus), .events = POLLIN };
	uint64_t end_ms = now_ms() + RESTORE_MS;

	while (hbus_mqtt_bus_is_asking(gateway->bus) && now_ms() < end_ms) {
		(void)poll(&answers, 1, 100);
		(void)hbus_mqtt_bus_take(gateway->bus, gateway->engine);
	}
}

static int open_state(struct hbus_gateway *gateway, const char *dir)
{
	int r;

	if (!dir)
		return 0;
	r = hbus_gateway_state_open(dir, log_sentence, &gateway->state);
	if (r == 0)
		r = hbus_gateway_state_load(gateway->state, gateway->engine);
	if (r == 0) {
		subscribe_restored(gateway);
		hbus_gateway_state_begin(gateway->state, gateway->engine);
	}
	if (r == -EBUSY)
		hbus_gateway_log("%s is another gateway's", dir);
	else if (r < 0)
		hbus_gateway_log("%s: %s", dir, strerror(-r));
	return r;
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
	int r = 0;

	pthread_mutex_init(&gateway->lock, NULL);
	for (unsigned int i = 0; i < options->n_threads && r == 0; i++)
		r = worker_init(gateway, &gateway->workers[i]);
	if (r < 0)
		return r;
	gateway->current = &gateway->workers[0];
	gateway->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (getrandom(options->limits.secret, sizeof(options->limits.secret), 0) < 0)
		return -errno;
	if (options->address_conns_max > 0)
		r = hbus_origins_new(options->address_conns_max, options->limits.secret, &gateway->origins);
	if (r == 0)
		r = open_login(gateway, options->password_file);
	if (r == 0)
		r = open_tls(gateway, &options->tls);
	if (r == 0)
		r = open_bus(gateway, options);
	if (r == 0)
		r = watch_bus(gateway);
	if (r == 0)
		open_counters(gateway);
	if (r == 0)
		hbus_mqtt_bus_io(gateway->bus, &io);
	if (r == 0)
		r = hbus_mqtt_new(&options->limits, &io, gateway->now_ms, &gateway->engine);
	if (r == 0)
		r = open_state(gateway, options->state_dir);
	for (unsigned int i = 0; i < options->n_listen && r == 0; i++)
		r = hbus_gateway_listen(gateway, options->listen[i]);
	return r == 0 ? start_threads(gateway) : r;
}

static void stop(struct hbus_gateway *gateway)
{
	join_threads(gateway);
	hbus_gateway_listen_close(gateway);
	if (gateway->engine) {
		gateway->current = &gateway->workers[0];
		hbus_mqtt_shutdown(gateway->engine);
		hbus_gateway_secure(gateway, true);
		for (unsigned int i = 0; i < gateway->n_workers; i++)
			hbus_gateway_clients_flush(&gateway->workers[i]);
		hbus_mqtt_bus_commit(gateway->bus);
		if (gateway->state && gateway->is_serving)
			(void)hbus_gateway_state_finish(gateway->state, gateway->engine);
		hbus_gateway_count(gateway);
	}
	gateway->state = hbus_gateway_state_close(gateway->state);
	end_soon();
	hbus_gateway_clients_free(gateway);
	gateway->origins = hbus_origins_free(gateway->origins);
	gateway->engine = hbus_mqtt_free(gateway->engine);
	gateway->bus = hbus_mqtt_bus_close(gateway->bus);
	if (gateway->hugebus)
		hbus_close(gateway->hugebus);
	gateway->login = hbus_gateway_login_close(gateway->login);
	gateway->tls = hbus_gateway_tls_close(gateway->tls);
	for (unsigned int i = 0; i < gateway->n_workers; i++)
		worker_deinit(&gateway->workers[i]);
	if (gateway->spare_fd >= 0)
		close(gateway->spare_fd);
	pthread_mutex_destroy(&gateway->lock);
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
	static struct hbus_gateway gateway = { .spare_fd = -1 };
	int r;

	hbus_stdout_check();
	hbus_gateway_options_parse(argc, argv, &options);
	if (options.hash_name)
		return hash_password(options.hash_name);
	gateway.options = &options;
	gateway.now_ms = now_ms();
	raise_fd_limit(&options.limits);
	catch_signals();
	r = start(&gateway, &options);
	if (r == 0) {
		gateway.is_serving = true;
		is_started = 1;
		hbus_gateway_log("serving on %s%s", options.listen[0], options.n_listen > 1 ? " and more" : "");
		hbus_gateway_loop(&gateway.workers[0]);
	} else if (n_logged == 0) {
		hbus_gateway_log("cannot start: %s", strerror(-r));
	}
	exit_status = r == 0 ? 0 : 1;
	stop(&gateway);
	return exit_status;
}
