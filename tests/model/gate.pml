/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gate.pml - a reliable reader: join while the publisher runs, read, leave, be dropped, be killed.
 *
 * The publisher's process has a data thread (its stores are buffered) and a control thread that
 * installs and removes the gate on the daemon's word. The reader joins up to JOINS times.
 */
#define C	8
#ifndef B
#define B	2
#endif
#ifndef M
#define M	4
#endif
#ifndef STOP
#define STOP	20
#endif
#ifndef JOINS
#define JOINS	1
#endif
#define NS	(C / B)

#define INTENT	C
#define POS(s)	(C + 1 + (s))
#define DROP	(C + 1 + NS)
#define NA	(C + 2 + NS)
#define LEFT	255	/* a cursor that gates nobody */
#define ZERO	0
#define PAY	1
#define HDR	2	/* HDR + n: header of a record of n + 1 words */
#define WORD(k, p)	((k) + (p) * 8)
#define KIND(w)	((w) & 7)
#define STAMP(w) (((w) >> 3) & 31)

/* What a gate promises: nothing from its cursor on is overwritten or even threatened. */
#define DRAINED_HOOK \
	assert(!promised || (mem[INTENT] <= cursor + C && (a >= C || STAMP(mem[a]) < cursor + C)))
bool promised;
byte cursor = 31;	/* the reader's slot; holds rubbish of an earlier use */
#include "pso.pml"

#define ROUND_UP(x)	((((x) + B - 1) / B) * B)
#define MIN(x, y)	((x) < (y) -> (x) : (y))
#define MAX(x, y)	((x) > (y) -> (x) : (y))

bool dead;		/* the publisher's process is gone */
bool rdead;		/* the reader's process is gone */
byte g_tail;
byte inst;		/* the gate table, one entry: which join, 0 for none */
byte ibuf;		/* the control thread's store to it, 0 once drained */
byte dropped;		/* the join that the publisher has dropped by itself (its own table) */

/* From subscriber over the daemon to the control thread and back. */
mtype = { idle, join, joined, leave };
mtype talk = idle;
byte incarnation;

proctype drain()
{
	byte dk;
end:
	do
#define D(a) :: drain_one(a)
	D(0) D(1) D(2) D(3) D(4) D(5) D(6) D(7) D(8) D(9)
	D(10) D(11)
#if NA > 12
	D(12) D(13)
#endif
	:: d_step { ibuf -> inst = ibuf; ibuf = 0 }
	od
}

proctype control()
{
end:
	do
	:: talk == join ->
		ibuf = incarnation;
#ifndef MUT_no_control_fence
		ibuf == 0;		/* its own part of the barrier */
#endif
#ifdef ISOLATED
		skip;
#else
#ifndef MUT_no_membarrier
		BARRIER();		/* membarrier: all that the data thread has issued is seen */
#endif
#endif
		talk = joined
	:: talk == leave ->
		atomic { ibuf == 0 -> inst = 0; talk = idle }
	od
}

#ifdef KILLS
#define KILL	if :: goto stop :: skip fi
#else
#define KILL	skip
#endif

inline payload(from, to)
{
	k = from;
	do
	:: k < to -> ST_RLX(k % C, WORD(PAY, k)); k++
	:: else -> break
	od;
	k = 0
}

/* How far the gate permits. The cursor is loaded once and never believed beyond the tail. */
#define CLAMP(c)	((c) == LEFT || (c) > tail -> tail : (c))

inline drop_gate()
{
	dropped = known;
	promised = false;
	ST_REL(DROP, known)	/* R(ring.dropped) */
}

/* Room up to e, or FULL: then wait, or, behind a claim that had room, commit what there is (part). */
inline claim(e, part)
{
	if
	:: ROUND_UP((e) + 1) <= hi -> no_room = false
	:: else ->
		end_ = ROUND_UP((e) + 1);
#ifdef MUT_intent_before_scan
		atomic { hi = end_; ST_RLX(INTENT, hi); FENCE() }
#endif
		no_room = true;
		do
		:: no_room ->
#ifdef ISOLATED
#ifndef MUT_no_scan_fence
			BARRIER();
#endif
#endif
			g = inst;
			atomic {
				/* A(ring.cursor): before any store behind this claim. */
				if
#ifdef MUT_dropped_by_place
				:: g == 0 || dropped -> base = 255 - C	/* of whichever join */
#else
				:: g == 0 || g == dropped -> base = 255 - C
#endif
				:: else ->
					if
					:: g != known ->
						known = g;
#ifdef MUT_base_current_tail
						base = tail
#else
						base = scan_tail
#endif
					:: else
					fi;
					base = MAX(base, CLAMP(cursor))
				fi;
				scan_tail = tail;
				if
				:: end_ <= base + C -> no_room = false
				:: else ->
					/* Until something changes. */
					if
					:: inst != g
					:: CLAMP(cursor) > base
#ifndef MUT_never_drops
					:: rdead -> drop_gate()
#endif
#ifdef STALLS
					:: drop_gate()
#endif
					:: part -> break
#ifdef KILLS
					:: goto stop
#endif
					fi
				fi;
				g = 0
			}
		:: else ->
			atomic {
				base = (base == 255 - C -> 0 : base);
				hi = end_;
				ST_RLX(INTENT, hi);	/* R(ring.intent) */
				KILL;
				FENCE();
				break
			}
		od;
		atomic { g = 0; end_ = 0 }
	fi
}

proctype publisher()
{
	byte tail = 8, hi = ROUND_UP(9), head, k, end_;
	byte l1, l2;
	byte scan_tail = 7;	/* the committed tail at the last scan of the gates */
	byte known;		/* the join that base belongs to */
	byte base;		/* it permits base + C */
	byte g;
	bool no_room;

	do
	:: tail < STOP ->
		atomic {
			if
			:: l1 = 1
			:: l1 = M
#ifdef BATCHES
			:: l1 = 1; l2 = M - 1
#endif
			fi;
			head = tail + l1;
#ifdef MUT_cursor_not_acquire
			payload(tail + 1, head);
#endif
		}
		claim(head, false);
#ifndef MUT_cursor_not_acquire
		atomic { payload(tail + 1, head) }
#endif
		if
		:: l2 ->
			claim(head + l2, true);
			if
			:: no_room
			:: else ->
				atomic {
					ST_RLX(head % C, WORD(HDR + l2 - 1, head));
					payload(head + 1, head + l2);
					head = head + l2
				}
			fi
		:: else
		fi;
		atomic {
			ST_RLX(head % C, WORD(ZERO, head));
			KILL;
			ST_REL(tail % C, WORD(HDR + l1 - 1, tail));	/* R(ring.header) */
			g_tail = head;
			KILL;
			if
			:: tail / B != head / B -> ST_REL(POS((head / B) % NS), head)	/* R(ring.checkpoint) */
			:: else
			fi;
			tail = head;
			head = 0; l1 = 0; l2 = 0; no_room = false
		}
	:: goto stop
	od;
stop:
	atomic {
		tail = 0; hi = 0; l1 = 0; l2 = 0; end_ = 0; head = 0; k = 0; scan_tail = 0; known = 0; base = 0; g = 0;
		no_room = false; dead = true
	}
}

#ifdef READER_KILLS
#define RKILL	if :: goto killed :: skip fi
#else
#define RKILL	skip
#endif

proctype reader()
{
	byte pos, cur, i, ln, s;
	bool bad;

outside:
	do
	:: incarnation < JOINS && !dead ->
		/* The cursor is reset before asking. */
		atomic {
			incarnation++;
#ifndef MUT_cursor_not_reset
			cursor = 0;
#endif
#ifdef MUT_lookup_before_ack
			goto lookup;
asking:
#endif
			talk = join
		}
		RKILL;
		if
		:: atomic { talk == joined -> talk = idle }
		:: dead -> goto done
		fi;
		RKILL;
#ifdef MUT_lookup_before_ack
		goto found;
#endif
		/* Look up the newest committed position: from a checkpoint to a checked zero. */
lookup:
		atomic {
			if
			:: s = 0
			:: s = 1
#if NS > 2
			:: s = 2
			:: s = 3
#endif
			fi;
			cur = mem[POS(s)];	/* A(ring.checkpoint) */
			if
			:: (cur / B) % NS != s -> cur = 0; s = 0; goto lookup
			:: else -> s = 0
			fi
		}
		if
		:: mem[INTENT] - cur > C -> goto lookup
		:: else
		fi;
walk:
		atomic {
			bad = STAMP(mem[cur % C]) != cur || KIND(mem[cur % C]) == PAY;
			if
			:: bad -> ln = 0	/* looks like zero, say */
			:: else -> ln = (KIND(mem[cur % C]) == ZERO -> 0 : KIND(mem[cur % C]) - HDR + 1)
			fi
		}
		atomic {
#ifndef MUT_lookup_unchecked
			if
			:: mem[INTENT] - cur > C -> bad = false; cur = 0; ln = 0; goto lookup
			:: else
			fi;
#endif
			assert(!bad);
			if
			:: ln -> cur = cur + ln; ln = 0; goto walk
			:: else
			fi
#ifdef MUT_lookup_before_ack
			; goto asking
#endif
		}
found:
		RKILL;
		atomic {
			pos = cur; cur = 0;
			cursor = pos;	/* R(ring.cursor): the promise begins */
			promised = (dropped != incarnation);
			assert(!promised || mem[INTENT] - cursor <= C)
		}
		goto read
	:: goto done
	od;

read:
	/* A(ring.header). Whoever is caught up sleeps. */
	atomic {
		KIND(mem[pos % C]) != ZERO || STAMP(mem[pos % C]) != pos || (dead && DRAINED) ->
		bad = STAMP(mem[pos % C]) != pos || KIND(mem[pos % C]) == PAY;
		if
		:: bad
		:: !bad && KIND(mem[pos % C]) == ZERO ->
			assert(pos == g_tail);
			goto done
		:: else -> ln = KIND(mem[pos % C]) - HDR + 1
		fi
	}
#ifdef MUT_cursor_relaxed
	atomic {
		/* The store of the cursor is not kept behind the loads of the payload. */
		if
		:: !bad && (pos + ln) / B != pos / B -> cursor = pos + ln
		:: else
		fi
	}
#endif
	if
	:: ln > 1 ->
		atomic {
			if
			:: i = 1
			:: i = ln - 1
			fi;
			bad = mem[(pos + i) % C] != WORD(PAY, pos + i);
			i = 0
		}
	:: else
	fi;
	RKILL;
	atomic {
		assert(!promised || !bad);
#ifndef MUT_evicted_unchecked
		if
		:: mem[INTENT] - pos > C ->	/* A(ring.intent): dropped while it was stopped */
			assert(dropped == incarnation);
#ifdef MUT_drop_seen_at_once
			assert(mem[DROP] == incarnation);
#endif
			bad = false; ln = 0; pos = 0;
			goto outside
		:: else
		fi;
#endif
		assert(!bad);
		i = pos / B;
		pos = pos + ln; ln = 0;
		if
#ifdef MUT_cursor_rarely
		:: pos / C != (i * B) / C -> i = 0; cursor = pos
#else
		:: pos / B != i -> i = 0; cursor = pos	/* R(ring.cursor): after the last use */
#endif
		:: else -> i = 0; goto read
		fi
	}
	RKILL;
	if
	:: goto read
#ifdef DAEMON_DIES
	/* Leaves, and nobody takes the gate out: it must hold nobody up. */
	:: atomic {
		promised = false;
#ifdef MUT_leave_zeroes
		cursor = 0;
#else
		cursor = LEFT;
#endif
		goto done
	   }
#endif
	:: JOINS > 1 && incarnation < JOINS ->
		atomic { promised = false; cursor = LEFT; talk = leave }
		if
		:: talk == idle
		:: dead -> goto done
		fi;
		atomic { pos = 0; goto outside }
	fi;

killed:
	atomic { promised = false; rdead = true }
done:
	atomic { pos = 0; cur = 0; ln = 0; bad = false; i = 0; s = 0 }
}

/* The first lap is given: records of 3, 1, 1, 2, 1 words. */
inline given(kind, p) { mem[(p) % C] = WORD(kind, p) }
init {
	atomic {
		given(HDR + 2, 0); given(PAY, 1); given(PAY, 2);
		given(HDR, 3); given(HDR, 4); given(HDR + 1, 5); given(PAY, 6); given(HDR, 7);
		given(ZERO, 8);
		mem[INTENT] = ROUND_UP(9);
		mem[POS(0)] = 8;
#if NS > 2
		mem[POS(1)] = 3; mem[POS(2)] = 4; mem[POS(3)] = 7;
#else
		mem[POS(1)] = 4;
#endif
		g_tail = 8;
		run drain(); run control(); run publisher(); run reader()
	}
}
