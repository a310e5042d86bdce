/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the compiled XDP program is. See xdp_object.h. */
#include "dataplane/xdp_object.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *hbus_xdp_object_find(const char *installed)
{
	static char path[PATH_MAX];
	char program[PATH_MAX], wanted[PATH_MAX + 64];
	ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
	char *slash;

	if (len < 0)
		return installed;
	program[len] = '\0';
	slash = strrchr(program, '/');
	if (slash)
		*slash = '\0';
	snprintf(wanted, sizeof(wanted), "%s/../ebpf/hbus_xdp.bpf.o", program);
	return realpath(wanted, path) ? path : installed;
}
