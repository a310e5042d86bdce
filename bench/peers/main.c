/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hugebus-peers: hugebus and other ways to move events between two processes, side by side
 *
 * All candidates take turns in each repetition, on the same two cores, next to a probe of what two bare
 * cores do; so what the machine does meanwhile meets all of them. Prints JSON; report.py makes pages of it.
 */
#include <fnmatch.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/peers/measure.h"
#include "bench/probe.h"

#define N_PEERS_MAX 32u
static const unsigned int sizes[] = {8, 64, 256, 1024};
static const unsigned int rtt_sizes[] = {56, 64};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))
#define N_RTT_SIZES (sizeof(rtt_sizes) / sizeof(rtt_sizes[0]))
#define N_COLUMNS (N_SIZES + N_RTT_SIZES)

struct cell {
	struct bench_samples value, ratio;
	struct bench_histogram *histogram; /* round trips */
	bool has_failed;
};

struct table {
	const struct peer *peer[N_PEERS_MAX];
	struct cell cell[N_PEERS_MAX][N_COLUMNS];
	struct bench_samples limit[N_COLUMNS];
	unsigned int n;
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
	"  --only PATTERN    only these peers (as a shell pattern, e.g. 'hugebus*')\n"
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

static double probe(struct bench_run *run, const struct bench_cores *cores, unsigned int column)
{
	uint64_t p99;

	if (is_round_trip(column))
		return bench_probe_ping_pong(run, cores, column_size(column) > 56 ? 2 : 1, &p99);
	return bench_probe_stream(run, cores, column_size(column));
}

/* One cell of one repetition, beside the limit of the same repetition. */
static void measure(struct table *table, unsigned int row, unsigned int column, struct bench_run *run,
		    const struct bench_cores *cores, double limit)
{
	struct cell *cell = &table->cell[row][column];
	const struct peer *peer = table->peer[row];
	double value;

	if (cell->has_failed || (peer->is_rtt_only && !is_round_trip(column)))
		return;
	value = is_round_trip(column) ? peers_round_trip(run, cores, peer, column_size(column)) :
					peers_throughput(run, cores, peer, column_size(column));
	cell->has_failed = value <= 0 || limit <= 0;
	if (cell->has_failed)
		return;
	bench_samples_add(&cell->value, value);
	bench_samples_add(&cell->ratio, value / limit);
	if (is_round_trip(column) && !cell->histogram)
		cell->histogram = calloc(1, sizeof(*cell->histogram));
	if (cell->histogram)
		bench_histogram_merge(cell->histogram, &run->shared->histogram);
}

static void repeat_all(struct table *table, const struct options *options, struct bench_run *run, const struct bench_cores *cores)
{
	for (unsigned int repeat = 0; repeat < options->n_repeats; repeat++) {
		for (unsigned int column = 0; column < N_COLUMNS; column++) {
			double limit = probe(run, cores, column);

			bench_samples_add(&table->limit[column], limit);
			/* Each repetition begins with another peer. */
			for (unsigned int i = 0; i < table->n; i++) {
				unsigned int row = (i + repeat) % table->n;

				if (!options->is_quiet)
					fprintf(stderr, "\r%u/%u %4u B %-40s", repeat + 1, options->n_repeats,
						column_size(column), table->peer[row]->title);
				measure(table, row, column, run, cores, limit);
			}
		}
	}
	if (!options->is_quiet)
		fprintf(stderr, "\r%-70s\r", "");
}

/* -- JSON -- */

static json_t *samples_json(const struct bench_samples *samples)
{
	json_t *values = json_array();

	for (unsigned int i = 0; i < samples->n; i++)
		json_array_append_new(values, json_real(samples->value[i]));
	return json_pack("{s:f, s:f, s:o}", "median", bench_samples_median(samples), "spread", bench_samples_spread(samples),
			 "samples", values);
}

static const char *column_name(unsigned int column)
{
	static char name[32];

	snprintf(name, sizeof(name), "%s.%u", is_round_trip(column) ? "rtt" : "throughput", column_size(column));
	return name;
}

static json_t *cell_json(const struct cell *cell)
{
	json_t *object;

	if (cell->has_failed)
		return json_pack("{s:b}", "failed", 1);
	object = json_pack("{s:b, s:o, s:o}", "failed", 0, "value", samples_json(&cell->value), "ratio", samples_json(&cell->ratio));
	if (cell->histogram)
		json_object_set_new(object, "percentiles_ns",
				    json_pack("{s:I, s:I, s:I}", "p50",
					      (json_int_t)bench_histogram_percentile(cell->histogram, 0.5), "p99",
					      (json_int_t)bench_histogram_percentile(cell->histogram, 0.99), "p99.9",
					      (json_int_t)bench_histogram_percentile(cell->histogram, 0.999)));
	return object;
}

static json_t *row_json(const struct table *table, unsigned int row)
{
	const struct peer *peer = table->peer[row];
	json_t *cells = json_object();

	for (unsigned int column = 0; column < N_COLUMNS; column++)
		if (table->cell[row][column].value.n || table->cell[row][column].has_failed)
			json_object_set_new(cells, column_name(column), cell_json(&table->cell[row][column]));
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:o}", "name", peer->name, "title", peer->title, "settings", peer->settings,
			 "version", peer->version ? peer->version() : "kernel", "batches", peer->is_own_batching, "cells", cells);
}

static void print_json(const struct table *table, const struct options *options, const struct bench_cores *cores, double noise,
		       double seconds)
{
	json_t *rows = json_array(), *limits = json_object(), *root;
	struct utsname host;

	uname(&host);
	for (unsigned int row = 0; row < table->n; row++)
		json_array_append_new(rows, row_json(table, row));
	for (unsigned int column = 0; column < N_COLUMNS; column++)
		json_object_set_new(limits, column_name(column), samples_json(&table->limit[column]));
	root = json_pack("{s:s, s:s, s:s, s:f, s:i, s:i, s:f, s:o, s:o}", "version", HBUS_VERSION, "kernel", host.release, "cores",
			 cores->text, "noise", noise, "repeats", (int)options->n_repeats, "duration_ms", (int)options->duration_ms,
			 "seconds", seconds, "limits", limits, "peers", rows);
	json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(root);
}

/* -- the run -- */

/* Return: how many cells failed. */
static unsigned int count_failed(const struct table *table)
{
	unsigned int n = 0;

	for (unsigned int row = 0; row < table->n; row++)
		for (unsigned int column = 0; column < N_COLUMNS; column++)
			n += table->cell[row][column].has_failed;
	return n;
}

static void choose(struct table *table, const char *only)
{
	for (unsigned int i = 0; peers[i] && table->n < N_PEERS_MAX; i++) {
		if (only && fnmatch(only, peers[i]->name, 0) != 0)
			continue;
		if (peers[i]->start && peers[i]->start())
			continue;
		table->peer[table->n++] = peers[i];
	}
}

static int run_all(const struct options *options)
{
	static struct table table;
	struct bench_cores cores;
	struct bench_bus bus = {0};
	struct bench_run run = {.duration_ms = options->duration_ms};
	uint64_t begin = bench_now_ns();
	double noise = bench_noise(300);

	bench_cores_find(&cores);
	run.shared = mmap(NULL, sizeof(*run.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.shared == MAP_FAILED || bench_bus_start(&bus))
		return 1;
	run.socket = bus.socket;
	choose(&table, options->only);
	repeat_all(&table, options, &run, &cores);
	print_json(&table, options, &cores, noise, (double)(bench_now_ns() - begin) / 1e9);
	for (unsigned int row = 0; row < table.n; row++)
		if (table.peer[row]->stop)
			table.peer[row]->stop();
	bench_bus_stop(&bus);
	if (table.n == 0)
		fprintf(stderr, "hugebus-peers: no peer is named %s; see --list\n", options->only);
	return table.n == 0 || count_failed(&table) > 0;
}

static void print_list(void)
{
	for (unsigned int i = 0; peers[i]; i++)
		printf("%-18s %-22s %s\n", peers[i]->name, peers[i]->version ? peers[i]->version() : "kernel", peers[i]->settings);
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
	int r = parse(argc, argv, &options);

	if (r)
		return r < 0 ? 0 : r;
	return run_all(&options);
}
