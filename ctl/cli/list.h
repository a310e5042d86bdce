/* SPDX-License-Identifier: BSD-3-Clause */
/** Printing the daemon's lists: `hugebus ls`, and the list commands of `topic` and `route`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** hbus_list_show() - connect, print the lists of these kinds. Return: an exit code. */
int hbus_list_show(const char *command, const uint32_t *list_kinds, size_t n_kinds, bool is_json);
