/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A private bus for each test case: starts hugebusd, runs the case in a child, says what became of it
 *
 * The daemon is $HBUS_BUILD/ctl/daemon/hugebusd, or $HUGEBUSD. A program is a table of cases and a call of
 * bus_main(); it speaks TAP. A case fails by CHECK(), or by dying, or by taking longer than its limit.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include "ctl/client/hugebus.h"

#define BUS_CASE_SECONDS 30

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			bus_fail(__FILE__, __LINE__, #condition);                                  \
	} while (0)

#define CHECK_EQ(a, b)                                                                             \
	do {                                                                                       \
		long long value_a_ = (long long)(a), value_b_ = (long long)(b);                    \
		if (value_a_ != value_b_)                                                          \
			bus_fail_eq(__FILE__, __LINE__, #a, value_a_, #b, value_b_);               \
	} while (0)

/* Of a call that must succeed; shows the library's sentence. */
#define OK(call)                                                                                   \
	do {                                                                                       \
		int status_ = (call);                                                              \
		if (status_ != 0)                                                                  \
			bus_fail_call(__FILE__, __LINE__, #call, status_);                         \
	} while (0)

struct bus_case {
	const char *name;
	void (*run)(void);
};

/* Address of the case's bus. */
extern const char *bus_address;

int bus_main(const struct bus_case *cases, int n_cases, int argc, char **argv);

void bus_fail(const char *file, int line, const char *what) __attribute__((noreturn));
void bus_fail_eq(const char *file, int line, const char *a, long long value_a, const char *b, long long value_b)
	__attribute__((noreturn));
void bus_fail_call(const char *file, int line, const char *what, int status) __attribute__((noreturn));
/* The case cannot be run here. */
void bus_skip(const char *why) __attribute__((noreturn));

/* The daemon of this case. */
void bus_daemon_start(void);
void bus_daemon_kill(void); /* SIGKILL, and waits for its end */
void bus_daemon_stop(void); /* SIGTERM, and waits for its end */
void bus_daemon_forget(void); /* removes its journal */
pid_t bus_daemon_pid(void);
/* Starts it again with this configuration file and, if @n_files is not 0, so many descriptors. */
void bus_daemon_configure(const char *text, unsigned int n_files);
/* Starts it again in namespaces of its own (CLONE_NEW*). */
void bus_daemon_unshare(int namespaces);

/* Skips the case unless it is root's; else lets every user reach the bus. */
void bus_needs_root(void);

struct hbus *bus_open(void);
struct hbus_publisher *bus_publisher(struct hbus *bus, uint64_t capacity, uint32_t flags, int timeout_ms);
struct hbus_subscriber *bus_subscriber(struct hbus *bus, uint32_t flags, uint32_t start, const char *filter);

/* Zeroed memory that the children of this process share with it. */
void *bus_shared(size_t size);
/* Raises the limit of descriptors; skips the case where it cannot be @n. */
void bus_may_open_files(unsigned int n);

uint64_t bus_now_ms(void);
uint64_t bus_now_us(void);
void bus_sleep_ms(unsigned int ms);

/* A child process that runs fn(context) and exits. */
pid_t bus_fork(void (*fn)(void *), void *context);
/* The same as another user, without groups. */
pid_t bus_fork_as(uid_t uid, void (*fn)(void *), void *context);
/* Waits; fails the case when the child did not exit with 0. */
void bus_join(pid_t pid);

/* An event whose payload is a number and, beyond 8 bytes, a pattern made of it. */
void bus_fill(void *to, size_t size, uint64_t number);
bool bus_is_filled(const void *from, size_t size, uint64_t *ret_number);

int bus_publish_number(struct hbus_publisher *publisher, hbus_topic_t topic, uint64_t number, size_t size);

/* Polls, copies the numbers out, waits up to wait_ms for more; returns how many came before it was quiet. */
size_t bus_collect(struct hbus_subscriber *sub, uint64_t *numbers, size_t n_max, int wait_ms);
/* The next @n events are the numbers from @from on. */
void bus_expect_numbers(struct hbus_subscriber *sub, uint64_t from, size_t n);
/* Nothing comes. */
void bus_expect_quiet(struct hbus_subscriber *sub);
/* Takes all loss reports, which must follow each other and say @reason; returns how many events they tell of. */
uint64_t bus_take_losses(struct hbus_subscriber *sub, uint32_t reason);
