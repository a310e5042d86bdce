/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cells: HBUS_N_WORKER_CELLS of each worker, CELLS_PER_PORT of each port, then CELLS_PER_TOPIC of
 * each topic as long as there is room.
 */
#include "dataplane/counters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/control_pvt.h"
#include "dataplane/log.h"
#ifdef HBUS_HAVE_XDP
#include "ebpf/loader.h"
#endif

enum port_cell {
	PORT_MISSED,
	PORT_ERRORS,
	PORT_NO_BUFFER,
	PORT_HAS_FILTER,
	PORT_REASONS,                /* what the filter has counted, in the order of the reasons */
	/* XDP knows the first reasons, up to the last that it can give. */
	N_XDP_REASONS = HBUS_REASON_NO_SOCKET + 1,
	CELLS_PER_PORT = PORT_REASONS + N_XDP_REASONS,
};

enum topic_cell { TOPIC_PUBLISHED, TOPIC_RING_FULL, TOPIC_DROPPED, CELLS_PER_TOPIC };

enum { TOPICS_MAX = 400 };

_Static_assert(HBUS_INGRESS_WORKERS_MAX * HBUS_N_WORKER_CELLS + HBUS_PORTS_MAX * CELLS_PER_PORT +
			       TOPICS_MAX * CELLS_PER_TOPIC <=
		       HBUS_COUNTERS_MAX,
	       "everything fits one file");
_Static_assert(sizeof(struct hbus_counter) == sizeof(struct hbus_counter_cell),
	       "the library's cells are ours");

static void name_cell(struct hbus_counter_cell *cell, const char *format, unsigned int idx,
		      const char *rest)
{
	char name[HBUS_COUNTER_NAME_SIZE + 256];

	snprintf(name, sizeof(name), format, idx, rest);
	name[HBUS_COUNTER_NAME_SIZE - 1] = '\0';
	/* Readers take a cell for named when its first byte is, so that comes last. */
	memcpy(cell->name + 1, name + 1, HBUS_COUNTER_NAME_SIZE - 1);
	cell->name[0] = name[0];
}

static struct hbus_counter_cell *port_cells(const struct hbus_control *control, unsigned int i)
{
	return control->cells + control->n_loops_max * HBUS_N_WORKER_CELLS + i * CELLS_PER_PORT;
}

static struct hbus_counter_cell *topic_cells(const struct hbus_control *control, unsigned int i)
{
	return control->cells + control->n_cells - (TOPICS_MAX - i) * CELLS_PER_TOPIC;
}

static int make_cells(struct hbus_control *control)
{
	struct hbus_counter *counters = NULL;

	if (hbus_counters_create(control->bus, "ingress", control->n_cells, &counters) == 0) {
		control->cells = (struct hbus_counter_cell *)(void *)counters;
		return 0;
	}
	hbus_log("counters stay private: %s", hbus_error_text());
	control->cells = calloc(control->n_cells, sizeof(*control->cells));
	control->owns_cells = true;
	return control->cells ? 0 : -ENOMEM;
}

int hbus_counters_open(struct hbus_control *control, unsigned int n_workers, unsigned int n_ports)
{
	int r;

	control->n_loops_max = n_workers;
	control->n_cells = n_workers * HBUS_N_WORKER_CELLS + n_ports * CELLS_PER_PORT +
			   TOPICS_MAX * CELLS_PER_TOPIC;
	r = make_cells(control);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < n_workers * HBUS_N_WORKER_CELLS; i++)
		hbus_worker_cell_name(i / HBUS_N_WORKER_CELLS, i % HBUS_N_WORKER_CELLS,
				      control->cells[i].name);
	for (unsigned int i = 0; i < n_ports; i++) {
		struct hbus_counter_cell *cells = port_cells(control, i);

		name_cell(&cells[PORT_MISSED], "port%u.%s", i, "missed");
		name_cell(&cells[PORT_ERRORS], "port%u.%s", i, "errors");
		name_cell(&cells[PORT_NO_BUFFER], "port%u.%s", i, "no_buffer");
		name_cell(&cells[PORT_HAS_FILTER], "port%u.%s", i, "filter_in_driver");
		for (unsigned int reason = 0; reason < N_XDP_REASONS; reason++)
			name_cell(&cells[PORT_REASONS + reason], "port%u.xdp.%s", i,
				  hbus_reason_name(reason));
	}
	return 0;
}

uint64_t hbus_counters_sum(const struct hbus_control *control, unsigned int cell_idx)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < control->n_loops; i++)
		sum += hbus_counter_get(&control->cells[i * HBUS_N_WORKER_CELLS + cell_idx]);
	return sum;
}

/* relaxed: each has one writer, and nothing but the number is wanted */
static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

struct hbus_topic_sums hbus_counters_topic(const struct hbus_control *control,
					   uint32_t counter_idx)
{
	struct hbus_topic_sums sums = { 0 };

	for (unsigned int i = 0; i < control->n_loops; i++) {
		const struct hbus_topic_counters *topic =
			&control->loops[i].worker.topics[counter_idx];

		sums.received += get(&topic->received);
		sums.published += get(&topic->published);
		sums.no_interest += get(&topic->no_interest);
		sums.ring_full += get(&topic->ring_full);
		sums.dropped += get(&topic->dropped);
	}
	return sums;
}

#ifdef HBUS_HAVE_XDP
static void copy_filter(const struct hbus_port *port, struct hbus_counter_cell *cells)
{
	struct hbus_reason_stats stats[HBUS_REASONS_MAX];

	hbus_counter_set(&cells[PORT_HAS_FILTER], port->filter != NULL);
	if (!port->filter || hbus_filter_stats_read(port->filter, stats) != 0)
		return;
	for (unsigned int reason = 0; reason < N_XDP_REASONS; reason++)
		hbus_counter_set(&cells[PORT_REASONS + reason], stats[reason].packets);
}
#else
static void copy_filter(const struct hbus_port *port, struct hbus_counter_cell *cells)
{
	hbus_counter_set(&cells[PORT_HAS_FILTER], port->filter != NULL);
}
#endif

static void copy_ports(struct hbus_control *control)
{
	for (unsigned int i = 0; control->ports && i < control->ports->n; i++) {
		struct hbus_counter_cell *cells = port_cells(control, i);
		struct hbus_port_losses losses = hbus_port_losses(&control->ports->at[i]);

		hbus_counter_set(&cells[PORT_MISSED], losses.missed);
		hbus_counter_set(&cells[PORT_ERRORS], losses.errors);
		hbus_counter_set(&cells[PORT_NO_BUFFER], losses.no_buffer);
		copy_filter(&control->ports->at[i], cells);
	}
}

static void name_topic_cells(struct hbus_control *control, unsigned int i)
{
	struct hbus_counter_cell *cells = topic_cells(control, i);
	const char *name = hbus_directory_topic(control->directory, i + 1)->name;

	name_cell(&cells[TOPIC_PUBLISHED], "topic%u.published %s", i + 1, name);
	name_cell(&cells[TOPIC_RING_FULL], "topic%u.ring_full %s", i + 1, name);
	name_cell(&cells[TOPIC_DROPPED], "topic%u.dropped %s", i + 1, name);
}

static void copy_topics(struct hbus_control *control)
{
	unsigned int n;

	pthread_mutex_lock(&control->lock);
	n = hbus_directory_n_topics(control->directory);
	n = n < TOPICS_MAX ? n : TOPICS_MAX;
	for (; control->n_topic_cells_named < n; control->n_topic_cells_named++)
		name_topic_cells(control, control->n_topic_cells_named);
	pthread_mutex_unlock(&control->lock);
	for (unsigned int i = 0; i < n; i++) {
		struct hbus_counter_cell *cells = topic_cells(control, i);
		struct hbus_topic_sums sums = hbus_counters_topic(control, i + 1);

		hbus_counter_set(&cells[TOPIC_PUBLISHED], sums.published);
		hbus_counter_set(&cells[TOPIC_RING_FULL], sums.ring_full);
		hbus_counter_set(&cells[TOPIC_DROPPED], sums.no_interest + sums.dropped);
	}
}

void hbus_control_publish_counters(struct hbus_control *control)
{
	copy_ports(control);
	copy_topics(control);
}
