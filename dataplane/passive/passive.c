/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that reads streams. See passive.h. */
#include "dataplane/passive/passive.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "dataplane/mqtt/attributes.h"
#include "dataplane/mqtt/topics.h"
#include "shm/counters.h"

#define IDLE_NAP_NS 500000L
#define TICK_NS UINT64_C(10000000)
/* Segments of one feed before the next has its turn. */
#define TURN_MAX 256U
#define RING_BYTES (UINT64_C(8) << 20)

static const struct hbus_flow_limits flow_limits = {
	.flows_max = 4096,
	.flow_bytes_max = 512u << 10,
	.bytes_max = UINT64_C(64) << 20,
	.hole_wait_ns = UINT64_C(500000000),
};

struct hbus_passive {
	struct hbus_passive_options options;
	struct hbus_publisher *publisher;
	struct hbus_flows *flows;
	struct hbus_tap_shared shared;
	struct hbus_mqtt_topics topics;
	struct hbus_feed *feeds;
	struct hbus_passive_counters counters; /* the thread's */
	pthread_mutex_t lock;
	struct hbus_passive_counters shown;    /* under the lock */
	pthread_t thread;
	bool has_thread;
	struct hbus_counter *cells;            /* on the bus; NULL: none */
	_Atomic uint32_t is_stopping;
	uint64_t now_ns, tick_ns;
	uint8_t attributes[HBUS_MQTT_ATTRIBUTES_MAX];
};

/* ---- the bus --------------------------------------------------------------------------- */

/* Asks the daemon for a name that is new. Return: 0 when there is none to be had. */
static hbus_topic_t topic_number(struct hbus_passive *passive, const char *name)
{
	const uint32_t *known = hbus_mqtt_topics_find(&passive->topics, name);
	hbus_topic_t topic;

	if (known)
		return *known;
	if (passive->topics.n >= HBUS_MQTT_TOPICS_MAX ||
	    hbus_publisher_topic(passive->publisher, name, NULL, NULL, &topic) != 0 ||
	    hbus_mqtt_topics_add(&passive->topics, name, topic) != 0)
		return 0;
	return topic;
}

static void publish(void *context, const struct hbus_mqtt_message *message)
{
	struct hbus_passive *passive = context;
	struct hbus_attributes attributes = { .extra = passive->attributes };
	hbus_topic_t topic = topic_number(passive, message->topic);
	int r;

	if (topic == 0) {
		passive->counters.n_no_topic++;
		return;
	}
	attributes.extra_size = hbus_mqtt_attributes_encode(message, passive->attributes);
	r = hbus_publish_with(passive->publisher, topic, message->payload, message->payload_size, &attributes);
	if (r == 0)
		passive->counters.n_events++;
	else if (r == HBUS_E_TOO_LARGE)
		passive->counters.n_too_large++;
	else
		passive->counters.n_ring_full++;
}

/* ---- streams --------------------------------------------------------------------------- */

static void *open_stream(void *context, const struct hbus_tcp_key *key)
{
	struct hbus_passive *passive = context;

	(void)key;
	return hbus_mqtt_tap_new(&passive->shared);
}

static void stream_bytes(void *context, void *stream, const uint8_t *data, size_t size)
{
	(void)context;
	hbus_mqtt_tap_bytes(stream, data, size);
}

static void stream_hole(void *context, void *stream, uint64_t size)
{
	(void)context;
	hbus_mqtt_tap_hole(stream, size);
}

static void close_stream(void *context, void *stream, enum hbus_flow_end how)
{
	(void)context;
	(void)how;
	hbus_mqtt_tap_free(stream);
}

/* ---- the thread ------------------------------------------------------------------------ */

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

enum {
#define COUNT_ONE(name, meaning) +1
	N_CELLS = 0 HBUS_FLOW_COUNTERS(COUNT_ONE) HBUS_TAP_COUNTERS(COUNT_ONE) + 5,
#undef COUNT_ONE
};

/* Where `hugebus stats` finds them. */
static void name_cells(struct hbus_passive *passive)
{
	static const char *const names[N_CELLS] = {
#define FLOW_NAME(name, meaning) "flows." #name,
		HBUS_FLOW_COUNTERS(FLOW_NAME)
#undef FLOW_NAME
#define STREAM_NAME(name, meaning) "streams." #name,
		HBUS_TAP_COUNTERS(STREAM_NAME)
#undef STREAM_NAME
		"events.published", "events.ring_full", "events.too_large", "events.no_topic", "overruns",
	};

	if (hbus_counters_create(passive->options.bus, "passive", N_CELLS, &passive->cells) != 0)
		passive->cells = NULL; /* a bus that is away keeps none */
	for (unsigned int i = 0; passive->cells && i < N_CELLS; i++)
		snprintf(passive->cells[i].name, sizeof(passive->cells[i].name), "%s", names[i]);
}

static void show_cells(struct hbus_passive *passive)
{
	const struct hbus_passive_counters *c = &passive->counters;
	const uint64_t values[N_CELLS] = {
#define FLOW_VALUE(name, meaning) c->flows.n_##name,
		HBUS_FLOW_COUNTERS(FLOW_VALUE)
#undef FLOW_VALUE
#define STREAM_VALUE(name, meaning) c->reader.n_##name,
		HBUS_TAP_COUNTERS(STREAM_VALUE)
#undef STREAM_VALUE
		c->n_events, c->n_ring_full, c->n_too_large, c->n_no_topic, c->n_overruns,
	};

	for (unsigned int i = 0; passive->cells && i < N_CELLS; i++)
		hbus_counter_set((struct hbus_counter_cell *)(void *)&passive->cells[i], values[i]);
}

static void show_counters(struct hbus_passive *passive)
{
	passive->counters.flows = *hbus_flows_counters(passive->flows);
	passive->counters.reader = passive->shared.counters;
	passive->counters.n_overruns = 0;
	/* relaxed: a number for the account */
	for (uint32_t i = 0; i < passive->options.n_feeds; i++)
		passive->counters.n_overruns +=
			atomic_load_explicit(&passive->feeds[i].n_overruns, memory_order_relaxed);
	pthread_mutex_lock(&passive->lock);
	passive->shown = passive->counters;
	pthread_mutex_unlock(&passive->lock);
	show_cells(passive);
}

/* One turn over all feeds. Return: whether there was anything. */
static bool take_turn(struct hbus_passive *passive)
{
	bool is_busy = false;

	passive->now_ns = clock_ns();
	for (uint32_t i = 0; i < passive->options.n_feeds; i++) {
		struct hbus_feed *feed = &passive->feeds[i];
		const struct hbus_tcp_segment *segment;

		for (unsigned int n = 0; n < TURN_MAX && (segment = hbus_feed_take(feed)); n++) {
			hbus_flows_segment(passive->flows, segment, passive->now_ns);
			hbus_feed_done(feed);
			is_busy = true;
		}
	}
	if (passive->now_ns - passive->tick_ns >= TICK_NS) {
		passive->tick_ns = passive->now_ns;
		hbus_flows_tick(passive->flows, passive->now_ns);
		show_counters(passive);
	}
	return is_busy;
}

static void *read_streams(void *context)
{
	struct hbus_passive *passive = context;
	struct timespec nap = { .tv_nsec = IDLE_NAP_NS };

	/* A(passive.stop): pairs with R(passive.stop): what the loops fed before is seen in one more turn. */
	while (!atomic_load_explicit(&passive->is_stopping, memory_order_acquire))
		if (!take_turn(passive))
			nanosleep(&nap, NULL);
	while (take_turn(passive))
		;
	hbus_flows_tick(passive->flows, UINT64_MAX);
	show_counters(passive);
	return NULL;
}

/* Signals are the main thread's. */
static int start_thread(struct hbus_passive *passive)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&passive->thread, NULL, read_streams, passive);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	passive->has_thread = r == 0;
	return -r;
}

/* ---- life ------------------------------------------------------------------------------ */

static int make_feeds(struct hbus_passive *passive)
{
	const struct hbus_passive_options *options = &passive->options;
	int r = 0;

	passive->feeds = aligned_alloc(64, options->n_feeds * sizeof(passive->feeds[0]));
	if (!passive->feeds)
		return -ENOMEM;
	memset(passive->feeds, 0, options->n_feeds * sizeof(passive->feeds[0]));
	for (uint32_t i = 0; i < options->n_feeds && r == 0; i++)
		r = hbus_feed_init(&passive->feeds[i], options->ports, options->n_ports, options->waits);
	return r;
}

static int make_flows(struct hbus_passive *passive)
{
	struct hbus_flow_reader reader = { passive, open_stream, stream_bytes, stream_hole, close_stream };
	uint64_t secret[2];

	if (getrandom(secret, sizeof(secret), 0) != (ssize_t)sizeof(secret) ||
	    getrandom(passive->topics.secret, sizeof(passive->topics.secret), 0) !=
		    (ssize_t)sizeof(passive->topics.secret))
		return -EIO;
	passive->shared = (struct hbus_tap_shared){
		.publish = publish,
		.context = passive,
		.packet_max = 256u << 10,
		.kept_max = UINT64_C(64) << 20,
	};
	return hbus_flows_new(&flow_limits, &reader, secret, &passive->flows);
}

int hbus_passive_new(const struct hbus_passive_options *options, struct hbus_passive **ret_passive)
{
	struct hbus_publisher_options publisher = {
		.struct_size = sizeof(publisher),
		.flags = HBUS_PUB_TIMESTAMP | (options->waits ? 0 : HBUS_PUB_NEVER_WAIT),
		.capacity = RING_BYTES,
	};
	struct hbus_passive *passive = calloc(1, sizeof(*passive));
	int r;

	if (!passive)
		return -ENOMEM;
	passive->options = *options;
	pthread_mutex_init(&passive->lock, NULL);
	r = make_feeds(passive);
	if (r == 0)
		r = make_flows(passive);
	if (r == 0)
		r = hbus_publisher_open(options->bus, &publisher, &passive->publisher);
	if (r == 0) {
		name_cells(passive);
		r = start_thread(passive);
	}
	if (r != 0) {
		hbus_passive_free(passive);
		return r;
	}
	*ret_passive = passive;
	return 0;
}

void hbus_passive_stop(struct hbus_passive *passive)
{
	if (!passive->has_thread)
		return;
	/* R(passive.stop) */
	atomic_store_explicit(&passive->is_stopping, 1, memory_order_release);
	pthread_join(passive->thread, NULL);
	passive->has_thread = false;
}

struct hbus_passive *hbus_passive_free(struct hbus_passive *passive)
{
	if (!passive)
		return NULL;
	hbus_passive_stop(passive);
	hbus_flows_free(passive->flows);
	hbus_publisher_close(passive->publisher);
	hbus_mqtt_topics_deinit(&passive->topics);
	for (uint32_t i = 0; passive->feeds && i < passive->options.n_feeds; i++)
		hbus_feed_deinit(&passive->feeds[i]);
	free(passive->feeds);
	pthread_mutex_destroy(&passive->lock);
	free(passive);
	return NULL;
}

struct hbus_feed *hbus_passive_feed(struct hbus_passive *passive, uint32_t i)
{
	return &passive->feeds[i];
}

void hbus_passive_counters(struct hbus_passive *passive, struct hbus_passive_counters *ret_counters)
{
	pthread_mutex_lock(&passive->lock);
	*ret_counters = passive->shown;
	pthread_mutex_unlock(&passive->lock);
}
