/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon inside another process: libhugebus-daemon.so, which libhugebus loads for "embedded:"
 *
 * The loop runs in a thread of its own with all signals blocked. There is no socket in the file
 * system, no journal, no reserve of hugepages and no log; clients come as connected sockets.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/daemon/server.h"

#define HBUS_EXPORT __attribute__((visibility("default")))

struct embedded {
	struct hbus_server *server;
	pthread_t thread;
};

/* All of them: libhugebus finds them by name. */
HBUS_EXPORT int hbus_embedded_start(int *ret_client_fd, void **ret_bus);
HBUS_EXPORT int hbus_embedded_connect(void *bus, int *ret_client_fd);
HBUS_EXPORT void hbus_embedded_stop(void *bus);

static void *run(void *context)
{
	struct embedded *embedded = context;

	hbus_server_run(embedded->server);
	return NULL;
}

static int start_thread(struct embedded *embedded)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	r = pthread_create(&embedded->thread, NULL, run, embedded);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int hbus_embedded_connect(void *bus, int *ret_client_fd)
{
	struct embedded *embedded = bus;
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return -errno;
	r = hbus_server_adopt(embedded->server, ends[0]);
	if (r < 0) {
		close(ends[1]);
		return r;
	}
	*ret_client_fd = ends[1];
	return 0;
}

int hbus_embedded_start(int *ret_client_fd, void **ret_bus)
{
	const struct hbus_server_options options = { .log_level = -1, .is_embedded = true };
	struct embedded *embedded = calloc(1, sizeof(*embedded));
	struct hbus_config_error error;
	int r;

	if (!embedded)
		return -ENOMEM;
	r = hbus_server_new(&options, &embedded->server, &error);
	if (r == 0)
		r = start_thread(embedded);
	if (r < 0) {
		hbus_server_free(embedded->server);
		free(embedded);
		return r;
	}
	r = hbus_embedded_connect(embedded, ret_client_fd);
	if (r < 0) {
		hbus_embedded_stop(embedded);
		return r;
	}
	*ret_bus = embedded;
	return 0;
}

void hbus_embedded_stop(void *bus)
{
	struct embedded *embedded = bus;

	hbus_server_stop(embedded->server);
	pthread_join(embedded->thread, NULL);
	hbus_server_free(embedded->server);
	free(embedded);
}
