/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel offers between two processes: pipe, Unix sockets, POSIX message queue, eventfd. */
#include "bench/peers/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)
#define SOCKET_BYTES (4 << 20)
#define BURST 64u
#define QUEUE_DEPTH 4096
#define QUEUE_DEPTH_USER 10

static void close_both(struct peer_channel *channel)
{
	for (unsigned int i = 0; i < 2; i++) {
		if (channel->fd[i] >= 0)
			close(channel->fd[i]);
		channel->fd[i] = -1;
	}
}

static bool is_stopped(const _Atomic uint32_t *stop)
{
	return atomic_load_explicit(stop, memory_order_relaxed);
}

/* -- pipe -- */

static int pipe_make(struct peer_channel *channel)
{
	if (pipe2(channel->fd, O_CLOEXEC | O_NONBLOCK))
		return peer_complain("pipe", strerror(errno));
	/* As large as an ordinary user may have it. */
	(void)fcntl(channel->fd[1], F_SETPIPE_SZ, PIPE_BYTES);
	return 0;
}

/* Writes all of it: the pipe may take a part. */
static int pipe_write(struct peer_channel *channel, const unsigned char *data, size_t size, const _Atomic uint32_t *stop)
{
	while (size > 0) {
		ssize_t n = write(channel->fd[1], data, size);

		if (n < 0 && errno != EAGAIN)
			return peer_complain("pipe", strerror(errno));
		if (n < 0 && is_stopped(stop))
			return 1;
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

static int pipe_send(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	static unsigned char buffer[PEER_BATCH_MAX * PEER_SIZE_MAX];

	for (unsigned int i = 0; i < n; i++)
		peer_fill(buffer + (size_t)i * channel->size, channel->size, first + i);
	return pipe_write(channel, buffer, (size_t)n * channel->size, stop);
}

static int pipe_send_single(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	int r = 0;

	for (unsigned int i = 0; i < n && r == 0; i++)
		r = pipe_send(channel, first + i, 1, stop);
	return r;
}

static int pipe_take(struct peer_channel *channel, uint64_t *next)
{
	static unsigned char buffer[65536];
	static size_t held;
	ssize_t n = read(channel->fd[0], buffer + held, sizeof(buffer) - held);
	size_t at = 0;

	if (n < 0)
		return errno == EAGAIN ? 0 : peer_complain("pipe", strerror(errno));
	for (held += (size_t)n; held - at >= channel->size; at += channel->size)
		if (!peer_is(buffer + at, channel->size, (*next)++))
			return peer_complain("pipe", "wrong content");
	held -= at;
	memmove(buffer, buffer + at, held);
	return 0;
}

/* -- Unix socket -- */

static int unix_make(struct peer_channel *channel)
{
	int bytes = SOCKET_BYTES;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel->fd))
		return peer_complain("unix", strerror(errno));
	(void)setsockopt(channel->fd[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	(void)setsockopt(channel->fd[1], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	return 0;
}

static int unix_send_single(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	uint64_t event[PEER_SIZE_MAX / 8];

	for (unsigned int i = 0; i < n; i++) {
		peer_fill(event, channel->size, first + i);
		while (send(channel->fd[1], event, channel->size, 0) < 0) {
			if (errno != EAGAIN)
				return peer_complain("unix", strerror(errno));
			if (is_stopped(stop))
				return 1;
		}
	}
	return 0;
}

static void describe(struct mmsghdr *messages, struct iovec *parts, unsigned char *buffer, unsigned int size, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		parts[i] = (struct iovec){buffer + (size_t)i * size, size};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
	}
}

static int unix_send_burst(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	static unsigned char buffer[PEER_BATCH_MAX * PEER_SIZE_MAX];
	struct mmsghdr messages[PEER_BATCH_MAX];
	struct iovec parts[PEER_BATCH_MAX];
	unsigned int done = 0;

	for (unsigned int i = 0; i < n; i++)
		peer_fill(buffer + (size_t)i * channel->size, channel->size, first + i);
	describe(messages, parts, buffer, channel->size, n);
	while (done < n) {
		int sent = sendmmsg(channel->fd[1], messages + done, n - done, 0);

		if (sent < 0 && errno != EAGAIN)
			return peer_complain("unix", strerror(errno));
		if (sent < 0 && is_stopped(stop))
			return 1;
		if (sent > 0)
			done += (unsigned int)sent;
	}
	return 0;
}

static int unix_take(struct peer_channel *channel, uint64_t *next)
{
	static unsigned char buffer[BURST * PEER_SIZE_MAX];
	struct mmsghdr messages[BURST];
	struct iovec parts[BURST];
	int n;

	describe(messages, parts, buffer, channel->size, BURST);
	n = recvmmsg(channel->fd[0], messages, BURST, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EAGAIN ? 0 : peer_complain("unix", strerror(errno));
	for (int i = 0; i < n; i++)
		if (messages[i].msg_len != channel->size || !peer_is(parts[i].iov_base, channel->size, (*next)++))
			return peer_complain("unix", "wrong content");
	return 0;
}

/* -- POSIX message queue -- */

static int mq_make(struct peer_channel *channel)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
	struct mq_attr attr = {.mq_maxmsg = QUEUE_DEPTH, .mq_msgsize = (long)channel->size};
	char name[64];

	snprintf(name, sizeof(name), "/hugebus-peers-%d-%u", (int)getpid(), channel->id);
	(void)setrlimit(RLIMIT_MSGQUEUE, &limit);
	channel->fd[0] = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
	attr.mq_maxmsg = QUEUE_DEPTH_USER;
	if (channel->fd[0] < 0)
		channel->fd[0] = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
	if (channel->fd[0] < 0)
		return peer_complain("mq", strerror(errno));
	mq_unlink(name);
	return 0;
}

static int mq_put(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	uint64_t event[PEER_SIZE_MAX / 8];

	for (unsigned int i = 0; i < n; i++) {
		peer_fill(event, channel->size, first + i);
		while (mq_send(channel->fd[0], (const char *)event, channel->size, 0) < 0) {
			if (errno != EAGAIN)
				return peer_complain("mq", strerror(errno));
			if (is_stopped(stop))
				return 1;
		}
	}
	return 0;
}

static int mq_take(struct peer_channel *channel, uint64_t *next)
{
	uint64_t event[PEER_SIZE_MAX / 8];

	for (unsigned int i = 0; i < BURST; i++) {
		ssize_t size = mq_receive(channel->fd[0], (char *)event, channel->size, NULL);

		if (size < 0)
			return errno == EAGAIN ? 0 : peer_complain("mq", strerror(errno));
		if ((size_t)size != channel->size || !peer_is(event, channel->size, (*next)++))
			return peer_complain("mq", "wrong content");
	}
	return 0;
}

/* -- eventfd: it carries no event, only that there is one -- */

static int eventfd_make(struct peer_channel *channel)
{
	channel->fd[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	return channel->fd[0] < 0 ? peer_complain("eventfd", strerror(errno)) : 0;
}

static int eventfd_send(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	uint64_t one = 1;

	(void)stop;
	(void)first;
	for (unsigned int i = 0; i < n; i++)
		if (write(channel->fd[0], &one, 8) != 8)
			return peer_complain("eventfd", strerror(errno));
	return 0;
}

static int eventfd_take(struct peer_channel *channel, uint64_t *next)
{
	uint64_t one;

	if (read(channel->fd[0], &one, 8) == 8)
		(*next)++;
	else if (errno != EAGAIN)
		return peer_complain("eventfd", strerror(errno));
	return 0;
}

const struct peer peer_pipe_single = {
	.name = "pipe.single", .title = "pipe, one write an event", .settings = "1 MiB (F_SETPIPE_SZ); reads of 64 KiB, spinning",
	.make = pipe_make, .unmake = close_both, .send = pipe_send_single, .take = pipe_take,
};
const struct peer peer_pipe_batch = {
	.name = "pipe.batch", .title = "pipe, many events a write", .settings = "as above", .is_own_batching = true,
	.make = pipe_make, .unmake = close_both, .send = pipe_send, .take = pipe_take,
};
const struct peer peer_unix_single = {
	.name = "unix.single", .title = "Unix socket, one send an event", .settings = "SOCK_SEQPACKET, 4 MiB; recvmmsg() of 64, spinning",
	.make = unix_make, .unmake = close_both, .send = unix_send_single, .take = unix_take,
};
const struct peer peer_unix_batch = {
	.name = "unix.batch", .title = "Unix socket, sendmmsg", .settings = "as above", .is_own_batching = true,
	.make = unix_make, .unmake = close_both, .send = unix_send_burst, .take = unix_take,
};
const struct peer peer_mq = {
	.name = "mq", .title = "POSIX message queue", .settings = "4096 deep (10 for an ordinary user), spinning",
	.make = mq_make, .unmake = close_both, .send = mq_put, .take = mq_take,
};
const struct peer peer_eventfd = {
	.name = "eventfd", .title = "eventfd (no payload)", .settings = "EFD_SEMAPHORE, spinning", .is_rtt_only = true,
	.make = eventfd_make, .unmake = close_both, .send = eventfd_send, .take = eventfd_take,
};
