/* SPDX-License-Identifier: BSD-3-Clause */
/* Publisher handles: open, close, topics. See publisher.h. */
#include "ctl/client/publisher.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/client/control.h"
#include "ctl/proto/topic.h"

#define PUBLISHER_FLAGS                                                                            \
	(HBUS_PUB_TIMESTAMP | HBUS_PUB_SMALL_PAGES | HBUS_PUB_HUGE_ONLY | HBUS_PUB_ISOLATED | HBUS_PUB_DEFER_WAKE | \
	 HBUS_PUB_NEVER_WAIT)

int hbus_publisher_fail_busy(void)
{
	return hbus_fail(HBUS_E_BUSY, "this publisher is in the middle of another call");
}

static int check_options(const struct hbus_publisher_options *options)
{
	if (options->struct_size < offsetof(struct hbus_publisher_options, reserved2))
		return hbus_fail(HBUS_E_INVALID, "hbus_publisher_options.struct_size is not set");
	if (options->flags & ~PUBLISHER_FLAGS)
		return hbus_fail(HBUS_E_INVALID, "unknown flags in hbus_publisher_options");
	if (options->capacity & (options->capacity - 1))
		return hbus_fail(HBUS_E_INVALID, "a ring's capacity is a power of two");
	if (options->capacity && options->capacity < HBUS_RING_CAPACITY_MIN)
		return hbus_fail(HBUS_E_INVALID, "a ring has at least %u bytes", HBUS_RING_CAPACITY_MIN);
	if (options->capacity > HBUS_RING_CAPACITY_MAX)
		return hbus_fail(HBUS_E_LIMIT, "a ring has at most %u bytes", HBUS_RING_CAPACITY_MAX);
	return 0;
}

int hbus_publisher_open(struct hbus *bus, const struct hbus_publisher_options *options,
			struct hbus_publisher **ret_publisher)
{
	struct hbus_publisher *publisher;
	int r;

	if (!hbus_is_ours(bus))
		return hbus_fail_handle(bus);
	if (!ret_publisher)
		return hbus_fail_no_place();
	r = options ? check_options(options) : 0;
	if (r < 0)
		return r;
	publisher = calloc(1, sizeof(*publisher));
	if (!publisher)
		return hbus_fail(HBUS_E_NO_MEMORY, "no memory for a publisher");
	if (!options || !(options->flags & HBUS_PUB_ISOLATED))
		hbus_barriers_want(bus);
	publisher->bus = bus;
	publisher->alive = bus->alive;
	pthread_mutex_init(&publisher->rings_lock, NULL);
	if (options)
		publisher->options = *options;
	publisher->flags = publisher->options.flags;
	hbus_publisher_set_quick(publisher);
	publisher->timeout_us = publisher->options.timeout_ms ? publisher->options.timeout_ms * 1000ll
							      : HBUS_PUBLISH_TIMEOUT_MS * 1000ll;
	if (publisher->flags & HBUS_PUB_NEVER_WAIT)
		publisher->timeout_us = 0;
	*ret_publisher = publisher;
	return 0;
}

void hbus_publisher_close(struct hbus_publisher *publisher)
{
	uint32_t n_rings;

	if (!publisher)
		return;
	/* A(publisher.n_rings): pairs with R(publisher.n_rings) in add_ring(). */
	n_rings = atomic_load_explicit(&publisher->n_rings, memory_order_acquire);
	for (uint32_t i = 0; i < n_rings; i++) {
		if (hbus_is_ours(publisher->bus))
			hbus_pub_ring_close(publisher->bus, publisher->rings[i]);
		else
			hbus_pub_ring_free_forked(publisher->rings[i]);
	}
	while (publisher->retired) {
		struct hbus_pub_ring *ring = publisher->retired;

		publisher->retired = ring->next;
		if (hbus_is_ours(publisher->bus))
			hbus_pub_ring_free(ring);
		else
			hbus_pub_ring_free_forked(ring);
	}
	for (uint32_t i = 0; i < HBUS_TOPIC_PAGE_SIZE; i++)
		free(publisher->pages[i]);
	pthread_mutex_destroy(&publisher->rings_lock);
	free(publisher);
}

/* -- topics -- */

int hbus_publisher_place_topic(struct hbus_publisher *publisher, hbus_topic_t user_id, uint32_t ring_idx, uint32_t id)
{
	struct hbus_topic_page **page = &publisher->pages[user_id / HBUS_TOPIC_PAGE_SIZE];

	if (!*page)
		*page = calloc(1, sizeof(**page));
	if (!*page)
		return hbus_fail(HBUS_E_NO_MEMORY, "no memory for a topic");
	(*page)->place[user_id % HBUS_TOPIC_PAGE_SIZE] = (ring_idx + 1) << 24 | id;
	return 0;
}

struct hbus_call hbus_publisher_call(const struct hbus_publisher *publisher)
{
	uint64_t now_ms = hbus_now_ms();

	if (publisher->renew_until_ms == 0)
		return (struct hbus_call){0};
	return (struct hbus_call){
		.is_brief = true,
		.timeout_ms = publisher->renew_until_ms > now_ms ? (int)(publisher->renew_until_ms - now_ms) : 1,
	};
}

static int ask_topic_add(struct hbus_publisher *publisher, const struct hbus_pub_ring *ring, const char *name,
			 const char *type, const char *content_type, uint32_t *ret_id)
{
	struct hbus_call call = hbus_publisher_call(publisher);
	union hbus_msg message;
	struct hbus_msg_ring_topic_add *add = &message.ring_topic_add;
	int r;

	hbus_wire_init(&message, HBUS_MSG_RING_TOPIC_ADD, 0);
	add->ring_id = ring->geometry.ring_id;
	if (!hbus_wire_put_string(add->name, sizeof(add->name), name) ||
	    !hbus_wire_put_string(add->type, sizeof(add->type), type) ||
	    !hbus_wire_put_string(add->content_type, sizeof(add->content_type), content_type))
		return hbus_fail(HBUS_E_NAME, "a topic's name has at most 255 bytes, its types 63");
	r = hbus_call(publisher->bus, &message, NULL, 0, &call);
	if (r == 0)
		*ret_id = (uint32_t)call.reply.reply.value[0] & HBUS_TOPIC_ID_MAX;
	return r;
}

int hbus_publisher_add_topic(struct hbus_publisher *publisher, struct hbus_pub_ring *ring, uint32_t user_id,
			     const char *name, const char *type, const char *content_type, uint32_t *ret_id)
{
	int r;

	r = ask_topic_add(publisher, ring, name, type, content_type, ret_id);
	if (r < 0)
		return r;
	return hbus_pub_ring_note_topic(publisher->bus, ring, *ret_id, user_id ? user_id : *ret_id, name, type,
					content_type);
}

static int add_ring(struct hbus_publisher *publisher, const char *name, const char *type, const char *content_type,
		    uint32_t *ret_id)
{
	/* relaxed: only who declares writes it */
	uint32_t n_rings = atomic_load_explicit(&publisher->n_rings, memory_order_relaxed);
	int r;

	if (n_rings == HBUS_PUBLISHER_RINGS_MAX)
		return hbus_fail(HBUS_E_LIMIT, "a publisher has at most %u rings, one for each read policy",
				 HBUS_PUBLISHER_RINGS_MAX);
	r = hbus_pub_ring_new(publisher, name, type, content_type,
			      &publisher->rings[n_rings], ret_id);
	if (r < 0)
		return r;
	/* R(publisher.n_rings): the ring before the number that shows it. */
	atomic_store_explicit(&publisher->n_rings, n_rings + 1, memory_order_release);
	return 0;
}

static const struct hbus_pub_topic *find_topic(const struct hbus_publisher *publisher, uint32_t n_rings, const char *name,
					       uint32_t *ret_ring_idx)
{
	for (uint32_t i = 0; i < n_rings; i++) {
		for (uint32_t j = 0; j < publisher->rings[i]->n_topics; j++) {
			if (strcmp(publisher->rings[i]->topics[j].name, name) != 0)
				continue;
			*ret_ring_idx = i;
			return &publisher->rings[i]->topics[j];
		}
	}
	return NULL;
}

static bool is_refused(const struct hbus_pub_ring *ring)
{
	/* relaxed: whether it is seen now or at the next call makes no difference */
	return atomic_load_explicit(&ring->is_refused, memory_order_relaxed) != 0;
}

/* Into the first ring whose readers are the same, else into a new one. */
static int add_somewhere(struct hbus_publisher *publisher, const char *name, const char *type,
			 const char *content_type, uint32_t *ret_ring_idx, uint32_t *ret_id)
{
	/* relaxed: only who declares writes it */
	uint32_t n_rings = atomic_load_explicit(&publisher->n_rings, memory_order_relaxed);

	for (uint32_t i = 0; i < n_rings; i++) {
		int r = HBUS_E_POLICY;

		*ret_ring_idx = i;
		if (!is_refused(publisher->rings[i]))
			r = hbus_publisher_add_topic(publisher, publisher->rings[i], 0, name, type, content_type, ret_id);
		/* The daemon may have come back, and refused the ring, while the call waited for it. */
		if (r != HBUS_E_POLICY && !(r == HBUS_E_NOT_FOUND && is_refused(publisher->rings[i])))
			return r;
	}
	*ret_ring_idx = n_rings;
	return add_ring(publisher, name, type, content_type, ret_id);
}

static uint32_t place_of(const struct hbus_publisher *publisher, hbus_topic_t topic)
{
	const struct hbus_topic_page *page = publisher->pages[topic / HBUS_TOPIC_PAGE_SIZE];

	return page ? page->place[topic % HBUS_TOPIC_PAGE_SIZE] : 0;
}

/*
 * The number that the user is given: the topic's own, unless a daemon that lost its journal has given that to
 * another of our topics before.
 */
static hbus_topic_t free_number(const struct hbus_publisher *publisher, uint32_t id)
{
	hbus_topic_t number = id;

	if (place_of(publisher, number) != 0)
		for (number = HBUS_TOPIC_ID_MAX; number > 1 && place_of(publisher, number) != 0; number--)
			;
	return number;
}

static int declare(struct hbus_publisher *publisher, const char *name, const char *type, const char *content_type,
		   hbus_topic_t *ret_topic)
{
	uint32_t n_rings = atomic_load_explicit(&publisher->n_rings, memory_order_relaxed); /* relaxed: as above */
	uint32_t id = 0, ring_idx = 0;
	const struct hbus_pub_topic *known = find_topic(publisher, n_rings, name, &ring_idx);
	struct hbus_pub_ring *ring;
	hbus_topic_t number;
	int r;

	if (known) {
		number = known->user_id;
		id = known->id;
	} else {
		r = add_somewhere(publisher, name, type, content_type, &ring_idx, &id);
		if (r < 0)
			return r;
		number = free_number(publisher, id);
		ring = publisher->rings[ring_idx];
		ring->topics[ring->n_topics - 1].user_id = number;
	}
	/* One that is known has its place, unless there was no memory for it the last time. */
	r = place_of(publisher, number) ? 0 : hbus_publisher_place_topic(publisher, number, ring_idx, id);
	if (r == 0)
		*ret_topic = number;
	return r;
}

int hbus_publisher_topic(struct hbus_publisher *publisher, const char *name, const char *type,
			 const char *content_type, hbus_topic_t *ret_topic)
{
	int r;

	if (!name || !ret_topic)
		return hbus_fail(HBUS_E_INVALID, "hbus_publisher_topic() needs a name and a place for its result");
	r = hbus_topic_check_name(name, strlen(name));
	if (r != 0)
		return hbus_fail(HBUS_E_NAME, "topic name: %s", hbus_topic_strerror(r));
	if (!publisher || !hbus_is_ours(publisher->bus))
		return hbus_fail_handle(publisher);
	/* A(publisher.is_declaring): pairs with its release, here or in hbus_publisher_renew(). */
	if (atomic_exchange_explicit(&publisher->is_declaring, 1, memory_order_acquire) != 0)
		return hbus_publisher_fail_busy();
	r = declare(publisher, name, type, content_type, ret_topic);
	/* R(publisher.is_declaring): topics and rings before the next who declares. */
	atomic_store_explicit(&publisher->is_declaring, 0, memory_order_release);
	return r;
}

int hbus_publisher_info(struct hbus_publisher *publisher, struct hbus_publisher_info *ret_info)
{
	struct hbus_publisher_info info = {0};
	int r;

	if (!ret_info)
		return hbus_fail_no_place();
	r = hbus_publisher_enter(publisher);
	if (r < 0)
		return r;
	/* A(publisher.n_rings): pairs with R(publisher.n_rings) in add_ring(). */
	info.n_rings = atomic_load_explicit(&publisher->n_rings, memory_order_acquire);
	for (uint32_t i = 0; i < info.n_rings; i++) {
		const struct hbus_pub_ring *ring = publisher->rings[i];

		if (i == 0) {
			info.ring_id = ring->geometry.ring_id;
			info.capacity = ring->geometry.capacity;
			info.position = ring->pub.tail;
			info.is_huge = ring->geometry.is_huge;
		}
		info.sequence += ring->pub.sequence;
		info.n_gates += hbus_gates_count(&ring->gates, true);
		info.n_wakers += hbus_gates_count(&ring->gates, false);
	}
	hbus_publisher_leave(publisher);
	*ret_info = info;
	return 0;
}
