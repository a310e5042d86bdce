/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dropped.pml - where the publisher says that it has dropped a gate: id and position, one place for all gates
 * that come to stand at one index. The subscriber of any of them gets its own position or none.
 */
#define ID	0
#define POSITION	1
#define NA	2
#include "pso.pml"

#define TAIL(gate)	((gate) * 10)

proctype drain()
{
	byte dk;
end:
	do
	:: drain_one(ID)
	:: drain_one(POSITION)
	od
}

/* drop() in shm/gate.c, for gates 1, 2, 3 one after the other. */
proctype publisher()
{
	byte gate = 1;

	do
	:: gate <= 3 ->
#ifndef MUT_id_not_cleared
		atomic { ST_RLX(ID, 0) }
#ifndef MUT_no_clear_fence
		FENCE();
#endif
#endif
		atomic { ST_RLX(POSITION, TAIL(gate)) }
#ifdef MUT_id_relaxed
		atomic { ST_RLX(ID, gate) }
#else
		atomic { ST_REL(ID, gate) }	/* R(ring.dropped) */
#endif
		gate++
	:: else -> break
	od
}

/* hbus_ring_sub_is_dropped() */
proctype subscriber(byte gate)
{
	byte tries, position;

	do
	:: tries < 3 ->
		tries++;
#ifdef MUT_id_not_acquire
		position = mem[POSITION];
#endif
		if
		:: mem[ID] == gate	/* A(ring.dropped) */
		:: else -> goto none
		fi;
#ifdef MUT_no_reader_fence
		/* The second look comes before the position. */
		if
		:: mem[ID] == gate
		:: else -> goto none
		fi;
#endif
#ifndef MUT_id_not_acquire
		position = mem[POSITION];
#endif
#if !defined(MUT_no_second_look) && !defined(MUT_no_reader_fence)
		if
		:: mem[ID] == gate
		:: else -> goto none
		fi;
#endif
		assert(position == TAIL(gate));
none:
		position = 0
	:: else -> break
	od
}

init {
	atomic { run drain(); run publisher(); run subscriber(1); run subscriber(2) }
}
