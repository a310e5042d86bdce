/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is between the load generator's MQTT and a broker: TCP, and TLS and WebSocket on top of it
 *
 * Bytes of MQTT go in and come out. Connecting and the handshakes block, for a few seconds at most; from then on
 * nothing does. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_MQTT_PATH_MAX 128u

/* Where a broker listens, and who we are. */
struct bench_mqtt_endpoint {
	char host[128];
	char port[8];
	char path[BENCH_MQTT_PATH_MAX]; /* WebSocket: begins with a slash */
	bool is_tls, is_websocket;
	const char *user, *password; /* or NULL */
};

/* Of TLS, for all connections; NULL = the system's authorities, no certificate of our own. */
struct bench_mqtt_tls {
	const char *authorities, *certificate, *key;
	bool is_unchecked; /* whoever answers is believed */
};

struct bench_mqtt_transport {
	int fd; /* -1 = not open */
	void *ssl; /* NULL = in the clear */
	bool is_websocket, is_at_end;
	/* WebSocket, in: what is left of the frame, or the bytes of a head that have come. */
	uint64_t frame_left;
	uint8_t head[14], n_head, opcode;
	/* WebSocket, out: frames that the socket has not taken. */
	uint8_t *out;
	size_t out_size, out_sent, out_room;
};

/* Return: 0, or -1 with a sentence on stderr. */
int bench_mqtt_tls_init(const struct bench_mqtt_tls *options);
bool bench_mqtt_tls_is_here(void);

/* Return: 0, or -errno with a sentence on stderr. */
int bench_mqtt_transport_open(struct bench_mqtt_transport *transport, const struct bench_mqtt_endpoint *endpoint);
void bench_mqtt_transport_close(struct bench_mqtt_transport *transport);

/* Return: bytes, 0 at the end, -EAGAIN or another -errno. */
ssize_t bench_mqtt_transport_read(struct bench_mqtt_transport *transport, uint8_t *data, size_t size);
/* May there be more that epoll does not know of? */
bool bench_mqtt_transport_has_more(const struct bench_mqtt_transport *transport);
/* Return: bytes of @data that need not be given again, -EAGAIN or another -errno. */
ssize_t bench_mqtt_transport_write(struct bench_mqtt_transport *transport, const uint8_t *data, size_t size);
/* Is there something that was taken and not sent? Then write, of no bytes too, goes on with it. */
bool bench_mqtt_transport_is_pending(const struct bench_mqtt_transport *transport);
