/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filters that go and come again: who publishes meanwhile, and what became of each event
 *
 * Each event carries a number, and when it was published: what comes after hbus_subscribe() has returned 0 must arrive,
 * what came between hbus_unsubscribe() and hbus_subscribe() must not with HBUS_START_LATEST, what stood unread before may.
 */
#pragma once

#include "bus.h"

#define AGAIN_TOPICS 4
#define AGAIN_RING 65536u
/* An event that has not come by then will not come. */
#define AGAIN_PATIENCE_MS 4000u

enum again_kind { MUST, MAY, MUST_NOT };

/* A publisher, in this process or in one of its own. */
struct again_source {
	struct hbus *bus;
	struct hbus_publisher *publisher;
	hbus_topic_t topic[AGAIN_TOPICS];
	uint64_t n_published;
	int requests, answers; /* -1 = in this process */
	pid_t pid;
};

/* @bus: whose publisher it is; NULL = a process of its own. @topics: up to NULL. */
void again_source_open(struct again_source *source, struct hbus *bus, const char *const *topics);
void again_source_close(struct again_source *source);
/* When it returns, the event is published. Return: its number. */
uint64_t again_publish(struct again_source *source, unsigned int topic, enum again_kind kind);

/* What came. */
struct again_seen {
	_Atomic uint64_t last_must; /* number of the last that had to come, + 1 */
	uint64_t n_events;
	uint64_t n_must;
	uint64_t n_stale; /* MUST_NOT that came all the same */
	uint64_t last_number;
	bool is_disordered;
};

/* One event. */
void again_account(struct again_seen *seen, const struct hbus_event *event);
/* Polls once and accounts. Return: as hbus_poll(). */
int again_poll(struct hbus_subscriber *sub, struct again_seen *seen);
