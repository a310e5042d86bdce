/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The memory ops of the state machine, for real: memfds made, sealed, checked and read
 *
 * Nothing that a client brought is mapped before its seals say that it cannot shrink.
 */
#pragma once

#include "ctl/daemon/reserve.h"
#include "ctl/daemon/state.h"

/* Each is the op of the same name in struct hbus_state_ops. */
int hbus_memory_ring_make(struct hbus_reserve *reserve, struct hbus_geometry *geometry,
			  uint32_t want, struct hbus_fd *ret_fds[2]);
int hbus_memory_ring_seal(const struct hbus_geometry *geometry, struct hbus_fd *const fds[2],
			  struct hbus_fd *ret_fds[2]);
int hbus_memory_ring_adopt(struct hbus_reserve *reserve, const struct hbus_geometry *geometry,
			   struct hbus_fd *const fds[2], struct hbus_fd *ret_fds[2]);
void hbus_memory_ring_gone(struct hbus_reserve *reserve, const struct hbus_geometry *geometry);
int hbus_memory_slots_check(struct hbus_fd *fd, uint32_t n_slots);
int hbus_memory_counters_check(struct hbus_fd *fd, uint32_t *ret_n);
int hbus_memory_doorbell_make(struct hbus_fd *ret_fds[2]);
void hbus_memory_slot_read(struct hbus_fd *fd, uint32_t slot_idx, struct hbus_slot_stats *stats);
void hbus_memory_ring_read(const struct hbus_geometry *geometry, struct hbus_fd *const fds[2],
			   struct hbus_ring_stats *stats);
bool hbus_memory_counter_read(struct hbus_fd *fd, uint32_t idx, char name[64],
			      uint64_t *ret_value);
