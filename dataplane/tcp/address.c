/* SPDX-License-Identifier: BSD-3-Clause */
/* From text to an address. */
#include "dataplane/tcp/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ebpf/filter_abi.h"

/* Neither nothing, nor a loopback, nor a group. */
static bool is_host(const struct hbus_tcp_address *address)
{
	static const uint8_t zero[16], loopback[16] = { [15] = 1 };

	if (memcmp(address->addr, zero, sizeof(zero)) == 0)
		return false;
	if (address->family == HBUS_FAMILY_IPV4)
		return address->addr[0] != 0 && address->addr[0] != 127 && address->addr[0] < 224;
	return address->addr[0] != 0xff && memcmp(address->addr, loopback, sizeof(loopback)) != 0;
}

static bool parse_prefix(const char *text, uint8_t max, uint8_t *ret_prefix_len)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || value > max)
		return false;
	*ret_prefix_len = (uint8_t)value;
	return true;
}

int hbus_tcp_address_parse(const char *text, struct hbus_tcp_address *ret_address)
{
	struct hbus_tcp_address address = { 0 };
	char copy[160], *slash, *percent;
	bool is_v6;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	percent = strchr(copy, '%');
	if (percent) {
		*percent++ = '\0';
		if (*percent == '\0' || strlen(percent) >= sizeof(address.iface))
			return -EINVAL;
		strcpy(address.iface, percent);
	}
	slash = strchr(copy, '/');
	if (!slash)
		return -EINVAL;
	*slash++ = '\0';
	is_v6 = strchr(copy, ':');
	address.family = is_v6 ? HBUS_FAMILY_IPV6 : HBUS_FAMILY_IPV4;
	if (inet_pton(is_v6 ? AF_INET6 : AF_INET, copy, address.addr) != 1 || !is_host(&address) ||
	    !parse_prefix(slash, is_v6 ? 128 : 32, &address.prefix_len))
		return -EINVAL;
	*ret_address = address;
	return 0;
}
