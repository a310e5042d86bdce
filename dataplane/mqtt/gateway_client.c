/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections. What the engine sends is collected in `out`, under the lock; at the end of a round of its
 * worker (or when it has become much) it becomes `sending`, which the worker writes without the lock, so
 * that a burst of small packets is one system call and no thread waits for another's socket.
 *
 * A client in whose buffers much is waiting is not read from: who does not listen may not speak on.
 * A client is freed by its own worker only, and never before the end of a round, since epoll may have named
 * it twice.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/mqtt/gateway.h"
#include "dataplane/mqtt/gateway_login.h"
#include "dataplane/mqtt/mqtt.h"
#include "dataplane/mqtt/outbuf.h"
#include "dataplane/mqtt/websocket.h"

enum {
	WRITE_EARLY = 64 << 10,   /* write at once when so much has been collected */
	JOURNAL_EARLY = 1 << 20,  /* likewise of what is to be written down */
	LINGER_MS = 5000,         /* for what is unsent when a connection ends */
	PUMPS_MAX = 8,            /* rounds of writing and refilling one client at a time */
};

struct hbus_gateway_client {
	struct hbus_gateway_source source;
	struct hbus_gateway_worker *worker;
	struct hbus_gateway *gateway;
	/* -- its worker, without the lock -- */
	struct hbus_outbuf sending;
	struct hbus_gateway_tls_session *tls; /* NULL = in the clear */
	uint32_t events;                      /* what epoll waits for */
	uint32_t window;                      /* of the worker, in which it has spoken last */
	bool has_left; /* reading or writing has failed */
	bool is_shut;  /* our side: all was said, the peer's end is awaited */
	/* -- lock -- */
	struct hbus_mqtt_conn *conn; /* NULL: the engine has done with it */
	struct hbus_origin *origin;
	struct hbus_gateway_client *next, **link, *dirty_next;
	struct hbus_websocket *websocket; /* NULL = MQTT alone */
	struct hbus_outbuf out;
	size_t n_sending; /* bytes of `sending`, when its worker looked last */
	uint64_t login_id; /* of the question that was asked last */
	uint64_t close_ms; /* when to close at the latest, while it lingers */
	bool is_dirty, is_broken, is_backlogged;
	bool has_acks; /* in out: PUBACK or PUBREC, where state is kept */
};

static size_t unsent(const struct hbus_gateway_client *c)
{
	return hbus_outbuf_left(&c->out) + c->n_sending;
}

static void mark(struct hbus_gateway_client *c)
{
	struct hbus_gateway_worker *worker = c->worker;
	const uint64_t one = 1;

	if (c->is_dirty)
		return;
	c->is_dirty = true;
	c->dirty_next = worker->dirty;
	worker->dirty = c;
	if (worker == c->gateway->current || worker->is_called)
		return;
	worker->is_called = true;
	if (write(worker->called.fd, &one, sizeof(one)) < 0)
		return; /* it is readable already */
}

/* The transport has gone: tell the engine, unless it told us. */
static void broke(struct hbus_gateway_client *c)
{
	struct hbus_mqtt_conn *conn = c->conn;

	c->is_broken = true;
	c->conn = NULL;
	c->out.at = c->out.end = 0;
	mark(c);
	if (conn)
		hbus_mqtt_hangup(conn);
}

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

/* Writes `sending` as far as the peer takes it. Its worker; no lock is needed. */
static void push(struct hbus_gateway_client *c)
{
	struct hbus_outbuf *sending = &c->sending;

	while (hbus_outbuf_left(sending) > 0 && !c->has_left) {
		ssize_t n = stream_write(c, sending->data + sending->at, hbus_outbuf_left(sending));

		if (n > 0)
			sending->at += (size_t)n;
		else if (n == -EAGAIN)
			return;
		else if (n != -EINTR)
			c->has_left = true;
	}
	hbus_outbuf_reset(sending);
}

/* What was collected is sent next. Its worker, with the lock. */
static void turn(struct hbus_gateway_client *c)
{
	struct hbus_outbuf empty;

	hbus_gateway_secure(c->gateway, c->has_acks);
	c->has_acks = false;
	empty = c->sending;
	if (hbus_outbuf_left(&c->sending) == 0 && hbus_outbuf_left(&c->out) > 0) {
		c->sending = c->out;
		c->out = empty;
		c->out.at = c->out.end = 0;
	}
	c->n_sending = hbus_outbuf_left(&c->sending);
}

/* With the lock: after its worker has tried to write. */
static void settle(struct hbus_gateway_client *c)
{
	c->n_sending = hbus_outbuf_left(&c->sending);
	c->is_broken |= c->has_left;
}

static void push_early(struct hbus_gateway_client *c)
{
	hbus_mqtt_bus_commit(c->gateway->bus);
	turn(c);
	push(c);
	settle(c);
}

/* Does this packet tell a client that its message was taken? */
static bool is_promise(const struct iovec *parts)
{
	uint8_t type = *(const uint8_t *)parts[0].iov_base >> 4;

	return type == HBUS_MQTT_PUBACK || type == HBUS_MQTT_PUBREC;
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
	if (!hbus_outbuf_make_room(&c->out, head_size + size)) {
		c->is_broken = true;
		return 0;
	}
	hbus_outbuf_append(&c->out, head, head_size);
	for (int i = 0; i < n_parts; i++)
		hbus_outbuf_append(&c->out, parts[i].iov_base, parts[i].iov_len);
	if (hbus_outbuf_left(&c->out) > WRITE_EARLY && c->worker == c->gateway->current && !(c->events & EPOLLOUT)) {
		if (c->gateway->state)
			c->worker->has_much = true;
		else
			push_early(c);
	}
	c->has_acks |= c->gateway->state && is_promise(parts);
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
				    login->password.data, login->password.size)) {
		gateway->counters.logins_busy++;
		return HBUS_MQTT_BUSY;
	}
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
	hbus_origins_leave(c->gateway->origins, c->origin);
	c->tls = hbus_gateway_tls_free(c->tls);
	close(c->source.fd);
	free(c->websocket);
	free(c->out.data);
	free(c->sending.data);
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
	(void)epoll_ctl(c->worker->epoll_fd, how, c->source.fd, &event);
}

/* Writes, and lets the engine refill what was held back, until the peer takes no more. */
static void flush(struct hbus_gateway_client *c)
{
	for (int i = 0; i < PUMPS_MAX; i++) {
		turn(c);
		if (c->n_sending > 0) {
			hbus_gateway_unlock(c->worker);
			push(c);
			hbus_gateway_lock(c->worker);
		}
		settle(c);
		if (c->is_broken || !c->conn || !c->is_backlogged ||
		    unsent(c) > c->gateway->options->limits.backlog_high / 2)
			break;
		c->is_backlogged = false;
		hbus_mqtt_writable(c->conn);
	}
	/* There is more, but others wait too. */
	if (!c->is_broken && hbus_outbuf_left(&c->out) > 0 && hbus_outbuf_left(&c->sending) == 0)
		mark(c);
}

static void read_in(struct hbus_gateway_client *c);

/* What TLS has decrypted while the client had to wait: epoll does not know of it. */
static void read_left(struct hbus_gateway_client *c)
{
	if (!c->tls || !c->conn || c->is_broken || hbus_mqtt_is_waiting(c->conn) || !hbus_gateway_tls_has_more(c->tls))
		return;
	hbus_gateway_unlock(c->worker);
	read_in(c);
	hbus_gateway_lock(c->worker);
}

static void finish(struct hbus_gateway_client *c)
{
	if (c->is_broken && c->conn)
		broke(c);
	if (c->is_dirty)
		return;
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

void hbus_gateway_clients_flush(struct hbus_gateway_worker *worker)
{
	struct hbus_gateway_client *c = worker->dirty, *next;

	/* What becomes dirty from here on is for the next round. */
	worker->dirty = NULL;
	worker->is_called = false;
	for (; c; c = next) {
		next = c->dirty_next;
		c->is_dirty = false;
		read_left(c);
		flush(c);
		finish(c);
	}
}

void hbus_gateway_clients_early(struct hbus_gateway_worker *worker)
{
	struct hbus_gateway *gateway = worker->gateway;

	if (!worker->has_much)
		return;
	worker->has_much = false;
	for (struct hbus_gateway_client *c = worker->dirty; c; c = c->dirty_next) {
		/* Who is promised something waits for the end of the round. */
		if (c->has_acks || c->is_broken || hbus_outbuf_left(&c->out) <= WRITE_EARLY || c->events & EPOLLOUT)
			continue;
		push_early(c);
		if (c->conn && c->is_backlogged && !c->is_broken && unsent(c) <= gateway->options->limits.backlog_high / 2) {
			c->is_backlogged = false;
			hbus_mqtt_writable(c->conn);
		}
	}
}

void hbus_gateway_clients_expire(struct hbus_gateway *gateway)
{
	for (struct hbus_gateway_client *c = gateway->clients; c; c = c->next) {
		if (!c->conn && !c->is_broken && gateway->now_ms >= c->close_ms) {
			gateway->counters.lingered_out++;
			c->is_broken = true;
			mark(c);
		}
	}
}

void hbus_gateway_clients_free(struct hbus_gateway *gateway)
{
	while (gateway->clients)
		client_free(gateway->clients);
	for (unsigned int i = 0; i < gateway->n_workers; i++)
		gateway->workers[i].dirty = NULL;
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
			if (hbus_outbuf_make_room(&c->out, c->websocket->answer_size))
				hbus_outbuf_append(&c->out, c->websocket->answer, c->websocket->answer_size);
			/* Answers count like what the engine sends: pings without end are not answered without end. */
			if (unsent(c) > c->gateway->options->limits.backlog_max)
				result = HBUS_WEBSOCKET_END;
		}
		if (result == HBUS_WEBSOCKET_DATA)
			(void)hbus_mqtt_input(c->conn, c->websocket->data, c->websocket->data_size);
	}
	if (result == HBUS_WEBSOCKET_END) {
		c->gateway->counters.websocket_failures += !c->websocket->is_open;
		end_websocket(c);
	}
}

/* Gives the engine what came, with the lock. Return: false when no more should be read now. */
static bool feed(struct hbus_gateway_client *c, uint8_t *data, size_t size)
{
	struct hbus_gateway *gateway = c->gateway;

	if (c->conn && c->websocket)
		feed_websocket(c, data, size);
	else if (c->conn)
		(void)hbus_mqtt_input(c->conn, data, size);
	/* What we publish may not overtake us as its reader. */
	while (hbus_mqtt_bus_is_pressed(gateway->bus) && hbus_mqtt_bus_take(gateway->bus, gateway->engine))
		continue;
	if (hbus_mqtt_journal_size(gateway->engine) > JOURNAL_EARLY)
		hbus_gateway_secure(gateway, false);
	if (!c->conn || !hbus_mqtt_is_waiting(c->conn))
		return true;
	mark(c);
	return false;
}

/* Its worker, without the lock. */
static void read_in(struct hbus_gateway_client *c)
{
	struct hbus_gateway_worker *worker = c->worker;
	bool may_go_on = true;
	ssize_t n;

	do {
		n = stream_read(c, worker->room, HBUS_GATEWAY_READ_SIZE);
		if (n > 0) {
			hbus_gateway_lock(worker);
			may_go_on = feed(c, worker->room, (size_t)n);
			hbus_gateway_unlock(worker);
		}
	} while (n > 0 && may_go_on && c->tls && hbus_gateway_tls_has_more(c->tls));
	if (n > 0)
		return;
	hbus_gateway_lock(worker);
	if (n == 0 || (n != -EAGAIN && n != -EINTR)) {
		worker->gateway->counters.tls_failures += c->tls && hbus_gateway_tls_has_failed(c->tls);
		broke(c);
	} else if (c->tls && hbus_gateway_tls_wants_write(c->tls)) {
		mark(c);
	}
	hbus_gateway_unlock(worker);
}

static void ready(struct hbus_gateway_worker *worker, struct hbus_gateway_source *source, uint32_t events)
{
	struct hbus_gateway_client *c = (struct hbus_gateway_client *)(void *)source;
	/* TLS may have waited to write before it could read. */
	bool reads = events & EPOLLIN || (events & EPOLLOUT && c->tls), hung_up = events & (EPOLLHUP | EPOLLERR);

	hbus_gateway_heard(worker, c, &c->window);
	if (reads && !c->has_left)
		read_in(c);
	if (!(events & EPOLLOUT) && (reads || !hung_up))
		return;
	hbus_gateway_lock(worker);
	if (events & EPOLLOUT)
		mark(c);
	if (!reads && hung_up)
		broke(c);
	hbus_gateway_unlock(worker);
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

static struct hbus_gateway_client *client_make(struct hbus_gateway *gateway, int fd)
{
	struct hbus_gateway_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->source = (struct hbus_gateway_source){ ready, fd };
	c->gateway = gateway;
	c->worker = &gateway->workers[gateway->next_worker++ % gateway->n_workers];
	return c;
}

/* Return: whether its address may have one more connection. */
static bool is_let_in(struct hbus_gateway *gateway, struct hbus_gateway_client *c, const struct sockaddr *from)
{
	const uint8_t *addr;

	if (from->sa_family == AF_INET)
		addr = (const uint8_t *)&((const struct sockaddr_in *)(const void *)from)->sin_addr;
	else if (from->sa_family == AF_INET6)
		addr = (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;
	else
		return true;
	if (hbus_origins_enter(gateway->origins, from->sa_family == AF_INET6, addr, &c->origin))
		return true;
	if (gateway->counters.refused_address++ == 0)
		hbus_gateway_log("one address wants more connections than it may have; they are counted as refused_address");
	return false;
}

void hbus_gateway_client_new(struct hbus_gateway_worker *accepting, int fd, const struct sockaddr *from, unsigned int flags)
{
	struct hbus_gateway *gateway = accepting->gateway;
	struct hbus_gateway_client *c = client_make(gateway, fd);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };

	if (!c) {
		close(fd);
		return;
	}
	hbus_gateway_lock(accepting);
	gateway->counters.accepted++;
	c->next = gateway->clients;
	c->link = &gateway->clients;
	if (c->next)
		c->next->link = &c->next;
	gateway->clients = c;
	if (is_let_in(gateway, c, from)) {
		if (open_layers(c, flags))
			c->conn = hbus_mqtt_accept(gateway->engine, c);
		gateway->counters.refused_limit += !c->conn;
	}
	c->events = EPOLLIN;
	/* Before its worker hears of it: from then on that may free it. */
	if (!c->conn)
		broke(c);
	else if (epoll_ctl(c->worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		broke(c);
	hbus_gateway_unlock(accepting);
}
