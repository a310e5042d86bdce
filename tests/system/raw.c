/* SPDX-License-Identifier: BSD-3-Clause */
/* A client that speaks the control protocol by hand. See raw.h. */
#include "raw.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus.h"

bool raw_connect(struct raw *raw, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memset(raw, 0, sizeof(*raw));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	raw->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (raw->socket >= 0 &&
	    connect(raw->socket, (struct sockaddr *)&address, sizeof(address)) == 0)
		return true;
	close(raw->socket);
	raw->socket = -1;
	return false;
}

static void close_fds(struct raw *raw)
{
	for (size_t i = 0; i < raw->n_fds; i++)
		close(raw->fds[i]);
	raw->n_fds = 0;
}

void raw_close(struct raw *raw)
{
	close_fds(raw);
	close(raw->socket);
	raw->socket = -1;
}

int raw_send_bytes(struct raw *raw, const void *bytes, size_t size, const int *fds, size_t n_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(RAW_FDS_MAX * sizeof(int))];
	struct iovec iov = { (void *)(uintptr_t)bytes, size };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > 0) {
		struct cmsghdr *cmsg;

		memset(control, 0, sizeof(control));
		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	return sendmsg(raw->socket, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int raw_send(struct raw *raw, void *msg, enum hbus_msg_type type, size_t size, const int *fds,
	     size_t n_fds)
{
	struct hbus_msg_header *header = msg;

	*header = (struct hbus_msg_header){ HBUS_PROTO_MAGIC, (uint16_t)type, (uint16_t)size,
					    ++raw->serial, (uint32_t)n_fds };
	return raw_send_bytes(raw, msg, size, fds, n_fds);
}

const struct hbus_msg_header *raw_next(struct raw *raw, int wait_ms)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))];
	struct iovec iov = { raw->msg, sizeof(raw->msg) };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				 .msg_controllen = sizeof(control) };
	struct pollfd poll_fd = { .fd = raw->socket, .events = POLLIN };
	struct cmsghdr *cmsg;
	ssize_t n;

	close_fds(raw);
	if (poll(&poll_fd, 1, wait_ms) <= 0)
		return NULL;
	n = recvmsg(raw->socket, &header, MSG_CMSG_CLOEXEC);
	if (n < (ssize_t)sizeof(struct hbus_msg_header))
		return NULL;
	raw->size = (size_t)n;
	cmsg = CMSG_FIRSTHDR(&header);
	if (cmsg) {
		raw->n_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(raw->fds, CMSG_DATA(cmsg), raw->n_fds * sizeof(int));
	}
	return (const void *)raw->msg;
}

static void answer_gate(struct raw *raw)
{
	const struct hbus_msg_gate_add *add = (const void *)raw->msg;
	struct hbus_msg_gate gate = { .header = add->header, .ring_id = add->ring_id,
				      .gate_id = add->gate_id, .attach_idx = add->attach_idx };

	gate.header.type = HBUS_MSG_GATE_ADDED;
	gate.header.size = sizeof(gate);
	gate.header.n_fds = 0;
	raw_send_bytes(raw, &gate, sizeof(gate), NULL, 0);
}

const struct hbus_msg_reply *raw_reply(struct raw *raw)
{
	const struct hbus_msg_header *header;

	while ((header = raw_next(raw, 3000))) {
		if (header->type == HBUS_MSG_GATE_ADD)
			answer_gate(raw);
		if (header->type == HBUS_MSG_REPLY && header->serial == raw->serial)
			return (const void *)header;
	}
	return NULL;
}

const void *raw_wait(struct raw *raw, enum hbus_msg_type type)
{
	const struct hbus_msg_header *header;

	while ((header = raw_next(raw, 3000)))
		if (header->type == type)
			return header;
	return NULL;
}

int raw_hello(struct raw *raw)
{
	struct hbus_msg_hello msg = { .major = HBUS_PROTO_MAJOR, .name = "raw" };
	const struct hbus_msg_reply *reply;

	if (raw_send(raw, &msg, HBUS_MSG_HELLO, sizeof(msg), NULL, 0) < 0)
		return 1;
	reply = raw_reply(raw);
	return reply ? reply->status : 1;
}

struct raw raw_open(void)
{
	struct raw raw;

	CHECK(raw_connect(&raw, bus_address));
	CHECK_EQ(raw_hello(&raw), 0);
	return raw;
}

bool raw_is_ended(struct raw *raw)
{
	struct pollfd poll_fd = { .fd = raw->socket, .events = POLLIN };
	char byte[2048];

	while (poll(&poll_fd, 1, 1000) > 0)
		if (recv(raw->socket, byte, sizeof(byte), MSG_DONTWAIT) <= 0)
			return true;
	return false;
}
