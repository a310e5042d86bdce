/* SPDX-License-Identifier: BSD-3-Clause */
/* Routes as people write them. */
#include "ctl/cli/route_text.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "ctl/cli/number.h"

/* The pieces of ADDRESS[/PREFIX]:PORT; prefix is empty when there is none. */
struct pieces {
	char address[64];
	char prefix[8];
	char port[8];
	bool is_bracketed;
};

static bool copy_piece(char *to, size_t size, const char *from, size_t len)
{
	if (len >= size)
		return false;
	memcpy(to, from, len);
	to[len] = '\0';
	return true;
}

static const char *split(const char *text, struct pieces *pieces)
{
	const char *colon = strrchr(text, ':');
	const char *end;
	const char *slash;

	*pieces = (struct pieces){ .is_bracketed = text[0] == '[' };
	if (pieces->is_bracketed) {
		end = strchr(text, ']');
		if (!end)
			return "the bracket '[' is not closed";
		if (!colon || colon < end)
			return "the port is missing: write [ADDRESS]:PORT, or [ADDRESS]:* for any";
		text++;
		slash = end + 1;
		if (*slash != '/' && slash != colon)
			return "after ']' comes :PORT or /PREFIX:PORT";
	} else {
		if (!colon)
			return "the port is missing: write ADDRESS:PORT, or ADDRESS:* for any";
		if (strchr(text, ':') != colon)
			return "an IPv6 address stands in brackets: [2001:db8::1]:5000";
		slash = memchr(text, '/', (size_t)(colon - text));
		end = slash ? slash : colon;
		slash = end;
	}
	if (*slash == '/' &&
	    (slash + 1 == colon || !copy_piece(pieces->prefix, sizeof(pieces->prefix), slash + 1,
					       (size_t)(colon - slash - 1))))
		return "the prefix is not a number of bits";
	if (!copy_piece(pieces->address, sizeof(pieces->address), text, (size_t)(end - text)))
		return "the address is not valid";
	if (!copy_piece(pieces->port, sizeof(pieces->port), colon + 1, strlen(colon + 1)))
		return "the port is not a number in 1..65535";
	return NULL;
}

static bool has_bits_beyond(const uint8_t address[16], unsigned int prefix_len)
{
	for (unsigned int bit = prefix_len; bit < 128; bit++) {
		if (address[bit / 8] & (0x80u >> bit % 8))
			return true;
	}
	return false;
}

static const char *parse_prefix(const struct pieces *pieces, struct hbus_route *route)
{
	unsigned int bits_max = route->family == 4 ? 32 : 128;
	uint64_t prefix_len = bits_max;

	if (!has_bits_beyond(route->address, 0))
		prefix_len = 0;
	if (pieces->prefix[0] && !hbus_number_parse(pieces->prefix, 0, bits_max, &prefix_len))
		return route->family == 4 ? "the prefix is not a number in 0..32"
					  : "the prefix is not a number in 0..128";
	route->prefix_len = (uint8_t)prefix_len;
	if (has_bits_beyond(route->address, route->prefix_len))
		return "the address has bits beyond its prefix";
	return NULL;
}

const char *hbus_route_text_parse(const char *text, struct hbus_route *ret_route)
{
	struct hbus_route route = { 0 };
	struct pieces pieces;
	uint64_t port = 0;
	const char *fault = split(text, &pieces);

	if (fault)
		return fault;
	route.family = pieces.is_bracketed ? 6 : 4;
	if (route.family == 4 && strcmp(pieces.address, "*") == 0)
		strcpy(pieces.address, "0.0.0.0");
	if (inet_pton(route.family == 4 ? AF_INET : AF_INET6, pieces.address, route.address) != 1)
		return route.family == 4 ? "the address is not an IPv4 address"
					 : "the address is not an IPv6 address";
	fault = parse_prefix(&pieces, &route);
	if (fault)
		return fault;
	if (strcmp(pieces.port, "*") != 0 && !hbus_number_parse(pieces.port, 1, 65535, &port))
		return "the port is not a number in 1..65535 or '*' for any";
	memcpy(ret_route->address, route.address, sizeof(route.address));
	ret_route->family = route.family;
	ret_route->prefix_len = route.prefix_len;
	ret_route->port = (uint16_t)port;
	return NULL;
}

bool hbus_route_text_parse_vlan(const char *text, uint16_t *ret_vlan)
{
	uint64_t vlan;

	if (strcmp(text, "any") == 0)
		vlan = HBUS_VLAN_ANY;
	else if (strcmp(text, "none") == 0)
		vlan = 0;
	else if (!hbus_number_parse(text, 1, 4094, &vlan))
		return false;
	*ret_vlan = (uint16_t)vlan;
	return true;
}

const char *hbus_route_text_format(const struct hbus_route *route, char text[HBUS_ROUTE_TEXT_SIZE])
{
	char address[INET6_ADDRSTRLEN] = "?";
	unsigned int bits_max = route->family == 4 ? 32 : 128;
	char prefix[8] = "";
	char port[8] = "*";

	inet_ntop(route->family == 4 ? AF_INET : AF_INET6, route->address, address,
		  sizeof(address));
	/* Without a prefix the unspecified address would be read as all of them. */
	if (route->prefix_len != bits_max || !has_bits_beyond(route->address, 0))
		snprintf(prefix, sizeof(prefix), "/%u", route->prefix_len);
	if (route->port)
		snprintf(port, sizeof(port), "%u", route->port);
	snprintf(text, HBUS_ROUTE_TEXT_SIZE, route->family == 4 ? "%s%s:%s" : "[%s]%s:%s", address,
		 prefix, port);
	return text;
}

const char *hbus_route_text_format_vlan(uint16_t vlan, char text[HBUS_ROUTE_TEXT_SIZE])
{
	if (vlan == HBUS_VLAN_ANY)
		snprintf(text, HBUS_ROUTE_TEXT_SIZE, "any");
	else if (vlan == 0)
		snprintf(text, HBUS_ROUTE_TEXT_SIZE, "none");
	else
		snprintf(text, HBUS_ROUTE_TEXT_SIZE, "%u", vlan);
	return text;
}
