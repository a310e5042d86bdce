/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A simulated client inside: what its three files share
 *
 *	state_client.c  what it says, and what becomes of it when its link breaks
 *	state_hear.c    what the daemon tells it
 *	state_act.c     what a program does with the library
 */
#pragma once

#include "tests/stress/state_world.h"

void client_send(struct client *client, void *msg, enum hbus_msg_type type, size_t size, uint32_t serial,
		 const struct object *objects, size_t n);
/** A request whose reply matters, and whose it is: -1 where there is none. */
void client_call(struct world *w, struct client *client, void *msg, enum hbus_msg_type type, size_t size,
		 const struct object *objects, size_t n, int ring, int sub, int item);

#define CALL(w, client, type, ring, sub, item, body, ...)                                                              \
	({                                                                                                             \
		body msg_ = __VA_ARGS__;                                                                               \
		client_call(w, client, &msg_, type, sizeof(msg_), NULL, 0, ring, sub, item);                           \
	})

void say_hello(struct world *w, struct client *client);
void say_topic(struct world *w, struct client *client, int ring, int item);
void say_open(struct world *w, struct client *client, int sub);
void say_slots(struct world *w, struct client *client, int sub, uint32_t memfd);
void say_filter(struct world *w, struct client *client, enum hbus_msg_type type, int sub, int item);
void say_done(struct world *w, struct client *client, const struct client_sub *sub, uint64_t ring_id);

uint32_t client_slots_of(uint32_t memfd);

/** It says all again that it has, to a daemon that knows it or does not. */
void client_resume(struct world *w, struct client *client);
/** The link is gone, and the answers that were on their way. */
void client_link_lost(struct client *client);
void client_ring_forget(struct client_ring *ring);
void client_sub_forget(struct client_sub *sub);
