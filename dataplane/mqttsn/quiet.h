/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keeps the filters in the drivers in step with the paths: what nobody wants is dropped there.
 *
 * Thread: the gateway's. Every change is a system call, so only differences are made.
 */
#pragma once

#include "dataplane/mqttsn/paths.h"
#include "dataplane/ports.h"

struct hbus_sn_quiet;

/* @ports: borrowed; those without a filter are left alone. Return: 0 or -ENOMEM. */
int hbus_sn_quiet_new(const struct hbus_ports *ports, struct hbus_sn_quiet **ret_quiet);
/* Accepts NULL, returns NULL. */
struct hbus_sn_quiet *hbus_sn_quiet_free(struct hbus_sn_quiet *quiet);

/* Cheap when nothing has changed. Return: how many changes failed: what a driver does not drop a loop does. */
unsigned int hbus_sn_quiet_follow(struct hbus_sn_quiet *quiet, const struct hbus_sn_paths *paths);

/* When a driver has last dropped something of @peer, in ns of CLOCK_MONOTONIC; 0: never. */
uint64_t hbus_sn_quiet_seen_ns(const struct hbus_sn_quiet *quiet, const struct hbus_sn_peer *peer);
