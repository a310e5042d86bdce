/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checksum of a TCP segment in a frame, before the stack sees it.
 *
 * lwIP checks too, but drops without a word. Here it is counted, and told apart what a sender on the
 * same host has left to hardware that is not there: then the field holds the sum of the pseudo header
 * alone. Any thread; any bytes.
 */
#pragma once

#include <stdint.h>

/* ---- conditions (> 0) ------------------------------------------------------------------ */

#define HBUS_SUMS_BAD 1        /* it does not match */
#define HBUS_SUMS_UNFINISHED 2 /* it was left to hardware */
#define HBUS_SUMS_SHORT 3      /* the frame ends before the segment does */

/**
 * hbus_sums_tcp() - look at the checksum of a frame that hbus_claim_find() has found
 *
 * Return: 0 when it is good or when the frame is no TCP; or one of the conditions.
 */
int hbus_sums_tcp(const uint8_t *frame, uint32_t size);

/* Writes the right one. For frames of which the above said BAD or UNFINISHED. */
void hbus_sums_finish(uint8_t *frame, uint32_t size);

/* The one's complement sum of bytes in 16 bits, as the host loads them; @sum: a sum before. */
uint32_t hbus_sums_add(uint64_t sum, const uint8_t *bytes, uint32_t size);
