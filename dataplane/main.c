/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hugebus-ingress: packets of DPDK ports become events of a bus. The order of start and stop.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include "dataplane/pilot.h"
#include "dataplane/counters.h"
#include "dataplane/guard.h"
#include "dataplane/log.h"
#include "dataplane/loop.h"
#include "dataplane/options.h"
#include "dataplane/ports.h"
#include "dataplane/tcp/tcp.h"
#include "program/stdout.h"

/* How often the main thread looks at the loops: while frames come, and while none do. */
#define TICK_BUSY_NS 250000L
#define TICK_IDLE_NS 1000000L
#define CHORES_NS UINT64_C(100000000)
#define FILTERS_NS UINT64_C(1000000000)
/* At the end: how long the ports must be silent to be dry, and how long that may take. */
#define DRY_NS UINT64_C(20000000)
#define DRY_MAX_NS UINT64_C(1000000000)
/* Where no filter can turn the packets away there may be no end of them. */
#define DRY_MAX_UNFILTERED_NS UINT64_C(50000000)

struct ingress {
	const struct hbus_ingress_options *options;
	struct hbus_pilot *pilot;
	struct hbus_ports ports;
	struct hbus_tcp *tcp;        /* NULL: no TCP */
	struct hbus_loop_shared shared;
	struct hbus_loop loops[HBUS_INGRESS_WORKERS_MAX];
	uint64_t seen_ns[HBUS_INGRESS_WORKERS_MAX];  /* the last busy_ns of each */
	unsigned int n_loops;
	struct hbus_eal_args eal_args;
	uint64_t start_ns;
	uint64_t busy_ns;            /* when a loop was last seen to be busy */
	uint64_t chores_ns;          /* when the chores were last done */
	uint64_t filters_ns;         /* when the filters were last looked for */
};

/* ---- start ----------------------------------------------------------------------------- */

static int start_eal(struct hbus_eal_args *args)
{
	if (rte_eal_init(args->n, args->at) < 0) {
		hbus_log("EAL: %s", rte_strerror(rte_errno));
		return -EIO;
	}
	return 0;
}

static int make_loops(struct ingress *ingress)
{
	unsigned int lcore_id;

	for (lcore_id = 0; lcore_id < RTE_MAX_LCORE; lcore_id++)
		if (rte_lcore_is_enabled(lcore_id) && lcore_id != rte_get_main_lcore() &&
		    ingress->n_loops < HBUS_INGRESS_WORKERS_MAX)
			ingress->loops[ingress->n_loops++].lcore_id = lcore_id;
	if (ingress->n_loops == 0) {
		hbus_log("no lcore to poll on: give at least two");
		return -EINVAL;
	}
	return hbus_pilot_workers(ingress->pilot, &ingress->shared, ingress->loops,
				    ingress->n_loops, ingress->ports.n);
}

static void say_ready(const struct ingress *ingress)
{
	for (unsigned int i = 0; i < ingress->ports.n; i++) {
		const struct hbus_port *port = &ingress->ports.at[i];

		hbus_log("%s: filter in the %s", port->iface[0] ? port->iface : port->name,
			 port->filter ? "driver (XDP)" : "poll loop");
	}
	hbus_log("ready: %u port%s, %u poll loop%s", ingress->ports.n,
		 ingress->ports.n == 1 ? "" : "s", ingress->n_loops,
		 ingress->n_loops == 1 ? "" : "s");
}

/* Before the pilot's thread has the filters to itself. */
static int start_tcp(struct ingress *ingress)
{
	int r = hbus_tcp_new(ingress->options, &ingress->ports, ingress->n_loops, &ingress->tcp);

	if (r < 0)
		return r;
	for (unsigned int i = 0; i < ingress->n_loops; i++)
		ingress->loops[i].tap = hbus_tcp_tap(ingress->tcp, i);
	return hbus_tcp_start(ingress->tcp);
}

static int start(struct ingress *ingress)
{
	int r = hbus_options_eal(ingress->options, &ingress->eal_args);

	if (r == 0)
		r = hbus_options_pin_control(ingress->options);
	if (r == 0)
		r = hbus_pilot_new(ingress->options, &ingress->pilot);
	if (r == 0)
		r = start_eal(&ingress->eal_args);
	if (r < 0)
		return r;
	hbus_loop_clock_init(&ingress->shared);
	r = hbus_ports_init(&ingress->ports, ingress->options);
	if (r == 0)
		r = make_loops(ingress);
	if (r < 0)
		return r;
	ingress->shared.pool = ingress->ports.pool;
	hbus_pilot_settle(ingress->pilot);
	r = hbus_ports_start(&ingress->ports);
	if (r < 0)
		return r;
	hbus_ports_spread(&ingress->ports, ingress->options, ingress->loops, ingress->n_loops);
	hbus_pilot_ports(ingress->pilot, &ingress->ports);
	r = start_tcp(ingress);
	if (r == 0)
		r = hbus_pilot_start(ingress->pilot);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < ingress->n_loops; i++)
		rte_eal_remote_launch(hbus_loop_run, &ingress->loops[i],
				      ingress->loops[i].lcore_id);
	return 0;
}

/* ---- the main thread's loop ------------------------------------------------------------- */

/* Wakes readers of the loops that have been busy. Return: whether any has. */
static bool look_at_loops(struct ingress *ingress)
{
	bool is_busy = false;

	for (unsigned int i = 0; i < ingress->n_loops; i++) {
		/* relaxed: written by the loop after its commit; a late look costs one tick */
		uint64_t busy_ns = atomic_load_explicit(&ingress->loops[i].busy_ns,
							memory_order_relaxed);

		if (busy_ns == ingress->seen_ns[i])
			continue;
		ingress->seen_ns[i] = busy_ns;
		is_busy = true;
		if (!ingress->options->wakes_inline)
			hbus_pilot_wake(ingress->pilot, i);
	}
	if (is_busy)
		ingress->busy_ns = hbus_loop_clock(&ingress->shared);
	return is_busy;
}

static void do_chores(struct ingress *ingress, uint64_t now_ns)
{
	if (now_ns - ingress->chores_ns < CHORES_NS)
		return;
	ingress->chores_ns = now_ns;
	hbus_pilot_publish_counters(ingress->pilot);
	if (now_ns - ingress->filters_ns < FILTERS_NS)
		return;
	ingress->filters_ns = now_ns;
	hbus_pilot_check_filters(ingress->pilot);
}

static bool is_done(const struct ingress *ingress, uint64_t now_ns)
{
	const struct hbus_ingress_options *options = ingress->options;

	if (options->seconds > 0 &&
	    (double)(now_ns - ingress->start_ns) >= options->seconds * 1e9)
		return true;
	if (options->idle_exit > 0 &&
	    (double)(now_ns - ingress->busy_ns) >= options->idle_exit * 1e9)
		return true;
	return options->count > 0 &&
	       hbus_counters_sum(ingress->pilot, HBUS_CELL_RECEIVED) >= options->count;
}

/* Until a signal or one of the ends that were asked for. */
static void serve(struct ingress *ingress)
{
	sigset_t signals;
	bool is_busy = true;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	ingress->start_ns = ingress->busy_ns = hbus_loop_clock(&ingress->shared);
	for (;;) {
		struct timespec tick = { .tv_nsec = is_busy ? TICK_BUSY_NS : TICK_IDLE_NS };
		int signal_number = sigtimedwait(&signals, NULL, &tick);
		uint64_t now_ns;

		if (signal_number == SIGTERM || signal_number == SIGINT)
			return;
		if (signal_number == SIGHUP)
			hbus_pilot_replace_filters(ingress->pilot);
		is_busy = look_at_loops(ingress);
		now_ns = hbus_loop_clock(&ingress->shared);
		do_chores(ingress, now_ns);
		if (is_done(ingress, now_ns))
			return;
	}
}

/* ---- stop ------------------------------------------------------------------------------ */

/* What is on its way is still published: the filters let nothing more in, the loops go on. */
static void run_dry(struct ingress *ingress)
{
	uint64_t begin_ns, now_ns, max_ns = DRY_MAX_UNFILTERED_NS;

	for (unsigned int i = 0; i < ingress->ports.n; i++)
		if (ingress->ports.at[i].filter)
			max_ns = DRY_MAX_NS;

	hbus_pilot_stop(ingress->pilot);
	begin_ns = now_ns = ingress->busy_ns = hbus_loop_clock(&ingress->shared);
	while (now_ns - ingress->busy_ns < DRY_NS && now_ns - begin_ns < max_ns) {
		nanosleep(&(struct timespec){ .tv_nsec = TICK_IDLE_NS }, NULL);
		(void)look_at_loops(ingress);
		now_ns = hbus_loop_clock(&ingress->shared);
	}
}

static void stop(struct ingress *ingress)
{
	/* First, while its clients can still be heard. */
	hbus_tcp_stop(ingress->tcp);
	run_dry(ingress);
	hbus_pilot_stop_gateway(ingress->pilot);
	/* relaxed: nothing but the stop itself is told by this word */
	atomic_store_explicit(&ingress->shared.is_stopped, 1, memory_order_relaxed);
	rte_eal_mp_wait_lcore();
	hbus_pilot_finish_gateway(ingress->pilot);
	hbus_pilot_passive_stop(ingress->pilot);
	(void)look_at_loops(ingress);
	hbus_pilot_publish_counters(ingress->pilot);
	if (ingress->options->prints_json)
		hbus_pilot_report(ingress->pilot, stdout,
				    (double)(hbus_loop_clock(&ingress->shared) -
					     ingress->start_ns) / 1e9, ingress->tcp);
}

static int poll_process(const struct hbus_ingress_options *options)
{
	static struct ingress ingress;
	int r;

	ingress.options = options;
	r = start(&ingress);
	if (r == 0) {
		say_ready(&ingress);
		serve(&ingress);
		stop(&ingress);
	}
	ingress.tcp = hbus_tcp_free(ingress.tcp);
	hbus_ports_deinit(&ingress.ports);
	hbus_pilot_free(ingress.pilot);
	rte_eal_cleanup();
	hbus_options_eal_free(&ingress.eal_args);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static struct hbus_ingress_options options;

	hbus_stdout_check();
	hbus_options_parse(argc, argv, &options);
	return hbus_guard_run(&options, poll_process);
}
