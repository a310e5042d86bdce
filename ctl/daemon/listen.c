/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 4096

static int fail(struct hbus_config_error *error, const char *what, const char *path)
{
	int r = errno ? -errno : -EIO;

	snprintf(error->text, sizeof(error->text), "%s %.400s: %s", what, path, strerror(-r));
	return r;
}

static int choose_socket(struct hbus_place *place, const struct hbus_config *config,
			 struct hbus_config_error *error)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *service = getenv("RUNTIME_DIRECTORY");
	int n;

	if (config->socket_path[0])
		n = snprintf(place->socket_path, sizeof(place->socket_path), "%s",
			     config->socket_path);
	else if (service && service[0] == '/')
		n = snprintf(place->socket_path, sizeof(place->socket_path), "%s/hugebus.sock",
			     service);
	else if (geteuid() == 0)
		n = snprintf(place->socket_path, sizeof(place->socket_path),
			     "/run/hugebus/hugebus.sock");
	else if (runtime && runtime[0] == '/')
		n = snprintf(place->socket_path, sizeof(place->socket_path),
			     "%s/hugebus/hugebus.sock", runtime);
	else {
		snprintf(error->text, sizeof(error->text),
			 "XDG_RUNTIME_DIR is not set: say with --socket where to listen");
		return -EINVAL;
	}
	if (n < 0 || (size_t)n > HBUS_SOCKET_PATH_MAX) {
		snprintf(error->text, sizeof(error->text),
			 "the path of a socket has at most %zu bytes", (size_t)HBUS_SOCKET_PATH_MAX);
		return -ENAMETOOLONG;
	}
	return 0;
}

static int choose_state(struct hbus_place *place, const struct hbus_config *config,
			struct hbus_config_error *error)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	const char *service = getenv("STATE_DIRECTORY");
	int n;

	if (config->state_dir[0])
		n = snprintf(place->state_dir, sizeof(place->state_dir), "%s", config->state_dir);
	else if (service && service[0] == '/')
		n = snprintf(place->state_dir, sizeof(place->state_dir), "%s", service);
	else if (geteuid() == 0)
		n = snprintf(place->state_dir, sizeof(place->state_dir), "/var/lib/hugebus");
	else if (state && state[0] == '/')
		n = snprintf(place->state_dir, sizeof(place->state_dir), "%s/hugebus", state);
	else
		n = snprintf(place->state_dir, sizeof(place->state_dir), "%s/.local/state/hugebus",
			     home ? home : "");
	if (n < 0 || (size_t)n >= sizeof(place->state_dir) - 32) {
		snprintf(error->text, sizeof(error->text), "the path of the state directory is too long");
		return -ENAMETOOLONG;
	}
	return 0;
}

/* The directory of @path and those above it. */
static int make_parents(const char *path, mode_t mode)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return -1;
		*slash = '/';
	}
	return 0;
}

static int lock(struct hbus_place *place, struct hbus_config_error *error)
{
	char path[PATH_MAX + 8];

	snprintf(path, sizeof(path), "%s.lock", place->socket_path);
	place->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (place->lock_fd < 0)
		return fail(error, "cannot open", path);
	if (flock(place->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			snprintf(error->text, sizeof(error->text),
				 "another hugebusd serves %.400s", place->socket_path);
		else
			fail(error, "cannot lock", path);
		return -EBUSY;
	}
	return 0;
}

/* Under the lock. Something may listen there that does not know our lock: that is never stolen. */
static int check_vacant(const struct hbus_place *place, const struct sockaddr_un *address,
			struct hbus_config_error *error)
{
	struct stat st;
	int fd, r;

	if (lstat(place->socket_path, &st) < 0)
		return errno == ENOENT ? 0 : fail(error, "cannot look at", place->socket_path);
	if (!S_ISSOCK(st.st_mode)) {
		errno = EEXIST;
		return fail(error, "not a socket:", place->socket_path);
	}
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(error, "cannot make a socket for", place->socket_path);
	r = connect(fd, (const struct sockaddr *)address, sizeof(*address));
	if (r == 0 || errno != ECONNREFUSED) {
		close(fd);
		errno = EADDRINUSE;
		return fail(error, "something listens at", place->socket_path);
	}
	close(fd);
	if (unlink(place->socket_path) < 0)
		return fail(error, "cannot remove", place->socket_path);
	return 0;
}

static int listen_at(struct hbus_place *place, const struct hbus_config *config,
		     struct hbus_config_error *error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r;

	snprintf(address.sun_path, sizeof(address.sun_path), "%.107s", place->socket_path);
	r = check_vacant(place, &address, error);
	if (r < 0)
		return r;
	place->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (place->listen_fd < 0)
		return fail(error, "cannot make a socket for", place->socket_path);
	/* The umask is 077: until the mode is set nobody else can connect. */
	if (bind(place->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fail(error, "cannot listen at", place->socket_path);
	if (config->socket_gid != (gid_t)-1 &&
	    chown(place->socket_path, (uid_t)-1, config->socket_gid) < 0)
		return fail(error, "cannot set the group of", place->socket_path);
	if (chmod(place->socket_path, config->socket_mode) < 0)
		return fail(error, "cannot set the mode of", place->socket_path);
	if (listen(place->listen_fd, BACKLOG) < 0)
		return fail(error, "cannot listen at", place->socket_path);
	return 0;
}

int hbus_place_take(struct hbus_place *place, const struct hbus_config *config,
		    struct hbus_config_error *ret_error)
{
	int r;

	place->lock_fd = place->listen_fd = -1;
	r = choose_socket(place, config, ret_error);
	if (r == 0)
		r = choose_state(place, config, ret_error);
	if (r < 0)
		return r;
	if (make_parents(place->socket_path, 0755) < 0)
		return fail(ret_error, "cannot make the directory of", place->socket_path);
	r = lock(place, ret_error);
	if (r < 0)
		return r;
	if (make_parents(place->state_dir, 0755) < 0 ||
	    (mkdir(place->state_dir, 0700) < 0 && errno != EEXIST))
		return fail(ret_error, "cannot make the state directory", place->state_dir);
	return listen_at(place, config, ret_error);
}

void hbus_place_leave(struct hbus_place *place)
{
	if (place->listen_fd >= 0) {
		close(place->listen_fd);
		unlink(place->socket_path);
	}
	/* The lock file stays: to remove it would let two daemons lock two files of one name. */
	if (place->lock_fd >= 0)
		close(place->lock_fd);
	place->listen_fd = place->lock_fd = -1;
}
