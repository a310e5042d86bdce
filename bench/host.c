/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hugebus bench`: what this host's bus does, each result beside the physical limit probed in the same second
 *
 * Starts a private bus, so it needs no running daemon and disturbs none.
 */
#include "bench/command.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/measures.h"
#include "bench/options.h"
#include "bench/report.h"
#include "bench/text.h"

struct options {
	const char *only;
	const char *socket;
	unsigned int n_repeats;
	unsigned int duration_ms;
	enum bench_plant plant;
	bool is_json;
	bool is_quiet;
};

#define MEASURES_MAX 64u

static const char help[] =
	"Usage: hugebus bench [options]\n"
	"       hugebus bench COMMAND [options]     (hugebus bench COMMAND --help)\n"
	"Measures throughput, latency, broadcast, wake-up, attaching and idling between\n"
	"processes of this host, in about a minute and a half. Each result stands beside\n"
	"the physical limit that bare cores reach in the same second, as a ratio to it.\n"
	"Commands: ingress (packets), mqtt (brokers).\n\n"
	"  --quick           three short repetitions (about 20 s): shows that it works,\n"
	"                    not the speed\n"
	"  --repeats N       interleaved repetitions, 1..64 (default 5)\n"
	"  --duration MS     of each measurement, 20..10000 (default 200)\n"
	"  --only PATTERN    results whose name matches, such as 'rtt.*'; several with\n"
	"                    commas between (--list shows the names)\n"
	"  --socket PATH     measure on this bus instead of a private one\n"
	"  --plant FAULT     torn or lost: spoil one event of each throughput, to see\n"
	"                    that the checks notice; killed: its publisher is killed\n"
	"                    (exit 1, what else there is stands all the same); stall:\n"
	"                    the reader that is woken and the one that answers sleep\n"
	"                    20 ms once, to see that the percentiles show it\n"
	"  --json            for programs (docs/CLI.md has every member)\n"
	"  --list            names and titles\n"
	"  --quiet           no progress on stderr\n"
	"  --help, --version\n\n"
	"Exit: 0 done, 1 a measurement failed or was interrupted, 2 usage.\n";

/* The lines that were asked for. Return: how many. */
static unsigned int choose(const struct options *options, const struct bench_stage *stage, struct bench_result *results,
			   const struct bench_measure **chosen)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < bench_n_measures && n < MEASURES_MAX; i++) {
		if (!bench_matches(options->only, bench_measures[i].name))
			continue;
		chosen[n] = &bench_measures[i];
		bench_result_init(&results[n++], &bench_measures[i], stage);
	}
	return n;
}

static void say(const struct options *options, unsigned int repeat, const char *what)
{
	if (!options->is_quiet)
		bench_text_progress("%u/%u %s", repeat + 1, options->n_repeats, what);
}

/* One repetition of one line, and a look where the CPUs are now. Return: how often its processes lost their CPU. */
static uint64_t measure_one(const struct bench_measure *measure, const struct bench_stage *stage, unsigned int repeat,
			    unsigned int n_repeats, struct bench_placement *placement, struct bench_result *result)
{
	uint64_t n_switches = stage->run->n_switches;
	unsigned int i = result->value.n;

	if (result->has_failed)
		return 0;
	bench_blame_begin();
	bench_measure_once(measure, stage, repeat, result);
	if (result->has_failed) {
		bench_result_fail(result, repeat, n_repeats);
		fprintf(stderr, "hugebus-bench: %s failed; the others go on\n", measure->name);
	}
	if (result->value.n > i)
		result->probe_before[i] = placement->n - 1;
	(void)bench_placement_probe(placement, stage->run, stage->cores);
	return stage->run->n_switches - n_switches;
}

/* Rounds over all lines, so that what the machine does in one minute is not one line's. */
static void measure_all(const struct options *options, const struct bench_stage *stage, struct bench_report *report,
			const struct bench_measure *const *chosen, struct bench_placement *placement, struct bench_quiet *quiet)
{
	uint64_t n_switches = 0, alone_ns = 0;

	(void)bench_placement_probe(placement, stage->run, stage->cores);
	for (unsigned int repeat = 0; repeat < options->n_repeats; repeat++) {
		for (unsigned int i = 0; i < report->n_results; i++) {
			struct bench_result *result = &report->results[i];
			uint64_t begin = bench_now_ns(), n;

			say(options, repeat, result->title);
			n = measure_one(chosen[i], stage, repeat, options->n_repeats, placement, result);
			if (result->is_oversubscribed)
				continue;
			n_switches += n;
			alone_ns += bench_now_ns() - begin;
		}
	}
	if (!options->is_quiet)
		bench_text_progress("%s", "");
	bench_placement_judge(placement);
	bench_quiet_end(quiet, n_switches, (double)alone_ns / 1e9);
}

/* Return: how many lines failed. */
static unsigned int show(const struct options *options, const struct bench_report *report)
{
	unsigned int n_failed = 0;

	if (options->is_json)
		bench_report_json(report, stdout);
	else
		bench_report_table(report, stdout);
	for (unsigned int i = 0; i < report->n_results; i++) {
		n_failed += report->results[i].has_failed;
		bench_result_deinit(&report->results[i]);
	}
	return n_failed;
}

static int run_all(const struct options *options, const char *socket, int daemon_pid)
{
	static struct bench_result results[MEASURES_MAX];
	const struct bench_measure *chosen[MEASURES_MAX];
	struct bench_placement placement = {0};
	struct bench_cores cores;
	struct bench_quiet quiet;
	struct bench_report report = {.cores = &cores, .results = results, .n_repeats = options->n_repeats, .quiet = &quiet,
				      .placement = &placement};
	struct bench_run run = {.socket = socket, .duration_ms = options->duration_ms};
	struct bench_stage stage = {.run = &run, .cores = &cores, .daemon_pid = daemon_pid, .plant = options->plant};
	uint64_t begin = bench_now_ns();
	unsigned int n_failed;

	bench_cores_find(&cores);
	run.shared = mmap(NULL, sizeof(*run.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.shared == MAP_FAILED)
		return 1;
	report.page_size = bench_page_size(socket);
	report.n_results = choose(options, &stage, results, chosen);
	if (report.n_results == 0)
		return bench_usage("no result has such a name (see --list)", options->only);
	bench_quiet_begin(&quiet);
	measure_all(options, &stage, &report, chosen, &placement, &quiet);
	report.seconds = (double)(bench_now_ns() - begin) / 1e9;
	n_failed = show(options, &report);
	bench_placement_deinit(&placement);
	return n_failed > 0;
}

static bool parse_plant(const char *name, enum bench_plant *ret_plant)
{
	static const char *const names[] = {
		[BENCH_PLANT_TORN] = "torn", [BENCH_PLANT_LOST] = "lost", [BENCH_PLANT_STALL] = "stall", [BENCH_PLANT_KILLED] = "killed",
	};

	for (size_t i = BENCH_PLANT_NONE + 1; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) != 0)
			continue;
		*ret_plant = (enum bench_plant)i;
		return true;
	}
	return false;
}

static int parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{"quick", no_argument, NULL, 'q'},   {"repeats", required_argument, NULL, 'r'},
		{"duration", required_argument, NULL, 'd'}, {"only", required_argument, NULL, 'o'},
		{"socket", required_argument, NULL, 's'},   {"json", no_argument, NULL, 'j'},
		{"plant", required_argument, NULL, 'x'}, {"list", no_argument, NULL, 'l'},    {"quiet", no_argument, NULL, 'Q'},
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
		case 'x':
			if (!parse_plant(optarg, &options->plant))
				return bench_usage("--plant takes torn, lost, killed or stall", optarg);
			break;
		case 'j':
			options->is_json = true;
			break;
		case 'Q':
			options->is_quiet = true;
			break;
		case 'l':
			for (unsigned int i = 0; i < bench_n_measures; i++)
				printf("%-26s %s\n", bench_measures[i].name, bench_measures[i].title);
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

static int measure_on(const struct bench_bus *bus, void *options)
{
	return run_all(options, bus->socket, bus->pid);
}

int bench_host_main(int argc, char **argv)
{
	struct options options = {.n_repeats = 5, .duration_ms = 200};
	struct bench_bus bus = {0};
	int r = parse(argc, argv, &options);

	if (r)
		return r < 0 ? 0 : r;
	if (!isatty(STDERR_FILENO))
		options.is_quiet = true;
	if (options.socket)
		return bench_answers(options.socket) ? run_all(&options, options.socket, 0) : 1;
	bench_bus_hold(&bus);
	if (bench_bus_start(&bus))
		return 1;
	r = bench_bus_measure(&bus, measure_on, &options);
	bench_bus_stop(&bus);
	return r;
}
