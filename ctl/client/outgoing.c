/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages that wait for a full socket. See outgoing.h. */
#include "ctl/client/outgoing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct hbus_outgoing {
	struct hbus_outgoing *next;
	int fds[HBUS_MSG_FDS_MAX];
	unsigned int n_fds;
	size_t size;
	alignas(8) unsigned char bytes[];
};

static void outgoing_free(struct hbus_outgoing *out)
{
	for (unsigned int i = 0; i < out->n_fds; i++)
		close(out->fds[i]);
	free(out);
}

void hbus_outgoing_clear(struct hbus *bus)
{
	while (bus->outgoing) {
		struct hbus_outgoing *out = bus->outgoing;

		bus->outgoing = out->next;
		outgoing_free(out);
	}
	bus->outgoing_tail = &bus->outgoing;
	bus->n_outgoing = 0;
}

static void watch_output(struct hbus *bus, bool wants_output)
{
	struct epoll_event event = {.events = EPOLLIN | (wants_output ? EPOLLOUT : 0u), .data.fd = bus->socket_fd};

	if (bus->wants_output != wants_output && bus->socket_fd >= 0)
		epoll_ctl(bus->epoll_fd, EPOLL_CTL_MOD, bus->socket_fd, &event);
	bus->wants_output = wants_output;
}

int hbus_outgoing_push(struct hbus *bus, const struct hbus_msg_header *message, const int *fds,
			 unsigned int n_fds)
{
	struct hbus_outgoing *out;

	if (bus->n_outgoing >= HBUS_OUTGOING_MAX)
		return -ENOBUFS;
	out = calloc(1, sizeof(*out) + message->size);
	if (!out)
		return -ENOMEM;
	for (unsigned int i = 0; i < n_fds; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			outgoing_free(out);
			return -errno;
		}
		out->fds[out->n_fds++] = fd;
	}
	out->size = message->size;
	memcpy(out->bytes, message, message->size);
	*bus->outgoing_tail = out;
	bus->outgoing_tail = &out->next;
	bus->n_outgoing++;
	watch_output(bus, true);
	return 0;
}

int hbus_outgoing_flush(struct hbus *bus)
{
	while (bus->outgoing) {
		struct hbus_outgoing *out = bus->outgoing;
		int r = hbus_wire_send(bus->socket_fd, out->bytes, out->fds, out->n_fds);

		if (r < 0)
			return r;
		bus->outgoing = out->next;
		bus->n_outgoing--;
		outgoing_free(out);
	}
	bus->outgoing_tail = &bus->outgoing;
	watch_output(bus, false);
	return 0;
}
