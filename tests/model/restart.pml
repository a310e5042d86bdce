/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * restart.pml - the daemon is killed and comes back; a publisher and two subscribers meet it again.
 *
 * What is at stake are the entries of the publisher's gate table: none that a living subscriber relies on may be
 * taken out, none may be there twice, none may stay that nobody relies on. Subscribers subscribe, leave, subscribe
 * again and are killed at any moment, also while the daemon is away. A member says all that it holds in one message (BACK
 * stands for HELLO to RESUMED). Whoever lives is back within the time that the daemon waits; with SLOW not even
 * that is sure, then a late member starts anew.
 */
#ifndef CRASHES
#define CRASHES	1
#endif
#ifndef TURNS
#define TURNS	2	/* how often a subscriber subscribes */
#endif
#define PLACES	2	/* entries of the gate table */
#define NONE	255

mtype = { ADD, REM, SWEEP, ADDED, EXISTS, REMOVED, BACK, SUB, UNSUB, DONE, OPENED, ENDED };

/* Sockets: to and from the publisher, to and from each subscriber. {what, gate id, place, who} */
chan dp = [8] of { mtype, byte, byte, byte };
chan pd = [8] of { mtype, byte, byte, byte };
chan ds[2] = [4] of { mtype, byte, byte };
chan sd[2] = [4] of { mtype, byte, byte };

bool up = true;
byte boot = 1;
byte crashes;
bool restarting;

/* The publisher's table. */
byte tab[PLACES];	/* gate id, 0 free */
byte tabsub[PLACES];	/* whose slot it looks at */
bool confirmed[PLACES];	/* by a GATE_ADD on this connection */
byte p_boot = 1;	/* the daemon that the publisher is connected to */

/* The subscribers. */
byte s_boot[2] = 1;
bool s_dead[2];
bool s_wants[2];	/* has subscribed */
byte s_gate[2];		/* the gate that it relies on, 0 none */
byte s_place[2];
byte turns[2];

/* The journal: who was there. The ring and its publisher always were. */
bool journal[2];

/* What the daemon knows: an attachment per subscriber. */
#define G_NONE		0
#define G_ADDING	1
#define G_THERE		2
#define G_REMOVING	3
byte d_gate[2];		/* G_* */
byte d_id[2], d_place[2] = NONE;
bool d_wants[2];	/* has a filter that matches */
bool d_held[2];		/* the subscriber has the ring open */
bool d_ending[2];	/* and has been told to let it go */
bool d_conn[2];		/* connected, and has said what it holds */
bool d_pub = true;	/* the publisher likewise */
byte by_place[PLACES] = NONE;
byte next_id;

#ifdef MUT_ids_repeat
#define NEW_ID	(next_id + 1)
#else
#define NEW_ID	(boot * 16 + next_id + 1)
#endif

/* A gate may be taken out when nobody relies on it. */
inline take_out(i)
{
#ifndef SLOW
	assert(!(tab[i] && ((s_gate[0] == tab[i] && !s_dead[0]) || (s_gate[1] == tab[i] && !s_dead[1]))));
#endif
	tab[i] = 0; tabsub[i] = 0; confirmed[i] = false
}

proctype publisher()
{
	byte id, i, who;

end:
	do
	:: atomic {
		dp?ADD(id, i, who) ->
		if
#ifndef MUT_known_is_refused
		:: tab[i] == id -> confirmed[i] = true; if :: p_boot == boot && up -> pd!ADDED(id, i, who) :: else fi
#endif
#ifdef MUT_unclaimed_not_replaced
		:: tab[i] == 0 ->
#else
		/* Of two in one place the daemon knows the new one. */
		:: tab[i] == 0 || (tab[i] != id && !confirmed[i]) ->
			if :: tab[i] -> take_out(i) :: else fi;
#endif
			/* The same gate is nowhere else. */
			assert(tab[0] != id && tab[1] != id);
			tab[i] = id; tabsub[i] = who; confirmed[i] = true;
			if :: p_boot == boot && up -> pd!ADDED(id, i, who) :: else fi
		:: else -> if :: p_boot == boot && up -> pd!EXISTS(id, i, who) :: else fi
		fi;
		id = 0; i = 0; who = 0
	   }
	:: atomic {
		dp?REM(id, i, who) ->
		if
		:: tab[i] == id -> take_out(i)
		:: else
		fi;
		if :: p_boot == boot && up -> pd!REMOVED(id, i, who) :: else fi;
		id = 0; i = 0; who = 0
	   }
	:: atomic {
		dp?SWEEP(_, _, _) ->
		if :: tab[0] && !confirmed[0] -> take_out(0) :: else fi;
		if :: tab[1] && !confirmed[1] -> take_out(1) :: else fi
	   }
	:: atomic {
		/* The connection broke, and there is a daemon again: what was not read may be lost. */
		up && p_boot != boot ->
		do
		:: nempty(dp) -> dp?_, _, _, _
		:: empty(dp) -> break
		od;
		p_boot = boot;
#ifndef MUT_confirmed_for_ever
		confirmed[0] = false; confirmed[1] = false;
#endif
		pd!BACK(0, 0, 0)
	   }
	od
}

proctype subscriber(byte s)
{
	mtype what;
	byte id, i;

end:
	do
	:: atomic { s_dead[s] -> break }
	:: atomic { !s_dead[s] && ds[s]?[OPENED] -> ds[s]?OPENED(id, i); s_gate[s] = id; s_place[s] = i; id = 0; i = 0 }
	:: atomic {
		/* From here on it does not use the ring, and says so. */
		!s_dead[s] && ds[s]?[ENDED] && nfull(sd[s]) -> ds[s]?ENDED(id, i);
		if :: s_gate[s] == id -> s_gate[s] = 0; s_place[s] = 0 :: else fi;
		if :: up && s_boot[s] == boot -> sd[s]!DONE(id, 0) :: else fi;
		id = 0; i = 0
	   }
	:: atomic {
		!s_dead[s] && !s_wants[s] && turns[s] < TURNS && nfull(sd[s]) ->
		s_wants[s] = true; turns[s]++;
		if :: up && s_boot[s] == boot -> sd[s]!SUB(0, 0) :: else fi
	   }
	:: atomic {
		!s_dead[s] && s_wants[s] && nfull(sd[s]) ->
		s_wants[s] = false;
		if :: up && s_boot[s] == boot -> sd[s]!UNSUB(0, 0) :: else fi
	   }
	:: atomic {
		!s_dead[s] && up && s_boot[s] != boot ->
		do
		:: ds[s]?_, _, _
		:: empty(ds[s]) -> break
		od;
		s_boot[s] = boot;
		/* What it holds, and whether it still wants. */
		sd[s]!BACK(s_gate[s], s_place[s]);
		if :: s_wants[s] -> sd[s]!SUB(0, 0) :: else -> sd[s]!UNSUB(0, 0) fi
	   }
	:: atomic { !s_dead[s] -> s_dead[s] = true; s_gate[s] = 0; s_place[s] = 0; s_wants[s] = false; break }
	od
}

/* ---- the daemon ---- */

inline finish(s)
{
	if :: d_place[s] != NONE -> by_place[d_place[s]] = NONE :: else fi;
	d_gate[s] = G_NONE; d_id[s] = 0; d_place[s] = NONE; d_held[s] = false; d_ending[s] = false
}

/* Towards the publisher: a place, an id, the gate. */
inline attach(s)
{
	if
#ifdef MUT_attach_in_window
	:: d_wants[s] && d_conn[s] && d_pub && d_gate[s] == G_NONE && !d_held[s] && next_id < 15 &&
#else
	:: !restarting && d_wants[s] && d_conn[s] && d_pub && d_gate[s] == G_NONE && !d_held[s] && next_id < 15 &&
#endif
	   (by_place[0] == NONE || by_place[1] == NONE) ->
		d_place[s] = (by_place[0] == NONE -> 0 : 1);
		by_place[d_place[s]] = s;
		d_id[s] = NEW_ID; next_id++;
		d_gate[s] = G_ADDING;
		dp!ADD(d_id[s], d_place[s], s)
	:: else
	fi
}

inline leave(s)
{
	d_held[s] = false; d_ending[s] = false;
	if
	:: d_gate[s] == G_THERE && d_pub ->
		d_gate[s] = G_REMOVING;
		dp!REM(d_id[s], d_place[s], s)
	:: d_gate[s] == G_NONE -> finish(s)
	:: else		/* the answer comes */
	fi
}

inline confirm(s)
{
	if
	:: d_held[s] && d_gate[s] == G_NONE && d_pub -> d_gate[s] = G_ADDING; dp!ADD(d_id[s], d_place[s], s)
	:: else
	fi
}

inline restart_over()
{
	restarting = false;
#ifndef MUT_no_sweep
	if :: d_pub -> dp!SWEEP(0, 0, 0) :: else fi;
#endif
	attach(0); attach(1)
}

#define BACK_OR_DEAD(s)	(d_conn[s] || !journal[s] || s_dead[s])

proctype daemon()
{
	mtype what;
	byte id, i, who;

end:
	do
	:: atomic {
		up && d_pub && pd?[ADDED] -> pd?ADDED(id, i, who);
		if
		:: d_id[who] == id && d_gate[who] == G_ADDING ->
			d_gate[who] = G_THERE;
			if
			:: !d_wants[who] && !d_held[who] -> leave(who)
			:: d_wants[who] && !d_held[who] -> d_held[who] = true; ds[who]!OPENED(id, i)
			:: else
			fi
		:: else
		fi;
		id = 0; i = 0; who = 0
	   }
	:: atomic {
		/* Somebody else is in the place: there is no gate, and no promise can be made. */
		up && d_pub && pd?[EXISTS] -> pd?EXISTS(id, i, who);
		assert(d_id[who] != id);
		id = 0; i = 0; who = 0
	   }
	:: atomic {
		up && d_pub && pd?[REMOVED] -> pd?REMOVED(id, i, who);
		if
		:: d_id[who] == id && d_gate[who] == G_REMOVING -> finish(who); attach(0); attach(1)
		:: else
		fi;
		id = 0; i = 0; who = 0
	   }
	:: atomic {
		up && pd?[BACK] -> pd?BACK(_, _, _);
		d_pub = true;
		confirm(0); confirm(1);
#ifdef MUT_sweep_at_once
		dp!SWEEP(0, 0, 0);
#endif
		attach(0); attach(1)
	   }
	:: atomic {
		up && (sd[0]?[BACK] || sd[1]?[BACK]) ->
		if :: sd[0]?[BACK] -> who = 0 :: sd[1]?[BACK] -> who = 1 fi;
		sd[who]?BACK(id, i);
		d_conn[who] = true;
		if
		:: id == 0
#ifdef MUT_place_not_kept
		:: id && restarting ->
#else
		:: id && restarting && by_place[i] == NONE ->
			by_place[i] = who;
#endif
			d_id[who] = id; d_place[who] = i; d_held[who] = true;
			confirm(who)
		:: else -> ds[who]!ENDED(id, i)		/* too late */
		fi;
		id = 0; i = 0; who = 0
	   }
	:: atomic {
		up && (sd[0]?[SUB] || sd[1]?[SUB]) ->
		if :: sd[0]?[SUB] -> who = 0 :: sd[1]?[SUB] -> who = 1 fi;
		sd[who]?SUB(_, _);
		d_wants[who] = true; d_conn[who] = true; journal[who] = true;
		attach(who);
		who = 0
	   }
	:: atomic {
		up && (sd[0]?[UNSUB] || sd[1]?[UNSUB]) ->
		if :: sd[0]?[UNSUB] -> who = 0 :: sd[1]?[UNSUB] -> who = 1 fi;
		sd[who]?UNSUB(_, _);
		d_wants[who] = false; d_conn[who] = true;
		/* The gate stays until the reader has said that it is done. */
#ifdef MUT_removed_before_done
		if :: d_held[who] && !d_ending[who] -> d_ending[who] = true; ds[who]!ENDED(d_id[who], 0); leave(who) :: else fi;
#else
		if :: d_held[who] && !d_ending[who] -> d_ending[who] = true; ds[who]!ENDED(d_id[who], 0) :: else fi;
#endif
		who = 0
	   }
	:: atomic {
		up && (sd[0]?[DONE] || sd[1]?[DONE]) ->
		if :: sd[0]?[DONE] -> who = 0 :: sd[1]?[DONE] -> who = 1 fi;
		sd[who]?DONE(id, _);
		if :: d_held[who] && d_id[who] == id -> leave(who); attach(0); attach(1) :: else fi;
		id = 0; who = 0
	   }
	/* The pidfd of a connected subscriber fires. */
	:: atomic { up && d_conn[0] && s_dead[0] && d_gate[0] != G_ADDING && empty(sd[0]) ->
		d_conn[0] = false; d_wants[0] = false; journal[0] = false; leave(0) }
	:: atomic { up && d_conn[1] && s_dead[1] && d_gate[1] != G_ADDING && empty(sd[1]) ->
		d_conn[1] = false; d_wants[1] = false; journal[1] = false; leave(1) }
	/* All are back, or the time is over. */
#ifdef MUT_no_window
	:: atomic { up && restarting && d_pub -> restart_over() }
#else
#ifdef SLOW
	:: atomic { up && restarting && d_pub -> restart_over() }
#else
	:: atomic { up && restarting && d_pub && BACK_OR_DEAD(0) && BACK_OR_DEAD(1) -> restart_over() }
#endif
#endif
	/* It is killed: what clients have sent is lost, what it has sent may still be read. */
	:: atomic {
		up && crashes < CRASHES ->
		crashes++;
		up = false;
		do :: pd?_, _, _, _ :: empty(pd) -> break od;
		do :: sd[0]?_, _, _ :: empty(sd[0]) -> break od;
		do :: sd[1]?_, _, _ :: empty(sd[1]) -> break od;
		d_gate[0] = 0; d_id[0] = 0; d_place[0] = NONE; d_wants[0] = false; d_held[0] = false; d_conn[0] = false; d_ending[0] = false;
		d_gate[1] = 0; d_id[1] = 0; d_place[1] = NONE; d_wants[1] = false; d_held[1] = false; d_conn[1] = false; d_ending[1] = false;
		by_place[0] = NONE; by_place[1] = NONE; d_pub = false; next_id = 0; restarting = false
	   }
	:: atomic { !up -> boot++; up = true; restarting = true }
	od
}

#define RELIES(s, i)	(!s_dead[s] && s_gate[s] == tab[i] && tabsub[i] == s)
/* When nothing can happen any more. */
proctype judge()
{
	timeout ->
	atomic {
		assert(up && !restarting);
		assert(!tab[0] || RELIES(0, 0) || RELIES(1, 0));
		assert(!tab[1] || RELIES(0, 1) || RELIES(1, 1));
		assert(!s_wants[0] || (s_gate[0] && (RELIES(0, 0) || RELIES(0, 1))));
		assert(!s_wants[1] || (s_gate[1] && (RELIES(1, 0) || RELIES(1, 1))));
		assert(!tab[0] || tab[0] != tab[1])
	}
}

init {
	atomic {
		run daemon(); run publisher(); run subscriber(0); run subscriber(1); run judge()
	}
}
