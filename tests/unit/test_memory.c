/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon takes from clients as memory, and what it refuses: real memfds, no client. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctl/client/hugebus.h"
#include "ctl/daemon/memory.h"
#include "shm/counters.h"
#include "shm/segment.h"

static struct hbus_reserve reserve;
static struct hbus_geometry geometry;
static struct hbus_fd *fds[2], *read_fds[2];
static void *header, *data;

/* A ring whose publisher has mapped it; the daemon has not sealed it yet. */
static void setup(void)
{
	hbus_reserve_init(&reserve, 0);
	geometry = (struct hbus_geometry){ .ring_id = 1, .capacity = 65536 };
	cr_assert_eq(hbus_memory_ring_make(&reserve, &geometry, HBUS_RING_WANT_SMALL_PAGES, fds), 0);
	cr_assert_eq(hbus_segment_map(fds[0]->fd, HBUS_RING_HEADER_SIZE, 1, &header), 0);
	cr_assert_eq(hbus_segment_map_twice(fds[1]->fd, geometry.capacity, 1, 0, &data), 0);
}

TestSuite(memory, .init = setup);

static void seal(void)
{
	cr_assert_eq(hbus_memory_ring_seal(&geometry, fds, read_fds), 0);
}

static int adopt(struct hbus_fd *first, struct hbus_fd *second)
{
	struct hbus_fd *const offered[2] = { first, second };
	struct hbus_fd *got[2] = { NULL, NULL };

	return hbus_memory_ring_adopt(&reserve, &geometry, offered, got);
}

Test(memory, readers_of_a_sealed_ring_cannot_write)
{
	seal();
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(fcntl(read_fds[i]->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		cr_assert_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, read_fds[i]->fd, 0), MAP_FAILED);
	}
}

Test(memory, a_ring_with_a_hole_is_not_announced)
{
	cr_assert_eq(fallocate(fds[1]->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096), 0);
	cr_assert_eq(hbus_memory_ring_seal(&geometry, fds, read_fds), HBUS_E_BAD_FD);
}

Test(memory, a_ring_is_taken_back_only_as_it_was_given)
{
	struct hbus_fd *unsealed;
	int fd = -1;

	seal();
	cr_assert_eq(adopt(fds[0], fds[1]), 0);
	cr_assert_eq(adopt(read_fds[0], read_fds[1]), HBUS_E_BAD_FD, "for reading only");
	cr_assert_eq(adopt(fds[0], read_fds[1]), HBUS_E_BAD_FD);
	cr_assert_eq(adopt(fds[1], fds[0]), HBUS_E_BAD_FD, "the other way round");
	cr_assert_eq(hbus_memfd_new("test", geometry.capacity, 0, &fd), 0);
	cr_assert_eq(fallocate(fd, 0, 0, (off_t)geometry.capacity), 0);
	unsealed = hbus_fd_new(fd);
	cr_assert_eq(adopt(fds[0], unsealed), HBUS_E_BAD_FD, "without the last seals");
	geometry.is_huge = 1;
	cr_assert_eq(adopt(fds[0], fds[1]), HBUS_E_BAD_FD, "on other pages");
}

/* As a client would make it; NULL seals are left out. */
static struct hbus_fd *sealed(uint64_t size, bool is_sealed, bool is_filled)
{
	int fd = -1;

	cr_assert_eq(hbus_memfd_new("test", size, 0, &fd), 0);
	if (is_filled)
		cr_assert_eq(fallocate(fd, 0, 0, (off_t)size), 0);
	if (is_sealed)
		cr_assert_eq(hbus_memfd_seal(fd), 0);
	return hbus_fd_new(fd);
}

Test(memory, slots_are_sealed_allocated_and_as_many_as_said)
{
	const uint64_t size = 64 * sizeof(struct hbus_slot);

	cr_assert_eq(hbus_memory_slots_check(sealed(size, true, true), 64), 0);
	cr_assert_eq(hbus_memory_slots_check(sealed(size, true, true), 128), HBUS_E_BAD_FD);
	cr_assert_eq(hbus_memory_slots_check(sealed(size, false, true), 64), HBUS_E_BAD_FD);
	cr_assert_eq(hbus_memory_slots_check(sealed(size, true, false), 64), HBUS_E_BAD_FD);
}

Test(memory, counters_are_whole_pages_and_no_more_than_the_limit)
{
	const uint64_t most = hbus_counters_size(HBUS_COUNTERS_MAX);
	uint32_t n = 0;

	cr_assert_eq(hbus_memory_counters_check(sealed(4096, true, true), &n), 0);
	cr_assert_eq(n, 64);
	cr_assert_eq(hbus_memory_counters_check(sealed(most, true, true), &n), 0);
	cr_assert_eq(n, HBUS_COUNTERS_MAX);
	cr_assert_eq(hbus_memory_counters_check(sealed(most + 4096, true, true), &n), HBUS_E_BAD_FD);
	cr_assert_eq(hbus_memory_counters_check(sealed(4096 + 64, true, true), &n), HBUS_E_BAD_FD);
	cr_assert_eq(hbus_memory_counters_check(sealed(4096, false, true), &n), HBUS_E_BAD_FD);
	cr_assert_eq(hbus_memory_counters_check(sealed(4096, true, false), &n), HBUS_E_BAD_FD);
}

Test(memory, a_counters_name_is_printable_and_ends)
{
	struct hbus_counter_cell cells[2] = { 0 };
	struct hbus_fd *fd = sealed(4096, false, true);
	uint64_t value = 0;
	char name[64];

	memcpy(cells[0].name, "a\x1b[2J b\x07", 8);
	memset(cells[1].name, 'x', sizeof(cells[1].name));
	hbus_counter_set(&cells[1], 7);
	cr_assert_eq(pwrite(fd->fd, cells, sizeof(cells), 0), (ssize_t)sizeof(cells));
	cr_assert(hbus_memory_counter_read(fd, 0, name, &value));
	cr_assert_str_eq(name, "a?[2J?b?");
	cr_assert(hbus_memory_counter_read(fd, 1, name, &value));
	cr_assert_eq(strlen(name), sizeof(cells[1].name) - 1);
	cr_assert_eq(value, 7);
	cr_assert_not(hbus_memory_counter_read(fd, 2, name, &value), "the first without a name ends them");
	cr_assert_not(hbus_memory_counter_read(fd, 64, name, &value), "behind the end");
}
