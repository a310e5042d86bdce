/* SPDX-License-Identifier: BSD-3-Clause */
/* The measurements of `hugebus bench`. See measures.h. */
#include "bench/measures.h"

#include <stdlib.h>
#include <string.h>

#include "bench/probe.h"

#define WAKE_INTERVAL_US 1000u
#define TURNS 8u
#define LINE_PAYLOAD 56u /* what one cache line holds beside a header */

const struct bench_measure bench_measures[] = {
	{"throughput.8.run", "8 B, run records", BENCH_THROUGHPUT, {BENCH_RUN, 8, 512, 1, 1}},
	{"throughput.64.run", "64 B, run records", BENCH_THROUGHPUT, {BENCH_RUN, 64, 128, 1, 1}},
	{"throughput.256.run", "256 B, run records", BENCH_THROUGHPUT, {BENCH_RUN, 256, 64, 1, 1}},
	{"throughput.1024.run", "1 KiB, run records", BENCH_THROUGHPUT, {BENCH_RUN, 1024, 16, 1, 1}},
	{"throughput.64.run.place", "64 B, run records in place", BENCH_THROUGHPUT, {BENCH_RUN_PLACE, 64, 128, 1, 1}},
	{"throughput.256.run.place", "256 B, run records in place", BENCH_THROUGHPUT, {BENCH_RUN_PLACE, 256, 64, 1, 1}},
	{"throughput.1024.run.place", "1 KiB, run records in place", BENCH_THROUGHPUT, {BENCH_RUN_PLACE, 1024, 16, 1, 1}},
	{"throughput.8.batch", "8 B, batches of 64", BENCH_THROUGHPUT, {BENCH_BATCH, 8, 64, 1, 1}},
	{"throughput.64.batch", "64 B, batches of 64", BENCH_THROUGHPUT, {BENCH_BATCH, 64, 64, 1, 1}},
	{"throughput.1024.batch", "1 KiB, batches of 16", BENCH_THROUGHPUT, {BENCH_BATCH, 1024, 16, 1, 1}},
	{"throughput.8.single", "8 B, one by one", BENCH_THROUGHPUT_WALK, {BENCH_SINGLE, 8, 1, 1, 1}},
	{"throughput.64.single", "64 B, one by one", BENCH_THROUGHPUT, {BENCH_SINGLE, 64, 1, 1, 1}},
	{"throughput.256.single", "256 B, one by one", BENCH_THROUGHPUT, {BENCH_SINGLE, 256, 1, 1, 1}},
	{"throughput.1024.single", "1 KiB, one by one", BENCH_THROUGHPUT, {BENCH_SINGLE, 1024, 1, 1, 1}},
	{"throughput.8.place", "8 B, one by one in place", BENCH_THROUGHPUT_WALK, {BENCH_PLACE, 8, 1, 1, 1}},
	{"throughput.64.place", "64 B, one by one in place", BENCH_THROUGHPUT, {BENCH_PLACE, 64, 1, 1, 1}},
	{"throughput.256.place", "256 B, one by one in place", BENCH_THROUGHPUT, {BENCH_PLACE, 256, 1, 1, 1}},
	{"throughput.1024.place", "1 KiB, one by one in place", BENCH_THROUGHPUT, {BENCH_PLACE, 1024, 1, 1, 1}},
	{"throughput.8192.single", "8 KiB, one by one", BENCH_THROUGHPUT, {BENCH_SINGLE, 8192, 1, 1, 1}},
	{"throughput.65536.single", "64 KiB, one by one", BENCH_THROUGHPUT, {BENCH_SINGLE, 65536, 1, 1, 1}},
	{"rtt.56", "round trip, 56 B (one line)", BENCH_PING_PONG, {BENCH_SINGLE, LINE_PAYLOAD, 1, 1, 1}},
	{"rtt.64", "round trip, 64 B (two lines)", BENCH_PING_PONG, {BENCH_SINGLE, 64, 1, 1, 1}},
	{"broadcast.1", "64 B batches to 1 reader", BENCH_THROUGHPUT, {BENCH_BATCH, 64, 64, 1, 1}},
	{"broadcast.2", "64 B batches to 2 readers", BENCH_THROUGHPUT, {BENCH_BATCH, 64, 64, 1, 2}},
	{"broadcast.4", "64 B batches to 4 readers", BENCH_THROUGHPUT, {BENCH_BATCH, 64, 64, 1, 4}},
	{"broadcast.8", "64 B batches to 8 readers", BENCH_THROUGHPUT, {BENCH_BATCH, 64, 64, 1, 8}},
	{"broadcast.2.run", "64 B run records to 2 readers", BENCH_THROUGHPUT, {BENCH_RUN, 64, 128, 1, 2}},
	{"publishers.2", "64 B batches from 2 publishers", BENCH_THROUGHPUT, {BENCH_BATCH, 64, 64, 2, 1}},
	{"publishers.4", "64 B batches from 4 publishers", BENCH_THROUGHPUT, {BENCH_BATCH, 64, 64, 4, 1}},
	{"wake.64", "wake a sleeping reader, one way", BENCH_WAKE, {BENCH_SINGLE, 64, 1, 1, 1, WAKE_INTERVAL_US}},
	{"stopped.rate", "a stopped reader: others' rate", BENCH_STOPPED_RATE, {BENCH_SINGLE, 64, 1, 1, 1, 0, 1}},
	{"stopped.p99", "a stopped reader: others' p99", BENCH_STOPPED_P99, {BENCH_SINGLE, 64, 1, 1, 1, 0, 1}},
	{"open.first", "new process to event seen", BENCH_OPEN_FIRST, {BENCH_SINGLE, 8, 1, 1, 1}},
	{"open.again", "another publisher, likewise", BENCH_OPEN_AGAIN, {BENCH_SINGLE, 8, 1, 1, 1}},
	{"attach", "subscriber open to event seen", BENCH_ATTACH, {BENCH_SINGLE, 64, 1, 1, 1}},
	{"idle", "a blocked subscriber (daemon)", BENCH_IDLE, {BENCH_SINGLE, 8, 1, 1, 1}},
	{"calls", "system calls of publish and poll", BENCH_CALLS, {BENCH_SINGLE, 64, 1, 1, 0}},
	{"machine.copied.64", "bare streaming by copy, 64 B", BENCH_MACHINE_COPIED, {BENCH_SINGLE, 64, 1, 1, 1}},
	{"machine.copied.256", "bare streaming by copy, 256 B", BENCH_MACHINE_COPIED, {BENCH_SINGLE, 256, 1, 1, 1}},
	{"machine.copied.1024", "bare streaming by copy, 1 KiB", BENCH_MACHINE_COPIED, {BENCH_SINGLE, 1024, 1, 1, 1}},
	{"machine.records.256", "bare streaming, 256 B one by one", BENCH_MACHINE_RECORDS, {BENCH_SINGLE, 256, 1, 1, 1}},
	{"machine.turns.56", "bare round trip, 8 lines in turn", BENCH_MACHINE_TURNS, {BENCH_SINGLE, LINE_PAYLOAD, 1, 1, 1}},
	{"machine.moving.56", "bare round trip, lines that move", BENCH_MACHINE_MOVING, {BENCH_SINGLE, LINE_PAYLOAD, 1, 1, 1}},
	{"machine.moving.64", "the same with 64 B", BENCH_MACHINE_MOVING, {BENCH_SINGLE, 64, 1, 1, 1}},
	{"machine.walk.8", "bare walk of 8 B records in L1", BENCH_MACHINE_WALK, {BENCH_SINGLE, 8, 1, 1, 0}},
	{"machine.stream.8", "bare streaming of 8 B items", BENCH_MACHINE_STREAM, {BENCH_SINGLE, 8, 1, 1, 1}},
	{"machine.memcpy", "memcpy of 64 KiB", BENCH_MACHINE_MEMCPY, {BENCH_SINGLE, 65536, 1, 1, 0}},
	{"machine.eventfd", "eventfd wake, one way", BENCH_MACHINE_EVENTFD, {BENCH_SINGLE, 8, 1, 1, 1, WAKE_INTERVAL_US}},
};
const unsigned int bench_n_measures = sizeof(bench_measures) / sizeof(bench_measures[0]);

static bool is_moving(enum bench_kind kind)
{
	return kind == BENCH_MACHINE_MOVING || kind == BENCH_MACHINE_TURNS;
}

static bool is_latency(enum bench_kind kind)
{
	return kind == BENCH_PING_PONG || kind == BENCH_WAKE || kind == BENCH_STOPPED_P99 || kind == BENCH_OPEN_FIRST ||
	       kind == BENCH_OPEN_AGAIN || kind == BENCH_ATTACH || kind == BENCH_MACHINE_EVENTFD || is_moving(kind);
}

/* What it measures goes from one core to another. */
static bool has_distance(enum bench_kind kind)
{
	switch (kind) {
	case BENCH_THROUGHPUT:
	case BENCH_THROUGHPUT_WALK:
	case BENCH_PING_PONG:
	case BENCH_STOPPED_RATE:
	case BENCH_STOPPED_P99:
	case BENCH_MACHINE_COPIED:
	case BENCH_MACHINE_RECORDS:
	case BENCH_MACHINE_MOVING:
	case BENCH_MACHINE_TURNS:
	case BENCH_MACHINE_STREAM:
		return true;
	default:
		return false;
	}
}

static void set_unit(struct bench_result *result, enum bench_kind kind)
{
	result->is_lower_better = is_latency(kind) || kind == BENCH_IDLE || kind == BENCH_CALLS;
	result->unit = result->is_lower_better ? "ns" : "events/s";
	if (kind == BENCH_IDLE) {
		result->unit = "percent of a core";
		result->unit_short = "%";
		result->total_name = "daemon";
	} else if (kind == BENCH_CALLS) {
		result->unit = "calls an event";
		result->unit_short = "/event";
	} else if (kind == BENCH_MACHINE_MEMCPY) {
		result->unit = "bytes/s";
		result->unit_short = "B/s";
	}
}

void bench_result_init(struct bench_result *result, const struct bench_measure *measure, const struct bench_stage *stage)
{
	memset(result, 0, sizeof(*result));
	result->name = measure->name;
	result->title = measure->title;
	set_unit(result, measure->kind);
	result->is_oversubscribed = measure->params.n_publishers + measure->params.n_subscribers > stage->cores->n;
	result->has_distance = has_distance(measure->kind) && stage->cores->n > 1;
	result->is_closed_loop = measure->kind == BENCH_PING_PONG || measure->kind == BENCH_STOPPED_P99 ||
				 is_moving(measure->kind);
}

/* -- limits -- */

static double p99_of(const struct bench_run *run)
{
	return (double)bench_histogram_percentile(&run->shared->histogram, 0.99);
}

/* The case as it is, but for the stopped reader. */
static double without_stopped(const struct bench_measure *measure, const struct bench_stage *stage)
{
	struct bench_case_params params = measure->params;
	double total;

	params.n_stopped = 0;
	if (measure->kind == BENCH_STOPPED_RATE)
		return bench_case_throughput(stage->run, stage->cores, &params, &total);
	return bench_case_ping_pong(stage->run, stage->cores, &params) > 0 ? p99_of(stage->run) : 0;
}

/* Return: 0 = failed, -1 = there is none. */
static double limit_of(const struct bench_measure *measure, const struct bench_stage *stage, struct bench_result *result)
{
	unsigned int size = measure->params.size, n_lines = size <= LINE_PAYLOAD ? 1 : 2;
	uint64_t p99 = 0;
	double limit;

	switch (measure->kind) {
	case BENCH_THROUGHPUT:
	case BENCH_MACHINE_COPIED:
	case BENCH_MACHINE_RECORDS:
		result->limit_name = "bare streaming loop between two cores";
		return bench_probe_stream(stage->run, stage->cores, size);
	case BENCH_THROUGHPUT_WALK:
		result->limit_name = "walk of the same records by one thread in L1 x streaming share between two cores";
		return bench_probe_walk_streaming(stage->run, stage->cores, size);
	case BENCH_PING_PONG:
	case BENCH_MACHINE_MOVING:
	case BENCH_MACHINE_TURNS:
		result->limit_name = n_lines == 1 ? "bare ping-pong of one cache line" : "bare ping-pong of two cache lines";
		limit = bench_probe_ping_pong(stage->run, stage->cores, n_lines, &p99);
		if (limit > 0)
			bench_samples_add(&result->limit_p99, (double)p99);
		return limit;
	case BENCH_WAKE:
		result->limit_name = "bare futex wake";
		limit = bench_probe_futex(stage->run, stage->cores, measure->params.interval_us);
		if (limit > 0)
			bench_samples_add(&result->limit_p99, p99_of(stage->run));
		return limit;
	case BENCH_STOPPED_RATE:
	case BENCH_STOPPED_P99:
		result->limit_name = "the same without the stopped reader";
		return without_stopped(measure, stage);
	default:
		return -1;
	}
}

/* -- values -- */

static double throughput(const struct bench_measure *measure, const struct bench_stage *stage, struct bench_result *result)
{
	struct bench_case_params params = measure->params;
	double total = 0, value;

	params.plant = stage->plant == BENCH_PLANT_STALL ? BENCH_PLANT_NONE : stage->plant;
	value = bench_case_throughput(stage->run, stage->cores, &params, &total);
	if (value > 0 && params.n_subscribers > 1)
		bench_samples_add(&result->total, total);
	return value;
}

/* Nothing at all is the best there is, not a failure; that is a value below zero. */
static double not_failed(double value)
{
	return value < 0 ? 0 : value > 0 ? value : 1e-9;
}

static double idle(const struct bench_stage *stage, struct bench_result *result)
{
	double daemon = 0, value = bench_case_idle(stage->run, stage->cores, stage->daemon_pid, &daemon);

	if (value >= 0 && stage->daemon_pid)
		bench_samples_add(&result->total, daemon);
	return not_failed(value);
}

static double value_of(const struct bench_measure *measure, const struct bench_stage *stage, struct bench_result *result)
{
	struct bench_case_params stalled = measure->params;
	const struct bench_case_params *params = &stalled;
	uint64_t p99;

	if (stage->plant == BENCH_PLANT_STALL)
		stalled.plant = stage->plant;
	switch (measure->kind) {
	case BENCH_THROUGHPUT:
	case BENCH_THROUGHPUT_WALK:
	case BENCH_STOPPED_RATE:
		return throughput(measure, stage, result);
	case BENCH_PING_PONG:
		return bench_case_ping_pong(stage->run, stage->cores, params);
	case BENCH_STOPPED_P99:
		return bench_case_ping_pong(stage->run, stage->cores, params) > 0 ? p99_of(stage->run) : 0;
	case BENCH_WAKE:
		return bench_case_wake(stage->run, stage->cores, params);
	case BENCH_OPEN_FIRST:
		return bench_case_open_first(stage->run, stage->cores);
	case BENCH_OPEN_AGAIN:
		return bench_case_open_again(stage->run, stage->cores);
	case BENCH_ATTACH:
		return bench_case_attach(stage->run, stage->cores);
	case BENCH_IDLE:
		return idle(stage, result);
	case BENCH_CALLS:
		return not_failed(bench_case_calls(stage->run, stage->cores));
	case BENCH_MACHINE_COPIED:
		return bench_probe_stream_copied(stage->run, stage->cores, params->size);
	case BENCH_MACHINE_RECORDS:
		return bench_probe_records(stage->run, stage->cores, params->size);
	case BENCH_MACHINE_MOVING:
		return bench_probe_moving(stage->run, stage->cores, params->size, 0, &p99);
	case BENCH_MACHINE_TURNS:
		return bench_probe_moving(stage->run, stage->cores, params->size, TURNS, &p99);
	case BENCH_MACHINE_WALK:
		return bench_probe_walk(stage->run, stage->cores, params->size);
	case BENCH_MACHINE_STREAM:
		return bench_probe_stream(stage->run, stage->cores, params->size);
	case BENCH_MACHINE_MEMCPY:
		return bench_probe_memcpy(stage->run, stage->cores);
	case BENCH_MACHINE_EVENTFD:
		return bench_probe_eventfd(stage->run, stage->cores, params->interval_us);
	}
	return 0;
}

static double take_value(const struct bench_measure *measure, const struct bench_stage *stage, struct bench_result *result)
{
	double value = value_of(measure, stage, result);
	struct bench_histogram **each = &result->histogram[result->value.n];

	if (value > 0 && is_latency(measure->kind)) {
		bench_samples_add(&result->p99, p99_of(stage->run));
		*each = malloc(sizeof(**each));
		if (*each)
			**each = stage->run->shared->histogram;
	}
	return value;
}

void bench_measure_once(const struct bench_measure *measure, const struct bench_stage *stage, unsigned int repeat,
			struct bench_result *result)
{
	double value, limit = 0;

	if (repeat % 2 == 0)
		limit = limit_of(measure, stage, result);
	value = limit != 0 || repeat % 2 ? take_value(measure, stage, result) : 0;
	if (repeat % 2 == 1 && value > 0)
		limit = limit_of(measure, stage, result);
	if (value <= 0 || limit == 0) {
		result->has_failed = true;
		return;
	}
	bench_samples_add(&result->value, value);
	if (limit < 0)
		return;
	if (result->limit_p99.n > 0 && result->limit_p99.n == result->p99.n)
		bench_samples_add(&result->p99_ratio, result->p99.value[result->p99.n - 1] /
							      result->limit_p99.value[result->p99.n - 1]);
	bench_samples_add(&result->limit, limit);
	bench_samples_add(&result->ratio, value / limit);
}
