/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/fd.h"

#include <stdlib.h>
#include <unistd.h>

struct hbus_fd *hbus_fd_new(int fd)
{
	struct hbus_fd *handle = malloc(sizeof(*handle));

	if (!handle) {
		close(fd);
		return NULL;
	}
	handle->fd = fd;
	handle->n_refs = 1;
	return handle;
}

struct hbus_fd *hbus_fd_get(struct hbus_fd *fd)
{
	if (fd)
		fd->n_refs++;
	return fd;
}

struct hbus_fd *hbus_fd_put(struct hbus_fd *fd)
{
	if (fd && --fd->n_refs == 0) {
		close(fd->fd);
		free(fd);
	}
	return NULL;
}
