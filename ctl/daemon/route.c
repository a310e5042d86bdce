/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/route.h"

#include <string.h>

#include "ctl/proto/topic.h"

const char *hbus_prefix_check(const uint8_t address[16], uint32_t family, uint32_t prefix_len)
{
	if (family != 4 && family != 6)
		return "the family of an address is 4 or 6";
	if (prefix_len > (family == 4 ? 32u : 128u))
		return "the prefix is longer than the address";
	for (uint32_t bit = prefix_len; bit < 128; bit++)
		if (address[bit / 8] >> (7 - bit % 8) & 1)
			return "the address has bits beyond its prefix";
	return NULL;
}

static const char *check_topic(const struct hbus_wire_route *route)
{
	int r;

	if (route->kind == HBUS_ROUTE_BATCH)
		return route->topic[0] ? "a batch route names no topic itself" : NULL;
	r = hbus_topic_check_name(route->topic, strnlen(route->topic, sizeof(route->topic)));
	return r ? hbus_topic_strerror(r) : NULL;
}

const char *hbus_route_check(const struct hbus_wire_route *route)
{
	const char *text = hbus_prefix_check(route->address, route->family, route->prefix_len);

	if (text)
		return text;
	if (route->port > 65535)
		return "a port is at most 65535";
	if (route->vlan > 4094 && route->vlan != HBUS_ROUTE_VLAN_ANY)
		return "a VLAN is 0 (untagged), 1 to 4094, or any";
	if (route->kind < HBUS_ROUTE_TOPIC || route->kind > HBUS_ROUTE_BATCH_TOPIC)
		return "a route leads to a topic, a batch, or is a topic of a batch";
	if (route->kind != HBUS_ROUTE_BATCH_TOPIC && route->number != 0)
		return "only the topics of a batch have a number";
	if (route->number > 65535)
		return "the number of a batch's topic is at most 65535";
	return check_topic(route);
}

bool hbus_route_same_match(const struct hbus_wire_route *a, const struct hbus_wire_route *b)
{
	return a->family == b->family && a->prefix_len == b->prefix_len && a->port == b->port &&
	       a->vlan == b->vlan && memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

bool hbus_route_same_place(const struct hbus_wire_route *a, const struct hbus_wire_route *b)
{
	bool is_below_a = a->kind == HBUS_ROUTE_BATCH_TOPIC;
	bool is_below_b = b->kind == HBUS_ROUTE_BATCH_TOPIC;

	return is_below_a == is_below_b && a->number == b->number && hbus_route_same_match(a, b);
}

uint64_t hbus_route_place_key(const struct hbus_wire_route *route)
{
	uint64_t key = route->family;
	uint64_t words[2];

	memcpy(words, route->address, sizeof(words));
	key = key * 31 + route->prefix_len;
	key = key * 65537 + route->port;
	key = key * 4099 + route->vlan;
	return (key ^ words[0]) * 0x9e3779b97f4a7c15 + words[1] * 31 + route->number;
}
