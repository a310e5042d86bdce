/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters of this program that the daemon shows; see shm/counters.h for the file. */
#pragma once

#include "ctl/client/bus.h"

#define HBUS_COUNTER_SETS_MAX 64u

struct hbus_counter_set {
	struct hbus_counter_set *next;
	int fd;
	uint64_t size;
	void *base;
	char name[64];
};

/* Under bus->lock. False: the link broke. */
bool hbus_counter_set_offer(struct hbus *bus, struct hbus_counter_set *set);
void hbus_counter_sets_free(struct hbus *bus);
