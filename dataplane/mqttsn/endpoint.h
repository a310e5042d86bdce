/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the gateway listens: PORT, ADDRESS:PORT or [ADDRESS]:PORT, as route matches.
 */
#pragma once

#include "ebpf/filter_abi.h"

/* Without an address: both families. */
#define HBUS_SN_ENDPOINT_MATCHES_MAX 2U

/* Return: how many matches there are, 0 when the text is not one. */
unsigned int hbus_sn_endpoint_parse(const char *text,
				    struct hbus_route_match ret_matches[HBUS_SN_ENDPOINT_MATCHES_MAX]);
