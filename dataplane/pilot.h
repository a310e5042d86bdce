/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pilot: it listens to the bus and steers the poll loops and the filters.
 *
 * What the bus says arrives in the library's thread and is only noted (in the directory, under a
 * lock). A thread of the pilot turns it into topics, plans and filter rules:
 *
 *     bus -> directory -> update: name topics, remove from the filters, swap the plan by RCU,
 *                                 add to the filters
 *
 * so that for every frame that the driver lets through there is a plan that knows its route. All
 * functions here are the main thread's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ctl/client/hugebus.h"
#include "dataplane/bus_sink.h"
#include "dataplane/directory.h"
#include "dataplane/loop.h"
#include "dataplane/options.h"
#include "dataplane/ports.h"

struct hbus_pilot;
struct hbus_tcp;

/* Opens the bus and begins to listen. Return: 0 or -errno; the reason is on stderr. */
int hbus_pilot_new(const struct hbus_ingress_options *options, struct hbus_pilot **ret_pilot);
/* Accepts NULL and returns NULL. The loops have ended. */
struct hbus_pilot *hbus_pilot_free(struct hbus_pilot *pilot);

/**
 * hbus_pilot_workers() - make the workers of all loops
 * @loops: @n of them, zero; they are the pilot's to deinitialise
 * @n_ports: that will be counted
 *
 * Gives each its counters and its publishers. Return: 0 or -errno; the reason is on stderr.
 */
int hbus_pilot_workers(struct hbus_pilot *pilot, struct hbus_loop_shared *shared,
			 struct hbus_loop *loops, unsigned int n, unsigned int n_ports);

/* For handles that others open on the same bus. */
struct hbus *hbus_pilot_bus(struct hbus_pilot *pilot);

/*
 * For the MQTT-SN gateway: loops are to publish to this topic, or not any more. *ret_number is what they
 * will call it, once the gateway hears of it by hbus_sn_gateway_follow(). Any thread but the loops.
 * Return: 0, -ENOMEM, or a condition of the directory.
 */
int hbus_pilot_use(struct hbus_pilot *pilot, const char *topic, uint32_t *ret_number);
void hbus_pilot_unuse(struct hbus_pilot *pilot, const char *topic);

/* The ports whose filters are to follow; borrowed. */
void hbus_pilot_ports(struct hbus_pilot *pilot, const struct hbus_ports *ports);

/* Waits until the bus has been silent for a moment, so that the first plan is a whole one. */
void hbus_pilot_settle(struct hbus_pilot *pilot);

/**
 * hbus_pilot_start() - follow the bus from now on, in a thread of its own
 *
 * What it asks of the daemon takes time, and wake-ups must not wait for it. When it returns loops
 * and filters are up to date once. What fails is logged and tried again a second later.
 * Return: 0 or -errno.
 */
int hbus_pilot_start(struct hbus_pilot *pilot);

/* The loops have ended: what they have copied for passive MQTT is read to its end. */
void hbus_pilot_passive_stop(struct hbus_pilot *pilot);

/* Ends that thread, and makes the filters give every frame to the kernel: the ports run dry. */
void hbus_pilot_stop(struct hbus_pilot *pilot);

/* Ends the MQTT-SN gateway, if there is one: what it has received is published, its clients are told. */
void hbus_pilot_stop_gateway(struct hbus_pilot *pilot);
/* The loops have ended: what they still had for the gateway is taken. */
void hbus_pilot_finish_gateway(struct hbus_pilot *pilot);

/* Puts the program of the object file in place of the one that each filter runs, as it runs. */
void hbus_pilot_replace_filters(struct hbus_pilot *pilot);
/* Whether each is where it was attached; says so when that has changed. */
void hbus_pilot_check_filters(struct hbus_pilot *pilot);

/* Wakes the readers of a loop's rings. */
void hbus_pilot_wake(struct hbus_pilot *pilot, unsigned int loop_idx);

/* Copies what ports and filters have counted into the counters on the bus. */
void hbus_pilot_publish_counters(struct hbus_pilot *pilot);

/* Writes the whole account as one JSON object on @out. @tcp: or NULL. */
void hbus_pilot_report(struct hbus_pilot *pilot, FILE *out, double seconds, const struct hbus_tcp *tcp);
