/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Retained messages and sessions on a disk: --state DIR
 *
 * One file, written whole beside the old one, synced, and renamed over it: whatever is killed or cut off,
 * a whole file is there. A thread of its own writes. What changed since the last save, at least a second ago
 * and more where saving takes long, is lost with a crash and not with an orderly end. When the disk is full
 * the old file stays, and saving is tried again.
 *
 * The gateway's lock is held by who calls, but for opening and closing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/mqtt/engine.h"

struct hbus_gateway_state;

struct hbus_gateway_state_counters {
	uint64_t n_saves, n_failures, size;
};

/* Makes the directory. Return: 0, -EBUSY when another gateway has it, or -errno. */
int hbus_gateway_state_open(const char *dir, void (*log)(const char *sentence), struct hbus_gateway_state **ret_state);
/* Waits for what is being written. Accepts NULL, returns NULL. */
struct hbus_gateway_state *hbus_gateway_state_close(struct hbus_gateway_state *state);

/* A file that is damaged is put aside as mqtt.state.bad. Return: 0, also without a file, or -errno. */
int hbus_gateway_state_load(struct hbus_gateway_state *state, struct hbus_mqtt *engine);

/* Saves in the thread, when something has changed and it is time. */
void hbus_gateway_state_tick(struct hbus_gateway_state *state, struct hbus_mqtt *engine, uint64_t now_ms);

/* Saves now. Return: 0 or -errno. */
int hbus_gateway_state_finish(struct hbus_gateway_state *state, struct hbus_mqtt *engine);

void hbus_gateway_state_counters(struct hbus_gateway_state *state, struct hbus_gateway_state_counters *ret_counters);
