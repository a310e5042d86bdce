/* SPDX-License-Identifier: BSD-3-Clause */
/* The defaults of the configuration, and freeing one. config_load.c reads the file. */
#include "ctl/daemon/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t half_of_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 2 : 1ull << 30;
}

static void init_quota(struct hbus_quota_config *quota)
{
	static const uint64_t totals[HBUS_QUOTA_N_KINDS] = {
		[HBUS_QUOTA_RINGS] = 65536,	      [HBUS_QUOTA_TOPICS] = 1000000,
		[HBUS_QUOTA_SUBSCRIPTIONS] = 1000000, [HBUS_QUOTA_FDS] = 500000,
		[HBUS_QUOTA_CLIENTS] = 16384,
	};
	static const uint64_t limits[HBUS_QUOTA_N_KINDS] = {
		[HBUS_QUOTA_BYTES] = 1ull << 30,     [HBUS_QUOTA_RINGS] = 4096,
		[HBUS_QUOTA_TOPICS] = 100000,	     [HBUS_QUOTA_SUBSCRIPTIONS] = 100000,
		[HBUS_QUOTA_FDS] = 65536,	     [HBUS_QUOTA_CLIENTS] = 4096,
	};

	memcpy(quota->total, totals, sizeof(totals));
	memcpy(quota->limits.max, limits, sizeof(limits));
	quota->total[HBUS_QUOTA_BYTES] = half_of_memory();
	quota->limits.requests_per_s = 10000;
	quota->limits.request_burst = 20000;
}

void hbus_config_init(struct hbus_config *config)
{
	memset(config, 0, sizeof(*config));
	config->socket_mode = 0666;
	config->socket_gid = (gid_t)-1;
	config->log_level = HBUS_LOG_INFO;
	config->reserve_pages = 16;
	config->capacity = 2u << 20;
	config->stall_ms = 5000;
	init_quota(&config->quota);
}

void hbus_config_deinit(struct hbus_config *config)
{
	free(config->topics);
	free(config->routes);
	free(config->sources);
	free(config->rules);
	free(config->quota_overrides);
	memset(config, 0, sizeof(*config));
}
