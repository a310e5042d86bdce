/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The journal: what a daemon that is killed leaves to the next
 *
 * One file of JSON objects, one a line. Records are appended as they come, each with one write(), so a
 * kill loses nothing that was acknowledged; a line that was cut is ignored. When the file has grown far
 * beyond what it says, a fresh one is written beside it, synced and renamed over it.
 *
 * The first line holds the bus's id, the number of times it was started, and the machine's boot: after
 * a reboot only topics and routes that were declared are kept, since every process is gone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ctl/daemon/config.h"
#include "ctl/daemon/state.h"

struct hbus_journal;

/** What the first line says; is_new: there was none. */
struct hbus_journal_head {
	uint64_t bus_id;
	uint32_t boot_number;
	bool is_new;
	bool is_same_boot; /* of the machine */
};

/**
 * hbus_journal_open() - read DIR/journal.jsonl; @restore is called for each record, gone ones too
 * @ret_head: boot_number is already that of this start
 *
 * Nothing is written until hbus_journal_rewrite(). Return: 0 or -errno with a sentence.
 */
int hbus_journal_open(const char *dir, struct hbus_journal **ret_journal,
		      struct hbus_journal_head *ret_head, struct hbus_config_error *ret_error);
/**
 * hbus_journal_replay() - the records that still stand, members before rings
 *
 * Return: 0, or -ENOMEM: what was not restored would be missing from the next journal.
 */
int hbus_journal_replay(struct hbus_journal *journal,
			bool (*restore)(struct hbus_state *state,
					const struct hbus_journal_record *record),
			struct hbus_state *state);
/** hbus_journal_rewrite() - a fresh file with what @state says now. Return: 0 or -errno. */
int hbus_journal_rewrite(struct hbus_journal *journal, struct hbus_state *state);
/** hbus_journal_append() - Return: 0 or -errno; the next rewrite repairs it. */
int hbus_journal_append(struct hbus_journal *journal, const struct hbus_journal_record *record);
/** hbus_journal_is_long() - is it time to rewrite? */
bool hbus_journal_is_long(const struct hbus_journal *journal);
struct hbus_journal *hbus_journal_free(struct hbus_journal *journal);
