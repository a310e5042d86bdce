/* SPDX-License-Identifier: BSD-3-Clause */
/* Who publishes while filters go and come again. See again.h. */
#include "again.h"

#include <stdatomic.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#define EVENTS 64
#define KIND_BITS 2
#define BYTES 24 /* of an event */

struct request {
	uint64_t number;
	uint32_t topic;
	uint32_t kind;
};

static void open_here(struct again_source *source, const char *const *topics)
{
	source->publisher = bus_publisher(source->bus, AGAIN_RING, HBUS_PUB_SMALL_PAGES, 0);
	for (int i = 0; i < AGAIN_TOPICS && topics[i]; i++)
		OK(hbus_publisher_topic(source->publisher, topics[i], NULL, NULL, &source->topic[i]));
}

static void publish_here(struct again_source *source, const struct request *request)
{
	OK(bus_publish_number(source->publisher, source->topic[request->topic], request->number << KIND_BITS | request->kind, BYTES));
}

static void serve(struct again_source *source, const char *const *topics)
{
	struct request request = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	source->bus = bus_open();
	open_here(source, topics);
	do {
		CHECK_EQ(write(source->answers, &request.number, sizeof(request.number)), sizeof(request.number));
		if (read(source->requests, &request, sizeof(request)) != sizeof(request))
			break;
		publish_here(source, &request);
	} while (true);
	hbus_publisher_close(source->publisher);
	hbus_close(source->bus);
	fflush(NULL);
	_exit(0);
}

static void await_answer(const struct again_source *source, uint64_t number)
{
	uint64_t answer;

	CHECK_EQ(read(source->answers, &answer, sizeof(answer)), sizeof(answer));
	CHECK_EQ(answer, number);
}

void again_source_open(struct again_source *source, struct hbus *bus, const char *const *topics)
{
	int requests[2], answers[2];

	*source = (struct again_source){.bus = bus, .requests = -1, .answers = -1, .pid = -1};
	if (bus) {
		open_here(source, topics);
		return;
	}
	CHECK(pipe(requests) == 0 && pipe(answers) == 0);
	fflush(NULL);
	source->pid = fork();
	CHECK(source->pid >= 0);
	source->requests = requests[source->pid ? 1 : 0];
	source->answers = answers[source->pid ? 0 : 1];
	close(requests[source->pid ? 0 : 1]);
	close(answers[source->pid ? 1 : 0]);
	if (source->pid == 0)
		serve(source, topics);
	await_answer(source, 0);
}

void again_source_close(struct again_source *source)
{
	if (source->pid < 0) {
		hbus_publisher_close(source->publisher);
		return;
	}
	close(source->requests);
	close(source->answers);
	bus_join(source->pid);
}

uint64_t again_publish(struct again_source *source, unsigned int topic, enum again_kind kind)
{
	struct request request = {.number = ++source->n_published, .topic = topic, .kind = kind};

	if (source->pid < 0) {
		publish_here(source, &request);
	} else {
		CHECK_EQ(write(source->requests, &request, sizeof(request)), sizeof(request));
		await_answer(source, request.number);
	}
	return request.number;
}

void again_account(struct again_seen *seen, const struct hbus_event *event)
{
	uint64_t word = 0, number;

	CHECK_EQ(event->size, BYTES);
	CHECK(bus_is_filled(event->data, event->size, &word));
	number = word >> KIND_BITS;
	seen->is_disordered |= number <= seen->last_number;
	seen->last_number = number;
	seen->n_events++;
	switch ((enum again_kind)(word & ((1u << KIND_BITS) - 1))) {
	case MUST:
		seen->n_must++;
		/* R(again.last_must): what is known of it before it is shown to the thread that waits for it. */
		atomic_store_explicit(&seen->last_must, number + 1, memory_order_release);
		break;
	case MUST_NOT:
		seen->n_stale++;
		break;
	case MAY:
		break;
	}
}

int again_poll(struct hbus_subscriber *sub, struct again_seen *seen)
{
	struct hbus_event events[EVENTS];
	int n = hbus_poll(sub, events, EVENTS);

	CHECK(n >= 0);
	for (int i = 0; i < n; i++)
		again_account(seen, &events[i]);
	return n;
}
