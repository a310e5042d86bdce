/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/process.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446
#endif

/* 0: a kernel on which all pidfds are one inode; or one from before 6.5 is to be tried (peer.h). */
static uint64_t inode_of(int pidfd)
{
	struct statfs fs;
	struct stat stat;

	if (getenv("HBUS_NO_PEERPIDFD") || fstatfs(pidfd, &fs) < 0 || fs.f_type != PID_FS_MAGIC || fstat(pidfd, &stat) < 0)
		return 0;
	return stat.st_ino;
}

/* Field 22 of /proc/PID/stat; the name before it, in parentheses, may hold anything. */
static uint64_t start_time_of(int32_t pid)
{
	char path[32], text[1024], *at;
	unsigned long long began = 0;
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	at = strrchr(text, ')');
	for (int i = 0; at && i < 20; i++)
		at = strchr(at + 1, ' ');
	return at && sscanf(at, " %llu", &began) == 1 ? began : 0;
}

static int has_ended(int pidfd)
{
	struct pollfd waiter = { .fd = pidfd, .events = POLLIN };

	return poll(&waiter, 1, 0) > 0;
}

uint64_t hbus_process_began(int32_t pid, const struct hbus_fd *pidfd)
{
	uint64_t began = pidfd ? inode_of(pidfd->fd) : 0;

	if (began || !pidfd || pid <= 0)
		return began;
	began = start_time_of(pid);
	/* What lives now is what /proc spoke of: its pid was not another's meanwhile. */
	return has_ended(pidfd->fd) ? 0 : began;
}

int hbus_process_open(int32_t pid, uint64_t began, struct hbus_fd **ret_pidfd)
{
	struct hbus_fd *pidfd;
	int fd;

	if (pid <= 0 || began == 0)
		return -EINVAL;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -errno;
	pidfd = hbus_fd_new(fd);
	if (!pidfd)
		return -ENOMEM;
	if (has_ended(fd) || hbus_process_began(pid, pidfd) != began) {
		hbus_fd_put(pidfd);
		return -ESRCH;
	}
	*ret_pidfd = pidfd;
	return 0;
}
