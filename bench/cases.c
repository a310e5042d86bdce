/* SPDX-License-Identifier: BSD-3-Clause */
/* What hugebus does between processes. See cases.h. */
#include "bench/cases.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/blame.h"
#include "bench/cases_pvt.h"
#include "bench/pace.h"

#define BATCH_MAX_BYTES 65536u
#define SPANS 64u
#define LATENCY_SIZE_MAX 256u
#define READY_MS 5000u
#define PLANT_AFTER 512u /* events; a run with a plant has more, however slow */
#define STALL_AFTER 16u  /* likewise */

int bench_complain(const char *what)
{
	bench_blame("%s: %s", what, hbus_error_text());
	return 1;
}

int bench_open_bus(struct bench_run *run, struct hbus **ret_bus)
{
	return hbus_open(run->socket, NULL, ret_bus) ? bench_complain("open") : 0;
}

int bench_open_publisher(struct bench_run *run, const char *topic, unsigned int n_gates, struct hbus **ret_bus,
			 struct hbus_publisher **ret_publisher, hbus_topic_t *ret_topic)
{
	struct hbus_publisher_options options = {.struct_size = sizeof(options), .timeout_ms = 5000};
	struct hbus_publisher_info info = {0};

	if (bench_open_bus(run, ret_bus))
		return 1;
	if (hbus_publisher_open(*ret_bus, &options, ret_publisher))
		return bench_complain("publisher");
	if (hbus_publisher_topic(*ret_publisher, topic, NULL, NULL, ret_topic))
		return bench_complain(topic);
	for (unsigned int ms = 0; ms < READY_MS; ms++) {
		struct timespec nap = {.tv_nsec = 1000000};

		if (hbus_publisher_info(*ret_publisher, &info))
			return bench_complain("info");
		if (info.n_gates >= n_gates)
			return 0;
		nanosleep(&nap, NULL);
	}
	bench_blame("%u of %u subscribers attached", info.n_gates, n_gates);
	return 1;
}

int bench_open_subscriber(struct bench_run *run, const char *filter, unsigned int flags, struct hbus **ret_bus,
			  struct hbus_subscriber **ret_subscriber)
{
	struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = flags};

	if (bench_open_bus(run, ret_bus))
		return 1;
	if (hbus_subscriber_open(*ret_bus, &options, ret_subscriber))
		return bench_complain("subscriber");
	return hbus_subscribe(*ret_subscriber, filter) ? bench_complain(filter) : 0;
}

static int open_subscriber(struct bench_run *run, const char *filter, struct hbus **ret_bus,
			   struct hbus_subscriber **ret_subscriber)
{
	return bench_open_subscriber(run, filter, HBUS_SUB_FLAG_RELIABLE, ret_bus, ret_subscriber);
}

/* -- throughput -- */

/* Likewise, without a buffer between. */
static int publish_in_place(struct hbus_publisher *publisher, hbus_topic_t topic, const struct bench_case_params *params,
			    unsigned int n, uint64_t *next)
{
	unsigned int size = params->size;
	uint64_t first = *next;

	for (unsigned int i = 0; i < n; i++) {
		void *room;

		if (hbus_reserve(publisher, topic, size, &room))
			return bench_complain("reserve");
		bench_event_fill(room, size, first + i);
		if (__builtin_expect(params->plant == BENCH_PLANT_TORN && first + i >= PLANT_AFTER, 0))
			((unsigned char *)room)[size - 1] ^= 1;
		if (hbus_commit(publisher, size))
			return bench_complain("commit");
	}
	*next += n;
	return 0;
}

static int publish_run_in_place(struct hbus_publisher *publisher, hbus_topic_t topic, const struct bench_case_params *params,
				unsigned int n, uint64_t *next)
{
	unsigned char *room = NULL;

	if (hbus_reserve_run(publisher, topic, params->size, n, (void **)&room))
		return bench_complain("reserve run");
	for (unsigned int k = 0; k < n; k++)
		bench_event_fill(room + (size_t)k * params->size, params->size, *next + k);
	if (params->plant == BENCH_PLANT_TORN && *next >= PLANT_AFTER)
		room[params->size - 1] ^= 1;
	if (hbus_commit_run(publisher, n))
		return bench_complain("commit run");
	*next += n;
	return 0;
}

static int publish_some(struct hbus_publisher *publisher, hbus_topic_t topic, const struct bench_case_params *params,
			unsigned char *buffer, uint64_t *next)
{
	unsigned int n = params->mode == BENCH_SINGLE || params->mode == BENCH_PLACE ? 64 : params->batch;

	if (params->plant == BENCH_PLANT_LOST && *next >= PLANT_AFTER && *next < PLANT_AFTER + n)
		*next += n;
	if (params->plant == BENCH_PLANT_KILLED && *next >= PLANT_AFTER)
		raise(SIGKILL);
	if (params->mode == BENCH_PLACE)
		return publish_in_place(publisher, topic, params, n, next);
	if (params->mode == BENCH_RUN_PLACE)
		return publish_run_in_place(publisher, topic, params, n, next);
	if (params->mode == BENCH_RUN) {
		for (unsigned int i = 0; i < n; i++)
			bench_event_fill(buffer + (size_t)i * params->size, params->size, *next + i);
		if (params->plant == BENCH_PLANT_TORN && *next >= PLANT_AFTER)
			buffer[params->size - 1] ^= 1;
		if (hbus_publish_run(publisher, topic, buffer, params->size, n))
			return bench_complain("publish run");
		*next += n;
		return 0;
	}
	if (params->mode == BENCH_BATCH && hbus_batch_begin(publisher))
		return bench_complain("batch");
	for (unsigned int i = 0; i < n; i++) {
		bench_event_fill(buffer, params->size, *next);
		if (params->plant == BENCH_PLANT_TORN && *next == PLANT_AFTER)
			buffer[params->size - 1] ^= 1;
		if (hbus_publish(publisher, topic, buffer, params->size))
			return bench_complain("publish");
		(*next)++;
	}
	if (params->mode == BENCH_BATCH && hbus_batch_commit(publisher))
		return bench_complain("batch commit");
	return 0;
}

static int throughput_publisher(struct bench_run *run, unsigned int role)
{
	static unsigned char buffer[BATCH_MAX_BYTES];
	const struct bench_case_params *params = run->params;
	struct hbus_publisher *publisher;
	struct hbus *bus;
	hbus_topic_t topic;
	uint64_t n = 0;
	char name[32];

	snprintf(name, sizeof(name), "bench/%u", role);
	if (bench_open_publisher(run, name, params->n_subscribers, &bus, &publisher, &topic))
		return 1;
	bench_barrier(run);
	do {
		if (publish_some(publisher, topic, params, buffer, &n))
			return 1;
	} while (!bench_is_over(run) || (params->plant && n <= PLANT_AFTER));
	atomic_store_explicit(&run->shared->role[role].value[0], n, memory_order_relaxed);
	atomic_fetch_add_explicit(&run->shared->total, n, memory_order_relaxed);
	atomic_fetch_add_explicit(&run->shared->stop, 1, memory_order_release);
	/* The ring stays while somebody may still read it. */
	while (atomic_load_explicit(&run->shared->role[0].value[7], memory_order_acquire) < params->n_subscribers)
		bench_pause();
	hbus_publisher_close(publisher);
	hbus_close(bus);
	return 0;
}

/* Adds what a span holds; returns false when a gap or a torn event shows. */
static bool take_span(const struct hbus_span *span, unsigned int size, uint64_t *next)
{
	uint64_t base = *next, n = span->n_events, words = size / 8, got = 0;

	if (span->size != size)
		return false;
	for (size_t i = 0; i < n; i++)
		got += bench_event_sum(span->data + i * span->stride, size);
	*next += n;
	return got == words * (n * base + (n % 2 ? n * ((n - 1) / 2) : n / 2 * (n - 1)));
}

/* Somebody else is to run on this core as well. */
static bool shares_its_core(const struct bench_run *run, unsigned int role)
{
	for (unsigned int i = 0; i < run->n_roles; i++)
		if (i != role && run->role[i].core == run->role[role].core)
			return true;
	return false;
}

/* Nothing has come: who has a core for itself looks on, others wait, as the library wants it. */
static int await_more(struct hbus_subscriber *subscriber, bool is_shared)
{
	if (is_shared)
		return hbus_wait(subscriber, 1) < 0 ? bench_complain("wait") : 0;
	bench_pause();
	return 0;
}

static int throughput_subscriber(struct bench_run *run, unsigned int role)
{
	bool is_shared = shares_its_core(run, role);
	const struct bench_case_params *params = run->params;
	struct hbus_subscriber *subscriber;
	struct hbus_span spans[SPANS];
	uint64_t next[BENCH_ROLES_MAX] = {0}, n = 0, total = UINT64_MAX, begin;
	struct hbus *bus;

	if (open_subscriber(run, "bench/#", &bus, &subscriber))
		return 1;
	bench_barrier(run);
	begin = bench_now_ns();
	while (n < total) {
		int n_spans = hbus_poll_spans(subscriber, spans, SPANS);

		if (n_spans < 0)
			return bench_complain("poll");
		for (int i = 0; i < n_spans; i++) {
			unsigned int from = (unsigned int)(spans[i].topic[6] - '0');

			if (from >= params->n_publishers || !take_span(&spans[i], params->size, &next[from])) {
				bench_blame("wrong content at event %" PRIu64, n);
				return 1;
			}
			n += spans[i].n_events;
		}
		if (n_spans == 0) {
			if (await_more(subscriber, is_shared))
				return 1;
			if (atomic_load_explicit(&run->shared->stop, memory_order_acquire) == params->n_publishers)
				total = atomic_load_explicit(&run->shared->total, memory_order_relaxed);
		}
	}
	atomic_store_explicit(&run->shared->role[role].value[0], n, memory_order_relaxed);
	atomic_store_explicit(&run->shared->role[role].value[1], bench_now_ns() - begin, memory_order_relaxed);
	atomic_fetch_add_explicit(&run->shared->role[0].value[7], 1, memory_order_release);
	hbus_subscriber_close(subscriber);
	hbus_close(bus);
	return 0;
}

double bench_case_throughput(struct bench_run *run, const struct bench_cores *cores, const struct bench_case_params *params,
			     double *ret_total)
{
	double slowest = 0, total = 0;

	run->params = params;
	run->n_roles = params->n_publishers + params->n_subscribers;
	for (unsigned int i = 0; i < params->n_stopped; i++)
		run->role[run->n_roles + i] = (struct bench_role){bench_stopped_reader, cores->core[0]};
	for (unsigned int i = 0; i < run->n_roles; i++)
		run->role[i] = (struct bench_role){i < params->n_publishers ? throughput_publisher : throughput_subscriber,
						   cores->core[i % cores->n]};
	run->n_roles += params->n_stopped;
	if (bench_run_roles(run))
		return 0;
	for (unsigned int i = params->n_publishers; i < params->n_publishers + params->n_subscribers; i++) {
		uint64_t events = atomic_load_explicit(&run->shared->role[i].value[0], memory_order_relaxed);
		uint64_t ns = atomic_load_explicit(&run->shared->role[i].value[1], memory_order_relaxed);
		double rate = ns ? (double)events * 1e9 / (double)ns : 0;

		total += rate;
		if (i == params->n_publishers || rate < slowest)
			slowest = rate;
	}
	*ret_total = total;
	return slowest;
}

/* -- latency -- */

static int send_event(struct hbus_publisher *publisher, hbus_topic_t topic, unsigned int size, uint64_t value)
{
	unsigned char data[LATENCY_SIZE_MAX];

	bench_event_fill(data, size, value);
	return hbus_publish(publisher, topic, data, size) ? bench_complain("publish") : 0;
}

/* Spins until event @wanted has come; checks it whole. Return: its value, or 0 on a fault. */
static uint64_t await_event(struct hbus_subscriber *subscriber, unsigned int size)
{
	struct hbus_event event;
	unsigned int spins = 0;
	uint64_t value;

	for (;;) {
		int n = hbus_poll(subscriber, &event, 1);

		if (n < 0)
			return 0;
		if (n == 1)
			break;
		bench_pause(); /* as the probe does */
		if (++spins % 4096 == 0) {
			struct timespec nap = {0};

			nanosleep(&nap, NULL);
		}
	}
	memcpy(&value, event.data, 8);
	if (event.size != size || bench_event_sum(event.data, size) != value * (size / 8))
		return 0;
	return value;
}

#define LAST_VALUE (UINT64_MAX / 65536)

/* Before what is the @n-th. */
static void stall_if_planted(const struct bench_case_params *params, uint64_t n)
{
	struct timespec nap = {.tv_nsec = BENCH_STALL_NS};

	if (params->plant == BENCH_PLANT_STALL && n == STALL_AFTER)
		nanosleep(&nap, NULL);
}

static int ping_role(struct bench_run *run, unsigned int role)
{
	const struct bench_case_params *params = run->params;
	struct hbus_subscriber *subscriber;
	struct hbus_publisher *publisher;
	struct hbus *bus, *bus2;
	hbus_topic_t topic;

	(void)role;
	if (open_subscriber(run, "pong", &bus2, &subscriber) || bench_open_publisher(run, "ping", 1, &bus, &publisher, &topic))
		return 1;
	bench_barrier(run);
	for (uint64_t i = 1; i == 1 || !bench_is_over(run); i++) {
		uint64_t begin = bench_now_ns();

		if (send_event(publisher, topic, params->size, i))
			return 1;
		if (await_event(subscriber, params->size) != i)
			return bench_complain("pong");
		bench_histogram_add(&run->shared->histogram, bench_now_ns() - begin);
	}
	return send_event(publisher, topic, params->size, LAST_VALUE);
}

static int pong_role(struct bench_run *run, unsigned int role)
{
	const struct bench_case_params *params = run->params;
	struct hbus_subscriber *subscriber;
	struct hbus_publisher *publisher;
	struct hbus *bus, *bus2;
	hbus_topic_t topic;

	(void)role;
	if (open_subscriber(run, "ping", &bus2, &subscriber) || bench_open_publisher(run, "pong", 1, &bus, &publisher, &topic))
		return 1;
	bench_barrier(run);
	for (uint64_t i = 1;; i++) {
		uint64_t value = await_event(subscriber, params->size);

		if (value == LAST_VALUE)
			return 0;
		if (value != i)
			return bench_complain("ping");
		stall_if_planted(params, i);
		if (send_event(publisher, topic, params->size, i))
			return 1;
	}
}

double bench_case_ping_pong(struct bench_run *run, const struct bench_cores *cores, const struct bench_case_params *params)
{
	run->params = params;
	run->n_roles = 2 + params->n_stopped;
	run->role[0] = (struct bench_role){ping_role, cores->core[0]};
	run->role[1] = (struct bench_role){pong_role, cores->core[1 % cores->n]};
	for (unsigned int i = 2; i < run->n_roles; i++)
		run->role[i] = (struct bench_role){bench_stopped_reader, cores->core[0]};
	if (bench_run_roles(run))
		return 0;
	return (double)bench_histogram_percentile(&run->shared->histogram, 0.5);
}

/* -- waking -- */

static int wake_publisher(struct bench_run *run, unsigned int role)
{
	const struct bench_case_params *params = run->params;
	struct bench_pace pace = {.interval_ns = (uint64_t)params->interval_us * 1000};
	struct hbus_publisher *publisher;
	struct hbus *bus;
	hbus_topic_t topic;

	(void)role;
	if (bench_open_publisher(run, "wake", 1, &bus, &publisher, &topic))
		return 1;
	bench_barrier(run);
	do {
		if (send_event(publisher, topic, params->size, bench_pace_wait(&pace) % LAST_VALUE))
			return 1;
	} while (!bench_is_over(run));
	return send_event(publisher, topic, params->size, LAST_VALUE);
}

static int wake_subscriber(struct bench_run *run, unsigned int role)
{
	const struct bench_case_params *params = run->params;
	struct hbus_subscriber *subscriber;
	struct hbus_event event;
	uint64_t n_woken = 0;
	struct hbus *bus;

	(void)role;
	if (open_subscriber(run, "wake", &bus, &subscriber))
		return 1;
	bench_barrier(run);
	for (;;) {
		uint64_t value, now;
		int n = hbus_poll(subscriber, &event, 1);

		if (n < 0 || (n == 0 && hbus_wait(subscriber, -1) < 0))
			return bench_complain("wait");
		if (n <= 0)
			continue;
		stall_if_planted(params, ++n_woken);
		now = bench_now_ns() % LAST_VALUE;
		memcpy(&value, event.data, 8);
		if (event.size != params->size || bench_event_sum(event.data, params->size) != value * (params->size / 8))
			return bench_complain("wake content");
		if (value == LAST_VALUE)
			return 0;
		bench_histogram_add(&run->shared->histogram, now - value);
	}
}

double bench_case_wake(struct bench_run *run, const struct bench_cores *cores, const struct bench_case_params *params)
{
	run->params = params;
	run->n_roles = 2;
	run->role[0] = (struct bench_role){wake_publisher, cores->core[0]};
	run->role[1] = (struct bench_role){wake_subscriber, cores->core[1 % cores->n]};
	if (bench_run_roles(run))
		return 0;
	return (double)bench_histogram_percentile(&run->shared->histogram, 0.5);
}
