/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * hugebus-mqtt: what its files share
 *
 * gateway_main.c     start, the end           gateway_loop.c  what a thread does all the time
 * gateway_options.c  the command line
 * gateway_listen.c   listening sockets
 * gateway_client.c   connections: reading, writing, closing
 * gateway_state.c    state on a disk        gateway_files.c its files
 * gateway_login.c    names and passwords      gateway_tls.c   TLS, by OpenSSL
 * websocket.c        WebSocket                bus.c           the engine on the bus
 * rhythm.c           who is expected when
 *
 * Threads: --threads of them, the first being the program's own, each with an epoll and its share of the
 * clients. Reading, writing, TLS and accepting need no lock; the engine, the bus and what is marked so below
 * are under the gateway's lock, so that sessions, take-over, retained messages and shared subscriptions are
 * one, whichever thread a client is on. With one thread the lock is not taken.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ctl/client/hugebus.h"
#include "dataplane/mqtt/bus.h"
#include "dataplane/mqtt/engine.h"
#include "dataplane/mqtt/gateway_tls.h"
#include "dataplane/mqtt/origins.h"
#include "dataplane/mqtt/rhythm.h"

enum {
	HBUS_GATEWAY_LISTENERS_MAX = 16,
	HBUS_GATEWAY_THREADS_MAX = 64,
	HBUS_GATEWAY_READ_SIZE = 128 << 10,
};

/* -- options -- */

struct hbus_gateway_options {
	const char *socket;    /* of the bus; NULL = the usual ones */
	const char *listen[HBUS_GATEWAY_LISTENERS_MAX];
	unsigned int n_listen;
	bool allows_anonymous;
	const char *password_file; /* NULL = there are no passwords */
	const char *state_dir;     /* NULL = state is lost at the end */
	const char *hash_name;     /* --hash-password: print a line and end */
	struct hbus_gateway_tls_files tls;
	bool is_reliable, adds_cloudevents;
	uint64_t ring_size;
	unsigned int n_threads;
	uint32_t address_conns_max; /* connections of one address; 0 = no limit */
	unsigned int spin_us; /* how soon a client must come back to be waited for without sleeping */
	unsigned int nap_us; /* most that a busy thread with many clients sleeps to collect; 0 = never */
	struct hbus_mqtt_config limits;
};

void hbus_gateway_options_parse(int argc, char **argv, struct hbus_gateway_options *ret_options);

/* A line on stderr. */
__attribute__((format(printf, 1, 2))) void hbus_gateway_log(const char *format, ...);

/* -- threads and sockets -- */

struct hbus_gateway;
struct hbus_gateway_worker;
struct hbus_gateway_login;
struct hbus_gateway_state;

/* What epoll gives back: the first member of listeners and clients. ready() is called without the lock. */
struct hbus_gateway_source {
	void (*ready)(struct hbus_gateway_worker *worker, struct hbus_gateway_source *source, uint32_t events);
	int fd;
};

struct hbus_gateway_client;

struct hbus_gateway_worker {
	struct hbus_gateway *gateway;
	struct hbus_gateway_source called; /* eventfd: another thread has something for us */
	int epoll_fd;
	pthread_t thread;
	bool has_thread;
	bool bus_has_rung; /* the bus's descriptor was readable since it was armed; first worker */
	uint64_t now_us;
	/* how to wait: see gateway_loop.c */
	unsigned int spin_credit;
	struct hbus_rhythms rhythms;
	uint64_t alone_us, backoff_us; /* until when not to look, since somebody else wants this core */
	long n_displaced;
	uint64_t window_us;
	uint32_t window, n_rounds, n_speakers;
	bool is_napping;
	uint8_t *room; /* HBUS_GATEWAY_READ_SIZE, for one read */
	/* -- lock -- */
	struct hbus_gateway_client *dirty; /* have something to send or to do at the end of the round */
	bool is_called;
	bool has_much; /* among those that are dirty is one with much to send; where state is kept */
};

/* Counters of the gateway itself, beside the engine's. X(name, what it counts). */
#define HBUS_GATEWAY_COUNTERS(X)                                                      \
	X(accepted, "connections of sockets")                                         \
	X(refused_descriptors, "connections closed at once: no descriptor was left")  \
	X(refused_limit, "connections closed at once: at their limit")                \
	X(refused_address, "connections closed at once: too many of one address")     \
	X(tls_failures, "TLS handshakes that failed")                                 \
	X(websocket_failures, "WebSocket requests or frames that were refused")       \
	X(logins_busy, "passwords refused because too many wait for their hash")      \
	X(lingered_out, "connections whose last words nobody took in time")           \
	X(state_saves, "the state was saved")                                         \
	X(state_failures, "the state could not be saved")                             \
	X(state_bytes_now, "size of the saved state and its journal")                 \
	X(journal_writes, "writes to the journal of the state")                       \
	X(journal_bytes, "bytes of them")                                             \
	X(reloads, "SIGHUP taken")                                                    \
	X(reloads_refused, "SIGHUP whose files were wrong")

struct hbus_gateway_counters {
#define HBUS_GATEWAY_COUNTER_FIELD(name, text) uint64_t name;
	HBUS_GATEWAY_COUNTERS(HBUS_GATEWAY_COUNTER_FIELD)
#undef HBUS_GATEWAY_COUNTER_FIELD
};

struct hbus_gateway {
	const struct hbus_gateway_options *options;
	struct hbus *hugebus;
	struct hbus_gateway_tls *tls;     /* NULL = no certificate; first worker */
	struct hbus_gateway_login *login; /* NULL = no password file */
	struct hbus_gateway_state *state; /* NULL = --state was not given */
	struct hbus_gateway_source *listeners[HBUS_GATEWAY_LISTENERS_MAX];
	unsigned int n_listeners;
	int spare_fd; /* given up for a moment to refuse a client when there is no other descriptor */
	struct hbus_counter *cells;
	struct hbus_gateway_worker workers[HBUS_GATEWAY_THREADS_MAX];
	unsigned int n_workers, next_worker;
	bool is_serving; /* has started whole: its state is worth saving */
	_Atomic bool must_end;
	pthread_mutex_t lock;
	/* -- lock -- */
	struct hbus_gateway_worker *current; /* who has it */
	struct hbus_mqtt *engine;
	struct hbus_mqtt_bus *bus;
	struct hbus_gateway_client *clients; /* all */
	struct hbus_origins *origins;        /* NULL = an address may have all connections */
	struct hbus_gateway_counters counters;
	uint64_t now_ms, n_asked;
};

static inline void hbus_gateway_lock(struct hbus_gateway_worker *worker)
{
	if (worker->gateway->n_workers > 1)
		pthread_mutex_lock(&worker->gateway->lock);
	worker->gateway->current = worker;
}

static inline void hbus_gateway_unlock(struct hbus_gateway_worker *worker)
{
	if (worker->gateway->n_workers > 1)
		pthread_mutex_unlock(&worker->gateway->lock);
}

/* gateway_loop.c; until gateway->must_end */
void hbus_gateway_loop(struct hbus_gateway_worker *worker);
/* @who, a client of this worker, has spoken. @window: the worker's in which it last did. */
void hbus_gateway_heard(struct hbus_gateway_worker *worker, const void *who, uint32_t *window);
/*
 * With the lock, before what the engine said goes out: what it remembers over a restart is written down. @has_acks: also
 * what came from clients that are told that it was taken has been given to those whose sessions keep it.
 */
void hbus_gateway_secure(struct hbus_gateway *gateway, bool has_acks);
/* What a signal handler leaves: called by the first worker on each of its rounds. */
void hbus_gateway_signals(struct hbus_gateway *gateway);
/* With the lock: copies all counters to where `hugebus stats` finds them. */
void hbus_gateway_count(struct hbus_gateway *gateway);

/* @address: HOST:PORT, PORT, [HOST]:PORT or unix:PATH, with tls:, ws: or wss: in front. Logs why not. Return: 0 or -errno. */
int hbus_gateway_listen(struct hbus_gateway *gateway, const char *address);
void hbus_gateway_listen_close(struct hbus_gateway *gateway);

#define HBUS_GATEWAY_TLS 0x1u
#define HBUS_GATEWAY_WEBSOCKET 0x2u

/* Consumes @fd, of @from. @flags: what stands between the socket and MQTT. Takes the lock of @accepting. */
void hbus_gateway_client_new(struct hbus_gateway_worker *accepting, int fd, const struct sockaddr *from, unsigned int flags);

/* The rest is under the lock. The engine's callbacks: */
size_t hbus_gateway_client_send(void *context, void *transport, const struct iovec *parts, int n_parts);
void hbus_gateway_client_close(void *context, void *transport);
void hbus_gateway_client_resumed(void *context, void *transport);
uint8_t hbus_gateway_client_login(void *context, void *transport, const struct hbus_mqtt_login *login,
				  char principal[HBUS_MQTT_PRINCIPAL_MAX]);
/* Give answers about passwords to those who still wait for them. */
void hbus_gateway_clients_answer(struct hbus_gateway *gateway);
/* At the end of a round: write, free what is done. Gives the lock up while it writes. */
void hbus_gateway_clients_flush(struct hbus_gateway_worker *worker);
/* Where state is kept: what has become much goes out in between, when each event has been given to all who want it. */
void hbus_gateway_clients_early(struct hbus_gateway_worker *worker);
/* Close those who were told to go and did not take it in time. */
void hbus_gateway_clients_expire(struct hbus_gateway *gateway);
/* All, without waiting. */
void hbus_gateway_clients_free(struct hbus_gateway *gateway);
