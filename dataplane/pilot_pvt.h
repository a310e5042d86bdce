/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pilot's own state, shared by pilot.c, counters.c, report.c and no one else.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "dataplane/passive/passive.h"
#include "dataplane/mqttsn/gateway.h"
#include "dataplane/pilot.h"
#include "dataplane/steer.h"

struct hbus_pilot {
	const struct hbus_ingress_options *options;
	struct hbus *bus;
	/* -- all threads but the poll loops', under the lock -- */
	pthread_mutex_t lock;
	struct hbus_directory *directory;
	struct hbus_steer *steers[HBUS_PORTS_MAX];
	_Atomic uint64_t n_changes;      /* of the directory; read without the lock */
	/* -- the updating thread; before its start and after its end, the main thread -- */
	pthread_t thread;
	bool has_thread;
	_Atomic uint32_t is_stopping;
	uint64_t n_changes_done;
	uint32_t name_cursor;            /* among the directory's topics: 0 = names begin anew */
	bool has_failed;                 /* something, since they last began anew */
	uint64_t retry_at_ns;            /* 0: nothing has failed */
	/* -- fixed when it is made -- */
	struct hbus_loop_shared *shared;
	struct hbus_loop *loops;
	struct hbus_bus_sink *sinks;
	unsigned int n_loops;            /* that are made */
	unsigned int n_loops_max;        /* that have counters */
	const struct hbus_ports *ports;
	struct hbus_passive *passive;    /* NULL: not asked for */
	int mirror_fds[HBUS_PORTS_MAX];  /* as long as they are open, a port shows what is sent to others; 0: none */
	struct hbus_sn_gateway *gateway; /* NULL: none; the updating thread tells it what changed */
	/* -- main thread: counters on the bus -- */
	struct hbus_counter_cell *cells; /* of workers, then ports, then topics */
	bool owns_cells;                 /* the bus gave none: they are only ours */
	unsigned int n_cells;
	unsigned int n_topic_cells_named;
};
