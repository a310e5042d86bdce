/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The parts of the configuration that are about users
 */
#pragma once

#include "ctl/daemon/config_read.h"

bool hbus_read_gid(struct hbus_config_reader *reader, const config_setting_t *setting,
		   uint32_t *ret_gid);
bool hbus_config_read_policy(struct hbus_config_reader *reader, const config_setting_t *list,
			     struct hbus_config *config);
bool hbus_config_read_quotas(struct hbus_config_reader *reader, const config_setting_t *group,
			     struct hbus_config *config);
