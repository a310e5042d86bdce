/* SPDX-License-Identifier: BSD-3-Clause */
/* Retained messages and sessions on a disk. See gateway_state.h. */
#include "dataplane/mqtt/gateway_state.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SAVE_MS_MIN = 1000, SAVE_SHARE = 50 }; /* saving takes a fiftieth of the time at most */

static const char file_name[] = "mqtt.state", new_name[] = "mqtt.state.new", bad_name[] = "mqtt.state.bad";

struct hbus_gateway_state {
	int dir_fd;
	int lock_fd;
	void (*log)(const char *sentence);
	uint64_t n_changes, due_ms; /* saved so far; when to save next */
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	uint8_t *data; /* to write; NULL = nothing */
	size_t size;
	bool is_busy, must_end, has_failed;
	uint64_t took_ms;
	struct hbus_gateway_state_counters counters;
};

static uint64_t clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void say(const struct hbus_gateway_state *state, const char *what, int r)
{
	char sentence[256];

	snprintf(sentence, sizeof(sentence), "%s%s%s", what, r ? ": " : "", r ? strerror(-r) : "");
	state->log(sentence);
}

/* -- the file -- */

static int write_all(int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		data += n;
		size -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* The whole file, or the old one stays. */
static int write_file(struct hbus_gateway_state *state, const uint8_t *data, size_t size)
{
	int fd = openat(state->dir_fd, new_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = write_all(fd, data, size);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && renameat(state->dir_fd, new_name, state->dir_fd, file_name) < 0)
		r = -errno;
	if (r == 0)
		return fsync(state->dir_fd) < 0 ? -errno : 0;
	(void)unlinkat(state->dir_fd, new_name, 0);
	return r;
}

/* With the state's lock. */
static void note(struct hbus_gateway_state *state, size_t size, int r)
{
	state->counters.n_saves += r == 0;
	state->counters.n_failures += r < 0;
	if (r == 0)
		state->counters.size = size;
	if (r < 0 && !state->has_failed)
		say(state, "the state could not be saved, the old one stays; it is tried again", r);
	else if (r == 0 && state->has_failed)
		say(state, "the state is saved again", 0);
	state->has_failed = r < 0;
}

static int read_all(int fd, uint8_t **ret_data, size_t *ret_size)
{
	struct stat st;
	size_t size = 0;
	uint8_t *data;
	ssize_t n = 1;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	while (size < (size_t)st.st_size && n > 0) {
		n = read(fd, data + size, (size_t)st.st_size - size);
		size += n > 0 ? (size_t)n : 0;
	}
	if (n < 0) {
		free(data);
		return -errno;
	}
	*ret_data = data;
	*ret_size = size;
	return 0;
}

int hbus_gateway_state_load(struct hbus_gateway_state *state, struct hbus_mqtt *engine)
{
	int fd = openat(state->dir_fd, file_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint8_t *data = NULL;
	size_t size = 0;
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = read_all(fd, &data, &size);
	close(fd);
	if (r < 0)
		return r;
	if (hbus_mqtt_load(engine, data, size, clock_ms(CLOCK_REALTIME)) < 0) {
		say(state, "mqtt.state is damaged: it is put aside as mqtt.state.bad", 0);
		if (renameat(state->dir_fd, file_name, state->dir_fd, bad_name) < 0)
			r = -errno;
	}
	free(data);
	state->counters.size = size;
	return r;
}

/* -- the thread -- */

static void *run(void *context)
{
	struct hbus_gateway_state *state = context;

	pthread_mutex_lock(&state->lock);
	while (!state->must_end || state->data) {
		uint64_t begin_ms = clock_ms(CLOCK_MONOTONIC);
		uint8_t *data = state->data;
		int r;

		if (!data) {
			pthread_cond_wait(&state->changed, &state->lock);
			continue;
		}
		state->data = NULL;
		pthread_mutex_unlock(&state->lock);
		r = write_file(state, data, state->size);
		free(data);
		pthread_mutex_lock(&state->lock);
		note(state, state->size, r);
		state->took_ms = clock_ms(CLOCK_MONOTONIC) - begin_ms;
		state->is_busy = false;
	}
	pthread_mutex_unlock(&state->lock);
	return NULL;
}

static int start(struct hbus_gateway_state *state)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&state->thread, NULL, run, state);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	state->has_thread = r == 0;
	return r;
}

static int open_dir(struct hbus_gateway_state *state, const char *dir)
{
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	state->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state->dir_fd < 0)
		return -errno;
	state->lock_fd = openat(state->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (state->lock_fd < 0)
		return -errno;
	if (flock(state->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return 0;
}

int hbus_gateway_state_open(const char *dir, void (*log)(const char *sentence), struct hbus_gateway_state **ret_state)
{
	struct hbus_gateway_state *state = calloc(1, sizeof(*state));
	int r;

	if (!state)
		return -ENOMEM;
	state->dir_fd = state->lock_fd = -1;
	state->log = log;
	pthread_mutex_init(&state->lock, NULL);
	pthread_cond_init(&state->changed, NULL);
	r = open_dir(state, dir);
	if (r == 0)
		r = start(state);
	if (r < 0) {
		hbus_gateway_state_close(state);
		return r;
	}
	*ret_state = state;
	return 0;
}

static void join(struct hbus_gateway_state *state)
{
	if (!state->has_thread)
		return;
	pthread_mutex_lock(&state->lock);
	state->must_end = true;
	pthread_cond_signal(&state->changed);
	pthread_mutex_unlock(&state->lock);
	pthread_join(state->thread, NULL);
	state->has_thread = false;
}

struct hbus_gateway_state *hbus_gateway_state_close(struct hbus_gateway_state *state)
{
	if (!state)
		return NULL;
	join(state);
	if (state->lock_fd >= 0)
		close(state->lock_fd);
	if (state->dir_fd >= 0)
		close(state->dir_fd);
	pthread_cond_destroy(&state->changed);
	pthread_mutex_destroy(&state->lock);
	free(state);
	return NULL;
}

/* -- saving -- */

void hbus_gateway_state_tick(struct hbus_gateway_state *state, struct hbus_mqtt *engine, uint64_t now_ms)
{
	uint64_t n_changes = hbus_mqtt_changes(engine), begin_ms = clock_ms(CLOCK_MONOTONIC), took_ms;
	uint8_t *data;
	size_t size;

	pthread_mutex_lock(&state->lock);
	/* What could not be saved is tried again though nothing else has changed. */
	if (!state->is_busy && now_ms >= state->due_ms && (n_changes != state->n_changes || state->has_failed) &&
	    hbus_mqtt_save(engine, clock_ms(CLOCK_REALTIME), &data, &size) == 0) {
		state->n_changes = n_changes;
		state->data = data;
		state->size = size;
		state->is_busy = true;
		took_ms = clock_ms(CLOCK_MONOTONIC) - begin_ms + state->took_ms;
		state->due_ms = now_ms + (took_ms * SAVE_SHARE > SAVE_MS_MIN ? took_ms * SAVE_SHARE : SAVE_MS_MIN);
		pthread_cond_signal(&state->changed);
	}
	pthread_mutex_unlock(&state->lock);
}

int hbus_gateway_state_finish(struct hbus_gateway_state *state, struct hbus_mqtt *engine)
{
	uint8_t *data;
	size_t size;
	int r;

	join(state);
	if (hbus_mqtt_save(engine, clock_ms(CLOCK_REALTIME), &data, &size) < 0)
		return -ENOMEM;
	r = write_file(state, data, size);
	free(data);
	note(state, size, r);
	return r;
}

void hbus_gateway_state_counters(struct hbus_gateway_state *state, struct hbus_gateway_state_counters *ret_counters)
{
	pthread_mutex_lock(&state->lock);
	*ret_counters = state->counters;
	pthread_mutex_unlock(&state->lock);
}
