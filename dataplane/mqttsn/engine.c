/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine's life, its clock, clients by address, and where messages come in.
 */
#include "dataplane/mqttsn/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqttsn/engine_pvt.h"

void hbus_sn_config_default(struct hbus_sn_config *config)
{
	*config = (struct hbus_sn_config){
		.clients_max = 4096,
		.clients_per_address_max = 1024,
		.topic_ids_max = 256,
		.topics_max = 16384,
		.queue_max = 64,
		.queue_bytes_max = 64 << 10,
		.bytes_max = 32u << 20,
		.retry_ms = 10000,
		.retries_max = 4,
		.handshake_ms = 15000,
		.register_wait_ms = 3000,
		.idle_max_s = 86400,
		.advertise_s = 0,
		.gateway_id = 1,
	};
}

int hbus_sn_new(const struct hbus_sn_config *config, const struct hbus_sn_io *io, uint64_t now_ms,
		struct hbus_sn **ret_engine)
{
	struct hbus_sn *engine = calloc(1, sizeof(*engine));

	if (!engine)
		return -ENOMEM;
	engine->shorts = calloc(UINT16_MAX + 1U, sizeof(struct hbus_sn_topic *));
	if (!engine->shorts) {
		free(engine);
		return -ENOMEM;
	}
	engine->config = *config;
	engine->io = *io;
	engine->verdict = &engine->counters.in_taken;
	engine->advertise_ms = now_ms;
	hbus_wheel_init(&engine->wheel, now_ms);
	*ret_engine = engine;
	return 0;
}

void hbus_sn_attach(struct hbus_sn *engine, struct hbus_mqtt *mqtt)
{
	engine->mqtt = mqtt;
}

/* How long what a client has said last may wait for the daemon. */
enum { LINGER_MS = 10000 };

static void client_free(struct hbus_sn_client *client)
{
	hbus_sn_queue_free(client);
	hbus_sn_ids_free(client);
	free(client->will_topic);
	free(client->will);
	free(client);
}

static void reap(struct hbus_sn *engine)
{
	struct hbus_sn_client **link = &engine->lingering;

	while (engine->ended) {
		struct hbus_sn_client *client = engine->ended;

		engine->ended = client->next;
		client->next = engine->lingering;
		engine->lingering = client;
	}
	while (*link) {
		struct hbus_sn_client *client = *link;

		if (client->mqtt && hbus_sn_now(engine) - client->ended_ms > LINGER_MS)
			hbus_sn_mqtt_hangup(client);
		if (client->mqtt) {
			link = &client->next;
		} else {
			*link = client->next;
			client_free(client);
		}
	}
}

struct hbus_sn *hbus_sn_free(struct hbus_sn *engine)
{
	if (!engine)
		return NULL;
	engine->mqtt = NULL;
	engine->work = NULL;
	for (struct hbus_sn_client *client = engine->lingering; client; client = client->next)
		client->mqtt = NULL;
	for (uint32_t i = 0; i < HBUS_SN_BUCKETS; i++)
		while (engine->clients[i]) {
			engine->clients[i]->mqtt = NULL;
			hbus_sn_client_end(engine->clients[i]);
		}
	reap(engine);
	for (uint32_t i = 0; i < engine->n_predefined; i++)
		hbus_sn_topic_put(engine, engine->predefined[i]);
	for (uint32_t i = 0; i <= UINT16_MAX; i++)
		if (engine->shorts[i])
			hbus_sn_topic_put(engine, engine->shorts[i]);
	hbus_sn_wills_free(engine);
	free(engine->nobody);
	free(engine->shorts);
	free(engine);
	return NULL;
}

const struct hbus_sn_counters *hbus_sn_counters(const struct hbus_sn *engine)
{
	return &engine->counters;
}

/* ---- clients ------------------------------------------------------------------------------- */

static struct hbus_sn_client **bucket_of(struct hbus_sn *engine, const struct hbus_sn_peer *peer)
{
	uint64_t hash = hbus_sn_peer_hash(peer, engine->config.secret[0]);

	return &engine->clients[hash % HBUS_SN_BUCKETS];
}

static uint16_t *address_count(struct hbus_sn *engine, const struct hbus_sn_peer *peer)
{
	struct hbus_sn_peer address = { .family = peer->family, .vlan = peer->vlan };

	memcpy(address.addr, peer->addr, sizeof(address.addr));
	return &engine->n_by_address[hbus_sn_peer_hash(&address, engine->config.secret[1]) %
				     HBUS_SN_ADDRESSES];
}

struct hbus_sn_client *hbus_sn_find(struct hbus_sn *engine, const struct hbus_sn_peer *peer)
{
	struct hbus_sn_client *client = *bucket_of(engine, peer);

	while (client && !hbus_sn_peer_is_same(&client->peer, peer))
		client = client->next;
	return client;
}

struct hbus_sn_client *hbus_sn_client_new(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
					  const struct hbus_sn_link *link)
{
	struct hbus_sn_client **bucket = bucket_of(engine, peer), *client;
	uint16_t *n_of_address = address_count(engine, peer);

	if (engine->counters.clients_now >= engine->config.clients_max ||
	    *n_of_address >= engine->config.clients_per_address_max || *n_of_address == UINT16_MAX)
		return NULL;
	client = calloc(1, sizeof(*client));
	if (!client)
		return NULL;
	client->engine = engine;
	client->peer = *peer;
	client->link = *link;
	client->last = &client->first;
	client->heard_ms = hbus_sn_now(engine);
	client->alive.kind = SN_TIMER_ALIVE;
	client->retry.kind = SN_TIMER_RETRY;
	client->held.kind = SN_TIMER_REGISTER;
	client->next = *bucket;
	*bucket = client;
	engine->counters.clients_now++;
	++*n_of_address;
	return client;
}

void hbus_sn_has_work(struct hbus_sn_client *client)
{
	if (client->has_work || client->state == SN_ENDED)
		return;
	client->has_work = true;
	client->work_next = client->engine->work;
	client->engine->work = client;
}

void hbus_sn_client_end(struct hbus_sn_client *client)
{
	struct hbus_sn *engine = client->engine;
	struct hbus_sn_client **link = bucket_of(engine, &client->peer);

	if (client->state == SN_ENDED)
		return;
	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	hbus_wheel_cancel(&engine->wheel, &client->alive.timer);
	hbus_wheel_cancel(&engine->wheel, &client->retry.timer);
	hbus_wheel_cancel(&engine->wheel, &client->held.timer);
	engine->counters.asleep_now -= client->state == SN_ASLEEP;
	engine->counters.clients_now--;
	--*address_count(engine, &client->peer);
	if (client->has_path && engine->io.path_close)
		engine->io.path_close(engine->io.context, &client->peer);
	client->state = SN_ENDED;
	client->ended_ms = hbus_sn_now(engine);
	client->next = engine->ended;
	engine->ended = client;
}

/* ---- sending ------------------------------------------------------------------------------- */

static void send_built(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
		       const struct hbus_sn_link *link, const uint8_t *bytes, size_t size)
{
	if (size == 0)
		return;
	engine->counters.messages_out++;
	engine->io.send(engine->io.context, peer, link, bytes, size);
}

void hbus_sn_answer(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
		    const struct hbus_sn_link *link, uint8_t type, const void *fixed,
		    size_t fixed_size)
{
	uint8_t room[16];

	send_built(engine, peer, link, room,
		   hbus_sn_build(room, sizeof(room), type, fixed, fixed_size, NULL, 0));
}

void hbus_sn_send(struct hbus_sn_client *client, uint8_t type, const void *fixed, size_t fixed_size,
		  const void *data, size_t data_size)
{
	uint8_t room[HBUS_SN_MESSAGE_MAX];

	send_built(client->engine, &client->peer, &client->link, room,
		   hbus_sn_build(room, sizeof(room), type, fixed, fixed_size, data, data_size));
}

void hbus_sn_send_ack(struct hbus_sn_client *client, uint8_t type, uint16_t topic_id,
		      uint16_t msg_id, uint8_t code)
{
	const uint8_t fixed[] = { (uint8_t)(topic_id >> 8), (uint8_t)topic_id,
				  (uint8_t)(msg_id >> 8), (uint8_t)msg_id, code };

	hbus_sn_send(client, type, fixed, sizeof(fixed), NULL, 0);
}

void hbus_sn_send_id(struct hbus_sn_client *client, uint8_t type, uint16_t msg_id)
{
	const uint8_t fixed[] = { (uint8_t)(msg_id >> 8), (uint8_t)msg_id };

	hbus_sn_send(client, type, fixed, sizeof(fixed), NULL, 0);
}

/* ---- messages ------------------------------------------------------------------------------ */

/* From somebody who is not connected. */
static void on_stranger(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
			const struct hbus_sn_link *link, const struct hbus_sn_message *message)
{
	switch (message->type) {
	case HBUS_SN_PUBLISH:
	case HBUS_SN_REGISTER:
	case HBUS_SN_SUBSCRIBE:
	case HBUS_SN_UNSUBSCRIBE:
	case HBUS_SN_PINGREQ:
	case HBUS_SN_PUBREL:
	case HBUS_SN_WILLTOPIC:
	case HBUS_SN_WILLMSG:
	case HBUS_SN_WILLTOPICUPD:
	case HBUS_SN_WILLMSGUPD:
		/* So that it connects. */
		hbus_sn_answer(engine, peer, link, HBUS_SN_DISCONNECT, NULL, 0);
		break;
	default:
		break;
	}
	engine->verdict = &engine->counters.in_stranger;
}

static void on_open(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	switch (message->type) {
	case HBUS_SN_REGISTER: hbus_sn_on_register(client, message); return;
	case HBUS_SN_PUBLISH: hbus_sn_on_publish(client, message); return;
	case HBUS_SN_SUBSCRIBE:
	case HBUS_SN_UNSUBSCRIBE: hbus_sn_on_subscribe(client, message); return;
	case HBUS_SN_REGACK:
	case HBUS_SN_PUBACK:
	case HBUS_SN_PUBREC:
	case HBUS_SN_PUBCOMP: hbus_sn_on_answer(client, message); return;
	case HBUS_SN_PUBREL:
		hbus_sn_mqtt_ack(client, HBUS_MQTT_PUBREL, message->msg_id, 0);
		return;
	case HBUS_SN_PINGREQ: hbus_sn_on_ping(client, message); return;
	case HBUS_SN_WILLTOPICUPD:
	case HBUS_SN_WILLMSGUPD: hbus_sn_on_will_update(client, message); return;
	default: client->engine->verdict = &client->engine->counters.in_unexpected;
	}
}

static void on_client(struct hbus_sn_client *client, const struct hbus_sn_message *message)
{
	struct hbus_sn *engine = client->engine;

	if (message->type == HBUS_SN_DISCONNECT)
		hbus_sn_on_disconnect(client, message);
	else if (message->type == HBUS_SN_WILLTOPIC || message->type == HBUS_SN_WILLMSG)
		hbus_sn_on_will(client, message);
	else if (hbus_sn_is_open(client))
		on_open(client, message);
	else
		engine->verdict = &engine->counters.in_unexpected;
}

static void on_message(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
		       const struct hbus_sn_link *link, const struct hbus_sn_message *message)
{
	struct hbus_sn_client *client;

	if (message->type == HBUS_SN_SEARCHGW) {
		hbus_sn_answer(engine, peer, link, HBUS_SN_GWINFO, &engine->config.gateway_id, 1);
		return;
	}
	if (message->type == HBUS_SN_CONNECT) {
		hbus_sn_on_connect(engine, peer, link, message);
		return;
	}
	if (message->type == HBUS_SN_PUBLISH &&
	    (message->flags & HBUS_SN_QOS_MASK) == HBUS_SN_QOS_MINUS_1) {
		hbus_sn_publish_for_nobody(engine, message);
		return;
	}
	client = hbus_sn_find(engine, peer);
	if (!client) {
		on_stranger(engine, peer, link, message);
		return;
	}
	client->link = *link;
	client->heard_ms = hbus_sn_now(engine);
	on_client(client, message);
	hbus_sn_has_work(client);
}

void hbus_sn_input(struct hbus_sn *engine, const struct hbus_sn_peer *peer,
		   const struct hbus_sn_link *link, const uint8_t *bytes, size_t size)
{
	struct hbus_sn_peer node = *peer;
	struct hbus_sn_wrapping wrapping;
	struct hbus_sn_message message;
	bool is_good = size > 0;

	engine->counters.messages_in++;
	engine->verdict = &engine->counters.in_taken;
	if (is_good && hbus_sn_is_wrapped(bytes, size)) {
		is_good = hbus_sn_unwrap(bytes, size, &wrapping);
		if (is_good) {
			node.node_size = (uint8_t)wrapping.node_size;
			memcpy(node.node, wrapping.node, wrapping.node_size);
			bytes = wrapping.inner;
			size = wrapping.inner_size;
		}
	}
	if (is_good && hbus_sn_parse(bytes, size, &message))
		on_message(engine, &node, link, &message);
	else
		engine->verdict = &engine->counters.in_malformed;
	++*engine->verdict;
	hbus_sn_settle(engine);
}

/* ---- work, clock ----------------------------------------------------------------------------- */

static void work_on(struct hbus_sn_client *client)
{
	uint8_t type = client->due_type;

	if (type != 0) {
		client->due_type = 0;
		hbus_sn_mqtt_ack(client, type, client->due_id, client->due_reason);
	}
	if (client->was_dropped) {
		if (client->state == SN_CONNECTING)
			hbus_sn_send(client, HBUS_SN_CONNACK, &client->connack, 1, NULL, 0);
		else if (client->state != SN_ASLEEP)
			hbus_sn_send(client, HBUS_SN_DISCONNECT, NULL, 0, NULL, 0);
		hbus_sn_client_end(client);
		return;
	}
	hbus_sn_pump(client);
	hbus_sn_check_drained(client);
}

void hbus_sn_settle(struct hbus_sn *engine)
{
	while (engine->work) {
		struct hbus_sn_client *client = engine->work;

		engine->work = client->work_next;
		client->has_work = false;
		if (client->state != SN_ENDED)
			work_on(client);
	}
	reap(engine);
}

static void fire(void *context, struct hbus_timer *inner)
{
	struct hbus_sn_timer *timer = (struct hbus_sn_timer *)(void *)inner;
	struct hbus_sn_client *client;

	(void)context;
	switch (timer->kind) {
	case SN_TIMER_ALIVE:
		client = (struct hbus_sn_client *)(void *)((char *)timer -
							   offsetof(struct hbus_sn_client, alive));
		hbus_sn_alive_due(client);
		break;
	case SN_TIMER_RETRY:
		client = (struct hbus_sn_client *)(void *)((char *)timer -
							   offsetof(struct hbus_sn_client, retry));
		hbus_sn_retry_due(client);
		break;
	default:
		client = (struct hbus_sn_client *)(void *)((char *)timer -
							   offsetof(struct hbus_sn_client, held));
		hbus_sn_register_due(client);
		break;
	}
	hbus_sn_has_work(client);
}

static void advertise(struct hbus_sn *engine, uint64_t now_ms)
{
	uint16_t seconds = (uint16_t)(engine->config.advertise_s < UINT16_MAX ?
					      engine->config.advertise_s : UINT16_MAX);
	const uint8_t fixed[] = { engine->config.gateway_id, (uint8_t)(seconds >> 8),
				  (uint8_t)seconds };
	uint8_t room[16];

	if (seconds == 0 || now_ms < engine->advertise_ms)
		return;
	engine->advertise_ms = now_ms + seconds * UINT64_C(1000);
	send_built(engine, NULL, NULL, room,
		   hbus_sn_build(room, sizeof(room), HBUS_SN_ADVERTISE, fixed, sizeof(fixed), NULL,
				 0));
}

void hbus_sn_tick(struct hbus_sn *engine, uint64_t now_ms)
{
	if (engine->mqtt)
		hbus_mqtt_tick(engine->mqtt, now_ms);
	hbus_wheel_advance(&engine->wheel, now_ms, fire, NULL);
	advertise(engine, now_ms);
	hbus_sn_settle(engine);
}

void hbus_sn_shutdown(struct hbus_sn *engine)
{
	for (uint32_t i = 0; i < HBUS_SN_BUCKETS; i++)
		for (struct hbus_sn_client *client = engine->clients[i]; client;
		     client = client->next)
			hbus_sn_send(client, HBUS_SN_DISCONNECT, NULL, 0, NULL, 0);
}
