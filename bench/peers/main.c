/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hugebus-peers: hugebus and other ways to move events between two processes, side by side
 *
 * All candidates take turns in each repetition, on the same two cores, so what the machine does meanwhile meets all of
 * them. Each measurement has a probe of what two bare cores do beside it, and stands between two looks at how far apart
 * these are. Prints JSON; report.py makes pages of it.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/json.h"
#include "bench/options.h"
#include "bench/peers/measure.h"
#include "bench/probe.h"
#include "bench/text.h"
#include "program/stdout.h"

#define N_PEERS_MAX 32u
/* The limit beside a cell takes this part of the cell's time. */
#define LIMIT_PART 4u
static const unsigned int sizes[] = {8, 64, 256, 1024};
static const unsigned int rtt_sizes[] = {56, 64};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))
#define N_RTT_SIZES (sizeof(rtt_sizes) / sizeof(rtt_sizes[0]))
#define N_COLUMNS (N_SIZES + N_RTT_SIZES)

/* A limit's own row is a result without a limit. */
struct table {
	const struct peer *peer[N_PEERS_MAX];
	struct bench_result cell[N_PEERS_MAX][N_COLUMNS];
	struct bench_result limit[N_COLUMNS];
	unsigned int n;
	struct peer_absent absent[N_PEERS_MAX]; /* not in this run */
	unsigned int n_absent;
};

/* What stays the same for all cells. */
struct stage {
	struct bench_run *run;
	const struct bench_cores *cores;
	struct bench_placement *placement;
};

struct options {
	const char *only;
	unsigned int n_repeats;
	unsigned int duration_ms;
	bool is_quiet;
};

static const char help[] =
	"Usage: hugebus-peers [options]\n"
	"Measures hugebus and other ways to move events between two processes in one interleaved run: events\n"
	"a second of 8 B to 1 KiB, and round trips. Prints JSON. bench/peers/run makes tables and pictures\n"
	"of it.\n\n"
	"  --repeats N       interleaved repetitions, 1..64 (default 7)\n"
	"  --duration MS     of each measurement, 20..10000 (default 200)\n"
	"  --only PATTERN    only these peers (shell patterns with commas between, e.g. 'hugebus*,ck*')\n"
	"  --list            names of the peers of this build, and how each is used\n"
	"  --help, --version\n\n"
	"Exit status: 0 done; 1 a measurement failed; 2 wrong usage.\n";

static bool is_round_trip(unsigned int column)
{
	return column >= N_SIZES;
}

static unsigned int column_size(unsigned int column)
{
	return is_round_trip(column) ? rtt_sizes[column - N_SIZES] : sizes[column];
}

static double probe(const struct stage *stage, unsigned int column)
{
	uint64_t p99;

	if (is_round_trip(column))
		return bench_probe_ping_pong(stage->run, stage->cores, column_size(column) > 56 ? 2 : 1, &p99);
	return bench_probe_stream(stage->run, stage->cores, column_size(column));
}

/* For a quarter of the time: there are many of them. */
static double probe_beside(const struct stage *stage, unsigned int column)
{
	unsigned int duration_ms = stage->run->duration_ms;
	double limit;

	stage->run->duration_ms = duration_ms / LIMIT_PART;
	limit = probe(stage, column);
	stage->run->duration_ms = duration_ms;
	return limit;
}

/* One more sample, and a look where the CPUs are now. */
static void add(const struct stage *stage, struct bench_result *cell, double value, double limit)
{
	unsigned int i = cell->value.n;

	cell->has_distance = stage->cores->n > 1;
	cell->probe_before[i] = stage->placement->n - 1;
	bench_samples_add(&cell->value, value);
	if (limit > 0) {
		bench_samples_add(&cell->limit, limit);
		bench_samples_add(&cell->ratio, value / limit);
	}
	(void)bench_placement_probe(stage->placement, stage->run, stage->cores);
}

static double measure_value(const struct stage *stage, const struct peer *peer, unsigned int column, struct bench_result *cell)
{
	struct bench_histogram **each = &cell->histogram[cell->value.n];
	double value;

	if (!is_round_trip(column))
		return peers_throughput(stage->run, stage->cores, peer, column_size(column));
	value = peers_round_trip(stage->run, stage->cores, peer, column_size(column));
	cell->is_closed_loop = true;
	*each = malloc(sizeof(**each));
	if (*each)
		**each = stage->run->shared->histogram;
	return value;
}

/* One cell of one repetition and its limit, which take turns in being first. */
static void measure(const struct stage *stage, const struct peer *peer, unsigned int column, unsigned int repeat,
		    unsigned int n_repeats, struct bench_result *cell)
{
	double value = 0, limit = 0;

	if (cell->has_failed || (peer->is_rtt_only && !is_round_trip(column)))
		return;
	bench_blame_begin();
	if (repeat % 2 == 0)
		limit = probe_beside(stage, column);
	value = measure_value(stage, peer, column, cell);
	if (repeat % 2 == 1)
		limit = probe_beside(stage, column);
	if (value > 0 && limit > 0) {
		add(stage, cell, value, limit);
		return;
	}
	bench_result_fail(cell, repeat, n_repeats);
	fprintf(stderr, "hugebus-peers: %s, %s of %u B, failed; the others go on\n", peer->title,
		is_round_trip(column) ? "round trip" : "throughput", column_size(column));
}

static void repeat_all(struct table *table, const struct options *options, const struct stage *stage)
{
	(void)bench_placement_probe(stage->placement, stage->run, stage->cores);
	for (unsigned int repeat = 0; repeat < options->n_repeats; repeat++) {
		for (unsigned int column = 0; column < N_COLUMNS; column++) {
			double limit = probe(stage, column);

			if (limit > 0)
				add(stage, &table->limit[column], limit, 0);
			/* Each repetition begins with another peer. */
			for (unsigned int i = 0; i < table->n; i++) {
				unsigned int row = (i + repeat) % table->n;

				if (!options->is_quiet)
					bench_text_progress("%u/%u %4u B %s", repeat + 1, options->n_repeats,
						column_size(column), table->peer[row]->title);
				measure(stage, table->peer[row], column, repeat, options->n_repeats, &table->cell[row][column]);
			}
		}
	}
	if (!options->is_quiet)
		bench_text_progress("%s", "");
	bench_placement_judge(stage->placement);
}

/* -- JSON -- */

static const char *column_name(unsigned int column)
{
	static char name[32];

	snprintf(name, sizeof(name), "%s.%u", is_round_trip(column) ? "rtt" : "throughput", column_size(column));
	return name;
}

static json_t *row_json(const struct bench_report *report, const struct table *table, unsigned int row)
{
	const struct peer *peer = table->peer[row];
	json_t *cells = json_object();

	for (unsigned int column = 0; column < N_COLUMNS; column++)
		if (table->cell[row][column].value.n || table->cell[row][column].has_failed)
			json_object_set_new(cells, column_name(column), bench_figures_json(report, &table->cell[row][column]));
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:o}", "name", peer->name, "title", peer->title, "settings", peer->settings,
			 "version", peer->version ? peer->version() : "kernel", "batches", peer->is_own_batching, "cells", cells);
}

static void print_json(const struct bench_report *report, const struct table *table, unsigned int duration_ms)
{
	json_t *rows = json_array(), *limits = json_object(), *absent = json_array(), *root = bench_head_json(report);

	for (unsigned int row = 0; row < table->n; row++)
		json_array_append_new(rows, row_json(report, table, row));
	for (unsigned int column = 0; column < N_COLUMNS; column++)
		json_object_set_new(limits, column_name(column), bench_figures_json(report, &table->limit[column]));
	json_object_set_new(root, "duration_ms", json_integer((json_int_t)duration_ms));
	json_object_set_new(root, "limits", limits);
	json_object_set_new(root, "peers", rows);
	for (unsigned int i = 0; i < table->n_absent; i++)
		json_array_append_new(absent, json_pack("{s:s, s:s, s:s}", "name", table->absent[i].name, "title",
							table->absent[i].title, "reason", table->absent[i].reason));
	json_object_set_new(root, "left_out", absent);
	json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(root);
}

/* -- the run -- */

/* Return: how many cells failed. */
static unsigned int count_failed(const struct table *table)
{
	unsigned int n = 0;

	for (unsigned int column = 0; column < N_COLUMNS; column++) {
		n += table->limit[column].value.n == 0;
		for (unsigned int row = 0; row < table->n; row++)
			n += table->cell[row][column].has_failed;
	}
	return n;
}

static void leave_out(struct table *table, const char *name, const char *title, const char *reason)
{
	if (table->n_absent < N_PEERS_MAX)
		table->absent[table->n_absent++] = (struct peer_absent){name, title, reason};
	fprintf(stderr, "hugebus-peers: %s is left out: %s\n", title, reason);
}

static void choose(struct table *table, const char *only)
{
	for (unsigned int i = 0; peers[i] && table->n < N_PEERS_MAX; i++) {
		if (!bench_matches(only, peers[i]->name))
			continue;
		if (peers[i]->start && peers[i]->start())
			leave_out(table, peers[i]->name, peers[i]->title, "it could not be started");
		else
			table->peer[table->n++] = peers[i];
	}
	for (unsigned int i = 0; peers_absent[i].name; i++)
		if (bench_matches(only, peers_absent[i].name))
			leave_out(table, peers_absent[i].name, peers_absent[i].title, peers_absent[i].reason);
}

static void stop_all(const struct table *table)
{
	for (unsigned int row = 0; row < table->n; row++)
		if (table->peer[row]->stop)
			table->peer[row]->stop();
}

static int run_all(const struct bench_bus *bus, void *context)
{
	const struct options *options = context;
	static struct table table;
	struct bench_cores cores;
	struct bench_placement placement = {0};
	struct bench_quiet quiet;
	struct bench_report report = {.cores = &cores, .page_size = bench_page_size(bus->socket), .quiet = &quiet, .placement = &placement,
				      .n_repeats = options->n_repeats};
	struct bench_run run = {.duration_ms = options->duration_ms, .socket = bus->socket};
	struct stage stage = {.run = &run, .cores = &cores, .placement = &placement};
	uint64_t begin = bench_now_ns();

	bench_cores_find(&cores);
	run.shared = mmap(NULL, sizeof(*run.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.shared == MAP_FAILED)
		return 1;
	choose(&table, options->only);
	if (table.n == 0) {
		fprintf(stderr, "hugebus-peers: no peer of this build is named %s; see --list\n", options->only);
		return 2;
	}
	bench_quiet_begin(&quiet);
	repeat_all(&table, options, &stage);
	bench_quiet_end(&quiet, 0, 0);
	report.seconds = (double)(bench_now_ns() - begin) / 1e9;
	print_json(&report, &table, options->duration_ms);
	stop_all(&table);
	bench_placement_deinit(&placement);
	return count_failed(&table) > 0;
}

static void print_list(void)
{
	for (unsigned int i = 0; peers[i]; i++)
		printf("%-18s %-22s %s\n", peers[i]->name, peers[i]->version ? peers[i]->version() : "kernel", peers[i]->settings);
	for (unsigned int i = 0; peers_absent[i].name; i++)
		printf("%-18s %-22s left out: %s\n", peers_absent[i].name, "-", peers_absent[i].reason);
}

static int parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{"repeats", required_argument, NULL, 'r'}, {"duration", required_argument, NULL, 'd'},
		{"only", required_argument, NULL, 'o'},    {"list", no_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},          {"version", no_argument, NULL, 'V'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "hV", longs, NULL)) != -1) {
		switch (c) {
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
		case 'l':
			print_list();
			return -1;
		case 'h':
			fputs(help, stdout);
			return -1;
		case 'V':
			printf("hugebus-peers %s\n", HBUS_VERSION);
			return -1;
		default:
			return 2;
		}
	}
	return optind < argc ? bench_usage("not an option", argv[optind]) : 0;
}

int main(int argc, char **argv)
{
	struct options options = {.n_repeats = 7, .duration_ms = 200, .is_quiet = !isatty(STDERR_FILENO)};
	struct bench_bus bus = {0};
	int r;

	hbus_stdout_check();
	r = parse(argc, argv, &options);
	if (r)
		return r < 0 ? 0 : r;
	bench_bus_hold(&bus);
	if (bench_bus_start(&bus))
		return 1;
	r = bench_bus_measure(&bus, run_all, &options);
	bench_bus_stop(&bus);
	return r;
}
