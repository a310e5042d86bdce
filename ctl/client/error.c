/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread's last error. See error.h. */
#include "ctl/client/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_text[HBUS_ERROR_TEXT_SIZE];

int hbus_fail(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(last_text, sizeof(last_text), format, args);
	va_end(args);
	return error;
}

int hbus_fail_errno(int fault, const char *what)
{
	const char *why = strerrordesc_np(-fault);
	int error = HBUS_E_SYSTEM;

	if (fault == -ENOMEM || fault == -ENOSPC)
		error = HBUS_E_NO_MEMORY;
	else if (fault == -EACCES || fault == -EPERM)
		error = HBUS_E_DENIED;
	return hbus_fail(error, "%s: %s", what, why ? why : "unknown error");
}

const char *hbus_error_text(void)
{
	return last_text;
}

const char *hbus_version(void)
{
	return HBUS_VERSION;
}

const char *hbus_strerror(int error)
{
	static const char *const words[] = {
		"unknown error",
		"invalid argument",
		"not a topic name or filter",
		"denied by policy",
		"quota used up",
		"limit reached",
		"not found",
		"exists already",
		"too large",
		"out of memory",
		"no hugepages",
		"versions differ",
		"protocol error",
		"not connected",
		"handle of the parent process",
		"busy",
		"timed out",
		"readers of the topic differ",
		"closed",
		"system error",
		"wrong descriptor",
	};
	int idx = -1000 - error;

	if (error == 0)
		return "success";
	if (error == HBUS_FULL)
		return "a reliable subscriber is a full ring behind";
	if (error == HBUS_LAPPED)
		return "overwritten while in use";
	if (idx < 1 || idx >= (int)(sizeof(words) / sizeof(words[0])))
		idx = 0;
	return words[idx];
}
