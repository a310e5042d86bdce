/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static int read_groups(int socket, struct hbus_cred *cred)
{
	socklen_t size = HBUS_CRED_GROUPS_MAX * sizeof(gid_t);
	gid_t *groups = malloc(size);

	if (!groups)
		return -ENOMEM;
	/* Whoever has more groups than we look at has the rights of none of them. */
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		size = 0;
	cred->groups = groups;
	cred->n_groups = size / sizeof(gid_t);
	return 0;
}

/*
 * Before Linux 6.5 the pid of the time of connect is all there is. If that process has ended and its
 * pid was reused, this watches a stranger; its end is then noticed by the hangup alone.
 */
static int open_pidfd(int socket, int32_t pid)
{
	socklen_t size = sizeof(int);
	int fd = -1;

	if (!getenv("HBUS_NO_PEERPIDFD") &&
	    getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0)
		return fd;
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int hbus_peer_read(int socket, struct hbus_peer *ret_peer)
{
	struct ucred ucred;
	socklen_t size = sizeof(ucred);
	struct hbus_peer peer = { 0 };
	int fd, r;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &ucred, &size) < 0)
		return -errno;
	peer.cred.uid = ucred.uid;
	peer.cred.gid = ucred.gid;
	peer.pid = ucred.pid;
	r = read_groups(socket, &peer.cred);
	if (r < 0)
		return r;
	fd = open_pidfd(socket, ucred.pid);
	if (fd >= 0)
		peer.pidfd = hbus_fd_new(fd);
	if (!peer.pidfd) {
		hbus_peer_deinit(&peer);
		return -ESRCH;
	}
	*ret_peer = peer;
	return 0;
}

void hbus_peer_deinit(struct hbus_peer *peer)
{
	free((gid_t *)(uintptr_t)peer->cred.groups);
	peer->cred.groups = NULL;
	peer->pidfd = hbus_fd_put(peer->pidfd);
}
