/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands that are programs of their own. */
#include "ctl/cli/external.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/cli/cli.h"

static bool try_path(const char *directory, const char *between, const char *name, char *path,
		     size_t size)
{
	int n = snprintf(path, size, "%s%s/%s", directory, between, name);

	return n > 0 && (size_t)n < size && access(path, F_OK) == 0;
}

static bool own_directory(char directory[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", directory, PATH_MAX - 1);
	char *slash;

	if (n <= 0)
		return false;
	directory[n] = '\0';
	slash = strrchr(directory, '/');
	if (!slash)
		return false;
	*slash = '\0';
	return true;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s);
	size_t n_end = strlen(end);

	return n >= n_end && strcmp(s + n - n_end, end) == 0;
}

bool hbus_external_find(const char *name, char *path, size_t size)
{
	static const char *const in_build[] = { "/../../dataplane", "/../../dataplane/mqtt", "/../../ebpf",
						"/../../bench", "/../daemon", NULL };
	const char *libexec = getenv("HUGEBUS_LIBEXECDIR");
	char directory[PATH_MAX];

	if (libexec && *libexec && try_path(libexec, "", name, path, size))
		return true;
	if (own_directory(directory)) {
		if (try_path(directory, "", name, path, size))
			return true;
		for (size_t i = 0; ends_with(directory, "/ctl/cli") && in_build[i]; i++) {
			if (try_path(directory, in_build[i], name, path, size))
				return true;
		}
		if (ends_with(directory, "/bin") &&
		    try_path(directory, "/../libexec/hugebus", name, path, size))
			return true;
	}
	return try_path(HBUS_LIBEXECDIR, "", name, path, size);
}

int hbus_external_run(char **argv)
{
	char program[64];
	char path[PATH_MAX];
	int n = snprintf(program, sizeof(program), "hugebus-%s", argv[0]);

	if (n < 0 || (size_t)n >= sizeof(program) || strchr(argv[0], '/') ||
	    !hbus_external_find(program, path, sizeof(path))) {
		errno = ENOENT;
		return -1;
	}
	hbus_cli_export_socket();
	argv[0] = path;
	execv(path, argv);
	return -1;
}
