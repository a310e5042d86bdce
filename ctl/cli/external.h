/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Commands that are programs of their own: hugebus-ingress, hugebus-bench
 *
 * They are sought in $HUGEBUS_LIBEXECDIR, beside this program, where the build puts them when this
 * program is run from its build directory, and where they are installed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/** hbus_external_find() - path of a file named @name in these places; false = not there */
bool hbus_external_find(const char *name, char *path, size_t size);

/** hbus_external_run() - become hugebus-argv[0]. Returns only on failure: -1 and errno. */
int hbus_external_run(char **argv);
