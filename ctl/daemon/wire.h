/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Frames and descriptors over a SOCK_SEQPACKET socket, and a bounded queue of what could not go out
 *
 * Nothing here blocks. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "ctl/daemon/fd.h"
#include "ctl/proto/proto.h"

#define HBUS_WIRE_FDS_MAX 253 /* SCM_MAX_FD of the kernel */
#define HBUS_QUEUE_BYTES_MAX (32u << 20)
#define HBUS_QUEUE_MESSAGES_MAX 65536u

/* Conditions of sending. */
#define HBUS_WIRE_AGAIN 1 /* the socket is full: wait for EPOLLOUT */
#define HBUS_WIRE_LATER 2 /* the kernel has no room for more descriptors: try again in a while */

struct hbus_queued {
	STAILQ_ENTRY(hbus_queued) link;
	size_t size;
	size_t n_fds;
	struct hbus_fd *fds[HBUS_MSG_FDS_MAX];
	char bytes[];
};

struct hbus_queue {
	STAILQ_HEAD(, hbus_queued) list;
	size_t n, n_bytes;
};

void hbus_queue_init(struct hbus_queue *queue);
void hbus_queue_clear(struct hbus_queue *queue);
/** hbus_queue_push() - copies; false: the queue is full, or there is no memory. */
bool hbus_queue_push(struct hbus_queue *queue, const void *msg, size_t size,
		     struct hbus_fd *const *fds, size_t n_fds);
/** hbus_queue_flush() - Return: 0 = it is empty, HBUS_WIRE_*, or -errno: the socket is dead. */
int hbus_queue_flush(struct hbus_queue *queue, int socket);

/** hbus_frame_send() - Return: 0, HBUS_WIRE_* (nothing was sent), or -errno. */
int hbus_frame_send(int socket, const void *msg, size_t size, struct hbus_fd *const *fds,
		   size_t n_fds);

/**
 * hbus_frame_recv() - one frame with its descriptors, close-on-exec; the caller owns them
 *
 * @ret_is_cut: it was longer than @size
 * @ret_is_short: this process had no room for all of its descriptors (the kernel sends no more than fit here)
 *
 * Return: bytes, 0 = the peer has hung up, -EAGAIN = nothing there, or -errno.
 */
int hbus_frame_recv(int socket, void *frame, size_t size, int fds[HBUS_WIRE_FDS_MAX],
		    size_t *ret_n_fds, bool *ret_is_cut, bool *ret_is_short);
