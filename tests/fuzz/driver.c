/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a libFuzzer target without libFuzzer: over the files named as arguments, or for a second over
 * random inputs, half of them mutated from the one before. Inputs end at a page that may not be touched. Prints its seed; HBUS_TEST_SEED takes it
 * back. Finds less than the fuzzer does, but runs with every compiler and in every test run.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/guard.h"
#include "tests/unit/random.h"

#define INPUT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *file = fopen(path, "rb");
	size_t n;

	if (!file) {
		perror(path);
		return 1;
	}
	n = fread(data, 1, sizeof(data), file);
	fclose(file);
	LLVMFuzzerTestOneInput(guard_copy(data, n), n);
	return 0;
}

static size_t fresh(struct test_random *random, uint8_t *data)
{
	size_t n = test_random_below(random, test_random_below(random, 4) ? 64 : INPUT_MAX);

	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)test_random_next(random);
	return n;
}

static void mutate(struct test_random *random, uint8_t *data, size_t n)
{
	for (uint32_t i = 0; n > 0 && i < 1 + test_random_below(random, 4); i++)
		data[test_random_below(random, (uint32_t)n)] = (uint8_t)test_random_next(random);
}

int main(int argc, char **argv)
{
	static uint8_t data[INPUT_MAX];
	struct test_random random;
	clock_t end = clock() + CLOCKS_PER_SEC;
	size_t n = 0;
	int r = 0;

	for (int i = 1; i < argc; i++)
		r |= run_file(argv[i]);
	if (argc > 1)
		return r;
	test_random_init(&random, argv[0]);
	while (clock() < end) {
		if (test_random_below(&random, 2))
			n = fresh(&random, data);
		else
			mutate(&random, data, n);
		LLVMFuzzerTestOneInput(guard_copy(data, n), n);
	}
	return 0;
}
