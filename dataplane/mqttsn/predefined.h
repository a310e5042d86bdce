/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file of predefined topics: a line "IDENTIFIER NAME" for each; empty lines and those that begin
 * with # are nothing.
 */
#pragma once

#include "dataplane/mqttsn/engine.h"

/* Return: 0 or -errno; what is wrong, and in which line, goes to @log. */
int hbus_sn_predefined_read(struct hbus_sn *engine, const char *path,
			    void (*log)(const char *sentence));
