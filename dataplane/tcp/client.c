/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One client: pbufs that wait for the engine on one side, a buffer that waits for TCP on the other.
 *
 * A client whose connection is over for lwIP has no pcb; one that is over for the engine has no conn.
 * With neither it is freed, at the end of a round.
 */
#include "dataplane/tcp/client.h"

#include <stdlib.h>
#include <string.h>

#include <lwip/tcp.h>

#include "dataplane/log.h"
#include "dataplane/mqtt/gateway_login.h"
#include "dataplane/mqtt/outbuf.h"
#include "dataplane/tcp/demux.h"

enum {
	FULL_SAID_EACH_MS = 10000,
	POLL_HALF_SECONDS = 2,       /* how often lwIP reminds us of a connection */
	LINGER_MS = 5000,            /* for what is unsent when a connection ends */
	HELD_MAX = 64,               /* pbufs in a chain; more become one */
	PUMPS_MAX = 8,               /* rounds of writing and refilling one client at a time */
	KEEP_IDLE_MS = 120000,       /* peers that have vanished are found out without MQTT's help */
	KEEP_INTERVAL_MS = 15000,
	KEEP_COUNT = 4,
	SEND_ROOM = 3 * TCP_SND_BUF,
	SEGMENT_MIN = 48,            /* smaller ones nobody needs but who wants us to send many */
};

struct hbus_tcp_client {
	struct hbus_tcp_clients *clients;
	struct tcp_pcb *pcb;
	struct hbus_demux_entry entry;
	struct hbus_mqtt_conn *conn;
	struct hbus_origin *origin;
	struct hbus_tcp_client *next, **link, *dirty_next;
	struct pbuf *held;           /* received, and not yet taken by the engine */
	unsigned int n_held;         /* pbufs in it, about */
	struct hbus_outbuf out;
	uint64_t login_id;           /* of the question that was asked last */
	uint64_t close_ms;           /* when to close at the latest, while it lingers */
	bool is_dirty, is_backlogged, is_broken;
	bool has_ended;              /* the peer has said all */
	bool is_shut;                /* we have */
	bool is_held;                /* it was not read from, last time */
};

static size_t unsent(const struct hbus_tcp_client *c)
{
	return hbus_outbuf_left(&c->out);
}

static void mark(struct hbus_tcp_client *c)
{
	if (c->is_dirty)
		return;
	c->is_dirty = true;
	c->dirty_next = c->clients->dirty;
	c->clients->dirty = c;
}

/* ---- lwIP's callbacks ------------------------------------------------------------------- */

/* A window full of tiny segments would be walked for each that comes, and keep their buffers. */
static void hold(struct hbus_tcp_client *c, struct pbuf *p)
{
	c->n_held += pbuf_clen(p);
	if (c->held)
		pbuf_cat(c->held, p);
	else
		c->held = p;
	if (c->n_held > HELD_MAX) {
		c->held = pbuf_coalesce(c->held, PBUF_RAW);
		c->n_held = 1;
	}
}

static err_t on_receive(void *context, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
	struct hbus_tcp_client *c = context;

	(void)pcb;
	(void)error;
	mark(c);
	if (!p)
		c->has_ended = true;
	else
		hold(c, p);
	return ERR_OK;
}

static err_t on_sent(void *context, struct tcp_pcb *pcb, u16_t size)
{
	struct hbus_tcp_client *c = context;

	(void)pcb;
	(void)size;
	if (unsent(c) > 0 || c->is_backlogged || !c->conn)
		mark(c);
	return ERR_OK;
}

static err_t on_poll(void *context, struct tcp_pcb *pcb)
{
	struct hbus_tcp_client *c = context;

	(void)pcb;
	if (unsent(c) > 0 || c->held || !c->conn)
		mark(c);
	return ERR_OK;
}

/* lwIP has freed the connection already. */
static void on_error(void *context, err_t error)
{
	struct hbus_tcp_client *c = context;

	(void)error;
	hbus_demux_remove(&c->entry);
	c->pcb = NULL;
	c->is_broken = true;
	c->clients->counters->broken++;
	mark(c);
}

/* ---- life ------------------------------------------------------------------------------ */

static void drop_held(struct hbus_tcp_client *c)
{
	if (!c->held)
		return;
	if (c->pcb)
		tcp_recved(c->pcb, c->held->tot_len);
	pbuf_free(c->held);
	c->held = NULL;
}

static void forget_pcb(struct hbus_tcp_client *c)
{
	if (!c->pcb)
		return;
	hbus_demux_remove(&c->entry);
	tcp_arg(c->pcb, NULL);
	tcp_recv(c->pcb, NULL);
	tcp_sent(c->pcb, NULL);
	tcp_poll(c->pcb, NULL, 0);
	tcp_err(c->pcb, NULL);
	c->pcb = NULL;
}

static void reset(struct hbus_tcp_client *c)
{
	struct tcp_pcb *pcb = c->pcb;

	if (!pcb)
		return;
	forget_pcb(c);
	tcp_abort(pcb);
	c->clients->counters->broken++;
}

static void client_free(struct hbus_tcp_client *c)
{
	drop_held(c);
	reset(c);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	c->clients->counters->connections_now--;
	hbus_origins_leave(c->clients->origins, c->origin);
	free(c->out.data);
	free(c);
}

static void watch(struct hbus_tcp_client *c, struct tcp_pcb *pcb)
{
	c->pcb = pcb;
	tcp_arg(pcb, c);
	tcp_recv(pcb, on_receive);
	tcp_sent(pcb, on_sent);
	tcp_err(pcb, on_error);
	tcp_poll(pcb, on_poll, POLL_HALF_SECONDS);
	tcp_nagle_disable(pcb);
	/* lwIP gives 64 KiB: with what the engine keeps too little for readers of one process that take turns. */
	pcb->snd_buf = SEND_ROOM;
	pcb->ssthresh = SEND_ROOM;
	if (pcb->mss < SEGMENT_MIN)
		pcb->mss = SEGMENT_MIN;
	ip_set_option(pcb, SOF_KEEPALIVE);
	pcb->keep_idle = KEEP_IDLE_MS;
	pcb->keep_intvl = KEEP_INTERVAL_MS;
	pcb->keep_cnt = KEEP_COUNT;
}

/* Now and then while it is so: whoever looks at the log should learn why clients stay away. */
static void say_full(struct hbus_tcp_clients *clients)
{
	if (clients->full_said_ms != 0 && clients->now_ms - clients->full_said_ms < FULL_SAID_EACH_MS)
		return;
	clients->full_said_ms = clients->now_ms;
	hbus_log("tcp: there are %u connections (--tcp-connections): no more are taken, %llu refused so far",
		 clients->max, (unsigned long long)clients->counters->refused);
}

static bool may_enter(struct hbus_tcp_clients *clients, const struct tcp_pcb *pcb, struct hbus_origin **ret_origin)
{
	bool is_ipv6 = IP_IS_V6_VAL(pcb->remote_ip);
	const uint8_t *addr = is_ipv6 ? (const uint8_t *)ip_2_ip6(&pcb->remote_ip)->addr :
					(const uint8_t *)&ip_2_ip4(&pcb->remote_ip)->addr;

	if (hbus_origins_enter(clients->origins, is_ipv6, addr, ret_origin))
		return true;
	if (clients->counters->refused_address++ == 0)
		hbus_log("tcp: one address wants more connections than it may have; they are counted as refused_address");
	return false;
}

bool hbus_tcp_clients_accept(void *context, struct hbus_demux *demux, struct tcp_pcb *pcb)
{
	struct hbus_tcp_clients *clients = context;
	struct hbus_origin *origin;
	struct hbus_tcp_client *c = NULL;

	if (!may_enter(clients, pcb, &origin))
		return false;
	if (clients->counters->connections_now < clients->max)
		c = calloc(1, sizeof(*c));
	if (c)
		c->conn = hbus_mqtt_accept(clients->engine, c);
	if (!c || !c->conn) {
		free(c);
		hbus_origins_leave(clients->origins, origin);
		clients->counters->refused++;
		if (clients->counters->connections_now >= clients->max)
			say_full(clients);
		return false;
	}
	c->clients = clients;
	c->origin = origin;
	c->next = clients->all;
	c->link = &clients->all;
	if (c->next)
		c->next->link = &c->next;
	clients->all = c;
	clients->counters->connections_now++;
	clients->counters->accepted++;
	watch(c, pcb);
	hbus_demux_add(demux, &c->entry, pcb);
	return true;
}

/* ---- writing --------------------------------------------------------------------------- */

static size_t on_engine_send(void *context, void *transport, const struct iovec *parts, int n_parts)
{
	struct hbus_tcp_client *c = transport;
	size_t size = 0;

	(void)context;
	for (int i = 0; i < n_parts; i++)
		size += parts[i].iov_len;
	mark(c);
	/* Broken: the engine hears of it at the end of the round. Until then nothing more goes in. */
	if (c->is_broken || !hbus_outbuf_make_room(&c->out, size)) {
		c->is_broken = true;
		return 0;
	}
	for (int i = 0; i < n_parts; i++)
		hbus_outbuf_append(&c->out, parts[i].iov_base, parts[i].iov_len);
	if (unsent(c) > c->clients->backlog_high)
		c->is_backlogged = true;
	return unsent(c);
}

static void on_engine_close(void *context, void *transport)
{
	struct hbus_tcp_client *c = transport;

	(void)context;
	c->conn = NULL;
	c->close_ms = c->clients->now_ms + LINGER_MS;
	mark(c);
}

/* It waited for the bus, and may be read from again. */
static void on_engine_resumed(void *context, void *transport)
{
	(void)context;
	mark(transport);
}

/*
 * How much TCP takes: of a write it takes all or nothing, and it counts segments as well as bytes, which a peer
 * makes small by its MSS or its window. One of them fills up the last one that was not sent.
 */
static size_t room_of(const struct tcp_pcb *pcb)
{
	size_t room = tcp_sndbuf(pcb), used = pcb->snd_queuelen, segment_size = pcb->snd_wnd_max / 2;

	if (segment_size == 0 || segment_size > pcb->mss)
		segment_size = pcb->mss;
	if (used + 1 >= TCP_SND_QUEUELEN)
		return 0;
	if (room > (TCP_SND_QUEUELEN - 1 - used) * segment_size)
		room = (TCP_SND_QUEUELEN - 1 - used) * segment_size;
	return room < UINT16_MAX ? room : UINT16_MAX;
}

/* As much as TCP takes. */
static void write_out(struct hbus_tcp_client *c)
{
	while (c->pcb && unsent(c) > 0) {
		size_t room = room_of(c->pcb), size = unsent(c) < room ? unsent(c) : room;
		err_t error;

		if (size == 0)
			break;
		error = tcp_write(c->pcb, c->out.data + c->out.at, (u16_t)size,
				  (u8_t)(TCP_WRITE_FLAG_COPY |
					 (size < unsent(c) ? TCP_WRITE_FLAG_MORE : 0)));
		if (error == ERR_MEM)
			break;
		if (error != ERR_OK) {
			c->is_broken = true;
			break;
		}
		c->clients->counters->bytes_out += size;
		c->out.at += size;
	}
	if (unsent(c) == 0)
		hbus_outbuf_reset(&c->out);
}

/* Writes, and lets the engine refill what was held back, until TCP takes no more. */
static void pump(struct hbus_tcp_client *c)
{
	for (int i = 0; i < PUMPS_MAX && !c->is_broken; i++) {
		write_out(c);
		if (!c->conn || !c->is_backlogged || unsent(c) > c->clients->backlog_high / 2)
			break;
		c->is_backlogged = false;
		hbus_mqtt_writable(c->conn);
	}
	if (c->pcb && !c->is_broken)
		(void)tcp_output(c->pcb);
}

/* ---- reading --------------------------------------------------------------------------- */

/* Who does not listen may not speak on, and nobody before he has been let in. */
static bool may_read(const struct hbus_tcp_client *c)
{
	return unsent(c) <= c->clients->backlog_high && !hbus_mqtt_is_waiting(c->conn);
}

/* The engine reads its own ring, and must not overtake itself. */
static void relieve(struct hbus_tcp_clients *clients)
{
	while (hbus_mqtt_bus_is_pressed(clients->bus) &&
	       hbus_mqtt_bus_take(clients->bus, clients->engine))
		continue;
}

static void read_in(struct hbus_tcp_client *c)
{
	while (c->held && c->conn && may_read(c)) {
		struct pbuf *p = c->held;
		u16_t size = p->len;

		c->held = p->next;
		if (c->held)
			pbuf_ref(c->held);
		c->clients->counters->bytes_in += size;
		(void)hbus_mqtt_input(c->conn, p->payload, size);
		pbuf_free(p);
		if (c->pcb)
			tcp_recved(c->pcb, size);
		relieve(c->clients);
	}
	if (!c->conn)
		drop_held(c);
	if (!c->held)
		c->n_held = 0;
	if (c->held && !c->is_held)
		c->clients->counters->held++;
	c->is_held = c->held != NULL;
}

/* ---- names and passwords ---------------------------------------------------------------- */

static uint8_t on_engine_login(void *context, void *transport, const struct hbus_mqtt_login *login,
			       char principal[HBUS_MQTT_PRINCIPAL_MAX])
{
	struct hbus_tcp_clients *clients = context;
	struct hbus_tcp_client *c = transport;

	principal[0] = '\0';
	if (!login->has_user)
		return clients->allows_anonymous ? 0 : HBUS_MQTT_NOT_AUTHORIZED;
	/* Without a file of passwords a name says nothing: all are anonymous. */
	if (!clients->login)
		return 0;
	if (!login->has_password)
		return HBUS_MQTT_BAD_LOGIN;
	c->login_id = ++clients->n_asked;
	if (!hbus_gateway_login_ask(clients->login, c->login_id, login->user.data, login->user.size,
				    login->password.data, login->password.size))
		return HBUS_MQTT_BUSY;
	return HBUS_MQTT_PENDING;
}

void hbus_tcp_clients_answer(struct hbus_tcp_clients *clients)
{
	struct hbus_gateway_answer answer;

	while (clients->login && hbus_gateway_login_answer(clients->login, &answer)) {
		struct hbus_tcp_client *c = clients->all;
		char principal[HBUS_MQTT_PRINCIPAL_MAX];

		while (c && c->login_id != answer.id)
			c = c->next;
		if (!c || !c->conn || !hbus_mqtt_is_waiting(c->conn))
			continue;
		memcpy(principal, answer.name, sizeof(principal));
		mark(c);
		(void)hbus_mqtt_authenticated(c->conn, answer.is_good ? 0 : HBUS_MQTT_BAD_LOGIN,
					      principal);
	}
}

void hbus_tcp_clients_io(struct hbus_tcp_clients *clients, struct hbus_mqtt_io *io)
{
	io->context = clients;
	io->send = on_engine_send;
	io->close = on_engine_close;
	io->resumed = on_engine_resumed;
	io->authenticate = on_engine_login;
}

/* ---- a round --------------------------------------------------------------------------- */

static void hang_up(struct hbus_tcp_client *c)
{
	struct hbus_mqtt_conn *conn = c->conn;

	c->conn = NULL;
	c->close_ms = c->clients->now_ms + LINGER_MS;
	if (conn)
		hbus_mqtt_hangup(conn);
}

/* The engine has done with it. Return: false when there is nothing left to wait for. */
static bool end_in_order(struct hbus_tcp_client *c)
{
	if (!c->pcb || c->is_broken)
		return false;
	if (unsent(c) > 0)
		return true;
	if (!c->is_shut && tcp_shutdown(c->pcb, 0, 1) == ERR_OK)
		c->is_shut = true;
	/* Its end is awaited: to close on what it still sends would take back our last words. */
	if (!c->has_ended || !c->is_shut)
		return true;
	if (tcp_close(c->pcb) != ERR_OK)
		return true;
	forget_pcb(c);
	c->clients->counters->closed++;
	return false;
}

static void serve(struct hbus_tcp_client *c)
{
	pump(c);
	if (c->is_broken || (c->has_ended && !c->held))
		hang_up(c);
	if (c->conn) {
		/* What was held up by what was unsent goes on. */
		if (c->held && may_read(c))
			mark(c);
		return;
	}
	drop_held(c);
	if (!c->is_dirty && !end_in_order(c))
		client_free(c);
}

bool hbus_tcp_clients_read(struct hbus_tcp_clients *clients)
{
	/* Who becomes dirty by what others say has said nothing himself. */
	for (struct hbus_tcp_client *c = clients->dirty; c; c = c->dirty_next)
		if (c->conn && !c->is_broken)
			read_in(c);
	return clients->dirty != NULL;
}

bool hbus_tcp_clients_serve(struct hbus_tcp_clients *clients)
{
	struct hbus_tcp_client *c = clients->dirty, *next;
	bool is_busy = c != NULL;

	/* What becomes dirty from here on is for the next round. */
	clients->dirty = NULL;
	for (; c; c = next) {
		next = c->dirty_next;
		c->is_dirty = false;
		serve(c);
	}
	return is_busy;
}

void hbus_tcp_clients_chores(struct hbus_tcp_clients *clients)
{
	for (struct hbus_tcp_client *c = clients->all; c; c = c->next) {
		if (!c->conn && clients->now_ms >= c->close_ms) {
			c->is_broken = true;
			mark(c);
		} else if (c->held) {
			mark(c);
		}
	}
}

void hbus_tcp_clients_free(struct hbus_tcp_clients *clients)
{
	while (clients->all)
		client_free(clients->all);
	clients->dirty = NULL;
}
