/* SPDX-License-Identifier: BSD-3-Clause */
/* Batches of a publisher, and waking later. See publisher.h. */
#include "ctl/client/publisher.h"

static int batch_enter(struct hbus_publisher *publisher, bool must_be_open)
{
	int r = hbus_publisher_enter(publisher);

	if (r < 0)
		return r;
	if (publisher->in_batch != must_be_open)
		r = hbus_fail(HBUS_E_BUSY, must_be_open ? "no batch is open" : "a batch is open already");
	else if (hbus_publisher_has_reserved(publisher))
		r = hbus_fail(HBUS_E_BUSY, "a reservation is open: commit or abort it first");
	if (r < 0)
		hbus_publisher_leave(publisher);
	return r;
}

int hbus_batch_begin(struct hbus_publisher *publisher)
{
	int r = batch_enter(publisher, false);

	if (r < 0)
		return r;
	publisher->in_batch = true;
	publisher->batch_time_ns = 0;
	hbus_publisher_set_quick(publisher);
	hbus_publisher_leave(publisher);
	return 0;
}

int hbus_batch_commit(struct hbus_publisher *publisher)
{
	uint32_t n_rings;
	int r = batch_enter(publisher, true);

	if (r < 0)
		return r;
	/* A(publisher.n_rings): pairs with R(publisher.n_rings) in add_ring(). */
	n_rings = atomic_load_explicit(&publisher->n_rings, memory_order_acquire);
	for (uint32_t i = 0; i < n_rings; i++)
		hbus_publisher_commit(publisher, publisher->rings[i]);
	publisher->in_batch = false;
	hbus_publisher_set_quick(publisher);
	hbus_publisher_leave(publisher);
	return 0;
}

int hbus_batch_abort(struct hbus_publisher *publisher)
{
	uint32_t n_rings;
	int r = batch_enter(publisher, true);

	if (r < 0)
		return r;
	/* A(publisher.n_rings): pairs with R(publisher.n_rings) in add_ring(). */
	n_rings = atomic_load_explicit(&publisher->n_rings, memory_order_acquire);
	for (uint32_t i = 0; i < n_rings; i++)
		hbus_ring_pub_abort(&publisher->rings[i]->pub);
	publisher->in_batch = false;
	hbus_publisher_set_quick(publisher);
	hbus_publisher_leave(publisher);
	return 0;
}

int hbus_publisher_wake(struct hbus_publisher *publisher)
{
	uint32_t n_rings;
	unsigned int n = 0;

	if (!publisher || !hbus_is_ours(publisher->bus))
		return hbus_fail_handle(publisher);
	/* A(publisher.n_rings): pairs with R(publisher.n_rings) in add_ring(). */
	n_rings = atomic_load_explicit(&publisher->n_rings, memory_order_acquire);
	pthread_mutex_lock(&publisher->rings_lock);
	for (uint32_t i = 0; i < n_rings; i++) {
		struct hbus_pub_ring *ring = publisher->rings[i];

		pthread_mutex_lock(&ring->wake_lock);
		n += hbus_gates_wake_locked(&ring->gates, &ring->pub.header->notify);
		pthread_mutex_unlock(&ring->wake_lock);
	}
	pthread_mutex_unlock(&publisher->rings_lock);
	return (int)n;
}
