/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The publisher's table of attached subscribers: whom to wait for, whom to wake
 *
 * Private to the publisher's process. Two threads use it:
 *
 *	control thread: hbus_gates_install(), hbus_gates_remove()
 *	data thread:    hbus_gates_scan(), hbus_gates_has_waiter(), hbus_gates_wake(), hbus_gates_reap()
 *
 * | op x op          | install/remove | scan, wake, reap |
 * |------------------|----------------|------------------|
 * | install/remove   | X (one thread) | -                |
 * | scan, wake, reap | -              | X (one thread)   |
 *
 * An entry is filled while its state is FREE and shown by R(gate.state). To take one out, the control thread
 * clears the state, makes the process pass a barrier and waits until the data thread is not between
 * enter and leave (`busy` says outside, or has moved on); then it may unmap the slot. While the data thread waits
 * for a slow subscriber it leaves and enters again, so the control thread is never held for long. Whoever publishes
 * enters once for the whole of a publish (publisher.h); what is entered inside of that costs nothing.
 *
 * What a subscriber's slot says is never trusted: a cursor ahead of the committed tail counts as the
 * tail, one behind the floor as the floor.
 *
 * The floor of a gate. Positions below floor + capacity may be overwritten as far as this gate is concerned.
 * When the data thread sees a gate for the first time, the floor is the committed tail at the scan BEFORE: that
 * scan missed the gate, so it happened before the installation was answered, and the subscriber,
 * which looks up its start after the answer, starts at or above it. From there it follows
 * min(cursor, committed tail) and never falls.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/layout.h"

#define HBUS_UNJOINED_STALL_MS 100u
/* Places of look[] that a publish looks at without asking how many there are: the second subscriber costs nothing. */
#define HBUS_GATES_AT_ONCE 2u

/* The word `busy`: two bits, and above them a number that changes each time when the data thread goes out. */
#define HBUS_GATES_INSIDE 1u /* an entry may be looked at */
#define HBUS_GATES_CALL 2u   /* for the owner of the word: a call is under way */
#define HBUS_GATES_STEP 4u

enum hbus_gate_state {
	HBUS_GATE_FREE = 0,
	HBUS_GATE_READY = 1,   /* installed; gates if it is reliable */
	HBUS_GATE_DROPPED = 2, /* still there to be woken, gates no more */
};

/* What the control thread installs. The table owns the descriptors and the mapping from then on. */
struct hbus_gate_spec {
	uint64_t gate_id;
	const struct hbus_slot *slot;
	void *map_base;      /* to be unmapped with the entry, or NULL */
	uint64_t map_size;
	int pidfd;           /* or -1 */
	int doorbell;        /* or -1 */
	uint32_t stall_ms;
	bool is_reliable;
};

struct hbus_gate {
	_Atomic uint32_t state; /* enum hbus_gate_state */
	_Atomic uint32_t is_unclaimed; /* control thread: the daemon that had it installed is gone, and none has named it again */
	bool is_adopted;        /* data thread: floor is set */
	bool has_joined;        /* data thread, once adopted: its slot has shown a cursor */
	uint64_t floor;         /* data thread, once adopted */
	uint64_t stalled_us;    /* data thread, once adopted: how long it has held the publisher in one wait */
	struct hbus_gate_spec spec;
};

struct hbus_gates {
	_Atomic uint32_t n_used;  /* entries below this may be in use; control thread writes */
	_Atomic uint32_t n_looked; /* entries of look[]; control thread writes */
	_Atomic uint32_t *busy;   /* HBUS_GATES_*; data thread writes */
	_Atomic uint32_t own_busy; /* what that points to, unless the data thread has a word for several tables */
	bool needs_fence;         /* no membarrier: fence at enter, and at each commit; data thread */
	bool awaits_barriers;     /* until the process is registered; data thread */
	bool is_isolated;         /* never asks for barriers */
	uint64_t scan_tail;       /* data thread: committed tail at the last scan */
	uint64_t n_dropped;       /* data thread: gates dropped so far */
	_Atomic uint32_t nobody;  /* zero: never waits */
	/*
	 * Addresses of `waiting` of all who are there, without gaps: what a publish looks at. In those of the
	 * first HBUS_GATES_AT_ONCE that nobody has is `nobody`, or once more who moved down from there. Control thread writes.
	 */
	_Atomic uintptr_t look[HBUS_RING_WAKERS_MAX];
	struct hbus_gate gates[HBUS_RING_WAKERS_MAX];
};

/* Registers the process for membarrier unless @is_isolated; where that is refused, fences do. */
void hbus_gates_init(struct hbus_gates *table, uint64_t start, bool is_isolated);
/*
 * The same without the wait for the kernel: another thread registers, or has registered, the process. Until then
 * fences do, and hbus_gates_use_barriers() ends that.
 */
void hbus_gates_init_early(struct hbus_gates *table, uint64_t start, bool is_isolated);
/* Closes and unmaps everything. No thread may be inside. */
void hbus_gates_deinit(struct hbus_gates *table);

/* -- control thread -- */

/**
 * hbus_gates_install() - attach a subscriber at @idx
 *
 * Consumes spec's descriptors and mapping on success only. When it returns, every publish that begins
 * later sees the entry. Return: 0, -EEXIST when another gate is there, -EINVAL, or what membarrier says. A gate that is there
 * already, by its id, stays as it is: 0, and what came with @spec is closed and unmapped.
 */
int hbus_gates_install(struct hbus_gates *table, uint32_t idx, const struct hbus_gate_spec *spec);
/* Takes it out; waits until the data thread cannot be using it. Return: 0 or -ENOENT. */
int hbus_gates_remove(struct hbus_gates *table, uint32_t idx, uint64_t gate_id);
/* The daemon that introduces subscribers is gone: whom it introduced is to be named again by the next. */
void hbus_gates_unclaim(struct hbus_gates *table);
void hbus_gates_claim(struct hbus_gates *table, uint32_t idx);
uint32_t hbus_gates_count(const struct hbus_gates *table, bool reliable_only);

/* -- data thread -- */

/* Now and then: the process may have been registered meanwhile. Return: whether fences are needed still. */
bool hbus_gates_use_barriers(struct hbus_gates *table);
/* How far intent may rise: the lowest floor plus capacity, or tail + 2 * capacity without gates. */
uint64_t hbus_gates_scan(struct hbus_gates *table, uint64_t tail, uint64_t capacity);

/**
 * hbus_gates_reap() - drop the gates that must not hold the publisher any longer
 * @need: the intent that the publisher waits for
 * @waited_us: time since the last call of the same wait; capped, so that a pause of the whole host
 *	does not evict anybody
 *
 * A gate is dropped when its subscriber is dead (pidfd) or has held the publisher for its stall
 * limit. One that is unclaimed and has not joined is given HBUS_UNJOINED_STALL_MS: the daemon died perhaps after it
 * had the gate installed and before it told the subscriber. The drop is written to header->dropped[]. Return: number dropped.
 */
unsigned int hbus_gates_reap(struct hbus_gates *table, struct hbus_ring_header *header, uint64_t tail,
			     uint64_t need, uint64_t capacity, uint64_t waited_us);
/* The wait is over: what each gate has used of its limit is forgiven. */
void hbus_gates_forgive(struct hbus_gates *table);

/* Wake everybody who waits: futex word and doorbells. Return: number of system calls. */
unsigned int hbus_gates_wake(struct hbus_gates *table, _Atomic uint32_t *notify);
/* The same from another thread, which excludes install and remove by a lock of its own. */
unsigned int hbus_gates_wake_locked(struct hbus_gates *table, _Atomic uint32_t *notify);

/* Return: what leave() wants to know. */
static inline uint32_t hbus_gates_enter(struct hbus_gates *table)
{
	/* relaxed: only the data thread writes busy; the control thread's membarrier orders it */
	uint32_t busy = atomic_load_explicit(table->busy, memory_order_relaxed);

	if (!(busy & HBUS_GATES_INSIDE)) /* relaxed: as above */
		atomic_store_explicit(table->busy, busy | HBUS_GATES_INSIDE, memory_order_relaxed);
	if (__builtin_expect(table->needs_fence, 0)) /* store of busy, here or further out, and loads of the entries */
		atomic_thread_fence(memory_order_seq_cst);
	else
		atomic_signal_fence(memory_order_seq_cst);
	return busy;
}

static inline void hbus_gates_leave(struct hbus_gates *table, uint32_t busy)
{
	if (!(busy & HBUS_GATES_INSIDE)) /* R(gate.busy): what was read inside, before the word that says outside. */
		atomic_store_explicit(table->busy, busy + HBUS_GATES_STEP, memory_order_release);
}

static inline uint32_t hbus_gates_look_at(const struct hbus_gates *table, uint32_t i)
{
	/* relaxed, both: one that is missed here was installed after this commit, and its owner looks again; the subscriber
	 * writes `waiting` before its membarrier */
	uintptr_t waiting = atomic_load_explicit(&table->look[i], memory_order_relaxed);

	return atomic_load_explicit((const _Atomic uint32_t *)waiting, memory_order_relaxed);
}

/* Inside: does somebody want to be woken? No fence: M(ring.waiting), see wait.h. */
static inline bool hbus_gates_look(const struct hbus_gates *table)
{
	/* A(gate.look): pairs with R(gate.look) in look_add() and look_drop(): whoever moved down is seen there, or where it was. */
	uint32_t n = atomic_load_explicit(&table->n_looked, memory_order_acquire);
	uint32_t found = hbus_gates_look_at(table, 0) | hbus_gates_look_at(table, 1);

	static_assert(HBUS_GATES_AT_ONCE == 2, "the two above");
	if (__builtin_expect(n > HBUS_GATES_AT_ONCE, 0))
		for (uint32_t i = HBUS_GATES_AT_ONCE; i < n; i++)
			found |= hbus_gates_look_at(table, i);
	return found != 0;
}

/* After a commit. */
static inline bool hbus_gates_has_waiter(struct hbus_gates *table)
{
	uint32_t busy;
	bool found;

	if (atomic_load_explicit(&table->n_looked, memory_order_relaxed) == 0) /* relaxed: as above */
		return false;
	busy = hbus_gates_enter(table);
	found = hbus_gates_look(table);
	hbus_gates_leave(table, busy);
	return found;
}
