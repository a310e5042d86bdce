/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MQTT engine as a whole: an input is a list of steps on several connections of both versions.
 * Whatever they are, every byte that the engine sends is a packet that its own parser of frames
 * takes, nothing is sent to a closed connection, the bus is asked for no filter twice, limits hold,
 * and when all have gone nothing is left.
 *
 * A step is one byte and what it takes of the input:
 *   0..3  connection (low bits) says: 1 byte of length, then so many bytes of the input
 *   4     it connects well-formed: 1 byte of flags (version, clean, will), 1 of the identifier
 *   5     time passes   6 it hangs up   7 an event comes from the bus   8 it has read all
 *   9     subscribe     10 publish      11 acknowledge what was sent last
 *   12    the bus is slow from now on, or no longer     13 it answers its oldest question, with yes or no
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"
#include "dataplane/mqtt/codec.h"
#include "dataplane/mqtt/engine.h"
#include "dataplane/mqtt/frame.h"

enum { N_CONNS = 4, N_EVENTS = 256, N_FILTERS = 64 };

struct end {
	struct hbus_mqtt_conn *conn;
	struct hbus_mqtt_frame frame;
	size_t unsent;
	uint8_t version;
	uint16_t last_id;
};

static struct end ends[N_CONNS];
static char *filters[N_FILTERS];
static struct {
	char topic[256];
	struct hbus_mqtt_message message;
	uint8_t props[64], payload[64];
} events[N_EVENTS];
static size_t n_events;
static struct {
	bool is_filter;
	char name[256];
} asked[N_FILTERS];
static size_t n_asked;
static bool is_slow, may_publish;
static uint64_t now_ms;

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static void on_packet(struct end *end, const struct hbus_mqtt_whole *whole)
{
	struct hbus_mqtt_reader r = hbus_mqtt_reader(whole->body, whole->size);

	if (whole->first_byte >> 4 != HBUS_MQTT_PUBLISH)
		return;
	require((whole->first_byte & 6) != 6);
	(void)hbus_mqtt_get_string(&r);
	if (whole->first_byte & 6) {
		end->last_id = hbus_mqtt_get_u16(&r);
		require(end->last_id != 0);
	}
	require(!r.is_bad);
}

static size_t do_send(void *context, void *transport, const struct iovec *parts, int n_parts)
{
	struct end *end = transport;
	struct hbus_mqtt_whole whole;

	(void)context;
	require(end->conn != NULL);
	for (int i = 0; i < n_parts; i++) {
		const uint8_t *data = parts[i].iov_base;
		size_t size = parts[i].iov_len;

		end->unsent += size;
		while (size > 0) {
			int r = hbus_mqtt_frame_next(&end->frame, &data, &size, 1 << 20, &whole);

			require(r < HBUS_MQTT_UNSPECIFIED);
			if (r == 0)
				on_packet(end, &whole);
		}
	}
	return end->unsent;
}

static void end_close(struct end *end)
{
	hbus_mqtt_frame_deinit(&end->frame);
	memset(end, 0, sizeof(*end));
}

static void do_close(void *context, void *transport)
{
	struct end *end = transport;

	(void)context;
	require(end->conn != NULL);
	end_close(end);
}

static uint8_t ask(bool is_filter, const char *name)
{
	if (n_asked == N_FILTERS)
		return HBUS_MQTT_QUOTA;
	asked[n_asked].is_filter = is_filter;
	snprintf(asked[n_asked++].name, sizeof(asked[0].name), "%s", name);
	return HBUS_MQTT_PENDING;
}

static uint8_t do_publish(void *context, const struct hbus_mqtt_message *message)
{
	(void)context;
	if (is_slow && !may_publish)
		return ask(false, message->topic);
	require(hbus_topic_check_name(message->topic, strlen(message->topic)) == 0);
	if (n_events == N_EVENTS || message->props.size > 64 || message->payload_size > 64)
		return HBUS_MQTT_QUOTA;
	snprintf(events[n_events].topic, sizeof(events[0].topic), "%s", message->topic);
	events[n_events].message = *message;
	events[n_events].message.topic = events[n_events].topic;
	if (message->props.size > 0)
		memcpy(events[n_events].props, message->props.data, message->props.size);
	if (message->payload_size > 0)
		memcpy(events[n_events].payload, message->payload, message->payload_size);
	events[n_events].message.props.data = events[n_events].props;
	events[n_events].message.payload = events[n_events].payload;
	n_events++;
	return 0;
}

static char **filter_find(const char *filter)
{
	for (size_t i = 0; i < N_FILTERS; i++)
		if (filters[i] && strcmp(filters[i], filter) == 0)
			return &filters[i];
	return NULL;
}

static uint8_t do_subscribe(void *context, const char *filter)
{
	(void)context;
	require(hbus_topic_check_filter(filter, strlen(filter)) == 0);
	require(!filter_find(filter));
	for (size_t i = 0; i < N_FILTERS; i++) {
		if (!filters[i]) {
			uint8_t reason = is_slow ? ask(true, filter) : 0;

			if (reason == 0 || reason == HBUS_MQTT_PENDING)
				filters[i] = strdup(filter);
			return reason;
		}
	}
	return HBUS_MQTT_QUOTA;
}

static void do_unsubscribe(void *context, const char *filter)
{
	char **found = filter_find(filter);

	(void)context;
	require(found != NULL);
	free(*found);
	*found = NULL;
}

/* -- steps -- */

struct input {
	const uint8_t *at, *end;
};

static uint8_t take(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

/* From memory of exactly that size. */
static void say(struct end *end, const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size + 1);

	memcpy(copy + 1, bytes, size);
	if (end->conn)
		(void)hbus_mqtt_input(end->conn, copy + 1, size);
	free(copy);
}

static void say_connect(struct end *end, struct input *in)
{
	uint8_t flags = take(in), id = take(in), packet[64];
	struct hbus_mqtt_writer w = hbus_mqtt_writer(packet, sizeof(packet));
	bool is_v5 = flags & 1;

	end->version = is_v5 ? 5 : 4;
	hbus_mqtt_put_bytes(&w, (const uint8_t[]){ 0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', end->version, 0, 0, 10 }, 12);
	packet[9] = (uint8_t)((flags & 2) | (flags & 4));
	if (is_v5)
		hbus_mqtt_put_bytes(&w, (const uint8_t[]){ 11, 0x11, 0, 0, 0, flags >> 5, 0x21, 0, 3, 0x22, 0, 2 }, 12);
	hbus_mqtt_put_binary(&w, &(char){ (char)('a' + id % 3) }, 1);
	if (flags & 4) {
		if (is_v5)
			hbus_mqtt_put_bytes(&w, (const uint8_t[]){ 5, 0x18, 0, 0, 0, flags >> 6 }, 6);
		hbus_mqtt_put_binary(&w, "w", 1);
		hbus_mqtt_put_binary(&w, "x", 1);
	}
	packet[1] = (uint8_t)(w.at - packet - 2);
	say(end, packet, (size_t)(w.at - packet));
}

static const char *const texts[] = { "a", "a/b", "+", "#", "a/+", "a/#", "$share/g/a", "$share/g/+/b", "$SYS/a", "w" };
enum { N_TEXTS = sizeof(texts) / sizeof(texts[0]) };

static void say_subscribe(struct end *end, struct input *in)
{
	uint8_t options = take(in), packet[64];
	const char *filter = texts[take(in) % N_TEXTS];
	struct hbus_mqtt_writer w = hbus_mqtt_writer(packet, sizeof(packet));
	bool is_unsubscribe = options & 0x80;

	hbus_mqtt_put_bytes(&w, (const uint8_t[]){ is_unsubscribe ? 0xa2 : 0x82, 0, 0, 1, 0 }, end->version == 5 ? 5 : 4);
	hbus_mqtt_put_binary(&w, filter, strlen(filter));
	if (!is_unsubscribe)
		hbus_mqtt_put_u8(&w, (uint8_t)(end->version == 5 ? options & 0x2f : options & 3));
	packet[1] = (uint8_t)(w.at - packet - 2);
	say(end, packet, (size_t)(w.at - packet));
}

static void say_publish(struct end *end, struct input *in)
{
	uint8_t flags = take(in) & 0x0f, packet[64];
	const char *topic = texts[take(in) % 2];
	struct hbus_mqtt_writer w = hbus_mqtt_writer(packet, sizeof(packet));

	hbus_mqtt_put_bytes(&w, (const uint8_t[]){ 0x30 | flags, 0 }, 2);
	hbus_mqtt_put_binary(&w, topic, strlen(topic));
	if (flags & 6)
		hbus_mqtt_put_u16(&w, (uint16_t)(1 + take(in) % 8));
	if (end->version == 5)
		hbus_mqtt_put_bytes(&w, (const uint8_t[]){ 5, 2, 0, 0, 0, 1 }, 6);
	hbus_mqtt_put_bytes(&w, "xyz", take(in) % 4);
	packet[1] = (uint8_t)(w.at - packet - 2);
	say(end, packet, (size_t)(w.at - packet));
}

static void settle(struct hbus_mqtt *engine)
{
	for (size_t i = 0; i < n_events; i++)
		hbus_mqtt_event(engine, &events[i].message);
	n_events = 0;
}

static void answer_one(struct hbus_mqtt *engine, bool is_yes)
{
	char name[256];

	if (n_asked == 0)
		return;
	memcpy(name, asked[0].name, sizeof(name));
	if (asked[0].is_filter) {
		memmove(asked, asked + 1, --n_asked * sizeof(asked[0]));
		hbus_mqtt_filter_answer(engine, name, is_yes ? 0 : HBUS_MQTT_NOT_AUTHORIZED);
		return;
	}
	memmove(asked, asked + 1, --n_asked * sizeof(asked[0]));
	may_publish = is_yes;
	hbus_mqtt_topic_answer(engine, name);
	may_publish = false;
}

static void step(struct hbus_mqtt *engine, struct input *in)
{
	uint8_t what = take(in);
	struct end *end = &ends[what & (N_CONNS - 1)];
	size_t n;

	if (!end->conn) {
		end->conn = hbus_mqtt_accept(engine, end);
		require(end->conn != NULL);
	}
	switch (what >> 2 & 15) {
	case 4:
		say_connect(end, in);
		break;
	case 5:
		now_ms += (uint64_t)1 << (take(in) & 31);
		hbus_mqtt_tick(engine, now_ms);
		require(hbus_mqtt_next_ms(engine) > now_ms);
		break;
	case 6:
		hbus_mqtt_hangup(end->conn);
		end_close(end);
		break;
	case 7:
		settle(engine);
		break;
	case 8:
		end->unsent = 0;
		hbus_mqtt_writable(end->conn);
		break;
	case 9:
		say_subscribe(end, in);
		break;
	case 10:
		say_publish(end, in);
		break;
	case 12:
		is_slow = !is_slow;
		break;
	case 13:
		answer_one(engine, take(in) & 1);
		break;
	case 11:
		n = take(in) & 3; /* PUBACK, PUBREC, PUBREL, PUBCOMP */
		say(end, (const uint8_t[]){ (uint8_t)((4 + n) << 4 | (n == 2 ? 2 : 0)), 2, (uint8_t)(end->last_id >> 8),
					    (uint8_t)end->last_id }, 4);
		break;
	default:
		n = take(in);
		n = n < (size_t)(in->end - in->at) ? n : (size_t)(in->end - in->at);
		say(end, in->at, n);
		in->at += n;
	}
}

static void config_small(struct hbus_mqtt_config *config)
{
	hbus_mqtt_config_default(config);
	config->packet_max = 1024;
	config->backlog_high = 200;
	config->backlog_max = 2000;
	config->sessions_max = 3;
	config->subscriptions_max = 6;
	config->queue_max = 6;
	config->queue_bytes_max = 2000;
	config->message_bytes_max = 8000;
	config->retained_max = 2;
	config->snapshot_max = 4;
	config->receive_max = 4;
	config->inflight_max = 3;
	config->alias_max = 2;
	config->secret[0] = 1;
}

static void check(const struct hbus_mqtt_config *config, const struct hbus_mqtt_counters *c)
{
	require(c->conns_now <= N_CONNS && c->sessions_now <= config->sessions_max);
	require(c->subscriptions_now <= (uint64_t)config->sessions_max * config->subscriptions_max);
	require(c->retained_now <= config->retained_max && c->snapshot_now <= config->snapshot_max);
	require(c->message_bytes_now <= config->message_bytes_max);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct hbus_mqtt_io io = { NULL, do_send, do_close, do_publish, do_subscribe, do_unsubscribe, NULL, NULL, NULL, NULL };
	struct input in = { data, data + size };
	struct hbus_mqtt_config config;
	const struct hbus_mqtt_counters *counters;
	struct hbus_mqtt *engine;

	config_small(&config);
	now_ms = 1000;
	n_events = 0;
	require(hbus_mqtt_new(&config, &io, now_ms, &engine) == 0);
	counters = hbus_mqtt_counters(engine);
	while (in.at < in.end) {
		step(engine, &in);
		check(&config, counters);
	}
	is_slow = false;
	while (n_asked > 0)
		answer_one(engine, true);
	for (size_t i = 0; i < N_CONNS; i++) {
		if (ends[i].conn) {
			hbus_mqtt_hangup(ends[i].conn);
			end_close(&ends[i]);
		}
	}
	hbus_mqtt_tick(engine, now_ms + (UINT64_C(1) << 33));
	require(counters->conns_now == 0 && counters->sessions_now == 0 && counters->subscriptions_now == 0);
	require(counters->snapshot_now == 0);
	for (size_t i = 0; i < N_FILTERS; i++)
		require(!filters[i]);
	hbus_mqtt_free(engine);
	return 0;
}
