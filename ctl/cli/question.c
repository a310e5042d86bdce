/* SPDX-License-Identifier: BSD-3-Clause */
/* A question to the daemon. See question.h. */
#include "ctl/cli/question.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#define MOMENT_NS 50000000

static int ignore_row(const struct hbus_row *row, void *context)
{
	(void)row;
	(void)context;
	return 0;
}

static void *ask(void *context)
{
	struct hbus_question *question = context;

	hbus_list(question->bus, HBUS_ROW_DAEMON, ignore_row, NULL);
	sem_post(&question->answered);
	return NULL;
}

static void wait_a_moment(struct hbus_question *question)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += MOMENT_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	question->is_over = sem_clockwait(&question->answered, CLOCK_MONOTONIC, &until) == 0;
}

void hbus_question_ask(struct hbus_question *question, struct hbus *bus)
{
	pthread_t thread;
	sigset_t all, before;
	int r;

	*question = (struct hbus_question){ .bus = bus, .is_asked = true, .is_over = true };
	if (!hbus_is_connected(bus) || sem_init(&question->answered, 0, 0) < 0)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, NULL, ask, question);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return;
	pthread_detach(thread);
	question->is_over = false;
	wait_a_moment(question);
}

bool hbus_question_is_open(struct hbus_question *question)
{
	if (question->is_asked && !question->is_over)
		question->is_over = sem_trywait(&question->answered) == 0;
	return question->is_asked && !question->is_over;
}

bool hbus_question_is_answered(struct hbus_question *question)
{
	return !hbus_question_is_open(question) || hbus_is_connected(question->bus) != 1;
}
