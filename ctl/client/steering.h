/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the daemon steers an ingress with: routes, source rules, and which topics are wanted
 *
 * A table of what holds now, so that a handler that is set late hears of everything, and a daemon that comes
 * back is compared with what was known: only differences reach the handlers. Under bus->lock, but for the
 * handlers themselves.
 */
#pragma once

#include "ctl/client/bus.h"

int hbus_steering_new(uint32_t flags, struct hbus_steering **ret_steering);
void hbus_steering_free(struct hbus_steering *steering);

void hbus_on_interest(struct hbus *bus, const struct hbus_msg_interest *message);
void hbus_on_route(struct hbus *bus, const struct hbus_msg_route *message);
void hbus_on_source_rule(struct hbus *bus, const struct hbus_msg_source_rule *message);

/* A daemon has come back and says all routes and rules anew: begin, ..., settle. */
void hbus_steering_begin(struct hbus *bus);
void hbus_steering_settle(struct hbus *bus);

/* Runs the handlers that are due; drops the lock while it does. */
void hbus_steering_run(struct hbus *bus);

/* Whether this thread is in a handler. */
bool hbus_steering_is_inside(struct hbus *bus);

/* admin.c */
void hbus_route_from_wire(const struct hbus_wire_route *wire, struct hbus_route *ret_route);
