/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * look.pml - the list without gaps of those whom a publish looks at: one stays, another goes, others come and go, while the
 * data thread looks. It looks at the second place whatever the number is, as at all below HBUS_GATES_AT_ONCE; with BY_COUNT
 * only when the number says so, as at those above.
 *
 * The control thread's stores are pso.pml's. When the data thread is seen inside is table.pml's: here it is at once.
 */
#ifndef ROUNDS
#define ROUNDS	3	/* of the data thread */
#endif
#define FIRST	0	/* look[0] */
#define SECOND	1	/* look[1] */
#define COUNT	2	/* n_looked */
#define NA	3
#include "pso.pml"

#define NOBODY	0
#define STAYS	1
#define GOES	2	/* who comes is 3, then 4 */
byte busy;
bool mapped[5];
byte installed;		/* ghost: for whom hbus_gates_install() has returned, or 0 */

proctype drain()
{
	byte dk;
end:
	do
	:: drain_one(FIRST)
	:: drain_one(SECOND)
	:: drain_one(COUNT)
	od
}

/* look_drop() of who stands first; @last: who moves there */
inline drop_first(last)
{
#ifdef MUT_count_first
	ST_RLX(COUNT, 1);
	FENCE();
	ST_RLX(FIRST, last);
#else
	ST_RLX(FIRST, last);
#ifdef MUT_count_relaxed
	ST_RLX(COUNT, 1);
#else
	ST_REL(COUNT, 1);	/* R(gate.look) */
#endif
#endif
#ifdef MUT_cleared_early
	ST_RLX(SECOND, NOBODY);
#endif
}

/* look_drop(): nor where places are looked at always */
inline clear_second()
{
#ifndef BY_COUNT
	ST_RLX(SECOND, NOBODY);
#else
	skip
#endif
}

/* process_barrier(), then until the data thread is outside, or has been. */
inline wait_outside()
{
	BARRIER();
#ifndef MUT_no_wait
	b = busy;
	if
	:: b % 2 == 1 -> busy != b
	:: else
	fi;
	b = 0;
#endif
}

proctype control()
{
	byte b, comes = 3;

	/* hbus_gates_remove() of who goes */
#ifndef MUT_dropped_late
	drop_first(STAYS);
#endif
	wait_outside();
#ifdef MUT_dropped_late
	drop_first(STAYS);
	BARRIER();
#endif
	mapped[GOES] = false;
	do
	:: comes < 5 ->
		/* hbus_gates_install() of who comes */
		mapped[comes] = true;
		ST_RLX(SECOND, comes);
#ifdef MUT_added_relaxed
		ST_RLX(COUNT, 2);
#else
		ST_REL(COUNT, 2);	/* R(gate.look) */
#endif
		BARRIER();
		installed = comes;
		/* Out again: the last one, which moves to its own place. */
		installed = 0;
		ST_RLX(SECOND, comes);
		ST_REL(COUNT, 1);
#ifndef MUT_not_cleared
		clear_second();
#endif
		wait_outside();
		mapped[comes] = false;
		comes++
	:: else -> break
	od;
	comes = 0
}

inline see(at)
{
	p = mem[at];
	assert(mapped[p]);
	seen = seen | (1 << p)
}

proctype data()
{
	byte round, n, p, seen, was;

	do
	:: round < ROUNDS ->
		was = installed;
		busy++;		/* hbus_gates_enter() */
#ifdef MUT_count_not_acquire
		/* Where to look is loaded before the number. */
		p = mem[FIRST];
		n = mem[COUNT];
		assert(mapped[p]);
		seen = seen | (1 << p);
#else
		n = mem[COUNT];	/* A(gate.look) */
		see(FIRST);
#endif
#ifdef BY_COUNT
		if
		:: n > 1 -> see(SECOND)
		:: else
		fi;
#else
		see(SECOND);
#endif
		assert(seen & (1 << STAYS));
		assert(was == 0 || was != installed || (seen & (1 << was)));
		busy++;		/* hbus_gates_leave() */
		n = 0; p = 0; seen = 0; was = 0;
		round++
	:: else -> break
	od;
	round = 0
}

init {
	atomic {
		mem[FIRST] = GOES;
		mem[SECOND] = STAYS;
		mem[COUNT] = 2;
		mapped[NOBODY] = true;
		mapped[GOES] = true;
		mapped[STAYS] = true;
		run drain(); run control(); run data()
	}
}
