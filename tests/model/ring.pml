/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ring.pml - one publisher, one lossy reader: commit, read, lap, re-entry at a checkpoint.
 *
 * The unit is a word. The publisher writes records of several sizes, batches, and aborted
 * reservations, and may be killed at any step. A word in the ring carries ghost stamps (what it is,
 * for which position, how many events lie before it), so that a reader's verdict can be judged; what
 * the reader itself may look at is only the kind, and a payload word looks like whatever is worst:
 * zero, nonsense, or a header of any length.
 */
#ifndef C
#define C	8	/* capacity */
#endif
#ifndef B
#define B	2	/* block: one checkpoint each */
#endif
#ifndef M
#define M	4	/* the longest record or batch */
#endif
#ifndef STOP
#define STOP	14	/* publish while tail is below */
#endif
/* What a publish may be: records of so many words, or two in a batch. */
#define ONE(x)		:: l1 = x
#define TWO(x, y)	:: l1 = x; l2 = y
#ifndef MIX
#define MIX	0
#endif
#if MIX == 0
#define SIZES	ONE(1) ONE(3) TWO(1, 2)
#elif MIX == 1
#define SIZES	ONE(1) ONE(3)
#elif MIX == 2
#define SIZES	ONE(3) TWO(1, 2)
#elif MIX == 3
#define SIZES	ONE(1) TWO(1, 2)
#elif MIX == 4
#define SIZES	ONE(2) TWO(1, 3)
#else
#define SIZES	ONE(1) ONE(4) TWO(2, 1)
#endif
#define NS	(C / B)

#define INTENT	C
#define SEQ(s)	(C + 1 + (s))
#define POS(s)	(C + 1 + NS + (s))
#define NA	(C + 1 + 2 * NS)
#include "pso.pml"

/* A word: kind 3 bits, position 5, events before it 5. */
#define ZERO	0
#define PAY	1
#define JUNK	2	/* payload of a reservation that was aborted */
#define HDR	3	/* HDR + n: header of a record of n + 1 words */
#define WORD(k, p, s)	((k) + (p) * 8 + (s) * 256)
#define KIND(w)	((w) & 7)
#define STAMP(w) (((w) >> 3) & 31)
#define EVENTS(w) ((w) >> 8)

#define ROUND_UP(x)	((((x) + B - 1) / B) * B)

#ifdef MUT_intent_no_round
#define THREAT(x)	(x)
#else
#define THREAT(x)	ROUND_UP(x)
#endif
#ifdef MUT_intent_without_zero
#define ZLEN	0
#else
#define ZLEN	1
#endif

bool dead;		/* the publisher has stopped, by itself or by a kill */
byte g_tail, g_seq;	/* what it has committed (issued, perhaps not yet drained) */

proctype drain()
{
	byte dk;
end:
	do
#define D(a) :: drain_one(a)
	D(0) D(1) D(2) D(3) D(4) D(5) D(6) D(7) D(8) D(9) D(10) D(11) D(12)
#if NA > 13
	D(13) D(14) D(15) D(16)	/* blocks of 2 */
#endif
	od
}

#define KILL	if :: goto stop :: skip fi

/* R(ring.intent): the intent is seen before any byte that it threatens. */
inline raise(e)
{
	if
	:: e > hi ->
		hi = e;
		ST_RLX(INTENT, e);
		KILL;
#ifndef MUT_no_intent_fence
		FENCE()
#endif
	:: else
	fi
}

inline payload(kind, from, to)
{
	k = from;
	do
	:: k < to -> ST_RLX(k % C, WORD(kind, k, 0)); k++
	:: else -> break
	od;
	k = 0
}

/* The header word of the first record is the commit. */
#ifdef MUT_header_relaxed
#define ST_HDR	ST_RLX
#else
#define ST_HDR	ST_REL
#endif
#ifdef MUT_ckpt_pos_relaxed
#define ST_POS	ST_RLX
#else
#define ST_POS	ST_REL
#endif

/*
 * No fence before the sequence: whoever sees it with the position of the lap before also sees the intent
 * that was raised for this block, which voids that position.
 */
inline checkpoint(t, s)
{
#ifdef MUT_ckpt_pos_first
	ST_POS(POS((t / B) % NS), t);
	KILL;
	ST_RLX(SEQ((t / B) % NS), s)
#else
	ST_RLX(SEQ((t / B) % NS), s);
	KILL;
	ST_POS(POS((t / B) % NS), t)	/* R(ring.checkpoint) */
#endif
}

/* A claim: room for one record behind what the batch holds already. */
inline claim(e)
{
#ifndef MUT_intent_late
	raise(THREAT((e) + ZLEN))
#else
	skip
#endif
}

proctype publisher()
{
	byte tail = 8, seq = 5, hi = ROUND_UP(9);	/* see init */
	byte l1, l2;	/* a record of l1 words, and one of l2 in the same batch */
	byte head, k;
	bool aborted;

	do
	:: tail < STOP ->
	   atomic {
		if
		SIZES
		fi;
		/* A claim of the longest record may come first and be given up: once a run. */
		if
		:: !aborted ->
			aborted = true;
			claim(tail + M);
			payload(JUNK, tail + 1, tail + M);
			KILL
#ifdef MUT_intent_falls
			; hi = THREAT(tail + l1 + l2 + ZLEN);
			ST_RLX(INTENT, hi);
#endif
		:: skip
		fi;
		head = tail + l1;
		claim(head);
		payload(PAY, tail + 1, head);
#ifdef MUT_batch_first_first
		ST_HDR(tail % C, WORD(HDR + l1 - 1, tail, seq));
#endif
		if
		:: l2 ->
			claim(head + l2);
			ST_RLX(head % C, WORD(HDR + l2 - 1, head, seq + 1));
			payload(PAY, head + 1, head + l2);
			head = head + l2
		:: else
		fi;
#ifdef MUT_intent_late
		raise(THREAT(head + ZLEN));
#endif
#ifndef MUT_zero_after_header
		ST_RLX(head % C, WORD(ZERO, head, seq + 1 + (l2 > 0)));
#endif
		KILL;
#ifdef MUT_ckpt_before_commit
		if
		:: tail / B != head / B -> checkpoint(head, seq + 1 + (l2 > 0))
		:: else
		fi;
		KILL;
#endif
#ifndef MUT_batch_first_first
		ST_HDR(tail % C, WORD(HDR + l1 - 1, tail, seq));	/* R(ring.header) */
#endif
		seq = seq + 1 + (l2 > 0);
		g_tail = head; g_seq = seq;
		KILL;
#ifdef MUT_zero_after_header
		ST_RLX(head % C, WORD(ZERO, head, seq));
#endif
#ifndef MUT_ckpt_before_commit
		if
		:: tail / B != head / B -> checkpoint(head, seq)
		:: else
		fi;
#endif
		tail = head;
		head = 0; l1 = 0; l2 = 0
	   }
	:: goto stop
	od;
stop:
	atomic { tail = 0; seq = 0; hi = 0; l1 = 0; l2 = 0; head = 0; k = 0; aborted = false; dead = true }
}

/* Whether slot s holds a checkpoint that a reader would take, all stores drained. */
#define TAKES(s) ((mem[POS(s)] / B) % NS == (s) && mem[INTENT] - mem[POS(s)] <= C && mem[POS(s)] > pos)

proctype reader()
{
	byte pos, seq;			/* where it is; events up to there */
	byte cur, cseq, n, ln, i, s, it;
	short w;
	bool bad;			/* ghost: something that was read was not what it should be */
	bool fresh;
	byte cp, cs;
#ifdef MUT_check_last_only
	byte last;
#endif
#ifdef MUT_header_not_acquire
	short early;
#endif

	atomic {
		if
		:: fresh = true; goto enter
		:: pos = 1; seq = 1
		:: pos = 4; seq = 2
		:: pos = 8; seq = 5
		fi
	}

batch:
	atomic { cur = pos; cseq = seq; n = 0; bad = false }
#ifdef MUT_no_read_fence
	it = mem[INTENT];	/* nothing keeps this load after those of header and payload */
#endif
next:
#ifdef MUT_header_not_acquire
	/* The payload word is loaded before the header. */
	atomic {
		if
		:: i = 1
		:: i = 2
		fi;
		early = mem[(cur + i) % C]
	}
#endif
	/* A(ring.header): one load into a local. */
	atomic {
		w = mem[cur % C];
#ifdef MUT_check_last_only
		last = cur;
		if
		:: bad -> goto judge	/* of the second header only the place counts */
		:: else
		fi;
#endif
		bad = bad || STAMP(w) != cur || EVENTS(w) != cseq || KIND(w) == PAY || KIND(w) == JUNK;
		if
		:: bad ->
			/*
			 * Whatever it looks like, the verdict has to be void: it is enough to follow one.
			 */
#ifdef MUT_empty_unchecked
			assert(KIND(w) != PAY);		/* zero, taken for the end */
#endif
#ifdef MUT_invalid_unchecked
			assert(KIND(w) != PAY);		/* nonsense, taken for a hostile ring */
#endif
			goto judge
		:: !bad && KIND(w) == ZERO -> goto judge
		:: !bad && KIND(w) > HDR -> ln = KIND(w) - HDR + 1; w = 0
		:: !bad && KIND(w) == HDR -> ln = 1; w = 0; goto advance
		fi
	}
	/* Of the payload any one word, at any time before the check: it stands for all. */
	atomic {
#ifdef MUT_header_not_acquire
		w = early; early = 0;
		bad = i < ln && (KIND(w) != PAY || STAMP(w) != cur + i);
#else
		if
		:: i = 1
		:: ln > 2 -> i = 2
		:: ln > 3 -> i = 3
		fi;
		w = mem[(cur + i) % C];
		bad = KIND(w) != PAY || STAMP(w) != cur + i;
#endif
		i = 0; w = 0;
advance:
		cur = cur + ln; cseq++; n++; ln = 0;
		if
#ifdef MUT_check_last_only
		:: n < 2 -> goto next
#else
		:: n < 2 && !bad -> goto next
#endif
		:: goto judge
		fi
judge:
		w = 0;
		if
		:: bad -> cur = 0; cseq = 0; n = 0
		:: else -> n = 0
		fi
	}

check:
	atomic {
#ifndef MUT_no_read_fence
		it = mem[INTENT];	/* A(ring.intent): after the last use */
#endif
#ifdef MUT_check_last_only
#define CHECKED	last
#else
#define CHECKED	pos
#endif
#ifndef MUT_use_unchecked
		if
		:: it - CHECKED > C -> it = 0; bad = false; goto enter
		:: else
		fi;
#endif
		assert(!bad);		/* nothing torn, nothing of another lap; empty is empty; exact count */
		pos = cur; seq = cseq; it = 0; n = 0;
		/* An empty ring whose publisher is gone: all that it committed was seen or counted. */
		if
		:: dead && DRAINED && KIND(mem[pos % C]) == ZERO ->
			assert(pos == g_tail && seq == g_seq);
			goto done
		:: else -> goto batch
		fi
	}

enter:
	atomic {
		cur = 0; cseq = 0; n = 0;
		/* A publisher that was killed anywhere leaves a way back in. */
		assert(!(dead && DRAINED) || fresh || TAKES(0) || TAKES(1)
#if NS > 2
		       || TAKES(2) || TAKES(3)
#endif
		       );
		if
		:: s = 0
		:: s = 1
#if NS > 2
		:: s = 2
		:: s = 3
#endif
		fi;
#ifdef MUT_ckpt_no_read_fence
		it = mem[INTENT];
#endif
	}
#ifdef MUT_ckpt_not_acquire
	cs = mem[SEQ(s)];
#endif
	/* A(ring.checkpoint): position first. */
	atomic {
		cp = mem[POS(s)];
#ifndef MUT_ckpt_no_block_check
		if
		:: (cp / B) % NS != s -> cp = 0; cs = 0; s = 0; it = 0; goto enter
		:: else
		fi
#endif
	}
#ifndef MUT_ckpt_not_acquire
	cs = mem[SEQ(s)];
#endif
	atomic {
#ifndef MUT_ckpt_no_read_fence
		it = mem[INTENT];
#endif
#ifndef MUT_ckpt_unchecked
		if
		:: it - cp > C -> cp = 0; cs = 0; s = 0; it = 0; goto enter
		:: else
		fi;
#endif
#ifndef MUT_ckpt_not_beyond
		if
		:: !fresh && cp <= pos -> cp = 0; cs = 0; s = 0; it = 0; goto enter
		:: else
		fi;
#endif
		assert(fresh || (cp > pos && cs >= seq));
		pos = cp; seq = cs;	/* lost = cs - seq, exact: judged at the next word */
		cp = 0; cs = 0; s = 0; it = 0; fresh = false;
		goto batch
	}
done:
	skip
}

/* The first lap is given: records of 1, 3, (1 and 2 in a batch), 1 words; the reader is somewhere. */
inline given(k, p, s) { mem[(p) % C] = WORD(k, p, s) }
init {
	atomic {
		given(HDR, 0, 0);
		given(HDR + 2, 1, 1); given(PAY, 2, 0); given(PAY, 3, 0);
		given(HDR, 4, 2); given(HDR + 1, 5, 3); given(PAY, 6, 0);
		given(HDR, 7, 4);
		given(ZERO, 8, 5);
		mem[INTENT] = ROUND_UP(9);
		mem[POS(0)] = 8; mem[SEQ(0)] = 5;
#if B == 2
		mem[POS(2)] = 4; mem[SEQ(2)] = 2;
		mem[POS(3)] = 7; mem[SEQ(3)] = 4;
#else
		mem[POS(1)] = 4; mem[SEQ(1)] = 2;
#endif
		g_tail = 8; g_seq = 5;
		run drain(); run publisher(); run reader()
	}
}
