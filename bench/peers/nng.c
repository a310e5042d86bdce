/* SPDX-License-Identifier: BSD-3-Clause */
/* nng: PAIR over a Unix socket. */
#include "bench/peers/peer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>

#define TAKE_MAX 64u
#define BUFFERS 8192

struct own {
	nng_socket socket;
};

static int attach(struct peer_channel *channel, enum peer_side side)
{
	struct own *own = calloc(1, sizeof(*own));
	char text[96];
	int r;

	if (!own)
		return peer_complain("nng", "no memory");
	channel->state = own;
	snprintf(text, sizeof(text), "abstract://hugebus-peers-%d-%u", (int)getppid(), channel->id);
	r = nng_pair0_open(&own->socket);
	if (r == 0)
		r = nng_socket_set_int(own->socket, side == PEER_PUBLISHER ? NNG_OPT_SENDBUF : NNG_OPT_RECVBUF, BUFFERS);
	if (r == 0)
		r = side == PEER_PUBLISHER ? nng_dial(own->socket, text, NULL, NNG_FLAG_NONBLOCK) :
					     nng_listen(own->socket, text, NULL, 0);
	return r ? peer_complain("nng", nng_strerror(r)) : 0;
}

static void detach(struct peer_channel *channel, enum peer_side side)
{
	struct own *own = channel->state;

	(void)side;
	nng_close(own->socket);
	free(own);
}

static int send(struct peer_channel *channel, uint64_t first, unsigned int n, const _Atomic uint32_t *stop)
{
	struct own *own = channel->state;
	uint64_t event[PEER_SIZE_MAX / 8];

	for (unsigned int i = 0; i < n; i++) {
		int r;

		peer_fill(event, channel->size, first + i);
		while ((r = nng_send(own->socket, event, channel->size, NNG_FLAG_NONBLOCK)) != 0) {
			if (r != NNG_EAGAIN)
				return peer_complain("nng", nng_strerror(r));
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
		size_t size = sizeof(event);
		int r = nng_recv(own->socket, event, &size, NNG_FLAG_NONBLOCK);

		if (r)
			return r == NNG_EAGAIN ? 0 : peer_complain("nng", nng_strerror(r));
		if (size != channel->size || !peer_is(event, channel->size, (*next)++))
			return peer_complain("nng", "wrong content");
	}
	return 0;
}

static const char *version(void)
{
	static char text[32];

	snprintf(text, sizeof(text), "nng %s", nng_version());
	return text;
}

const struct peer peer_nng = {
	.name = "nng", .title = "nng PAIR, ipc",
	.settings = "its own threads (default), buffers of 8192 (its largest), polled without waiting",
	.version = version, .attach = attach, .detach = detach, .send = send, .take = take,
};
