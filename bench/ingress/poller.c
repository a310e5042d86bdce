/* SPDX-License-Identifier: BSD-3-Clause */
/* The poll process of a session. See poller.h. */
#include "bench/ingress/poller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>
#define URCU_API_MAP
#include <urcu/urcu-qsbr.h>

#include "bench/blame.h"
#include "bench/ingress/frames.h"
#include "dataplane/xdp_object.h"
#ifdef HBUS_HAVE_XDP
#include "ebpf/loader.h"
#endif

#define TURNS_A_LOOK 32u /* turns between two looks at the clock that ends the phase */
#define PLANT_AFTER 1000u

static int fail(const char *what, const char *why)
{
	bench_blame("%s: %s", what, why);
	return -1;
}

/* -- the generator -- */

static void prepare_buffer(struct rte_mempool *pool, void *context, void *object, unsigned int idx)
{
	const struct bench_source *source = context;
	struct rte_mbuf *mbuf = object;

	(void)pool;
	(void)idx;
	(void)bench_frame_make((uint8_t *)mbuf->buf_addr + RTE_PKTMBUF_HEADROOM, source->head_size,
			       source->payload_size, NULL);
}

/* One fault: a number that is left out, or a buffer whose last byte is another from now on, its sums trusted. */
static void plant(struct bench_poller *poller, uint8_t *frame)
{
	poller->plants = false;
	if (strcmp(poller->source->plant, "lost") == 0)
		poller->next_number++;
	else
		frame[BENCH_FRAME_HEADERS + poller->source->head_size + poller->source->payload_size - 1] ^= 1;
}

/* The next packet into a buffer: what lies in it has stayed there. */
static void fill(struct bench_poller *poller, struct rte_mbuf *mbuf)
{
	const struct bench_source *source = poller->source;
	uint8_t *frame = rte_pktmbuf_mtod(mbuf, uint8_t *);
	uint64_t number = poller->next_number++;
	unsigned int flow = (unsigned int)number & (source->n_flows - 1);

	mbuf->data_len = (uint16_t)(BENCH_FRAME_HEADERS + source->head_size + source->payload_size);
	if (source->passive) {
		/* Only what is read must go on where it has stopped; without a reader any segment does. */
		bool is_read = poller->phase == BENCH_PHASE_PUBLISH;

		poller->n_streamed += is_read && poller->stream.is_open[flow];
		mbuf->data_len = (uint16_t)bench_stream_next(is_read ? &poller->stream : &poller->unread, frame, flow, number);
	} else {
		bench_frame_stamp(frame, source->head_size, number, flow);
	}
	mbuf->pkt_len = mbuf->data_len;
}

/* A burst of new packets into the ring that the port receives from. */
static void feed(struct bench_poller *poller)
{
	struct rte_mbuf *mbufs[HBUS_LOOP_BURST];
	uint16_t n_sent;

	if (rte_pktmbuf_alloc_bulk(poller->ports.pool, mbufs, HBUS_LOOP_BURST) != 0)
		return;
	if (poller->plants && poller->next_number >= poller->plant_number)
		plant(poller, rte_pktmbuf_mtod(mbufs[0], uint8_t *));
	for (unsigned int i = 0; i < HBUS_LOOP_BURST; i++)
		fill(poller, mbufs[i]);
	n_sent = rte_eth_tx_burst(poller->ports.at[0].id, 0, mbufs, HBUS_LOOP_BURST);
	if (n_sent < HBUS_LOOP_BURST) {
		rte_pktmbuf_free_bulk(mbufs + n_sent, HBUS_LOOP_BURST - n_sent);
		poller->next_number -= HBUS_LOOP_BURST - n_sent;
	}
}

/* -- what stands beside the shipping loop -- */

/* The least that says whether a packet may be ours: IPv4, UDP, a port in a range. */
static bool is_ours(const uint8_t *frame)
{
	unsigned int port = (unsigned int)frame[36] << 8 | frame[37];

	return frame[12] == 0x08 && frame[13] == 0 && frame[23] == 17 && port - BENCH_PORT_FIRST < BENCH_FLOWS_MAX;
}

static unsigned int poll_trivially(struct bench_poller *poller, bool looks)
{
	unsigned int n_frames = 0, n_ours = 0;

	for (uint32_t q = 0; q < poller->loop.n_queues; q++) {
		const struct hbus_loop_queue *queue = &poller->loop.queues[q];
		struct rte_mbuf *mbufs[HBUS_LOOP_BURST];
		uint16_t n = rte_eth_rx_burst(queue->port_id, queue->queue_id, mbufs, HBUS_LOOP_BURST);

		if (n == 0)
			continue;
		for (uint16_t i = 0; looks && i < n; i++) {
			if (i + 4 < n)
				rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + 4], void *));
			n_ours += is_ours(rte_pktmbuf_mtod(mbufs[i], const uint8_t *));
		}
		rte_pktmbuf_free_bulk(mbufs, n);
		n_frames += n;
	}
	__asm__ __volatile__("" : : "r"(n_ours));
	return n_frames;
}

/* The shipping loop; what it copied for a thread that is not there is dropped. */
static unsigned int poll_and_drop(struct bench_poller *poller)
{
	unsigned int n = hbus_loop_poll(&poller->loop);

	while (hbus_feed_take(&poller->feed))
		hbus_feed_done(&poller->feed);
	return n;
}

static unsigned int poll_once(struct bench_poller *poller)
{
	if (poller->source->kind == BENCH_SOURCE_RING)
		feed(poller);
	switch (poller->phase) {
	case BENCH_PHASE_BARE:
		return poll_trivially(poller, false);
	case BENCH_PHASE_TRIVIAL:
		return poll_trivially(poller, true);
	default:
		return poller->source->passive == BENCH_PASSIVE_LOOP ? poll_and_drop(poller) : hbus_loop_poll(&poller->loop);
	}
}

/* -- a phase -- */

static uint64_t cycles_to_ns(uint64_t cycles)
{
	return (uint64_t)((double)cycles * 1e9 / (double)rte_get_tsc_hz());
}

/* On the lcore. */
static int run_phase(void *context)
{
	struct bench_poller *poller = context;
	struct bench_poll_result *result = &poller->result;
	uint64_t begin = rte_rdtsc(), last = begin, busy = 0;

	rcu_register_thread();
	do {
		for (unsigned int i = 0; i < TURNS_A_LOOK; i++) {
			unsigned int n = poll_once(poller);
			uint64_t now = rte_rdtsc();

			if (n > 0) {
				busy += now - last;
				result->n_frames += n;
				result->n_turns++;
			}
			last = now;
		}
	} while (cycles_to_ns(last - begin) < poller->duration_ns);
	rcu_unregister_thread();
	result->wall_ns = cycles_to_ns(last - begin);
	result->busy_ns = cycles_to_ns(busy);
	return 0;
}

static uint64_t cell(const struct bench_poller *poller, unsigned int idx)
{
	return hbus_counter_get(&poller->cells[idx]);
}

int bench_poller_phase(struct bench_poller *poller, enum bench_phase phase, unsigned int duration_ms)
{
	uint64_t received = cell(poller, HBUS_CELL_RECEIVED), published = cell(poller, HBUS_CELL_EVENTS_PUBLISHED);

	poller->phase = phase;
	poller->duration_ns = (uint64_t)duration_ms * 1000000;
	poller->plants = poller->source->plant && phase == BENCH_PHASE_READ;
	poller->plant_number = poller->next_number + PLANT_AFTER;
	poller->result = (struct bench_poll_result){0};
	if (rte_eal_remote_launch(run_phase, poller, poller->lcore_id) != 0)
		return fail("lcore", "busy");
	/* rte_eal_wait_lcore() would spin, on a core that the reader may need. */
	while (rte_eal_get_lcore_state(poller->lcore_id) == RUNNING)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	rte_eal_wait_lcore(poller->lcore_id);
	received = cell(poller, HBUS_CELL_RECEIVED) - received;
	poller->result.n_published = cell(poller, HBUS_CELL_EVENTS_PUBLISHED) - published;
	poller->result.n_dropped = received - poller->result.n_published;
	return 0;
}

/* -- set-up -- */

const char *bench_xdp_object(void)
{
	return hbus_xdp_object_find(HBUS_XDP_OBJECT);
}

static int start_eal(struct bench_poller *poller)
{
	struct hbus_ingress_options *options = &poller->options;

	*options = (struct hbus_ingress_options){
		.name = "hugebus-bench", .n_workers = 1, .n_queues = 1, .xdp_object = bench_xdp_object(),
		.no_checksum = poller->source->trusts_sums || poller->source->plant,
	};
	if (poller->source->iface)
		options->ifaces.at[options->ifaces.n++] = poller->source->iface;
	if (poller->source->device)
		options->vdevs.at[options->vdevs.n++] = poller->source->device;
	if (hbus_options_eal(options, &poller->eal_args) < 0 || hbus_options_pin_control(options) < 0)
		return fail("EAL", "arguments");
	if (rte_eal_init(poller->eal_args.n, poller->eal_args.at) < 0)
		return fail("EAL", rte_strerror(rte_errno));
	poller->lcore_id = rte_get_next_lcore((unsigned int)-1, 1, 0);
	hbus_loop_clock_init(&poller->shared);
	return 0;
}

static void describe_routes(const struct bench_source *source, struct hbus_plan_route *routes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool is_v6 = source->payload_size == 0 && i == 1;

		routes[i] = (struct hbus_plan_route){
			.match = {.family = is_v6 ? HBUS_FAMILY_IPV6 : HBUS_FAMILY_IPV4, .vlan = HBUS_VLAN_ANY},
			.topic = {.topic = (uint32_t)i + 1, .counter_idx = (uint32_t)i + 1, .is_wanted = true},
		};
		if (source->payload_size) {
			routes[i].match.prefix_len = 32;
			memcpy(routes[i].match.addr, "\x0a\x09\0\1", 4);
			routes[i].match.port = (uint16_t)(BENCH_PORT_FIRST + i);
			routes[i].is_gateway = source->head_size > 0;
		} else {
			routes[i].match.port = (uint16_t)source->port;
		}
	}
}

/* The driver's filter gets the same routes. */
#ifdef HBUS_HAVE_XDP
static int steer(struct bench_poller *poller, const struct hbus_plan_route *routes, size_t n)
{
	struct hbus_filter *filter = poller->ports.at[0].filter;

	for (uint32_t i = 0; filter && i < n; i++)
		if (hbus_filter_route_set(filter, i, &routes[i].match, i + 1, HBUS_ROUTE_WANTED) != 0)
			return fail("filter", "a route was refused");
	return 0;
}
#else
static int steer(struct bench_poller *poller, const struct hbus_plan_route *routes, size_t n)
{
	(void)poller;
	(void)routes;
	(void)n;
	return 0;
}
#endif

/* A client for each flow: all are connected, and have registered a topic that is wanted. */
static int make_door(struct bench_poller *poller)
{
	if (hbus_sn_paths_new(rte_rdtsc(), 256, &poller->paths) || hbus_sn_door_init(&poller->door, poller->paths, 0))
		return -1;
	for (uint32_t i = 0; i < poller->source->n_flows; i++) {
		uint32_t host = BENCH_SN_HOST_FIRST + i;
		struct hbus_sn_peer peer = {.addr = {10, 9, (uint8_t)(host >> 8), (uint8_t)host}, .family = HBUS_FAMILY_IPV4,
					    .port = (uint16_t)(BENCH_SN_PORT_LAST - i)};

		hbus_sn_paths_topic(poller->paths, i + 1, true, true);
		hbus_sn_paths_open(poller->paths, &peer);
		hbus_sn_paths_set(poller->paths, &peer, BENCH_SN_TOPIC_ID, i + 1);
	}
	poller->loop.worker.door = &poller->door;
	return 0;
}

static int make_plan(struct bench_poller *poller)
{
	static struct hbus_plan_route routes[BENCH_FLOWS_MAX];
	const struct bench_source *source = poller->source;
	size_t n = source->payload_size ? source->n_flows : 2;
	struct hbus_plan_input input = {.routes = routes, .n_routes = n, .source_default = HBUS_SOURCE_ALLOW};

	describe_routes(source, routes, n);
	for (uint32_t i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "bench/%u", i);
		if (hbus_bus_sink_name(&poller->sink, i + 1, name) < 0)
			return fail(name, hbus_error_text());
	}
	if (hbus_plan_new(&input, &poller->plan) != 0)
		return fail("plan", "cannot be made");
	poller->shared.plan = poller->plan;
	if (source->head_size && make_door(poller))
		return fail("door", "no memory");
	return steer(poller, routes, n);
}

/* As --passive does it; from the ring there is no end of frames, so the loop waits for the thread. */
static int make_passive(struct bench_poller *poller)
{
	static const uint16_t ports[] = {BENCH_STREAM_PORT};
	struct hbus_passive_options options = {.bus = poller->bus, .ports = {BENCH_STREAM_PORT}, .n_ports = 1, .n_feeds = 1,
					       .waits = true};

	poller->stream.payload_size = poller->unread.payload_size = poller->source->payload_size;
	if (poller->source->passive == BENCH_PASSIVE_LOOP) {
		poller->loop.worker.feed = &poller->feed;
		return hbus_feed_init(&poller->feed, ports, 1, false);
	}
	if (hbus_passive_new(&options, &poller->passive))
		return -1;
	poller->loop.worker.feed = hbus_passive_feed(poller->passive, 0);
	return 0;
}

static int open_bus(struct bench_poller *poller, const char *socket)
{
	static const struct hbus_words no_words;

	poller->cells = calloc(HBUS_N_WORKER_CELLS, sizeof(*poller->cells));
	if (!poller->cells)
		return fail("counters", "no memory");
	if (hbus_open(socket, NULL, &poller->bus) || hbus_bus_sink_init(&poller->sink, poller->bus, &no_words, false))
		return fail("bus", hbus_error_text());
	if (hbus_loop_init(&poller->loop, &poller->shared) ||
	    hbus_worker_init(&poller->loop.worker, poller->cells, &poller->sink.sink, rte_rdtsc()))
		return fail("worker", "no memory");
	return 0;
}

int bench_poller_init(struct bench_poller *poller, const char *socket)
{
	if (start_eal(poller) || hbus_ports_init(&poller->ports, &poller->options) < 0)
		return -1;
	if (poller->source->kind == BENCH_SOURCE_RING)
		rte_mempool_obj_iter(poller->ports.pool, prepare_buffer, (void *)(uintptr_t)poller->source);
	if (open_bus(poller, socket) || hbus_ports_start(&poller->ports) < 0)
		return -1;
	hbus_ports_spread(&poller->ports, &poller->options, &poller->loop, 1);
	if (poller->source->passive && make_passive(poller))
		return fail("passive", hbus_error_text());
	return make_plan(poller);
}

/* Return: -1 when a message is missing. */
static int end_passive(struct bench_poller *poller)
{
	struct hbus_passive_counters counters = {0};
	uint64_t n_read;

	hbus_feed_deinit(&poller->feed);
	if (!poller->passive)
		return 0;
	hbus_passive_stop(poller->passive);
	hbus_passive_counters(poller->passive, &counters);
	poller->passive = hbus_passive_free(poller->passive);
	n_read = counters.n_events + counters.n_ring_full;
	if (n_read == poller->n_streamed)
		return 0;
	bench_blame("passive: %lu messages read of %lu", (unsigned long)n_read,
		(unsigned long)poller->n_streamed);
	return -1;
}

int bench_poller_deinit(struct bench_poller *poller)
{
	int r = end_passive(poller);

	hbus_sn_door_deinit(&poller->door);
	poller->paths = hbus_sn_paths_free(poller->paths);
	hbus_worker_deinit(&poller->loop.worker);
	hbus_loop_deinit(&poller->loop);
	hbus_bus_sink_deinit(&poller->sink);
	hbus_close(poller->bus);
	hbus_plan_free(poller->plan);
	hbus_ports_deinit(&poller->ports);
	rte_eal_cleanup();
	hbus_options_eal_free(&poller->eal_args);
	free(poller->cells);
	return r;
}
