/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Which process it is, in words that a later daemon on the same boot of the machine understands
 */
#pragma once

#include <stdint.h>

#include "ctl/daemon/fd.h"

/**
 * hbus_process_began() - a number that no other process with this pid has, or 0 when there is none to be had
 *
 * From Linux 6.9 on the number of the pidfd's inode, which is never given again; before that the time at which
 * the process began, where /proc tells it.
 */
uint64_t hbus_process_began(int32_t pid, const struct hbus_fd *pidfd);

/**
 * hbus_process_open() - a pidfd of that very process
 *
 * Return: 0; -ESRCH: it has ended; another -errno: it cannot be known. The caller owns *@ret_pidfd.
 */
int hbus_process_open(int32_t pid, uint64_t began, struct hbus_fd **ret_pidfd);
