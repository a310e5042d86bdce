/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pso.pml - shared memory with per-address store buffers (weaker than x86, close to ARMv8).
 *
 * One process, the writer, stores through the buffers; every other process reads and writes mem[]
 * directly. A buffered store reaches mem[] when drain() takes it, in any order except:
 *   - ST_RLX: not before the stores that were pending at the writer's last FENCE();
 *   - ST_REL: not before any store that was pending when it was issued.
 * Later plain stores may overtake an ST_REL. Neither holds back the writer's loads, so store-load
 * reordering is there (FENCE() is a release fence, not a full one); BARRIER() waits for all of it.
 * A killed writer issues nothing more; what it has issued still drains.
 * One entry an address: a second store to an address waits for the first to drain.
 *
 * Needs NA, the number of addresses (at most 31). DRAINED_HOOK may hold checks to make after each drain.
 */
short mem[NA];
short buf[NA];
int dep[NA];	/* what must drain before this entry may */
int pend;	/* addresses with an entry */
int fmask;	/* those of them that were pending at the last FENCE() */

#define PENDING(a)	((pend >> (a)) & 1)
#define DRAINED		(pend == 0)

#define ST(a, v, d) \
	d_step { !PENDING(a) -> buf[a] = (v); dep[a] = (d); pend = pend | (1 << (a)) }
#define ST_RLX(a, v)	ST(a, v, fmask)
#define ST_REL(a, v)	ST(a, v, pend)
#define FENCE()		fmask = pend
#define BARRIER()	DRAINED

#ifndef DRAINED_HOOK
#define DRAINED_HOOK	skip
#endif

inline drain_one(a)
{
	d_step {
		PENDING(a) && dep[a] == 0 ->
		mem[a] = buf[a];
		buf[a] = 0;
		pend = pend & ~(1 << (a));
		fmask = fmask & pend;
		dk = 0;
		do
		:: dk < NA -> dep[dk] = dep[dk] & pend; dk++
		:: else -> break
		od;
		dk = 0;
		DRAINED_HOOK
	}
}
