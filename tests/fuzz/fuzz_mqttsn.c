/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MQTT-SN engine on the MQTT engine: an input is a list of steps of several peers. Whatever they
 * are, every message that comes out is one that our own parser takes, limits hold, every message in is
 * counted once, and when all have gone nothing is left.
 *
 * A step is one byte and what it takes of the input:
 *   0..3  that peer says: 1 byte of length, then so many bytes of the input
 *   4     that peer connects well-formed: 1 byte of flags, 1 of the identifier
 *   5     time passes: 1 byte          6 an event of the bus: 1 byte of topic and QoS
 *   7     register   8 publish   9 subscribe   10 acknowledge what was sent last   11 sleep   12 ping
 *   13    a node behind a forwarder says: 1 byte of length, then so many bytes
 *   14    the bus refuses from now on, or no longer
 *   15    poll loops can publish from now on
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"
#include "dataplane/mqttsn/engine.h"

enum { N_PEERS = 4, N_EVENTS = 256, CLIENTS_MAX = 6, QUEUE_MAX = 5 };

static const char *const topics[] = { "a", "ab", "a/b", "a/c", "plant/alarm", "x/y/z" };

static struct hbus_sn *sn;
static struct hbus_mqtt *mqtt;
static struct hbus_sn_message last[N_PEERS];
static struct {
	char topic[64];
	uint8_t qos;
	bool is_retain;
	struct hbus_mqtt_origin origin;
} events[N_EVENTS];
static size_t n_events, n_paths;
static bool refuses, is_named;
static uint64_t now_ms;

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static struct hbus_sn_peer peer_of(unsigned int n)
{
	return (struct hbus_sn_peer){ .addr = { 10, 0, 0, (uint8_t)(n / 2) }, .port = (uint16_t)(n + 1),
				      .family = 4 };
}

static void do_send(void *context, const struct hbus_sn_peer *peer, const struct hbus_sn_link *link,
		    const uint8_t *bytes, size_t size)
{
	struct hbus_sn_message message;

	(void)context;
	require(size <= HBUS_SN_MESSAGE_MAX && hbus_sn_parse(bytes, size, &message));
	require((peer != NULL) == (link != NULL));
	if (!peer)
		return;
	require(peer->port >= 1 && peer->port <= N_PEERS);
	/* Without what it points to. */
	message.data = NULL;
	last[peer->port - 1] = message;
}

static uint8_t do_publish(void *context, const struct hbus_mqtt_message *message)
{
	(void)context;
	require(hbus_topic_check_name(message->topic, strlen(message->topic)) == 0);
	if (refuses || n_events == N_EVENTS || strlen(message->topic) >= sizeof(events[0].topic))
		return HBUS_MQTT_QUOTA;
	strcpy(events[n_events].topic, message->topic);
	events[n_events].qos = message->qos;
	events[n_events].is_retain = message->is_retain;
	events[n_events++].origin = message->origin;
	return 0;
}

static uint8_t do_subscribe(void *context, const char *filter)
{
	(void)context;
	(void)filter;
	return refuses ? HBUS_MQTT_QUOTA : 0;
}

static void do_unsubscribe(void *context, const char *filter)
{
	(void)context;
	(void)filter;
}

static uint32_t do_name(void *context, const char *topic)
{
	(void)context;
	(void)topic;
	return is_named ? 7 : HBUS_SN_NAME_PENDING;
}

static void do_path_open(void *context, const struct hbus_sn_peer *peer)
{
	(void)context;
	(void)peer;
	n_paths++;
}

static void do_path_close(void *context, const struct hbus_sn_peer *peer)
{
	(void)context;
	(void)peer;
	require(n_paths > 0);
	n_paths--;
}

static void do_path_set(void *context, const struct hbus_sn_peer *peer, uint16_t topic_id,
			uint32_t number)
{
	(void)context;
	(void)peer;
	require(topic_id != 0 && (number == 0 || number == 7));
}

static void give_events(void)
{
	size_t n = n_events;

	for (size_t i = 0; i < n; i++) {
		const struct hbus_mqtt_message message = { .topic = events[i].topic, .payload = "xyz",
							   .payload_size = i % 4, .qos = events[i].qos,
							   .is_retain = events[i].is_retain,
							   .origin = events[i].origin };

		hbus_mqtt_event(mqtt, &message);
		hbus_sn_settle(sn);
	}
	n_events = 0;
}

/* ---- steps ---------------------------------------------------------------------------------- */

struct input {
	const uint8_t *at, *end;
};

static uint8_t next(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static void say(unsigned int n, const uint8_t *bytes, size_t size)
{
	const struct hbus_sn_link link = { .local_port = 1883 };
	struct hbus_sn_peer peer = peer_of(n);
	uint8_t *copy = malloc(size + 1);

	memcpy(copy, bytes, size);
	hbus_sn_input(sn, &peer, &link, copy, size);
	free(copy);
}

static void say_built(unsigned int n, uint8_t type, const uint8_t *fixed, size_t fixed_size,
		      const char *data)
{
	uint8_t room[256];

	say(n, room, hbus_sn_build(room, sizeof(room), type, fixed, fixed_size, data,
				   data ? strlen(data) : 0));
}

static void say_raw(unsigned int n, struct input *in, bool is_wrapped)
{
	uint8_t room[300] = { 4, HBUS_SN_ENCAPSULATED, 0, 'n' };
	size_t head = is_wrapped ? 4 : 0, size = next(in);

	if (size > (size_t)(in->end - in->at))
		size = (size_t)(in->end - in->at);
	memcpy(room + head, in->at, size);
	in->at += size;
	say(n, room, head + size);
}

static void acknowledge(unsigned int n)
{
	const struct hbus_sn_message *m = &last[n];
	uint8_t fixed[] = { (uint8_t)(m->topic_id >> 8), (uint8_t)m->topic_id, (uint8_t)(m->msg_id >> 8),
			    (uint8_t)m->msg_id, 0 };
	unsigned int qos = hbus_sn_qos(m->flags);

	if (m->type == HBUS_SN_REGISTER)
		say_built(n, HBUS_SN_REGACK, fixed, 5, NULL);
	else if (m->type == HBUS_SN_PUBLISH && qos == 1)
		say_built(n, HBUS_SN_PUBACK, fixed, 5, NULL);
	else if (m->type == HBUS_SN_PUBLISH && qos == 2)
		say_built(n, HBUS_SN_PUBREC, fixed + 2, 2, NULL);
	else if (m->type == HBUS_SN_PUBREL)
		say_built(n, HBUS_SN_PUBCOMP, fixed + 2, 2, NULL);
	else if (m->type == HBUS_SN_PUBREC)
		say_built(n, HBUS_SN_PUBREL, fixed + 2, 2, NULL);
	else if (m->type == HBUS_SN_WILLTOPICREQ)
		say_built(n, HBUS_SN_WILLTOPIC, (const uint8_t[]){ 0x20 }, 1, "will");
	else if (m->type == HBUS_SN_WILLMSGREQ)
		say_built(n, HBUS_SN_WILLMSG, NULL, 0, "gone");
}

static void step(struct input *in)
{
	uint8_t what = next(in), more = next(in);
	unsigned int n = what >> 4 & 3;
	const char *topic = topics[more % (sizeof(topics) / sizeof(topics[0]))];
	static const uint8_t qos_flags[] = { 0, 0x20, 0x40, 0x10 };
	uint8_t flags = qos_flags[more >> 4 & 3];
	const char id[] = { (char)('a' + more % 6), '\0' };

	switch (what & 15) {
	case 4: say_built(n, HBUS_SN_CONNECT, (const uint8_t[]){ more & 0x0c, 1, 0, 20 }, 4, id); return;
	case 5:
		now_ms += more * 64U;
		hbus_sn_tick(sn, now_ms);
		return;
	case 6: {
		const struct hbus_mqtt_message message = { .topic = topic, .payload = topic,
							   .payload_size = strlen(topic), .qos = more >> 6 & 1 };

		hbus_mqtt_event(mqtt, &message);
		hbus_sn_settle(sn);
		return;
	}
	case 7: say_built(n, HBUS_SN_REGISTER, (const uint8_t[]){ 0, 0, 0, 1 | more }, 4, topic); return;
	case 8: say_built(n, HBUS_SN_PUBLISH, (const uint8_t[]){ flags, 0, more & 7, 0, 1 + more % 9 }, 5, "v"); return;
	case 9: say_built(n, HBUS_SN_SUBSCRIBE, (const uint8_t[]){ flags & 0x60, 0, 1 + more % 9 }, 3, more & 8 ? "#" : topic); return;
	case 10: acknowledge(n); return;
	case 11: say_built(n, HBUS_SN_DISCONNECT, (const uint8_t[]){ 0, more & 31 }, 2, NULL); return;
	case 12: say_built(n, HBUS_SN_PINGREQ, NULL, 0, more & 1 ? id : NULL); return;
	case 13: say_raw(n, in, true); return;
	case 14: refuses = more & 1; return;
	case 15: is_named = more & 1; return;
	default: say_raw(n, in, false); return;
	}
}

static void check(void)
{
	const struct hbus_sn_counters *c = hbus_sn_counters(sn);

	require(c->messages_in == c->in_taken + c->in_malformed + c->in_unexpected + c->in_stranger + c->in_limited);
	require(c->clients_now <= CLIENTS_MAX && c->asleep_now <= c->clients_now);
	/* One of QoS 1 or 2 may be there beside a full queue. */
	require(c->queued_now <= CLIENTS_MAX * (QUEUE_MAX + 1));
	require(n_paths <= c->clients_now);
}

static void start(void)
{
	const struct hbus_sn_io io = { .send = do_send, .name = do_name, .path_open = do_path_open,
				       .path_set = do_path_set, .path_close = do_path_close };
	const struct hbus_mqtt_io mqtt_io = { .send = hbus_sn_mqtt_send, .close = hbus_sn_mqtt_close,
					      .publish = do_publish, .subscribe = do_subscribe,
					      .unsubscribe = do_unsubscribe };
	struct hbus_mqtt_config mqtt_config;
	struct hbus_sn_config config;

	hbus_sn_config_default(&config);
	config.clients_max = CLIENTS_MAX;
	config.clients_per_address_max = CLIENTS_MAX - 1;
	config.topic_ids_max = 3;
	config.topics_max = 8;
	config.queue_max = QUEUE_MAX;
	config.retry_ms = 1000;
	config.advertise_s = 30;
	hbus_mqtt_config_default(&mqtt_config);
	mqtt_config.queue_max = 8;
	mqtt_config.sessions_max = 8;
	now_ms = 1000;
	require(hbus_sn_new(&config, &io, now_ms, &sn) == 0);
	require(hbus_mqtt_new(&mqtt_config, &mqtt_io, now_ms, &mqtt) == 0);
	hbus_sn_attach(sn, mqtt);
	require(hbus_sn_predefine(sn, 4, "plant/alarm") == 0);
	memset(last, 0, sizeof(last));
	n_events = n_paths = 0;
	refuses = is_named = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	start();
	while (in.at < in.end) {
		step(&in);
		give_events();
		check();
	}
	/* Everybody falls silent. */
	for (int i = 0; i < 40; i++) {
		now_ms += 3600 * 1000;
		hbus_sn_tick(sn, now_ms);
		give_events();
	}
	require(hbus_sn_counters(sn)->clients_now == 0 && n_paths == 0);
	require(hbus_sn_counters(sn)->queued_now == 0 && hbus_sn_counters(sn)->queued_bytes_now == 0);
	/* Only the predefined topic is left. */
	require(hbus_sn_counters(sn)->topics_now == 1);
	mqtt = hbus_mqtt_free(mqtt);
	sn = hbus_sn_free(sn);
	return 0;
}
