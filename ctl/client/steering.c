/* SPDX-License-Identifier: BSD-3-Clause */
/* Routes, source rules and interest. See steering.h. */
#include "ctl/client/steering.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/client/control.h"

#define BUCKETS 1024u

enum kind {
	KIND_INTEREST = 0,
	KIND_ROUTE = 1,
	KIND_SOURCE = 2,
	KINDS = 3,
};

struct interest {
	uint32_t topic_id;
	uint32_t is_wanted;
	char name[256];
};

/* What makes two entries the same one; zeroed before it is filled, so that bytes can be compared. */
struct key {
	uint8_t address[16];
	uint32_t kind;
	uint32_t family;
	uint32_t prefix_len;
	uint32_t port;
	uint32_t vlan;
	uint32_t route_kind;
	uint32_t number; /* or topic id */
	uint32_t reserved;
};

struct entry {
	struct entry *next;       /* in its bucket */
	struct entry *queue_next; /* of what its handler has to hear */
	struct key key;
	bool is_queued;
	bool is_gone;
	bool is_stale; /* not said again yet */
	union {
		struct interest interest;
		struct hbus_route route;
		struct hbus_source_rule rule;
	} value;
};

struct queue {
	struct entry *first, **last;
};

struct hbus_steering {
	struct entry *buckets[BUCKETS];
	struct queue queues[KINDS];
	bool is_running;
	pthread_t runner; /* while is_running */
	hbus_interest_fn interest_fn;
	hbus_route_fn route_fn;
	hbus_source_fn source_fn;
	void *contexts[KINDS];
};

int hbus_steering_new(uint32_t flags, struct hbus_steering **ret_steering)
{
	struct hbus_steering *steering;

	if (!(flags & (HBUS_OPEN_WANTS_INTEREST | HBUS_OPEN_WANTS_ROUTES)))
		return 0;
	steering = calloc(1, sizeof(*steering));
	if (!steering)
		return hbus_fail(HBUS_E_NO_MEMORY, "no memory for a bus");
	for (int kind = 0; kind < KINDS; kind++)
		steering->queues[kind].last = &steering->queues[kind].first;
	*ret_steering = steering;
	return 0;
}

void hbus_steering_free(struct hbus_steering *steering)
{
	if (!steering)
		return;
	for (uint32_t i = 0; i < BUCKETS; i++) {
		while (steering->buckets[i]) {
			struct entry *entry = steering->buckets[i];

			steering->buckets[i] = entry->next;
			free(entry);
		}
	}
	free(steering);
}

/* FNV-1a; the daemon is not an adversary. */
static uint32_t bucket_of(const struct key *key)
{
	const unsigned char *bytes = (const unsigned char *)key;
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < sizeof(*key); i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash % BUCKETS;
}

/* The entry of a key, made when it is not there. NULL: no memory, or not asked for. */
static struct entry *entry_get(struct hbus_steering *steering, const struct key *key)
{
	struct entry **bucket, *entry;

	if (!steering)
		return NULL;
	bucket = &steering->buckets[bucket_of(key)];
	for (entry = *bucket; entry; entry = entry->next)
		if (memcmp(&entry->key, key, sizeof(*key)) == 0)
			return entry;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return NULL;
	entry->key = *key;
	entry->is_gone = true;
	entry->next = *bucket;
	*bucket = entry;
	return entry;
}

static void entry_drop(struct hbus_steering *steering, struct entry *gone)
{
	struct entry **at = &steering->buckets[bucket_of(&gone->key)];

	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	free(gone);
}

static void queue_push(struct hbus_steering *steering, struct entry *entry)
{
	struct queue *queue = &steering->queues[entry->key.kind];

	if (entry->is_queued)
		return;
	entry->is_queued = true;
	entry->queue_next = NULL;
	*queue->last = entry;
	queue->last = &entry->queue_next;
}

static struct entry *queue_pop(struct hbus_steering *steering, enum kind kind)
{
	struct queue *queue = &steering->queues[kind];
	struct entry *entry = queue->first;

	if (!entry)
		return NULL;
	queue->first = entry->queue_next;
	if (!queue->first)
		queue->last = &queue->first;
	entry->is_queued = false;
	return entry;
}

/* -- what the daemon says -- */

void hbus_on_interest(struct hbus *bus, const struct hbus_msg_interest *message)
{
	struct key key = {.kind = KIND_INTEREST, .number = message->topic_id};
	struct entry *entry = entry_get(bus->steering, &key);
	struct interest *interest;

	if (!entry)
		return;
	interest = &entry->value.interest;
	entry->is_stale = false;
	if (!entry->is_gone && interest->is_wanted == message->is_wanted)
		return;
	entry->is_gone = false;
	interest->topic_id = message->topic_id;
	interest->is_wanted = message->is_wanted;
	memcpy(interest->name, message->name, sizeof(interest->name));
	queue_push(bus->steering, entry);
}

void hbus_on_route(struct hbus *bus, const struct hbus_msg_route *message)
{
	const struct hbus_wire_route *wire = &message->route;
	struct key key = {.kind = KIND_ROUTE, .family = wire->family, .prefix_len = wire->prefix_len,
			  .port = wire->port, .vlan = wire->vlan, .route_kind = wire->kind, .number = wire->number};
	bool is_gone = message->header.type == HBUS_MSG_ROUTE_GONE;
	struct hbus_route route;
	struct entry *entry;

	memcpy(key.address, wire->address, sizeof(key.address));
	entry = entry_get(bus->steering, &key);
	if (!entry)
		return;
	hbus_route_from_wire(wire, &route);
	entry->is_stale = false;
	if (entry->is_gone == is_gone && (is_gone || memcmp(&entry->value.route, &route, sizeof(route)) == 0))
		return;
	if (!is_gone)
		entry->value.route = route;
	entry->is_gone = is_gone;
	queue_push(bus->steering, entry);
}

static void rule_from_wire(const struct hbus_msg_source_rule *message, struct hbus_source_rule *ret_rule)
{
	memset(ret_rule, 0, sizeof(*ret_rule)); /* compared by bytes */
	memcpy(ret_rule->address, message->address, sizeof(ret_rule->address));
	ret_rule->family = (uint8_t)message->family;
	ret_rule->prefix_len = (uint8_t)message->prefix_len;
	ret_rule->is_deny = message->is_deny != 0;
	ret_rule->is_removed = message->is_removed != 0;
	ret_rule->rate = message->rate;
	ret_rule->burst = message->burst;
}

void hbus_on_source_rule(struct hbus *bus, const struct hbus_msg_source_rule *message)
{
	struct key key = {.kind = KIND_SOURCE, .family = message->family, .prefix_len = message->prefix_len};
	struct hbus_source_rule rule;
	struct entry *entry;

	memcpy(key.address, message->address, sizeof(key.address));
	entry = entry_get(bus->steering, &key);
	if (!entry)
		return;
	rule_from_wire(message, &rule);
	entry->is_stale = false;
	if (entry->is_gone == (rule.is_removed != 0) &&
	    (entry->is_gone || memcmp(&entry->value.rule, &rule, sizeof(rule)) == 0))
		return;
	entry->value.rule = rule;
	entry->is_gone = rule.is_removed != 0;
	queue_push(bus->steering, entry);
}

/* -- a daemon that came back -- */

void hbus_steering_begin(struct hbus *bus)
{
	if (!bus->steering)
		return;
	for (uint32_t i = 0; i < BUCKETS; i++)
		for (struct entry *entry = bus->steering->buckets[i]; entry; entry = entry->next)
			entry->is_stale = entry->key.kind != KIND_INTEREST;
}

void hbus_steering_settle(struct hbus *bus)
{
	if (!bus->steering)
		return;
	for (uint32_t i = 0; i < BUCKETS; i++) {
		for (struct entry *entry = bus->steering->buckets[i]; entry; entry = entry->next) {
			if (!entry->is_stale || entry->is_gone)
				continue;
			entry->is_stale = false;
			entry->is_gone = true;
			queue_push(bus->steering, entry);
		}
	}
}

/* -- the handlers -- */

static bool has_handler(const struct hbus_steering *steering, enum kind kind)
{
	switch (kind) {
	case KIND_INTEREST:
		return steering->interest_fn != NULL;
	case KIND_ROUTE:
		return steering->route_fn != NULL;
	default:
		return steering->source_fn != NULL;
	}
}

static void tell(const struct hbus_steering *steering, struct entry *entry)
{
	void *context = steering->contexts[entry->key.kind];

	switch (entry->key.kind) {
	case KIND_INTEREST:
		steering->interest_fn(context, entry->value.interest.topic_id, entry->value.interest.name,
				      entry->value.interest.is_wanted != 0);
		break;
	case KIND_ROUTE:
		steering->route_fn(context, &entry->value.route, !entry->is_gone);
		break;
	default:
		entry->value.rule.is_removed = entry->is_gone;
		steering->source_fn(context, &entry->value.rule);
		break;
	}
}

/* One entry: a copy of it is told without the lock, so that the handler may call the library. */
static void run_one(struct hbus *bus, enum kind kind)
{
	struct hbus_steering handlers = {.interest_fn = bus->steering->interest_fn,
					 .route_fn = bus->steering->route_fn,
					 .source_fn = bus->steering->source_fn};
	struct entry *entry = queue_pop(bus->steering, kind), copy = *entry;

	memcpy(handlers.contexts, bus->steering->contexts, sizeof(handlers.contexts));
	if (entry->is_gone)
		entry_drop(bus->steering, entry);
	pthread_mutex_unlock(&bus->lock);
	tell(&handlers, &copy);
	pthread_mutex_lock(&bus->lock);
}

void hbus_steering_run(struct hbus *bus)
{
	struct hbus_steering *steering = bus->steering;

	if (!steering || steering->is_running) /* a handler that calls the library brings us here again */
		return;
	steering->is_running = true;
	steering->runner = pthread_self();
	for (enum kind kind = 0; kind < KINDS; kind++)
		while (has_handler(steering, kind) && steering->queues[kind].first)
			run_one(bus, kind);
	steering->is_running = false;
}

bool hbus_steering_is_inside(struct hbus *bus)
{
	bool is_inside;

	pthread_mutex_lock(&bus->lock);
	is_inside = bus->steering && bus->steering->is_running && pthread_equal(bus->steering->runner, pthread_self());
	pthread_mutex_unlock(&bus->lock);
	return is_inside;
}

/* A handler that is set now hears of everything that holds. */
static void queue_all(struct hbus_steering *steering, enum kind kind)
{
	for (uint32_t i = 0; i < BUCKETS; i++)
		for (struct entry *entry = steering->buckets[i]; entry; entry = entry->next)
			if (entry->key.kind == kind && !entry->is_gone)
				queue_push(steering, entry);
}

/* Takes the lock on success. */
static int handler_begin(struct hbus *bus, uint32_t flag, const char *flag_name)
{
	if (!hbus_is_ours(bus))
		return hbus_fail_handle(bus);
	if (!(bus->flags & flag))
		return hbus_fail(HBUS_E_INVALID, "the bus was opened without %s", flag_name);
	pthread_mutex_lock(&bus->lock);
	return 0;
}

static int handler_end(struct hbus *bus, enum kind kind, void *context)
{
	bus->steering->contexts[kind] = context;
	queue_all(bus->steering, kind);
	pthread_mutex_unlock(&bus->lock);
	hbus_control_poke(bus);
	return 0;
}

int hbus_set_interest_handler(struct hbus *bus, hbus_interest_fn fn, void *context)
{
	int r = handler_begin(bus, HBUS_OPEN_WANTS_INTEREST, "HBUS_OPEN_WANTS_INTEREST");

	if (r < 0)
		return r;
	bus->steering->interest_fn = fn;
	return handler_end(bus, KIND_INTEREST, context);
}

int hbus_set_route_handler(struct hbus *bus, hbus_route_fn fn, void *context)
{
	int r = handler_begin(bus, HBUS_OPEN_WANTS_ROUTES, "HBUS_OPEN_WANTS_ROUTES");

	if (r < 0)
		return r;
	bus->steering->route_fn = fn;
	return handler_end(bus, KIND_ROUTE, context);
}

int hbus_set_source_handler(struct hbus *bus, hbus_source_fn fn, void *context)
{
	int r = handler_begin(bus, HBUS_OPEN_WANTS_ROUTES, "HBUS_OPEN_WANTS_ROUTES");

	if (r < 0)
		return r;
	bus->steering->source_fn = fn;
	return handler_end(bus, KIND_SOURCE, context);
}
