/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The configuration of the daemon: one file, read all or nothing
 *
 * packaging/hugebus.conf shows every setting with its default. An unknown key, a wrong type, a value
 * out of range or a name that is given twice is an error that names the file, the line and the reason.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "ctl/daemon/policy.h"
#include "ctl/daemon/quota.h"
#include "ctl/proto/proto.h"

#define HBUS_CONFIG_TOPICS_MAX 65536u
#define HBUS_CONFIG_ROUTES_MAX 16384u
#define HBUS_CONFIG_SOURCES_MAX 16384u
#define HBUS_SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

enum hbus_log_level { HBUS_LOG_ERROR, HBUS_LOG_WARNING, HBUS_LOG_INFO, HBUS_LOG_DEBUG };

struct hbus_config_topic {
	char name[HBUS_TOPIC_NAME_MAX + 1];
	char type[64];
	char content_type[64];
	bool is_hot; /* a ring of its own */
};

struct hbus_config_source {
	uint8_t address[16]; /* IPv4 in the first four bytes */
	uint32_t family;     /* 4 or 6 */
	uint32_t prefix_len;
	bool is_deny;
};

struct hbus_config {
	/* the daemon */
	char socket_path[PATH_MAX]; /* empty: the standard place */
	mode_t socket_mode;
	gid_t socket_gid; /* (gid_t)-1: leave it */
	char state_dir[PATH_MAX]; /* empty: the standard place */
	enum hbus_log_level log_level;
	uint32_t reserve_pages; /* of 2 MiB */
	uint64_t capacity;	/* of a ring that does not say */
	uint32_t stall_ms;	/* of a reliable subscriber that does not say */
	/* what exists without anybody declaring it */
	struct hbus_config_topic *topics;
	size_t n_topics;
	struct hbus_wire_route *routes;
	size_t n_routes;
	/* packets */
	struct hbus_config_source *sources;
	size_t n_sources;
	bool is_source_denied; /* a source that no rule names */
	uint64_t source_rate;  /* packets per second and source; 0 = unlimited */
	uint64_t source_burst;
	/* users */
	struct hbus_policy_rule *rules;
	size_t n_rules;
	struct hbus_quota_config quota; /* its overrides are quota_overrides */
	struct hbus_quota_override *quota_overrides;
};

struct hbus_config_error {
	char text[512]; /* "FILE:LINE: sentence" */
};

/** hbus_config_init() - the defaults, as without a file. */
void hbus_config_init(struct hbus_config *config);

/**
 * hbus_config_load() - read @path into a new configuration
 *
 * Return: 0, or -EINVAL/-ENOENT/-errno with the reason in *@ret_error; then *@ret_config is untouched.
 * The caller owns *@ret_config: hbus_config_deinit().
 */
int hbus_config_load(const char *path, struct hbus_config *ret_config,
		     struct hbus_config_error *ret_error);

void hbus_config_deinit(struct hbus_config *config);
