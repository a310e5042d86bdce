/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which frames are for the TCP stack: the last paragraph of the verdict in ebpf/filter_abi.h, in C.
 *
 * The poll loop asks it about every frame, so what is UDP is turned away by two bytes. No state, no
 * DPDK, no lwIP: any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ebpf/filter_abi.h"

/* An address that the stack owns on one port. */
struct hbus_claim_address {
	uint16_t port_id;
	uint8_t family;   /* HBUS_FAMILY_* */
	uint8_t addr[16]; /* network order; IPv4 in the first four bytes, the others 0 */
};

struct hbus_claim {
	struct hbus_claim_address at[HBUS_STACK_ADDRS_MAX];
	uint32_t n;
};

/* As hbus_claim_find() for frames that are not plainly UDP. */
int hbus_claim_look(const struct hbus_claim *claim, uint16_t port_id, const uint8_t *frame,
		    size_t size);

/**
 * hbus_claim_find() - for which address of the stack a frame is
 * @frame: borrowed; of one in several buffers the first, if that has the headers
 *
 * Return: its index, or -1: for none.
 */
static inline int hbus_claim_find(const struct hbus_claim *claim, uint16_t port_id,
				  const uint8_t *frame, size_t size)
{
	/* IPv4 and UDP, untagged: where type and protocol stand in nearly every frame. */
	if (size >= 34 && frame[12] == 0x08 && frame[13] == 0x00 && frame[23] == 17)
		return -1;
	return hbus_claim_look(claim, port_id, frame, size);
}
