/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * hugebus-mqtt: what its files share
 *
 * gateway_main.c     start, the loop, the end
 * gateway_options.c  the command line
 * gateway_listen.c   listening sockets
 * gateway_client.c   connections: reading, writing, closing
 * gateway_login.c    names and passwords      gateway_tls.c   TLS, by OpenSSL
 * websocket.c        WebSocket                bus.c           the engine on the bus
 *
 * One thread serves all sockets and the bus; the client library has its control thread beside it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/client/hugebus.h"
#include "dataplane/mqtt/bus.h"
#include "dataplane/mqtt/engine.h"
#include "dataplane/mqtt/gateway_tls.h"

enum {
	HBUS_GATEWAY_LISTENERS_MAX = 16,
	HBUS_GATEWAY_PUBLISH_WAIT_MS = 20, /* for a reliable reader that is a ring behind; all clients wait meanwhile */
};

/* -- options -- */

struct hbus_gateway_options {
	const char *socket;    /* of the bus; NULL = the usual ones */
	const char *listen[HBUS_GATEWAY_LISTENERS_MAX];
	unsigned int n_listen;
	bool allows_anonymous;
	const char *password_file; /* NULL = there are no passwords */
	const char *hash_name;     /* --hash-password: print a line and end */
	struct hbus_gateway_tls_files tls;
	bool is_reliable, adds_cloudevents;
	uint64_t ring_size;
	struct hbus_mqtt_config limits;
};

void hbus_gateway_options_parse(int argc, char **argv, struct hbus_gateway_options *ret_options);

/* A line on stderr. */
__attribute__((format(printf, 1, 2))) void hbus_gateway_log(const char *format, ...);

/* -- sockets -- */

struct hbus_gateway;
struct hbus_gateway_login;

/* What epoll gives back: the first member of listeners and clients. */
struct hbus_gateway_source {
	void (*ready)(struct hbus_gateway *gateway, struct hbus_gateway_source *source, uint32_t events);
	int fd;
};

struct hbus_gateway_client;

struct hbus_gateway {
	int epoll_fd;
	struct hbus_mqtt *engine;
	struct hbus *hugebus;
	struct hbus_mqtt_bus *bus;
	struct hbus_gateway_login *login; /* NULL = no password file */
	uint64_t n_asked;
	struct hbus_gateway_tls *tls; /* NULL = no certificate */
	const struct hbus_gateway_options *options;
	struct hbus_gateway_client *clients; /* all */
	struct hbus_gateway_client *dirty;   /* have something to send or to do at the end of the round */
	struct hbus_gateway_source *listeners[HBUS_GATEWAY_LISTENERS_MAX];
	unsigned int n_listeners;
	bool bus_has_rung; /* its descriptor was readable since it was armed */
	uint64_t now_ms;
};

/* @address: HOST:PORT, PORT, [HOST]:PORT or unix:PATH, with tls:, ws: or wss: in front. Logs why not. Return: 0 or -errno. */
int hbus_gateway_listen(struct hbus_gateway *gateway, const char *address);
void hbus_gateway_listen_close(struct hbus_gateway *gateway);

#define HBUS_GATEWAY_TLS 0x1u
#define HBUS_GATEWAY_WEBSOCKET 0x2u

/* Consumes @fd. @flags: what stands between the socket and MQTT. */
void hbus_gateway_client_new(struct hbus_gateway *gateway, int fd, unsigned int flags);
/* The engine's callbacks. */
size_t hbus_gateway_client_send(void *context, void *transport, const struct iovec *parts, int n_parts);
void hbus_gateway_client_close(void *context, void *transport);
void hbus_gateway_client_resumed(void *context, void *transport);
uint8_t hbus_gateway_client_login(void *context, void *transport, const struct hbus_mqtt_login *login,
				  char principal[HBUS_MQTT_PRINCIPAL_MAX]);
/* Give answers about passwords to those who still wait for them. */
void hbus_gateway_clients_answer(struct hbus_gateway *gateway);
/* At the end of a round: write, free what is done. */
void hbus_gateway_clients_flush(struct hbus_gateway *gateway);
/* Close those who were told to go and did not take it in time. */
void hbus_gateway_clients_expire(struct hbus_gateway *gateway);
/* All, without waiting. */
void hbus_gateway_clients_free(struct hbus_gateway *gateway);
