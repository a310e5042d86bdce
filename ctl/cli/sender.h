/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The publishing side of `hugebus pub`: topics, batches, waiting for slow subscribers, the account
 *
 * Events are gathered into batches and appear at hbus_sender_flush() at the latest. Faults are
 * reported here; the caller only passes the exit code on.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/client/hugebus.h"

/* More than an exit code can be: a signal came while waiting. */
#define HBUS_SENDER_STOPPED 256

struct hbus_sender_topic {
	char *name;
	hbus_topic_t id;
	uint64_t n_events;
	uint64_t n_bytes;
};

#define HBUS_SENDER_BATCH_MAX 256

struct hbus_sender {
	struct hbus *bus;
	struct hbus_publisher *publisher;
	struct hbus_sender_topic *topics;
	size_t n_topics;
	size_t n_allocated;
	const char *type; /* CloudEvents attributes of topics added from now on, or NULL */
	const char *content_type;
	uint64_t timeout_ms;
	uint64_t n_events;
	uint64_t batch_bytes_max;
	uint64_t batch_bytes;
	size_t batch_events;
	bool is_batch_open;
	/*
	 * What is in the open batch, to be taken back from the account if it cannot be published.
	 */
	struct {
		size_t topic_idx;
		size_t size;
	} batch[HBUS_SENDER_BATCH_MAX];
};

struct hbus_sender_options {
	const char *client_name; /* NULL = the command's */
	uint64_t capacity;	 /* of the ring; 0 = the bus's default, or enough for event_size_max */
	uint64_t event_size_max; /* 0 = unknown */
	uint64_t timeout_ms;	 /* how long a slow reliable subscriber is waited for */
	uint32_t publisher_flags;
};

/** hbus_sender_open() - connect. Return: an exit code; unless 0 there is nothing to close. */
int hbus_sender_open(struct hbus_sender *sender, const struct hbus_sender_options *options);

/** hbus_sender_add_topic() - @ret_idx: for hbus_sender_put(). Return: an exit code. */
int hbus_sender_add_topic(struct hbus_sender *sender, const char *name, size_t *ret_idx);

/** hbus_sender_find_topic() - index of a topic that was added, or n_topics */
size_t hbus_sender_find_topic(const struct hbus_sender *sender, const char *name);

/**
 * hbus_sender_put() - publish one event, soon
 * @time_ns: 0 = none of its own
 *
 * Return: 0, an exit code after saying why, or HBUS_SENDER_STOPPED.
 */
int hbus_sender_put(struct hbus_sender *sender, size_t topic_idx, const void *data, size_t size,
		    uint64_t time_ns);

/** hbus_sender_flush() - what was put appears now. Return: an exit code. */
int hbus_sender_flush(struct hbus_sender *sender);

/** hbus_sender_summary() - the account: what was published, by topic */
json_t *hbus_sender_summary(const struct hbus_sender *sender);

void hbus_sender_close(struct hbus_sender *sender);
