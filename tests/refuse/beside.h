/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Clients beside, to whom nothing is refused: they miss nothing, and they ask the daemon what there is
 *
 * What they do is of no side (refuse.h), whoever calls them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/client/hugebus.h"

#define REFUSE_EVENTS 20 /* of each publish, here and in a run */
#define REFUSE_PATIENCE_MS 4000

/* What a process and its daemon hold. */
struct refuse_holding {
	size_t n_rows[4]; /* clients, rings, subscribers, attachments */
	size_t n_allocations, n_fds, n_maps;
};

/* The publisher beside: its topic is "by/x", an event is its number. */
void beside_open(void);
void beside_close(void);
void beside_publish(void);
uint64_t beside_sent(void);

/* The reliable subscriber beside reads "by/#" and "a/#", for one run. */
void beside_subscribe(void);
void beside_unsubscribe(void);
/** beside_take() - what has come; each event of the two topics is the next one. */
void beside_take(void);
/** beside_wait_own() - until all that the publisher beside sent has come. */
void beside_wait_own(void);
/** beside_wait_a() - until @sent events of the run have. */
void beside_wait_a(uint64_t sent);

void beside_look(struct refuse_holding *ret_holding);
/** beside_settle() - until the first @size bytes of what is held are as @before: the daemon needs a moment. */
void beside_settle(const struct refuse_holding *before, size_t size);

/** refuse_has_loss() - @sub was told of lost events. */
bool refuse_has_loss(struct hbus_subscriber *sub);
