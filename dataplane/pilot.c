/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From what the bus says to what the poll loops and the filters do.
 */
#include "dataplane/pilot.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define URCU_API_MAP
#include <urcu/urcu-qsbr.h>

#include "dataplane/pilot_pvt.h"
#include "dataplane/counters.h"
#include "dataplane/log.h"
#include "dataplane/passive/mirror.h"

#define RETRY_NS UINT64_C(1000000000)
#define JOIN_NS UINT64_C(2000000000)
#define UPDATE_STEP_NS 1000000L
#define SETTLE_STEP_NS 10000000L
/* Names are asked for so long before loops and filters follow with those that are there. */
#define NAMING_NS UINT64_C(20000000)
/* Times that the directory may change while loops are waited for, until nobody may change it meanwhile. */
enum { FOLLOW_TRIES = 3 };
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

static void note_change(struct hbus_pilot *pilot, int r, const char *what, const char *name)
{
	/* relaxed: the lock orders the directory, this is a hint to look */
	atomic_fetch_add_explicit(&pilot->n_changes, 1, memory_order_relaxed);
	if (r == 0)
		return;
	hbus_log("%s %s: %s", what, name,
		r == HBUS_DIRECTORY_FULL      ? "too many"
		: r == HBUS_DIRECTORY_INVALID ? "not valid"
					      : strerror(-r));
}

static void on_route(void *context, const struct hbus_route *route, int is_set)
{
	struct hbus_pilot *pilot = context;
	int r;

	pthread_mutex_lock(&pilot->lock);
	r = hbus_directory_route(pilot->directory, route, is_set);
	note_change(pilot, r == HBUS_DIRECTORY_UNKNOWN ? 0 : r, "route to", route->topic);
	pthread_mutex_unlock(&pilot->lock);
}

static void on_interest(void *context, hbus_topic_t topic, const char *name, int is_wanted)
{
	struct hbus_pilot *pilot = context;

	(void)topic;
	pthread_mutex_lock(&pilot->lock);
	(void)hbus_directory_interest(pilot->directory, name, is_wanted);
	note_change(pilot, 0, "interest in", name);
	pthread_mutex_unlock(&pilot->lock);
}

static void on_source(void *context, const struct hbus_source_rule *rule)
{
	struct hbus_pilot *pilot = context;
	int r;

	pthread_mutex_lock(&pilot->lock);
	r = hbus_directory_source(pilot->directory, rule);
	note_change(pilot, r == HBUS_DIRECTORY_UNKNOWN ? 0 : r, "source", "rule");
	pthread_mutex_unlock(&pilot->lock);
}

/* ---- life ------------------------------------------------------------------------------ */

static int listen_to_bus(struct hbus_pilot *pilot)
{
	const struct hbus_options options = {
		.struct_size = sizeof(options),
		.flags = HBUS_OPEN_WANTS_INTEREST | HBUS_OPEN_WANTS_ROUTES,
		.name = pilot->options->name,
	};

	if (hbus_open(pilot->options->socket, &options, &pilot->bus) < 0)
		return fail("the bus");
	if (hbus_set_interest_handler(pilot->bus, on_interest, pilot) < 0 ||
	    hbus_set_source_handler(pilot->bus, on_source, pilot) < 0 ||
	    hbus_set_route_handler(pilot->bus, on_route, pilot) < 0)
		return fail("routes of the bus");
	return 0;
}

int hbus_pilot_new(const struct hbus_ingress_options *options, struct hbus_pilot **ret_pilot)
{
	struct hbus_pilot *pilot = calloc(1, sizeof(*pilot));
	int r;

	if (!pilot)
		return -ENOMEM;
	pilot->options = options;
	pthread_mutex_init(&pilot->lock, NULL);
	r = hbus_directory_new(&pilot->directory);
	if (r == 0)
		r = hbus_sn_gateway_routes(options, pilot->directory);
	if (r == 0)
		r = listen_to_bus(pilot);
	if (r != 0) {
		hbus_pilot_free(pilot);
		return r;
	}
	*ret_pilot = pilot;
	return 0;
}

/* It may be inside a call to a daemon that does not answer: then it is left to itself, and goes with the process. */
static void join_thread(struct hbus_pilot *pilot)
{
	uint64_t until_ns = now_ns() + JOIN_NS;
	struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000U),
				  .tv_nsec = (long)(until_ns % 1000000000U) };

	if (!pilot->has_thread)
		return;
	/* Under the lock: from now on it does not begin to change filters. relaxed: the lock orders it */
	pthread_mutex_lock(&pilot->lock);
	atomic_store_explicit(&pilot->is_stopping, 1, memory_order_relaxed);
	pthread_mutex_unlock(&pilot->lock);
	if (pthread_clockjoin_np(pilot->thread, NULL, CLOCK_MONOTONIC, &until) == 0)
		pilot->has_thread = false;
	else
		hbus_log("the daemon does not answer: ending without it");
}

static bool is_stopping(const struct hbus_pilot *pilot)
{
	/* relaxed: nothing but the stop itself is told by this word */
	return atomic_load_explicit(&pilot->is_stopping, memory_order_relaxed);
}

struct hbus_pilot *hbus_pilot_free(struct hbus_pilot *pilot)
{
	if (!pilot)
		return NULL;
	if (!is_stopping(pilot))
		join_thread(pilot);
	/* It still uses all of this. */
	if (pilot->has_thread)
		return NULL;
	pilot->gateway = hbus_sn_gateway_free(pilot->gateway);
	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		hbus_steer_free(pilot->steers[i]);
	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		if (pilot->mirror_fds[i] > 0)
			close(pilot->mirror_fds[i]);
	for (unsigned int i = 0; i < pilot->n_loops; i++) {
		hbus_worker_deinit(&pilot->loops[i].worker);
		hbus_loop_deinit(&pilot->loops[i]);
		hbus_bus_sink_deinit(&pilot->sinks[i]);
	}
	free(pilot->sinks);
	if (pilot->shared)
		pilot->shared->plan = hbus_plan_free(pilot->shared->plan);
	pilot->passive = hbus_passive_free(pilot->passive);
	if (pilot->bus)
		hbus_close(pilot->bus);
	if (pilot->owns_cells)
		free(pilot->cells);
	hbus_directory_free(pilot->directory);
	pthread_mutex_destroy(&pilot->lock);
	free(pilot);
	return NULL;
}

static int make_worker(struct hbus_pilot *pilot, unsigned int i)
{
	struct hbus_loop *loop = &pilot->loops[i];
	struct hbus_bus_sink *sink = &pilot->sinks[i];
	uint64_t secret = 0;

	(void)!getrandom(&secret, sizeof(secret), GRND_NONBLOCK);
	if (hbus_loop_init(loop, pilot->shared) < 0)
		return -ENOMEM;
	if (hbus_bus_sink_init(sink, pilot->bus, &pilot->options->own_rings,
			       pilot->options->wakes_inline) != 0) {
		hbus_loop_deinit(loop);
		return fail("publish");
	}
	if (hbus_worker_init(&loop->worker, pilot->cells + i * HBUS_N_WORKER_CELLS, &sink->sink,
			     secret) < 0) {
		hbus_bus_sink_deinit(sink);
		hbus_loop_deinit(loop);
		return -ENOMEM;
	}
	pilot->n_loops++;
	return 0;
}

/* ---- passive MQTT ---------------------------------------------------------------------- */

/* A file waits for its reader; the wire does not. */
static bool is_all_files(const struct hbus_ingress_options *options)
{
	return options->pcaps.n > 0 && options->ifaces.n == 0 && options->vdevs.n == 0 &&
	       options->n_eal_args == 0;
}

static int make_passive(struct hbus_pilot *pilot)
{
	const struct hbus_ingress_options *options = pilot->options;
	struct hbus_passive_options passive = {
		.bus = pilot->bus,
		.n_ports = options->n_passive_ports,
		.n_feeds = pilot->n_loops,
		.waits = is_all_files(options),
	};
	int r;

	if (options->n_passive_ports == 0)
		return 0;
	memcpy(passive.ports, options->passive_ports, sizeof(passive.ports));
	r = hbus_passive_new(&passive, &pilot->passive);
	if (r != 0)
		return fail("passive MQTT");
	for (unsigned int i = 0; i < pilot->n_loops; i++)
		pilot->loops[i].worker.feed = hbus_passive_feed(pilot->passive, i);
	return 0;
}

/* With a filter in the driver only what was sent to others is read: the kernel's own TCP stays the kernel's. */
static void tap_port(struct hbus_pilot *pilot, unsigned int i)
{
	const struct hbus_port *port = &pilot->ports->at[i];
	uint8_t mac[6];
	int fd = hbus_mirror_open(port->iface, port->ifindex, mac);

	if (fd < 0) {
		hbus_log("%s: nothing is read passively: %s", port->iface, strerror(-fd));
		return;
	}
	pilot->mirror_fds[i] = fd;
	hbus_steer_tap(pilot->steers[i], pilot->options->passive_ports, pilot->options->n_passive_ports, mac);
	hbus_log("%s: mirrored TCP is read passively; what is sent to this interface itself stays the kernel's", port->iface);
}

void hbus_pilot_passive_stop(struct hbus_pilot *pilot)
{
	if (pilot->passive)
		hbus_passive_stop(pilot->passive);
}

/* ---- workers ---------------------------------------------------------------------------- */

int hbus_pilot_workers(struct hbus_pilot *pilot, struct hbus_loop_shared *shared,
			 struct hbus_loop *loops, unsigned int n, unsigned int n_ports)
{
	int r;

	pilot->shared = shared;
	pilot->loops = loops;
	pilot->sinks = calloc(n, sizeof(*pilot->sinks));
	if (!pilot->sinks)
		return -ENOMEM;
	r = hbus_counters_open(pilot, n, n_ports);
	for (unsigned int i = 0; i < n && r == 0; i++)
		r = make_worker(pilot, i);
	if (r == 0)
		r = make_passive(pilot);
	if (r == 0)
		r = hbus_sn_gateway_new(pilot->options, pilot, loops, n, &pilot->gateway);
	return r;
}

/* ---- ports ----------------------------------------------------------------------------- */

void hbus_pilot_ports(struct hbus_pilot *pilot, const struct hbus_ports *ports)
{
	pilot->ports = ports;
	hbus_sn_gateway_ports(pilot->gateway, ports);
	for (unsigned int i = 0; i < ports->n; i++)
		if (ports->at[i].filter && hbus_steer_new(&ports->at[i], &pilot->steers[i]) == 0 && pilot->passive)
			tap_port(pilot, i);
	/* relaxed: only a hint to look, and this thread is the one that looks */
	atomic_fetch_add_explicit(&pilot->n_changes, 1, memory_order_relaxed);
}

struct hbus *hbus_pilot_bus(struct hbus_pilot *pilot)
{
	return pilot->bus;
}

int hbus_pilot_use(struct hbus_pilot *pilot, const char *topic, uint32_t *ret_number)
{
	bool is_new = false;
	int r;

	pthread_mutex_lock(&pilot->lock);
	r = hbus_directory_use(pilot->directory, topic, ret_number, &is_new);
	if (r == 0 && is_new)
		note_change(pilot, 0, "topic", topic);
	pthread_mutex_unlock(&pilot->lock);
	return r;
}

void hbus_pilot_unuse(struct hbus_pilot *pilot, const char *topic)
{
	pthread_mutex_lock(&pilot->lock);
	hbus_directory_unuse(pilot->directory, topic);
	pthread_mutex_unlock(&pilot->lock);
}

/* ---- updates --------------------------------------------------------------------------- */

/* Asks without the lock: the library's thread may need it to bring the answer. */
static bool name_topic(struct hbus_pilot *pilot, uint32_t number, const char *name)
{
	for (unsigned int i = 0; i < pilot->n_loops; i++) {
		if (hbus_bus_sink_name(&pilot->sinks[i], number, name) == 0)
			continue;
		hbus_log("topic %s: %s", name, hbus_error_text());
		return false;
	}
	return true;
}

/* By the main thread, or by a signal that it has not taken yet: it is blocked, and waits for the process. */
static bool is_told_to_end(const struct hbus_pilot *pilot)
{
	sigset_t pending;

	if (is_stopping(pilot))
		return true;
	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

/*
 * Goes on where it has stopped. Who registers names without an end does not keep those waiting that have theirs.
 * Return: how many failed; the cursor is 0 when it has come to the end.
 */
static unsigned int name_topics(struct hbus_pilot *pilot)
{
	uint64_t until_ns = now_ns() + NAMING_NS;
	unsigned int n_failed = 0;

	do {
		const struct hbus_directory_topic *topic;
		struct hbus_directory_topic copy;

		/* Each call would wait for a daemon that is away, or that does not answer. */
		if (!hbus_is_connected(pilot->bus) || is_told_to_end(pilot)) {
			pilot->name_cursor = 0;
			return n_failed + 1;
		}
		pthread_mutex_lock(&pilot->lock);
		topic = hbus_directory_next_unnamed(pilot->directory, &pilot->name_cursor);
		if (topic)
			copy = *topic;
		pthread_mutex_unlock(&pilot->lock);
		if (!topic) {
			pilot->name_cursor = 0;
			return n_failed;
		}
		if (!name_topic(pilot, copy.counter_idx, copy.name)) {
			n_failed++;
			continue;
		}
		pthread_mutex_lock(&pilot->lock);
		hbus_directory_name(pilot->directory, copy.counter_idx, copy.counter_idx);
		pthread_mutex_unlock(&pilot->lock);
	} while (now_ns() < until_ns);
	return n_failed;
}

/* What the directory says now, for the loops. Return: how many changes failed; *ret_old is to be freed after them. */
static unsigned int begin_plan(struct hbus_pilot *pilot, struct hbus_plan **ret_old)
{
	struct hbus_plan *plan = NULL;
	unsigned int n_failed = 0;
	int r;

	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		if (pilot->steers[i])
			n_failed += hbus_steer_remove(pilot->steers[i], pilot->directory);
	r = hbus_directory_plan(pilot->directory, &plan);
	if (r != 0) {
		hbus_log("routes: %s",
			r < 0 ? strerror(-r) : "not valid together");
		return n_failed + 1;
	}
	*ret_old = pilot->shared->plan;
	rcu_assign_pointer(pilot->shared->plan, plan);
	return n_failed;
}

static unsigned int end_plan(struct hbus_pilot *pilot)
{
	unsigned int n_failed = 0;

	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		if (pilot->steers[i])
			n_failed += hbus_steer_add(pilot->steers[i], pilot->directory);
	hbus_sn_gateway_follow(pilot->gateway, pilot->directory);
	hbus_counters_plan(pilot);
	return n_failed;
}

/*
 * The loops are waited for without the lock: one may be without a CPU for long, and MQTT-SN clients wait for whoever
 * waits for the lock. When the directory has changed meanwhile, filters would be told of what no plan knows.
 * Return: how many changes failed.
 */
static unsigned int follow_directory(struct hbus_pilot *pilot)
{
	unsigned int n_failed = 0;
	bool is_over = false;

	pthread_mutex_lock(&pilot->lock);
	for (unsigned int i = 0; !is_over && !is_stopping(pilot); i++) {
		/* relaxed, both: they change under the lock */
		uint64_t n_changes = atomic_load_explicit(&pilot->n_changes, memory_order_relaxed);
		struct hbus_plan *old = NULL;

		n_failed = begin_plan(pilot, &old);
		if (i < FOLLOW_TRIES)
			pthread_mutex_unlock(&pilot->lock);
		synchronize_rcu();
		if (i < FOLLOW_TRIES)
			pthread_mutex_lock(&pilot->lock);
		hbus_plan_free(old);
		is_over = i >= FOLLOW_TRIES ||
			  n_changes == atomic_load_explicit(&pilot->n_changes, memory_order_relaxed);
	}
	/* When it is stopping, the filters let everything by already, or soon. */
	if (!is_stopping(pilot))
		n_failed += end_plan(pilot);
	pthread_mutex_unlock(&pilot->lock);
	return n_failed;
}

/* Cheap when nothing has changed. Return: whether there was anything to do. */
static bool update(struct hbus_pilot *pilot)
{
	/* relaxed: a hint; the lock orders what it hints at */
	uint64_t n_changes = atomic_load_explicit(&pilot->n_changes, memory_order_relaxed);
	unsigned int n_failed;

	if (n_changes == pilot->n_changes_done &&
	    (pilot->retry_at_ns == 0 || now_ns() < pilot->retry_at_ns))
		return false;
	if (pilot->name_cursor == 0)
		pilot->has_failed = false;
	n_failed = name_topics(pilot);
	n_failed += follow_directory(pilot);
	pilot->has_failed |= n_failed > 0;
	/* With names left to ask for, it is not done. */
	pilot->n_changes_done = pilot->name_cursor == 0 ? n_changes : n_changes - 1;
	pilot->retry_at_ns = pilot->has_failed ? now_ns() + RETRY_NS : 0;
	return true;
}

void hbus_pilot_settle(struct hbus_pilot *pilot)
{
	unsigned int n_quiet = 0;

	for (unsigned int i = 0; i < SETTLE_STEPS_MAX && n_quiet < SETTLE_QUIET_STEPS && !is_told_to_end(pilot); i++) {
		n_quiet = update(pilot) ? 0 : n_quiet + 1;
		nanosleep(&(struct timespec){ .tv_nsec = SETTLE_STEP_NS }, NULL);
	}
}

static void *keep_updated(void *context)
{
	struct hbus_pilot *pilot = context;

	while (!is_stopping(pilot)) {
		(void)update(pilot);
		hbus_sn_gateway_wait(pilot->gateway);
		nanosleep(&(struct timespec){ .tv_nsec = UPDATE_STEP_NS }, NULL);
	}
	return NULL;
}

int hbus_pilot_start(struct hbus_pilot *pilot)
{
	int r;

	(void)update(pilot);
	r = pthread_create(&pilot->thread, NULL, keep_updated, pilot);
	if (r != 0) {
		hbus_log("a thread to follow the bus: %s", strerror(r));
		return -r;
	}
	pilot->has_thread = true;
	return hbus_sn_gateway_start(pilot->gateway);
}

void hbus_pilot_stop(struct hbus_pilot *pilot)
{
	join_thread(pilot);
	pthread_mutex_lock(&pilot->lock);
	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		if (pilot->steers[i])
			hbus_steer_dry(pilot->steers[i]);
	pthread_mutex_unlock(&pilot->lock);
}

void hbus_pilot_stop_gateway(struct hbus_pilot *pilot)
{
	hbus_sn_gateway_stop(pilot->gateway);
}

void hbus_pilot_finish_gateway(struct hbus_pilot *pilot)
{
	hbus_sn_gateway_finish(pilot->gateway);
}

void hbus_pilot_replace_filters(struct hbus_pilot *pilot)
{
	pthread_mutex_lock(&pilot->lock);
	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		if (pilot->steers[i])
			hbus_steer_replace(pilot->steers[i], pilot->options->xdp_object);
	pthread_mutex_unlock(&pilot->lock);
}

void hbus_pilot_check_filters(struct hbus_pilot *pilot)
{
	/* Whoever holds it changes filters, perhaps for long: the next look is soon enough. */
	if (pthread_mutex_trylock(&pilot->lock) != 0)
		return;
	for (unsigned int i = 0; i < HBUS_PORTS_MAX; i++)
		if (pilot->steers[i])
			hbus_steer_check(pilot->steers[i]);
	pthread_mutex_unlock(&pilot->lock);
}

void hbus_pilot_wake(struct hbus_pilot *pilot, unsigned int loop_idx)
{
	hbus_bus_sink_wake(&pilot->sinks[loop_idx]);
}
