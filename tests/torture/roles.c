/* SPDX-License-Identifier: BSD-3-Clause */
/* Why a publisher or a subscriber is not on the bus. */
#include <stdio.h>

#include "ctl/client/hugebus.h"
#include "tests/torture/roles.h"

int role_outside(const char *who, uint32_t idx, int status)
{
	/* The daemon was there, and said no: nothing that is killed or stopped is a reason for that. */
	int code = status == HBUS_E_QUOTA || status == HBUS_E_LIMIT || status == HBUS_E_DENIED ? ROLE_REFUSED : ROLE_NO_DAEMON;

	if (code == ROLE_REFUSED)
		fprintf(stderr, "torture: %s %u: %s\n", who, idx, hbus_error_text());
	return code;
}
