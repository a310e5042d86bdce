/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Inside the event loop
 */
#pragma once

#include <pthread.h>
#include <sys/queue.h>

#include "ctl/daemon/journal.h"
#include "ctl/daemon/listen.h"
#include "ctl/daemon/reserve.h"
#include "ctl/daemon/server.h"
#include "ctl/daemon/state.h"
#include "ctl/daemon/wire.h"

#define HBUS_ADOPTED_MAX 64u

enum hbus_source_kind {
	HBUS_SOURCE_LISTEN,
	HBUS_SOURCE_SIGNAL,
	HBUS_SOURCE_WAKE,
	HBUS_SOURCE_SOCKET,  /* of a connection */
	HBUS_SOURCE_PROCESS, /* its pidfd */
};

/* What epoll's data points to. */
struct hbus_source {
	enum hbus_source_kind kind;
	struct hbus_conn *conn;
};

/*
 * A client's socket and process. When the socket has hung up but the process lives, it lingers for a
 * while, to see the process end.
 */
struct hbus_conn {
	TAILQ_ENTRY(hbus_conn) link;
	struct hbus_server *server;
	struct hbus_source socket_source, process_source;
	int socket; /* -1: hung up */
	struct hbus_fd *pidfd;
	struct hbus_member *member; /* NULL: the state machine has let go of it */
	uint64_t member_id;
	struct hbus_queue queue;
	bool is_dead;	   /* to be freed at the end of this round */
	bool is_polled;    /* its pidfd is in the epoll */
	bool wants_write;  /* EPOLLOUT is set */
	bool is_paused;	   /* EPOLLIN is not: it makes too many requests */
	bool is_later;	   /* sending is tried again at the next tick */
	bool is_watch;	   /* of a process that has yet to come back after a restart: there never was a socket */
	uint64_t until_ns; /* is_paused, lingering, or the next look whether the watch is needed */
};

TAILQ_HEAD(hbus_conn_list, hbus_conn);

struct hbus_server {
	struct hbus_server_options options;
	struct hbus_config *config;
	struct hbus_log log;
	struct hbus_place place;
	struct hbus_journal *journal;
	struct hbus_reserve reserve;
	struct hbus_state *state;
	struct hbus_conn_list conns;
	size_t n_conns;
	size_t n_queued_bytes; /* of all connections, about */
	int epoll_fd, signal_fd, wake_fd;
	int spare_fd; /* given up for a moment to refuse a client when there are no more descriptors */
	struct hbus_source listen_source, signal_source, wake_source;
	uint64_t now_ns, refill_ns, listen_ns; /* listen_ns: 0, or when to listen again */
	uint64_t n_refused;
	uint64_t round; /* of events */
	unsigned int catch_up_rounds; /* not 0: it did not run for a while */
	bool is_stopping, reload_asked, has_dead, has_timers;
	/* from other threads */
	pthread_mutex_t mutex;
	int adopted[HBUS_ADOPTED_MAX];
	size_t n_adopted;
	bool stop_asked;
};

uint64_t hbus_server_clock(void);

/* -- server.c -- */
/** Would a reload succeed? */
int hbus_server_check_reload(struct hbus_server *server, struct hbus_config_error *ret_error);

/* -- server_ops.c -- */
void hbus_server_ops(struct hbus_server *server, struct hbus_state_ops *ops);

/* -- conn.c -- */
void hbus_conn_accept(struct hbus_server *server);
/** Consumes @socket. */
void hbus_conn_new(struct hbus_server *server, int socket);
/** Until the member of a restarted daemon is back: tells the state machine when its process ends. Consumes @pidfd. 0 or -errno. */
int hbus_conn_watch_process(struct hbus_server *server, uint64_t member_id, struct hbus_fd *pidfd);
void hbus_conn_send(struct hbus_conn *conn, const void *msg, struct hbus_fd *const *fds,
		    size_t n_fds);
void hbus_conn_disconnect(struct hbus_conn *conn);
void hbus_conn_socket_event(struct hbus_conn *conn, uint32_t events);
void hbus_conn_process_ended(struct hbus_conn *conn);
/** Retries and unpauses; returns when to be called again, or UINT64_MAX. */
uint64_t hbus_conns_tick(struct hbus_server *server);
void hbus_conns_bury(struct hbus_server *server);
void hbus_conns_free(struct hbus_server *server);
