/* SPDX-License-Identifier: BSD-3-Clause */
/* The ops of the state machine, for real. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>

#include "ctl/client/hugebus.h"
#include "ctl/daemon/memory.h"
#include "ctl/daemon/process.h"
#include "ctl/daemon/server_int.h"
#include "ctl/proto/text.h"

static void op_send(void *context, void *conn, const void *msg, struct hbus_fd *const *fds,
		    size_t n_fds)
{
	(void)context;
	hbus_conn_send(conn, msg, fds, n_fds);
}

static void op_disconnect(void *context, void *conn)
{
	(void)context;
	hbus_conn_disconnect(conn);
}

static void op_random(void *context, void *bytes, size_t size)
{
	(void)context;
	while (getrandom(bytes, size, 0) != (ssize_t)size)
		;
}

static int op_ring_make(void *context, struct hbus_geometry *geometry, uint32_t want,
			struct hbus_fd *ret_fds[2])
{
	struct hbus_server *server = context;

	return hbus_memory_ring_make(&server->reserve, geometry, want, ret_fds);
}

static int op_ring_seal(void *context, const struct hbus_geometry *geometry,
			struct hbus_fd *const fds[2], struct hbus_fd *ret_fds[2])
{
	(void)context;
	return hbus_memory_ring_seal(geometry, fds, ret_fds);
}

static int op_ring_adopt(void *context, const struct hbus_geometry *geometry,
			 struct hbus_fd *const fds[2], struct hbus_fd *ret_fds[2])
{
	struct hbus_server *server = context;

	return hbus_memory_ring_adopt(&server->reserve, geometry, fds, ret_fds);
}

static void op_ring_gone(void *context, const struct hbus_geometry *geometry)
{
	struct hbus_server *server = context;

	hbus_memory_ring_gone(&server->reserve, geometry);
}

static int op_slots_check(void *context, struct hbus_fd *fd, uint32_t n_slots)
{
	(void)context;
	return hbus_memory_slots_check(fd, n_slots);
}

static int op_counters_check(void *context, struct hbus_fd *fd, uint32_t *ret_n)
{
	(void)context;
	return hbus_memory_counters_check(fd, ret_n);
}

static int op_doorbell_make(void *context, struct hbus_fd *ret_fds[2])
{
	(void)context;
	return hbus_memory_doorbell_make(ret_fds);
}

static void op_slot_read(void *context, struct hbus_fd *fd, uint32_t slot_idx,
			 struct hbus_slot_stats *stats)
{
	(void)context;
	hbus_memory_slot_read(fd, slot_idx, stats);
}

static void op_ring_read(void *context, const struct hbus_geometry *geometry,
			 struct hbus_fd *const fds[2], struct hbus_ring_stats *stats)
{
	(void)context;
	hbus_memory_ring_read(geometry, fds, stats);
}

static bool op_counter_read(void *context, struct hbus_fd *fd, uint32_t idx, char name[64],
			    uint64_t *ret_value)
{
	(void)context;
	return hbus_memory_counter_read(fd, idx, name, ret_value);
}

static void op_daemon_read(void *context, struct hbus_daemon_stats *stats)
{
	const struct hbus_server *server = context;

	stats->pages_reserved = server->reserve.n_free + server->reserve.n_used;
	stats->pages_free = server->reserve.n_free;
	stats->refused = server->n_refused;
	hbus_text_copy(stats->socket_path, sizeof(stats->socket_path), server->place.socket_path);
}

static void op_persist(void *context, const struct hbus_journal_record *record)
{
	struct hbus_server *server = context;
	int r = server->journal ? hbus_journal_append(server->journal, record) : 0;

	if (r < 0 && hbus_log_allows(&server->log, HBUS_LOG_ERROR, server->now_ns))
		hbus_log_write(&server->log, HBUS_LOG_ERROR, "event=journal-failed text=\"%s\"",
			       strerror(-r));
}

static int op_reload(void *context, char *text, size_t size)
{
	struct hbus_server *server = context;
	struct hbus_config_error error;

	if (hbus_server_check_reload(server, &error) < 0) {
		hbus_text_copy(text, size, error.text);
		return HBUS_E_INVALID;
	}
	server->reload_asked = true;
	return 0;
}

static void op_log(void *context, enum hbus_log_level level, const struct hbus_member *member,
		   const char *text)
{
	struct hbus_server *server = context;

	if (member && !hbus_log_allows(&server->log, level, server->now_ns))
		return;
	if (member)
		hbus_log_write(&server->log, level, "%s client=%llu pid=%d uid=%u name=%s", text,
			       (unsigned long long)hbus_member_id(member), hbus_member_pid(member),
			       (unsigned int)hbus_member_uid(member), hbus_member_name(member));
	else
		hbus_log_write(&server->log, level, "%s", text);
}

static uint64_t op_process_began(void *context, int32_t pid, const struct hbus_fd *pidfd)
{
	(void)context;
	return hbus_process_began(pid, pidfd);
}

static int op_process_watch(void *context, uint64_t member_id, int32_t pid, uint64_t began)
{
	struct hbus_fd *pidfd;
	int r = hbus_process_open(pid, began, &pidfd);

	if (r < 0)
		return r == -ESRCH ? 0 : r;
	if (member_id == 0) {
		hbus_fd_put(pidfd);
		return 1;
	}
	r = hbus_conn_watch_process(context, member_id, pidfd);
	return r < 0 ? r : 1;
}

void hbus_server_ops(struct hbus_server *server, struct hbus_state_ops *ops)
{
	*ops = (struct hbus_state_ops){
		.context = server,
		.send = op_send,
		.disconnect = op_disconnect,
		.random = op_random,
		.ring_make = op_ring_make,
		.ring_seal = op_ring_seal,
		.ring_adopt = op_ring_adopt,
		.ring_gone = op_ring_gone,
		.slots_check = op_slots_check,
		.counters_check = op_counters_check,
		.doorbell_make = op_doorbell_make,
		.slot_read = op_slot_read,
		.ring_read = op_ring_read,
		.counter_read = op_counter_read,
		.daemon_read = op_daemon_read,
		.persist = op_persist,
		.reload = op_reload,
		.log = op_log,
		.process_began = op_process_began,
		.process_watch = op_process_watch,
	};
}
