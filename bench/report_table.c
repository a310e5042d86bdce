/* SPDX-License-Identifier: BSD-3-Clause */
/* What a measurement found, as a table of 80 columns. See report.h. */
#include <string.h>
#include <sys/utsname.h>

#include "bench/report.h"
#include "bench/text.h"

#define TITLE_WIDTH 32u
#define INDENT 4u
#define LIMITS_MAX 26u

/* The limits that the table has, by letter. */
struct legend {
	const char *name[LIMITS_MAX];
	unsigned int n;
};

static const char *unit_of(const struct bench_result *result)
{
	if (result->unit_short)
		return result->unit_short;
	return result->is_lower_better ? "ns" : "/s";
}

static char letter_of(struct legend *legend, const char *name)
{
	unsigned int i = 0;

	while (i < legend->n && strcmp(legend->name[i], name) != 0)
		i++;
	if (i == LIMITS_MAX)
		return '?';
	if (i == legend->n)
		legend->name[legend->n++] = name;
	return (char)('a' + i);
}

static void spread(const struct bench_samples *samples, FILE *out)
{
	double percent = 100 * bench_samples_spread(samples);

	if (samples->n < 2)
		fprintf(out, " %4s", "");
	else
		fprintf(out, " %3.0f%%", percent < 999 ? percent : 999);
}

/* -- what stands below a row -- */

static void total(const struct bench_result *result, char *text, size_t size)
{
	char value[32];

	bench_text_figure(bench_samples_median(&result->total), unit_of(result), value, sizeof(value));
	snprintf(text, size, "%s: %s.", result->total_name ? result->total_name : "all readers", value);
}

/* "22.9us": five of them in a line. */
static void span(uint64_t ns, char *text, size_t size)
{
	char *blank;

	bench_text_figure((double)ns, "ns", text, size);
	blank = strchr(text, ' ');
	if (blank)
		memmove(blank, blank + 1, strlen(blank));
}

/* Only those that so many samples can tell. */
static void percentiles(const char *title, const struct bench_histogram *h, FILE *out)
{
	static const double fractions[] = {0.5, 0.9, 0.99, 0.999, 0.9999};
	static const char *const names[] = {"p50", "p90", "p99", "p99.9", "p99.99"};
	char value[32];

	fprintf(out, "%*s%s", (int)INDENT, "", title);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && (1 - fractions[i]) * (double)h->n >= 0.999; i++) {
		span(bench_histogram_percentile(h, fractions[i]), value, sizeof(value));
		fprintf(out, "%s %s  ", names[i], value);
	}
	span(h->max, value, sizeof(value));
	fprintf(out, "max %s\n", value);
}

static void latencies(const struct bench_result *result, FILE *out)
{
	static struct bench_histogram all, corrected;
	char value[32], limit[32];

	if (result->limit_p99.n) {
		bench_text_figure(bench_samples_median(&result->p99), "ns", value, sizeof(value));
		bench_text_figure(bench_samples_median(&result->limit_p99), "ns", limit, sizeof(limit));
		fprintf(out, "%*sp99 %s, the limit's %s: ratio %.2f +-%.0f%%\n", (int)INDENT, "", value, limit,
			bench_samples_median(&result->p99_ratio), 100 * bench_samples_spread(&result->p99_ratio));
	}
	if (!bench_result_histogram(result, &all))
		return;
	percentiles("", &all, out);
	if (!result->is_closed_loop)
		return;
	bench_histogram_correct(&all, bench_histogram_percentile(&all, 0.5), &corrected);
	percentiles("*", &corrected, out);
}

static void remarks(const struct bench_result *result, FILE *out)
{
	char text[320] = "";
	size_t n = 0;

	if (result->total.n) {
		total(result, text, sizeof(text));
		n = strlen(text);
	}
	if (result->above.n)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%.1f ns above it.", n ? " " : "",
				      bench_samples_median(&result->above));
	if (result->is_oversubscribed)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%sOversubscribed.", n ? " " : "");
	if (result->note[0])
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s.", n ? " " : "", result->note);
	if (n == 0)
		return;
	fprintf(out, "%*s", (int)INDENT, "");
	bench_text_wrap(text, INDENT, INDENT, out);
}

static void why(const struct bench_result *result, FILE *out)
{
	if (!result->reason[0])
		return;
	fprintf(out, "%*s", (int)INDENT, "");
	bench_text_wrap(result->reason, INDENT, INDENT, out);
}

/* -- rows -- */

static void row(const struct bench_result *result, const char *title, const char *place, struct legend *legend, FILE *out)
{
	char value[32], limit[32];

	fprintf(out, "%-*s ", (int)TITLE_WIDTH, title);
	if (strlen(title) > TITLE_WIDTH)
		fprintf(out, "\n%*s ", (int)TITLE_WIDTH, "");
	if (place)
		fprintf(out, "%-6s ", place);
	if (result->has_failed || result->value.n == 0) {
		fprintf(out, "%10s\n", "failed");
		why(result, out);
		return;
	}
	bench_text_figure(bench_samples_median(&result->value), unit_of(result), value, sizeof(value));
	fprintf(out, "%10s", value);
	spread(&result->value, out);
	if (result->limit.n) {
		double ratio = bench_samples_median(&result->ratio);

		bench_text_figure(bench_samples_median(&result->limit), unit_of(result), limit, sizeof(limit));
		fprintf(out, " %10s %c %6.*f", limit, letter_of(legend, result->limit_name), ratio < 999 ? 2 : 0, ratio);
		spread(&result->ratio, out);
	}
	fputc('\n', out);
	remarks(result, out);
	latencies(result, out);
}

/* A line for each distance at which it was measured; in brackets, of how many repetitions. */
static void rows_by_distance(const struct bench_report *report, const struct bench_result *result, struct legend *legend, FILE *out)
{
	static const enum bench_distance distances[] = {BENCH_DISTANCE_NEAR, BENCH_DISTANCE_FAR};
	const char *title = result->title;
	unsigned int n_shown = 0;
	struct bench_result side;

	for (size_t i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
		unsigned int n = bench_report_side(report, result, distances[i], &side);
		char place[16];

		if (n == 0)
			continue;
		snprintf(place, sizeof(place), "%s %u", bench_distance_name(distances[i]), n);
		row(&side, title, place, legend, out);
		title = "";
		n_shown += n;
	}
	if (n_shown == 0)
		row(result, title, "moved", legend, out);
	else if (n_shown < result->value.n)
		fprintf(out, "%*sMoved meanwhile, left out: %u of %u.\n", (int)INDENT, "", result->value.n - n_shown, result->value.n);
}

/* -- head and foot -- */

static void sentence(const char *text, FILE *out)
{
	bench_text_wrap(text, 0, 0, out);
}

static void head(const struct bench_report *report, FILE *out)
{
	char text[512];
	struct utsname host;

	uname(&host);
	fprintf(out, "\nhugebus %s on %s %s; rings on %s pages\n", HBUS_VERSION, host.sysname, host.release, report->page_size);
	sentence(report->cores->text, out);
	snprintf(text, sizeof(text), "Medians of %u interleaved repetitions; +- is half the distance of the quartiles. The limit is "
		 "what bare cores do in the same second (its letter: see below); ratio = hugebus / limit.", report->n_repeats);
	sentence(text, out);
	if (bench_quiet_warning(report->quiet)) {
		snprintf(text, sizeof(text), "Warning: not quiet: %s. Look at the ratios, not at the figures.",
			 bench_quiet_warning(report->quiet));
		sentence(text, out);
	}
	if (!report->placement || !report->placement->is_moving)
		return;
	snprintf(text, sizeof(text), "Warning: the host of this machine moved the two CPUs during the run: a line went there and back in "
		 "%.0f ns (near; %u probes) or in %.0f ns (far; %u probes). What goes between them is given for each distance, with "
		 "the number of its repetitions.", report->placement->near_ns, report->placement->n_near, report->placement->far_ns,
		 report->placement->n_far);
	sentence(text, out);
}

static void foot(const struct bench_report *report, const struct legend *legend, FILE *out)
{
	bool has_corrected = false;

	fputc('\n', out);
	for (unsigned int i = 0; i < legend->n; i++) {
		fprintf(out, "%c  ", 'a' + (int)i);
		bench_text_wrap(legend->name[i], 3, 3, out);
	}
	for (unsigned int i = 0; i < report->n_results; i++)
		has_corrected |= report->results[i].is_closed_loop && report->results[i].value.n > 0;
	if (has_corrected) {
		fputs("*  ", out);
		bench_text_wrap("corrected for coordinated omission: as if a request had come each median round trip, whether "
				"the one before was answered or not", 3, 3, out);
	}
	fprintf(out, "%.0f s\n", report->seconds);
}

void bench_report_table(const struct bench_report *report, FILE *out)
{
	bool is_moving = report->placement && report->placement->is_moving;
	struct legend legend = {.n = 0};

	head(report, out);
	fprintf(out, "\n%-*s %s%10s %4s %10s   %6s %4s\n", (int)TITLE_WIDTH, "measure", is_moving ? "cores  " : "", "hugebus", "+-",
		"limit", "ratio", "+-");
	for (unsigned int i = 0; i < report->n_results; i++) {
		const struct bench_result *result = &report->results[i];

		if (is_moving && result->has_distance && result->value.n && !result->has_failed)
			rows_by_distance(report, result, &legend, out);
		else
			row(result, result->title, is_moving ? "" : NULL, &legend, out);
	}
	foot(report, &legend, out);
}
