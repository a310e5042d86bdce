/* SPDX-License-Identifier: BSD-3-Clause */
/* The peers that this build has. */
#include "bench/peers/peer.h"

#include <stddef.h>

#include "bench/blame.h"

extern const struct peer peer_hugebus_single, peer_hugebus_one_place, peer_hugebus_batch, peer_hugebus_run, peer_hugebus_place;
extern const struct peer peer_rte_ring_single, peer_rte_ring_burst, peer_ck_ring, peer_iceoryx, peer_zmq, peer_nng;
extern const struct peer peer_pipe_single, peer_pipe_batch, peer_unix_single, peer_unix_batch, peer_mq, peer_eventfd;

const struct peer *const peers[] = {
	&peer_hugebus_single, &peer_hugebus_one_place, &peer_hugebus_batch, &peer_hugebus_run, &peer_hugebus_place,
#ifdef HBUS_PEER_RTE_RING
	&peer_rte_ring_single, &peer_rte_ring_burst,
#endif
#ifdef HBUS_PEER_CK
	&peer_ck_ring,
#endif
#ifdef HBUS_PEER_ICEORYX
	&peer_iceoryx,
#endif
#ifdef HBUS_PEER_ZMQ
	&peer_zmq,
#endif
#ifdef HBUS_PEER_NNG
	&peer_nng,
#endif
	&peer_pipe_single, &peer_pipe_batch, &peer_unix_single, &peer_unix_batch, &peer_mq, &peer_eventfd,
	NULL,
};

const struct peer_absent peers_absent[] = {
#ifndef HBUS_PEER_RTE_RING
	{"rte_ring", "DPDK rte_ring", "built without libdpdk-dev"},
#endif
#ifndef HBUS_PEER_CK
	{"ck_ring", "Concurrency Kit ck_ring", "built without libck-dev"},
#endif
#ifndef HBUS_PEER_ICEORYX
	{"iceoryx", "iceoryx (C binding)", "built without libiceoryx-binding-c-dev and cmake"},
#endif
#ifndef HBUS_PEER_ZMQ
	{"zmq", "ZeroMQ", "built without libzmq3-dev"},
#endif
#ifndef HBUS_PEER_NNG
	{"nng", "nng", "built without libnng-dev"},
#endif
	{NULL, NULL, NULL},
};

int peer_complain(const char *peer, const char *what)
{
	bench_blame("%s: %s", peer, what);
	return -1;
}
