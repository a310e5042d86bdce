/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The MQTT protocol engine: 3.1.1 and 5.0, server side, without I/O
 *
 * Bytes and ticks go in, bytes and bus operations come out through struct hbus_mqtt_io. The caller
 * owns sockets, the bus and the clock; the engine owns sessions, subscriptions, retained messages
 * and wills.
 *
 *   transport --hbus_mqtt_input()--> engine --io->publish()--> bus
 *   transport <----io->send()------- engine <--hbus_mqtt_event()-- bus
 *
 * What a client publishes goes to the bus, and comes back from there for the clients that have
 * subscribed: one order for MQTT and shared memory. So io->publish() must not call
 * hbus_mqtt_event() from inside; take the events from the bus afterwards.
 *
 * One thread. Callbacks call nothing of the engine. After io->close() the engine has forgotten the
 * connection: its handle must not be used again.
 * Memory is bounded by struct hbus_mqtt_config; each limit has a counter that says when it struck.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "dataplane/mqtt/mqtt.h"

/** Bytes of a client identifier, a principal and a group of a shared subscription. */
#define HBUS_MQTT_CLIENT_ID_MAX 256
#define HBUS_MQTT_PRINCIPAL_MAX 64
#define HBUS_MQTT_GROUP_MAX 64

/** Take-overs of one client identifier within the window; more are refused. */
#define HBUS_MQTT_TAKEOVERS_MAX 10
#define HBUS_MQTT_TAKEOVER_WINDOW_MS 10000

/** Not a reason code of MQTT: the answer takes time. */
#define HBUS_MQTT_PENDING 0xff

/** Most bytes to give to hbus_mqtt_input() at a time. */
#define HBUS_MQTT_INPUT_MAX (256u << 10)

struct hbus_mqtt;
struct hbus_mqtt_conn;

/** Where a message came from, so that "no local" and "not before I subscribed" can be kept. */
struct hbus_mqtt_origin {
	uint64_t engine;  /* 0 = not an MQTT client */
	uint64_t session; /* of that engine */
	uint64_t number;  /* of that engine's publications */
};

/** One message, in either direction. Everything is borrowed for the time of the call. */
struct hbus_mqtt_message {
	const char *topic; /* terminated */
	const void *payload;
	size_t payload_size;
	struct hbus_mqtt_span props; /* encoded MQTT 5 properties that are carried through */
	uint64_t age_ms;             /* how long ago it was published */
	uint32_t expiry_s;           /* with has_expiry: message expiry interval when it was published */
	bool has_expiry, is_retain;
	uint8_t qos;
	struct hbus_mqtt_origin origin;
};

struct hbus_mqtt_login {
	uint8_t version;
	struct hbus_mqtt_span client_id, user, password;
	bool has_user, has_password;
};

/** What the engine asks of its surroundings. Every function but the last two is needed. */
struct hbus_mqtt_io {
	void *context;
	/* Take these bytes. Return: bytes that @transport has taken and not sent yet, these included. */
	size_t (*send)(void *context, void *transport, const struct iovec *parts, int n_parts);
	/* Send what was taken, as far as the peer takes it soon, then close. */
	void (*close)(void *context, void *transport);
	/* Return: 0 when the bus has it, a reason code from 0x80, or HBUS_MQTT_PENDING: the bus has yet to hear of
	 * the topic; hbus_mqtt_topic_answer() will say that it is worth another try. */
	uint8_t (*publish)(void *bus_context, const struct hbus_mqtt_message *message);
	/* The first client wants @filter, or the last one does not any more. Return: as above; when pending,
	 * hbus_mqtt_filter_answer() will say, once for each question and in their order. */
	uint8_t (*subscribe)(void *bus_context, const char *filter);
	void (*unsubscribe)(void *bus_context, const char *filter);
	/* Who is this? Fills in the principal, "" for anonymous. Return: 0, the reason code to refuse with,
	 * or HBUS_MQTT_PENDING: hbus_mqtt_authenticated() will say. NULL: everybody may come, as "". */
	uint8_t (*authenticate)(void *context, void *transport, const struct hbus_mqtt_login *login,
				char principal[HBUS_MQTT_PRINCIPAL_MAX]);
	/* May they publish to this name or subscribe to this filter? Does not wait. NULL: they may. */
	bool (*authorize)(void *bus_context, const char *principal, const char *topic, bool is_publish);
	/* A connection that was waiting goes on: read from it again. NULL: not asked for. */
	void (*resumed)(void *context, void *transport);
	void *bus_context; /* hbus_mqtt_bus_io() sets the functions that have it (bus.h) */
};

/** Limits; hbus_mqtt_config_default() has values for all of them. */
struct hbus_mqtt_config {
	uint32_t packet_max;           /* bytes of a packet from a client */
	uint32_t connect_packet_max;   /* the same before CONNECT is accepted */
	uint32_t connect_timeout_ms;
	uint32_t stall_ms;             /* how long a client may leave bytes unread */
	uint32_t backlog_high;         /* unsent bytes above which messages wait in the queue */
	uint32_t backlog_max;          /* unsent bytes above which a connection is closed */
	uint32_t conns_max;
	uint32_t sessions_max;
	uint32_t subscriptions_max;    /* of a session */
	uint32_t filter_nodes_max;     /* levels of all filters together */
	uint32_t queue_max;            /* messages waiting, of a session */
	uint32_t queue_bytes_max;      /* likewise */
	uint64_t message_bytes_max;    /* of all messages kept for clients */
	uint32_t retained_max;
	uint64_t retained_bytes_max;
	uint32_t snapshot_max;         /* retained messages promised to new subscriptions, all together */
	uint32_t session_expiry_max_s; /* longest life of a session without a connection */
	uint16_t receive_max;          /* QoS 2 messages from an MQTT 5 client that it has not released */
	uint16_t inflight_max;         /* QoS 1 and 2 messages to a client that it has not acknowledged */
	uint16_t alias_max;            /* topic aliases, each way */
	uint16_t keep_alive_max_s;     /* told to MQTT 5 clients that want more or none; 0 = any will do */
	bool structures_cloudevents;   /* MQTT 3.1.1 clients get CloudEvents as JSON (structured.h) */
	uint64_t secret[2];            /* unpredictable; also names this engine */
	const struct hbus_mqtt_queue_ops *queues; /* of sessions; NULL = in memory (queue.h) */
};

void hbus_mqtt_config_default(struct hbus_mqtt_config *config);

/* X(name, what it counts). Values of now end in _now. */
#define HBUS_MQTT_COUNTERS(X)                                                                        \
	X(connects, "CONNECT accepted")                                                              \
	X(connects_refused, "CONNECT refused: version, identifier, credentials, will")               \
	X(connects_limited, "refused: connections or sessions at their limit")                       \
	X(sessions_limited, "of these: sessions")                                                    \
	X(connect_timeouts, "no CONNECT in time")                                                    \
	X(connect_too_large, "more bytes before CONNECT than allowed")                               \
	X(takeovers, "a second connection with the same client identifier")                          \
	X(takeovers_refused, "take-overs by another principal or too often")                         \
	X(takeovers_limited, "of these: too often")                                                  \
	X(malformed, "connections closed for a malformed packet")                                    \
	X(protocol_errors, "connections closed for a protocol error")                                \
	X(packets_too_large, "connections closed for a packet over the limit")                       \
	X(receive_max_exceeded, "connections closed for too many QoS 2 messages not released")       \
	X(keep_alive_timeouts, "connections closed for silence")                                     \
	X(slow_readers, "connections closed because they did not read")                              \
	X(queue_overflows, "connections closed because their queue was full")                        \
	X(packets_in, "packets received")                                                            \
	X(publishes_in, "PUBLISH received, duplicates not counted")                                  \
	X(publishes_duplicate, "QoS 2 PUBLISH received again")                                       \
	X(publishes_denied, "PUBLISH refused: not authorized")                                       \
	X(publishes_bad_topic, "PUBLISH refused: name too long, too deep or with control characters") \
	X(publishes_bad_payload, "PUBLISH refused: payload is not the UTF-8 it says")                \
	X(publishes_bus_refused, "PUBLISH refused by the bus")                                       \
	X(publishes_out, "PUBLISH sent, again included")                                             \
	X(redelivered, "PUBLISH sent again after a reconnect")                                       \
	X(inflight_limited, "messages that waited since too many were not acknowledged")             \
	X(events_in, "events from the bus")                                                          \
	X(events_unmatched, "events that no client wanted when they came")                           \
	X(dropped_offline, "QoS 0 messages for clients that are away")                               \
	X(dropped_queue, "messages dropped because a queue was full")                                \
	X(dropped_memory, "messages dropped because the memory for messages was used up")            \
	X(dropped_too_large, "messages larger than the client takes")                                \
	X(dropped_expired, "messages whose expiry interval passed")                                  \
	X(dropped_session, "messages of sessions that ended")                                        \
	X(retained_refused, "retained messages refused at the limit")                                \
	X(snapshots_refused, "subscriptions refused because too many retained messages are promised") \
	X(subscriptions_refused, "subscriptions refused: invalid, not authorized or at a limit")     \
	X(subscriptions_limited, "of these: a session had as many as it may")                        \
	X(filters_limited, "of these: levels of all filters at their limit")                         \
	X(subscriptions_revoked, "subscriptions that the policy does not allow any more")            \
	X(wills, "wills published")                                                                  \
	X(shared_moved, "shared messages given to another member")                                   \
	X(waits, "packets that waited for the bus to hear of a topic or filter")                     \
	X(conns_now, "connections")                                                                  \
	X(sessions_now, "sessions")                                                                  \
	X(subscriptions_now, "subscriptions")                                                        \
	X(retained_now, "retained messages")                                                         \
	X(retained_bytes_now, "bytes of retained messages")                                          \
	X(message_bytes_now, "bytes of all messages kept")                                           \
	X(snapshot_now, "retained messages promised to new subscriptions")

struct hbus_mqtt_counters {
#define HBUS_MQTT_COUNTER_FIELD(name, text) uint64_t name;
	HBUS_MQTT_COUNTERS(HBUS_MQTT_COUNTER_FIELD)
#undef HBUS_MQTT_COUNTER_FIELD
};

/**
 * hbus_mqtt_new() - an engine
 * @config, @io: copied
 * @now_ms: of a clock that does not go back
 *
 * Return: 0 or -errno. The caller owns *ret_engine.
 */
int hbus_mqtt_new(const struct hbus_mqtt_config *config, const struct hbus_mqtt_io *io, uint64_t now_ms,
		  struct hbus_mqtt **ret_engine);

/** hbus_mqtt_free() - without a word to anybody: no callback is called. Accepts NULL, returns NULL. */
struct hbus_mqtt *hbus_mqtt_free(struct hbus_mqtt *engine);

/** hbus_mqtt_shutdown() - DISCONNECT (server shutting down) to all clients and close them. */
void hbus_mqtt_shutdown(struct hbus_mqtt *engine);

/** hbus_mqtt_tick() - the time; runs what is due. Time stands still between ticks. */
void hbus_mqtt_tick(struct hbus_mqtt *engine, uint64_t now_ms);

/** hbus_mqtt_next_ms() - when to tick at the latest; UINT64_MAX = nothing is waiting */
uint64_t hbus_mqtt_next_ms(const struct hbus_mqtt *engine);

/**
 * hbus_mqtt_accept() - a client has connected
 * @transport: what to say in io->send() and io->close()
 *
 * Return: the connection, or NULL at the limit or without memory: close the transport.
 */
struct hbus_mqtt_conn *hbus_mqtt_accept(struct hbus_mqtt *engine, void *transport);

/**
 * hbus_mqtt_input() - bytes have come
 *
 * Return: false when the connection was closed by what they said.
 */
bool hbus_mqtt_input(struct hbus_mqtt_conn *conn, const void *data, size_t size);

/** hbus_mqtt_is_waiting() - for an answer to what is pending: do not read from the client meanwhile. */
bool hbus_mqtt_is_waiting(const struct hbus_mqtt_conn *conn);

/**
 * hbus_mqtt_authenticated() - the answer to a pending io->authenticate()
 * @reason: 0 or the reason code to refuse with
 *
 * Return: false when the connection was closed.
 */
bool hbus_mqtt_authenticated(struct hbus_mqtt_conn *conn, uint8_t reason,
			     const char principal[HBUS_MQTT_PRINCIPAL_MAX]);

/** hbus_mqtt_topic_answer() - the bus knows of a pending io->publish()'s topic, or knows why not: it is tried again */
void hbus_mqtt_topic_answer(struct hbus_mqtt *engine, const char *topic);

/**
 * hbus_mqtt_filter_answer() - to a pending io->subscribe()
 * @reason: 0 or the reason code to refuse with
 */
void hbus_mqtt_filter_answer(struct hbus_mqtt *engine, const char *filter, uint8_t reason);

/** hbus_mqtt_authorize_again() - what io->authorize() says has changed: subscriptions that it refuses now end */
void hbus_mqtt_authorize_again(struct hbus_mqtt *engine);

/** hbus_mqtt_writable() - what was unsent has gone out, or most of it: more may follow. */
void hbus_mqtt_writable(struct hbus_mqtt_conn *conn);

/**
 * hbus_mqtt_set_will() - another will than CONNECT had, for protocols that can change it
 * @will: copied; NULL = none
 *
 * Return: 0, or the reason code to refuse with; then the old will stands.
 */
uint8_t hbus_mqtt_set_will(struct hbus_mqtt_conn *conn, const struct hbus_mqtt_message *will);

/** hbus_mqtt_hangup() - the transport is gone. io->close() is not called. */
void hbus_mqtt_hangup(struct hbus_mqtt_conn *conn);

/** hbus_mqtt_event() - an event of the bus that matches some filter of io->subscribe() */
void hbus_mqtt_event(struct hbus_mqtt *engine, const struct hbus_mqtt_message *message);

/** hbus_mqtt_has_heard_all() - has the last message that went to the bus come back? It does where somebody wants it. */
bool hbus_mqtt_has_heard_all(const struct hbus_mqtt *engine);

/* -- over a restart -- */

/**
 * hbus_mqtt_save() - what is to be remembered over a restart: retained messages, sessions that outlive connections
 * @wall_ms: of a clock that goes on while the program does not
 * @ret_data: from malloc(), the caller's
 *
 * Return: 0, or -1 without memory. It begins a generation: what was written in the journal belongs to the one before.
 */
int hbus_mqtt_save(struct hbus_mqtt *engine, uint64_t wall_ms, uint8_t **ret_data, size_t *ret_size);

/** hbus_mqtt_generation() - of the last save */
uint64_t hbus_mqtt_generation(const struct hbus_mqtt *engine);

/*
 * The journal: from hbus_mqtt_journal_start(), right after a save, until hbus_mqtt_journal_stop() each change is kept as
 * bytes. The journal of a generation is its head, and behind it everything that was taken. What io->send() was given may go
 * out when what was there to take then has been written: nothing that a client was told is forgotten then. PUBACK and PUBREC
 * wait for more: the message has to have come back, so that those who keep it have it. Nothing is taken inside of an input
 * or an event.
 * A save in between begins a new journal: first take, then save, then write another head and go on there.
 * After stop, what is missing is for ever: nothing but a save makes another beginning.
 */
#define HBUS_MQTT_JOURNAL_HEAD_SIZE 16

void hbus_mqtt_journal_start(struct hbus_mqtt *engine);
void hbus_mqtt_journal_stop(struct hbus_mqtt *engine);
void hbus_mqtt_journal_head(const struct hbus_mqtt *engine, uint8_t head[HBUS_MQTT_JOURNAL_HEAD_SIZE]);
/* Bytes that wait to be taken, roughly; 0 = none. */
size_t hbus_mqtt_journal_size(const struct hbus_mqtt *engine);
/* Before each tick. The engine's bytes until hbus_mqtt_journal_clear(), to be called before anything else. Return: 0, or -1: without memory
 * something was lost. */
int hbus_mqtt_journal_take(struct hbus_mqtt *engine, uint64_t wall_ms, const uint8_t **ret_data, size_t *ret_size);
void hbus_mqtt_journal_clear(struct hbus_mqtt *engine);
/* All that clients published has come back by hbus_mqtt_event(), or never will: before what is taken next lets PUBREC out. */
void hbus_mqtt_journal_settle(struct hbus_mqtt *engine);

/**
 * hbus_mqtt_load() - into a new engine what another one has saved
 *
 * What does not fit the limits is left out. Return: 0, or -1 when these are not such bytes, or torn ones: then
 * nothing, or what came before the damage, was taken.
 */
int hbus_mqtt_load(struct hbus_mqtt *engine, const uint8_t *data, size_t size, uint64_t wall_ms);

/* The same, and journals after it: begin, saved once, each journal in its order, end. */
struct hbus_mqtt_loader;

/* Return: NULL without memory. The engine does nothing else until the end. */
struct hbus_mqtt_loader *hbus_mqtt_load_begin(struct hbus_mqtt *engine, uint64_t wall_ms);
int hbus_mqtt_load_saved(struct hbus_mqtt_loader *loader, const uint8_t *data, size_t size);
/* Return: how many bytes were whole batches; fewer than @size: the rest is torn, and nothing may follow.
 * -1: it is not the journal that follows, or makes no sense. */
int64_t hbus_mqtt_load_journal(struct hbus_mqtt_loader *loader, const uint8_t *data, size_t size);
/* Frees @loader. */
void hbus_mqtt_load_end(struct hbus_mqtt_loader *loader);

const struct hbus_mqtt_counters *hbus_mqtt_counters(const struct hbus_mqtt *engine);
