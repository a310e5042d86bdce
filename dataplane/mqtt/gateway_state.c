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

#include "dataplane/mqtt/gateway_files.h"

enum {
	SYNC_MS_MIN = 1000,
	RETRY_MS = 5000,          /* after a save that failed */
	DISK_SHARE = 50,          /* saving and syncing take a fiftieth of the time at most */
	JOURNAL_MIN = 16 << 20,   /* below this all is not saved again */
	JOURNAL_SHARE = 2,        /* nor below so many times what is saved */
	JOURNAL_URGENT = 4,       /* with so many times that, the disk's share of the time does not count */
};

struct hbus_gateway_state {
	int dir_fd, lock_fd;
	int journal_fd; /* -1: what happens is not written down, since that has failed */
	void (*log)(const char *sentence);
	uint64_t due_ms; /* when to save or sync next */
	uint64_t saved_size, journal_size, synced_size; /* saved_size: of what was saved, or is being */
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	uint8_t *data; /* to write; NULL = nothing */
	size_t size;
	uint64_t generation; /* of data: then older journals are not needed any more */
	int sync_fd;   /* to sync and close; -1 = nothing */
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

/* With the state's lock. Of a save, or of a journal that could not be written (r < 0). */
static void note(struct hbus_gateway_state *state, int r)
{
	state->counters.n_saves += r == 0;
	state->counters.n_failures += r < 0;
	if (r < 0 && !state->has_failed)
		say(state, "the state could not be saved, the old one stays; it is tried again", r);
	else if (r == 0 && state->has_failed)
		say(state, "the state is saved again", 0);
	state->has_failed = r < 0;
}

/* -- at the start -- */

static int load_saved(struct hbus_gateway_state *state, struct hbus_mqtt_loader *loader)
{
	uint8_t *data = NULL;
	size_t size = 0;
	int r = hbus_gateway_files_read_saved(state->dir_fd, &data, &size);

	if (r < 0)
		return r;
	r = hbus_mqtt_load_saved(loader, data, size);
	free(data);
	state->saved_size = size;
	if (r == 0)
		return 0;
	say(state, "mqtt.state is damaged: it is put aside as mqtt.state.bad", 0);
	r = hbus_gateway_files_put_aside_all(state->dir_fd);
	return r < 0 ? r : -ENOENT;
}

/* Return: whether another journal may follow. */
static bool load_journal(struct hbus_gateway_state *state, struct hbus_mqtt_loader *loader, uint64_t generation)
{
	uint8_t *data = NULL;
	size_t size = 0;
	int64_t taken;
	char sentence[128];
	int r = hbus_gateway_files_read_journal(state->dir_fd, generation, &data, &size);

	if (r < 0) {
		if (r != -ENOENT)
			say(state, "a journal cannot be read", r);
		return false;
	}
	taken = hbus_mqtt_load_journal(loader, data, size);
	free(data);
	if (taken < 0) {
		say(state, "a journal is damaged: it is put aside as mqtt.journal.*.bad", 0);
		(void)hbus_gateway_files_put_aside(state->dir_fd, generation);
	} else if ((size_t)taken < size) {
		snprintf(sentence, sizeof(sentence), "the last %zu bytes of the journal are torn: what they said was told nobody",
			 size - (size_t)taken);
		say(state, sentence, 0);
	}
	return taken >= 0 && (size_t)taken == size;
}

int hbus_gateway_state_load(struct hbus_gateway_state *state, struct hbus_mqtt *engine)
{
	struct hbus_mqtt_loader *loader = hbus_mqtt_load_begin(engine, clock_ms(CLOCK_REALTIME));
	uint64_t generation;
	int r;

	if (!loader)
		return -ENOMEM;
	r = load_saved(state, loader);
	generation = hbus_mqtt_generation(engine);
	for (bool goes_on = r == 0; goes_on; generation++)
		goes_on = load_journal(state, loader, generation);
	hbus_mqtt_load_end(loader);
	return r == -ENOENT ? 0 : r;
}

/* -- the thread -- */

static int save(struct hbus_gateway_state *state, const uint8_t *data, size_t size, uint64_t generation)
{
	int r = hbus_gateway_files_replace(state->dir_fd, data, size);

	if (r == 0)
		hbus_gateway_files_remove_journals(state->dir_fd, generation);
	return r;
}

/* What the thread was given to do. With the state's lock, which it gives up meanwhile. */
static void work(struct hbus_gateway_state *state)
{
	uint64_t begin_ms = clock_ms(CLOCK_MONOTONIC);
	uint8_t *data = state->data;
	int sync_fd = state->sync_fd, r = 0;

	state->data = NULL;
	state->sync_fd = -1;
	pthread_mutex_unlock(&state->lock);
	if (data)
		r = save(state, data, state->size, state->generation);
	else if (fdatasync(sync_fd) < 0)
		r = -errno;
	free(data);
	if (sync_fd >= 0)
		close(sync_fd);
	pthread_mutex_lock(&state->lock);
	if (data || r < 0)
		note(state, r);
	state->took_ms = clock_ms(CLOCK_MONOTONIC) - begin_ms;
	state->is_busy = false;
}

static void *run(void *context)
{
	struct hbus_gateway_state *state = context;

	pthread_mutex_lock(&state->lock);
	while (!state->must_end || state->is_busy) {
		if (state->is_busy)
			work(state);
		else
			pthread_cond_wait(&state->changed, &state->lock);
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
	state->dir_fd = state->lock_fd = state->journal_fd = state->sync_fd = -1;
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
	if (state->journal_fd >= 0)
		close(state->journal_fd);
	if (state->lock_fd >= 0)
		close(state->lock_fd);
	if (state->dir_fd >= 0)
		close(state->dir_fd);
	pthread_cond_destroy(&state->changed);
	pthread_mutex_destroy(&state->lock);
	free(state);
	return NULL;
}

/* -- the journal -- */

static void end_journal(struct hbus_gateway_state *state, struct hbus_mqtt *engine)
{
	if (state->journal_fd >= 0)
		close(state->journal_fd);
	state->journal_fd = -1;
	hbus_mqtt_journal_stop(engine);
}

/* Half a batch would be in the way of who reads it. */
static void give_up(struct hbus_gateway_state *state, struct hbus_mqtt *engine, int r)
{
	if (ftruncate(state->journal_fd, (off_t)state->journal_size) < 0)
		say(state, "the journal ends in half a batch", -errno);
	end_journal(state, engine);
	state->due_ms = 0;
	pthread_mutex_lock(&state->lock);
	note(state, r);
	pthread_mutex_unlock(&state->lock);
}

static int append(struct hbus_gateway_state *state, const void *data, size_t size)
{
	int r = hbus_gateway_files_write(state->journal_fd, data, size);

	if (r < 0)
		return r;
	state->journal_size += size;
	pthread_mutex_lock(&state->lock);
	state->counters.journal_bytes += size;
	state->counters.n_journal_writes++;
	pthread_mutex_unlock(&state->lock);
	return 0;
}

void hbus_gateway_state_commit(struct hbus_gateway_state *state, struct hbus_mqtt *engine)
{
	const uint8_t *data;
	size_t size;
	int r;

	if (hbus_mqtt_journal_size(engine) == 0)
		return;
	r = hbus_mqtt_journal_take(engine, clock_ms(CLOCK_REALTIME), &data, &size) < 0 ? -ENOMEM : append(state, data, size);
	hbus_mqtt_journal_clear(engine);
	if (r < 0)
		give_up(state, engine, r);
}

/* Right after a save: the journal of its generation in place of the old one. */
static void turn_journal(struct hbus_gateway_state *state, struct hbus_mqtt *engine)
{
	uint8_t head[HBUS_MQTT_JOURNAL_HEAD_SIZE];
	int fd = hbus_gateway_files_make_journal(state->dir_fd, hbus_mqtt_generation(engine)), r;

	if (fd < 0) {
		end_journal(state, engine);
		return;
	}
	if (state->journal_fd >= 0)
		close(state->journal_fd);
	state->journal_fd = fd;
	state->journal_size = state->synced_size = 0;
	hbus_mqtt_journal_start(engine);
	hbus_mqtt_journal_head(engine, head);
	r = append(state, head, sizeof(head));
	if (r < 0)
		give_up(state, engine, r);
}

/* -- saving -- */

/* All of it as bytes, and the journal of what follows. */
static int take_state(struct hbus_gateway_state *state, struct hbus_mqtt *engine, uint8_t **ret_data, size_t *ret_size)
{
	hbus_gateway_state_commit(state, engine);
	if (hbus_mqtt_save(engine, clock_ms(CLOCK_REALTIME), ret_data, ret_size) < 0)
		return -ENOMEM;
	state->saved_size = *ret_size;
	return 0;
}

void hbus_gateway_state_begin(struct hbus_gateway_state *state, struct hbus_mqtt *engine)
{
	uint8_t *data;
	size_t size;
	int r = take_state(state, engine, &data, &size);

	if (r == 0) {
		turn_journal(state, engine);
		r = save(state, data, size, hbus_mqtt_generation(engine));
		free(data);
	}
	pthread_mutex_lock(&state->lock);
	note(state, r);
	pthread_mutex_unlock(&state->lock);
	/* What was there, and not this one, would be what the journal is read behind. */
	if (r < 0)
		end_journal(state, engine);
}

/* For the thread, whose lock is held. */
static void save_soon(struct hbus_gateway_state *state, uint8_t *data, size_t size, uint64_t generation)
{
	state->data = data;
	state->size = size;
	state->generation = generation;
	state->is_busy = true;
	pthread_cond_signal(&state->changed);
}

static void sync_soon(struct hbus_gateway_state *state)
{
	state->sync_fd = dup(state->journal_fd);
	if (state->sync_fd < 0)
		return;
	state->synced_size = state->journal_size;
	state->is_busy = true;
	pthread_cond_signal(&state->changed);
}

static bool is_long(const struct hbus_gateway_state *state, unsigned int times)
{
	return state->journal_size > times * UINT64_C(1) * JOURNAL_MIN &&
	       state->journal_size > times * JOURNAL_SHARE * state->saved_size;
}

void hbus_gateway_state_tick(struct hbus_gateway_state *state, struct hbus_mqtt *engine, uint64_t now_ms)
{
	uint64_t begin_ms = clock_ms(CLOCK_MONOTONIC), pause_ms;
	bool is_busy, has_failed, must_save;
	uint8_t *data = NULL;
	size_t size = 0;

	pthread_mutex_lock(&state->lock);
	is_busy = state->is_busy;
	has_failed = state->has_failed;
	pause_ms = state->took_ms * DISK_SHARE;
	pthread_mutex_unlock(&state->lock);
	must_save = state->journal_fd < 0 || has_failed || is_long(state, 1);
	if (is_busy || (now_ms < state->due_ms && !is_long(state, JOURNAL_URGENT)) || (!must_save && state->synced_size == state->journal_size))
		return;
	if (must_save && take_state(state, engine, &data, &size) == 0)
		turn_journal(state, engine);
	pthread_mutex_lock(&state->lock);
	if (data)
		save_soon(state, data, size, hbus_mqtt_generation(engine));
	else if (!must_save)
		sync_soon(state);
	pthread_mutex_unlock(&state->lock);
	pause_ms += (clock_ms(CLOCK_MONOTONIC) - begin_ms) * DISK_SHARE;
	if (pause_ms < (has_failed ? RETRY_MS : SYNC_MS_MIN))
		pause_ms = has_failed ? RETRY_MS : SYNC_MS_MIN;
	state->due_ms = now_ms + pause_ms;
}

int hbus_gateway_state_finish(struct hbus_gateway_state *state, struct hbus_mqtt *engine)
{
	uint8_t *data;
	size_t size;
	int r;

	join(state);
	r = take_state(state, engine, &data, &size);
	end_journal(state, engine);
	if (r == 0) {
		r = save(state, data, size, UINT64_MAX);
		free(data);
	}
	note(state, r);
	return r;
}

void hbus_gateway_state_counters(struct hbus_gateway_state *state, struct hbus_gateway_state_counters *ret_counters)
{
	pthread_mutex_lock(&state->lock);
	*ret_counters = state->counters;
	pthread_mutex_unlock(&state->lock);
	ret_counters->size = state->saved_size + state->journal_size;
}
