/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows of lists, and what is made of them: JSON, tables, rates of top, the account of sub. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "ctl/cli/account.h"
#include "ctl/cli/rows.h"
#include "ctl/cli/top_frame.h"

static struct hbus_row canned[8];
static size_t n_canned;
static struct hbus_text text;

/* In place of the library: lists what the test has put there. */
int hbus_list(struct hbus *bus, uint32_t kind, hbus_row_fn row_fn, void *context)
{
	(void)bus;
	for (size_t i = 0; i < n_canned; i++) {
		if (canned[i].kind == kind && row_fn(&canned[i], context) != 0)
			return 1;
	}
	return 0;
}

static struct hbus_row *can(uint32_t kind, const char *name, const char *more)
{
	struct hbus_row *row = &canned[n_canned++];

	*row = (struct hbus_row){ .kind = kind };
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->text, sizeof(row->text), "%s", more);
	return row;
}

static char *json(uint32_t kind)
{
	struct hbus_rows rows = { 0 };
	json_t *array;
	char *dump;

	cr_assert_eq(hbus_rows_fetch(&rows, NULL, kind), 0);
	array = hbus_rows_json(&rows, kind);
	dump = json_dumps(array, JSON_COMPACT);
	json_decref(array);
	hbus_rows_deinit(&rows);
	return dump;
}

Test(rows, a_topic_has_its_types_and_flags)
{
	struct hbus_row *row = can(HBUS_ROW_TOPIC, "a/b", "t|application/json");

	row->value[0] = 5;
	row->flags = 2;
	cr_assert_str_eq(
		json(HBUS_ROW_TOPIC),
		"[{\"topic\":\"a/b\",\"id\":5,\"rings\":0,\"subscribers\":0,\"type\":\"t\",\"datacontenttype\":"
		"\"application/json\",\"declared\":false,\"configured\":true}]");
}

Test(rows, types_may_be_missing)
{
	char type[256];
	char content_type[256];

	hbus_rows_split_types(can(HBUS_ROW_TOPIC, "a", ""), type, content_type);
	cr_assert(type[0] == '\0' && content_type[0] == '\0');
	hbus_rows_split_types(can(HBUS_ROW_TOPIC, "a", "|x"), type, content_type);
	cr_assert(type[0] == '\0' && strcmp(content_type, "x") == 0);
	hbus_rows_split_types(can(HBUS_ROW_TOPIC, "a", "x|"), type, content_type);
	cr_assert(strcmp(type, "x") == 0 && content_type[0] == '\0');
}

Test(rows, strings_of_others_are_bounded_and_made_utf8)
{
	struct hbus_row *row = can(HBUS_ROW_CLIENT, "", "");
	char *dump;

	memset(row->name, 'x', sizeof(row->name));
	row->name[0] = '\xff';
	row->value[5] = UINT64_MAX;
	dump = json(HBUS_ROW_CLIENT);
	cr_assert(strstr(dump, "\"program\":\"\\\\xffxxx"), "%s", dump);
	cr_assert(strstr(dump, "\"bytes\":9223372036854775807"));
}

Test(rows, every_kind_has_a_name_and_a_table)
{
	struct hbus_rows rows = { 0 };

	for (uint32_t kind = 1; kind <= HBUS_ROW_DAEMON; kind++) {
		cr_assert_eq(hbus_rows_kind(hbus_rows_kind_name(kind)), kind);
		text.len = 0;
		hbus_rows_print(&rows, kind, &text);
		cr_assert_gt(text.len, 0);
	}
	cr_assert_eq(hbus_rows_kind("ring"), 0);
}

/* -- top -- */

static struct hbus_top_sample sample(uint64_t time_ns)
{
	struct hbus_top_sample sample = { 0 };

	cr_assert_eq(hbus_top_sample(&sample, NULL), 0);
	sample.time_ns = time_ns;
	return sample;
}

static bool has_line(const char *frame, const char *begin)
{
	for (const char *line = frame; line; line = strchr(line, '\n'), line += line != NULL) {
		while (*line == ' ')
			line++;
		if (strncmp(line, begin, strlen(begin)) == 0)
			return true;
	}
	return false;
}

Test(rows, top_shows_rates_between_two_samples_the_busiest_first)
{
	struct hbus_row *slow = can(HBUS_ROW_RING, "slow", "s");
	struct hbus_row *fast = can(HBUS_ROW_RING, "fast", "f");
	struct hbus_top_sample before;
	struct hbus_top_sample now;
	const char *frame;

	slow->value[0] = 1;
	fast->value[0] = 2;
	slow->value[4] = 100;
	before = sample(1000000000);
	slow->value[4] = 120;
	fast->value[4] = 3000;
	fast->value[5] = 4096;
	now = sample(3000000000);
	hbus_top_frame(&text, &before, &now, 0, 0);
	frame = hbus_text_string(&text);
	cr_assert(strstr(frame, "published 1.51k/s (2.00 KiB/s)"), "%s", frame);
	cr_assert(has_line(frame, "2     1.50k  2.00 KiB   3.00k"), "%s", frame);
	cr_assert(has_line(frame, "1        10       0 B     120"), "%s", frame);
	cr_assert(strstr(frame, "fast") < strstr(frame, "slow"));
}

Test(rows, top_has_no_rates_at_first_and_none_below_zero)
{
	struct hbus_row *ring = can(HBUS_ROW_RING, "p", "t");
	struct hbus_top_sample none = { 0 };
	struct hbus_top_sample before;
	struct hbus_top_sample now;

	ring->value[4] = 50;
	before = sample(1000000000);
	hbus_top_frame(&text, &none, &before, 0, 0);
	cr_assert(has_line(hbus_text_string(&text), "0         -        -      50"), "%s",
		  hbus_text_string(&text));
	ring->value[4] = 10;
	now = sample(2000000000);
	text.len = 0;
	hbus_top_frame(&text, &before, &now, 0, 0);
	cr_assert(strstr(hbus_text_string(&text), "published 0/s"), "%s", hbus_text_string(&text));
}

Test(rows, top_keeps_within_the_terminal)
{
	struct hbus_top_sample none = { 0 };
	struct hbus_top_sample now;
	size_t n_lines = 0;

	can(HBUS_ROW_DAEMON, "1.0", "/\xc3\xbc\xc3\xbc\xc3\xbc/a/long/path/of/a/socket");
	for (int i = 0; i < 7; i++)
		can(HBUS_ROW_RING, "a program with a long name", "and/a/long/topic")->value[0] =
			(uint64_t)i;
	now = sample(1);
	hbus_top_frame(&text, &none, &now, 30, 5);
	for (const char *line = hbus_text_string(&text); *line; line = strchr(line, '\n') + 1) {
		/* Three characters of the first line have two bytes. */
		cr_assert_leq(strcspn(line, "\n"), n_lines == 0 ? 33 : 30);
		n_lines++;
	}
	cr_assert_eq(n_lines, 5);
}

Test(rows, top_knows_which_counters_count_drops)
{
	cr_assert_str_eq(hbus_top_reason("worker0.frames.ring_full"), "ring_full");
	cr_assert_null(hbus_top_reason("worker0.frames.accepted"));
	cr_assert_null(hbus_top_reason("worker0.bursts"));
	cr_assert_null(hbus_top_reason("ring_full"));
}

/* -- the account -- */

static void deliver(struct hbus_account *account, hbus_topic_t id, const char *topic, size_t size)
{
	struct hbus_event event = { .topic_id = id, .topic = topic, .size = size };

	hbus_account_event(account, &event);
}

Test(rows, the_account_is_by_topic_and_sorted)
{
	static struct hbus_account account;
	struct hbus_loss loss = {
		.ring_id = 7, .first_sequence = 3, .n_events = 9, .reason = HBUS_LOSS_EVICTED
	};
	struct hbus_subscriber_info info = { .n_filtered = 4, .n_lost = 9, .n_rings = 2 };

	deliver(&account, 2, "b", 10);
	deliver(&account, 1, "a", 5);
	deliver(&account, 2, "b", 10);
	/* Looked up for its types, but nothing came. */
	hbus_account_topic(&account, 3, "c");
	hbus_account_loss(&account, &loss);
	cr_assert_str_eq(
		json_dumps(hbus_account_json(&account, &info), JSON_COMPACT),
		"{\"role\":\"subscriber\",\"delivered\":3,\"bytes\":25,\"filtered\":4,\"lost\":9,\"rings\":2,\"topics\":["
		"{\"topic\":\"a\",\"delivered\":1,\"bytes\":5},{\"topic\":\"b\",\"delivered\":2,\"bytes\":20}],"
		"\"loss_reports\":1,\"losses\":[{\"ring\":7,\"first\":3,\"count\":9,\"reason\":\"evicted\"}]}");
	hbus_account_deinit(&account);
}

Test(rows, the_account_grows_and_tells_names_apart)
{
	static struct hbus_account account;
	static char names[10000][16];

	for (unsigned int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < 10000; i++) {
			snprintf(names[i], sizeof(names[i]), "t/%u", i);
			deliver(&account, i, names[i], 1);
		}
	}
	/* The same number under another name is another topic. */
	deliver(&account, 5, "other", 1);
	cr_assert_eq(account.n_topics, 10001);
	cr_assert_eq(hbus_account_topic(&account, 5, "t/5")->n_events, 2);
	cr_assert_eq(hbus_account_topic(&account, 5, "other")->n_events, 1);
	hbus_account_deinit(&account);
}

Test(rows, loss_reports_beyond_the_limit_are_only_counted)
{
	static struct hbus_account account;
	struct hbus_subscriber_info info = { 0 };
	struct hbus_loss loss = { .n_events = 1 };
	json_t *summary;

	for (int i = 0; i <= HBUS_ACCOUNT_LOSSES_MAX; i++)
		hbus_account_loss(&account, &loss);
	summary = hbus_account_json(&account, &info);
	cr_assert_eq(json_array_size(json_object_get(summary, "losses")), HBUS_ACCOUNT_LOSSES_MAX);
	cr_assert_eq(json_integer_value(json_object_get(summary, "loss_reports")),
		     HBUS_ACCOUNT_LOSSES_MAX + 1);
}

Test(rows, rows_come_in_an_order_that_people_expect)
{
	struct hbus_rows rows = { 0 };

	can(HBUS_ROW_TOPIC, "b", "")->value[0] = 1;
	can(HBUS_ROW_TOPIC, "a", "")->value[0] = 2;
	can(HBUS_ROW_SUBSCRIBER, "second", "")->value[1] = 2;
	can(HBUS_ROW_SUBSCRIBER, "first", "")->value[0] = 9;
	cr_assert_eq(hbus_rows_fetch(&rows, NULL, HBUS_ROW_TOPIC), 0);
	cr_assert_str_eq(rows.rows[0].name, "a");
	hbus_rows_deinit(&rows);
	cr_assert_eq(hbus_rows_fetch(&rows, NULL, HBUS_ROW_SUBSCRIBER), 0);
	cr_assert_str_eq(rows.rows[0].name, "first");
	hbus_rows_deinit(&rows);
}
