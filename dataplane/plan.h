/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan: all that the poll loops need to know about routes, interest and sources, as one
 * immutable snapshot.
 *
 * The control thread builds a new plan for every change and swaps it in by RCU; a poll loop uses
 * one plan for a whole burst. A plan for the largest number of routes takes milliseconds to build,
 * which the packets do not notice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/bucket.h"
#include "dataplane/route.h"

/* ---- limits ---------------------------------------------------------------------------- */

/* The XDP program's tables hold as many. */
#define HBUS_PLAN_ROUTES_MAX HBUS_ROUTES_MAX
#define HBUS_PLAN_SOURCES_MAX HBUS_SOURCES_MAX
/* Each keeps an array up to its highest topic number: at most 768 KiB. */
#define HBUS_PLAN_BATCH_ROUTES_MAX 64U

/* ---- types ----------------------------------------------------------------------------- */

/* A topic as the poll loop sees it. */
struct hbus_plan_topic {
	uint32_t topic;              /* of the sink; 0: none yet */
	uint32_t counter_idx;        /* where its events are counted */
	bool is_wanted;
	bool is_listed;              /* set by the plan: in a row of numbers, this one is in use */
};

/* What to build from. A batch topic names the index of its route in routes. */
struct hbus_plan_route {
	struct hbus_route_match match;
	bool is_batch;
	bool is_gateway;
	struct hbus_plan_topic topic;    /* of a batch or gateway route: only its counter */
};

struct hbus_plan_batch_topic {
	uint32_t route_idx;
	uint16_t number;
	struct hbus_plan_topic topic;
};

struct hbus_plan_source {
	uint8_t addr[16];
	uint8_t family;
	uint8_t prefix_len;
	uint32_t action;             /* HBUS_SOURCE_* */
};

struct hbus_plan_input {
	const struct hbus_plan_route *routes;
	size_t n_routes;
	const struct hbus_plan_batch_topic *batch_topics;
	size_t n_batch_topics;
	const struct hbus_plan_source *sources;
	size_t n_sources;
	uint32_t source_default;     /* HBUS_SOURCE_*: for sources that no rule names */
	struct hbus_rate rate;
};

/* Topics of a batch route by number. */
struct hbus_plan_numbers {
	uint32_t n_numbers;          /* the highest number + 1 */
	struct hbus_plan_topic topics[];
};

/* A route as the poll loop sees it. */
struct hbus_plan_path {
	struct hbus_plan_topic topic;    /* of a batch route: is_wanted if any of its topics is */
	struct hbus_plan_numbers *numbers; /* of a batch route, else NULL */
	bool is_gateway;                 /* its datagrams are MQTT-SN */
};

struct hbus_plan {
	uint64_t number;             /* no two plans of a process have the same; never 0 */
	struct hbus_route_table *routes;
	struct hbus_route_table *sources; /* by source address; NULL: no rules */
	uint32_t source_default;
	struct hbus_rate rate;
	bool judges_sources;         /* false: every source may send, as fast as it likes */
	size_t n_paths;
	struct hbus_plan_path paths[];
};

/* ---- functions ------------------------------------------------------------------------- */

/**
 * hbus_plan_new() - build a plan
 *
 * Copies everything. Return: 0, -ENOMEM, -EINVAL for a batch topic without its route or too many
 * batch routes, or a condition of hbus_route_table_new() about routes or sources.
 */
int hbus_plan_new(const struct hbus_plan_input *input, struct hbus_plan **ret_plan);

/* Accepts NULL and returns NULL. The caller has made sure that no poll loop still looks. */
struct hbus_plan *hbus_plan_free(struct hbus_plan *plan);

/* What the rules say of a source: HBUS_SOURCE_*. */
uint32_t hbus_plan_judge_source(const struct hbus_plan *plan, uint8_t family,
				const uint8_t *source);
