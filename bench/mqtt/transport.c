/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP, TLS and WebSocket of the load generator. See transport.h. */
#include "bench/mqtt/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench/blame.h"
#include "bench/mqtt/tls.h"

enum { HANDSHAKE_S = 5, RESPONSE_MAX = 4096, HEAD_MAX = 14 };
enum { WS_BINARY = 0x82, WS_PONG = 0x8a, WS_MASKED = 0x80 };
enum { OP_CONTINUATION = 0, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

/* -- bytes of the socket or of TLS -- */

static ssize_t raw_read(struct bench_mqtt_transport *t, void *data, size_t size)
{
	ssize_t n;

	if (t->ssl)
		return bench_mqtt_tls_read(t->ssl, data, size);
	n = recv(t->fd, data, size, 0);
	return n < 0 ? -errno : n;
}

static ssize_t raw_write(struct bench_mqtt_transport *t, const void *data, size_t size)
{
	ssize_t n;

	if (t->ssl)
		return bench_mqtt_tls_write(t->ssl, data, size);
	n = send(t->fd, data, size, MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

/* -- WebSocket -- */

static void encode64(const uint8_t *data, size_t size, char *text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < size; i += 3) {
		uint32_t bits = (uint32_t)data[i] << 16 | (i + 1 < size ? (uint32_t)data[i + 1] << 8 : 0) |
				(i + 2 < size ? data[i + 2] : 0);

		*text++ = digits[bits >> 18];
		*text++ = digits[bits >> 12 & 63];
		*text++ = i + 1 < size ? digits[bits >> 6 & 63] : '=';
		*text++ = i + 2 < size ? digits[bits & 63] : '=';
	}
	*text = '\0';
}

/* Nothing comes behind the answer: the broker waits for CONNECT. Byte by byte, so that nothing is read too far. */
static int read_response(struct bench_mqtt_transport *t, char *response)
{
	size_t n = 0;

	while (n < 4 || memcmp(response + n - 4, "\r\n\r\n", 4) != 0) {
		ssize_t r = n + 1 < RESPONSE_MAX ? raw_read(t, response + n, 1) : -EMSGSIZE;

		if (r == -EINTR)
			continue;
		if (r <= 0)
			return r == 0 ? -ECONNRESET : (int)r;
		n += (size_t)r;
	}
	response[n] = '\0';
	return 0;
}

static int upgrade(struct bench_mqtt_transport *t, const struct bench_mqtt_endpoint *endpoint)
{
	char request[1024], response[RESPONSE_MAX], key[32];
	uint8_t random[16];
	int n, r;

	if (getrandom(random, sizeof(random), 0) < 0)
		return -errno;
	encode64(random, sizeof(random), key);
	n = snprintf(request, sizeof(request),
		     "GET %s HTTP/1.1\r\nHost: %s:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		     "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		     endpoint->path, endpoint->host, endpoint->port, key);
	if (raw_write(t, request, (size_t)n) != n)
		return -EIO;
	r = read_response(t, response);
	if (r < 0)
		return r;
	if (strncmp(response, "HTTP/1.1 101", 12) == 0)
		return 0;
	bench_blame("no WebSocket at %s port %s%s: %.*s", endpoint->host, endpoint->port,
		endpoint->path, (int)strcspn(response, "\r\n"), response);
	return -EPROTO;
}

static uint8_t *out_room(struct bench_mqtt_transport *t, size_t size)
{
	if (t->out_size + size > t->out_room) {
		t->out_room = 2 * (t->out_size + size);
		t->out = realloc(t->out, t->out_room);
		if (!t->out) {
			fprintf(stderr, "hugebus-bench: out of memory\n");
			exit(1);
		}
	}
	return t->out + t->out_size;
}

/* One frame more of the output; what a client sends is masked. */
static void put_frame(struct bench_mqtt_transport *t, uint8_t first_byte, const uint8_t *data, size_t size)
{
	static uint32_t mask_seed = 0x9e3779b9;
	uint8_t *at = out_room(t, size + HEAD_MAX), mask[4];

	*at++ = first_byte;
	if (size < 126) {
		*at++ = (uint8_t)(WS_MASKED | size);
	} else if (size <= UINT16_MAX) {
		*at++ = WS_MASKED | 126;
		*at++ = (uint8_t)(size >> 8);
		*at++ = (uint8_t)size;
	} else {
		*at++ = WS_MASKED | 127;
		for (int shift = 56; shift >= 0; shift -= 8)
			*at++ = (uint8_t)((uint64_t)size >> shift);
	}
	mask_seed = mask_seed * 1664525 + 1013904223;
	memcpy(mask, &mask_seed, sizeof(mask));
	memcpy(at, mask, sizeof(mask));
	at += sizeof(mask);
	for (size_t i = 0; i < size; i++)
		at[i] = data[i] ^ mask[i & 3];
	t->out_size = (size_t)(at + size - t->out);
}

/* Return: 0 when all is sent, or -errno. */
static int push(struct bench_mqtt_transport *t)
{
	while (t->out_sent < t->out_size) {
		ssize_t n = raw_write(t, t->out + t->out_sent, t->out_size - t->out_sent);

		if (n < 0 && n != -EINTR)
			return (int)n;
		t->out_sent += n > 0 ? (size_t)n : 0;
	}
	t->out_sent = t->out_size = 0;
	return 0;
}

/* How long a head is whose first bytes are these. */
static size_t head_size(const uint8_t *head, size_t n)
{
	size_t size = n > 1 ? head[1] & 0x7f : 0;

	return size == 127 ? 10 : size == 126 ? 4 : 2;
}

static uint64_t frame_size(const uint8_t *head)
{
	uint64_t size = head[1] & 0x7f;

	if (size < 126)
		return size;
	size = 0;
	for (size_t i = 2; i < head_size(head, 2); i++)
		size = size << 8 | head[i];
	return size;
}

/* A head is whole. Return: whether the broker may say this. */
static bool begin_frame(struct bench_mqtt_transport *t)
{
	t->opcode = t->head[0] & 0x0f;
	t->frame_left = frame_size(t->head);
	t->n_head = 0;
	t->is_at_end |= t->opcode == OP_CLOSE;
	if (t->opcode == OP_PING)
		put_frame(t, WS_PONG, NULL, 0);
	return t->opcode == OP_CONTINUATION || t->opcode == OP_BINARY || t->opcode >= OP_CLOSE;
}

/* Leaves of @data what is MQTT. Return: its size, or -EPROTO. */
static ssize_t unwrap(struct bench_mqtt_transport *t, uint8_t *data, size_t size)
{
	uint8_t *into = data, *end = data + size;

	while (data < end && !t->is_at_end) {
		size_t n = (size_t)(end - data);

		if (t->frame_left > 0) {
			n = n < t->frame_left ? n : (size_t)t->frame_left;
			if (t->opcode <= OP_BINARY) {
				memmove(into, data, n);
				into += n;
			}
			t->frame_left -= n;
			data += n;
			continue;
		}
		t->head[t->n_head++] = *data++;
		if (t->n_head >= 2 && t->n_head == head_size(t->head, t->n_head) && !begin_frame(t))
			return -EPROTO;
	}
	return into - (end - size);
}

/* -- public -- */

static int connect_to(const struct bench_mqtt_endpoint *endpoint)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
	int r = getaddrinfo(endpoint->host, endpoint->port, &hints, &found), fd = -1, error = ENOENT;

	if (r) {
		bench_blame("%s: %s", endpoint->host, gai_strerror(r));
		return -EHOSTUNREACH;
	}
	for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
		fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0)
			break;
		error = errno;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	if (fd >= 0)
		return fd;
	bench_blame("cannot connect to %s port %s: %s", endpoint->host, endpoint->port, strerror(error));
	return -error;
}

static int shake_hands(struct bench_mqtt_transport *t, const struct bench_mqtt_endpoint *endpoint)
{
	const struct timeval patience = {.tv_sec = HANDSHAKE_S}, none = {0};
	int r = 0;

	(void)setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	(void)setsockopt(t->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (endpoint->is_tls) {
		t->ssl = bench_mqtt_tls_connect(t->fd, endpoint->host);
		if (!t->ssl)
			return -EPROTO;
	}
	if (endpoint->is_websocket)
		r = upgrade(t, endpoint);
	(void)setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
	(void)setsockopt(t->fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
	if (r < 0 && r != -EPROTO)
		bench_blame("no WebSocket at %s port %s: %s", endpoint->host, endpoint->port,
			r == -EAGAIN ? "no answer" : strerror(-r));
	return r;
}

int bench_mqtt_transport_open(struct bench_mqtt_transport *t, const struct bench_mqtt_endpoint *endpoint)
{
	int one = 1, r = 0;

	*t = (struct bench_mqtt_transport){.fd = connect_to(endpoint), .is_websocket = endpoint->is_websocket};
	if (t->fd < 0)
		return t->fd;
	(void)setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (endpoint->is_tls || endpoint->is_websocket)
		r = shake_hands(t, endpoint);
	if (r == 0 && fcntl(t->fd, F_SETFL, O_NONBLOCK) < 0)
		r = -errno;
	return r;
}

void bench_mqtt_transport_close(struct bench_mqtt_transport *t)
{
	if (t->ssl)
		bench_mqtt_tls_free(t->ssl);
	if (t->fd >= 0)
		close(t->fd);
	free(t->out);
	*t = (struct bench_mqtt_transport){.fd = -1};
}

ssize_t bench_mqtt_transport_read(struct bench_mqtt_transport *t, uint8_t *data, size_t size)
{
	for (;;) {
		ssize_t n = raw_read(t, data, size);

		if (n <= 0 || !t->is_websocket)
			return n;
		n = unwrap(t, data, (size_t)n);
		if (bench_mqtt_transport_is_pending(t))
			(void)push(t);
		if (n != 0)
			return n;
		if (t->is_at_end)
			return 0;
	}
}

bool bench_mqtt_transport_has_more(const struct bench_mqtt_transport *t)
{
	return t->ssl && bench_mqtt_tls_has_more(t->ssl);
}

ssize_t bench_mqtt_transport_write(struct bench_mqtt_transport *t, const uint8_t *data, size_t size)
{
	int r;

	if (!t->is_websocket)
		return raw_write(t, data, size);
	/* A frame is not begun before the last one has gone. */
	r = push(t);
	if (r < 0)
		return r;
	if (size > 0)
		put_frame(t, WS_BINARY, data, size);
	r = push(t);
	return r < 0 && r != -EAGAIN ? r : (ssize_t)size;
}

bool bench_mqtt_transport_is_pending(const struct bench_mqtt_transport *t)
{
	return t->out_sent < t->out_size;
}
