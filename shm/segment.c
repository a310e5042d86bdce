/* SPDX-License-Identifier: BSD-3-Clause */
/* Sealed memory segments. See segment.h. */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

static int memfd_open(const char *name, unsigned int flags)
{
	int fd = -1;

	/* MFD_NOEXEC_SEAL came with Linux 6.3; HBUS_NO_NOEXEC_SEAL forces the fallback in tests. */
	if (!getenv("HBUS_NO_NOEXEC_SEAL"))
		fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd < 0)
		fd = memfd_create(name, flags);
	return fd < 0 ? -errno : fd;
}

int hbus_memfd_new(const char *name, uint64_t size, int is_huge, int *ret_fd)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd, r;

	if (is_huge)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	fd = memfd_open(name, flags);
	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)size) < 0)
		goto fail;
	if (is_huge && fallocate(fd, 0, 0, (off_t)size) < 0)
		goto fail;
	/* memfds are born 0777, and another uid could reopen them through /proc. */
	if (fchmod(fd, 0600) < 0)
		goto fail;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		goto fail;
	*ret_fd = fd;
	return 0;
fail:
	r = -errno;
	close(fd);
	return r;
}

int hbus_memfd_seal(int fd)
{
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	return 0;
}

int hbus_memfd_seals_final(void)
{
	return F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
}

int hbus_memfd_check(int fd, uint64_t size, int seals, int need_allocated)
{
	struct stat st;
	int have;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return HBUS_MEMFD_WRONG_KIND;
	/* Only memfds (and hugetlbfs, tmpfs) answer this; O_PATH descriptors do not. */
	have = fcntl(fd, F_GET_SEALS);
	if (have < 0)
		return HBUS_MEMFD_WRONG_KIND;
	if (st.st_size < 0 || (uint64_t)st.st_size != size)
		return HBUS_MEMFD_WRONG_SIZE;
	if ((have & seals) != seals)
		return HBUS_MEMFD_WRONG_SEALS;
	if (need_allocated && (uint64_t)st.st_blocks * 512 < size)
		return HBUS_MEMFD_NOT_ALLOCATED;
	return 0;
}

int hbus_memfd_reopen_read_only(int fd, int *ret_fd)
{
	char path[64];
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	if (ro < 0)
		return -errno;
	*ret_fd = ro;
	return 0;
}

static int populate(void *base, uint64_t size, int is_writable)
{
	if (madvise(base, size, is_writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) < 0)
		return -errno;
	if (is_writable && madvise(base, size, MADV_DONTFORK) < 0)
		return -errno;
	return 0;
}

int hbus_segment_map(int fd, uint64_t size, int is_writable, void **ret_base)
{
	int prot = PROT_READ | (is_writable ? PROT_WRITE : 0);
	void *base;
	int r;

	base = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	r = populate(base, size, is_writable);
	if (r < 0) {
		munmap(base, size);
		return r;
	}
	*ret_base = base;
	return 0;
}

void hbus_segment_unmap(void *base, uint64_t size)
{
	if (base)
		munmap(base, size);
}

/* Address space for two copies, aligned for the page size; what is too much is given back. */
static int reserve_addresses(uint64_t size, uint64_t align, unsigned char **ret_base)
{
	uint64_t whole = 2 * size + align;
	unsigned char *raw, *base;
	uint64_t head;

	raw = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (raw == MAP_FAILED)
		return -errno;
	head = (align - (uintptr_t)raw % align) % align;
	base = raw + head;
	if (head > 0)
		munmap(raw, head);
	if (whole - head > 2 * size)
		munmap(base + 2 * size, whole - head - 2 * size);
	*ret_base = base;
	return 0;
}

static int map_twice(int fd, uint64_t size, int is_writable, int is_huge, int is_lazy, void **ret_base)
{
	int prot = PROT_READ | (is_writable ? PROT_WRITE : 0);
	unsigned char *base = NULL;
	int r;

	r = reserve_addresses(size, is_huge ? HBUS_HUGE_PAGE_SIZE : 4096, &base);
	if (r < 0)
		return r;
	for (int i = 0; i < 2; i++) {
		void *at = base + (uint64_t)i * size;

		if (mmap(at, size, prot, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
			r = -errno;
			goto fail;
		}
		r = is_lazy ? 0 : populate(at, size, is_writable);
		if (r < 0)
			goto fail;
	}
	*ret_base = base;
	return 0;
fail:
	munmap(base, 2 * size);
	return r;
}

int hbus_segment_map_twice(int fd, uint64_t size, int is_writable, int is_huge, void **ret_base)
{
	return map_twice(fd, size, is_writable, is_huge, 0, ret_base);
}

int hbus_segment_map_twice_lazily(int fd, uint64_t size, int is_huge, void **ret_base)
{
	return map_twice(fd, size, 0, is_huge, 1, ret_base);
}

void hbus_segment_unmap_twice(void *base, uint64_t size)
{
	if (base)
		munmap(base, 2 * size);
}
