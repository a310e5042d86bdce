/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a handle comes to be: from the filter that an interface has, or from an object file.
 * attach.c has the filter and its interface, rules.c what is in its maps, find.c finds both.
 */
#include "ebpf/loader.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "ebpf/loader_pvt.h"

static const char *const hbus_filter_map_names[HBUS_FILTER_N_MAPS] = {
#define HBUS_FILTER_MAP_NAME(id, name, key, value, max) name,
	HBUS_FILTER_MAPS(HBUS_FILTER_MAP_NAME)
#undef HBUS_FILTER_MAP_NAME
};

/* ---- handle ---------------------------------------------------------------------------- */

static struct hbus_filter *hbus_filter_new(void)
{
	struct hbus_filter *filter = calloc(1, sizeof(*filter));

	if (!filter)
		return NULL;
	filter->prog_fd = -1;
	for (size_t i = 0; i < HBUS_FILTER_N_MAPS; i++)
		filter->map_fds[i] = -1;
	filter->n_cpus = libbpf_num_possible_cpus();
	return filter->n_cpus > 0 ? filter : hbus_filter_free(filter);
}

struct hbus_filter *hbus_filter_free(struct hbus_filter *filter)
{
	if (!filter)
		return NULL;
	if (filter->prog_fd >= 0)
		close(filter->prog_fd);
	for (size_t i = 0; i < HBUS_FILTER_N_MAPS; i++)
		if (filter->map_fds[i] >= 0)
			close(filter->map_fds[i]);
	free(filter);
	return NULL;
}

int hbus_filter_prog_fd(const struct hbus_filter *filter)
{
	return filter->prog_fd;
}

int hbus_filter_sockets_fd(const struct hbus_filter *filter)
{
	return filter->map_fds[HBUS_FILTER_MAP_SOCKETS];
}

uint32_t hbus_filter_prog_id(const struct hbus_filter *filter)
{
	return filter->prog_id;
}

/* ---- found --------------------------------------------------------------------------- */

int hbus_filter_open(unsigned int ifindex, struct hbus_filter **ret_filter,
		     struct hbus_filter_error *error)
{
	struct hbus_filter_found found;
	struct hbus_filter *filter;
	uint32_t prog_id, mode;
	int ret;

	ret = hbus_filter_query(ifindex, &prog_id, &mode);
	if (ret < 0) {
		hbus_filter_error_set(error, "cannot ask for the XDP program of interface %u: %s",
				      ifindex, strerror(-ret));
		return ret;
	}
	if (prog_id == 0) {
		hbus_filter_error_set(error, "interface %u has no XDP program", ifindex);
		return HBUS_FILTER_NONE;
	}

	filter = hbus_filter_new();
	if (!filter)
		return -ENOMEM;
	ret = hbus_filter_find(prog_id, true, &found, error);
	if (ret != 0)
		goto out;
	filter->ifindex = ifindex;
	filter->prog_id = prog_id;
	filter->prog_fd = found.prog_fd;
	memcpy(filter->map_fds, found.map_fds, sizeof(filter->map_fds));
	hbus_filter_found_init(&found);
	ret = hbus_filter_rules_adopt(filter);
	if (ret < 0)
		goto out;
	*ret_filter = filter;
	filter = NULL;
out:
	hbus_filter_found_deinit(&found);
	hbus_filter_free(filter);
	return ret;
}

/* ---- loading --------------------------------------------------------------------------- */

/* The stamp that @object will carry. Return: 0, HBUS_FILTER_FOREIGN or HBUS_FILTER_ABI. */
static int hbus_filter_object_check(const struct bpf_object *object, const char *path,
				    struct hbus_filter_error *error)
{
	const struct bpf_program *prog = bpf_object__next_program(object, NULL);
	const struct hbus_filter_stamp *stamp = NULL;
	const struct bpf_map *map;
	size_t size = 0;

	bpf_object__for_each_map(map, object)
		if (strcmp(bpf_map__name(map), HBUS_FILTER_STAMP_MAP) == 0)
			stamp = bpf_map__initial_value((struct bpf_map *)(uintptr_t)map, &size);
	if (!prog || strcmp(bpf_program__name(prog), HBUS_FILTER_PROG_NAME) != 0 || !stamp ||
	    size < sizeof(*stamp) || !hbus_filter_stamp_is_valid(stamp)) {
		hbus_filter_error_set(error, "%s is not a hugebus filter", path);
		return HBUS_FILTER_FOREIGN;
	}
	if (stamp->abi_version != HBUS_FILTER_ABI_VERSION) {
		hbus_filter_error_set(error, "%s has map layout %" PRIu32 ", this program needs %u",
				      path, stamp->abi_version, HBUS_FILTER_ABI_VERSION);
		return HBUS_FILTER_ABI;
	}
	return 0;
}

int hbus_filter_object_load(const char *path, const int *reuse_fds,
			    struct bpf_object **ret_object, struct hbus_filter_error *error)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	int ret;

	if (!object) {
		ret = -errno;
		hbus_filter_error_set(error, "cannot open %s: %s", path, strerror(-ret));
		return ret;
	}
	ret = hbus_filter_object_check(object, path, error);
	if (ret != 0)
		goto out;
	for (size_t i = 0; reuse_fds && i < HBUS_FILTER_N_MAPS; i++) {
		struct bpf_map *map =
			bpf_object__find_map_by_name(object, hbus_filter_map_names[i]);

		if (i == HBUS_FILTER_MAP_STAMP)
			continue;
		ret = map ? bpf_map__reuse_fd(map, reuse_fds[i]) : -ENOENT;
		if (ret < 0) {
			hbus_filter_error_set(error, "%s cannot take over map %s: %s", path,
					      hbus_filter_map_names[i], strerror(-ret));
			goto out;
		}
	}
	ret = bpf_object__load(object);
	if (ret < 0) {
		hbus_filter_error_set(error, "the kernel refuses %s: %s%s", path, strerror(-ret),
				      ret == -EPERM ? " (CAP_BPF, CAP_NET_ADMIN)" : "");
		goto out;
	}
	*ret_object = object;
	return 0;
out:
	bpf_object__close(object);
	return ret;
}

int hbus_filter_object_prog(const struct bpf_object *object, int *ret_fd, uint32_t *ret_id)
{
	const struct bpf_program *prog = bpf_object__next_program(object, NULL);
	struct bpf_prog_info info = {};
	__u32 info_len = sizeof(info);
	int fd = bpf_program__fd(prog);

	if (bpf_obj_get_info_by_fd(fd, &info, &info_len) < 0)
		return -errno;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	*ret_id = info.id;
	return 0;
}

int hbus_filter_object_map(const struct bpf_object *object, enum hbus_filter_map map)
{
	int fd = bpf_object__find_map_fd_by_name(object, hbus_filter_map_names[map]);

	if (fd < 0)
		return fd;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

int hbus_filter_load(const char *path, struct hbus_filter **ret_filter,
		     struct hbus_filter_error *error)
{
	struct hbus_filter *filter = hbus_filter_new();
	struct bpf_object *object = NULL;
	int ret;

	if (!filter)
		return -ENOMEM;
	ret = hbus_filter_object_load(path, NULL, &object, error);
	if (ret != 0)
		goto out;
	ret = hbus_filter_object_prog(object, &filter->prog_fd, &filter->prog_id);
	if (ret < 0)
		goto out;
	for (size_t i = 0; i < HBUS_FILTER_N_MAPS; i++) {
		filter->map_fds[i] = hbus_filter_object_map(object, (enum hbus_filter_map)i);
		if (filter->map_fds[i] < 0) {
			ret = filter->map_fds[i];
			hbus_filter_error_set(error, "no map %s in %s: %s",
					      hbus_filter_map_names[i], path, strerror(-ret));
			goto out;
		}
	}
	*ret_filter = filter;
	filter = NULL;
out:
	bpf_object__close(object);
	hbus_filter_free(filter);
	return ret;
}
