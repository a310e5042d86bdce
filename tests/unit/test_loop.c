/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The poll loop on real DPDK ports that need nobody's leave: the example capture through net_pcap,
 * frames through net_ring, a frame that is spread over several buffers, and a plan that is swapped
 * while a loop polls on an lcore of its own.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#define URCU_API_MAP
#include <urcu/urcu-qsbr.h>

#include "dataplane/loop.h"
#include "dataplane/ports.h"
#include "tests/unit/frames.h"
#include "tests/unit/random.h"

enum { TOPIC = 5 };

struct notes {
	struct hbus_sink sink;
	uint32_t n_published;
	uint32_t n_commits;
	uint32_t last_size;
};

static enum hbus_reason notes_publish(struct hbus_sink *sink, uint32_t topic,
				      const uint8_t *payload, uint32_t payload_size)
{
	(void)payload;
	cr_assert_eq(topic, TOPIC);
	((struct notes *)sink)->n_published++;
	((struct notes *)sink)->last_size = payload_size;
	return HBUS_REASON_ACCEPTED;
}

static void notes_commit(struct hbus_sink *sink)
{
	((struct notes *)sink)->n_commits++;
}

static struct notes notes = { .sink = { notes_publish, notes_commit } };
static struct hbus_counter_cell cells[HBUS_N_WORKER_CELLS];
static struct hbus_ingress_options options = { .n_queues = 1, .n_workers = 1 };
static struct hbus_loop_shared shared;
static struct hbus_loop loop;
static struct hbus_ports ports;

static struct hbus_plan *make_plan(uint16_t port, bool is_wanted)
{
	struct hbus_plan_route routes[2] = {
		{ .match = { .family = HBUS_FAMILY_IPV4, .vlan = HBUS_VLAN_ANY, .port = port },
		  .topic = { .topic = TOPIC, .is_wanted = is_wanted, .counter_idx = 1 } },
	};
	struct hbus_plan_input input = { .routes = routes, .n_routes = 2 };
	struct hbus_plan *plan = NULL;

	routes[1] = routes[0];
	routes[1].match.family = HBUS_FAMILY_IPV6;
	cr_assert_eq(hbus_plan_new(&input, &plan), 0);
	return plan;
}

/* @device: for --vdev, or NULL. Two lcores share a CPU when there is only one. */
static void start_eal(const char *device)
{
	char vdev[512], lcores[64];
	char *args[] = { "test_loop",	  "--no-huge", "-m",	     "64", "--no-shconf",
			 "--no-telemetry", "--no-pci",	lcores,	      "--log-level=warning",
			 vdev };
	cpu_set_t allowed;
	int first = -1, last = -1;

	cr_assert_eq(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed)) {
			first = first < 0 ? cpu : first;
			last = cpu;
		}
	snprintf(lcores, sizeof(lcores), "--lcores=0@%d,1@%d", first, last);
	snprintf(vdev, sizeof(vdev), "--vdev=%s", device ? device : "");
	cr_assert_geq(rte_eal_init(device ? 10 : 9, args), 0);
}

static void start_loop(void)
{
	hbus_loop_clock_init(&shared);
	cr_assert_eq(hbus_ports_init(&ports, &options), 0);
	cr_assert_eq(hbus_ports_start(&ports), 0);
	cr_assert_eq(hbus_loop_init(&loop, &shared), 0);
	cr_assert_eq(hbus_worker_init(&loop.worker, cells, &notes.sink, 1), 0);
	hbus_ports_spread(&ports, &options, &loop, 1);
	cr_assert_eq(loop.n_queues, ports.n);
	shared.plan = make_plan(5001, true);
	rcu_register_thread();
}

static void stop_all(void)
{
	rcu_unregister_thread();
	hbus_worker_deinit(&loop.worker);
	hbus_loop_deinit(&loop);
	hbus_plan_free(shared.plan);
	hbus_ports_deinit(&ports);
	rte_eal_cleanup();
}

static uint64_t frames(enum hbus_reason reason)
{
	return hbus_counter_get(&cells[HBUS_CELL_FRAMES + reason]);
}

Test(loop, reads_a_capture_to_its_end)
{
	unsigned int n = 0;

	start_eal("net_pcap0,rx_pcap=" HBUS_CAPTURE);
	start_loop();
	for (int turn = 0; turn < 100; turn++)
		n += hbus_loop_poll(&loop);
	cr_assert_eq(n, 805);
	cr_assert_eq(hbus_counter_get(&cells[HBUS_CELL_RECEIVED]), 805);
	cr_assert_eq(notes.n_published, 250);
	cr_assert_eq(frames(HBUS_REASON_ACCEPTED), 250);
	cr_assert_eq(frames(HBUS_REASON_FRAGMENT), 7);
	cr_assert_eq(frames(HBUS_REASON_NOT_IP), 7);
	cr_assert_eq(notes.n_commits, (805 + HBUS_LOOP_BURST - 1) / HBUS_LOOP_BURST,
		     "one commit for each burst");
	stop_all();
}

/* ---- net_ring: what is put into the ring is received ------------------------------------------ */

static struct rte_ring *wire;

static void start_ring(void)
{
	start_eal(NULL);
	wire = rte_ring_create("wire", 1024, SOCKET_ID_ANY, 0);
	cr_assert_not_null(wire);
	cr_assert_geq(rte_eth_from_ring(wire), 0);
	start_loop();
}

/* The frame as a chain of buffers of at most @piece bytes. */
static void send_frame(const struct frame *f, uint32_t piece)
{
	struct rte_mbuf *head = NULL;

	for (uint32_t off = 0; off < f->size; off += piece) {
		uint32_t size = f->size - off < piece ? f->size - off : piece;
		struct rte_mbuf *mbuf = rte_pktmbuf_alloc(ports.pool);

		cr_assert_not_null(mbuf);
		memcpy(rte_pktmbuf_append(mbuf, (uint16_t)size), f->bytes + off, size);
		if (!head)
			head = mbuf;
		else
			cr_assert_eq(rte_pktmbuf_chain(head, mbuf), 0);
	}
	cr_assert_eq(rte_ring_enqueue(wire, head), 0);
}

static struct frame make_frame(void)
{
	struct frame f;

	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, 5001, "1234567890", 10);
	return f;
}

Test(loop, reads_a_frame_that_is_spread_over_buffers)
{
	struct frame f = make_frame();

	start_ring();
	send_frame(&f, f.size);
	send_frame(&f, 7);
	cr_assert_eq(hbus_loop_poll(&loop), 2);
	cr_assert_eq(notes.n_published, 2);
	cr_assert_eq(notes.last_size, 10);
	cr_assert_eq(frames(HBUS_REASON_ACCEPTED), 2);
	stop_all();
}

Test(loop, takes_checksums_from_the_hardware_or_on_order)
{
	struct frame f = make_frame();

	start_ring();
	f.bytes[f.udp_off + 6] ^= 1;
	send_frame(&f, f.size);
	hbus_loop_poll(&loop);
	cr_assert_eq(frames(HBUS_REASON_BAD_CHECKSUM), 1);
	loop.queues[0].flags = HBUS_WORKER_TRUST_UDP;
	send_frame(&f, f.size);
	hbus_loop_poll(&loop);
	cr_assert_eq(frames(HBUS_REASON_ACCEPTED), 1);
	stop_all();
}

Test(loop, gives_back_every_buffer)
{
	struct frame f = make_frame();
	unsigned int n_before;

	start_ring();
	n_before = rte_mempool_avail_count(ports.pool);
	for (int i = 0; i < 500; i++) {
		f.bytes[12] = i % 3 ? 0x08 : 0x77;
		send_frame(&f, i % 2 ? f.size : 16);
	}
	while (hbus_loop_poll(&loop) > 0)
		;
	cr_assert_eq(rte_mempool_avail_count(ports.pool), n_before);
	stop_all();
}

/* The loop polls on its lcore while plans come and go and frames flow. */
Test(loop, follows_plans_that_are_swapped_while_frames_flow)
{
	struct frame f = make_frame();
	uint64_t n_sent = 0;

	start_ring();
	rcu_unregister_thread();
	cr_assert_eq(rte_eal_remote_launch(hbus_loop_run, &loop, 1), 0);
	for (int round = 0; round < 200; round++) {
		struct hbus_plan *old = shared.plan;

		for (int i = 0; i < 5; i++, n_sent++)
			send_frame(&f, f.size);
		rcu_assign_pointer(shared.plan, make_plan(5001, round % 2));
		synchronize_rcu();
		hbus_plan_free(old);
		while (rte_ring_count(wire) > 500)
			usleep(100);
	}
	for (int i = 0; i < 5000 && hbus_counter_get(&cells[HBUS_CELL_BYTES]) < n_sent * f.size; i++)
		usleep(1000);
	atomic_store_explicit(&shared.is_stopped, 1, memory_order_relaxed);
	rte_eal_mp_wait_lcore();
	cr_assert_eq(frames(HBUS_REASON_ACCEPTED) + frames(HBUS_REASON_NO_INTEREST), n_sent);
	cr_assert_eq(frames(HBUS_REASON_ACCEPTED), notes.n_published);
	rcu_register_thread();
	stop_all();
}

/* ---- broken frames among good ones ------------------------------------------------------------- */

enum { N_MIXED = 20000, MIXED_BURST = 32 };

static uint32_t n_good_seen;

/* Only good ones come, each once, in their order. */
static enum hbus_reason numbers_publish(struct hbus_sink *sink, uint32_t topic, const uint8_t *payload, uint32_t payload_size)
{
	uint32_t number;

	(void)sink;
	cr_assert_eq(topic, TOPIC);
	cr_assert_eq(payload_size, sizeof(number));
	memcpy(&number, payload, sizeof(number));
	cr_assert_eq(number, n_good_seen);
	n_good_seen++;
	return HBUS_REASON_ACCEPTED;
}

static struct notes numbers = { .sink = { numbers_publish, notes_commit } };

static struct frame numbered(uint32_t number, bool is_v6)
{
	struct frame f;

	frame_link(&f, NULL, NULL, 0, is_v6 ? 0x86dd : 0x0800);
	if (is_v6)
		frame_ipv6_udp(&f, NULL, 0, 5001, &number, sizeof(number));
	else
		frame_ipv4_udp(&f, 0, 5001, &number, sizeof(number));
	return f;
}

static void many_tags(struct frame *f)
{
	static const uint16_t tpids[] = { 0x8100, 0x8100, 0x8100 }, tags[] = { 1, 2, 3 };

	frame_link(f, tpids, tags, 3, 0x0800);
	frame_ipv4_udp(f, 0, 5001, "1234", 4);
}

static void fragment(struct frame *f)
{
	*f = numbered(0, false);
	frame_put16(f->bytes + f->ip_off + 6, 0x2000);
	frame_seal_ipv4(f);
}

static void other_protocol(struct frame *f)
{
	*f = numbered(0, false);
	f->bytes[f->ip_off + 9] = 6;
	frame_seal_ipv4(f);
}

static void short_header(struct frame *f)
{
	*f = numbered(0, false);
	f->bytes[f->ip_off] = 0x44;
}

static void long_udp(struct frame *f)
{
	frame_put16(f->bytes + f->udp_off + 4, 300);
}

static void other_port(struct frame *f)
{
	frame_put16(f->bytes + f->udp_off + 2, 5999);
	frame_seal_udp(f);
}

static void not_ip(struct frame *f)
{
	frame_put16(f->bytes + 12, 0x88cc);
}

static void cut(struct frame *f)
{
	f->size = f->udp_off + 5;
}

static void flipped_bit(struct frame *f)
{
	f->bytes[f->udp_off + 8 + f->size % 4] ^= 0x10;
}

static void walked_too_far(struct frame *f)
{
	static const uint8_t kinds[] = { 60, 60, 60, 60, 60, 60 };

	frame_link(f, NULL, NULL, 0, 0x86dd);
	frame_ipv6_udp(f, kinds, 6, 5001, "1234", 4);
}

static const struct {
	void (*spoil)(struct frame *f);
	enum hbus_reason reason;
} broken[] = {
	{ many_tags, HBUS_REASON_TOO_MANY_TAGS }, { fragment, HBUS_REASON_FRAGMENT },
	{ other_protocol, HBUS_REASON_NOT_UDP },  { short_header, HBUS_REASON_BAD_HEADER },
	{ long_udp, HBUS_REASON_BAD_LENGTH },	  { other_port, HBUS_REASON_UNKNOWN_PORT },
	{ not_ip, HBUS_REASON_NOT_IP },		  { cut, HBUS_REASON_TRUNCATED },
	{ flipped_bit, HBUS_REASON_BAD_CHECKSUM }, { walked_too_far, HBUS_REASON_EXT_HEADERS },
};

enum { N_BROKEN = sizeof(broken) / sizeof(broken[0]) };

Test(loop, publishes_exactly_the_good_ones_of_a_mixed_stream_and_counts_each_broken_one_once)
{
	uint64_t wanted[HBUS_N_REASONS] = { 0 }, sum = 0;
	struct test_random random;
	uint32_t n_good = 0;

	test_random_init(&random, "loop");
	start_ring();
	loop.worker.sink = &numbers.sink;
	for (uint32_t i = 0; i < N_MIXED; i++) {
		uint32_t kind = test_random_below(&random, 2 * N_BROKEN);
		struct frame f = numbered(kind < N_BROKEN ? 0 : n_good, test_random_below(&random, 2));

		if (kind < N_BROKEN) {
			broken[kind].spoil(&f);
			wanted[broken[kind].reason]++;
		} else {
			wanted[HBUS_REASON_ACCEPTED]++;
			n_good++;
		}
		send_frame(&f, test_random_below(&random, 8) ? f.size : 40);
		if (i % MIXED_BURST == 0)
			while (hbus_loop_poll(&loop) > 0)
				;
	}
	while (hbus_loop_poll(&loop) > 0)
		;
	cr_assert_eq(n_good_seen, n_good);
	for (uint32_t i = 0; i < HBUS_N_REASONS; i++) {
		cr_assert_eq(frames(i), wanted[i], "reason %u: %llu, not %llu", i, (unsigned long long)frames(i),
			     (unsigned long long)wanted[i]);
		sum += frames(i);
	}
	cr_assert_eq(sum, N_MIXED);
	cr_assert_eq(hbus_counter_get(&cells[HBUS_CELL_RECEIVED]), N_MIXED);
	cr_assert_gt(n_good, N_MIXED / 3);
	stop_all();
}
