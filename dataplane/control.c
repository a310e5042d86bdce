/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From what the bus says to what the poll loops and the filters do.
 */
#include "dataplane/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define URCU_API_MAP
#include <urcu/urcu-qsbr.h>

#include "dataplane/control_pvt.h"
#include "dataplane/counters.h"
#include "dataplane/log.h"

#define RETRY_NS UINT64_C(1000000000)
#define SETTLE_STEP_NS 10000000L
/* Steps without news until the first plan is taken for whole, and the most there can be. */
enum { SETTLE_QUIET_STEPS = 20, SETTLE_STEPS_MAX = 300 };

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static int fail(const char *what)
{
	hbus_log("%s: %s", what, hbus_error_text());
	return -EIO;
}

/* ---- what the bus says (library's thread) ------------------------------------------------ */

static void note_change(struct hbus_control *control, int r, const char *what, const char *name)
{
	/* relaxed: the lock orders the directory, this is a hint to look */
	atomic_fetch_add_explicit(&control->n_changes, 1, memory_order_relaxed);
	if (r == 0)
		return;
	hbus_log("%s %s: %s", what, name,
		r == HBUS_DIRECTORY_FULL      ? "too many"
		: r == HBUS_DIRECTORY_INVALID ? "not valid"
					      : strerror(-r));
}

static void on_route(void *context, const struct hbus_route *route, int is_set)
{
	struct hbus_control *control = context;
	int r;

	pthread_mutex_lock(&control->lock);
	r = hbus_directory_route(control->directory, route, is_set);
	note_change(control, r == HBUS_DIRECTORY_UNKNOWN ? 0 : r, "route to", route->topic);
	pthread_mutex_unlock(&control->lock);
}

static void on_interest(void *context, hbus_topic_t topic, const char *name, int is_wanted)
{
	struct hbus_control *control = context;

	(void)topic;
	pthread_mutex_lock(&control->lock);
	(void)hbus_directory_interest(control->directory, name, is_wanted);
	note_change(control, 0, "interest in", name);
	pthread_mutex_unlock(&control->lock);
}

static void on_source(void *context, const struct hbus_source_rule *rule)
{
	struct hbus_control *control = context;
	int r;

	pthread_mutex_lock(&control->lock);
	r = hbus_directory_source(control->directory, rule);
	note_change(control, r == HBUS_DIRECTORY_UNKNOWN ? 0 : r, "source", "rule");
	pthread_mutex_unlock(&control->lock);
}

/* ---- life ------------------------------------------------------------------------------ */

static int listen_to_bus(struct hbus_control *control)
{
	const struct hbus_options options = {
		.struct_size = sizeof(options),
		.flags = HBUS_OPEN_WANTS_INTEREST | HBUS_OPEN_WANTS_ROUTES,
		.name = control->options->name,
	};

	if (hbus_open(control->options->socket, &options, &control->bus) < 0)
		return fail("the bus");
	if (hbus_set_interest_handler(control->bus, on_interest, control) < 0 ||
	    hbus_set_source_handler(control->bus, on_source, control) < 0 ||
	    hbus_set_route_handler(control->bus, on_route, control) < 0)
		return fail("routes of the bus");
	return 0;
}

int hbus_control_new(const struct hbus_ingress_options *options, struct hbus_control **ret_control)
{
	struct hbus_control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return -ENOMEM;
	control->options = options;
	pthread_mutex_init(&control->lock, NULL);
	r = hbus_directory_new(&control->directory);
	if (r == 0)
		r = listen_to_bus(control);
	if (r != 0) {
		hbus_control_free(control);
		return r;
	}
	*ret_control = control;
	return 0;
}

struct hbus_control *hbus_control_free(struct hbus_control *control)
{
	if (!control)
		return NULL;
	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		hbus_steer_free(control->steers[i]);
	for (unsigned int i = 0; i < control->n_loops; i++) {
		hbus_worker_deinit(&control->loops[i].worker);
		hbus_loop_deinit(&control->loops[i]);
		hbus_bus_sink_deinit(&control->sinks[i]);
	}
	free(control->sinks);
	if (control->shared)
		control->shared->plan = hbus_plan_free(control->shared->plan);
	if (control->bus)
		hbus_close(control->bus);
	if (control->owns_cells)
		free(control->cells);
	hbus_directory_free(control->directory);
	pthread_mutex_destroy(&control->lock);
	free(control);
	return NULL;
}

static int make_worker(struct hbus_control *control, unsigned int i)
{
	struct hbus_loop *loop = &control->loops[i];
	struct hbus_bus_sink *sink = &control->sinks[i];
	uint64_t secret = 0;

	(void)!getrandom(&secret, sizeof(secret), GRND_NONBLOCK);
	if (hbus_loop_init(loop, control->shared) < 0)
		return -ENOMEM;
	if (hbus_bus_sink_init(sink, control->bus, &control->options->own_rings,
			       control->options->wakes_inline) != 0) {
		hbus_loop_deinit(loop);
		return fail("publish");
	}
	if (hbus_worker_init(&loop->worker, control->cells + i * HBUS_N_WORKER_CELLS, &sink->sink,
			     secret) < 0) {
		hbus_bus_sink_deinit(sink);
		hbus_loop_deinit(loop);
		return -ENOMEM;
	}
	control->n_loops++;
	return 0;
}

int hbus_control_workers(struct hbus_control *control, struct hbus_loop_shared *shared,
			 struct hbus_loop *loops, unsigned int n, unsigned int n_ports)
{
	int r;

	control->shared = shared;
	control->loops = loops;
	control->sinks = calloc(n, sizeof(*control->sinks));
	if (!control->sinks)
		return -ENOMEM;
	r = hbus_counters_open(control, n, n_ports);
	for (unsigned int i = 0; i < n && r == 0; i++)
		r = make_worker(control, i);
	return r;
}

void hbus_control_ports(struct hbus_control *control, const struct hbus_ports *ports)
{
	control->ports = ports;
	for (unsigned int i = 0; i < ports->n; i++)
		if (ports->at[i].filter)
			(void)hbus_steer_new(&ports->at[i], &control->steers[i]);
	/* relaxed: only a hint to look, and this thread is the one that looks */
	atomic_fetch_add_explicit(&control->n_changes, 1, memory_order_relaxed);
}

/* ---- updates --------------------------------------------------------------------------- */

/* Asks without the lock: the library's thread may need it to bring the answer. */
static bool name_topic(struct hbus_control *control, uint32_t number, const char *name)
{
	for (unsigned int i = 0; i < control->n_loops; i++) {
		if (hbus_bus_sink_name(&control->sinks[i], number, name) == 0)
			continue;
		hbus_log("topic %s: %s", name, hbus_error_text());
		return false;
	}
	return true;
}

static unsigned int name_topics(struct hbus_control *control)
{
	uint32_t cursor = 0;
	unsigned int n_failed = 0;

	for (;;) {
		const struct hbus_directory_topic *topic;
		struct hbus_directory_topic copy;

		pthread_mutex_lock(&control->lock);
		topic = hbus_directory_next_unnamed(control->directory, &cursor);
		if (topic)
			copy = *topic;
		pthread_mutex_unlock(&control->lock);
		if (!topic)
			return n_failed;
		if (!name_topic(control, copy.counter_idx, copy.name)) {
			n_failed++;
			continue;
		}
		pthread_mutex_lock(&control->lock);
		hbus_directory_name(control->directory, copy.counter_idx, copy.counter_idx);
		pthread_mutex_unlock(&control->lock);
	}
}

static unsigned int swap_plan(struct hbus_control *control)
{
	struct hbus_plan *plan = NULL, *old = control->shared->plan;
	int r = hbus_directory_plan(control->directory, &plan);

	if (r != 0) {
		hbus_log("routes: %s",
			r < 0 ? strerror(-r) : "not valid together");
		return 1;
	}
	rcu_assign_pointer(control->shared->plan, plan);
	synchronize_rcu();
	hbus_plan_free(old);
	return 0;
}

static unsigned int follow_directory(struct hbus_control *control)
{
	unsigned int n_failed = 0;

	pthread_mutex_lock(&control->lock);
	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		if (control->steers[i])
			n_failed += hbus_steer_remove(control->steers[i], control->directory);
	n_failed += swap_plan(control);
	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		if (control->steers[i])
			n_failed += hbus_steer_add(control->steers[i], control->directory);
	pthread_mutex_unlock(&control->lock);
	return n_failed;
}

bool hbus_control_update(struct hbus_control *control)
{
	/* relaxed: a hint; the lock orders what it hints at */
	uint64_t n_changes = atomic_load_explicit(&control->n_changes, memory_order_relaxed);
	unsigned int n_failed;

	if (n_changes == control->n_changes_done &&
	    (control->retry_at_ns == 0 || now_ns() < control->retry_at_ns))
		return false;
	n_failed = name_topics(control);
	n_failed += follow_directory(control);
	control->n_changes_done = n_changes;
	control->retry_at_ns = n_failed > 0 ? now_ns() + RETRY_NS : 0;
	return true;
}

void hbus_control_settle(struct hbus_control *control)
{
	unsigned int n_quiet = 0;

	for (unsigned int i = 0; i < SETTLE_STEPS_MAX && n_quiet < SETTLE_QUIET_STEPS; i++) {
		n_quiet = hbus_control_update(control) ? 0 : n_quiet + 1;
		nanosleep(&(struct timespec){ .tv_nsec = SETTLE_STEP_NS }, NULL);
	}
}

void hbus_control_dry(struct hbus_control *control)
{
	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		if (control->steers[i])
			hbus_steer_dry(control->steers[i]);
}

void hbus_control_wake(struct hbus_control *control, unsigned int loop_idx)
{
	hbus_bus_sink_wake(&control->sinks[loop_idx]);
}
