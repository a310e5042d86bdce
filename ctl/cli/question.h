/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A question to the daemon that nobody waits for longer than he wants
 *
 * The daemon answers in order: when it has answered any question, all that it said before is known here. The library
 * waits for a daemon that went away or stands still; so a thread of its own asks.
 */
#pragma once

#include <semaphore.h>
#include <stdbool.h>

#include "ctl/client/hugebus.h"

struct hbus_question {
	struct hbus *bus;
	sem_t answered;
	bool is_asked;
	bool is_over; /* its thread is out of the library */
};

/** hbus_question_ask() - once; waits a moment, since most daemons answer at once */
void hbus_question_ask(struct hbus_question *question, struct hbus *bus);

/** hbus_question_is_answered() - or never will be: there is no daemon */
bool hbus_question_is_answered(struct hbus_question *question);

/** hbus_question_is_open() - its thread is still in the library: the bus cannot be closed, only left */
bool hbus_question_is_open(struct hbus_question *question);
