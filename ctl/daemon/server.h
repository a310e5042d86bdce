/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The event loop around the state machine: sockets, processes, signals, time
 *
 * One thread, one epoll. Nothing blocks on a client: what its socket does not take is queued up to a
 * bound, and beyond it the client is disconnected.
 */
#pragma once

#include "ctl/daemon/config.h"
#include "ctl/daemon/log.h"

struct hbus_server;

struct hbus_server_options {
	const char *config_path; /* NULL: defaults */
	const char *socket_path; /* overrides the configuration's; NULL: that one */
	const char *state_dir;	 /* likewise */
	int log_level;		 /* enum hbus_log_level; -1: the configuration's */
	bool is_embedded; /* no socket, no journal, no signals, no log */
};

/**
 * hbus_server_new() - read the configuration, take the lock and the socket, restore the journal
 * @ret_error: a sentence for people when it fails
 *
 * Return: 0 or -errno.
 */
int hbus_server_new(const struct hbus_server_options *options, struct hbus_server **ret_server,
		    struct hbus_config_error *ret_error);

/** hbus_server_run() - until SIGTERM, SIGINT or hbus_server_stop(). Return: 0 or -errno. */
int hbus_server_run(struct hbus_server *server);

/** hbus_server_stop() - from any thread. */
void hbus_server_stop(struct hbus_server *server);

/** hbus_server_adopt() - serve this connected socket. Consumes it. From any thread. */
int hbus_server_adopt(struct hbus_server *server, int socket);

struct hbus_server *hbus_server_free(struct hbus_server *server);
