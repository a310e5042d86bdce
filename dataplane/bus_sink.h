/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sink of a poll loop on a bus: a publisher handle for most topics, and one more for each
 * topic that was given a ring of its own.
 *
 * Threads: the poll loop calls the sink's three functions. The control thread opens and closes,
 * names topics, and wakes readers. A topic is named before the plan that uses it is swapped in.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ctl/client/hugebus.h"
#include "dataplane/options.h"
#include "dataplane/sink.h"
#include "dataplane/worker.h"

#define HBUS_BUS_SINK_RINGS_MAX (1U + HBUS_INGRESS_OWN_RINGS_MAX)

struct hbus_bus_sink_place {
	hbus_topic_t topic;
	uint32_t ring_idx;
};

struct hbus_bus_sink {
	struct hbus_sink sink;           /* first: the sink is the whole */
	struct hbus_publisher *publishers[HBUS_BUS_SINK_RINGS_MAX];
	const struct hbus_words *own_rings;
	unsigned int n_publishers;
	uint64_t open;                   /* bit n: a batch is open on publisher n */
	struct hbus_bus_sink_place *places;  /* by the sink's topic number */
};

/**
 * hbus_bus_sink_init() - open the publishers
 * @own_rings: topics that get their own, borrowed
 * @wakes_inline: wake readers at each commit; else hbus_bus_sink_wake() must be called
 *
 * Return: 0, -ENOMEM, or an enum hbus_error.
 */
int hbus_bus_sink_init(struct hbus_bus_sink *sink, struct hbus *bus,
		       const struct hbus_words *own_rings, bool wakes_inline);
void hbus_bus_sink_deinit(struct hbus_bus_sink *sink);

/**
 * hbus_bus_sink_name() - let a number stand for a topic
 * @number: 1..HBUS_WORKER_TOPICS_MAX - 1; no plan in use has it
 *
 * Asks the daemon. Return: 0 or an enum hbus_error.
 */
int hbus_bus_sink_name(struct hbus_bus_sink *sink, uint32_t number, const char *name);

/* Wakes the readers that sleep. Thread: any. */
void hbus_bus_sink_wake(struct hbus_bus_sink *sink);
