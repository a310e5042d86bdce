/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MQTT-SN gateway of an ingress: what ties the service to pilot, loops and ports.
 *
 * Thread: the main one, but for hbus_sn_gateway_follow() and hbus_sn_gateway_wait().
 */
#pragma once

#include "dataplane/directory.h"
#include "dataplane/loop.h"
#include "dataplane/options.h"
#include "dataplane/ports.h"

struct hbus_pilot;
struct hbus_sn_counters;
struct hbus_sn_gateway;

/* Puts the endpoints into the directory. Return: 0 or -errno; the reason is on stderr. */
int hbus_sn_gateway_routes(const struct hbus_ingress_options *options,
			   struct hbus_directory *directory);

/**
 * hbus_sn_gateway_new() - doors for the loops, and the service behind them
 *
 * *ret_gateway is NULL when the options want none. Return: 0 or -errno; the reason is on stderr.
 */
int hbus_sn_gateway_new(const struct hbus_ingress_options *options, struct hbus_pilot *pilot,
			struct hbus_loop *loops, unsigned int n_loops,
			struct hbus_sn_gateway **ret_gateway);
/* The ports and their addresses. */
void hbus_sn_gateway_ports(struct hbus_sn_gateway *gateway, const struct hbus_ports *ports);
/* Return: 0 or -errno. */
int hbus_sn_gateway_start(struct hbus_sn_gateway *gateway);
/* While the loops still run. Accepts NULL, as all below. */
void hbus_sn_gateway_stop(struct hbus_sn_gateway *gateway);
/* The loops have ended: what they still brought is taken, so that the account is whole. */
void hbus_sn_gateway_finish(struct hbus_sn_gateway *gateway);
/* The loops have ended, the bus is still open. */
struct hbus_sn_gateway *hbus_sn_gateway_free(struct hbus_sn_gateway *gateway);

/* Loops and filters have followed the directory: whoever holds its lock says so. */
void hbus_sn_gateway_follow(struct hbus_sn_gateway *gateway, const struct hbus_directory *directory);

/* For the updating thread, now and then: waits for the loops in the service's stead, when it has something to free. */
void hbus_sn_gateway_wait(struct hbus_sn_gateway *gateway);

/* NULL without a gateway. After the stop. */
const struct hbus_sn_counters *hbus_sn_gateway_counters(const struct hbus_sn_gateway *gateway);
