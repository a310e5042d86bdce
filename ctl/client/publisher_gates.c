/* SPDX-License-Identifier: BSD-3-Clause */
/* Gates of subscribers at this process's rings: installed and removed as the daemon says. */
#include <string.h>
#include <unistd.h>

#include "ctl/client/control.h"
#include "ctl/client/handlers.h"
#include "ctl/client/publisher.h"
#include "shm/segment.h"

static struct hbus_pub_ring *find_ring(struct hbus *bus, uint64_t ring_id)
{
	struct hbus_pub_ring *ring = bus->pub_rings;

	while (ring && ring->geometry.ring_id != ring_id)
		ring = ring->next;
	return ring;
}

static void answer(struct hbus *bus, enum hbus_msg_type type, uint32_t serial, uint64_t ring_id, uint64_t gate_id,
		   uint32_t attach_idx, int status)
{
	union hbus_msg message;

	hbus_wire_init(&message, type, serial);
	message.gate.ring_id = ring_id;
	message.gate.gate_id = gate_id;
	message.gate.attach_idx = attach_idx;
	message.gate.status = status;
	hbus_send_locked(bus, &message, NULL, 0);
}

static bool is_free(const struct hbus_pub_ring *ring, uint32_t idx)
{
	/* relaxed: only this side moves an entry out of FREE or back */
	return atomic_load_explicit(&ring->gates.gates[idx].state, memory_order_relaxed) == HBUS_GATE_FREE;
}

static int remove_gate(struct hbus_pub_ring *ring, uint32_t idx, uint64_t gate_id)
{
	int r;

	pthread_mutex_lock(&ring->wake_lock);
	r = hbus_gates_remove(&ring->gates, idx, gate_id);
	pthread_mutex_unlock(&ring->wake_lock);
	return r == 0 ? 0 : HBUS_E_NOT_FOUND;
}

/* What the old daemon installed and the new one does not know: its subscriber died or left in between. */
static void remove_unclaimed(struct hbus_pub_ring *ring, uint32_t idx)
{
	/* relaxed: this thread's own word */
	if (!is_free(ring, idx) && atomic_load_explicit(&ring->gates.gates[idx].is_unclaimed, memory_order_relaxed))
		remove_gate(ring, idx, ring->gates.gates[idx].spec.gate_id);
}

void hbus_unclaim_gates(struct hbus *bus)
{
	for (struct hbus_pub_ring *ring = bus->pub_rings; ring; ring = ring->next)
		hbus_gates_unclaim(&ring->gates);
}

static bool is_installed(const struct hbus_pub_ring *ring, const struct hbus_msg_gate_add *message)
{
	return message->attach_idx < HBUS_RING_WAKERS_MAX && !is_free(ring, message->attach_idx) &&
	       ring->gates.gates[message->attach_idx].spec.gate_id == message->gate_id;
}

/* The subscriber is a stranger: its memory must be what the daemon says, and must stay so. */
static int map_slots(const struct hbus_msg_gate_add *message, int fd, struct hbus_gate_spec *spec)
{
	uint64_t size = (uint64_t)message->n_slots * sizeof(struct hbus_slot);

	if (message->n_slots == 0 || message->n_slots > HBUS_SLOTS_PER_MEMFD_MAX ||
	    message->slot_idx >= message->n_slots)
		return HBUS_E_INVALID;
	if (hbus_memfd_check(fd, size, hbus_memfd_seals_final(), 1) != 0)
		return HBUS_E_BAD_FD;
	if (hbus_segment_map(fd, size, 0, &spec->map_base) < 0)
		return HBUS_E_NO_MEMORY;
	spec->map_size = size;
	spec->slot = (const struct hbus_slot *)spec->map_base + message->slot_idx;
	return 0;
}

static int install(struct hbus_pub_ring *ring, const struct hbus_msg_gate_add *message, struct hbus_wire_fds *fds)
{
	struct hbus_gate_spec spec = {
		.gate_id = message->gate_id,
		.pidfd = -1,
		.doorbell = -1,
		.stall_ms = message->stall_ms,
		.is_reliable = (message->flags & HBUS_GATE_RELIABLE) != 0,
	};
	int r;

	r = map_slots(message, fds->fd[0], &spec);
	if (r < 0)
		return r;
	/* Only who gates is watched: one descriptor less for each lossy subscriber. */
	if (spec.is_reliable)
		spec.pidfd = hbus_wire_fds_take(fds, 1);
	if (message->flags & HBUS_GATE_HAS_DOORBELL)
		spec.doorbell = hbus_wire_fds_take(fds, 2);
	pthread_mutex_lock(&ring->wake_lock);
	r = hbus_gates_install(&ring->gates, message->attach_idx, &spec);
	pthread_mutex_unlock(&ring->wake_lock);
	if (r == 0)
		return 0;
	hbus_segment_unmap(spec.map_base, spec.map_size);
	if (spec.pidfd >= 0)
		close(spec.pidfd);
	if (spec.doorbell >= 0)
		close(spec.doorbell);
	return HBUS_E_EXISTS;
}

void hbus_on_gate_add(struct hbus *bus, const struct hbus_msg_gate_add *message, struct hbus_wire_fds *fds)
{
	struct hbus_pub_ring *ring = find_ring(bus, message->ring_id);
	bool is_place = message->attach_idx < HBUS_RING_WAKERS_MAX;
	int status = HBUS_E_NOT_FOUND;

	if (ring && is_installed(ring, message)) {
		status = 0;
	} else if (ring) {
		if (is_place)
			remove_unclaimed(ring, message->attach_idx);
		status = install(ring, message, fds);
	}
	if (status == 0)
		hbus_gates_claim(&ring->gates, message->attach_idx);
	answer(bus, HBUS_MSG_GATE_ADDED, message->header.serial, message->ring_id, message->gate_id,
	       message->attach_idx, status);
}

void hbus_on_gate_remove(struct hbus *bus, const struct hbus_msg_gate *message)
{
	struct hbus_pub_ring *ring = find_ring(bus, message->ring_id);
	int status = HBUS_E_NOT_FOUND;

	if (message->gate_id == 0) {
		for (uint32_t i = 0; ring && i < HBUS_RING_WAKERS_MAX; i++)
			remove_unclaimed(ring, i);
		return;
	}
	if (ring)
		status = remove_gate(ring, message->attach_idx, message->gate_id);
	answer(bus, HBUS_MSG_GATE_REMOVED, message->header.serial, message->ring_id, message->gate_id,
	       message->attach_idx, status);
}
