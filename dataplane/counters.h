/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ingress's counters on the bus: those of the workers, which write them themselves, and copies
 * of what ports, filters and topics have counted.
 */
#pragma once

#include "dataplane/pilot.h"

/* Makes the cells. Without a bus that keeps them they are private. Return: 0 or -ENOMEM. */
int hbus_counters_open(struct hbus_pilot *pilot, unsigned int n_workers, unsigned int n_ports);

/* Notes what loops and filters now follow. Thread: the updating one, under the lock. */
void hbus_counters_plan(struct hbus_pilot *pilot);

/* The sum of one cell over all workers. */
uint64_t hbus_counters_sum(const struct hbus_pilot *pilot, unsigned int cell_idx);

/* Plain numbers of one topic, summed over all workers. */
struct hbus_topic_sums {
	uint64_t received;
	uint64_t published;
	uint64_t no_interest;
	uint64_t ring_full;
	uint64_t dropped;
};
struct hbus_topic_sums hbus_counters_topic(const struct hbus_pilot *pilot,
					   uint32_t counter_idx);
