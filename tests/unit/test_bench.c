/* SPDX-License-Identifier: BSD-3-Clause */
/* bench: the arithmetic of percentiles, of omitted samples, of near and far; and figures for people. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/blame.h"
#include "bench/options.h"
#include "bench/pace.h"
#include "bench/placement.h"
#include "bench/report.h"
#include "bench/text.h"

#define MS UINT64_C(1000000)

/* -- pace: what is sent regularly -- */

Test(bench, a_sender_in_time_counts_from_when_it_sends)
{
	struct bench_pace pace = {.interval_ns = MS};

	cr_assert_eq(bench_pace_next(&pace, 5 * MS, 6 * MS), 6 * MS);
	cr_assert_eq(bench_pace_next(&pace, 6 * MS + 10, 7 * MS + 50), 7 * MS + 50);
	cr_assert_eq(pace.due_ns, 8 * MS + 50);
}

Test(bench, a_late_timer_is_nobodys_latency)
{
	struct bench_pace pace = {.interval_ns = MS};

	(void)bench_pace_next(&pace, 1 * MS, 2 * MS);
	cr_assert_eq(bench_pace_next(&pace, 2 * MS, 9 * MS), 9 * MS);
	cr_assert_eq(bench_pace_next(&pace, 9 * MS + 1, 10 * MS), 10 * MS);
}

/* Sending itself stalls for ten intervals: what was due meanwhile counts from when it was due. */
Test(bench, a_stall_in_sending_is_in_every_sample_that_it_delayed)
{
	struct bench_pace pace = {.interval_ns = MS};
	struct bench_histogram histogram = {0};
	uint64_t now = 100 * MS;

	(void)bench_pace_next(&pace, now - MS, now);
	now += 10 * MS + MS / 2; /* the first call returns only now */
	for (unsigned int i = 0; i < 10; i++) {
		uint64_t begin = bench_pace_next(&pace, now, now);

		bench_histogram_add(&histogram, now - begin);
	}
	cr_assert_eq(histogram.max, 9 * MS + MS / 2);
	cr_assert_geq(bench_histogram_percentile(&histogram, 0.5), 4 * MS);
	cr_assert_eq(bench_pace_next(&pace, now, now + MS / 2), now + MS / 2, "it has caught up");
}

/* -- histogram -- */

static struct bench_histogram corrected(const struct bench_histogram *measured, uint64_t expected)
{
	struct bench_histogram result;

	bench_histogram_correct(measured, expected, &result);
	return result;
}

Test(bench, a_stall_of_a_closed_loop_brings_back_what_it_kept_away)
{
	struct bench_histogram measured = {0}, all;

	for (unsigned int i = 0; i < 99900; i++)
		bench_histogram_add(&measured, 1000);
	bench_histogram_add(&measured, 100 * MS); /* 100 000 requests would have waited */
	cr_assert_leq(bench_histogram_percentile(&measured, 0.9999), 1100, "the stall does not show");
	all = corrected(&measured, 1000);
	cr_assert_geq(all.n, 199000);
	cr_assert_leq(all.n, 203000, "a bucket is 1.6 %% wide");
	cr_assert_geq(bench_histogram_percentile(&all, 0.75), 45 * MS);
	cr_assert_leq(bench_histogram_percentile(&all, 0.75), 55 * MS);
	cr_assert_geq(bench_histogram_percentile(&all, 0.99), 95 * MS);
	cr_assert_eq(all.max, 100 * MS);
}

Test(bench, nothing_is_added_where_nothing_was_kept_away)
{
	struct bench_histogram measured = {0}, all;

	for (unsigned int i = 0; i < 1000; i++)
		bench_histogram_add(&measured, 500 + i);
	all = corrected(&measured, 1000);
	cr_assert_arr_eq(&all, &measured, sizeof(all));
	all = corrected(&measured, 0);
	cr_assert_arr_eq(&all, &measured, sizeof(all));
}

/* One by one, as it is defined. The values are those of buckets, which is all that a histogram knows. */
static void add_one_by_one(struct bench_histogram *into, uint64_t ns, uint64_t expected)
{
	bench_histogram_add(into, ns);
	for (uint64_t rest = ns - expected; ns > expected && rest >= expected; rest -= expected)
		bench_histogram_add(into, rest);
}

Test(bench, correcting_at_once_is_correcting_one_by_one)
{
	for (unsigned int seed = 1; seed <= 20; seed++) {
		static struct bench_histogram measured, one_by_one, all;
		uint64_t expected = 50 + 37 * seed;

		memset(&measured, 0, sizeof(measured));
		memset(&one_by_one, 0, sizeof(one_by_one));
		srandom(seed);
		for (unsigned int i = 0; i < 200; i++) {
			static struct bench_histogram single;
			uint64_t ns = 64u << (random() % 12), value;

			/* Its middle, so that both begin with the same. */
			memset(&single, 0, sizeof(single));
			bench_histogram_add(&single, ns + (uint64_t)random() % ns);
			single.max = UINT64_MAX;
			value = bench_histogram_percentile(&single, 0.5);
			bench_histogram_add(&measured, value);
			add_one_by_one(&one_by_one, value, expected);
		}
		all = corrected(&measured, expected);
		cr_assert_eq(all.n, one_by_one.n, "seed %u: %lu, not %lu", seed, (unsigned long)all.n, (unsigned long)one_by_one.n);
		cr_assert_arr_eq(all.count, one_by_one.count, sizeof(all.count), "seed %u", seed);
	}
}

Test(bench, percentiles_are_the_samples_at_their_rank)
{
	struct bench_histogram histogram = {0};

	for (uint64_t i = 1; i <= 10000; i++)
		bench_histogram_add(&histogram, i * 1000);
	for (unsigned int i = 0; i < 4; i++) {
		static const double fractions[] = {0.5, 0.9, 0.99, 0.9999};
		double exact = fractions[i] * 10000 * 1000, found = (double)bench_histogram_percentile(&histogram, fractions[i]);

		cr_assert(found > exact * 0.984 && found < exact * 1.016, "%f: %f", exact, found);
	}
	cr_assert_eq(bench_histogram_percentile(&histogram, 1), 10000000);
}

Test(bench, the_median_and_the_quartiles_lie_between_neighbours)
{
	struct bench_samples samples = {.value = {5, 1, 4, 2, 3}, .n = 5};

	cr_assert_float_eq(bench_samples_median(&samples), 3, 1e-9);
	cr_assert_float_eq(bench_samples_spread(&samples), 1.0 / 3, 1e-9);
	samples.n = 4; /* 1 2 4 5 */
	cr_assert_float_eq(bench_samples_median(&samples), 3, 1e-9);
	samples.n = 0;
	cr_assert_float_eq(bench_samples_median(&samples), 0, 1e-9);
}

/* -- near and far -- */

static struct bench_placement judged(const double *ns, unsigned int n)
{
	struct bench_placement placement = {0};

	for (unsigned int i = 0; i < n; i++)
		(void)bench_placement_add(&placement, ns[i]);
	bench_placement_judge(&placement);
	return placement;
}

Test(bench, cores_that_move_are_near_or_far_or_have_moved_meanwhile)
{
	static const double ns[] = {110, 120, 430, 462, 410, 111, 131, 450};
	static const enum bench_distance expected[] = {
		BENCH_DISTANCE_NEAR, BENCH_DISTANCE_MOVED, BENCH_DISTANCE_FAR, BENCH_DISTANCE_FAR,
		BENCH_DISTANCE_MOVED, BENCH_DISTANCE_NEAR, BENCH_DISTANCE_MOVED, BENCH_DISTANCE_UNKNOWN,
	};
	struct bench_placement placement = judged(ns, 8);

	cr_assert(placement.is_moving);
	cr_assert_eq(placement.n_near, 4);
	cr_assert_eq(placement.n_far, 4);
	cr_assert_float_eq(placement.near_ns, 115.5, 0.01);
	cr_assert_float_eq(placement.far_ns, 440, 0.01);
	for (unsigned int i = 0; i < 8; i++)
		cr_assert_eq(bench_placement_between(&placement, i), expected[i], "between %u and the next", i);
	bench_placement_deinit(&placement);
}

Test(bench, cores_that_stay_have_one_distance)
{
	static const double ns[] = {410, 430, 462, 470, 482, 420, 600, 400};
	struct bench_placement placement = judged(ns, 8);

	cr_assert(!placement.is_moving);
	cr_assert_eq(placement.n_far, 0);
	cr_assert_float_eq(placement.near_ns, placement.far_ns, 1e-9);
	cr_assert_eq(bench_placement_between(&placement, 0), BENCH_DISTANCE_SAME);
	bench_placement_deinit(&placement);
}

Test(bench, a_single_disturbed_probe_is_no_distance)
{
	double ns[100];
	struct bench_placement placement;

	for (unsigned int i = 0; i < 100; i++)
		ns[i] = i % 2 ? 110 + i % 7 : 430 + i % 9;
	ns[17] = 250000;
	ns[33] = 0; /* not known */
	placement = judged(ns, 100);
	cr_assert(placement.is_moving);
	cr_assert(placement.far_ns < 450);
	cr_assert_eq(bench_placement_between(&placement, 32), BENCH_DISTANCE_UNKNOWN);
	cr_assert_geq(placement.n_near + placement.n_far, 98);
	bench_placement_deinit(&placement);

	for (unsigned int i = 0; i < 100; i++)
		ns[i] = 430 + i % 9;
	ns[50] = 60;
	placement = judged(ns, 100);
	cr_assert(!placement.is_moving);
	bench_placement_deinit(&placement);
}

Test(bench, without_probes_nothing_is_known)
{
	static const double ns[] = {0, 0, 0};
	struct bench_placement placement = judged(ns, 3);

	cr_assert(!placement.is_moving);
	cr_assert_eq(bench_placement_between(&placement, 0), BENCH_DISTANCE_UNKNOWN);
	bench_placement_deinit(&placement);
	placement = judged(ns, 0);
	cr_assert_eq(bench_placement_between(&placement, 0), BENCH_DISTANCE_UNKNOWN);
}

/* A result measured near, far, near, moved: each repetition between its own two probes. */
static struct bench_result moved_result(void)
{
	struct bench_result result = {.name = "x", .title = "of two cores", .unit = "events/s", .has_distance = true,
				      .limit_name = "the limit"};

	for (unsigned int i = 0; i < 4; i++) {
		static const double values[] = {100e6, 30e6, 102e6, 55e6};

		bench_samples_add(&result.value, values[i]);
		bench_samples_add(&result.limit, 2 * values[i]);
		bench_samples_add(&result.ratio, 0.5);
		result.probe_before[i] = 2 * i;
	}
	return result;
}

static const double moves[] = {110, 112, 430, 440, 111, 115, 112, 434};

Test(bench, a_side_has_the_repetitions_of_its_distance)
{
	struct bench_placement placement = judged(moves, 8);
	struct bench_report report = {.placement = &placement};
	struct bench_result result = moved_result(), side;

	cr_assert_eq(bench_report_side(&report, &result, BENCH_DISTANCE_NEAR, &side), 2);
	cr_assert_float_eq(bench_samples_median(&side.value), 101e6, 1);
	cr_assert_float_eq(bench_samples_median(&side.limit), 202e6, 1);
	cr_assert_eq(bench_report_side(&report, &result, BENCH_DISTANCE_FAR, &side), 1);
	cr_assert_float_eq(side.value.value[0], 30e6, 1);
	cr_assert_eq(bench_report_side(&report, &result, BENCH_DISTANCE_MOVED, &side), 1);
	result.has_distance = false;
	cr_assert_eq(bench_report_side(&report, &result, BENCH_DISTANCE_NEAR, &side), 0);
	bench_placement_deinit(&placement);
}

/* -- for people -- */

static char *table_of(struct bench_result *result, const struct bench_placement *placement, const struct bench_quiet *quiet)
{
	struct bench_cores cores = {.n = 2, .text = "2 usable CPUs"};
	struct bench_report report = {.cores = &cores, .page_size = "4 KiB", .quiet = quiet, .placement = placement,
				      .n_repeats = 4, .results = result, .n_results = 1};
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	bench_report_table(&report, out);
	fclose(out);
	return text;
}

Test(bench, the_table_gives_near_and_far_apart_and_says_why)
{
	struct bench_placement placement = judged(moves, 8);
	struct bench_result result = moved_result();
	struct bench_quiet quiet = {.busy = 0.5};
	char *text = table_of(&result, &placement, &quiet), *line;

	cr_assert(strstr(text, "moved the two CPUs"), "%s", text);
	cr_assert(strstr(text, "not quiet: 50 %"), "%s", text);
	line = strstr(text, "of two cores");
	cr_assert(line && strstr(line, "near 2") && strstr(line, "101 M/s") && strstr(line, "far 1"), "%s", text);
	cr_assert(strstr(text, "Moved meanwhile, left out: 1 of 4."), "%s", text);
	cr_assert(strstr(text, "\na  the limit\n"), "%s", text);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		cr_assert_leq(strlen(line), 80, "%s", line);
	free(text);
	bench_placement_deinit(&placement);
}

Test(bench, the_widest_row_fits_eighty_columns)
{
	struct bench_result result = {.name = "x", .title = "wake a sleeping reader, all ways", .unit = "ns", .is_lower_better = true,
				      .limit_name = "bare", .is_closed_loop = true, .is_oversubscribed = true,
				      .note = "a note that is as long as notes can be, and goes on for so many words that it has "
					      "to be broken somewhere between two of them"};
	struct bench_quiet quiet = {.busy = 0};
	static struct bench_histogram histogram;
	char *text, *line;

	for (uint64_t i = 1; i < 100000; i++)
		bench_histogram_add(&histogram, 123456 + i * 1000);
	for (unsigned int i = 0; i < 3; i++) {
		bench_samples_add(&result.value, 123456 * (i + 1) * (i + 1));
		bench_samples_add(&result.limit, 12345678);
		bench_samples_add(&result.ratio, 1234 * (i + 1) * (i + 1));
	}
	result.histogram[0] = &histogram;
	text = table_of(&result, NULL, &quiet);
	cr_assert(strstr(text, "p99.99") && strstr(text, "Oversubscribed. a note"), "%s", text);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		cr_assert_leq(strlen(line), 80, "%s", line);
	free(text);
}

Test(bench, figures_have_three_digits)
{
	static const struct {
		double value;
		const char *unit, *text;
	} cases[] = {
		{102.4e6, "/s", "102 M/s"}, {999.96e3, "/s", "1.00 M/s"}, {22900, "ns", "22.9 us"}, {231, "ns", "231 ns"},
		{9.996, "/s", "10.0 /s"}, {0.1174, "%", "0.117 %"}, {0, "/event", "0.000 /event"}, {51.2e9, "B/s", "51.2 GB/s"},
		{2.24e6, "ns", "2.24 ms"}, {999999, "ns", "1.00 ms"}, {3e9, "ns", "3.00 s"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[32];

		bench_text_figure(cases[i].value, cases[i].unit, text, sizeof(text));
		cr_assert_str_eq(text, cases[i].text);
	}
}

Test(bench, a_name_matches_any_of_several_patterns)
{
	cr_assert(bench_matches(NULL, "rtt.56"));
	cr_assert(bench_matches("rtt.*", "rtt.56"));
	cr_assert(bench_matches("calls,rtt.*", "rtt.56") && bench_matches("rtt.56,calls", "rtt.56"));
	cr_assert_not(bench_matches("rtt", "rtt.56"));
	cr_assert_not(bench_matches("", "rtt.56"));
	cr_assert_not(bench_matches(",rtt,*.64,", "rtt.56"));
}

static void blame_in_a_child(const char *what)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		bench_blame("%s", what);
		_exit(0);
	}
	cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

Test(bench, the_first_that_was_blamed_is_the_reason)
{
	struct bench_result result = {0};

	bench_blame_begin();
	blame_in_a_child("wrong\ncontent");
	blame_in_a_child("a process of it failed");
	bench_result_fail(&result, 2, 5);
	cr_assert(result.has_failed);
	cr_assert_str_eq(result.reason, "repetition 3: wrong content");

	bench_blame_begin();
	bench_result_fail(&result, 0, 1);
	cr_assert_str_eq(result.reason, "nothing came");
}
