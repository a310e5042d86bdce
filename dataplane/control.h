/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control side of the ingress: it listens to the bus and steers the poll loops and the filters.
 *
 * What the bus says arrives in the library's thread and is only noted (in the directory, under a
 * lock). The control thread turns it into topics, plans and filter rules:
 *
 *     bus -> directory -> hbus_control_update(): name topics, remove from the filters, swap the plan
 *                                                by RCU, add to the filters
 *
 * so that for every frame that the driver lets through there is a plan that knows its route.
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

struct hbus_control;

/* Opens the bus and begins to listen. Return: 0 or -errno; the reason is on stderr. */
int hbus_control_new(const struct hbus_ingress_options *options, struct hbus_control **ret_control);
/* Accepts NULL and returns NULL. The loops have ended. */
struct hbus_control *hbus_control_free(struct hbus_control *control);

/**
 * hbus_control_workers() - make the workers of all loops
 * @loops: @n of them, zero; they are the control's to deinitialise
 * @n_ports: that will be counted
 *
 * Gives each its counters and its publishers. Return: 0 or -errno; the reason is on stderr.
 */
int hbus_control_workers(struct hbus_control *control, struct hbus_loop_shared *shared,
			 struct hbus_loop *loops, unsigned int n, unsigned int n_ports);

/* The ports whose filters are to follow; borrowed. */
void hbus_control_ports(struct hbus_control *control, const struct hbus_ports *ports);

/* Waits until the bus has been silent for a moment, so that the first plan is a whole one. */
void hbus_control_settle(struct hbus_control *control);

/**
 * hbus_control_update() - bring loops and filters up to date
 *
 * Cheap when nothing has changed. Failures are logged and tried again a second later.
 * Return: whether there was anything to do.
 */
bool hbus_control_update(struct hbus_control *control);

/* Makes the filters give every frame to the kernel, so that the ports run dry. */
void hbus_control_dry(struct hbus_control *control);

/* Wakes the readers of a loop's rings. */
void hbus_control_wake(struct hbus_control *control, unsigned int loop_idx);

/* Copies what ports and filters have counted into the counters on the bus. */
void hbus_control_publish_counters(struct hbus_control *control);

/* Writes the whole account as one JSON object on @out. */
void hbus_control_report(struct hbus_control *control, FILE *out, double seconds);
