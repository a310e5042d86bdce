/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients: connections of lwIP's served by an MQTT engine.
 *
 * lwIP's callbacks only note what has come; the engine is spoken to between them, so that neither ever
 * finds the other half way. What a client has sent is told to TCP as taken (the window opens) only
 * when the engine has had it; while the engine or the bus cannot keep up, the client fills its window
 * and waits. What is to be sent is collected and given to TCP once a round.
 *
 * Thread: the stack's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/mqtt/bus.h"
#include "dataplane/mqtt/engine.h"
#include "dataplane/mqtt/origins.h"
#include "dataplane/tcp/counters.h"

struct hbus_demux;
struct hbus_gateway_login;
struct hbus_tcp_client;
struct tcp_pcb;

struct hbus_tcp_clients {
	struct hbus_mqtt *engine;         /* borrowed, as all up to the counters */
	struct hbus_mqtt_bus *bus;
	struct hbus_gateway_login *login; /* NULL: there are no passwords */
	struct hbus_origins *origins;     /* NULL: an address may have all connections */
	struct hbus_tcp_counters *counters;
	bool allows_anonymous;
	uint32_t max;
	uint32_t backlog_high;            /* as the engine has it */
	uint64_t now_ms;
	uint64_t full_said_ms;       /* 0: never */
	uint64_t n_asked;
	struct hbus_tcp_client *all;
	struct hbus_tcp_client *dirty;    /* there is something to do for them */
};

/* As struct hbus_stack_options wants it. @context: struct hbus_tcp_clients. */
bool hbus_tcp_clients_accept(void *context, struct hbus_demux *demux, struct tcp_pcb *pcb);

/* The engine's callbacks. @context: likewise. */
void hbus_tcp_clients_io(struct hbus_tcp_clients *clients, struct hbus_mqtt_io *io);

/* Gives answers about passwords to those who wait for them. */
void hbus_tcp_clients_answer(struct hbus_tcp_clients *clients);
/*
 * Give the engine what has come. What it answers stays here until hbus_tcp_clients_serve(), before which
 * the bus must have what was published: a PUBACK says so. Return: whether there was anything to do.
 */
bool hbus_tcp_clients_read(struct hbus_tcp_clients *clients);
/* Writes and ends what has become due. Return: likewise. */
bool hbus_tcp_clients_serve(struct hbus_tcp_clients *clients);
/* A few times a second: who lingers is cut, who was held is looked at. */
void hbus_tcp_clients_chores(struct hbus_tcp_clients *clients);
/* All, at once. */
void hbus_tcp_clients_free(struct hbus_tcp_clients *clients);
