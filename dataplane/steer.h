/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keeps the filter of a port in step with the directory: removals before the plan is swapped,
 * additions after it.
 *
 * Thread: one at a time. Every change is a system call, so only differences are made.
 */
#pragma once

#include <stdbool.h>

#include "dataplane/directory.h"
#include "dataplane/ports.h"

struct hbus_steer;

/* @port: borrowed; its filter is not NULL. Return: 0 or -ENOMEM. */
int hbus_steer_new(const struct hbus_port *port, struct hbus_steer **ret_steer);
/* Accepts NULL and returns NULL. */
struct hbus_steer *hbus_steer_free(struct hbus_steer *steer);

/* Return: how many changes failed; what failed is on stderr and is tried again next time. */
unsigned int hbus_steer_remove(struct hbus_steer *steer, const struct hbus_directory *directory);
unsigned int hbus_steer_add(struct hbus_steer *steer, const struct hbus_directory *directory);

/* Puts the program of another object in place of the running one, on its maps. Logs how it went. */
void hbus_steer_replace(struct hbus_steer *steer, const char *path);

/* Somebody else may take the filter off its interface, or put another there: says so, and when it is back, once each time. */
void hbus_steer_check(struct hbus_steer *steer);

/* TCP to these ports that was sent to others than the interface itself is read passively. */
void hbus_steer_tap(struct hbus_steer *steer, const uint16_t *ports, uint32_t n, const uint8_t own_mac[6]);

/* Every route goes, so that every frame goes to the kernel. */
void hbus_steer_dry(struct hbus_steer *steer);
