/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sealed memory segments: memfds that one process writes and others can only read
 *
 * The daemon creates and seals; the owner maps read-write before the last seal and keeps writing
 * through that mapping; after it nobody can gain write access by any path (memfd_create(2),
 * F_SEAL_FUTURE_WRITE: fcntl(2)). Receivers check seals and size before they map, so that no peer can
 * truncate memory under them.
 *
 * Errors: 0 or -errno. Nothing here logs. Thread: any.
 */
#pragma once

#include <stdint.h>

#include "shm/layout.h"

#define HBUS_HUGE_PAGE_SIZE (2u << 20)

/* What hbus_memfd_check() found wrong (> 0). */
#define HBUS_MEMFD_WRONG_KIND 1  /* not a memfd */
#define HBUS_MEMFD_WRONG_SIZE 2
#define HBUS_MEMFD_WRONG_SEALS 3
#define HBUS_MEMFD_NOT_ALLOCATED 4 /* has holes: touching it could raise SIGBUS */

/**
 * hbus_memfd_new() - a memfd of exactly @size bytes, mode 0600, sealed against SHRINK and GROW
 * @is_huge: on 2 MiB pages, all allocated here; -ENOMEM or -ENOSPC when there are too few
 *
 * 4 KiB pages are not allocated here: the one who will write populates them, so that its memory
 * cgroup pays. The caller owns *ret_fd.
 */
int hbus_memfd_new(const char *name, uint64_t size, int is_huge, int *ret_fd);

/* Adds FUTURE_WRITE and SEAL: from here on only mappings that exist can write. */
int hbus_memfd_seal(int fd);

/**
 * hbus_memfd_check() - is it what was promised, and does it stay so?
 * @size: exact size in bytes
 * @seals: F_SEAL_* that must be set
 * @need_allocated: every page must exist
 *
 * Return: 0, HBUS_MEMFD_* or -errno.
 */
int hbus_memfd_check(int fd, uint64_t size, int seals, int need_allocated);

/* Seals of memory that is ready for readers. */
int hbus_memfd_seals_final(void);

/* A new descriptor of the same memory that is open read-only. The caller owns it. */
int hbus_memfd_reopen_read_only(int fd, int *ret_fd);

/**
 * hbus_segment_map() - map all of @fd once, and populate it
 * @is_writable: PROT_WRITE too; then MADV_DONTFORK as well
 *
 * Populating turns a lack of memory into an error here, instead of a SIGBUS later.
 */
int hbus_segment_map(int fd, uint64_t size, int is_writable, void **ret_base);
void hbus_segment_unmap(void *base, uint64_t size);

/* As hbus_segment_map(), but twice in a row, so that [base, base + 2 * size) wraps by itself. */
int hbus_segment_map_twice(int fd, uint64_t size, int is_writable, int is_huge, void **ret_base);
/* Read-only, without touching it all: for who looks at little of what hbus_memfd_check() found allocated. */
int hbus_segment_map_twice_lazily(int fd, uint64_t size, int is_huge, void **ret_base);
void hbus_segment_unmap_twice(void *base, uint64_t size);
