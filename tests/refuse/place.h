/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Where a daemon of this process lives, and how a run of it ends that did not pass
 *
 * A directory with what a daemon makes in it. It is gone afterwards, also when the program crashes or is told to end: the
 * line that says why names the run, so that it can be had again.
 */
#pragma once

#include <stdint.h>

#include "ctl/daemon/server.h"

struct refuse_place {
	char directory[64];
	char address[96], state_dir[96], config_path[96]; /* in it */
};

extern struct refuse_place refuse_place;
/* The command that does this run again, and what it does just now. */
extern char refuse_run_text[256];
extern const char *refuse_doing;

/** refuse_place_make() - a new directory; signals that end the program clear it away. */
void refuse_place_make(void);
void refuse_place_clean(void);

/** refuse_fail() - says which run it was and what was refused to it, and ends the program with 1. */
void refuse_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/**
 * refuse_server_new() - a daemon in the place; one that does not start says why
 * @config_path: or NULL
 *
 * Return: 0, or what hbus_server_new() returned.
 */
int refuse_server_new(const char *config_path, struct hbus_server **ret_server);

uint64_t refuse_now_ms(void);
