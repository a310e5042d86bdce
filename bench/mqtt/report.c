/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables and JSON of MQTT measurements. See report.h. */
#include "bench/mqtt/report.h"

#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>

#include "bench/text.h"

#define NOISE_LIMIT 0.10
#define INDENT 2u
#define BROKER_WIDTH 18u
/* The generator has no more to give; the broker has. */
#define LOADER_FULL 0.95
#define BROKER_FREE 0.90

static const double percents[] = {0.5, 0.9, 0.99, 0.999, 0.9999};
static const char *const percent_names[] = {"p50", "p90", "p99", "p99.9", "p99.99"};
static const char *const value_names[] = {"messages/s", "CPUs", "ns"};

static void human(enum bench_mqtt_value kind, double value, char *text, size_t size)
{
	if (kind == BENCH_MQTT_CPU)
		snprintf(text, size, "%.1f %% CPU", 100 * value);
	else if (kind == BENCH_MQTT_LATENCY)
		snprintf(text, size, "%.1f us", value / 1e3);
	else if (value >= 1e6)
		snprintf(text, size, "%.2f M/s", value / 1e6);
	else
		snprintf(text, size, "%.1f k/s", value / 1e3);
}

static void percentiles(const struct bench_histogram *h, FILE *out)
{
	fprintf(out, "%*s", (int)INDENT + 2, "");
	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
		fprintf(out, "%s %.1f  ", percent_names[i], (double)bench_histogram_percentile(h, percents[i]) / 1e3);
	fprintf(out, "max %.1f us\n", (double)h->max / 1e3);
}

static bool is_loader_the_limit(const struct bench_mqtt_case *entry, const struct bench_mqtt_cell *cell)
{
	return entry->value == BENCH_MQTT_RATE && cell->cpu.n && bench_samples_median(&cell->loader) > LOADER_FULL &&
	       bench_samples_median(&cell->cpu) < BROKER_FREE;
}

/* Below the case's title. */
static void row(const struct bench_mqtt_case *entry, const struct bench_mqtt_broker *broker, const struct bench_mqtt_cell *cell,
		FILE *out)
{
	char value[32];

	fprintf(out, "%*s%-*s ", (int)INDENT, "", (int)BROKER_WIDTH, broker->name);
	if (cell->has_failed || cell->rate.n == 0) {
		fprintf(out, "%12s\n", "failed");
		return;
	}
	if (cell->value.n == 0) {
		fprintf(out, "%12s (--pid says which process)\n", "not known");
		if (cell->latency && cell->latency->n)
			percentiles(cell->latency, out);
		return;
	}
	human(entry->value, bench_samples_median(&cell->value), value, sizeof(value));
	fprintf(out, "%12s %3.0f%%", value, 100 * bench_samples_spread(&cell->value));
	if (cell->cpu.n)
		fprintf(out, " %5.0f%%", 100 * bench_samples_median(&cell->cpu));
	else
		fprintf(out, " %6s", "");
	fprintf(out, " %5.0f%%", 100 * bench_samples_median(&cell->loader));
	if (cell->ratio.n)
		fprintf(out, " %7.2f %3.0f%%", bench_samples_median(&cell->ratio), 100 * bench_samples_spread(&cell->ratio));
	if (is_loader_the_limit(entry, cell))
		fputs("  *", out);
	fputc('\n', out);
	if (cell->window > 0 && cell->window < entry->params.window)
		fprintf(out, "%*sat most %u messages in flight: what it allows\n", (int)INDENT + 2, "", cell->window);
	if (cell->latency && cell->latency->n)
		percentiles(cell->latency, out);
}

static void head(const struct bench_mqtt_report *report, FILE *out)
{
	char text[512];
	struct utsname host;

	uname(&host);
	fprintf(out, "\nhugebus %s on %s %s\n", HBUS_VERSION, host.sysname, host.release);
	bench_text_wrap(report->cores->text, 0, 0, out);
	for (unsigned int i = 0; i < report->n_brokers; i++) {
		const struct bench_mqtt_broker *broker = &report->brokers[i];

		snprintf(text, sizeof(text), "%s: %s%s%s port %s", broker->name, broker->version, broker->version[0] ? ", " : "",
			 broker->target.endpoint.host, broker->target.endpoint.port);
		bench_text_wrap(text, 0, 0, out);
	}
	snprintf(text, sizeof(text), "Medians of %u interleaved repetitions; +- is half the distance of the quartiles. broker, gen.: CPU that broker "
		 "and generator used. ratio: %s's value divided by this broker's, of the same repetition. Every message was checked.",
		 report->n_repeats, report->brokers[0].name);
	bench_text_wrap(text, 0, 0, out);
	if (report->noise > NOISE_LIMIT) {
		snprintf(text, sizeof(text), "Warning: not quiet: %.0f %% of this machine's CPU time was busy before the run. Look at the "
			 "ratios, not at the figures.", 100 * report->noise);
		bench_text_wrap(text, 0, 0, out);
	}
}

void bench_mqtt_report_table(const struct bench_mqtt_report *report, FILE *out)
{
	bool has_star = false;

	head(report, out);
	fprintf(out, "\n%-*s %12s %4s %6s %6s %7s %4s\n", (int)(INDENT + BROKER_WIDTH), "measure", "value", "+-", "broker", "gen.",
		"ratio", "+-");
	for (unsigned int i = 0; i < report->n_cases; i++) {
		fprintf(out, "%s\n", report->cases[i].title);
		for (unsigned int j = 0; j < report->n_brokers; j++) {
			const struct bench_mqtt_cell *cell = &report->cells[i][j];

			if (!cell->is_run)
				continue;
			row(&report->cases[i], &report->brokers[j], cell, out);
			has_star |= is_loader_the_limit(&report->cases[i], cell);
		}
	}
	if (has_star)
		fputs("\n*  the generator is the limit: the broker had time to spare\n", out);
	fprintf(out, "\n%.0f s%s\n", report->seconds, report->was_interrupted ? ", interrupted" : "");
}

static json_t *samples_json(const struct bench_samples *samples)
{
	json_t *values = json_array();

	for (unsigned int i = 0; i < samples->n; i++)
		json_array_append_new(values, json_real(samples->value[i]));
	return json_pack("{s:f, s:f, s:o}", "median", bench_samples_median(samples), "spread",
			 bench_samples_spread(samples), "samples", values);
}

static json_t *latency_json(const struct bench_histogram *h)
{
	json_t *object = json_pack("{s:I, s:I}", "n", (json_int_t)h->n, "max", (json_int_t)h->max);

	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
		json_object_set_new(object, percent_names[i],
				    json_integer((json_int_t)bench_histogram_percentile(h, percents[i])));
	return object;
}

static json_t *cell_json(const struct bench_mqtt_case *entry, const struct bench_mqtt_broker *broker,
			 const struct bench_mqtt_cell *cell)
{
	json_t *value = cell->value.n || cell->has_failed ? samples_json(&cell->value) : json_null();
	json_t *object = json_pack("{s:s, s:b, s:o, s:o, s:o, s:I, s:I, s:i, s:b}", "broker", broker->name, "failed",
				   cell->has_failed, "value", value, "rate", samples_json(&cell->rate),
				   "generator_cpu", samples_json(&cell->loader), "messages", (json_int_t)cell->n_messages,
				   "faults", (json_int_t)cell->n_faults, "window", (int)cell->window, "generator_is_limit",
				   is_loader_the_limit(entry, cell));

	if (cell->cpu.n)
		json_object_set_new(object, "broker_cpu", samples_json(&cell->cpu));
	if (cell->ratio.n)
		json_object_set_new(object, "ratio", samples_json(&cell->ratio));
	if (cell->latency && cell->latency->n)
		json_object_set_new(object, "latency_ns", latency_json(cell->latency));
	return object;
}

static json_t *case_json(const struct bench_mqtt_report *report, unsigned int idx)
{
	const struct bench_mqtt_case *entry = &report->cases[idx];
	const struct bench_mqtt_params *params = &entry->params;
	json_t *cells = json_array();

	for (unsigned int j = 0; j < report->n_brokers; j++)
		if (report->cells[idx][j].is_run)
			json_array_append_new(cells, cell_json(entry, &report->brokers[j], &report->cells[idx][j]));
	return json_pack("{s:s, s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:o}", "name", entry->name, "title",
			 entry->title, "unit", value_names[entry->value], "lower_is_better",
			 entry->value != BENCH_MQTT_RATE, "protocol", params->version, "qos", params->qos, "publishers",
			 (int)params->n_publishers, "subscribers", (int)params->n_subscribers, "size", (int)params->size,
			 "window", (int)params->window, "rate", (int)params->rate, "irregular", params->is_irregular, "brokers", cells);
}

int bench_mqtt_report_json(const struct bench_mqtt_report *report, FILE *out)
{
	json_t *cases = json_array(), *brokers = json_array(), *root;
	struct utsname host;
	int r;

	uname(&host);
	for (unsigned int i = 0; i < report->n_cases; i++)
		json_array_append_new(cases, case_json(report, i));
	for (unsigned int i = 0; i < report->n_brokers; i++)
		json_array_append_new(brokers, json_pack("{s:s, s:s}", "name", report->brokers[i].name, "version",
							 report->brokers[i].version));
	root = json_pack("{s:s, s:s, s:s, s:f, s:b, s:b, s:i, s:f, s:o, s:o}", "version", HBUS_VERSION, "kernel", host.release,
			 "cores", report->cores->text, "noise", report->noise, "is_quiet", report->noise <= NOISE_LIMIT,
			 "interrupted", report->was_interrupted, "repeats", (int)report->n_repeats, "seconds",
			 report->seconds, "brokers", brokers, "cases", cases);
	r = json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	fputc('\n', out);
	json_decref(root);
	return r;
}
