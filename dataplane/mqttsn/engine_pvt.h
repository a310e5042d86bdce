/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the engine share.
 *
 * engine.c   life, clock, clients by address, where messages come in
 * connect.c  CONNECT, wills, sleep, and every end of a client
 * topics.c   names and identifiers
 * publish.c  REGISTER, PUBLISH, SUBSCRIBE and their answers, from clients
 * deliver.c  messages to clients: queue, REGISTER, retries
 * mqtt.c     the MQTT engine's packets, both ways
 * wills.c    wills that outlive a connection
 *
 * Clients that have ended are put aside, and reap() in engine.c frees them when the entry point is done.
 */
#pragma once

#include "dataplane/mqtt/codec.h"
#include "dataplane/mqtt/packet.h"
#include "dataplane/mqtt/wheel.h"
#include "dataplane/mqttsn/engine.h"

#define HBUS_SN_BUCKETS 4096U
#define HBUS_SN_ADDRESSES 65536U

/* ---- topics ------------------------------------------------------------------------------ */

struct hbus_sn_topic {
	struct hbus_sn_topic *next;  /* of its bucket */
	uint32_t n_refs;
	uint32_t number;             /* for poll loops, 0 = not known, HBUS_SN_NAME_NONE = there is none */
	bool was_named;              /* io->name was asked */
	uint16_t predefined_id;      /* 0: it is not */
	uint16_t size;               /* of the name, without its terminator */
	char name[];
};

void hbus_sn_topic_put(struct hbus_sn *engine, struct hbus_sn_topic *topic);
/* What io->name says now. */
uint32_t hbus_sn_topic_number(struct hbus_sn *engine, struct hbus_sn_topic *topic);

/* ---- clients ------------------------------------------------------------------------------- */

enum hbus_sn_state {
	SN_WILL_TOPIC,               /* asked for the will's topic */
	SN_WILL_MSG,                 /* asked for its message */
	SN_CONNECTING,               /* the MQTT engine has not answered */
	SN_ACTIVE,
	SN_ASLEEP,
	SN_AWAKE,
	SN_ENDED,
};

enum hbus_sn_wait { WAIT_NOTHING, WAIT_REGACK, WAIT_PUBACK, WAIT_PUBREC, WAIT_PUBCOMP };

enum hbus_sn_timer_kind { SN_TIMER_ALIVE, SN_TIMER_RETRY, SN_TIMER_REGISTER };

struct hbus_sn_timer {
	struct hbus_timer timer;
	enum hbus_sn_timer_kind kind;
};

/* A message on its way to a client. */
struct hbus_sn_out {
	struct hbus_sn_out *next;
	size_t payload_size;
	uint16_t topic_size, packet_id;
	uint8_t qos;
	bool is_retain, is_dup, was_registered;
	uint8_t bytes[];             /* topic, terminated, then payload */
};

/* What the MQTT engine will answer. */
struct hbus_sn_pending {
	uint8_t type;                /* of MQTT-SN; 0 = free */
	uint8_t flags;
	uint16_t msg_id;
	uint16_t topic_id;
};

struct hbus_sn_client {
	struct hbus_sn *engine;
	struct hbus_sn_client *next; /* of its bucket, or of those that ended */
	struct hbus_sn_client *work_next;
	bool has_work;               /* it is in the engine's list */
	struct hbus_sn_peer peer;
	struct hbus_sn_link link;
	enum hbus_sn_state state;
	struct hbus_mqtt_conn *mqtt; /* NULL: not yet, or not any more */
	bool was_dropped;            /* by the MQTT engine */
	uint64_t ended_ms;
	bool is_clean, has_path;
	uint8_t connack;             /* return code of a CONNECT that is refused */
	uint16_t duration_s, sleep_s;
	uint64_t heard_ms;
	struct hbus_sn_timer alive, retry, held;
	uint8_t id_size;
	char id[HBUS_SN_ID_MAX];

	uint8_t will_flags;
	uint16_t will_topic_size, will_size;
	char *will_topic;            /* NULL: no will */
	uint8_t *will;

	struct hbus_sn_topic **topics; /* identifier n stands at n - 1; NULL = was taken back */
	uint16_t n_topics, topics_room;

	struct hbus_sn_pending pending[HBUS_SN_PENDING_MAX];
	uint16_t held_msg_id, held_topic_id; /* a REGISTER whose answer waits for the daemon; 0 = none */
	uint64_t held_until_ms;

	struct hbus_sn_out *first, **last; /* waiting */
	uint32_t n_queued;
	size_t queued_bytes;
	enum hbus_sn_wait waits;
	struct hbus_sn_out *sent;    /* of QoS 1 or 2, not acknowledged; gone when only PUBREL is left */
	uint16_t sent_id;            /* its identifier, or that of a REGISTER */
	uint16_t register_topic_id;
	uint32_t n_retries;
	uint16_t last_msg_id;        /* of REGISTER */
	/* To tell the MQTT engine when nothing of it is on the stack. */
	uint8_t due_type, due_reason;
	uint16_t due_id;
};

struct hbus_sn {
	struct hbus_sn_config config;
	struct hbus_sn_io io;
	struct hbus_mqtt *mqtt;
	struct hbus_sn_counters counters;
	struct hbus_wheel wheel;
	uint64_t advertise_ms;
	struct hbus_sn_client *clients[HBUS_SN_BUCKETS], *ended, *work;
	/* Ended, while the MQTT engine waits for the bus with what they have said last. */
	struct hbus_sn_client *lingering;
	struct hbus_sn_topic *names[HBUS_SN_BUCKETS];
	struct hbus_sn_topic *predefined[HBUS_SN_PREDEFINED_MAX];
	uint16_t predefined_ids[HBUS_SN_PREDEFINED_MAX];
	uint32_t n_predefined;
	struct hbus_sn_topic **shorts; /* by identifier; those that poll loops may publish to */
	struct hbus_sn_will *wills[HBUS_SN_BUCKETS], *oldest_will, **newest_will;
	struct hbus_sn_client *nobody; /* publishes for those without a session */
	uint64_t *verdict;             /* where the message under way is counted */
	/* Clients by a hash of their address alone; who shares one shares the limit. */
	uint16_t n_by_address[HBUS_SN_ADDRESSES];
};

static inline uint64_t hbus_sn_now(const struct hbus_sn *engine)
{
	return engine->wheel.now_ms;
}

static inline void hbus_sn_timer_set(struct hbus_sn *engine, struct hbus_sn_timer *timer,
				     uint64_t delay_ms)
{
	hbus_wheel_set(&engine->wheel, &timer->timer, hbus_sn_now(engine) + delay_ms);
}

static inline bool hbus_sn_is_open(const struct hbus_sn_client *client)
{
	return client->state >= SN_ACTIVE && client->state <= SN_AWAKE;
}

/* ---- engine.c ------------------------------------------------------------------------------ */

struct hbus_sn_client *hbus_sn_find(struct hbus_sn *engine, const struct hbus_sn_peer *peer);
/* Return: NULL at a limit or without memory. */
struct hbus_sn_client *hbus_sn_client_new(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
					  const struct hbus_sn_link *link);
/* There is something to be done for it at the end of the entry point. */
void hbus_sn_has_work(struct hbus_sn_client *client);
/* Takes it out of every list; its memory stays until the entry point is done. */
void hbus_sn_client_end(struct hbus_sn_client *client);

/* ---- sending ------------------------------------------------------------------------------- */

void hbus_sn_send(struct hbus_sn_client *client, uint8_t type, const void *fixed, size_t fixed_size,
		  const void *data, size_t data_size);
void hbus_sn_answer(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
		    const struct hbus_sn_link *link, uint8_t type, const void *fixed,
		    size_t fixed_size);
/* REGACK and PUBACK. */
void hbus_sn_send_ack(struct hbus_sn_client *client, uint8_t type, uint16_t topic_id,
		      uint16_t msg_id, uint8_t code);
/* PUBREC, PUBREL, PUBCOMP, UNSUBACK. */
void hbus_sn_send_id(struct hbus_sn_client *client, uint8_t type, uint16_t msg_id);

/* ---- topics.c ------------------------------------------------------------------------------ */

/* The client's identifier of a name, given now if need be. Return: 0 at a limit. */
uint16_t hbus_sn_id_of(struct hbus_sn_client *client, const char *name, size_t size);
void hbus_sn_ids_free(struct hbus_sn_client *client);
/* The name behind an identifier in a message, terminated in @room. Return: its size, 0 = unknown. */
size_t hbus_sn_name_of(struct hbus_sn_client *client, uint8_t kind, uint16_t topic_id,
		       char room[HBUS_SN_MESSAGE_MAX]);
/* How to call a name that goes to this client. Return: the kind; *ret_id is 0 when it has none yet. */
uint8_t hbus_sn_kind_of(struct hbus_sn_client *client, const char *name, size_t size,
			uint16_t *ret_id);
/* A short topic was published to: poll loops may do it next time. */
void hbus_sn_short_used(struct hbus_sn *engine, uint16_t topic_id);

/* ---- connect.c ----------------------------------------------------------------------------- */

void hbus_sn_on_connect(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
			const struct hbus_sn_link *link, const struct hbus_sn_message *message);
void hbus_sn_on_will(struct hbus_sn_client *client, const struct hbus_sn_message *message);
void hbus_sn_on_will_update(struct hbus_sn_client *client, const struct hbus_sn_message *message);
void hbus_sn_on_connack(struct hbus_sn_client *client, uint8_t reason);
void hbus_sn_on_ping(struct hbus_sn_client *client, const struct hbus_sn_message *message);
void hbus_sn_on_disconnect(struct hbus_sn_client *client, const struct hbus_sn_message *message);
void hbus_sn_alive_due(struct hbus_sn_client *client);
/* Give the client up: its will is published. */
void hbus_sn_lose(struct hbus_sn_client *client);
/* An awake client that has all of its messages goes back to sleep. */
void hbus_sn_check_drained(struct hbus_sn_client *client);

/* ---- publish.c ----------------------------------------------------------------------------- */

void hbus_sn_on_register(struct hbus_sn_client *client, const struct hbus_sn_message *message);
void hbus_sn_register_due(struct hbus_sn_client *client);
void hbus_sn_on_publish(struct hbus_sn_client *client, const struct hbus_sn_message *message);
void hbus_sn_on_subscribe(struct hbus_sn_client *client, const struct hbus_sn_message *message);
void hbus_sn_publish_for_nobody(struct hbus_sn *engine, const struct hbus_sn_message *message);
/* What was asked under @msg_id; its place is free again. Return: false when nothing was. */
bool hbus_sn_pending_take(struct hbus_sn_client *client, uint8_t type, uint16_t msg_id,
			  struct hbus_sn_pending *ret_pending);

/* ---- wills.c ------------------------------------------------------------------------------- */

/* What the client has now is what its session has from now on: a will or none, and none of a clean one. */
void hbus_sn_will_keep(struct hbus_sn_client *client);
/* The client has said no will: it has that of its session. */
void hbus_sn_will_recall(struct hbus_sn_client *client);
void hbus_sn_wills_free(struct hbus_sn *engine);

/* ---- deliver.c ----------------------------------------------------------------------------- */

/* From the MQTT engine; copied. */
void hbus_sn_deliver(struct hbus_sn_client *client, const struct hbus_mqtt_publish *publish);
void hbus_sn_pump(struct hbus_sn_client *client);
void hbus_sn_on_answer(struct hbus_sn_client *client, const struct hbus_sn_message *message);
/* The MQTT engine says PUBREL. */
void hbus_sn_on_release(struct hbus_sn_client *client, uint16_t packet_id);
void hbus_sn_retry_due(struct hbus_sn_client *client);
/* What was sent and not acknowledged waits again, in front. */
void hbus_sn_unsend(struct hbus_sn_client *client);
void hbus_sn_queue_free(struct hbus_sn_client *client);
/* Messages of QoS 0; the others the MQTT engine has, and sends again. */
void hbus_sn_queue_move(struct hbus_sn_client *from, struct hbus_sn_client *to);

/* ---- mqtt.c -------------------------------------------------------------------------------- */

/* Each may end in the MQTT engine's dropping the connection: client->mqtt is then NULL. */
bool hbus_sn_mqtt_connect(struct hbus_sn_client *client);
void hbus_sn_mqtt_publish(struct hbus_sn_client *client, uint8_t flags, uint16_t msg_id,
			  const char *topic, size_t topic_size, const void *payload,
			  size_t payload_size);
void hbus_sn_mqtt_ack(struct hbus_sn_client *client, uint8_t type, uint16_t msg_id, uint8_t reason);
void hbus_sn_mqtt_subscribe(struct hbus_sn_client *client, uint16_t msg_id, const char *filter,
			    size_t filter_size, uint8_t qos);
void hbus_sn_mqtt_unsubscribe(struct hbus_sn_client *client, uint16_t msg_id, const char *filter,
			      size_t filter_size);
void hbus_sn_mqtt_disconnect(struct hbus_sn_client *client);
/* The transport is gone, without a word: the will is published. */
void hbus_sn_mqtt_hangup(struct hbus_sn_client *client);
/* Return codes for reason codes. */
uint8_t hbus_sn_code_of(uint8_t reason);
