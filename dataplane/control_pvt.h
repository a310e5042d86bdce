/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control's own state, shared by control.c, report.c and no one else.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "dataplane/control.h"
#include "dataplane/steer.h"

struct hbus_control {
	const struct hbus_ingress_options *options;
	struct hbus *bus;
	/* -- library's thread and control thread, under the lock -- */
	pthread_mutex_t lock;
	struct hbus_directory *directory;
	_Atomic uint64_t n_changes;      /* of the directory; read without the lock */
	/* -- control thread -- */
	uint64_t n_changes_done;
	uint64_t retry_at_ns;            /* 0: nothing has failed */
	struct hbus_loop_shared *shared;
	struct hbus_loop *loops;
	struct hbus_bus_sink *sinks;
	unsigned int n_loops;            /* that are made */
	unsigned int n_loops_max;        /* that have counters */
	const struct hbus_ports *ports;
	struct hbus_steer *steers[HBUS_PORTS_MAX];
	/* -- counters on the bus -- */
	struct hbus_counter_cell *cells; /* of workers, then ports, then topics */
	bool owns_cells;                 /* the bus gave none: they are only ours */
	unsigned int n_cells;
	unsigned int n_topic_cells_named;
};
