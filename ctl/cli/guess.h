/* SPDX-License-Identifier: BSD-3-Clause */
/** "Did you mean": the closest of a few known words. Pure function. */
#pragma once

#include <stddef.h>

#define HBUS_GUESS_WORD_MAX 32

/**
 * hbus_guess_closest() - which of @names was meant by @word
 *
 * Return: one that is at most two typing mistakes away (insertion, omission, change, swap) and less
 * than half of the word, or that begins with @word; NULL = none.
 */
const char *hbus_guess_closest(const char *word, const char *const *names, size_t n_names);
