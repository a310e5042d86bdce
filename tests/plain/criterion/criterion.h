/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unit tests as plain static programs, where the test library does not exist: other architectures, qemu-user
 *
 * The few macros that tests/unit uses, under the names it uses. Each test runs in a child, so a crash is a failure of
 * that test. HBUS_PLAIN_SKIP names tests that the machine cannot run, suite::name, separated by blanks. Output is TAP.
 */
#pragma once

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLAIN_SECONDS 300 /* for a test: an emulator is slow */

struct plain_options {
	void (*init)(void);
	void (*fini)(void);
	double timeout;
};

struct plain_test {
	const char *suite, *name;
	void (*run)(void); /* NULL: the options of a suite */
	struct plain_options options;
	struct plain_test *next;
};

enum { PLAIN_FAILED = 1, PLAIN_SKIPPED = 77 };

static struct plain_test *plain_first, **plain_last = &plain_first;

static inline void plain_add(struct plain_test *test)
{
	*plain_last = test;
	plain_last = &test->next;
}

static inline void __attribute__((noreturn, format(printf, 5, 6)))
plain_end(int status, const char *file, int line, const char *what, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "# %s:%d: %s ", file, line, what);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(status);
}

#define Test(suite_, name_, ...)                                                                   \
	static void plain_##suite_##_##name_(void);                                                \
	__attribute__((constructor)) static void plain_add_##suite_##_##name_(void)                \
	{                                                                                          \
		static struct plain_test test = {#suite_, #name_, plain_##suite_##_##name_,        \
						 {0, __VA_ARGS__}, NULL};                          \
		plain_add(&test);                                                                  \
	}                                                                                          \
	static void plain_##suite_##_##name_(void)

#define TestSuite(suite_, ...)                                                                     \
	__attribute__((constructor)) static void plain_add_suite_##suite_(void)                    \
	{                                                                                          \
		static struct plain_test test = {#suite_, NULL, NULL, {0, __VA_ARGS__}, NULL};     \
		plain_add(&test);                                                                  \
	}                                                                                          \
	_Static_assert(1, "takes the semicolon")

#define PLAIN_CHECK(condition, what, ...)                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			plain_end(PLAIN_FAILED, __FILE__, __LINE__, what, " " __VA_ARGS__);        \
	} while (0)

#define cr_assert(a, ...) PLAIN_CHECK(a, #a, __VA_ARGS__)
#define cr_assert_not(a, ...) PLAIN_CHECK(!(a), "not " #a, __VA_ARGS__)
#define cr_assert_null(a, ...) PLAIN_CHECK((a) == NULL, #a " is NULL", __VA_ARGS__)
#define cr_assert_not_null(a, ...) PLAIN_CHECK((a) != NULL, #a " is not NULL", __VA_ARGS__)
#define cr_assert_eq(a, b, ...) PLAIN_CHECK((a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) PLAIN_CHECK((a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) PLAIN_CHECK((a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) PLAIN_CHECK((a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) PLAIN_CHECK((a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) PLAIN_CHECK((a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) PLAIN_CHECK(strcmp(a, b) == 0, #a " is " #b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) PLAIN_CHECK(strcmp(a, b) != 0, #a " is not " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...) PLAIN_CHECK(memcmp(a, b, size) == 0, #a " is " #b, __VA_ARGS__)
#define cr_assert_fail(...) plain_end(PLAIN_FAILED, __FILE__, __LINE__, "failed", " " __VA_ARGS__)
#define cr_skip(...) plain_end(PLAIN_SKIPPED, __FILE__, __LINE__, "skipped", " " __VA_ARGS__)
#define cr_skip_test cr_skip

static inline const struct plain_options *plain_suite(const char *name)
{
	static const struct plain_options none;

	for (struct plain_test *test = plain_first; test; test = test->next)
		if (!test->run && strcmp(test->suite, name) == 0)
			return &test->options;
	return &none;
}

static inline int plain_run(const struct plain_test *test)
{
	const struct plain_options *suite = plain_suite(test->suite);
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		alarm(PLAIN_SECONDS);
		if (suite->init)
			suite->init();
		test->run();
		if (suite->fini)
			suite->fini();
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return PLAIN_FAILED;
	if (WIFSIGNALED(status))
		fprintf(stderr, "# ended by signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : PLAIN_FAILED;
}

static inline bool plain_is_left_out(const char *label)
{
	const char *list = getenv("HBUS_PLAIN_SKIP");
	size_t n = strlen(label);

	for (const char *at = list ? strstr(list, label) : NULL; at; at = strstr(at + 1, label))
		if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
			return true;
	return false;
}

int main(void)
{
	unsigned int n = 0, n_failed = 0, n_skipped = 0;

	printf("TAP version 13\n");
	for (struct plain_test *test = plain_first; test; test = test->next) {
		char label[256];
		int status;

		if (!test->run)
			continue;
		snprintf(label, sizeof(label), "%s::%s", test->suite, test->name);
		status = plain_is_left_out(label) ? PLAIN_SKIPPED : plain_run(test);
		n_failed += status != 0 && status != PLAIN_SKIPPED;
		n_skipped += status == PLAIN_SKIPPED;
		printf("%sok %u - %s%s\n", status == 0 || status == PLAIN_SKIPPED ? "" : "not ", ++n, label,
		       status == PLAIN_SKIPPED ? " # SKIP" : "");
	}
	printf("1..%u\n# %u passed, %u failed, %u skipped\n", n, n - n_failed - n_skipped, n_failed, n_skipped);
	return n_failed > 0 || n == 0;
}
