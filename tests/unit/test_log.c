/* SPDX-License-Identifier: BSD-3-Clause */
/* What is written, and how many lines clients can cause. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ctl/daemon/log.h"

static struct hbus_log test_log;
static char written[4096];
static int pipe_fds[2];

static void capture(void)
{
	cr_assert_eq(pipe(pipe_fds), 0);
	fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
	dup2(pipe_fds[1], STDERR_FILENO);
}

static const char *taken(void)
{
	ssize_t n = read(pipe_fds[0], written, sizeof(written) - 1);

	written[n > 0 ? n : 0] = '\0';
	return written;
}

Test(log, a_line_is_one_line_whatever_it_holds)
{
	capture();
	hbus_log_init(&test_log, HBUS_LOG_INFO);
	hbus_log_write(&test_log, HBUS_LOG_WARNING, "event=x name=%s", "a\nlevel=error\x1b[2J");
	cr_assert_not_null(strstr(taken(), " level=warning event=x name=a?level=error?[2J\n"));
	cr_assert_eq(strchr(written, '\n'), written + strlen(written) - 1);
}

Test(log, levels_below_the_wanted_one_are_not_written)
{
	capture();
	hbus_log_init(&test_log, HBUS_LOG_WARNING);
	hbus_log_write(&test_log, HBUS_LOG_INFO, "event=x");
	cr_assert_str_eq(taken(), "");
	cr_assert_not(hbus_log_allows(&test_log, HBUS_LOG_INFO, 1));
	hbus_log_write(&test_log, HBUS_LOG_ERROR, "event=y");
	cr_assert_not_null(strstr(taken(), "event=y"));
}

Test(log, clients_cause_so_many_lines_and_the_rest_is_counted)
{
	uint64_t now = 1000000000;
	int n = 0;

	capture();
	hbus_log_init(&test_log, HBUS_LOG_INFO);
	while (hbus_log_allows(&test_log, HBUS_LOG_INFO, now))
		n++;
	cr_assert_eq(n, 200);
	for (int i = 0; i < 9; i++)
		cr_assert_not(hbus_log_allows(&test_log, HBUS_LOG_INFO, now));
	cr_assert(hbus_log_allows(&test_log, HBUS_LOG_INFO, now + 50000000));
	cr_assert_not_null(strstr(taken(), "event=left-out lines=10"));
	cr_assert_not(hbus_log_allows(&test_log, HBUS_LOG_INFO, now + 50000000));
}

Test(log, levels_have_names)
{
	enum hbus_log_level level;

	cr_assert(hbus_log_level_parse("debug", &level));
	cr_assert_eq(level, HBUS_LOG_DEBUG);
	cr_assert_not(hbus_log_level_parse("Debug", &level));
	cr_assert_not(hbus_log_level_parse("", &level));
}
