/* SPDX-License-Identifier: BSD-3-Clause */
/* What of the gateway needs no socket: its table of topics, and names and passwords. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/mqtt/gateway_login.h"
#include "dataplane/mqtt/gateway_topics.h"

/* -- topics -- */

Test(gateway_topics, are_found_after_the_table_has_grown)
{
	struct hbus_gateway_topics topics = { .secret = { 1, 2 } };
	char name[32];

	cr_assert_eq(hbus_gateway_topics_find(&topics, "t/0"), 0);
	for (uint32_t i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "t/%u", i);
		cr_assert_eq(hbus_gateway_topics_add(&topics, name, i + 1), 0);
	}
	for (uint32_t i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "t/%u", i);
		cr_assert_eq(hbus_gateway_topics_find(&topics, name), i + 1);
	}
	cr_assert_eq(hbus_gateway_topics_find(&topics, "t/5000"), 0);
	hbus_gateway_topics_deinit(&topics);
}

Test(gateway_topics, end_at_their_limit)
{
	struct hbus_gateway_topics topics = { .secret = { 1, 2 } };
	char name[32];

	for (uint32_t i = 0; i < HBUS_GATEWAY_TOPICS_MAX; i++) {
		snprintf(name, sizeof(name), "%u", i);
		cr_assert_eq(hbus_gateway_topics_add(&topics, name, 1), 0);
	}
	cr_assert_eq(hbus_gateway_topics_add(&topics, "one more", 1), -ENOSPC);
	cr_assert_eq(hbus_gateway_topics_find(&topics, "65535"), 1);
	hbus_gateway_topics_deinit(&topics);
}

/* -- passwords -- */

/* crypt("right", SHA-512 with few rounds): quick, for tests. */
#define RIGHT "$6$rounds=1000$salt$"

static char path[64];
static struct hbus_gateway_login *login;

static void file_of(const char *text)
{
	FILE *file;

	snprintf(path, sizeof(path), "/tmp/hugebus-passwords.XXXXXX");
	file = fdopen(mkstemp(path), "w");
	fputs(text, file);
	fclose(file);
}

static int open_file(const char *text, unsigned int *ret_line)
{
	int r;

	file_of(text);
	r = hbus_gateway_login_open(path, ret_line, &login);
	unlink(path);
	return r;
}

static bool ask(const char *name, const char *password)
{
	struct hbus_gateway_answer answer;
	struct pollfd event = { .fd = hbus_gateway_login_fd(login), .events = POLLIN };

	cr_assert(hbus_gateway_login_ask(login, 42, name, strlen(name), password, strlen(password)));
	cr_assert_eq(poll(&event, 1, 10000), 1);
	cr_assert(hbus_gateway_login_answer(login, &answer));
	cr_assert_eq(answer.id, 42);
	cr_assert_not(hbus_gateway_login_answer(login, &answer));
	cr_assert(!answer.is_good || strcmp(answer.name, name) == 0);
	return answer.is_good;
}

static void hash_of_stdin(char *line, size_t size)
{
	file_of("right\n");
	cr_assert_not_null(freopen(path, "r", stdin));
	cr_assert_eq(hbus_gateway_login_hash("ann", line, size), 0);
	unlink(path);
}

Test(gateway_login, lets_those_in_who_know_their_password)
{
	char line[1024];
	unsigned int line_no;

	hash_of_stdin(line, sizeof(line));
	cr_assert(strncmp(line, "ann:$y$", 7) == 0, "%s", line);
	strcat(line, "\n# a comment\n\nbob:$6$rounds=1000$x$y\n");
	cr_assert_eq(open_file(line, &line_no), 0);
	cr_assert(ask("ann", "right"));
	cr_assert_not(ask("ann", "wrong"));
	cr_assert_not(ask("ann", ""));
	cr_assert_not(ask("bob", "right"));
	cr_assert_not(ask("nobody", "right"));
	cr_assert_not(ask("", "right"));
	login = hbus_gateway_login_close(login);
}

Test(gateway_login, refuses_a_file_with_a_bad_line_and_says_which)
{
	unsigned int line;

	cr_assert_eq(open_file("ann:" RIGHT "x\nbob\n", &line), -EINVAL);
	cr_assert_eq(line, 2);
	cr_assert_eq(open_file("ann:plain\n", &line), -EINVAL, "no password in clear");
	cr_assert_eq(open_file("ann:$1$salt$0123\n", &line), -EINVAL, "no MD5");
	cr_assert_eq(open_file(":" RIGHT "x\n", &line), -EINVAL);
	cr_assert_eq(hbus_gateway_login_open("/nonexistent", &line, &login), -ENOENT);
	cr_assert_eq(line, 0);
}

Test(gateway_login, takes_no_more_questions_than_its_limit)
{
	unsigned int line;
	int n = 0;

	cr_assert_eq(open_file("ann:" RIGHT "x\n", &line), 0);
	while (n < 10 * HBUS_GATEWAY_LOGINS_MAX && hbus_gateway_login_ask(login, 1, "ann", 3, "x", 1))
		n++;
	cr_assert_eq(n, HBUS_GATEWAY_LOGINS_MAX, "answers that nobody took keep their place");
	login = hbus_gateway_login_close(login);
}
