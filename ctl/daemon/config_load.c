/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/config.h"

#include <errno.h>
#include <stdio.h>

int hbus_config_load(const char *path, struct hbus_config *ret_config,
		     struct hbus_config_error *ret_error)
{
	(void)ret_config;
	snprintf(ret_error->text, sizeof(ret_error->text), "%s: cannot read configurations yet", path);
	return -ENOSYS;
}
