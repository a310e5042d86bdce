/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cells: HBUS_N_WORKER_CELLS of each worker, PLAN_CELLS, CELLS_PER_PORT of each port, then
 * CELLS_PER_TOPIC of each topic as long as there is room.
 */
#include "dataplane/counters.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/pilot_pvt.h"
#include "dataplane/log.h"
#ifdef HBUS_HAVE_XDP
#include "ebpf/loader.h"
#endif

enum plan_cell { PLAN_SWAPS, PLAN_ROUTES, PLAN_WANTED, PLAN_CELLS };

enum port_cell {
	PORT_MISSED,
	PORT_ERRORS,
	PORT_NO_BUFFER,
	PORT_HAS_FILTER,
	PORT_REASONS,                /* what the filter has counted, in the order of the reasons */
	/* Those that only C gives have no name, so they are not shown. */
	CELLS_PER_PORT = PORT_REASONS + HBUS_N_REASONS,
};

enum topic_cell { TOPIC_PUBLISHED, TOPIC_RING_FULL, TOPIC_DROPPED, CELLS_PER_TOPIC };

enum { TOPICS_MAX = 400 };

_Static_assert(HBUS_INGRESS_WORKERS_MAX * HBUS_N_WORKER_CELLS + PLAN_CELLS +
			       HBUS_PORTS_MAX * CELLS_PER_PORT + TOPICS_MAX * CELLS_PER_TOPIC <=
		       HBUS_COUNTERS_MAX,
	       "everything fits one file");
_Static_assert(sizeof(struct hbus_counter) == sizeof(struct hbus_counter_cell),
	       "the library's cells are ours");

__attribute__((format(printf, 2, 3)))
static void name_cell(struct hbus_counter_cell *cell, const char *format, ...)
{
	char name[HBUS_COUNTER_NAME_SIZE] = "";
	va_list list;

	va_start(list, format);
	vsnprintf(name, sizeof(name), format, list);
	va_end(list);
	/* Readers take a cell for named when its first byte is, so that comes last. */
	memcpy(cell->name + 1, name + 1, sizeof(name) - 1);
	cell->name[0] = name[0];
}

static struct hbus_counter_cell *port_cells(const struct hbus_pilot *pilot, unsigned int i)
{
	return pilot->cells + pilot->n_loops_max * HBUS_N_WORKER_CELLS + PLAN_CELLS +
	       i * CELLS_PER_PORT;
}

static struct hbus_counter_cell *plan_cells(const struct hbus_pilot *pilot)
{
	return pilot->cells + pilot->n_loops_max * HBUS_N_WORKER_CELLS;
}

static struct hbus_counter_cell *topic_cells(const struct hbus_pilot *pilot, unsigned int i)
{
	return pilot->cells + pilot->n_cells - (TOPICS_MAX - i) * CELLS_PER_TOPIC;
}

static int make_cells(struct hbus_pilot *pilot)
{
	struct hbus_counter *counters = NULL;

	if (hbus_counters_create(pilot->bus, "ingress", pilot->n_cells, &counters) == 0) {
		pilot->cells = (struct hbus_counter_cell *)(void *)counters;
		return 0;
	}
	hbus_log("counters stay private: %s", hbus_error_text());
	pilot->cells = calloc(pilot->n_cells, sizeof(*pilot->cells));
	pilot->owns_cells = true;
	return pilot->cells ? 0 : -ENOMEM;
}

int hbus_counters_open(struct hbus_pilot *pilot, unsigned int n_workers, unsigned int n_ports)
{
	int r;

	pilot->n_loops_max = n_workers;
	pilot->n_cells = n_workers * HBUS_N_WORKER_CELLS + PLAN_CELLS + n_ports * CELLS_PER_PORT +
			   TOPICS_MAX * CELLS_PER_TOPIC;
	r = make_cells(pilot);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < n_workers * HBUS_N_WORKER_CELLS; i++)
		hbus_worker_cell_name(i / HBUS_N_WORKER_CELLS, i % HBUS_N_WORKER_CELLS,
				      pilot->cells[i].name);
	name_cell(&plan_cells(pilot)[PLAN_SWAPS], "plan.swaps");
	name_cell(&plan_cells(pilot)[PLAN_ROUTES], "plan.routes");
	name_cell(&plan_cells(pilot)[PLAN_WANTED], "plan.routes_wanted");
	for (unsigned int i = 0; i < n_ports; i++) {
		struct hbus_counter_cell *cells = port_cells(pilot, i);

		name_cell(&cells[PORT_MISSED], "port%u.missed", i);
		name_cell(&cells[PORT_ERRORS], "port%u.errors", i);
		name_cell(&cells[PORT_NO_BUFFER], "port%u.no_buffer", i);
		name_cell(&cells[PORT_HAS_FILTER], "port%u.filter_in_driver", i);
		for (unsigned int reason = 0; reason < HBUS_N_REASONS; reason++)
			if (hbus_reason_action(reason) != HBUS_ACTION_NONE)
				name_cell(&cells[PORT_REASONS + reason], "port%u.xdp.%s", i,
					  hbus_reason_name(reason));
	}
	return 0;
}

void hbus_counters_plan(struct hbus_pilot *pilot)
{
	struct hbus_counter_cell *cells = plan_cells(pilot);
	uint64_t n_routes = 0, n_wanted = 0;

	for (uint32_t i = 0; i < hbus_directory_n_routes(pilot->directory); i++) {
		if (!hbus_directory_route_at(pilot->directory, i)->is_used)
			continue;
		n_routes++;
		n_wanted += hbus_directory_route_is_wanted(pilot->directory, i);
	}
	hbus_counter_set(&cells[PLAN_ROUTES], n_routes);
	hbus_counter_set(&cells[PLAN_WANTED], n_wanted);
	hbus_counter_add(&cells[PLAN_SWAPS], 1);
}

uint64_t hbus_counters_sum(const struct hbus_pilot *pilot, unsigned int cell_idx)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < pilot->n_loops; i++)
		sum += hbus_counter_get(&pilot->cells[i * HBUS_N_WORKER_CELLS + cell_idx]);
	return sum;
}

/* relaxed: each has one writer, and nothing but the number is wanted */
static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

struct hbus_topic_sums hbus_counters_topic(const struct hbus_pilot *pilot,
					   uint32_t counter_idx)
{
	struct hbus_topic_sums sums = { 0 };

	for (unsigned int i = 0; i < pilot->n_loops; i++) {
		const struct hbus_topic_counters *topic =
			&pilot->loops[i].worker.topics[counter_idx];

		sums.no_interest += get(&topic->no_interest);
		sums.ring_full += get(&topic->ring_full);
		sums.dropped += get(&topic->dropped);
		/* Behind what was not published: it is never less. */
		sums.received += get(&topic->received);
	}
	sums.published = sums.received - sums.no_interest - sums.ring_full - sums.dropped;
	return sums;
}

#ifdef HBUS_HAVE_XDP
static void copy_filter(const struct hbus_port *port, struct hbus_counter_cell *cells)
{
	struct hbus_reason_stats stats[HBUS_REASONS_MAX];

	hbus_counter_set(&cells[PORT_HAS_FILTER], port->filter != NULL);
	if (!port->filter || hbus_filter_stats_read(port->filter, stats) != 0)
		return;
	for (unsigned int reason = 0; reason < HBUS_N_REASONS; reason++)
		hbus_counter_set(&cells[PORT_REASONS + reason], stats[reason].packets);
}
#else
static void copy_filter(const struct hbus_port *port, struct hbus_counter_cell *cells)
{
	hbus_counter_set(&cells[PORT_HAS_FILTER], port->filter != NULL);
}
#endif

static void copy_ports(struct hbus_pilot *pilot)
{
	for (unsigned int i = 0; pilot->ports && i < pilot->ports->n; i++) {
		struct hbus_counter_cell *cells = port_cells(pilot, i);
		struct hbus_port_losses losses = hbus_port_losses(&pilot->ports->at[i]);

		hbus_counter_set(&cells[PORT_MISSED], losses.missed);
		hbus_counter_set(&cells[PORT_ERRORS], losses.errors);
		hbus_counter_set(&cells[PORT_NO_BUFFER], losses.no_buffer);
		copy_filter(&pilot->ports->at[i], cells);
	}
}

static void name_topic_cells(struct hbus_pilot *pilot, unsigned int i)
{
	struct hbus_counter_cell *cells = topic_cells(pilot, i);
	const char *name = hbus_directory_topic(pilot->directory, i + 1)->name;

	name_cell(&cells[TOPIC_PUBLISHED], "topic%u.published %s", i + 1, name);
	name_cell(&cells[TOPIC_RING_FULL], "topic%u.ring_full %s", i + 1, name);
	name_cell(&cells[TOPIC_DROPPED], "topic%u.dropped %s", i + 1, name);
}

static void copy_topics(struct hbus_pilot *pilot)
{
	unsigned int n;

	pthread_mutex_lock(&pilot->lock);
	n = hbus_directory_n_topics(pilot->directory);
	n = n < TOPICS_MAX ? n : TOPICS_MAX;
	for (; pilot->n_topic_cells_named < n; pilot->n_topic_cells_named++)
		name_topic_cells(pilot, pilot->n_topic_cells_named);
	pthread_mutex_unlock(&pilot->lock);
	for (unsigned int i = 0; i < n; i++) {
		struct hbus_counter_cell *cells = topic_cells(pilot, i);
		struct hbus_topic_sums sums = hbus_counters_topic(pilot, i + 1);

		hbus_counter_set(&cells[TOPIC_PUBLISHED], sums.published);
		hbus_counter_set(&cells[TOPIC_RING_FULL], sums.ring_full);
		hbus_counter_set(&cells[TOPIC_DROPPED], sums.no_interest + sums.dropped);
	}
}

void hbus_pilot_publish_counters(struct hbus_pilot *pilot)
{
	copy_ports(pilot);
	copy_topics(pilot);
}
