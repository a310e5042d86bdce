/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all programs of the project promise of their standard output: text that could not be written is a fault
 *
 * A full disk or a closed descriptor shows when the buffer is written, often after the last printf(), so that nobody
 * looks. main() calls hbus_stdout_check() first; then whatever ends the program by exit() writes the rest, and when
 * that or anything before failed, says so and exits with 1.
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void hbus_stdout_end(void)
{
	/* Nothing was printed: a daemon may have closed it. fflush() then has nothing to do and does not fail. */
	if (fflush(stdout) == 0 && !ferror(stdout))
		return;
	fprintf(stderr, "%s: cannot write: %s\n", program_invocation_short_name, strerror(errno ? errno : EIO));
	_exit(1);
}

/** hbus_stdout_check() - from now on exit() fails when standard output could not be written */
static inline void hbus_stdout_check(void)
{
	(void)atexit(hbus_stdout_end);
}
