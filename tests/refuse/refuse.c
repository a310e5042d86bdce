/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory, descriptors and threads that are refused when a test says so. See refuse.h.
 *
 * Each __wrap_ function stands for the one of its name; what it refuses fails as on a machine without room: ENOMEM for
 * memory, EMFILE for descriptors, EAGAIN for threads, ENOBUFS for messages.
 */
#include "refuse.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HELD_MAX (1u << 18)

struct held {
	uintptr_t at; /* 0: free */
	const void *caller;
	uint64_t number;
};

/* The linker's: addresses are said as offsets from it, for addr2line -e PROGRAM. */
extern const char __executable_start;

static _Thread_local enum refuse_side my_side;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum refuse_side planned;
static uint64_t n_calls, first_refused, n_refused, for_ns, until_ns;
static char first_text[96];
static struct held held[HELD_MAX];
static size_t n_held;
static uint64_t n_made, mark;

/* -- the plan -- */

enum refuse_side refuse_enter(enum refuse_side side)
{
	enum refuse_side before = my_side;

	my_side = side;
	return before;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void refuse_plan(enum refuse_side side, uint64_t first, unsigned int for_ms)
{
	pthread_mutex_lock(&lock);
	planned = side;
	first_refused = first;
	for_ns = (uint64_t)for_ms * 1000000;
	n_calls = n_refused = 0;
	first_text[0] = '\0';
	pthread_mutex_unlock(&lock);
}

uint64_t refuse_lift(void)
{
	uint64_t n;

	pthread_mutex_lock(&lock);
	planned = REFUSE_NOBODY;
	n = n_calls;
	pthread_mutex_unlock(&lock);
	return n;
}

uint64_t refuse_count(void)
{
	uint64_t n;

	pthread_mutex_lock(&lock);
	n = n_refused;
	pthread_mutex_unlock(&lock);
	return n;
}

const char *refuse_first(void)
{
	return first_text;
}

/* One call of @what: is it refused? */
static bool is_refused(const char *what, const void *caller)
{
	bool is_it = false;

	if (my_side == REFUSE_NOBODY)
		return false;
	pthread_mutex_lock(&lock);
	if (planned == my_side) {
		is_it = n_calls == first_refused || (n_calls > first_refused && for_ns > 0 && now_ns() < until_ns);
		n_calls++;
		if (is_it && n_refused++ == 0) {
			until_ns = now_ns() + for_ns;
			snprintf(first_text, sizeof(first_text), "%s() called from %#zx", what,
				 (size_t)((const char *)caller - &__executable_start));
		}
	}
	pthread_mutex_unlock(&lock);
	return is_it;
}

/* -- what is held -- */

static size_t place_of(uintptr_t at)
{
	return (size_t)((at >> 4) * 0x9e3779b97f4a7c15u >> 46);
}

static void *hold(void *pointer, const void *caller)
{
	uintptr_t at = (uintptr_t)pointer;
	size_t i = place_of(at);

	if (!pointer)
		return NULL;
	pthread_mutex_lock(&lock);
	if (n_held >= HELD_MAX / 2)
		abort();
	while (held[i].at)
		i = (i + 1) % HELD_MAX;
	held[i] = (struct held){at, caller, n_made++};
	n_held++;
	pthread_mutex_unlock(&lock);
	return pointer;
}

/* What stands behind it in the table moves up, so that no search ends too early. */
static void close_gap(size_t gap)
{
	for (size_t i = (gap + 1) % HELD_MAX; held[i].at; i = (i + 1) % HELD_MAX) {
		size_t wish = place_of(held[i].at);

		if (((i - wish) & (HELD_MAX - 1)) < ((i - gap) & (HELD_MAX - 1)))
			continue;
		held[gap] = held[i];
		gap = i;
	}
	held[gap].at = 0;
}

static void let_go(void *pointer)
{
	uintptr_t at = (uintptr_t)pointer;
	size_t i = place_of(at);

	if (!pointer)
		return;
	pthread_mutex_lock(&lock);
	while (held[i].at && held[i].at != at)
		i = (i + 1) % HELD_MAX;
	if (held[i].at) {
		close_gap(i);
		n_held--;
	}
	pthread_mutex_unlock(&lock);
}

size_t refuse_n_held(void)
{
	size_t n;

	pthread_mutex_lock(&lock);
	n = n_held;
	pthread_mutex_unlock(&lock);
	return n;
}

void refuse_mark(void)
{
	pthread_mutex_lock(&lock);
	mark = n_made;
	pthread_mutex_unlock(&lock);
}

void refuse_report(void)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < HELD_MAX; i++)
		if (held[i].at && held[i].number >= mark)
			printf("  not freed: allocation %llu, called from %#zx\n", (unsigned long long)(held[i].number - mark),
			       (size_t)((const char *)held[i].caller - &__executable_start));
	pthread_mutex_unlock(&lock);
}

/* -- memory -- */

#define CALLER __builtin_return_address(0)
#define REFUSES(what, error) (is_refused(what, CALLER) ? (errno = (error), true) : false)

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t n, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *pointer);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *pointer);

void *__wrap_malloc(size_t size)
{
	return REFUSES("malloc", ENOMEM) ? NULL : hold(__real_malloc(size), CALLER);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return REFUSES("calloc", ENOMEM) ? NULL : hold(__real_calloc(n, size), CALLER);
}

void *__wrap_realloc(void *old, size_t size)
{
	if (REFUSES("realloc", ENOMEM))
		return NULL;
	let_go(old);
	return hold(__real_realloc(old, size), CALLER);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	if (REFUSES("reallocarray", ENOMEM))
		return NULL;
	let_go(old);
	return hold(__real_reallocarray(old, n, size), CALLER);
}

char *__wrap_strdup(const char *text)
{
	return REFUSES("strdup", ENOMEM) ? NULL : hold(__real_strdup(text), CALLER);
}

void __wrap_free(void *pointer)
{
	let_go(pointer);
	__real_free(pointer);
}

void *__real_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __real_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice);
int __real_memfd_create(const char *name, unsigned int flags);
int __wrap_memfd_create(const char *name, unsigned int flags);
int __real_fallocate64(int fd, int mode, off_t offset, off_t size);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t size);

void *__wrap_mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	return REFUSES("mmap", ENOMEM) ? MAP_FAILED : __real_mmap64(at, size, prot, flags, fd, offset);
}

int __wrap_madvise(void *at, size_t size, int advice)
{
	return REFUSES("madvise", ENOMEM) ? -1 : __real_madvise(at, size, advice);
}

int __wrap_memfd_create(const char *name, unsigned int flags)
{
	return REFUSES("memfd_create", EMFILE) ? -1 : __real_memfd_create(name, flags);
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t size)
{
	return REFUSES("fallocate", ENOSPC) ? -1 : __real_fallocate64(fd, mode, offset, size);
}

/* -- descriptors -- */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);
int __real_socketpair(int domain, int type, int protocol, int ends[2]);
int __wrap_socketpair(int domain, int type, int protocol, int ends[2]);
int __real_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __real_epoll_ctl(int epoll_fd, int command, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int command, int fd, struct epoll_event *event);
int __real_eventfd(unsigned int value, int flags);
int __wrap_eventfd(unsigned int value, int flags);
int __real_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __real_signalfd(int fd, const void *set, int flags);
int __wrap_signalfd(int fd, const void *set, int flags);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return REFUSES("open", EMFILE) ? -1 : __real_open64(path, flags, mode);
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
	return REFUSES("fopen", EMFILE) ? NULL : __real_fopen64(path, mode);
}

int __wrap_fcntl64(int fd, int command, ...)
{
	va_list args;
	void *arg;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	if (command == F_DUPFD_CLOEXEC && REFUSES("fcntl", EMFILE))
		return -1;
	return __real_fcntl64(fd, command, arg);
}

int __wrap_socket(int domain, int type, int protocol)
{
	return REFUSES("socket", EMFILE) ? -1 : __real_socket(domain, type, protocol);
}

int __wrap_socketpair(int domain, int type, int protocol, int ends[2])
{
	return REFUSES("socketpair", EMFILE) ? -1 : __real_socketpair(domain, type, protocol, ends);
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
	return REFUSES("accept4", EMFILE) ? -1 : __real_accept4(fd, address, size, flags);
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	return REFUSES("getsockopt", EMFILE) ? -1 : __real_getsockopt(fd, level, name, value, size);
}

int __wrap_epoll_create1(int flags)
{
	return REFUSES("epoll_create1", EMFILE) ? -1 : __real_epoll_create1(flags);
}

/* The kernel allocates for what is added only. */
int __wrap_epoll_ctl(int epoll_fd, int command, int fd, struct epoll_event *event)
{
	if (command == EPOLL_CTL_ADD && REFUSES("epoll_ctl", ENOMEM))
		return -1;
	return __real_epoll_ctl(epoll_fd, command, fd, event);
}

int __wrap_eventfd(unsigned int value, int flags)
{
	return REFUSES("eventfd", EMFILE) ? -1 : __real_eventfd(value, flags);
}

int __wrap_timerfd_create(int clock, int flags)
{
	return REFUSES("timerfd_create", EMFILE) ? -1 : __real_timerfd_create(clock, flags);
}

int __wrap_signalfd(int fd, const void *set, int flags)
{
	return REFUSES("signalfd", EMFILE) ? -1 : __real_signalfd(fd, set, flags);
}

long __wrap_syscall(long number, ...)
{
	long arg[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		arg[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_pidfd_open && REFUSES("pidfd_open", EMFILE))
		return -1;
	return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

/* -- messages -- */

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	return REFUSES("sendmsg", ENOBUFS) ? -1 : __real_sendmsg(fd, message, flags);
}

static bool close_received(struct msghdr *message)
{
	bool had_any = false;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		int fds[(c->cmsg_len - CMSG_LEN(0)) / sizeof(int) + 1];
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
		had_any = true;
	}
	return had_any;
}

/* Who has no room for the descriptors of a message gets it without them. */
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t n = __real_recvmsg(fd, message, flags);
	struct msghdr look;

	if (n < 0 || message->msg_controllen == 0)
		return n;
	look = *message;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&look); c; c = CMSG_NXTHDR(&look, c)) {
		if (c->cmsg_type != SCM_RIGHTS || !is_refused("recvmsg", CALLER))
			continue;
		close_received(message);
		message->msg_controllen = 0;
		message->msg_flags |= MSG_CTRUNC;
		break;
	}
	return n;
}

/* -- threads -- */

struct beginning {
	void *(*run)(void *);
	void *context;
	enum refuse_side side;
};

static void *begin(void *context)
{
	struct beginning beginning = *(struct beginning *)context;

	__real_free(context);
	my_side = beginning.side;
	return beginning.run(beginning.context);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *context);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *context)
{
	struct beginning *beginning;
	int r;

	if (is_refused("pthread_create", CALLER))
		return EAGAIN;
	beginning = __real_malloc(sizeof(*beginning));
	*beginning = (struct beginning){run, context, my_side};
	r = __real_pthread_create(thread, attr, begin, beginning);
	if (r != 0)
		__real_free(beginning);
	return r;
}

/* -- chance -- */

ssize_t __real_getrandom(void *bytes, size_t size, unsigned int flags);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned int flags);

/* Early in the life of a machine a signal can end it; it does not fail twice. */
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned int flags)
{
	static _Thread_local bool failed_last;

	failed_last = !failed_last && REFUSES("getrandom", EINTR);
	return failed_last ? -1 : __real_getrandom(bytes, size, flags);
}
