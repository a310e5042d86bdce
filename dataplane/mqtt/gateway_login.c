/* SPDX-License-Identifier: BSD-3-Clause */
/* Names and passwords of MQTT clients. See gateway_login.h. */
#include "dataplane/mqtt/gateway_login.h"

#include <crypt.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { NAME_MAX_SIZE = 64, PASSWORD_MAX_SIZE = 512, LINE_MAX_SIZE = 1024, USERS_MAX = 100000 };

struct user {
	char *name, *hash;
};

struct job {
	struct hbus_gateway_answer answer;
	char password[PASSWORD_MAX_SIZE];
};

/* A ring of jobs: asked..done is to be computed, done..taken is answered. */
struct hbus_gateway_login {
	char *path;
	void (*log)(const char *sentence); /* lock; set before must_reload */
	struct user *users; /* the thread's, once it runs */
	size_t n_users;
	int event_fd;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	uint64_t n_asked, n_done, n_taken;
	bool must_end, must_reload;
	struct job jobs[HBUS_GATEWAY_LOGINS_MAX];
};

/* -- the file -- */

/*
 * The methods that cost memory or much time, and nothing older. mosquitto_passwd writes "$7$" and "$6$" too and means
 * something else, quick to compute, and padded as crypt(3)'s never is.
 */
static bool is_slow_hash(const char *hash)
{
	static const char *const prefixes[] = { "$y$", "$gy$", "$7$", "$2b$", "$6$", "$5$" };

	if (*hash && hash[strlen(hash) - 1] == '=')
		return false;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(hash, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static int add_user(struct hbus_gateway_login *login, char *line)
{
	char *colon = strchr(line, ':');
	struct user *users;

	if (!colon || colon == line || colon - line >= NAME_MAX_SIZE || !is_slow_hash(colon + 1))
		return -EINVAL;
	if (login->n_users == USERS_MAX)
		return -E2BIG;
	users = realloc(login->users, (login->n_users + 1) * sizeof(*users));
	if (!users)
		return -ENOMEM;
	login->users = users;
	users[login->n_users].name = strndup(line, (size_t)(colon - line));
	users[login->n_users].hash = strdup(colon + 1);
	login->n_users++;
	return users[login->n_users - 1].name && users[login->n_users - 1].hash ? 0 : -ENOMEM;
}

static int compare_users(const void *a, const void *b)
{
	return strcmp(((const struct user *)a)->name, ((const struct user *)b)->name);
}

static int read_file(struct hbus_gateway_login *login, const char *path, unsigned int *ret_line)
{
	FILE *file = fopen(path, "re");
	char line[LINE_MAX_SIZE];
	int r = 0;

	*ret_line = 0;
	if (!file)
		return -errno;
	while (r == 0 && fgets(line, sizeof(line), file)) {
		(*ret_line)++;
		if (!strchr(line, '\n') && !feof(file))
			r = -EINVAL;
		line[strcspn(line, "\r\n")] = '\0';
		if (r == 0 && line[0] != '\0' && line[0] != '#')
			r = add_user(login, line);
	}
	if (r == 0)
		*ret_line = 0;
	if (r == 0 && ferror(file))
		r = -EIO;
	fclose(file);
	if (r == 0 && login->n_users > 0)
		qsort(login->users, login->n_users, sizeof(login->users[0]), compare_users);
	return r;
}

/* -- the thread -- */

static const char *find_hash(const struct hbus_gateway_login *login, const char *name)
{
	const struct user wanted = { (char *)(uintptr_t)name, NULL };
	const struct user *user = NULL;

	if (login->n_users > 0)
		user = bsearch(&wanted, login->users, login->n_users, sizeof(login->users[0]), compare_users);
	return user ? user->hash : NULL;
}

/* The same whole length is compared wherever the first difference is. */
static bool is_equal(const char *a, const char *b)
{
	size_t n = strlen(a);
	unsigned int differ = 0;

	if (n != strlen(b))
		return false;
	for (size_t i = 0; i < n; i++)
		differ |= (unsigned int)(unsigned char)a[i] ^ (unsigned int)(unsigned char)b[i];
	return differ == 0;
}

static bool is_good(const struct hbus_gateway_login *login, const struct job *job)
{
	/* Of no password that anybody has; an unknown name costs what a known one does. */
	static const char nobody[] = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";
	const char *hash = find_hash(login, job->answer.name), *computed;
	struct crypt_data *data = calloc(1, sizeof(*data));
	bool good;

	if (!data)
		return false;
	computed = crypt_r(job->password, hash ? hash : nobody, data);
	good = hash && computed && computed[0] != '*' && is_equal(computed, hash);
	explicit_bzero(data, sizeof(*data));
	free(data);
	return good;
}

static void users_free(struct user *users, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(users[i].name);
		free(users[i].hash);
	}
	free(users);
}

static void say(const struct hbus_gateway_login *login, unsigned int line, int r)
{
	char sentence[512];

	if (r == 0)
		snprintf(sentence, sizeof(sentence), "%s: read again, %zu names", login->path, login->n_users);
	else if (line > 0)
		snprintf(sentence, sizeof(sentence), "%s:%u is wrong; the passwords stay as they were", login->path, line);
	else
		snprintf(sentence, sizeof(sentence), "%s: %s; the passwords stay as they were", login->path, strerror(-r));
	if (login->log)
		login->log(sentence);
}

static void read_again(struct hbus_gateway_login *login)
{
	struct user *old = login->users;
	size_t n_old = login->n_users;
	unsigned int line;
	int r;

	login->users = NULL;
	login->n_users = 0;
	r = read_file(login, login->path, &line);
	if (r < 0) {
		users_free(login->users, login->n_users);
		login->users = old;
		login->n_users = n_old;
	} else {
		users_free(old, n_old);
	}
	say(login, line, r);
}

static void *run(void *context)
{
	struct hbus_gateway_login *login = context;
	const uint64_t one = 1;

	pthread_mutex_lock(&login->lock);
	for (;;) {
		struct job *job;
		bool good;

		while (!login->must_end && !login->must_reload && login->n_done == login->n_asked)
			pthread_cond_wait(&login->changed, &login->lock);
		if (login->must_end)
			break;
		if (login->must_reload) {
			login->must_reload = false;
			pthread_mutex_unlock(&login->lock);
			read_again(login);
			pthread_mutex_lock(&login->lock);
			continue;
		}
		job = &login->jobs[login->n_done % HBUS_GATEWAY_LOGINS_MAX];
		/* The job is this thread's until n_done says otherwise. */
		pthread_mutex_unlock(&login->lock);
		good = is_good(login, job);
		explicit_bzero(job->password, sizeof(job->password));
		pthread_mutex_lock(&login->lock);
		job->answer.is_good = good;
		login->n_done++;
		if (write(login->event_fd, &one, sizeof(one)) < 0)
			break;
	}
	pthread_mutex_unlock(&login->lock);
	return NULL;
}

static int start(struct hbus_gateway_login *login)
{
	sigset_t all, before;
	int r;

	login->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (login->event_fd < 0)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&login->thread, NULL, run, login);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	login->has_thread = r == 0;
	return r;
}

int hbus_gateway_login_open(const char *path, unsigned int *ret_line, struct hbus_gateway_login **ret_login)
{
	struct hbus_gateway_login *login = calloc(1, sizeof(*login));
	int r;

	if (!login)
		return -ENOMEM;
	login->event_fd = -1;
	pthread_mutex_init(&login->lock, NULL);
	pthread_cond_init(&login->changed, NULL);
	login->path = strdup(path);
	r = login->path ? read_file(login, path, ret_line) : -ENOMEM;
	if (r == 0)
		r = start(login);
	if (r < 0) {
		hbus_gateway_login_close(login);
		return r;
	}
	*ret_login = login;
	return 0;
}

struct hbus_gateway_login *hbus_gateway_login_close(struct hbus_gateway_login *login)
{
	if (!login)
		return NULL;
	if (login->has_thread) {
		pthread_mutex_lock(&login->lock);
		login->must_end = true;
		pthread_cond_signal(&login->changed);
		pthread_mutex_unlock(&login->lock);
		pthread_join(login->thread, NULL);
	}
	if (login->event_fd >= 0)
		close(login->event_fd);
	users_free(login->users, login->n_users);
	free(login->path);
	pthread_cond_destroy(&login->changed);
	pthread_mutex_destroy(&login->lock);
	explicit_bzero(login->jobs, sizeof(login->jobs));
	free(login);
	return NULL;
}

void hbus_gateway_login_reload(struct hbus_gateway_login *login, void (*log)(const char *sentence))
{
	pthread_mutex_lock(&login->lock);
	login->log = log;
	login->must_reload = true;
	pthread_cond_signal(&login->changed);
	pthread_mutex_unlock(&login->lock);
}

/* -- asking -- */

int hbus_gateway_login_fd(const struct hbus_gateway_login *login)
{
	return login->event_fd;
}

bool hbus_gateway_login_ask(struct hbus_gateway_login *login, uint64_t id, const void *name, size_t name_size,
			    const void *password, size_t password_size)
{
	/* What cannot be in the file, or crypt() would cut, is asked as a name that nobody has. */
	bool is_possible = name_size < NAME_MAX_SIZE && password_size < PASSWORD_MAX_SIZE &&
			   !memchr(password_size ? password : "", 0, password_size);
	bool has_room;

	pthread_mutex_lock(&login->lock);
	has_room = login->n_asked - login->n_taken < HBUS_GATEWAY_LOGINS_MAX;
	if (has_room) {
		struct job *job = &login->jobs[login->n_asked % HBUS_GATEWAY_LOGINS_MAX];

		memset(job, 0, sizeof(*job));
		job->answer.id = id;
		if (is_possible) {
			memcpy(job->answer.name, name_size ? name : "", name_size);
			memcpy(job->password, password_size ? password : "", password_size);
		}
		login->n_asked++;
		pthread_cond_signal(&login->changed);
	}
	pthread_mutex_unlock(&login->lock);
	return has_room;
}

bool hbus_gateway_login_answer(struct hbus_gateway_login *login, struct hbus_gateway_answer *ret_answer)
{
	uint64_t count;
	bool has_one;

	pthread_mutex_lock(&login->lock);
	has_one = login->n_taken < login->n_done;
	if (has_one)
		*ret_answer = login->jobs[login->n_taken++ % HBUS_GATEWAY_LOGINS_MAX].answer;
	else if (read(login->event_fd, &count, sizeof(count)) < 0)
		has_one = false; /* nothing to read: the descriptor is quiet already */
	pthread_mutex_unlock(&login->lock);
	return has_one;
}

int hbus_gateway_login_hash(const char *name, char *room, size_t room_size)
{
	char password[PASSWORD_MAX_SIZE] = "", salt[CRYPT_GENSALT_OUTPUT_SIZE];
	struct crypt_data *data;
	const char *hash;
	int r = 0;

	if (name[0] == '\0' || strchr(name, ':') || strlen(name) >= NAME_MAX_SIZE)
		return -EINVAL;
	if (!fgets(password, sizeof(password), stdin))
		return -ENODATA;
	password[strcspn(password, "\r\n")] = '\0';
	data = calloc(1, sizeof(*data));
	if (!data)
		return -ENOMEM;
	if (!crypt_gensalt_rn("$y$", 0, NULL, 0, salt, sizeof(salt)))
		r = -errno;
	hash = r == 0 ? crypt_r(password, salt, data) : NULL;
	if (r == 0 && (!hash || hash[0] == '*'))
		r = -EINVAL;
	if (r == 0 && (size_t)snprintf(room, room_size, "%s:%s", name, hash) >= room_size)
		r = -ENOSPC;
	explicit_bzero(password, sizeof(password));
	explicit_bzero(data, sizeof(*data));
	free(data);
	return r;
}
