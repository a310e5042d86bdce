/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int hbus_frame_send(int socket, const void *msg, size_t size, struct hbus_fd *const *fds,
		   size_t n_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(HBUS_MSG_FDS_MAX * sizeof(int))];
	struct iovec iov = { (void *)(uintptr_t)msg, size };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	int numbers[HBUS_MSG_FDS_MAX];

	if (n_fds > 0) {
		struct cmsghdr *cmsg;

		memset(control, 0, sizeof(control));
		for (size_t i = 0; i < n_fds; i++)
			numbers[i] = fds[i]->fd;
		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), numbers, n_fds * sizeof(int));
	}
	if (sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	switch (errno) {
	case EAGAIN:
		return HBUS_WIRE_AGAIN;
	case ETOOMANYREFS:
	case ENOBUFS:
	case ENOMEM:
	case EINTR:
		return HBUS_WIRE_LATER;
	default:
		return -errno;
	}
}

static size_t take_fds(struct msghdr *header, int fds[HBUS_WIRE_FDS_MAX])
{
	size_t n = 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
		size_t len = cmsg->cmsg_len - CMSG_LEN(0);

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(fds + n, CMSG_DATA(cmsg), len);
		n += len / sizeof(int);
	}
	return n;
}

int hbus_frame_recv(int socket, void *frame, size_t size, int fds[HBUS_WIRE_FDS_MAX],
		    size_t *ret_n_fds, bool *ret_is_cut, bool *ret_is_short)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(HBUS_WIRE_FDS_MAX * sizeof(int))];
	struct iovec iov = { frame, size };
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return -errno;
	*ret_n_fds = take_fds(&header, fds);
	*ret_is_cut = header.msg_flags & MSG_TRUNC;
	*ret_is_short = header.msg_flags & MSG_CTRUNC;
	return (int)n;
}

void hbus_queue_init(struct hbus_queue *queue)
{
	STAILQ_INIT(&queue->list);
	queue->n = queue->n_bytes = 0;
}

static void pop(struct hbus_queue *queue)
{
	struct hbus_queued *first = STAILQ_FIRST(&queue->list);

	STAILQ_REMOVE_HEAD(&queue->list, link);
	queue->n--;
	queue->n_bytes -= first->size;
	for (size_t i = 0; i < first->n_fds; i++)
		hbus_fd_put(first->fds[i]);
	free(first);
}

void hbus_queue_clear(struct hbus_queue *queue)
{
	while (!STAILQ_EMPTY(&queue->list))
		pop(queue);
}

bool hbus_queue_push(struct hbus_queue *queue, const void *msg, size_t size,
		     struct hbus_fd *const *fds, size_t n_fds)
{
	struct hbus_queued *queued;

	if (queue->n >= HBUS_QUEUE_MESSAGES_MAX || queue->n_bytes + size > HBUS_QUEUE_BYTES_MAX)
		return false;
	queued = malloc(sizeof(*queued) + size);
	if (!queued)
		return false;
	queued->size = size;
	queued->n_fds = n_fds;
	for (size_t i = 0; i < n_fds; i++)
		queued->fds[i] = hbus_fd_get(fds[i]);
	memcpy(queued->bytes, msg, size);
	STAILQ_INSERT_TAIL(&queue->list, queued, link);
	queue->n++;
	queue->n_bytes += size;
	return true;
}

int hbus_queue_flush(struct hbus_queue *queue, int socket)
{
	while (!STAILQ_EMPTY(&queue->list)) {
		const struct hbus_queued *first = STAILQ_FIRST(&queue->list);
		int r = hbus_frame_send(socket, first->bytes, first->size, first->fds, first->n_fds);

		if (r != 0)
			return r;
		pop(queue);
	}
	return 0;
}
