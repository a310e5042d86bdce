/* SPDX-License-Identifier: BSD-3-Clause */
/* What the loader's files share; not for its users. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "ebpf/loader.h"

struct bpf_object;

/* Name of the map that holds struct hbus_filter_stamp, frozen: each program has its own. */
#define HBUS_FILTER_STAMP_MAP ".rodata.stamp"

/* X(NAME, name in the kernel, key size, value size, max_entries), all checked when opened. */
#define HBUS_FILTER_MAPS(X)                                                                       \
	X(SOCKETS, "xsks_map", 4, 4, HBUS_QUEUES_MAX)                                             \
	X(CONFIG, "hbus_config", 4, sizeof(struct hbus_filter_config), 1)                         \
	X(ROUTES, "hbus_routes", sizeof(struct hbus_route_key), sizeof(struct hbus_route_val),    \
	  HBUS_ROUTE_KEYS_MAX)                                                                    \
	X(ROUTE_INFO, "hbus_route_info", 4, sizeof(struct hbus_route_info), HBUS_ROUTES_MAX)      \
	X(ROUTE_STATS, "hbus_rt_stats", 4, sizeof(struct hbus_route_stats), HBUS_ROUTES_MAX)      \
	X(SOURCES, "hbus_sources", sizeof(struct hbus_source_key),                                \
	  sizeof(struct hbus_source_val), HBUS_SOURCES_MAX)                                       \
	X(FLOWS, "hbus_flows", 4, sizeof(struct hbus_lately), HBUS_LATELY_MAX)                    \
	X(SENDERS, "hbus_senders", 4, sizeof(struct hbus_lately), HBUS_LATELY_MAX)                \
	X(BUCKETS, "hbus_buckets", sizeof(struct hbus_bucket_key), sizeof(struct hbus_bucket),    \
	  HBUS_BUCKETS_MAX)                                                                       \
	X(STACK, "hbus_stack", sizeof(struct hbus_stack_key), 4, HBUS_STACK_ADDRS_MAX)            \
	X(SN_QUIET, "hbus_sn_quiet", sizeof(struct hbus_sn_quiet_key),                            \
	  sizeof(struct hbus_sn_quiet_val), HBUS_SN_QUIET_MAX)                                    \
	X(STATS, "hbus_stats", 4, sizeof(struct hbus_reason_stats), HBUS_REASONS_MAX)             \
	X(STAMP, HBUS_FILTER_STAMP_MAP, 4, sizeof(struct hbus_filter_stamp), 1)

enum hbus_filter_map {
#define HBUS_FILTER_MAP_ENUM(id, name, key, value, max) HBUS_FILTER_MAP_##id,
	HBUS_FILTER_MAPS(HBUS_FILTER_MAP_ENUM)
#undef HBUS_FILTER_MAP_ENUM
	HBUS_FILTER_N_MAPS
};

struct hbus_filter_route {
	struct hbus_route_match match;
	struct hbus_route_info info;
	bool is_used;
};

struct hbus_filter {
	unsigned int ifindex; /* 0 = not attached by or known to this handle */
	uint32_t prog_id;
	int prog_fd;
	int map_fds[HBUS_FILTER_N_MAPS];
	int n_cpus; /* possible ones: as many values has an entry of a per-CPU map */
	uint32_t n_routes;
	uint32_t n_by_class[2][HBUS_ROUTE_CLASSES]; /* by IPv4, IPv6 */
	struct hbus_filter_config config;
	struct hbus_filter_route routes[HBUS_ROUTES_MAX];
};

__attribute__((format(printf, 2, 3))) void
hbus_filter_error_set(struct hbus_filter_error *error, const char *format, ...);

/* ---- find.c: programs and maps of the kernel, by own descriptors or by id ---------------- */

struct hbus_filter_found {
	int prog_fd;
	uint32_t prog_id;
	char prog_name[16];
	uint8_t prog_tag[8];
	uint32_t abi_version;
	int map_fds[HBUS_FILTER_N_MAPS]; /* -1 where not asked for */
};

void hbus_filter_found_init(struct hbus_filter_found *found);
void hbus_filter_found_deinit(struct hbus_filter_found *found);

/*
 * Finds program @prog_id and says whether it is a hugebus filter. With @wants_maps its maps, too.
 * Also on failure, @found is to be deinitialised.
 * Return: 0, HBUS_FILTER_FOREIGN, HBUS_FILTER_ABI (only with @wants_maps), or -errno.
 */
int hbus_filter_find(uint32_t prog_id, bool wants_maps, struct hbus_filter_found *found,
		     struct hbus_filter_error *error);

/* The stamp as it was found: the right magic and its version. */
bool hbus_filter_stamp_is_valid(const struct hbus_filter_stamp *stamp);

/* ---- attach.c -------------------------------------------------------------------------- */

/* @ret_id: of the attached program, 0 = none; @ret_mode: XDP_FLAGS_*_MODE that it is attached by. */
int hbus_filter_query(unsigned int ifindex, uint32_t *ret_id, uint32_t *ret_mode);

/* ---- loader.c -------------------------------------------------------------------------- */

/* Loads @path, on the maps @reuse_fds where given. @ret_object: the caller closes it. */
int hbus_filter_object_load(const char *path, const int *reuse_fds,
			    struct bpf_object **ret_object, struct hbus_filter_error *error);

/* @ret_fd: a duplicate of the program of @object, the caller's. */
int hbus_filter_object_prog(const struct bpf_object *object, int *ret_fd, uint32_t *ret_id);

/* Return: a duplicate of @map of @object, or -errno. */
int hbus_filter_object_map(const struct bpf_object *object, enum hbus_filter_map map);

/* ---- rules.c: the handle's picture of what is in the maps -------------------------------- */

/* Reads routes and configuration back from the maps of @filter. */
int hbus_filter_rules_adopt(struct hbus_filter *filter);
