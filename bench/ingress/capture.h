/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A capture of the user, looked through before a port is made of it
 *
 * libpcap reads it later, in DPDK; what that says of a file that it cannot play again and again is for those who know both.
 */
#pragma once

#define BENCH_CAPTURE_PACKETS_MAX 4000u
#define BENCH_CAPTURE_SIZE_MAX 2048u /* of a packet: what one buffer holds */

/*
 * Says on stderr when @path is damaged behind a packet that can be used. Of pcapng only that it is one is looked at.
 * Return: NULL, or why it cannot be measured, in a static buffer.
 */
const char *bench_capture_refusal(const char *path);
