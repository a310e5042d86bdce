/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hugebus bench`: what this host's bus does, each result beside the physical limit probed in the same second
 *
 * Starts a private bus, so it needs no running daemon and disturbs none.
 */
#include "bench/command.h"

#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/cases.h"
#include "bench/options.h"
#include "bench/probe.h"
#include "bench/report.h"
#include "ctl/client/hugebus.h"

#define WAKE_INTERVAL_US 1000u

enum kind { THROUGHPUT, PING_PONG, WAKE };

/* One line of the table. */
struct entry {
	const char *name;
	const char *title;
	enum kind kind;
	struct bench_case_params params;
};

static const struct entry entries[] = {
	{"throughput.8.run", "8 B, run records", THROUGHPUT, {BENCH_RUN, 8, 512, 1, 1, 0}},
	{"throughput.64.run", "64 B, run records", THROUGHPUT, {BENCH_RUN, 64, 128, 1, 1, 0}},
	{"throughput.8.batch", "8 B, batches of 64", THROUGHPUT, {BENCH_BATCH, 8, 64, 1, 1, 0}},
	{"throughput.64.batch", "64 B, batches of 64", THROUGHPUT, {BENCH_BATCH, 64, 64, 1, 1, 0}},
	{"throughput.8.single", "8 B, one by one", THROUGHPUT, {BENCH_SINGLE, 8, 1, 1, 1, 0}},
	{"throughput.64.single", "64 B, one by one", THROUGHPUT, {BENCH_SINGLE, 64, 1, 1, 1, 0}},
	{"throughput.256.single", "256 B, one by one", THROUGHPUT, {BENCH_SINGLE, 256, 1, 1, 1, 0}},
	{"throughput.1024.single", "1 KiB, one by one", THROUGHPUT, {BENCH_SINGLE, 1024, 1, 1, 1, 0}},
	{"throughput.8192.single", "8 KiB, one by one", THROUGHPUT, {BENCH_SINGLE, 8192, 1, 1, 1, 0}},
	{"throughput.65536.single", "64 KiB, one by one", THROUGHPUT, {BENCH_SINGLE, 65536, 1, 1, 1, 0}},
	{"rtt.56", "round trip, 56 B (one line)", PING_PONG, {BENCH_SINGLE, 56, 1, 1, 1, 0}},
	{"rtt.64", "round trip, 64 B (two lines)", PING_PONG, {BENCH_SINGLE, 64, 1, 1, 1, 0}},
	{"broadcast.2", "64 B batches to 2 readers", THROUGHPUT, {BENCH_BATCH, 64, 64, 1, 2, 0}},
	{"broadcast.4", "64 B batches to 4 readers", THROUGHPUT, {BENCH_BATCH, 64, 64, 1, 4, 0}},
	{"broadcast.8", "64 B batches to 8 readers", THROUGHPUT, {BENCH_BATCH, 64, 64, 1, 8, 0}},
	{"publishers.2", "64 B batches from 2 publishers", THROUGHPUT, {BENCH_BATCH, 64, 64, 2, 1, 0}},
	{"publishers.4", "64 B batches from 4 publishers", THROUGHPUT, {BENCH_BATCH, 64, 64, 4, 1, 0}},
	{"wake.64", "wake a sleeping reader, one way", WAKE, {BENCH_SINGLE, 64, 1, 1, 1, WAKE_INTERVAL_US}},
};
#define N_ENTRIES (sizeof(entries) / sizeof(entries[0]))

struct options {
	const char *only;
	const char *socket;
	unsigned int n_repeats;
	unsigned int duration_ms;
	bool is_json;
	bool is_quiet;
};

static const char help[] =
	"Usage: hugebus bench [options]\n"
	"       hugebus bench COMMAND [options]     (hugebus bench COMMAND --help)\n"
	"Measures throughput, latency, broadcast and wake-up between processes of this host. Each result stands\n"
	"beside the physical limit that two bare cores reach in the same second, and is given as a ratio to it.\n\n"
	"  --quick           three short repetitions (about 20 s): shows that it works, not the speed\n"
	"  --repeats N       interleaved repetitions, 1..64 (default 5)\n"
	"  --duration MS     of each measurement, 20..10000 (default 250)\n"
	"  --only PATTERN    results whose name matches, such as 'rtt.*' (--list shows the names)\n"
	"  --socket PATH     measure on this bus instead of a private one\n"
	"  --json            for programs\n"
	"  --list            names and titles\n"
	"  --quiet           no progress on stderr\n"
	"  --help, --version\n\n"
	"Exit: 0 done, 1 a measurement failed, 2 usage.\n";

static unsigned int limit_of(const struct entry *entry, struct bench_run *run, const struct bench_cores *cores,
			     double *ret_limit, const char **ret_name)
{
	uint64_t p99 = 0;

	switch (entry->kind) {
	case THROUGHPUT:
		*ret_name = "bare streaming loop between two cores";
		*ret_limit = bench_probe_stream(run, cores, entry->params.size);
		break;
	case PING_PONG:
		*ret_name = entry->params.size <= 56 ? "bare ping-pong of one cache line" : "bare ping-pong of two cache lines";
		*ret_limit = bench_probe_ping_pong(run, cores, entry->params.size <= 56 ? 1 : 2, &p99);
		break;
	case WAKE:
		*ret_name = "bare futex wake";
		*ret_limit = bench_probe_futex(run, cores, entry->params.interval_us);
		break;
	}
	return *ret_limit > 0 ? 0 : 1;
}

static unsigned int value_of(const struct entry *entry, struct bench_run *run, const struct bench_cores *cores,
			     struct bench_result *result, double *ret_value)
{
	double total = 0;

	switch (entry->kind) {
	case THROUGHPUT:
		*ret_value = bench_case_throughput(run, cores, &entry->params, &total);
		if (entry->params.n_subscribers > 1)
			bench_samples_add(&result->total, total);
		break;
	case PING_PONG:
		*ret_value = bench_case_ping_pong(run, cores, &entry->params);
		bench_histogram_merge(result->histogram, &run->shared->histogram);
		break;
	case WAKE:
		*ret_value = bench_case_wake(run, cores, &entry->params);
		bench_histogram_merge(result->histogram, &run->shared->histogram);
		break;
	}
	return *ret_value > 0 ? 0 : 1;
}

/* Limit and value alternate in order, so that a drift of the machine favours neither. */
static void measure(const struct entry *entry, struct bench_run *run, const struct bench_cores *cores, unsigned int repeat,
		    struct bench_result *result)
{
	double value = 0, limit = 0;
	unsigned int n_failed = 0;

	if (repeat % 2 == 0)
		n_failed += limit_of(entry, run, cores, &limit, &result->limit_name);
	n_failed += value_of(entry, run, cores, result, &value);
	if (repeat % 2 == 1)
		n_failed += limit_of(entry, run, cores, &limit, &result->limit_name);
	if (n_failed) {
		result->has_failed = true;
		return;
	}
	bench_samples_add(&result->value, value);
	bench_samples_add(&result->limit, limit);
	bench_samples_add(&result->ratio, value / limit);
}

static void result_init(struct bench_result *result, const struct entry *entry, const struct bench_cores *cores)
{
	memset(result, 0, sizeof(*result));
	result->name = entry->name;
	result->title = entry->title;
	result->is_lower_better = entry->kind == PING_PONG || entry->kind == WAKE;
	result->unit = result->is_lower_better ? "ns" : "events/s";
	result->is_oversubscribed = entry->params.n_publishers + entry->params.n_subscribers > cores->n;
	if (result->is_lower_better)
		result->histogram = calloc(1, sizeof(*result->histogram));
}

/* What pages a ring of this bus gets now. */
static const char *page_size_of(const char *socket)
{
	struct hbus_publisher_info info = {0};
	struct hbus_publisher *publisher = NULL;
	struct hbus *bus = NULL;
	hbus_topic_t topic;

	if (hbus_open(socket, NULL, &bus) == 0 && hbus_publisher_open(bus, NULL, &publisher) == 0 &&
	    hbus_publisher_topic(publisher, "page-size", NULL, NULL, &topic) == 0)
		(void)hbus_publisher_info(publisher, &info);
	hbus_publisher_close(publisher);
	hbus_close(bus);
	return info.is_huge ? "2 MiB" : "4 KiB";
}

static int run_all(const struct options *options, const char *socket)
{
	static struct bench_result results[N_ENTRIES];
	struct bench_cores cores;
	struct bench_report report = {.cores = &cores, .results = results, .n_repeats = options->n_repeats};
	struct bench_run run = {.socket = socket, .duration_ms = options->duration_ms};
	unsigned int chosen[N_ENTRIES], n_failed = 0;
	uint64_t begin = bench_now_ns();

	bench_cores_find(&cores);
	run.shared = mmap(NULL, sizeof(*run.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.shared == MAP_FAILED)
		return 1;
	report.page_size = page_size_of(socket);
	report.noise = bench_noise(300);
	for (unsigned int i = 0; i < N_ENTRIES; i++) {
		if (options->only && fnmatch(options->only, entries[i].name, 0) != 0)
			continue;
		chosen[report.n_results] = i;
		result_init(&results[report.n_results++], &entries[i], &cores);
	}
	for (unsigned int repeat = 0; repeat < options->n_repeats; repeat++) {
		for (unsigned int i = 0; i < report.n_results; i++) {
			if (!options->is_quiet)
				fprintf(stderr, "\r%u/%u %-40s", repeat + 1, options->n_repeats, results[i].title);
			if (!results[i].has_failed)
				measure(&entries[chosen[i]], &run, &cores, repeat, &results[i]);
		}
	}
	if (!options->is_quiet)
		fprintf(stderr, "\r%-60s\r", "");
	report.seconds = (double)(bench_now_ns() - begin) / 1e9;
	if (options->is_json)
		bench_report_json(&report, stdout);
	else
		bench_report_table(&report, stdout);
	for (unsigned int i = 0; i < report.n_results; i++)
		n_failed += results[i].has_failed;
	if (report.n_results == 0)
		fprintf(stderr, "hugebus-bench: no result is named %s; see --list\n", options->only);
	return n_failed > 0 || report.n_results == 0;
}

static int parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{"quick", no_argument, NULL, 'q'},   {"repeats", required_argument, NULL, 'r'},
		{"duration", required_argument, NULL, 'd'}, {"only", required_argument, NULL, 'o'},
		{"socket", required_argument, NULL, 's'},   {"json", no_argument, NULL, 'j'},
		{"list", no_argument, NULL, 'l'},    {"quiet", no_argument, NULL, 'Q'},
		{"help", no_argument, NULL, 'h'},    {"version", no_argument, NULL, 'V'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "hV", longs, NULL)) != -1) {
		switch (c) {
		case 'q':
			options->n_repeats = 3;
			options->duration_ms = 50;
			break;
		case 'r':
			if (!bench_number(optarg, 1, BENCH_REPEATS_MAX, &options->n_repeats))
				return bench_usage("--repeats takes 1 to 64", optarg);
			break;
		case 'd':
			if (!bench_number(optarg, 20, 10000, &options->duration_ms))
				return bench_usage("--duration takes 20 to 10000 ms", optarg);
			break;
		case 'o':
			options->only = optarg;
			break;
		case 's':
			options->socket = optarg;
			break;
		case 'j':
			options->is_json = true;
			break;
		case 'Q':
			options->is_quiet = true;
			break;
		case 'l':
			for (unsigned int i = 0; i < N_ENTRIES; i++)
				printf("%-26s %s\n", entries[i].name, entries[i].title);
			return -1;
		case 'h':
			fputs(help, stdout);
			return -1;
		case 'V':
			printf("hugebus-bench %s\n", HBUS_VERSION);
			return -1;
		default:
			return 2;
		}
	}
	return optind < argc ? bench_usage("not an option", argv[optind]) : 0;
}

int bench_host_main(int argc, char **argv)
{
	struct options options = {.n_repeats = 5, .duration_ms = 250};
	struct bench_bus bus = {0};
	int r = parse(argc, argv, &options);

	if (r)
		return r < 0 ? 0 : r;
	if (!isatty(STDERR_FILENO))
		options.is_quiet = true;
	if (options.socket)
		return run_all(&options, options.socket);
	if (bench_bus_start(&bus))
		return 1;
	r = run_all(&options, bus.socket);
	bench_bus_stop(&bus);
	return r;
}
