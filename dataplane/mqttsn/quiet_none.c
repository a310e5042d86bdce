/* SPDX-License-Identifier: BSD-3-Clause */
/* Where there is no XDP, the poll loops drop by themselves. */
#include "dataplane/mqttsn/quiet.h"

#include <stddef.h>

int hbus_sn_quiet_new(const struct hbus_ports *ports, struct hbus_sn_quiet **ret_quiet)
{
	(void)ports;
	*ret_quiet = NULL;
	return 0;
}

struct hbus_sn_quiet *hbus_sn_quiet_free(struct hbus_sn_quiet *quiet)
{
	(void)quiet;
	return NULL;
}

unsigned int hbus_sn_quiet_follow(struct hbus_sn_quiet *quiet, const struct hbus_sn_paths *paths)
{
	(void)quiet;
	(void)paths;
	return 0;
}

uint64_t hbus_sn_quiet_seen_ns(const struct hbus_sn_quiet *quiet, const struct hbus_sn_peer *peer)
{
	(void)quiet;
	(void)peer;
	return 0;
}
