/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A bus in one process: the daemon's shipping state machine, simulated clients, sockets, a journal and a clock
 *
 *	sim_state.c     what happens next: seeds decide
 *	state_client.c  clients that do what libhugebus does: calls, answers, coming back (state_client.h)
 *	state_world.c   the daemon's surroundings: sockets, time; it can be killed between any two actions
 *	state_ops.c     what it does there: descriptors, memory, messages, the journal
 *	state_check.c   what must hold after each step, and when all is quiet
 *
 * A descriptor is a number that says what it is (struct object_*). The daemon gets real ones of /dev/null, so that
 * one it forgets is missed at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/daemon/state_int.h"

#define WORLD_CLIENTS 6
#define WORLD_RINGS 3	/* of a client */
#define WORLD_TOPICS 3	/* of a ring */
#define WORLD_GATES 64
#define WORLD_SUBS 2
#define WORLD_FILTERS 3
#define WORLD_HELD 64
#define WORLD_SLOTS_FIRST 2
#define WORLD_JOURNAL 2048
#define WORLD_CALLS 64
#define WORLD_MEMORIES 4096

/* -- what a descriptor is -- */

enum object_kind { OBJECT_NONE, OBJECT_RING_WRITE, OBJECT_RING_READ, OBJECT_SLOTS, OBJECT_PIDFD, OBJECT_DOORBELL };

struct object {
	enum object_kind kind;
	uint32_t part;	/* header or data; memfd index */
	uint64_t id;	/* ring id, client's process number and subscriber, doorbell */
};

/* -- sockets -- */

struct frame {
	struct frame *next;
	size_t size, n_fds;
	struct object objects[HBUS_MSG_FDS_MAX];
	_Alignas(8) char bytes[HBUS_MSG_SIZE_MAX];
};

struct queue {
	struct frame *first, **tail;
	size_t n;
};

/* A request that the daemon has read and not answered. */
struct unanswered {
	uint32_t serial;
	uint16_t type;
	uint64_t at_ns;
};

struct conn {
	struct conn *next;
	struct client *client; /* NULL: it closed its end */
	uint64_t process;
	uid_t uid;
	bool is_process_alive;
	bool is_accepted;
	bool is_closed; /* by the daemon */
	bool is_hung_up; /* the daemon noticed; it waits for the process's end */
	uint64_t until_ns;
	struct hbus_member *member;
	uint64_t member_id;
	struct queue to_daemon, to_client;
	size_t n_unanswered;
	struct unanswered unanswered[WORLD_CALLS * 4];
};

/* -- clients -- */

enum link { LINK_DOWN, LINK_GREETING, LINK_RESUMING, LINK_UP };

struct call {
	uint32_t serial; /* 0: free */
	uint16_t type;
	int ring, sub, item;
};

struct client_topic {
	int name; /* -1: free */
	bool is_said, is_called;
	uint32_t id;
	int is_wanted; /* -1: never told */
};

struct client_gate {
	uint64_t gate_id; /* 0: free */
	uint32_t idx;
	bool is_unclaimed;
	struct object slots;
	uint32_t slot_idx;
};

enum ring_stage { RING_FREE, RING_ASKED, RING_MAPPED, RING_RUNS, RING_CLOSES };

struct client_ring {
	enum ring_stage stage;
	struct hbus_wire_geometry geometry;
	struct hbus_token token;
	struct client_topic topics[WORLD_TOPICS];
	struct client_gate gates[WORLD_GATES];
	uint64_t asked_at, ran_at; /* steps */
};

struct client_filter {
	int text; /* -1: free */
	int last; /* what it was, and 1; 0: it was none */
	bool is_confirmed, is_called, is_going;
	uint64_t covers_from;
	uint64_t confirmed_at; /* step */
};

struct client_held {
	uint64_t ring_id; /* 0: free */
	uint64_t gate_id;
	uint32_t memfd_idx, slot_idx, attach_idx;
	bool has_slot, is_ended;
	bool is_unwanted; /* ended for no other reason than that no filter asks for it */
};

enum sub_stage { SUB_FREE, SUB_OPENS, SUB_RUNS, SUB_CLOSES };

struct client_sub {
	enum sub_stage stage;
	uint32_t id, flags;
	bool is_opened, has_slots, is_called;
	uint32_t n_memfds;
	bool memfd_said[HBUS_SLOT_MEMFDS_MAX];
	struct client_filter filters[WORLD_FILTERS];
	struct client_held held[WORLD_HELD];
	size_t n_left;
	uint64_t left[WORLD_HELD]; /* rings that it has held and given up by itself, or refused */
	size_t n_met;
	uint64_t met[WORLD_HELD * 4]; /* rings that it has ever been shown */
	uint64_t first_said[8]; /* step, of each filter that it ever had */
};

struct client {
	uint64_t process; /* 0: none */
	uid_t uid;
	enum link link;
	struct conn *conn;
	struct hbus_token token;
	uint64_t id;
	uint32_t serial, next_sub;
	bool is_stopped;
	bool is_tainted; /* it has said what no honest client says: nothing is promised to it */
	bool was_given_up; /* away for longer than it is waited for */
	uint32_t boot_number; /* of the daemon that has heard all of it */
	struct call calls[WORLD_CALLS];
	struct client_ring rings[WORLD_RINGS];
	struct client_sub subs[WORLD_SUBS];
};

/* -- everything -- */

/* The memory of a ring, as the kernel has it. */
struct memory {
	uint64_t ring_id;
	uid_t uid;
	bool is_sealed;
	int n_daemon; /* made or adopted, less gone, of the daemon that runs */
};

enum world_bug { BUG_NONE, BUG_JOURNAL_DROPS, BUG_REPLY_TWICE, BUG_SEND_DROPS, BUG_READ_IS_WRITE, BUG_MAX };
extern const char *const world_bugs[BUG_MAX];

struct world {
	uint64_t seed, random, step, now_ns;
	struct hbus_state *state; /* NULL: no daemon runs */
	struct hbus_config config;
	uint32_t boot_number;
	bool is_killed; /* within the event that is handled: nothing that it does is seen any more */
	uint64_t actions_left; /* until it is killed, 0: not planned */
	uint64_t restart_ns;
	uint64_t next_token, next_doorbell, next_process;
	struct conn *conns;
	struct client clients[WORLD_CLIENTS];
	size_t n_watches;
	struct {
		uint64_t member_id, process;
	} watches[WORLD_CLIENTS * 4];
	size_t n_memories;
	struct memory memories[WORLD_MEMORIES];
	size_t n_journal;
	struct hbus_journal_record journal[WORLD_JOURNAL];
	enum world_bug bug;
	bool is_verbose;
	/* figures */
	uint64_t n_kills, n_kills_inside, n_deaths, n_messages, n_hostile, n_quiet, n_opened;
};

extern const char *const world_topics[];
extern const char *const world_filters[];
#define WORLD_N_TOPICS 6
#define WORLD_N_FILTERS 6

/** A promise is broken: says it with the seed and ends the program (1). */
void world_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
uint32_t world_random(struct world *w, uint32_t n);
void world_start(struct world *w);
/** The daemon ends here, between two events; world_start() makes the next one. */
void world_kill(struct world *w);
/** After each event: was it the daemon's last? */
void world_settle(struct world *w);
void world_free(struct world *w);

/** With --verbose: one line for a message. */
void world_trace(const struct world *w, const char *who, uint64_t id, const void *msg);
void queue_init(struct queue *queue);
void queue_push(struct queue *queue, struct frame *frame);
struct frame *queue_pop(struct queue *queue);
void queue_clear(struct queue *queue);

/* What the daemon sees. */
struct conn *world_connect(struct world *w, struct client *client);
void world_accept(struct world *w, struct conn *conn);
void world_deliver(struct world *w, struct conn *conn);
void world_hang_up(struct world *w, struct conn *conn);
void world_process_ended(struct world *w, struct conn *conn);
/** Processes that the daemon watches without a connection: one that has ended is told. */
void world_watch(struct world *w);
bool world_is_watched(const struct world *w, uint64_t member_id);
void world_tick(struct world *w, uint64_t ms);
void world_configure(struct world *w, uint32_t variant);
void world_sweep(struct world *w);

/* -- state_ops.c -- */
struct hbus_state_ops world_ops(struct world *w);
struct memory *world_memory(struct world *w, uint64_t ring_id);
/** A real descriptor for the daemon, that is @object. */
int world_fd(struct world *w, struct object object);
struct hbus_fd *world_handle(struct world *w, struct object object);
void world_journal_put(struct world *w, const struct hbus_journal_record *record);
bool world_is_alive(const struct world *w, uint64_t process);

/* -- clients: state_client.c, state_hear.c, state_act.c -- */
void client_begin(struct world *w, struct client *client, uid_t uid);
void client_act(struct world *w, struct client *client, bool may_begin);
/** One message of the daemon, or the end of the connection. False: there was none. */
bool client_hear(struct world *w, struct client *client);
void client_die(struct world *w, struct client *client);
void client_drop_link(struct client *client);
/** Is the gate in its publisher's table? True also where no honest publisher is there to say so. */
bool client_has_gate(struct world *w, uint64_t ring_id, uint64_t gate_id);
bool client_matches(const struct client_filter *filter, int topic);

/* -- state_check.c -- */
void check_structure(struct world *w);
void check_journal(struct world *w);
/** Everybody has been heard and no time limit runs. */
void check_quiet(struct world *w);
void check_empty(struct world *w);
