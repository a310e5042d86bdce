/* SPDX-License-Identifier: BSD-3-Clause */
/* What the sub-commands' options have in common. */
#pragma once

#include <stdbool.h>

/* Says on stderr what is wrong with @value (NULL: nothing to quote). Return: 2, the exit code of wrong usage. */
int bench_usage(const char *text, const char *value);
/* The whole of @text is a decimal number from @low to @high. Return: whether; *ret is written only then. */
bool bench_number(const char *text, unsigned int low, unsigned int high, unsigned int *ret);
/* Whether @name matches one of @patterns, those of a shell with commas between; NULL matches all. */
bool bench_matches(const char *patterns, const char *name);
