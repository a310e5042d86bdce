/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections. What the engine sends is collected, and written once at the end of a round of the loop
 * (or when it has become much), so that a burst of small packets is one system call.
 *
 * A client in whose buffer much is waiting is not read from: who does not listen may not speak on.
 * Nothing is freed before the end of the round, since epoll may have named it twice.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/mqtt/gateway.h"
#include "dataplane/mqtt/gateway_login.h"
#include "dataplane/mqtt/websocket.h"

enum {
	READ_SIZE = 32 << 10,
	WRITE_EARLY = 64 << 10,   /* write at once when so much has been collected */
	ROOM_KEEP = 16 << 10,     /* a buffer larger than this is freed when it is empty */
	LINGER_MS = 5000,         /* for what is unsent when a connection ends */
	PUMPS_MAX = 8,            /* rounds of writing and refilling one client at a time */
};

struct hbus_gateway_client {
	struct hbus_gateway_source source;
	struct hbus_gateway *gateway;
	struct hbus_mqtt_conn *conn; /* NULL: the engine has done with it */
	struct hbus_gateway_client *next, **link, *dirty_next;
	struct hbus_gateway_tls_session *tls; /* NULL = in the clear */
	struct hbus_websocket *websocket;     /* NULL = MQTT alone */
	uint8_t *out;
	size_t out_at, out_end, out_room;
	uint64_t login_id;           /* of the question that was asked last */
	uint64_t close_ms;           /* when to close at the latest, while it lingers */
	uint32_t events;             /* what epoll waits for */
	bool is_dirty, is_broken, is_backlogged;
	bool is_shut; /* our side: all was said, the peer's end is awaited */
};

static size_t unsent(const struct hbus_gateway_client *c)
{
	return c->out_end - c->out_at;
}

static void mark(struct hbus_gateway_client *c)
{
	if (c->is_dirty)
		return;
	c->is_dirty = true;
	c->dirty_next = c->gateway->dirty;
	c->gateway->dirty = c;
}

/* The transport has gone: tell the engine, unless it told us. */
static void broke(struct hbus_gateway_client *c)
{
	struct hbus_mqtt_conn *conn = c->conn;

	c->is_broken = true;
	c->conn = NULL;
	c->out_at = c->out_end = 0;
	mark(c);
	if (conn)
		hbus_mqtt_hangup(conn);
}

static void read_in(struct hbus_gateway_client *c);

/* -- writing -- */

/* As send() and recv(), with -errno. */
static ssize_t stream_write(struct hbus_gateway_client *c, const void *data, size_t size)
{
	ssize_t n;

	if (c->tls)
		return hbus_gateway_tls_write(c->tls, data, size);
	n = send(c->source.fd, data, size, MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

static ssize_t stream_read(struct hbus_gateway_client *c, void *data, size_t size)
{
	ssize_t n;

	if (c->tls)
		return hbus_gateway_tls_read(c->tls, data, size);
	n = recv(c->source.fd, data, size, 0);
	return n < 0 ? -errno : n;
}

static void write_out(struct hbus_gateway_client *c)
{
	while (unsent(c) > 0 && !c->is_broken) {
		ssize_t n = stream_write(c, c->out + c->out_at, unsent(c));

		if (n > 0)
			c->out_at += (size_t)n;
		else if (n == -EAGAIN)
			return;
		else if (n != -EINTR)
			c->is_broken = true;
	}
	c->out_at = c->out_end = 0;
	if (c->out_room > ROOM_KEEP) {
		free(c->out);
		c->out = NULL;
		c->out_room = 0;
	}
}

static bool make_room(struct hbus_gateway_client *c, size_t more)
{
	size_t room = c->out_room ? c->out_room : 1024;
	uint8_t *out;

	if (c->out_at > 0 && c->out_end + more > c->out_room) {
		memmove(c->out, c->out + c->out_at, unsent(c));
		c->out_end -= c->out_at;
		c->out_at = 0;
	}
	if (c->out_end + more <= c->out_room)
		return true;
	while (room < c->out_end + more)
		room *= 2;
	out = realloc(c->out, room);
	if (!out)
		return false;
	c->out = out;
	c->out_room = room;
	return true;
}

/* There was room made for it. */
static void append(struct hbus_gateway_client *c, const void *data, size_t size)
{
	if (size > 0)
		memcpy(c->out + c->out_end, data, size);
	c->out_end += size;
}

size_t hbus_gateway_client_send(void *context, void *transport, const struct iovec *parts, int n_parts)
{
	struct hbus_gateway_client *c = transport;
	uint8_t head[HBUS_WEBSOCKET_HEAD_MAX];
	size_t size = 0, head_size = 0;

	(void)context;
	for (int i = 0; i < n_parts; i++)
		size += parts[i].iov_len;
	mark(c);
	/* Broken: the engine hears of it at the end of the round. Until then nothing more goes in. */
	if (c->is_broken)
		return 0;
	if (c->websocket)
		head_size = hbus_websocket_head(head, size);
	if (!make_room(c, head_size + size)) {
		c->is_broken = true;
		return 0;
	}
	append(c, head, head_size);
	for (int i = 0; i < n_parts; i++)
		append(c, parts[i].iov_base, parts[i].iov_len);
	if (unsent(c) > WRITE_EARLY && !(c->events & EPOLLOUT)) {
		hbus_mqtt_bus_commit(c->gateway->bus);
		write_out(c);
	}
	if (unsent(c) > c->gateway->options->limits.backlog_high)
		c->is_backlogged = true;
	return unsent(c);
}

void hbus_gateway_client_close(void *context, void *transport)
{
	struct hbus_gateway_client *c = transport;

	(void)context;
	c->conn = NULL;
	c->close_ms = c->gateway->now_ms + LINGER_MS;
	mark(c);
}

void hbus_gateway_client_resumed(void *context, void *transport)
{
	(void)context;
	mark(transport);
}

/* -- names and passwords -- */

uint8_t hbus_gateway_client_login(void *context, void *transport, const struct hbus_mqtt_login *login,
				  char principal[HBUS_MQTT_PRINCIPAL_MAX])
{
	struct hbus_gateway *gateway = context;
	struct hbus_gateway_client *c = transport;

	principal[0] = '\0';
	/* Who has shown a certificate needs no password. */
	if (c->tls && hbus_gateway_tls_name(c->tls, principal, HBUS_MQTT_PRINCIPAL_MAX))
		return 0;
	if (!login->has_user)
		return gateway->options->allows_anonymous ? 0 : HBUS_MQTT_NOT_AUTHORIZED;
	/* Without a file of passwords a name says nothing: all are anonymous. */
	if (!gateway->login)
		return 0;
	if (!login->has_password)
		return HBUS_MQTT_BAD_LOGIN;
	c->login_id = ++gateway->n_asked;
	if (!hbus_gateway_login_ask(gateway->login, c->login_id, login->user.data, login->user.size,
				    login->password.data, login->password.size))
		return HBUS_MQTT_BUSY;
	mark(c);
	return HBUS_MQTT_PENDING;
}

void hbus_gateway_clients_answer(struct hbus_gateway *gateway)
{
	struct hbus_gateway_answer answer;

	while (hbus_gateway_login_answer(gateway->login, &answer)) {
		struct hbus_gateway_client *c = gateway->clients;
		char principal[HBUS_MQTT_PRINCIPAL_MAX];

		while (c && c->login_id != answer.id)
			c = c->next;
		if (!c || !c->conn || !hbus_mqtt_is_waiting(c->conn))
			continue;
		memcpy(principal, answer.name, sizeof(principal));
		mark(c);
		(void)hbus_mqtt_authenticated(c->conn, answer.is_good ? 0 : HBUS_MQTT_BAD_LOGIN, principal);
	}
}

/* -- the end of a round -- */

static void client_free(struct hbus_gateway_client *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	c->tls = hbus_gateway_tls_free(c->tls);
	close(c->source.fd);
	free(c->websocket);
	free(c->out);
	free(c);
}

static void watch(struct hbus_gateway_client *c)
{
	/* What still comes on a connection that ends is read away: closing on it would take back our last words. */
	bool may_read = !c->conn || (unsent(c) <= c->gateway->options->limits.backlog_high &&
				     !hbus_mqtt_is_waiting(c->conn));
	uint32_t wanted = (may_read ? EPOLLIN : 0u) | (unsent(c) > 0 || (c->tls && hbus_gateway_tls_wants_write(c->tls)) ? EPOLLOUT : 0u);
	struct epoll_event event = { .events = wanted, .data.ptr = c };

	int how = wanted == 0 ? EPOLL_CTL_DEL : c->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

	if (wanted == c->events)
		return;
	/* Who waits for an answer is not looked at: a peer that has hung up meanwhile would be reported without end. */
	c->events = wanted;
	(void)epoll_ctl(c->gateway->epoll_fd, how, c->source.fd, &event);
}

/* Writes, and lets the engine refill what was held back, until the peer takes no more. */
static void flush(struct hbus_gateway_client *c)
{
	for (int i = 0; i < PUMPS_MAX; i++) {
		write_out(c);
		if (c->is_broken || !c->conn || !c->is_backlogged ||
		    unsent(c) > c->gateway->options->limits.backlog_high / 2)
			return;
		c->is_backlogged = false;
		hbus_mqtt_writable(c->conn);
	}
	/* There is more, but others wait too. */
	if (c->conn && c->is_backlogged)
		mark(c);
}

/* What TLS has decrypted while the client had to wait: epoll does not know of it. */
static void read_left(struct hbus_gateway_client *c)
{
	if (c->tls && c->conn && !c->is_broken && !hbus_mqtt_is_waiting(c->conn) && hbus_gateway_tls_has_more(c->tls))
		read_in(c);
}

void hbus_gateway_clients_flush(struct hbus_gateway *gateway)
{
	struct hbus_gateway_client *c = gateway->dirty, *next;

	/* What becomes dirty from here on is for the next round. */
	gateway->dirty = NULL;
	for (; c; c = next) {
		next = c->dirty_next;
		c->is_dirty = false;
		read_left(c);
		flush(c);
		if (c->is_broken && c->conn)
			broke(c);
		if (c->is_dirty)
			continue;
		if (!c->conn && unsent(c) == 0 && !c->is_shut && !c->is_broken) {
			c->is_shut = true;
			if (c->tls)
				hbus_gateway_tls_bye(c->tls);
			c->is_broken = shutdown(c->source.fd, SHUT_WR) < 0;
		}
		if (!c->conn && c->is_broken)
			client_free(c);
		else
			watch(c);
	}
}

void hbus_gateway_clients_expire(struct hbus_gateway *gateway)
{
	for (struct hbus_gateway_client *c = gateway->clients; c; c = c->next) {
		if (!c->conn && !c->is_broken && gateway->now_ms >= c->close_ms) {
			c->is_broken = true;
			mark(c);
		}
	}
}

void hbus_gateway_clients_free(struct hbus_gateway *gateway)
{
	while (gateway->clients)
		client_free(gateway->clients);
	gateway->dirty = NULL;
}

/* -- reading -- */

/* The WebSocket has ended: its last words go out, the engine hears that the client has gone. */
static void end_websocket(struct hbus_gateway_client *c)
{
	struct hbus_mqtt_conn *conn = c->conn;

	c->conn = NULL;
	c->close_ms = c->gateway->now_ms + LINGER_MS;
	mark(c);
	if (conn)
		hbus_mqtt_hangup(conn);
}

static void feed_websocket(struct hbus_gateway_client *c, uint8_t *data, size_t size)
{
	enum hbus_websocket_result result = HBUS_WEBSOCKET_ANSWER;

	while (result != HBUS_WEBSOCKET_MORE && result != HBUS_WEBSOCKET_END && c->conn) {
		result = hbus_websocket_input(c->websocket, &data, &size);
		if (c->websocket->answer_size > 0) {
			mark(c);
			if (make_room(c, c->websocket->answer_size))
				append(c, c->websocket->answer, c->websocket->answer_size);
			/* Answers count like what the engine sends: pings without end are not answered without end. */
			if (unsent(c) > c->gateway->options->limits.backlog_max)
				result = HBUS_WEBSOCKET_END;
		}
		if (result == HBUS_WEBSOCKET_DATA)
			(void)hbus_mqtt_input(c->conn, c->websocket->data, c->websocket->data_size);
	}
	if (result == HBUS_WEBSOCKET_END)
		end_websocket(c);
}

static void read_in(struct hbus_gateway_client *c)
{
	static uint8_t room[READ_SIZE];
	ssize_t n;

	do {
		n = stream_read(c, room, sizeof(room));
		if (n > 0 && c->conn && c->websocket)
			feed_websocket(c, room, (size_t)n);
		else if (n > 0 && c->conn)
			(void)hbus_mqtt_input(c->conn, room, (size_t)n);
		if (c->conn && hbus_mqtt_is_waiting(c->conn))
			mark(c);
	} while (n > 0 && c->tls && hbus_gateway_tls_has_more(c->tls) && !(c->conn && hbus_mqtt_is_waiting(c->conn)));
	if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR))
		broke(c);
	else if (c->tls && hbus_gateway_tls_wants_write(c->tls))
		mark(c);
}

static void ready(struct hbus_gateway *gateway, struct hbus_gateway_source *source, uint32_t events)
{
	struct hbus_gateway_client *c = (struct hbus_gateway_client *)(void *)source;

	(void)gateway;
	if (events & EPOLLOUT)
		mark(c);
	/* TLS may have waited to write before it could read. */
	if ((events & EPOLLIN || (events & EPOLLOUT && c->tls)) && !c->is_broken)
		read_in(c);
	else if (events & (EPOLLHUP | EPOLLERR))
		broke(c);
}

static bool open_layers(struct hbus_gateway_client *c, unsigned int flags)
{
	if (flags & HBUS_GATEWAY_TLS) {
		c->tls = hbus_gateway_tls_new(c->gateway->tls, c->source.fd);
		if (!c->tls)
			return false;
	}
	if (flags & HBUS_GATEWAY_WEBSOCKET) {
		c->websocket = calloc(1, sizeof(*c->websocket));
		if (!c->websocket)
			return false;
	}
	return true;
}

void hbus_gateway_client_new(struct hbus_gateway *gateway, int fd, unsigned int flags)
{
	struct hbus_gateway_client *c = calloc(1, sizeof(*c));
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };

	if (!c || epoll_ctl(gateway->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		free(c);
		close(fd);
		return;
	}
	c->source = (struct hbus_gateway_source){ ready, fd };
	c->gateway = gateway;
	c->events = EPOLLIN;
	c->next = gateway->clients;
	c->link = &gateway->clients;
	if (c->next)
		c->next->link = &c->next;
	gateway->clients = c;
	if (open_layers(c, flags))
		c->conn = hbus_mqtt_accept(gateway->engine, c);
	if (!c->conn)
		broke(c);
}
