/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Hugepages that the daemon took at its start, so that nobody else can take the last
 *
 * They wait in a memfd of the daemon's. A ring gets its pages by punching them out of the reserve and
 * allocating them again in the ring's memfd; what a ring gives back is allocated into the reserve.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define HBUS_RESERVE_PAGES_MAX 65536u

struct hbus_reserve {
	int fd;		 /* -1: none */
	uint32_t target; /* pages wanted, free and in rings together */
	uint32_t n_free;
	uint32_t n_used; /* by rings whose memory the daemon holds */
};

/** hbus_reserve_init() - takes up to @n_pages; having got fewer is not an error, see n_free. */
void hbus_reserve_init(struct hbus_reserve *reserve, uint32_t n_pages);
void hbus_reserve_deinit(struct hbus_reserve *reserve);

/** hbus_reserve_take() - gives @n pages back to the kernel for the caller to allocate at once. */
bool hbus_reserve_take(struct hbus_reserve *reserve, uint32_t n);

/** hbus_reserve_give() - a ring of @n pages is gone; the pages come back when its readers unmap it. */
void hbus_reserve_give(struct hbus_reserve *reserve, uint32_t n);

/** hbus_reserve_refill() - try to get back what is missing. Return: whether nothing is missing. */
bool hbus_reserve_refill(struct hbus_reserve *reserve);
