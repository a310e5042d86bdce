/* SPDX-License-Identifier: BSD-3-Clause */
/* The publisher's table of attached subscribers. See gate.h. */
#include "shm/gate.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shm/segment.h"
#include "shm/wait.h"

/* One wait slice counts at most this much: a paused host must not evict anybody. */
#define STALL_SLICE_MAX_US 20000u

void hbus_gates_init_early(struct hbus_gates *table, uint64_t start, bool is_isolated)
{
	memset(table, 0, sizeof(*table));
	table->scan_tail = start;
	table->busy = &table->own_busy;
	for (uint32_t i = 0; i < HBUS_GATES_AT_ONCE; i++) /* relaxed: no other thread has the table yet */
		atomic_store_explicit(&table->look[i], (uintptr_t)&table->nobody, memory_order_relaxed);
	table->is_isolated = is_isolated;
	table->needs_fence = true;
	table->awaits_barriers = !is_isolated;
	hbus_gates_use_barriers(table);
}

void hbus_gates_init(struct hbus_gates *table, uint64_t start, bool is_isolated)
{
	/* A barrier that the kernel does not owe to this process is none: it refuses, and nobody would notice. */
	if (!is_isolated)
		(void)hbus_membarrier_register();
	hbus_gates_init_early(table, start, is_isolated);
}

bool hbus_gates_use_barriers(struct hbus_gates *table)
{
	if (table->awaits_barriers && hbus_membarrier_is_registered()) {
		table->awaits_barriers = false;
		table->needs_fence = false;
		/* A control thread that did not see the registration yet has made its fence before it looked: what it
		 * stored before that is seen from here on. */
		atomic_thread_fence(memory_order_seq_cst);
	}
	return table->needs_fence;
}

static void spec_release(struct hbus_gate_spec *spec)
{
	if (spec->pidfd >= 0)
		close(spec->pidfd);
	if (spec->doorbell >= 0)
		close(spec->doorbell);
	hbus_segment_unmap(spec->map_base, spec->map_size);
	memset(spec, 0, sizeof(*spec));
	spec->pidfd = spec->doorbell = -1;
}

void hbus_gates_deinit(struct hbus_gates *table)
{
	for (uint32_t i = 0; i < HBUS_RING_WAKERS_MAX; i++) {
		struct hbus_gate *gate = &table->gates[i];

		/* relaxed: no other thread is left */
		if (atomic_load_explicit(&gate->state, memory_order_relaxed) != HBUS_GATE_FREE)
			spec_release(&gate->spec);
		atomic_store_explicit(&gate->state, HBUS_GATE_FREE, memory_order_relaxed);
	}
	atomic_store_explicit(&table->n_used, 0, memory_order_relaxed); /* relaxed, both: as above */
	atomic_store_explicit(&table->n_looked, 0, memory_order_relaxed);
}

/* Every later enter of the data thread sees what was stored before this call. 0 or -errno: then it may not. */
static int process_barrier(const struct hbus_gates *table)
{
	/* Store of the entry, load of busy; and, in this order, load of the registration: hbus_gates_use_barriers(). */
	atomic_thread_fence(memory_order_seq_cst);
	if (table->is_isolated || !hbus_membarrier_is_registered())
		return 0;
	return hbus_membarrier_private();
}

/* Whom a publish looks at after its commit. */
static void look_add(struct hbus_gates *table, uintptr_t waiting)
{
	uint32_t n = atomic_load_explicit(&table->n_looked, memory_order_relaxed); /* relaxed: own word */

	/* relaxed, then release: R(gate.look): where to look before the number that makes a publish look there. */
	atomic_store_explicit(&table->look[n], waiting, memory_order_relaxed);
	atomic_store_explicit(&table->n_looked, n + 1, memory_order_release);
}

/*
 * The last one moves down, and stays where it was too: until the data thread cannot be looking at that any more, for which
 * the caller waits before another is added, or for longer, when it is looked at twice.
 */
static void look_drop(struct hbus_gates *table, uintptr_t waiting)
{
	uint32_t n = atomic_load_explicit(&table->n_looked, memory_order_relaxed), i = 0; /* relaxed: own words, all */

	while (i < n && atomic_load_explicit(&table->look[i], memory_order_relaxed) != waiting)
		i++;
	if (i == n)
		return;
	atomic_store_explicit(&table->look[i], atomic_load_explicit(&table->look[n - 1], memory_order_relaxed),
			      memory_order_relaxed);
	/* R(gate.look): as above: the last one's new place before the number that leaves its old one out. */
	atomic_store_explicit(&table->n_looked, n - 1, memory_order_release);
	/* Nor is it looked at where places are looked at always: it stood last, or was left there when it moved down. */
	for (i = n - 1; i < HBUS_GATES_AT_ONCE; i++)
		if (atomic_load_explicit(&table->look[i], memory_order_relaxed) == waiting) /* relaxed: own words */
			atomic_store_explicit(&table->look[i], (uintptr_t)&table->nobody, memory_order_relaxed);
}

int hbus_gates_install(struct hbus_gates *table, uint32_t idx, const struct hbus_gate_spec *spec)
{
	struct hbus_gate_spec again;
	struct hbus_gate *gate;
	int r;

	if (idx >= HBUS_RING_WAKERS_MAX || (spec->is_reliable && idx >= HBUS_RING_GATES_MAX))
		return -EINVAL;
	gate = &table->gates[idx];
	/* relaxed: only this thread moves an entry out of FREE or back */
	if (atomic_load_explicit(&gate->state, memory_order_relaxed) != HBUS_GATE_FREE) {
		if (gate->spec.gate_id != spec->gate_id)
			return -EEXIST;
		again = *spec;
		spec_release(&again);
		return 0;
	}
	gate->is_adopted = false;
	gate->spec = *spec;
	atomic_store_explicit(&gate->is_unclaimed, 0, memory_order_relaxed); /* relaxed: shown by the state below */
	/* R(gate.state): the entry's content before the word that shows it. */
	atomic_store_explicit(&gate->state, HBUS_GATE_READY, memory_order_release);
	/* relaxed: only this thread writes it; the barrier below makes it visible */
	if (atomic_load_explicit(&table->n_used, memory_order_relaxed) <= idx)
		/* R(gate.used): the entry before the count that makes a scan look at it. */
		atomic_store_explicit(&table->n_used, idx + 1, memory_order_release);
	look_add(table, (uintptr_t)&spec->slot->waiting);
	r = process_barrier(table);
	if (r < 0) { /* R(gate.state): nothing is taken over */
		atomic_store_explicit(&gate->state, HBUS_GATE_FREE, memory_order_release);
		look_drop(table, (uintptr_t)&spec->slot->waiting);
	}
	return r;
}

static void shrink_used(struct hbus_gates *table)
{
	uint32_t n = atomic_load_explicit(&table->n_used, memory_order_relaxed); /* relaxed: own word */

	while (n > 0 && atomic_load_explicit(&table->gates[n - 1].state, memory_order_relaxed) ==
				HBUS_GATE_FREE) /* relaxed: own word */
		n--;
	/* R(gate.used): as in hbus_gates_install(). */
	atomic_store_explicit(&table->n_used, n, memory_order_release);
}

int hbus_gates_remove(struct hbus_gates *table, uint32_t idx, uint64_t gate_id)
{
	struct hbus_gate *gate;
	uint32_t busy;

	if (idx >= HBUS_RING_WAKERS_MAX)
		return -ENOENT;
	gate = &table->gates[idx];
	/* relaxed: own word, but for READY -> DROPPED, which does not matter here */
	if (atomic_load_explicit(&gate->state, memory_order_relaxed) == HBUS_GATE_FREE ||
	    gate->spec.gate_id != gate_id)
		return -ENOENT;
	/* R(gate.state): whoever finds it FREE does not look at the entry; the barrier covers who already did. */
	atomic_store_explicit(&gate->state, HBUS_GATE_FREE, memory_order_release);
	look_drop(table, (uintptr_t)&gate->spec.slot->waiting);
	/* Without a barrier nobody knows whether the data thread still looks: then the mapping stays. */
	if (process_barrier(table) < 0)
		return 0;
	/* A(gate.busy): pairs with R(gate.busy) in hbus_gates_leave(). */
	busy = atomic_load_explicit(table->busy, memory_order_acquire);
	while ((busy & HBUS_GATES_INSIDE) && atomic_load_explicit(table->busy, memory_order_acquire) == busy)
		sched_yield();
	spec_release(&gate->spec);
	shrink_used(table);
	return 0;
}

uint32_t hbus_gates_count(const struct hbus_gates *table, bool reliable_only)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < HBUS_RING_WAKERS_MAX; i++) {
		const struct hbus_gate *gate = &table->gates[i];
		/* A(gate.state): pairs with R(gate.state) in hbus_gates_install(). */
		uint32_t state = atomic_load_explicit(&gate->state, memory_order_acquire);

		if (reliable_only)
			n += state == HBUS_GATE_READY && gate->spec.is_reliable;
		else
			n += state != HBUS_GATE_FREE;
	}
	return n;
}

/* The gate's floor now, from a cursor that is read once and never trusted. */
static uint64_t gate_floor(struct hbus_gates *table, struct hbus_gate *gate, uint64_t tail)
{
	/* A(ring.cursor): pairs with R(ring.cursor) in hbus_ring_sub_release(): the subscriber's last
	 * use of the bytes comes before they are overwritten. */
	uint64_t cursor = atomic_load_explicit(&gate->spec.slot->cursor, memory_order_acquire);

	if (!gate->is_adopted) {
		gate->floor = table->scan_tail;
		gate->stalled_us = 0;
		gate->has_joined = false;
		gate->is_adopted = true;
	}
	if (cursor == 0) /* not joined yet */
		return gate->floor;
	/* A slot that is used again still says that the reader before has left: this one has not joined either. */
	if (cursor == HBUS_CURSOR_LEFT && !gate->has_joined)
		return gate->floor;
	gate->has_joined = true;
	if (cursor == HBUS_CURSOR_LEFT || (int64_t)(cursor - tail) > 0)
		cursor = tail;
	if ((int64_t)(cursor - gate->floor) > 0)
		gate->floor = cursor;
	return gate->floor;
}

static bool is_gating(struct hbus_gate *gate)
{
	/* A(gate.state): pairs with R(gate.state) in hbus_gates_install(). */
	return atomic_load_explicit(&gate->state, memory_order_acquire) == HBUS_GATE_READY &&
	       gate->spec.is_reliable;
}

uint64_t hbus_gates_scan(struct hbus_gates *table, uint64_t tail, uint64_t capacity)
{
	uint64_t permit = tail + 2 * capacity;
	uint32_t n, busy = hbus_gates_enter(table);

	/* A(gate.used): pairs with R(gate.used) in hbus_gates_install(). */
	n = atomic_load_explicit(&table->n_used, memory_order_acquire);
	if (n > HBUS_RING_GATES_MAX)
		n = HBUS_RING_GATES_MAX;
	for (uint32_t i = 0; i < n; i++) {
		struct hbus_gate *gate = &table->gates[i];
		uint64_t end;

		if (!is_gating(gate))
			continue;
		end = gate_floor(table, gate, tail) + capacity;
		if ((int64_t)(end - permit) < 0)
			permit = end;
	}
	hbus_gates_leave(table, busy);
	table->scan_tail = tail;
	return permit;
}

/* Plain system calls in here and below: poll() and send() are cancellation points, and the thread is inside. */
static bool is_dead(int pidfd)
{
	struct pollfd waiter = {.fd = pidfd, .events = POLLIN};
	struct timespec at_once = {0};

	return pidfd >= 0 && syscall(SYS_ppoll, &waiter, 1, &at_once, NULL, 0) > 0;
}

static void drop(struct hbus_gates *table, struct hbus_ring_header *header, uint32_t idx, uint64_t tail)
{
	struct hbus_gate *gate = &table->gates[idx];
	uint32_t ready = HBUS_GATE_READY;

	/* relaxed, then the fence: R(ring.dropped): no earlier gate's id stands beside the new position. */
	atomic_store_explicit(&header->dropped[idx].gate_id, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	/* relaxed: the id below, stored later with release, shows it */
	atomic_store_explicit(&header->dropped[idx].position, tail, memory_order_relaxed);
	/* R(ring.dropped): position before the id that shows it. */
	atomic_store_explicit(&header->dropped[idx].gate_id, gate->spec.gate_id, memory_order_release);
	/* Not a plain store: the control thread may be removing the entry at this moment. */
	atomic_compare_exchange_strong_explicit(&gate->state, &ready, HBUS_GATE_DROPPED,
						memory_order_relaxed, memory_order_relaxed);
	table->n_dropped++;
}

void hbus_gates_unclaim(struct hbus_gates *table)
{
	/* relaxed, here and below: it shortens a time limit and orders nothing */
	for (uint32_t i = 0; i < HBUS_RING_WAKERS_MAX; i++)
		atomic_store_explicit(&table->gates[i].is_unclaimed, 1, memory_order_relaxed);
}

void hbus_gates_claim(struct hbus_gates *table, uint32_t idx)
{
	atomic_store_explicit(&table->gates[idx].is_unclaimed, 0, memory_order_relaxed); /* relaxed: as above */
}

static uint64_t stall_limit_us(const struct hbus_gate *gate)
{
	uint32_t ms = gate->spec.stall_ms;

	/* relaxed: as above */
	if (!gate->has_joined && ms > HBUS_UNJOINED_STALL_MS &&
	    atomic_load_explicit(&gate->is_unclaimed, memory_order_relaxed))
		ms = HBUS_UNJOINED_STALL_MS;
	return (uint64_t)ms * 1000;
}

unsigned int hbus_gates_reap(struct hbus_gates *table, struct hbus_ring_header *header, uint64_t tail,
			     uint64_t need, uint64_t capacity, uint64_t waited_us)
{
	unsigned int n_dropped = 0;
	uint32_t busy = hbus_gates_enter(table);

	if (waited_us > STALL_SLICE_MAX_US)
		waited_us = STALL_SLICE_MAX_US;
	for (uint32_t i = 0; i < HBUS_RING_GATES_MAX; i++) {
		struct hbus_gate *gate = &table->gates[i];

		/* One that no scan has met yet has no floor, and has not held anybody. */
		if (!is_gating(gate) || !gate->is_adopted || (int64_t)(gate->floor + capacity - need) >= 0)
			continue;
		gate->stalled_us += waited_us;
		if (!is_dead(gate->spec.pidfd) && gate->stalled_us < stall_limit_us(gate))
			continue;
		drop(table, header, i, tail);
		n_dropped++;
	}
	hbus_gates_leave(table, busy);
	return n_dropped;
}

void hbus_gates_forgive(struct hbus_gates *table)
{
	for (uint32_t i = 0; i < HBUS_RING_GATES_MAX; i++)
		table->gates[i].stalled_us = 0;
}

/* Doorbells of those who sleep on them; the futex word once, when somebody sleeps on that. */
static unsigned int wake_waiters(struct hbus_gates *table, _Atomic uint32_t *notify)
{
	/* A(gate.state): n_used is stored after the entries that it shows. */
	uint32_t n = atomic_load_explicit(&table->n_used, memory_order_acquire);
	unsigned int n_calls = 0;
	uint32_t all = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct hbus_gate *gate = &table->gates[i];
		uint32_t waiting;

		/* A(gate.state): pairs with R(gate.state) in hbus_gates_install(). */
		if (atomic_load_explicit(&gate->state, memory_order_acquire) == HBUS_GATE_FREE)
			continue;
		/* relaxed: a flag that is missed or stale costs one wake-up or one wait cap */
		waiting = atomic_load_explicit(&gate->spec.slot->waiting, memory_order_relaxed);
		all |= waiting;
		if (!(waiting & HBUS_WAITING_DOORBELL) || gate->spec.doorbell < 0)
			continue;
		/* A full socket says that the subscriber already knows. */
		(void)send(gate->spec.doorbell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		n_calls++;
	}
	if (all & HBUS_WAITING_NOTIFY) {
		hbus_wait_wake(notify);
		n_calls++;
	}
	return n_calls;
}

unsigned int hbus_gates_wake_locked(struct hbus_gates *table, _Atomic uint32_t *notify)
{
	return wake_waiters(table, notify);
}

unsigned int hbus_gates_wake(struct hbus_gates *table, _Atomic uint32_t *notify)
{
	uint32_t busy = hbus_gates_enter(table);
	unsigned int n_calls;

	n_calls = wake_waiters(table, notify);
	hbus_gates_leave(table, busy);
	return n_calls;
}
