/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The daemon's place in the file system: socket, lock file, state directory
 *
 * Who holds the lock (PATH.lock, flock) owns the place: it replaces a socket that a dead daemon left,
 * and never one that is served.
 */
#pragma once

#include "ctl/daemon/config.h"

struct hbus_place {
	char socket_path[PATH_MAX];
	char state_dir[PATH_MAX];
	int lock_fd;
	int listen_fd;
};

/**
 * hbus_place_take() - lock and listen at config's paths, or at the standard ones where they are empty
 *
 * A service of systemd: the directories that it says in $RUNTIME_DIRECTORY and $STATE_DIRECTORY.
 * Root: /run/hugebus/hugebus.sock and /var/lib/hugebus. Others: $XDG_RUNTIME_DIR/hugebus/hugebus.sock
 * and $XDG_STATE_HOME/hugebus (~/.local/state/hugebus). Makes the last directory of each path.
 * Return: 0 or -errno with a sentence.
 */
int hbus_place_take(struct hbus_place *place, const struct hbus_config *config,
		    struct hbus_config_error *ret_error);
/** hbus_place_leave() - unlink the socket if it is still ours, let the lock go. */
void hbus_place_leave(struct hbus_place *place);
