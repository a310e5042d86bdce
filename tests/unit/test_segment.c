/* SPDX-License-Identifier: BSD-3-Clause */
/* Sealed memory: what is promised is checked, and after the last seal every way to write is refused. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/segment.h"
#include "tests/stress/fds.h"

#define SMALL_SIZE (64u << 10)
#define OTHER_UID 65534

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct sealed {
	int rw, ro;
	uint64_t size;
	unsigned char *own; /* the owner's mapping, from before the seal */
};

/* Skips where the host has no free hugepages. */
static struct sealed sealed_new(bool is_huge)
{
	struct sealed memory = {.rw = -1, .ro = -1, .size = is_huge ? HBUS_HUGE_PAGE_SIZE : SMALL_SIZE};
	void *own = NULL;
	int r = hbus_memfd_new("test", memory.size, is_huge, &memory.rw);

	if (is_huge && r == -ENOENT)
		cr_skip("this kernel has no hugetlb");
	if (is_huge && (r == -ENOMEM || r == -ENOSPC))
		cr_skip("no free 2 MiB page (sysctl vm.nr_hugepages)");
	cr_assert_eq(r, 0, "%d", r);
	cr_assert_eq(hbus_segment_map(memory.rw, memory.size, 1, &own), 0);
	memory.own = own;
	memory.own[0] = 1;
	cr_assert_eq(hbus_memfd_seal(memory.rw), 0);
	cr_assert_eq(hbus_memfd_reopen_read_only(memory.rw, &memory.ro), 0);
	return memory;
}

/* Each way to write, to shrink or to punch, through one descriptor. NULL = all were refused. */
static const char *find_a_way_in(int fd, uint64_t size)
{
	char path[64];
	void *map;
	int other, pipes[2];
	loff_t at = 0, from = 0;

	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		return "a new writable shared mapping";
	if (mmap(NULL, size, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
		return "a new write-only shared mapping";
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return "reading is refused, too";
	if (mprotect(map, size, PROT_READ | PROT_WRITE) == 0)
		return "mprotect of a read-only mapping";
	if (madvise(map, size, MADV_REMOVE) == 0)
		return "MADV_REMOVE";
	if (madvise(map, size, MADV_POPULATE_WRITE) == 0)
		return "MADV_POPULATE_WRITE";
	munmap(map, size);
	if (pwrite(fd, "x", 1, 0) >= 0)
		return "pwrite";
	if (ftruncate(fd, 0) == 0 || ftruncate(fd, (off_t)size / 2) == 0)
		return "ftruncate to less";
	if (ftruncate(fd, (off_t)(2 * size)) == 0)
		return "ftruncate to more";
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size) == 0)
		return "a punched hole";
	if (fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, (off_t)size) == 0)
		return "a zeroed range";
	if (fallocate(fd, 0, 0, (off_t)(2 * size)) == 0)
		return "allocation beyond the end";
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0 || fcntl(fd, F_ADD_SEALS, 0) == 0)
		return "more seals";
	if (pipe(pipes) == 0 && write(pipes[1], "x", 1) == 1 && splice(pipes[0], NULL, fd, &at, 1, 0) > 0)
		return "splice";
	other = memfd_create("other", MFD_CLOEXEC);
	if (other >= 0 && write(other, "x", 1) == 1 && copy_file_range(other, &from, fd, &at, 1, 0) > 0)
		return "copy_file_range";
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (truncate(path, 0) == 0)
		return "truncate through /proc";
	if (open(path, O_RDWR | O_TRUNC | O_CLOEXEC) >= 0)
		return "O_TRUNC through /proc";
	return NULL;
}

static const char *find_a_way_in_again(int fd, uint64_t size, bool may_reopen)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again < 0)
		return NULL;
	return may_reopen ? find_a_way_in(again, size) : "reopening for writing through /proc";
}

static void check_sealed(bool is_huge)
{
	struct sealed memory = sealed_new(is_huge);
	const char *way;

	way = find_a_way_in(memory.rw, memory.size);
	cr_assert_null(way, "the owner's descriptor: %s", way);
	way = find_a_way_in(memory.ro, memory.size);
	cr_assert_null(way, "a reader's descriptor: %s", way);
	/* The owner and root may open it again, for nothing. */
	way = find_a_way_in_again(memory.ro, memory.size, true);
	cr_assert_null(way, "opened again: %s", way);
	cr_assert_neq(madvise(memory.own, memory.size, MADV_REMOVE), 0, "the owner punches holes through its mapping");
	cr_assert_eq(hbus_memfd_check(memory.ro, memory.size, hbus_memfd_seals_final(), 1), 0);
}

Test(segment, after_the_seal_nobody_can_write_small_pages)
{
	check_sealed(false);
}

Test(segment, after_the_seal_nobody_can_write_hugepages)
{
	check_sealed(true);
}

static void check_other_uid(bool is_huge)
{
	struct sealed memory = sealed_new(is_huge);
	int status;
	pid_t child;

	if (geteuid() != 0)
		cr_skip("only root can become somebody else");
	child = fork();
	if (child == 0) {
		const char *way;

		if (setgid(OTHER_UID) || setuid(OTHER_UID))
			_exit(2);
		/* The reader's descriptor is what such a process is given. */
		way = find_a_way_in(memory.ro, memory.size);
		if (!way)
			way = find_a_way_in_again(memory.ro, memory.size, false);
		if (!way)
			way = find_a_way_in(memory.rw, memory.size);
		if (way)
			fprintf(stderr, "another uid: %s\n", way);
		_exit(way != NULL);
	}
	waitpid(child, &status, 0);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0);
	cr_assert_eq(memory.own[0], 1);
}

Test(segment, another_uid_cannot_even_open_it_for_writing_small_pages)
{
	check_other_uid(false);
}

Test(segment, another_uid_cannot_even_open_it_for_writing_hugepages)
{
	check_other_uid(true);
}

/* The checker itself: without the last seals it finds a way. */
Test(segment, before_the_last_seal_there_are_ways_in)
{
	int fd = -1;

	cr_assert_eq(hbus_memfd_new("test", SMALL_SIZE, 0, &fd), 0);
	cr_assert_not_null(find_a_way_in(fd, SMALL_SIZE));
}

Test(segment, the_owner_goes_on_writing_and_readers_see_it)
{
	struct sealed memory = sealed_new(false);
	void *map = NULL, *private;

	cr_assert_eq(hbus_segment_map(memory.ro, memory.size, 0, &map), 0);
	memory.own[100] = 42;
	cr_assert_eq(((unsigned char *)map)[100], 42);
	private = mmap(NULL, memory.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory.ro, 0);
	cr_assert_neq(private, MAP_FAILED);
	((unsigned char *)private)[100] = 7;
	cr_assert_eq(((unsigned char *)map)[100], 42, "a private copy is private");
}

Test(segment, mode_is_0600_and_execution_is_sealed_or_impossible)
{
	struct stat st;
	int fd = -1;

	cr_assert_eq(hbus_memfd_new("test", SMALL_SIZE, 0, &fd), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
	setenv("HBUS_NO_NOEXEC_SEAL", "1", 1);
	cr_assert_eq(hbus_memfd_new("test", SMALL_SIZE, 0, &fd), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

Test(segment, readers_get_a_descriptor_for_reading_that_no_other_program_inherits)
{
	int fd = -1, ro = -1;

	cr_assert_eq(hbus_memfd_new("test", SMALL_SIZE, 0, &fd), 0);
	cr_assert_eq(hbus_memfd_reopen_read_only(fd, &ro), 0);
	cr_assert_eq(fcntl(ro, F_GETFL) & O_ACCMODE, O_RDONLY);
	cr_assert(fcntl(ro, F_GETFD) & FD_CLOEXEC);
}

Test(segment, memory_that_cannot_be_made_leaves_no_descriptor)
{
	size_t before = kit_n_open_fds();
	int fd = -1;

	cr_assert_lt(hbus_memfd_new("test", 1ull << 63, 0, &fd), 0);
	cr_assert_lt(hbus_memfd_new("test", 1ull << 46, 1, &fd), 0);
	cr_assert_eq(fd, -1);
	cr_assert_eq(kit_n_open_fds(), before);
}

Test(segment, too_few_hugepages_are_an_error_and_no_signal)
{
	int fd = -1, r;

	/* 64 TiB: more than any pool. */
	r = hbus_memfd_new("test", 1ull << 46, 1, &fd);
	cr_assert(r == -ENOMEM || r == -ENOSPC || r == -ENOENT || r == -EINVAL, "%d", r);
	cr_assert_eq(fd, -1);
}

Test(segment, a_promise_that_is_not_kept_is_found_out)
{
	int fd = -1, ro = -1, file, pipes[2], path_only;
	int both = F_SEAL_SHRINK | F_SEAL_GROW;
	char path[64], name[] = "/tmp/hbus_test_XXXXXX";
	void *map = NULL;

	cr_assert_eq(hbus_memfd_new("test", SMALL_SIZE, 0, &fd), 0);
	cr_assert_eq(hbus_memfd_check(fd, SMALL_SIZE, both, 0), 0);
	cr_assert_eq(hbus_memfd_check(fd, SMALL_SIZE - 1, both, 0), HBUS_MEMFD_WRONG_SIZE);
	cr_assert_eq(hbus_memfd_check(fd, SMALL_SIZE + 1, both, 0), HBUS_MEMFD_WRONG_SIZE);
	cr_assert_eq(hbus_memfd_check(fd, SMALL_SIZE, hbus_memfd_seals_final(), 0), HBUS_MEMFD_WRONG_SEALS);
	cr_assert_eq(hbus_memfd_check(fd, SMALL_SIZE, both, 1), HBUS_MEMFD_NOT_ALLOCATED);
	cr_assert_eq(hbus_segment_map(fd, SMALL_SIZE, 1, &map), 0);
	cr_assert_eq(hbus_memfd_check(fd, SMALL_SIZE, both, 1), 0);
	cr_assert_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0);
	cr_assert_eq(hbus_memfd_check(fd, SMALL_SIZE, both, 1), HBUS_MEMFD_NOT_ALLOCATED, "one hole");
	cr_assert_eq(hbus_memfd_reopen_read_only(fd, &ro), 0);
	cr_assert_eq(hbus_memfd_check(ro, SMALL_SIZE, both, 0), 0);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	path_only = open(path, O_PATH | O_CLOEXEC);
	cr_assert_eq(hbus_memfd_check(path_only, SMALL_SIZE, both, 0), HBUS_MEMFD_WRONG_KIND);
	cr_assert_eq(pipe(pipes), 0);
	cr_assert_eq(hbus_memfd_check(pipes[0], SMALL_SIZE, both, 0), HBUS_MEMFD_WRONG_KIND);
	file = mkstemp(name);
	cr_assert_geq(file, 0);
	unlink(name);
	cr_assert_eq(ftruncate(file, SMALL_SIZE), 0);
	cr_assert_gt(hbus_memfd_check(file, SMALL_SIZE, both, 0), 0);
	cr_assert_eq(hbus_memfd_check(-1, SMALL_SIZE, both, 0), -EBADF);
}

static void check_twice(bool is_huge)
{
	uint64_t size = is_huge ? HBUS_HUGE_PAGE_SIZE : SMALL_SIZE;
	unsigned char *twice;
	void *base = NULL;
	int fd = -1, r = hbus_memfd_new("test", size, is_huge, &fd);

	if (is_huge && r < 0)
		cr_skip("no free 2 MiB page (sysctl vm.nr_hugepages)");
	cr_assert_eq(r, 0);
	cr_assert_eq(hbus_segment_map_twice(fd, size, 1, is_huge, &base), 0);
	twice = base;
	memset(twice + size - 8, 0x5a, 16);
	cr_assert_eq(twice[7], 0x5a);
	cr_assert_eq(twice[8], 0);
	cr_assert_eq(twice[2 * size - 1], 0x5a);
	cr_assert_eq((uintptr_t)twice % (is_huge ? HBUS_HUGE_PAGE_SIZE : 4096), 0);
	hbus_segment_unmap_twice(base, size);
	cr_assert_eq(msync(base, 4096, MS_ASYNC), -1, "nothing stays mapped");
	cr_assert_eq(msync(twice + size, 4096, MS_ASYNC), -1);
}

Test(segment, mapped_twice_the_end_runs_into_the_beginning_small_pages)
{
	check_twice(false);
}

Test(segment, mapped_twice_the_end_runs_into_the_beginning_hugepages)
{
	check_twice(true);
}

Test(segment, mapping_populates)
{
	unsigned char resident[SMALL_SIZE / 4096];
	struct stat st;
	void *map = NULL;
	int fd = -1;

	cr_assert_eq(hbus_memfd_new("test", SMALL_SIZE, 0, &fd), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_blocks, 0, "small pages are paid by who maps them");
	cr_assert_eq(hbus_segment_map(fd, SMALL_SIZE, 1, &map), 0);
	cr_assert_eq(mincore(map, SMALL_SIZE, resident), 0);
	for (size_t i = 0; i < sizeof(resident); i++)
		cr_assert(resident[i] & 1);
}

Test(segment, a_writable_mapping_is_not_inherited_by_a_child)
{
	void *map = NULL, *twice = NULL;
	int fd = -1;

	cr_assert_eq(hbus_memfd_new("test", SMALL_SIZE, 0, &fd), 0);
	cr_assert_eq(hbus_segment_map(fd, SMALL_SIZE, 1, &map), 0);
	cr_assert_eq(hbus_segment_map_twice(fd, SMALL_SIZE, 1, 0, &twice), 0);
	for (int i = 0; i < 3; i++) {
		unsigned char *at = i == 0 ? map : (unsigned char *)twice + (i - 1) * (int)SMALL_SIZE;
		int status;
		pid_t child = fork();

		if (child == 0) {
			signal(SIGSEGV, SIG_DFL);
			*at = 1;
			_exit(0);
		}
		waitpid(child, &status, 0);
		cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "mapping %d", i);
	}
}

Test(segment, what_cannot_be_mapped_is_an_error_and_leaves_nothing)
{
	void *base = NULL;
	int fd = -1;

	cr_assert_eq(hbus_memfd_new("test", SMALL_SIZE, 0, &fd), 0);
	cr_assert_lt(hbus_segment_map_twice(-1, SMALL_SIZE, 1, 0, &base), 0);
	cr_assert_lt(hbus_segment_map(-1, SMALL_SIZE, 1, &base), 0);
	/* Shorter than it claims: populating finds out, instead of a SIGBUS later. */
	cr_assert_lt(hbus_segment_map(fd, 2 * SMALL_SIZE, 0, &base), 0);
	cr_assert_lt(hbus_segment_map_twice(fd, 2 * SMALL_SIZE, 1, 0, &base), 0);
	cr_assert_null(base);
}
