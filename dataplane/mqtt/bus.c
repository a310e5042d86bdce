/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One publisher for all clients, one subscriber for all filters.
 *
 * Topics and filters that the daemon has to be asked for are asked for by a thread of its own (asker.h).
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

#include "dataplane/mqtt/asker.h"
#include "dataplane/mqtt/attributes.h"
#include "dataplane/mqtt/cloudevent.h"
#include "dataplane/mqtt/rules.h"
#include "dataplane/mqtt/topics.h"
#include "shm/counters.h"

/* The number of a topic while the daemon is asked for it. */
#define TOPIC_ASKED UINT32_MAX

/* How often the policy about clients is asked for. */
#define RULES_NS UINT64_C(2000000000)

enum { POLL_MAX = 16, EVENT_OVERHEAD = 64 };

/* How often, and how many of those who wait for room at a time. */
#define RETRY_NS UINT64_C(1000000)
enum { RETRIES_MAX = 256 };

_Static_assert(sizeof(struct hbus_counter) == sizeof(struct hbus_counter_cell), "the library's cells are ours");

#define COUNT_FIELD(name, text) +1
enum { N_COUNTERS = 0 HBUS_MQTT_COUNTERS(COUNT_FIELD), N_CELLS = N_COUNTERS + 5 };

/* The cells after the engine's. */
enum { CELL_TOO_LARGE = N_COUNTERS, CELL_LAPPED, CELL_LOST, CELL_FOREIGN, CELL_TOPICS };

struct hbus_mqtt_bus {
	struct hbus *bus;
	struct hbus_publisher *publisher;
	struct hbus_subscriber *subscriber;
	struct hbus_counter *cells;
	struct hbus_mqtt_topics topics;
	uint64_t ring_size, pressure; /* bytes published since events were last taken */
	uint64_t event_max;
	struct hbus_mqtt_asker *asker;
	struct hbus_mqtt_rules rules;
	uint64_t rules_ns; /* when to ask for them next */
	bool is_asking_rules;
	const struct hbus_mqtt_answer *refused; /* while the engine hears that this topic is not to be had */
	bool adds_cloudevents, is_in_batch;
	bool waits_for_room;
	char **stuck; /* topics of messages that wait for room, in their order; some more than once */
	size_t n_stuck, stuck_room;
	uint64_t retry_ns;
	bool is_stalled; /* a reliable reader holds us up: what it cannot see does not help it on, so no batches */
	void (*log)(const char *sentence);
	char source[128]; /* begins the source of CloudEvents */
	uint64_t n_too_large, n_lapped, n_lost, n_foreign, n_topics_limited;
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
		.flags = HBUS_PUB_TIMESTAMP |
			 (options->publish_wait_ms == 0 ? HBUS_PUB_NEVER_WAIT : 0),
		.capacity = options->ring_size,
		.timeout_ms = options->publish_wait_ms,
	};
	struct hbus_subscriber_options sub = { .struct_size = sizeof(sub),
					       .flags = HBUS_SUB_FLAG_NO_OWN_WAKE |
							(options->is_reliable ? HBUS_SUB_FLAG_RELIABLE : 0) };
	int r = hbus_publisher_open(bus->bus, &pub, &bus->publisher);

	if (r == 0)
		r = hbus_subscriber_open(bus->bus, &sub, &bus->subscriber);
	/* Without them nobody knows what clients may do. */
	if (r == 0)
		r = hbus_mqtt_rules_read(bus->bus, &bus->rules);
	if (r == 0 && options->counters &&
	    hbus_counters_create(bus->bus, options->counters, N_CELLS, &bus->cells) < 0)
		say(bus, "counters stay private: %s", hbus_error_text());
	if (r == 0 && hbus_mqtt_asker_new(bus->bus, bus->publisher, bus->subscriber, bus->log, &bus->asker) < 0)
		r = HBUS_E_SYSTEM;
	return r;
}

static void name_cells(struct hbus_mqtt_bus *bus)
{
	static const char *const names[N_CELLS] = {
#define COUNTER_NAME(name, text) #name,
		HBUS_MQTT_COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
		"bus_too_large", "bus_lapped", "bus_lost", "bus_not_mqtt", "topics_limited",
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
	bus->waits_for_room = options->waits_for_room;
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
	bus->asker = hbus_mqtt_asker_free(bus->asker);
	hbus_subscriber_close(bus->subscriber);
	hbus_publisher_close(bus->publisher);
	hbus_mqtt_topics_deinit(&bus->topics);
	hbus_mqtt_rules_deinit(&bus->rules);
	while (bus->n_stuck > 0)
		free(bus->stuck[--bus->n_stuck]);
	free(bus->stuck);
	free(bus->room);
	free(bus);
	return NULL;
}

int hbus_mqtt_bus_fd(const struct hbus_mqtt_bus *bus)
{
	return hbus_fd(bus->subscriber);
}

bool hbus_mqtt_bus_is_asking(const struct hbus_mqtt_bus *bus)
{
	return hbus_mqtt_asker_n_out(bus->asker) > 0;
}

int hbus_mqtt_bus_answer_fd(const struct hbus_mqtt_bus *bus)
{
	return hbus_mqtt_asker_fd(bus->asker);
}

/* -- to the bus -- */

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

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

static uint8_t ask_topic(struct hbus_mqtt_bus *bus, const char *name)
{
	if (bus->refused && strcmp(bus->refused->name, name) == 0)
		return reason_of(bus->refused->result);
	/* Nobody to ask: refused at once. */
	if (!hbus_is_connected(bus->bus))
		return HBUS_MQTT_UNSPECIFIED;
	if (hbus_mqtt_topics_add(&bus->topics, name, TOPIC_ASKED) < 0) {
		bus->n_topics_limited++;
		return HBUS_MQTT_QUOTA;
	}
	if (hbus_mqtt_asker_ask(bus->asker, HBUS_MQTT_ASK_TOPIC, name))
		return HBUS_MQTT_PENDING;
	hbus_mqtt_topics_remove(&bus->topics, name);
	return HBUS_MQTT_QUOTA;
}

static uint8_t topic_number(struct hbus_mqtt_bus *bus, const char *name, hbus_topic_t *ret_topic)
{
	const uint32_t *number = hbus_mqtt_topics_find(&bus->topics, name);

	if (!number)
		return ask_topic(bus, name);
	*ret_topic = *number;
	return *number == TOPIC_ASKED ? HBUS_MQTT_PENDING : 0;
}

void hbus_mqtt_bus_commit(struct hbus_mqtt_bus *bus)
{
	if (bus->is_in_batch)
		(void)hbus_batch_commit(bus->publisher);
	bus->is_in_batch = false;
}

static int publish_in_batch(struct hbus_mqtt_bus *bus, hbus_topic_t topic, const struct hbus_mqtt_message *message,
			    const struct hbus_attributes *attributes)
{
	if (!bus->is_in_batch && !bus->is_stalled)
		bus->is_in_batch = hbus_batch_begin(bus->publisher) == 0;
	return hbus_publish_with(bus->publisher, topic, message->payload, message->payload_size, attributes);
}

bool hbus_mqtt_bus_is_stuck(const struct hbus_mqtt_bus *bus)
{
	return bus->n_stuck > 0;
}

/* Whoever publishes to this topic waits: as many entries as there are clients at most. Return: false without memory. */
static bool note_stuck(struct hbus_mqtt_bus *bus, const char *topic)
{
	char **more;

	if (bus->n_stuck == bus->stuck_room) {
		size_t room = bus->stuck_room ? 2 * bus->stuck_room : 16;

		more = reallocarray(bus->stuck, room, sizeof(*more));
		if (!more)
			return false;
		bus->stuck = more;
		bus->stuck_room = room;
	}
	bus->stuck[bus->n_stuck] = strdup(topic);
	return bus->stuck[bus->n_stuck] && ++bus->n_stuck;
}

/* Those who have waited longest try again; who still finds no room is noted behind the others. */
static void retry_stuck(struct hbus_mqtt_bus *bus, struct hbus_mqtt *engine)
{
	size_t n = bus->n_stuck < RETRIES_MAX ? bus->n_stuck : RETRIES_MAX;
	uint64_t now;
	char *topics[RETRIES_MAX];

	if (n == 0)
		return;
	now = now_ns(CLOCK_MONOTONIC);
	if (now < bus->retry_ns)
		return;
	bus->retry_ns = now + RETRY_NS;
	memcpy(topics, bus->stuck, n * sizeof(topics[0]));
	memmove(bus->stuck, bus->stuck + n, (bus->n_stuck - n) * sizeof(topics[0]));
	bus->n_stuck -= n;
	for (size_t i = 0; i < n; i++) {
		hbus_mqtt_topic_answer(engine, topics[i]);
		free(topics[i]);
	}
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
	r = publish_in_batch(bus, topic, message, &attributes);
	/* The batch may be what is too large, or what a full ring waits for: what does not fit begins the next one. */
	if (bus->is_in_batch && (r == HBUS_E_TOO_LARGE || r == HBUS_FULL)) {
		hbus_mqtt_bus_commit(bus);
		bus->is_stalled = r == HBUS_FULL;
		r = publish_in_batch(bus, topic, message, &attributes);
	}
	bus->is_stalled = r == HBUS_FULL;
	if (r == HBUS_FULL && bus->waits_for_room && note_stuck(bus, message->topic))
		return HBUS_MQTT_PENDING;
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

	if (!hbus_is_connected(bus->bus))
		return HBUS_MQTT_UNSPECIFIED;
	return hbus_mqtt_asker_ask(bus->asker, HBUS_MQTT_ASK_SUBSCRIBE, filter) ? HBUS_MQTT_PENDING : HBUS_MQTT_QUOTA;
}

static void unsubscribe(void *context, const char *filter)
{
	struct hbus_mqtt_bus *bus = context;

	(void)hbus_mqtt_asker_ask(bus->asker, HBUS_MQTT_ASK_UNSUBSCRIBE, filter);
}

/* -- policy -- */

static bool authorize(void *context, const char *principal, const char *topic, bool is_publish)
{
	const struct hbus_mqtt_bus *bus = context;

	return hbus_mqtt_rules_allow(&bus->rules, principal, topic, is_publish);
}

static void take_rules(struct hbus_mqtt_bus *bus, struct hbus_mqtt *engine, struct hbus_mqtt_answer *answer)
{
	bus->is_asking_rules = false;
	if (answer->result < 0 || hbus_mqtt_rules_are_equal(&bus->rules, &answer->rules)) {
		hbus_mqtt_rules_deinit(&answer->rules);
		return;
	}
	hbus_mqtt_rules_deinit(&bus->rules);
	bus->rules = answer->rules;
	say(bus, "the policy has %zu rules about clients now", bus->rules.n);
	hbus_mqtt_authorize_again(engine);
}

void hbus_mqtt_bus_io(struct hbus_mqtt_bus *bus, struct hbus_mqtt_io *io)
{
	io->bus_context = bus;
	io->publish = publish;
	io->subscribe = subscribe;
	io->unsubscribe = unsubscribe;
	io->authorize = authorize;
}

/* -- from the bus -- */

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
			message.props.size = hbus_mqtt_cloudevent(room, bus->source, event->topic,
								  hbus_topic_type(event->topic),
								  hbus_topic_content_type(event->topic),
								  event->ring_id, event->sequence, event->time_ns);
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

/* -- answers -- */

static void take_topic(struct hbus_mqtt_bus *bus, struct hbus_mqtt *engine, const struct hbus_mqtt_answer *answer)
{
	uint32_t *number = hbus_mqtt_topics_find(&bus->topics, answer->name);

	if (answer->result == 0 && number) {
		*number = answer->topic;
	} else {
		hbus_mqtt_topics_remove(&bus->topics, answer->name);
		bus->refused = answer;
	}
	hbus_mqtt_topic_answer(engine, answer->name);
	bus->refused = NULL;
}

static void take_answers(struct hbus_mqtt_bus *bus, struct hbus_mqtt *engine)
{
	struct hbus_mqtt_answer *answer;

	while ((answer = hbus_mqtt_asker_take(bus->asker))) {
		if (answer->kind == HBUS_MQTT_ASK_TOPIC)
			take_topic(bus, engine, answer);
		else if (answer->kind == HBUS_MQTT_ASK_RULES)
			take_rules(bus, engine, answer);
		else
			hbus_mqtt_filter_answer(engine, answer->name,
						answer->result < 0 ? reason_of(answer->result) : 0);
		free(answer);
	}
}

bool hbus_mqtt_bus_take(struct hbus_mqtt_bus *bus, struct hbus_mqtt *engine)
{
	struct hbus_event events[POLL_MAX];
	uint64_t real_ns;
	int n;

	take_answers(bus, engine);
	retry_stuck(bus, engine);
	hbus_mqtt_bus_commit(bus);
	n = hbus_poll(bus->subscriber, events, POLL_MAX);
	if (n <= 0) {
		bus->pressure = 0;
		count_losses(bus);
		return false;
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

bool hbus_mqtt_bus_is_settled(const struct hbus_mqtt_bus *bus, const struct hbus_mqtt *engine)
{
	return bus->pressure == 0 || hbus_mqtt_has_heard_all(engine);
}

bool hbus_mqtt_bus_arm(struct hbus_mqtt_bus *bus, bool has_rung)
{
	/* Our own events do not wake us. */
	if (bus->pressure > 0)
		return false;
	return (has_rung ? hbus_fd_arm(bus->subscriber) : hbus_fd_arm_again(bus->subscriber)) != 1;
}

static void ask_rules(struct hbus_mqtt_bus *bus)
{
	uint64_t now = now_ns(CLOCK_MONOTONIC);

	if (bus->is_asking_rules || now < bus->rules_ns || !hbus_is_connected(bus->bus))
		return;
	bus->rules_ns = now + RULES_NS;
	bus->is_asking_rules = hbus_mqtt_asker_ask(bus->asker, HBUS_MQTT_ASK_RULES, "");
}

void hbus_mqtt_bus_count(struct hbus_mqtt_bus *bus, const struct hbus_mqtt_counters *counters)
{
	const uint64_t values[N_CELLS] = {
#define COUNTER_VALUE(name, text) counters->name,
		HBUS_MQTT_COUNTERS(COUNTER_VALUE)
#undef COUNTER_VALUE
		[CELL_TOO_LARGE] = bus->n_too_large, [CELL_LAPPED] = bus->n_lapped,
		[CELL_LOST] = bus->n_lost, [CELL_FOREIGN] = bus->n_foreign, [CELL_TOPICS] = bus->n_topics_limited,
	};

	ask_rules(bus);
	for (unsigned int i = 0; bus->cells && i < N_CELLS; i++)
		hbus_counter_set((struct hbus_counter_cell *)(void *)&bus->cells[i], values[i]);
}
