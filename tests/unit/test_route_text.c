/* SPDX-License-Identifier: BSD-3-Clause */
/* Routes as people write them. */
#include <criterion/criterion.h>
#include <string.h>

#include "ctl/cli/route_text.h"

static struct hbus_route parse(const char *text)
{
	struct hbus_route route = { 0 };
	const char *fault = hbus_route_text_parse(text, &route);

	cr_assert_null(fault, "%s: %s", text, fault);
	return route;
}

Test(route_text, ipv4_with_and_without_prefix)
{
	struct hbus_route route = parse("10.0.0.0/8:5000");

	cr_assert(route.family == 4 && route.prefix_len == 8 && route.port == 5000);
	cr_assert(memcmp(route.address, "\x0a\0\0\0", 4) == 0);
	route = parse("10.1.2.3:1");
	cr_assert(route.prefix_len == 32 && route.port == 1);
	cr_assert(memcmp(route.address, "\x0a\1\2\3", 4) == 0);
}

Test(route_text, ipv6_in_brackets)
{
	struct hbus_route route = parse("[2001:db8::]/32:65535");

	cr_assert(route.family == 6 && route.prefix_len == 32 && route.port == 65535);
	cr_assert(memcmp(route.address, "\x20\x01\x0d\xb8", 4) == 0);
	cr_assert_eq(parse("[fe80::1]:5000").prefix_len, 128);
}

Test(route_text, the_unspecified_address_is_all_addresses)
{
	cr_assert_eq(parse("[::]:5000").prefix_len, 0);
	cr_assert_eq(parse("0.0.0.0:5000").prefix_len, 0);
	cr_assert_eq(parse("*:5000").prefix_len, 0);
	cr_assert_eq(parse("*:5000").family, 4);
	cr_assert_eq(parse("0.0.0.0/32:5000").prefix_len, 32);
}

Test(route_text, any_port)
{
	cr_assert_eq(parse("10.1.2.3:*").port, 0);
}

Test(route_text, refuses_what_is_not_a_destination)
{
	static const char *const bad[] = {
		"",
		"10.0.0.1",
		"10.0.0.1:",
		"10.0.0.1:0",
		"10.0.0.1:65536",
		"10.0.0.1:x",
		"10.0.0/8:1",
		"10.0.0.0/33:1",
		"10.0.0.0/:1",
		"10.0.0.1/8:1",
		"300.0.0.1:1",
		"::1:5000",
		"2001:db8::1",
		"[2001:db8::1]",
		"[2001:db8::1:5",
		"[10.0.0.1]:5000",
		"[::1]x:5",
		"[::1]/129:5",
		"[::1]/:5",
		"[::1]/64:5",
		"[*]:5",
		"10.0.0.0/8/8:5",
		":5000",
		"[]:5000",
		"10.0.0.0/-1:5",
		"10.0.0.1: 5",
		"hostname:5",
	};
	struct hbus_route route = { .port = 7 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not_null(hbus_route_text_parse(bad[i], &route), "'%s' was taken", bad[i]);
	cr_assert_eq(route.port, 7);
}

Test(route_text, what_is_shown_can_be_given_again)
{
	static const char *const routes[] = { "10.0.0.0/8:5000", "10.1.2.3:5000",
					      "0.0.0.0/0:5000",	 "0.0.0.0/32:1",
					      "10.1.2.3:*",	 "[2001:db8::]/32:5",
					      "[::]/0:5000",	 "[::1]:*" };
	char text[HBUS_ROUTE_TEXT_SIZE];

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		struct hbus_route route = parse(routes[i]);

		cr_assert_str_eq(hbus_route_text_format(&route, text), routes[i]);
	}
}

Test(route_text, vlans)
{
	char text[HBUS_ROUTE_TEXT_SIZE];
	uint16_t vlan;

	cr_assert(hbus_route_text_parse_vlan("any", &vlan) && vlan == HBUS_VLAN_ANY);
	cr_assert(hbus_route_text_parse_vlan("none", &vlan) && vlan == 0);
	cr_assert(hbus_route_text_parse_vlan("4094", &vlan) && vlan == 4094);
	cr_assert_not(hbus_route_text_parse_vlan("4095", &vlan));
	cr_assert_not(hbus_route_text_parse_vlan("0", &vlan));
	cr_assert_not(hbus_route_text_parse_vlan("", &vlan));
	cr_assert_str_eq(hbus_route_text_format_vlan(HBUS_VLAN_ANY, text), "any");
	cr_assert_str_eq(hbus_route_text_format_vlan(0, text), "none");
	cr_assert_str_eq(hbus_route_text_format_vlan(12, text), "12");
}
