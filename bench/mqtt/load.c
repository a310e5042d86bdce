/* SPDX-License-Identifier: BSD-3-Clause */
/* A load on an MQTT broker. See load.h. */
#include "bench/mqtt/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/blame.h"
#include "bench/harness.h"
#include "bench/mqtt/message.h"
#include "ctl/client/hugebus.h"
#include "dataplane/mqtt/codec.h"
#include "dataplane/mqtt/mqtt.h"
#include "dataplane/mqtt/props.h"

enum { EVENTS = 256, IN_BYTES = 262144, BUS_EVENTS = 64 };

#define READY_NS UINT64_C(20000000000) /* until all connections stand */
#define PATIENCE_MS 2000u /* without progress */
#define PACKET_MAX (BENCH_MQTT_SIZE_MAX + 1024u)

/* Of a packet identifier of a publisher. */
enum { FREE, PUBLISHED, RELEASED };

struct publisher {
	struct bench_mqtt_client client;
	struct bench_mqtt_template template;
	uint64_t next;       /* number of its next message */
	uint8_t *ids;        /* state by packet identifier, 1..n_ids */
	unsigned int n_ids, last_id, n_in_flight, window;
};

struct subscriber {
	struct bench_mqtt_client client;
	uint64_t *next; /* number expected, by publisher */
};

struct load {
	const struct bench_mqtt_params *params;
	const struct bench_mqtt_target *target;
	struct bench_mqtt_outcome *out;
	struct publisher *publishers;
	struct subscriber *subscribers;
	unsigned int n_subscribers; /* the bus reader is one */
	struct hbus *bus;
	struct hbus_subscriber *reader;
	int epoll_fd;
	uint32_t run;
	unsigned int n_ready;
	uint64_t n_done;         /* messages received or known to be lost: what the backlog waits for */
	uint64_t n_due;          /* messages that subscribers ought to get, all together */
	uint64_t begin_ns, warm_ns, end_ns; /* warm: from then on it counts */
	uint64_t irregular_ns, dice; /* is_irregular: when the next message is due */
	uint64_t last_ns;        /* of progress */
	unsigned int turn;       /* publisher to begin with */
	bool has_failed, is_ending;
};

static void fail(struct load *load, const char *what)
{
	if (!load->has_failed)
		bench_blame("%s", what);
	load->has_failed = true;
}

static unsigned int n_hearers(const struct load *load)
{
	return load->params->is_pairs ? 1 : load->n_subscribers;
}

/* -- what arrives -- */

static void take_message(struct load *load, uint64_t *next, const uint8_t *payload, size_t size, uint64_t now)
{
	const struct bench_mqtt_params *params = load->params;
	struct bench_mqtt_outcome *out = load->out;
	struct bench_mqtt_label label;

	if (!bench_mqtt_check(payload, size, params->size, &label)) {
		out->n_corrupt++;
		return;
	}
	if (label.run != load->run || label.publisher >= params->n_publishers) {
		out->n_strange++;
		return;
	}
	if (label.number < next[label.publisher]) {
		out->n_repeated++;
		return;
	}
	out->n_lost += label.number - next[label.publisher];
	load->n_done += label.number - next[label.publisher] + 1;
	next[label.publisher] = label.number + 1;
	out->n_received++;
	if (params->rate && label.due_ns >= load->warm_ns && label.due_ns < load->end_ns)
		bench_histogram_add(&out->latency, now > label.due_ns ? now - label.due_ns : 0);
}

static void take_publish(struct load *load, struct subscriber *subscriber, const struct hbus_mqtt_whole *packet,
			 uint64_t now)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(packet->body, packet->size);
	uint8_t qos = packet->first_byte >> 1 & 3;
	uint16_t packet_id = 0;

	(void)hbus_mqtt_get_binary(&reader);
	if (qos > 0)
		packet_id = hbus_mqtt_get_u16(&reader);
	if (subscriber->client.version == HBUS_MQTT_V5)
		(void)hbus_mqtt_get_bytes(&reader, hbus_mqtt_get_varint(&reader));
	if (reader.is_bad || qos != load->params->qos) {
		load->out->n_corrupt++;
		return;
	}
	take_message(load, subscriber->next, reader.at, hbus_mqtt_left(&reader), now);
	if (qos > 0)
		bench_mqtt_client_say_ack(&subscriber->client, qos == 1 ? HBUS_MQTT_PUBACK : HBUS_MQTT_PUBREC, packet_id);
}

/* PUBACK, PUBREC or PUBCOMP of what a publisher has sent. */
static void take_ack(struct load *load, struct publisher *publisher, uint8_t type, uint16_t packet_id)
{
	uint8_t state = packet_id > 0 && packet_id <= publisher->n_ids ? publisher->ids[packet_id - 1] : FREE;
	uint8_t wanted = type == HBUS_MQTT_PUBCOMP ? RELEASED : PUBLISHED;

	if (state != wanted) {
		fail(load, "the broker acknowledged what was not sent");
		return;
	}
	if (type == HBUS_MQTT_PUBREC) {
		publisher->ids[packet_id - 1] = RELEASED;
		bench_mqtt_client_say_ack(&publisher->client, HBUS_MQTT_PUBREL, packet_id);
		return;
	}
	publisher->ids[packet_id - 1] = FREE;
	publisher->n_in_flight--;
}

static void take_connack(struct load *load, struct bench_mqtt_client *client, const struct hbus_mqtt_whole *packet)
{
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(packet->body, packet->size);
	uint8_t reason;

	(void)hbus_mqtt_get_u8(&reader);
	reason = hbus_mqtt_get_u8(&reader);
	if (reader.is_bad || reason) {
		char text[64];

		snprintf(text, sizeof(text), "the broker refused the connection: 0x%02x", reason);
		fail(load, text);
		return;
	}
	if (client->version == HBUS_MQTT_V5) {
		struct hbus_mqtt_props props;

		if (hbus_mqtt_get_props(&reader, HBUS_MQTT_CONNACK, &props) == 0)
			client->receive_max = (uint16_t)hbus_mqtt_number(&props, HBUS_MQTT_P_RECEIVE_MAX, UINT16_MAX);
	}
	if (client->is_subscriber) {
		char filter[32] = "hbench/#";

		if (load->params->is_pairs)
			snprintf(filter, sizeof(filter), "hbench/%u", client->idx);
		bench_mqtt_client_say_subscribe(client, filter, load->params->qos);
		client->is_dirty = true;
		return;
	}
	client->is_ready = true;
	load->n_ready++;
}

static void take_suback(struct load *load, struct bench_mqtt_client *client, const struct hbus_mqtt_whole *packet)
{
	/* The only reason code is the last byte. */
	if (packet->size < 3 || packet->body[packet->size - 1] != load->params->qos) {
		fail(load, "the broker refused the subscription or its QoS");
		return;
	}
	client->is_ready = true;
	load->n_ready++;
}

static void take_packet(struct load *load, struct bench_mqtt_client *client, const struct hbus_mqtt_whole *packet,
			uint64_t now)
{
	uint8_t type = packet->first_byte >> 4;
	uint16_t packet_id = 0;
	char text[96];

	if (packet->size >= 2)
		packet_id = (uint16_t)(packet->body[0] << 8 | packet->body[1]);
	if (type == HBUS_MQTT_PUBLISH && client->is_subscriber) {
		take_publish(load, (struct subscriber *)client, packet, now);
	} else if (type == HBUS_MQTT_PUBREL && client->is_subscriber) {
		bench_mqtt_client_say_ack(client, HBUS_MQTT_PUBCOMP, packet_id);
	} else if ((type == HBUS_MQTT_PUBACK || type == HBUS_MQTT_PUBREC || type == HBUS_MQTT_PUBCOMP) &&
		   !client->is_subscriber) {
		if (packet->size > 2 && packet->body[2] >= HBUS_MQTT_UNSPECIFIED) {
			snprintf(text, sizeof(text), "the broker refused a message: 0x%02x", packet->body[2]);
			fail(load, text);
		}
		take_ack(load, (struct publisher *)client, type, packet_id);
	} else if (type == HBUS_MQTT_CONNACK && !client->is_ready) {
		take_connack(load, client, packet);
	} else if (type == HBUS_MQTT_SUBACK && client->is_subscriber) {
		take_suback(load, client, packet);
	} else if (type == HBUS_MQTT_DISCONNECT && !load->is_ending) {
		snprintf(text, sizeof(text), "the broker disconnected: 0x%02x", packet->size > 0 ? packet->body[0] : 0);
		fail(load, text);
	} else if (!load->is_ending) {
		snprintf(text, sizeof(text), "a packet of type %u that nobody has asked for", type);
		fail(load, text);
	}
}

/* Return: whether to read on. */
static bool read_once(struct load *load, struct bench_mqtt_client *client)
{
	static uint8_t buffer[IN_BYTES];
	ssize_t n = bench_mqtt_transport_read(&client->transport, buffer, sizeof(buffer));
	const uint8_t *data = buffer;
	struct hbus_mqtt_whole packet;
	size_t size;
	uint64_t now;
	int r = 0;

	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n <= 0) {
		fail(load, n == -EPROTO ? "the broker sent a frame that is none" : "the broker closed a connection");
		return false;
	}
	now = bench_now_ns();
	load->last_ns = now;
	size = (size_t)n;
	while (!load->has_failed) {
		r = hbus_mqtt_frame_next(&client->frame, &data, &size, PACKET_MAX, &packet);
		if (r)
			break;
		take_packet(load, client, &packet, now);
	}
	if (r && r != HBUS_MQTT_FRAME_MORE)
		fail(load, "the broker sent a malformed packet");
	return !load->has_failed && bench_mqtt_transport_has_more(&client->transport);
}

static void read_client(struct load *load, struct bench_mqtt_client *client)
{
	while (read_once(load, client))
		continue;
	if (bench_mqtt_client_waiting(client) || bench_mqtt_transport_is_pending(&client->transport))
		client->is_dirty = true;
}

/* Events of the bus in shared memory, where this process is the only subscriber. */
static void read_bus(struct load *load)
{
	struct hbus_event events[BUS_EVENTS];
	struct hbus_loss loss;
	int n = hbus_poll(load->reader, events, BUS_EVENTS);

	if (n < 0) {
		fail(load, hbus_error_text());
		return;
	}
	for (int i = 0; i < n; i++)
		take_message(load, load->subscribers[0].next, events[i].data, events[i].size, bench_now_ns());
	if (n > 0)
		load->last_ns = bench_now_ns();
	while (hbus_next_loss(load->reader, &loss) == 1)
		if (loss.reason != HBUS_LOSS_UNNAMED)
			fail(load, "the bus reader was lapped");
}

/* -- what is sent -- */

static uint16_t take_id(struct publisher *publisher)
{
	do {
		publisher->last_id = publisher->last_id % publisher->n_ids + 1;
	} while (publisher->ids[publisher->last_id - 1] != FREE);
	publisher->ids[publisher->last_id - 1] = PUBLISHED;
	publisher->n_in_flight++;
	return (uint16_t)publisher->last_id;
}

static bool may_send(const struct publisher *publisher)
{
	return bench_mqtt_client_waiting(&publisher->client) < BENCH_MQTT_OUT_BYTES &&
	       (publisher->n_ids == 0 || publisher->n_in_flight < publisher->window);
}

static void send_one(struct load *load, struct publisher *publisher, uint64_t due_ns)
{
	struct bench_mqtt_label label = {load->run, publisher->client.idx, publisher->next++, due_ns};
	size_t size = publisher->template.head_size + publisher->template.size;
	uint16_t packet_id = publisher->n_ids ? take_id(publisher) : 0;

	bench_mqtt_template_fill(&publisher->template, packet_id, &label, bench_mqtt_client_room(&publisher->client, size));
	bench_mqtt_client_put(&publisher->client, size);
	publisher->client.is_dirty = true;
	load->out->n_sent++;
	load->n_due += n_hearers(load);
}

static void send_all(struct load *load, uint64_t now)
{
	unsigned int n = load->params->n_publishers;

	for (unsigned int i = 0; i < n; i++) {
		struct publisher *publisher = &load->publishers[(load->turn + i) % n];

		while (may_send(publisher) &&
		       load->n_due - load->n_done < (uint64_t)load->params->backlog * n_hearers(load))
			send_one(load, publisher, now);
	}
	load->turn = (load->turn + 1) % n;
}

/* Messages are due one after another, of each publisher in turn. */
static uint64_t due_ns(const struct load *load)
{
	if (load->params->is_irregular)
		return load->begin_ns + load->irregular_ns;
	return load->begin_ns + load->out->n_sent * 1000000000u / load->params->rate;
}

static void throw_dice(struct load *load)
{
	load->dice = load->dice * 6364136223846793005u + 1442695040888963407u;
	load->irregular_ns += (load->dice >> 33) % (2000000000u / load->params->rate);
}

static void send_due(struct load *load, uint64_t now)
{
	while (due_ns(load) <= now && due_ns(load) < load->end_ns) {
		struct publisher *publisher = &load->publishers[load->out->n_sent % load->params->n_publishers];

		if (!may_send(publisher))
			return;
		send_one(load, publisher, due_ns(load));
		throw_dice(load);
	}
}

static void flush(struct load *load, struct bench_mqtt_client *client)
{
	if (!client->is_dirty)
		return;
	client->is_dirty = false;
	if (!client->wants_out && bench_mqtt_client_flush(client, load->epoll_fd) < 0 && !load->is_ending)
		fail(load, "the broker closed a connection");
}

static void flush_all(struct load *load)
{
	for (unsigned int i = 0; i < load->params->n_publishers; i++)
		flush(load, &load->publishers[i].client);
	for (unsigned int i = 0; i < load->params->n_subscribers; i++)
		flush(load, &load->subscribers[i].client);
}

/* -- the loop -- */

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
}

/* Waits until something can be read or written, or until @until_ns, and deals with it. */
static void round_of(struct load *load, uint64_t until_ns)
{
	struct epoll_event events[EVENTS];
	uint64_t now = bench_now_ns();
	struct timespec timeout = timespec_of(until_ns > now && !load->params->spins ? until_ns - now : 0);
	int n = epoll_pwait2(load->epoll_fd, events, EVENTS, &timeout, NULL);

	for (int i = 0; i < n && !load->has_failed; i++) {
		struct bench_mqtt_client *client = events[i].data.ptr;

		if (events[i].events & EPOLLOUT && bench_mqtt_client_flush(client, load->epoll_fd) < 0)
			fail(load, "the broker closed a connection");
		if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			read_client(load, client);
		if (client->is_subscriber || !load->begin_ns)
			flush(load, client);
	}
	if (load->reader && load->begin_ns)
		read_bus(load);
}

/* When there is something to do though nothing comes; what is due and cannot be sent waits for what comes. */
static uint64_t next_ns(const struct load *load, uint64_t now, uint64_t until_ns)
{
	uint64_t next = load->params->rate ? due_ns(load) : 0;

	if (next <= now)
		next = now + 1000000;
	return next < until_ns ? next : until_ns;
}

static uint64_t patience_ns(const struct load *load)
{
	return (uint64_t)(load->params->patience_ms ? load->params->patience_ms : PATIENCE_MS) * 1000000;
}

/* Sends and receives until @until_ns. */
static void run_until(struct load *load, uint64_t until_ns, const volatile sig_atomic_t *must_end)
{
	uint64_t now;

	while (!load->has_failed && !*must_end && (now = bench_now_ns()) < until_ns) {
		if (now - load->last_ns > patience_ns(load) && load->n_due > load->n_done) {
			fail(load, "the broker does not answer");
			return;
		}
		if (load->params->rate)
			send_due(load, now);
		else
			send_all(load, now);
		flush_all(load);
		round_of(load, next_ns(load, now, until_ns));
	}
}

/* What is under way arrives, and what was sent is acknowledged. */
static void drain(struct load *load, const volatile sig_atomic_t *must_end)
{
	load->last_ns = bench_now_ns();
	while (!load->has_failed && !*must_end && bench_now_ns() - load->last_ns < patience_ns(load)) {
		unsigned int n_open = 0;

		flush_all(load);
		for (unsigned int i = 0; i < load->params->n_publishers; i++)
			n_open += load->publishers[i].n_in_flight > 0;
		if (load->n_done >= load->n_due && n_open == 0)
			break;
		round_of(load, bench_now_ns() + 10000000);
	}
	if (load->n_due > load->n_done)
		load->out->n_lost += load->n_due - load->n_done;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t broker_ns(const struct load *load)
{
	return load->target->cpu_fn ? load->target->cpu_fn(load->target->context) : UINT64_MAX;
}

static void measure(struct load *load, const volatile sig_atomic_t *must_end)
{
	struct bench_mqtt_outcome *out = load->out;
	uint64_t duration = (uint64_t)load->params->duration_ms * 1000000, received, cpu, broker, now;

	load->begin_ns = load->last_ns = bench_now_ns();
	load->warm_ns = load->begin_ns + duration / 5;
	load->end_ns = load->warm_ns + duration;
	run_until(load, load->warm_ns, must_end);
	received = out->n_received;
	cpu = cpu_ns();
	broker = broker_ns(load);
	now = bench_now_ns();
	run_until(load, load->end_ns, must_end);
	duration = bench_now_ns() - now;
	out->rate = (double)(out->n_received - received) * 1e9 / (double)duration;
	out->loader_cpu = (double)(cpu_ns() - cpu) / (double)duration;
	out->broker_cpu = broker == UINT64_MAX ? -1 : (double)(broker_ns(load) - broker) / (double)duration;
	drain(load, must_end);
}

/* -- begin and end -- */

static void *need(size_t n, size_t size)
{
	void *memory = calloc(n > 0 ? n : 1, size);

	if (!memory) {
		fprintf(stderr, "hugebus-bench: out of memory\n");
		exit(1);
	}
	return memory;
}

static void open_client(struct load *load, struct bench_mqtt_client *client, uint32_t idx, bool is_subscriber)
{
	client->transport.fd = -1;
	client->idx = idx;
	client->version = load->params->version;
	client->is_subscriber = is_subscriber;
	client->keeps_session = load->params->keeps_sessions;
	if (load->has_failed)
		return;
	if (bench_mqtt_client_open(client, &load->target->endpoint, load->epoll_fd) < 0) {
		load->has_failed = true;
		return;
	}
	bench_mqtt_client_say_connect(client, &load->target->endpoint);
	client->is_dirty = true;
	flush(load, client);
}

static void open_reader(struct load *load)
{
	if (hbus_open(load->target->bus_socket, NULL, &load->bus) < 0 ||
	    hbus_subscriber_open(load->bus, NULL, &load->reader) < 0 || hbus_subscribe(load->reader, "hbench/#") < 0)
		fail(load, hbus_error_text());
}

static void ready_publisher(struct load *load, struct publisher *publisher)
{
	const struct bench_mqtt_params *params = load->params;
	char topic[32];

	snprintf(topic, sizeof(topic), "hbench/%u", publisher->client.idx);
	bench_mqtt_template_make(&publisher->template, params->version, params->qos, topic, params->size);
	if (params->qos == 0)
		return;
	publisher->window = params->window < publisher->client.receive_max ? params->window : publisher->client.receive_max;
	publisher->n_ids = publisher->window * 2 < UINT16_MAX ? publisher->window * 2 : UINT16_MAX;
	publisher->ids = need(publisher->n_ids, 1);
	load->out->window = publisher->window;
}

/* Every connection stands and every subscription is acknowledged. */
static void open_all(struct load *load, const volatile sig_atomic_t *must_end)
{
	const struct bench_mqtt_params *params = load->params;
	uint64_t begin = bench_now_ns();

	if (params->is_bus)
		open_reader(load);
	for (unsigned int i = 0; i < load->n_subscribers; i++)
		load->subscribers[i].next = need(params->n_publishers, sizeof(uint64_t));
	for (unsigned int i = 0; i < params->n_subscribers; i++)
		open_client(load, &load->subscribers[i].client, i, true);
	for (unsigned int i = 0; i < params->n_publishers; i++)
		open_client(load, &load->publishers[i].client, i, false);
	while (!load->has_failed && !*must_end && load->n_ready < params->n_publishers + params->n_subscribers) {
		round_of(load, bench_now_ns() + 10000000);
		if (bench_now_ns() - begin > READY_NS)
			fail(load, "the broker did not take all connections in time");
	}
	for (unsigned int i = 0; i < params->n_publishers; i++)
		ready_publisher(load, &load->publishers[i]);
}

static void close_client(struct load *load, struct bench_mqtt_client *client)
{
	if (client->transport.fd < 0)
		return;
	load->is_ending = true;
	bench_mqtt_client_say_bye(client);
	(void)bench_mqtt_client_flush(client, load->epoll_fd);
	bench_mqtt_client_close(client);
}

static void close_all(struct load *load)
{
	for (unsigned int i = 0; i < load->params->n_publishers; i++) {
		close_client(load, &load->publishers[i].client);
		free(load->publishers[i].ids);
	}
	for (unsigned int i = 0; i < load->n_subscribers; i++) {
		if (i < load->params->n_subscribers)
			close_client(load, &load->subscribers[i].client);
		free(load->subscribers[i].next);
	}
	hbus_subscriber_close(load->reader);
	hbus_close(load->bus);
	free(load->publishers);
	free(load->subscribers);
	if (load->epoll_fd >= 0)
		close(load->epoll_fd);
}

static void say_faults(struct load *load)
{
	const struct bench_mqtt_outcome *out = load->out;
	char text[160];

	if ((load->params->may_lose ? 0 : out->n_lost) + out->n_repeated + out->n_corrupt + out->n_strange == 0)
		return;
	snprintf(text, sizeof(text), "of %" PRIu64 " messages of QoS %u sent: %" PRIu64 " lost, %" PRIu64 " repeated, %" PRIu64
		 " corrupt, %" PRIu64 " of nobody", out->n_sent, load->params->qos, out->n_lost, out->n_repeated, out->n_corrupt, out->n_strange);
	fail(load, text);
}

int bench_mqtt_load(const struct bench_mqtt_params *params, const struct bench_mqtt_target *target,
		    const volatile sig_atomic_t *must_end, struct bench_mqtt_outcome *ret_outcome)
{
	struct load load = {.params = params, .target = target, .out = ret_outcome};

	memset(ret_outcome, 0, sizeof(*ret_outcome));
	load.n_subscribers = params->is_bus ? 1 : params->n_subscribers;
	load.run = (uint32_t)bench_now_ns();
	load.publishers = need(params->n_publishers, sizeof(*load.publishers));
	load.subscribers = need(load.n_subscribers, sizeof(*load.subscribers));
	load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	open_all(&load, must_end);
	if (!load.has_failed && !*must_end)
		measure(&load, must_end);
	if (!*must_end)
		say_faults(&load);
	close_all(&load);
	return load.has_failed || *must_end ? -1 : 0;
}
