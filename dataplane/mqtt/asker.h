/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A thread that asks the daemon, so that the engine's thread never waits for an answer
 *
 * Questions are answered one after another, in their order. An answer is kept until it is taken; the
 * descriptor is readable while there is one.
 *
 * Threads: one asks and takes answers. The thread of its own uses the publisher and the subscriber only
 * by hbus_publisher_topic(), hbus_subscribe() and hbus_unsubscribe(), which are safe beside their owner.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ctl/client/hugebus.h"
#include "dataplane/mqtt/rules.h"

#define HBUS_MQTT_ASKS_MAX 65536u /* questions that are out; unsubscribing is always taken */

enum hbus_mqtt_ask_kind {
	HBUS_MQTT_ASK_TOPIC,
	HBUS_MQTT_ASK_SUBSCRIBE,
	HBUS_MQTT_ASK_UNSUBSCRIBE,
	HBUS_MQTT_ASK_RULES /* what the policy says of clients; the name is "" */
};

struct hbus_mqtt_asker;

struct hbus_mqtt_answer {
	struct hbus_mqtt_answer *next;
	enum hbus_mqtt_ask_kind kind;
	int result; /* 0 or an enum hbus_error */
	hbus_topic_t topic;
	struct hbus_mqtt_rules rules; /* the taker's */
	char name[];
};

/* @log: as in struct hbus_mqtt_bus_options. Borrows the handles. Return: 0 or -errno. */
int hbus_mqtt_asker_new(struct hbus *bus, struct hbus_publisher *publisher, struct hbus_subscriber *subscriber,
			void (*log)(const char *sentence), struct hbus_mqtt_asker **ret_asker);
/* Waits for the question that is under way. Accepts NULL, returns NULL. */
struct hbus_mqtt_asker *hbus_mqtt_asker_free(struct hbus_mqtt_asker *asker);

/* Return: false at the limit or without memory. */
bool hbus_mqtt_asker_ask(struct hbus_mqtt_asker *asker, enum hbus_mqtt_ask_kind kind, const char *name);

/* The oldest answer, or NULL; the caller frees it. There is none for unsubscribing. */
struct hbus_mqtt_answer *hbus_mqtt_asker_take(struct hbus_mqtt_asker *asker);

/* What the policy says of clients, now. Waits. Return: 0 or an enum hbus_error. */
int hbus_mqtt_rules_read(struct hbus *bus, struct hbus_mqtt_rules *ret_rules);

/* Questions, and answers that are not taken. */
uint32_t hbus_mqtt_asker_n_out(struct hbus_mqtt_asker *asker);

int hbus_mqtt_asker_fd(const struct hbus_mqtt_asker *asker);
