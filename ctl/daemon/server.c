/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "ctl/daemon/notify.h"
#include "ctl/daemon/server_int.h"

#define EVENTS_PER_ROUND 256
#define REFILL_NS 1000000000ull
#define OWN_FDS 64
#define PAUSE_NS 500000000ull
#define CATCH_UP_ROUNDS_MAX 1000

uint64_t hbus_server_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- configuration ---- */

static void limit_fds(struct hbus_config *config)
{
	struct rlimit limit;
	uint64_t *total = &config->quota.total[HBUS_QUOTA_FDS];

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return;
	if (limit.rlim_cur < OWN_FDS * 2)
		*total = limit.rlim_cur / 2;
	else if (*total > limit.rlim_cur - OWN_FDS)
		*total = limit.rlim_cur - OWN_FDS;
}

/* A process that serves itself alone need not be kept from taking all: the kernel's limits hold. */
static void lift_quotas(struct hbus_quota_config *quota)
{
	for (int kind = 0; kind < HBUS_QUOTA_N_KINDS; kind++)
		quota->total[kind] = quota->limits.max[kind] = UINT64_MAX / 4;
	quota->limits.requests_per_s = quota->limits.request_burst = 1000000;
}

static int load_config(const struct hbus_server_options *options, struct hbus_config **ret_config,
		       struct hbus_config_error *error)
{
	struct hbus_config *config = calloc(1, sizeof(*config));
	int r = 0;

	if (!config)
		return -ENOMEM;
	if (options->config_path)
		r = hbus_config_load(options->config_path, config, error);
	else
		hbus_config_init(config);
	if (r < 0) {
		free(config);
		return r;
	}
	if (options->socket_path)
		snprintf(config->socket_path, sizeof(config->socket_path), "%s",
			 options->socket_path);
	if (options->state_dir)
		snprintf(config->state_dir, sizeof(config->state_dir), "%s", options->state_dir);
	else if (options->socket_path)
		snprintf(config->state_dir, sizeof(config->state_dir), "%.4000s.state",
			 options->socket_path);
	if (options->log_level >= 0)
		config->log_level = (enum hbus_log_level)options->log_level;
	if (options->is_embedded)
		lift_quotas(&config->quota);
	else
		limit_fds(config);
	*ret_config = config;
	return 0;
}

static void free_config(struct hbus_config *config)
{
	if (config)
		hbus_config_deinit(config);
	free(config);
}

int hbus_server_check_reload(struct hbus_server *server, struct hbus_config_error *ret_error)
{
	struct hbus_config *config;
	int r = load_config(&server->options, &config, ret_error);

	if (r == 0)
		free_config(config);
	return r;
}

static void warn_of_restart(struct hbus_server *server, const struct hbus_config *fresh)
{
	const struct hbus_config *old = server->config;

	if (strcmp(fresh->socket_path, old->socket_path) != 0 ||
	    strcmp(fresh->state_dir, old->state_dir) != 0 ||
	    fresh->socket_mode != old->socket_mode || fresh->socket_gid != old->socket_gid ||
	    fresh->reserve_pages != old->reserve_pages)
		hbus_log_write(&server->log, HBUS_LOG_WARNING,
			       "event=reload text=\"socket, state directory and reserve change only "
			       "with a restart\"");
}

static void reload(struct hbus_server *server)
{
	struct hbus_config_error error;
	struct hbus_config *fresh;

	server->reload_asked = false;
	hbus_notify_reloading();
	if (load_config(&server->options, &fresh, &error) < 0) {
		hbus_log_write(&server->log, HBUS_LOG_ERROR,
			       "event=reload-failed text=\"%s\" kept=\"the configuration before\"",
			       error.text);
	} else {
		warn_of_restart(server, fresh);
		hbus_state_configure(server->state, fresh, server->now_ns);
		free_config(server->config);
		server->config = fresh;
		server->log.level = fresh->log_level;
		hbus_log_write(&server->log, HBUS_LOG_INFO, "event=reloaded");
	}
	hbus_notify("READY=1");
}

/* ---- making it ---- */

static int add_source(struct hbus_server *server, int fd, struct hbus_source *source,
		      enum hbus_source_kind kind)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = source };

	source->kind = kind;
	return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int open_signals(struct hbus_server *server)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	server->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (server->signal_fd < 0)
		return -errno;
	return add_source(server, server->signal_fd, &server->signal_source, HBUS_SOURCE_SIGNAL);
}

static int open_loop(struct hbus_server *server)
{
	int r;

	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (server->epoll_fd < 0 || server->wake_fd < 0)
		return -errno;
	r = add_source(server, server->wake_fd, &server->wake_source, HBUS_SOURCE_WAKE);
	if (r == 0 && !server->options.is_embedded)
		r = open_signals(server);
	return r;
}

static void log_reserve(struct hbus_server *server)
{
	uint32_t wanted = server->config->reserve_pages;

	hbus_reserve_init(&server->reserve, server->options.is_embedded ? 0 : wanted);
	if (server->reserve.n_free < wanted && !server->options.is_embedded)
		hbus_log_write(&server->log, HBUS_LOG_WARNING,
			       "event=reserve pages=%u wanted=%u text=\"too few free hugepages: "
			       "rings beyond the reserve are on 4 KiB pages\"",
			       server->reserve.n_free, wanted);
}

static int open_journal(struct hbus_server *server, struct hbus_journal_head *head,
			struct hbus_config_error *error)
{
	*head = (struct hbus_journal_head){ .boot_number = 1 };
	if (!server->options.is_embedded)
		return hbus_journal_open(server->place.state_dir, &server->journal, head, error);
	head->bus_id = hbus_server_clock();
	return 0;
}

static int make_state(struct hbus_server *server, struct hbus_config_error *error)
{
	struct hbus_journal_head head;
	struct hbus_state_options options;
	struct hbus_state_ops ops;
	int r = open_journal(server, &head, error);

	if (r < 0)
		return r;
	hbus_server_ops(server, &ops);
	options = (struct hbus_state_options){ head.bus_id, head.boot_number, geteuid(), getpid() };
	server->state = hbus_state_new(server->config, &ops, &options, server->now_ns);
	if (!server->state)
		return -ENOMEM;
	if (!server->journal)
		return 0;
	r = hbus_journal_replay(server->journal, hbus_state_restore, server->state);
	if (r < 0)
		return r;
	r = hbus_journal_rewrite(server->journal, server->state);
	if (r < 0)
		snprintf(error->text, sizeof(error->text), "cannot write the journal in %.400s: %s",
			 server->place.state_dir, strerror(-r));
	hbus_state_restored(server->state, server->now_ns);
	return r;
}

static int start(struct hbus_server *server, struct hbus_config_error *error)
{
	int r = load_config(&server->options, &server->config, error);

	if (r < 0)
		return r;
	hbus_log_init(&server->log, server->config->log_level);
	server->log.is_silent = server->options.is_embedded;
	server->now_ns = hbus_server_clock();
	r = open_loop(server);
	if (r < 0) {
		snprintf(error->text, sizeof(error->text), "cannot make an event loop: %s",
			 strerror(-r));
		return r;
	}
	if (!server->options.is_embedded)
		r = hbus_place_take(&server->place, server->config, error);
	if (r < 0)
		return r;
	log_reserve(server);
	r = make_state(server, error);
	if (r < 0 || server->options.is_embedded)
		return r;
	return add_source(server, server->place.listen_fd, &server->listen_source,
			  HBUS_SOURCE_LISTEN);
}

int hbus_server_new(const struct hbus_server_options *options, struct hbus_server **ret_server,
		    struct hbus_config_error *ret_error)
{
	struct hbus_server *server = calloc(1, sizeof(*server));
	int r;

	snprintf(ret_error->text, sizeof(ret_error->text), "no memory");
	if (!server)
		return -ENOMEM;
	server->options = *options;
	server->epoll_fd = server->signal_fd = server->wake_fd = server->spare_fd = -1;
	server->place.listen_fd = server->place.lock_fd = -1;
	server->reserve.fd = -1;
	TAILQ_INIT(&server->conns);
	pthread_mutex_init(&server->mutex, NULL);
	r = start(server, ret_error);
	if (r < 0) {
		hbus_server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

struct hbus_server *hbus_server_free(struct hbus_server *server)
{
	if (!server)
		return NULL;
	if (server->state)
		hbus_state_free(server->state);
	hbus_conns_free(server);
	hbus_place_leave(&server->place);
	hbus_journal_free(server->journal);
	hbus_reserve_deinit(&server->reserve);
	free_config(server->config);
	close_if_open(server->epoll_fd);
	close_if_open(server->signal_fd);
	close_if_open(server->wake_fd);
	close_if_open(server->spare_fd);
	for (size_t i = 0; i < server->n_adopted; i++)
		close(server->adopted[i]);
	pthread_mutex_destroy(&server->mutex);
	free(server);
	return NULL;
}

/* ---- other threads ---- */

static void wake(struct hbus_server *server)
{
	uint64_t one = 1;
	ssize_t n = write(server->wake_fd, &one, sizeof(one));

	(void)n; /* full: it is awake already */
}

void hbus_server_stop(struct hbus_server *server)
{
	pthread_mutex_lock(&server->mutex);
	server->stop_asked = true;
	pthread_mutex_unlock(&server->mutex);
	wake(server);
}

int hbus_server_adopt(struct hbus_server *server, int socket)
{
	int r = 0;

	pthread_mutex_lock(&server->mutex);
	if (server->n_adopted < HBUS_ADOPTED_MAX)
		server->adopted[server->n_adopted++] = socket;
	else
		r = -EBUSY;
	pthread_mutex_unlock(&server->mutex);
	if (r < 0)
		close(socket);
	wake(server);
	return r;
}

static void woken(struct hbus_server *server)
{
	int adopted[HBUS_ADOPTED_MAX];
	size_t n_adopted;
	uint64_t count;
	ssize_t n = read(server->wake_fd, &count, sizeof(count));

	(void)n;
	pthread_mutex_lock(&server->mutex);
	n_adopted = server->n_adopted;
	memcpy(adopted, server->adopted, sizeof(adopted));
	server->n_adopted = 0;
	server->is_stopping |= server->stop_asked;
	pthread_mutex_unlock(&server->mutex);
	for (size_t i = 0; i < n_adopted; i++)
		hbus_conn_new(server, adopted[i]);
}

/* ---- running ---- */

static void signalled(struct hbus_server *server)
{
	struct signalfd_siginfo info;

	while (read(server->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			server->reload_asked = true;
		else
			server->is_stopping = true;
	}
}

static void handle(struct hbus_server *server, const struct epoll_event *event)
{
	const struct hbus_source *source = event->data.ptr;

	switch (source->kind) {
	case HBUS_SOURCE_LISTEN:
		hbus_conn_accept(server);
		break;
	case HBUS_SOURCE_SIGNAL:
		signalled(server);
		break;
	case HBUS_SOURCE_WAKE:
		woken(server);
		break;
	case HBUS_SOURCE_SOCKET:
		hbus_conn_socket_event(source->conn, event->events);
		break;
	case HBUS_SOURCE_PROCESS:
		hbus_conn_process_ended(source->conn);
		break;
	}
}

/* Stops listening for a while when the kernel has no room, and begins again. */
static uint64_t pace_listening(struct hbus_server *server)
{
	struct epoll_event event = { .data.ptr = &server->listen_source };

	if (server->listen_ns == 0)
		return UINT64_MAX;
	if (server->listen_ns <= server->now_ns) {
		server->listen_ns = 0;
		event.events = EPOLLIN;
	}
	epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, server->place.listen_fd, &event);
	return server->listen_ns ? server->listen_ns : UINT64_MAX;
}

static uint64_t refill(struct hbus_server *server)
{
	if (server->now_ns < server->refill_ns)
		return server->refill_ns;
	if (hbus_reserve_refill(&server->reserve))
		return UINT64_MAX;
	server->refill_ns = server->now_ns + REFILL_NS;
	return server->refill_ns;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What time brings. Return: when to come again. */
static uint64_t tick(struct hbus_server *server)
{
	uint64_t next = hbus_conns_tick(server);
	int r = 0;

	next = earlier(next, hbus_state_tick(server->state, server->now_ns));
	next = earlier(next, refill(server));
	next = earlier(next, pace_listening(server));
	if (server->journal && hbus_journal_is_long(server->journal))
		r = hbus_journal_rewrite(server->journal, server->state);
	if (r < 0 && hbus_log_allows(&server->log, HBUS_LOG_ERROR, server->now_ns))
		hbus_log_write(&server->log, HBUS_LOG_ERROR, "event=journal-failed text=\"%s\"",
			       strerror(-r));
	hbus_conns_bury(server);
	return next;
}

static int timeout_ms(uint64_t now_ns, uint64_t next_ns)
{
	if (next_ns == UINT64_MAX)
		return -1;
	if (next_ns <= now_ns)
		return 0;
	next_ns = (next_ns - now_ns + 999999) / 1000000;
	return next_ns > 60000 ? 60000 : (int)next_ns;
}

/*
 * One round of events within @timeout. A daemon that did not run for a while (stopped, or the machine
 * was) must hear what waits for it before it says that anybody's time is over: until nothing is left to
 * read, no time passes. Return: 0 or -errno.
 */
static int one_round(struct hbus_server *server, int timeout)
{
	struct epoll_event events[EVENTS_PER_ROUND];
	uint64_t late_ns = server->now_ns + (uint64_t)(timeout < 0 ? 0 : timeout) * 1000000 + PAUSE_NS;
	int n = epoll_wait(server->epoll_fd, events, EVENTS_PER_ROUND, timeout);

	if (n < 0 && errno != EINTR)
		return -errno;
	server->now_ns = hbus_server_clock();
	if (timeout >= 0 && server->now_ns > late_ns)
		server->catch_up_rounds = CATCH_UP_ROUNDS_MAX;
	else if (n <= 0 || server->catch_up_rounds == 0)
		server->catch_up_rounds = 0;
	else
		server->catch_up_rounds--;
	/* Who came first in the last round does not in this one: time may not suffice for all of one user. */
	server->round++;
	for (int i = 0; i < n; i++)
		handle(server, &events[(server->round + (uint64_t)i) % (uint64_t)n]);
	return 0;
}

int hbus_server_run(struct hbus_server *server)
{
	uint64_t next;
	int timeout, r;

	hbus_log_write(&server->log, HBUS_LOG_INFO, "event=ready socket=%s pages=%u",
		       server->place.socket_path, server->reserve.n_free);
	if (!server->options.is_embedded)
		hbus_notify("READY=1\nSTATUS=serving");
	while (!server->is_stopping) {
		server->now_ns = hbus_server_clock();
		timeout = 0;
		if (server->catch_up_rounds > 0) {
			hbus_conns_bury(server);
		} else {
			next = tick(server);
			timeout = timeout_ms(server->now_ns, next);
		}
		r = one_round(server, timeout);
		if (r < 0)
			return r;
		if (server->reload_asked)
			reload(server);
	}
	if (!server->options.is_embedded)
		hbus_notify("STOPPING=1");
	hbus_log_write(&server->log, HBUS_LOG_INFO, "event=stopping");
	return 0;
}
