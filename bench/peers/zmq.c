/* SPDX-License-Identifier: BSD-3-Clause */
/* ZeroMQ: PUSH to PULL over a Unix socket, which it batches by itself on threads of its own. */
#include "bench/peers/peer.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <zmq.h>

#define TAKE_MAX 64u
#define HIGH_WATER 100000

struct own {
	void *context;
	void *socket;
};

static void address(const struct peer_channel *channel, char *text, size_t size)
{
	/* Abstract names leave no file. */
	snprintf(text, size, "ipc://@hugebus-peers-%d-%u", (int)getppid(), channel->id);
}

static int attach(struct peer_channel *channel, enum peer_side side)
{
	struct own *own = calloc(1, sizeof(*own));
	int high = HIGH_WATER, linger = 0;
	char text[96];

	if (!own)
		return peer_complain("zmq", "no memory");
	channel->state = own;
	address(channel, text, sizeof(text));
	own->context = zmq_ctx_new();
	own->socket = zmq_socket(own->context, side == PEER_PUBLISHER ? ZMQ_PUSH : ZMQ_PULL);
	if (!own->socket)
		return peer_complain("zmq", zmq_strerror(errno));
	zmq_setsockopt(own->socket, side == PEER_PUBLISHER ? ZMQ_SNDHWM : ZMQ_RCVHWM, &high, sizeof(high));
	zmq_setsockopt(own->socket, ZMQ_LINGER, &linger, sizeof(linger));
	if (side == PEER_PUBLISHER ? zmq_connect(own->socket, text) : zmq_bind(own->socket, text))
		return peer_complain("zmq", zmq_strerror(errno));
	return 0;
}

static void detach(struct peer_channel *channel, enum peer_side side)
{
	struct own *own = channel->state;

	(void)side;
	zmq_close(own->socket);
	zmq_ctx_term(own->context);
	free(own);
}

static int send(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	struct own *own = channel->state;
	uint64_t event[PEER_SIZE_MAX / 8];

	for (unsigned int i = 0; i < n; i++) {
		peer_fill(event, channel->size, first + i);
		while (zmq_send(own->socket, event, channel->size, ZMQ_DONTWAIT) < 0) {
			if (errno != EAGAIN)
				return peer_complain("zmq", zmq_strerror(errno));
			if (atomic_load_explicit(stop, memory_order_relaxed))
				return 1;
		}
	}
	return 0;
}

static int take(struct peer_channel *channel, uint64_t *next)
{
	struct own *own = channel->state;
	uint64_t event[PEER_SIZE_MAX / 8];

	for (unsigned int i = 0; i < TAKE_MAX; i++) {
		int size = zmq_recv(own->socket, event, sizeof(event), ZMQ_DONTWAIT);

		if (size < 0)
			return errno == EAGAIN ? 0 : peer_complain("zmq", zmq_strerror(errno));
		if ((unsigned int)size != channel->size || !peer_is(event, channel->size, (*next)++))
			return peer_complain("zmq", "wrong content");
	}
	return 0;
}

static const char *version(void)
{
	static char text[32];
	int major, minor, patch;

	zmq_version(&major, &minor, &patch);
	snprintf(text, sizeof(text), "libzmq %d.%d.%d", major, minor, patch);
	return text;
}

const struct peer peer_zmq = {
	.name = "zmq", .title = "ZeroMQ PUSH/PULL, ipc",
	.settings = "one I/O thread each (default), high-water marks of 100 000, polled without waiting",
	.version = version, .attach = attach, .detach = detach, .send = send, .take = take,
};
