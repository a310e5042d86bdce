/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One write for each line, so that lines of several threads and processes do not mix.
 */
#include "dataplane/log.h"

#include <stdarg.h>
#include <stdio.h>

void hbus_log(const char *format, ...)
{
	char line[1024];
	va_list list;

	va_start(list, format);
	vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	fprintf(stderr, "hugebus-ingress: %s\n", line);
}
