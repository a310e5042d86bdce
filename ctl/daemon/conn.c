/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections: accepting, reading, sending, and telling the state machine how they end
 *
 * A connection is freed only at the end of a round of events, when no event can point to it any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/client/hugebus.h"
#include "ctl/daemon/peer.h"
#include "ctl/daemon/server_int.h"

#define FRAMES_PER_ROUND 64
#define ACCEPTS_PER_ROUND 16
#define LATER_NS 10000000ull
#define LINGER_NS 1500000000ull
#define WATCH_NS 1000000000ull
#define QUEUED_BYTES_MAX (1ull << 30)
#define QUEUE_SMALL (1u << 20) /* who queues less is not made to pay for others */

/* ---- epoll ---- */

static void watch(struct hbus_conn *conn)
{
	struct epoll_event event = {
		.events = (conn->is_paused ? 0 : EPOLLIN) | (conn->wants_write ? EPOLLOUT : 0),
		.data.ptr = &conn->socket_source,
	};

	if (conn->socket >= 0)
		epoll_ctl(conn->server->epoll_fd, EPOLL_CTL_MOD, conn->socket, &event);
}

static bool add_process(struct hbus_conn *conn)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &conn->process_source };

	conn->is_polled = epoll_ctl(conn->server->epoll_fd, EPOLL_CTL_ADD, conn->pidfd->fd,
				    &event) == 0;
	return conn->is_polled;
}

static bool add_sources(struct hbus_conn *conn)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &conn->socket_source };

	return epoll_ctl(conn->server->epoll_fd, EPOLL_CTL_ADD, conn->socket, &event) == 0 && add_process(conn);
}

static void bury_later(struct hbus_conn *conn)
{
	conn->is_dead = true;
	conn->server->has_dead = true;
}

static void close_socket(struct hbus_conn *conn)
{
	if (conn->socket >= 0)
		close(conn->socket);
	conn->socket = -1;
	conn->server->n_queued_bytes -= conn->queue.n_bytes;
	hbus_queue_clear(&conn->queue);
}

void hbus_conns_bury(struct hbus_server *server)
{
	struct hbus_conn *conn, *next;

	if (!server->has_dead)
		return;
	server->has_dead = false;
	for (conn = TAILQ_FIRST(&server->conns); conn; conn = next) {
		next = TAILQ_NEXT(conn, link);
		if (!conn->is_dead)
			continue;
		close_socket(conn);
		if (conn->is_polled)
			epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, conn->pidfd->fd, NULL);
		hbus_fd_put(conn->pidfd);
		TAILQ_REMOVE(&server->conns, conn, link);
		server->n_conns--;
		free(conn);
	}
}

void hbus_conns_free(struct hbus_server *server)
{
	struct hbus_conn *conn;

	TAILQ_FOREACH(conn, &server->conns, link)
		bury_later(conn);
	hbus_conns_bury(server);
}

/* ---- how it ends ---- */

/* The state machine is done with this connection. */
void hbus_conn_disconnect(struct hbus_conn *conn)
{
	conn->member = NULL;
	bury_later(conn);
}

static void read_some(struct hbus_conn *conn, bool is_last);

/* The socket is of no use any more; the process may be. */
static void hung_up(struct hbus_conn *conn)
{
	struct hbus_member *member = conn->member;

	if (!member)
		return;
	conn->member = NULL;
	close_socket(conn);
	conn->until_ns = conn->server->now_ns + LINGER_NS;
	conn->server->has_timers = true;
	hbus_state_hangup(conn->server->state, member, conn->server->now_ns);
	if (!hbus_state_is_away(conn->server->state, conn->member_id))
		bury_later(conn);
}

void hbus_conn_process_ended(struct hbus_conn *conn)
{
	if (conn->is_dead)
		return;
	/* What it had sent before its end still counts. */
	if (conn->member && !conn->is_paused)
		read_some(conn, true);
	if (conn->is_dead)
		return;
	bury_later(conn);
	hbus_state_died(conn->server->state, conn->member_id, conn, conn->server->now_ns);
	conn->member = NULL;
}

/* ---- sending ---- */

static bool has_room(const struct hbus_conn *conn, size_t size)
{
	return conn->server->n_queued_bytes + size <= QUEUED_BYTES_MAX ||
	       conn->queue.n_bytes + size <= QUEUE_SMALL;
}

/* @r: what sending said. False: the socket is dead. */
static bool wait_to_send(struct hbus_conn *conn, int r)
{
	bool wants_write = r == HBUS_WIRE_AGAIN;

	if (r < 0)
		return false;
	conn->is_later = r == HBUS_WIRE_LATER;
	conn->server->has_timers |= conn->is_later;
	if (wants_write != conn->wants_write) {
		conn->wants_write = wants_write;
		watch(conn);
	}
	return true;
}

static void enqueue(struct hbus_conn *conn, const void *msg, size_t size,
		    struct hbus_fd *const *fds, size_t n_fds)
{
	if (has_room(conn, size) && hbus_queue_push(&conn->queue, msg, size, fds, n_fds)) {
		conn->server->n_queued_bytes += size;
		return;
	}
	if (hbus_log_allows(&conn->server->log, HBUS_LOG_WARNING, conn->server->now_ns))
		hbus_log_write(&conn->server->log, HBUS_LOG_WARNING,
			       "event=does-not-read client=%llu queued=%zu",
			       (unsigned long long)conn->member_id, conn->queue.n);
	/* The hangup is told to the state machine when it is not in the middle of something. */
	shutdown(conn->socket, SHUT_RDWR);
	conn->server->n_queued_bytes -= conn->queue.n_bytes;
	hbus_queue_clear(&conn->queue);
}

void hbus_conn_send(struct hbus_conn *conn, const void *msg, struct hbus_fd *const *fds,
		    size_t n_fds)
{
	size_t size = ((const struct hbus_msg_header *)msg)->size;
	int r = HBUS_WIRE_AGAIN;

	if (conn->is_dead || conn->socket < 0)
		return;
	if (conn->queue.n == 0) {
		r = hbus_frame_send(conn->socket, msg, size, fds, n_fds);
		if (r == 0 || !wait_to_send(conn, r))
			return; /* sent; or the hangup event comes */
	}
	enqueue(conn, msg, size, fds, n_fds);
}

static void flush(struct hbus_conn *conn)
{
	size_t n_before = conn->queue.n_bytes;
	int r = hbus_queue_flush(&conn->queue, conn->socket);

	conn->server->n_queued_bytes -= n_before - conn->queue.n_bytes;
	if (!wait_to_send(conn, r))
		hung_up(conn);
}

/* ---- reading ---- */

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static void pause_if_greedy(struct hbus_conn *conn, const struct hbus_msg_header *header)
{
	struct hbus_server *server = conn->server;
	uint64_t delay;

	if (!conn->member || header->type >= HBUS_MSG_RING_ACCEPT)
		return;
	delay = hbus_state_request_delay(server->state, conn->member, server->now_ns);
	if (delay == 0)
		return;
	conn->is_paused = true;
	conn->until_ns = server->now_ns + delay;
	server->has_timers = true;
	watch(conn);
}

/* A request whose descriptors did not fit into this process. */
static void refuse_request(struct hbus_conn *conn, const struct hbus_msg_header *request, size_t size)
{
	struct hbus_msg_reply reply = {
		.header = { HBUS_PROTO_MAGIC, HBUS_MSG_REPLY, sizeof(reply) },
		.status = HBUS_E_LIMIT,
		.text = "the daemon has no more descriptors",
	};

	if (size < sizeof(*request))
		return;
	reply.header.serial = request->serial;
	reply.request_type = request->type;
	hbus_conn_send(conn, &reply, NULL, 0);
}

/* One frame. False: nothing more to read now. */
static bool read_one(struct hbus_conn *conn)
{
	_Alignas(8) char frame[HBUS_MSG_SIZE_MAX + 8];
	int fds[HBUS_WIRE_FDS_MAX];
	size_t n_fds = 0;
	bool is_cut = false, is_short = false;
	int n = hbus_frame_recv(conn->socket, frame, sizeof(frame), fds, &n_fds, &is_cut, &is_short);

	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n <= 0) {
		close_all(fds, n_fds);
		hung_up(conn);
		return false;
	}
	if (is_short) {
		close_all(fds, n_fds);
		refuse_request(conn, (const struct hbus_msg_header *)(const void *)frame, (size_t)n);
		return true;
	}
	/* A frame that was cut is too long for any message. */
	if (is_cut)
		n = sizeof(frame);
	conn->member = hbus_state_message(conn->server->state, conn->member, frame, (size_t)n, fds,
					  n_fds, conn->server->now_ns);
	if (!conn->member || conn->is_dead)
		return false;
	conn->member_id = hbus_member_id(conn->member);
	pause_if_greedy(conn, (const struct hbus_msg_header *)(const void *)frame);
	return !conn->is_paused;
}

/* What is left over when the uid's time is used up comes again in the next round. */
static void read_some(struct hbus_conn *conn, bool is_last)
{
	struct hbus_account *account;
	uint64_t round = conn->server->round, last_ns = hbus_server_clock();

	if (!conn->member || conn->is_dead)
		return;
	account = hbus_account_get(hbus_state_account(conn->member));
	for (int i = 0; i < FRAMES_PER_ROUND && conn->member && !conn->is_dead; i++) {
		bool has_more = (is_last || hbus_account_has_time(account, round)) && read_one(conn);
		uint64_t now_ns = hbus_server_clock();

		hbus_account_use_time(account, now_ns - last_ns);
		last_ns = now_ns;
		if (!has_more)
			break;
	}
	hbus_account_put(account);
}

void hbus_conn_socket_event(struct hbus_conn *conn, uint32_t events)
{
	if (conn->is_dead || !conn->member)
		return;
	if (events & EPOLLOUT)
		flush(conn);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || conn->is_paused) {
		if ((events & (EPOLLHUP | EPOLLERR)) && conn->member)
			hung_up(conn);
		return;
	}
	read_some(conn, false);
}

/* The request that was one too many was served; it is paid for before the next is read. */
static void unpause(struct hbus_conn *conn)
{
	struct hbus_server *server = conn->server;
	uint64_t delay = hbus_state_request_delay(server->state, conn->member, server->now_ns);

	conn->until_ns = server->now_ns + delay;
	if (delay > 0)
		return;
	conn->is_paused = false;
	watch(conn);
}

/* A watch goes on while its member is away; who has hung up has had its time. */
static void linger_on(struct hbus_conn *conn)
{
	if (conn->is_watch && hbus_state_is_away(conn->server->state, conn->member_id))
		conn->until_ns = conn->server->now_ns + WATCH_NS;
	else
		bury_later(conn);
}

uint64_t hbus_conns_tick(struct hbus_server *server)
{
	uint64_t next = UINT64_MAX;
	struct hbus_conn *conn;

	if (!server->has_timers)
		return next;
	server->has_timers = false;
	TAILQ_FOREACH(conn, &server->conns, link) {
		if (conn->is_dead)
			continue;
		if (conn->is_later && conn->member)
			flush(conn);
		if (conn->is_paused && conn->member && conn->until_ns <= server->now_ns)
			unpause(conn);
		if (conn->socket < 0 && conn->until_ns <= server->now_ns)
			linger_on(conn);
		if (conn->is_dead || (!conn->is_later && !conn->is_paused && conn->socket >= 0))
			continue;
		server->has_timers = true;
		if (conn->is_later && server->now_ns + LATER_NS < next)
			next = server->now_ns + LATER_NS;
		if (!conn->is_later && conn->until_ns < next)
			next = conn->until_ns;
	}
	return next;
}

/* ---- accepting ---- */

static void refuse(struct hbus_server *server, int socket, int status, const char *text)
{
	struct hbus_msg_reply reply = {
		.header = { HBUS_PROTO_MAGIC, HBUS_MSG_REPLY, sizeof(reply) },
		.status = status,
		.request_type = HBUS_MSG_HELLO,
	};

	snprintf(reply.text, sizeof(reply.text), "%s", text);
	hbus_frame_send(socket, &reply, sizeof(reply), NULL, 0);
	close(socket);
	server->n_refused++;
}

void hbus_conn_new(struct hbus_server *server, int socket)
{
	struct hbus_conn *conn = calloc(1, sizeof(*conn));
	struct hbus_peer peer;
	const char *text;
	int r = conn ? hbus_peer_read(socket, &peer) : -ENOMEM;

	if (r < 0) {
		free(conn);
		if (r == -ENOMEM)
			refuse(server, socket, HBUS_E_NO_MEMORY, "the daemon has no memory for a client");
		else
			refuse(server, socket, HBUS_E_SYSTEM, "the daemon cannot see who connects");
		return;
	}
	conn->server = server;
	conn->socket = socket;
	conn->socket_source = (struct hbus_source){ HBUS_SOURCE_SOCKET, conn };
	conn->process_source = (struct hbus_source){ HBUS_SOURCE_PROCESS, conn };
	conn->pidfd = hbus_fd_get(peer.pidfd);
	hbus_queue_init(&conn->queue);
	conn->member = hbus_state_connect(server->state, conn, &peer.cred, peer.pid, peer.pidfd,
					  server->now_ns);
	peer.pidfd = NULL;
	hbus_peer_deinit(&peer);
	if (!conn->member) {
		hbus_fd_put(conn->pidfd);
		free(conn);
		r = hbus_state_refusal(server->state, &text);
		refuse(server, socket, r, text);
		return;
	}
	conn->member_id = hbus_member_id(conn->member);
	TAILQ_INSERT_TAIL(&server->conns, conn, link);
	server->n_conns++;
	if (!add_sources(conn))
		hung_up(conn);
}

int hbus_conn_watch_process(struct hbus_server *server, uint64_t member_id, struct hbus_fd *pidfd)
{
	struct hbus_conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		hbus_fd_put(pidfd);
		return -ENOMEM;
	}
	conn->server = server;
	conn->socket = -1;
	conn->process_source = (struct hbus_source){ HBUS_SOURCE_PROCESS, conn };
	conn->pidfd = pidfd;
	conn->member_id = member_id;
	conn->is_watch = true;
	conn->until_ns = server->now_ns + WATCH_NS;
	hbus_queue_init(&conn->queue);
	TAILQ_INSERT_TAIL(&server->conns, conn, link);
	server->n_conns++;
	server->has_timers = true;
	if (add_process(conn))
		return 0;
	bury_later(conn);
	return -ENOSPC;
}

/* No descriptor is left: give up the spare one to accept and refuse a client, then take it back. */
static bool refuse_for_want_of_fds(struct hbus_server *server)
{
	int socket;

	if (server->spare_fd < 0)
		return false;
	close(server->spare_fd);
	socket = accept4(server->place.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (socket >= 0)
		refuse(server, socket, HBUS_E_LIMIT, "the daemon has no more descriptors");
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return socket >= 0;
}

void hbus_conn_accept(struct hbus_server *server)
{
	/* It may not have been there to take back the last time. */
	if (server->spare_fd < 0)
		server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < ACCEPTS_PER_ROUND; i++) {
		int socket = accept4(server->place.listen_fd, NULL, NULL,
				     SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (socket >= 0) {
			hbus_conn_new(server, socket);
			continue;
		}
		if ((errno == EMFILE || errno == ENFILE) && refuse_for_want_of_fds(server))
			continue;
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			server->listen_ns = server->now_ns + 100000000ull;
		return;
	}
}
