/* SPDX-License-Identifier: BSD-3-Clause */
/* What `hugebus top` shows. */
#include "ctl/cli/top_frame.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ctl/cli/number.h"
#include "ctl/cli/table.h"
#include "ebpf/filter_abi.h"

/* A row and the same thing in the sample before, with the rate that it is sorted by. */
struct change {
	const struct hbus_row *now;
	const struct hbus_row *before; /* NULL = was not there */
	double rate;
};

int hbus_top_sample(struct hbus_top_sample *sample, struct hbus *bus)
{
	struct timespec now;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sample->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	r = hbus_rows_fetch(&sample->daemon, bus, HBUS_ROW_DAEMON);
	if (r >= 0)
		r = hbus_rows_fetch(&sample->rings, bus, HBUS_ROW_RING);
	if (r >= 0)
		r = hbus_rows_fetch(&sample->subscribers, bus, HBUS_ROW_SUBSCRIBER);
	if (r >= 0)
		r = hbus_rows_fetch(&sample->counters, bus, HBUS_ROW_COUNTER);
	return r;
}

void hbus_top_sample_deinit(struct hbus_top_sample *sample)
{
	hbus_rows_deinit(&sample->daemon);
	hbus_rows_deinit(&sample->rings);
	hbus_rows_deinit(&sample->subscribers);
	hbus_rows_deinit(&sample->counters);
	sample->time_ns = 0;
}

const char *hbus_top_reason(const char *counter_name)
{
	const char *dot = strrchr(counter_name, '.');

	for (__u32 reason = HBUS_REASON_ACCEPTED + 1; dot && reason < HBUS_N_REASONS; reason++) {
		if (strcmp(dot + 1, hbus_reason_name(reason)) == 0)
			return dot + 1;
	}
	return NULL;
}

/* -- rates -- */

/* What makes two rows the same thing: ring id; client and subscriber; client and counter. */
static bool is_same(const struct hbus_row *a, const struct hbus_row *b)
{
	switch (a->kind) {
	case HBUS_ROW_RING:
		return a->value[0] == b->value[0];
	case HBUS_ROW_SUBSCRIBER:
		return a->value[0] == b->value[0] && a->value[1] == b->value[1];
	default:
		return a->value[1] == b->value[1] && strcmp(a->name, b->name) == 0 &&
		       strcmp(a->text, b->text) == 0;
	}
}

/* Lists keep their order, so the same index is tried first. */
static const struct hbus_row *find_row(const struct hbus_rows *rows, const struct hbus_row *row,
				       size_t idx)
{
	if (idx < rows->n_rows && is_same(&rows->rows[idx], row))
		return &rows->rows[idx];
	for (size_t i = 0; i < rows->n_rows; i++) {
		if (is_same(&rows->rows[i], row))
			return &rows->rows[i];
	}
	return NULL;
}

struct interval {
	double seconds; /* 0 = unknown */
};

static double rate_of(const struct change *change, unsigned int value_idx, struct interval interval)
{
	uint64_t before = change->before ? change->before->value[value_idx] : 0;
	uint64_t now = change->now->value[value_idx];

	return interval.seconds > 0 && now > before ? (double)(now - before) / interval.seconds : 0;
}

static double sum_rates(const struct change *changes, size_t n, unsigned int value_idx,
			struct interval interval)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += rate_of(&changes[i], value_idx, interval);
	return sum;
}

static int compare_changes(const void *a, const void *b)
{
	const struct change *x = a;
	const struct change *y = b;

	return (x->rate < y->rate) - (x->rate > y->rate);
}

static struct change *compare_rows(const struct hbus_rows *before, const struct hbus_rows *now,
				   unsigned int value_idx, struct interval interval)
{
	struct change *changes = calloc(now->n_rows + 1, sizeof(*changes));

	for (size_t i = 0; changes && i < now->n_rows; i++) {
		changes[i].now = &now->rows[i];
		changes[i].before = find_row(before, &now->rows[i], i);
		changes[i].rate = rate_of(&changes[i], value_idx, interval);
	}
	if (changes)
		qsort(changes, now->n_rows, sizeof(*changes), compare_changes);
	return changes;
}

/* -- cells -- */

static void rate_cell(struct hbus_table *table, const struct change *change, unsigned int value_idx,
		      struct interval interval, bool is_bytes)
{
	char buffer[HBUS_NUMBER_TEXT_SIZE];
	double rate = rate_of(change, value_idx, interval);

	if (interval.seconds <= 0)
		hbus_table_cell(table, "");
	else
		hbus_table_cell(table, is_bytes ? hbus_number_format_size(rate, buffer)
						: hbus_number_format_count(rate, buffer));
}

static void number_cell(struct hbus_table *table, uint64_t value)
{
	char buffer[24];

	snprintf(buffer, sizeof(buffer), "%" PRIu64, value);
	hbus_table_cell(table, buffer);
}

static void count_cell(struct hbus_table *table, uint64_t value)
{
	char buffer[HBUS_NUMBER_TEXT_SIZE];

	hbus_table_cell(table, hbus_number_format_count((double)value, buffer));
}

/* -- parts of a frame -- */

static void add_rings(struct hbus_table *table, const struct change *changes, size_t n,
		      struct interval interval)
{
	static const char *const headings[] = { "RING",	  "EVENTS/S", "BYTES/S", "EVENTS",
						"TOPICS", "READERS",  "GATES" };

	for (size_t i = 0; i < 7; i++)
		hbus_table_column(table, headings[i], true);
	hbus_table_column(table, "PROGRAM", false);
	hbus_table_column(table, "FIRST TOPIC", false);
	for (size_t i = 0; i < n; i++) {
		const struct hbus_row *row = changes[i].now;

		number_cell(table, row->value[0]);
		rate_cell(table, &changes[i], 4, interval, false);
		rate_cell(table, &changes[i], 5, interval, true);
		count_cell(table, row->value[4]);
		number_cell(table, row->value[6]);
		number_cell(table, row->value[7]);
		number_cell(table, row->value[8]);
		hbus_table_cell(table, row->name);
		hbus_table_cell(table, row->text);
	}
}

static void add_subscribers(struct hbus_table *table, const struct change *changes, size_t n,
			    struct interval interval)
{
	static const char *const headings[] = { "SUB", "DELIVERED/S", "DELIVERED", "FILTERED/S",
						"LAG", "LOST/S",      "LOST" };
	char id[48];

	for (size_t i = 0; i < 7; i++)
		hbus_table_column(table, headings[i], true);
	hbus_table_column(table, "KIND", false);
	hbus_table_column(table, "PROGRAM", false);
	hbus_table_column(table, "FIRST FILTER", false);
	for (size_t i = 0; i < n; i++) {
		const struct hbus_row *row = changes[i].now;

		snprintf(id, sizeof(id), "%" PRIu64 ".%" PRIu64, row->value[1], row->value[0]);
		hbus_table_cell(table, id);
		rate_cell(table, &changes[i], 5, interval, false);
		count_cell(table, row->value[5]);
		rate_cell(table, &changes[i], 6, interval, false);
		count_cell(table, row->value[8]);
		rate_cell(table, &changes[i], 7, interval, false);
		number_cell(table, row->value[7]);
		hbus_table_cell(table, row->flags & 1 ? "reliable" : "lossy");
		hbus_table_cell(table, row->name);
		hbus_table_cell(table, row->text);
	}
}

static void add_drops(struct hbus_table *table, const struct change *changes, size_t n,
		      struct interval interval)
{
	hbus_table_column(table, "DROPS/S", true);
	hbus_table_column(table, "DROPS", true);
	hbus_table_column(table, "REASON", false);
	hbus_table_column(table, "COUNTER", false);
	hbus_table_column(table, "SET", false);
	for (size_t i = 0; i < n; i++) {
		const struct hbus_row *row = changes[i].now;
		const char *reason = hbus_top_reason(row->name);

		if (!reason || row->value[0] == 0)
			continue;
		rate_cell(table, &changes[i], 0, interval, false);
		number_cell(table, row->value[0]);
		hbus_table_cell(table, reason);
		hbus_table_cell(table, row->name);
		hbus_table_cell(table, row->text);
	}
}

typedef void (*add_fn)(struct hbus_table *table, const struct change *changes, size_t n,
		       struct interval interval);

static void add_part(struct hbus_text *text, add_fn add, const struct change *changes, size_t n,
		     struct interval interval)
{
	struct hbus_table table = { 0 };

	if (!changes)
		return;
	add(&table, changes, n, interval);
	if (hbus_table_n_rows(&table) > 0) {
		hbus_text_add_char(text, '\n');
		hbus_table_print(&table, text);
	}
	hbus_table_deinit(&table);
}

static void add_title(struct hbus_text *text, const struct hbus_top_sample *now)
{
	char uptime[HBUS_NUMBER_TEXT_SIZE];
	char clock[16];
	time_t seconds = time(NULL);
	struct tm tm;

	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&seconds, &tm));
	hbus_text_printf(text, "%s  ", clock);
	if (now->daemon.n_rows == 0)
		return;
	hbus_text_add_safe(text, now->daemon.rows[0].text);
	hbus_text_printf(text,
			 "  up %s  clients %" PRIu64 "  hugepages free %" PRIu64 " of %" PRIu64,
			 hbus_number_format_duration(now->daemon.rows[0].value[1], uptime),
			 now->daemon.rows[0].value[5], now->daemon.rows[0].value[4],
			 now->daemon.rows[0].value[3]);
}

static void add_totals(struct hbus_text *text, const struct change *rings, size_t n_rings,
		       const struct change *subscribers, size_t n_subscribers,
		       struct interval interval)
{
	char in[HBUS_NUMBER_TEXT_SIZE];
	char bytes[HBUS_NUMBER_TEXT_SIZE];
	char out[HBUS_NUMBER_TEXT_SIZE];
	char lost[HBUS_NUMBER_TEXT_SIZE];

	if (interval.seconds <= 0 || !rings || !subscribers)
		return;
	hbus_text_printf(
		text, "\npublished %s/s (%s/s)  delivered %s/s  lost %s/s",
		hbus_number_format_count(sum_rates(rings, n_rings, 4, interval), in),
		hbus_number_format_size(sum_rates(rings, n_rings, 5, interval), bytes),
		hbus_number_format_count(sum_rates(subscribers, n_subscribers, 5, interval), out),
		hbus_number_format_count(sum_rates(subscribers, n_subscribers, 7, interval), lost));
}

/*
 * Keeps of what was appended at @start the first @lines lines, and of each the first @columns
 * characters.
 */
static void cut(struct hbus_text *text, size_t start, size_t columns, size_t lines)
{
	size_t to = start;
	size_t column = 0;
	size_t line = 0;

	for (size_t i = start; i < text->len && (lines == 0 || line < lines); i++) {
		char c = text->data[i];

		/* A byte that continues a character stays with it. */
		column += ((unsigned char)c & 0xc0) != 0x80;
		if (c == '\n' || columns == 0 || column <= columns)
			text->data[to++] = c;
		if (c == '\n') {
			column = 0;
			line++;
		}
	}
	text->len = to;
}

void hbus_top_frame(struct hbus_text *text, const struct hbus_top_sample *before,
		    const struct hbus_top_sample *now, size_t columns, size_t lines)
{
	struct interval interval = {
		.seconds = before->time_ns ? (double)(now->time_ns - before->time_ns) / 1e9 : 0
	};
	struct change *rings = compare_rows(&before->rings, &now->rings, 4, interval);
	struct change *subscribers =
		compare_rows(&before->subscribers, &now->subscribers, 5, interval);
	struct change *counters = compare_rows(&before->counters, &now->counters, 0, interval);
	size_t start = text->len;

	add_title(text, now);
	add_totals(text, rings, now->rings.n_rows, subscribers, now->subscribers.n_rows, interval);
	hbus_text_add_char(text, '\n');
	add_part(text, add_rings, rings, now->rings.n_rows, interval);
	add_part(text, add_subscribers, subscribers, now->subscribers.n_rows, interval);
	add_part(text, add_drops, counters, now->counters.n_rows, interval);
	cut(text, start, columns, lines);
	free(rings);
	free(subscribers);
	free(counters);
}
