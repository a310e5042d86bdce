/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An address of the TCP stack as it is written on the command line: ADDRESS/PREFIX, and where there
 * are several interfaces %INTERFACE behind it. Text in, numbers out: any thread.
 */
#pragma once

#include <stdint.h>

struct hbus_tcp_address {
	uint8_t family;              /* HBUS_FAMILY_* */
	uint8_t addr[16];            /* IPv4: the first four bytes, the others 0 */
	uint8_t prefix_len;
	char iface[64];              /* "" = the first port */
};

/* Return: 0, or -EINVAL: it is none, or no host's. */
int hbus_tcp_address_parse(const char *text, struct hbus_tcp_address *ret_address);
