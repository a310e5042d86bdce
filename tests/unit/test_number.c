/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers as people write and read them, and the numbers of load. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "ctl/cli/guess.h"
#include "ctl/cli/load.h"
#include "ctl/cli/number.h"

Test(number, takes_whole_numbers_within_borders)
{
	uint64_t value;

	cr_assert(hbus_number_parse("0", 0, 9, &value) && value == 0);
	cr_assert(hbus_number_parse("9", 0, 9, &value) && value == 9);
	cr_assert_not(hbus_number_parse("10", 0, 9, &value));
	cr_assert_not(hbus_number_parse("0", 1, 9, &value));
	cr_assert(hbus_number_parse("18446744073709551615", 0, UINT64_MAX, &value) &&
		  value == UINT64_MAX);
	cr_assert_not(hbus_number_parse("18446744073709551616", 0, UINT64_MAX, &value));
}

Test(number, refuses_everything_around_a_number)
{
	static const char *const bad[] = { "",	  " 1",	 "1 ", "+1", "-1", "0x1",
					   "1e3", "1,0", "a",  ".5", "1." };
	uint64_t value = 77;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_not(hbus_number_parse(bad[i], 0, UINT64_MAX, &value), "'%s'", bad[i]);
		cr_assert_not(hbus_number_parse_count(bad[i], &value), "'%s'", bad[i]);
		cr_assert_not(hbus_number_parse_size(bad[i], &value), "'%s'", bad[i]);
		cr_assert_not(hbus_number_parse_duration(bad[i], &value), "'%s'", bad[i]);
	}
	cr_assert_eq(value, 77);
}

Test(number, counts_have_thousands_and_sizes_powers_of_two)
{
	uint64_t value;

	cr_assert(hbus_number_parse_count("1.5M", &value) && value == 1500000);
	cr_assert(hbus_number_parse_count("20k", &value) && value == 20000);
	cr_assert(hbus_number_parse_size("64", &value) && value == 64);
	cr_assert(hbus_number_parse_size("2M", &value) && value == 2097152);
	cr_assert(hbus_number_parse_size("0.5KiB", &value) && value == 512);
	cr_assert_not(hbus_number_parse_count("1.5", &value));
	cr_assert_not(hbus_number_parse_count("1KiB", &value));
	cr_assert_not(hbus_number_parse_size("20000000000G", &value));
}

Test(number, a_rate_below_one_is_not_zero)
{
	uint64_t value;

	cr_assert(hbus_number_parse_rate("0.5", &value) && value == 500);
	cr_assert(hbus_number_parse_rate("1k", &value) && value == 1000000);
	cr_assert(hbus_number_parse_rate("0", &value) && value == 0);
	cr_assert(hbus_number_parse_rate("0.0", &value) && value == 0);
	cr_assert_not(hbus_number_parse_rate("0.0001", &value));
}

Test(number, durations_are_seconds_unless_said)
{
	uint64_t ms;

	cr_assert(hbus_number_parse_duration("2", &ms) && ms == 2000);
	cr_assert(hbus_number_parse_duration("0.25", &ms) && ms == 250);
	cr_assert(hbus_number_parse_duration("500ms", &ms) && ms == 500);
	cr_assert(hbus_number_parse_duration("1.5m", &ms) && ms == 90000);
	cr_assert_not(hbus_number_parse_duration("2d", &ms));
}

Test(number, a_place_is_a_ring_and_a_sequence)
{
	uint64_t ring;
	uint64_t sequence;

	cr_assert(hbus_number_parse_place("4294967297:0", &ring, &sequence) &&
		  ring == 4294967297u && sequence == 0);
	cr_assert_not(hbus_number_parse_place("1:", &ring, &sequence));
	cr_assert_not(hbus_number_parse_place(":1", &ring, &sequence));
	cr_assert_not(hbus_number_parse_place("1:2:3", &ring, &sequence));
	cr_assert_not(hbus_number_parse_place("1", &ring, &sequence));
}

static const char *count(double value)
{
	static char text[HBUS_NUMBER_TEXT_SIZE];

	return hbus_number_format_count(value, text);
}

Test(number, people_read_three_digits)
{
	char text[HBUS_NUMBER_TEXT_SIZE];

	cr_assert_str_eq(count(0), "0");
	cr_assert_str_eq(count(999), "999");
	cr_assert_str_eq(count(999.6), "1.00k");
	cr_assert_str_eq(count(1234), "1.23k");
	cr_assert_str_eq(count(45600000), "45.6M");
	cr_assert_str_eq(count(999600), "1.00M");
	cr_assert_str_eq(hbus_number_format_size(2097152, text), "2.00 MiB");
	cr_assert_str_eq(hbus_number_format_size(512, text), "512 B");
	cr_assert_str_eq(hbus_number_format_duration(125000, text), "2m05s");
	cr_assert_str_eq(hbus_number_format_duration(90000000, text), "1d01h");
}

/* -- load -- */

static void assert_payload(const struct hbus_load *load, const char *expected)
{
	cr_assert_eq(load->size, strlen(expected), "%zu bytes, not %s", load->size, expected);
	cr_assert(memcmp(load->data, expected, load->size) == 0, "%.*s, not %s", (int)load->size,
		  load->data, expected);
}

Test(number, load_counts_and_keeps_its_size)
{
	struct hbus_load load;

	hbus_load_init(&load, 8, 6);
	assert_payload(&load, "8 ....");
	hbus_load_next(&load);
	assert_payload(&load, "9 ....");
	hbus_load_next(&load);
	assert_payload(&load, "10 ...");
	hbus_load_deinit(&load);
}

Test(number, load_never_cuts_its_number)
{
	struct hbus_load load;

	hbus_load_init(&load, 99998, 5);
	assert_payload(&load, "99998");
	hbus_load_next(&load);
	hbus_load_next(&load);
	assert_payload(&load, "100000");
	hbus_load_deinit(&load);
	hbus_load_init(&load, 0, 0);
	assert_payload(&load, "0");
	hbus_load_deinit(&load);
}

Test(number, load_counts_like_printf)
{
	struct hbus_load load;
	char expected[32];

	hbus_load_init(&load, 1, 0);
	for (unsigned int i = 1; i < 12345; i++) {
		snprintf(expected, sizeof(expected), "%u", i);
		assert_payload(&load, expected);
		hbus_load_next(&load);
	}
	hbus_load_deinit(&load);
}

Test(number, load_reaches_the_largest_number_within_its_memory)
{
	struct hbus_load load;

	hbus_load_init(&load, UINT64_MAX, 0);
	assert_payload(&load, "18446744073709551615");
	hbus_load_next(&load);
	assert_payload(&load, "18446744073709551616");
	hbus_load_deinit(&load);
}

Test(number, load_is_due_at_its_rate)
{
	/* Rates are in 1000 s: this is 4 a second. */
	cr_assert_eq(hbus_load_due(4000, 0), 1);
	cr_assert_eq(hbus_load_due(4000, 249999999), 1);
	cr_assert_eq(hbus_load_due(4000, 250000000), 2);
	cr_assert_eq(hbus_load_due_at(4000, 1), 250000000);
	cr_assert_eq(hbus_load_due(500, 2000000000), 2);
	cr_assert_eq(hbus_load_due(500, 1999999999), 1);
	/* A year at 100 M/s. */
	cr_assert_eq(hbus_load_due(100000000000, 31536000000000000), 3153600000000001);
}

/* What is due at the time when n becomes due is n + 1 events: nothing is slept past. */
Test(number, load_wakes_when_the_next_event_is_due)
{
	static const uint64_t rates[] = {
		1, 3, 500, 7000, 999999, 1234567, 3000000000, 100000000000
	};

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		for (uint64_t n = 0; n < 5000; n++)
			cr_assert_geq(hbus_load_due(rates[i], hbus_load_due_at(rates[i], n)),
				      n + 1);
	}
}

/* -- did you mean -- */

Test(number, typing_mistakes_are_guessed)
{
	static const char *const names[] = { "pub", "sub", "topic", "route", "stats", "doctor" };

	cr_assert_str_eq(hbus_guess_closest("tpoic", names, 6), "topic");
	cr_assert_str_eq(hbus_guess_closest("docter", names, 6), "doctor");
	cr_assert_str_eq(hbus_guess_closest("stat", names, 6), "stats");
	cr_assert_str_eq(hbus_guess_closest("publ", names, 6), "pub");
	cr_assert_null(hbus_guess_closest("x", names, 6));
	cr_assert_null(hbus_guess_closest("remove", names, 6));
	cr_assert_null(hbus_guess_closest("", names, 6));
	cr_assert_null(hbus_guess_closest("doctordoctordoctordoctordoctordoctor", names, 6));
}
