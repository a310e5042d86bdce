/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads an endpoint. */
#include "dataplane/mqttsn/endpoint.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool parse_port(const char *text, __u16 *ret_port)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || port == 0 || port > 65535)
		return false;
	*ret_port = (__u16)port;
	return true;
}

/* Brackets are for IPv6 only, which without them could not be told from its port. */
static bool parse_address(const char *text, size_t size, struct hbus_route_match *match)
{
	char room[INET6_ADDRSTRLEN + 2] = "";

	if (size == 0 || size >= sizeof(room))
		return false;
	memcpy(room, text, size);
	match->family = HBUS_FAMILY_IPV4;
	match->prefix_len = 32;
	if (inet_pton(AF_INET, room, match->addr) == 1)
		return true;
	if (room[0] != '[' || room[size - 1] != ']')
		return false;
	room[size - 1] = '\0';
	match->family = HBUS_FAMILY_IPV6;
	match->prefix_len = 128;
	return inet_pton(AF_INET6, room + 1, match->addr) == 1;
}

unsigned int hbus_sn_endpoint_parse(const char *text,
				    struct hbus_route_match ret_matches[HBUS_SN_ENDPOINT_MATCHES_MAX])
{
	const char *colon = strrchr(text, ':');
	struct hbus_route_match match = { .vlan = HBUS_VLAN_ANY };

	if (!parse_port(colon ? colon + 1 : text, &match.port))
		return 0;
	if (colon) {
		if (!parse_address(text, (size_t)(colon - text), &match))
			return 0;
		ret_matches[0] = match;
		return 1;
	}
	match.family = HBUS_FAMILY_IPV4;
	ret_matches[0] = match;
	match.family = HBUS_FAMILY_IPV6;
	ret_matches[1] = match;
	return 2;
}
