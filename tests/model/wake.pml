/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wake.pml - one publisher, one sleeper: no wake-up is lost, and the end of a ring is not taken too early.
 *
 * There are no time-outs here, so a lost wake-up is a deadlock: who sleeps while the publisher is idle
 * has seen all. With DOORBELL the sleeper waits for a datagram instead of a futex word; with ISOLATED both
 * sides use full fences instead of membarrier.
 */
#ifndef N
#define N	3	/* events, at most 5 */
#endif
#define STATE	(N + 1)	/* the word after the last event stays zero */
#define NA	(N + 2)
#include "pso.pml"

byte notify;		/* futex word; the publisher changes it by atomic addition */
bool waiting;		/* the sleeper's slot */
bool wpend, wval;	/* the sleeper's store to it, not drained yet */
bool asleep;
bool bell;		/* a datagram is there */
bool idle;		/* the publisher has no more to say, and has not closed the ring */

proctype drain()
{
	byte dk;
end:
	do
	:: drain_one(0)
	:: drain_one(1)
	:: drain_one(2)
#if N > 1
	:: drain_one(3)
#endif
#if N > 2
	:: drain_one(4)
#endif
#if N > 3
	:: drain_one(5)
#endif
#if N > 4
	:: drain_one(6)
#endif
	:: d_step { wpend -> waiting = wval; wpend = false; wval = false }
	od
}

/* R(ring.notify): hbus_gates_wake(): the word changes, then who sleeps is woken. */
inline wake()
{
#ifdef DOORBELL
	atomic { DRAINED -> bell = true }	/* a system call: what was stored before is seen by who receives */
#else
#ifndef MUT_wake_without_bump
	atomic { DRAINED -> notify++ }
#endif
	asleep = false
#endif
}

proctype publisher()
{
	byte i;

	do
	:: i < N ->
		atomic { ST_REL(i, 1) }			/* R(ring.header) */
#ifdef ISOLATED
#ifndef MUT_no_publisher_fence
		BARRIER();
#endif
#endif
		/* A plain load: it may be done while the header word is still in the store buffer. */
		if
		:: waiting -> wake()
		:: else
		fi;
		i++
	:: else -> break
	od;
	if
	:: idle = true; goto done
	:: skip
	fi;
#ifdef MUT_state_relaxed
	atomic { ST_RLX(STATE, 1) }
#else
	atomic { ST_REL(STATE, 1) }			/* R(ring.state) */
#endif
	wake();
done:
	i = 0
}

inline set_waiting(v)
{
	atomic { !wpend -> wpend = true; wval = v }
}

inline barrier()
{
#ifdef ISOLATED
#ifndef MUT_no_sleeper_fence
	!wpend
#else
	skip
#endif
#else
#ifndef MUT_no_membarrier
	atomic { !wpend && DRAINED -> skip }		/* M(ring.waiting) */
#else
	skip
#endif
#endif
}

proctype sleeper()
{
	byte n, seen;
	bool closed, more, armed;

	do
	:: true ->
#ifndef DOORBELL
#ifndef MUT_notify_read_late
		seen = notify;		/* A(ring.notify): before the last look */
#endif
#endif
#ifdef MUT_closed_after_look
		more = (mem[n] == 1);
		closed = mem[STATE];
#else
		closed = mem[STATE];	/* A(ring.state): before the last look */
		more = (mem[n] == 1);	/* A(ring.header) */
#endif
		if
		:: more ->
			n++;
			if
			:: armed -> set_waiting(false); armed = false
			:: else
			fi;
			goto again
		:: !more && closed -> break
		:: else
		fi;
		if
		:: !armed ->
#ifdef MUT_barrier_before_waiting
			barrier();
			set_waiting(true);
#else
			set_waiting(true);
			barrier();
#endif
			armed = true;
#ifndef MUT_no_second_look
			goto again
#endif
		:: else
		fi;
#ifdef DOORBELL
#ifdef MUT_bell_emptied_late
		bell = false;
#endif
		if
		:: bell
		:: idle && n == N && !bell -> break
		fi;
#ifndef MUT_bell_emptied_late
		bell = false;		/* before the next look */
#endif
#else
#ifdef MUT_notify_read_late
		seen = notify;
#endif
		/* The kernel compares and sleeps as one step. */
		atomic {
			if
			:: notify == seen -> asleep = true
			:: else -> goto again
			fi
		}
		if
		:: !asleep
		:: idle && n == N && asleep -> break
		fi;
#endif
again:
		atomic { seen = 0; closed = false; more = false }
	od;
	assert(n == N)
}

init {
	atomic { run drain(); run publisher(); run sleeper() }
}
