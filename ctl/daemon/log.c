/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_NS 50000000ull /* 20 lines a second */
#define BURST_NS (200 * LINE_NS)

static const char *const names[] = { "error", "warning", "info", "debug" };

void hbus_log_init(struct hbus_log *log, enum hbus_log_level level)
{
	*log = (struct hbus_log){ .level = level, .tokens_ns = BURST_NS };
}

void hbus_log_write(struct hbus_log *log, enum hbus_log_level level, const char *format, ...)
{
	struct timespec now;
	struct tm tm;
	char line[1024], stamp[32];
	va_list args;
	size_t len;
	ssize_t n;

	if (level > log->level || log->is_silent)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	len = (size_t)snprintf(line, sizeof(line), "time=%s.%03ldZ level=%s ", stamp,
			       now.tv_nsec / 1000000, names[level]);
	va_start(args, format);
	vsnprintf(line + len, sizeof(line) - len - 1, format, args);
	va_end(args);
	len = strlen(line);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	n = write(STDERR_FILENO, line, len);
	(void)n; /* there is nowhere to say so */
}

bool hbus_log_allows(struct hbus_log *log, enum hbus_log_level level, uint64_t now_ns)
{
	uint64_t passed = now_ns - log->filled_ns;

	if (level > log->level || log->is_silent)
		return false;
	log->filled_ns = now_ns;
	log->tokens_ns = passed >= BURST_NS || log->tokens_ns + passed > BURST_NS ?
				 BURST_NS :
				 log->tokens_ns + passed;
	if (log->tokens_ns < LINE_NS) {
		log->n_left_out++;
		return false;
	}
	log->tokens_ns -= LINE_NS;
	if (log->n_left_out > 0)
		hbus_log_write(log, HBUS_LOG_WARNING, "event=left-out lines=%llu",
			       (unsigned long long)log->n_left_out);
	log->n_left_out = 0;
	return true;
}

bool hbus_log_level_parse(const char *text, enum hbus_log_level *ret_level)
{
	for (int i = 0; i < 4; i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret_level = (enum hbus_log_level)i;
			return true;
		}
	}
	return false;
}
