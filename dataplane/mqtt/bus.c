/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One publisher for all clients, one subscriber for all filters.
 *
 * Events of a lossy subscriber can be overwritten while they are used. So a poll's events are copied,
 * and only when the library says that they were whole are they given to the engine.
 * It reads its own ring as any other. So that it cannot overtake itself, the loop takes events
 * before it lets clients publish more than a quarter of the ring.
 */
#include "dataplane/mqtt/bus.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/mqtt/attributes.h"
#include "dataplane/mqtt/cloudevent.h"
#include "dataplane/mqtt/topics.h"
#include "shm/counters.h"

enum { POLL_MAX = 16, EVENT_OVERHEAD = 64 };

_Static_assert(sizeof(struct hbus_counter) == sizeof(struct hbus_counter_cell), "the library's cells are ours");

#define COUNT_FIELD(name, text) +1
enum { N_COUNTERS = 0 HBUS_MQTT_COUNTERS(COUNT_FIELD), N_CELLS = N_COUNTERS + 4 };

/* The cells after the engine's. */
enum { CELL_TOO_LARGE = N_COUNTERS, CELL_LAPPED, CELL_LOST, CELL_FOREIGN };

struct hbus_mqtt_bus {
	struct hbus *bus;
	struct hbus_publisher *publisher;
	struct hbus_subscriber *subscriber;
	struct hbus_counter *cells;
	struct hbus_mqtt_topics topics;
	uint64_t ring_size, pressure; /* bytes published since events were last taken */
	uint64_t event_max;
	bool wants_all, adds_cloudevents;
	void (*log)(const char *sentence);
	char source[128]; /* begins the source of CloudEvents */
	uint64_t n_too_large, n_lapped, n_lost, n_foreign;
	uint8_t *room; /* copies of one poll's events */
	size_t room_size;
	uint8_t attributes[HBUS_MQTT_ATTRIBUTES_MAX];
};

static __attribute__((format(printf, 2, 3))) void say(const struct hbus_mqtt_bus *bus, const char *format, ...)
{
	char sentence[512];
	va_list args;

	if (!bus->log)
		return;
	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	bus->log(sentence);
}

static int open_handles(struct hbus_mqtt_bus *bus, const struct hbus_mqtt_bus_options *options)
{
	struct hbus_publisher_options pub = {
		.struct_size = sizeof(pub),
		.flags = HBUS_PUB_TIMESTAMP | (options->wakes_later ? HBUS_PUB_DEFER_WAKE : 0) |
			 (options->publish_wait_ms == 0 ? HBUS_PUB_NEVER_WAIT : 0),
		.capacity = options->ring_size,
		.timeout_ms = options->publish_wait_ms,
	};
	struct hbus_subscriber_options sub = { .struct_size = sizeof(sub),
					       .flags = options->is_reliable ? HBUS_SUB_FLAG_RELIABLE : 0 };
	int r = hbus_publisher_open(bus->bus, &pub, &bus->publisher);

	if (r == 0)
		r = hbus_subscriber_open(bus->bus, &sub, &bus->subscriber);
	if (r == 0 && options->counters &&
	    hbus_counters_create(bus->bus, options->counters, N_CELLS, &bus->cells) < 0)
		say(bus, "counters stay private: %s", hbus_error_text());
	return r;
}

static void name_cells(struct hbus_mqtt_bus *bus)
{
	static const char *const names[N_CELLS] = {
#define COUNTER_NAME(name, text) #name,
		HBUS_MQTT_COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
		"bus_too_large", "bus_lapped", "bus_lost", "bus_not_mqtt",
	};

	for (unsigned int i = 0; bus->cells && i < N_CELLS; i++)
		snprintf(bus->cells[i].name, sizeof(bus->cells[i].name), "%s", names[i]);
}

static void name_source(struct hbus_mqtt_bus *bus)
{
	char host[64] = "";

	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	snprintf(bus->source, sizeof(bus->source), "hugebus://%s/", host);
}

int hbus_mqtt_bus_open(const struct hbus_mqtt_bus_options *options, struct hbus_mqtt_bus **ret_bus)
{
	struct hbus_mqtt_bus *bus = calloc(1, sizeof(*bus));
	int r;

	if (!bus)
		return HBUS_E_NO_MEMORY;
	bus->bus = options->bus;
	bus->log = options->log;
	bus->ring_size = options->ring_size;
	bus->event_max = options->event_max;
	bus->adds_cloudevents = options->adds_cloudevents;
	name_source(bus);
	if (getrandom(bus->topics.secret, sizeof(bus->topics.secret), 0) != (ssize_t)sizeof(bus->topics.secret)) {
		free(bus);
		return HBUS_E_SYSTEM;
	}
	r = open_handles(bus, options);
	if (r < 0) {
		hbus_mqtt_bus_close(bus);
		return r;
	}
	name_cells(bus);
	*ret_bus = bus;
	return 0;
}

struct hbus_mqtt_bus *hbus_mqtt_bus_close(struct hbus_mqtt_bus *bus)
{
	if (!bus)
		return NULL;
	hbus_subscriber_close(bus->subscriber);
	hbus_publisher_close(bus->publisher);
	hbus_mqtt_topics_deinit(&bus->topics);
	free(bus->room);
	free(bus);
	return NULL;
}

int hbus_mqtt_bus_fd(const struct hbus_mqtt_bus *bus)
{
	return hbus_fd(bus->subscriber);
}

void hbus_mqtt_bus_wake(struct hbus_mqtt_bus *bus)
{
	(void)hbus_publisher_wake(bus->publisher);
}

/* -- to the bus -- */

static uint8_t reason_of(int error)
{
	switch (error) {
	case HBUS_E_DENIED:
	case HBUS_E_POLICY:
		return HBUS_MQTT_NOT_AUTHORIZED;
	case HBUS_E_NAME:
		return HBUS_MQTT_BAD_TOPIC;
	case HBUS_E_QUOTA:
	case HBUS_E_LIMIT:
	case HBUS_E_TOO_LARGE:
	case HBUS_E_NO_MEMORY:
	case HBUS_FULL:
		return HBUS_MQTT_QUOTA;
	default:
		return HBUS_MQTT_UNSPECIFIED;
	}
}

static uint8_t topic_number(struct hbus_mqtt_bus *bus, const char *name, hbus_topic_t *ret_topic)
{
	hbus_topic_t topic = hbus_mqtt_topics_find(&bus->topics, name);
	int r;

	if (topic == 0) {
		if (bus->topics.n >= HBUS_MQTT_TOPICS_MAX)
			return HBUS_MQTT_QUOTA;
		/* Nobody to ask: refused at once, so that the others do not wait for an answer. */
		if (!hbus_is_connected(bus->bus))
			return HBUS_MQTT_UNSPECIFIED;
		r = hbus_publisher_topic(bus->publisher, name, NULL, NULL, &topic);
		if (r < 0)
			return reason_of(r);
		if (hbus_mqtt_topics_add(&bus->topics, name, topic) < 0)
			return HBUS_MQTT_QUOTA;
	}
	*ret_topic = topic;
	return 0;
}

static uint8_t publish(void *context, const struct hbus_mqtt_message *message)
{
	struct hbus_mqtt_bus *bus = context;
	struct hbus_attributes attributes = { .extra = bus->attributes };
	hbus_topic_t topic;
	uint8_t reason = topic_number(bus, message->topic, &topic);
	int r;

	if (reason)
		return reason;
	attributes.extra_size = hbus_mqtt_attributes_encode(message, bus->attributes);
	if (attributes.extra_size == 0)
		return HBUS_MQTT_QUOTA;
	r = hbus_publish_with(bus->publisher, topic, message->payload, message->payload_size, &attributes);
	bus->pressure += message->payload_size + attributes.extra_size + EVENT_OVERHEAD;
	return r == 0 ? 0 : reason_of(r);
}

bool hbus_mqtt_bus_is_pressed(const struct hbus_mqtt_bus *bus)
{
	return bus->pressure > bus->ring_size / 4;
}

/* -- filters -- */

static uint8_t subscribe(void *context, const char *filter)
{
	struct hbus_mqtt_bus *bus = context;
	int r;

	if (bus->wants_all && filter[0] != '$')
		return 0;
	if (!hbus_is_connected(bus->bus))
		return HBUS_MQTT_UNSPECIFIED;
	r = hbus_subscribe(bus->subscriber, filter);
	if (r == HBUS_E_LIMIT || r == HBUS_E_QUOTA) {
		/* More filters than a subscriber may have: take all events, the engine knows who wants which. */
		say(bus, "%s: from now on all topics are read", hbus_error_text());
		r = hbus_subscribe(bus->subscriber, "#");
		bus->wants_all = r == 0 || r == HBUS_E_EXISTS;
	}
	if (r == HBUS_E_EXISTS)
		return 0;
	if (r < 0)
		say(bus, "cannot subscribe to %s: %s", filter, hbus_error_text());
	return r == 0 ? 0 : reason_of(r);
}

static void unsubscribe(void *context, const char *filter)
{
	struct hbus_mqtt_bus *bus = context;

	/* With "#" in place of those that did not fit some filters are unknown there. */
	if (!bus->wants_all || strcmp(filter, "#") != 0)
		(void)hbus_unsubscribe(bus->subscriber, filter);
}

void hbus_mqtt_bus_io(struct hbus_mqtt_bus *bus, struct hbus_mqtt_io *io)
{
	io->bus_context = bus;
	io->publish = publish;
	io->subscribe = subscribe;
	io->unsubscribe = unsubscribe;
}

/* -- from the bus -- */

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool is_taken(const struct hbus_mqtt_bus *bus, const struct hbus_event *event)
{
	return event->size <= bus->event_max && event->extra_size <= HBUS_MQTT_ATTRIBUTES_MAX;
}

/* Payloads and attributes of all events, one after another. Return: false without memory. */
static bool copy_events(struct hbus_mqtt_bus *bus, struct hbus_event *events, int n)
{
	size_t size = 0;
	uint8_t *at;

	for (int i = 0; i < n; i++)
		size += is_taken(bus, &events[i]) ? events[i].size + events[i].extra_size : 0;
	if (size > bus->room_size) {
		at = realloc(bus->room, size);
		if (!at)
			return false;
		bus->room = at;
		bus->room_size = size;
	}
	at = bus->room;
	for (int i = 0; i < n; i++) {
		if (!is_taken(bus, &events[i]))
			continue;
		if (events[i].size > 0)
			memcpy(at, events[i].data, events[i].size);
		events[i].data = at;
		at += events[i].size;
		if (events[i].extra_size > 0)
			memcpy(at, events[i].extra, events[i].extra_size);
		events[i].extra = at;
		at += events[i].extra_size;
	}
	return true;
}

static void give(struct hbus_mqtt_bus *bus, struct hbus_mqtt *engine, const struct hbus_event *event,
		 uint64_t real_ns)
{
	struct hbus_mqtt_message message = { .topic = event->topic, .payload = event->data,
					     .payload_size = event->size };
	uint8_t room[HBUS_MQTT_CLOUDEVENT_MAX];

	if (!is_taken(bus, event)) {
		bus->n_too_large++;
		return;
	}
	if (!hbus_mqtt_attributes_decode(event->extra, event->extra_size, &message)) {
		bus->n_foreign++;
		if (bus->adds_cloudevents) {
			message.props.size = hbus_mqtt_cloudevent(room, bus->source, event->topic, event->ring_id,
								  event->sequence, event->time_ns);
			message.props.data = room;
		}
	}
	if (event->time_ns && event->time_ns < real_ns)
		message.age_ms = (real_ns - event->time_ns) / 1000000;
	hbus_mqtt_event(engine, &message);
}

static void count_losses(struct hbus_mqtt_bus *bus)
{
	struct hbus_loss loss;

	while (hbus_next_loss(bus->subscriber, &loss) > 0) {
		bus->n_lost += loss.n_events;
		say(bus, "ring %llx: %llu events lost, reason %u", (unsigned long long)loss.ring_id,
				 (unsigned long long)loss.n_events, loss.reason);
	}
}

bool hbus_mqtt_bus_take(struct hbus_mqtt_bus *bus, struct hbus_mqtt *engine)
{
	struct hbus_event events[POLL_MAX];
	uint64_t real_ns;
	int n = hbus_poll(bus->subscriber, events, POLL_MAX);

	if (n <= 0) {
		bus->pressure = 0;
		count_losses(bus);
		return hbus_fd_arm(bus->subscriber) == 1;
	}
	if (!copy_events(bus, events, n)) {
		say(bus, "no memory for %d events", n);
		return true;
	}
	if (hbus_release(bus->subscriber) == HBUS_LAPPED) {
		bus->n_lapped++;
		return true;
	}
	real_ns = now_ns(CLOCK_REALTIME);
	for (int i = 0; i < n; i++)
		give(bus, engine, &events[i], real_ns);
	return true;
}

void hbus_mqtt_bus_count(struct hbus_mqtt_bus *bus, const struct hbus_mqtt_counters *counters)
{
	const uint64_t values[N_CELLS] = {
#define COUNTER_VALUE(name, text) counters->name,
		HBUS_MQTT_COUNTERS(COUNTER_VALUE)
#undef COUNTER_VALUE
		[CELL_TOO_LARGE] = bus->n_too_large, [CELL_LAPPED] = bus->n_lapped,
		[CELL_LOST] = bus->n_lost, [CELL_FOREIGN] = bus->n_foreign,
	};

	for (unsigned int i = 0; bus->cells && i < N_CELLS; i++)
		hbus_counter_set((struct hbus_counter_cell *)(void *)&bus->cells[i], values[i]);
}
