/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus under torture: who is on it, what was done to them, and what was seen. */
#pragma once

#include <signal.h>
#include <sys/types.h>

#include "tests/torture/judge.h"

#define VICTIMS_MAX 32u
#define SPANS_MAX 32768u
#define RECOVERIES_MAX 65536u
#define WEDGE_MS 2000u
#define TERM_MS 10000u

enum kind { PUBLISHER, RELIABLE, LOSSY, DAEMON, INGRESS, N_KINDS };
extern const char *const kind_names[N_KINDS];

/* What the kernel says of a process: the main thread's time on a CPU, and the longest that any thread has waited for one. */
struct cpu_time {
	uint64_t at_ns;
	uint64_t ran_ns;
	uint64_t waited_ns;
	bool is_runnable; /* the main thread: runs, or waits for a CPU */
};

struct victim {
	enum kind kind;
	bool is_spared;       /* stopped, never killed: a witness of all publishers */
	bool is_restless;     /* a subscriber that gives filters up and asks for them again */
	pid_t pid;            /* 0 = not running */
	uint32_t idx;         /* in the ledger; of an ingress: its span */
	uint64_t resume_ns;   /* stopped until then; 0 = runs */
	uint64_t start_ns;    /* to be started then */
	uint64_t term_ns;     /* fair time at which it was asked to end; 0 = was not */
	struct cpu_time term; /* when it was asked to end */
	uint64_t began_ns;    /* fair time of its start */
	uint64_t moved_ns;    /* fair time at which it was last seen to move */
	uint64_t sampled_ns;  /* the moved_ns for which this is known: */
	struct cpu_time stood; /* when it was first seen not to move */
	uint64_t progress;    /* what was seen then */
	bool is_wedged;       /* said already */
	bool was_hurt;        /* ingress: its poll process was killed */
};

struct torture {
	struct ledger *ledger;
	struct victim victim[VICTIMS_MAX];
	unsigned int n_victims;
	uint64_t seed;
	uint64_t n_steps;
	char directory[64];
	char socket[96];
	char config[96];
	char log[96];         /* of the ingress */
	const char *daemon_path;
	const char *ingress_path;
	pid_t sender;
	struct span outages[SPANS_MAX];
	unsigned int n_outages;
	struct span ingresses[SPANS_MAX];
	unsigned int n_ingresses;
	unsigned int n_ingress_refused; /* it would not start: the one before was still ending */
	uint32_t recovery_us[RECOVERIES_MAX];
	unsigned int n_recoveries;
	unsigned int n_kills[N_KINDS];
	unsigned int n_stops[N_KINDS];
	unsigned int n_restarts[N_KINDS];
	unsigned int n_wedges;
	unsigned int n_bad_exits;
	bool is_verbose;
};

/* -- dice.c: decisions by seed and step alone, so that a seed brings the same again -- */

/* The @which-th decision of this step, below @limit. */
uint64_t dice(const struct torture *t, unsigned int which, uint64_t limit);

/* -- victims.c -- */

bool start_victim(struct torture *t, struct victim *victim);
void kill_victim(struct torture *t, struct victim *victim);
void stop_victim(struct torture *t, struct victim *victim);
void restart_victim(struct torture *t, struct victim *victim);
void resume_victim(struct torture *t, struct victim *victim);
/* Reaps it if it has ended. */
void reap_victim(struct torture *t, struct victim *victim);
/* Starts what is down, resumes what has stood long enough, reaps what ended. */
void tend(struct torture *t);

/* -- watch.c: time as the machine grants it, recovery and wedges -- */

/* Sleeps, and enters when the machine stood still. */
void nap_us(struct torture *t, uint64_t us);
/* Without the time in which this machine ran somebody else, or stopped all of us: it does not count against those who are watched. */
uint64_t fair_now_ns(const struct torture *t);
/* Looks at everybody who should move. */
void watch(struct torture *t);
/* After a kill: how long until every running publisher has published again. */
void measure_recovery(struct torture *t, enum kind killed);
double recovery_ms(struct torture *t, double fraction);

/* -- where.c: where somebody is who does not move -- */

/* Since it began. Of an ingress: of its poll process. */
struct cpu_time cpu_time(const struct victim *victim);
/* Between the two: a wait that has not ended is not in what the kernel says, but who could run and has not run waits. */
uint64_t waited_between_ns(const struct cpu_time *before, const struct cpu_time *now);
/* The guard's child does the work. 0: there is none yet. */
pid_t poll_process_of(pid_t guard);
/* Its call of the library, and each thread of it: state, where in the kernel, how long it ran and waited for a CPU. */
void show_where(const struct torture *t, const struct victim *victim);
/* Everybody: one may wait for another. */
void show_everybody(const struct torture *t);

/* -- probe.c: what the machine gives to others -- */

void probes_start(void);
void probes_end(void);
/* Until now, since the start: how long some CPU did not run us though it should have. */
uint64_t probes_starved_ns(uint64_t now_ns);
/* The longer ones of these, each once. Return: how many. */
unsigned int probes_take_stills(struct span *ret_spans, unsigned int n_max);

/* -- packets.c: an interface of our own, and packets on it -- */

#define PACKETS_INTERFACE "gw0"

/* A namespace with a pair of interfaces. False, with the reason on stderr: none to be had. */
bool packets_setup(void);
pid_t packets_start(struct ledger *ledger);
/* Whether somebody's filter is still on the interface. */
bool packets_has_filter(void);

/* -- leftovers.c -- */

struct leftovers {
	unsigned int daemon_fds;
	long huge_pages;
};

void leftovers_before(struct torture *t, struct leftovers *ret);
/* When everybody but the daemon has ended. Says what is left. Return: how many things. */
unsigned int leftovers_after(struct torture *t, const struct leftovers *before);
void leftovers_plant(void);
