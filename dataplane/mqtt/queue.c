/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queue of one session, in memory. See queue.h.
 *
 * A message with QoS 1 or 2 that was sent stands in the list of those in flight until it is acknowledged; after a
 * reconnect it goes back to the front of the queue with its packet identifier.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/engine_pvt.h"

enum { SLOTS_MIN = 16, SLOTS_MAX = 65536 };

struct list {
	struct hbus_mqtt_delivery *first, *last;
	uint32_t n;
};

struct memory_queue {
	struct hbus_mqtt_queue base;
	const struct hbus_mqtt_config *config;
	struct list available, locked;
	size_t bytes;
	struct hbus_mqtt_delivery **slots; /* packet identifier n stands in slot (n - 1) % n_slots */
	uint32_t n_slots, n_slots_used;
};

static struct memory_queue *memory_of(struct hbus_mqtt_queue *queue)
{
	return hbus_mqtt_of(queue, struct memory_queue, base);
}

static const struct memory_queue *const_memory_of(const struct hbus_mqtt_queue *queue)
{
	return (const struct memory_queue *)(const void *)queue;
}

/* -- lists -- */

static void list_append(struct list *list, struct hbus_mqtt_delivery *d)
{
	d->next = NULL;
	d->prev = list->last;
	if (list->last)
		list->last->next = d;
	else
		list->first = d;
	list->last = d;
	list->n++;
}

static void list_prepend(struct list *list, struct hbus_mqtt_delivery *d)
{
	d->prev = NULL;
	d->next = list->first;
	if (list->first)
		list->first->prev = d;
	else
		list->last = d;
	list->first = d;
	list->n++;
}

static void list_remove(struct list *list, struct hbus_mqtt_delivery *d)
{
	if (d->prev)
		d->prev->next = d->next;
	else
		list->first = d->next;
	if (d->next)
		d->next->prev = d->prev;
	else
		list->last = d->prev;
	list->n--;
}

/* -- packet identifiers -- */

static struct hbus_mqtt_delivery **slot_of(const struct memory_queue *q, uint16_t packet_id)
{
	return &q->slots[(packet_id - 1u) & (q->n_slots - 1)];
}

/* Identifiers that differ modulo n differ modulo 2n, so each has its slot again. */
static bool slots_grow(struct memory_queue *q)
{
	uint32_t n = q->n_slots ? 2 * q->n_slots : SLOTS_MIN;
	struct hbus_mqtt_delivery **slots = n <= SLOTS_MAX ? calloc(n, sizeof(struct hbus_mqtt_delivery *)) : NULL;

	if (!slots)
		return false;
	for (uint32_t i = 0; i < q->n_slots; i++)
		if (q->slots[i])
			slots[(q->slots[i]->packet_id - 1u) & (n - 1)] = q->slots[i];
	free(q->slots);
	q->slots = slots;
	q->n_slots = n;
	return true;
}

static bool id_take(struct memory_queue *q, struct hbus_mqtt_delivery *d)
{
	if (q->n_slots_used == q->n_slots && !slots_grow(q))
		return false;
	do {
		if (++q->base.last_id == 0)
			q->base.last_id = 1;
	} while (*slot_of(q, q->base.last_id));
	d->packet_id = q->base.last_id;
	*slot_of(q, d->packet_id) = d;
	q->n_slots_used++;
	return true;
}

static struct hbus_mqtt_delivery *id_find(const struct memory_queue *q, uint16_t packet_id)
{
	struct hbus_mqtt_delivery *d = q->n_slots ? *slot_of(q, packet_id) : NULL;

	return d && d->packet_id == packet_id ? d : NULL;
}

/* With the packet identifier that it had, when that is free. */
static bool id_take_back(struct memory_queue *q, struct hbus_mqtt_delivery *d, uint16_t packet_id)
{
	while (q->n_slots == 0 || *slot_of(q, packet_id))
		if (id_find(q, packet_id) || !slots_grow(q))
			return false;
	d->packet_id = packet_id;
	*slot_of(q, packet_id) = d;
	q->n_slots_used++;
	return true;
}

static void id_forget(struct memory_queue *q, struct hbus_mqtt_delivery *d)
{
	if (!d->packet_id)
		return;
	*slot_of(q, d->packet_id) = NULL;
	q->n_slots_used--;
	d->packet_id = 0;
}

/* -- deliveries -- */

static struct hbus_mqtt_delivery *delivery_new(struct hbus_mqtt_kept *kept, const struct hbus_mqtt_how *how)
{
	struct hbus_mqtt_delivery *d = calloc(1, sizeof(*d) + how->n_ids * sizeof(how->ids[0]));

	if (!d)
		return NULL;
	d->kept = kept ? hbus_mqtt_kept_get(kept) : NULL;
	d->share = how->share;
	if (d->share)
		d->share->n_refs++;
	d->qos = how->qos;
	d->is_retain = how->is_retain;
	d->n_ids = how->n_ids;
	if (how->n_ids > 0)
		memcpy(d->ids, how->ids, how->n_ids * sizeof(how->ids[0]));
	return d;
}

void hbus_mqtt_delivery_free(struct hbus_mqtt_delivery *d)
{
	hbus_mqtt_kept_put(d->kept);
	hbus_mqtt_share_put(d->share);
	free(d);
}

static void make_available(struct memory_queue *q, struct hbus_mqtt_delivery *d, bool is_first)
{
	d->state = QUEUED;
	if (is_first)
		list_prepend(&q->available, d);
	else
		list_append(&q->available, d);
	q->bytes += d->kept->size;
}

static void make_locked(struct memory_queue *q, struct hbus_mqtt_delivery *d)
{
	d->state = d->qos == 2 ? WAIT_PUBREC : WAIT_PUBACK;
	list_append(&q->locked, d);
}

static void unlink_delivery(struct memory_queue *q, struct hbus_mqtt_delivery *d)
{
	if (d->state == QUEUED) {
		list_remove(&q->available, d);
		q->bytes -= d->kept->size;
	} else {
		list_remove(&q->locked, d);
	}
}

/* -- the operations -- */

static struct hbus_mqtt_queue *memory_open(const struct hbus_mqtt_config *config)
{
	struct memory_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->base.ops = &hbus_mqtt_memory_queue;
	q->config = config;
	return &q->base;
}

static struct hbus_mqtt_delivery *memory_take(struct hbus_mqtt_queue *queue, bool is_locked)
{
	struct memory_queue *q = memory_of(queue);
	struct hbus_mqtt_delivery *d = is_locked ? q->locked.first : q->available.first;

	if (!d)
		return NULL;
	unlink_delivery(q, d);
	id_forget(q, d);
	return d;
}

static void memory_close(struct hbus_mqtt_queue *queue)
{
	struct memory_queue *q = memory_of(queue);
	struct hbus_mqtt_delivery *d;

	while ((d = memory_take(queue, true)) || (d = memory_take(queue, false)))
		hbus_mqtt_delivery_free(d);
	free(q->slots);
	free(q);
}

static int memory_put(struct hbus_mqtt_queue *queue, struct hbus_mqtt_source *source, const struct hbus_mqtt_how *how,
		      struct hbus_mqtt_delivery **ret_locked)
{
	struct memory_queue *q = memory_of(queue);
	struct hbus_mqtt_kept *kept;
	struct hbus_mqtt_delivery *d;

	if (!ret_locked && q->available.n >= q->config->queue_max)
		return HBUS_MQTT_QUEUE_FULL;
	kept = hbus_mqtt_source_keep(source);
	if (kept && !ret_locked && q->bytes + kept->size > q->config->queue_bytes_max)
		return HBUS_MQTT_QUEUE_FULL;
	d = kept ? delivery_new(kept, how) : NULL;
	if (!d)
		return HBUS_MQTT_QUEUE_NO_MEMORY;
	if (!ret_locked) {
		make_available(q, d, false);
	} else if (id_take(q, d)) {
		make_locked(q, d);
		*ret_locked = d;
	} else {
		hbus_mqtt_delivery_free(d);
		return HBUS_MQTT_QUEUE_NO_MEMORY;
	}
	return 0;
}

static int memory_restore(struct hbus_mqtt_queue *queue, struct hbus_mqtt_kept *kept, const struct hbus_mqtt_how *how,
			  enum hbus_mqtt_delivery_state state, uint16_t packet_id, bool was_sent)
{
	struct memory_queue *q = memory_of(queue);
	struct hbus_mqtt_delivery *d;

	/* Those that were given to the client count for the bytes once they are back: together they may be more. */
	if (how->qos == 0 || q->available.n + q->locked.n >= q->config->queue_max + UINT16_MAX ||
	    (state != QUEUED && packet_id == 0))
		return HBUS_MQTT_QUEUE_FULL;
	d = delivery_new(kept, how);
	if (!d)
		return HBUS_MQTT_QUEUE_NO_MEMORY;
	if (packet_id && !id_take_back(q, d, packet_id)) {
		hbus_mqtt_delivery_free(d);
		return HBUS_MQTT_QUEUE_NO_MEMORY;
	}
	d->was_sent = was_sent;
	d->state = (uint8_t)state;
	if (state == QUEUED)
		make_available(q, d, false);
	else
		list_append(&q->locked, d);
	return 0;
}

static struct hbus_mqtt_delivery *memory_next(const struct hbus_mqtt_queue *queue, bool is_locked,
					      const struct hbus_mqtt_delivery *after)
{
	const struct memory_queue *q = const_memory_of(queue);

	return after ? after->next : is_locked ? q->locked.first : q->available.first;
}

static struct hbus_mqtt_delivery *memory_lock(struct hbus_mqtt_queue *queue)
{
	struct memory_queue *q = memory_of(queue);
	struct hbus_mqtt_delivery *d = q->available.first;

	if (!d || (d->packet_id == 0 && !id_take(q, d)))
		return NULL;
	unlink_delivery(q, d);
	make_locked(q, d);
	return d;
}

static struct hbus_mqtt_delivery *memory_find(const struct hbus_mqtt_queue *queue, uint16_t packet_id)
{
	return id_find(const_memory_of(queue), packet_id);
}

static void memory_settle(struct hbus_mqtt_queue *queue, struct hbus_mqtt_delivery *d, bool is_done)
{
	struct memory_queue *q = memory_of(queue);

	if (!is_done && d->state == WAIT_PUBCOMP)
		return;
	unlink_delivery(q, d);
	if (is_done) {
		id_forget(q, d);
		hbus_mqtt_delivery_free(d);
		return;
	}
	hbus_mqtt_kept_put(d->kept);
	d->kept = NULL;
	d->state = WAIT_PUBCOMP;
	list_append(&q->locked, d);
}

static void memory_release(struct hbus_mqtt_queue *queue)
{
	struct memory_queue *q = memory_of(queue);
	struct hbus_mqtt_delivery *d = q->locked.last, *prev;

	for (; d; d = prev) {
		prev = d->prev;
		if (d->state == WAIT_PUBCOMP)
			continue;
		list_remove(&q->locked, d);
		make_available(q, d, true);
	}
}

static uint32_t memory_expire(struct hbus_mqtt_queue *queue, uint64_t now_ms)
{
	const struct memory_queue *q = const_memory_of(queue);
	const struct hbus_mqtt_delivery *d;
	uint32_t n = 0;

	while ((d = q->available.first) && !d->was_sent && d->kept->expires_ms <= now_ms) {
		hbus_mqtt_delivery_free(memory_take(queue, false));
		n++;
	}
	return n;
}

static struct hbus_mqtt_queue_count memory_count(const struct hbus_mqtt_queue *queue)
{
	const struct memory_queue *q = const_memory_of(queue);

	return (struct hbus_mqtt_queue_count){ q->available.n, q->locked.n, q->bytes };
}

const struct hbus_mqtt_queue_ops hbus_mqtt_memory_queue = {
	.open = memory_open,
	.close = memory_close,
	.put = memory_put,
	.restore = memory_restore,
	.next = memory_next,
	.take = memory_take,
	.lock = memory_lock,
	.find = memory_find,
	.settle = memory_settle,
	.release = memory_release,
	.expire = memory_expire,
	.count = memory_count,
};
