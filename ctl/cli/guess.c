/* SPDX-License-Identifier: BSD-3-Clause */
/* "Did you mean". */
#include "ctl/cli/guess.h"

#include <string.h>

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * Edit distance with swaps of neighbours (optimal string alignment). Both are at most WORD_MAX
 * long.
 */
static size_t distance(const char *a, const char *b)
{
	size_t rows[HBUS_GUESS_WORD_MAX + 1][HBUS_GUESS_WORD_MAX + 1];
	size_t n_a = strlen(a);
	size_t n_b = strlen(b);

	for (size_t i = 0; i <= n_a; i++) {
		for (size_t k = 0; k <= n_b; k++) {
			if (i == 0 || k == 0) {
				rows[i][k] = i + k;
				continue;
			}
			rows[i][k] = min(min(rows[i - 1][k], rows[i][k - 1]) + 1,
					 rows[i - 1][k - 1] + (a[i - 1] != b[k - 1]));
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
				rows[i][k] = min(rows[i][k], rows[i - 2][k - 2] + 1);
		}
	}
	return rows[n_a][n_b];
}

const char *hbus_guess_closest(const char *word, const char *const *names, size_t n_names)
{
	const char *closest = NULL;
	size_t closest_distance = 3;
	size_t len = strlen(word);

	if (len == 0 || len > HBUS_GUESS_WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n_names; i++) {
		size_t d;

		if (strlen(names[i]) > HBUS_GUESS_WORD_MAX)
			continue;
		if (strncmp(names[i], word, len) == 0)
			return names[i];
		d = distance(word, names[i]);
		if (d < closest_distance && d * 2 < len + 1) {
			closest = names[i];
			closest_distance = d;
		}
	}
	return closest;
}
