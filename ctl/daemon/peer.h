/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Who is at the other end of a Unix socket: uid, groups, and a pidfd
 */
#pragma once

#include "ctl/daemon/fd.h"
#include "ctl/daemon/policy.h"

struct hbus_peer {
	struct hbus_cred cred; /* its groups are the peer's own memory */
	int32_t pid;	       /* for people only */
	struct hbus_fd *pidfd; /* NULL: the process has ended already, or there is none */
};

/**
 * hbus_peer_read() - as it was when the peer connected
 *
 * HBUS_NO_PEERPIDFD in the environment forces the fallback for kernels before 6.5.
 * Return: 0 or -errno. The caller owns *@ret_peer: hbus_peer_deinit().
 */
int hbus_peer_read(int socket, struct hbus_peer *ret_peer);
/** Frees the groups and puts the pidfd, unless it was taken out. */
void hbus_peer_deinit(struct hbus_peer *peer);
