/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of cases share: opening, and the content of an event. */
#pragma once

#include "bench/cases.h"
#include "bench/event.h"
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

/* A process that attaches as a lossy subscriber of everything and is then stopped (SIGSTOP) until the run is over. */
int bench_stopped_reader(struct bench_run *run, unsigned int role);
