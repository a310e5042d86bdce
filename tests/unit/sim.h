/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The daemon's state machine without a kernel: ops that record what it does, on a clock of the test
 *
 * Descriptors are those of /dev/null. Each client keeps the messages that it was sent.
 */
#pragma once

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client/hugebus.h"
#include "ctl/daemon/state.h"

#define SIM_INBOX_MAX 512
#define SIM_CLIENTS_MAX 64
#define SIM_RECORDS_MAX 512

struct sim_message {
	_Alignas(8) char bytes[HBUS_MSG_SIZE_MAX];
};

struct sim_client {
	struct hbus_member *member; /* NULL: not connected */
	uint64_t id;
	uint32_t next_serial;
	bool is_disconnected; /* by the daemon */
	size_t n_inbox, n_read;
	struct sim_message inbox[SIM_INBOX_MAX];
};

struct sim {
	struct hbus_state *state;
	struct hbus_config config;
	uint64_t now_ns;
	struct sim_client *clients[SIM_CLIENTS_MAX];
	size_t n_clients;
	size_t n_records;
	struct hbus_journal_record records[SIM_RECORDS_MAX];
	uint8_t next_token;
	int ring_status, slots_status; /* what the ops of memory answer */
	size_t n_rings_made, n_rings_gone;
	int lives; /* of processes whose member has not come back: as process_watch() says */
	size_t n_watched;
};

static inline void sim_send(void *context, void *conn, const void *msg, struct hbus_fd *const *fds,
			    size_t n_fds)
{
	struct sim_client *client = conn;
	const struct hbus_msg_header *header = msg;

	(void)context;
	assert(header->n_fds == n_fds && header->size <= HBUS_MSG_SIZE_MAX);
	for (size_t i = 0; i < n_fds; i++)
		assert(fds[i] && fds[i]->n_refs > 0);
	if (client->n_inbox == SIM_INBOX_MAX) {
		memmove(client->inbox, client->inbox + SIM_INBOX_MAX / 2,
			sizeof(client->inbox) / 2);
		client->n_inbox /= 2;
		client->n_read -= client->n_read < SIM_INBOX_MAX / 2 ? client->n_read :
								       SIM_INBOX_MAX / 2;
	}
	memcpy(client->inbox[client->n_inbox++].bytes, msg, header->size);
}

static inline void sim_disconnect(void *context, void *conn)
{
	struct sim_client *client = conn;

	(void)context;
	client->is_disconnected = true;
	client->member = NULL;
}

static inline void sim_random(void *context, void *bytes, size_t size)
{
	struct sim *sim = context;

	memset(bytes, 0x55, size);
	sim->next_token++;
	memcpy(bytes, &sim->n_records, 2);
	((uint8_t *)bytes)[2] = sim->next_token;
}

static inline struct hbus_fd *sim_fd(void)
{
	return hbus_fd_new(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

static inline void sim_fds(struct hbus_fd *ret_fds[2])
{
	ret_fds[0] = sim_fd();
	ret_fds[1] = sim_fd();
}

static inline int sim_ring_make(void *context, struct hbus_geometry *geometry, uint32_t want,
				struct hbus_fd *ret_fds[2])
{
	struct sim *sim = context;

	(void)geometry;
	(void)want;
	if (sim->ring_status == 0) {
		sim_fds(ret_fds);
		sim->n_rings_made++;
	}
	return sim->ring_status;
}

static inline int sim_ring_seal(void *context, const struct hbus_geometry *geometry,
				struct hbus_fd *const fds[2], struct hbus_fd *ret_fds[2])
{
	struct sim *sim = context;

	(void)geometry;
	assert(fds[0] && fds[1]);
	if (sim->ring_status == 0)
		sim_fds(ret_fds);
	return sim->ring_status;
}

static inline int sim_ring_adopt(void *context, const struct hbus_geometry *geometry,
				 struct hbus_fd *const fds[2], struct hbus_fd *ret_fds[2])
{
	return sim_ring_seal(context, geometry, fds, ret_fds);
}

static inline void sim_ring_gone(void *context, const struct hbus_geometry *geometry)
{
	(void)geometry;
	((struct sim *)context)->n_rings_gone++;
}

static inline int sim_slots_check(void *context, struct hbus_fd *fd, uint32_t n_slots)
{
	assert(fd && n_slots > 0);
	return ((struct sim *)context)->slots_status;
}

static inline int sim_counters_check(void *context, struct hbus_fd *fd, uint32_t *ret_n)
{
	assert(fd);
	*ret_n = 2;
	return ((struct sim *)context)->slots_status;
}

static inline int sim_doorbell_make(void *context, struct hbus_fd *ret_fds[2])
{
	(void)context;
	sim_fds(ret_fds);
	return 0;
}

static inline void sim_slot_read(void *context, struct hbus_fd *fd, uint32_t slot_idx,
				 struct hbus_slot_stats *stats)
{
	(void)context;
	assert(fd);
	stats->delivered = slot_idx + 1;
}

static inline void sim_ring_read(void *context, const struct hbus_geometry *geometry,
				 struct hbus_fd *const fds[2], struct hbus_ring_stats *stats)
{
	(void)context;
	(void)geometry;
	assert(fds[0] && fds[1]);
	stats->sequence = 10;
}

static inline bool sim_counter_read(void *context, struct hbus_fd *fd, uint32_t idx, char name[64],
				    uint64_t *ret_value)
{
	(void)context;
	assert(fd);
	memset(name, 0, 64);
	memcpy(name, "counter", 7);
	*ret_value = idx;
	return idx < 2;
}

static inline void sim_daemon_read(void *context, struct hbus_daemon_stats *stats)
{
	(void)context;
	memset(stats, 0, sizeof(*stats));
}

static inline void sim_persist(void *context, const struct hbus_journal_record *record)
{
	struct sim *sim = context;

	sim->records[sim->n_records++ % SIM_RECORDS_MAX] = *record;
}

static inline int sim_reload(void *context, char *text, size_t size)
{
	(void)context;
	(void)text;
	(void)size;
	return 0;
}

static inline void sim_log(void *context, enum hbus_log_level level,
			   const struct hbus_member *member, const char *text)
{
	(void)context;
	(void)level;
	(void)member;
	(void)text;
}

static inline uint64_t sim_process_began(void *context, int32_t pid, const struct hbus_fd *pidfd)
{
	(void)context;
	assert(pidfd);
	return (uint64_t)pid + 1;
}

static inline int sim_process_watch(void *context, uint64_t member_id, int32_t pid, uint64_t began)
{
	struct sim *sim = context;

	assert(sim->lives < 0 || (pid && began == (uint64_t)pid + 1));
	sim->n_watched += sim->lives > 0 && member_id;
	return sim->lives;
}

/* @boot_number: 1, or one more after a restart. The daemon's uid is 77. */
static inline void sim_start(struct sim *sim, uint32_t boot_number)
{
	const struct hbus_state_options options = { 4711, boot_number, 77, 1 };
	const struct hbus_state_ops ops = {
		sim,		   sim_send,	     sim_disconnect,	sim_random,
		sim_ring_make,	   sim_ring_seal,    sim_ring_adopt,	sim_ring_gone,
		sim_slots_check,   sim_counters_check, sim_doorbell_make, sim_slot_read,
		sim_ring_read,	   sim_counter_read, sim_daemon_read,	sim_persist,
		sim_reload,	   sim_log,	     sim_process_began, sim_process_watch,
	};

	sim->state = hbus_state_new(&sim->config, &ops, &options, sim->now_ns);
	assert(sim->state);
}

static inline void sim_init(struct sim *sim)
{
	memset(sim, 0, sizeof(*sim));
	hbus_config_init(&sim->config);
	sim->now_ns = 1000000000;
	sim->lives = -1;
	sim_start(sim, 1);
}

static inline void sim_deinit(struct sim *sim)
{
	hbus_state_free(sim->state);
	hbus_config_deinit(&sim->config);
	for (size_t i = 0; i < sim->n_clients; i++)
		free(sim->clients[i]);
}

static inline void sim_reconnect(struct sim *sim, struct sim_client *client, uid_t uid)
{
	const struct hbus_cred cred = { .uid = uid, .gid = uid };

	client->is_disconnected = false;
	client->n_inbox = client->n_read = 0;
	client->member = hbus_state_connect(sim->state, client, &cred, 1000 + (int)uid, sim_fd(),
					    sim->now_ns);
	if (client->member)
		client->id = hbus_member_id(client->member);
}

static inline struct sim_client *sim_connect(struct sim *sim, uid_t uid)
{
	struct sim_client *client = calloc(1, sizeof(*client));

	assert(client && sim->n_clients < SIM_CLIENTS_MAX);
	sim->clients[sim->n_clients++] = client;
	sim_reconnect(sim, client, uid);
	return client;
}

/* Sends @msg with @n_fds descriptors; 0 = the next serial. Return: the serial. */
static inline uint32_t sim_message(struct sim *sim, struct sim_client *client, void *msg,
				   enum hbus_msg_type type, size_t size, uint32_t serial,
				   size_t n_fds)
{
	struct hbus_msg_header *header = msg;
	int fds[HBUS_MSG_FDS_MAX] = { -1 };

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	*header = (struct hbus_msg_header){ HBUS_PROTO_MAGIC, (uint16_t)type, (uint16_t)size,
					    serial ? serial : ++client->next_serial,
					    (uint32_t)n_fds };
	client->member = hbus_state_message(sim->state, client->member, msg, size, fds, n_fds,
					    sim->now_ns);
	if (client->member)
		client->id = hbus_member_id(client->member);
	return header->serial;
}

#define SIM_REQUEST(sim, client, type, n_fds, body, ...)                                           \
	({                                                                                         \
		body sim_msg_ = __VA_ARGS__;                                                       \
		sim_message(sim, client, &sim_msg_, type, sizeof(sim_msg_), 0, n_fds);             \
	})

/* The next unread message of this type, or NULL; those before it are skipped. */
static inline const void *sim_next(struct sim_client *client, enum hbus_msg_type type)
{
	while (client->n_read < client->n_inbox) {
		const void *msg = client->inbox[client->n_read++].bytes;

		if (((const struct hbus_msg_header *)msg)->type == type)
			return msg;
	}
	return NULL;
}

static inline const struct hbus_msg_reply *sim_reply(struct sim_client *client, uint32_t serial)
{
	for (size_t i = 0; i < client->n_inbox; i++) {
		const struct hbus_msg_reply *reply = (const void *)client->inbox[i].bytes;

		if (reply->header.type == HBUS_MSG_REPLY && reply->header.serial == serial)
			return reply;
	}
	return NULL;
}

static inline void sim_tick(struct sim *sim, uint64_t ms)
{
	sim->now_ns += ms * 1000000;
	hbus_state_tick(sim->state, sim->now_ns);
}

static inline void sim_hangup(struct sim *sim, struct sim_client *client)
{
	struct hbus_member *member = client->member;

	client->member = NULL;
	hbus_state_hangup(sim->state, member, sim->now_ns);
}

static inline void sim_die(struct sim *sim, struct sim_client *client)
{
	client->member = NULL;
	hbus_state_died(sim->state, client->id, client, sim->now_ns);
}
