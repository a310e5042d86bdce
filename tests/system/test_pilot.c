/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pilot while a poll loop has no CPU: who asks for a topic does not wait for it.
 *
 * The loop is a thread that is known to RCU and announces no quiescent state until it is told to.
 */
#include <pthread.h>
#include <stdatomic.h>

#define URCU_API_MAP
#include <urcu/urcu-qsbr.h>

#include "dataplane/pilot.h"
#include "tests/system/bus.h"

enum { STANDS_MS = 6000, IS_AT_ONCE_MS = 2000, SETTLED_MS = 300 };

static _Atomic bool stands, may_go;
static struct hbus_loop loop;
static struct hbus_loop_shared shared;
static struct hbus_ports ports;
static struct hbus_ingress_options options = { .name = "pilot", .n_workers = 1, .n_queues = 1 };

/* For so long at most, so that who waits for it fails and does not hang. */
static void *stand_still(void *context)
{
	uint64_t until_ms = bus_now_ms() + STANDS_MS;

	(void)context;
	rcu_register_thread();
	/* relaxed, both: nothing but the words themselves is told */
	atomic_store_explicit(&stands, true, memory_order_relaxed);
	while (!atomic_load_explicit(&may_go, memory_order_relaxed) && bus_now_ms() < until_ms)
		bus_sleep_ms(5);
	rcu_unregister_thread();
	return NULL;
}

static pthread_t begin_to_stand(void)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, stand_still, NULL), 0);
	while (!atomic_load_explicit(&stands, memory_order_relaxed)) /* relaxed: as above */
		bus_sleep_ms(1);
	return thread;
}

static struct hbus_pilot *start_pilot(void)
{
	struct hbus_pilot *pilot = NULL;

	options.socket = bus_address;
	OK(hbus_pilot_new(&options, &pilot));
	OK(hbus_pilot_workers(pilot, &shared, &loop, 1, 0));
	hbus_pilot_ports(pilot, &ports);
	OK(hbus_pilot_start(pilot));
	return pilot;
}

static void names_of_the_gateway_do_not_wait_for_a_loop_that_stands(void)
{
	struct hbus_pilot *pilot = start_pilot();
	pthread_t thread = begin_to_stand();
	uint32_t first, second, again;
	uint64_t begin_ms;

	OK(hbus_pilot_use(pilot, "pilot/first", &first));
	bus_sleep_ms(SETTLED_MS); /* by then the updating thread waits for the loop */
	begin_ms = bus_now_ms();
	OK(hbus_pilot_use(pilot, "pilot/second", &second));
	hbus_pilot_publish_counters(pilot);
	hbus_pilot_unuse(pilot, "pilot/second");
	CHECK(bus_now_ms() - begin_ms < IS_AT_ONCE_MS);
	CHECK(first != second);
	atomic_store_explicit(&may_go, true, memory_order_relaxed); /* relaxed: as above */
	pthread_join(thread, NULL);
	OK(hbus_pilot_use(pilot, "pilot/first", &again));
	CHECK_EQ(first, again);
	hbus_pilot_stop(pilot);
	hbus_pilot_free(pilot);
}

int main(int argc, char **argv)
{
	static const struct bus_case cases[] = {
		{ "names_of_the_gateway_do_not_wait_for_a_loop_that_stands",
		  names_of_the_gateway_do_not_wait_for_a_loop_that_stands },
	};

	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
