/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loss reports that the caller has not taken yet; owner's thread only
 *
 * Bounded: beyond HBUS_LOSSES_MAX a report is merged into the newest one of its ring, so that nothing is
 * forgotten: first_sequence is the first, n_events the sum.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ctl/client/hugebus.h"

#define HBUS_LOSSES_MAX 1024u

struct hbus_loss_list {
	struct hbus_loss *losses; /* a ring buffer, made with the first loss */
	struct hbus_loss only;	  /* the first loss when there is no memory for that */
	uint32_t first;
	uint32_t n;
	uint64_t n_unreported; /* no memory, or more rings than HBUS_LOSSES_MAX */
};

void hbus_loss_add(struct hbus_loss_list *list, uint64_t ring_id, uint64_t first_sequence, uint64_t n_events,
		   uint32_t reason);
bool hbus_loss_take(struct hbus_loss_list *list, struct hbus_loss *ret_loss);
void hbus_loss_deinit(struct hbus_loss_list *list);
