/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finds programs and maps that somebody else loaded: among the process's own descriptors first,
 * which needs no rights (DPDK keeps those of the object it loaded), else by id from the kernel,
 * which needs CAP_SYS_ADMIN. Several ports have maps of the same names; ids tell them apart.
 */
#include "ebpf/loader_pvt.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

/* Maps of one program that are looked at; ours has ten. */
#define HBUS_FIND_MAPS_MAX 32U

void hbus_filter_error_set(struct hbus_filter_error *error, const char *format, ...)
{
	va_list args;

	if (!error)
		return;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
}

/* ---- by id ----------------------------------------------------------------------------- */

enum hbus_find_kind {
	HBUS_FIND_PROG,
	HBUS_FIND_MAP,
};

static const char *const hbus_find_links[] = {
	[HBUS_FIND_PROG] = "anon_inode:bpf-prog",
	[HBUS_FIND_MAP] = "anon_inode:bpf-map",
};

/* Return: id of the kernel for @fd, 0 when it has none. */
static uint32_t hbus_find_id_of(enum hbus_find_kind kind, int fd)
{
	struct bpf_prog_info prog = {};
	struct bpf_map_info map = {};
	__u32 prog_len = sizeof(prog);
	__u32 map_len = sizeof(map);

	if (kind == HBUS_FIND_PROG)
		return bpf_obj_get_info_by_fd(fd, &prog, &prog_len) == 0 ? prog.id : 0;
	return bpf_obj_get_info_by_fd(fd, &map, &map_len) == 0 ? map.id : 0;
}

static bool hbus_find_is_kind(int dir_fd, const char *name, enum hbus_find_kind kind)
{
	const char *want = hbus_find_links[kind];
	char link[32];
	ssize_t len = readlinkat(dir_fd, name, link, sizeof(link));

	return len == (ssize_t)strlen(want) && memcmp(link, want, (size_t)len) == 0;
}

/* Return: a new descriptor for the own one that has @id, -1 when there is none. */
static int hbus_find_own(enum hbus_find_kind kind, uint32_t id)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int ret_fd = -1;

	if (!dir)
		return -1;
	while (ret_fd < 0 && (entry = readdir(dir))) {
		int fd;

		if (!hbus_find_is_kind(dirfd(dir), entry->d_name, kind))
			continue;
		/* The duplicate is what is asked: another thread may close the original meanwhile. */
		fd = fcntl(atoi(entry->d_name), F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			continue;
		if (hbus_find_id_of(kind, fd) == id)
			ret_fd = fd;
		else
			close(fd);
	}
	closedir(dir);
	return ret_fd;
}

/* Return: a new descriptor, or -errno. */
static int hbus_find_by_id(enum hbus_find_kind kind, uint32_t id)
{
	int fd = hbus_find_own(kind, id);

	if (fd >= 0)
		return fd;
	fd = kind == HBUS_FIND_PROG ? bpf_prog_get_fd_by_id(id) : bpf_map_get_fd_by_id(id);
	return fd >= 0 ? fd : -errno;
}

/* ---- what is ours ---------------------------------------------------------------------- */

struct hbus_find_shape {
	const char *name;
	size_t key_size;
	size_t value_size;
	uint32_t entries_max;
};

static const struct hbus_find_shape hbus_find_shapes[HBUS_FILTER_N_MAPS] = {
#define HBUS_FIND_SHAPE(id, name, key, value, max) { name, key, value, max },
	HBUS_FILTER_MAPS(HBUS_FIND_SHAPE)
#undef HBUS_FIND_SHAPE
};

bool hbus_filter_stamp_is_valid(const struct hbus_filter_stamp *stamp)
{
	return memcmp(stamp->magic, HBUS_FILTER_MAGIC, sizeof(stamp->magic)) == 0;
}

/* Whether nobody but the program's loader can have written map @fd. */
static bool hbus_find_is_frozen(int fd)
{
	char path[64], line[128];
	bool is_frozen = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!is_frozen && fgets(line, sizeof(line), file))
		is_frozen = strcmp(line, "frozen:\t1\n") == 0;
	fclose(file);
	return is_frozen;
}

static void hbus_find_stamp(struct hbus_filter_found *found)
{
	int fd = found->map_fds[HBUS_FILTER_MAP_STAMP];
	struct hbus_filter_stamp stamp;
	uint32_t zero = 0;

	if (fd < 0 || !hbus_find_is_frozen(fd))
		return;
	if (bpf_map_lookup_elem(fd, &zero, &stamp) == 0 && hbus_filter_stamp_is_valid(&stamp))
		found->abi_version = stamp.abi_version;
}

/* Keeps @fd (consumed) where @found has a place for it. */
static void hbus_find_place(int fd, const struct bpf_map_info *info,
			    struct hbus_filter_found *found)
{
	for (size_t i = 0; i < HBUS_FILTER_N_MAPS; i++) {
		const struct hbus_find_shape *shape = &hbus_find_shapes[i];

		if (strcmp(info->name, shape->name) != 0 || found->map_fds[i] >= 0 ||
		    info->key_size != shape->key_size || info->value_size != shape->value_size ||
		    info->max_entries != shape->entries_max)
			continue;
		found->map_fds[i] = fd;
		return;
	}
	close(fd);
}

static int hbus_find_maps(const uint32_t *ids, uint32_t n, struct hbus_filter_found *found,
			  struct hbus_filter_error *error)
{
	for (uint32_t i = 0; i < n; i++) {
		struct bpf_map_info info = {};
		__u32 info_len = sizeof(info);
		int fd = hbus_find_by_id(HBUS_FIND_MAP, ids[i]);

		if (fd < 0) {
			hbus_filter_error_set(error, "cannot open map %" PRIu32 " of program %s: %s",
					      ids[i], found->prog_name, strerror(-fd));
			return fd;
		}
		if (bpf_obj_get_info_by_fd(fd, &info, &info_len) < 0) {
			int ret = -errno;

			close(fd);
			return ret;
		}
		hbus_find_place(fd, &info, found);
	}
	hbus_find_stamp(found);
	return 0;
}

static int hbus_find_has_all(const struct hbus_filter_found *found, struct hbus_filter_error *error)
{
	if (found->abi_version != HBUS_FILTER_ABI_VERSION) {
		hbus_filter_error_set(error,
				      "the attached filter has map layout %" PRIu32
				      ", this program needs %u: restart what attached it",
				      found->abi_version, HBUS_FILTER_ABI_VERSION);
		return HBUS_FILTER_ABI;
	}
	for (size_t i = 0; i < HBUS_FILTER_N_MAPS; i++) {
		if (found->map_fds[i] >= 0)
			continue;
		hbus_filter_error_set(error, "the attached filter has no map %s of the right shape",
				      hbus_find_shapes[i].name);
		return HBUS_FILTER_ABI;
	}
	return 0;
}

void hbus_filter_found_init(struct hbus_filter_found *found)
{
	*found = (struct hbus_filter_found){ .prog_fd = -1 };
	for (size_t i = 0; i < HBUS_FILTER_N_MAPS; i++)
		found->map_fds[i] = -1;
}

void hbus_filter_found_deinit(struct hbus_filter_found *found)
{
	if (found->prog_fd >= 0)
		close(found->prog_fd);
	for (size_t i = 0; i < HBUS_FILTER_N_MAPS; i++)
		if (found->map_fds[i] >= 0)
			close(found->map_fds[i]);
	hbus_filter_found_init(found);
}

static int hbus_find_foreign(const struct hbus_filter_found *found, struct hbus_filter_error *error)
{
	const uint8_t *tag = found->prog_tag;

	hbus_filter_error_set(error,
			      "XDP program \"%s\" (id %" PRIu32
			      ", tag %02x%02x%02x%02x%02x%02x%02x%02x) is not a hugebus filter",
			      found->prog_name, found->prog_id, tag[0], tag[1], tag[2], tag[3],
			      tag[4], tag[5], tag[6], tag[7]);
	return HBUS_FILTER_FOREIGN;
}

int hbus_filter_find(uint32_t prog_id, bool wants_maps, struct hbus_filter_found *found,
		     struct hbus_filter_error *error)
{
	uint32_t map_ids[HBUS_FIND_MAPS_MAX] = { 0 };
	struct bpf_prog_info info = {
		.nr_map_ids = HBUS_FIND_MAPS_MAX,
		.map_ids = (uintptr_t)map_ids,
	};
	__u32 info_len = sizeof(info);
	int ret;

	hbus_filter_found_init(found);
	found->prog_id = prog_id;
	found->prog_fd = hbus_find_by_id(HBUS_FIND_PROG, prog_id);
	if (found->prog_fd < 0) {
		ret = found->prog_fd;
		hbus_filter_error_set(error,
				      "cannot look at XDP program %" PRIu32
				      ", which another process attached (CAP_SYS_ADMIN): %s",
				      prog_id, strerror(-ret));
		return ret;
	}
	if (bpf_obj_get_info_by_fd(found->prog_fd, &info, &info_len) < 0)
		return -errno;
	memcpy(found->prog_name, info.name, sizeof(found->prog_name));
	memcpy(found->prog_tag, info.tag, sizeof(found->prog_tag));
	if (info.type != BPF_PROG_TYPE_XDP || strcmp(info.name, HBUS_FILTER_PROG_NAME) != 0 ||
	    info.nr_map_ids > HBUS_FIND_MAPS_MAX)
		return hbus_find_foreign(found, error);

	ret = hbus_find_maps(map_ids, info.nr_map_ids, found, error);
	if (ret != 0)
		return ret;
	if (found->abi_version == 0)
		return hbus_find_foreign(found, error);
	return wants_maps ? hbus_find_has_all(found, error) : 0;
}
