/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The whole life of a client to which something may be refused
 *
 * It opens a bus, publishes, subscribes, polls, sleeps on its descriptor, administers and closes. Each call that fails must
 * say that there is no room, and succeed when it is tried again; what was subscribed must come.
 */
#pragma once

#include <stdint.h>

/* Calls that said that there is no room; losses that were told. */
extern uint64_t refuse_n_told, refuse_n_lost_told;

/** refuse_life() - @open_flags: of hbus_open(). Ends the program when something is not as it must be. */
void refuse_life(uint32_t open_flags);
