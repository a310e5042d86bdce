/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the daemon finds in its state directory. An odd first byte puts a good head before the input, so that what follows is
 * read as records. The file is refused with a sentence, or taken; what was taken is written again and read again as it
 * was, no line of it may be lost, and everybody can be told to go.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "ctl/daemon/journal.h"
#include "tests/unit/sim.h"

static char dir[64], file[128], head[512];
static size_t head_size;

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

/* Each time: a fuzzer does not end in a way that would let it tidy up. */
static void tidy(void)
{
	unlink(file);
	rmdir(dir);
}

static void put_file(const void *before, size_t before_size, const void *data, size_t size)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	require(fd >= 0);
	require(write(fd, before, before_size) == (ssize_t)before_size && write(fd, data, size) == (ssize_t)size);
	close(fd);
}

/* What the daemon itself writes first. */
static void learn_head(void)
{
	struct hbus_config_error error = { "" };
	struct hbus_journal_head unused;
	struct hbus_journal *journal;
	struct sim *sim = calloc(1, sizeof(*sim));
	FILE *in;

	strcpy(dir, "/tmp/hugebus-fuzz-XXXXXX");
	require(sim && mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/journal.jsonl", dir);
	sim_init(sim);
	require(hbus_journal_open(dir, &journal, &unused, &error) == 0);
	require(hbus_journal_rewrite(journal, sim->state) == 0);
	hbus_journal_free(journal);
	in = fopen(file, "re");
	require(in && fgets(head, sizeof(head), in));
	fclose(in);
	head_size = strlen(head);
	sim_deinit(sim);
	free(sim);
	tidy();
}

static void count(void *context, const struct hbus_journal_record *record)
{
	(void)record;
	++*(size_t *)context;
}

/* Takes the file and writes it again. Return: how many records it holds then, or -1 when it was refused. */
static long take(struct sim *sim)
{
	struct hbus_config_error error = { "" };
	struct hbus_journal_head unused;
	struct hbus_journal *journal;
	size_t n = 0;

	if (hbus_journal_open(dir, &journal, &unused, &error) < 0) {
		require(error.text[0] != '\0');
		return -1;
	}
	hbus_journal_replay(journal, hbus_state_restore, sim->state);
	require(hbus_journal_rewrite(journal, sim->state) == 0);
	hbus_state_save(sim->state, count, &n);
	hbus_state_restored(sim->state, sim->now_ns);
	hbus_journal_free(journal);
	return (long)n;
}

static void leave(struct sim *sim)
{
	struct hbus_state_counts counts;

	sim_tick(sim, 10000);
	sim_tick(sim, 10000);
	hbus_state_count(sim->state, &counts);
	require(counts.n_members == 0 && counts.n_rings == 0 && counts.n_pending == 0);
	sim_deinit(sim);
	free(sim);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	long n[2] = { 0, 0 };

	if (head_size == 0)
		learn_head();
	if (size == 0)
		return 0;
	require(mkdir(dir, 0700) == 0);
	put_file(head, data[0] & 1 ? head_size : 0, data + 1, size - 1);
	for (int i = 0; i < 2 && n[0] >= 0; i++) {
		struct sim *sim = calloc(1, sizeof(*sim));

		require(sim != NULL);
		sim_init(sim);
		n[i] = take(sim);
		leave(sim);
	}
	tidy();
	require(n[0] < 0 || n[0] == n[1]);
	return 0;
}
