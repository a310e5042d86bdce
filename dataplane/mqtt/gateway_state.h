/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Retained messages and sessions on a disk: --state DIR
 *
 * The state is saved in one file, written whole beside the old one by a thread of its own, synced, and renamed over it. What
 * changes is appended to a journal before anybody is told of it, in one write(2) for all that a round of the loop did;
 * the thread syncs the journal a second after a change, or later where that takes long. So a kill loses nothing that a
 * client was told, and a power cut the last second at most. When the journal has grown to twice the size of what is saved
 * (16 MiB at least), all is saved again and a new journal begun.
 * When the disk is full, what was there stays, nothing waits for it, and saving is tried again.
 *
 * The gateway's lock is held by who calls, but for opening and closing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/mqtt/engine.h"

struct hbus_gateway_state;

struct hbus_gateway_state_counters {
	uint64_t n_saves, n_failures, size; /* size: of the files */
	uint64_t journal_bytes, n_journal_writes;
};

/* Makes the directory. Return: 0, -EBUSY when another gateway has it, or -errno. */
int hbus_gateway_state_open(const char *dir, void (*log)(const char *sentence), struct hbus_gateway_state **ret_state);
/* Waits for what is being written. Accepts NULL, returns NULL. */
struct hbus_gateway_state *hbus_gateway_state_close(struct hbus_gateway_state *state);

/* Files that are damaged are put aside as *.bad. Return: 0, also without a file, or -errno. */
int hbus_gateway_state_load(struct hbus_gateway_state *state, struct hbus_mqtt *engine);

/* After loading, before the first client: saves, and begins the journal. */
void hbus_gateway_state_begin(struct hbus_gateway_state *state, struct hbus_mqtt *engine);

/* To be called before what the engine said goes out: appends to the journal what has changed. Cheap when nothing has. */
void hbus_gateway_state_commit(struct hbus_gateway_state *state, struct hbus_mqtt *engine);

/* Syncs or saves in the thread, when it is time. */
void hbus_gateway_state_tick(struct hbus_gateway_state *state, struct hbus_mqtt *engine, uint64_t now_ms);

/* Saves now, and ends the journal. Return: 0 or -errno. */
int hbus_gateway_state_finish(struct hbus_gateway_state *state, struct hbus_mqtt *engine);

void hbus_gateway_state_counters(struct hbus_gateway_state *state, struct hbus_gateway_state_counters *ret_counters);
