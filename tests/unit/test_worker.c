/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole way of a frame, from bytes to a sink that takes notes, and its accounts. Ends with the
 * capture of examples/, whose content is known.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/worker.h"
#include "tests/unit/frames.h"
#include "tests/unit/random.h"

enum { HOT = 11, COLD = 12, ONE = 21, TWO = 22, TOPICS = 64, NOTE_SIZE = 32 };

struct notes {
	struct hbus_sink sink;
	uint32_t n_open, n_shown;        /* events */
	uint32_t n_of_topic[TOPICS];
	char last[NOTE_SIZE + 1];
	enum hbus_reason answer;
	uint64_t (*n_counted)(void);     /* events that the counters show as published */
};

static enum hbus_reason notes_publish(struct hbus_sink *sink, uint32_t topic,
				      const uint8_t *payload, uint32_t payload_size)
{
	struct notes *notes = (struct notes *)sink;

	cr_assert(topic > 0 && topic < TOPICS);
	if (notes->answer != HBUS_REASON_ACCEPTED)
		return notes->answer;
	notes->n_open++;
	notes->n_of_topic[topic]++;
	memset(notes->last, 0, sizeof(notes->last));
	memcpy(notes->last, payload, payload_size < NOTE_SIZE ? payload_size : NOTE_SIZE);
	return HBUS_REASON_ACCEPTED;
}

static void notes_commit(struct hbus_sink *sink)
{
	struct notes *notes = (struct notes *)sink;

	/* A publisher that is killed here must not have counted what nobody will see. */
	if (notes->n_open > 0)
		cr_assert_eq(notes->n_counted(), notes->n_shown, "counted before the commit");
	notes->n_shown += notes->n_open;
	notes->n_open = 0;
}

static struct notes notes;
static struct hbus_counter_cell cells[HBUS_N_WORKER_CELLS];
static struct hbus_worker worker;
static struct hbus_plan *plan;
static struct hbus_plan_source sources[2];
static struct hbus_plan_input input;

static struct hbus_plan_route route(uint16_t port, uint16_t vlan, bool is_batch,
				    struct hbus_plan_topic topic)
{
	return (struct hbus_plan_route){ .match = { .family = HBUS_FAMILY_IPV4,
						    .port = port,
						    .vlan = vlan },
					 .is_batch = is_batch,
					 .topic = topic };
}

static struct hbus_plan_topic topic(uint32_t id, bool is_wanted, uint32_t counter_idx)
{
	return (struct hbus_plan_topic){ .topic = id, .is_wanted = is_wanted,
					 .counter_idx = counter_idx };
}

static uint64_t n_counted(void)
{
	return hbus_counter_get(&cells[HBUS_CELL_EVENTS_PUBLISHED]);
}

static void setup(void)
{
	static struct hbus_plan_route routes[5];
	static struct hbus_plan_batch_topic batch_topics[2];

	notes.sink = (struct hbus_sink){ notes_publish, notes_commit };
	notes.n_counted = n_counted;
	routes[0] = route(5001, HBUS_VLAN_ANY, false, topic(HOT, true, 1));
	routes[1] = route(5002, HBUS_VLAN_ANY, false, topic(COLD, false, 2));
	routes[2] = route(6000, HBUS_VLAN_ANY, true, topic(0, false, 3));
	routes[3] = route(5004, HBUS_VLAN_ANY, false, topic(0, true, 4));
	batch_topics[0] = (struct hbus_plan_batch_topic){ 2, 1, topic(ONE, true, 5) };
	batch_topics[1] = (struct hbus_plan_batch_topic){ 2, 3, topic(TWO, false, 6) };
	input = (struct hbus_plan_input){ .routes = routes, .n_routes = 4,
					  .batch_topics = batch_topics, .n_batch_topics = 2,
					  .sources = sources };
	cr_assert_eq(hbus_worker_init(&worker, cells, &notes.sink, 7), 0);
	cr_assert_eq(hbus_plan_new(&input, &plan), 0);
}

static void teardown(void)
{
	hbus_worker_deinit(&worker);
	plan = hbus_plan_free(plan);
}

TestSuite(worker, .init = setup, .fini = teardown);

static void replan(void)
{
	hbus_plan_free(plan);
	cr_assert_eq(hbus_plan_new(&input, &plan), 0);
}

static uint64_t cell(unsigned int cell_idx)
{
	return hbus_counter_get(&cells[cell_idx]);
}

static void expect_balance(void)
{
	uint64_t n_frames = 0, n_events = 0;

	for (unsigned int i = 0; i < HBUS_N_REASONS; i++)
		n_frames += cell(HBUS_CELL_FRAMES + i);
	for (unsigned int i = HBUS_CELL_EVENTS_FIRST; i <= HBUS_CELL_EVENTS_LAST; i++)
		n_events += cell(i);
	cr_assert_eq(cell(HBUS_CELL_RECEIVED), n_frames);
	cr_assert_eq(cell(HBUS_CELL_EVENTS_RECEIVED), n_events);
	cr_assert_eq(cell(HBUS_CELL_EVENTS_PUBLISHED), notes.n_shown);
}

static void run(const void *frame, size_t size, unsigned int flags)
{
	hbus_worker_begin(&worker, plan, 1, 1000);
	hbus_worker_frame(&worker, frame, size, flags);
	hbus_worker_commit(&worker);
	expect_balance();
}

static void send_plain(uint16_t port, const char *payload)
{
	struct frame f;

	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, port, payload, (uint32_t)strlen(payload));
	run(f.bytes, f.size, 0);
}

static void send_batch(uint64_t sequence, const uint16_t *numbers, uint16_t n)
{
	uint8_t bytes[512] = "HBB1";
	uint32_t size = HBUS_BATCH_HEADER_SIZE;
	struct frame f;

	frame_put16(bytes + 4, n);
	bytes[15] = 5;
	frame_put16(bytes + 22, (uint32_t)sequence);
	for (uint16_t i = 0; i < n; i++, size += 6) {
		frame_put16(bytes + size, numbers[i]);
		frame_put16(bytes + size + 2, 2);
		memcpy(bytes + size + 4, "42", 2);
	}
	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, 6000, bytes, size);
	run(f.bytes, f.size, 0);
}

static uint64_t topic_count(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

Test(worker, publishes_what_is_routed_and_wanted)
{
	send_plain(5001, "21.5");
	cr_assert_eq(notes.n_of_topic[HOT], 1);
	cr_assert_eq(notes.n_shown, 1);
	cr_assert_str_eq(notes.last, "21.5");
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED), 1);
	cr_assert_eq(topic_count(&worker.topics[1].received), 1);
	cr_assert_eq(topic_count(&worker.topics[1].dropped), 0);
}

/* What lies behind the list must not be looked at: here it would be good. */
Test(worker, knows_no_number_behind_the_last)
{
	static const uint16_t last[] = { 3 };
	struct hbus_plan_numbers *numbers = NULL;

	for (size_t i = 0; i < plan->n_paths && !numbers; i++)
		numbers = plan->paths[i].numbers;
	cr_assert_eq(numbers->n_numbers, 4);
	numbers->n_numbers = 3;
	send_batch(1, last, 1);
	cr_assert_eq(cell(HBUS_CELL_EVENTS_UNKNOWN_TOPIC), 1);
}

/* A flow that was met under one plan is looked up again under the next, wherever in memory that lies. */
Test(worker, follows_the_plan_of_the_burst)
{
	struct hbus_plan_route *routes = (struct hbus_plan_route *)(uintptr_t)input.routes;

	for (uint32_t i = 0; i < 4; i++) {
		send_plain(5001, "21.5");
		cr_assert_eq(notes.n_of_topic[HOT], i + 1);
		routes[0].match.port = 5008;
		routes[1].match.port = 5001;
		replan();
		send_plain(5001, "21.5");
		cr_assert_eq(notes.n_of_topic[HOT], i + 1);
		cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_NO_INTEREST), i + 1);
		routes[0].match.port = 5001;
		routes[1].match.port = 5002;
		replan();
	}
}

/* Cells after one frame, with the flow of the frame remembered or not. */
static void outcome(const struct frame *f, unsigned int flags, bool is_met, uint64_t ret_cells[HBUS_N_WORKER_CELLS])
{
	struct frame good;

	memset(worker.flows, 0, sizeof(worker.flows));
	if (is_met) {
		frame_link(&good, NULL, NULL, 0, 0x0800);
		frame_ipv4_udp(&good, 0, 5001, "1", 1);
		run(good.bytes, good.size, 0);
	}
	for (unsigned int i = 0; i < HBUS_N_WORKER_CELLS; i++)
		ret_cells[i] = cell(i);
	memset(notes.last, 0, sizeof(notes.last));
	run(f->bytes, f->size, flags);
	for (unsigned int i = 0; i < HBUS_N_WORKER_CELLS; i++)
		ret_cells[i] = cell(i) - ret_cells[i];
}

/* Whatever is wrong with a frame: one of a flow met lately is judged as one of an unknown flow is. */
Test(worker, judges_a_flow_met_lately_as_any_other)
{
	struct test_random random;
	unsigned int n_accepted = 0;

	test_random_init(&random, "test_worker");
	for (int i = 0; i < 20000; i++) {
		uint64_t met[HBUS_N_WORKER_CELLS], unmet[HBUS_N_WORKER_CELLS];
		unsigned int flags = test_random_below(&random, 4);
		char payload[48], said[NOTE_SIZE + 1];
		struct frame f;

		for (size_t j = 0; j < sizeof(payload); j++)
			payload[j] = (char)test_random_next(&random);
		frame_link(&f, NULL, NULL, 0, 0x0800);
		frame_ipv4_udp(&f, 0, 5001, payload, test_random_below(&random, sizeof(payload)));
		/* Damage, seldom to the addresses and the payload, and sums that fit it again or do not. */
		for (uint64_t n = test_random_next(&random) % 3; n > 0; n--)
			f.bytes[12 + test_random_below(&random, 31)] =
				(uint8_t)(test_random_below(&random, 4) ? test_random_next(&random) : 0);
		if (test_random_next(&random) % 2 && f.bytes[14] == 0x45) {
			frame_seal_ipv4(&f);
			if (frame_get16(f.bytes + 38) <= f.size - 34)
				frame_seal_udp(&f);
		}
		if (test_random_next(&random) % 4 == 0)
			f.size -= test_random_below(&random, 20);
		outcome(&f, flags, true, met);
		memcpy(said, notes.last, sizeof(said));
		outcome(&f, flags, false, unmet);
		cr_assert_arr_eq(met, unmet, sizeof(met), "frame %d", i);
		cr_assert_arr_eq(said, notes.last, sizeof(said));
		n_accepted += met[HBUS_CELL_EVENTS_PUBLISHED] == 1;
	}
	cr_assert_gt(n_accepted, 3000);
	cr_assert_lt(n_accepted, 17000);
}

/* More flows than a worker remembers, and VLANs that share a port. */
Test(worker, tells_flows_apart)
{
	static const uint16_t tags[] = { 0x8100 };
	struct frame f;

	input.n_routes = 2;
	input.n_batch_topics = 0;
	((struct hbus_plan_route *)(uintptr_t)input.routes)[0] = route(HBUS_PORT_ANY, 0, false, topic(HOT, true, 1));
	((struct hbus_plan_route *)(uintptr_t)input.routes)[1] = route(5002, 7, false, topic(TWO, true, 2));
	replan();
	for (int round = 0; round < 2; round++) {
		for (uint16_t port = 4000; port < 6000; port++) {
			send_plain(port, "1");
			frame_link(&f, tags, (const uint16_t[]){ 7 }, 1, 0x0800);
			frame_ipv4_udp(&f, 0, port, "1", 1);
			run(f.bytes, f.size, 0);
		}
	}
	cr_assert_eq(notes.n_of_topic[HOT], 4000);
	cr_assert_eq(notes.n_of_topic[TWO], 2);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_UNKNOWN_PORT), 3998);
}

Test(worker, drops_what_nobody_wants_or_no_route_knows)
{
	send_plain(5002, "21.5");
	send_plain(5009, "21.5");
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_NO_INTEREST), 1);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_UNKNOWN_PORT), 1);
	cr_assert_eq(topic_count(&worker.topics[2].no_interest), 1);
	cr_assert_eq(notes.n_shown, 0);
}

Test(worker, counts_a_full_ring_for_frame_event_and_topic)
{
	notes.answer = HBUS_REASON_RING_FULL;
	send_plain(5001, "21.5");
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_RING_FULL), 1);
	cr_assert_eq(cell(HBUS_CELL_EVENTS_RING_FULL), 1);
	cr_assert_eq(topic_count(&worker.topics[1].ring_full), 1);
	cr_assert_eq(topic_count(&worker.topics[1].received), 1);
}

Test(worker, counts_a_topic_that_has_no_ring_yet)
{
	send_plain(5004, "21.5");
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_NO_RING), 1);
}

Test(worker, takes_a_batch_apart)
{
	const uint16_t numbers[] = { 1, 3, 1, 2, 900 };

	send_batch(1, numbers, 5);
	cr_assert_eq(notes.n_of_topic[ONE], 2);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED), 1);
	cr_assert_eq(cell(HBUS_CELL_EVENTS_RECEIVED), 5);
	cr_assert_eq(cell(HBUS_CELL_EVENTS_PUBLISHED), 2);
	cr_assert_eq(cell(HBUS_CELL_EVENTS_NO_INTEREST), 1);
	cr_assert_eq(cell(HBUS_CELL_EVENTS_UNKNOWN_TOPIC), 2);
}

Test(worker, publishes_a_repeated_batch_once)
{
	const uint16_t numbers[] = { 1 };

	send_batch(1, numbers, 1);
	send_batch(1, numbers, 1);
	send_batch(4, numbers, 1);
	cr_assert_eq(notes.n_of_topic[ONE], 2);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_DUPLICATE), 1);
	cr_assert_eq(cell(HBUS_CELL_BATCH_DUPLICATES), 1);
	cr_assert_eq(cell(HBUS_CELL_BATCH_MISSING), 2);
}

Test(worker, publishes_nothing_of_a_bad_batch)
{
	send_plain(6000, "no batch at all");
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_BAD_BATCH), 1);
	cr_assert_eq(cell(HBUS_CELL_EVENTS_RECEIVED), 0);
}

Test(worker, judges_sources_unless_a_filter_has)
{
	struct frame f;

	sources[0] = (struct hbus_plan_source){ { 10 }, HBUS_FAMILY_IPV4, 8, HBUS_SOURCE_DENY };
	sources[1] = (struct hbus_plan_source){ { 10, 0, 0, 1 }, HBUS_FAMILY_IPV4, 32,
						HBUS_SOURCE_ALLOW };
	input.n_sources = 1;
	replan();
	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, 5001, "1", 1);
	run(f.bytes, f.size, 0);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_SOURCE_DENIED), 1);
	run(f.bytes, f.size, HBUS_WORKER_IS_FILTERED);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED), 1);
	input.n_sources = 2;
	replan();
	run(f.bytes, f.size, 0);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED), 2);
	input.n_sources = 0;
	input.source_default = HBUS_SOURCE_DENY;
	replan();
	run(f.bytes, f.size, 0);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_SOURCE_DENIED), 2);
}

Test(worker, limits_the_rate_of_a_source_it_does_not_trust)
{
	input.rate = (struct hbus_rate){ .packets_per_s = 1, .burst = 3 };
	replan();
	for (int i = 0; i < 10; i++)
		send_plain(5001, "1");
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_RATE_LIMITED), 7);
	input.source_default = HBUS_SOURCE_TRUST;
	replan();
	send_plain(5001, "1");
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED), 4);
}

Test(worker, shows_a_burst_only_when_it_is_committed)
{
	struct frame f;

	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, 5001, "1", 1);
	hbus_worker_begin(&worker, plan, 3, 1000);
	for (int i = 0; i < 3; i++)
		hbus_worker_frame(&worker, f.bytes, f.size, 0);
	cr_assert_eq(cell(HBUS_CELL_RECEIVED), 3);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED), 0);
	hbus_worker_commit(&worker);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED), 3);
	expect_balance();
}

Test(worker, names_every_cell_differently)
{
	static char names[HBUS_N_WORKER_CELLS][HBUS_COUNTER_NAME_SIZE];

	for (unsigned int i = 0; i < HBUS_N_WORKER_CELLS; i++) {
		hbus_worker_cell_name(3, i, names[i]);
		for (unsigned int j = 0; j < i; j++)
			cr_assert_str_neq(names[i], names[j]);
	}
	cr_assert_str_eq(names[HBUS_CELL_FRAMES + HBUS_REASON_FRAGMENT],
			 "worker3.frames.fragment");
	cr_assert_str_eq(names[HBUS_CELL_EVENTS_PUBLISHED], "worker3.events.published");
}

Test(worker, refuses_a_plan_whose_batch_topic_has_no_batch_route)
{
	struct hbus_plan_batch_topic lost = { 0, 1, topic(ONE, true, 5) };
	struct hbus_plan_input bad = input;
	struct hbus_plan *none = NULL;

	bad.batch_topics = &lost;
	bad.n_batch_topics = 1;
	cr_assert_eq(hbus_plan_new(&bad, &none), -EINVAL);
	lost.route_idx = 99;
	cr_assert_eq(hbus_plan_new(&bad, &none), -EINVAL);
	cr_assert_null(none);
}

/* The routes of the demonstration, and the account that make_capture prints. */
static void plan_for_capture(void)
{
	static struct hbus_plan_route routes[5];
	static struct hbus_plan_batch_topic batch_topics[3];

	for (uint16_t i = 0; i < 3; i++) {
		routes[i] = route((uint16_t)(5001 + i), HBUS_VLAN_ANY, false,
				  topic(1u + i, true, 1u + i));
		batch_topics[i] = (struct hbus_plan_batch_topic){ 4, (uint16_t)(1 + i),
								  topic(11u + i, true, 11u + i) };
	}
	routes[3] = routes[1];
	routes[3].match.family = HBUS_FAMILY_IPV6;
	routes[4] = route(6000, HBUS_VLAN_ANY, true, topic(0, false, 20));
	input = (struct hbus_plan_input){ .routes = routes, .n_routes = 5,
					  .batch_topics = batch_topics, .n_batch_topics = 3 };
	replan();
}

Test(worker, accounts_for_every_frame_of_the_example_capture)
{
	static uint8_t bytes[1 << 20];
	FILE *file = fopen(HBUS_CAPTURE, "rb");
	size_t size, off = 24;
	uint32_t n_frames = 0, frame_size;

	cr_assert_not_null(file);
	size = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	plan_for_capture();
	for (; off + 16 <= size; off += 16 + frame_size, n_frames++) {
		memcpy(&frame_size, bytes + off + 8, 4);
		run(bytes + off + 16, frame_size, 0);
	}
	cr_assert_eq(n_frames, 805);
	cr_assert_eq(notes.n_shown, 850);
	cr_assert_eq(notes.n_of_topic[1], 250);
	cr_assert_eq(notes.n_of_topic[2], 250);
	cr_assert_eq(notes.n_of_topic[3], 200);
	cr_assert_eq(notes.n_of_topic[11], 50);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_ACCEPTED), 750);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_DUPLICATE), 5);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_BAD_BATCH), 8);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_UNKNOWN_PORT), 7);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_FRAGMENT), 7);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_BAD_CHECKSUM), 7);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_BAD_LENGTH), 7);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_NOT_UDP), 7);
	cr_assert_eq(cell(HBUS_CELL_FRAMES + HBUS_REASON_NOT_IP), 7);
	cr_assert_eq(cell(HBUS_CELL_BATCH_MISSING), 2 * 5);
}
