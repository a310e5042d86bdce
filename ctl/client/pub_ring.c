/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings of publishers: asked for, mapped, announced, closed. See publisher.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client/control.h"
#include "ctl/client/publisher.h"
#include "shm/segment.h"
#include "shm/wait.h"

/* A ring that a dying daemon left half made is asked for again, so often. */
#define ATTEMPTS_MAX 5

static void topics_free(struct hbus_pub_ring *ring)
{
	for (uint32_t i = 0; i < ring->n_topics; i++) {
		free(ring->topics[i].name);
		free(ring->topics[i].type);
		free(ring->topics[i].content_type);
	}
	free(ring->topics);
}

void hbus_pub_ring_free(struct hbus_pub_ring *ring)
{
	hbus_gates_deinit(&ring->gates);
	hbus_segment_unmap(ring->header, HBUS_RING_HEADER_SIZE);
	hbus_segment_unmap_twice(ring->data, ring->geometry.capacity);
	close(ring->header_fd);
	close(ring->data_fd);
	pthread_mutex_destroy(&ring->wake_lock);
	topics_free(ring);
	free(ring);
}

void hbus_pub_ring_free_forked(struct hbus_pub_ring *ring)
{
	/* The ring's memory was not inherited (MADV_DONTFORK); what is at these addresses now is not ours. */
	hbus_gates_deinit(&ring->gates);
	close(ring->header_fd);
	close(ring->data_fd);
	topics_free(ring);
	free(ring);
}

static char *copy_or_null(const char *s)
{
	return s ? strdup(s) : NULL;
}

int hbus_pub_ring_note_topic(struct hbus *bus, struct hbus_pub_ring *ring, uint32_t id, uint32_t user_id,
			     const char *name, const char *type, const char *content_type)
{
	struct hbus_pub_topic topic = {.id = id, .user_id = user_id, .name = strdup(name), .type = copy_or_null(type),
				       .content_type = copy_or_null(content_type)};
	int r = 0;

	pthread_mutex_lock(&bus->lock);
	if (ring->n_topics == ring->n_topics_room) {
		uint32_t n = ring->n_topics_room ? 2 * ring->n_topics_room : 4;
		struct hbus_pub_topic *more = reallocarray(ring->topics, n, sizeof(*more));

		if (more) {
			ring->topics = more;
			ring->n_topics_room = n;
		}
	}
	if (topic.name && !topic.type == !type && !topic.content_type == !content_type && ring->n_topics < ring->n_topics_room)
		ring->topics[ring->n_topics++] = topic;
	else
		r = hbus_fail(HBUS_E_NO_MEMORY, "no memory for a topic");
	pthread_mutex_unlock(&bus->lock);
	if (r < 0) {
		free(topic.name);
		free(topic.type);
		free(topic.content_type);
	}
	return r;
}

static bool is_power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

/* The daemon is trusted more than a peer, but a wrong size here would be a wild pointer later. */
static int take_geometry(const struct hbus_wire_geometry *wire, struct hbus_geometry *ret_geometry)
{
	if (wire->layout_version != HBUS_LAYOUT_VERSION || wire->layout_hash != HBUS_LAYOUT_HASH)
		return hbus_fail(HBUS_E_VERSION, "the daemon makes rings of layout %u, this library %u",
				 wire->layout_version, HBUS_LAYOUT_VERSION);
	if (!is_power_of_two(wire->capacity) || wire->capacity < HBUS_RING_CAPACITY_MIN ||
	    wire->capacity > HBUS_RING_CAPACITY_MAX || wire->start % hbus_block_size(wire->capacity) != 0 ||
	    (wire->is_huge && wire->capacity % HBUS_HUGE_PAGE_SIZE != 0))
		return hbus_fail(HBUS_E_PROTOCOL, "the daemon made a ring of an impossible size");
	*ret_geometry = (struct hbus_geometry){
		.ring_id = wire->ring_id,
		.capacity = wire->capacity,
		.start = wire->start,
		.is_huge = wire->is_huge,
		.is_isolated = wire->is_isolated,
	};
	return 0;
}

static int map(struct hbus_pub_ring *ring)
{
	const struct hbus_geometry *geometry = &ring->geometry;
	int seals = F_SEAL_SHRINK | F_SEAL_GROW;
	int r;

	if (hbus_memfd_check(ring->header_fd, HBUS_RING_HEADER_SIZE, seals, 0) != 0 ||
	    hbus_memfd_check(ring->data_fd, geometry->capacity, seals, 0) != 0)
		return hbus_fail(HBUS_E_BAD_FD, "the daemon sent memory of another size or without seals");
	r = hbus_segment_map(ring->header_fd, HBUS_RING_HEADER_SIZE, 1, &ring->header);
	if (r == 0)
		r = hbus_segment_map_twice(ring->data_fd, geometry->capacity, 1, (int)geometry->is_huge, &ring->data);
	if (r < 0)
		return hbus_fail_errno(r, "mapping a ring");
	return 0;
}

/* From GRANT to a ring that can be written, known to the daemon only. */
static int ring_from_grant(struct hbus_call *call, struct hbus_pub_ring **ret_ring)
{
	struct hbus_pub_ring *ring = calloc(1, sizeof(*ring));
	int r;

	if (!ring) {
		hbus_wire_fds_close(&call->fds);
		return hbus_fail(HBUS_E_NO_MEMORY, "no memory for a ring");
	}
	ring->header_fd = hbus_wire_fds_take(&call->fds, 0);
	ring->data_fd = hbus_wire_fds_take(&call->fds, 1);
	ring->token = call->reply.ring_grant.token;
	pthread_mutex_init(&ring->wake_lock, NULL);
	r = take_geometry(&call->reply.ring_grant.geometry, &ring->geometry);
	if (r == 0)
		r = map(ring);
	if (r < 0) {
		hbus_pub_ring_free(ring);
		return r;
	}
	hbus_gates_init_early(&ring->gates, ring->geometry.start, ring->geometry.is_isolated);
	hbus_ring_pub_init(&ring->pub, &ring->geometry, ring->header, ring->data, &ring->gates);
	*ret_ring = ring;
	return 0;
}

static void ring_link(struct hbus *bus, struct hbus_pub_ring *ring)
{
	pthread_mutex_lock(&bus->lock);
	ring->next = bus->pub_rings;
	bus->pub_rings = ring;
	pthread_mutex_unlock(&bus->lock);
}

static void ring_unlink(struct hbus *bus, struct hbus_pub_ring *ring)
{
	pthread_mutex_lock(&bus->lock);
	for (struct hbus_pub_ring **at = &bus->pub_rings; *at; at = &(*at)->next) {
		if (*at != ring)
			continue;
		*at = ring->next;
		break;
	}
	pthread_mutex_unlock(&bus->lock);
}

static int ask(const struct hbus_publisher *publisher, const char *name, const char *type, const char *content_type,
	       struct hbus_call *call)
{
	const struct hbus_publisher_options *options = &publisher->options;
	union hbus_msg message;
	struct hbus_msg_ring_create *create = &message.ring_create;
	int r;

	hbus_wire_init(&message, HBUS_MSG_RING_CREATE, 0);
	create->capacity = options->capacity;
	create->start = options->start_position;
	create->flags = (options->flags & HBUS_PUB_SMALL_PAGES ? HBUS_RING_WANT_SMALL_PAGES : 0) |
			(options->flags & HBUS_PUB_ISOLATED ? HBUS_RING_WANT_ISOLATED : 0) |
			(options->flags & HBUS_PUB_HUGE_ONLY ? HBUS_RING_WANT_HUGE_ONLY : 0);
	if (!hbus_wire_put_string(create->first_topic, sizeof(create->first_topic), name) ||
	    !hbus_wire_put_string(create->type, sizeof(create->type), type) ||
	    !hbus_wire_put_string(create->content_type, sizeof(create->content_type), content_type))
		return hbus_fail(HBUS_E_NAME, "a topic's name has at most 255 bytes, its types 63");
	r = hbus_call(publisher->bus, &message, NULL, 0, call);
	if (r == 0 && call->reply.header.type != HBUS_MSG_RING_GRANT)
		r = hbus_fail(HBUS_E_PROTOCOL, "the daemon answered RING_CREATE without a ring");
	return r;
}

/* Tells the daemon that the ring is mapped; when it answers, all gates are in place. */
static int announce(const struct hbus_publisher *publisher, struct hbus_pub_ring *ring, uint32_t *ret_topic_id)
{
	struct hbus_call call = hbus_publisher_call(publisher);
	union hbus_msg message;
	int r;

	call.no_retry = true;
	call.ret_ok = &ring->is_announced;
	hbus_wire_init(&message, HBUS_MSG_RING_MAPPED, 0);
	message.ring.ring_id = ring->geometry.ring_id;
	r = hbus_call(publisher->bus, &message, NULL, 0, &call);
	if (r < 0)
		return r;
	*ret_topic_id = (uint32_t)call.reply.reply.value[0] & HBUS_TOPIC_ID_MAX;
	return 0;
}

static void give_back(struct hbus *bus, uint64_t ring_id)
{
	pthread_mutex_lock(&bus->lock);
	if (bus->link == HBUS_LINK_CONNECTED)
		hbus_give_back_ring_locked(bus, ring_id);
	pthread_mutex_unlock(&bus->lock);
}

void hbus_pub_ring_give_up(struct hbus *bus, struct hbus_pub_ring *ring)
{
	hbus_pub_ring_retire(bus, ring);
	give_back(bus, ring->geometry.ring_id);
	hbus_pub_ring_free(ring);
}

int hbus_pub_ring_new(struct hbus_publisher *publisher, const char *name, const char *type, const char *content_type,
		      struct hbus_pub_ring **ret_ring, uint32_t *ret_topic_id)
{
	struct hbus *bus = publisher->bus;
	int r = 0;

	for (int i = 0; i < ATTEMPTS_MAX; i++) {
		struct hbus_call call = hbus_publisher_call(publisher);
		struct hbus_pub_ring *ring = NULL;

		r = ask(publisher, name, type, content_type, &call);
		if (r < 0)
			return r;
		r = ring_from_grant(&call, &ring);
		if (r < 0) {
			give_back(bus, call.reply.ring_grant.geometry.ring_id);
			return r;
		}
		ring->gates.busy = &publisher->busy;
		ring_link(bus, ring);
		r = announce(publisher, ring, ret_topic_id);
		if (r == 0)
			r = hbus_pub_ring_note_topic(bus, ring, *ret_topic_id, *ret_topic_id, name, type, content_type);
		if (r == 0) {
			*ret_ring = ring;
			return 0;
		}
		hbus_pub_ring_give_up(bus, ring);
		/* Lost with the daemon that granted it: its successor has never heard of the ring. */
		if (r != HBUS_E_DISCONNECTED && r != HBUS_E_NOT_FOUND)
			return r;
	}
	return r;
}

void hbus_pub_ring_retire(struct hbus *bus, struct hbus_pub_ring *ring)
{
	hbus_ring_pub_abort(&ring->pub);
	hbus_ring_pub_close(&ring->pub);
	ring_unlink(bus, ring);
}

void hbus_pub_ring_close(struct hbus *bus, struct hbus_pub_ring *ring)
{
	struct hbus_call call = {.no_retry = true, .timeout_ms = HBUS_CLOSE_TIMEOUT_MS};
	union hbus_msg message;
	bool is_connected;

	hbus_pub_ring_retire(bus, ring);
	pthread_mutex_lock(&bus->lock);
	is_connected = bus->link == HBUS_LINK_CONNECTED;
	pthread_mutex_unlock(&bus->lock);
	if (is_connected) {
		hbus_wire_init(&message, HBUS_MSG_RING_CLOSE, 0);
		message.ring.ring_id = ring->geometry.ring_id;
		hbus_call(bus, &message, NULL, 0, &call);
	}
	hbus_pub_ring_free(ring);
}
