/* SPDX-License-Identifier: BSD-3-Clause */
/* What a measurement found, as JSON: docs/CLI.md says what each member is. See report.h. */
#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>

#include "bench/json.h"
#include "bench/report.h"

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

static json_t *placement_json(const struct bench_placement *placement)
{
	return json_pack("{s:b, s:f, s:f, s:f, s:i, s:i}", "is_moving", placement->is_moving, "near_ns", placement->near_ns,
			 "far_ns", placement->far_ns, "boundary_ns", placement->boundary_ns, "n_near", (int)placement->n_near,
			 "n_far", (int)placement->n_far);
}

static json_t *quiet_json(const struct bench_quiet *quiet)
{
	return json_pack("{s:f, s:f, s:f, s:f}", "busy_before", quiet->busy, "steal", quiet->steal, "switches_per_s",
			 quiet->switches, "load", quiet->load);
}

/* Adds the members of @more, which it consumes. */
static void add_all(json_t *object, json_t *more)
{
	(void)json_object_update(object, more);
	json_decref(more);
}

static void add_samples(json_t *object, const char *name, const struct bench_samples *samples)
{
	if (samples->n)
		json_object_set_new(object, name, samples_json(samples));
}

static void add_percentiles(json_t *object, const struct bench_result *result)
{
	static struct bench_histogram all, corrected;
	uint64_t expected;

	if (!bench_result_histogram(result, &all))
		return;
	json_object_set_new(object, "percentiles_ns", percentiles_json(&all));
	if (!result->is_closed_loop)
		return;
	expected = bench_histogram_percentile(&all, 0.5);
	bench_histogram_correct(&all, expected, &corrected);
	json_object_set_new(object, "corrected_ns", percentiles_json(&corrected));
	json_object_set_new(object, "corrected_interval_ns", json_integer((json_int_t)expected));
}

/* What a result and each of its sides have. */
static json_t *figures_json(const struct bench_result *result)
{
	json_t *object = json_pack("{s:o}", "value", samples_json(&result->value));

	add_samples(object, "limit", &result->limit);
	add_samples(object, "ratio", &result->ratio);
	if (result->limit_p99.n) {
		add_samples(object, "p99", &result->p99);
		add_samples(object, "limit_p99", &result->limit_p99);
		add_samples(object, "p99_ratio", &result->p99_ratio);
	}
	add_samples(object, "above", &result->above);
	add_samples(object, "total", &result->total);
	add_percentiles(object, result);
	return object;
}

static void add_sides(json_t *object, const struct bench_report *report, const struct bench_result *result)
{
	json_t *distances = json_array();
	struct bench_result side;

	for (unsigned int i = 0; i < result->value.n; i++)
		json_array_append_new(distances, json_string(bench_distance_name(bench_report_distance(report, result, i))));
	json_object_set_new(object, "distances", distances);
	if (bench_report_side(report, result, BENCH_DISTANCE_NEAR, &side))
		json_object_set_new(object, "near", figures_json(&side));
	if (bench_report_side(report, result, BENCH_DISTANCE_FAR, &side))
		json_object_set_new(object, "far", figures_json(&side));
}

json_t *bench_figures_json(const struct bench_report *report, const struct bench_result *result)
{
	json_t *object = figures_json(result);

	json_object_set_new(object, "failed", json_boolean(result->has_failed));
	if (result->reason[0])
		json_object_set_new(object, "reason", json_string(result->reason));
	if (report->placement && result->has_distance)
		add_sides(object, report, result);
	return object;
}

static json_t *result_json(const struct bench_report *report, const struct bench_result *result)
{
	json_t *object = json_pack("{s:s, s:s, s:s, s:b, s:b}", "name", result->name, "title", result->title, "unit",
				   result->unit, "lower_is_better", result->is_lower_better, "oversubscribed",
				   result->is_oversubscribed);

	add_all(object, bench_figures_json(report, result));
	if (result->limit.n)
		json_object_set_new(object, "limit_name", json_string(result->limit_name));
	if (result->note[0])
		json_object_set_new(object, "note", json_string(result->note));
	if (result->total.n)
		json_object_set_new(object, "total_name", json_string(result->total_name ? result->total_name : "all readers"));
	return object;
}

json_t *bench_head_json(const struct bench_report *report)
{
	const struct bench_cores *cores = report->cores;
	struct utsname host;
	json_t *root;

	uname(&host);
	root = json_pack("{s:s, s:s, s:s, s:i, s:b, s:i, s:b}", "version", HBUS_VERSION, "kernel", host.release, "cores", cores->text,
			 "n_cpus", (int)cores->n, "siblings", cores->are_siblings, "shared_cache_level", cores->shared_level,
			 "one_node", cores->are_one_node);
	add_all(root, json_pack("{s:s, s:f, s:b, s:o, s:i, s:f}", "page_size", report->page_size, "noise",
					       report->quiet->busy, "is_quiet", bench_quiet_warning(report->quiet) == NULL, "quiet",
					       quiet_json(report->quiet), "repeats", (int)report->n_repeats, "seconds",
					       report->seconds));
	if (bench_quiet_warning(report->quiet))
		json_object_set_new(root, "warning", json_string(bench_quiet_warning(report->quiet)));
	if (report->placement)
		json_object_set_new(root, "placement", placement_json(report->placement));
	return root;
}

int bench_report_json(const struct bench_report *report, FILE *out)
{
	json_t *root = bench_head_json(report), *results = json_array();
	int r;

	for (unsigned int i = 0; i < report->n_results; i++)
		json_array_append_new(results, result_json(report, &report->results[i]));
	json_object_set_new(root, "results", results);
	r = json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	fputc('\n', out);
	json_decref(root);
	return r;
}
