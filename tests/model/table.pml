/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table.pml - one entry of the publisher's gate table: the control thread fills it, shows it, takes it out and
 * unmaps what it points to, while the data thread enters, uses it, drops it, and leaves.
 *
 * The data thread's store buffer is pso.pml's; the control thread's holds one content and one state.
 */
#ifndef ROUNDS
#define ROUNDS	4	/* of the data thread */
#endif
#define BUSY	0
#define NA	1
#include "pso.pml"

#define FREE	0
#define READY	1
#define DROPPED	2
byte state;		/* of the entry */
bool content;		/* the entry's pointers are there, and what they point to is mapped */
bool used;		/* the count that makes a scan look at the entry */
bool cpend, spend, upend;	/* the control thread's stores that are not drained */
byte sval;
bool uval;
#ifdef REGISTERS
/* The process begins with fences, and is registered for membarrier by a thread of its own meanwhile. */
bool registered;	/* R(wait.registered), A(wait.registered) */
bool owed;		/* by the kernel: a membarrier reaches the data thread */
bool fences = true;	/* data thread: needs_fence */
#endif
byte installed;		/* ghost: hbus_gates_install() has returned; which turn, 0 for none */

proctype drain()
{
	byte dk;
end:
	do
	:: drain_one(BUSY)
	:: d_step { cpend -> content = true; cpend = false }
#ifdef MUT_used_relaxed
	:: d_step { upend -> used = uval; upend = false; uval = false }
#else
	:: d_step { upend && !cpend && !spend -> used = uval; upend = false; uval = false }	/* R(gate.used) */
#endif
#ifdef MUT_state_relaxed
	:: d_step { spend -> state = sval; spend = false; sval = 0 }
#else
	:: d_step { spend && !cpend -> state = sval; spend = false; sval = 0 }	/* R(gate.state) */
#endif
	od
}

#ifdef REGISTERS
/* hbus_membarrier_register() */
proctype registrar()
{
#ifdef MUT_registered_early
	registered = true;
	owed = true
#else
	owed = true;
	registered = true	/* R(wait.registered) */
#endif
}

/* process_barrier(): its own fence, and a membarrier if the flag is there. */
inline barrier()
{
#ifdef MUT_registered_before_fence
	r = registered;
	atomic { !cpend && !spend && !upend -> skip };
#else
	atomic { !cpend && !spend && !upend -> skip };
	r = registered;
#endif
	if
	:: r && owed -> DRAINED
	:: else
	fi;
	r = false
}
#else
/* process_barrier(): membarrier, or on isolated rings the control thread's own fence. */
inline barrier()
{
#ifdef MUT_no_control_fence
	skip
#else
#if defined(ISOLATED) || defined(MUT_no_membarrier)
	atomic { !cpend && !spend && !upend -> skip }
#else
	atomic { !cpend && !spend && !upend && DRAINED -> skip }
#endif
#endif
}
#endif

proctype control()
{
	byte b, turn;
#ifdef REGISTERS
	bool r;
#endif

	do
	:: turn < 2 ->
		/* hbus_gates_install() */
		atomic { !cpend -> cpend = true }
		atomic { !spend -> spend = true; sval = READY }
#ifndef MUT_used_late
		atomic { !upend -> upend = true; uval = true }
#endif
		barrier();
#ifdef MUT_used_late
		atomic { !upend -> upend = true; uval = true }
#endif
		installed = turn + 1;
		/* hbus_gates_remove() */
		installed = 0;
		atomic { !spend -> spend = true; sval = FREE }
		barrier();
#ifndef MUT_no_wait
		b = mem[BUSY];		/* A(gate.busy) */
		if
		:: b % 2 == 1 -> mem[BUSY] != b
		:: else
		fi;
#endif
		content = false;	/* unmapped */
		atomic { !spend -> assert(state == FREE) }
		atomic { !upend -> upend = true; uval = false }	/* shrink_used() */
		b = 0;
		turn++
	:: else -> break
	od
}

inline use()
{
	if
	:: s != FREE -> assert(content)
	:: else
	fi
}

proctype data()
{
	byte busy, s, round, was;
#ifdef MUT_registered_not_acquire
	byte before;
	bool is_early;
#endif

	do
	:: round < ROUNDS ->
#ifdef MUT_enter_late
		s = state;
#endif
#ifdef REGISTERS
		/* hbus_gates_use_barriers(), now and then */
#ifdef MUT_registered_not_acquire
		before = state;
#endif
		if
#ifdef MUT_fences_dropped_early
		:: fences -> fences = false
#elif defined(MUT_registered_not_acquire)
		/* The next look at the entry is satisfied before the flag's load. */
		:: fences && registered -> fences = false; is_early = true
#else
		:: fences && registered -> BARRIER(); fences = false	/* A(wait.registered) */
#endif
		:: true
		fi;
#endif
		/* hbus_gates_enter() */
		was = installed;
		atomic { busy++; ST_RLX(BUSY, busy) }
#ifdef REGISTERS
		if
		:: fences -> BARRIER()
		:: else
		fi;
#endif
#ifdef ISOLATED
#ifndef MUT_no_enter_fence
		BARRIER();
#endif
#endif
#ifndef MUT_enter_late
#ifdef MUT_state_not_acquire
		/* What the entry points to is loaded before its state. */
		if
		:: content -> s = state
		:: !content -> s = state; assert(s == FREE)
		fi;
#else
		if
		:: used -> s = state	/* A(gate.used), A(gate.state) */
		:: else -> s = FREE
		fi;
#ifdef MUT_registered_not_acquire
		if
		:: is_early -> s = before
		:: else
		fi;
		is_early = false;
		before = FREE;
#endif
#endif
#endif
		/* What was there before this thread came in, and still is, is seen. */
		assert(was == 0 || was != installed || s != FREE);
		was = 0;
#ifdef MUT_leave_relaxed
		atomic { busy++; ST_REL(BUSY, busy) }	/* seen before the last use */
#endif
		use();
		/* Drop it: the control thread may be taking it out at this moment. */
		if
#ifdef MUT_drop_plain
		:: s == READY -> state = DROPPED
#else
		:: s == READY -> d_step { if :: state == READY -> state = DROPPED :: else fi }
#endif
		:: true
		fi;
		use();
#ifndef MUT_leave_relaxed
		atomic { busy++; ST_REL(BUSY, busy) }	/* R(gate.busy) */
#endif
		s = FREE;
		round++
	:: else -> break
	od;
	atomic { busy = 0; round = 0 }
}

init {
	atomic {
		run drain(); run control(); run data();
#ifdef REGISTERS
		run registrar()
#endif
	}
}
