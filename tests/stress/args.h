/* SPDX-License-Identifier: BSD-3-Clause */
/* Options of the small programs that torture: numbers, words and switches, --help, and a refusal of anything else. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIT_USAGE 2

/* One of the three. Ends with an empty one. */
struct kit_arg {
	const char *name; /* with its dashes */
	uint64_t *number;
	const char **word;
	bool *is_given;
};

static inline void kit_usage_error(const char *what, const char *given)
{
	fprintf(stderr, "%s: %s (--help)\n", what, given);
	exit(KIT_USAGE);
}

static inline uint64_t kit_number(const char *text)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || *text < '0' || *text > '9' || *end)
		kit_usage_error("not a number", text);
	return value;
}

static inline void kit_args(int argc, char **argv, const char *usage, const struct kit_arg *args)
{
	for (int i = 1; i < argc; i++) {
		const struct kit_arg *arg = args;

		if (!strcmp(argv[i], "--help")) {
			fputs(usage, stdout);
			exit(0);
		}
		while (arg->name && strcmp(argv[i], arg->name))
			arg++;
		if (!arg->name)
			kit_usage_error("unknown option", argv[i]);
		if (arg->is_given) {
			*arg->is_given = true;
			continue;
		}
		if (i + 1 == argc)
			kit_usage_error("a value is missing behind", argv[i]);
		i++;
		if (arg->number)
			*arg->number = kit_number(argv[i]);
		else
			*arg->word = argv[i];
	}
}
