/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of cases share: opening, and the content of an event. */
#pragma once

#include <string.h>

#include "bench/cases.h"
#include "ctl/client/hugebus.h"

/* Says on stderr what failed, with the library's sentence. Return: 1. */
int bench_complain(const char *what);
int bench_open_bus(struct bench_run *run, struct hbus **ret_bus);
/* Returns once @n_gates reliable subscribers are attached to the topic's ring. Return: 0 or 1. */
int bench_open_publisher(struct bench_run *run, const char *topic, unsigned int n_gates, struct hbus **ret_bus,
			 struct hbus_publisher **ret_publisher, hbus_topic_t *ret_topic);
/* @flags: HBUS_SUB_FLAG_*. Return: 0 or 1. */
int bench_open_subscriber(struct bench_run *run, const char *filter, unsigned int flags, struct hbus **ret_bus,
			  struct hbus_subscriber **ret_subscriber);

/* Every 8 bytes of event i hold i: written whole, read whole, and a gap or a torn event shows. */
static inline void bench_event_fill(unsigned char *event, unsigned int size, uint64_t value)
{
	for (unsigned int i = 0; i + 8 <= size; i += 8)
		memcpy(event + i, &value, 8);
}

static inline uint64_t bench_event_sum(const unsigned char *event, size_t size)
{
	uint64_t total = 0, word;

	for (size_t i = 0; i + 8 <= size; i += 8) {
		memcpy(&word, event + i, 8);
		total += word;
	}
	return total;
}

/* A process that attaches as a lossy subscriber of everything and is then stopped (SIGSTOP) until the run is over. */
int bench_stopped_reader(struct bench_run *run, unsigned int role);
