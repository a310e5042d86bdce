/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What the files of the engine share
 *
 * engine.c      life, clock, entry points     connect.c    CONNECT and the end of a connection
 * session.c     sessions, wills, expiry       subscribe.c  subscriptions and shared subscriptions
 * publish.c     from clients                  deliver.c    to clients: matching, queue, flow control
 * retained.c    retained messages             send.c       packets to clients
 * queue.c       what waits for a client
 * message.c     messages that are kept         wait.c       what waits for an answer of the bus
 * persist.c     over a restart: written      restore.c    and read
 *
 * Nothing that somebody up the call stack may hold is freed on the spot: connections and sessions
 * that have ended are put aside, and hbus_mqtt_reap() frees them when the entry point is done.
 */
#pragma once

#include "ctl/proto/topic.h"
#include "ctl/proto/topic_trie.h"
#include "dataplane/mqtt/codec.h"
#include "dataplane/mqtt/engine.h"
#include "dataplane/mqtt/frame.h"
#include "dataplane/mqtt/packet.h"
#include "dataplane/mqtt/queue.h"
#include "dataplane/mqtt/received.h"
#include "dataplane/mqtt/wheel.h"

#define HBUS_MQTT_FOREVER UINT32_MAX

/* -- messages that are kept: message.c -- */

struct hbus_mqtt_kept {
	struct hbus_mqtt *engine;
	uint32_t n_refs;
	size_t size;         /* bytes charged */
	uint64_t expires_ms; /* UINT64_MAX = never */
	uint64_t number;     /* persist.c: in files; 0 = none yet */
	uint64_t saved_in;   /* the save that, or whose journal, knows it */
	struct hbus_mqtt_message view; /* points into ->data */
	char data[];
};

/* Return: NULL without memory or over the limit; counted there. */
struct hbus_mqtt_kept *hbus_mqtt_keep(struct hbus_mqtt *engine, const struct hbus_mqtt_message *message);
struct hbus_mqtt_kept *hbus_mqtt_kept_get(struct hbus_mqtt_kept *kept);
void hbus_mqtt_kept_put(struct hbus_mqtt_kept *kept);
uint64_t hbus_mqtt_expires_ms(const struct hbus_mqtt *engine, const struct hbus_mqtt_message *message);

/* -- timers -- */

enum hbus_mqtt_timer_kind { TIMER_CONN, TIMER_STALL, TIMER_SESSION, TIMER_WILL, TIMER_RETAINED };

struct hbus_mqtt_timer {
	struct hbus_timer timer;
	enum hbus_mqtt_timer_kind kind;
};

#define hbus_mqtt_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* -- subscriptions: subscribe.c -- */

/* What stands in the trie: a subscription, or a share with its members. */
struct hbus_mqtt_target {
	struct hbus_trie_entry entry;
	bool is_share;
};

struct hbus_mqtt_share {
	struct hbus_mqtt_target target;
	struct hbus_mqtt_queue queue;       /* of the group */
	struct hbus_mqtt_share *match_next;
	struct hbus_mqtt_sub *first, *last; /* members; who got a message goes to the end */
	uint32_t n_refs;                    /* members, and deliveries that name it */
	uint64_t born;                      /* engine's publications before it */
	size_t group_size;
	char group[HBUS_MQTT_GROUP_MAX];
};

struct hbus_mqtt_sub {
	struct hbus_mqtt_target target;
	struct hbus_mqtt_session *session;
	struct hbus_mqtt_sub *next, **link;  /* of the session */
	struct hbus_mqtt_sub *match_next;
	struct hbus_mqtt_share *share;       /* NULL = a subscription of its own */
	struct hbus_mqtt_sub *member_next, *member_prev;
	uint64_t born;                       /* engine's publications before it */
	uint32_t id;                         /* subscription identifier, 0 = none */
	uint8_t qos;
	bool no_local, retain_as_published;
	bool is_refused;                     /* by the bus, at the end of loading */
	size_t name_size;                    /* of ->name; the filter within begins at filter_at */
	size_t filter_at;
	char name[];                         /* as the client said it, terminated */
};

/* Return: 0, or HBUS_MQTT_PENDING: hold the packet, and come again with it. */
uint8_t hbus_mqtt_on_subscribe(struct hbus_mqtt_conn *conn, struct hbus_mqtt_subscribe *packet);
/* The bus does not give this filter: all subscriptions that stand there end. */
void hbus_mqtt_filter_refused(struct hbus_mqtt *engine, const char *filter);
void hbus_mqtt_on_unsubscribe(struct hbus_mqtt_conn *conn, struct hbus_mqtt_subscribe *packet);
/* A subscription of an earlier run, and the end of one; then, when all are there, the bus is asked for their filters. */
void hbus_mqtt_sub_restore(struct hbus_mqtt_session *session, const struct hbus_mqtt_filter *filter, uint32_t id);
void hbus_mqtt_sub_remove(struct hbus_mqtt_session *session, struct hbus_mqtt_span name);
void hbus_mqtt_subs_ask(struct hbus_mqtt *engine);
void hbus_mqtt_unsubscribe_all(struct hbus_mqtt_session *session);
struct hbus_mqtt_sub *hbus_mqtt_share_pick(struct hbus_mqtt_share *share, uint8_t qos);
void hbus_mqtt_share_put(struct hbus_mqtt_share *share);

/* -- messages on their way to a client: deliver.c, and queue.c for those that wait -- */

struct hbus_mqtt_delivery {
	struct hbus_mqtt_delivery *next, *prev;
	struct hbus_mqtt_kept *kept; /* NULL in WAIT_PUBCOMP */
	struct hbus_mqtt_share *share;
	uint16_t packet_id; /* 0 = none yet */
	uint8_t qos, state;
	bool is_retain, was_sent;
	uint16_t n_ids;
	uint32_t ids[];
};

/* One message on its way to several sessions: the copy is made when the first has to wait. */
struct hbus_mqtt_source {
	struct hbus_mqtt *engine;
	const struct hbus_mqtt_message *message;
	uint64_t expires_ms;
	struct hbus_mqtt_kept *kept;
};

/* The copy, which stays the source's. Return: NULL without memory or over the limit; counted there. */
struct hbus_mqtt_kept *hbus_mqtt_source_keep(struct hbus_mqtt_source *source);

/* Retained messages promised to one subscription, sent as the client takes them. */
struct hbus_mqtt_snapshot {
	struct hbus_mqtt_snapshot *next;
	uint32_t id;
	uint8_t qos;
	uint32_t n, room, at;
	struct hbus_mqtt_kept **kept;
};

/* How one message goes to one session. */
struct hbus_mqtt_how {
	uint8_t qos;
	bool is_retain;
	struct hbus_mqtt_share *share;
	const uint32_t *ids;
	uint16_t n_ids;
};

void hbus_mqtt_on_ack(struct hbus_mqtt_conn *conn, uint8_t type, const struct hbus_mqtt_ack *ack);
void hbus_mqtt_pump(struct hbus_mqtt_session *session);
void hbus_mqtt_resume(struct hbus_mqtt_session *session);
void hbus_mqtt_route_event(struct hbus_mqtt *engine, const struct hbus_mqtt_message *message);
bool hbus_mqtt_can_send(const struct hbus_mqtt_session *session, uint8_t qos);
/* A message of an earlier run, behind those that are there. @kept: NULL in WAIT_PUBCOMP. */
void hbus_mqtt_delivery_restore(struct hbus_mqtt_session *session, struct hbus_mqtt_kept *kept,
				const struct hbus_mqtt_how *how, uint8_t state, uint16_t packet_id, bool was_sent);
/* The first that waits, of an earlier run, is @kept: given to the client (@packet_id), or gone (0). */
void hbus_mqtt_delivery_pass(struct hbus_mqtt_session *session, const struct hbus_mqtt_kept *kept, uint16_t packet_id);
/* Frees what waits; shared messages that were not begun go to other members. */
void hbus_mqtt_drop_deliveries(struct hbus_mqtt_session *session);

/* -- sessions: session.c -- */

struct hbus_mqtt_session {
	struct hbus_mqtt *engine;
	struct hbus_mqtt_conn *conn; /* NULL while the client is away */
	struct hbus_mqtt_session *next; /* of its bucket, or of those that ended */
	uint64_t number;
	uint8_t version;
	bool has_ended, is_saved; /* is_saved: persist.c has written it */
	uint32_t expiry_s;
	struct hbus_mqtt_timer expiry, will_timer;

	struct hbus_mqtt_kept *will;
	uint32_t will_delay_s;

	struct hbus_mqtt_sub *subs;
	uint32_t n_subs;

	/* while one message is matched */
	struct hbus_mqtt_session *match_next;
	struct hbus_mqtt_sub *match_subs;
	uint64_t match_number;

	struct hbus_mqtt_queue *queue;
	struct hbus_mqtt_snapshot *snapshots;

	struct hbus_mqtt_received received;

	uint64_t window_ms; /* take-overs are counted from here */
	uint32_t n_takeovers;
	char principal[HBUS_MQTT_PRINCIPAL_MAX];
	size_t id_size;
	char client_id[];
};

struct hbus_mqtt_session *hbus_mqtt_session_find(struct hbus_mqtt *engine, struct hbus_mqtt_span client_id);
struct hbus_mqtt_session *hbus_mqtt_session_new(struct hbus_mqtt *engine, struct hbus_mqtt_span client_id);
void hbus_mqtt_session_detach(struct hbus_mqtt_session *session, bool keeps_will);
void hbus_mqtt_session_attach(struct hbus_mqtt_session *session, struct hbus_mqtt_conn *conn);
void hbus_mqtt_session_end(struct hbus_mqtt_session *session);
void hbus_mqtt_session_free(struct hbus_mqtt_session *session);
void hbus_mqtt_will_fire(struct hbus_mqtt_session *session);

/* -- connections: connect.c -- */

/* CONN_JUDGED: CONNECT has come, and who it is from is being found out. */
enum hbus_mqtt_conn_state { CONN_NEW, CONN_JUDGED, CONN_OPEN, CONN_CLOSED };

struct hbus_mqtt_alias {
	size_t size;
	char *topic; /* terminated */
};

/* -- what waits for the bus: wait.c -- */

#define HBUS_MQTT_WAIT_BUCKETS 1024

struct hbus_mqtt_wait {
	struct hbus_mqtt_wait *next, **link; /* link: NULL = does not wait */
	uint64_t hash;
	bool is_filter;
	uint8_t reason; /* of the last answer about a filter */
};

struct hbus_mqtt_conn {
	struct hbus_mqtt *engine;
	void *transport;
	struct hbus_mqtt_session *session; /* while open */
	struct hbus_mqtt_conn *next, **link; /* of all, or of those that were closed */
	enum hbus_mqtt_conn_state state;
	uint8_t version;
	bool is_backlogged;
	struct hbus_mqtt_frame frame;
	struct hbus_mqtt_timer timer, stall;
	uint64_t heard_ms;
	uint32_t keep_alive_ms; /* one and a half times what was agreed; 0 = none */
	uint32_t packet_max;    /* what the client takes */
	uint16_t send_max;      /* its receive maximum, at most our inflight_max */
	uint16_t alias_out_max, n_alias_out;
	struct hbus_mqtt_alias *alias_in, *alias_out;
	uint8_t *held, *rest;   /* while judged or waiting: a packet's body, and what came behind it */
	size_t held_size, rest_size;
	uint8_t held_first;     /* its first byte */
	struct hbus_mqtt_wait wait;
	uint8_t *codes;         /* of a SUBSCRIBE that waits: those that are known */
	size_t n_codes;
	bool is_sub_new;        /* the subscription that it waits for */
	char principal[HBUS_MQTT_PRINCIPAL_MAX];
};

void hbus_mqtt_on_connect(struct hbus_mqtt_conn *conn, const uint8_t *body, size_t size);
/* The answer has come: accept or refuse the CONNECT that was held. */
void hbus_mqtt_on_judged(struct hbus_mqtt_conn *conn, uint8_t reason);
void hbus_mqtt_on_disconnect(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_bye *packet);
/* Say why (MQTT 5), close, and leave the session to its will and its expiry. Counts the reason. */
void hbus_mqtt_conn_fail(struct hbus_mqtt_conn *conn, uint8_t reason);
/* Without a word. @keeps_will: the client has not said goodbye. */
void hbus_mqtt_conn_close(struct hbus_mqtt_conn *conn, bool keeps_will);
/* The transport has gone by itself. */
void hbus_mqtt_conn_drop(struct hbus_mqtt_conn *conn);
void hbus_mqtt_conn_free(struct hbus_mqtt_conn *conn);

void hbus_mqtt_wait(struct hbus_mqtt_conn *conn, bool is_filter, const char *name);
void hbus_mqtt_wait_end(struct hbus_mqtt_conn *conn);
/* Return: false without memory. */
bool hbus_mqtt_will_wait(struct hbus_mqtt_session *session);
/* One more question about a filter is out. Return: false without memory. */
bool hbus_mqtt_ask(struct hbus_mqtt *engine, const char *filter);
bool hbus_mqtt_is_asked(struct hbus_mqtt *engine, const char *filter);
void hbus_mqtt_waits_free(struct hbus_mqtt *engine);
/* engine.c: the packet that was held once more, then what came behind it. */
void hbus_mqtt_go_on(struct hbus_mqtt_conn *conn);

/* -- from clients: publish.c -- */

/* Return: 0, or HBUS_MQTT_PENDING: hold the packet, and come again with it. */
uint8_t hbus_mqtt_on_publish(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_publish *packet);
void hbus_mqtt_on_pubrel(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_ack *packet);
/* One identifier more of a session. Return: false without memory. */
bool hbus_mqtt_received_note(struct hbus_mqtt_session *session, uint16_t packet_id);
/* One fewer. Return: whether it was there. */
bool hbus_mqtt_received_release(struct hbus_mqtt_session *session, uint16_t packet_id);
/* Forgets the identifiers of a session. */
void hbus_mqtt_received_drop(struct hbus_mqtt_session *session);
/* To the bus and the retained messages. Return: 0, a reason code from 0x80 or HBUS_MQTT_PENDING. */
uint8_t hbus_mqtt_publish(struct hbus_mqtt *engine, uint64_t session_number, struct hbus_mqtt_message *message);
/* May this stand as a topic on the bus? Return: as above. */
uint8_t hbus_mqtt_check_topic(struct hbus_mqtt *engine, const char *principal, const char *topic, size_t size);

/* -- retained messages: retained.c -- */

struct hbus_mqtt_retained {
	struct hbus_trie_entry entry;
	struct hbus_mqtt_kept *kept;
	struct hbus_mqtt_timer timer;
	size_t size;
	struct hbus_mqtt_retained *next, **link;
};

bool hbus_mqtt_retained_fits(struct hbus_mqtt *engine, const struct hbus_mqtt_message *message);
/* Set, replace, or with an empty payload remove. Return: 0 or a reason code. */
uint8_t hbus_mqtt_retain(struct hbus_mqtt *engine, const struct hbus_mqtt_message *message);
/* The same for a message that is kept already; takes a reference. */
uint8_t hbus_mqtt_retain_kept(struct hbus_mqtt *engine, struct hbus_mqtt_kept *kept);
void hbus_mqtt_unretain(struct hbus_mqtt *engine, const char *topic);
/* One more message of a promise of an earlier run. Return: false at the limit or without memory. */
bool hbus_mqtt_promise_add(struct hbus_mqtt *engine, struct hbus_mqtt_snapshot *snapshot, struct hbus_mqtt_kept *kept);
void hbus_mqtt_promise_append(struct hbus_mqtt_session *session, struct hbus_mqtt_snapshot *snapshot);
/* The first that was promised, or NULL. */
struct hbus_mqtt_kept *hbus_mqtt_promise_first(const struct hbus_mqtt_session *session);
/* Takes it, with the promise's reference. */
struct hbus_mqtt_kept *hbus_mqtt_promise_take(struct hbus_mqtt_session *session);
/* Promise what matches to a new subscription. Return: 0 or a reason code. */
uint8_t hbus_mqtt_promise(struct hbus_mqtt_session *session, const struct hbus_mqtt_sub *sub);
void hbus_mqtt_retained_remove(struct hbus_mqtt *engine, struct hbus_mqtt_retained *retained);
void hbus_mqtt_snapshot_free(struct hbus_mqtt *engine, struct hbus_mqtt_snapshot *snapshot);

/* -- over a restart: persist.c and restore.c -- */

struct hbus_mqtt_records {
	uint8_t *data;
	size_t size, room;
	bool has_failed; /* without memory */
};

/* A QoS 2 identifier that is not written down before the message has come back from the bus. */
struct hbus_mqtt_held {
	uint64_t session_number, number; /* number: of our publications */
	uint16_t packet_id;
	bool is_released;
};

/* To be called after each change of what is to be remembered. What its client is now, also that it is new: */
void hbus_mqtt_log_session(struct hbus_mqtt_session *session);
void hbus_mqtt_log_end(struct hbus_mqtt_session *session);
void hbus_mqtt_log_subscribed(const struct hbus_mqtt_sub *sub);
void hbus_mqtt_log_unsubscribed(const struct hbus_mqtt_sub *sub); /* before */
void hbus_mqtt_log_received(const struct hbus_mqtt_session *session, uint16_t packet_id, bool is_released);
/* @locked: it was locked at once; NULL = it waits. */
/* Our publication of this number has come back: before it goes to anybody. */
void hbus_mqtt_log_heard(struct hbus_mqtt *engine, uint64_t number);
void hbus_mqtt_log_put(const struct hbus_mqtt_session *session, struct hbus_mqtt_kept *kept, const struct hbus_mqtt_how *how,
		       const struct hbus_mqtt_delivery *locked);
void hbus_mqtt_log_locked(const struct hbus_mqtt_session *session, const struct hbus_mqtt_delivery *delivery);
void hbus_mqtt_log_taken(const struct hbus_mqtt_session *session, const struct hbus_mqtt_delivery *delivery);
void hbus_mqtt_log_settled(const struct hbus_mqtt_session *session, uint16_t packet_id, bool is_done);
void hbus_mqtt_log_again(const struct hbus_mqtt_session *session);
void hbus_mqtt_log_promised(const struct hbus_mqtt_session *session, const struct hbus_mqtt_snapshot *snapshot);
void hbus_mqtt_log_promise_kept(const struct hbus_mqtt_session *session, struct hbus_mqtt_kept *kept);
void hbus_mqtt_log_retained(struct hbus_mqtt_kept *kept);
void hbus_mqtt_log_unretained(struct hbus_mqtt *engine, const char *topic);
void hbus_mqtt_log_forgotten(const struct hbus_mqtt_kept *kept); /* before it is freed */

/* -- packets to clients: send.c. All may close the connection. -- */

void hbus_mqtt_send_bytes(struct hbus_mqtt_conn *conn, const void *data, size_t size);
/* PUBACK, PUBREC, PUBREL, PUBCOMP */
void hbus_mqtt_send_ack(struct hbus_mqtt_conn *conn, uint8_t type, uint16_t packet_id, uint8_t reason);
/* SUBACK, UNSUBACK */
void hbus_mqtt_send_codes(struct hbus_mqtt_conn *conn, uint8_t type, uint16_t packet_id, const uint8_t *codes,
			  size_t n_codes);
/* Return: false when the client does not take packets of that size; counted. */
bool hbus_mqtt_send_publish(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_message *message,
			    uint64_t expires_ms, const struct hbus_mqtt_how *how, uint16_t packet_id, bool is_dup);

/* -- the engine -- */

#define HBUS_MQTT_BUCKETS 4096

struct hbus_mqtt {
	struct hbus_mqtt_config config;
	struct hbus_mqtt_io io;
	struct hbus_mqtt_counters counters;
	struct hbus_wheel wheel;
	uint64_t id;
	uint64_t n_heard; /* the last of our own publications that came back */
	uint64_t n_published, n_sessions, n_matched, n_assigned;
	uint64_t n_saves, n_named, generation;
	struct hbus_mqtt_records journal; /* of one batch, with room for its head */
	struct hbus_mqtt_held *held; /* held_at .. n_held - 1, in order */
	size_t n_held, held_at, held_room;
	uint32_t n_batches;
	bool is_journaling;
	bool is_loading; /* the bus is asked for filters at the end of it */
	uint64_t received_bytes; /* of sessions whose identifiers are bits */
	struct hbus_mqtt_conn *conns, *conns_closed;
	struct hbus_mqtt_session *sessions[HBUS_MQTT_BUCKETS], *sessions_ended;
	struct hbus_trie filters;  /* struct hbus_mqtt_target */
	struct hbus_trie names;    /* struct hbus_mqtt_retained */
	struct hbus_mqtt_retained *retained;
	struct hbus_mqtt_wait *waits[HBUS_MQTT_WAIT_BUCKETS];
	struct hbus_mqtt_ask *asks[HBUS_MQTT_WAIT_BUCKETS];
	struct hbus_mqtt_late_will *late_wills;
	bool is_quiet;             /* being freed: no callbacks */
};

/* Frees what ended while an entry point ran. */
void hbus_mqtt_reap(struct hbus_mqtt *engine);

static inline uint64_t hbus_mqtt_now(const struct hbus_mqtt *engine)
{
	return engine->wheel.now_ms;
}

static inline void hbus_mqtt_timer_set(struct hbus_mqtt *engine, struct hbus_mqtt_timer *timer, uint64_t delay_ms)
{
	hbus_wheel_set(&engine->wheel, &timer->timer, hbus_mqtt_now(engine) + delay_ms);
}

static inline void hbus_mqtt_timer_cancel(struct hbus_mqtt *engine, struct hbus_mqtt_timer *timer)
{
	hbus_wheel_cancel(&engine->wheel, &timer->timer);
}
