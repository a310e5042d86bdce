/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guard: a small parent process that cleans up behind the one that polls.
 *
 * An XDP program stays attached when the process that attached it is killed, and would give
 * frames to nobody. The guard claims the interfaces, removes what an earlier ingress left, starts
 * the poll process, and detaches when that ends in whatever way. It restarts nothing. When the
 * guard itself is killed, the poll process is told by the kernel (SIGTERM) and ends cleanly.
 */
#pragma once

#include "dataplane/options.h"

typedef int (*hbus_guard_fn)(const struct hbus_ingress_options *options);

/**
 * hbus_guard_run() - run @poll_fn in a child process
 *
 * SIGTERM, SIGINT and SIGHUP go on to the child, which finds them blocked.
 * Return: the exit status for the program.
 */
int hbus_guard_run(const struct hbus_ingress_options *options, hbus_guard_fn poll_fn);
