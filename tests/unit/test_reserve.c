/* SPDX-License-Identifier: BSD-3-Clause */
/* The reserve of hugepages. What needs hugepages is skipped where there are fewer than three. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/daemon/memory.h"
#include "ctl/daemon/reserve.h"
#include "shm/segment.h"

static struct hbus_reserve reserve;

static void need_pages(uint32_t n)
{
	hbus_reserve_init(&reserve, n);
	if (reserve.n_free < n) {
		hbus_reserve_deinit(&reserve);
		cr_skip_test("fewer than %u free hugepages", n);
	}
}

Test(reserve, without_pages_there_is_nothing_to_take)
{
	hbus_reserve_init(&reserve, 0);
	cr_assert_not(hbus_reserve_take(&reserve, 1));
	cr_assert(hbus_reserve_refill(&reserve));
	hbus_reserve_deinit(&reserve);
}

Test(reserve, gives_what_it_has_and_not_one_more)
{
	need_pages(3);
	cr_assert_not(hbus_reserve_take(&reserve, 4));
	cr_assert_not(hbus_reserve_take(&reserve, 0));
	cr_assert(hbus_reserve_take(&reserve, 2));
	cr_assert_not(hbus_reserve_take(&reserve, 2));
	cr_assert(hbus_reserve_take(&reserve, 1));
	cr_assert_not(hbus_reserve_take(&reserve, 1));
	hbus_reserve_give(&reserve, 3);
	cr_assert_eq(reserve.n_free, 3);
	cr_assert_eq(reserve.n_used, 0);
	hbus_reserve_deinit(&reserve);
}

static struct hbus_geometry make(uint64_t capacity, uint32_t want, struct hbus_fd *fds[2],
				 int status)
{
	struct hbus_geometry geometry = { .ring_id = 1, .capacity = capacity };

	cr_assert_eq(hbus_memory_ring_make(&reserve, &geometry, want, fds), status);
	return geometry;
}

Test(reserve, rings_come_from_it_while_it_lasts_and_then_from_small_pages)
{
	struct hbus_fd *fds[4][2];
	struct hbus_geometry geometry[4];

	need_pages(3);
	geometry[0] = make(4u << 20, 0, fds[0], 0);
	cr_assert_eq(geometry[0].is_huge, 1);
	geometry[1] = make(4u << 20, 0, fds[1], 0);
	cr_assert_eq(geometry[1].is_huge, 0);
	make(4u << 20, HBUS_RING_WANT_HUGE_ONLY, fds[2], -1010);
	geometry[2] = make(2u << 20, HBUS_RING_WANT_SMALL_PAGES, fds[2], 0);
	cr_assert_eq(geometry[2].is_huge, 0);
	geometry[3] = make(2u << 20, HBUS_RING_WANT_HUGE_ONLY, fds[3], 0);
	cr_assert_eq(geometry[3].is_huge, 1);
	cr_assert_eq(reserve.n_free, 0);
	for (int i = 0; i < 4; i++) {
		hbus_fd_put(fds[i][0]);
		hbus_fd_put(fds[i][1]);
		hbus_memory_ring_gone(&reserve, &geometry[i]);
	}
	cr_assert_eq(reserve.n_free, 3);
	hbus_reserve_deinit(&reserve);
}

Test(reserve, a_ring_below_two_mebibytes_is_never_on_hugepages)
{
	struct hbus_fd *fds[2];

	hbus_reserve_init(&reserve, 0);
	cr_assert_eq(make(1u << 20, 0, fds, 0).is_huge, 0);
	hbus_fd_put(fds[0]);
	hbus_fd_put(fds[1]);
	make(1u << 20, HBUS_RING_WANT_HUGE_ONLY, fds, -1010);
}
