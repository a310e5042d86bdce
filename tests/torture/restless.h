/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A subscriber that gives filters up and asks for them again, at random, from the thread that polls and from another
 *
 * Each topic of the publishers is wanted by none, one or both of two filters. When the first is asked for, it is noted how far
 * each publisher is: what comes behind that must come. Before the last is given up, whoever polls looks until nothing is left:
 * what was published before that must have come.
 */
#pragma once

#include <pthread.h>
#include <semaphore.h>

#include "ctl/client/hugebus.h"
#include "tests/torture/ledger.h"

#define RESTLESS_WAIT_MS 2
#define RESTLESS_STALL_MS 100u

struct restless_job {
	uint32_t topic;
	uint32_t which; /* of the topic's filters */
	bool gives_up;
	bool asks;      /* at once, if it gives it up too */
};

enum restless_phase {
	RESTLESS_RESTS,
	RESTLESS_LOOKS, /* for what it must have before it gives a topic up */
	RESTLESS_CALLS, /* the other thread does */
};

struct restless {
	struct ledger *ledger;
	struct ledger_subscriber *me;
	struct hbus_subscriber *subscriber;
	uint64_t random;
	uint64_t next_ns;
	uint32_t first; /* publishers before this one had ended when it asked last */
	bool has[LEDGER_TOPICS][2];
	enum restless_phase phase;
	struct restless_job job;
	uint64_t acked[LEDGER_PUBLISHERS_MAX]; /* when it began to look */
	uint32_t n_publishers;                 /* then */
	uint64_t look_until_ns;                /* for what has not come yet */
	bool has_to_wait;                      /* something has not */
	pthread_t thread;
	sem_t todo;
	atomic_bool is_done;
	atomic_bool is_over;
};

/* Asks for all topics. Return: 0, or an error of the library. */
int restless_begin(struct restless *restless, struct ledger *ledger, struct ledger_subscriber *me,
		   struct hbus_subscriber *subscriber, uint64_t seed);
/* Owner's thread, after each poll; @is_empty: it found nothing. */
void restless_step(struct restless *restless, bool is_empty);
void restless_end(struct restless *restless);

/* Of the events from view->next up to @sequence, which did not come: those that need not. Notes and returns how many. */
uint64_t restless_pass_over(const struct ledger *ledger, const struct ledger_subscriber *me, struct ledger_view *view,
			    uint64_t sequence);
