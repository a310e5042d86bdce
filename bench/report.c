/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables and JSON. See report.h. */
#include "bench/report.h"

#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>

/* A figure and its unit, in nine and five columns. */
static void human(double value, const char *unit, char *text, size_t size)
{
	bool is_time = strcmp(unit, "ns") == 0;

	if (is_time && value >= 1e6)
		snprintf(text, size, "%9.2f ms   ", value / 1e6);
	else if (is_time && value >= 1e4)
		snprintf(text, size, "%9.1f us   ", value / 1e3);
	else if (value >= 1e9)
		snprintf(text, size, "%9.2f G%-4s", value / 1e9, unit);
	else if (value >= 1e6)
		snprintf(text, size, "%9.1f M%-4s", value / 1e6, unit);
	else if (value >= 1e4)
		snprintf(text, size, "%9.1f k%-4s", value / 1e3, unit);
	else if (value >= 100)
		snprintf(text, size, "%9.0f %-5s", value, unit);
	else if (value >= 1)
		snprintf(text, size, "%9.1f %-5s", value, unit);
	else
		snprintf(text, size, "%9.3f %-5s", value, unit);
}

static const char *unit_of(const struct bench_result *result)
{
	if (result->unit_short)
		return result->unit_short;
	return result->is_lower_better ? "ns" : "ev/s";
}

static void table_row(const struct bench_result *result, FILE *out)
{
	char value[32], limit[32], total[32];

	if (result->has_failed || result->value.n == 0) {
		fprintf(out, "%-34s %14s\n", result->title, "failed");
		return;
	}
	human(bench_samples_median(&result->value), unit_of(result), value, sizeof(value));
	human(bench_samples_median(&result->limit), unit_of(result), limit, sizeof(limit));
	fprintf(out, "%-34s %s +-%3.0f%%", result->title, value, 100 * bench_samples_spread(&result->value));
	if (result->limit.n)
		fprintf(out, " %s %6.2f +-%3.0f%%", limit, bench_samples_median(&result->ratio),
			100 * bench_samples_spread(&result->ratio));
	else
		fprintf(out, " %15s %6s %6s", "", "", "");
	if (result->total.n) {
		human(bench_samples_median(&result->total), unit_of(result), total, sizeof(total));
		fprintf(out, "  %s: %s", result->total_name ? result->total_name : "all readers", total + strspn(total, " "));
	}
	if (result->above.n)
		fprintf(out, "  %+.1f ns", bench_samples_median(&result->above));
	if (result->is_oversubscribed)
		fputs("  oversubscribed", out);
	if (result->note[0])
		fprintf(out, "  %s", result->note);
	fputc('\n', out);
	if (result->limit_p99.n)
		fprintf(out, "%-34s p99 %.0f ns, of the limit %.0f ns: %.2f +-%3.0f%%\n", "", bench_samples_median(&result->p99),
			bench_samples_median(&result->limit_p99), bench_samples_median(&result->p99_ratio),
			100 * bench_samples_spread(&result->p99_ratio));
	if (result->histogram && result->histogram->n) {
		const struct bench_histogram *h = result->histogram;

		fprintf(out, "%-34s p50 %lu  p90 %lu  p99 %lu  p99.9 %lu  p99.99 %lu  max %lu ns\n", "",
			(unsigned long)bench_histogram_percentile(h, 0.5), (unsigned long)bench_histogram_percentile(h, 0.9),
			(unsigned long)bench_histogram_percentile(h, 0.99),
			(unsigned long)bench_histogram_percentile(h, 0.999),
			(unsigned long)bench_histogram_percentile(h, 0.9999), (unsigned long)h->max);
	}
}

static const char *warning_of(const struct bench_report *report)
{
	const struct bench_quiet before = {.busy = report->noise};

	return bench_quiet_warning(report->quiet ? report->quiet : &before);
}

void bench_report_table(const struct bench_report *report, FILE *out)
{
	struct utsname host;

	uname(&host);
	fprintf(out, "\nhugebus %s on %s %s; %s; rings on %s pages\n", HBUS_VERSION, host.sysname, host.release,
		report->cores->text, report->page_size);
	fprintf(out, "Medians of %u interleaved repetitions; +- is half the distance of the quartiles. The limit is\n"
		     "what two bare cores do in the same second; ratio = hugebus / limit.\n",
		report->n_repeats);
	if (warning_of(report))
		fprintf(out, "Warning: not quiet: %s.\nLook at the ratios, not at the figures.\n", warning_of(report));
	fprintf(out, "\n%-34s %15s %6s %15s %6s\n", "measure", "hugebus", "", "limit", "ratio");
	for (unsigned int i = 0; i < report->n_results; i++)
		table_row(&report->results[i], out);
	fprintf(out, "\n%.0f s\n", report->seconds);
}

static json_t *samples_json(const struct bench_samples *samples)
{
	json_t *values = json_array();

	for (unsigned int i = 0; i < samples->n; i++)
		json_array_append_new(values, json_real(samples->value[i]));
	return json_pack("{s:f, s:f, s:o}", "median", bench_samples_median(samples), "spread",
			 bench_samples_spread(samples), "samples", values);
}

static json_t *percentiles_json(const struct bench_histogram *h)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "p50", (json_int_t)bench_histogram_percentile(h, 0.5), "p90",
			 (json_int_t)bench_histogram_percentile(h, 0.9), "p99",
			 (json_int_t)bench_histogram_percentile(h, 0.99), "p99.9",
			 (json_int_t)bench_histogram_percentile(h, 0.999), "p99.99",
			 (json_int_t)bench_histogram_percentile(h, 0.9999), "max", (json_int_t)h->max, "n", (json_int_t)h->n);
}

static json_t *result_json(const struct bench_result *result)
{
	json_t *object = json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:o}", "name", result->name, "title", result->title, "unit",
				   result->unit, "lower_is_better", result->is_lower_better, "oversubscribed",
				   result->is_oversubscribed, "failed", result->has_failed, "value",
				   samples_json(&result->value));

	if (result->limit.n) {
		json_object_set_new(object, "limit_name", json_string(result->limit_name));
		json_object_set_new(object, "limit", samples_json(&result->limit));
		json_object_set_new(object, "ratio", samples_json(&result->ratio));
	}
	if (result->limit_p99.n) {
		json_object_set_new(object, "p99", samples_json(&result->p99));
		json_object_set_new(object, "limit_p99", samples_json(&result->limit_p99));
		json_object_set_new(object, "p99_ratio", samples_json(&result->p99_ratio));
	}
	if (result->above.n)
		json_object_set_new(object, "above", samples_json(&result->above));
	if (result->note[0])
		json_object_set_new(object, "note", json_string(result->note));
	if (result->total.n)
		json_object_set_new(object, "total", samples_json(&result->total));
	if (result->total.n)
		json_object_set_new(object, "total_name", json_string(result->total_name ? result->total_name : "all readers"));
	if (result->histogram && result->histogram->n)
		json_object_set_new(object, "percentiles_ns", percentiles_json(result->histogram));
	return object;
}

int bench_report_json(const struct bench_report *report, FILE *out)
{
	json_t *results = json_array(), *root;
	struct utsname host;
	int r;

	uname(&host);
	for (unsigned int i = 0; i < report->n_results; i++)
		json_array_append_new(results, result_json(&report->results[i]));
	root = json_pack("{s:s, s:s, s:s, s:s, s:b, s:i, s:b, s:f, s:b, s:i, s:f, s:o}", "version", HBUS_VERSION, "kernel",
			 host.release, "cores", report->cores->text, "page_size", report->page_size, "siblings",
			 report->cores->are_siblings, "shared_cache_level", report->cores->shared_level, "one_node",
			 report->cores->are_one_node, "noise", report->quiet ? report->quiet->busy : report->noise,
			 "is_quiet", warning_of(report) == NULL, "repeats", (int)report->n_repeats, "seconds",
			 report->seconds, "results", results);
	if (report->quiet)
		json_object_set_new(root, "quiet",
				    json_pack("{s:f, s:f, s:f, s:f}", "busy_before", report->quiet->busy, "steal",
					      report->quiet->steal, "switches_per_s", report->quiet->switches, "load",
					      report->quiet->load));
	r = json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	fputc('\n', out);
	json_decref(root);
	return r;
}
