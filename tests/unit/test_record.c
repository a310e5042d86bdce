/* SPDX-License-Identifier: BSD-3-Clause */
/* What a record's flags say, and what no honest publisher says. Bodies end at a page that cannot be read. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>

#include "shm/ring_sub.h"
#include "tests/unit/random.h"

static unsigned char *page;

static void setup(void)
{
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(page, MAP_FAILED);
	cr_assert_eq(mprotect(page + 4096, 4096, PROT_NONE), 0);
}

TestSuite(record, .init = setup);

/* A body of these words; its length is @len, padded to 8 it ends at the border. */
static bool parse(struct hbus_record *record, uint32_t flags, const uint64_t *words, uint32_t len)
{
	unsigned char *body = page + 4096 - HBUS_ALIGN8(len);

	memset(page, 0, 4096);
	memcpy(body, words, len);
	memset(record, 0xee, sizeof(*record));
	return hbus_record_parse(record, hbus_word_make(flags, 5, len), body);
}

static uint64_t pair_of(uint32_t low, uint32_t high)
{
	return (uint64_t)high << 32 | low;
}

Test(record, every_prefix_stands_in_its_order)
{
	uint64_t words[] = {1234, pair_of(77, 0), pair_of(5, 0), 0x1111111111, pair_of(2, 12), 1, 2, 3, 4};
	struct hbus_record record;

	cr_assert(parse(&record, HBUS_FLAGS_KNOWN, words, sizeof(words)));
	cr_assert_eq(record.time_ns, 1234);
	cr_assert_eq(record.key, 77);
	cr_assert_eq(record.attrs_size, 5);
	cr_assert_eq(memcmp(record.attrs, &words[3], 5), 0);
	cr_assert_eq(record.n_events, 2);
	cr_assert_eq(record.size, 12);
	cr_assert_eq(record.stride, 16);
	cr_assert_eq(memcmp(record.payload, &words[5], 8), 0);
	cr_assert_eq(record.payload + 32, page + 4096);
	cr_assert_eq(record.topic, 5);
	cr_assert_not(record.is_unknown);
}

Test(record, one_event_has_the_rest_of_the_body)
{
	uint64_t words[] = {1234, 5, 6};
	struct hbus_record record;

	cr_assert(parse(&record, HBUS_FLAG_TIME, words, 21));
	cr_assert_eq(record.size, 13);
	cr_assert_eq(record.n_events, 1);
	cr_assert(parse(&record, HBUS_FLAG_TIME, words, 8));
	cr_assert_eq(record.size, 0);
	cr_assert(parse(&record, 0, words, 0));
	cr_assert_eq(record.size, 0);
}

Test(record, a_prefix_that_is_cut_off_is_not_valid)
{
	uint64_t words[8] = {0};
	struct hbus_record record;

	for (uint32_t flag = 1; flag <= HBUS_FLAG_RUN; flag <<= 1)
		for (uint32_t len = 0; len < 8; len++)
			cr_assert_not(parse(&record, flag, words, len), "flag %u length %u", flag, len);
	for (uint32_t len = 0; len < 16; len++)
		cr_assert_not(parse(&record, HBUS_FLAG_TIME | HBUS_FLAG_KEY, words, len));
	cr_assert(parse(&record, HBUS_FLAG_TIME | HBUS_FLAG_KEY, words, 16));
}

Test(record, attributes_with_their_padding_lie_within_the_body)
{
	static const struct {
		uint32_t size, len;
		bool is_valid;
	} cases[] = {{0, 8, true},   {1, 8, false},   {1, 9, false},	     {1, 15, false},	   {1, 16, true},
		     {8, 16, true},  {9, 16, false},  {9, 24, true},	     {16, 24, true},	   {17, 24, false},
		     {16, 23, false}, {UINT32_MAX, 24, false}, {UINT32_MAX - 7, 24, false}, {1u << 31, 24, false}};
	struct hbus_record record;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t words[3] = {pair_of(cases[i].size, 0)};

		cr_assert_eq(parse(&record, HBUS_FLAG_ATTRS, words, cases[i].len), cases[i].is_valid, "case %zu", i);
	}
}

Test(record, a_run_lies_within_the_body)
{
	static const struct {
		uint32_t n, size, len;
		bool is_valid;
	} cases[] = {{1, 8, 16, true},	 {2, 8, 24, true},   {3, 8, 24, false},		      {0, 8, 24, false},
		     {1, 9, 24, true},	 {1, 9, 17, false},  {2, 9, 40, true},		      {2, 9, 39, false},
		     {1, 0, 8, true},	 {100, 0, 8, true},  {HBUS_WORD_LENGTH_MAX, 0, 8, true},
		     {HBUS_WORD_LENGTH_MAX + 1, 0, 8, false}, {UINT32_MAX, 0, 8, false},
		     {UINT32_MAX, UINT32_MAX, 24, false},     {1u << 31, 2, 24, false},
		     {1u << 29, 8, 24, false},		      {1, UINT32_MAX, 24, false},
		     {1, UINT32_MAX - 7, 24, false}};
	struct hbus_record record;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t words[5] = {pair_of(cases[i].n, cases[i].size)};

		cr_assert_eq(parse(&record, HBUS_FLAG_RUN, words, cases[i].len), cases[i].is_valid, "case %zu", i);
	}
}

Test(record, flags_of_later_versions_are_skipped_whole)
{
	uint64_t words[] = {~0ull, ~0ull};
	struct hbus_record record;

	for (uint32_t flags = HBUS_FLAGS_KNOWN + 1; flags < 256; flags++) {
		cr_assert(parse(&record, flags, words, 11));
		cr_assert(record.is_unknown);
		cr_assert_eq(record.n_events, 1);
		cr_assert_eq(record.size, 11);
	}
}

/* Whatever the bytes: what parse() promises lies within the body. */
Test(record, random_bodies_never_point_outside)
{
	struct test_random random;

	test_random_init(&random, "record");
	for (int round = 0; round < 300000; round++) {
		uint32_t len = test_random_below(&random, 65), flags = test_random_below(&random, 16);
		uint64_t words[8];
		const unsigned char *body = page + 4096 - HBUS_ALIGN8(len), *end = body + len;
		struct hbus_record record;

		for (int i = 0; i < 8; i++) /* mostly small numbers: those come near the borders */
			words[i] = test_random_below(&random, 8) ?
					   pair_of(test_random_below(&random, 32), test_random_below(&random, 32)) :
					   test_random_next(&random);
		if (!parse(&record, flags, words, len))
			continue;
		cr_assert(record.payload >= body && record.payload <= end);
		cr_assert_leq((uint64_t)(record.n_events - 1) * record.stride + record.size,
			      (uint64_t)(end - record.payload));
		cr_assert_geq(record.n_events, 1);
		if (flags & HBUS_FLAG_ATTRS)
			cr_assert(record.attrs >= body && record.attrs + record.attrs_size <= end);
	}
}
