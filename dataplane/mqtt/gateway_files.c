/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of a state directory. See gateway_files.h. */
#include "dataplane/mqtt/gateway_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char saved_name[] = "mqtt.state", new_name[] = "mqtt.state.new", bad_name[] = "mqtt.state.bad";

#define JOURNAL_PREFIX "mqtt.journal."
enum { NAME_ROOM = 64 };

static void name_journal(uint64_t generation, const char *suffix, char room[NAME_ROOM])
{
	snprintf(room, NAME_ROOM, JOURNAL_PREFIX "%" PRIu64 "%s", generation, suffix);
}

/* Return: whether this is the name of a journal that counts. */
static bool is_journal(const char *name, uint64_t *ret_generation)
{
	char again[NAME_ROOM];

	if (strncmp(name, JOURNAL_PREFIX, sizeof(JOURNAL_PREFIX) - 1) != 0)
		return false;
	*ret_generation = strtoull(name + sizeof(JOURNAL_PREFIX) - 1, NULL, 10);
	name_journal(*ret_generation, "", again);
	return strcmp(name, again) == 0;
}

/* -- writing -- */

int hbus_gateway_files_write(int fd, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

static int sync_and_close(int fd, int r)
{
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

int hbus_gateway_files_replace(int dir_fd, const uint8_t *data, size_t size)
{
	int fd = openat(dir_fd, new_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = sync_and_close(fd, hbus_gateway_files_write(fd, data, size));
	if (r == 0 && renameat(dir_fd, new_name, dir_fd, saved_name) < 0)
		r = -errno;
	if (r == 0)
		return fsync(dir_fd) < 0 ? -errno : 0;
	(void)unlinkat(dir_fd, new_name, 0);
	return r;
}

int hbus_gateway_files_make_journal(int dir_fd, uint64_t generation)
{
	char name[NAME_ROOM];
	int fd;

	name_journal(generation, "", name);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

/* -- reading -- */

static int read_all(int fd, uint8_t **ret_data, size_t *ret_size)
{
	struct stat st;
	size_t size = 0;
	uint8_t *data;
	ssize_t n = 1;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	while (size < (size_t)st.st_size && n > 0) {
		n = read(fd, data + size, (size_t)st.st_size - size);
		size += n > 0 ? (size_t)n : 0;
	}
	if (n < 0) {
		free(data);
		return -errno;
	}
	*ret_data = data;
	*ret_size = size;
	return 0;
}

static int read_file(int dir_fd, const char *name, uint8_t **ret_data, size_t *ret_size)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r;

	if (fd < 0)
		return -errno;
	r = read_all(fd, ret_data, ret_size);
	close(fd);
	return r;
}

int hbus_gateway_files_read_saved(int dir_fd, uint8_t **ret_data, size_t *ret_size)
{
	return read_file(dir_fd, saved_name, ret_data, ret_size);
}

int hbus_gateway_files_read_journal(int dir_fd, uint64_t generation, uint8_t **ret_data, size_t *ret_size)
{
	char name[NAME_ROOM];

	name_journal(generation, "", name);
	return read_file(dir_fd, name, ret_data, ret_size);
}

/* -- away with it -- */

int hbus_gateway_files_put_aside(int dir_fd, uint64_t generation)
{
	char name[NAME_ROOM], aside[NAME_ROOM];

	name_journal(generation, "", name);
	name_journal(generation, ".bad", aside);
	return renameat(dir_fd, name, dir_fd, aside) < 0 ? -errno : 0;
}

/* Calls @what for each journal but one. */
static void each_journal(int dir_fd, uint64_t but_generation, int (*what)(int dir_fd, uint64_t generation))
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	uint64_t generation;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (is_journal(entry->d_name, &generation) && generation != but_generation)
			(void)what(dir_fd, generation);
	closedir(dir);
}

static int remove_journal(int dir_fd, uint64_t generation)
{
	char name[NAME_ROOM];

	name_journal(generation, "", name);
	return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
}

void hbus_gateway_files_remove_journals(int dir_fd, uint64_t but_generation)
{
	each_journal(dir_fd, but_generation, remove_journal);
}

int hbus_gateway_files_put_aside_all(int dir_fd)
{
	each_journal(dir_fd, UINT64_MAX, hbus_gateway_files_put_aside);
	return renameat(dir_fd, saved_name, dir_fd, bad_name) < 0 ? -errno : 0;
}
