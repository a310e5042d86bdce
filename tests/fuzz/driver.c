/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a libFuzzer target without libFuzzer: over the files named as arguments, and those in directories among them, or
 * for a second over random inputs, half of them mutated from the one before; with a directory, mutated from its files.
 * Each input lies in memory of exactly its size. Prints its seed; HBUS_TEST_SEED takes it back. Finds less than the
 * fuzzer does, but runs with every compiler and in every test run.
 */
#include <dirent.h>
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

struct corpus {
	struct {
		uint8_t *data;
		size_t size;
	} *inputs;
	size_t n;
};

static void run_exactly(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static int run_file(const char *path, struct corpus *corpus)
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
	run_exactly(data, n);
	corpus->inputs = realloc(corpus->inputs, (corpus->n + 1) * sizeof(*corpus->inputs));
	if (!corpus->inputs)
		abort();
	n = n < INPUT_MAX ? n : INPUT_MAX;
	corpus->inputs[corpus->n].data = malloc(n ? n : 1);
	corpus->inputs[corpus->n].size = n;
	memcpy(corpus->inputs[corpus->n++].data, data, n);
	return 0;
}

/* Return: false when it is no directory. */
static int run_directory(const char *path, struct corpus *corpus, int *ret_status)
{
	DIR *directory = opendir(path);
	struct dirent *entry;

	if (!directory)
		return 0;
	while ((entry = readdir(directory))) {
		char file[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		*ret_status |= run_file(file, corpus);
	}
	closedir(directory);
	return 1;
}

static size_t fresh(struct test_random *random, const struct corpus *corpus, uint8_t *data)
{
	size_t n;

	if (corpus->n > 0) {
		size_t i = test_random_below(random, (uint32_t)corpus->n);

		memcpy(data, corpus->inputs[i].data, corpus->inputs[i].size);
		return corpus->inputs[i].size;
	}
	n = test_random_below(random, test_random_below(random, 4) ? 64 : INPUT_MAX);
	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)test_random_next(random);
	return n;
}

static void mutate(struct test_random *random, uint8_t *data, size_t n)
{
	for (uint32_t i = 0; n > 0 && i < 1 + test_random_below(random, 4); i++)
		data[test_random_below(random, (uint32_t)n)] = (uint8_t)test_random_next(random);
}

static void run_random(const char *name, const struct corpus *corpus)
{
	static uint8_t data[INPUT_MAX];
	clock_t end = clock() + CLOCKS_PER_SEC;
	struct test_random random;
	size_t n = 0;

	test_random_init(&random, name);
	while (clock() < end) {
		if (test_random_below(&random, 2))
			n = fresh(&random, corpus, data);
		else
			mutate(&random, data, n);
		run_exactly(data, n);
	}
}

int main(int argc, char **argv)
{
	struct corpus corpus = {0};
	int r = 0, has_directory = argc < 2;

	if (argc == 2 && !strcmp(argv[1], "--help")) {
		printf("Usage: %s [FILE | DIRECTORY]...\nRuns over these files; with a directory or without any, then for a second of CPU over "
		       "mutations and\nrandom inputs. HBUS_TEST_SEED takes back a seed that was printed. Exit: 0, or by a signal.\n",
		       argv[0]);
		return 0;
	}
	for (int i = 1; i < argc; i++) {
		if (run_directory(argv[i], &corpus, &r))
			has_directory = 1;
		else
			r |= run_file(argv[i], &corpus);
	}
	if (has_directory)
		run_random(argv[0], &corpus);
	for (size_t i = 0; i < corpus.n; i++)
		free(corpus.inputs[i].data);
	free(corpus.inputs);
	return r;
}
