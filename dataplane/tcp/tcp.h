/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MQTT over TCP in the ingress: the thread that drives lwIP, the clients and their engine.
 *
 *   poll loops --taps--> [ lwIP <-> clients <-> engine <-> bus ] --send queues--> ports
 *
 * Thread: the control thread, for all functions here.
 */
#pragma once

#include "dataplane/mqtt/engine.h"
#include "dataplane/options.h"
#include "dataplane/ports.h"
#include "dataplane/tcp/counters.h"

struct hbus_tcp;
struct hbus_tap;

/**
 * hbus_tcp_new() - open the bus and make the taps
 *
 * With no addresses in @options *ret_tcp is NULL: everything else here takes that.
 * Return: 0 or -errno; the reason is on stderr.
 */
int hbus_tcp_new(const struct hbus_ingress_options *options, const struct hbus_ports *ports,
		 unsigned int n_loops, struct hbus_tcp **ret_tcp);
/* The loops have ended. Accepts NULL and returns NULL. */
struct hbus_tcp *hbus_tcp_free(struct hbus_tcp *tcp);

/* For the loops. NULL without a stack. */
struct hbus_tap *hbus_tcp_tap(struct hbus_tcp *tcp, unsigned int loop_idx);

/* Starts the thread, and lets the filters of the ports give it its frames. Return: as above. */
int hbus_tcp_start(struct hbus_tcp *tcp);

/* Says goodbye to the clients, ends the thread, gives the addresses' frames back to the kernel. */
void hbus_tcp_stop(struct hbus_tcp *tcp);

/* For the account, after the stop. NULL without a stack. */
const struct hbus_tcp_counters *hbus_tcp_counters(const struct hbus_tcp *tcp);
const struct hbus_mqtt_counters *hbus_tcp_mqtt_counters(const struct hbus_tcp *tcp);
