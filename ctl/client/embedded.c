/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus inside this process. See embedded.h. */
#include "ctl/client/embedded.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client/error.h"

#define LIBRARY "libhugebus-daemon.so.0"

/* What the library exports. */
typedef int (*start_fn)(int *ret_client_fd, void **ret_bus);
typedef int (*connect_fn)(void *bus, int *ret_client_fd);
typedef void (*stop_fn)(void *bus);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int n_users;
static pid_t owner;      /* the process that runs it: a child does not */
static void *daemon_bus;
static int first_fd = -1; /* the connection that came with it */
static connect_fn connect_to;
static stop_fn stop;

/* Beside a file of this program: in the installed tree, and in a build tree. */
static void *open_beside(const char *file, const char *relative)
{
	char path[PATH_MAX];
	const char *slash = file ? strrchr(file, '/') : NULL;
	int n;

	if (!slash)
		return NULL;
	n = snprintf(path, sizeof(path), "%.*s/%s" LIBRARY, (int)(slash - file), file, relative);
	if (n < 0 || (size_t)n >= sizeof(path))
		return NULL;
	return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static void *open_library(void)
{
	static const char *const places[] = {"", "../daemon/", "../lib/", "../ctl/daemon/", "../../ctl/daemon/"};
	const char *forced = secure_getenv("HUGEBUS_DAEMON_LIBRARY");
	char self[PATH_MAX];
	Dl_info info = {0};
	ssize_t n;
	void *library = NULL;

	if (forced)
		return dlopen(forced, RTLD_NOW | RTLD_LOCAL);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = '\0';
	dladdr((void *)(uintptr_t)&hbus_embedded_get, &info);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !library; i++) {
		library = open_beside(info.dli_fname, places[i]);
		if (!library)
			library = open_beside(self, places[i]);
	}
	if (!library)
		library = dlopen(HBUS_LIBDIR "/" LIBRARY, RTLD_NOW | RTLD_LOCAL);
	return library ? library : dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
}

static int load(start_fn *ret_start)
{
	void *library = open_library();

	if (!library)
		return hbus_fail(HBUS_E_NOT_FOUND, "an embedded bus needs " LIBRARY ": %s", dlerror());
	*ret_start = (start_fn)dlsym(library, "hbus_embedded_start");
	connect_to = (connect_fn)dlsym(library, "hbus_embedded_connect");
	stop = (stop_fn)dlsym(library, "hbus_embedded_stop");
	if (!*ret_start || !connect_to || !stop)
		return hbus_fail(HBUS_E_VERSION, LIBRARY " is not of this version");
	return 0; /* it stays loaded: its threads may still be ending when the last user leaves */
}

static int begin(void)
{
	start_fn start = NULL;
	int r;

	r = load(&start);
	if (r < 0)
		return r;
	r = start(&first_fd, &daemon_bus);
	if (r < 0)
		return hbus_fail_errno(r, "starting the embedded bus");
	owner = getpid();
	return 0;
}

int hbus_embedded_get(void)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (n_users > 0 && owner != getpid()) { /* fork(): the parent's is not ours */
		n_users = 0;
		first_fd = -1;
	}
	if (n_users == 0)
		r = begin();
	if (r == 0)
		n_users++;
	pthread_mutex_unlock(&lock);
	return r;
}

void hbus_embedded_put(void)
{
	/* A child may have inherited the lock in the hands of a thread that it has not. */
	if (owner != getpid())
		return;
	pthread_mutex_lock(&lock);
	if (n_users > 0 && --n_users == 0) {
		if (first_fd >= 0)
			close(first_fd);
		first_fd = -1;
		stop(daemon_bus);
	}
	pthread_mutex_unlock(&lock);
}

int hbus_embedded_connect(int *ret_fd)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (n_users == 0 || owner != getpid()) {
		r = -ECONNREFUSED;
	} else if (first_fd >= 0) {
		*ret_fd = first_fd;
		first_fd = -1;
	} else {
		r = connect_to(daemon_bus, ret_fd);
	}
	pthread_mutex_unlock(&lock);
	return r;
}
