/* SPDX-License-Identifier: BSD-3-Clause */
/* What the sub-commands' options have in common. See options.h. */
#include "bench/options.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int bench_usage(const char *text, const char *value)
{
	fprintf(stderr, "hugebus-bench: %s%s%s; see --help\n", text, value ? ": " : "", value ? value : "");
	return 2;
}

bool bench_number(const char *text, unsigned int low, unsigned int high, unsigned int *ret)
{
	char *end = NULL;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || !isdigit((unsigned char)text[0]) || *end || value < low || value > high)
		return false;
	*ret = (unsigned int)value;
	return true;
}

bool bench_matches(const char *patterns, const char *name)
{
	while (patterns) {
		size_t size = strcspn(patterns, ",");
		char pattern[128];

		snprintf(pattern, sizeof(pattern), "%.*s", (int)size, patterns);
		if (fnmatch(pattern, name, 0) == 0)
			return true;
		if (!patterns[size])
			return false;
		patterns += size + 1;
	}
	return true;
}
