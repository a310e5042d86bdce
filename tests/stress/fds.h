/* SPDX-License-Identifier: BSD-3-Clause */
/* What this process has open, for tests that nothing stays so. */
#pragma once

#include <dirent.h>
#include <stddef.h>

/* The descriptor that looks counts as well, each time. */
static inline size_t kit_n_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}
