/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The directory: what the bus has said about routes, topics, interest and sources, in the form in
 * which it changes. Plans are built from it.
 *
 * Topics are remembered for good, so that a topic that returns goes on counting where it stopped.
 * A directory does no I/O and takes no lock; whoever shares it between threads has one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/client/hugebus.h"
#include "dataplane/plan.h"

struct hbus_directory;

/* ---- limits ---------------------------------------------------------------------------- */

#define HBUS_DIRECTORY_TOPICS_MAX 65535U
#define HBUS_DIRECTORY_BATCH_TOPICS_MAX 65536U

/* ---- conditions ------------------------------------------------------------------------ */

#define HBUS_DIRECTORY_FULL 1
#define HBUS_DIRECTORY_UNKNOWN 2
#define HBUS_DIRECTORY_INVALID 3

/* ---- types ----------------------------------------------------------------------------- */

struct hbus_directory_topic {
	char name[256];              /* of a batch route: what to call its datagrams */
	uint32_t topic;              /* for the sink; 0 until hbus_directory_name() */
	uint32_t counter_idx;        /* 1.. */
	uint32_t n_uses;             /* routes and batch topics that lead to it */
	bool is_wanted;
	bool is_told;                /* the bus has said whether it is wanted */
	bool is_pseudo;              /* stands for a batch or gateway route, is no topic of the bus */
	bool is_of_gateway;          /* one of the uses is the MQTT-SN gateway's */
};

/* A place for a route; its index is the route's number in the XDP program too. */
struct hbus_directory_route {
	bool is_used;
	bool is_batch;
	bool is_gateway;             /* to the MQTT-SN gateway; the bus cannot change it */
	struct hbus_route_match match;
	struct hbus_directory_topic *topic;
};

/* ---- functions ------------------------------------------------------------------------- */

int hbus_directory_new(struct hbus_directory **ret_directory);
/* Accepts NULL and returns NULL. */
struct hbus_directory *hbus_directory_free(struct hbus_directory *directory);

/*
 * What the bus's handlers are told, one by one. A route that exists already takes the new topic.
 * Return: 0, -ENOMEM, or a condition; then nothing has changed.
 */
int hbus_directory_route(struct hbus_directory *directory, const struct hbus_route *route,
			 bool is_set);
int hbus_directory_interest(struct hbus_directory *directory, const char *name, bool is_wanted);
int hbus_directory_source(struct hbus_directory *directory, const struct hbus_source_rule *rule);

/* A route to the MQTT-SN gateway. Return: as above, INVALID when the match has another route. */
int hbus_directory_gateway(struct hbus_directory *directory, const struct hbus_route_match *match);
/*
 * The gateway publishes to a topic, or does so no longer. use: may be said again, and is new only once;
 * *ret_counter_idx is the topic's. Return: 0, -ENOMEM, or a condition.
 */
int hbus_directory_use(struct hbus_directory *directory, const char *name, uint32_t *ret_counter_idx,
		       bool *ret_is_new);
void hbus_directory_unuse(struct hbus_directory *directory, const char *name);

/* The next topic in use that has no number yet, from *cursor on (0 at first), or NULL. */
const struct hbus_directory_topic *hbus_directory_next_unnamed(struct hbus_directory *directory,
							       uint32_t *cursor);
void hbus_directory_name(struct hbus_directory *directory, uint32_t counter_idx, uint32_t topic);

/* Topics by counter index, 1..n. */
uint32_t hbus_directory_n_topics(const struct hbus_directory *directory);
const struct hbus_directory_topic *hbus_directory_topic(const struct hbus_directory *directory,
							uint32_t counter_idx);

/* Places of routes, 0..n-1, used or not. */
uint32_t hbus_directory_n_routes(const struct hbus_directory *directory);
const struct hbus_directory_route *hbus_directory_route_at(const struct hbus_directory *directory,
							   uint32_t route_idx);
/* Whether anybody wants what the route carries; of a batch route, any topic of it. */
bool hbus_directory_route_is_wanted(const struct hbus_directory *directory, uint32_t route_idx);

/* Source rules 0..n-1, and what holds where none does. */
uint32_t hbus_directory_n_sources(const struct hbus_directory *directory);
const struct hbus_plan_source *hbus_directory_source_at(const struct hbus_directory *directory,
							uint32_t source_idx);
uint32_t hbus_directory_source_default(const struct hbus_directory *directory);
struct hbus_rate hbus_directory_rate(const struct hbus_directory *directory);

/* Return: as hbus_plan_new(). */
int hbus_directory_plan(const struct hbus_directory *directory, struct hbus_plan **ret_plan);
