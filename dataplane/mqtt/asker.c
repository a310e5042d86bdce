/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that asks the daemon. See asker.h. */
#include "dataplane/mqtt/asker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A subscriber of the bus has 4096 filters at most; "#" must have a place among them. */
enum { FILTERS_MAX = 4000 };

struct list {
	struct hbus_mqtt_answer *first, *last;
};

struct hbus_mqtt_asker {
	struct hbus *bus;
	struct hbus_publisher *publisher;
	struct hbus_subscriber *subscriber;
	void (*log)(const char *sentence);
	bool wants_all; /* its own thread: "#" stands for filters that did not fit */
	uint32_t n_filters; /* its own thread */
	int event_fd;
	pthread_t thread;
	bool has_thread;
	_Atomic uint32_t n_answers; /* so that a look at an empty list takes no lock */
	pthread_mutex_t lock;       /* of what follows */
	pthread_cond_t changed;
	struct list questions, answers;
	uint32_t n_out; /* questions and answers that are not taken */
	bool must_end;
};

static void append(struct list *list, struct hbus_mqtt_answer *answer)
{
	answer->next = NULL;
	if (list->last)
		list->last->next = answer;
	else
		list->first = answer;
	list->last = answer;
}

static struct hbus_mqtt_answer *take_first(struct list *list)
{
	struct hbus_mqtt_answer *answer = list->first;

	if (answer)
		list->first = answer->next;
	if (!list->first)
		list->last = NULL;
	return answer;
}

/* -- its thread -- */

static void say(const struct hbus_mqtt_asker *asker, const char *what, const char *name)
{
	char sentence[768];

	if (!asker->log)
		return;
	snprintf(sentence, sizeof(sentence), "%s%s: %s", what, name, hbus_error_text());
	asker->log(sentence);
}

/* More filters than there may be: all events are taken, the engine knows who wants which. */
static int subscribe_all(struct hbus_mqtt_asker *asker)
{
	int r = hbus_subscribe(asker->subscriber, "#");

	asker->wants_all = r == 0 || r == HBUS_E_EXISTS;
	if (asker->log)
		asker->log(asker->wants_all ? "many filters: from now on all topics are read" :
					      "no place for more filters");
	return asker->wants_all ? 0 : r;
}

static int subscribe(struct hbus_mqtt_asker *asker, const char *filter)
{
	int r;

	if (!asker->wants_all && asker->n_filters >= FILTERS_MAX)
		(void)subscribe_all(asker);
	if (asker->wants_all && filter[0] != '$')
		return 0;
	r = hbus_subscribe(asker->subscriber, filter);
	if (r == HBUS_E_LIMIT || r == HBUS_E_QUOTA)
		r = filter[0] == '$' ? r : subscribe_all(asker);
	if (r == HBUS_E_EXISTS)
		return 0;
	asker->n_filters += r == 0;
	if (r < 0)
		say(asker, "cannot subscribe to ", filter);
	return r;
}

static void unsubscribe(struct hbus_mqtt_asker *asker, const char *filter)
{
	/* With "#" in place of those that did not fit some filters are unknown there. */
	if (asker->wants_all && strcmp(filter, "#") == 0)
		return;
	if (hbus_unsubscribe(asker->subscriber, filter) == 0 && asker->n_filters > 0)
		asker->n_filters--;
}

static int take_rule(const struct hbus_row *row, void *context)
{
	struct hbus_mqtt_rule rule = { .is_allowed = row->value[0] != 0, .rights = (unsigned int)row->value[1] };

	/* Longer than any: a client that does not exist, never a shorter name that does. */
	if (strlen(row->text) >= sizeof(rule.client) || strlen(row->name) >= sizeof(rule.filter))
		return HBUS_E_PROTOCOL;
	memcpy(rule.client, row->text, strlen(row->text) + 1);
	memcpy(rule.filter, row->name, strlen(row->name) + 1);
	return hbus_mqtt_rules_add(context, &rule) ? 0 : HBUS_E_NO_MEMORY;
}

int hbus_mqtt_rules_read(struct hbus *bus, struct hbus_mqtt_rules *ret_rules)
{
	int r;

	*ret_rules = (struct hbus_mqtt_rules){ NULL, 0, 0 };
	r = hbus_list(bus, HBUS_ROW_CLIENT_RULE, take_rule, ret_rules);
	if (r < 0)
		hbus_mqtt_rules_deinit(ret_rules);
	return r;
}

static void ask(struct hbus_mqtt_asker *asker, struct hbus_mqtt_answer *question)
{
	switch (question->kind) {
	case HBUS_MQTT_ASK_TOPIC:
		question->result = hbus_publisher_topic(asker->publisher, question->name, NULL, NULL, &question->topic);
		break;
	case HBUS_MQTT_ASK_SUBSCRIBE:
		question->result = subscribe(asker, question->name);
		break;
	case HBUS_MQTT_ASK_UNSUBSCRIBE:
		unsubscribe(asker, question->name);
		break;
	case HBUS_MQTT_ASK_RULES:
		question->result = hbus_mqtt_rules_read(asker->bus, &question->rules);
		break;
	}
}

/* With the lock held. */
static void answer(struct hbus_mqtt_asker *asker, struct hbus_mqtt_answer *question)
{
	const uint64_t one = 1;

	if (question->kind == HBUS_MQTT_ASK_UNSUBSCRIBE) {
		free(question);
		return;
	}
	append(&asker->answers, question);
	/* relaxed: the lock is what orders; a look that comes too early comes again, woken by the descriptor */
	atomic_fetch_add_explicit(&asker->n_answers, 1, memory_order_relaxed);
	if (asker->answers.first == question && write(asker->event_fd, &one, sizeof(one)) < 0)
		return; /* it is readable already */
}

static void *run(void *context)
{
	struct hbus_mqtt_asker *asker = context;
	struct hbus_mqtt_answer *question;

	pthread_mutex_lock(&asker->lock);
	while (!asker->must_end) {
		question = take_first(&asker->questions);
		if (!question) {
			pthread_cond_wait(&asker->changed, &asker->lock);
			continue;
		}
		pthread_mutex_unlock(&asker->lock);
		ask(asker, question);
		pthread_mutex_lock(&asker->lock);
		answer(asker, question);
	}
	pthread_mutex_unlock(&asker->lock);
	return NULL;
}

/* -- life -- */

static int start(struct hbus_mqtt_asker *asker)
{
	sigset_t all, before;
	int r;

	asker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (asker->event_fd < 0)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&asker->thread, NULL, run, asker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	asker->has_thread = r == 0;
	return r;
}

int hbus_mqtt_asker_new(struct hbus *bus, struct hbus_publisher *publisher, struct hbus_subscriber *subscriber,
			void (*log)(const char *sentence), struct hbus_mqtt_asker **ret_asker)
{
	struct hbus_mqtt_asker *asker = calloc(1, sizeof(*asker));
	int r;

	if (!asker)
		return -ENOMEM;
	asker->bus = bus;
	asker->publisher = publisher;
	asker->subscriber = subscriber;
	asker->log = log;
	pthread_mutex_init(&asker->lock, NULL);
	pthread_cond_init(&asker->changed, NULL);
	r = start(asker);
	if (r < 0) {
		hbus_mqtt_asker_free(asker);
		return r;
	}
	*ret_asker = asker;
	return 0;
}

static void list_free(struct list *list)
{
	struct hbus_mqtt_answer *at;

	while ((at = take_first(list))) {
		hbus_mqtt_rules_deinit(&at->rules);
		free(at);
	}
}

struct hbus_mqtt_asker *hbus_mqtt_asker_free(struct hbus_mqtt_asker *asker)
{
	if (!asker)
		return NULL;
	if (asker->has_thread) {
		pthread_mutex_lock(&asker->lock);
		asker->must_end = true;
		pthread_cond_signal(&asker->changed);
		pthread_mutex_unlock(&asker->lock);
		pthread_join(asker->thread, NULL);
	}
	list_free(&asker->questions);
	list_free(&asker->answers);
	if (asker->event_fd >= 0)
		close(asker->event_fd);
	pthread_cond_destroy(&asker->changed);
	pthread_mutex_destroy(&asker->lock);
	free(asker);
	return NULL;
}

/* -- the engine's thread -- */

bool hbus_mqtt_asker_ask(struct hbus_mqtt_asker *asker, enum hbus_mqtt_ask_kind kind, const char *name)
{
	size_t size = strlen(name) + 1;
	struct hbus_mqtt_answer *question = calloc(1, sizeof(*question) + size);
	bool has_room;

	if (!question)
		return false;
	question->kind = kind;
	memcpy(question->name, name, size);
	pthread_mutex_lock(&asker->lock);
	has_room = kind == HBUS_MQTT_ASK_UNSUBSCRIBE || asker->n_out < HBUS_MQTT_ASKS_MAX;
	if (has_room) {
		asker->n_out += kind != HBUS_MQTT_ASK_UNSUBSCRIBE;
		append(&asker->questions, question);
		pthread_cond_signal(&asker->changed);
	}
	pthread_mutex_unlock(&asker->lock);
	if (!has_room)
		free(question);
	return has_room;
}

struct hbus_mqtt_answer *hbus_mqtt_asker_take(struct hbus_mqtt_asker *asker)
{
	struct hbus_mqtt_answer *first;
	uint64_t count;

	/* relaxed: see answer() */
	if (atomic_load_explicit(&asker->n_answers, memory_order_relaxed) == 0)
		return NULL;
	pthread_mutex_lock(&asker->lock);
	first = take_first(&asker->answers);
	if (first) {
		atomic_fetch_sub_explicit(&asker->n_answers, 1, memory_order_relaxed); /* relaxed: as above */
		asker->n_out--;
	}
	if (!asker->answers.first && read(asker->event_fd, &count, sizeof(count)) < 0)
		count = 0; /* it was quiet already */
	pthread_mutex_unlock(&asker->lock);
	return first;
}

uint32_t hbus_mqtt_asker_n_out(struct hbus_mqtt_asker *asker)
{
	uint32_t n;

	pthread_mutex_lock(&asker->lock);
	n = asker->n_out;
	pthread_mutex_unlock(&asker->lock);
	return n;
}

int hbus_mqtt_asker_fd(const struct hbus_mqtt_asker *asker)
{
	return asker->event_fd;
}
