/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the daemon of a case holds: descriptors and memory, which must come back when clients have gone
 */
#pragma once

/* Its descriptors, without the counters that it keeps of clients that are gone: at most HBUS_COUNTER_SETS_MAX. */
int holds_fds(void);
/* The same when it has been used once: its lasting descriptors are there. */
int holds_fds_at_rest(void);
/* Waits until it has given back all but @wanted; fails the case if it does not. */
void holds_expect_fds_back_at(int wanted);
/* Resident memory. */
long holds_kib(void);
