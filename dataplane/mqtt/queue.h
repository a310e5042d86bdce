/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What waits for a client, or for a group of them: the operations, whoever keeps the state
 *
 *	                 lock                 settle: received (QoS 2)
 *	  put --> available ----> locked -----------------------------> received --.
 *	            |    ^          |  |                                           | settle: done
 *	       take,|    '----------'  '---------------- settle: done -------------'--> gone
 *	     expire v      release
 *	           gone
 *
 * The engine decides when a message goes to whom and what its client's answers mean. Which messages wait, in
 * which order, which of them a client has been given and not acknowledged, and under which packet identifier, is
 * the queue's business and is reached through this table alone. Two kinds are there: one session's queue in memory
 * (hbus_mqtt_memory_queue), and a shared subscription's group, which keeps nothing and gives each message to the queue of
 * one of its members (hbus_mqtt_group_queue). A table of states by offset, shared by all doors, is to be a third.
 *
 * One thread. No callback of the engine is called from inside, but by put of a group.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hbus_mqtt_config;
struct hbus_mqtt_delivery;
struct hbus_mqtt_how;
struct hbus_mqtt_kept;
struct hbus_mqtt_queue_ops;
struct hbus_mqtt_source;

/* -- conditions of put and restore -- */

enum {
	HBUS_MQTT_QUEUE_FULL = 1,  /* no room for one more */
	HBUS_MQTT_QUEUE_NO_MEMORY, /* for the copy, or over the limit of all messages; counted there */
	HBUS_MQTT_QUEUE_NOBODY,    /* a group without a member who could take it */
};

/* Of a delivery; written into state files. */
enum hbus_mqtt_delivery_state { QUEUED, WAIT_PUBACK, WAIT_PUBREC, WAIT_PUBCOMP };

/* Begins every queue. */
struct hbus_mqtt_queue {
	const struct hbus_mqtt_queue_ops *ops;
	uint16_t last_id; /* packet identifier given out last */
};

struct hbus_mqtt_queue_count {
	uint32_t n_available, n_locked; /* received ones are locked */
	size_t bytes;                   /* of the available ones */
};

struct hbus_mqtt_queue_ops {
	/* @config: limits, borrowed for as long as the queue lives. Return: NULL without memory. */
	struct hbus_mqtt_queue *(*open)(const struct hbus_mqtt_config *config);
	/* With whatever is in it. */
	void (*close)(struct hbus_mqtt_queue *queue);
	/* Behind all others. With @ret_locked, for QoS 1 and 2: locked at once, before those that are available, and
	 * there it is; then it is never full. Return: 0 or a condition. */
	int (*put)(struct hbus_mqtt_queue *queue, struct hbus_mqtt_source *source, const struct hbus_mqtt_how *how,
		   struct hbus_mqtt_delivery **ret_locked);
	/* One of an earlier run, behind all others of its kind. @kept: NULL in WAIT_PUBCOMP. */
	int (*restore)(struct hbus_mqtt_queue *queue, struct hbus_mqtt_kept *kept, const struct hbus_mqtt_how *how,
		       enum hbus_mqtt_delivery_state state, uint16_t packet_id, bool was_sent);
	/* In order, without changing anything. @after: NULL for the first. Return: NULL behind the last. */
	struct hbus_mqtt_delivery *(*next)(const struct hbus_mqtt_queue *queue, bool is_locked,
					   const struct hbus_mqtt_delivery *after);
	/* The first, out of the queue: the caller's. Return: NULL when there is none. */
	struct hbus_mqtt_delivery *(*take)(struct hbus_mqtt_queue *queue, bool is_locked);
	/* The first available one, of QoS 1 or 2: it gets a packet identifier, unless it has one, and is locked.
	 * Return: NULL without memory, or when there is none. */
	struct hbus_mqtt_delivery *(*lock)(struct hbus_mqtt_queue *queue);
	/* Who has this packet identifier. Return: NULL when nobody does. */
	struct hbus_mqtt_delivery *(*find)(const struct hbus_mqtt_queue *queue, uint16_t packet_id);
	/* The client has it. @is_done: @delivery is gone and freed, else it stays locked without its message. */
	void (*settle)(struct hbus_mqtt_queue *queue, struct hbus_mqtt_delivery *delivery, bool is_done);
	/* Whoever had them has gone: locked ones are available again, before all others, in their order; received ones stay. */
	void (*release)(struct hbus_mqtt_queue *queue);
	/* Available ones at the front that nobody was given and whose time has passed. Return: how many are gone. */
	uint32_t (*expire)(struct hbus_mqtt_queue *queue, uint64_t now_ms);
	struct hbus_mqtt_queue_count (*count)(const struct hbus_mqtt_queue *queue);
};

extern const struct hbus_mqtt_queue_ops hbus_mqtt_memory_queue; /* queue.c */
extern const struct hbus_mqtt_queue_ops hbus_mqtt_group_queue;  /* deliver.c; begins struct hbus_mqtt_share */

/* A delivery that was taken. */
void hbus_mqtt_delivery_free(struct hbus_mqtt_delivery *delivery);
