/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/reserve.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/segment.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

void hbus_reserve_init(struct hbus_reserve *reserve, uint32_t n_pages)
{
	*reserve = (struct hbus_reserve){ .fd = -1, .target = n_pages };
	if (n_pages == 0)
		return;
	reserve->fd = memfd_create("hugebus-reserve", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	hbus_reserve_refill(reserve);
}

void hbus_reserve_deinit(struct hbus_reserve *reserve)
{
	if (reserve->fd >= 0)
		close(reserve->fd);
	*reserve = (struct hbus_reserve){ .fd = -1 };
}

bool hbus_reserve_take(struct hbus_reserve *reserve, uint32_t n)
{
	if (reserve->fd < 0 || n == 0 || n > reserve->n_free)
		return false;
	if (fallocate(reserve->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(reserve->n_free - n) * HBUS_HUGE_PAGE_SIZE,
		      (off_t)n * HBUS_HUGE_PAGE_SIZE) < 0)
		return false;
	reserve->n_free -= n;
	reserve->n_used += n;
	return true;
}

void hbus_reserve_give(struct hbus_reserve *reserve, uint32_t n)
{
	reserve->n_used -= n < reserve->n_used ? n : reserve->n_used;
	hbus_reserve_refill(reserve);
}

bool hbus_reserve_refill(struct hbus_reserve *reserve)
{
	if (reserve->fd < 0)
		return true;
	while (reserve->n_free + reserve->n_used < reserve->target) {
		if (fallocate(reserve->fd, 0, (off_t)reserve->n_free * HBUS_HUGE_PAGE_SIZE,
			      HBUS_HUGE_PAGE_SIZE) < 0)
			return false;
		reserve->n_free++;
	}
	return true;
}
