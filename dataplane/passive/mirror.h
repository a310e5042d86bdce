/* SPDX-License-Identifier: BSD-3-Clause */
/* An interface that shows what is sent to others: a mirror port. */
#pragma once

#include <stdint.h>

/*
 * Asks the kernel for all frames of the interface, for as long as the descriptor is open: also a kill ends it.
 * Return: the descriptor, which receives nothing itself, with the interface's own address in @ret_mac; or -errno.
 */
int hbus_mirror_open(const char *iface, unsigned int ifindex, uint8_t ret_mac[6]);
