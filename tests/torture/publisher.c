/* SPDX-License-Identifier: BSD-3-Clause */
/* A publisher under torture: paced bursts of events of many sizes, single, in place and in batches. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/client/bus.h"
#include "tests/torture/roles.h"

/* A link that has just gone still looks as if it were there. */
#define LINK_SETTLES_NS 30000000u

struct publishing {
	struct hbus *bus;
	uint32_t n_links;
	uint64_t link_ns; /* when it saw this link first */
	struct hbus_publisher *publisher;
	struct ledger_publisher *entry;
	hbus_topic_t topic;
	uint32_t idx;
	uint64_t sequence;
	uint64_t random;
	enum plant plant;
	bool has_slept;
};

static uint64_t next_random(struct publishing *p)
{
	p->random ^= p->random << 13;
	p->random ^= p->random >> 7;
	p->random ^= p->random << 17;
	return p->random;
}

static uint32_t fill(struct publishing *p, unsigned char *bytes, uint64_t sequence)
{
	uint32_t size = PAYLOAD_MIN + (uint32_t)(next_random(p) % 8 == 0 ? next_random(p) % (PAYLOAD_MAX - PAYLOAD_MIN) : next_random(p) % 64);
	struct payload head = {.publisher = p->idx, .size = size, .sequence = sequence};

	/* Two neighbours in each other's place. */
	if (p->plant == PLANT_ORDER && sequence % 500 >= 498)
		head.sequence = sequence ^ 1;
	memcpy(bytes, &head, sizeof(head));
	for (uint32_t i = PAYLOAD_MIN; i < size; i++)
		bytes[i] = payload_byte(p->idx, head.sequence, i);
	if (p->plant == PLANT_TORN && sequence % 500 == 499 && size > PAYLOAD_MIN)
		bytes[size - 1] ^= 1;
	return size;
}

static void acked(struct publishing *p, uint64_t n)
{
	p->sequence += n;
	/* It says yes to an event that it never had. */
	if (p->plant == PLANT_LOST && p->sequence > 500) {
		atomic_store_explicit(&p->entry->acked, p->sequence + 1, memory_order_release);
		return;
	}
	atomic_store_explicit(&p->entry->acked, p->sequence, memory_order_release);
}

static int publish_one(struct publishing *p)
{
	unsigned char bytes[PAYLOAD_MAX];
	uint32_t size = fill(p, bytes, p->sequence);
	int r;

	ledger_enter(&p->entry->where, CALL_PUBLISH);
	r = hbus_publish(p->publisher, p->topic, bytes, size);
	if (r == 0)
		acked(p, 1);
	return r;
}

static int publish_in_place(struct publishing *p)
{
	void *room;
	uint32_t size;
	int r;

	ledger_enter(&p->entry->where, CALL_RESERVE);
	r = hbus_reserve(p->publisher, p->topic, PAYLOAD_MAX, &room);
	if (r)
		return r;
	if (next_random(p) % 8 == 0) {
		ledger_enter(&p->entry->where, CALL_ABORT);
		return hbus_abort(p->publisher);
	}
	size = fill(p, room, p->sequence);
	ledger_enter(&p->entry->where, CALL_COMMIT);
	r = hbus_commit(p->publisher, size);
	if (r == 0)
		acked(p, 1);
	return r;
}

static int publish_batch(struct publishing *p)
{
	unsigned char bytes[PAYLOAD_MAX];
	uint64_t n = 0, n_wanted = 1 + next_random(p) % 16;
	int r;

	ledger_enter(&p->entry->where, CALL_BATCH_BEGIN);
	r = hbus_batch_begin(p->publisher);
	if (r)
		return r;
	ledger_enter(&p->entry->where, CALL_BATCH_PUBLISH);
	for (; n < n_wanted; n++) {
		uint32_t size = fill(p, bytes, p->sequence + n);

		r = hbus_publish(p->publisher, p->topic, bytes, size);
		if (r)
			break;
	}
	if (next_random(p) % 8 == 0) {
		ledger_enter(&p->entry->where, CALL_BATCH_ABORT);
		return hbus_batch_abort(p->publisher);
	}
	ledger_enter(&p->entry->where, CALL_BATCH_COMMIT);
	if (hbus_batch_commit(p->publisher) == 0)
		acked(p, n);
	return r < 0 ? r : 0;
}

static int publish_something(struct publishing *p)
{
	switch (next_random(p) % 4) {
	case 0:
		return publish_batch(p);
	case 1:
		return publish_in_place(p);
	default:
		return publish_one(p);
	}
}

static void note_time(struct ledger_publisher *entry, uint64_t ns)
{
	uint32_t ms = (uint32_t)(ns / 1000000);

	if (ms > atomic_load_explicit(&entry->slowest_ms, memory_order_relaxed))
		atomic_store_explicit(&entry->slowest_ms, ms, memory_order_relaxed);
}

/* Who asks for its topic is promised its events when it is back with the daemon, no sooner. */
static void note_link(struct publishing *p, uint64_t now_ns)
{
	uint64_t linked_ns = 0;
	uint32_t n_links;
	bool is_up;

	pthread_mutex_lock(&p->bus->lock);
	n_links = p->bus->n_links;
	is_up = p->bus->link == HBUS_LINK_CONNECTED;
	pthread_mutex_unlock(&p->bus->lock);
	if (!is_up || n_links != p->n_links)
		p->link_ns = now_ns;
	else if (now_ns - p->link_ns > LINK_SETTLES_NS)
		linked_ns = p->link_ns;
	p->n_links = n_links;
	/* relaxed: a time */
	atomic_store_explicit(&p->entry->linked_ns, linked_ns, memory_order_relaxed);
}

static int run(struct ledger *ledger, struct publishing *p)
{
	while (!atomic_load_explicit(&ledger->must_finish, memory_order_relaxed)) {
		struct timespec nap = {.tv_nsec = (long)(next_random(p) % 2000000)};

		note_link(p, ledger_now_ns());
		for (uint64_t n = next_random(p) % 200; n > 0; n--) {
			uint64_t begin = ledger_now_ns();
			int r = publish_something(p);

			ledger_enter(&p->entry->where, CALL_OWN);
			if (p->plant == PLANT_WEDGE && p->sequence > 500 && !p->has_slept) {
				p->has_slept = true;
				nanosleep(&(struct timespec){.tv_sec = 4}, NULL);
			}
			note_time(p->entry, ledger_now_ns() - begin);
			if (r < 0) {
				fprintf(stderr, "torture: publisher %u: %s\n", p->idx, hbus_error_text());
				return 1;
			}
		}
		nanosleep(&nap, NULL);
	}
	return 0;
}

int role_publisher(struct ledger *ledger, uint32_t idx, const char *socket, uint32_t topic_idx, uint64_t seed)
{
	struct hbus_publisher_options options = {.struct_size = sizeof(options), .capacity = 128u << 10, .timeout_ms = 20000};
	struct publishing p = {.entry = &ledger->publisher[idx], .idx = idx, .random = seed | 1,
			       .plant = atomic_load_explicit(&ledger->plant, memory_order_relaxed)};
	struct hbus_options bus_options = {.struct_size = sizeof(bus_options), .name = "torture-pub", .connect_timeout_ms = 20000};
	struct hbus_publisher_info info;
	struct hbus *bus;
	char topic[32];
	int r;

	snprintf(topic, sizeof(topic), "torture/%u", topic_idx);
	options.flags = seed % 3 == 0 ? HBUS_PUB_TIMESTAMP : 0;
	atomic_store_explicit(&p.entry->created_ns, ledger_now_ns(), memory_order_relaxed);
	ledger_enter(&p.entry->where, CALL_OPEN);
	r = hbus_open(socket, &bus_options, &bus);
	if (r)
		return role_outside("publisher", idx, r);
	ledger_enter(&p.entry->where, CALL_PUBLISHER_OPEN);
	r = hbus_publisher_open(bus, &options, &p.publisher);
	if (r)
		return role_outside("publisher", idx, r);
	ledger_enter(&p.entry->where, CALL_TOPIC);
	/* The daemon may be dead at this moment: try on. */
	for (int i = 0; (r = hbus_publisher_topic(p.publisher, topic, NULL, NULL, &p.topic)) != 0 && i < 100; i++) {
		struct timespec nap = {.tv_nsec = 20000000};

		if (r != HBUS_E_DISCONNECTED && r != HBUS_E_TIMEOUT)
			return role_outside("publisher", idx, r);
		nanosleep(&nap, NULL);
	}
	if (r || hbus_publisher_info(p.publisher, &info))
		return ROLE_NO_DAEMON;
	atomic_store_explicit(&p.entry->ring_id, info.ring_id, memory_order_release);
	p.bus = bus;
	r = run(ledger, &p);
	ledger_enter(&p.entry->where, CALL_CLOSE);
	hbus_publisher_close(p.publisher);
	hbus_close(bus);
	atomic_store_explicit(&p.entry->has_finished, r == 0, memory_order_release);
	return r;
}
