/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "ctl/client/hugebus.h" /* enum hbus_error */
#include "shm/counters.h"
#include "shm/ring_sub.h"
#include "shm/segment.h"

static uint32_t huge_pages(const struct hbus_geometry *geometry)
{
	return geometry->is_huge ? (uint32_t)(geometry->capacity / HBUS_HUGE_PAGE_SIZE) : 0;
}

static void put_both(struct hbus_fd *fds[2])
{
	fds[0] = hbus_fd_put(fds[0]);
	fds[1] = hbus_fd_put(fds[1]);
}

static int wrap_both(int header_fd, int data_fd, struct hbus_fd *ret_fds[2])
{
	ret_fds[0] = hbus_fd_new(header_fd);
	ret_fds[1] = hbus_fd_new(data_fd);
	if (ret_fds[0] && ret_fds[1])
		return 0;
	put_both(ret_fds);
	return HBUS_E_NO_MEMORY;
}

/* For people with a debugger. */
static void write_title(int fd, const struct hbus_geometry *geometry)
{
	struct hbus_ring_header header = {
		.title = "hugebus ring",
		.layout_version = HBUS_LAYOUT_VERSION,
		.layout_hash = HBUS_LAYOUT_HASH,
		.ring_id = geometry->ring_id,
		.capacity = geometry->capacity,
		.start = geometry->start,
	};
	ssize_t n = pwrite(fd, &header, offsetof(struct hbus_ring_header, intent), 0);

	(void)n; /* nobody depends on it */
}

/* Data on hugepages of the reserve; false: none, or not possible. */
static bool make_huge_data(struct hbus_reserve *reserve, struct hbus_geometry *geometry,
			   int *ret_fd)
{
	uint32_t n = (uint32_t)(geometry->capacity / HBUS_HUGE_PAGE_SIZE);

	if (n == 0 || !hbus_reserve_take(reserve, n))
		return false;
	if (hbus_memfd_new("hugebus-data", geometry->capacity, 1, ret_fd) < 0) {
		hbus_reserve_give(reserve, n);
		return false;
	}
	geometry->is_huge = 1;
	return true;
}

int hbus_memory_ring_make(struct hbus_reserve *reserve, struct hbus_geometry *geometry,
			  uint32_t want, struct hbus_fd *ret_fds[2])
{
	int header_fd, data_fd, r;

	if (hbus_memfd_new("hugebus-header", HBUS_RING_HEADER_SIZE, 0, &header_fd) < 0)
		return HBUS_E_SYSTEM;
	if ((want & HBUS_RING_WANT_SMALL_PAGES) || !make_huge_data(reserve, geometry, &data_fd)) {
		r = want & HBUS_RING_WANT_HUGE_ONLY ? HBUS_E_NO_HUGEPAGES : 0;
		if (r == 0 && hbus_memfd_new("hugebus-data", geometry->capacity, 0, &data_fd) < 0)
			r = HBUS_E_SYSTEM;
		if (r < 0) {
			close(header_fd);
			return r;
		}
	}
	write_title(header_fd, geometry);
	r = wrap_both(header_fd, data_fd, ret_fds);
	if (r < 0)
		hbus_reserve_give(reserve, huge_pages(geometry));
	return r;
}

void hbus_memory_ring_gone(struct hbus_reserve *reserve, const struct hbus_geometry *geometry)
{
	hbus_reserve_give(reserve, huge_pages(geometry));
}

static int reopen_both(struct hbus_fd *const fds[2], struct hbus_fd *ret_fds[2])
{
	int header_fd, data_fd;

	if (hbus_memfd_reopen_read_only(fds[0]->fd, &header_fd) < 0)
		return HBUS_E_SYSTEM;
	if (hbus_memfd_reopen_read_only(fds[1]->fd, &data_fd) < 0) {
		close(header_fd);
		return HBUS_E_SYSTEM;
	}
	return wrap_both(header_fd, data_fd, ret_fds);
}

/*
 * Before the seal the publisher could punch holes, after it nobody can: what counts is that all is
 * there afterwards.
 */
int hbus_memory_ring_seal(const struct hbus_geometry *geometry, struct hbus_fd *const fds[2],
			  struct hbus_fd *ret_fds[2])
{
	const uint64_t sizes[2] = { HBUS_RING_HEADER_SIZE, geometry->capacity };

	for (int i = 0; i < 2; i++) {
		if (hbus_memfd_seal(fds[i]->fd) < 0)
			return HBUS_E_SYSTEM;
		if (hbus_memfd_check(fds[i]->fd, sizes[i], hbus_memfd_seals_final(), 1) != 0)
			return HBUS_E_BAD_FD;
	}
	return reopen_both(fds, ret_fds);
}

static bool is_on_hugepages(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
}

/* A descriptor that this daemon's predecessor gave out for writing. */
static bool is_ours(int fd, uint64_t size, bool is_huge)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) == O_RDWR && !(flags & O_PATH) &&
	       fstat(fd, &st) == 0 && st.st_uid == geteuid() && is_on_hugepages(fd) == is_huge &&
	       hbus_memfd_check(fd, size, hbus_memfd_seals_final(), 1) == 0;
}

int hbus_memory_ring_adopt(struct hbus_reserve *reserve, const struct hbus_geometry *geometry,
			   struct hbus_fd *const fds[2], struct hbus_fd *ret_fds[2])
{
	if (!is_ours(fds[0]->fd, HBUS_RING_HEADER_SIZE, false) ||
	    !is_ours(fds[1]->fd, geometry->capacity, geometry->is_huge))
		return HBUS_E_BAD_FD;
	/* Its pages are in use already: the reserve was filled beside them. */
	reserve->n_used += huge_pages(geometry);
	return reopen_both(fds, ret_fds);
}

int hbus_memory_slots_check(struct hbus_fd *fd, uint32_t n_slots)
{
	return hbus_memfd_check(fd->fd, (uint64_t)n_slots * sizeof(struct hbus_slot),
				hbus_memfd_seals_final(), 1) == 0 ?
		       0 :
		       HBUS_E_BAD_FD;
}

int hbus_memory_counters_check(struct hbus_fd *fd, uint32_t *ret_n)
{
	struct stat st;

	if (fstat(fd->fd, &st) < 0 || st.st_size <= 0 || st.st_size % 4096 ||
	    (uint64_t)st.st_size > hbus_counters_size(HBUS_COUNTERS_MAX) ||
	    hbus_memfd_check(fd->fd, (uint64_t)st.st_size, hbus_memfd_seals_final(), 1) != 0)
		return HBUS_E_BAD_FD;
	*ret_n = (uint32_t)((uint64_t)st.st_size / sizeof(struct hbus_counter_cell));
	return 0;
}

int hbus_memory_doorbell_make(struct hbus_fd *ret_fds[2])
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return HBUS_E_SYSTEM;
	return wrap_both(ends[0], ends[1], ret_fds);
}

void hbus_memory_slot_read(struct hbus_fd *fd, uint32_t slot_idx, struct hbus_slot_stats *stats)
{
	struct hbus_slot slot;

	if (pread(fd->fd, &slot, sizeof(slot), (off_t)slot_idx * (off_t)sizeof(slot)) !=
	    (ssize_t)sizeof(slot))
		return;
	/* relaxed: a copy of our own */
	stats->cursor = atomic_load_explicit(&slot.cursor, memory_order_relaxed);
	stats->delivered = atomic_load_explicit(&slot.delivered, memory_order_relaxed);
	stats->filtered = atomic_load_explicit(&slot.filtered, memory_order_relaxed);
	stats->lost = atomic_load_explicit(&slot.lost, memory_order_relaxed);
	stats->position = atomic_load_explicit(&slot.position, memory_order_relaxed);
	stats->sequence = atomic_load_explicit(&slot.sequence, memory_order_relaxed);
}

static void read_mapped(const struct hbus_geometry *geometry, const struct hbus_ring_header *header,
			const void *data, struct hbus_ring_stats *stats)
{
	struct hbus_ring_sub sub;

	hbus_ring_sub_init(&sub, geometry, header, data, NULL, false);
	if (hbus_ring_sub_seek_newest(&sub) == HBUS_RING_OK) {
		stats->sequence = sub.sequence;
		stats->position = sub.position;
	}
	for (size_t i = 0; i < HBUS_RING_GATES_MAX; i++) /* relaxed: informative */
		stats->dropped[i] = atomic_load_explicit(&header->dropped[i].gate_id,
							 memory_order_relaxed);
}

void hbus_memory_ring_read(const struct hbus_geometry *geometry, struct hbus_fd *const fds[2],
			   struct hbus_ring_stats *stats)
{
	void *header, *data;

	if (hbus_segment_map(fds[0]->fd, HBUS_RING_HEADER_SIZE, 0, &header) < 0)
		return;
	if (hbus_segment_map_twice_lazily(fds[1]->fd, geometry->capacity, (int)geometry->is_huge,
					  &data) == 0) {
		read_mapped(geometry, header, data, stats);
		hbus_segment_unmap_twice(data, geometry->capacity);
	}
	hbus_segment_unmap(header, HBUS_RING_HEADER_SIZE);
}

bool hbus_memory_counter_read(struct hbus_fd *fd, uint32_t idx, char name[64], uint64_t *ret_value)
{
	struct hbus_counter_cell cell;

	if (pread(fd->fd, &cell, sizeof(cell), (off_t)idx * (off_t)sizeof(cell)) !=
		    (ssize_t)sizeof(cell) ||
	    cell.name[0] == '\0')
		return false;
	cell.name[sizeof(cell.name) - 1] = '\0';
	memset(name, 0, 64);
	for (size_t i = 0; cell.name[i]; i++)
		name[i] = cell.name[i] > ' ' && cell.name[i] < 0x7f ? cell.name[i] : '?';
	*ret_value = hbus_counter_get(&cell);
	return true;
}
