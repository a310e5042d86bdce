/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * File descriptors with a reference count
 *
 * A ring's descriptors wait in the send queues of many clients at once; whoever holds a reference
 * keeps the descriptor open. One thread.
 */
#pragma once

#include <stddef.h>

struct hbus_fd {
	int fd;
	unsigned int n_refs;
};

/** hbus_fd_new() - consumes @fd: on failure it is closed and NULL returned. */
struct hbus_fd *hbus_fd_new(int fd);

/** hbus_fd_get() - another reference; NULL stays NULL. */
struct hbus_fd *hbus_fd_get(struct hbus_fd *fd);

/** hbus_fd_put() - the last one closes; always returns NULL. */
struct hbus_fd *hbus_fd_put(struct hbus_fd *fd);
