/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Log lines of the daemon: key=value on stderr, one line a fact
 *
 * Lines that clients can cause come from a bucket, so that nobody fills a disk; how many were left out
 * is said when the next one fits. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ctl/daemon/config.h"

struct hbus_log {
	enum hbus_log_level level;
	bool is_silent;	    /* embedded */
	uint64_t tokens_ns; /* of the bucket for clients' lines */
	uint64_t filled_ns;
	uint64_t n_left_out;
};

void hbus_log_init(struct hbus_log *log, enum hbus_log_level level);

/** hbus_log_write() - @text is "key=value key=value"; control characters become '?'. */
void hbus_log_write(struct hbus_log *log, enum hbus_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** hbus_log_allows() - may a line that a client caused be written at @now_ns? */
bool hbus_log_allows(struct hbus_log *log, enum hbus_log_level level, uint64_t now_ns);

/** hbus_log_level_parse() - "error", "warning", "info", "debug"; false: none of these. */
bool hbus_log_level_parse(const char *text, enum hbus_log_level *ret_level);
