/* SPDX-License-Identifier: BSD-3-Clause */
/* iceoryx through its C binding: chunks are loaned and written in place; its daemon RouDi is started for the run. */
#include "bench/peers/peer.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <iceoryx_binding_c/log.h>
#include <iceoryx_binding_c/publisher.h>
#include <iceoryx_binding_c/runtime.h>
#include <iceoryx_binding_c/subscriber.h>

#define TAKE_MAX 64u
#define QUEUE 256u
#define READY_MS 5000u

struct own {
	iox_pub_storage_t publisher_storage;
	iox_sub_storage_t subscriber_storage;
	iox_pub_t publisher;
	iox_sub_t subscriber;
};

static pid_t roudi;
static bool has_runtime; /* of this process */

static void nap_ms(long ms)
{
	struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&nap, NULL);
}

static void stop(void)
{
	if (roudi > 0) {
		kill(roudi, SIGTERM);
		waitpid(roudi, NULL, 0);
	}
	roudi = 0;
}

/* RouDi says on its standard output when clients may come. */
static int await_ready(int fd)
{
	char text[4096];
	size_t n = 0;

	while (n < sizeof(text) - 1) {
		ssize_t got = read(fd, text + n, sizeof(text) - 1 - n);

		if (got <= 0)
			break;
		n += (size_t)got;
		text[n] = '\0';
		if (strstr(text, "RouDi is ready"))
			return 0;
	}
	return peer_complain("iceoryx", "iox-roudi did not start (is another one running?)");
}

static int start(void)
{
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC))
		return peer_complain("iceoryx", "pipe");
	roudi = fork();
	if (roudi == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		/* Nobody reads on once it is ready. */
		signal(SIGPIPE, SIG_IGN);
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		execlp("iox-roudi", "iox-roudi", "--monitoring-mode", "off", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	r = await_ready(fds[0]);
	close(fds[0]);
	if (r)
		stop();
	return r;
}

static int attach(struct peer_channel *channel, enum peer_side side)
{
	struct own *own = calloc(1, sizeof(*own));
	iox_pub_options_t publisher;
	iox_sub_options_t subscriber;
	char name[64], event[32];

	if (!own)
		return peer_complain("iceoryx", "no memory");
	channel->state = own;
	snprintf(name, sizeof(name), "hugebus-peers-%d", (int)getpid());
	snprintf(event, sizeof(event), "channel%u", channel->id);
	iox_set_loglevel(Iceoryx_LogLevel_Error);
	/* Its destructor at exit() tells RouDi that this process has gone. */
	if (!has_runtime)
		iox_runtime_init(name);
	has_runtime = true;
	if (side == PEER_PUBLISHER) {
		iox_pub_options_init(&publisher);
		publisher.subscriberTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
		own->publisher = iox_pub_init(&own->publisher_storage, "hugebus", "peers", event, &publisher);
		for (unsigned int ms = 0; ms < READY_MS && !iox_pub_has_subscribers(own->publisher); ms++)
			nap_ms(1);
		return iox_pub_has_subscribers(own->publisher) ? 0 : peer_complain("iceoryx", "no subscriber came");
	}
	iox_sub_options_init(&subscriber);
	subscriber.queueCapacity = QUEUE;
	subscriber.queueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
	own->subscriber = iox_sub_init(&own->subscriber_storage, "hugebus", "peers", event, &subscriber);
	return 0;
}

static void detach(struct peer_channel *channel, enum peer_side side)
{
	struct own *own = channel->state;

	if (side == PEER_PUBLISHER)
		iox_pub_deinit(own->publisher);
	else
		iox_sub_deinit(own->subscriber);
	free(own);
}

static int send(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop_flag)
{
	struct own *own = channel->state;
	void *event;

	for (unsigned int i = 0; i < n; i++) {
		while (iox_pub_loan_chunk(own->publisher, &event, channel->size) != AllocationResult_SUCCESS) {
			if (atomic_load_explicit(stop_flag, memory_order_relaxed))
				return 1;
		}
		peer_fill(event, channel->size, first + i);
		iox_pub_publish_chunk(own->publisher, event);
	}
	return 0;
}

static int take(struct peer_channel *channel, uint64_t *next)
{
	struct own *own = channel->state;
	const void *event;

	for (unsigned int i = 0; i < TAKE_MAX; i++) {
		bool is_right;

		if (iox_sub_take_chunk(own->subscriber, &event) != ChunkReceiveResult_SUCCESS)
			return 0;
		is_right = peer_is(event, channel->size, (*next)++);
		iox_sub_release_chunk(own->subscriber, event);
		if (!is_right)
			return peer_complain("iceoryx", "wrong content");
	}
	return 0;
}

static const char *version(void)
{
	return "iceoryx " HBUS_PEER_ICEORYX;
}

const struct peer peer_iceoryx = {
	.name = "iceoryx", .title = "iceoryx (C binding)",
	.settings = "chunks loaned and written in place; queue of 256 (its largest), publisher waits; polled",
	.version = version, .start = start, .stop = stop, .attach = attach, .detach = detach, .send = send, .take = take,
};
