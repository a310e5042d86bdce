/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MQTT-SN protocol engine: 1.2, gateway side, without I/O.
 *
 * Messages, their senders and ticks go in, messages come out through struct hbus_sn_io. Sessions,
 * subscriptions, retained messages, wills and QoS are those of the MQTT engine: a client here is a
 * connection there, to which it speaks MQTT 5.
 *
 *   datagrams --hbus_sn_input()--> this --hbus_mqtt_input()--> MQTT engine --> bus
 *   datagrams <----io->send()----- this <--hbus_sn_mqtt_send-- MQTT engine <-- bus
 *
 * What is of MQTT-SN alone is here: who a client is (an address), topic identifiers, the exchange of
 * wills, retries, keep-alive, and clients that sleep. A client has at most one message of QoS 1 or 2
 * on its way to it; what waits behind it waits in the MQTT engine, under its limits.
 *
 * One thread. Callbacks call nothing of the engine. Memory is bounded by struct hbus_sn_config; each
 * limit has a counter that says when it struck.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/mqtt/engine.h"
#include "dataplane/mqttsn/packet.h"
#include "dataplane/mqttsn/peer.h"

struct hbus_sn;

/* ---- limits ---------------------------------------------------------------------------- */

/* Bytes of a message, either way. */
#define HBUS_SN_MESSAGE_MAX 2000U
/* Bytes of a client identifier: the specification's 23, and what others give. */
#define HBUS_SN_ID_MAX 64U
/* Bytes of a will's message. */
#define HBUS_SN_WILL_MAX 1024U
/* Requests of one client that the MQTT engine has not answered yet. */
#define HBUS_SN_PENDING_MAX 8U
#define HBUS_SN_PREDEFINED_MAX 4096U

struct hbus_sn_config {
	uint32_t clients_max;
	uint32_t clients_per_address_max;
	uint32_t topic_ids_max;      /* of a client */
	uint32_t topics_max;         /* names, of all clients together */
	uint32_t queue_max;          /* messages that wait for a client here */
	uint32_t queue_bytes_max;    /* likewise */
	uint64_t bytes_max;          /* of all messages that wait */
	uint32_t retry_ms;
	uint32_t retries_max;
	uint32_t handshake_ms;       /* from CONNECT to the will's message */
	uint32_t register_wait_ms;   /* for the daemon's word on a new topic */
	uint32_t idle_max_s;         /* for clients that want no keep-alive */
	uint32_t advertise_s;        /* 0: do not advertise */
	uint8_t gateway_id;
	uint64_t secret[2];          /* unpredictable */
};

void hbus_sn_config_default(struct hbus_sn_config *config);

/* ---- counters -------------------------------------------------------------------------- */

/* X(name, what it counts). Values of now end in _now. Every message in is counted in one of in_*. */
#define HBUS_SN_COUNTERS(X)                                                                       \
	X(messages_in, "messages received by the gateway")                                        \
	X(in_taken, "messages that were in order")                                                \
	X(in_malformed, "messages that break their format, or a forwarder's")                     \
	X(in_unexpected, "messages that no client may send, or not in its state")                 \
	X(in_stranger, "messages of senders that are not connected")                              \
	X(in_limited, "messages refused at a limit")                                              \
	X(messages_out, "messages sent")                                                          \
	X(connects, "CONNECT accepted")                                                           \
	X(connects_refused, "CONNECT refused")                                                    \
	X(connects_limited, "CONNECT refused at a limit")                                         \
	X(clients_lost, "clients given up: silent, or they acknowledge nothing")                  \
	X(clients_moved, "clients that came back from another address")                           \
	X(handshakes_late, "clients that did not say their will in time")                         \
	X(sleeps, "clients that went to sleep")                                                   \
	X(awakes, "sleeping clients that came for their messages")                                \
	X(registers, "topic identifiers given out")                                               \
	X(registers_limited, "topic identifiers refused at a limit")                              \
	X(publishes_in, "PUBLISH given to the MQTT engine")                                       \
	X(publishes_unknown, "PUBLISH with an unknown topic identifier")                          \
	X(publishes_out, "PUBLISH sent, again included")                                          \
	X(retries, "messages sent again for want of an answer")                                   \
	X(duplicates, "answers to nothing that was asked")                                        \
	X(dropped_queue, "messages dropped: a client's queue was full")                           \
	X(dropped_memory, "messages dropped: the memory for all queues was used up")              \
	X(dropped_too_large, "messages larger than a datagram")                                   \
	X(dropped_refused, "messages that a client refused")                                      \
	X(wills_limited, "wills of sessions forgotten for newer ones, or for want of memory")      \
	X(wills_now, "wills kept for sessions that are not clean")                                \
	X(clients_now, "clients connected, sleeping ones included")                               \
	X(asleep_now, "clients asleep")                                                           \
	X(topics_now, "topic names in use")                                                       \
	X(queued_now, "messages waiting for clients")                                             \
	X(queued_bytes_now, "bytes of them")

struct hbus_sn_counters {
#define HBUS_SN_COUNTER_FIELD(name, text) uint64_t name;
	HBUS_SN_COUNTERS(HBUS_SN_COUNTER_FIELD)
#undef HBUS_SN_COUNTER_FIELD
};

/* ---- surroundings ------------------------------------------------------------------------ */

/* What hbus_sn_io.name says of a topic. */
#define HBUS_SN_NAME_PENDING 0U
#define HBUS_SN_NAME_NONE UINT32_MAX

struct hbus_sn_io {
	void *context;
	/* A message for one peer, wrapped by nobody yet. NULL @link: to everybody who listens. */
	void (*send)(void *context, const struct hbus_sn_peer *peer, const struct hbus_sn_link *link,
		     const uint8_t *bytes, size_t size);
	/*
	 * A number under which poll loops may publish to this topic themselves. Asked again and again
	 * while it is HBUS_SN_NAME_PENDING; NONE: they may not. name_end: no more, once for each.
	 * NULL: never.
	 */
	uint32_t (*name)(void *context, const char *topic);
	void (*name_end)(void *context, const char *topic);
	/* @peer is connected (or not any more), and @topic_id of it stands for topic @number. */
	void (*path_open)(void *context, const struct hbus_sn_peer *peer);
	void (*path_set)(void *context, const struct hbus_sn_peer *peer, uint16_t topic_id,
			 uint32_t number);
	void (*path_close)(void *context, const struct hbus_sn_peer *peer);
	/* Of predefined and short topics, which are everybody's. */
	void (*common_set)(void *context, uint8_t kind, uint16_t topic_id, uint32_t number);
	/* When poll loops, or the driver, have last heard of @peer: milliseconds of the engine's clock. */
	uint64_t (*heard)(void *context, const struct hbus_sn_peer *peer);
};

/* ---- functions --------------------------------------------------------------------------- */

/**
 * hbus_sn_new() - an engine
 * @config, @io: copied
 *
 * Then make the MQTT engine with hbus_sn_mqtt_send and hbus_sn_mqtt_close as its send and close, and
 * attach it. Return: 0 or -errno.
 */
int hbus_sn_new(const struct hbus_sn_config *config, const struct hbus_sn_io *io, uint64_t now_ms,
		struct hbus_sn **ret_engine);
void hbus_sn_attach(struct hbus_sn *engine, struct hbus_mqtt *mqtt);

/* Without a word to anybody. The MQTT engine is freed before. Accepts NULL, returns NULL. */
struct hbus_sn *hbus_sn_free(struct hbus_sn *engine);

/* DISCONNECT to all clients. The MQTT engine is shut down after that. */
void hbus_sn_shutdown(struct hbus_sn *engine);

/* Return: 0, -ENOSPC, -EEXIST, -ENOMEM, or -EINVAL for a name or an identifier that cannot be. */
int hbus_sn_predefine(struct hbus_sn *engine, uint16_t topic_id, const char *name);

/**
 * hbus_sn_input() - a datagram has come
 * @link: how an answer gets there; copied
 */
void hbus_sn_input(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
		   const struct hbus_sn_link *link, const uint8_t *bytes, size_t size);

/* After the MQTT engine was given events or ticks: what it had to say to clients is finished here. */
void hbus_sn_settle(struct hbus_sn *engine);

/* The time; runs what is due, of the MQTT engine too. */
void hbus_sn_tick(struct hbus_sn *engine, uint64_t now_ms);

const struct hbus_sn_counters *hbus_sn_counters(const struct hbus_sn *engine);

/* For struct hbus_mqtt_io. The context is not used. */
size_t hbus_sn_mqtt_send(void *context, void *transport, const struct iovec *parts, int n_parts);
void hbus_sn_mqtt_close(void *context, void *transport);
