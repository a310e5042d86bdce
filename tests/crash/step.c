/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGKILL after every single instruction of a publish, and of a poll
 *
 * A child is single-stepped with ptrace(2) from just before the call, killed after n steps, and another process looks
 * what it has left: a reader must find the old events, or all of the new ones too; and once the commit has
 * happened, it stays. A reader that is killed must leave a cursor that it has really reached, and must not hold the
 * publisher any longer.
 *
 *	step                         after each instruction a look at the ring while the publisher stands still (memory
 *	                             is then what a kill would leave), and a kill after every 31st
 *	step --long                  a kill after each
 *	step --variant NAME [--from STEP] [--to STEP]   one variant, a kill after each of these
 *
 * Shown to fail when the zero word is forgotten, and when a batch is shown record by record
 * (tests/mutants).
 */
#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/crash/ring_kit.h"
#include "tests/stress/args.h"

#define STEPS_MAX 200000u /* in one call, also when a sanitizer is in between */
#define STALL_MS 1000000u
/* With it the child says where the call begins and ends. Not SIGSTOP, which anybody may send to a whole group. */
#define MARK SIGUSR2

struct variant {
	const char *name;
	uint64_t n_before; /* events already there */
	unsigned int n_batch;
	bool is_reader, is_gated, is_waited_for;
};

static const struct variant variants[] = {
	{"first", 0, 1, false, false, false},
	{"single", 5, 1, false, false, false},
	{"batch", 5, 4, false, false, false},
	{"wide-batch", 7, 30, false, false, false},
	{"second-lap", 700, 1, false, false, false},
	{"second-lap-batch", 700, 30, false, false, false},
	{"gated", 900, 8, false, true, false},
	{"waking", 3, 2, false, false, true},
	{"poll", 40, 0, true, true, false},
	{"poll-second-lap", 900, 0, true, true, false},
};

#define N_VARIANTS (sizeof(variants) / sizeof(variants[0]))

static uint64_t n_watched, n_killed;
static struct kit_ring ring;
static int slot_fd;
static struct hbus_slot *slot; /* the child's, and the parent's mapping of it */

/* -- the publisher -- */

static struct hbus_gates table;
static struct hbus_ring_pub pub;

static void start_publisher(const struct kit_mapping *mapping, bool is_gated, int pidfd)
{
	struct hbus_gate_spec spec = {.gate_id = 1, .slot = slot, .pidfd = pidfd, .doorbell = -1,
				      .stall_ms = STALL_MS, .is_reliable = is_gated};

	hbus_gates_init(&table, ring.geometry.start, false);
	hbus_ring_pub_init(&pub, &ring.geometry, mapping->header, mapping->data, &table);
	if (hbus_gates_install(&table, 0, &spec))
		kit_die("install");
}

static void publish(unsigned int n)
{
	if (n == 1) {
		(void)kit_publish_one(&pub);
		return;
	}
	for (unsigned int i = 0; i < n; i++)
		if (kit_add(&pub))
			break;
	if (hbus_ring_pub_commit(&pub))
		hbus_gates_wake(&table, &pub.header->notify);
}

static void publish_before(const struct variant *variant)
{
	while (pub.sequence < variant->n_before) {
		publish(1);
		/* A gate that has read all but the last few. */
		atomic_store_explicit(&slot->cursor, pub.tail, memory_order_relaxed);
	}
}

static void be_publisher(const struct variant *variant)
{
	struct kit_mapping mapping;

	kit_map(&ring, 1, &mapping);
	start_publisher(&mapping, variant->is_gated, -1);
	publish_before(variant);
	atomic_store_explicit(&slot->waiting, variant->is_waited_for, memory_order_relaxed);
	raise(MARK);
	publish(variant->n_batch);
	raise(MARK);
	_exit(0);
}

/* -- the reader -- */

static struct kit_reader reader;

static void start_reader(const struct kit_mapping *mapping, bool is_gating)
{
	memset(&reader, 0, sizeof(reader));
	hbus_ring_sub_init(&reader.sub, &ring.geometry, mapping->header, mapping->data, is_gating ? slot : NULL,
			   is_gating);
}

/* More than a block: the cursor is stored. */
static void poll_once(void)
{
	struct hbus_record record;
	uint64_t first_word;

	hbus_ring_sub_begin(&reader.sub);
	for (int i = 0; i < 24 && hbus_ring_sub_next(&reader.sub, &record); i++)
		hbus_copy_out(&first_word, record.payload, sizeof(first_word));
	if (hbus_ring_sub_confirm(&reader.sub) == HBUS_RING_OK)
		hbus_ring_sub_release(&reader.sub);
}

static void be_reader(void)
{
	struct kit_mapping mapping;

	kit_map(&ring, 0, &mapping);
	start_reader(&mapping, true);
	if (hbus_ring_sub_seek_oldest(&reader.sub) != HBUS_RING_OK)
		_exit(1);
	raise(MARK);
	poll_once();
	raise(MARK);
	_exit(0);
}

/* -- stepping -- */

static pid_t start_child(const struct variant *variant)
{
	pid_t child = fork();
	int status, r;

	if (child < 0)
		kit_die("fork");
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(77);
		if (variant->is_reader)
			be_reader();
		be_publisher(variant);
	}
	while ((r = waitpid(child, &status, 0)) == child && WIFSTOPPED(status) && WSTOPSIG(status) != MARK)
		ptrace(PTRACE_CONT, child, 0, 0);
	if (r != child || !WIFSTOPPED(status)) {
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
			fprintf(stderr, "skipped: ptrace is refused here\n");
			exit(77);
		}
		kit_die("child");
	}
	return child;
}

/* Return: the call was through before @n_steps. */
static bool step(pid_t child, unsigned int n_steps)
{
	int status;

	for (unsigned int i = 0; i < n_steps;) {
		if (ptrace(PTRACE_SINGLESTEP, child, 0, 0))
			kit_die("step");
		if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
			kit_die("wait");
		if (WSTOPSIG(status) == MARK)
			return true;
		i += WSTOPSIG(status) == SIGTRAP;
	}
	return false;
}

static void kill_child(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* -- what is left behind -- */

static void fail(const struct variant *variant, unsigned int n_steps, const char *what, uint64_t value)
{
	fprintf(stderr, "%s: %s (%llu) after %u steps. Alone: step --variant %s --from %u\n", variant->name, what,
		(unsigned long long)value, n_steps, variant->name, n_steps);
	exit(1);
}

static uint64_t read_all(const struct variant *variant, unsigned int n_steps)
{
	if (hbus_ring_sub_seek_oldest(&reader.sub) != HBUS_RING_OK)
		fail(variant, n_steps, "no place to enter", 0);
	reader.expected = reader.sub.sequence;
	while (kit_poll(&reader) > 0)
		;
	if (!kit_is_faultless(&reader))
		fail(variant, n_steps, "torn, disordered or corrupt", reader.expected);
	return reader.expected;
}

/* Return: the new events are there. */
static bool check_ring(const struct variant *variant, const struct kit_mapping *mapping, unsigned int n_steps)
{
	uint64_t n;

	start_reader(mapping, false);
	n = read_all(variant, n_steps);
	if (n != variant->n_before && n != variant->n_before + variant->n_batch)
		fail(variant, n_steps, "neither the old events nor all of the new", n);
	if (hbus_ring_sub_seek_newest(&reader.sub) != HBUS_RING_OK || reader.sub.sequence != n)
		fail(variant, n_steps, "another newest event", reader.sub.sequence);
	return n != variant->n_before;
}

/* A dead reader: its cursor is a place where it has been, and the publisher goes on. */
static void check_gate(const struct variant *variant, unsigned int n_steps, uint64_t first, uint64_t last)
{
	uint64_t cursor = atomic_load_explicit(&slot->cursor, memory_order_acquire);

	if (cursor != 0 && cursor != first && cursor != last)
		fail(variant, n_steps, "a cursor that the reader never reached", cursor);
	for (unsigned int i = 0; i < 2000; i++)
		if (kit_add(&pub)) {
			hbus_ring_pub_commit(&pub);
			hbus_gates_reap(&table, pub.header, pub.tail, pub.intent + KIT_CAPACITY / 8, KIT_CAPACITY, 1);
			if (kit_add(&pub))
				fail(variant, n_steps, "a dead reader holds the publisher", i);
		} else {
			hbus_ring_pub_commit(&pub);
		}
}

static void new_memory(void)
{
	void *base = NULL;

	kit_ring_new(&ring, 1ull << 32);
	if (hbus_memfd_new("slot", 4096, 0, &slot_fd) || hbus_segment_map(slot_fd, 4096, 1, &base) ||
	    madvise(base, 4096, MADV_DOFORK))
		kit_die("slot");
	slot = base;
}

static void drop_memory(void)
{
	hbus_gates_deinit(&table);
	hbus_segment_unmap(slot, 4096);
	close(slot_fd);
	kit_ring_close(&ring);
}

static bool try_publisher(const struct variant *variant, unsigned int n_steps, bool *ret_is_through)
{
	struct kit_mapping mapping;
	bool is_there;
	pid_t child;

	new_memory();
	child = start_child(variant);
	kit_ring_seal(&ring);
	kit_map(&ring, 0, &mapping);
	*ret_is_through = step(child, n_steps);
	kill_child(child);
	is_there = check_ring(variant, &mapping, n_steps);
	kit_unmap(&mapping);
	drop_memory();
	return is_there;
}

static bool try_reader(const struct variant *variant, unsigned int n_steps, bool *ret_is_through)
{
	struct kit_mapping mapping;
	uint64_t first, last;
	pid_t child;

	new_memory();
	kit_map(&ring, 1, &mapping);
	start_publisher(&mapping, false, -1);
	publish_before(variant);
	atomic_store_explicit(&slot->cursor, 0, memory_order_relaxed);
	hbus_gates_remove(&table, 0, 1);
	child = start_child(variant);
	first = atomic_load_explicit(&slot->cursor, memory_order_acquire);
	hbus_gates_install(&table, 0,
			   &(struct hbus_gate_spec){.gate_id = 2, .slot = slot, .doorbell = -1, .stall_ms = STALL_MS,
						    .pidfd = (int)syscall(SYS_pidfd_open, child, 0),
						    .is_reliable = true});
	start_reader(&mapping, false);
	hbus_ring_sub_seek_oldest(&reader.sub);
	poll_once();
	last = reader.sub.position;
	*ret_is_through = step(child, n_steps);
	kill_child(child);
	check_gate(variant, n_steps, first, last);
	kit_unmap(&mapping);
	drop_memory();
	return false;
}

/* One publisher stands still after each instruction, and is looked at. */
static void watch(const struct variant *variant)
{
	bool was_there = false, is_there, is_through = false;
	struct kit_mapping mapping;
	unsigned int n_steps = 0;
	pid_t child;

	new_memory();
	child = start_child(variant);
	kit_ring_seal(&ring);
	kit_map(&ring, 0, &mapping);
	while (!is_through && n_steps <= STEPS_MAX) {
		is_through = step(child, 1);
		is_there = check_ring(variant, &mapping, ++n_steps);
		if (was_there && !is_there)
			fail(variant, n_steps, "what was committed is gone", 0);
		was_there = is_there;
	}
	if (!was_there)
		fail(variant, n_steps, "the publish is through and nothing is there", 0);
	kill_child(child);
	kit_unmap(&mapping);
	drop_memory();
	n_watched += n_steps;
	printf("%-18s watched after each of %u instructions\n", variant->name, n_steps);
}

static bool try_kill(const struct variant *variant, unsigned int n_steps, bool *ret_is_through)
{
	return (variant->is_reader ? try_reader : try_publisher)(variant, n_steps, ret_is_through);
}

static void kill_after(const struct variant *variant, unsigned int first_step, unsigned int last_step, unsigned int stride)
{
	bool was_there = false, is_through = false;
	unsigned int n_kills = 0;

	for (unsigned int n_steps = first_step; !is_through && n_steps <= last_step; n_steps += stride) {
		bool is_there = try_kill(variant, n_steps, &is_through);

		/* Each kill is a run of its own, and a run is some instructions longer where reading the clock had to begin
		 * again or a signal came: then it is looked at again. */
		for (int i = 0; i < 5 && was_there && !is_there; i++)
			is_there = try_kill(variant, n_steps, &is_through);
		if (was_there && !is_there)
			fail(variant, n_steps, "what was committed is gone", 0);
		was_there = is_there;
		n_kills++;
		if (n_steps > STEPS_MAX)
			fail(variant, n_steps, "no end", 0);
	}
	n_killed += n_kills;
	printf("%-18s killed %u times, one every %u instructions\n", variant->name, n_kills, stride);
	fflush(stdout);
}

static const char usage[] =
	"Usage: step [--long | --variant NAME [--from STEP] [--to STEP]]\n"
	"Kills a publisher or a reader after single instructions of a publish or a poll, and looks what it has left.\n"
	"  --long          after each instruction, not each 31st; minutes\n"
	"  --variant NAME  only this one, after each instruction from STEP (0) on, or to STEP\n"
	"Exit: 0 passed, 1 failed, 2 usage.\n";

static bool is_variant(const char *name)
{
	for (size_t i = 0; i < N_VARIANTS; i++)
		if (!strcmp(variants[i].name, name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	uint64_t first = 0, last = UINT32_MAX;
	bool is_long = false;
	const struct kit_arg args[] = {{.name = "--long", .is_given = &is_long}, {.name = "--variant", .word = &only},
				       {.name = "--from", .number = &first}, {.name = "--to", .number = &last}, {0}};

	kit_args(argc, argv, usage, args);
	if (only && !is_variant(only))
		kit_usage_error("no such variant", only);
	for (size_t i = 0; i < N_VARIANTS; i++) {
		const struct variant *variant = &variants[i];

		if (only && strcmp(only, variant->name))
			continue;
		if (!variant->is_reader && !only)
			watch(variant);
		if (is_long || only)
			kill_after(variant, (unsigned int)first, (unsigned int)last, 1);
		else
			kill_after(variant, (unsigned int)i * 7 % 31, UINT32_MAX, variant->n_batch > 10 ? 401 : 31);
	}
	printf("passed: %llu instructions watched, %llu kills\n", (unsigned long long)n_watched,
	       (unsigned long long)n_killed);
	return 0;
}
