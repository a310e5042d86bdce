/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Passive MQTT: what clients publish to brokers elsewhere, read out of mirrored or captured TCP
 *
 *	poll loop --feed.h--> a thread here: flow.h --> reader.h --> a publisher on the bus
 *
 * It acknowledges nothing, answers nothing and slows nobody down. What it cannot read, and why, is counted.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "ctl/client/hugebus.h"
#include "dataplane/passive/feed.h"
#include "dataplane/passive/flow.h"
#include "dataplane/passive/reader.h"

struct hbus_passive;

struct hbus_passive_options {
	struct hbus *bus;            /* borrowed; outlives this */
	uint16_t ports[HBUS_FEED_PORTS_MAX];
	uint32_t n_ports;
	uint32_t n_feeds;            /* one for each poll loop */
	bool waits;                  /* poll loops may wait for the thread */
};

/* What became of the messages: published + ring_full + too_large + no_topic = reader's published. */
struct hbus_passive_counters {
	struct hbus_flow_counters flows;
	struct hbus_tap_counters reader;
	uint64_t n_events;           /* on the bus */
	uint64_t n_ring_full;
	uint64_t n_too_large;
	uint64_t n_no_topic;         /* the daemon refused the topic, or there are too many */
	uint64_t n_overruns;         /* segments for which the thread was too slow */
};

/* Starts the thread. Return: 0, -errno or an enum hbus_error. */
int hbus_passive_new(const struct hbus_passive_options *options, struct hbus_passive **ret_passive);
/* The poll loops have ended. Reads what is left, ends the thread. Its counters are final then. */
void hbus_passive_stop(struct hbus_passive *passive);
/* Accepts NULL and returns NULL. */
struct hbus_passive *hbus_passive_free(struct hbus_passive *passive);

/* The feed of poll loop @i. */
struct hbus_feed *hbus_passive_feed(struct hbus_passive *passive, uint32_t i);
/* As of some 10 ms ago. Thread: any. */
void hbus_passive_counters(struct hbus_passive *passive, struct hbus_passive_counters *ret_counters);
