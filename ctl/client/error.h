/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors of the library: a code to return, and a sentence that the thread can ask for
 */
#pragma once

#include "ctl/client/hugebus.h"

#define HBUS_ERROR_TEXT_SIZE 256

/* Keeps the sentence for hbus_error_text() and returns @error. */
int hbus_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As hbus_fail(), for a system call that failed with -errno @fault: HBUS_E_SYSTEM, _NO_MEMORY, or _DENIED. */
int hbus_fail_errno(int fault, const char *what);
