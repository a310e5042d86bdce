/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The daemon's state machine: who is there, what exists, who is introduced to whom
 *
 * It does no I/O and reads no clock. The event loop feeds it events (a client connected, a message
 * came, a socket hung up, a process ended, time passed) and it acts through struct hbus_state_ops:
 * it sends, disconnects, asks for memory to be made or checked, and hands over records for the
 * journal. So it runs in tests without a kernel behind it, on a clock of the test.
 *
 * One thread. No function here may be called from within an op.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/daemon/config.h"
#include "ctl/daemon/fd.h"
#include "ctl/daemon/policy.h"
#include "ctl/proto/proto.h"
#include "shm/layout.h"

#define HBUS_MEMBERS_MAX 16384u
#define HBUS_RINGS_MAX 65536u
/* Of one subscriber. More than HBUS_RINGS_PER_SUBSCRIBER_MAX: it is who refuses those, and so knows what it misses. */
#define HBUS_ATTACHMENTS_MAX (2 * HBUS_RINGS_PER_SUBSCRIBER_MAX)
#define HBUS_RINGS_PER_MEMBER_MAX 8192u
#define HBUS_COUNTER_SETS_MAX 256u
#define HBUS_ROUTES_TOTAL_MAX 32768u

struct hbus_state;
struct hbus_member;

/* What the journal keeps. Which fields count depends on the kind. */
enum hbus_record_kind {
	HBUS_RECORD_TOPIC = 1,	 /* id, flags, uid, name, type, content_type */
	HBUS_RECORD_TOPIC_GONE,	 /* id */
	HBUS_RECORD_MEMBER,	 /* id, token, uid, name, pid, began */
	HBUS_RECORD_MEMBER_GONE, /* id */
	HBUS_RECORD_RING,	 /* id, member_id, token, uid, geometry */
	HBUS_RECORD_RING_GONE,	 /* id */
	HBUS_RECORD_RING_TOPIC,	 /* id of the ring, topic_id: it goes with the ring */
	HBUS_RECORD_ROUTE,	 /* route */
	HBUS_RECORD_ROUTE_GONE,	 /* route */
};

struct hbus_journal_record {
	enum hbus_record_kind kind;
	uint32_t flags;
	uint64_t id;
	uint64_t member_id;
	uint32_t topic_id;
	uid_t uid;
	int32_t pid;
	uint64_t began; /* with the pid: which process; 0 = not known */
	struct hbus_token token;
	struct hbus_geometry geometry;
	char name[HBUS_TOPIC_NAME_MAX + 1];
	char type[64];
	char content_type[64];
	struct hbus_wire_route route;
};

/* Statistics of one slot, and where a ring stands. */
struct hbus_slot_stats {
	uint64_t cursor, delivered, filtered, lost, position, sequence;
};

struct hbus_ring_stats {
	uint64_t sequence, position;
	uint64_t dropped[HBUS_RING_GATES_MAX]; /* gate ids */
};

struct hbus_daemon_stats {
	uint64_t pages_reserved, pages_free, refused;
	char socket_path[256];
};

struct hbus_state_ops {
	void *context;
	/* Queues or sends. Borrows; takes references of its own. A client that does not read is disconnected. */
	void (*send)(void *context, void *conn, const void *msg, struct hbus_fd *const *fds,
		     size_t n_fds);
	/* Ends the connection later; no event for it comes any more, hangup neither. */
	void (*disconnect)(void *context, void *conn);
	void (*random)(void *context, void *bytes, size_t size);
	/* Makes header and data for *geometry and sets is_huge. @want: HBUS_RING_WANT_*. 0 or HBUS_E_*. */
	int (*ring_make)(void *context, struct hbus_geometry *geometry, uint32_t want,
			 struct hbus_fd *ret_fds[2]);
	/* Seals what the publisher has mapped and checks it; read-only descriptors in return. 0 or HBUS_E_*. */
	int (*ring_seal)(void *context, const struct hbus_geometry *geometry,
			 struct hbus_fd *const fds[2], struct hbus_fd *ret_fds[2]);
	/* Likewise for descriptors that a publisher brings back after a restart. */
	int (*ring_adopt)(void *context, const struct hbus_geometry *geometry,
			  struct hbus_fd *const fds[2], struct hbus_fd *ret_fds[2]);
	/* The daemon is done with the memory of this ring. */
	void (*ring_gone)(void *context, const struct hbus_geometry *geometry);
	/* Are these slots, or counters, as they must be? 0 or HBUS_E_*; then n = cells of a counter set. */
	int (*slots_check)(void *context, struct hbus_fd *fd, uint32_t n_slots);
	int (*counters_check)(void *context, struct hbus_fd *fd, uint32_t *ret_n);
	int (*doorbell_make)(void *context, struct hbus_fd *ret_fds[2]);
	/* For lists. They may leave zeroes. */
	void (*slot_read)(void *context, struct hbus_fd *fd, uint32_t slot_idx,
			  struct hbus_slot_stats *stats);
	void (*ring_read)(void *context, const struct hbus_geometry *geometry,
			  struct hbus_fd *const fds[2], struct hbus_ring_stats *stats);
	bool (*counter_read)(void *context, struct hbus_fd *fd, uint32_t idx, char name[64],
			     uint64_t *ret_value);
	void (*daemon_read)(void *context, struct hbus_daemon_stats *stats);
	/* NULL when nothing survives. Failures are the op's to report. */
	void (*persist)(void *context, const struct hbus_journal_record *record);
	/* A client with the admin right asks for what SIGHUP does. 0 or HBUS_E_*, and a sentence. */
	int (*reload)(void *context, char *text, size_t size);
	/* One line for the log; @member may be NULL. */
	void (*log)(void *context, enum hbus_log_level level, const struct hbus_member *member,
		    const char *text);
	/* What tells a process from others with its pid, also later ones; 0 = not to be had. */
	uint64_t (*process_began)(void *context, int32_t pid, const struct hbus_fd *pidfd);
	/*
	 * Does this process live? 1: yes, and hbus_state_died() will say when it ends, if there is a @member_id; 0: no;
	 * < 0: nobody knows.
	 */
	int (*process_watch)(void *context, uint64_t member_id, int32_t pid, uint64_t began);
};

struct hbus_state_options {
	uint64_t boot_id;     /* of the bus */
	uint32_t boot_number; /* of this daemon on the bus: distinguishes ids */
	uid_t daemon_uid;
	int32_t pid;
};

/**
 * hbus_state_new() - an empty bus with the topics and routes of @config
 *
 * Borrows @config until hbus_state_configure() replaces it, and copies @ops. NULL = no memory.
 */
struct hbus_state *hbus_state_new(const struct hbus_config *config,
				  const struct hbus_state_ops *ops,
				  const struct hbus_state_options *options, uint64_t now_ns);
struct hbus_state *hbus_state_free(struct hbus_state *state);

/** hbus_state_configure() - a new configuration takes effect; the old one may be freed afterwards. */
void hbus_state_configure(struct hbus_state *state, const struct hbus_config *config,
			  uint64_t now_ns);

/**
 * hbus_state_restore() - a record of the journal, before the first event
 *
 * A record that cannot be is skipped. Return: whether it was used.
 */
bool hbus_state_restore(struct hbus_state *state, const struct hbus_journal_record *record);
/** hbus_state_restored() - that was all; members may come back from now on. */
void hbus_state_restored(struct hbus_state *state, uint64_t now_ns);

/** hbus_state_save() - call @save for all that a fresh journal must hold. */
void hbus_state_save(struct hbus_state *state,
		     void (*save)(void *context, const struct hbus_journal_record *record),
		     void *context);

/* -- events -- */

/**
 * hbus_state_connect() - a client has connected
 * @cred: copied
 * @pidfd: consumed; NULL when the platform has none
 *
 * Return: its member, or NULL when there is no room (hbus_state_refusal() says which; nobody is told, close the socket).
 */
struct hbus_member *hbus_state_connect(struct hbus_state *state, void *conn,
				       const struct hbus_cred *cred, int32_t pid,
				       struct hbus_fd *pidfd, uint64_t now_ns);

/** hbus_state_refusal() - why the last hbus_state_connect() returned NULL. Return: HBUS_E_*. */
int hbus_state_refusal(const struct hbus_state *state, const char **ret_text);

/**
 * hbus_state_message() - a frame came from @member's socket
 * @fds: consumed, all of them, whatever happens
 *
 * Return: the member that this connection now belongs to (HELLO may change it), or NULL when the
 * connection was ended with disconnect().
 */
struct hbus_member *hbus_state_message(struct hbus_state *state, struct hbus_member *member,
				       const void *frame, size_t size, const int *fds, size_t n_fds,
				       uint64_t now_ns);

/** hbus_state_request_delay() - nanoseconds until this member may make its next request; 0 = now. */
uint64_t hbus_state_request_delay(struct hbus_state *state, struct hbus_member *member,
				  uint64_t now_ns);

/** hbus_state_account() - of the member's uid; borrowed. */
struct hbus_account *hbus_state_account(const struct hbus_member *member);

/** hbus_state_hangup() - the socket of @member is closed. The member may come back for a while. */
void hbus_state_hangup(struct hbus_state *state, struct hbus_member *member, uint64_t now_ns);

/** hbus_state_is_away() - does a member of this id wait for its process to come back? */
bool hbus_state_is_away(const struct hbus_state *state, uint64_t member_id);

/**
 * hbus_state_died() - the process behind @conn has ended
 *
 * Ends the member of this id, unless it has come back on another connection.
 */
void hbus_state_died(struct hbus_state *state, uint64_t member_id, const void *conn,
		     uint64_t now_ns);

/** hbus_state_tick() - let time pass. Return: when to be called again at the latest, or UINT64_MAX. */
uint64_t hbus_state_tick(struct hbus_state *state, uint64_t now_ns);

/* -- for logs and tests -- */
uint64_t hbus_member_id(const struct hbus_member *member);
uid_t hbus_member_uid(const struct hbus_member *member);
int32_t hbus_member_pid(const struct hbus_member *member);
const char *hbus_member_name(const struct hbus_member *member);

struct hbus_state_counts {
	size_t n_members, n_topics, n_rings, n_subscribers, n_attachments, n_routes, n_counter_sets;
	size_t n_pending;
	uint64_t n_protocol_errors;
	bool is_restarting;
};
void hbus_state_count(const struct hbus_state *state, struct hbus_state_counts *counts);
